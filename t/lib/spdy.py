# SPDX-License-Identifier: Apache-2.0
"""Clients of the streaming server, for the tests: SPDY/3.1 from draft-mbelshe-httpbis-spdy-00 and
WebSocket from RFC 6455, both on plain blocking sockets."""

import base64
import hashlib
import os
import socket
import struct
import time
import urllib.parse
import zlib

WORDS = """options head post put delete trace accept accept-charset accept-encoding accept-language
accept-ranges age allow authorization cache-control connection content-base content-encoding
content-language content-length content-location content-md5 content-range content-type date etag
expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since
last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer
retry-after server te trailer transfer-encoding upgrade user-agent vary via warning
www-authenticate method get status""".split() + ["200 OK", "version", "HTTP/1.1", "url", "public",
                                                 "set-cookie", "keep-alive", "origin"]
TAIL = ("100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
        "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 "
        "Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service "
        "UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, "
        "Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/"
        "xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
        "charset=iso-8859-1,utf-,*,enq=0.")
DICTIONARY = b"".join(struct.pack(">I", len(w)) + w.encode() for w in WORDS) + TAIL.encode()
assert len(DICTIONARY) == 1423

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9


def http_upgrade(url, lines, method="POST", timeout=20, cafile=None):
    """Connects and sends a request; returns (socket, status, headers, bytes after the head)."""
    u = urllib.parse.urlsplit(url)
    s = socket.create_connection((u.hostname, u.port), timeout)
    if u.scheme == "https":
        import ssl
        context = ssl.create_default_context(cafile=cafile)
        s = context.wrap_socket(s, server_hostname=u.hostname)
    target = u.path + ("?" + u.query if u.query else "")
    s.sendall(("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (method, target, u.netloc, "".join(
        line + "\r\n" for line in lines))).encode())
    return (s,) + read_head(s)


def read_head(s):
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(4096)
        if not more:
            break
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    rows = head.decode("latin-1").split("\r\n")
    status = int(rows[0].split()[1]) if rows[0].startswith("HTTP/") else 0
    return status, {r.split(":", 1)[0].lower(): r.split(":", 1)[1].strip() for r in rows[1:]}, rest


class Socket:
    """The transport of a SPDY session."""

    def __init__(self, s, rest=b""):
        self.s, self.rest = s, rest

    def send(self, data):
        self.s.sendall(data)

    def recv(self):
        if self.rest:
            data, self.rest = self.rest, b""
            return data
        return self.s.recv(65536)

    def close(self):
        self.s.close()


class Spdy:
    def __init__(self, transport):
        self.t = transport
        self.z = zlib.compressobj(zdict=DICTIONARY)
        self.d = zlib.decompressobj(zdict=DICTIONARY)
        self.buf = b""
        self.next = 1
        self.data, self.fin, self.rst, self.replied = {}, set(), {}, set()
        self.pongs, self.goaway, self.ended, self.credit = [], None, False, {}

    @classmethod
    def connect(cls, url, protocols=("v4.channel.k8s.io",), **kw):
        s, status, headers, rest = http_upgrade(url, ["Connection: Upgrade", "Upgrade: SPDY/3.1"] + [
            "X-Stream-Protocol-Version: " + p for p in protocols], **kw)
        assert status == 101, (status, rest)
        self = cls(Socket(s, rest))
        self.protocol = headers.get("x-stream-protocol-version")
        return self

    def control(self, type, payload, flags=0):
        self.t.send(struct.pack(">HHI", 0x8003, type, flags << 24 | len(payload)) + payload)

    def block(self, headers):
        raw = struct.pack(">I", len(headers))
        for k, v in headers.items():
            raw += struct.pack(">I", len(k)) + k.encode() + struct.pack(">I", len(v)) + v.encode()
        return self.z.compress(raw) + self.z.flush(zlib.Z_SYNC_FLUSH)

    def open(self, fin=False, **headers):
        id, self.next = self.next, self.next + 2
        self.data[id] = bytearray()
        self.control(SYN_STREAM, struct.pack(">IIBB", id, 0, 0, 0) + self.block(
            {k.lower(): str(v) for k, v in headers.items()}), 1 if fin else 0)
        return id

    def send(self, id, data, fin=False):
        for i in range(0, max(len(data), 1), 1 << 20):
            part = data[i:i + (1 << 20)]
            last = fin and i + (1 << 20) >= len(data)
            self.t.send(struct.pack(">II", id, (1 << 24 if last else 0) | len(part)) + part)

    def ping(self, id):
        self.control(PING, struct.pack(">I", id))

    def reset(self, id, status=5):
        self.control(RST_STREAM, struct.pack(">II", id, status))

    def step(self):
        """Deals with one more piece of input; False at its end."""
        try:
            data = self.t.recv()
        except ConnectionError:
            data = b""
        if not data:
            self.ended = True
            return False
        self.buf += data
        while len(self.buf) >= 8:
            a, b = struct.unpack(">II", self.buf[:8])
            n = b & 0xffffff
            if len(self.buf) < 8 + n:
                break
            self.frame(a, b >> 24, self.buf[8:8 + n])
            self.buf = self.buf[8 + n:]
        return True

    def frame(self, a, flags, p):
        if not a >> 31:
            self.data.setdefault(a, bytearray()).extend(p)
            if flags & 1:
                self.fin.add(a)
            return
        type = a & 0xffff
        assert a >> 16 & 0x7fff == 3
        if type == SYN_REPLY:
            raw = self.d.decompress(p[4:])
            assert raw == b"\0\0\0\0", raw
            self.replied.add(struct.unpack(">I", p[:4])[0])
        elif type == RST_STREAM:
            id, status = struct.unpack(">II", p)
            self.rst[id] = status
        elif type == PING:
            self.pongs.append(struct.unpack(">I", p)[0])
        elif type == GOAWAY:
            self.goaway = struct.unpack(">II", p)
        elif type == WINDOW_UPDATE:
            id, delta = struct.unpack(">II", p)
            self.credit[id] = self.credit.get(id, 0) + delta

    def until(self, cond, seconds=15):
        end = time.monotonic() + seconds
        while not cond(self):
            if time.monotonic() > end:
                raise TimeoutError("streaming: %r %r" % (self.data.keys(), self.fin))
            if not self.step():
                return cond(self)
        return True

    def close(self):
        self.t.close()


