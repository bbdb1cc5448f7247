#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The gRPC server with the C++ core's client (Debian's python3-grpcio): sizes, statuses, deadlines,
# cancellation, streams, flow control, many calls at once, drain.

import os
import sys
import threading
import time

srcdir = os.environ.get("srcdir", os.path.dirname(os.path.abspath(__file__)) + "/..")
sys.path.insert(0, os.path.join(srcdir, "t/lib"))
import tap
from tap import ok, is_

try:
    import grpc
except ImportError:
    tap.skip_all("python3-grpcio is not installed")
import echo

server = echo.Server()
pb = echo.stubs(server.dir)
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
           ("grpc.max_metadata_size", 1 << 20), ("grpc.enable_retries", 0)]


def channel(sock=None, options=()):
    return grpc.insecure_channel("unix:" + (sock or server.sock), options=OPTIONS + list(options))


def method(ch, name, response=None, stream=False, service="coracle.test.Echo"):
    make = ch.unary_stream if stream else ch.unary_unary
    return make("/%s/%s" % (service, name), request_serializer=lambda m: m.SerializeToString(),
                response_deserializer=(response or pb.EchoResponse).FromString)


def status_of(f, *args, **kwargs):
    try:
        f(*args, **kwargs)
    except grpc.RpcError as e:
        return e.code().name, e.details()
    return "OK", ""


ch = channel()
unary = method(ch, "Unary")
counters = method(ch, "Counters", pb.CountersResponse)


def eventually(predicate, seconds=10):
    end = time.time() + seconds
    while time.time() < end:
        if predicate(counters(pb.CountersRequest())):
            return True
        time.sleep(0.02)
    return False


# -- unary

r = unary(pb.EchoRequest(payload=b"abc", text="h\u00e9 \U0001f6f6", labels={"a": "1", "b": ""}), timeout=5)
is_((r.payload, r.text, dict(r.labels)), (b"abc", "h\u00e9 \U0001f6f6", {"a": "1", "b": ""}), "a message echoed")
is_((r.peer_pid, r.peer_uid), (os.getpid(), os.getuid()), "the peer's credentials")
is_((r.path, r.service), ("/coracle.test.Echo/Unary", "coracle.test.Echo"), "path and service")
r = method(ch, "Unary", service="coracle.testold.Echo")(pb.EchoRequest())
is_(r.service, "coracle.testold.Echo", "the same table under another service's name")
r = unary(pb.EchoRequest(), metadata=[("traceparent", "00-aa-bb-01")])
is_(r.traceparent, "00-aa-bb-01", "traceparent is handed on")

for n in (0, 1, 100, 16379, 16380, 16384, 65530, 65535, 65536, 1 << 20, (16 << 20) - 200):
    data = os.urandom(n)
    ok(unary(pb.EchoRequest(payload=data), timeout=30).payload == data, "%d bytes there and back" % n)
is_(len(unary(pb.EchoRequest(reply_size=(16 << 20) - 200)).payload), (16 << 20) - 200, "16 MiB back")
is_(status_of(unary, pb.EchoRequest(reply_size=(16 << 20) + 1))[0], "RESOURCE_EXHAUSTED",
    "a response over 16 MiB")
is_(status_of(unary, pb.EchoRequest(payload=bytes((16 << 20) + 1)))[0], "RESOURCE_EXHAUSTED",
    "a request over 16 MiB")
is_(status_of(unary, pb.EchoRequest(payload=bytes(100 << 20)))[0], "RESOURCE_EXHAUSTED",
    "a request of 100 MiB")
is_(unary(pb.EchoRequest(payload=b"x")).payload, b"x", "the connection lives on")

# -- statuses

for code in grpc.StatusCode:
    if code.value[0] == 0:
        continue
    got = status_of(method(ch, "Fail"), pb.FailRequest(code=code.value[0], message="why: 50% caf\u00e9\n%41\x7f"))
    is_(got, (code.name, "why: 50% caf\u00e9\n%41\x7f"), code.name)
is_(status_of(method(ch, "Fail"), pb.FailRequest(code=5, message="x" * 2000)), ("NOT_FOUND", "x" * 511),
    "a long message is cut")
is_(status_of(method(ch, "Missing"), pb.EchoRequest()),
    ("UNIMPLEMENTED", "unknown method /coracle.test.Echo/Missing"), "an unknown method")
is_(status_of(method(ch, "Unary", service="runtime.v9"), pb.EchoRequest()),
    ("UNIMPLEMENTED", "unknown service /runtime.v9/Unary"), "an unknown service")


