# SPDX-License-Identifier: Apache-2.0
"""What the integration tests share: a node of their own (daemon, keeper, directories, instance name),
a registry, images made from busybox, a CRI client by grpcio, TAP, and the check that nothing is left
behind. Debian's python3 with python3-grpcio, python3-grpc-tools and python3-protobuf."""

import glob
import gzip
import hashlib
import importlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

SRC = os.environ.get("srcdir", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.environ.get("builddir", os.getcwd())

# ---- TAP ---------------------------------------------------------------------------------------

_count = 0
_failed = 0


def ok(cond, what):
    global _count, _failed
    _count += 1
    if not cond:
        _failed += 1
    print("%sok %d - %s" % ("" if cond else "not ", _count, what), flush=True)
    if not cond:
        frame = sys._getframe(1)
        while frame.f_code.co_filename == __file__ and frame.f_back:
            frame = frame.f_back
        diag("failed at %s:%d" % (frame.f_code.co_filename, frame.f_lineno))
    return cond


def same(got, want, what):
    if not ok(got == want, what):
        diag(" got: %r" % (got,))
        diag("want: %r" % (want,))
    return got == want


def diag(text):
    for line in str(text).splitlines():
        print("# " + line, flush=True)


def done():
    print("1..%d" % _count, flush=True)
    sys.exit(1 if _failed else 0)


def bail(why):
    print("Bail out! " + why, flush=True)
    sys.exit(255)


# ---- the API -----------------------------------------------------------------------------------

def _stubs():
    out = os.path.join(BUILD, "t", "stubs")
    stamp = os.path.join(out, "cri_pb2_grpc.py")
    if not os.path.exists(stamp) or os.path.getmtime(stamp) < os.path.getmtime(SRC + "/proto/cri.proto"):
        os.makedirs(os.path.join(BUILD, "t"), exist_ok=True)
        tmp = tempfile.mkdtemp(prefix="stubs-", dir=os.path.join(BUILD, "t"))
        subprocess.run(["/usr/bin/python3", "-m", "grpc_tools.protoc", "-I" + SRC + "/proto",
                        "--python_out=" + tmp, "--grpc_python_out=" + tmp, "cri.proto", "control.proto"],
                       check=True)
        os.makedirs(out, exist_ok=True)
        for f in os.listdir(tmp):
            os.replace(os.path.join(tmp, f), os.path.join(out, f))
        shutil.rmtree(tmp)
    sys.path.insert(0, out)


_stubs()
import grpc  # noqa: E402
import cri_pb2 as pb  # noqa: E402
import cri_pb2_grpc as rpc  # noqa: E402


def code_of(call, *args, **kw):
    """The status code's name of a call, "OK" when it succeeds; and the message."""
    try:
        call(*args, **kw)
    except grpc.RpcError as e:
        return e.code().name, e.details()
    return "OK", ""


# ---- images ------------------------------------------------------------------------------------

def _digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def busybox_layer(extra=()):
    """A tar with busybox, its applets as links, and the few files that every image has."""
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        def add(name, kind=tarfile.REGTYPE, data=b"", mode=0o755, link="", uid=0, gid=0):
            t = tarfile.TarInfo(name)
            t.type, t.mode, t.size, t.linkname, t.uid, t.gid = kind, mode, len(data), link, uid, gid
            t.mtime = 1700000000
            tar.addfile(t, io.BytesIO(data))
        for d, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("root", 0o700), ("home", 0o755)):
            add(d, tarfile.DIRTYPE, mode=mode)
        with open("/bin/busybox", "rb") as f:
            add("bin/busybox", data=f.read())
        for a in applets:
            if a != "busybox":
                add("bin/" + a, tarfile.SYMTYPE, link="busybox")
        add("etc/passwd", data=b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
            b"alice:x:1000:1000::/home:/bin/sh\n", mode=0o644)
        add("etc/group", data=b"root:x:0:\nnogroup:x:65534:\nalice:x:1000:\nextra:x:50000:alice\n", mode=0o644)
        for e in extra:
            add(*e[:1], **e[1])
    return out.getvalue()


