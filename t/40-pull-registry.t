#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# Pulls from the reference registry (Debian's docker-registry): plain, over TLS, with basic
# authentication and with tokens; images made by umoci and copied there by skopeo, in the formats that
# are about: OCI and Docker schema 2, gzip, zstd and plain layers, indexes.

import base64, hashlib, http.server, json, os, re, shutil, socket, socketserver, subprocess
import sys, tempfile, threading, time, urllib.parse, urllib.request

tool = os.path.join(os.environ["builddir"], "t/pull-tool")
top = tempfile.mkdtemp(prefix="coracle-registry-")
count = failed = 0
children = []

for program in ("docker-registry", "skopeo", "umoci", "openssl"):
    if shutil.which(program) is None:
        print(f"1..0 # SKIP {program} is not installed")
        sys.exit(0)


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


def run(*argv, **kw):
    p = subprocess.run(argv, capture_output=True, text=True, timeout=120, **kw)
    if p.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {p.stdout}{p.stderr}")
    return p.stdout


def free_port():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
    s.close()
    return port


def start_registry(name, extra="", tls=""):
    """A registry on the storage that all share."""
    port = free_port()
    path = os.path.join(top, f"{name}.yml")
    with open(path, "w") as f:
        f.write(f"version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {top}/blobs\n"
                f"http:\n  addr: 127.0.0.1:{port}\n{tls}{extra}")
    log = open(os.path.join(top, f"{name}.log"), "w")
    p = subprocess.Popen(["docker-registry", "serve", path], stdout=log, stderr=log)
    children.append(p)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return f"localhost:{port}"
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("docker-registry does not start: " + open(log.name).read())


n_roots = 0


def pull(*args, root=None):
    global n_roots
    n_roots += 1
    root = root or os.path.join(top, f"root-{n_roots}")
    p = subprocess.run([tool, "--root", root, "--retry-ms", "20", *args], capture_output=True,
                       text=True, timeout=120)
    lines = p.stdout.splitlines()
    first = (lines[0] if lines else "none none none").split(" ", 2)
    p.code, p.message, p.root = first[0], first[2] if len(first) > 2 else "", root
    p.images = re.findall(r"^image (\S+) tags(.*) digests(.*) layers(.*)$", p.stdout, re.M)
    return p


def content(result):
    """Every file of the (only) image, as the upper layers leave it."""
    files = {}
    for num in result.images[0][3].split():
        base = os.path.join(result.root, "layers", num)
        for d, _, names in os.walk(base):
            for n in names:
                p = os.path.join(d, n)
                if os.path.isfile(p) and not os.path.islink(p):
                    with open(p, "rb") as f:
                        files[os.path.relpath(p, base)] = hashlib.sha256(f.read()).hexdigest()
    return files


def check(result, code, what, contains=""):
    return ok(result.code == code and contains in result.message, f"{what}: {result.code}",
              result.stdout[-1500:], result.stderr[-1500:])


def make_image(name, files, **config):
    """An OCI layout with a layer for each file."""
    layout = os.path.join(top, "oci")
    if not os.path.exists(layout):
        run("umoci", "init", "--layout", layout)
    image = f"{layout}:{name}"
    run("umoci", "new", "--image", image)
    for path, data in files.items():
        src = os.path.join(top, "src")
        with open(src, "wb") as f:
            f.write(data)
        run("umoci", "insert", "--rootless", "--image", image, src, path)
    run("umoci", "config", "--image", image, "--config.user", "1000:1000", "--config.env", "A=b",
        "--architecture", config.get("arch", "amd64"))
    return "oci:" + image


def put(host, repo, what, body, media_type):
    req = urllib.request.Request(f"http://{host}/v2/{repo}/manifests/{what}", data=body, method="PUT",
                                 headers={"Content-Type": media_type})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(req) as r:
        return r.headers["Docker-Content-Digest"]


