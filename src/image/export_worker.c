/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing an archive of images: see archive.h. Layers first, then what needs their digests:
 * configs, manifests, the index and manifest.json. Both formats have manifest.json, with other
 * names for the blobs.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/config.h"
#include "image/confine.h"
#include "image/export_job.h"
#include "image/extract.h"
#include "image/manifest.h"
#include "image/retar.h"
#include "image/tarout.h"

enum { MEMORY = 256 << 20 };

struct blob {
	char digest[DIGEST_SIZE];
	uint64_t size;
};

struct exporter {
	const struct export_job *job;
	struct tarout tar;
	struct blob *layers, *configs;
	json_t *index, *docker; /* the arrays of index.json and manifest.json */
};

static const char *
hex(const struct blob *b)
{
	return b->digest + strlen("sha256:");
}

static int
write_layers(struct exporter *x, int root, struct err *err)
{
	const struct export_job *job = x->job;

	for (size_t i = 0; i < job->n_layers; i++) {
		const struct export_layer *l = &job->layers[i];
		struct pathset implicit = {0};
		char name[24];
		int fd, ret = 0;

		snprintf(name, sizeof(name), "%" PRId64, l->num);
		fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return err_errno(err, "open layers/%s", name);
		for (const char *p = l->implicit.data;
		     ret == 0 && p != NULL && p < l->implicit.data + l->implicit.len;
		     p += strlen(p) + 1)
			ret = pathset_add(&implicit, p);
		if (ret < 0 || tarout_open_blob(&x->tar, err) < 0) {
			close(fd);
			ret = ret < 0 ? err_set(err, ERR_INTERNAL, "implicit directories overflow")
			              : -1;
		} else {
			ret = retar_take(&x->tar, fd, &implicit, err);
		}
		pathset_release(&implicit);
		if (ret < 0)
			return err_wrap(err, "layer %s", name);
		if (tarout_close_blob(&x->tar,
		        job->format == IMAGE_FORMAT_OCI ? "blobs/sha256/%s" : "%s/layer.tar",
		        x->layers[i].digest, &x->layers[i].size, err) < 0)
			return -1;
	}
	return 0;
}

/* The config with the diff ids of the layers as they are in the archive: itself where they are the
 * same. */
static char *
adapt_config(const struct exporter *x, const struct export_image *img, struct err *err)
{
	json_t *doc = json_loadb(img->config.data, img->config.len, 0, NULL);
	json_t *ids = json_object_get(json_object_get(doc, "rootfs"), "diff_ids");
	bool same = true;
	char *text;

	if (img->n_layers != json_array_size(ids)) {
		json_decref(doc);
		err_set(err, ERR_DATA_LOSS, "the config of %s does not fit its layers", img->id);
		return NULL;
	}
	for (size_t i = 0; i < img->n_layers; i++) {
		const char *digest = x->layers[img->layers[i]].digest;

		same = same &&
		       strcmp(STR_OR_EMPTY(json_string_value(json_array_get(ids, i))), digest) == 0;
		json_array_set_new(ids, i, json_string(digest));
	}
	text = same ? xstrndup(img->config.data, img->config.len) : json_dumps(doc, JSON_COMPACT);
	json_decref(doc);
	return text;
}

static json_t *
descriptor(const char *media_type, const struct blob *b)
{
	return json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest", b->digest, "size",
	    (json_int_t)b->size);
}

static int
write_blob(struct exporter *x, const char *text, const char *name_format, struct blob *ret,
    struct err *err)
{
	return tarout_open_blob(&x->tar, err) < 0 ||
	               tarout_write(&x->tar, text, strlen(text), err) < 0 ||
	               tarout_close_blob(&x->tar, name_format, ret->digest, &ret->size, err) < 0
	           ? -1
	           : 0;
}

static int
write_json(struct exporter *x, const json_t *doc, const char *name, struct err *err)
{
	char *text = json_dumps(doc, JSON_COMPACT);
	int ret = tarout_file(&x->tar, name, text, strlen(text), err);

	free(text);
	return ret;
}

/* The entries of the index: one per tag, or one without a name. */
static int
add_to_index(struct exporter *x, const struct export_image *img, const struct blob *manifest,
    struct err *err)
{
	struct image_config *c = image_config_parse(img->config.data, img->config.len, err);

	if (c == NULL)
		return -1;
	for (size_t i = 0; i < MAX(img->n_tags, 1); i++) {
		json_t *e = descriptor(MEDIA_OCI_MANIFEST, manifest);

		if (c->platform.os[0] != '\0' && c->platform.arch[0] != '\0') {
			json_t *p = json_pack(
			    "{s:s, s:s}", "architecture", c->platform.arch, "os", c->platform.os);

			if (c->platform.variant[0] != '\0')
				json_object_set_new(p, "variant", json_string(c->platform.variant));
			json_object_set_new(e, "platform", p);
		}
		if (i < img->n_tags)
			json_object_set_new(e, "annotations",
			    json_pack("{s:s, s:s}", "io.containerd.image.name", img->tags[i],
			        "org.opencontainers.image.ref.name",
			        strrchr(img->tags[i], ':') + 1));
		json_array_append_new(x->index, e);
	}
	image_config_free(c);
	return 0;
}

