/* SPDX-License-Identifier: Apache-2.0
 *
 * Content digests, "sha256:<64 hex>" or "sha512:<128 hex>". A digest from outside passes
 * digest_valid() before it is put into a path, a URL or a row (CVE-2024-3727); digests are compared
 * as whole strings.
 *
 *	struct digest d = DIGEST_INIT;
 *	if (digest_begin(&d, want, err) < 0) …
 *	digest_update(&d, p, n);                  // as often as bytes come
 *	digest_end(&d, got);                      // strcmp(got, want)
 */
#ifndef IMAGE_DIGEST_H
#define IMAGE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { DIGEST_SIZE = 7 + 128 + 1 }; /* the longest, with its NUL */

struct digest {
	void *ctx; /* EVP_MD_CTX */
	const char *algorithm;
};

/* clang-format off */
#define DIGEST_INIT {NULL, NULL}
/* clang-format on */

/* Exactly "sha256:" and 64, or "sha512:" and 128 lower-case hex digits. NULL is not valid. */
bool digest_valid(const char *s);

/* Hash with the algorithm of `like`, a digest or the name of an algorithm ("sha256").
 * INVALID_ARGUMENT when it is neither. The struct is released by digest_end() or digest_release().
 */
int digest_begin(struct digest *d, const char *like, struct err *err)
    __attribute__((warn_unused_result));
void digest_update(struct digest *d, const void *p, size_t n);
void digest_end(struct digest *d, char out[static DIGEST_SIZE]);
void digest_release(struct digest *d); /* fine on an empty one */

/* The sha256 digest of a run of bytes. */
void digest_of(const void *p, size_t n, char out[static DIGEST_SIZE]);

/* 0, or DATA_LOSS "<what>: digest is <got>, not <want>". want must be valid. */
int digest_check(const void *p, size_t n, const char *want, const char *what, struct err *err)
    __attribute__((warn_unused_result));

#endif
