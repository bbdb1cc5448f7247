#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# Pulls from a registry that lies, breaks off, dawdles and asks for what it must not have. After each
# case the store must hold what it should and nothing else.

import base64, gzip, hashlib, http.server, io, json, os, re, shutil, socket, socketserver, ssl
import subprocess, sys, tarfile, tempfile, threading, time, types

tool = os.path.join(os.environ["builddir"], "t/pull-tool")
top = tempfile.mkdtemp(prefix="coracle-lying-")
count = failed = 0

OCI = "application/vnd.oci.image."
MANIFEST, INDEX = OCI + "manifest.v1+json", OCI + "index.v1+json"
CONFIG, LAYER = OCI + "config.v1+json", OCI + "layer.v1.tar+gzip"


def ok(good, what, *details):
    global count, failed
    count += 1
    print(("ok" if good else "not ok"), count, "-", what)
    if not good:
        failed += 1
        for d in details:
            for line in str(d).splitlines():
                print("#  ", line)
    sys.stdout.flush()
    return good


# ---- images -------------------------------------------------------------------------------------

def sha(b):
    return "sha256:" + hashlib.sha256(b).hexdigest()


def tar_of(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Image:
    """Blobs by digest, and a manifest, which a case may spoil before it is served."""

    def __init__(self, seed, layers=2, size=20000, arch="amd64", spoil_config=None, spoil=None,
                 cut=lambda tar: tar):
        self.blobs, descs, diff_ids = {}, [], []
        for i in range(layers):
            data = hashlib.shake_256(f"{seed} {i}".encode()).digest(size)
            tar = cut(tar_of({f"file-{seed}-{i}": data}))
            blob = gzip.compress(tar, 1, mtime=0)
            diff_ids.append(sha(tar))
            descs.append(self.add(blob, LAYER))
        config = {"architecture": arch, "os": "linux", "config": {"Cmd": [str(seed)]},
                  "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        if spoil_config:
            spoil_config(config)
        self.config = json.dumps(config).encode()
        self.doc = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self.add(self.config, CONFIG),
                    "layers": descs}
        if spoil:
            spoil(self.doc)
        self.manifest = json.dumps(self.doc).encode()
        self.digest, self.id = sha(self.manifest), sha(self.config)

    def add(self, blob, media_type):
        self.blobs[sha(blob)] = blob
        return {"mediaType": media_type, "digest": sha(blob), "size": len(blob)}

    def layer(self, i):
        return self.doc["layers"][i]["digest"]


# ---- the registry -------------------------------------------------------------------------------

class Registry:
    """One server. Repositories are handlers by name; every request is recorded."""

    def __init__(self, tls=None):
        self.repos, self.log, self.lock = {}, [], threading.Lock()
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def setup(self):
                super().setup()
                self.connection.settimeout(60)

            def handle(self):
                try:
                    super().handle()
                except (OSError, ValueError):
                    pass

            def any(self):
                n = int(self.headers.get("Content-Length") or 0)
                self.body = self.rfile.read(n) if n else b""
                m = re.match(r"/v2/(.+)/(manifests|blobs)/([^/?]+)", self.path)
                if m:
                    self.repo, self.kind, self.what = m.groups()
                    handler = registry.repos.get(self.repo)
                else:
                    self.repo, self.kind, self.what = None, "other", self.path.split("?")[0]
                    handler = registry.repos.get(self.what)
                with registry.lock:  # a copy: one handler serves a whole connection
                    registry.log.append(types.SimpleNamespace(
                        **{k: getattr(self, k) for k in ("repo", "kind", "what", "path", "command",
                                                         "headers", "body")}))
                if handler is None:
                    self.reply(404, json.dumps({"errors": [{"code": "NAME_UNKNOWN",
                                                           "message": "who\nknows"}]}).encode())
                else:
                    handler(self)

            do_GET = do_HEAD = do_POST = any

            def reply(self, status, body=b"", length=None, **headers):
                self.send_response(status)
                for k, v in headers.items():
                    for one in v if isinstance(v, list) else [v]:
                        self.send_header(k.replace("_", "-"), one)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def chunked(self, pieces, **headers):
                self.send_response(200)
                for k, v in headers.items():
                    self.send_header(k.replace("_", "-"), v)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for p in pieces:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(p), p))
                self.wfile.write(b"0\r\n\r\n")

            def hang_up(self):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, address):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True,
                                                 do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.host = f"localhost:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def seen(self, **want):
        with self.lock:
            return [h for h in self.log if all(getattr(h, k) == v for k, v in want.items())]

    def forget(self):
        with self.lock:
            self.log.clear()


def serve(image, manifest=None, blob=None):
    """A handler for an image; manifest and blob may answer instead by returning True."""

    def handler(h):
        if h.kind == "manifests":
            if manifest and manifest(h):
                return
            if h.what in ("latest", image.digest):
                h.reply(200, image.manifest, Content_Type=MANIFEST, Docker_Content_Digest=image.digest)
                return
        elif h.kind == "blobs":
            if blob and blob(h):
                return
            if h.what in image.blobs:
                h.reply(200, image.blobs[h.what], Content_Type="application/octet-stream")
                return
        h.reply(404, b"{}")

    return handler


def raw_manifest(body, content_type=MANIFEST, digest=None):
    def handler(h):
        if h.kind == "manifests":
            h.reply(200, body, Content_Type=content_type, Docker_Content_Digest=digest or sha(body))
        else:
            h.reply(404, b"{}")
    return handler


# ---- the client ---------------------------------------------------------------------------------

class Result:
    def __init__(self, proc, root):
        self.text = proc.stdout + proc.stderr
        self.status = proc.returncode
        lines = [l.split(" ", 2) for l in proc.stdout.splitlines()]
        self.pulls = [l for l in lines if l and (l[0] == "ok" or l[0].isupper())]
        self.code = self.pulls[0][0] if self.pulls else "none"
        self.message = self.pulls[0][2] if self.pulls else ""
        self.images = re.findall(r"^image (\S+) tags(.*) digests(.*) layers(.*)$", proc.stdout, re.M)
        m = re.search(r"^rss (\d+) in-flight (\d+)$", proc.stdout, re.M)
        self.rss, self.busy = (int(m[1]), int(m[2])) if m else (0, -1)
        self.root = root

    def left_over(self):
        """What is on disk beyond the layers of the images."""
        layers = {n for i in self.images for n in i[3].split()}
        ingest = os.path.join(self.root, "ingest")
        left = os.listdir(ingest) if os.path.isdir(ingest) else []
        return left, layers


