/* SPDX-License-Identifier: Apache-2.0
 *
 * Streaming decompression: plain bytes, gzip (several members in a row are one stream, RFC 1952
 * 2.2) and zstd (several frames, RFC 8878 3.1; windows up to 128 MiB), told apart by their magic,
 * as every runtime does: media types are often wrong about it.
 *
 * Embedded in its owner, who supplies the bytes:
 *
 *	inflate_init(&z, on_read);
 *	while ((n = inflate_next(&z, &p, err)) > 0) …
 *	inflate_release(&z);
 */
#ifndef IMAGE_INFLATE_H
#define IMAGE_INFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

enum inflate_kind { INFLATE_UNKNOWN, INFLATE_PLAIN, INFLATE_GZIP, INFLATE_ZSTD };
enum { INFLATE_BUF = 256 << 10 }; /* bytes of the input and of the output buffer */

struct inflate {
	/* Reads up to n bytes into p: how many, 0 at the end, -1 with *err. */
	ssize_t (*read)(struct inflate *z, void *p, size_t n, struct err *err);
	enum inflate_kind kind; /* known after the first inflate_next() */
	/* private */
	char *in, *out;
	size_t in_at, in_len;
	bool in_end;    /* read() said so */
	bool in_stream; /* inside a member or frame */
	struct inflate_gzip *gzip;
	struct ZSTD_DCtx_s *zstd;
};

void inflate_init(
    struct inflate *z, ssize_t (*read)(struct inflate *z, void *p, size_t n, struct err *err));
void inflate_release(struct inflate *z);

/* The next run of plain bytes, valid until the next call: its length, 0 at the end, -1.
 * INVALID_ARGUMENT: damaged, cut short, followed by garbage, or of a kind that images may not use
 * (named). */
ssize_t inflate_next(struct inflate *z, const void **ret, struct err *err);

#endif
