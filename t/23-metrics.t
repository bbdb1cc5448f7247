#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Metrics through the wire: a container under limits that burns CPU, writes files, opens sockets and
hits its limits; and the resources of a pod, which outlive the daemon."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402

host = os.environ.get("CORACLE_TEST_NETWORK") == "host"
MIB = 1 << 20
BASE = ["container", "id", "image", "name", "namespace", "pod"]
# What a host or a moment may not have: huge pages, pressure, devices with traffic, a kernel before 5.19.
OPTIONAL = {"container_" + n for n in (
    "hugetlb_usage_bytes", "hugetlb_max_usage_bytes", "blkio_device_usage_total", "fs_reads_bytes_total",
    "fs_reads_total", "fs_writes_bytes_total", "fs_writes_total", "memory_max_usage_bytes", "memory_swap",
    "spec_memory_swap_limit_bytes")} | {
    "container_pressure_%s_%s_seconds_total" % (r, w) for r in ("cpu", "memory", "io")
    for w in ("stalled", "waiting")}
SCRIPT = """
dd if=/dev/zero of=/tmp/file bs=1M count=5 2>/dev/null
nc -l -p 9 & nc -l -p 10 &
n=0; while :; do n=$((n+1)); done & sleep 1000 & wait
"""
node = Node(config="containers: {pids_limit: 500}\n")
registry = Registry(node.dir + "/registry")


def scrape(pod):
    """{(name, container id or ""): [(labels, metric)]} of one pod."""
    answer = node.runtime.ListPodSandboxMetrics(pb.ListPodSandboxMetricsRequest(), timeout=20)
    found = {}
    for p in answer.pod_metrics:
        if p.pod_sandbox_id != pod:
            continue
        for id, metrics in [("", p.metrics)] + [(c.container_id, c.metrics) for c in p.container_metrics]:
            for m in metrics:
                found.setdefault((m.name, id), []).append((tuple(m.label_values), m))
    return found


def pod_info(pod):
    r = node.runtime.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=pod, verbose=True), timeout=10)
    return json.loads(r.info["info"])


def memory_limit(cgroup):
    for f in ("/sys/fs/cgroup/memory%s/memory.limit_in_bytes", "/sys/fs/cgroup%s/memory.max"):
        if os.path.exists(f % cgroup):
            with open(f % cgroup) as file:
                return file.read().strip()
    return ""