n_roots = 0


def pull(*args, root=None, env=None):
    global n_roots
    n_roots += 1
    root = root or os.path.join(top, f"root-{n_roots}")
    proc = subprocess.run([tool, "--root", root, "--retry-ms", "20", *args], capture_output=True,
                          text=True, timeout=120, env={**os.environ, **(env or {})}, errors="replace")
    return Result(proc, root)


def check(result, code, what, contains="", images=None):
    left, _ = result.left_over()
    good = (result.status == 0 and result.code == code and contains in result.message and
            result.busy == 0 and left == [] and
            len(result.images) == (images if images is not None else (1 if code == "ok" else 0)))
    return ok(good, f"{what}: {result.code}", result.text[-2000:], f"left {left}, busy {result.busy}")


def main():
    for case in CASES:
        try:
            case()
        except Exception as e:  # a case that dies is a failure like another
            ok(False, f"{case.__name__}: {type(e).__name__}: {e}")


CASES = []


def case(f):
    CASES.append(f)
    return f


reg = Registry()
elsewhere = Registry()


def repo(name, handler):
    reg.repos[name] = handler
    return f"{reg.host}/{name}"


# ---- honest, to begin with ----------------------------------------------------------------------

@case
def honest():
    image = Image("honest", layers=4)
    ref = repo("good", serve(image))
    r = pull(ref)
    check(r, "ok", "an honest image by tag")
    ok(r.images and r.images[0][0] == image.id == r.message and
       r.images[0][1].split() == [f"{ref}:latest"] and
       r.images[0][2].split() == [f"{ref}@{image.digest}"], "its id, tag and digest", r.text)
    gets = len(reg.seen(repo="good", kind="blobs"))
    again = pull(ref, root=r.root)
    check(again, "ok", "once more")
    ok(len(reg.seen(repo="good", kind="blobs")) == gets and
       len(reg.seen(repo="good", kind="manifests", command="GET")) == 1,
       "which fetched nothing, but asked whether it may")
    r = pull(f"{ref}@{image.digest}")
    check(r, "ok", "by digest")
    ok(r.images and r.images[0][1].split() == [] and
       r.images[0][2].split() == [f"{ref}@{image.digest}"], "has a digest and no tag", r.text)
    r = pull(f"{ref}:ignored@{image.digest}")
    check(r, "ok", "by tag and digest")
    ok(r.images and r.images[0][1].split() == [], "has no tag either", r.text)
    check(pull(repo("nolayers", serve(Image("nolayers", layers=0)))), "ok", "an image without layers")
    twice = Image("twice", layers=1, spoil_config=lambda c: c["rootfs"]["diff_ids"].append(
        c["rootfs"]["diff_ids"][0]), spoil=lambda m: m["layers"].append(m["layers"][0]))
    check(pull(repo("twice", serve(twice))), "ok", "the same layer twice in an image")


@case
def no_head():
    image = Image("nohead")

    def manifest(h):
        if h.command == "HEAD":
            h.reply(405)
            return True

    check(pull(repo("nohead", serve(image, manifest))), "ok", "a server without HEAD")

    def silent(h):
        if h.command == "HEAD":
            h.reply(200, b"", length=len(image.manifest))
            return True

    check(pull(repo("silent", serve(image, silent))), "ok", "a server whose HEAD tells no digest")

    def odd(h):
        h.reply(200, image.manifest, Content_Type=MANIFEST, Docker_Content_Digest="sha256:../../x")
        return True

    r = pull(repo("odd", serve(image, odd)))
    check(r, "ok", "a Docker-Content-Digest that is a path is not taken")
    ok(r.images and image.digest in r.images[0][2], "the digest is computed", r.text)


# ---- wrong content ------------------------------------------------------------------------------

@case
def wrong_manifests():
    a, b = Image("a"), Image("b")
    check(pull(repo("wm1", lambda h: h.reply(200, b.manifest, Content_Type=MANIFEST,
                                           Docker_Content_Digest=a.digest))),
          "DATA_LOSS", "a manifest that is not what its digest says", "digest is")
    r = pull(repo("wm2", serve(b)) + "@" + a.digest)
    check(r, "NOT_FOUND", "a digest that is not there")
    check(pull(repo("wm3", lambda h: h.reply(200, b.manifest, Content_Type=MANIFEST)) + "@" + a.digest),
          "DATA_LOSS", "another manifest than the one asked for by digest")
    cases = [
        ("ambiguous", {**a.doc, "manifests": []}, MANIFEST, "INVALID_ARGUMENT", "ambiguous"),
        ("announced as an index", a.doc, INDEX, "INVALID_ARGUMENT", "index without"),
        ("schema 1", {"schemaVersion": 1, "fsLayers": []},
         "application/vnd.docker.distribution.manifest.v1+prettyjws", "UNIMPLEMENTED", "schema 1"),
        ("an artifact", {**a.doc, "config": {**a.doc["config"], "mediaType":
                                             "application/vnd.cncf.helm.config.v1+json"}},
         MANIFEST, "UNIMPLEMENTED", "artifact"),
        ("a config digest that is a path", {**a.doc, "config": {**a.doc["config"],
                                            "digest": "sha256:../../x"}}, MANIFEST,
         "INVALID_ARGUMENT", "valid digest"),
        ("a layer digest that is a path", {**a.doc, "layers": [{**a.doc["layers"][0],
                                           "digest": "../../../etc/passwd"}]}, MANIFEST,
         "INVALID_ARGUMENT", "valid digest"),
        ("an encrypted layer", {**a.doc, "layers": [{**a.doc["layers"][0],
                                "mediaType": LAYER + "+encrypted"}]}, MANIFEST, "UNIMPLEMENTED", "encrypted"),
        ("a config of 1 GiB", {**a.doc, "config": {**a.doc["config"], "size": 1 << 30}}, MANIFEST,
         "RESOURCE_EXHAUSTED", "limit"),
        ("an index for others", {"schemaVersion": 2, "manifests": [
            {"mediaType": MANIFEST, "digest": a.digest, "size": len(a.manifest),
             "platform": {"os": "linux", "architecture": "s390x"}}]}, INDEX, "NOT_FOUND", "linux/s390x"),
    ]
    for i, (what, doc, ctype, code, text) in enumerate(cases):
        body = {k: v for k, v in doc.items() if k != "mediaType"}
        check(pull("--platform", "linux/amd64",
                   repo(f"wm-{i}", raw_manifest(json.dumps(body).encode(), ctype))), code, what, text)
    check(pull(repo("html", raw_manifest(b"<html>login</html>", "text/html"))), "INVALID_ARGUMENT",
          "a login page instead of a manifest")
    check(pull(repo("list", raw_manifest(b"[[[[]]]]"))), "INVALID_ARGUMENT", "a list")
    check(pull(repo("deep", raw_manifest(b"[" * 3000000))), "RESOURCE_EXHAUSTED", "3 million brackets")
    arm = Image("arm", arch="arm64")
    check(pull("--platform", "linux/amd64", repo("arm", serve(arm))), "NOT_FOUND",
          "an image for another machine", "linux/arm64")