def get(host, repo, what):
    req = urllib.request.Request(f"http://{host}/v2/{repo}/manifests/{what}", headers={
        "Accept": "application/vnd.oci.image.manifest.v1+json, "
                  "application/vnd.docker.distribution.manifest.v2+json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(req) as r:
        return r.read(), r.headers["Content-Type"]


FILES = {"/etc/hello": b"hello\n", "/big": os.urandom(3 << 20), "/etc/deep/er": b"x" * 5000}
WANT = {k[1:]: hashlib.sha256(v).hexdigest() for k, v in FILES.items()}


def formats(host):
    src = make_image("x", FILES)
    copies = {
        "OCI with gzip": ("oci", ["--format", "oci"]),
        "Docker schema 2": ("v2s2", ["--format", "v2s2"]),
        "OCI with zstd": ("zstd", ["--format", "oci", "--dest-compress-format", "zstd"]),
    }
    ids = {}
    for what, (tag, opts) in copies.items():
        run("skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", *opts, src,
            f"docker://{host}/lib/x:{tag}")
        body, media_type = get(host, "lib/x", tag)
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        config = json.loads(body)["config"]["digest"]
        r = pull(f"{host}/lib/x:{tag}")
        check(r, "ok", f"{what} ({media_type.split('.')[-1]})")
        ok(r.images and r.images[0][0] == config == r.message and
           r.images[0][1].split() == [f"{host}/lib/x:{tag}"] and
           r.images[0][2].split() == [f"{host}/lib/x@{digest}"], "id, tag and digest", r.stdout)
        got = content(r) if r.images else {}
        ok(got == WANT, "its files are what was put in", got, WANT)
        r = pull(f"{host}/lib/x@{digest}")
        check(r, "ok", "by digest")
        ok(r.images and r.images[0][1].split() == [], "without a tag", r.stdout)
    plain(host)


def plain(host):
    """A layer that is not compressed, pushed by hand."""
    tar = os.path.join(top, "plain.tar")
    os.makedirs(os.path.join(top, "plain"), exist_ok=True)
    with open(os.path.join(top, "plain/file"), "w") as f:
        f.write("plain\n")
    run("tar", "-C", os.path.join(top, "plain"), "-cf", tar, "file")
    with open(tar, "rb") as f:
        layer = f.read()
    diff = "sha256:" + hashlib.sha256(layer).hexdigest()
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                         "rootfs": {"type": "layers", "diff_ids": [diff]}}).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for blob in (layer, config):
        digest = "sha256:" + hashlib.sha256(blob).hexdigest()
        with opener.open(urllib.request.Request(f"http://{host}/v2/lib/x/blobs/uploads/", data=b"",
                                               method="POST")) as r:
            where = r.headers["Location"]
        where += ("&" if "?" in where else "?") + "digest=" + urllib.parse.quote(digest)
        opener.open(urllib.request.Request(where, data=blob, method="PUT", headers={
            "Content-Type": "application/octet-stream"})).close()
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": len(config),
                   "digest": "sha256:" + hashlib.sha256(config).hexdigest()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": len(layer),
                    "digest": diff}]}).encode()
    put(host, "lib/x", "plain", manifest, "application/vnd.oci.image.manifest.v1+json")
    r = pull(f"{host}/lib/x:plain")
    check(r, "ok", "a layer without compression")
    ok(r.images and list(content(r)) == ["file"], "its file is there", r.stdout)


def indexes(host):
    entries = []
    for arch in ("arm64", "amd64"):
        src = make_image(f"i-{arch}", {"/arch": arch.encode()}, arch=arch)
        run("skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", "--format", "oci",
            "--override-arch", arch, src, f"docker://{host}/lib/i:{arch}")
        body, media_type = get(host, "lib/i", arch)
        entries.append({"mediaType": media_type, "size": len(body),
                        "digest": "sha256:" + hashlib.sha256(body).hexdigest(),
                        "platform": {"os": "linux", "architecture": arch}})
    for media_type in ("application/vnd.oci.image.index.v1+json",
                       "application/vnd.docker.distribution.manifest.list.v2+json"):
        list_ = [{**e, "mediaType": e["mediaType"]} for e in entries]
        body = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": list_}).encode()
        digest = put(host, "lib/i", "all", body, media_type)
        for arch in ("amd64", "arm64"):
            r = pull("--platform", f"linux/{arch}", f"{host}/lib/i:all")
            check(r, "ok", f"{arch} of {media_type}")
            want = {"arch": hashlib.sha256(arch.encode()).hexdigest()}
            ok(r.images and content(r) == want and r.images[0][2].split() == [f"{host}/lib/i@{digest}"],
               "is that machine's image, known by the digest of the index", r.stdout)
        check(pull("--platform", "linux/s390x", f"{host}/lib/i:all"), "NOT_FOUND", "another machine",
              "linux/arm64, linux/amd64")


