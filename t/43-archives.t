#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Images without a registry: import of an OCI layout and of a docker archive, export, both round trips,
archives loaded at start, and what is no archive."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from coracle import *  # noqa: F401,F403,E402

node = Node()
cli = [BUILD + "/coracle", "-r", "unix://" + node.sock]


def coracle(*args):
    r = subprocess.run(cli + list(args), capture_output=True, text=True)
    return r.returncode, r.stdout, r.stderr


def images():
    return {t: i.id for i in node.images.ListImages(pb.ListImagesRequest()).images for t in i.repo_tags}


def remove_all():
    for i in node.images.ListImages(pb.ListImagesRequest()).images:
        node.images.RemoveImage(pb.RemoveImageRequest(image=pb.ImageSpec(image=i.id)))


def runs(ref):
    pod, config = node.run_pod(host_network=True)
    c = node.run(pod, config, ref, ["sh", "-c", "echo works"])
    node.wait_exit(c)
    time.sleep(0.05)
    text = node.log(c)
    node.remove_pod(pod)
    return "works" in text


try:
    layout = node.dir + "/layout"
    config_digest, _ = write_layout(layout, [busybox_layer()], {"Env": ["PATH=/bin"]})
    subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", "oci:" + layout,
                    "docker-archive:%s/docker.tar:example.com/docker:1" % node.dir], check=True)
    subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", "oci:" + layout,
                    "oci-archive:%s/oci.tar:example.com/oci:1" % node.dir], check=True)
    node.start()
    for archive, tag in (("docker.tar", "example.com/docker:1"), ("oci.tar", "example.com/oci:1")):
        code, out, err = coracle("import", node.dir + "/" + archive)
        ok(code == 0 and tag in out, "import of %s: %s%s" % (archive, out.strip(), err))
        same(images().get(tag), config_digest, "it is the image that was exported")
    ok(runs("example.com/docker:1"), "and it runs")
    for fmt in ("oci", "docker"):
        path = "%s/out-%s.tar" % (node.dir, fmt)
        code, out, err = coracle("export", "--format", fmt, path, "example.com/docker:1")
        ok(code == 0 and os.path.getsize(path) > 1000000, "export as %s %s" % (fmt, err))
        same(os.stat(path).st_mode & 0o777, 0o600, "for root alone")
        got = subprocess.run(["skopeo", "inspect", "--config",
                              ("oci-archive:" if fmt == "oci" else "docker-archive:") + path],
                             capture_output=True, text=True)
        ok(got.returncode == 0, "skopeo reads it: %s" % got.stderr.strip())
        remove_all()
        code, out, err = coracle("import", path)
        ok(code == 0 and "example.com/docker:1" in images(), "it comes back %s" % err)
        ok(runs("example.com/docker:1"), "and runs")
    code, out, err = coracle("export", path, "example.com/docker:1")
    ok(code == 1 and "ALREADY_EXISTS" in err, "a file that is there is not overwritten: " + err.strip())
    code, out, err = coracle("export", node.dir + "/none.tar", "no-such:1")
    ok(code == 1 and not os.path.exists(node.dir + "/none.tar"), "an unknown image: " + err.strip())
    for name, data in (("garbage", b"x" * 100000), ("empty", b"")):
        with open(node.dir + "/" + name, "wb") as f:
            f.write(data)
        code, out, err = coracle("import", node.dir + "/" + name)
        ok(code == 1 and err, "%s is no archive: %s" % (name, err.strip()))
    code, out, err = coracle("import", "/no/such/file")
    ok(code == 1 and "NOT_FOUND" in err, "a missing file: " + err.strip())
    remove_all()
    node.stop()
    os.makedirs(node.dir + "/preload")
    shutil.copy(node.dir + "/oci.tar", node.dir + "/preload")
    with open(node.config, "w") as f:
        f.write("images: {preload_dir: %s/preload}\n" % node.dir)
    node.start()
    wait_for(lambda: "example.com/oci:1" in images(), 10, "the archive that is loaded at start")
    ok(True, "archives of preload_dir are loaded at start")
except Exception as e:  # noqa: BLE001
    ok(False, "%s: %s" % (type(e).__name__, e))
    import traceback
    diag(traceback.format_exc())
finally:
    node.finish()
done()