@case
def indexes():
    image = Image("in-index")
    docs = {}

    def index(entries):
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
        docs[sha(body)] = (body, INDEX)
        return body

    def entry(body, media_type, **platform):
        e = {"mediaType": media_type, "digest": sha(body), "size": len(body)}
        return {**e, "platform": platform} if platform else e

    docs[image.digest] = (image.manifest, MANIFEST)
    inner = index([entry(image.manifest, MANIFEST, os="linux", architecture="amd64")])
    outer = index([entry(b"x", MANIFEST, os="linux", architecture="arm64"),
                   entry(inner, INDEX, os="linux", architecture="amd64")])
    roots = {}

    def handler(h):
        what = roots.get(h.repo) if h.what == "latest" else h.what
        if h.kind == "manifests" and what in docs:
            h.reply(200, docs[what][0], Content_Type=docs[what][1], Docker_Content_Digest=what)
        elif h.what in image.blobs:
            h.reply(200, image.blobs[h.what])
        else:
            h.reply(404)

    roots["nested"] = sha(outer)
    r = pull("--platform", "linux/amd64", repo("nested", handler))
    check(r, "ok", "an index in an index")
    ok(r.images and r.images[0][0] == image.id and sha(outer) in r.images[0][2],
       "is known by the outer one's digest", r.text)
    for _ in range(5):
        inner = index([entry(inner, INDEX, os="linux", architecture="amd64")])
    roots["abyss"] = sha(inner)
    check(pull("--platform", "linux/amd64", repo("abyss", handler)), "INVALID_ARGUMENT",
          "indexes nested seven deep", "nested")
    wrong = index([{**entry(image.manifest, INDEX, os="linux", architecture="amd64")}])
    roots["mislabelled"] = sha(wrong)
    check(pull("--platform", "linux/amd64", repo("mislabelled", handler)), "INVALID_ARGUMENT",
          "an index that calls a manifest an index")
    short = index([{**entry(image.manifest, MANIFEST, os="linux", architecture="amd64"), "size": 5}])
    roots["short"] = sha(short)
    check(pull("--platform", "linux/amd64", repo("short", handler)), "DATA_LOSS",
          "an index with a wrong size")


@case
def wrong_blobs():
    image = Image("blobs")

    def lie(which, body=None, send=None):
        def blob(h):
            if h.what == which:
                if send:
                    send(h, image.blobs[which])
                else:
                    h.reply(200, body)
                return True
        return blob

    def flip(b):
        return b[:100] + bytes([b[100] ^ 1]) + b[101:]

    config, layer = image.doc["config"]["digest"], image.layer(1)
    check(pull(repo("wb1", serve(image, blob=lie(config, flip(image.config))))), "DATA_LOSS",
          "a flipped bit in the config", "digest is")
    check(pull(repo("wb2", serve(image, blob=lie(config, image.config + b" ")))), "DATA_LOSS",
          "a config that is too long", "descriptor says")
    check(pull(repo("wb3", serve(image, blob=lie(layer, flip(image.blobs[layer]))))), "DATA_LOSS",
          "a flipped bit in a layer", layer)
    check(pull(repo("wb4", serve(image, blob=lie(layer, image.blobs[layer][:-1])))), "DATA_LOSS",
          "a layer that is too short", "descriptor says")
    check(pull(repo("wb5", serve(image, blob=lie(layer, image.blobs[layer] + b"x")))), "DATA_LOSS",
          "a layer that is too long", "descriptor says")
    check(pull(repo("wb6", serve(image, blob=lie(layer, send=lambda h, b: h.chunked([b, b"x" * 99]))))),
          "DATA_LOSS", "a layer that is too long, its length not told", "longer than")
    check(pull(repo("wb7", serve(image, blob=lie(layer, send=lambda h, b: h.chunked([b[:99]]))))),
          "DATA_LOSS", "a layer that is too short, its length not told", "it ended after")
    check(pull(repo("wb8", serve(image, blob=lie(layer, send=lambda h, b: h.reply(404, b"{}"))))),
          "NOT_FOUND", "a layer that is not there", layer)
    check(pull(repo("wb9", serve(image, blob=lie(layer, send=lambda h, b: h.reply(
        206, b, Content_Range=f"bytes 0-{len(b) - 1}/{len(b)}"))))), "DATA_LOSS",
        "a partial answer that nobody asked for")
    bomb = Image("bomb", spoil_config=lambda c: c["rootfs"]["diff_ids"].reverse())
    check(pull(repo("wb10", serve(bomb))), "DATA_LOSS", "layers whose diff ids are exchanged")
    odd = Image("odd", spoil_config=lambda c: c["rootfs"]["diff_ids"].pop())
    check(pull(repo("wb11", serve(odd))), "INVALID_ARGUMENT", "fewer diff ids than layers", "diff ids")
    junk = Image("junk", spoil_config=lambda c: c.update(config=[]))
    check(pull(repo("wb12", serve(junk))), "INVALID_ARGUMENT", "a config that is none", "config")


