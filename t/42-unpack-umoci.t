#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Images unpacked by our store and mounted as overlays, against what `umoci unpack` makes of the same
images: types, modes, owners, times, sizes, targets, hard links, devices, attributes, content."""

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from tap import ok, is_, diag, skip_all, done  # noqa: E402

build = os.environ["builddir"]
CAPABILITY = b"\x01\0\0\x02\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0"


class Layer:
    """A tar, entry by entry."""

    def __init__(self, **options):
        self.raw = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.raw, mode="w", format=options.pop("format", tarfile.PAX_FORMAT))

    def add(self, name, data=None, type=None, mode=None, uid=0, gid=0, mtime=1500000000, link="", dev=(0, 0),
            xattrs=None):
        t = tarfile.TarInfo(name.rstrip("/"))
        t.type = type or (tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE)
        t.mode = mode if mode is not None else 0o755 if t.type == tarfile.DIRTYPE else 0o644
        t.uid, t.gid, t.mtime, t.linkname = uid, gid, mtime, link
        t.devmajor, t.devminor = dev
        for k, v in (xattrs or {}).items():
            t.pax_headers["SCHILY.xattr." + k] = v.decode("utf-8", "surrogateescape")
        if data is None:
            self.tar.addfile(t)
        else:
            t.size = len(data)
            self.tar.addfile(t, io.BytesIO(data))
        return self

    def bytes(self):
        self.tar.close()
        return self.raw.getvalue()


def blob(layout, data):
    digest = hashlib.sha256(data).hexdigest()
    with open("%s/blobs/sha256/%s" % (layout, digest), "wb") as f:
        f.write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}


def layout_of(path, layers):
    """An OCI layout; returns the layers' files, compressed in different ways."""
    os.makedirs(path + "/blobs/sha256")
    descs, ids = [], []
    for i, data in enumerate(layers):
        ids.append("sha256:" + hashlib.sha256(data).hexdigest())
        d = blob(path, gzip.compress(data, 1))
        d["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
        descs.append(d)
    config = blob(path, json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                                    "rootfs": {"type": "layers", "diff_ids": ids}}).encode())
    config["mediaType"] = "application/vnd.oci.image.config.v1+json"
    m = blob(path, json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                               "config": config, "layers": descs}).encode())
    m["mediaType"] = "application/vnd.oci.image.manifest.v1+json"
    m["annotations"] = {"org.opencontainers.image.ref.name": "test"}
    with open(path + "/index.json", "w") as f:
        json.dump({"schemaVersion": 2, "manifests": [m]}, f)
    with open(path + "/oci-layout", "w") as f:
        f.write('{"imageLayoutVersion":"1.0.0"}')
    return ["%s/blobs/sha256/%s" % (path, d["digest"][7:]) for d in descs]


def describe(root):
    """Every file below root, by name: a dict of what can be compared."""
    out, inodes = {}, {}
    for dir, dirs, files in os.walk(root):
        for name in dirs + files:
            p = os.path.join(dir, name)
            s = os.lstat(p)
            rel = p[len(root):]
            d = {"type": stat.S_IFMT(s.st_mode), "mode": oct(stat.S_IMODE(s.st_mode)), "owner": (s.st_uid, s.st_gid),
                 "mtime": s.st_mtime_ns}
            if stat.S_ISREG(s.st_mode):
                with open(p, "rb") as f:
                    d["content"] = (s.st_size, hashlib.md5(f.read()).hexdigest())
            if stat.S_ISLNK(s.st_mode):
                d["target"] = os.readlink(p)
            if stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode):
                d["device"] = (os.major(s.st_rdev), os.minor(s.st_rdev))
            d["xattrs"] = {a: os.getxattr(p, a, follow_symlinks=False).hex()
                           for a in os.listxattr(p, follow_symlinks=False)
                           if a.startswith("user.") or a == "security.capability"}
            if not stat.S_ISDIR(s.st_mode):
                inodes.setdefault(s.st_ino, []).append(rel)
            out[rel] = d
    for names in inodes.values():
        for n in names:
            out[n]["links"] = sorted(names)
    return out