def shared_root(host):
    """A second image of the same content, and a tag that moves."""
    root = os.path.join(top, "shared")
    a = pull(f"{host}/lib/x:oci", root=root)
    b = pull(f"{host}/lib/x:oci", f"{host}/lib/x:zstd", root=root)
    check(b, "ok", "the same again, and a twin with other compression")
    layers = {tuple(i[3].split()) for i in b.images}
    ok(len(layers) == 1, "share their layers on disk", b.stdout)
    run("skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false",
        f"docker://{host}/lib/x:oci", f"docker://{host}/lib/x:moving")
    pull(f"{host}/lib/x:moving", root=root)
    run("skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false",
        f"docker://{host}/lib/i:amd64", f"docker://{host}/lib/x:moving")
    r = pull("--platform", "linux/amd64", f"{host}/lib/x:moving", root=root)
    check(r, "ok", "a tag that has moved")
    holders = [i[0] for i in r.images if f"{host}/lib/x:moving" in i[1].split()]
    ok(holders == [r.message], "names the new image only", r.stdout)


def certificates():
    d = os.path.join(top, "tls")
    os.makedirs(d)
    o = lambda *a: run("openssl", *a, cwd=d)
    o("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Test CA", "-days", "2", "-keyout",
      "ca.key", "-out", "ca.pem")
    for name in ("server", "client"):
        o("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out",
          f"{name}.csr")
        with open(os.path.join(d, "ext"), "w") as f:
            f.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        o("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
          "-days", "2", "-extfile", "ext", "-out", f"{name}.pem")
    return d


def certs_dir(host, text=None, files=None):
    d = tempfile.mkdtemp(prefix="certs-", dir=top)
    os.makedirs(os.path.join(d, host))
    if text is not None:
        with open(os.path.join(d, host, "hosts.toml"), "w") as f:
            f.write(text)
    for name, src in (files or {}).items():
        shutil.copy(src, os.path.join(d, host, name))
    return d


def over_tls(d):
    tls = f"  tls:\n    certificate: {d}/server.pem\n    key: {d}/server.key\n"
    host = start_registry("tls", tls=tls)
    ref = "registry.test/lib/x:oci"
    server = f'server = "https://{host}"\n'
    check(pull("--certs", certs_dir("registry.test", server + f'ca = "{d}/ca.pem"\n'), ref), "ok",
          "over TLS")
    check(pull("--certs", certs_dir("registry.test", server), ref), "UNKNOWN", "with an unknown CA",
          "RegistryUnavailable: ")
    check(pull("--certs", certs_dir("registry.test", server + "skip_verify = true\n"), ref), "ok",
          "unverified")
    check(pull(f"{host}/lib/x:oci"), "ok", "on this machine, without configuration")
    name = host.replace(":", "_") + "_"
    check(pull("--certs", certs_dir(name, files={"a.crt": f"{d}/ca.pem"}), f"{host}/lib/x:oci"), "ok",
          "with Docker's layout of certificates")
    other = os.path.join(d, "other.pem")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Other", "-days", "2",
        "-keyout", os.path.join(d, "other.key"), "-out", other)
    check(pull("--certs", certs_dir("registry.test", server + f'ca = "{other}"\n'), ref), "UNKNOWN",
          "with another CA", "RegistryUnavailable: ")
    host = start_registry("mutual", tls=tls + f"    clientcas:\n      - {d}/ca.pem\n")
    server = f'server = "https://{host}"\nca = "{d}/ca.pem"\n'
    check(pull("--certs", certs_dir("registry.test", server +
               f'client = [["{d}/client.pem", "{d}/client.key"]]\n'), ref), "ok", "with our certificate")
    check(pull("--certs", certs_dir("registry.test", server), ref), "UNKNOWN", "without it",
          "RegistryUnavailable: ")