@case
def unfinished_tars():
    end = 512 + 20000  # header and data; then come the padding and the end mark
    for what, n, code in (("no end mark", end + 480, "ok"), ("no padding either", end, "ok"),
                          ("half of the padding", end + 100, "ok"), ("a byte of the file missing", end - 1,
                           "INVALID_ARGUMENT"), ("no data at all", 512, "INVALID_ARGUMENT"),
                          ("half a header", 200, "INVALID_ARGUMENT")):
        image = Image("cut", layers=1, cut=lambda tar: tar[:n])
        check(pull(repo(f"cut{n}", serve(image))), code, f"a tar with {what}")


@case
def giants():
    image = Image("giant")

    def endless(h):
        for _ in range(1 << 15):
            yield b"[" + b" " * 65534 + b","

    r = pull(repo("giant1", lambda h: h.reply(200, b"{", length=1 << 30, Content_Type=MANIFEST)))
    check(r, "RESOURCE_EXHAUSTED", "a manifest of 1 GiB", "limit")
    r = pull(repo("giant2", lambda h: h.chunked(endless(h), Content_Type=MANIFEST)))
    check(r, "RESOURCE_EXHAUSTED", "a manifest of 2 GiB, its length not told", "larger than")
    ok(r.rss < 64 << 10, f"in {r.rss} kB of memory")
    r = pull(repo("giant3", lambda h: h.reply(200, b"{}", Content_Type=MANIFEST,
                                            X_Filler=["x" * 1000] * 90)))
    check(r, "UNKNOWN", "90 kB of headers", "too long")


# ---- trouble on the way -------------------------------------------------------------------------

def sometimes(times, trouble):
    """The first so many requests get into trouble."""
    left = [times]

    def f(h):
        if left[0] > 0:
            left[0] -= 1
            trouble(h)
            return True
    return f


@case
def retries():
    image = Image("retries")
    busy = lambda h: h.reply(500, b"oops")
    r = pull(repo("r1", serve(image, sometimes(2, busy), sometimes(2, busy))))
    check(r, "ok", "a server that recovers from 500")
    reg.forget()
    r = pull(repo("r2", busy))
    check(r, "UNKNOWN", "a server that does not", "RegistryUnavailable: ")
    ok(r.message.startswith("RegistryUnavailable: ") and reg.host in r.message and
       "HTTP 500" in r.message, "the message begins as the kubelet wants it, and names the host", r.message)
    ok(len(reg.seen(repo="r2")) == 4, "after four tries", len(reg.seen(repo="r2")))
    limit = lambda h: h.reply(429, b'{"errors":[{"message":"slow\\ndown"}]}', Retry_After="1")
    began = time.monotonic()
    r = pull(repo("r3", serve(image, sometimes(1, limit))))
    check(r, "ok", "a rate limit that passes")
    ok(0.9 < time.monotonic() - began < 10, "after the second that was asked for")
    began = time.monotonic()
    r = pull(repo("r4", lambda h: h.reply(429, b"", Retry_After="3600")))
    check(r, "RESOURCE_EXHAUSTED", "a rate limit of an hour")
    ok(time.monotonic() - began < 5, "is not waited for")
    check(pull(repo("r5", lambda h: h.reply(503, b"", Retry_After="Wed, 21 Oct 2099 07:28:00 GMT"))),
          "UNKNOWN", "unavailable until 2099", "RegistryUnavailable: ")
    check(pull(repo("r6", lambda h: h.hang_up())), "UNKNOWN", "a server that hangs up",
          "RegistryUnavailable: ")
    check(pull(repo("r7", lambda h: h.reply(404, b"{}"))), "NOT_FOUND", "no such image")
    r = pull(f"{reg.host}/nobody/knows:it")
    check(r, "NOT_FOUND", "no such repository")
    check(pull(repo("r9", serve(image, blob=lambda h: (h.reply(
        403, b'{"errors":[{"message":"by\\npolicy \\u00e9"}]}'), True)[1]))), "PERMISSION_DENIED",
        "what the registry says of it is passed on, made harmless", "by?policy ??")
    check(pull(repo("r8", lambda h: h.reply(418, b"{}"))), "UNKNOWN", "a teapot", "HTTP 418")
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    r = pull(f"localhost:{s.getsockname()[1]}/x")
    check(r, "UNKNOWN", "nobody there", "RegistryUnavailable: ")
    r = pull("no.such.registry.invalid/x", env={k: "" for k in os.environ if "proxy" in k.lower()})
    check(r, "UNKNOWN", "no such host", "RegistryUnavailable: ")


@case
def broken_off():
    image = Image("broken", layers=1, size=3000000)
    blob = image.blobs[image.layer(0)]

    def drops(answer_range, times=2, at=1000000):
        left = [times]

        def f(h):
            if h.what != image.layer(0):
                return False
            m = re.match(r"bytes=(\d+)-$", h.headers.get("Range") or "")
            start = int(m[1]) if m and answer_range else 0
            body = answer_range(h, start) if answer_range else blob
            if body is None:
                return True
            if left[0] > 0:
                left[0] -= 1
                body = body[:at]
                more = {"length": len(blob) - start}
            else:
                more = {}
            if m and answer_range:
                h.reply(206, body, Content_Range=f"bytes {start}-{len(blob) - 1}/{len(blob)}", **more)
            else:
                h.reply(200, body, **more)
            if more:
                h.hang_up()
            return True
        return f

    reg.forget()
    check(pull(repo("bo1", serve(image, blob=drops(lambda h, start: blob[start:])))), "ok",
          "a layer that breaks off twice and is resumed")
    ranges = [h.headers.get("Range") for h in reg.seen(repo="bo1", what=image.layer(0))]
    ok(ranges[0] is None and len(ranges) == 3 and all(r for r in ranges[1:]),
       "each time from where it broke off", ranges)
    check(pull(repo("bo2", serve(image, blob=drops(None)))), "ok",
          "a server that knows no ranges: what we have is skipped")
    check(pull(repo("bo3", serve(image, blob=drops(lambda h, start: blob[start:], times=99, at=1)))),
          "UNKNOWN", "a layer that comes a byte at a time is given up", "RegistryUnavailable: ")
    other = bytes(len(blob))
    check(pull(repo("bo4", serve(image, blob=drops(
        lambda h, start: other[start:] if start else blob, times=1)))), "ok",
        "a layer that changed meanwhile is fetched anew")
    check(pull(repo("bo5", serve(image, blob=drops(
        lambda h, start: other[start:] if start else blob, times=99)))), "DATA_LOSS",
        "one that always changes is not taken")

    def wrong_range(h, start):
        if start == 0:
            return blob
        h.reply(206, blob[start - 10:], Content_Range=f"bytes {start - 10}-{len(blob) - 1}/{len(blob)}")

    check(pull(repo("bo6", serve(image, blob=drops(wrong_range, times=1)))), "DATA_LOSS",
          "another range than was asked for", "range")
    check(pull(repo("bo7", serve(image, blob=drops(
        lambda h, start: blob[start:] if start < len(blob) - 10 else h.reply(416), times=1,
        at=len(blob) - 5)))), "UNKNOWN", "a range that cannot be had", "HTTP 416")


