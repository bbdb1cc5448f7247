/* SPDX-License-Identifier: Apache-2.0
 *
 * Manifests and indexes of images: OCI image spec 1.1 and Docker schema 2. They come from a
 * registry or an archive and are hostile until proven otherwise: size, depth and number of values
 * are bounded before anything is built, duplicate keys are refused, a document that could be read
 * as a manifest and as an index is refused (CVE-2021-41190), and its mediaType must agree with what
 * it was announced as.
 */
#ifndef IMAGE_MANIFEST_H
#define IMAGE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
	MANIFEST_MAX = 4 << 20,     /* bytes of a manifest or index */
	MANIFEST_LAYERS_MAX = 500,  /* what one overlay mount takes */
	MANIFEST_ENTRIES_MAX = 1000 /* of an index */
};

#define MEDIA_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_CONFIG "application/vnd.oci.image.config.v1+json"
#define MEDIA_OCI_LAYER "application/vnd.oci.image.layer.v1.tar"
#define MEDIA_OCI_LAYER_GZIP "application/vnd.oci.image.layer.v1.tar+gzip"
#define MEDIA_OCI_LAYER_ZSTD "application/vnd.oci.image.layer.v1.tar+zstd"
#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_DOCKER_CONFIG "application/vnd.docker.container.image.v1+json"
#define MEDIA_DOCKER_LAYER "application/vnd.docker.image.rootfs.diff.tar"
#define MEDIA_DOCKER_LAYER_GZIP "application/vnd.docker.image.rootfs.diff.tar.gzip"
#define MEDIA_DOCKER_LAYER_ZSTD "application/vnd.docker.image.rootfs.diff.tar.zstd"

enum layer_compression { LAYER_PLAIN, LAYER_GZIP, LAYER_ZSTD };

/* os and arch are normalised as Go spells them ("amd64", "arm64"); variant is "" when it is the
 * architecture's first or only one. Fixed sizes: longer ones match nothing and are refused. */
struct platform {
	char os[32];
	char arch[32];
	char variant[16];
};

struct descriptor {
	char *media_type;
	char *digest; /* valid */
	uint64_t size;
};

struct manifest_entry {
	struct descriptor desc;
	struct platform platform; /* os "" : none given */
	char *ref_name; /* annotation org.opencontainers.image.ref.name, for archives; else NULL */
	char *image_name; /* annotation io.containerd.image.name, for archives; else NULL */
};

struct manifest {
	bool is_index;
	const char *media_type;   /* one of the four above */
	struct descriptor config; /* of a manifest */
	struct descriptor *layers;
	size_t n_layers;
	struct manifest_entry *entries; /* of an index */
	size_t n_entries;
};

/* media_type: what the document was announced as (Content-Type of the answer, mediaType of its
 * descriptor), parameters after ';' allowed; NULL or a generic type ("application/json",
 * "application/octet-stream", "text/plain") when nobody said: then the document must say itself.
 * Errors: INVALID_ARGUMENT for a malformed or ambiguous document, UNIMPLEMENTED for schema 1 and
 * other kinds, RESOURCE_EXHAUSTED beyond the limits. */
struct manifest *manifest_parse(const void *p, size_t n, const char *media_type, struct err *err);
void manifest_free(struct manifest *m); /* NULL is fine */

/* Is the manifest a container image whose layers we can unpack? UNIMPLEMENTED naming the media type
 * when it is an artifact, or has an encrypted or foreign layer. */
int manifest_check_image(const struct manifest *m, struct err *err)
    __attribute__((warn_unused_result));

/* Is it one of the types this daemon asks registries for? */
bool media_is_manifest(const char *media_type);
bool media_is_index(const char *media_type);

/* -1 when the media type is not a layer's that we can unpack. */
int media_layer_compression(const char *media_type, enum layer_compression *ret);

/* "os/arch[/variant]", or "arch"; NULL or "": the machine's own. INVALID_ARGUMENT. */
int platform_parse(const char *s, struct platform *ret, struct err *err)
    __attribute__((warn_unused_result));
void platform_host(struct platform *ret);
void platform_normalise(struct platform *p);
/* "linux/arm/v7"; out is cut when too short. */
void platform_format(const struct platform *p, char *out, size_t n);

/* How well an image for `have` runs where `want` was asked: 0 exactly, more is worse (older
 * variants of arm, 386 on amd64), -1 not at all. */
int platform_match(const struct platform *want, const struct platform *have);

/* The entry of an index to take: the best match, the first among equals; entries without a platform
 * come last. NOT_FOUND listing the platforms that are there. */
const struct manifest_entry *manifest_choose(
    const struct manifest *index, const struct platform *want, struct err *err);

#endif
