#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Lists with their filters, their Stream twins, and the events of GetContainerEvents."""

import os
import queue
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402

node = Node()
registry = Registry(node.dir + "/registry")
NAMES = {pb.CONTAINER_CREATED_EVENT: "created", pb.CONTAINER_STARTED_EVENT: "started",
         pb.CONTAINER_STOPPED_EVENT: "stopped", pb.CONTAINER_DELETED_EVENT: "deleted"}


class Events:
    """A subscriber; its events in a queue."""

    def __init__(self):
        self.queue = queue.Queue()
        self.call = node.runtime.GetContainerEvents(pb.GetEventsRequest())
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            for e in self.call:
                self.queue.put(e)
        except grpc.RpcError:
            pass

    def next(self):
        return self.queue.get(timeout=10)

    def take(self, n):
        return [self.next() for _ in range(n)]


def both(unary, stream, items, parts, **kw):
    """The ids of a List and of its Stream twin, which must be the same."""
    a = [i.id for i in getattr(unary(timeout=20, **kw), items)]
    b = [i.id for m in stream(timeout=20, **kw) for i in getattr(m, parts)]
    same(b, a, "the Stream twin tells the same %d" % len(a))
    return set(a)


try:
    ref = registry.busybox()
    node.start()
    rt, im = node.runtime, node.images

    def pods(**f):
        request = dict(filter=pb.PodSandboxFilter(**f)) if f else {}
        return both(lambda timeout: rt.ListPodSandbox(pb.ListPodSandboxRequest(**request), timeout=timeout),
                    lambda timeout: rt.StreamPodSandboxes(pb.StreamPodSandboxesRequest(**request), timeout=timeout),
                    "items", "pod_sandboxes")

    def ctrs(**f):
        request = dict(filter=pb.ContainerFilter(**f)) if f else {}
        return both(lambda timeout: rt.ListContainers(pb.ListContainersRequest(**request), timeout=timeout),
                    lambda timeout: rt.StreamContainers(pb.StreamContainersRequest(**request), timeout=timeout),
                    "containers", "containers")

    same((pods(), ctrs()), (set(), set()), "nothing is there")
    image = node.pull(ref)
    same(both(lambda timeout: im.ListImages(pb.ListImagesRequest(), timeout=timeout),
              lambda timeout: im.StreamImages(pb.StreamImagesRequest(), timeout=timeout), "images", "images"),
         {image}, "the image")
    a, ac = node.run_pod(host_network=True, labels={"app": "a", "tier": "x"})
    b, bc = node.run_pod(host_network=True, labels={"app": "b", "tier": "x"})
    made = node.create(a, ac, image, labels={"role": "made"})
    runs = node.run(a, ac, image, labels={"role": "runs"})
    ended = node.run(b, bc, image, ["true"], labels={"role": "ended"})
    node.wait_exit(ended)

    same(pods(), {a, b}, "all sandboxes")
    same(pods(id=a), {a}, "one by its id")
    same(pods(id=a[:13]), {a}, "and by the beginning of it")
    same(pods(id="feed"), set(), "an unknown id is no error")
    same(pods(label_selector={"tier": "x"}), {a, b}, "by a label of both")
    same(pods(label_selector={"tier": "x", "app": "b"}), {b}, "labels are all to match")
    same(pods(label_selector={"tier": "y"}), set(), "with their values")
    same(pods(state=pb.PodSandboxStateValue(state=pb.SANDBOX_READY)), {a, b}, "by the state ready")
    same(pods(state=pb.PodSandboxStateValue(state=pb.SANDBOX_NOTREADY)), set(), "none is not ready")
    same(ctrs(), {made, runs, ended}, "all containers")
    same(ctrs(pod_sandbox_id=a), {made, runs}, "those of a sandbox")
    for state, want in ((pb.CONTAINER_CREATED, made), (pb.CONTAINER_RUNNING, runs), (pb.CONTAINER_EXITED, ended)):
        same(ctrs(state=pb.ContainerStateValue(state=state)), {want}, "by the state %d" % state)
    same(ctrs(label_selector={"role": "runs"}), {runs}, "by a label")
    stats = rt.ListContainerStats(pb.ListContainerStatsRequest(), timeout=20).stats
    parts = [s for m in rt.StreamContainerStats(pb.StreamContainerStatsRequest(), timeout=20)
             for s in m.container_stats]
    same([s.attributes.id for s in parts], [s.attributes.id for s in stats], "stats of containers as a stream")
    stats = rt.ListPodSandboxStats(pb.ListPodSandboxStatsRequest(), timeout=20).stats
    parts = [s for m in rt.StreamPodSandboxStats(pb.StreamPodSandboxStatsRequest(), timeout=20)
             for s in m.pod_sandbox_stats]
    same(([s.attributes.id for s in parts], {s.attributes.id for s in stats}),
         ([s.attributes.id for s in stats], {a, b}), "stats of sandboxes as a stream")
    st = rt.ContainerStatus(pb.ContainerStatusRequest(container_id=runs[:10])).status
    same(st.id, runs, "an id's beginning finds the container")

    # Events: the present first, then what happens, in order, each with its pod and the pod's containers.
    ev = Events()
    first = ev.take(5)
    same({(e.container_id, NAMES[e.container_event_type]) for e in first},
         {(a, "started"), (b, "started"), (made, "created"), (runs, "started"), (ended, "stopped")},
         "a new subscriber is told the present")
    c = node.run(b, bc, image, ["sleep", "1000"])
    node.stop_container(c)
    node.remove_container(c)
    got = ev.take(4)
    same([(e.container_id == c, NAMES[e.container_event_type]) for e in got],
         [(True, "created"), (True, "started"), (True, "stopped"), (True, "deleted")], "the life of a container")
    ok(all(e.pod_sandbox_status.id == b and e.pod_sandbox_status.metadata.name for e in got),
       "each with the status of its pod")
    # A status is of when its event is sent: later than the event, never earlier.
    same([{s.id for s in e.containers_statuses} - {c} for e in got], [{ended}] * 4, "and with the pod's containers")
    ok(c not in {s.id for s in got[3].containers_statuses}, "without one that is deleted")
    node.remove_pod(b)
    got = [ev.next()]
    while not (got[-1].container_id == b and NAMES[got[-1].container_event_type] == "deleted"):
        got.append(ev.next())
    same([(e.container_id, NAMES[e.container_event_type]) for e in got],
         [(b, "stopped"), (ended, "deleted"), (b, "deleted")], "the end of a sandbox")
    ok(all(e.pod_sandbox_status.metadata.uid == bc.metadata.uid for e in got), "with its status to the last")
    at = [e.created_at for e in first + got]
    same(at, sorted(set(at)), "times grow")
    ev.call.cancel()
    ev.thread.join(10)
    ok(not ev.thread.is_alive(), "a subscriber may go")
    ev = Events()
    same(len(ev.take(3)), 3, "and come again")
    node.stop()
    ev.thread.join(10)
    ok(not ev.thread.is_alive(), "the end of the daemon ends the stream")
    node.start()
except Exception as e:  # noqa: BLE001
    ok(False, "%s: %s" % (type(e).__name__, e))
    import traceback
    diag(traceback.format_exc())
finally:
    registry.stop()
    node.finish()
done()
