/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/2 (RFC 9113) on the loop's sockets, server and client side. This is the only seam that knows
 * HTTP/2: what is above it sees requests, bytes and ends. Behind it stands one of two codecs,
 * chosen by configure: h2_h2o*.c or h2_nghttp2.c; h2_conn.c holds what both share.
 *
 * Life cycle. A host (one server or one client) has connections; a connection has streams. The
 * owner embeds struct h2_stream in the object that stands for a call. It lends the stream to the
 * connection by returning it from on_request, or by h2_request(), and has it back with on_close,
 * which is called exactly once per stream, from the loop and never from inside a function of this
 * header (but for h2_conn_free and h2_host_release). Until then stream->conn is set; afterwards it
 * is NULL, and every function here that takes a stream does nothing on such a one.
 *
 * A broken peer never gets an error back to the owner but by on_close and on_conn_close. Memory per
 * connection is bounded: see the limits below and h2_want().
 */
#ifndef GRPC_H2_H
#define GRPC_H2_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "loop/loop.h"

struct h2_conn;
struct h2_stream;
struct h2_host;

enum {
	H2_MAX_STREAMS = 1024,            /* open at a time, per connection */
	H2_MAX_HEADER_LIST = 64 * 1024,   /* decoded, 32 bytes per field added (RFC 9113 6.5.2) */
	H2_MAX_HEADER_BLOCK = 128 * 1024, /* as it comes: more ends the connection */
	H2_MAX_FRAME = 16384,
	H2_STREAM_WINDOW = 16384, /* what a peer may send before h2_want() */
	H2_CONN_WINDOW = 1024 * 1024,
	H2_MAX_UNSENT = 1024 * 1024,       /* the socket takes no more: reading stops */
	H2_MAX_BACKLOG = 64 * 1024 * 1024, /* of all streams of a connection together */
	H2_LOW_WATER = 32 * 1024           /* on_drain when a stream's backlog falls to this */
};

/* RFC 9113 section 7. */
enum h2_error {
	H2_NO_ERROR = 0,
	H2_PROTOCOL_ERROR = 1,
	H2_INTERNAL_ERROR = 2,
	H2_FLOW_CONTROL_ERROR = 3,
	H2_SETTINGS_TIMEOUT = 4,
	H2_STREAM_CLOSED = 5,
	H2_FRAME_SIZE_ERROR = 6,
	H2_REFUSED_STREAM = 7,
	H2_CANCEL = 8,
	H2_COMPRESSION_ERROR = 9,
	H2_CONNECT_ERROR = 10,
	H2_ENHANCE_YOUR_CALM = 11
};

/* The header fields anyone here reads; others are checked, counted and dropped. */
enum h2_name {
	H2_STATUS,
	H2_METHOD,
	H2_PATH,
	H2_SCHEME,
	H2_AUTHORITY,
	H2_CONTENT_TYPE,
	H2_TE,
	H2_GRPC_TIMEOUT,
	H2_GRPC_ENCODING,
	H2_GRPC_ACCEPT_ENCODING,
	H2_GRPC_STATUS,
	H2_GRPC_MESSAGE,
	H2_TRACEPARENT,
	H2_ALLOW,
	H2_USER_AGENT,
	H2_N_NAMES
};

/* One header block that came in. The strings are borrowed for the callback. */
struct h2_head {
	const char *value[H2_N_NAMES]; /* NULL: absent; of several the first */
	size_t list_size;
	bool too_large; /* over H2_MAX_HEADER_LIST: values are incomplete */
	bool end;       /* nothing follows on this stream */
};

/* One header field to send; the value is borrowed for the call. */
struct h2_field {
	enum h2_name name;
	const char *value;
};

struct h2_stream {
	struct h2_conn *conn; /* NULL: not lent */
	uint32_t id;
	/* private */
	unsigned recv_closed : 1; /* END_STREAM came */
	unsigned send_closed : 1; /* the owner said all it has to say */
	unsigned sent_all : 1;    /* ... and it is in the connection's output */
	unsigned closing : 1;     /* on_close is due */
	unsigned ready : 1;       /* has output and window: in the connection's ready list */
	unsigned end_data : 1;    /* END_STREAM goes with the last DATA frame, not with a trailer */
	unsigned over_low : 1;    /* the backlog rose over H2_LOW_WATER */
	unsigned sent_head : 1;   /* server: the response began */
	unsigned got_head : 1;    /* client: the response began; what comes next is its trailer */
	uint32_t error;
	int64_t send_window, recv_window;
	int64_t length_left; /* of a content-length; -1: none was given */
	int64_t opened_ms;
	struct buf pending; /* body bytes that wait for window, from pending_off */
	size_t pending_off;
	struct buf trailer; /* an encoded HEADERS frame behind them */
	struct h2_stream *hash_next;
	TAILQ_ENTRY(h2_stream) entry, ready_entry;
};

