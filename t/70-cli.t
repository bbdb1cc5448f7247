#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every command of `coracle` against a node: tables and JSON, exit codes, lines of error; and what it says where
there is no node."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402
import coracle as lib  # noqa: E402

ID = re.compile(r"^[0-9a-f]{64}$")
node = Node(network="builtin")
registry = Registry(node.dir + "/registry")
used = set()


def run(*args, endpoint=True, stdin=None, env=None, timeout=60):
    command = next((a for a in args if not a.startswith("-") and a not in ("json", "table", "5")), None)
    used.add(command)
    cmd = [lib.BUILD + "/coracle"] + (["-r", "unix://" + node.sock] if endpoint else []) + list(args)
    return subprocess.run(cmd, input=stdin, capture_output=True, text=True, timeout=timeout,
                          env=dict(os.environ, **(env or {})))


def good(what, *args, **kw):
    r = run(*args, **kw)
    if not ok(r.returncode == 0 and r.stderr == "", what):
        diag("%s: %d %r %r" % (args, r.returncode, r.stdout, r.stderr))
    return r.stdout


def bad(what, code, words, *args, **kw):
    """One line on stderr that says so, nothing on stdout."""
    r = run(*args, **kw)
    if not ok(r.returncode == code and r.stdout == "" and r.stderr.count("\n") == 1 and
              r.stderr.startswith("coracle: ") and all(w in r.stderr for w in words), what):
        diag("%s: %d %r %r" % (args, r.returncode, r.stdout, r.stderr))


def rows(text):
    """A table as a list of dictionaries, by the columns of its header."""
    lines = text.splitlines()
    starts = [m.start() for m in re.finditer(r"(?:(?<=  )|^)\S", lines[0])]
    cut = [(a, b) for a, b in zip(starts, starts[1:] + [None])]
    names = [lines[0][a:b].strip() for a, b in cut]
    return [dict(zip(names, (line[a:b].strip() for a, b in cut))) for line in lines[1:]]


def as_json(what, *args, **kw):
    text = good(what, "-o", "json", *args, **kw)
    try:
        return json.loads(text)
    except ValueError as e:
        ok(False, what + " is JSON: %s" % e)
        return {}


def write(name, value):
    path = node.dir + "/" + name
    with open(path, "w") as f:
        f.write(value if isinstance(value, str) else json.dumps(value))
    return path


def without_a_node():
    bad("no runtime there: says how to name it", 1, ["is the runtime running", "/nowhere.sock"],
        "-r", "unix:///nowhere.sock", "version", endpoint=False)
    bad("nor by the environment", 1, ["/other.sock"], "version", endpoint=False,
        env={"CONTAINER_RUNTIME_ENDPOINT": "unix:///other.sock"})
    bad("no such command", 2, ["frobnicate", "--help"], "frobnicate")
    bad("no such format", 2, ["--output", "xml"], "-o", "xml", "ps")
    bad("no number", 2, ["--timeout", "soon"], "-t", "soon", "ps")
    r = run(endpoint=False)
    ok(r.returncode == 2 and "usage:" in r.stderr and r.stdout == "", "no command: usage on stderr")
    r = run("--help", endpoint=False)
    ok(r.returncode == 0 and "usage:" in r.stdout and r.stderr == "", "--help: usage on stdout")
    r = run("--frob", endpoint=False)
    ok(r.returncode == 2 and "usage:" in r.stderr, "an unknown option")


