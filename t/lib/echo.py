# SPDX-License-Identifier: Apache-2.0
#
# The server under the gRPC tests (t/grpc-echo) in a directory of its own, removed at exit.

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile

builddir = os.environ.get("builddir", ".")
srcdir = os.environ.get("srcdir", ".")


class Server:
    def __init__(self, *args):
        self.dir = tempfile.mkdtemp(prefix="coracle-grpc-")
        self.sock = os.path.join(self.dir, "s")
        self.log = open(os.path.join(self.dir, "log"), "w+")
        self.proc = subprocess.Popen([os.path.join(builddir, "t/grpc-echo"), self.sock, *args],
                                     stdout=subprocess.PIPE, stderr=self.log)
        atexit.register(self.kill)
        if self.proc.stdout.readline() != b"listening\n":
            raise RuntimeError("grpc-echo did not start: " + self.stderr())

    def stderr(self):
        self.log.seek(0)
        return self.log.read()

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def alive(self):
        return self.proc.poll() is None

    def drain(self, timeout=30):
        """SIGTERM; the exit status."""
        self.proc.send_signal(signal.SIGTERM)
        return self.proc.wait(timeout)

    def sanitized(self):
        with open(os.path.join(builddir, "config.h")) as f:
            return "#define SANITIZED" in f.read()

    def anon_kb(self):
        with open("/proc/%d/status" % self.proc.pid) as f:
            for line in f:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1])

    def cpu_ticks(self):
        with open("/proc/%d/stat" % self.proc.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.proc.pid))


def stubs(directory):
    """Import echo_pb2, generated from echo.proto by protoc."""
    subprocess.check_call(["protoc", "--python_out=" + directory, "-I" + os.path.join(srcdir, "t"),
                           os.path.join(srcdir, "t/echo.proto")])
    sys.path.insert(0, directory)
    sys.dont_write_bytecode = True
    import echo_pb2
    return echo_pb2
