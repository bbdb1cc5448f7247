/* SPDX-License-Identifier: Apache-2.0
 *
 * Manifests and indexes: see manifest.h. Formats: OCI image spec 1.1 (manifest.md, image-index.md,
 * descriptor.md) and Docker's "Image Manifest V 2, Schema 2".
 */
#include "image/manifest.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/digest.h"
#include "image/document.h"

enum { MEDIA_TYPE_MAX = 255, NAME_ANNOTATION_MAX = 4096 };

/* A layer of more bytes than this is a lie. */
#define DESCRIPTOR_SIZE_MAX (UINT64_C(1) << 44)

static const char *const known_types[] = {
    MEDIA_OCI_MANIFEST, MEDIA_OCI_INDEX, MEDIA_DOCKER_MANIFEST, MEDIA_DOCKER_LIST};

static const struct layer_type {
	const char *media_type;
	enum layer_compression compression;
} layer_types[] = {
    {MEDIA_OCI_LAYER_GZIP,                                           LAYER_GZIP },
    {MEDIA_DOCKER_LAYER_GZIP,                                        LAYER_GZIP },
    {MEDIA_OCI_LAYER_ZSTD,                                           LAYER_ZSTD },
    {MEDIA_DOCKER_LAYER_ZSTD,                                        LAYER_ZSTD },
    {MEDIA_OCI_LAYER,                                                LAYER_PLAIN},
    {MEDIA_DOCKER_LAYER,                                             LAYER_PLAIN},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar",      LAYER_PLAIN},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", LAYER_GZIP },
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", LAYER_ZSTD },
    {"application/vnd.docker.image.rootfs.foreign.diff.tar",         LAYER_PLAIN},
    {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",    LAYER_GZIP },
};

bool
media_is_index(const char *media_type)
{
	return strcmp(media_type, MEDIA_OCI_INDEX) == 0 ||
	       strcmp(media_type, MEDIA_DOCKER_LIST) == 0;
}

static const char *
known_type(const char *media_type)
{
	for (size_t i = 0; i < ARRAY_SIZE(known_types); i++)
		if (strcasecmp(media_type, known_types[i]) == 0)
			return known_types[i];
	return NULL;
}

bool
media_is_manifest(const char *media_type)
{
	return known_type(media_type) != NULL;
}

int
media_layer_compression(const char *media_type, enum layer_compression *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(layer_types); i++)
		if (strcmp(media_type, layer_types[i].media_type) == 0) {
			*ret = layer_types[i].compression;
			return 0;
		}
	return -1;
}

static bool
says_nothing(const char *media_type)
{
	static const char *const generic[] = {"", "application/json", "application/octet-stream",
	    "binary/octet-stream", "text/plain"};

	for (size_t i = 0; i < ARRAY_SIZE(generic); i++)
		if (strcasecmp(media_type, generic[i]) == 0)
			return true;
	return false;
}

static int
unsupported(struct err *err, const char *media_type)
{
	if (strstr(media_type, "docker.distribution.manifest.v1") != NULL)
		return err_set(err, ERR_UNIMPLEMENTED,
		    "manifest: Docker schema 1 is not supported; the image must be pushed anew");
	return err_set(
	    err, ERR_UNIMPLEMENTED, "manifest: unsupported media type '%.200s'", media_type);
}

/* The one media type that announcement and document agree upon. */
static const char *
agree_type(const json_t *doc, const char *announced, struct err *err)
{
	const char *own = NULL, *type = NULL;
	char said[MEDIA_TYPE_MAX + 1] = "";
	size_t n;

	if (announced != NULL) {
		announced += strspn(announced, " \t");
		n = strcspn(announced, "; \t");
		if (n > MEDIA_TYPE_MAX)
			return unsupported(err, announced), NULL;
		memcpy(said, announced, n);
		said[n] = '\0';
	}
	if (document_string(doc, "mediaType", "manifest", MEDIA_TYPE_MAX, &own, err) < 0)
		return NULL;
	if (!says_nothing(said) && (type = known_type(said)) == NULL)
		return unsupported(err, said), NULL;
	if (own != NULL && *own != '\0') {
		if (known_type(own) == NULL)
			return unsupported(err, own), NULL;
		if (type != NULL && strcmp(own, type) != 0) {
			err_set(err, ERR_INVALID_ARGUMENT,
			    "manifest: announced as %s, but says it is %s", type, own);
			return NULL;
		}
		type = known_type(own);
	}
	if (type == NULL)
		err_set(err, ERR_INVALID_ARGUMENT,
		    "manifest: neither itself nor the server says what it is");
	return type;
}