class Remote(Spdy):
    """An exec or attach session."""

    def streams(self, *types):
        self.id = {t: self.open(streamType=t) for t in ("error",) + types}
        return self

    def result(self, seconds=15):
        """After the end: stdout, stderr, error stream."""
        wait = [self.id[t] for t in ("error", "stdout", "stderr") if t in self.id]
        self.until(lambda s: all(i in s.fin or i in s.rst for i in wait), seconds)
        return tuple(self.data.get(self.id.get(t), b"") for t in ("stdout", "stderr", "error"))


class WebSocket:
    """Messages; also the transport of a SPDY session (binary messages)."""

    def __init__(self, url, protocol=None, timeout=20, **kw):
        key = base64.b64encode(os.urandom(16)).decode()
        self.s, self.status, self.headers, self.rest = http_upgrade(url, [
            "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: " + key] + (["Sec-WebSocket-Protocol: " + protocol] if protocol else []),
            method="GET", timeout=timeout, **kw)
        want = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        assert self.status == 101, (self.status, self.rest)
        assert self.headers["sec-websocket-accept"] == want.decode()
        self.protocol = self.headers.get("sec-websocket-protocol")
        self.closed = None

    def frame(self, opcode, data, fin=True, mask=True):
        n = len(data)
        head = bytes([(0x80 if fin else 0) | opcode])
        m = 0x80 if mask else 0
        head += bytes([m | n]) if n < 126 else bytes([m | 126]) + struct.pack(">H", n) if n < 65536 else \
            bytes([m | 127]) + struct.pack(">Q", n)
        if mask:
            k = os.urandom(4)
            head += k
            data = (int.from_bytes(data, "big") ^ int.from_bytes((k * (n // 4 + 1))[:n], "big")).to_bytes(n, "big")
        self.s.sendall(head + data)

    def send(self, data, text=False):
        self.frame(1 if text else 2, data)

    def exact(self, n):
        while len(self.rest) < n:
            more = self.s.recv(65536)
            if not more:
                raise ConnectionError("ended")
            self.rest += more
        data, self.rest = self.rest[:n], self.rest[n:]
        return data

    def message(self):
        """(opcode, bytes); None at the end. Pongs are returned, a close frame is answered."""
        try:
            a, b = self.exact(2)
            assert not b & 0x80 and a & 0x80
            n = b & 0x7f
            if n == 126:
                n = struct.unpack(">H", self.exact(2))[0]
                assert n >= 126
            elif n == 127:
                n = struct.unpack(">Q", self.exact(8))[0]
                assert n >= 65536
            data = self.exact(n)
        except (ConnectionError, socket.timeout):
            return None
        if a & 15 == 8:
            if self.closed is None:
                self.closed = struct.unpack(">H", data[:2])[0]
                try:
                    self.frame(8, data[:2])
                except OSError:
                    pass
            return None
        return a & 15, data

    def recv(self):
        m = self.message()
        return m[1] if m else b""

    def channels(self, decode=False):
        """Everything up to the end, by channel."""
        out = {}
        while True:
            m = self.message()
            if m is None:
                return out
            n = m[1][0] - 48 if decode else m[1][0]
            out[n] = out.get(n, b"") + (base64.b64decode(m[1][1:]) if decode else m[1][1:])

    def close(self):
        self.s.close()