def write_layout(path, layers, config=None, compress="gzip"):
    """An OCI layout directory with one image; returns (config digest, manifest digest)."""
    os.makedirs(path + "/blobs/sha256", exist_ok=True)

    def blob(data):
        d = _digest(data)
        with open(path + "/blobs/sha256/" + d[7:], "wb") as f:
            f.write(data)
        return d

    descs, diff_ids = [], []
    for raw in layers:
        diff_ids.append(_digest(raw))
        if compress == "gzip":
            data, media = gzip.compress(raw, 6, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip"
        elif compress == "zstd":
            data = subprocess.run(["zstd", "-q", "-c"], input=raw, capture_output=True, check=True).stdout
            media = "application/vnd.oci.image.layer.v1.tar+zstd"
        else:
            data, media = raw, "application/vnd.oci.image.layer.v1.tar"
        descs.append({"mediaType": media, "digest": blob(data), "size": len(data)})
    conf = json.dumps({"architecture": "amd64", "os": "linux", "config": config or {},
                       "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
    cd = blob(conf)
    man = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                      "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": cd,
                                 "size": len(conf)}, "layers": descs}).encode()
    md = blob(man)
    with open(path + "/oci-layout", "w") as f:
        f.write('{"imageLayoutVersion":"1.0.0"}')
    with open(path + "/index.json", "w") as f:
        json.dump({"schemaVersion": 2, "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": md, "size": len(man)}]}, f)
    return cd, md


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Registry:
    """Debian's docker-registry on a free port of loopback."""

    def __init__(self, dir):
        self.dir = dir
        os.makedirs(dir + "/data", exist_ok=True)
        self.port = free_port()
        with open(dir + "/config.yml", "w") as f:
            f.write("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/data}, "
                    "delete: {enabled: true}}\nhttp: {addr: '127.0.0.1:%d'}\n" % (dir, self.port))
        self.log = open(dir + "/log", "w")
        self.proc = subprocess.Popen(["docker-registry", "serve", dir + "/config.yml"],
                                     stdout=self.log, stderr=self.log)
        wait_for(lambda: socket.create_connection(("127.0.0.1", self.port), 1).close() is None, 20,
                 "the registry")

    def push(self, layout, name):
        ref = "127.0.0.1:%d/%s" % (self.port, name)
        subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false",
                        "oci:" + layout, "docker://" + ref], check=True, stdout=subprocess.DEVNULL)
        return ref

    def busybox(self, name="busybox:1", config=None, **kw):
        layout = tempfile.mkdtemp(dir=self.dir)
        write_layout(layout, [busybox_layer(**kw)],
                     config or {"Cmd": ["sh"], "Env": ["PATH=/bin", "FROM_IMAGE=yes"]})
        return self.push(layout, name)

    def stop(self):
        self.proc.terminate()
        self.proc.wait()
        self.log.close()


def wait_for(cond, seconds, what):
    end = time.monotonic() + seconds
    while True:
        try:
            if cond():
                return
        except (OSError, grpc.RpcError):
            pass
        if time.monotonic() > end:
            raise TimeoutError("%s: not within %d s" % (what, seconds))
        time.sleep(0.02)


# ---- the node ----------------------------------------------------------------------------------

def mounts():
    with open("/proc/self/mountinfo") as f:
        return [line.split()[4] for line in f]


def cgroups(instance):
    found = []
    for root in ["/sys/fs/cgroup"] + glob.glob("/sys/fs/cgroup/*"):
        if os.path.isdir(root + "/" + instance):
            found.append(root + "/" + instance)
    return found


