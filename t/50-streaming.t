#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Exec, attach and port-forward, over SPDY/3.1, WebSocket channels and the SPDY tunnel: streams, ends,
exit codes, terminals, sizes, back-pressure, and what a client that breaks the rules gets."""

import json
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402
from spdy import *  # noqa: F401,F403,E402

host = os.environ.get("CORACLE_TEST_NETWORK") == "host"
node = Node()
registry = Registry(node.dir + "/registry")


def exec_url(*cmd, stdin=False, stdout=True, stderr=True, tty=False, id=None):
    return node.runtime.Exec(pb.ExecRequest(container_id=id or ctr, cmd=cmd, tty=tty, stdin=stdin,
                                            stdout=stdout, stderr=stderr and not tty)).url


def attach_url(id, stdin=False, stdout=True, stderr=True, tty=False):
    return node.runtime.Attach(pb.AttachRequest(container_id=id, stdin=stdin, stdout=stdout,
                                                stderr=stderr and not tty, tty=tty)).url


def forward_url(*ports):
    return node.runtime.PortForward(pb.PortForwardRequest(pod_sandbox_id=pod, port=ports)).url


def status_of(raw):
    """(status, exit code or reason) of a v4 error stream."""
    s = json.loads(raw)
    causes = s.get("details", {}).get("causes", [])
    return s["status"], next((c["message"] for c in causes if c.get("reason") == "ExitCode"), s.get("reason"))


def run_spdy(*cmd, protocols=("v4.channel.k8s.io",), input=None, **kw):
    s = Remote.connect(exec_url(*cmd, stdin=input is not None, **kw), protocols)
    s.streams(*(["stdin"] if input is not None else []), "stdout", "stderr")
    if input is not None:
        t = threading.Thread(target=s.send, args=(s.id["stdin"], input, True))
        t.start()
    r = s.result()
    if input is not None:
        t.join()
    s.close()
    return r


def daemon_fds():
    return len(os.listdir("/proc/%d/fd" % node.proc.pid))


def rss_kb():
    with open("/proc/%d/status" % node.proc.pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon"))


def commands(mark):
    return node.sh(ctr, "ps | grep -c '[s]leep %s'" % mark).stdout.strip()


def edges():
    base = exec_url("true").rsplit("/exec/", 1)[0]
    up = ["Connection: Upgrade", "Upgrade: SPDY/3.1"]

    def status(path, lines=(), **kw):
        s, st, _, _ = http_upgrade(base + path, lines, **kw)
        s.close()
        return st
    same([status(p, up) for p in ("/", "/exec/", "/exec/" + "0" * 32, "/attach/" + "0" * 32, "/x/../exec/1")],
         [404] * 5, "unknown paths and tokens are not found")
    url = exec_url("true")
    token = url.rsplit("/", 1)[1]
    ok(len(token) == 32 and set(token) <= set("0123456789abcdef"), "the token is 128 bits")
    same(status("/attach/" + token, up), 404, "a token is good for its own kind only")
    s = Remote.connect(url).streams("stdout", "stderr")
    same(status_of(s.result()[2])[0], "Success", "and was not used up by that")
    s.close()
    same(status("/exec/" + token, up), 404, "a token is good once")
    same(status(exec_url("true")[len(base):]), 400, "no upgrade: 400")
    same(status(exec_url("true")[len(base):], ["Connection: Upgrade", "Upgrade: h2c"]), 426, "another upgrade: 426")
    same(status(exec_url("true")[len(base):], up, method="DELETE"), 405, "another method: 405")
    same(status(exec_url("true")[len(base):], up + ["X-Stream-Protocol-Version: v9.channel.k8s.io"]), 403,
         "an unknown protocol: 403")
    same(status("/exec/x", up + ["Content-Length: 3"]), 400, "no bodies")
    same(status("/exec/x", up + ["Transfer-Encoding: chunked"]), 400, "no chunked bodies")
    same(status("/exec/x", up + ["Host: again"]), 400, "one Host only")
    same(status("/exec/x", up + ["A : b"]), 400, "no blank before the colon")
    same(status("/exec/x", up + ["X: " + "y" * 20000]), 431, "no long heads")
    same(status("/exec/x", ["A%d: b" % i for i in range(120)]), 431, "nor many fields")
    raw = socket.create_connection(("127.0.0.1", int(base.rsplit(":", 1)[1])), 5)
    raw.sendall(b"GET /exec/x HTTP/1.0\r\nHost: a\r\n\r\n")
    same(read_head(raw)[0], 505, "no HTTP/1.0")
    raw.close()
    curl = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{content_type}", base + "/exec/1"],
                          capture_output=True, text=True).stdout
    same(curl, "404 text/plain; charset=utf-8", "curl understands the answer")
    urls = 0
    code = "OK"
    while code == "OK" and urls < 1100:
        code, text = code_of(exec_url, "true")
        urls += code == "OK"
    ok(code == "RESOURCE_EXHAUSTED" and 900 <= urls <= 1000, "at most 1000 tokens wait: %d" % urls)


def exec_spdy():
    same(run_spdy("sh", "-c", "echo out; echo err >&2")[:2], (b"out\n", b"err\n"), "exec: both streams")
    out = run_spdy("sh", "-c", "exit 7")
    same(status_of(out[2]), ("Failure", "7"), "exec: exit code")
    same(status_of(run_spdy("sh", "-c", "kill -9 $$")[2]), ("Failure", "137"), "exec: by a signal")
    data = os.urandom(3 << 20)
    out = run_spdy("cat", input=data)
    ok(out[0] == data and status_of(out[2])[0] == "Success", "exec: 3 MiB through cat, and stdin's end")
    out = run_spdy("sh", "-c", "head -c 5000000 /dev/zero; exit 4")
    same((len(out[0]), status_of(out[2])), (5000000, ("Failure", "4")), "exec: no output is lost at the exit")
    out = run_spdy("/no/such")
    ok(status_of(out[2])[1] == "InternalError" and b"/no/such" in out[2], "exec: a missing program: %r" % out[2][:300])
    out = run_spdy("sh", "-c", "echo x; exit 3", protocols=("v2.channel.k8s.io",))
    ok(out[0] == b"x\n" and b"exit status 3" in out[2] and b"{" not in out[2], "exec: v2 has a text")
    same(run_spdy("true", protocols=())[2], b"", "exec: v1 says nothing of success")
    s = Remote.connect(exec_url("true"), ("v9.channel.k8s.io, v3.channel.k8s.io", "v4.channel.k8s.io"))
    same(s.protocol, "v3.channel.k8s.io", "the client's order of versions counts")
    s.streams("stdout", "stderr").result()
    s.close()
    out = run_spdy("sh", "-c", "sleep 1000 & echo started")
    same(out[0], b"started\n", "exec: a child in the background is not waited for")
    node.sh(ctr, "killall sleep")


def exec_tty():
    s = Remote.connect(exec_url("sh", "-c", "stty size; read x; echo got $x; stty size; exit 6", stdin=True, tty=True))
    s.streams("stdin", "stdout", "resize")
    s.send(s.id["resize"], b'{"Width":81,"Height":25}\n')
    s.until(lambda s: s.data[s.id["stdout"]].endswith(b"\n"))
    s.send(s.id["resize"], b'{"Width":100,"Hei')
    s.send(s.id["resize"], b'ght":30}\n')
    time.sleep(0.2)
    s.send(s.id["stdin"], b"word\n")
    out = s.result()
    ok(b"got word\r\n" in out[0] and b"30 100" in out[0], "exec -t: a terminal, its size follows: %r" % out[0])
    same(status_of(out[2]), ("Failure", "6"), "exec -t: exit code")
    s.close()
    s = Remote.connect(exec_url("sh", "-c", "sleep 1234 & sleep 1234", stdin=True)).streams("stdin", "stdout", "stderr")
    wait_for(lambda: commands(1234) == b"2", 5, "the command")
    s.close()
    wait_for(lambda: commands(1234) == b"0", 5, "its end")
    ok(True, "exec: the command and its children go with the client")


def checks():
    same(code_of(exec_url, "a", tty=False, stdout=False, stderr=False)[0], "INVALID_ARGUMENT", "no stream")
    same(code_of(lambda: node.runtime.Exec(pb.ExecRequest(container_id=ctr, cmd=["a"], tty=True, stdout=True,
                                                          stderr=True)))[0], "INVALID_ARGUMENT", "tty and stderr")
    same(code_of(exec_url)[0], "INVALID_ARGUMENT", "no command")
    same(code_of(exec_url, "a", id="0" * 64)[0], "NOT_FOUND", "no container")
    created = node.create(pod, config, image)
    same(code_of(exec_url, "a", id=created)[0], "FAILED_PRECONDITION", "exec: not running")
    same(code_of(attach_url, created)[0], "FAILED_PRECONDITION", "attach: not running")
    same(code_of(attach_url, ctr, stdout=False, stderr=False)[0], "INVALID_ARGUMENT", "attach: no stream")
    same(code_of(lambda: node.runtime.PortForward(pb.PortForwardRequest(pod_sandbox_id="0" * 64)))[0], "NOT_FOUND",
         "no sandbox")
    node.remove_container(created)


def exec_websocket():
    def ws(*cmd, protocol="v4.channel.k8s.io", **kw):
        w = WebSocket(exec_url(*cmd, **kw), protocol)
        same(w.protocol, protocol, "WebSocket: " + str(protocol))
        return w
    out = ws("sh", "-c", "echo out; echo err >&2; exit 3").channels()
    same((out[1], out[2], status_of(out[3])), (b"out\n", b"err\n", ("Failure", "3")), "v4: streams and exit code")
    w = ws("cat", protocol="v5.channel.k8s.io", stdin=True)
    data = os.urandom(300000)
    for i in range(0, len(data), 100000):
        w.send(b"\0" + data[i:i + 100000])
    w.send(b"\xff\0")
    out = w.channels()
    ok(out[1] == data and status_of(out[3])[0] == "Success" and w.closed == 1000, "v5: CLOSE ends stdin")
    w = ws("cat", protocol="v5.channel.k8s.io", stdin=True)
    w.frame(2, b"\0spl", fin=False)
    w.frame(9, b"beat")
    w.frame(0, b"it", fin=False)
    w.frame(0, b"!", fin=True)
    w.send(b"\xff\0")
    got, pong = b"", None
    while (m := w.message()) is not None:
        got += m[1][1:] if m[0] == 2 and m[1][:1] == b"\1" else b""
        pong = m[1] if m[0] == 10 else pong
    same((got, pong), (b"split!", b"beat"), "fragments with a ping between them")
    w = ws("head", "-c", "4", protocol="v4.base64.channel.k8s.io", stdin=True)
    w.send(b"0" + base64.b64encode(b"abcd"), text=True)
    out = w.channels(decode=True)
    same((out[1], status_of(out[3])[0]), (b"abcd", "Success"), "base64")
    w = ws("sh", "-c", "echo hi; exit 2", protocol="channel.k8s.io")
    out = w.channels()
    ok(out[1] == b"hi\n" and b"exit status 2" in out[3] and b"{" not in out[3], "v1 has a text")
    w = ws("sh", "-c", "stty size; read x; stty size", protocol="v5.channel.k8s.io", stdin=True, tty=True)
    w.send(b'\4{"Width":99,"Height":33}')
    time.sleep(0.3)
    w.send(b"\0\n")
    ok(b"33 99" in w.channels()[1], "a terminal's size")
    for name, code, frames in (("unmasked", 1002, [(2, b"\0x", True, False)]), ("reserved opcode", 1002, [(3, b"", True, True)]),
                               ("continuation of nothing", 1002, [(0, b"x", True, True)]),
                               ("long ping", 1002, [(9, b"x" * 126, True, True)])):
        w = WebSocket(exec_url("cat", stdin=True), "v4.channel.k8s.io")
        for f in frames:
            w.frame(f[0], f[1], fin=f[2], mask=f[3])
        w.channels()
        same(w.closed, code, "WebSocket: %s is refused" % name)
        w.close()
    w = WebSocket(exec_url("cat", stdin=True), "base64.channel.k8s.io")
    w.send(b"0a*bc", text=True)
    w.channels(decode=True)
    same(w.closed, 1007, "malformed base64 is refused")
    wait_for(lambda: node.sh(ctr, "ps | grep -c '[0-9] cat'").stdout.strip() == b"0", 5, "their commands' end")


def attach():
    one = node.run(pod, config, image, ["sh", "-c", "cat; echo done >&2; exit 5"], stdin=True, stdin_once=True)
    watch = Remote.connect(attach_url(one)).streams("stdout", "stderr")
    s = Remote.connect(attach_url(one, stdin=True)).streams("stdin", "stdout", "stderr")
    s.send(s.id["stdin"], b"hello")
    s.until(lambda s: s.data[s.id["stdout"]] == b"hello")
    ok(True, "attach: both ways")
    s.send(s.id["stdin"], b" there", fin=True)
    out = s.result()
    same((out[0], out[1], status_of(out[2])[0]), (b"hello there", b"done\n", "Success"), "attach: stdin_once ends stdin")
    same(watch.result()[:2], (b"hello there", b"done\n"), "attach: another client sees the same")
    s.close()
    watch.close()
    same(node.wait_exit(one).exit_code, 5, "and the container has ended")
    tty = node.run(pod, config, image, ["sh"], stdin=True, tty=True)
    s = Remote.connect(attach_url(tty, stdin=True, tty=True)).streams("stdin", "stdout", "resize")
    s.send(s.id["resize"], b'{"Width":71,"Height":22}')
    time.sleep(0.3)
    s.send(s.id["stdin"], b"stty size\n")
    s.until(lambda s: b"22 71" in s.data[s.id["stdout"]])
    ok(True, "attach: a terminal and its size")
    s.close()
    w = WebSocket(attach_url(tty, stdin=True, tty=True), "v5.channel.k8s.io")
    w.send(b"\0echo again$((1+1))\n")
    got = b""
    while b"again2" not in got and (m := w.message()):
        got += m[1][1:]
    ok(b"again2" in got, "attach: another client later, by WebSocket")
    w.close()
    same(node.status(tty).state, pb.CONTAINER_RUNNING, "detaching ends nothing")
    node.stop_container(tty)
    noisy = node.run(pod, config, image, ["sh", "-c", "n=0; while :; do n=$((n+1)); echo line $n of a lot; done"])
    stalled = Remote.connect(attach_url(noisy)).streams("stdout", "stderr")
    stalled.until(lambda s: len(s.data[s.id["stdout"]]) > 0)
    live = Remote.connect(attach_url(noisy)).streams("stdout", "stderr")
    live.until(lambda s: len(s.data[s.id["stdout"]]) > 4 << 20, 30)
    ok(True, "a stalled client stalls neither the container nor another client")
    live.close()
    stalled.close()
    node.stop_container(noisy)


SERVER = r"""
import socket, sys, threading
def serve(family, addr, port, talk):
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((addr, port)); s.listen(50)
    def loop():
        while True:
            c, _ = s.accept(); threading.Thread(target=talk, args=(c,), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()
def echo(c):
    while d := c.recv(65536): c.sendall(d)
    c.sendall(b"<end>"); c.close()
def reset(c):
    import struct
    c.recv(1); c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); c.close()
