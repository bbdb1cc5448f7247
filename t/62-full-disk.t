#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The disk is full: calls fail with RESOURCE_EXHAUSTED and change nothing; with room again they succeed."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402

host = os.environ.get("CORACLE_TEST_NETWORK") == "host"
node = Node()
registry = Registry(node.dir + "/registry")
os.makedirs(node.root)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "full", node.root], check=True)


def fill():
    """To the last page."""
    with open(node.root + "/filler", "ab", buffering=0) as f:
        for size in (1 << 20, 4096):
            try:
                while True:
                    f.write(b"x" * size)
            except OSError:
                pass


def free():
    os.unlink(node.root + "/filler")


try:
    ref = registry.busybox()
    node.start()
    fill()
    got, text = code_of(node.pull, ref)
    same(got, "RESOURCE_EXHAUSTED", "PullImage: " + text)
    same(len(node.images.ListImages(pb.ListImagesRequest()).images), 0, "no image came of it")
    free()
    image = node.pull(ref)
    ok(image, "with room again it is pulled")
    pod, config = node.run_pod(host_network=host)
    c = node.run(pod, config, image)
    fill()
    got, text = code_of(node.run_pod, node.pod_config(host_network=host))
    ok(got in ("RESOURCE_EXHAUSTED", "OK"), "RunPodSandbox: %s %s" % (got, text))
    got, text = code_of(node.create, pod, config, image)
    ok(got in ("RESOURCE_EXHAUSTED", "OK"), "CreateContainer: %s %s" % (got, text))
    same(node.sh(c, "echo hi").stdout, b"hi\n", "what runs can still be probed")
    same(node.status(c).state, pb.CONTAINER_RUNNING, "and looked at")
    free()
    c2 = node.run(pod, config, image)
    same(node.status(c2).state, pb.CONTAINER_RUNNING, "with room again all works")
    node.restart()
    same(node.status(c).state, pb.CONTAINER_RUNNING, "over a restart too")
except Exception as e:  # noqa: BLE001
    ok(False, "%s: %s" % (type(e).__name__, e))
    import traceback
    diag(traceback.format_exc())
finally:
    registry.stop()
    # The file system under root is the test's own, and no leak.
    leaks = node.leaks
    node.leaks = lambda: [l for l in leaks() if l != "mount " + node.root]
    node.finish()
done()
