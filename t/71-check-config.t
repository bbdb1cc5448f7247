#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""coracled --check-config on files that are wrong in every way: each error is one line that names file,
line and key, and the status is 1; and on files that are right."""

import os
import subprocess
import sys
import tempfile

SRC = os.environ.get("srcdir", os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("builddir", os.getcwd())
sys.path.insert(0, SRC + "/t/lib")
from tap import done, is_, ok  # noqa: E402

scratch = tempfile.TemporaryDirectory(prefix="coracle-t-")
path = scratch.name + "/c.yaml"


def coracled(*args):
    return subprocess.run([BUILD + "/coracled", *args], capture_output=True, timeout=20)


def check(text):
    with open(path, "wb") as f:
        f.write(text if isinstance(text, bytes) else text.encode())
    return coracled("--config", path, "--check-config")


def good(text, what):
    r = check(text)
    is_((r.returncode, r.stdout.decode(), r.stderr), (0, path + ": fine\n", b""), what)


# what, file, line ("" where the parser has none), key, a word of the reason
BAD = [
    ("an unknown key", "rooot: /x\n", 1, "rooot", "unknown key"),
    ("an unknown key of a section", "root: /a\n\n# note\ncontainers:\n  pids_limit: 1\n\n  foo: 1\n", 7,
     "containers.foo", "unknown key"),
    ("an unknown key in flow style", "root: /a\nnetwork: {mode: cni, foo: 1}\n", 2, "network.foo", "unknown"),
    ("a key of another section", "images:\n  pids_limit: 4\n", 2, "images.pids_limit", "unknown key"),
    ("a key twice", "root: /a\nroot: /b\n", 1, "root", "already"),
    ("a list for a string", "root: [1, 2]\n", 1, "root", "SEQUENCE"),
    ("a mapping for a string", "root: {a: 1}\n", 1, "root", "MAPPING"),
    ("a string for a list", "images:\n  certs_dirs: /x\n", 2, "images.certs_dirs", "SCALAR"),
    ("a string for a section", "containers: yes\n", 1, "containers", "MAPPING"),
    ("a section without keys", "root: /a\ncontainers:\n", 2, "containers", "MAPPING"),
    ("a list as the document", "- a\n", "", "", "MAPPING"),
    ("a word for a truth value", "events: maybe\n", 1, "events", "true nor false"),
    ("another", "\nnetwork:\n  cni_native: 1\n", 3, "network.cni_native", "true nor false"),
    ("a word for a number", "containers:\n  pids_limit: abc\n", 2, "containers.pids_limit", "abc"),
    ("a number with a tail", "stats_period: 10s\n", 1, "stats_period", "10s"),
    ("a number too long", "stats_period: 99999999999999999999999\n", 1, "stats_period", "9999"),
    ("a number that overflows later", "stats_period: 9223372036854775807\n", 1, "stats_period", "86400"),
    ("a period of 0", "events:\n  true\nstats_period:\n  0\n", 3, "stats_period", "1 to 86400"),
    ("a negative period", "stats_period: -5\n", 1, "stats_period", "-5"),
    ("a negative limit", "containers:\n  pids_limit: -7\n", 2, "containers.pids_limit", "-7"),
    ("a limit of 0", "containers:\n  pids_limit: 0\n", 2, "containers.pids_limit", "lets no process"),
    ("log lines too short", "containers:\n  log_max_line: 3\n", 2, "containers.log_max_line", "64 to"),
    ("log lines too long", "containers:\n  log_max_line: 1048577\n", 2, "containers.log_max_line", "64 to"),
    ("a port over 65535", "streaming:\n  port: 70000\n", 2, "streaming.port", "70000"),
    ("a negative port", "streaming:\n  port: -1\n", 2, "streaming.port", "-1"),
    ("a certificate without its key", "streaming:\n  port: 1\n  tls_cert: /x\n", 3, "streaming.tls_cert",
     "go together"),
    ("a key without its certificate", "streaming:\n  tls_key: /x\n", 2, "streaming.tls_key", "go together"),
    ("no downloads", "images: {downloads_per_image: 0}\n", 1, "images.downloads_per_image", "1 to 64"),
    ("too many downloads", "images:\n  downloads_per_node: 300\n", 2, "images.downloads_per_node", "1 to 256"),
    ("a negative count", "images:\n  downloads_per_node: -1\n", 2, "images.downloads_per_node", "-1"),
    ("a negative timeout", "images:\n  progress_timeout: -1\n", 2, "images.progress_timeout", "1 to 86400"),
    ("no plugin timeout", "network:\n  plugin_timeout: 0\n", 2, "network.plugin_timeout", "1 to 86400"),
    ("a negative MTU", "network:\n  mtu: -1\n", 2, "network.mtu", "68 to 65535"),
    ("no such mode", "network:\n  mode: foo\n", 2, "network.mode", "foo"),
    ("no subnet", "network:\n  subnet4: banana\n", 2, "network.subnet4", "no IPv4 subnet"),
    ("a subnet of the other family", "network:\n  subnet6: 10.0.0.0/8\n", 2, "network.subnet6", "no IPv6"),
    ("a relative directory", "root: relative\n", 1, "root", "absolute"),
    ("a relative socket", "listen: unix://x.sock\n", 1, "listen", "absolute"),
    ("a relative CNI directory", "network:\n  cni_conf_dir: etc\n", 2, "network.cni_conf_dir", "absolute"),
    ("an empty string", 'root: ""\n', 1, "root", "length"),
    ("a key without a value", "root:\n", 1, "root", "length"),
    ("an instance of other characters", "instance: A_B\n", 1, "instance", "a-z"),
    ("an instance too long", "instance: %s\n" % ("a" * 33), 1, "instance", "32"),
    ("no such log level", "log_level: loud\n", 1, "log_level", "loud"),
    ("no such trace", "root: /a\ntrace: op,xyz\n", 2, "trace", "xyz"),
    ("no such cgroup driver", "containers:\n  cgroup_driver: foo\n", 2, "containers.cgroup_driver", "foo"),
    ("no such limit", "containers:\n  rlimits:\n    - name: bogus\n      soft: 1\n      hard: 2\n", 3,
     "containers.rlimits[0].name", "bogus"),
    ("soft over hard", "containers:\n  rlimits:\n  - name: nofile\n    soft: 1\n    hard: 2\n\n"
     "  - name: core\n    soft: 10\n    hard: 2\n", 8, "containers.rlimits[1].soft", "over the hard"),
    ("a negative limit of a resource", "containers:\n  rlimits:\n    - name: nofile\n      soft: -5\n"
     "      hard: 2\n", 4, "containers.rlimits[0].soft", "-5"),
    ("a word in a list's entry", "containers:\n  rlimits:\n    - name: nofile\n      soft: x\n      hard: 2\n",
     4, "containers.rlimits[0].soft", "x"),
    ("a limit without its hard one", "containers:\n  rlimits:\n    - name: nofile\n      soft: 2\n", 4,
     "containers.rlimits[0]", "hard"),
    ("more plugin directories than fit", "network:\n  cni_bin_dirs: [%s]\n" % ", ".join(["/a"] * 9), 2,
     "network.cni_bin_dirs", "more than 8"),
    ("two documents", "root: /a\n---\nroot: /b\n", 2, "", "second document"),
    ("broken syntax", "root: a: b\n", 1, "root", "mapping values"),
    ("broken indentation", "containers:\n  pids_limit: 1\n log_max_line: 100\n", 2, "containers", ""),
    ("an open quote", 'root: "/a\n', "", "", ""),
    ("a control character", b"root: /a\x01\n", "", "", "control"),
    ("a NUL byte", b"root: /a\x00b\n", "", "", ""),
    ("no UTF-8", b"root: \xff\xfe\n", "", "", ""),
    ("an alias to itself", "root: &x [*x]\n", 1, "root", ""),
]

for what, text, line, key, word in BAD:
    r = check(text)
    err = r.stderr.decode(errors="replace")
    want = "coracled: %s:" % path
    if line != "":
        want += "%d: " % line
    if key:
        want += key + ": "
    if not ok(r.returncode == 1 and r.stdout == b"" and err.count("\n") == 1 and err.startswith(want) and
              word in err, what):
        print("#  got: %d %r %r\n# want: %s…%s" % (r.returncode, r.stdout, err, want, word))

r = check("a: " * 200000)
ok(r.returncode == 1 and r.stderr.count(b"\n") == 1, "200 000 nested keys on a line")
r = check("[" * 100000)
ok(r.returncode == 1 and r.stderr.count(b"\n") == 1, "100 000 brackets")
r = check("#" * (1 << 20) + "\n")
ok(r.returncode == 1 and path.encode() in r.stderr, "more than a megabyte: refused by name")
r = check("x" * 5000 + ": 1\n")
ok(r.returncode == 1 and r.stderr.startswith(b"coracled: " + path.encode()), "a key of 5000 bytes")

good("", "an empty file")
good("# nothing\n", "only a comment")
good("---\nroot: /a\n", "a document mark first")
good("%YAML 1.1\n---\n# x\nroot: /a\n", "and a directive")
good("listen: unix:///run/x.sock\n", "a socket as URL")
good("""root: /a
state: /b
listen: /c.sock
instance: node-1
keeper: /usr/libexec/coracle/coracle-keeper
log_level: warn
trace: op,net
events: false
stats_period: 86400
containers:
  cgroup_driver: systemd
  pids_limit: -1
  log_max_line: 64
  seccomp_profile: /s.json
  device_ownership_from_security_context: true
  privileged_without_host_devices: false
  rlimits:
    - {name: nofile, soft: 1024, hard: -1}
    - {name: CORE, soft: -1, hard: -1}
