#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# HTTP/2 as peers should not speak it: broken frames and headers, windows, floods, and that memory
# and time stay bounded under them. Where RFC 9113 lets a server choose between ending a stream and
# ending the connection, either passes; both codecs run this.

import os
import struct
import sys
import time

srcdir = os.environ.get("srcdir", os.path.dirname(os.path.abspath(__file__)) + "/..")
sys.path.insert(0, os.path.join(srcdir, "t/lib"))
import tap
from tap import ok, is_
import echo
from h2raw import *

server = echo.Server()
HEAD = END_HEADERS


def conn(**kw):
    return Conn(server.sock, **kw)


def fine(what="the server serves others"):
    c = conn()
    c.send(call(1, message(b"\x0a\x02hi")))
    f = c.end_of(1)
    ok(server.alive() and f is not None and f.kind == HEADERS and f.grpc_status() == 0, what)
    c.close()


def open_stream(c, stream=1):
    c.send(frame(HEADERS, HEAD, stream, request()))


def refused(what, data, codes, before=b"", stream=1):
    """The peer is told off by GOAWAY or RST_STREAM with one of the codes, or cut off."""
    c = conn()
    c.send(before + data)
    f = c.until(lambda f: f.kind == GOAWAY or f.kind == RST_STREAM and f.stream == stream, 5)
    good = f is not None and f.code() in codes or f is None and c.closed
    ok(good, "%s (%s)" % (what, "closed" if f is None else f))
    c.close()


def connection_error(what, data, codes, before=b""):
    c = conn()
    c.send(before + data)
    f = c.until(lambda f: f.kind == GOAWAY, 5)
    ok(f is not None and f.code() in codes, "%s (%s)" % (what, f))
    c.read(2)
    ok(c.read(2) is None and c.closed, "... and the connection is closed")
    c.close()


# These two are looked at at the end.
silent = conn(preface=False)
silent_since = time.time()
half = conn(preface=False)
half.send(PREFACE[:10])

# -- the preface