base = int(sys.argv[1])
serve(socket.AF_INET, "127.0.0.1", base, echo)
if sys.argv[2] == "6": serve(socket.AF_INET6, "::1", base + 1, echo)
serve(socket.AF_INET, "127.0.0.1", base + 2, reset)
print("ready", flush=True)
sys.stdin.read()
"""


def pair(s, port, request=None):
    kw = {"requestID": request} if request is not None else {}
    e = s.open(fin=True, streamType="error", port=port, **kw)
    return s.open(streamType="data", port=port, **kw), e


def forward(base, v6):
    for name in ("SPDY", "the tunnel"):
        if name == "SPDY":
            s = Spdy.connect(forward_url(), ("portforward.k8s.io",))
            same(s.protocol, "portforward.k8s.io", "port-forward: protocol")
        else:
            w = WebSocket(forward_url(), "SPDY/3.1+portforward.k8s.io")
            same(w.protocol, "SPDY/3.1+portforward.k8s.io", "port-forward: SPDY through WebSocket")
            s = Spdy(w)
        pairs = [pair(s, base, i) for i in range(8)] + [pair(s, base)]
        for i, (d, _) in enumerate(pairs):
            s.send(d, b"conn %d" % i, fin=True)
        s.until(lambda s: all(d in s.fin and e in s.fin for d, e in pairs))
        same([(s.data[d], s.data[e]) for d, e in pairs], [(b"conn %d<end>" % i, b"") for i in range(len(pairs))],
             name + ": connections side by side, half-closed")
        data = os.urandom(2 << 20)
        d, e = pair(s, base, 90)
        t = threading.Thread(target=s.send, args=(d, data, True))
        t.start()
        s.until(lambda s: d in s.fin)
        t.join()
        ok(s.data[d] == data + b"<end>", name + ": 2 MiB there and back")
        if v6:
            d, e = pair(s, base + 1, 91)
            s.send(d, b"six", fin=True)
            s.until(lambda s: d in s.fin)
            same(s.data[d], b"six<end>", name + ": ::1 after 127.0.0.1")
        d, e = pair(s, base + 2, 92)
        s.send(d, b"x")
        s.until(lambda s: e in s.fin)
        ok(b"reset" in s.data[e], name + ": a reset is told: %r" % s.data[e])
        d, e = pair(s, base + 3, 93)
        s.until(lambda s: e in s.fin)
        ok(b"refused" in s.data[e], name + ": nobody listens: %r" % s.data[e])
        d, e = pair(s, base, 94)
        s.send(d, b"still")
        s.until(lambda s: s.data[d] == b"still")
        ok(True, name + ": and the session goes on")
        s.close()
    w = WebSocket(forward_url(base), "v4.channel.k8s.io")
    first = [w.message()[1], w.message()[1]]
    same(first, [b"\0" + struct.pack("<H", base), b"\1" + struct.pack("<H", base)], "channels begin with the port")
    w.send(b"\0ping")
    same(w.message()[1], b"\0ping", "port-forward by channels")
    w.close()
    w = WebSocket(forward_url() + "?port=%d&port=%d" % (base, base + 3), "v4.channel.k8s.io")
    seen = {}
    while b"refused" not in seen.get(3, b""):
        m = w.message()[1]
        seen[m[0]] = seen.get(m[0], b"") + m[1:]
    w.send(b"\0two")
    same(w.message()[1], b"\0two", "several ports of the query, one of them dead")
    w.close()


def abuse():
    def session():
        return Remote.connect(exec_url("cat", stdin=True)).streams("stdin", "stdout", "stderr")

    def dies(name, act):
        s = session()
        s.until(lambda s: len(s.replied) == 4)
        try:
            act(s)
            s.until(lambda s: s.ended, 10)
        except ConnectionError:
            s.ended = True
        ok(s.ended and (s.goaway is None or s.goaway[1] == 1), "SPDY: %s ends the session" % name)
        s.close()
    s = session()
    for i in (1, 3, 99999):
        s.ping(i)
    s.ping(2)
    s.until(lambda s: len(s.pongs) == 3)
    same(s.pongs, [1, 3, 99999], "SPDY: pings are answered, and answers are not")
    s.send(901, b"nobody")
    s.until(lambda s: 901 in s.rst)
    same(s.rst[901], 2, "SPDY: data on no stream is reset")
    extra = s.open(streamType="stdout")
    s.until(lambda s: extra in s.rst)
    same(s.rst[extra], 3, "SPDY: a stream too many is refused")
    s.send(s.id["stdin"], b"z" * 200000)
    s.until(lambda s: len(s.data[s.id["stdout"]]) == 200000 and s.credit.get(0, 0) >= 196608 - 32768)
    ok(s.credit.get(s.id["stdin"], 0) >= 131072, "SPDY: windows are opened again")
    s.close()
    s = Remote.connect(exec_url("head", "-c", "300000", "/dev/zero"))
    s.control(SETTINGS, struct.pack(">III", 1, 7, 1000))
    s.streams("stdout", "stderr")
    s.until(lambda s: len(s.data[s.id["stdout"]]) >= 1000)
    s.t.s.settimeout(0.5)
    try:
        while s.step():
            pass
    except socket.timeout:
        pass
    same(len(s.data[s.id["stdout"]]), 1000, "SPDY: a window that was said is kept to")
    s.t.s.settimeout(20)
    s.control(WINDOW_UPDATE, struct.pack(">II", s.id["stdout"], 400000))
    s.control(WINDOW_UPDATE, struct.pack(">II", 0, 400000))
    same(len(s.result()[0]), 300000, "SPDY: and the rest comes when it opens")
    s.close()
    bomb = zlib.compressobj(9, zdict=DICTIONARY)
    block = bomb.compress(struct.pack(">II", 1, 5) + b"aaaaa" + struct.pack(">I", 10 << 20) + b"\0" * (10 << 20)) + \
        bomb.flush(zlib.Z_SYNC_FLUSH)
    ok(len(block) < 16000, "a bomb of %d bytes" % len(block))

    def fresh(block):
        return lambda s: s.control(SYN_STREAM, struct.pack(">IIBB", 101, 0, 0, 0) + block)
    dies("a header bomb", fresh(block))
    dies("a block that is no zlib", fresh(b"\1\2\3\4\5\6\7\10"))
    dies("a stream id twice", lambda s: s.control(SYN_STREAM, struct.pack(">IIBB", 1, 0, 0, 0) + s.block({"a": "b"})))
    dies("an even stream id", lambda s: s.control(SYN_STREAM, struct.pack(">IIBB", 100, 0, 0, 0) + s.block({"a": "b"})))
    dies("a long control frame", lambda s: s.t.send(struct.pack(">HHI", 0x8003, 4, 0x100000) + b"x" * 100))
    dies("another version", lambda s: s.t.send(struct.pack(">HHI", 0x8002, 6, 4) + b"\0\0\0\1"))
    dies("SETTINGS that lie about their length", lambda s: s.control(SETTINGS, struct.pack(">II", 50, 7)))
    dies("a window beyond 2^31", lambda s: [s.control(WINDOW_UPDATE, struct.pack(">II", 0, 0x7fffffff)) for _ in "12"])
    s = session()
    stop = time.monotonic() + 5
    junk = struct.pack(">HHI", 0x8003, 6, 4) + b"\0\0\0\1"
    s.t.send(junk * 20000)
    s.send(s.id["stdin"], b"alive")
    s.until(lambda s: s.data[s.id["stdout"]] == b"alive")
    ok(time.monotonic() < stop + 5, "SPDY: 20,000 pings in a row")
    s.close()
    s = Spdy.connect(forward_url(), ("portforward.k8s.io",))
    for i in range(600):
        s.open(streamType="error", port=1, requestID=i)
    s.until(lambda s: len(s.rst) >= 600 - 256)
    same(sorted(set(s.rst.values())), [3], "port-forward: at most 256 requests at once")
    s.close()


def churn(n):
    import random
    rnd = random.Random(5)

    def once():
        kind = rnd.randrange(5)
        if kind == 0:
            s = Remote.connect(exec_url("sh", "-c", "echo x"))
            s.streams("stdout", "stderr")
        elif kind == 1:
            s = Remote.connect(exec_url("cat", stdin=True)).streams("stdin", "stdout", "stderr")
            s.send(s.id["stdin"], b"y" * rnd.randrange(100000))
        elif kind == 2:
            s = WebSocket(exec_url("cat", stdin=True), "v5.channel.k8s.io")
            s.send(b"\0z")
        elif kind == 3:
            s = Remote.connect(attach_url(ctr)).streams("stdout", "stderr")
        else:
            s = Spdy.connect(forward_url(), ("portforward.k8s.io",))
            for i in range(3):
                pair(s, 1, i)
        if rnd.randrange(2) and kind != 2:
            s.t.s.settimeout(5)
            s.step()
        s.close()

    def quiet():
        return commands(1234) == b"0" and node.sh(ctr, "ps | grep -c '[0-9] cat'").stdout.strip() == b"0"
    for _ in range(100):
        once()
    wait_for(quiet, 10, "quiet")
    time.sleep(1)
    fds, rss = daemon_fds(), rss_kb()
    for _ in range(n):
        once()
    wait_for(quiet, 10, "quiet")
    wait_for(lambda: daemon_fds() <= fds, 10, "descriptors: %d, now %d" % (fds, daemon_fds()))
    ok(True, "%d sessions dropped: descriptors are back" % n)
    grown = rss_kb() - rss
    ok(os.environ.get("CORACLE_TEST_SANITIZED") or grown < 3000, "and memory: %+d kB" % grown)


def host_network():
    """A pod on the host's network has the host's loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        p, _ = node.run_pod(name="on-host", host_network=True)
        url = node.runtime.PortForward(pb.PortForwardRequest(pod_sandbox_id=p)).url
        s = Spdy.connect(url, ("portforward.k8s.io",))
        d, e = pair(s, listener.getsockname()[1], 1)
        listener.settimeout(10)
        c, _ = listener.accept()
        c.sendall(b"from the host")
        c.close()
        s.until(lambda s: d in s.fin and e in s.fin)
        same(s.data[d], b"from the host", "port-forward to a pod on the host's network")
        s.close()
        node.remove_pod(p)