network:
  mode: builtin
  subnet4: ""
  subnet6: fd00::/64
  bridge: br7
  mtu: 9000
  cni_conf_dir: /etc/cni/net.d
  cni_cache_dir: /var/lib/cni
  cni_bin_dirs: [/opt/cni/bin, /usr/lib/cni]
  cni_max_networks: -1
  cni_native: true
  plugin_timeout: 5
images:
  certs_dirs: []
  downloads_per_image: 64
  downloads_per_node: 256
  progress_timeout: 1
  pinned: ["registry.example/pause:*"]
  preload_dir: /var/lib/preload
streaming:
  address: 127.0.0.1
  port: 65535
  tls_cert: /t.crt
  tls_key: /t.key
""", "every key there is")

with open(path, "w") as f:
    f.write("instance: from-file\nlisten: /run/file.sock\nevents: false\ncontainers:\n  pids_limit: 77\n")
r = coracled("--config", path, "--instance", "from-line", "--print-config")
shown = dict(l.strip().split(": ", 1) for l in r.stdout.decode().splitlines() if ": " in l)
is_((r.returncode, shown.get("instance"), shown.get("listen"), shown.get("events"), shown.get("pids_limit")),
    (0, "from-line", "/run/file.sock", "false", "77"), "the command line wins over the file, the file over defaults")

r = coracled("--config", path + ".missing", "--check-config")
ok(r.returncode == 1 and path.encode() + b".missing" in r.stderr, "a named file that is missing")
r = coracled("--config", scratch.name, "--check-config")
ok(r.returncode == 1 and scratch.name.encode() in r.stderr, "a directory")
is_(coracled("--no-such-option").returncode, 2, "an unknown option: status 2")
for args, word in ((("surplus",), b"surplus"), (("--root", "x"), b"absolute"), (("--instance", "A B"), b"A B"),
                   (("--network", "foo"), b"foo"), (("--log-level", "loud"), b"loud"), (("--trace", "q"), b'"q"')):
    r = coracled("--config", path, *args, "--check-config")
    ok(r.returncode == 1 and word in r.stderr and r.stderr.count(b"\n") == 1, "told on the line: " + " ".join(args))
done()
