/* SPDX-License-Identifier: Apache-2.0
 *
 * Header blocks of SPDY/3: name/value pairs, compressed by one zlib stream for each direction of a
 * connection, with the protocol's dictionary (draft-mbelshe-httpbis-spdy-00, 2.6.10).
 */
#ifndef STREAM_SPDY_ZLIB_H
#define STREAM_SPDY_ZLIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/err.h"

enum {
	SPDY_BLOCK_MAX = 16 * 1024, /* of a block that is unpacked: a longer one is a bomb */
	SPDY_HEADERS_MAX = 64
};

struct spdy_header {
	char *name, *value; /* of several values the first */
};

struct spdy_headers {
	struct spdy_header h[SPDY_HEADERS_MAX];
	size_t n;
	char *bytes; /* what they point into */
};
void spdy_headers_release(struct spdy_headers *h);
const char *spdy_header(const struct spdy_headers *h, const char *name); /* NULL: none */

/* Embedded; zero-initialise. */
struct spdy_zlib {
	z_stream in, out;
	bool in_open, out_open;
};

/* Every block of a connection has to pass through here, in order; after an error the connection is
 * of no use. *ret is released by the caller on success. */
int spdy_unpack(struct spdy_zlib *z, const void *p, size_t n, struct spdy_headers *ret,
    struct err *err) __attribute__((warn_unused_result));

/* Appends a block. */
void spdy_pack(struct spdy_zlib *z, const struct spdy_header *h, size_t n, struct buf *out);

void spdy_zlib_release(struct spdy_zlib *z);

#endif