def of_the_runtime():
    out = good("version", "version")
    ok("coracle 0.1.0 (API v1)" in out, "has runtime and API")
    same(as_json("version as JSON", "version").get("runtime_name"), "coracle", "names as in the CRI")
    out = good("version by the environment", "version", endpoint=False,
               env={"CONTAINER_RUNTIME_ENDPOINT": "unix://" + node.sock})
    ok("API v1" in out, "is answered")
    wait_for(lambda: "NetworkReady: yes" in run("info").stdout, 20, "the network")
    ok("RuntimeReady: yes" in good("info", "info"), "info: the runtime is ready")
    conditions = {c["type"]: c["status"] for c in as_json("info as JSON", "info")["status"]["conditions"]}
    same(conditions, {"RuntimeReady": True, "NetworkReady": True}, "info: conditions in JSON")
    same(good("log-level", "log-level").strip(), "debug", "log-level: the one in force")
    same(good("log-level warn op,net", "log-level", "warn", "op,net").strip(), "warn", "log-level: the new one")
    bad("log-level: unknown", 1, ["loud", "INVALID_ARGUMENT"], "log-level", "loud")
    bad("log-level: unknown trace", 1, ["xyz", "INVALID_ARGUMENT"], "log-level", "info", "xyz")
    with open(node.config, "w") as f:
        f.write("log_level: info\n")
    same(good("reload", "reload"), "", "reload is silent")
    same(good("log-level", "log-level").strip(), "info", "reload: what the file says")
    with open(node.config, "w") as f:
        f.write("log_level: info\nroot: 1: 2\n")
    bad("reload: a faulty file", 1, [node.config + ":2:", "INVALID_ARGUMENT"], "reload")
    with open(node.config, "w") as f:
        f.write("log_level: debug\n")
    good("reload", "reload")
    ok(good("ops", "ops").startswith("OPERATION"), "ops: a table")
    same(as_json("ops as JSON", "ops").get("operations", []), [], "ops: nothing in flight")
    for command in ("version", "info", "ops", "reload", "events", "pods", "images", "stats"):
        bad(command + ": takes no arguments", 2, ["no arguments"], command, "surplus")
    bad("log-level: too many", 2, ["log-level"], "log-level", "a", "b", "c")


def of_images(ref):
    same(rows(good("images", "images")), [], "images: none yet")
    image = good("pull", "pull", ref).strip()
    ok(image.startswith("sha256:"), "pull: prints the id")
    table = rows(good("images", "images"))
    same([(r["IMAGE"], r["ID"]) for r in table], [(ref, image[7:20])], "images: the row")
    ok(re.match(r"^[\d.]+[kM]B$", table[0]["SIZE"]), "images: a size for people")
    img = as_json("images as JSON", "images")["images"][0]
    same((img["id"], img["repo_tags"]), (image, [ref]), "images: the whole id in JSON")
    bad("pull: not there", 1, ["nothing-here", "NOT_FOUND"], "pull", "127.0.0.1:%d/nothing-here:1" % registry.port)
    bad("pull: no reference", 1, ["INVALID_ARGUMENT"], "pull", "UPPER CASE")
    bad("pull: credentials without a colon", 2, ["--creds"], "pull", "--creds", "joe", ref)
    bad("pull: no image", 2, ["pull"], "pull")
    bad("pull: two", 2, ["pull"], "pull", ref, ref)
    second = registry.busybox("other:1", config={"Cmd": ["true"], "Env": ["PATH=/bin"]})
    other = good("pull another", "pull", "--creds", "joe:secret", second).strip()
    same(good("rmi", "rmi", second), second + "\n", "rmi: prints what it removed")
    same([i["id"] for i in as_json("images", "images")["images"]], [image], "rmi: it is gone, the other is not")
    ok(other != image, "they were two")
    good("rmi: one that is not there is removed already", "rmi", second)
    bad("rmi: none named", 2, ["rmi"], "rmi")


def of_archives(ref):
    archive = node.dir + "/archive.tar"
    good("export: OCI is the default", "export", archive, ref)
    bad("export: not over a file", 1, ["ALREADY_EXISTS", archive], "export", archive, ref)
    ids = set()
    for form in ("oci", "docker"):
        path = "%s.%s" % (archive, form)
        good("export as " + form, "export", "--format", form, path, ref)
        ok(os.path.getsize(path) > 100000, "export: a file")
        good("rmi before the import", "rmi", ref)
        out = good("import it", "import", path).split()
        same(out[1:], [ref], "import: under its name")
        ids.add(out[0])
    # layers are made anew for an archive, so the id may be another one, but the same ever after
    same(len(ids), 1, "import: both formats are one image")
    bad("export: no image of that name", 1, ["NOT_FOUND"], "export", archive + ".none",
        "127.0.0.1/none:1")
    bad("export: unknown format", 1, ["INVALID_ARGUMENT", "zip"], "export", "--format", "zip",
        archive + ".zip", ref)
    bad("export: no images", 2, ["export"], "export", archive)
    bad("import: no file", 1, [node.dir + "/none"], "import", node.dir + "/none")
    bad("import: none named", 2, ["import"], "import")


