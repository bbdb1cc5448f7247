/* SPDX-License-Identifier: Apache-2.0
 *
 * Image references: "busybox" means "docker.io/library/busybox:latest". The grammar is that of
 * github.com/distribution/reference: [domain[:port]/]path[:tag][@digest], the name at most 255
 * bytes, digests sha256 or sha512.
 *
 *	struct image_ref ref;
 *	if (image_ref_parse(s, &ref, err) < 0) …
 *	… image_ref_release(&ref);
 */
#ifndef IMAGE_REF_H
#define IMAGE_REF_H

#include <stdbool.h>

#include "base/err.h"

struct image_ref {
	char *name;   /* "docker.io/library/busybox" */
	char *domain; /* "docker.io", "localhost:5000", "[::1]:5000" */
	char *path;   /* "library/busybox" */
	char *tag;    /* "latest" when neither tag nor digest was given; NULL beside a lone digest */
	char *digest; /* "sha256:…" or NULL */
};

/* INVALID_ARGUMENT, saying what is wrong with which part. 64 hex digits alone are an image's id,
 * never a name, and are refused. *ret needs image_ref_release() on success only. */
int image_ref_parse(const char *s, struct image_ref *ret, struct err *err)
    __attribute__((warn_unused_result));
void image_ref_release(struct image_ref *ref); /* a zeroed one is fine */

/* On the heap: "name@digest" when there is a digest (a tag beside it does not count, as containerd
 * has it), else "name:tag". */
char *image_ref_string(const struct image_ref *ref);

/* On the heap: "name:tag". NULL when the reference has a digest or no tag. */
char *image_ref_tag(const struct image_ref *ref);

/* On the heap: "name@digest" for the given digest. */
char *image_ref_repo_digest(const struct image_ref *ref, const char *digest);

/* An image's id as clients write it: "sha256:" and 64 hex digits, or the hex digits alone, perhaps
 * only their beginning (3 or more). What matches may still be a name as well ("cafe"): look up
 * names first. */
bool image_id_like(const char *s);

#endif
