#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The CRI log format on real containers: streams, partial lines, binary, rotation, terminals, no log."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402

host = os.environ.get("CORACLE_TEST_NETWORK") == "host"
node = Node()
registry = Registry(node.dir + "/registry")
LINE = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d) (stdout|stderr) ([FP]) (.*)$", re.S)


def lines(id):
    with open(node.status(id).log_path, "rb") as f:
        data = f.read()
    return data, [LINE.match(l) for l in data.split(b"\n")[:-1]]


def text(id, stream=b"stdout"):
    """What the container wrote, put together again."""
    return b"".join(m.group(4) + (b"\n" if m.group(3) == b"F" else b"") for m in lines(id)[1]
                    if m.group(2) == stream)


try:
    ref = registry.busybox()
    node.start()
    image = node.pull(ref)
    pod, config = node.run_pod(host_network=host)

    def ran(script, **kw):
        c = node.run(pod, config, image, ["sh", "-c", script], **kw)
        node.wait_exit(c)
        wait_for(lambda: os.path.exists(node.status(c).log_path), 5, "log")
        time.sleep(0.05)
        return c

    c = ran("echo one; echo two >&2; printf tail")
    data, ms = lines(c)
    ok(all(ms) and data.endswith(b"\n"), "each line has time, stream, tag and content")
    same([(m.group(2), m.group(3), m.group(4)) for m in ms if m.group(2) == b"stdout"],
         [(b"stdout", b"F", b"one"), (b"stdout", b"P", b"tail")], "what has no end is tagged P")
    same(text(c, b"stderr"), b"two\n", "stderr is told apart")

    c = ran("head -c 100000 /dev/zero | tr '\\0' x; echo; echo after")
    ms = lines(c)[1]
    same(max(len(m.group(4)) for m in ms), 16384, "long lines are split at 16384 bytes")
    same([m.group(3) for m in ms], [b"P"] * 6 + [b"F", b"F"], "into partial ones")
    same(text(c), b"x" * 100000 + b"\nafter\n", "nothing is lost by that")

    c = ran("head -c 300000 /bin/busybox")
    got = text(c)
    with open("/bin/busybox", "rb") as f:
        want = f.read(300000)
    same(hashlib.sha256(got).hexdigest(), hashlib.sha256(want).hexdigest(), "binary output is kept as it is")
    c = ran("i=0; while [ $i -lt 3000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done")
    same((text(c).split(b"\n")[:-1] == [b"out %d" % i for i in range(3000)],
          text(c, b"stderr").split(b"\n")[:-1] == [b"err %d" % i for i in range(3000)]), (True, True),
         "6000 quick lines of both streams are in order")
    same(oct(os.stat(node.status(c).log_path).st_mode & 0o777), "0o640", "mode 0640")

    c = node.run(pod, config, image, ["sh", "-c", "n=0; while :; do n=$((n+1)); echo line $n; done"])
    path = node.status(c).log_path
    rotated = []
    for i in range(10):
        time.sleep(0.02)
        os.rename(path, "%s.%d" % (path, i))
        node.runtime.ReopenContainerLog(pb.ReopenContainerLogRequest(container_id=c))
        ok(os.path.exists(path), "rotation %d: the new file is there when the call returns" % i) if i == 0 else None
        size = os.path.getsize("%s.%d" % (path, i))
        rotated.append((path + ".%d" % i, size))
    node.stop_container(c)
    time.sleep(0.1)
    ok(all(os.path.getsize(p) == s for p, s in rotated), "an old file gets nothing after that")
    numbers = []
    for p in [p for p, _ in rotated] + [path]:
        with open(p) as f:
            numbers += [int(l.split()[-1]) for l in f]
    same(numbers == list(range(1, len(numbers) + 1)), True, "no line of %d is lost or doubled" % len(numbers))

    c = node.run(pod, config, image, ["sh", "-c", "sleep 100"])
    path = node.status(c).log_path
    os.rename(path, path + ".1")
    os.symlink("/etc/passwd", path)
    got, why = code_of(node.runtime.ReopenContainerLog, pb.ReopenContainerLogRequest(container_id=c))
    ok(got != "OK", "a log that was replaced by a link is refused: " + why)
    c = ran("tty; echo to the terminal", tty=True)
    got = text(c)
    ok(b"/dev/pts/" in got or b"/dev/console" in got, "a container with a terminal: %r" % got[:40])
    same([m for m in lines(c)[1] if m.group(2) == b"stderr"], [], "has stdout alone")
    bare = pb.ContainerConfig(metadata=pb.ContainerMetadata(name="bare"), image=pb.ImageSpec(image=image),
                              command=["sh", "-c", "yes | head -100000; exit 4"])
    c = node.runtime.CreateContainer(pb.CreateContainerRequest(pod_sandbox_id=pod, config=bare,
                                                               sandbox_config=config)).container_id
    node.start_container(c)
    same((node.wait_exit(c).exit_code, node.status(c).log_path), (4, ""), "a container without a log does not block")

    # Hundreds that end at once: each exit code arrives.
    many = [node.create(pod, config, image, ["sh", "-c", "exit %d" % (i % 200 + 1)]) for i in range(100)]
    futures = [node.runtime.StartContainer.future(pb.StartContainerRequest(container_id=c)) for c in many]
    for f in futures:
        f.result(60)
    for c in many:
        node.wait_exit(c)
    same([node.status(c).exit_code for c in many], [i % 200 + 1 for i in range(100)], "100 short containers at once")
except Exception as e:  # noqa: BLE001
    ok(False, "%s: %s" % (type(e).__name__, e))
    import traceback
    diag(traceback.format_exc())
finally:
    registry.stop()
    node.finish()
done()