def of_pods(ref):
    pod_json = {"metadata": {"name": "web", "namespace": "default", "uid": "u1", "attempt": 3},
                "log_directory": node.logs + "/web", "labels": {"app": "web"},
                "linux": {"security_context": {"namespace_options": {"pid": "CONTAINER"}}}}
    path = write("pod.json", pod_json)
    pod = good("runp", "runp", path).strip()
    ok(ID.match(pod), "runp: prints the id")
    camel = dict(pod_json, metadata=dict(pod_json["metadata"], name="web2", uid="u2"))
    camel["logDirectory"] = camel.pop("log_directory")
    pod2 = good("runp from stdin, names in camel case", "runp", "-", stdin=json.dumps(camel)).strip()
    ok(ID.match(pod2), "runp: prints the second id")
    table = {r["NAME"]: r for r in rows(good("pods", "pods"))}
    same({k: table["web"][k] for k in ("POD ID", "STATE", "NAMESPACE", "ATTEMPT")},
         {"POD ID": pod[:13], "STATE": "Ready", "NAMESPACE": "default", "ATTEMPT": "3"}, "pods: the row")
    ok(table["web"]["CREATED"].endswith("ago"), "pods: its age")
    same(sorted(p["id"] for p in as_json("pods as JSON", "pods")["items"]), sorted([pod, pod2]), "pods: ids in JSON")
    st = json.loads(good("inspectp by a beginning of the id", "inspectp", pod[:10]))["status"]
    same((st["id"], st["labels"], st["metadata"]["attempt"]), (pod, {"app": "web"}, 3), "inspectp: the status")
    bad("inspectp: none such", 1, ["NOT_FOUND"], "inspectp", "0123456789abcdef")
    bad("inspectp: none named", 2, ["inspectp"], "inspectp")
    bad("runp: an unknown key", 1, ["frob", "INVALID_ARGUMENT"], "runp", write("p1.json", dict(pod_json, frob=1)))
    bad("runp: a wrong type", 1, ["attempt"], "runp", write("p2.json", {"metadata": {"name": "a", "attempt": "x"}}))
    bad("runp: broken JSON, with its line", 1, ["p3.json", "3"], "runp", write("p3.json", '{\n"metadata":\n {,}}\n'))
    bad("runp: no file", 1, ["none.json"], "runp", node.dir + "/none.json")
    same(good("runp: the same name again", "runp", path).strip(), pod, "is the same pod")
    bad("runp: no uid", 1, ["uid"], "runp", write("p4.json", {"metadata": {"name": "a", "namespace": "b"}}))
    same(good("stopp", "stopp", pod2), pod2 + "\n", "stopp: prints what it stopped")
    table = {r["NAME"]: r["STATE"] for r in rows(good("pods", "pods"))}
    same(table, {"web": "Ready", "web2": "NotReady"}, "pods: the one that was stopped")
    good("stopp again: fine", "stopp", pod2)
    same(good("rmp", "rmp", pod2), pod2 + "\n", "rmp: prints what it removed")
    bad("stopp: none named", 2, ["stopp"], "stopp")
    bad("rmp: none named", 2, ["rmp"], "rmp")
    return pod, path