def keeper_dies():
    s = Remote.connect(exec_url("sh", "-c", "echo up; sleep 4321")).streams("stdout", "stderr")
    s.until(lambda s: s.data[s.id["stdout"]] == b"up\n")
    os.kill(node.keeper_pid(), signal.SIGKILL)
    out = s.result()
    ok(b"keeper" in out[2], "exec: the keeper's death is told: %r" % out[2][:200])
    s.close()
    wait_for(lambda: run_spdy("echo", "again")[0] == b"again\n", 10, "a new keeper")
    ok(True, "and the next command runs")


def tls():
    pem = node.dir + "/stream"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=stream",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", pem + ".key", "-out", pem + ".crt"],
                   check=True, stderr=subprocess.DEVNULL)
    with open(node.config, "a") as f:
        f.write("\nstreaming: {tls_cert: %s.crt, tls_key: %s.key}\n" % (pem, pem))
    node.restart(signal.SIGTERM)
    url = exec_url("cat", stdin=True)
    ok(url.startswith("https://127.0.0.1:"), "an https URL")
    s = Remote.connect(url, cafile=pem + ".crt").streams("stdin", "stdout", "stderr")
    data = os.urandom(1 << 20)
    # In small parts: one thread writes and reads here.
    for i in range(0, len(data), 16384):
        s.send(s.id["stdin"], data[i:i + 16384], i + 16384 >= len(data))
        s.until(lambda s: len(s.data[s.id["stdout"]]) >= i)
    out = s.result()
    ok(out[0] == data and status_of(out[2])[0] == "Success", "exec over TLS: 1 MiB there and back")
    s.close()


try:
    ref = registry.busybox()
    node.start()
    image = node.pull(ref)
    pod, config = node.run_pod(name="web", host_network=host)
    ctr = node.run(pod, config, image)
    checks()
    exec_spdy()
    exec_tty()
    exec_websocket()
    attach()
    base = 20000 + os.getpid() % 20000
    enter = [] if host else ["nsenter", "--net=%s/sandboxes/%s/ns/net" % (node.state, pod)]
    v6 = not host and subprocess.run(enter + ["ip", "-6", "addr", "show", "lo"], capture_output=True).stdout != b""
    server = subprocess.Popen(enter + ["/usr/bin/python3", "-c", SERVER, str(base), "6" if v6 else "4"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        same(server.stdout.readline(), b"ready\n", "a server in the pod")
        forward(base, v6)
    finally:
        server.stdin.close()
        server.wait()
    abuse()
    churn(int(os.environ.get("CORACLE_TEST_SESSIONS", "300")))
    host_network()
    keeper_dies()
    edges()
    tls()
except Exception as e:  # noqa: BLE001
    ok(False, "%s: %s" % (type(e).__name__, e))
    import traceback
    diag(traceback.format_exc())
finally:
    registry.stop()
    node.finish()
done()