@case
def dawdling():
    image = Image("slow", layers=3, size=200000)

    def drip(h):
        if h.what not in (image.layer(1), image.layer(2)):
            return False
        body = image.blobs[h.what]
        h.send_response(200)
        h.send_header("Content-Length", str(len(body)))
        h.end_headers()
        for i in range(0, 200):
            h.wfile.write(body[i * 10:i * 10 + 10])
            h.wfile.flush()
            time.sleep(0.05)
        return True

    ref = repo("slow", serve(image, blob=drip))
    began = time.monotonic()
    check(pull("--cancel-ms", "700", ref), "CANCELLED", "the client goes while layers trickle in")
    check(pull("--deadline-ms", "700", ref), "DEADLINE_EXCEEDED", "its deadline passes")
    ok(time.monotonic() - began < 8, "either at once")
    check(pull("--deadline-ms", "1", ref), "DEADLINE_EXCEEDED", "a deadline of a millisecond")

    def stall(h):
        if h.what == image.layer(1):
            body = image.blobs[h.what]
            h.send_response(200)
            h.send_header("Content-Length", str(len(body)))
            h.end_headers()
            h.wfile.write(body[:100])
            h.wfile.flush()
            time.sleep(3)
            return True

    check(pull("--stall-ms", "300", repo("stall", serve(image, blob=stall))), "UNKNOWN",
          "a layer that stops coming", "RegistryUnavailable: ")
    check(pull("--stall-ms", "300", repo("mute", lambda h: time.sleep(2))), "UNKNOWN",
          "a server that says nothing", "RegistryUnavailable: ")


@case
def cancelled_anywhere():
    image = Image("anywhere", layers=5, size=1000000)

    def slowly(h):
        time.sleep(0.02)

    ref = repo("anywhere", serve(image, slowly, slowly))
    bad = []
    for ms in list(range(1, 60, 6)) + [80, 100, 120, 140]:
        r = pull("--cancel-ms", str(ms), ref)
        left, layers = r.left_over()
        if r.status != 0 or r.code not in ("CANCELLED", "ok") or left or r.busy or \
                len(r.images) != (r.code == "ok"):
            bad.append((ms, r.text, left))
    ok(not bad, "cancelled at fourteen moments: nothing is left", bad)
    bad = []
    for step in range(0, 6):
        r = pull("--fail-at", str(step), ref)
        left, layers = r.left_over()
        if r.status != 0 or r.code != "INTERNAL" or left or r.busy or r.images:
            bad.append((step, r.text, left))
        r = pull(ref, root=r.root)
        if r.code != "ok":
            bad.append((step, "then", r.text))
    ok(not bad, "failed at each step: nothing is left, and the next pull works", bad)


# ---- sharing ------------------------------------------------------------------------------------

@case
def sharing():
    image = Image("shared", layers=4, size=100000)

    def slowly(h):
        time.sleep(0.05)

    ref = repo("shared", serve(image, slowly, slowly))
    reg.forget()
    r = pull("--times", "6", ref)
    check(r, "ok", "six pulls of one image at once")
    ok(len(r.pulls) == 6 and all(p[0] == "ok" for p in r.pulls), "all succeed", r.text)
    ok(len(reg.seen(repo="shared", kind="blobs")) == 5 and
       len(reg.seen(repo="shared", kind="manifests")) == 2, "each thing is fetched once",
       [h.path for h in reg.seen(repo="shared")])
    reg.forget()
    ref2 = repo("shared2", serve(image, slowly, slowly))
    r = pull(ref, ref2, f"{ref}@{image.digest}")
    ok(len(r.pulls) == 3 and all(p[0] == "ok" for p in r.pulls) and len(r.images) == 1,
       "three names of an image at once", r.text)
    layers = [h for h in reg.seen(kind="blobs") if h.what != image.doc["config"]["digest"]]
    ok(len(layers) == 4, "each layer is fetched once", [h.path for h in layers])
    reg.forget()
    most, now, lock = [0], [0], threading.Lock()

    def counted(h):
        if h.what == image.doc["config"]["digest"]:
            return False
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.15)
        with lock:
            now[0] -= 1

    check(pull("--per-image", "2", repo("limit", serve(image, blob=counted))), "ok", "two at a time")
    ok(most[0] == 2, f"at most two layers at once, were {most[0]}")
    most[0] = 0
    other = Image("other", layers=4)

    def counted2(h):
        return counted(h) if h.what != other.doc["config"]["digest"] else False

    r = pull("--per-node", "3", repo("limit1", serve(image, blob=counted)),
             repo("limit2", serve(other, blob=counted2)))
    ok(len(r.images) == 2 and most[0] == 3, f"at most three on the node, were {most[0]}", r.text)


# ---- credentials --------------------------------------------------------------------------------

def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def guarded(image, challenge, want):
    inner = serve(image)

    def handler(h):
        if h.headers.get("Authorization") == want():
            inner(h)
        else:
            h.reply(401, b'{"errors":[{"message":"authentication required"}]}',
                    WWW_Authenticate=challenge())
    return handler


