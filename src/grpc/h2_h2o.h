/* SPDX-License-Identifier: Apache-2.0
 *
 * The codec on libh2o: its connection, and what its files share. h2_h2o.c is the frame table,
 * h2_h2o_stream.c streams, windows and output, h2_h2o_hpack.c header blocks.
 */
#ifndef GRPC_H2_H2O_H
#define GRPC_H2_H2O_H

#define H2O_USE_LIBUV 0
#include <h2o.h>
#include <h2o/http2.h>
#include <h2o/http2_internal.h>

#include "base/macros.h"
#include "grpc/h2_conn.h"
#include "grpc/h2_head.h"

_Static_assert(H2O_LIBRARY_VERSION_MAJOR == 0 && H2O_LIBRARY_VERSION_MINOR == 13,
    "another libh2o than the one whose internals are used here");

struct h2o_conn {
	struct h2_conn c;
	/* Parses what may come next. Returns the bytes it used, 0 when they are too few, or an
	 * H2O_HTTP2_ERROR. */
	ssize_t (*expect)(struct h2o_conn *, const uint8_t *p, size_t n);
	h2o_hpack_header_table_t table; /* of what comes in; what goes out is never indexed */
	h2o_http2_settings_t peer;
	int64_t send_window, recv_window, recv_returned;
	bool acked;        /* the peer has our SETTINGS: its streams start with H2_STREAM_WINDOW */
	bool table_update; /* the next block sent begins with a table size update (RFC 7541 4.2) */
	struct buf block;  /* a header block in several frames */
	uint32_t block_id;
	uint8_t block_flags;
	unsigned block_frames;
};

static inline struct h2o_conn *
h2o(struct h2_conn *c)
{
	return container_of(c, struct h2o_conn, c);
}

/* hpack: 0, or a connection error. What is wrong with the request alone is in head->malformed. */
int hpack_parse(struct h2o_conn *c, struct head *head, const uint8_t *p, size_t n);
/* Append the fields, never indexed, to a block. */
void hpack_write(struct buf *b, const struct h2_field *fields, size_t n);

/* frames out */
void put_frame(
    struct h2_conn *c, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n);
void put_window_update(struct h2_conn *c, uint32_t id, uint32_t n);
void put_reset(struct h2_conn *c, uint32_t id, enum h2_error code);
void put_block(struct h2o_conn *c, uint32_t id, uint8_t flags, const struct buf *block);

/* stream */
void stream_begin(struct h2o_conn *c, struct h2_stream *s, uint32_t id);
void stream_writable(struct h2o_conn *c, struct h2_stream *s); /* window or bytes came */
void stream_check_done(struct h2_stream *s);

#endif
