#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The gRPC server under h2load (nghttp2-client): every call answered, whole, at a bounded price in
# CPU and memory.

import os
import re
import shutil
import subprocess
import sys

srcdir = os.environ.get("srcdir", os.path.dirname(os.path.abspath(__file__)) + "/..")
sys.path.insert(0, os.path.join(srcdir, "t/lib"))
import tap
from tap import ok, is_

if shutil.which("h2load") is None:
    tap.skip_all("h2load is not installed")
import echo

server = echo.Server()
EXTRA = 5 + 2 + len("/coracle.test.Echo/Unary") + 2 + len("coracle.test.Echo")
body = os.path.join(server.dir, "body")


def load(what, request, answer, n, clients, streams, limit_us):
    """n calls; `answer` bytes of message each."""
    with open(body, "wb") as f:
        f.write(b"\0" + len(request).to_bytes(4, "big") + request)
    before = server.cpu_ticks()
    out = subprocess.run(["h2load", "-n", str(n), "-c", str(clients), "-m", str(streams), "-d", body,
                          "-H", "content-type: application/grpc", "-H", "te: trailers", "-B", "unix:" + server.sock,
                          "http://localhost/coracle.test.Echo/Unary"],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300).stdout.decode()
    us = (server.cpu_ticks() - before) * 1e6 / os.sysconf("SC_CLK_TCK") / n
    if not ok("requests: %d total, %d started, %d done, %d succeeded, 0 failed, 0 errored" % (n, n, n, n) in out,
              "%s: %d calls, %d at a time on each of %d connections" % (what, n, streams, clients)):
        tap.diag(out)
    data = re.search(r"\((\d+)\) data", out)
    size, rest = divmod(int(data.group(1)), n) if data else (0, 1)
    # Besides the payload: prefix, path and service, and the peer's pid and uid as varints.
    ok(rest == 0 and 0 < size - answer - EXTRA <= 12, "... all answered whole, in %d bytes" % size)
    tap.diag("%.1f us of CPU per call; %s" % (us, re.search(r"finished in.*", out).group(0)))
    if not server.sanitized():
        ok(us < limit_us, "... at less than %d us of CPU each" % limit_us)


load("small calls", b"\x0a\x03abc", 5, 20000, 1, 32, 100)
load("many connections", b"\x0a\x03abc", 5, 20000, 50, 8, 100)
load("one at a time", b"\x0a\x03abc", 5, 5000, 1, 1, 200)
load("64 kB each way", b"\x0a\x80\x80\x04" + bytes(65536), 65540, 2000, 2, 16, 1000)
if not server.sanitized():
    ok(server.anon_kb() < 20 << 10, "%d kB afterwards" % server.anon_kb())
is_(server.drain(), 0, "the server drains and exits 0")
tap.done()