def with_password():
    path = os.path.join(top, "htpasswd")
    with open(path, "w") as f:
        f.write("user:" + run("perl", "-e", "print crypt('pa:ss word', '$2b$04$' . 'a' x 22)") + "\n")
    host = start_registry("htpasswd", f"auth:\n  htpasswd:\n    realm: test\n    path: {path}\n")
    ref = f"{host}/lib/x:oci"
    check(pull("--user", "user", "--password", "pa:ss word", ref), "ok", "with a password")
    check(pull("--auth", base64.b64encode(b"user:pa:ss word").decode(), ref), "ok", "as auth")
    check(pull("--user", "user", "--password", "wrong", ref), "UNAUTHENTICATED", "a wrong password")
    check(pull(ref), "UNAUTHENTICATED", "without a password", "needs a login")
    check(pull("--user", "user", "--password", "pa:ss word", f"{host}/lib/x:none"), "NOT_FOUND",
          "a tag that is not there")


class TokenServer:
    """Signs what is asked for; with RS256, as the registry wants it."""

    def __init__(self, d):
        self.asked = []
        der = subprocess.run(["openssl", "x509", "-in", f"{d}/server.pem", "-outform", "DER"],
                             check=True, capture_output=True).stdout
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
                outer.asked.append((query, self.headers.get("Authorization")))
                kind, name, actions = query["scope"][0].split(":")
                b64 = lambda b: base64.urlsafe_b64encode(b).rstrip(b"=")
                now = int(time.time())
                head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
                claims = {"iss": "test", "sub": "", "aud": query["service"][0], "exp": now + 300,
                          "nbf": now - 10, "iat": now, "jti": str(now),
                          "access": [{"type": kind, "name": name, "actions": actions.split(",")}]}
                text = b64(json.dumps(head).encode()) + b"." + b64(json.dumps(claims).encode())
                sig = subprocess.run(["openssl", "dgst", "-sha256", "-sign", f"{d}/server.key"],
                                     input=text, check=True, capture_output=True).stdout
                body = json.dumps({"token": (text + b"." + b64(sig)).decode(), "expires_in": 300}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.host = f"localhost:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def with_tokens(d):
    tokens = TokenServer(d)
    host = start_registry("token", "auth:\n  token:\n"
                          f"    realm: http://{tokens.host}/token\n    service: svc\n    issuer: test\n"
                          f"    rootcertbundle: {d}/ca.pem\n")
    check(pull(f"{host}/lib/x:oci"), "ok", "with a token")
    ok(len(tokens.asked) == 1 and tokens.asked[0][0]["scope"] == ["repository:lib/x:pull"],
       "one, for pulling", tokens.asked)
    tokens.asked.clear()
    check(pull("--user", "u", "--password", "p", f"{host}/lib/x:oci"), "ok", "with a token for a password")
    ok(tokens.asked and tokens.asked[0][1] == "Basic dTpw", "which went to the token server", tokens.asked)


def mirrored(host):
    d = certs_dir("_default", f'server = "https://unreachable.invalid"\n[host."http://{host}"]\n')
    check(pull("--certs", d, "any.registry.example/lib/x:oci"), "ok", "from a mirror of everything")
    check(pull("--certs", d, "any.registry.example/lib/x@sha256:" + "0" * 64), "NOT_FOUND",
          "what the mirror does not have")


def main():
    host = start_registry("plain")
    formats(host)
    indexes(host)
    shared_root(host)
    d = certificates()
    over_tls(d)
    with_password()
    with_tokens(d)
    mirrored(host)


try:
    main()
except Exception as e:
    ok(False, f"{type(e).__name__}: {e}")
finally:
    for child in children:
        child.kill()
        child.wait()
    shutil.rmtree(top, ignore_errors=True)
print(f"1..{count}")
sys.exit(1 if failed else 0)
