#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The main job, with a client that is not ours: pull, run, log, exec, stats; the daemon killed in the
middle; stop, remove; nothing left."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402

# Where the kernel has no nftables for a pod network, the pod is on the host's.
host = os.environ.get("CORACLE_TEST_NETWORK") == "host"
node = Node()
registry = Registry(node.dir + "/registry")
try:
    ref = registry.busybox()
    node.start()
    v = node.runtime.Version(pb.VersionRequest())
    same((v.version, v.runtime_name, v.runtime_api_version), ("0.1.0", "coracle", "v1"), "Version")

    def conditions_now():
        return {c.type: c.status for c in node.runtime.Status(pb.StatusRequest()).status.conditions}
    if not host:
        wait_for(lambda: conditions_now()["NetworkReady"], 10, "the network")
    conditions = conditions_now()
    same(conditions, {"RuntimeReady": True, "NetworkReady": not host}, "Status: ready")

    image = node.pull(ref)
    ok(image.startswith("sha256:"), "pulled " + image[:19])
    st = node.images.ImageStatus(pb.ImageStatusRequest(image=pb.ImageSpec(image=ref))).image
    same((st.id, list(st.repo_tags)), (image, [ref]), "ImageStatus by the tag")

    pod, config = node.run_pod(name="web", host_network=host, labels={"app": "web"})
    status = node.runtime.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=pod)).status
    same(status.state, pb.SANDBOX_READY, "the sandbox is ready")
    ok(bool(status.network.ip) != host, "and has an address: " + status.network.ip)

    ctr = node.create(pod, config, image, ["sh", "-c", "echo hello; echo oops >&2; n=0; "
                                           "while :; do n=$((n+1)); echo line $n; sleep 0.05; done"])
    same(node.status(ctr).state, pb.CONTAINER_CREATED, "created")
    node.start_container(ctr)
    same(node.status(ctr).state, pb.CONTAINER_RUNNING, "running")
    wait_for(lambda: "line 2" in node.log(ctr), 5, "log")
    lines = node.log(ctr).splitlines()
    same([l.split(" ", 1)[1] for l in lines if "hello" in l or "oops" in l],
         ["stdout F hello", "stderr F oops"], "the log has both streams")

    r = node.sh(ctr, "echo out; echo err >&2; exit 3")
    same((r.stdout, r.stderr, r.exit_code), (b"out\n", b"err\n", 3), "ExecSync")
    same(node.execute(ctr, "cat", "/etc/hostname").stdout.decode().strip(), os.uname().nodename, "hostname")
    ok(b"lo" in node.sh(ctr, "ip -o addr").stdout and status.network.ip.encode() in
       node.sh(ctr, "ip -o addr").stdout, "it has its address inside")
    stats = node.runtime.ContainerStats(pb.ContainerStatsRequest(container_id=ctr)).stats
    ok(stats.cpu.usage_core_nano_seconds.value > 0 and stats.memory.working_set_bytes.value > 0, "stats")

    pid = node.sh(ctr, "echo $PPID").exit_code
    before = node.log(ctr).splitlines()[-1]
    node.restart()
    st = node.status(ctr)
    same(st.state, pb.CONTAINER_RUNNING, "after kill -9 of the daemon it still runs")
    status2 = node.runtime.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=pod)).status
    same((status2.network.ip, status2.state), (status.network.ip, pb.SANDBOX_READY), "with its address")
    n = node.log(ctr).count("line")
    wait_for(lambda: node.log(ctr).count("line") > n + 3, 5, "more log")
    numbers = [int(l.split()[-1]) for l in node.log(ctr).splitlines() if " line " in l]
    same(numbers, list(range(1, len(numbers) + 1)), "no line of the log is lost")
    same(node.sh(ctr, "echo again").stdout, b"again\n", "exec works again")

    keeper = node.keeper_pid()
    ok(keeper > 0, "the keeper outlived the daemon")
    node.stop_container(ctr, grace=1)
    st = node.status(ctr)
    same(st.state, pb.CONTAINER_EXITED, "EXITED when StopContainer returns")
    same((st.exit_code, st.reason), (137, "Error"), "by SIGKILL, since the shell ignores SIGTERM")
    short = node.run(pod, config, image, ["sh", "-c", "exit 7"])
    st = node.wait_exit(short)
    same((st.exit_code, st.reason), (7, "Error"), "exit code")
    bad = node.create(pod, config, image, ["/no/such/program"])
    code, text = code_of(node.start_container, bad)
    ok(code != "OK" and "/no/such/program" in text, "a missing program: " + text)
    st = node.status(bad)
    same((st.state, st.exit_code, st.reason), (pb.CONTAINER_EXITED, 128, "StartError"), "StartError")
    node.remove_container(ctr)
    same(code_of(node.status, ctr)[0], "NOT_FOUND", "removed")
    node.remove_pod(pod)
    same(len(node.runtime.ListPodSandbox(pb.ListPodSandboxRequest()).items), 0, "no sandbox")
    node.images.RemoveImage(pb.RemoveImageRequest(image=pb.ImageSpec(image=ref)))
    same(len(node.images.ListImages(pb.ListImagesRequest()).images), 0, "no image")
except Exception as e:  # noqa: BLE001
    ok(False, "%s: %s" % (type(e).__name__, e))
    import traceback
    diag(traceback.format_exc())
finally:
    registry.stop()
    node.finish()
done()
