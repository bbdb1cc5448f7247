#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The keeper is killed, then keeper and daemon at once: containers run on, a new keeper adopts them,
logs go on without a gap, exit codes are kept where the kernel tells them."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402

host = os.environ.get("CORACLE_TEST_NETWORK") == "host"
# PIDFD_GET_INFO tells the exit code of a process that is nobody's child of ours since 6.15.
tells = tuple(int(x) for x in os.uname().release.split("-")[0].split(".")[:2]) >= (6, 15)
node = Node()
registry = Registry(node.dir + "/registry")
COUNT = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done"


def numbers(id):
    return [int(l.split()[-1]) for l in node.log(id).splitlines() if " line " in l]


def goes_on(id, what):
    n = len(numbers(id))
    wait_for(lambda: len(numbers(id)) > n + 5, 10, "more log after " + what)
    got = numbers(id)
    same(got, list(range(1, len(got) + 1)), "%s: no line of %d is lost" % (what, len(got)))


def adopted(old):
    wait_for(lambda: node.keeper_pid() not in (0, old), 15, "a new keeper")
    return node.keeper_pid()


try:
    ref = registry.busybox()
    node.start()
    image = node.pull(ref)
    pod, config = node.run_pod(host_network=host)
    c = node.run(pod, config, image, ["sh", "-c", COUNT])
    ends = node.run(pod, config, image, ["sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.05; done; exit 9"])
    goes_on(c, "before")

    keeper = node.keeper_pid()
    os.kill(keeper, signal.SIGKILL)
    keeper = adopted(keeper)
    goes_on(c, "keeper killed")
    same(node.status(c).state, pb.CONTAINER_RUNNING, "it is running")
    same(node.sh(c, "echo hi").stdout, b"hi\n", "exec works with the new keeper")
    node.sh(ends, "touch /tmp/end")
    st = node.wait_exit(ends)
    # Without that it depends on who reaps first, the node's PID 1 or a keeper that looks.
    ok((st.exit_code, st.reason) in ([(9, "Error")] if tells else [(9, "Error"), (255, "Unknown")]),
       "the exit of an adopted container: %d %s" % (st.exit_code, st.reason))

    for turn in range(3):
        keeper = node.keeper_pid()
        os.kill(keeper, signal.SIGKILL)
        node.proc.kill()
        node.proc.wait()
        node.channel.close()
        time.sleep(0.1)
        node.start()
        adopted(keeper)
        same(node.status(c).state, pb.CONTAINER_RUNNING, "both killed, turn %d: it is running" % turn)
        n = len(numbers(c))
        wait_for(lambda: len(numbers(c)) > n + 5, 10, "more log")
        got = numbers(c)
        ok(got == sorted(set(got)), "its log goes on in order")
        same(node.sh(c, "echo hi").stdout, b"hi\n", "exec works")
    short = node.run(pod, config, image, ["sh", "-c", "exit 3"])
    same(node.wait_exit(short).exit_code, 3, "new containers too")
    node.stop_container(c)
    same(node.status(c).state, pb.CONTAINER_EXITED, "the adopted one stops")
except Exception as e:  # noqa: BLE001
    ok(False, "%s: %s" % (type(e).__name__, e))
    import traceback
    diag(traceback.format_exc())
finally:
    registry.stop()
    node.finish()
done()