static int
parse_descriptor(const json_t *obj, const char *what, struct descriptor *ret, struct err *err)
{
	const char *media_type, *digest;
	uint64_t size;

	if (!json_is_object(obj))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: not an object", what);
	if (document_string(obj, "mediaType", what, MEDIA_TYPE_MAX, &media_type, err) < 0 ||
	    document_string(obj, "digest", what, DIGEST_SIZE, &digest, err) < 0 ||
	    document_u64(obj, "size", what, &size, err) < 0)
		return -1;
	if (!digest_valid(digest))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: '%.100s' is not a valid digest",
		    what, STR_OR_EMPTY(digest));
	if (json_object_get(obj, "size") == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: no size", what);
	if (size > DESCRIPTOR_SIZE_MAX)
		return err_set(err, ERR_RESOURCE_EXHAUSTED, "%s: a size of %llu bytes", what,
		    (unsigned long long)size);
	ret->media_type = xstrdup(STR_OR_EMPTY(media_type));
	ret->digest = xstrdup(digest);
	ret->size = size;
	return 0;
}

/* "layers[3]": where in the document, for messages. */
struct place {
	char text[64];
};

static struct place
place(const char *list, size_t i)
{
	struct place p;

	snprintf(p.text, sizeof(p.text), "manifest: %s[%zu]", list, i);
	return p;
}

static int
parse_image(struct manifest *m, const json_t *doc, struct err *err)
{
	json_t *config, *layers;
	size_t n;

	if (document_object(doc, "config", "manifest", &config, err) < 0 ||
	    document_array(doc, "layers", "manifest", &layers, err) < 0)
		return -1;
	if (config == NULL || layers == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "manifest: no %s",
		    config == NULL ? "config" : "layers");
	if (parse_descriptor(config, "manifest: config", &m->config, err) < 0)
		return -1;
	n = json_array_size(layers);
	if (n > MANIFEST_LAYERS_MAX)
		return err_set(err, ERR_RESOURCE_EXHAUSTED, "manifest: %zu layers, the limit is %d",
		    n, MANIFEST_LAYERS_MAX);
	m->layers = xcalloc(n + 1, sizeof(*m->layers));
	for (size_t i = 0; i < n; i++) {
		if (parse_descriptor(
		        json_array_get(layers, i), place("layers", i).text, &m->layers[i], err) < 0)
			return -1;
		m->n_layers++;
	}
	return 0;
}

static int
parse_platform(const json_t *obj, const char *what, struct platform *ret, struct err *err)
{
	const char *os, *arch, *variant;

	if (document_string(obj, "os", what, sizeof(ret->os) - 1, &os, err) < 0 ||
	    document_string(obj, "architecture", what, sizeof(ret->arch) - 1, &arch, err) < 0 ||
	    document_string(obj, "variant", what, sizeof(ret->variant) - 1, &variant, err) < 0)
		return -1;
	snprintf(ret->os, sizeof(ret->os), "%s", STR_OR_EMPTY(os));
	snprintf(ret->arch, sizeof(ret->arch), "%s", STR_OR_EMPTY(arch));
	snprintf(ret->variant, sizeof(ret->variant), "%s", STR_OR_EMPTY(variant));
	platform_normalise(ret);
	return 0;
}

static int
parse_annotations(const json_t *obj, const char *what, struct manifest_entry *e, struct err *err)
{
	const char *ref, *image;

	if (document_string(obj, "org.opencontainers.image.ref.name", what, NAME_ANNOTATION_MAX,
	        &ref, err) < 0 ||
	    document_string(
	        obj, "io.containerd.image.name", what, NAME_ANNOTATION_MAX, &image, err) < 0)
		return -1;
	e->ref_name = xstrdup(ref);
	e->image_name = xstrdup(image);
	return 0;
}

static int
parse_entry(const json_t *obj, const char *what, struct manifest_entry *e, struct err *err)
{
	json_t *platform, *annotations;

	if (parse_descriptor(obj, what, &e->desc, err) < 0 ||
	    document_object(obj, "platform", what, &platform, err) < 0 ||
	    document_object(obj, "annotations", what, &annotations, err) < 0)
		return -1;
	if (platform != NULL && parse_platform(platform, what, &e->platform, err) < 0)
		return -1;
	return annotations != NULL ? parse_annotations(annotations, what, e, err) : 0;
}

static int
parse_index(struct manifest *m, const json_t *doc, struct err *err)
{
	json_t *list;
	size_t n;

	if (document_array(doc, "manifests", "manifest", &list, err) < 0)
		return -1;
	if (list == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "manifest: an index without manifests");
	n = json_array_size(list);
	if (n > MANIFEST_ENTRIES_MAX)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
		    "manifest: an index of %zu, the limit is %d", n, MANIFEST_ENTRIES_MAX);
	m->entries = xcalloc(n + 1, sizeof(*m->entries));
	for (size_t i = 0; i < n; i++) {
		m->n_entries++; /* first: a half-built entry is freed as well */
		if (parse_entry(json_array_get(list, i), place("manifests", i).text, &m->entries[i],
		        err) < 0)
			return -1;
	}
	return 0;
}