fine("a plain call")
for data, what in ((b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1"), (b"\x16\x03\x01\x02\x00\x01\x00", "TLS"),
                   (PREFACE[:-1] + b"x", "a preface with one wrong byte"), (bytes(100), "zeros")):
    c = conn(preface=False)
    c.send(data)
    while c.read(2) is not None:
        pass
    ok(c.closed, what + " is cut off")
c = conn(preface=False)
c.send(PREFACE + frame(PING, 0, 0, bytes(8)))
f = c.until(lambda f: f.kind == GOAWAY, 5)
ok(f is not None and f.code() == PROTOCOL_ERROR, "the first frame must be SETTINGS")
c = conn(preface=False)
for b in PREFACE + setting() + settings_ack() + call(1, message(b"\x0a\x02hi")):
    c.send(bytes([b]))
f = c.end_of(1)
ok(f is not None and f.grpc_status() == 0, "a call byte by byte")

# -- frames

E1 = (PROTOCOL_ERROR,)
connection_error("a frame over 16384 bytes", frame(DATA, 0, 1, bytes(16385)), (FRAME_SIZE_ERROR,),
                 frame(HEADERS, HEAD, 1, request()))
connection_error("DATA on stream 0", frame(DATA, 0, 0, b"x"), E1)
connection_error("DATA on an idle stream", frame(DATA, 0, 1, b"x"), E1)
connection_error("HEADERS on stream 0", frame(HEADERS, HEAD, 0, request()), E1)
connection_error("HEADERS on an even stream", frame(HEADERS, HEAD, 2, request()), E1)
connection_error("RST_STREAM on stream 0", rst(0), E1)
connection_error("RST_STREAM on an idle stream", rst(1), E1)
connection_error("RST_STREAM of 5 bytes", frame(RST_STREAM, 0, 1, bytes(5)), (FRAME_SIZE_ERROR,),
                 frame(HEADERS, HEAD, 1, request()))
connection_error("PING of 7 bytes", frame(PING, 0, 0, bytes(7)), (FRAME_SIZE_ERROR,))
connection_error("PING on a stream", frame(PING, 0, 1, bytes(8)), E1)
connection_error("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, bytes(5)), (FRAME_SIZE_ERROR,))
connection_error("SETTINGS on a stream", frame(SETTINGS, 0, 1), E1)
connection_error("SETTINGS ACK with a payload", frame(SETTINGS, ACK, 0, bytes(6)), (FRAME_SIZE_ERROR,))
connection_error("ENABLE_PUSH 2", setting((2, 2)), E1)
connection_error("INITIAL_WINDOW_SIZE 2^31", setting((4, 1 << 31)), (FLOW_CONTROL_ERROR,))
connection_error("MAX_FRAME_SIZE 100", setting((5, 100)), E1)
connection_error("MAX_FRAME_SIZE 2^24", setting((5, 1 << 24)), E1)
connection_error("WINDOW_UPDATE 0 on the connection", window(0, 0), E1)
connection_error("WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, bytes(3)), (FRAME_SIZE_ERROR,))
connection_error("WINDOW_UPDATE on an idle stream", window(1, 1), E1)
connection_error("window overflow of the connection", window(0, 0x7fffffff), (FLOW_CONTROL_ERROR,))
connection_error("PUSH_PROMISE", frame(PUSH_PROMISE, HEAD, 1, struct.pack(">I", 2) + request()), E1,
                 frame(HEADERS, HEAD, 1, request()))
connection_error("CONTINUATION out of the blue", frame(CONTINUATION, HEAD, 1, request()), E1)
connection_error("another frame inside a header block", frame(PING, 0, 0, bytes(8)), E1,
                 frame(HEADERS, 0, 1, request()))
connection_error("CONTINUATION of another stream", frame(CONTINUATION, HEAD, 3, b""), E1,
                 frame(HEADERS, 0, 1, request()))
connection_error("padding longer than the frame", frame(DATA, PADDED, 1, b"\x09abc"), E1,
                 frame(HEADERS, HEAD, 1, request()))
connection_error("GOAWAY of 4 bytes", frame(GOAWAY, 0, 0, bytes(4)), (FRAME_SIZE_ERROR,))
refused("PRIORITY of 4 bytes", frame(PRIORITY, 0, 1, bytes(4)), (FRAME_SIZE_ERROR,))
refused("WINDOW_UPDATE 0 on a stream", window(1, 0), E1, frame(HEADERS, HEAD, 1, request()))
refused("window overflow of a stream", window(1, 0x7fffffff), (FLOW_CONTROL_ERROR,),
        frame(HEADERS, HEAD, 1, request()))
refused("DATA behind END_STREAM", frame(DATA, 0, 1, b"x"), (STREAM_CLOSED, PROTOCOL_ERROR),
        call(1, message(b"\x08\xb8\x17"), "/coracle.test.Echo/Slow"))
refused("HEADERS behind END_STREAM", frame(HEADERS, HEAD | END_STREAM, 1, request()),
        (STREAM_CLOSED, PROTOCOL_ERROR), call(1, message(b"\x08\xb8\x17"), "/coracle.test.Echo/Slow"))
refused("trailers without END_STREAM", frame(HEADERS, HEAD, 1, field("x", "y")), E1,
        frame(HEADERS, HEAD, 1, request()))
c = conn()
c.send(call(5) + call(3))
c.sync()
ok(not any(f.stream == 3 and f.kind == HEADERS for f in c.frames), "no answer on a stream id below the last")
c.close()
c = conn()
c.send(frame(0x42, 0xff, 7, b"extension") + frame(PRIORITY, 0, 9, bytes(4) + b"\x10") + call(1))
f = c.end_of(1)
ok(f is not None and f.grpc_status() == 0, "unknown frames and PRIORITY are ignored")
c.send(frame(GOAWAY, 0, 0, bytes(8)) + call(3))
f = c.end_of(3)
ok(f is not None and f.kind == HEADERS, "a client's GOAWAY ends nothing that is under way")
fine()

# -- header blocks

for block, what in ((b"\xff\xff\xff\xff\xff\x7f", "an index out of range"), (b"\x80", "index 0"), (b"\xbe", "an empty table"),
                    (b"\x00\x7f\xff\xff\xff\xff\x0f", "an endless name"), (b"\x00\x05ab", "a name cut short"),
                    (b"\x3f\xff\xff\x7f", "a table size over the limit"),
                    (request() + b"\x20", "a table size at the end"), (request()[:-3], "a value cut short"),
                    (b"\x00\x83\xff\xff\xff\x01a", "broken Huffman code")):
    connection_error(what, frame(HEADERS, HEAD | END_STREAM, 1, block), (COMPRESSION_ERROR, PROTOCOL_ERROR))
R = request()
M, S, P = field(":method", "POST"), field(":scheme", "http"), field(":path", "/coracle.test.Echo/Unary")
T = field("content-type", "application/grpc")
for block, what in ((R + field("Upper", "x"), "an upper-case name"), (M + S + T, "no :path"), (M + P + T, "no :scheme"),
                    (S + P + T, "no :method"), (M + S + field(":path", "") + T, "an empty :path"),
                    (M + M + S + P + T, "two :method"), (M + S + P + P + T, "two :path"),
                    (M + S + P + field(":status", "200") + T, "a :status"),
                    (M + S + P + field(":unknown", "x") + T, "an unknown pseudo-header"),
                    (M + S + T + P, "a pseudo-header behind a field"),
                    (R + field("connection", "close"), "connection"), (R + field("transfer-encoding", "chunked"), "transfer-encoding"),
                    (R + field("upgrade", "h2c"), "upgrade"), (R + field("te", "gzip"), "te: gzip"),
                    (R + field("x", "a\r\nb"), "a line break in a value"), (R + field("x", "a\0b"), "a NUL in a value"),
                    (R + field("x y", "a"), "a blank in a name"), (R + field("", "a"), "an empty name"),
                    (R + field("content-length", "12x"), "a content-length that is no number"), (b"", "no fields at all")):
    refused(what, frame(HEADERS, HEAD, 1, block) + frame(DATA, END_STREAM, 1, message()), (PROTOCOL_ERROR,))
refused("a body longer than content-length", frame(DATA, END_STREAM, 1, message()), E1,
        frame(HEADERS, HEAD, 1, request("/coracle.test.Echo/Unary", ("content-length", "4"))))
refused("a body shorter than content-length", frame(DATA, END_STREAM, 1, message()), E1,
        frame(HEADERS, HEAD, 1, request("/coracle.test.Echo/Unary", ("content-length", "6"))))


def status(what, data, want, http=None, stream=1):
    c = conn()
    c.send(data)
    f = c.end_of(stream)
    ok(f is not None and f.kind == HEADERS and f.grpc_status() == want and (http is None or http in f.payload),
       "%s (%s)" % (what, f))
    c.close()


status("content-length that fits", frame(HEADERS, HEAD, 1, request("/coracle.test.Echo/Unary", ("content-length", "5"))) +
       frame(DATA, END_STREAM, 1, message()), 0)
status("an odd :authority", frame(HEADERS, HEAD, 1, M + S + P + field(":authority", "/run/x y.sock") + T) +
       frame(DATA, END_STREAM, 1, message()), 0)
status("no :authority at all", frame(HEADERS, HEAD, 1, M + S + P + T) + frame(DATA, END_STREAM, 1, message()), 0)
status("GET", frame(HEADERS, HEAD | END_STREAM, 1, field(":method", "GET") + S + P + T), 13)
status("another content-type", frame(HEADERS, HEAD, 1, M + S + P + field("content-type", "text/plain")) +
       frame(DATA, END_STREAM, 1, message()), 3)
status("no content-type", frame(HEADERS, HEAD, 1, M + S + P) + frame(DATA, END_STREAM, 1, message()), 3)
status("application/grpc+proto", frame(HEADERS, HEAD, 1, M + S + P + field("content-type", "application/grpc+proto")) +
       frame(DATA, END_STREAM, 1, message()), 0)
status("application/grpcx", frame(HEADERS, HEAD, 1, M + S + P + field("content-type", "application/grpcx")) +
       frame(DATA, END_STREAM, 1, message()), 3)
for timeout, want in (("5S", 0), ("1H", 0), ("99999999H", 0), ("100000u", 0), ("0m", 4), ("1n", None), ("", 13), ("5", 13), ("S", 13),
                      ("-1S", 13), ("123456789S", 13), ("5s", 13), ("5SS", 13)):
    c = conn()
    c.send(call(1, None, "/coracle.test.Echo/Unary", ("grpc-timeout", timeout)))
    f = c.end_of(1)
    got = f.grpc_status() if f is not None else None
    ok(got in ((0, 4) if want is None else (want,)), "grpc-timeout %r: %r" % (timeout, got))
    c.close()

# A block in pieces, padded, with priority; the table in use across requests, and refused ones.
c = conn()
c.send(frame(HEADERS, PADDED | HAS_PRIORITY, 1, b"\x03" + bytes(4) + b"\x10" + R[:20] + bytes(3)) +
       frame(CONTINUATION, 0, 1, R[20:50]) + frame(CONTINUATION, HEAD, 1, R[50:]) +
       frame(DATA, PADDED, 1, b"\x05" + message() + bytes(5)) + frame(DATA, END_STREAM | PADDED, 1, b"\x00"))
f = c.end_of(1)
ok(f is not None and f.grpc_status() == 0, "a block in three frames, with padding and priority")
indexed = (field(":method", "POST", 0x40) + field(":scheme", "http", 0x40) +
           field(":path", "/coracle.test.Echo/Unary", 0x40) + field("content-type", "application/grpc", 0x40))
c.send(frame(HEADERS, HEAD, 3, indexed + field("connection", "x", 0x40)))
f = c.end_of(3)
ok(f is not None and f.kind in (RST_STREAM, GOAWAY), "a refused request")
if f is not None and f.kind == RST_STREAM:
    c.send(frame(HEADERS, HEAD, 5, b"\xc2\xc1\xc0\xbf") + frame(DATA, END_STREAM, 5, message()))
    f = c.end_of(5)
    ok(f is not None and f.grpc_status() == 0, "its fields are in the table all the same")
    c.send(frame(HEADERS, HEAD, 7, b"\x20" + indexed) + frame(DATA, END_STREAM, 7, message()))
    f = c.end_of(7)
    ok(f is not None and f.grpc_status() == 0, "table size 0")
c = conn(preface=False)
c.send(PREFACE + setting((1, 0)) + settings_ack() + call(1))
f = c.end_of(1)
ok(f is not None and f.grpc_status() == 0, "a peer without a table")

# -- gRPC framing

status("no message", frame(HEADERS, HEAD | END_STREAM, 1, R), 13)
status("an empty body", frame(HEADERS, HEAD, 1, R) + frame(DATA, END_STREAM, 1), 13)
status("half a prefix", frame(HEADERS, HEAD, 1, R) + frame(DATA, END_STREAM, 1, b"\0\0\0"), 13)
status("half a message", frame(HEADERS, HEAD, 1, R) + frame(DATA, END_STREAM, 1, message(b"abc")[:-1]), 13)
status("two messages", frame(HEADERS, HEAD, 1, R) + frame(DATA, END_STREAM, 1, message() + message()), 13)
status("two messages in two frames", frame(HEADERS, HEAD, 1, R) + frame(DATA, 0, 1, message()) +
       frame(DATA, END_STREAM, 1, message()), 13)
status("a compressed message", call(1, message(b"x", 1)), 12)
status("a strange flag", call(1, message(b"x", 7)), 13)
status("a message of 4 GB", frame(HEADERS, HEAD, 1, R) + frame(DATA, 0, 1, b"\0\xff\xff\xff\xff"), 8)
status("the end in an empty frame", frame(HEADERS, HEAD, 1, R) + frame(DATA, 0, 1, message()) +
       frame(DATA, END_STREAM, 1), 0)
status("the end in trailers", frame(HEADERS, HEAD, 1, R) + frame(DATA, 0, 1, message()) +
       frame(HEADERS, HEAD | END_STREAM, 1, field("x-trailer", "y")), 0)
c = conn()
open_stream(c)
for b in message(b"\x0a\x03abc"):
    c.send(frame(DATA, 0, 1, bytes([b])))
c.send(frame(DATA, END_STREAM, 1))
ok(any(f.kind == DATA and f.payload.find(b"abc") > 0 for f in iter(lambda: c.read(2), None)), "a message byte by byte")

# -- windows

c = conn()
c.sync()
open_stream(c)
c.send(frame(DATA, 0, 1, message(bytes(60000))[:16000]) + frame(DATA, 0, 1, bytes(16384)) + frame(DATA, 0, 1, bytes(16384)))
f = c.end_of(1)
first = any(f.kind == WINDOW_UPDATE and f.stream == 1 for f in c.frames)
ok(f is None or f.kind in (RST_STREAM, GOAWAY) and f.code() == FLOW_CONTROL_ERROR or first, "more than the stream's window (%s)" % f)
c.close()
c = conn()
c.sync()
open_stream(c)
c.send(frame(DATA, 0, 1, message(bytes(60000))[:16384]))
f = c.until(lambda f: f.kind == WINDOW_UPDATE and f.stream == 1, 5)
is_(f and struct.unpack(">I", f.payload)[0], 60005 - 16384, "a large message gets exactly the window it needs")
c.send(frame(DATA, 0, 1, bytes(16384)) + frame(DATA, 0, 1, bytes(16384)) + frame(DATA, 0, 1, bytes(60005 - 3 * 16384 + 1)))
f = c.end_of(1)
ok(f is None or f.kind == GOAWAY or f.code() == FLOW_CONTROL_ERROR or f.grpc_status() == 13, "and not one byte more (%s)" % f)
c.close()

# No connection window before our SETTINGS are acknowledged: 65535 bytes and not more.
c = conn(preface=False)
c.send(PREFACE + setting())
for i in range(5):
    open_stream(c, 1 + 2 * i)
    c.send(frame(DATA, 0, 1 + 2 * i, message(bytes(15000))))
f = c.until(lambda f: f.kind == GOAWAY, 5)
ok(f is not None and f.code() == FLOW_CONTROL_ERROR, "the connection's first window (%s)" % f)
c.close()

c = conn(preface=False)
c.send(PREFACE + setting((4, 0)) + settings_ack() + call(1, message(b"\x10\x90\x4e")))
c.sync()
ok(not any(f.kind == DATA for f in c.frames), "no DATA without a window")
c.send(window(1, 3))
c.sync()
is_(sum(len(f.payload) for f in c.frames if f.kind == DATA), 3, "three bytes of window: three bytes")
c.send(setting((4, 100)))
c.sync()
is_(sum(len(f.payload) for f in c.frames if f.kind == DATA), 103, "the initial window grows: so does the stream's")
c.send(setting((4, 50)))
c.sync()
c.send(window(1, 50))
c.sync()
is_(sum(len(f.payload) for f in c.frames if f.kind == DATA), 103, "shrunk below zero, and back to zero: nothing")
c.send(window(1, 20000))
f = c.end_of(1)
ok(f is not None and f.grpc_status() == 0, "and the rest when there is room")
c.close()
c = conn(preface=False)
c.send(PREFACE + setting((4, 0x7fffffff)) + settings_ack() + call(1, message(b"\x10\x80\x80\x08")))
c.sync()
is_(sum(len(f.payload) for f in c.frames if f.kind == DATA), 65535, "the connection's window holds")
c.send(frame(HEADERS, HEAD, 3, R) + frame(DATA, END_STREAM, 3, message()))
c.sync()
ok(not any(f.stream == 3 and f.kind == DATA and f.payload for f in c.frames), "... for other streams as well")
c.send(window(0, 1 << 20))
f = c.end_of(3)
ok(f is not None and f.grpc_status() == 0, "both go on with it")
c.send(setting((4, 0x7fffffff)) + window(1, 1))
c.close()
refused("an initial window that overflows an open stream's", setting((4, 0x7fffffff)), (FLOW_CONTROL_ERROR,),
        frame(HEADERS, HEAD, 1, R) + window(1, 1000))
fine()

# -- floods

LIMIT_KB = 24 << 10


def flood(what, make, total=100000, batch=500, first=b"", must_end=True, must_stop=False, read=True, limit=LIMIT_KB, ends=(GOAWAY,)):
    """Send make(i) for i in 0..total until the server has had enough; memory stays bounded."""
    c = conn()
    c.send(first)
    base = server.anon_kb()
    peak = 0
    i = 0
    stuck_since = None
    while i < total and not c.closed:
        data = b"".join(make(k) for k in range(i, min(i + batch, total)))
        i += batch
        while data and not c.closed:
            n = c.send_nowait(data)
            if n < 0:
                break
            data = data[n:]
            if read:
                while c.read(0) is not None:
                    pass
            if n == 0:
                stuck_since = stuck_since or time.time()
                if time.time() - stuck_since > 2:
                    break
                time.sleep(0.01)
            else:
                stuck_since = None
        peak = max(peak, server.anon_kb())
        if stuck_since:
            break
    if not c.closed and must_end and not must_stop:
        c.until(lambda f: f.kind == GOAWAY, 5)
        c.read(2)
    ended = c.closed or any(f.kind in ends for f in c.frames)
    how = [f.code() for f in c.frames if f.kind == GOAWAY]
    if must_stop:
        ok(ended or stuck_since is not None, "%s: not taken for ever (%d, %s)" % (what, i, how))
    elif must_end:
        ok(ended, "%s: ended after at most %d (%s)" % (what, i, how))
    else:
        ok(ended or stuck_since is not None or i >= total, "%s: %s" % (
            what, "ended" if ended else "not read any more" if stuck_since else "taken"))
    if not server.sanitized():
        ok(peak - base < limit, "... in %d kB" % (peak - base))
    c.close()
    fine("... and the server serves others")


flood("rapid reset", lambda i: call(2 * i + 1, message(b"\x08\xe8\x07"), "/coracle.test.Echo/Slow") + rst(2 * i + 1))
flood("rapid reset of half requests", lambda i: frame(HEADERS, HEAD, 2 * i + 1, R) + rst(2 * i + 1))
flood("resets provoked by WINDOW_UPDATE 0", lambda i: frame(HEADERS, HEAD, 2 * i + 1, R) + window(2 * i + 1, 0))
flood("resets provoked by overflow", lambda i: frame(HEADERS, HEAD, 2 * i + 1, R) + window(2 * i + 1, 0x7fffffff))
flood("resets provoked by DATA behind the end",
      lambda i: call(2 * i + 1, message(b"\x08\xe8\x07"), "/coracle.test.Echo/Slow") + frame(DATA, 0, 2 * i + 1, b"x"))
flood("resets provoked by bad headers", lambda i: frame(HEADERS, HEAD, 2 * i + 1, M))
flood("empty DATA frames", lambda i: frame(DATA, 0, 1), first=frame(HEADERS, HEAD, 1, R))
flood("padding alone", lambda i: frame(DATA, PADDED, 1, b"\xff" + bytes(255)), first=frame(HEADERS, HEAD, 1, R),
      ends=(GOAWAY, RST_STREAM))
flood("SETTINGS", lambda i: setting((4, 1000 + i % 1000)))
flood("SETTINGS, unread", lambda i: setting((4, 1000)), read=False)
flood("PING, unread", lambda i: frame(PING, 0, 0, bytes(8)), total=1000000, read=False, must_stop=True)
flood("PING, read", lambda i: frame(PING, 0, 0, bytes(8)), total=20000, must_end=False)
flood("endless CONTINUATION", lambda i: frame(CONTINUATION, 0, 1, field("x-%d" % i, "y" * 100)),
      first=frame(HEADERS, 0, 1, R))
flood("empty CONTINUATION", lambda i: frame(CONTINUATION, 0, 1), first=frame(HEADERS, 0, 1, R))
bomb = field("x", "y" * 4000, 0x40)
c = conn()
base = server.anon_kb()
c.send(frame(HEADERS, HEAD, 1, R + bomb + b"\xbe" * 10000) + frame(DATA, END_STREAM, 1, message()))
f = c.end_of(1)
ok(f is None or f.kind == HEADERS and f.grpc_status() == 8 or f.kind in (RST_STREAM, GOAWAY),
   "a header bomb of 40 MB (%s)" % f)
if not server.sanitized():
    ok(server.anon_kb() - base < 8 << 10, "... in %d kB" % (server.anon_kb() - base))
flood("header bombs", lambda i: frame(HEADERS, HEAD | END_STREAM, 2 * i + 1, R + bomb + b"\xbe" * 10000), total=300, batch=10,
      must_end=False)
flood("streams never ended", lambda i: frame(HEADERS, HEAD, 2 * i + 1, R), total=10000)
flood("streams that sit on their first window",
      lambda i: frame(HEADERS, HEAD, 2 * i + 1, R) + frame(DATA, 0, 2 * i + 1, message(bytes(16379))[:16000]), total=3000, batch=20,
      limit=48 << 10)
flood("answers never read", lambda i: call(2 * i + 1, message(b"\x10\x80\x80\x40")), total=3000, batch=10, read=False, must_stop=True,
      first=setting((4, 0x7fffffff)) + window(0, 0x7fff0000 - 65535), limit=72 << 10)
flood("answers without a window", lambda i: call(2 * i + 1, message(b"\x10\x80\x80\x40")), total=3000, batch=10, must_end=False,
      first=setting((4, 0)), limit=100 << 10)
flood("WINDOW_UPDATE", lambda i: window(0, 1), total=100000, must_end=False)
flood("unknown frames", lambda i: frame(0x77, 0, 0, bytes(100)), total=50000, must_end=False)
flood("small calls", lambda i: call(2 * i + 1), total=20000, must_end=False)

# Large requests share a budget and get their windows one after another.
c = conn()
c.sync()
base = server.anon_kb()
size = 15 << 20
for i in range(10):
    open_stream(c, 2 * i + 1)
    c.send(frame(DATA, 0, 2 * i + 1, message(bytes(size))[:16000]))
c.sync()
granted = [f.stream for f in c.frames if f.kind == WINDOW_UPDATE and f.stream]
is_(granted, [1, 3], "two of ten requests of 15 MiB get their window")
c.send(rst(1))
f = c.until(lambda f: f.kind == WINDOW_UPDATE and f.stream, 5)
is_(f and f.stream, 5, "the next when one is gone")
c.send(call(101))
f = c.end_of(101)
ok(f is not None and f.grpc_status() == 0, "small ones do not wait")
c.close()

# -- idle and slow peers

quiet = echo.Server()
start = quiet.anon_kb()
many = []
for _ in range(400):
    c = Conn(quiet.sock)
    c.send(call(1))
    c.end_of(1)
    many.append(c)
per = (quiet.anon_kb() - start) / 400
if not server.sanitized():
    ok(per < 24, "an idle connection costs %.1f kB" % per)
for c in many:
    c.close()
is_(quiet.drain(), 0, "400 connections close, the server drains")

left = 13 - (time.time() - silent_since)
if left > 0:
    time.sleep(left)
for c, what in ((silent, "a peer that says nothing"), (half, "half a preface")):
    while c.read(1) is not None:
        pass
    ok(c.closed, what + " is closed after ten seconds")

fine()
is_(server.drain(), 0, "the server drains and exits 0")
tap.done()