class Raw:
    def __init__(self, data):
        self.data = data

    def SerializeToString(self):
        return self.data


for data, code, words, what in (
        (b"\x0a\x05ab", "INTERNAL", "payload is cut short", "a field that is cut short"),
        (b"\x07", "INTERNAL", "EchoRequest", "a broken tag"),
        (b"\x0b\x0c", "INTERNAL", "cut short or of no known type", "a group"),
        (b"\x0a" + b"\xff" * 11, "INTERNAL", "payload", "an endless varint"),
        (b"\x1a\x02\xc3\x28", "INVALID_ARGUMENT", "text contains invalid UTF-8", "bad UTF-8"),
        (b"\x1a\x03\xed\xa0\x80", "INVALID_ARGUMENT", "text contains invalid UTF-8", "a surrogate"),
        (b"\x1a\x02a\x00", "INVALID_ARGUMENT", "text contains a NUL byte", "a NUL in a string"),
        (b"\x2a\x05\x0a\x03\x12\x01\xff", "INVALID_ARGUMENT", "nested.label.value contains",
         "bad UTF-8 deep inside"),
        (b"\x32\x03\x0a\x01\xff", "INVALID_ARGUMENT", "many.key contains", "... in a repeated field")):
    got = status_of(unary, Raw(data))
    ok(got[0] == code and words in got[1], "%s: %s" % (what, got[1]))
deep = b""
for _ in range(200):
    head = bytes([0x12])
    n = len(deep)
    length = b""
    while True:
        length += bytes([(n & 127) | (128 if n > 127 else 0)])
        n >>= 7
        if n == 0:
            break
    deep = head + length + deep
got = status_of(unary, Raw(b"\x2a" + bytes([len(deep) & 127 | 128, len(deep) >> 7]) + deep))
ok(got[0] == "INTERNAL" and "nested too deep" in got[1], "messages 200 deep")
before = server.anon_kb()
got = status_of(unary, Raw(b"\x32\x00" * (8 << 20)))
is_(got[0], "RESOURCE_EXHAUSTED", "16 MiB that would unpack to more than a gigabyte")
if not server.sanitized():
    ok(server.anon_kb() - before < 64 << 10, "... cost no such memory")
is_(unary(Raw(b"\x78\x01\xc2\x3e\x01z" + b"\x1a\x01t")).text, "t", "unknown fields are ignored")

# -- deadlines and cancellation

slow = method(ch, "Slow")
t = time.time()
is_(slow(pb.SlowRequest(delay_ms=100), timeout=10).text, "slept", "a slow call is answered")
t = time.time()
is_(status_of(slow, pb.SlowRequest(delay_ms=20000), timeout=0.2)[0], "DEADLINE_EXCEEDED", "a deadline")
ok(time.time() - t < 5, "... in time")
ok(eventually(lambda c: c.running == 0 and c.expired + c.cancelled == 1), "... and the op is cancelled")
f = slow.future(pb.SlowRequest(delay_ms=20000, undo_ms=300))
ok(eventually(lambda c: c.running == 1), "a call under way")
f.cancel()
ok(eventually(lambda c: c.running == 0 and c.expired + c.cancelled == 2), "cancelling reaches the op")
fs = [slow.future(pb.SlowRequest(delay_ms=30000)) for _ in range(300)]
ok(eventually(lambda c: c.running == 300), "300 calls under way")
for f in fs:
    f.cancel()
ok(eventually(lambda c: c.running == 0), "... all cancelled")

# -- many at once

fs = [unary.future(pb.EchoRequest(payload=b"%d" % i), timeout=60) for i in range(1000)]
ok(all(f.result().payload == b"%d" % i for i, f in enumerate(fs)), "1000 calls at once")
fs = [slow.future(pb.SlowRequest(delay_ms=200), timeout=60) for _ in range(1000)]
ok(all(f.result().text == "slept" for f in fs), "1000 slow calls at once")
big = os.urandom(8 << 20)
fs = [unary.future(pb.EchoRequest(payload=big), timeout=120) for _ in range(6)]
ok(all(f.result().payload == big for f in fs), "six times 8 MiB at once, over the budget of windows")

# -- streams

stream = method(ch, "Stream", stream=True)
got = [(m.index, len(m.payload)) for m in stream(pb.StreamRequest(count=100, size=50000), timeout=60)]
is_(got, [(i, 50000) for i in range(100)], "a stream of 100 messages")
is_(list(stream(pb.StreamRequest(count=0))), [], "an empty stream")
is_(sum(1 for _ in stream(pb.StreamRequest(count=5, size=10, interval_ms=20))), 5, "a slow stream")


