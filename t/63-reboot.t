#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The node was rebooted: the state directory is empty, no process lives, the database is there. Pods are
NOTREADY, containers have exited, networks are given back, images are usable. And a database that was
written by a newer version, or is none, is refused without being touched."""

import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402

host = os.environ.get("CORACLE_TEST_NETWORK") == "host"
node = Node()
registry = Registry(node.dir + "/registry")


def power_off():
    """What a reboot takes: processes, mounts, cgroups, links, everything below the state directory."""
    keeper = node.keeper_pid()
    node.stop(signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    for g in sorted(_cgroup_dirs(), reverse=True):
        for pid in open(g + "/cgroup.procs").read().split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
    for pid in node.processes():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.3)
    for m in reversed([m for m in mounts() if m.startswith(node.state)]):
        subprocess.run(["umount", "-l", m], check=True)
    for g in sorted(_cgroup_dirs(), reverse=True):
        os.rmdir(g)
    shutil.rmtree(node.state)
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
    for line in links.splitlines():
        name = line.split(": ")[1].split("@")[0]
        if name == node.instance or "master " + node.instance in line:
            subprocess.run(["ip", "link", "del", name], stderr=subprocess.DEVNULL)
    db = sqlite3.connect(node.root + "/coracle.db")
    db.execute("UPDATE sandbox SET boot_id = 'another boot'")
    db.commit()
    db.close()


def _cgroup_dirs():
    return [d for g in cgroups(node.instance) for d, _, _ in os.walk(g)]


try:
    ref = registry.busybox()
    node.start()
    image = node.pull(ref)
    pod, config = node.run_pod(name="a", host_network=host)
    ip = node.runtime.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=pod)).status.network.ip
    running = node.run(pod, config, image, ["sh", "-c", "sleep 1000"])
    ended = node.run(pod, config, image, ["sh", "-c", "exit 5"])
    created = node.create(pod, config, image)
    node.wait_exit(ended)
    power_off()
    start = time.monotonic()
    node.start()
    diag("up again after %.0f ms" % ((time.monotonic() - start) * 1000))
    st = node.runtime.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=pod)).status
    same((st.state, st.network.ip), (pb.SANDBOX_NOTREADY, ""), "the pod is not ready")
    st = node.status(running)
    same((st.state, st.exit_code, st.reason), (pb.CONTAINER_EXITED, 255, "Unknown"), "what ran has exited")
    st = node.status(ended)
    same((st.state, st.exit_code), (pb.CONTAINER_EXITED, 5), "what had exited keeps its code")
    ok(ref in [t for i in node.images.ListImages(pb.ListImagesRequest()).images for t in i.repo_tags],
       "the image is there")
    code, text = code_of(node.start_container, created)
    same(code, "FAILED_PRECONDITION", "nothing starts in a pod that is not ready: " + text)
    config.metadata.attempt = 1
    pod2, config = node.run_pod(config)
    c = node.run(pod2, config, image, ["sh", "-c", "echo again; sleep 100"])
    wait_for(lambda: "again" in node.log(c), 5, "log")
    same(node.status(c).state, pb.CONTAINER_RUNNING, "a new attempt runs")
    if not host:
        st = node.runtime.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=pod2)).status
        ok(st.network.ip, "with an address: %s (was %s)" % (st.network.ip, ip))
    node.remove_pod(pod)
    same(node.status(c).state, pb.CONTAINER_RUNNING, "the old one is removed beside it")

    node.stop()
    db = sqlite3.connect(node.root + "/coracle.db")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    db.execute("PRAGMA user_version = 999")
    db.commit()
    db.close()
    cmd = [BUILD + "/coracled", "--config", node.config, "--root", node.root, "--state", node.state, "--listen",
           node.sock, "--instance", node.instance, "--keeper", BUILD + "/coracle-keeper", "--network", "builtin"]
    r = subprocess.run(cmd, capture_output=True, text=True, timeout=30)
    ok(r.returncode != 0 and "999" in r.stderr and "newer" in r.stderr, "a newer database: " + r.stderr.strip()[-150:])
    db = sqlite3.connect(node.root + "/coracle.db")
    same(db.execute("SELECT count(*) FROM sandbox").fetchone()[0], 1, "it was not touched")
    db.execute("PRAGMA user_version = %d" % version)
    db.commit()
    db.close()
    node.start()
    same(node.status(c).state, pb.CONTAINER_RUNNING, "and with its own version all is as before")
except Exception as e:  # noqa: BLE001
    ok(False, "%s: %s" % (type(e).__name__, e))
    import traceback
    diag(traceback.format_exc())
finally:
    registry.stop()
    node.finish()
done()
