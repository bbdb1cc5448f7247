# SPDX-License-Identifier: Apache-2.0
#
# Raw HTTP/2 for tests: frames as bytes, over a unix socket, with no rule kept but the caller's.

import select
import socket
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 1, 1, 4, 8, 32
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
 REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM) = range(12)

# "grpc-status" and "grpc-message" in HPACK's Huffman code (RFC 7541 appendix B).
HUFF_STATUS = bytes.fromhex("9acac8b21234da8f")


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def integer(value, bits, first=0):
    top = (1 << bits) - 1
    if value < top:
        return bytes([first | value])
    out = [first | top]
    value -= top
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + [value])


def string(s):
    s = s if isinstance(s, bytes) else s.encode()
    return integer(len(s), 7) + s


def field(name, value, first=0):
    """A literal field with a new name; first 0x40: into the table."""
    return bytes([first]) + string(name) + string(value)


def fields(*pairs):
    return b"".join(field(n, v) for n, v in pairs)


def request(path="/coracle.test.Echo/Unary", *extra):
    return fields((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
                  ("content-type", "application/grpc"), ("te", "trailers"), *extra)


def message(data=b"", flag=0):
    return bytes([flag]) + struct.pack(">I", len(data)) + data


def window(stream, n):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", n))


def setting(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in pairs))


def settings_ack():
    return frame(SETTINGS, ACK)


def rst(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def call(stream, body=None, path="/coracle.test.Echo/Unary", *extra):
    """A whole unary request."""
    return (frame(HEADERS, END_HEADERS, stream, request(path, *extra)) +
            frame(DATA, END_STREAM, stream, message() if body is None else body))


class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload

    def code(self):
        return struct.unpack(">I", self.payload[4:8] if self.kind == GOAWAY else self.payload[:4])[0]

    def grpc_status(self):
        for name in (b"\x0bgrpc-status", b"\x88" + HUFF_STATUS):
            at = self.payload.find(name)
            if at >= 0:
                n = self.payload[at + len(name)]
                return int(self.payload[at + len(name) + 1:at + len(name) + 1 + n])

    def __repr__(self):
        names = "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION"
        return "%s(flags=%d, stream=%d, %r)" % (names.split()[self.kind], self.flags, self.stream, self.payload[:40])


class Conn:
    def __init__(self, path, preface=True):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(path)
        self.buf = b""
        self.closed = False
        self.frames = []
        if preface:
            self.send(PREFACE + setting() + settings_ack())

    def send(self, data):
        """False when the server takes no more of it, or has closed."""
        try:
            self.s.settimeout(5)
            self.s.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError, socket.timeout):
            return False

    def send_nowait(self, data):
        """How much of it the socket took."""
        self.s.settimeout(0)
        try:
            return self.s.send(data)
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True
            return -1

    def read(self, timeout=0.0):
        """One frame, or None when none comes in time or the server has closed."""
        end = time.time() + timeout
        while True:
            if len(self.buf) >= 9:
                n = int.from_bytes(self.buf[:3], "big")
                if len(self.buf) >= 9 + n:
                    f = Frame(self.buf[3], self.buf[4], int.from_bytes(self.buf[5:9], "big"), self.buf[9:9 + n])
                    self.buf = self.buf[9 + n:]
                    self.frames.append(f)
                    return f
            if self.closed:
                return None
            left = max(0, end - time.time())
            if not select.select([self.s], [], [], left)[0]:
                return None
            try:
                data = self.s.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            if data == b"":
                self.closed = True
            self.buf += data

    def until(self, wanted, timeout=10):
        """Read until wanted(frame); that frame, or None."""
        end = time.time() + timeout
        while True:
            f = self.read(max(0, end - time.time()))
            if f is None or wanted(f):
                return f

    def sync(self, timeout=10):
        """PINGs there and back: what was sent before has been answered. The second, because answers
        to PING may overtake data that was made in the same turn."""
        start = len(self.frames)
        for i in range(2):
            token = struct.pack(">Q", 0x5359_4e43_0000_0000 + 2 * start + i)
            self.send(frame(PING, 0, 0, token))
            self.until(lambda f: f.kind == PING and f.flags & ACK and f.payload == token, timeout)
        return self.frames[start:]

    def end_of(self, stream, timeout=10):
        """The last frame of a stream: with END_STREAM, or a reset; or GOAWAY; None: closed."""
        return self.until(lambda f: f.stream == stream and (f.kind == RST_STREAM or f.kind in (DATA, HEADERS) and
                                                             f.flags & END_STREAM) or f.kind == GOAWAY, timeout)

    def close(self):
        self.s.close()