class Node:
    """coracled and its keeper, on directories and an instance name of their own."""

    def __init__(self, network="builtin", args=(), config=""):
        self.dir = tempfile.mkdtemp(prefix="coracle-t-")
        os.chmod(self.dir, 0o755)
        self.instance = "t%d" % os.getpid()
        self.root, self.state = self.dir + "/root", self.dir + "/state"
        self.sock = self.dir + "/cri.sock"
        self.logs = self.dir + "/pods"
        self.args = list(args)
        self.network = network
        os.makedirs(self.logs)
        self.config = self.dir + "/coracle.yaml"
        with open(self.config, "w") as f:
            f.write(config)
        self.proc = None
        self.serial = 0
        self.channel = None

    def start(self, env=None):
        log = open(self.dir + "/daemon.log", "a")
        cmd = [BUILD + "/coracled", "--config", self.config, "--root", self.root, "--state", self.state,
               "--listen", self.sock, "--instance", self.instance, "--keeper", BUILD + "/coracle-keeper",
               "--network", self.network, "--log-level", "debug"] + self.args
        if os.environ.get("CORACLED_WRAPPER"):
            cmd = os.environ["CORACLED_WRAPPER"].split() + cmd
        self.proc = subprocess.Popen(cmd, stdout=log, stderr=log, env=env)
        log.close()
        self.connect()
        return self

    def connect(self):
        """grpcio backs off for seconds after a refused connection: wait for the socket without it."""
        if self.channel:
            self.channel.close()

        def listens():
            if self.proc.poll() is not None:
                self.show_log()
                bail("coracled ended with %d" % self.proc.returncode)
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(self.sock)
            return True
        wait_for(listens, 30, "the socket")
        self.channel = grpc.insecure_channel("unix://" + self.sock, options=[
            ("grpc.max_receive_message_length", 32 << 20), ("grpc.max_send_message_length", 32 << 20)])
        self.runtime = rpc.RuntimeServiceStub(self.channel)
        self.images = rpc.ImageServiceStub(self.channel)

        def answers():
            self.runtime.Version(pb.VersionRequest(), timeout=2)
            return True
        wait_for(answers, 30, "coracled")

    def stop(self, sig=signal.SIGTERM):
        if self.channel:
            self.channel.close()
            self.channel = None
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(sig)
            self.proc.wait(30)
        return self.proc.returncode if self.proc else None

    def restart(self, sig=signal.SIGKILL):
        self.stop(sig)
        self.start()

    def show_log(self, lines=40):
        try:
            with open(self.dir + "/daemon.log") as f:
                diag("".join(f.readlines()[-lines:]))
        except OSError:
            pass

    def keeper_pid(self):
        for p in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(p, "rb") as f:
                    cmd = f.read()
            except OSError:
                continue
            if cmd.split(b"\0")[0].endswith(b"coracle-keeper") and self.state.encode() in cmd:
                return int(p.split("/")[2])
        return 0

    def processes(self):
        """Every process that knows our state directory."""
        found = []
        for p in glob.glob("/proc/[0-9]*/cmdline"):
            pid = int(p.split("/")[2])
            try:
                with open(p, "rb") as f:
                    if self.state.encode() in f.read() and pid != os.getpid():
                        found.append(pid)
            except OSError:
                pass
        return found

    # -- requests

    def pull(self, ref, **kw):
        return self.images.PullImage(pb.PullImageRequest(image=pb.ImageSpec(image=ref), **kw),
                                     timeout=60).image_ref

    def pod_config(self, name=None, host_network=False, **kw):
        self.serial += 1
        name = name or "pod%d" % self.serial
        uid = "uid-%s-%d" % (name, self.serial)
        c = pb.PodSandboxConfig(
            metadata=pb.PodSandboxMetadata(name=name, namespace="default", uid=uid),
            log_directory="%s/%s" % (self.logs, uid), **kw)
        ns = c.linux.security_context.namespace_options
        ns.pid = pb.CONTAINER
        if host_network:
            ns.network = pb.NODE
        return c

    def run_pod(self, config=None, **kw):
        config = config or self.pod_config(**kw)
        r = self.runtime.RunPodSandbox(pb.RunPodSandboxRequest(config=config), timeout=60)
        return r.pod_sandbox_id, config

    def create(self, pod, config, image, command=("sh", "-c", "sleep 1000"), name=None, **kw):
        self.serial += 1
        name = name or "c%d" % self.serial
        c = pb.ContainerConfig(metadata=pb.ContainerMetadata(name=name), image=pb.ImageSpec(image=image),
                               command=list(command), log_path=name + "/0.log", **kw)
        return self.runtime.CreateContainer(pb.CreateContainerRequest(
            pod_sandbox_id=pod, config=c, sandbox_config=config), timeout=60).container_id

    def start_container(self, id):
        self.runtime.StartContainer(pb.StartContainerRequest(container_id=id), timeout=60)

    def run(self, pod, config, image, *args, **kw):
        id = self.create(pod, config, image, *args, **kw)
        self.start_container(id)
        return id

    def status(self, id):
        return self.runtime.ContainerStatus(pb.ContainerStatusRequest(container_id=id), timeout=10).status

    def wait_exit(self, id, seconds=20):
        wait_for(lambda: self.status(id).state == pb.CONTAINER_EXITED, seconds, "exit of " + id[:12])
        return self.status(id)

    def execute(self, id, *cmd, timeout=10):
        return self.runtime.ExecSync(pb.ExecSyncRequest(container_id=id, cmd=list(cmd), timeout=timeout),
                                     timeout=timeout + 30)

    def sh(self, id, script, **kw):
        return self.execute(id, "sh", "-c", script, **kw)

    def log(self, id):
        with open(self.status(id).log_path, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def stop_container(self, id, grace=0):
        self.runtime.StopContainer(pb.StopContainerRequest(container_id=id, timeout=grace), timeout=60 + grace)

    def remove_container(self, id):
        self.runtime.RemoveContainer(pb.RemoveContainerRequest(container_id=id), timeout=60)

    def remove_pod(self, id):
        self.runtime.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=id), timeout=60)
        self.runtime.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=id), timeout=60)

    # -- the end

    def leaks(self):
        """What is left of pods and containers, as a list of strings."""
        left = ["mount " + m for m in mounts() if m.startswith(self.dir)]
        for d in (self.state + "/sandboxes", self.state + "/containers", self.root + "/containers",
                  self.state + "/exits"):
            if os.path.isdir(d):
                left += ["entry %s/%s" % (d, e) for e in os.listdir(d)]
        for g in cgroups(self.instance):
            for base, dirs, _ in os.walk(g):
                left += ["cgroup %s/%s" % (base, d) for d in dirs]
        links = subprocess.run(["ip", "-o", "link", "show", "master", self.instance + "0"],
                               capture_output=True, text=True).stdout
        left += ["link " + line.split(": ")[1].split("@")[0] for line in links.splitlines()]
        if self.proc and self.proc.poll() is None:
            children = subprocess.run(["pgrep", "-P", str(self.proc.pid), "-l"], capture_output=True,
                                      text=True).stdout
            left += ["child " + c for c in children.splitlines() if "coracle-net" not in c and
                     "coracled" not in c]
        return left

    def network_leaks(self):
        """The bridge and the nftables table of the instance, after --remove-network."""
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        names = [line.split(": ")[1].split("@")[0] for line in links.splitlines()]
        return (["link " + n for n in names if n == self.instance + "0"] +
                [t for t in tables.splitlines() if t.split()[-1] == self.instance])

    def finish(self):
        """Remove all pods, check that nothing is left, stop daemon and keeper, remove everything."""
        try:
            for p in self.runtime.ListPodSandbox(pb.ListPodSandboxRequest(), timeout=20).items:
                self.remove_pod(p.id)
            end = time.monotonic() + 5
            while self.leaks() and time.monotonic() < end:
                time.sleep(0.05)
            same(self.leaks(), [], "nothing is left behind")
        finally:
            self.destroy()

    def destroy(self):
        keeper = self.keeper_pid()
        code = self.stop()
        if code not in (0, None) and code != -signal.SIGKILL:
            self.show_log()
        ok(code in (0, None) or code == -signal.SIGKILL, "coracled ended cleanly")
        if _failed:
            self.show_log(60)
        if keeper:
            try:
                os.kill(keeper, signal.SIGTERM)
            except ProcessLookupError:
                keeper = 0
        if keeper:
            try:
                wait_for(lambda: not os.path.exists("/proc/%d" % keeper), 3, "the keeper's end")
            except TimeoutError:
                os.kill(keeper, signal.SIGKILL)
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        if self.network == "builtin":
            subprocess.run([BUILD + "/coracled", "--config", self.config, "--root", self.root, "--state",
                            self.state, "--listen", self.sock, "--instance", self.instance, "--network",
                            "builtin", "--remove-network"], stderr=subprocess.DEVNULL)
            if os.environ.get("CORACLE_TEST_NETWORK") != "host":
                same(self.network_leaks(), [], "no link and no table of the network is left")
        for m in reversed([m for m in mounts() if m.startswith(self.dir)]):
            subprocess.run(["umount", "-l", m], stderr=subprocess.DEVNULL)
        for g in cgroups(self.instance):
            for base, dirs, _ in os.walk(g, topdown=False):
                try:
                    os.rmdir(base)
                except OSError:
                    pass
        shutil.rmtree(self.dir, ignore_errors=True)
