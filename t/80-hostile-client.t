#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A client that is in a hurry, repeats itself and does not read: 30 connections with deadlines of 1-50 ms
through the whole life cycle, overlapping requests for the same objects, messages of 16 MiB, subscribers that
do not read, containers that end at once, fork bombs, a log that is flooded beside probes. Two equal rounds:
afterwards nothing is left, and daemon and keeper hold what they held after the first.

CORACLE_HOSTILE_SECONDS: how long a round of random requests lasts (default 5)."""

import os
import random
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402
import coracle  # noqa: E402

SECONDS = float(os.environ.get("CORACLE_HOSTILE_SECONDS", "5"))
CONNECTIONS = 30
RSS_KB = 4096  # what VmRSS may grow by between the rounds: allocator slack, not a leak per request
# The sanitizers keep what was freed, and fill memory with shadows.
with open(coracle.BUILD + "/coracled", "rb") as program:
    SANITIZED = b"__asan_init" in program.read()
SANE = {"OK", "CANCELLED", "DEADLINE_EXCEEDED", "NOT_FOUND", "FAILED_PRECONDITION", "ABORTED"}
seed = int(os.environ.get("CORACLE_SEED", random.randrange(1 << 30)))
diag("CORACLE_SEED=%d" % seed)

node = Node(network=os.environ.get("CORACLE_TEST_NETWORK", "builtin"))
registry = Registry(node.dir + "/registry")
odd = {}


def connect():
    channel = grpc.insecure_channel("unix://" + node.sock, options=[
        ("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 32 << 20),
        ("grpc.max_send_message_length", 32 << 20)])
    return channel, rpc.RuntimeServiceStub(channel)


def attempt(method, request, timeout):
    """A call that may fail, but only in a way that a client can make sense of."""
    try:
        return method(request, timeout=timeout)
    except grpc.RpcError as e:
        # The C++ core resets a stream that it has not opened when a deadline passes at the wrong moment:
        # a connection error by RFC 9113 5.1, and not one of coracled, which is still there.
        if e.code().name == "UNAVAILABLE" and node.proc.poll() is None:
            return None
        if e.code().name not in SANE:
            key = "%s: %s" % (e.code().name, (e.details() or "")[:120])
            odd[key] = odd.get(key, 0) + 1
        return None


def container_request(pod, config, name, script):
    c = pb.ContainerConfig(metadata=pb.ContainerMetadata(name=name), image=pb.ImageSpec(image=image),
                           command=["sh", "-c", script], log_path=name + "/0.log")
    return pb.CreateContainerRequest(pod_sandbox_id=pod, config=c, sandbox_config=config)


def hostile(n, until):
    """One connection: works on the few pods that all of them share, and cuts most calls short."""
    r = random.Random(seed * 1000 + n)
    channel, api = connect()
    while time.monotonic() < until:
        short = r.random() < 0.7
        t = r.uniform(0.001, 0.050) if short else 20
        config = configs[r.randrange(len(configs))]
        pods = attempt(api.ListPodSandbox, pb.ListPodSandboxRequest(), 20)
        ctrs = attempt(api.ListContainers, pb.ListContainersRequest(), 20)
        pods = [p.id for p in pods.items] if pods else []
        ctrs = [c.id for c in ctrs.containers] if ctrs else []
        pod, ctr = (r.choice(pods) if pods else "none"), (r.choice(ctrs) if ctrs else "none")
        what = r.choice(["run", "create", "create", "create", "start", "start", "start", "exec", "exec", "stop",
                         "stop2", "remove", "remove2", "stop pod", "remove pod", "update"])
        if what == "run":
            attempt(api.RunPodSandbox, pb.RunPodSandboxRequest(config=config), t)
        elif what == "create":
            attempt(api.CreateContainer, container_request(
                pod, config, "c%d" % r.randrange(3), r.choice(["sleep 100", "exit 3", "echo a; sleep 0.01"])), t)
        elif what == "start":
            attempt(api.StartContainer, pb.StartContainerRequest(container_id=ctr), t)
        elif what == "exec":
            attempt(api.ExecSync, pb.ExecSyncRequest(
                container_id=ctr, cmd=["sh", "-c", r.choice(["echo a", "sleep 5", "sleep 5 & exit 1"])],
                timeout=1), t)
        elif what == "stop":
            attempt(api.StopContainer, pb.StopContainerRequest(container_id=ctr, timeout=r.choice([0, 1])), t)
        elif what in ("stop2", "remove2"):
            one = api.StopContainer.future(pb.StopContainerRequest(container_id=ctr, timeout=30), timeout=t)
            if what == "remove2":
                attempt(api.RemoveContainer, pb.RemoveContainerRequest(container_id=ctr), t)
            attempt(api.StopContainer, pb.StopContainerRequest(container_id=ctr, timeout=0), t)
            one.cancel()
        elif what == "remove":
            attempt(api.RemoveContainer, pb.RemoveContainerRequest(container_id=ctr), t)
        elif what == "stop pod":
            attempt(api.StopPodSandbox, pb.StopPodSandboxRequest(pod_sandbox_id=pod), t)
        elif what == "remove pod":
            attempt(api.RemovePodSandbox, pb.RemovePodSandboxRequest(pod_sandbox_id=pod), t)
        else:
            attempt(api.UpdateContainerResources, pb.UpdateContainerResourcesRequest(
                container_id=ctr, linux=pb.LinuxContainerResources(cpu_shares=r.randrange(2, 1000))), t)
    channel.close()


def each_at_once(calls):
    """Send all, then collect; the names of the codes."""
    got = []
    for f in [method.future(request, timeout=30) for method, request in calls]:
        try:
            f.result()
            got.append("OK")
        except grpc.RpcError as e:
            got.append(e.code().name)
    return got


def overlaps(say):
    """Pairs that the random part hits only by luck."""
    rt = node.runtime
    pod, config = node.run_pod()
    a = container_request(pod, config, "same", "trap '' TERM; sleep 100 & wait; sleep 100")
    f = [rt.CreateContainer.future(a, timeout=30) for _ in range(5)]
    ids = {x.result().container_id for x in f}
    say(len(ids), 1, "five creations of one name give one container")
    c = ids.pop()
    node.start_container(c)
    began = time.monotonic()
    say(each_at_once([(rt.StopContainer, pb.StopContainerRequest(container_id=c, timeout=30)),
                      (rt.StopContainer, pb.StopContainerRequest(container_id=c, timeout=1))]), ["OK", "OK"],
        "two stops with different grace")
    say(time.monotonic() - began < 10, True, "end by the shorter one")
    codes = []
    for _ in range(10):
        c = node.create(pod, config, image, name="x")
        r = each_at_once([(rt.StartContainer, pb.StartContainerRequest(container_id=c)),
                          (rt.RemoveContainer, pb.RemoveContainerRequest(container_id=c)),
                          (rt.StartContainer, pb.StartContainerRequest(container_id=c)),
                          (rt.RemoveContainer, pb.RemoveContainerRequest(container_id=c)),
                          (rt.StopContainer, pb.StopContainerRequest(container_id=c, timeout=0))])
        codes += [r[1], r[3], r[4]]
    say(set(codes), {"OK"}, "removal during start, twice")
    left = [x for x in rt.ListContainers(pb.ListContainersRequest()).containers if x.metadata.name == "x"]
    say(len(left), 0, "after which it is gone")
    for i in range(6):
        p, pc = node.run_pod()
        r = each_at_once([(rt.CreateContainer, container_request(p, pc, "y%d" % k, "sleep 100")) for k in range(4)] +
                         [(rt.StopPodSandbox, pb.StopPodSandboxRequest(pod_sandbox_id=p)),
                          (rt.RemovePodSandbox, pb.RemovePodSandboxRequest(pod_sandbox_id=p))])
        say(r[4:], ["OK", "OK"], "a pod is removed during CreateContainer") if r[4:] != ["OK", "OK"] else None
        gone = code_of(rt.PodSandboxStatus, pb.PodSandboxStatusRequest(pod_sandbox_id=p))[0]
        if gone != "NOT_FOUND":
            say(gone, "NOT_FOUND", "OK of RemovePodSandbox means that the pod is gone")
    node.remove_pod(pod)


def brutes(say):
    """Containers and messages of the rude kind."""
    rt = node.runtime
    pod, config = node.run_pod()
    quick = [node.create(pod, config, image, ["true"]) for _ in range(20)]
    say(set(each_at_once([(rt.StartContainer, pb.StartContainerRequest(container_id=c)) for c in quick])), {"OK"},
        "containers that end at once start")
    for c in quick:
        node.wait_exit(c)
    say({(node.status(c).exit_code, node.status(c).reason) for c in quick}, {(0, "Completed")}, "and end well")
    bomb = node.run(pod, config, image, ["sh", "-c", "b() { b | b & }; while :; do b; done 2>/dev/null"])
    flood = node.run(pod, config, image, ["sh", "-c", "yes flood & yes flood >&2"])
    calm = node.run(pod, config, image)
    slow = 0
    for _ in range(10):
        began = time.monotonic()
        got = node.execute(calm, "true", timeout=10).exit_code
        slow = max(slow, time.monotonic() - began)
        say(got, 0, "a probe beside them") if got else None
    diag("slowest probe beside a fork bomb and a flood: %.0f ms" % (slow * 1000))
    say(slow < 8, True, "probes are answered beside a fork bomb and a flooded log")
    say(each_at_once([(rt.StopContainer, pb.StopContainerRequest(container_id=x, timeout=0)) for x in (bomb, flood)]),
        ["OK", "OK"], "both can be stopped")
    big = code_of(rt.ExecSync, pb.ExecSyncRequest(container_id=calm, cmd=["true", "x" * (15 << 20)]), timeout=30)
    say(big[0] != "OK" and big[0] != "UNAVAILABLE", True, "an argument of 15 MiB is refused: %s" % big[0])
    big = code_of(rt.ExecSync, pb.ExecSyncRequest(container_id=calm, cmd=["true", "x" * (17 << 20)]), timeout=30)
    say(big[0], "RESOURCE_EXHAUSTED", "a message of more than 16 MiB too")
    out = node.sh(calm, "head -c 20000000 /dev/zero", timeout=30)
    say(len(out.stdout) > 15 << 20, True, "output is cut at what a message holds")
    node.remove_pod(pod)


def measure():
    def of(pid):
        with open("/proc/%d/status" % pid) as f:
            rss = int([l for l in f if l.startswith("VmRSS")][0].split()[1])
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
        return rss, len(os.listdir("/proc/%d/fd" % pid)), len(children)
    return of(node.proc.pid), of(node.keeper_pid())


def settle():
    """Remove everything, and wait until what ends by itself has ended."""
    for p in node.runtime.ListPodSandbox(pb.ListPodSandboxRequest()).items:
        node.remove_pod(p.id)
    wait_for(lambda: not node.leaks(), 10, "clean-up, of %s" % node.leaks()[:5])


def round_of(n):
    failures = []

    def say(got, want, what):
        if got != want:
            failures.append("%s: got %r, want %r" % (what, got, want))
    deaf = []
    for _ in range(5):  # who subscribes and does not read
        channel, api = connect()
        deaf.append((channel, api.GetContainerEvents(pb.GetEventsRequest())))
    until = time.monotonic() + SECONDS
    threads = [threading.Thread(target=hostile, args=(n * 100 + i, until)) for i in range(CONNECTIONS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for p in node.runtime.ListPodSandbox(pb.ListPodSandboxRequest()).items:
        node.remove_pod(p.id)
    same(odd, {}, "round %d: random calls give codes that make sense" % n)
    overlaps(say)
    brutes(say)
    same(failures, [], "round %d: overlapping requests, rude containers" % n)
    for channel, stream in deaf:
        stream.cancel()
        channel.close()
    settle()
    time.sleep(0.3)
    ok(node.proc.poll() is None, "round %d: coracled lives" % n)
    return measure()


try:
    ref = registry.busybox()
    with open(node.config, "w") as f:
        f.write("containers:\n  pids_limit: 60\n")
    node.start()
    image = node.pull(ref)
    keeper = node.keeper_pid()
    configs = [node.pod_config() for _ in range(4)]
    first = round_of(1)
    second = round_of(2)
    same(node.keeper_pid(), keeper, "the keeper is the same one")
    for i, who in enumerate(("coracled", "the keeper")):
        diag("%s: rss %d -> %d KiB, fds %d -> %d, children %d -> %d" % (
            who, first[i][0], second[i][0], first[i][1], second[i][1], first[i][2], second[i][2]))
        ok(second[i][0] <= first[i][0] + RSS_KB, "memory of %s is flat" % who) if not SANITIZED else None
        ok(second[i][1] <= first[i][1] + 2, "descriptors of %s are" % who)
        ok(second[i][2] <= first[i][2], "and its children")
except Exception as e:  # noqa: BLE001
    ok(False, "%s: %s" % (type(e).__name__, e))
    import traceback
    diag(traceback.format_exc())
finally:
    registry.stop()
    node.finish()
done()