@case
def logins():
    image = Image("logins")
    ref = repo("basic", guarded(image, lambda: 'Basic realm="x"', lambda: basic("u", "p")))
    reg.forget()
    check(pull("--user", "u", "--password", "p", ref), "ok", "basic")
    check(pull("--auth", base64.b64encode(b"u:p").decode(), ref), "ok", "auth")
    check(pull("--user", "u", "--password", "p", "--server", reg.host, ref), "ok", "for this server")
    check(pull("--user", "u", "--password", "p", "--server", "other.example", ref),
          "UNAUTHENTICATED", "a credential for another server is not used", "needs a login")
    reg.forget()
    r = pull("--user", "u", "--password", "wrong", ref)
    check(r, "UNAUTHENTICATED", "a wrong password", "denied")
    ok(len(reg.seen(repo="basic")) == 2, "is tried once", len(reg.seen(repo="basic")))
    ok("wrong" not in r.text, "and never shown")
    check(pull(ref), "UNAUTHENTICATED", "none", "needs a login")
    check(pull(repo("forbidden", lambda h: h.reply(403, b'{"errors":[{"message":"by policy"}]}'))),
          "PERMISSION_DENIED", "forbidden")
    check(pull(repo("strange", lambda h: h.reply(401, b"", WWW_Authenticate="Negotiate"))),
          "UNAUTHENTICATED", "a login we do not know", "not supported")
    check(pull("--registry-token", "abc", repo("rt", guarded(
        image, lambda: 'Bearer realm="http://localhost/none"', lambda: "Bearer abc"))), "ok",
        "a registry token")
    check(pull("--registry-token", "abd", reg.host + "/rt"), "UNAUTHENTICATED", "a wrong one",
          "registry token")
    check(pull("--auth", "!!", ref), "INVALID_ARGUMENT", "a malformed auth", "auth")


@case
def tokens():
    image = Image("tokens")
    realm = lambda: f'Bearer realm="http://{reg.host}/token",service="svc",' \
                    f'scope="repository:{name[0]}:pull,push repository:victim/secret:pull"'
    name, granted = ["tok"], ["t0"]
    asked = []

    def token(h):
        asked.append(types.SimpleNamespace(path=h.path, headers=h.headers, command=h.command, body=h.body))
        h.reply(200, json.dumps({"token": granted[0], "expires_in": 60}).encode())

    reg.repos["/token"] = token
    ref = repo("tok", guarded(image, realm, lambda: f"Bearer {granted[0]}"))
    check(pull(ref), "ok", "an anonymous token")
    ok(len(asked) == 1 and "Authorization" not in asked[0].headers and
       asked[0].path == "/token?service=svc&scope=repository%3Atok%3Apull",
       "is asked for once, for pulling from this repository", [a.path for a in asked])
    asked.clear()
    check(pull("--user", "u", "--password", "p", ref), "ok", "a token for a password")
    ok(len(asked) == 1 and asked[0].headers["Authorization"] == basic("u", "p"), "by GET")
    asked.clear()
    check(pull("--identity-token", "idt", ref), "ok", "a token for an identity token")
    ok(len(asked) == 1 and asked[0].command == "POST" and
       b"grant_type=refresh_token&refresh_token=idt&" in asked[0].body, "by POST")

    def post_only(h):
        if h.command == "GET":
            h.reply(405)
        else:
            token(h)

    reg.repos["/token"] = post_only
    asked.clear()
    check(pull("--user", "u", "--password", "p", ref), "ok", "a token server that knows only POST")
    ok(asked and b"grant_type=password&username=u&password=p" in asked[0].body, "by POST")
    reg.repos["/token"] = lambda h: (granted.__setitem__(0, granted[0] + "x"), token(h))
    rotating = guarded(image, realm, lambda: f"Bearer {granted[0]}")
    uses = [0]

    def expiring(h):
        uses[0] += 1
        if uses[0] % 4 == 0:
            granted[0] += "y"  # what was granted has expired
        rotating(h)

    check(pull(repo("tok", expiring)), "ok", "tokens that expire on the way")
    repo("tok", guarded(image, realm, lambda: f"Bearer {granted[0]}"))
    cases = [
        ("a server that refuses", lambda h: h.reply(401), "UNAUTHENTICATED", "refused"),
        ("one that fails", lambda h: h.reply(500), "UNKNOWN", "RegistryUnavailable: "),
        ("no token in the answer", lambda h: h.reply(200, b"{}"), "UNKNOWN", "no token"),
        ("not JSON", lambda h: h.reply(200, b"<html>"), "UNKNOWN", "token"),
        ("a header in the token", lambda h: h.reply(200, b'{"token":"x\\r\\nHost: y"}'), "UNKNOWN",
         "control"),
        ("a token of 1 GiB", lambda h: h.reply(200, b"{", length=1 << 30), "UNKNOWN", "too long"),
        ("a redirect", lambda h: h.reply(302, Location=f"http://{elsewhere.host}/token"),
         "UNAUTHENTICATED", "HTTP 302"),
        ("a wrong token", lambda h: h.reply(200, b'{"token":"nope"}'), "UNAUTHENTICATED", "denied"),
    ]
    elsewhere.forget()
    for what, handler, code, text in cases:
        reg.repos["/token"] = handler
        check(pull("--user", "u", "--password", "p", ref), code, f"token: {what}", text)
    ok(not elsewhere.seen(), "nothing went elsewhere")
    for bad in ("file:///etc/passwd", "ftp://x/y", f"http://u:p@{reg.host}/token", "", "/token"):
        r = pull("--user", "u", "--password", "p", repo("hr", guarded(
            image, lambda: f'Bearer realm="{bad}"', lambda: "never")))
        check(r, "PERMISSION_DENIED", f"the realm '{bad}'", "realm")
    check(pull(repo("hr", guarded(image, lambda: 'Bearer realm="x', lambda: "never"))),
          "UNAUTHENTICATED", "a malformed challenge", "WWW-Authenticate")