def of_containers(pod, pod_path, ref):
    script = "echo out one; echo err one >&2; sleep 0.3; echo out two; trap 'exit 7' TERM; while :; do sleep 0.05; done"
    ctr_json = {"metadata": {"name": "main"}, "image": {"image": ref}, "command": ["sh", "-c", script],
                "log_path": "main.log", "labels": {"role": "main"}}
    path = write("ctr.json", ctr_json)
    ctr = good("create", "create", pod, path, pod_path).strip()
    ok(ID.match(ctr), "create: prints the id")
    same(rows(good("ps", "ps")), [], "ps: nothing runs")
    row = rows(good("ps --all", "ps", "--all"))[0]
    same((row["CONTAINER"], row["STATE"], row["NAME"], row["ATTEMPT"], row["POD ID"]),
         (ctr[:13], "Created", "main", "0", pod[:13]), "ps --all: the row")
    same(good("start", "start", ctr), ctr + "\n", "start: prints what it started")
    same([(r["CONTAINER"], r["STATE"]) for r in rows(good("ps", "ps"))], [(ctr[:13], "Running")], "ps: it runs")
    same([c["id"] for c in as_json("ps as JSON", "ps", "-a")["containers"]], [ctr], "ps: ids in JSON")
    bad("start: a second time", 1, [ctr[:12]], "start", ctr)
    st = json.loads(good("inspect", "inspect", ctr[:12]))["status"]
    same((st["id"], st["metadata"]["name"], st["labels"]), (ctr, "main", {"role": "main"}), "inspect: the status")
    same(st["state"], "CONTAINER_RUNNING", "inspect: enums by name")
    bad("inspect: none such", 1, ["NOT_FOUND"], "inspect", "0123456789abcdef")
    bad("inspect: none named", 2, ["inspect"], "inspect")

    wait_for(lambda: b"two" in node.log(ctr) if isinstance(node.log(ctr), bytes) else "two" in node.log(ctr), 10, "log")
    r = run("logs", ctr)
    same((r.returncode, r.stdout, r.stderr), (0, "out one\nout two\n", "err one\n"), "logs: each stream on its own")
    r = run("logs", "--tail", "1", ctr)
    same(r.stdout + r.stderr, "out two\n", "logs --tail")
    r = run("logs", "--timestamps", "--tail", "1", ctr)
    ok(re.match(r"^20\d\d-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d) out two\n$", r.stdout), "logs --timestamps")
    bad("logs: no number", 2, ["logs"], "logs", "--tail", "x", ctr)
    bad("logs: none such", 1, ["NOT_FOUND"], "logs", "0123456789abcdef")

    r = run("exec", ctr, "sh", "-c", "echo to out; echo to err >&2; exit 5")
    same((r.returncode, r.stdout, r.stderr), (5, "to out\n", "to err\n"), "exec: streams and status")
    same(good("exec: options of the command are its own", "exec", ctr, "echo", "-n", "--timeout", "x"),
         "--timeout x", "as given")
    bad("exec --timeout", 1, ["DEADLINE_EXCEEDED"], "exec", "--timeout", "1", ctr, "sleep", "30")
    bad("exec: no command", 2, ["exec"], "exec", ctr)
    bad("exec: no such program", 1, ["/no/such"], "exec", ctr, "/no/such")

    def counted():
        found = rows(run("stats").stdout)
        return found and found[0]["CPU TIME"] != "-"
    wait_for(counted, 30, "stats")
    row = rows(good("stats", "stats"))[0]
    same((row["CONTAINER"], row["NAME"]), (ctr[:13], "main"), "stats: the row")
    ok(re.match(r"^\d+\.\d{3}s$", row["CPU TIME"]) and re.match(r"^[\d.]+[kMG]?B$", row["MEMORY"]), "stats: CPU and memory")
    same(as_json("stats as JSON", "stats")["stats"][0]["attributes"]["id"], ctr, "stats: JSON")

    follow = subprocess.Popen([lib.BUILD + "/coracle", "-r", node.sock, "logs", "--follow", ctr],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    bad("stop: no number", 2, ["stop"], "stop", "--timeout", "x", ctr)
    bad("stop: none named", 2, ["stop"], "stop")
    same(good("stop", "stop", "--timeout", "5", ctr), ctr + "\n", "stop: prints what it stopped")
    same(json.loads(good("inspect", "inspect", ctr))["status"]["exit_code"], 7, "stop: by its signal, within the grace")
    try:
        same((follow.communicate(timeout=10)[0], follow.returncode), ("out one\nout two\n", 0),
             "logs --follow ends with the container")
    except subprocess.TimeoutExpired:
        follow.kill()
        ok(False, "logs --follow ends with the container")
    row = rows(good("ps --all", "ps", "--all"))[0]
    same(row["STATE"], "Exited", "ps --all: it has ended")
    same(good("rm", "rm", ctr), ctr + "\n", "rm: prints what it removed")
    good("rm again: fine", "rm", ctr)
    bad("rm: none named", 2, ["rm"], "rm")
    bad("create: too few", 2, ["create"], "create", pod)
    bad("create: a wrong type", 1, ["command"], "create", pod, write("c1.json", dict(ctr_json, command="sh")), pod_path)
    bad("create: no such pod", 1, ["NOT_FOUND"], "create", "0123456789abcdef", path, pod_path)
    r = run("start", "0123456789abcdef", "fedcba9876543210")
    same((r.returncode, r.stderr.count("NOT_FOUND")), (1, 2), "start: goes on after one that fails")


def in_one(ref):
    r = run("run", "--name", "job", ref, "sh", "-c", "echo hello; echo oops >&2; exit 3")
    same((r.returncode, r.stdout, r.stderr), (3, "hello\n", "oops\n"), "run: output and status")
    same(good("run --host-network", "run", "--host-network", ref, "sh", "-c", "readlink /proc/self/ns/net").strip(),
         os.readlink("/proc/self/ns/net"), "run --host-network: the host's network")
    bad("run: no such program", 1, ["/no/such"], "run", ref, "/no/such")
    bad("run: no image", 2, ["run"], "run")
    bad("run: no such image", 1, ["NOT_FOUND"], "run", "127.0.0.1:%d/nothing-here:1" % registry.port)
    same([p["metadata"]["name"] for p in as_json("pods", "pods")["items"]], ["web"], "run: its pods are gone")
    same(glob.glob("/tmp/coracle-run-*"), [], "and its logs")


def of_events(ref):
    follow = subprocess.Popen([lib.BUILD + "/coracle", "-r", node.sock, "events"], stdout=subprocess.PIPE, text=True)
    seen = []
    try:
        time.sleep(0.3)
        run("run", "--name", "ev", ref, "true")
        while sum("deleted" in s for s in seen) < 1 and len(seen) < 30:
            line = follow.stdout.readline() or "ended"
            if line.rstrip("\n").endswith(" ev"):  # what is there already is told first
                seen.append(line)
            elif line == "ended":
                break
        kinds = [s.split()[1] for s in seen]
        ok(kinds[:2] == ["created", "started"] and "stopped" in kinds and "deleted" in kinds, "events: in their order")
        ok(all(re.match(r"^20\S+Z \w+ +[0-9a-f]{13} ev$", s.rstrip("\n")) for s in seen), "events: the lines")
        used.add("events")
    finally:
        follow.kill()
        follow.wait()
    if not ok(follow.returncode == -9, "events: goes on until it is ended"):
        diag(seen)


try:
    node.start()
    ref = registry.busybox()
    without_a_node()
    of_the_runtime()
    of_images(ref)
    pod, pod_path = of_pods(ref)
    of_containers(pod, pod_path, ref)
    in_one(ref)
    of_events(ref)
    of_archives(ref)
    good("rmp", "rmp", pod)
    usage = run("--help").stdout
    commands = set(re.findall(r"^  ([a-z][a-z-]*)", usage[usage.index("commands:"):], flags=re.M))
    same(commands - used, set(), "every command was used")
    node.finish()
except BaseException:
    node.destroy()
    raise
finally:
    registry.stop()
done()
