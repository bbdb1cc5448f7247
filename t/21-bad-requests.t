#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input: each gets an error with the right code that names what was wrong, and nothing changes."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402

host = os.environ.get("CORACLE_TEST_NETWORK") == "host"
node = Node()
registry = Registry(node.dir + "/registry")


def refused(call, request, code, *words):
    got, text = code_of(call, request, timeout=30)
    ok(got == code and all(w in text for w in words), "%s: %s" % (got, text[:150]))
    if got != code:
        diag("want: %s %s" % (code, words))


try:
    ref = registry.busybox()
    node.start()
    image = node.pull(ref)
    rt, im = node.runtime, node.images
    M, N = pb.PodSandboxMetadata, pb.NamespaceOption

    def pod(**kw):
        c = node.pod_config(host_network=host)
        for k, v in kw.items():
            if isinstance(v, dict):
                getattr(c, k).update(v)
            else:
                setattr(c, k, v)
        return pb.RunPodSandboxRequest(config=c)

    # Sandboxes.
    refused(rt.RunPodSandbox, pb.RunPodSandboxRequest(), "INVALID_ARGUMENT", "metadata")
    refused(rt.RunPodSandbox, pb.RunPodSandboxRequest(config=pb.PodSandboxConfig(metadata=M(name="x"))),
            "INVALID_ARGUMENT", "uid")
    r = pod()
    r.runtime_handler = "no-such"
    refused(rt.RunPodSandbox, r, "INVALID_ARGUMENT", "no-such")
    refused(rt.RunPodSandbox, pod(hostname="a" * 70), "INVALID_ARGUMENT", "hostname")
    refused(rt.RunPodSandbox, pod(log_directory="relative/dir"), "INVALID_ARGUMENT", "log_directory")
    for key, value in (("kernel.core_pattern", "|/x"), ("net.ipv4.../../kernel.core_pattern", "1"),
                       ("vm.swappiness", "1"), ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/x\n")):
        r = pod()
        r.config.linux.sysctls[key] = value
        before = open("/proc/sys/kernel/core_pattern").read()
        got, text = code_of(rt.RunPodSandbox, r, timeout=30)
        ok(got != "OK" and open("/proc/sys/kernel/core_pattern").read() == before,
           "sysctl %s=%r: %s" % (key, value, text[:100]))
    r = pod()
    ns = r.config.linux.security_context.namespace_options.userns_options
    ns.mode = pb.POD
    ns.uids.add(host_id=100000, container_id=1, length=65536)
    ns.gids.add(host_id=100000, container_id=0, length=65536)
    refused(rt.RunPodSandbox, r, "INVALID_ARGUMENT")
    for call, req in ((rt.PodSandboxStatus, pb.PodSandboxStatusRequest(pod_sandbox_id="feed")),
                      (rt.ContainerStatus, pb.ContainerStatusRequest(container_id="feed")),
                      (rt.StartContainer, pb.StartContainerRequest(container_id="feed")),
                      (rt.ExecSync, pb.ExecSyncRequest(container_id="feed", cmd=["x"])),
                      (rt.ContainerStats, pb.ContainerStatsRequest(container_id="feed")),
                      (rt.ReopenContainerLog, pb.ReopenContainerLogRequest(container_id="feed")),
                      (rt.PodSandboxStatus, pb.PodSandboxStatusRequest(pod_sandbox_id=""))):
        refused(call, req, "NOT_FOUND")
    for call, req in ((rt.StopPodSandbox, pb.StopPodSandboxRequest(pod_sandbox_id="feed")),
                      (rt.RemovePodSandbox, pb.RemovePodSandboxRequest(pod_sandbox_id="feed")),
                      (rt.StopContainer, pb.StopContainerRequest(container_id="feed")),
                      (rt.RemoveContainer, pb.RemoveContainerRequest(container_id="feed")),
                      (im.RemoveImage, pb.RemoveImageRequest(image=pb.ImageSpec(image="feed:1")))):
        same(code_of(call, req)[0], "OK", "idempotent: %s of an unknown id" % type(req).__name__)
    same(node.leaks(), [], "nothing came of it")

    # Images.
    for name in ("", "x/UPPER", "a b", "busybox:", "x@sha256:123", "x@sha256:../../etc", "-", "a//b",
                 "127.0.0.1:99999/x"):
        got, text = code_of(im.PullImage, pb.PullImageRequest(image=pb.ImageSpec(image=name)), timeout=30)
        ok(got == "INVALID_ARGUMENT", "PullImage %r: %s %s" % (name, got, text[:100]))
    got, text = code_of(im.PullImage, pb.PullImageRequest(image=pb.ImageSpec(
        image="127.0.0.1:%d/no/such:1" % registry.port)), timeout=30)
    ok(got == "NOT_FOUND", "an image that is not there: %s %s" % (got, text[:100]))
    got, text = code_of(im.PullImage, pb.PullImageRequest(image=pb.ImageSpec(
        image="127.0.0.1:%d/x:1" % free_port())), timeout=60)
    ok(got == "UNKNOWN" and text.startswith("RegistryUnavailable"), "no registry: %s %s" % (got, text[:100]))
    same(im.ImageStatus(pb.ImageStatusRequest(image=pb.ImageSpec(image="nothing:1"))).HasField("image"),
         False, "ImageStatus of an absent image is no error")

    # Containers.
    p, config = node.run_pod(host_network=host)

    def ctr(**kw):
        sc = kw.pop("sc", {})
        c = pb.ContainerConfig(metadata=pb.ContainerMetadata(name=kw.pop("name", "c")),
                               image=pb.ImageSpec(image=kw.pop("image", image)),
                               command=kw.pop("command", ["sleep", "100"]), **kw)
        for k, v in sc.items():
            if hasattr(getattr(c.linux.security_context, k), "CopyFrom"):
                getattr(c.linux.security_context, k).CopyFrom(v)
            elif isinstance(v, list):
                getattr(c.linux.security_context, k).extend(v)
            else:
                setattr(c.linux.security_context, k, v)
        return pb.CreateContainerRequest(pod_sandbox_id=p, config=c, sandbox_config=config)

    create = rt.CreateContainer
    refused(create, pb.CreateContainerRequest(pod_sandbox_id=p), "INVALID_ARGUMENT", "metadata")
    refused(create, pb.CreateContainerRequest(pod_sandbox_id="feed", config=ctr().config), "NOT_FOUND")
    refused(create, ctr(image="no-such:1"), "NOT_FOUND", "no-such")
    refused(create, ctr(log_path="../../etc/x"), "INVALID_ARGUMENT", "log_path")
    refused(create, ctr(log_path="/etc/x"), "INVALID_ARGUMENT", "log_path")
    refused(create, ctr(sc={"run_as_group": pb.Int64Value(value=5)}), "INVALID_ARGUMENT", "user")
    refused(create, ctr(sc={"run_as_username": "nobody-knows"}), "INVALID_ARGUMENT", "nobody-knows")
    refused(create, ctr(sc={"run_as_user": pb.Int64Value(value=4294967296)}), "INVALID_ARGUMENT")
    refused(create, ctr(sc={"capabilities": pb.Capability(add_capabilities=["NO_SUCH_CAP"])}),
            "INVALID_ARGUMENT", "NO_SUCH_CAP")
    refused(create, ctr(CDI_devices=[pb.CDIDevice(name="vendor.com/gpu=0")]), "UNIMPLEMENTED", "vendor.com/gpu=0")
    refused(create, ctr(sc={"privileged": True}), "INVALID_ARGUMENT", "privileged")
    refused(create, ctr(sc={"seccomp": pb.SecurityProfile(profile_type=2, localhost_ref="/no/such.json")}),
            "NOT_FOUND", "/no/such.json")
    refused(create, ctr(mounts=[pb.Mount(container_path="relative", host_path="/tmp")]), "INVALID_ARGUMENT")
    refused(create, ctr(mounts=[pb.Mount(container_path="/m", host_path="/tmp", recursive_read_only=True)]),
            "INVALID_ARGUMENT")
    refused(create, ctr(devices=[pb.Device(container_path="/dev/x", host_path="/no/dev", permissions="rwm")]),
            "INVALID_ARGUMENT")
    got, text = code_of(create, ctr(linux=pb.LinuxContainerConfig(resources=pb.LinuxContainerResources(
        unified={"../../memory.max": "1"}))), timeout=30)
    ok(got != "OK", "unified key that climbs: %s %s" % (got, text[:100]))
    same(len(rt.ListContainers(pb.ListContainersRequest()).containers), 0, "no container came of it")

    c = node.create(p, config, image, ["sleep", "100"])
    refused(rt.ExecSync, pb.ExecSyncRequest(container_id=c, cmd=["true"]), "FAILED_PRECONDITION")
    refused(rt.ReopenContainerLog, pb.ReopenContainerLogRequest(container_id=c), "FAILED_PRECONDITION")
    node.start_container(c)
    refused(rt.StartContainer, pb.StartContainerRequest(container_id=c), "FAILED_PRECONDITION")
    refused(rt.ExecSync, pb.ExecSyncRequest(container_id=c), "INVALID_ARGUMENT", "cmd")
    refused(rt.ExecSync, pb.ExecSyncRequest(container_id=c, cmd=["sleep", "50"], timeout=1),
            "DEADLINE_EXCEEDED", "timed out")
    same(node.sh(c, "cat /proc/[0-9]*/comm | grep -c sleep").stdout.strip(), b"1", "and the command was killed")
    start = time.monotonic()
    r = node.sh(c, "sleep 60 & echo done")
    ok(r.stdout == b"done\n" and time.monotonic() - start < 5, "a background child does not hold ExecSync")
    r = node.execute(c, "sh", "-c", "head -c 40000000 /dev/zero; echo end >&2", timeout=30)
    ok(len(r.stdout) <= 16 << 20 and r.stderr == b"end\n", "output is capped at %d bytes" % len(r.stdout))
    for fd in (3, 5, 8, 12):  # CVE-2024-21626: never a directory of the host
        escape = node.create(p, config, image, ["sh", "-c", "pwd; ls -d etc root state 2>/dev/null; cat coracle.yaml"],
                             working_dir="/proc/self/fd/%d" % fd)
        if code_of(node.start_container, escape)[0] == "OK":
            node.wait_exit(escape)
            ok("network" not in node.log(escape) and "unreachable" not in node.log(escape),
               "working_dir /proc/self/fd/%d is inside: %s" % (fd, node.log(escape)[-60:]))
        else:
            ok(True, "working_dir /proc/self/fd/%d is refused" % fd)
    again = pb.CreateContainerRequest(pod_sandbox_id=p, config=ctr(name="twice").config, sandbox_config=config)
    same(create(again).container_id, create(again).container_id, "a repeated CreateContainer gets the same id")
    same(rt.RunPodSandbox(pb.RunPodSandboxRequest(config=config)).pod_sandbox_id, p,
         "a repeated RunPodSandbox too")
    rt.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=p))
    refused(create, ctr(name="late"), "FAILED_PRECONDITION", "not ready")
except Exception as e:  # noqa: BLE001
    ok(False, "%s: %s" % (type(e).__name__, e))
    import traceback
    diag(traceback.format_exc())
finally:
    registry.stop()
    node.finish()
done()
