/* SPDX-License-Identifier: Apache-2.0
 *
 * The server's half of SPDY/3.1 (draft-mbelshe-httpbis-spdy-00): frames, streams, flow control.
 *
 * struct spdy is fed with the peer's bytes and writes to a carrier; each stream the peer opens is a
 * channel. A stream lives until its user calls spdy_forget() on it, or the session is released.
 *
 * The clients of the Kubernetes world do no flow control: they send past their window and never
 * open ours. So ours is kept only once a peer has shown that it takes part (SETTINGS with a window,
 * or WINDOW_UPDATE), theirs is never held against them, and what bounds memory is that a stream
 * with too much pending stops the reading.
 */
#ifndef STREAM_SPDY_H
#define STREAM_SPDY_H

#include <stdint.h>
#include <sys/queue.h>

#include "stream/channel.h"
#include "stream/spdy_zlib.h"

enum { SPDY_STREAMS_MAX = 512, SPDY_CONTROL_MAX = 16 * 1024 };

struct spdy;

struct spdy_stream {
	struct channel ch;
	struct spdy *s;
	uint32_t id;
	int64_t window; /* of what we send */
	size_t owed;    /* taken, not yet given back to its window */
	bool reset;     /* nothing more is said about it */
	TAILQ_ENTRY(spdy_stream) entry;
};

TAILQ_HEAD(spdy_streams, spdy_stream);

struct spdy_user {
	/* A new stream. False refuses it: it is gone when this returns. */
	bool (*opened)(struct spdy *s, struct spdy_stream *st, const struct spdy_headers *h);
};

struct spdy {
	struct carrier *below;
	const struct spdy_user *user;
	/* private */
	struct channel_group group;
	struct spdy_zlib zlib;
	struct spdy_streams streams, forgotten; /* by id */
	unsigned n_streams;
	uint32_t last_id, turn;
	bool flow, failed;
	int64_t window, initial_window;
	size_t owed;
	unsigned char head[8];
	size_t n_head;
	uint32_t left; /* of the frame in progress */
	bool control;
	struct buf body;
	struct spdy_stream *target; /* of the data frame in progress; NULL: dropped */
};

void spdy_init(struct spdy *s, struct carrier *below, const struct spdy_user *user);
/* Deals with all of it. A peer that breaks the protocol gets a GOAWAY, and below->fail() is called.
 */
void spdy_feed(struct spdy *s, const char *p, size_t n);
void spdy_drained(struct spdy *s); /* the carrier has room again */
void spdy_goaway(struct spdy *s);  /* the end in good order */
/* The connection is over: every channel is lost. */
void spdy_lost(struct spdy *s);
void spdy_release(struct spdy *s);

/* The user is done with it; what is still open is reset. */
void spdy_forget(struct spdy_stream *st);

#endif
