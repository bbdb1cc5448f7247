/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration of an image: what its author wants of the process, and the digests of its
 * uncompressed layers. Hostile input, bounded as manifests are.
 */
#ifndef IMAGE_CONFIG_H
#define IMAGE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/manifest.h"

enum { IMAGE_CONFIG_MAX = 8 << 20 }; /* bytes */

struct image_label {
	char *key, *value;
};

/* Lists are NULL-terminated, strings are never NULL ("" when absent). */
struct image_config {
	struct platform platform; /* os and arch may be "" */
	char *user;               /* as written: "uid", "name", "uid:gid", … */
	char *working_dir;
	char *stop_signal;
	char *created; /* RFC 3339, as written and unchecked */
	char **env;    /* "NAME=value" */
	size_t n_env;
	char **entrypoint;
	size_t n_entrypoint;
	char **cmd;
	size_t n_cmd;
	char **volumes; /* paths, in the order of the document */
	size_t n_volumes;
	struct image_label *labels;
	size_t n_labels;
	char **diff_ids; /* valid digests, the lowest layer first */
	size_t n_diff_ids;
};

/* INVALID_ARGUMENT naming the key; RESOURCE_EXHAUSTED beyond the limits. */
struct image_config *image_config_parse(const void *p, size_t n, struct err *err);
void image_config_free(struct image_config *c); /* NULL is fine */

/* What the CRI's Image.uid and Image.username say of config.user: a number before the ':' (true, in
 * *ret_uid), or a name (false; *ret_name on the heap, "" when there is no user). A number beyond
 * 2^31-1 is INVALID_ARGUMENT (-1): it must never wrap to root (CVE-2024-40635). Returns 1, 0 or -1.
 */
int image_config_uid(const struct image_config *c, int64_t *ret_uid, char **ret_name,
    struct err *err) __attribute__((warn_unused_result));

#endif
