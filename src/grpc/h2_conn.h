/* SPDX-License-Identifier: Apache-2.0
 *
 * What h2_conn.c (socket, streams, limits) and the codec behind it (h2_h2o.c or h2_nghttp2.c) know
 * of each other. Nothing else includes this but tests and the fuzz harness.
 */
#ifndef GRPC_H2_CONN_H
#define GRPC_H2_CONN_H

#include <sys/socket.h>

#include "grpc/h2.h"

enum {
	H2_INPUT_READ = 64 * 1024,  /* read at most per wake-up */
	H2_WRITE_TURN = 256 * 1024, /* written at most per wake-up */
	H2_OUT_TARGET = 64 * 1024,  /* DATA frames are made while less than this is unsent */
	H2_OUT_FIRST = 2048,        /* first allocation of an output buffer */
	H2_BUCKET = 1000,           /* tokens for what only an abuser does often ... */
	H2_BUCKET_PER_S = 200,      /* ... and their refill */
	H2_MAX_CONTINUATIONS = 64,
	H2_PREFACE_MS = 10 * 1000,
	H2_FRAME_MS = 30 * 1000,   /* to complete a frame or a header block */
	H2_REQUEST_MS = 60 * 1000, /* to complete a request */
	H2_UNSENT_MS = 120 * 1000, /* to take anything off a full socket */
	H2_FAILED_MS = 3 * 1000,   /* to take the last GOAWAY */
	H2_DRAIN_MS = 2 * 1000,    /* to answer the PING that follows the first GOAWAY */
	H2_SWEEP_MS = 1000
};

TAILQ_HEAD(h2_streams, h2_stream);

enum h2_state {
	H2_OPEN,
	H2_DRAIN_BEGUN, /* GOAWAY with the highest id is sent; what was under way is still accepted
	                 */
	H2_DRAIN_LAST,  /* GOAWAY with the true last id is sent */
	H2_FAILED,      /* GOAWAY with an error is in the output; input is not read any more */
	H2_DEAD         /* to be freed */
};

struct h2_conn {
	struct h2_host *host;
	struct h2_owner *owner;
	TAILQ_ENTRY(h2_conn) entry, flush_entry;
	int fd;
	ev_io io;
	int events;
	enum h2_state state;
	bool server;
	bool in_flush;    /* in host->flush */
	bool busy;        /* on the stack: not freed under its callers */
	bool greeted;     /* the peer's preface and SETTINGS came */
	bool blocked;     /* the socket took no more */
	bool peer_drains; /* GOAWAY came */
	struct ucred peer;
	struct buf in; /* the beginning of a frame */
	struct buf out;
	size_t out_off;
	size_t backlog; /* sum of the streams' */
	struct h2_stream **buckets;
	unsigned n_buckets, n_streams;
	struct h2_streams streams, closed, ready;
	uint32_t max_id;      /* highest stream opened, by the peer (server) or us (client) */
	unsigned max_streams; /* client: the peer's limit */
	int tokens;
	int64_t tokens_ms;
	int64_t made_ms;
	int64_t input_ms;  /* a frame is incomplete since, 0: none is */
	int64_t output_ms; /* the socket is full since */
	int64_t state_ms;  /* of the last change of state */
};

/* ---- h2_conn.c, for the codec -------------------------------------------------------------- */

/* Output was made, or a stream was closed: look at it before the loop waits. */
void h2_touch(struct h2_conn *c);
size_t h2_unsent(const struct h2_conn *c);
/* Room for n bytes of output; then buf_grew(&c->out, n). */
uint8_t *h2_out(struct h2_conn *c, size_t n);

/* A broken peer: GOAWAY with the code, then the connection ends. */
void h2_fail(struct h2_conn *c, enum h2_error code, const char *why);
/* Take tokens from the bucket; false when it is empty and the connection has failed for it. */
bool h2_charge(struct h2_conn *c, int n);

struct h2_stream *h2_find(const struct h2_conn *c, uint32_t id);
void h2_lend(struct h2_conn *c, struct h2_stream *s, uint32_t id); /* into the table */
void h2_close_stream(struct h2_stream *s, enum h2_error code);     /* out of it; on_close follows */
bool h2_full(const struct h2_conn *c);                             /* H2_MAX_STREAMS reached */

/* Account bytes added to and taken from s->pending. */
void h2_pending_add(struct h2_stream *s, const void *p, size_t n);
void h2_pending_take(struct h2_stream *s, size_t n);

/* Body bytes came: content-length holds? false: the stream was reset. */
bool h2_count_body(struct h2_stream *s, size_t n, bool end);

/* Feed bytes as if they came from the socket (the reader, and the fuzz harness). */
void h2_input(struct h2_conn *c, const uint8_t *p, size_t n);

/* ---- the codec ----------------------------------------------------------------------------- */

struct h2_conn *h2_codec_new(void);     /* zeroed */
void h2_codec_start(struct h2_conn *c); /* preface and SETTINGS into the output */
void h2_codec_free(struct h2_conn *c);
/* Consume whole frames; one byte after p[n - 1] is readable. Returns how many bytes are done with:
 * fewer than n when a frame is incomplete or the connection has failed. */
size_t h2_codec_input(struct h2_conn *c, const uint8_t *p, size_t n);
bool h2_codec_midway(const struct h2_conn *c); /* in a header block, or before the preface's end */
void h2_codec_output(struct h2_conn *c);       /* streams' data into c->out, up to H2_OUT_TARGET */
void h2_codec_goaway(struct h2_conn *c, enum h2_error code, const char *why);
void h2_codec_drain(struct h2_conn *c, bool last);

#endif