def ours(top, files):
    """Ingest, mount, describe; in a mount namespace of its own."""
    r = subprocess.run([build + "/bench/unpack", top + "/store"] + files, capture_output=True, text=True)
    if r.returncode != 0:
        raise Exception("unpack: " + r.stderr)
    lower = r.stdout.strip().splitlines()[-1].split()[1]
    os.makedirs(top + "/empty", exist_ok=True)
    os.makedirs(top + "/mnt", exist_ok=True)
    code = ("cd %s/store/layers && mount -t overlay -o ro,lowerdir=%s:%s/empty none %s/mnt && exec %s %s --describe %s/mnt"
            % (top, lower, top, top, sys.executable, os.path.abspath(__file__), top))
    r = subprocess.run(["unshare", "-m", "sh", "-c", code], capture_output=True)
    if r.returncode != 0:
        raise Exception("mount: " + r.stderr.decode())
    return eval(r.stdout.decode("utf-8", "surrogateescape"))


def compare(what, layers, ignore=()):
    top = tempfile.mkdtemp(prefix="coracle-umoci-")
    try:
        files = layout_of(top + "/layout", layers)
        r = subprocess.run(["umoci", "unpack", "--image", top + "/layout:test", top + "/bundle"],
                           capture_output=True, text=True)
        if r.returncode != 0:
            ok(False, "%s: umoci: %s" % (what, r.stderr))
            return
        want = describe(top + "/bundle/rootfs")
        got = ours(top, files)
        bad = []
        for name in sorted(set(want) | set(got)):
            w, g = want.get(name), got.get(name)
            if w is None or g is None:
                bad.append("%s: %s" % (name, "only umoci has it" if g is None else "only we have it"))
                continue
            for k in sorted(set(w) | set(g)):
                if w.get(k) != g.get(k) and (name, k) not in ignore:
                    bad.append("%s: %s: umoci %r, we %r" % (name, k, w.get(k), g.get(k)))
        if not ok(not bad and len(want) > 0, "%s: %d files are the same" % (what, len(want))):
            diag("\n".join(bad[:20]))
    finally:
        shutil.rmtree(top)


def everything():
    a = Layer()
    a.add("./", mode=0o755)
    a.add("etc/", mode=0o755).add("etc/passwd", b"root:x:0:0\n", mode=0o600, mtime=1400000000.123456789)
    a.add("bin/", mtime=1111111111).add("bin/su", b"su", mode=0o4755).add("bin/wall", b"wall", mode=0o2755, gid=5)
    a.add("bin/ping", b"ping", mode=0o755, xattrs={"security.capability": CAPABILITY})
    a.add("bin/noted", b"n", xattrs={"user.note": b"some text", "user.other": b"x"})
    a.add("tmp/", mode=0o1777, mtime=1222222222).add("var/", uid=1, gid=2).add("var/tmp", type=tarfile.SYMTYPE, link="/tmp")
    a.add("lib", type=tarfile.SYMTYPE, link="usr/lib", uid=9, gid=9, mtime=1300000000)
    a.add("usr/").add("usr/lib/").add("usr/lib/libc.so", os.urandom(300000))
    a.add("hard1", b"hard", uid=1000, gid=1000).add("hard2", type=tarfile.LNKTYPE, link="hard1", uid=1000, gid=1000)
    a.add("usr/hard3", type=tarfile.LNKTYPE, link="hard1", uid=1000, gid=1000)
    a.add("dev/").add("dev/null", type=tarfile.CHRTYPE, dev=(1, 3), mode=0o666)
    a.add("dev/sda", type=tarfile.BLKTYPE, dev=(8, 0), mode=0o660, gid=6).add("dev/fifo", type=tarfile.FIFOTYPE)
    a.add("sgid/", mode=0o2775, gid=50).add("sgid/inside", b"x", gid=50).add("sgid/dir/", mode=0o700)
    a.add("n" * 200 + "/").add("n" * 200 + "/" + "m" * 200, b"long", mtime=1500000000.5)
    a.add("n\u00e9\u20ac/").add("n\u00e9\u20ac/\u4e2d", b"unicode").add("empty", b"").add("zeros", b"\0" * 100000)
    a.add("readonly/", mode=0o555, mtime=1000000000).add("readonly/file", b"x", mode=0o000)
    a.add("big.uid", b"x", uid=3000000, gid=4000000)
    return a.bytes()