/* What the owner has for each connection; embedded in its own struct. */
struct h2_owner {
	struct h2_conn *conn; /* NULL after on_conn_close */
};

struct h2_handlers {
	/* Server: a new request whose header block is complete and well-formed. Returns the stream
	 * to lend, zeroed (h2 fills it in and calls on_head next), or NULL to refuse it. */
	struct h2_stream *(*on_request)(struct h2_owner *);
	/* The header block of a request, or of a response: its head first, then its trailers. */
	void (*on_head)(struct h2_stream *, const struct h2_head *);
	/* Bytes of the body; end: nothing follows (then n may be 0, also after a head without end).
	 * The bytes are borrowed. */
	void (*on_data)(struct h2_stream *, const void *p, size_t n, bool end);
	/* The backlog fell to H2_LOW_WATER after it had been over it. May be NULL. */
	void (*on_drain)(struct h2_stream *);
	/* The stream is over and the owner's again. H2_NO_ERROR: both sides ended it in order and
	 * all of our side is on its way; else a reset (either side's), or the connection is lost.
	 */
	void (*on_close)(struct h2_stream *, enum h2_error);
	/* The last word of a connection, after every on_close: the owner's own again. */
	void (*on_conn_close)(struct h2_owner *);
};

TAILQ_HEAD(h2_conns, h2_conn);

struct h2_host {
	const struct h2_handlers *on;
	bool server;
	struct h2_conns conns;
	unsigned n_conns;
	/* private */
	struct h2_conns
	    flush; /* have output, or streams to give back, when the loop is about to wait */
	ev_prepare flusher;
	struct loop_timer sweep; /* looks for peers that make no progress */
	bool flushing;
};

void h2_host_init(struct h2_host *h, const struct h2_handlers *on, bool server);
void h2_host_drain(struct h2_host *h);   /* h2_conn_drain for all */
void h2_host_release(struct h2_host *h); /* frees every connection */

/* A connection on a connected socket, which is taken and made non-blocking. */
void h2_conn_new(struct h2_host *h, int fd, struct h2_owner *owner);
void h2_conn_free(struct h2_conn *c); /* at once; never from inside a handler */
struct h2_owner *h2_conn_owner(const struct h2_conn *c);
const struct ucred *h2_conn_peer(const struct h2_conn *c); /* pid 0, uid -1: not a unix socket */

/* Graceful end (RFC 9113 6.8): GOAWAY now, no stream is refused until the peer has seen it, and the
 * connection closes when its last stream has. */
void h2_conn_drain(struct h2_conn *c);
bool h2_conn_draining(const struct h2_conn *c); /* by either side: no new request is to be made */

/* Client: send a request head. h2_can_request() is false while the peer's limit of concurrent
 * streams is reached, or the connection is closing. The stream must be zeroed. */
bool h2_can_request(const struct h2_conn *c);
void h2_request(struct h2_conn *c, struct h2_stream *s, const struct h2_field *fields, size_t n);

/* Send a head (server), body bytes (copied), and the end: a last head as trailers, or `end` with
 * bytes. A server's h2_end before any h2_head is the whole response. */
void h2_head(struct h2_stream *s, const struct h2_field *fields, size_t n);
void h2_send(struct h2_stream *s, const void *p, size_t n, bool end);
void h2_end(struct h2_stream *s, const struct h2_field *fields, size_t n);
void h2_reset(struct h2_stream *s, enum h2_error code);

/* Bytes of the stream that are not yet in a frame, and of all streams and the connection's output.
 */
size_t h2_backlog(const struct h2_stream *s);
size_t h2_conn_backlog(const struct h2_conn *c);

/* Let the peer send n more bytes of body on this stream: memory the owner is ready to spend. */
void h2_want(struct h2_stream *s, size_t n);

/* "CANCEL" for 8. */
const char *h2_error_name(enum h2_error code);

#endif
