/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of contents of an archive of images: a tar, or a directory. A confined worker makes it;
 * of members that look like JSON the text comes along, of all others only where they are.
 */
#ifndef IMAGE_SCAN_H
#define IMAGE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
	SCAN_MEMBERS_MAX = 20000,
	SCAN_JSON_MAX = 32 << 20,  /* bytes of all JSON members */
	SCAN_OUTPUT_MAX = 48 << 20 /* and of the whole result */
};

struct scan_job {
	int in; /* a file, a pipe, or a directory */
	bool is_dir;
	int spool; /* an unnamed file for what cannot be read twice; unused for a directory */
	int empty; /* an empty directory, the worker's root; for a directory the directory itself */
};

struct scan_member {
	const char *name; /* cleaned: "blobs/sha256/…" */
	const char *link; /* target, from the archive's root, cleaned; NULL: a regular file */
	int64_t at;       /* offset of the content in the file; 0 in a directory */
	int64_t size;
	const char *json; /* NULL: it does not look like JSON, or is longer than IMAGE_CONFIG_MAX */
};

struct scan {
	struct scan_member *members; /* in the order of strcmp */
	size_t n;
	bool spooled; /* offsets are in the spool file */
	struct buf text;
};

/* Worker function; arg is a struct scan_job. INVALID_ARGUMENT: not a tar. */
int scan_worker(const void *arg, int out, struct err *err);

int scan_parse(const struct buf *out, struct scan *ret, struct err *err)
    __attribute__((warn_unused_result));
void scan_release(struct scan *s); /* a zeroed one is fine */

/* The regular file of that name, links followed; NULL. */
const struct scan_member *scan_find(const struct scan *s, const char *name);

#endif
