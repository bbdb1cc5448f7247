#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""coracled is killed before each call that changes something outside of it, in every operation of the
life cycle. After each: it starts again, the same request succeeds, nothing is left behind when the pod
is removed, and a container that ran all the time has lost nothing."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402

EVERY = int(os.environ.get("CORACLE_KILL_EVERY", "1"))  # 1: each call; n: each n'th, for slow machines

node = Node(args=["--trace", "op"])
registry = Registry(node.dir + "/registry")
lib = node.dir + "/killat.so"
subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", lib, SRC + "/t/lib/killat.c",
                "-ldl"], check=True)
total = 0
points = {}


def armed(op, n):
    return dict(os.environ, LD_PRELOAD=lib, CORACLE_KILL_OP=op, CORACLE_KILL_N=str(n),
                CORACLE_KILL_LOG=node.dir + "/kill")


def killed(act):
    """Did the daemon die under the call?"""
    try:
        act()
    except grpc.RpcError as e:
        if e.code() != grpc.StatusCode.UNAVAILABLE:
            raise
        node.proc.wait(10)
        return True
    return node.proc.poll() is not None


def matrix(op, prepare, act, check):
    """act under a daemon that dies before its n'th call, for every n until it gets through."""
    global total
    problems, n = [], 1
    while n < 400:
        node.stop()
        node.start()
        world = prepare()
        node.stop()
        node.start(env=armed(op, n))
        died = killed(lambda: act(world))
        where = ""
        if died:
            total += 1
            with open(node.dir + "/kill") as f:
                where = f.read()
            points[where] = points.get(where, 0) + 1
        node.stop()
        node.start()
        try:
            check(world, act, died)
            for p in node.runtime.ListPodSandbox(pb.ListPodSandboxRequest()).items:
                if p.id != witness_pod:
                    node.remove_pod(p.id)
            wait_for(lambda: not foreign(), 5, "clean-up")
        except (Exception, TimeoutError) as e:  # noqa: BLE001
            problems.append("call %d (%s): %s; left: %s" % (n, where, e, foreign()[:6]))
            if len(problems) > 3:
                break
        if not died:
            break
        n += EVERY
    same(problems, [], "%s: killed before each of %d calls" % (op, n - 1))


def foreign():
    """What is there beside the witness."""
    return [l for l in node.leaks() if witness not in l and witness_pod not in l and witness_link not in l]


def fresh():
    config = node.pod_config()
    return {"config": config}


def with_pod():
    pod, config = node.run_pod()
    return {"pod": pod, "config": config}


def container_config(image):
    return pb.ContainerConfig(metadata=pb.ContainerMetadata(name="c"), image=pb.ImageSpec(image=image),
                              command=["sh", "-c", "echo started; sleep 1000"], log_path="c/0.log")


def create(w):
    w["ctr"] = node.runtime.CreateContainer(pb.CreateContainerRequest(
        pod_sandbox_id=w["pod"], config=container_config(image), sandbox_config=w["config"])).container_id


def with_container():
    w = with_pod()
    create(w)
    return w


def with_running():
    w = with_container()
    node.start_container(w["ctr"])
    return w


def run_pod(w):
    w["pod"] = node.runtime.RunPodSandbox(pb.RunPodSandboxRequest(config=w["config"])).pod_sandbox_id


def check_run_pod(w, act, died):
    act(w)
    st = node.runtime.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=w["pod"])).status
    assert st.state == pb.SANDBOX_READY and st.network.ip, "not ready"
    ready = [p for p in node.runtime.ListPodSandbox(pb.ListPodSandboxRequest()).items
             if p.state == pb.SANDBOX_READY and p.id != witness_pod]
    assert len(ready) == 1, "%d sandboxes are ready" % len(ready)


def check_create(w, act, died):
    act(w)
    node.start_container(w["ctr"])
    assert node.sh(w["ctr"], "echo hi").stdout == b"hi\n", "exec"
    n = len(node.runtime.ListContainers(pb.ListContainersRequest(filter=pb.ContainerFilter(
        pod_sandbox_id=w["pod"]))).containers)
    assert n == 1, "%d containers" % n


def check_start(w, act, died):
    st = node.status(w["ctr"])
    if st.state == pb.CONTAINER_CREATED:
        act(w)
        st = node.status(w["ctr"])
    if st.state == pb.CONTAINER_EXITED:
        assert st.reason in ("StartError", "Error", "Unknown"), st.reason
        return
    assert st.state == pb.CONTAINER_RUNNING, st.state
    wait_for(lambda: node.log(w["ctr"]).count("started") == 1, 5, "its log")


def check_stop(w, act, died):
    act(w)
    st = node.status(w["ctr"])
    assert st.state == pb.CONTAINER_EXITED and st.exit_code == 137, "%s %d" % (st.state, st.exit_code)


def check_gone(w, act, died):
    act(w)


def stop_pod(w):
    node.runtime.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=w["pod"]))


def remove_pod(w):
    node.runtime.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=w["pod"]))


def check_stop_pod(w, act, died):
    act(w)
    st = node.runtime.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=w["pod"])).status
    assert st.state == pb.SANDBOX_NOTREADY, "still ready"


def execute(w):
    w["out"] = node.sh(w["ctr"], "echo out").stdout


def check_exec(w, act, died):
    act(w)
    assert w["out"] == b"out\n", w["out"]
    assert node.status(w["ctr"]).state == pb.CONTAINER_RUNNING


try:
    ref = registry.busybox()
    node.start()
    image = node.pull(ref)
    witness_pod, wc = node.run_pod(name="witness")
    witness = node.run(witness_pod, wc, image, ["sh", "-c", "n=0; while :; do n=$((n+1)); echo line $n; "
                                                "sleep 0.02; done"])
    links = [l for l in node.leaks() if l.startswith("link ")]
    witness_link = links[0] if links else "no link"

    matrix("RunPodSandbox", fresh, run_pod, check_run_pod)
    matrix("CreateContainer", with_pod, create, check_create)
    matrix("StartContainer", with_container, lambda w: node.start_container(w["ctr"]), check_start)
    matrix("ExecSync", with_running, execute, check_exec)
    matrix("StopContainer", with_running, lambda w: node.stop_container(w["ctr"]), check_stop)
    matrix("RemoveContainer", with_running, lambda w: node.remove_container(w["ctr"]), check_gone)
    matrix("StopPodSandbox", with_running, stop_pod, check_stop_pod)
    matrix("RemovePodSandbox", with_running, remove_pod, check_gone)

    diag("%d kills: %s" % (total, ", ".join("%s %d" % p for p in sorted(points.items()))))
    same(node.status(witness).state, pb.CONTAINER_RUNNING, "the witness runs")
    numbers = [int(l.split()[-1]) for l in node.log(witness).splitlines()]
    same(numbers, list(range(1, len(numbers) + 1)), "and lost no line of %d" % len(numbers))
except Exception as e:  # noqa: BLE001
    ok(False, "%s: %s" % (type(e).__name__, e))
    import traceback
    diag(traceback.format_exc())
finally:
    registry.stop()
    node.finish()
done()