@case
def leaks():
    image = Image("leaks")

    def away(h):
        h.reply(307, Location=f"http://{elsewhere.host}/store/{h.what}?sig=a%2Fb")
        return True

    for d in image.blobs:
        elsewhere.repos[f"/store/{d}"] = lambda h, d=d: h.reply(200, image.blobs[d])
    certs = os.path.join(top, "certs-leak")
    os.makedirs(os.path.join(certs, reg.host))
    with open(os.path.join(certs, reg.host, "hosts.toml"), "w") as f:
        f.write(f'server = "http://{reg.host}"\n[header]\nX-Secret = "s"\n')
    inner = serve(image, blob=away)

    def handler(h):
        if h.headers.get("Authorization") != basic("u", "p"):
            h.reply(401, b"", WWW_Authenticate="Basic")
        else:
            inner(h)

    elsewhere.forget()
    reg.forget()
    r = pull("--certs", certs, "--user", "u", "--password", "p", repo("away", handler))
    check(r, "ok", "blobs that are stored elsewhere")
    ok(elsewhere.seen() and not any("Authorization" in h.headers or "X-Secret" in h.headers
                                    for h in elsewhere.seen()),
       "neither the credential nor our headers went there")
    ok(all(h.path.endswith("?sig=a%2Fb") for h in elsewhere.seen()), "its URL is not tampered with")
    ok(all(h.headers.get("X-Secret") == "s" for h in reg.seen(repo="away")), "the registry got them")

    for realm, gets in ((reg, True), (elsewhere, False)):
        realm.repos["/grant"] = lambda h: h.reply(200, b'{"token":"g"}')
        realm.forget()
        check(pull("--certs", certs, "--user", "u", "--password", "p", repo("granted", guarded(
            image, lambda: f'Bearer realm="http://{realm.host}/grant"', lambda: "Bearer g"))), "ok",
            f"a token from {'this' if gets else 'another'} host")
        asked = realm.seen(what="/grant")
        ok(asked and all((h.headers.get("X-Secret") == "s") == gets for h in asked),
           "which got our headers" if gets else "which did not get our headers")

    def away_login(h):
        h.reply(302, Location=f"http://{elsewhere.host}/login")
        return True

    elsewhere.repos["/login"] = lambda h: h.reply(401, b"", WWW_Authenticate="Basic")
    elsewhere.forget()
    r = pull("--user", "u", "--password", "p", repo("away2", serve(image, blob=away_login)))
    check(r, "UNAUTHENTICATED", "a redirect's target that asks for a login", "redirect")
    ok(not any("Authorization" in h.headers for h in elsewhere.seen()), "does not get it")
    loop = lambda h: (h.reply(302, Location=h.path), True)[1]
    reg.forget()
    check(pull(repo("loop", serve(image, blob=loop))), "UNKNOWN", "a redirect in a circle", "too many")
    ok(len(reg.seen(repo="loop", kind="blobs")) == 6, "is left after five turns")
    for to in ("file:///etc/passwd", "http://u:p@localhost/x", "gopher://x/"):
        check(pull(repo("to", serve(image, blob=lambda h: (h.reply(302, Location=to), True)[1]))),
              "UNKNOWN", f"a redirect to {to}", "leads nowhere")