static bool
has(const json_t *doc, const char *key)
{
	const char *k;
	json_t *v;

	json_object_foreach ((json_t *)doc, k, v)
		if (strcasecmp(k, key) == 0 && !json_is_null(v))
			return true;
	return false;
}

static int
check_shape(const json_t *doc, struct err *err)
{
	uint64_t version;

	if (document_u64(doc, "schemaVersion", "manifest", &version, err) < 0)
		return -1;
	if (version == 1 || has(doc, "fsLayers"))
		return unsupported(err, "docker.distribution.manifest.v1");
	if (version != 2)
		return err_set(err, ERR_INVALID_ARGUMENT, "manifest: schemaVersion is not 2");
	if (has(doc, "manifests") && (has(doc, "config") || has(doc, "layers")))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "manifest: ambiguous: an index and an image at once");
	return 0;
}

struct manifest *
manifest_parse(const void *p, size_t n, const char *media_type, struct err *err)
{
	json_t *doc = document_parse(p, n, MANIFEST_MAX, "manifest", err);
	struct manifest *m;
	int rc = -1;

	if (doc == NULL)
		return NULL;
	m = xcalloc(1, sizeof(*m));
	if (check_shape(doc, err) == 0 &&
	    (m->media_type = agree_type(doc, media_type, err)) != NULL) {
		m->is_index = media_is_index(m->media_type);
		rc = m->is_index ? parse_index(m, doc, err) : parse_image(m, doc, err);
	}
	json_decref(doc);
	if (rc < 0) {
		manifest_free(m);
		return NULL;
	}
	return m;
}

static void
descriptor_release(struct descriptor *d)
{
	free(d->media_type);
	free(d->digest);
}

void
manifest_free(struct manifest *m)
{
	if (m == NULL)
		return;
	descriptor_release(&m->config);
	for (size_t i = 0; i < m->n_layers; i++)
		descriptor_release(&m->layers[i]);
	for (size_t i = 0; i < m->n_entries; i++) {
		descriptor_release(&m->entries[i].desc);
		free(m->entries[i].ref_name);
		free(m->entries[i].image_name);
	}
	free(m->layers);
	free(m->entries);
	free(m);
}

int
manifest_check_image(const struct manifest *m, struct err *err)
{
	enum layer_compression compression;

	if (m->is_index)
		return err_set(err, ERR_INVALID_ARGUMENT, "manifest: an index, not an image");
	if (strcmp(m->config.media_type, MEDIA_OCI_CONFIG) != 0 &&
	    strcmp(m->config.media_type, MEDIA_DOCKER_CONFIG) != 0)
		return err_set(err, ERR_UNIMPLEMENTED,
		    "manifest: an artifact of type '%.200s', not a container image",
		    m->config.media_type);
	for (size_t i = 0; i < m->n_layers; i++)
		if (media_layer_compression(m->layers[i].media_type, &compression) < 0)
			return err_set(err, ERR_UNIMPLEMENTED,
			    "%s: cannot unpack the media type '%.200s'%s", place("layers", i).text,
			    m->layers[i].media_type,
			    str_ends(m->layers[i].media_type, "+encrypted") ? ": it is encrypted"
			                                                    : "");
	return 0;
}

static void
list_platforms(const struct manifest *index, char *out, size_t size)
{
	char one[sizeof(struct platform) + 4];
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < index->n_entries && used + sizeof(one) + 2 < size; i++) {
		platform_format(&index->entries[i].platform, one, sizeof(one));
		used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? ", " : "", one);
	}
}

const struct manifest_entry *
manifest_choose(const struct manifest *index, const struct platform *want, struct err *err)
{
	const struct manifest_entry *best = NULL;
	char list[300], wanted[sizeof(struct platform) + 4];
	int best_rank = 0;

	for (size_t i = 0; i < index->n_entries; i++) {
		const struct manifest_entry *e = &index->entries[i];
		bool silent = e->platform.os[0] == '\0' && e->platform.arch[0] == '\0';
		int rank = silent ? 1000 : platform_match(want, &e->platform);

		if (!media_is_manifest(e->desc.media_type) || rank < 0)
			continue;
		if (best == NULL || rank < best_rank) {
			best = e;
			best_rank = rank;
		}
	}
	if (best == NULL) {
		platform_format(want, wanted, sizeof(wanted));
		list_platforms(index, list, sizeof(list));
		err_set(
		    err, ERR_NOT_FOUND, "no image for platform %s; there are: %s", wanted, list);
	}
	return best;
}