try:
    ref = registry.busybox()
    node.start()
    image = node.pull(ref)
    descriptors = {d.name: d for d in node.runtime.ListMetricDescriptors(
        pb.ListMetricDescriptorsRequest(), timeout=10).descriptors}
    same(len(descriptors), 56, "56 descriptors")
    same([d.name for d in descriptors.values() if not d.help or list(d.label_keys)[:6] != BASE], [],
         "each with help and the base labels")
    same(code_of(node.channel.unary_unary("/runtime.v1alpha2.RuntimeService/ListMetricDescriptors"), b"")[0],
         "UNIMPLEMENTED", "the older API has none")
    same(len(node.runtime.ListPodSandboxMetrics(pb.ListPodSandboxMetricsRequest()).pod_metrics), 0, "no pods")
    same(len(list(node.runtime.StreamPodSandboxMetrics(pb.StreamPodSandboxMetricsRequest()))), 0,
         "nothing in the stream")

    pod, config = node.run_pod(name="web", host_network=host)
    limits = pb.LinuxContainerResources(cpu_period=100000, cpu_quota=20000, cpu_shares=1024,
                                        memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=64 * MIB)
    ctr = node.create(pod, config, image, ["sh", "-c", SCRIPT], name="burner",
                      linux=pb.LinuxContainerConfig(resources=limits))
    same({id for _, id in scrape(pod)}, {""}, "a container that was not started has no metrics")
    node.start_container(ctr)
    wait_for(lambda: scrape(pod)["container_cpu_cfs_throttled_periods_total", ctr][0][1].value.value > 2 and
             scrape(pod)["container_fs_usage_bytes", ctr][0][1].value.value >= 5 * MIB, 90, "a full reading")
    wait_for(lambda: scrape(pod)["container_sockets", ctr][0][1].value.value == 2, 20, "listeners")
    found = scrape(pod)

    def value(name, id=ctr, **labels):
        for values, m in found.get(("container_" + name, id), []):
            have = dict(zip(descriptors["container_" + name].label_keys, values))
            if all(have[k] == v for k, v in labels.items()):
                return m.value.value
        return None

    names = {name for name, _ in found}
    missing = set(descriptors) - names - OPTIONAL
    if host:
        missing = {m for m in missing if "_network_" not in m}
    same(missing, set(), "each metric is there")
    same(names - set(descriptors), set(), "and none that was not announced")
    same([n for (n, _), l in found.items() for values, _ in l
          if len(values) != len(descriptors[n].label_keys)], [], "as many values as label keys")
    keys = [(n,) + values for (n, _), l in found.items() for values, _ in l]
    same(len(keys), len(set(keys)), "no two of a name have the same labels")
    now = time.time()
    same([n for (n, _), l in found.items() for _, m in l if not now - 60 < m.timestamp / 1e9 < now + 5], [],
         "each with its time")
    labels = dict(zip(BASE, found["container_memory_rss", ctr][0][0]))
    same((labels["container"], labels["name"], labels["namespace"], labels["pod"], labels["image"]),
         ("burner", ctr, "default", "web", image), "labels of the container")
    ok(labels["id"].endswith("/" + ctr) and labels["id"].startswith("/"), "its cgroup: " + labels["id"])
    labels = dict(zip(BASE, found["container_memory_rss", ""][0][0]))
    same((labels["container"], labels["name"], labels["pod"], labels["image"]), ("", pod, "web", ""),
         "labels of the pod")

    same((value("spec_cpu_period"), value("spec_cpu_quota"), value("spec_cpu_shares")), (100000, 20000, 1024),
         "CPU limits")
    same(value("spec_memory_limit_bytes"), 64 * MIB, "memory limit")
    ok(value("spec_memory_swap_limit_bytes") in (64 * MIB, None), "memory and swap")
    ok(value("memory_usage_bytes") < 64 * MIB, "memory in use")
    ok(value("cpu_cfs_periods_total") >= value("cpu_cfs_throttled_periods_total") > 2, "throttled")
    ok(5 <= value("processes") <= 8, "processes: %s" % value("processes"))
    same((value("threads"), value("threads_max")), (value("processes"), 500), "threads, and their limit")
    ok(value("file_descriptors") >= value("processes"), "descriptors: %s" % value("file_descriptors"))
    same(value("sockets"), 2, "two sockets")
    ok(value("ulimits_soft", ulimit="max_open_files") > 0, "limit of open files")
    ok(5 * MIB <= value("fs_usage_bytes") < 7 * MIB < value("fs_limit_bytes"), "writable layer")
    ok(value("memory_failures_total", failure_type="pgfault", scope="container") > 0, "page faults")
    ok(abs(value("start_time_seconds") - node.status(ctr).started_at / 1e9) <= 1 and
       abs(value("last_seen") - now) < 30, "times")
    ok(value("memory_usage_bytes", "") >= value("memory_rss"), "the pod's memory has the container's in it")
    if not host:
        node.sh(ctr, "ping -c 2 -w 4 127.0.0.1 >/dev/null; ip -o link")
        ok(value("network_receive_bytes_total", "", interface="eth0") is not None, "network, by interface")
        same(value("network_receive_bytes_total", "", interface="lo"), None, "but not of lo")

    # limits in force after an update, and what an OOM kill leaves
    node.runtime.UpdateContainerResources(pb.UpdateContainerResourcesRequest(
        container_id=ctr, linux=pb.LinuxContainerResources(cpu_quota=30000, cpu_period=50000)))
    found = scrape(pod)
    same((value("spec_cpu_period"), value("spec_cpu_quota"), value("spec_memory_limit_bytes")),
         (50000, 30000, 64 * MIB), "the limits in force after an update")
    r = node.sh(ctr, "dd if=/dev/zero of=/dev/null bs=100M count=1", timeout=60)
    same(r.exit_code, 137, "more than the memory limit")
    found = scrape(pod)
    same(value("oom_events_total"), 1, "is an OOM kill, and counted")

    pods = [node.run_pod(host_network=host)[0] for _ in range(11)] + [pod]
    parts = list(node.runtime.StreamPodSandboxMetrics(pb.StreamPodSandboxMetricsRequest(), timeout=20))
    ids = [p.pod_sandbox_id for part in parts for p in part.pod_sandbox_metrics]
    same((sorted(ids), len(parts)), (sorted(pods), 2), "twelve pods in two messages of the stream")
    gone = [p for p in pods if p != pod]
    for p in gone:
        node.remove_pod(p)

    # resources of the pod
    def update(resources, overhead=None, id=pod):
        return code_of(node.runtime.UpdatePodSandboxResources, pb.UpdatePodSandboxResourcesRequest(
            pod_sandbox_id=id, resources=resources, overhead=overhead), timeout=10)
    same(update(limits, id="nobody")[0], "NOT_FOUND", "resources of a pod that is not there")
    code, text = update(pb.LinuxContainerResources(cpu_shares=-5))
    ok(code == "INVALID_ARGUMENT" and "resources" in text, "bad numbers: " + text)
    same(pod_info(pod)["resources"], None, "nothing is stored")
    more = pb.LinuxContainerResources(cpu_period=100000, cpu_quota=150000, memory_limit_in_bytes=300 * MIB)
    same(update(more, pb.LinuxContainerResources(memory_limit_in_bytes=20 * MIB))[0], "OK", "resources")
    cgroup = pod_info(pod)["cgroupParent"]
    same(memory_limit(cgroup), str(320 * MIB), "are in force in a cgroup of ours, with the overhead")
    node.restart()
    info = pod_info(pod)
    same((info["resources"]["cpuQuota"], info["resources"]["memoryLimitInBytes"],
          info["overhead"]["memoryLimitInBytes"]), (150000, 300 * MIB, 20 * MIB), "and outlive the daemon")
    same(update(pb.LinuxContainerResources(memory_limit_in_bytes=400 * MIB))[0], "OK", "once more")
    same((memory_limit(cgroup), pod_info(pod)["overhead"]["memoryLimitInBytes"]), (str(420 * MIB), 20 * MIB),
         "the overhead stays as it was told")
    least = pb.LinuxContainerResources(memory_limit_in_bytes=4096)
    same(update(least, least)[0], "OK",
         "what cannot be had is no failure")
    same(memory_limit(cgroup), str(420 * MIB), "and changes nothing")
    found = scrape(pod)
    same(value("spec_memory_limit_bytes", ""), 420 * MIB, "the pod's limit in its metrics")

    # a cgroup that two pods share is not one pod's to limit
    shared = [node.run_pod(node.pod_config(host_network=True, linux=pb.LinuxPodSandboxConfig(
        cgroup_parent="/%s/shared" % node.instance))) for _ in range(2)]
    for p, c in shared:
        node.run(p, c, image)
    before = memory_limit("/%s/shared" % node.instance)
    same(update(more, id=shared[0][0])[0], "OK", "resources of a pod in a shared cgroup")
    same(memory_limit("/%s/shared" % node.instance), before, "do not limit its neighbour")
    node.runtime.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=pod), timeout=60)
    same(scrape(pod), {}, "a pod that is stopped has no metrics")
    same(update(more)[0], "OK", "its resources are stored all the same")
    same(pod_info(pod)["resources"]["memoryLimitInBytes"], 300 * MIB, "as can be seen")
except Exception as e:  # noqa: BLE001
    ok(False, "%s: %s" % (type(e).__name__, e))
    import traceback
    diag(traceback.format_exc())
finally:
    registry.stop()
    node.finish()
done()