def make_ca():
    """A CA and a certificate for localhost."""
    d = os.path.join(top, "tls")
    os.makedirs(d)
    run = lambda *a: subprocess.run(["openssl", *a], cwd=d, check=True, capture_output=True)
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Test CA", "-days", "2",
        "-keyout", "ca.key", "-out", "ca.pem")
    run("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "s.key", "-out", "s.csr")
    with open(os.path.join(d, "ext"), "w") as f:
        f.write("subjectAltName=DNS:localhost\n")
    run("x509", "-req", "-in", "s.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-days", "2", "-extfile", "ext", "-out", "s.pem")
    return d


def hosts_dir(host, text):
    d = tempfile.mkdtemp(prefix="certs-", dir=top)
    os.makedirs(os.path.join(d, host))
    with open(os.path.join(d, host, "hosts.toml"), "w") as f:
        f.write(text)
    return d


@case
def over_tls():
    d = make_ca()
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(os.path.join(d, "s.pem"), os.path.join(d, "s.key"))
    tls = Registry(ctx)
    image = Image("tls")
    tls.repos["x"] = serve(image)
    ref = "registry.test/x"
    https = f'server = "https://{tls.host}"\n'
    trusted = https + f'ca = "{d}/ca.pem"\n'
    check(pull("--certs", hosts_dir("registry.test", trusted), ref), "ok", "TLS with a CA of our own")
    check(pull("--certs", hosts_dir("registry.test", https), ref), "UNKNOWN",
          "the same CA unknown", "RegistryUnavailable: ")
    check(pull("--certs", hosts_dir("registry.test", https + "skip_verify = true\n"), ref), "ok",
          "the same with skip_verify")
    check(pull("--certs", hosts_dir("registry.test",
          f'server = "https://127.0.0.1:{tls.port}"\nca = "{d}/ca.pem"\n'), ref), "UNKNOWN",
          "a certificate for another name", "RegistryUnavailable: ")
    check(pull("--certs", hosts_dir("registry.test", f'server = "http://{tls.host}"\nskip_verify=true\n'),
               ref), "ok", "http in the configuration, TLS in truth")
    check(pull(f"{tls.host}/x"), "ok", "TLS on this machine without any configuration")
    certs = hosts_dir("registry.test", trusted)
    reg.forget()
    tls.repos["hr"] = lambda h: h.reply(401, b"", WWW_Authenticate=f'Bearer realm="http://{reg.host}/token"')
    far = hosts_dir("registry.test", f'server = "https://far.test:{tls.port}"\nskip_verify = true\n')
    # far.test is this machine by way of a proxy that only connects
    with connect_proxy() as proxy:
        r = pull("--certs", far, "--user", "u", "--password", "p", "registry.test/hr",
                 env={"https_proxy": proxy, "HTTPS_PROXY": proxy, "no_proxy": "", "NO_PROXY": ""})
        check(r, "PERMISSION_DENIED", "an https registry with a realm of plain http", "plain http")
        ok(not reg.seen(what="/token"), "was not asked for a token")
        check(pull("--certs", far, "registry.test/x",
                   env={"https_proxy": proxy, "HTTPS_PROXY": proxy, "no_proxy": "", "NO_PROXY": ""}),
              "ok", "through a proxy")
    tls.repos["/grant"] = lambda h: h.reply(200, b'{"token":"g"}')
    granted = repo("granted2", guarded(
        image, lambda: f'Bearer realm="https://{tls.host}/grant"', lambda: "Bearer g"))
    check(pull(granted), "ok", "an anonymous token from an unverified server")
    tls.forget()
    check(pull("--user", "u", "--password", "p", granted), "UNKNOWN", "a password for an unverified server",
          "certificate")
    ok(not tls.seen(), "does not get there")
    tls.repos["down"] = serve(image, blob=lambda h: (h.reply(
        302, Location=f"http://{reg.host}/v2/down/blobs/{h.what}"), True)[1])
    reg.repos["down"] = serve(image)
    reg.forget()
    check(pull("--certs", certs, "registry.test/down"), "PERMISSION_DENIED",
          "a redirect from https to http", "plain http")
    ok(not reg.seen(), "is not followed")


class connect_proxy:
    """A proxy that knows CONNECT, and takes every name for localhost."""

    def __enter__(self):
        self.s = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()
        return f"http://127.0.0.1:{self.s.getsockname()[1]}"

    def __exit__(self, *args):
        self.s.close()

    def accept(self):
        while True:
            try:
                c, _ = self.s.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        head = b""
        while b"\r\n\r\n" not in head:
            more = c.recv(4096)
            if not more:
                return
            head += more
        port = int(re.match(rb"CONNECT [^:]+:(\d+) ", head)[1])
        t = socket.create_connection(("127.0.0.1", port))
        c.sendall(b"HTTP/1.1 200 OK\r\nX-Proxy: yes\r\n\r\n")
        def pump(a, b):
            try:
                while data := a.recv(65536):
                    b.sendall(data)
                b.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        threading.Thread(target=pump, args=(t, c), daemon=True).start()
        pump(c, t)


# ---- mirrors ------------------------------------------------------------------------------------

@case
def mirrors():
    image = Image("mirrors", layers=3)
    dead = socket.socket()
    dead.bind(("127.0.0.1", 0))
    mirror, liar = Registry(), Registry()
    mirror.repos["lib/x"] = serve(image)
    flipped = lambda h: (h.reply(200, bytes(len(image.blobs[h.what]))), True)[1] \
        if h.what in image.blobs else False
    liar.repos["lib/x"] = serve(image, blob=flipped)
    origin = repo("lib/x", serve(image))
    deadhost = f'[host."http://127.0.0.1:{dead.getsockname()[1]}"]\n'
    use = lambda *hosts: hosts_dir("registry.test", f'server = "http://{reg.host}"\n' + "".join(hosts))
    at = lambda r, more="": f'[host."http://{r.host}"]\n{more}'
    ref = "registry.test/lib/x"
    check(pull("--certs", use(deadhost, at(mirror)), ref), "ok", "a dead mirror, and one that lives")
    ok(all(h.path.endswith("?ns=registry.test") for h in mirror.seen()) and mirror.seen() and
       not reg.seen(repo="lib/x"), "is told the registry's name, and the registry is not asked")
    check(pull("--certs", use(deadhost), ref), "ok", "a dead mirror, then the registry")
    check(pull("--certs", use(at(elsewhere)), ref), "ok", "a mirror without the image, then the registry")
    liar.forget()
    check(pull("--certs", use(at(liar)), ref), "ok", "a mirror that lies about every blob")
    ok(len(liar.seen(kind="blobs")) == 4, "each is then fetched from the registry",
       len(liar.seen(kind="blobs")))
    mirror.forget()
    reg.forget()
    check(pull("--certs", use(at(mirror, 'capabilities = ["pull"]\n')), ref), "ok", "a mirror for pulls only")
    ok(not mirror.seen(what="latest") and reg.seen(what="latest") and mirror.seen(kind="blobs") and
       not reg.seen(kind="blobs"), "is not asked what the tag means, but for everything else")
    check(pull("--certs", use(at(elsewhere)), "registry.test/none"), "NOT_FOUND", "nobody has it")
    r = pull("--certs", use(deadhost), "registry.test/none")
    check(r, "NOT_FOUND", "the registry's word counts more than a dead mirror's silence", reg.host)
    both = f'server = "http://127.0.0.1:{dead.getsockname()[1]}"\n'
    check(pull("--certs", hosts_dir("registry.test", both + deadhost), ref), "UNKNOWN", "all are dead",
          "RegistryUnavailable: ")
    locked = guarded(image, lambda: "Basic", lambda: basic("u", "p"))
    mirror.repos["lib/x"] = locked
    mirror.forget()
    check(pull("--certs", use(at(mirror)), "--user", "u", "--password", "p", "--server", mirror.host, ref),
          "ok", "a credential for the mirror")
    mirror.forget()
    check(pull("--certs", use(at(mirror)), "--user", "u", "--password", "p", "--server", "registry.test",
               ref), "ok", "a credential for the registry")
    ok(mirror.seen() and not any("Authorization" in h.headers for h in mirror.seen()),
       "is not shown to the mirror")
    half = image.blobs[image.layer(0)]

    def breaks(h):
        if h.what == image.layer(0) and not h.headers.get("Range"):
            h.reply(200, half[:5000], length=len(half))
            h.hang_up()
            return True
        if h.what == image.layer(0):
            h.reply(503)
            return True

    def ranged(h):
        m = re.match(r"bytes=(\d+)-$", h.headers.get("Range") or "")
        if m:
            n = int(m[1])
            h.reply(206, half[n:], Content_Range=f"bytes {n}-{len(half) - 1}/{len(half)}")
            return True

    mirror.repos["lib/x"] = serve(image, blob=breaks)
    reg.repos["lib/x"] = serve(image, blob=ranged)
    reg.forget()
    check(pull("--certs", use(at(mirror)), ref), "ok", "a mirror that breaks off half-way")
    ok([h.headers.get("Range") for h in reg.seen(what=image.layer(0))] == ["bytes=5000-"],
       "the registry gives the rest", [h.headers.get("Range") for h in reg.seen(what=image.layer(0))])
    check(pull("--certs", hosts_dir("registry.test", "server = \n"), ref), "FAILED_PRECONDITION",
          "a hosts.toml that does not parse", "hosts.toml:1")
    check(pull("--certs", use(at(mirror, 'capabilities = []\nskip_verfy = true\n')), ref),
          "FAILED_PRECONDITION", "a hosts.toml with a misspelt key", "skip_verfy")


# ---- memory -------------------------------------------------------------------------------------

@case
def memory():
    small = pull(repo("small", serve(Image("small", layers=1, size=100))))
    big = Image("big", layers=4, size=48 << 20)
    r = pull("--progress", repo("big", serve(big)))
    check(r, "ok", "an image of 192 MB")
    slack = 4 if os.environ.get("SANITIZED") else 1
    ok(r.rss - small.rss < slack * (12 << 10), f"takes {r.rss - small.rss} kB more than a small one")
    ok("downloading" in r.text, "its progress is shown", r.text[:500])


try:
    main()
finally:
    shutil.rmtree(top, ignore_errors=True)
print(f"1..{count}")
sys.exit(1 if failed else 0)
