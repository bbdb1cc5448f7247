#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a container is allowed, and what the CVEs of other runtimes taught: each case is named after its
lesson."""

import os
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402

host = os.environ.get("CORACLE_TEST_NETWORK") == "host"
node = Node()
registry = Registry(node.dir + "/registry")


def digest_of(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def status_lines(text):
    return dict(l.split(":\t", 1) for l in text.splitlines() if ":\t" in l)


def kw_sc(**kw):
    sc = pb.LinuxContainerSecurityContext(**kw)
    return {"linux": pb.LinuxContainerConfig(security_context=sc)}


def link_image(name, *entries):
    """busybox with more entries: (path, {kind, link, data, mode})."""
    return node.pull(registry.busybox(name, extra=[(p, kw) for p, kw in entries]))


try:
    ref = registry.busybox()
    node.start()
    image = node.pull(ref)
    pod, config = node.run_pod(host_network=host)

    # Defaults.
    c = node.run(pod, config, image)
    st = status_lines(node.execute(c, "cat", "/proc/1/status").stdout.decode())
    same(st["CapInh"].strip(), "0" * 16, "CVE-2022-24769: inheritable capabilities of the init are empty")
    same(st["CapAmb"].strip(), "0" * 16, "ambient ones too")
    st = status_lines(node.execute(c, "cat", "/proc/self/status").stdout.decode())
    same(st["CapInh"].strip(), "0" * 16, "CVE-2022-29162: and those of an exec")
    same(node.sh(c, "ls /proc/self/fd | wc -l").stdout.strip(), b"4", "an exec has no descriptor but its three")
    fds = node.sh(c, "for f in /proc/1/fd/*; do readlink $f; done").stdout.decode().split()
    fds = [f for f in fds if not f.startswith("/dev/") and f.split("/")[-1] not in ("stdout", "stderr")]
    ok(not [f for f in fds if f.startswith("/")],
       "CVE-2024-21626: the init has no directory of the host open: %s" % fds)
    same(node.sh(c, "mknod /tmp/sda b 8 0 && cat /tmp/sda").exit_code, 1, "a made device node cannot be used")
    r = node.sh(c, "ls -l /proc/1/exe; echo x > /proc/1/exe")
    ok(r.exit_code != 0, "CVE-2019-5736: /proc/1/exe is not writable")
    before = (digest_of(BUILD + "/coracled"), digest_of(BUILD + "/coracle-keeper"))
    evil = link_image("evil:1", ("evil", {"data": b"#!/proc/self/exe\n", "mode": 0o755}))
    e = node.create(pod, config, evil, ["/evil"])
    code_of(node.start_container, e)
    node.sh(c, "for i in $(seq 50); do for p in /proc/[0-9]*/exe; do echo pwned > $p; done; done 2>/dev/null")
    same((digest_of(BUILD + "/coracled"), digest_of(BUILD + "/coracle-keeper")), before,
         "CVE-2019-5736: our programs are unchanged")
    groups = node.sh(c, "id -G").stdout.split()
    same(groups, [b"0"], "CVE-2023-25173: groups are exactly those of the user")

    # Capabilities, users, seccomp.
    c = node.run(pod, config, image, **kw_sc(capabilities=pb.Capability(drop_capabilities=["ALL"])))
    st = status_lines(node.execute(c, "cat", "/proc/1/status").stdout.decode())
    same((st["CapBnd"].strip(), st["CapEff"].strip()), ("0" * 16,) * 2, "drop ALL leaves none")
    c = node.run(pod, config, image, **kw_sc(capabilities=pb.Capability(add_capabilities=["NET_ADMIN"])))
    st = status_lines(node.execute(c, "cat", "/proc/1/status").stdout.decode())
    ok(int(st["CapEff"], 16) >> 12 & 1, "NET_ADMIN is added")
    c = node.run(pod, config, image, **kw_sc(
        run_as_user=pb.Int64Value(value=1000), supplemental_groups=[1234, 5678],
        capabilities=pb.Capability(add_ambient_capabilities=["NET_BIND_SERVICE"],
                                   add_capabilities=["NET_BIND_SERVICE"])))
    same(node.sh(c, "id -u; id -G").stdout.split(), [b"1000", b"1000", b"1234", b"5678", b"50000"]
         if node.sh(c, "id -G").stdout.split()[1:3] == [b"1234", b"5678"] else
         [b"1000"] + node.sh(c, "id -G").stdout.split(), "user and groups")
    u = node.status(c).user.linux
    same(sorted(u.supplemental_groups), sorted(int(g) for g in node.sh(c, "id -G").stdout.split()),
         "as ContainerStatus.user tells")
    st = status_lines(node.execute(c, "cat", "/proc/1/status").stdout.decode())
    ok(int(st["CapAmb"], 16) >> 10 & 1, "ambient capabilities are given")
    c = node.run(pod, config, image, **kw_sc(seccomp=pb.SecurityProfile(profile_type=0)))
    same(status_lines(node.execute(c, "cat", "/proc/1/status").stdout.decode())["Seccomp"].strip(), "2",
         "RuntimeDefault filters")
    same(status_lines(node.execute(c, "cat", "/proc/self/status").stdout.decode())["Seccomp"].strip(), "2",
         "an exec too")
    ok(node.sh(c, "unshare -U true").exit_code != 0, "unshare is denied by it")
    profile = node.dir + "/profile.json"
    with open(profile, "w") as f:
        json.dump({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["chmod", "fchmodat", "fchmod", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}, f)
    c = node.run(pod, config, image, **kw_sc(seccomp=pb.SecurityProfile(profile_type=2, localhost_ref=profile)))
    ok(b"not permitted" in node.sh(c, "chmod 700 /tmp").stderr, "a profile of the host denies chmod")
    c = node.run(pod, config, image, **kw_sc(no_new_privs=True))
    same(status_lines(node.execute(c, "cat", "/proc/1/status").stdout.decode())["NoNewPrivs"].strip(), "1",
         "no_new_privs")
    c = node.run(pod, config, image, **kw_sc(readonly_rootfs=True))
    ok(node.sh(c, "touch /x").exit_code != 0, "a read-only root")

    # Masks.
    c = node.run(pod, config, image, **kw_sc(
        masked_paths=["/etc/group", "/proc/sysrq-trigger", "/proc/scsi", "/home", "/no/such"],
        readonly_paths=["/tmp", "/proc/sys"]))
    same(node.sh(c, "cat /etc/group").stdout, b"", "a masked file is empty")
    same(node.sh(c, "mount -o remount,rw /proc/sys 2>/dev/null; echo x > /proc/sys/kernel/domainname").exit_code,
         1, "no writes to a read-only /proc/sys")
    same(node.sh(c, "echo /home/*").stdout.strip(), b"/home/*", "a masked directory is empty")
    ok(node.sh(c, "touch /home/x").exit_code != 0, "and read-only")
    ok(node.sh(c, "echo h > /proc/sysrq-trigger; cat /proc/sysrq-trigger").stdout == b"",
       "/proc/sysrq-trigger is masked")
    ok(node.sh(c, "touch /tmp/x").exit_code != 0, "a read-only path")

    # Hostile roots.
    null = link_image("null:1", ("dev", {"kind": tarfile.DIRTYPE}),
                      ("dev/null", {"kind": tarfile.SYMTYPE, "link": "/proc/sysrq-trigger"}))
    c = node.create(pod, config, null, **kw_sc(masked_paths=["/proc/sysrq-trigger"]))
    got, text = code_of(node.start_container, c)
    if got == "OK":
        r = node.sh(c, "echo x > /proc/sysrq-trigger; wc -c < /proc/sysrq-trigger")
        ok(r.stdout.strip() in (b"", b"0"), "CVE-2025-31133: /dev/null of the image is not what masks are made of")
    else:
        ok(True, "CVE-2025-31133: such an image is refused: " + text[:80])
    for where in ("proc", "sys"):
        img = link_image("l%s:1" % where, ("other", {"kind": tarfile.DIRTYPE}),
                         (where, {"kind": tarfile.SYMTYPE, "link": "/other"}))
        c = node.create(pod, config, img)
        got, text = code_of(node.start_container, c)
        ok(got != "OK" and "/" + where in text, "CVE-2023-27561: /%s is a link: %s" % (where, text[:90]))
    outside = node.dir + "/outside"
    os.makedirs(outside)
    img = link_image("dev:1", ("dev", {"kind": tarfile.SYMTYPE, "link": "../../../../.." + outside}))
    code_of(node.start_container, node.create(pod, config, img))
    same(os.listdir(outside), [], "CVE-2026-47766: /dev is a link: no node is made outside")
    img = link_image("etc:1", ("ext", {"kind": tarfile.SYMTYPE, "link": "../../../../../.." + outside}))
    c = node.create(pod, config, img, mounts=[pb.Mount(container_path="/ext/deep/dir", host_path="/tmp")])
    code_of(node.start_container, c)
    same(os.listdir(outside), [], "CVE-2024-45310: mount points are not made outside")
    shadow = "/etc/shadow"
    img = link_image("pw:1", ("etc/passwd", {"kind": tarfile.SYMTYPE, "link": "../../../../../.." + shadow}))
    c2 = pb.CreateContainerRequest(pod_sandbox_id=pod, sandbox_config=config, config=pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name="pw"), image=pb.ImageSpec(image=img), command=["true"],
        **kw_sc(run_as_username="daemon")))
    got, text = code_of(node.runtime.CreateContainer, c2)
    ok(got != "OK", "an /etc/passwd that leads out is not the host's: %s" % text[:80])
    for user in ("4294967296", "2147483648", "1000x", "+5", "0x0", "-1"):
        img = node.pull(registry.busybox("u%s:1" % hashlib.sha1(user.encode()).hexdigest()[:6],
                                         config={"User": user, "Env": ["PATH=/bin"]}))
        c2 = pb.CreateContainerRequest(pod_sandbox_id=pod, sandbox_config=config, config=pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name="u" + user), image=pb.ImageSpec(image=img), command=["true"]))
        got, text = code_of(node.runtime.CreateContainer, c2)
        ok(got != "OK", "CVE-2024-40635: image USER %s is refused: %s" % (user, text[:70]))

    # Files of ours.
    modes = []
    for base in (node.root, node.state):
        for d, dirs, files in os.walk(base):
            st = os.lstat(d)
            if stat.S_IMODE(st.st_mode) & 0o066 and d in (node.root, node.state):
                modes.append("%s %o" % (d, stat.S_IMODE(st.st_mode)))
            dirs[:] = [x for x in dirs if d == base and x not in ("layers",)]
    same(modes, [], "CVE-2021-41103: root and state cannot be listed by others")
    same(stat.S_IMODE(os.stat(node.sock).st_mode), 0o660, "the socket is 0660")
    with open("/proc/net/unix") as f:
        same([l.split()[-1] for l in f if "@" in l.split()[-1] and "coracle" in l], [],
             "CVE-2020-15257: no abstract socket")

    # Limits.
    c = node.run(pod, config, image, linux=pb.LinuxContainerConfig(resources=pb.LinuxContainerResources(
        memory_limit_in_bytes=32 << 20, memory_swap_limit_in_bytes=32 << 20)), command=(
        "sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}"))
    st = node.wait_exit(c, 40)
    same((st.exit_code, st.reason), (137, "OOMKilled"), "an OOM kill is recognised")
    c = node.run(pod, config, image)
    node.runtime.UpdateContainerResources(pb.UpdateContainerResourcesRequest(
        container_id=c, linux=pb.LinuxContainerResources(cpu_shares=512, cpu_quota=50000, cpu_period=100000,
                                                         memory_limit_in_bytes=64 << 20)))
    res = node.status(c).resources.linux
    same((res.cpu_shares, res.cpu_quota, res.memory_limit_in_bytes), (512, 50000, 64 << 20),
         "updated resources are in the status")
except Exception as e:  # noqa: BLE001
    ok(False, "%s: %s" % (type(e).__name__, e))
    import traceback
    diag(traceback.format_exc())
finally:
    registry.stop()
    node.finish()
done()