def drain(request):
    n = 0
    try:
        for _ in stream(request):
            n += 1
    except grpc.RpcError as e:
        return n, e.code().name, e.details()
    return n, "OK", ""


is_(drain(pb.StreamRequest(count=3, size=10, fail_code=9)), (3, "FAILED_PRECONDITION", "as asked"),
    "a stream that ends in an error")
it = stream(pb.StreamRequest(count=1 << 30, size=1000, interval_ms=5))
next(it)
it.cancel()
ok(eventually(lambda c: c.running == 0), "cancelling a stream")
f = stream(pb.StreamRequest(count=1 << 30, size=1000, interval_ms=20), timeout=0.3)
try:
    for _ in f:
        pass
    code = "OK"
except grpc.RpcError as e:
    code = e.code().name
is_(code, "DEADLINE_EXCEEDED", "a stream's deadline")

# A reader that does not read holds up nobody, on the same connection.
stuck = stream(pb.StreamRequest(count=100000, size=10000))
next(stuck)
t = time.time()
ok(all(unary(pb.EchoRequest(payload=b"y"), timeout=10).payload == b"y" for _ in range(200)),
   "200 calls beside a stalled stream")
ok(len(unary(pb.EchoRequest(reply_size=1 << 20), timeout=10).payload) == 1 << 20, "and a large one")
c = counters(pb.CountersRequest())
ok(c.backlog_peak < 256 * 1024, "the stalled stream's backlog stays small (%d)" % c.backlog_peak)
stuck.cancel()
ok(eventually(lambda c: c.running == 0), "and it can be cancelled")
got = drain(pb.StreamRequest(count=3000, size=10000))
is_(got[:2], (3000, "OK"), "30 MB with back-pressure")

# -- headers

r = unary(pb.EchoRequest(payload=b"h"), metadata=[("x-long", "v" * 40000)])
is_(r.payload, b"h", "a header of 40 kB")
got = status_of(unary, pb.EchoRequest(), metadata=[("x-long-%d" % i, "v" * 7000) for i in range(10)])
ok(got[0] in ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL"), "a header list over 64 KiB: " + got[0])
is_(unary(pb.EchoRequest(payload=b"h"), wait_for_ready=True, timeout=10).payload, b"h", "the server goes on")
is_(status_of(unary, pb.EchoRequest(), compression=grpc.Compression.Gzip, timeout=5)[0], "OK",
    "gzip announced for an empty message")
is_(status_of(unary, pb.EchoRequest(payload=b"a" * 10000), compression=grpc.Compression.Gzip, timeout=5)[0],
    "UNIMPLEMENTED", "a compressed message")
odd = channel(options=[("grpc.default_authority", "%2Frun%2Fcoracle.sock")])
is_(method(odd, "Unary")(pb.EchoRequest(payload=b"o")).payload, b"o", "an odd :authority")

# -- keepalive, connections, drain

ka = channel(options=[("grpc.keepalive_time_ms", 100), ("grpc.keepalive_permit_without_calls", 1),
                      ("grpc.http2.max_pings_without_data", 0)])
is_(method(ka, "Slow")(pb.SlowRequest(delay_ms=1000)).text, "slept", "keepalive pings are answered")
base = server.fds()
chans = [channel(options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(20)]
ok(all(method(c, "Unary")(pb.EchoRequest()).path for c in chans), "20 connections")
for c in chans:
    c.close()
end = time.time() + 10
while server.fds() > base and time.time() < end:
    time.sleep(0.02)
ok(server.fds() <= base, "no fd is left of them")

unready = echo.Server("--not-ready")
uch = channel(unready.sock)
is_(status_of(method(uch, "Unary"), pb.EchoRequest()), ("UNAVAILABLE", "server is not initialized yet"),
    "not ready")
is_(status_of(method(uch, "SetReady", pb.CountersResponse), pb.CountersRequest())[0], "OK", "an early method")
is_(status_of(method(uch, "Unary"), pb.EchoRequest())[0], "OK", "ready")
f = method(uch, "Slow").future(pb.SlowRequest(delay_ms=600))
f2 = method(uch, "Slow").future(pb.SlowRequest(delay_ms=300))
time.sleep(0.1)
status = []
t = threading.Thread(target=lambda: status.append(unready.drain()))
t.start()
is_((f.result().text, f2.result().text), ("slept", "slept"), "calls in flight survive the drain")
t.join()
is_(status, [0], "the drained server exits 0")
ok(not os.path.exists(unready.sock), "... and removes its socket")

is_(server.drain(), 0, "the server exits 0")
tap.done()