def changes():
    b = Layer()
    b.add("etc/.wh.passwd").add("etc/shadow", b"new", mode=0o400).add("etc/", mode=0o711, mtime=1600000000)
    b.add("bin/su", b"another su", mode=0o755, uid=7).add("tmp/left", b"x", mtime=1600000001)
    b.add("usr/lib/.wh..wh..opq").add("usr/lib/new.so", b"new").add("usr/lib/", mode=0o755, mtime=1600000002)
    b.add(".wh.hard2").add("hard4", b"h4").add("hard5", type=tarfile.LNKTYPE, link="hard4")
    b.add("empty/", mode=0o700).add("empty/was-a-file", b"x").add("readonly", type=tarfile.SYMTYPE, link="tmp")
    b.add("lib", b"was a link").add("dev/", mode=0o750, mtime=1600000003).add("dev/.wh.sda")
    return b.bytes()


def random_layers(seed):
    """Layers that only differ by chance; whole directories, since umoci knows no implicit ones."""
    r = random.Random(seed)
    layers, tree = [], {"": True}  # name: is it a directory
    for n in range(3):
        lay = Layer(format=r.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)))
        here = {}
        for i in range(r.randrange(5, 60)):
            dirs = [d for d in tree if tree[d]]
            parent = r.choice(dirs)
            name = (parent + "/" if parent else "") + r.choice("abcdefgh") * r.choice((1, 1, 1, 60, 120))
            when = r.randrange(10 ** 9, 2 * 10 ** 9)
            owner = dict(uid=r.choice((0, 0, 1, 70000)), gid=r.choice((0, 0, 5)), mtime=when)
            kind = r.randrange(8)

            # the parents' entries come with it
            up = ""
            for part in parent.split("/") if parent else []:
                up += ("/" if up else "") + part
                if up not in here:
                    lay.add(up + "/", mode=0o755, mtime=1234567890)
                    here[up] = True
            if any(t.startswith(name + "/") and t in here for t in tree):
                continue  # would take away what this layer brought
            if name in here:
                continue
            for t in [t for t in tree if t.startswith(name + "/")]:
                if kind >= 2:
                    del tree[t]
            if kind < 2:
                if name in tree and not tree[name]:
                    continue
                lay.add(name + "/", mode=r.choice((0o755, 0o700, 0o1777, 0o2755)), **owner)
                tree[name] = here[name] = True
            elif kind < 5:
                lay.add(name, bytes(r.randrange(256) for _ in range(r.randrange(200))),
                        mode=r.choice((0o644, 0o600, 0o4755)), **owner)
                tree[name], here[name] = False, False
            elif kind == 5:
                lay.add(name, type=tarfile.SYMTYPE, link=r.choice(("..", "/a", "b/c", "nowhere")), **owner)
                tree[name], here[name] = False, False
            elif kind == 6 and name in tree:
                lay.add((parent + "/" if parent else "") + ".wh." + name[len(parent) + (parent != ""):])
                del tree[name]
                here[name] = False
            elif kind == 7:
                old = [h for h in here if not here[h] and h in tree and not tree[h]]
                if old:
                    lay.add(name, type=tarfile.LNKTYPE, link=r.choice(old), **owner)
                    tree[name], here[name] = False, False
        layers.append(lay.bytes())
    return layers


def implicit():
    """Files without the directories that hold them."""
    a = Layer().add("etc/", mode=0o700, uid=5, mtime=1300000000).add("tmp/", mode=0o1777, mtime=1300000001)
    a.add("a/", mode=0o750, gid=7, mtime=1300000002).add("a/b/", mode=0o711, mtime=1300000003)
    b = Layer().add("etc/x", b"1").add("tmp/y", b"2").add("a/b/c", b"3")
    c = Layer().add("a/b/.wh.c").add("a/d", b"4")
    return [a.bytes(), b.bytes(), c.bytes()]


if len(sys.argv) > 2 and sys.argv[1] == "--describe":
    sys.stdout.buffer.write(repr(describe(sys.argv[2])).encode("utf-8", "surrogateescape"))
    sys.exit(0)
if os.geteuid() != 0:
    skip_all("needs root")
if shutil.which("umoci") is None:
    skip_all("needs umoci")
compare("one layer of everything", [everything()])
compare("changes upon it", [everything(), changes()])
compare("implicit directories", implicit())
for seed in range(int(os.environ.get("CORACLE_SEEDS", "8"))):
    compare("random layers %d" % seed, random_layers(seed))
done()