static int
write_manifest(
    struct exporter *x, const struct export_image *img, const struct blob *config, struct err *err)
{
	json_t *layers = json_array();
	struct blob manifest;
	json_t *doc;
	char *text;
	int ret;

	for (size_t i = 0; i < img->n_layers; i++)
		json_array_append_new(
		    layers, descriptor(MEDIA_OCI_LAYER, &x->layers[img->layers[i]]));
	doc = json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType", MEDIA_OCI_MANIFEST,
	    "config", descriptor(MEDIA_OCI_CONFIG, config), "layers", layers);
	text = json_dumps(doc, JSON_COMPACT);
	json_decref(doc);
	ret = write_blob(x, text, "blobs/sha256/%s", &manifest, err);
	free(text);
	return ret < 0 ? -1 : add_to_index(x, img, &manifest, err);
}

static void
add_to_docker(struct exporter *x, const struct export_image *img, const struct blob *config)
{
	bool oci = x->job->format == IMAGE_FORMAT_OCI;
	json_t *tags = json_array(), *layers = json_array();
	char name[DIGEST_SIZE + 32];

	for (size_t i = 0; i < img->n_tags; i++)
		json_array_append_new(tags, json_string(img->tags[i]));
	for (size_t i = 0; i < img->n_layers; i++) {
		snprintf(name, sizeof(name), oci ? "blobs/sha256/%s" : "%s/layer.tar",
		    hex(&x->layers[img->layers[i]]));
		json_array_append_new(layers, json_string(name));
	}
	snprintf(name, sizeof(name), oci ? "blobs/sha256/%s" : "%s.json", hex(config));
	json_array_append_new(x->docker,
	    json_pack("{s:s, s:o, s:o}", "Config", name, "RepoTags", tags, "Layers", layers));
}

static int
write_image(struct exporter *x, size_t at, struct err *err)
{
	const struct export_image *img = &x->job->images[at];
	bool oci = x->job->format == IMAGE_FORMAT_OCI;
	struct blob *config = &x->configs[at];
	cleanup_free char *text = adapt_config(x, img, err);

	if (text == NULL ||
	    write_blob(x, text, oci ? "blobs/sha256/%s" : "%s.json", config, err) < 0)
		return -1;
	add_to_docker(x, img, config);
	return oci ? write_manifest(x, img, config, err) : 0;
}

static int
write_tables(struct exporter *x, struct err *err)
{
	static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	json_t *doc;
	int ret;

	if (x->job->format == IMAGE_FORMAT_OCI) {
		doc = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType", MEDIA_OCI_INDEX,
		    "manifests", x->index);
		ret = write_json(x, doc, "index.json", err);
		json_decref(doc);
		if (ret < 0 || tarout_file(&x->tar, "oci-layout", layout, strlen(layout), err) < 0)
			return -1;
	}
	return write_json(x, x->docker, "manifest.json", err) < 0 || tarout_end(&x->tar, err) < 0 ||
	               tarout_flush(&x->tar, err) < 0
	           ? -1
	           : 0;
}

static int
report(struct exporter *x, int out, struct err *err)
{
	struct export_head head = {x->tar.at};

	if (fsync(x->job->fd) < 0)
		return err_errno(err, "fsync the archive");
	if (fd_write_all(out, &head, sizeof(head)) < 0)
		return err_errno(err, "report the result");
	for (size_t i = 0; i < x->job->n_images; i++) {
		const char *id = x->configs[i].digest;

		if (fd_write_all(out, id, strlen(id) + 1) < 0)
			return err_errno(err, "report the result");
	}
	return 0;
}

static int
run(struct exporter *x, int out, struct err *err)
{
	/* CAP_SYS_ADMIN is what reading trusted.overlay.opaque takes. */
	const struct confine_spec spec = {.rootfd = x->job->layers_fd,
	    .caps = UINT64_C(1) << CAP_DAC_READ_SEARCH | UINT64_C(1) << CAP_SYS_ADMIN,
	    .readonly = true,
	    .memory = MEMORY};
	cleanup_close int root = -1;

	extract_prepare();
	if (confine_enter(&spec, err) < 0)
		return -1;
	root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_errno(err, "open the layers");
	if (write_layers(x, root, err) < 0)
		return -1;
	for (size_t i = 0; i < x->job->n_images; i++)
		if (write_image(x, i, err) < 0)
			return -1;
	return write_tables(x, err) < 0 ? -1 : report(x, out, err);
}

int
export_worker(const void *arg, int out, struct err *err)
{
	struct exporter x = {.job = arg};
	int ret;

	/* The first use of the hash loads its provider. */
	digest_of("", 0, (char[DIGEST_SIZE]){0});
	tarout_init(&x.tar, x.job->fd);
	x.layers = xcalloc(x.job->n_layers + 1, sizeof(*x.layers));
	x.configs = xcalloc(x.job->n_images + 1, sizeof(*x.configs));
	x.index = json_array();
	x.docker = json_array();
	ret = run(&x, out, err);
	if (ret < 0)
		confine_printable(err);
	json_decref(x.index);
	json_decref(x.docker);
	free(x.layers);
	free(x.configs);
	tarout_release(&x.tar);
	return ret;
}
