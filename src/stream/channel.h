/* SPDX-License-Identifier: Apache-2.0
 *
 * A channel: one stream of bytes between a client and a session, in one or both directions,
 * whatever protocol carries it (a SPDY stream, a numbered channel of a WebSocket). And a carrier:
 * where a protocol's own bytes go (a socket, or the messages of a WebSocket that SPDY is tunnelled
 * through).
 *
 * Back-pressure: who sends asks for room first, sets want_room when there is none, and is called
 * when there is. Input that was not taken counts as pending; too much of it stops the reading.
 */
#ifndef STREAM_CHANNEL_H
#define STREAM_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "base/buf.h"

struct channel;

enum {
	CHANNEL_PENDING_MAX = 128 * 1024, /* of input, from where on the client is not read */
	CHANNEL_CHUNK = 32 * 1024         /* the most a pump sends at once */
};

/* Of the protocol. After end() no send(); after reset() nothing at all. */
struct channel_ops {
	size_t (*room)(const struct channel *);
	void (*send)(struct channel *, const void *p, size_t n); /* n <= room() */
	void (*end)(struct channel *);                           /* our half is complete */
	void (*reset)(struct channel *);                         /* both halves are over, at once */
	void (*credit)(
	    struct channel *, size_t n); /* n bytes of input are done with; may be NULL */
};

/* Of the one who uses it. */
struct channel_user {
	void (*data)(
	    struct channel *, const char *p, size_t n); /* adds to pending: channel_taken() */
	void (*ended)(struct channel *);                /* the client's half is complete */
	void (*room)(struct channel *);                 /* want_room was set, and there is */
	void (*gone)(
	    struct channel *); /* reset by the client; the channel may be freed afterwards */
};

struct carrier {
	void (*send)(struct carrier *, const struct iovec *iov, int n); /* takes everything */
	size_t (*room)(const struct carrier *);                         /* below the high mark */
	void (*hold)(struct carrier *, bool hold);                      /* read nothing for now */
	void (*fail)(struct carrier *, const char *why); /* the peer broke the protocol */
};

/* The channels of one connection: while one of them has too much pending, nothing is read. */
struct channel_group {
	struct carrier *below;
	unsigned over;
};

struct channel {
	const struct channel_ops *ops;
	const struct channel_user *user; /* NULL: nobody yet, input is kept; see discard */
	void *owner;                     /* of the user */
	struct channel_group *group;
	bool want_room, in_ended, out_ended;
	bool discard; /* the user has left: input is dropped */
	size_t pending;
	struct buf early; /* input that came before its user */
	bool over;
};

/* For the protocol: input, and its end. */
void channel_input(struct channel *ch, const char *p, size_t n);
void channel_input_end(struct channel *ch);
/* Reset by the client, or its connection is over: tells the user. */
void channel_lost(struct channel *ch);
void channel_release(struct channel *ch);

/* For the user: from now on, and what came early, now. */
void channel_use(struct channel *ch, const struct channel_user *user, void *owner);
void channel_leave(struct channel *ch);
void channel_taken(struct channel *ch, size_t n);

#endif
