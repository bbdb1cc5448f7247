/* SPDX-License-Identifier: Apache-2.0
 *
 * A client's connection to the streaming server, between its files: server.c (accepts, reads the
 * request), upgrade.c (agrees on a protocol), remote.c (exec and attach), forward.c (port-forward),
 * and ws_channels.c (numbered channels on a WebSocket).
 *
 * A connection ends by conn_end(), from anywhere; it is freed in a later turn of the loop, when
 * nobody is inside of it.
 */
#ifndef STREAM_CONN_H
#define STREAM_CONN_H

#include <sys/queue.h>

#include "stream/http1.h"
#include "stream/pump.h"
#include "stream/server.h"
#include "stream/spdy.h"
#include "stream/websocket.h"
#include "stream/wire.h"

enum { REMOTE_STDIN, REMOTE_STDOUT, REMOTE_STDERR, REMOTE_ERROR, REMOTE_RESIZE, REMOTE_CHANNELS };

enum {
	FORWARD_PORTS_MAX = 32,
	CREATION_MS = 30 * 1000,
	IDLE_MS = 4 * 3600 * 1000,
	CLOSING_MS = 10 * 1000
};

/* A channel of a WebSocket: its number is the first byte of each message. */
struct ws_channel {
	struct channel ch;
	struct conn *c;
	unsigned char number;
};

struct ws_channels {
	struct ws_channel *at;
	size_t n;
	bool base64, close_signal; /* v5 */
	struct channel_group group;
	/* the message in progress */
	struct ws_channel *target;
	enum { WS_NUMBER, WS_DATA, WS_CLOSE_NUMBER, WS_IGNORE } expect;
	char carry[4]; /* base64 digits that make no three bytes yet */
	size_t n_carry;
	bool padded;
};

struct remote {
	unsigned version; /* of channel.k8s.io: 1 to 5 */
	struct channel *ch[REMOTE_CHANNELS];
	struct pump in, out, err_out;
	bool started, running, ended;
	unsigned outputs; /* that have not ended */
	int exit_code;
	bool exited;
	struct loop_timer linger;
	struct buf size; /* a resize message in pieces */
};

struct link;
TAILQ_HEAD(links, link);

struct forward {
	struct links links;
	unsigned n_links;
	bool by_channels;
	uint16_t ports[FORWARD_PORTS_MAX];
	size_t n_ports;
};

struct conn {
	TAILQ_ENTRY(conn) entry;
	struct wire wire;
	struct buf head; /* the request, while it is incomplete */
	struct loop_timer
	    deadline; /* of the request, the streams, idleness, the closing: one at a time */
	struct loop_timer reaper;
	enum { CONN_REQUEST, CONN_SPDY, CONN_CHANNELS, CONN_TUNNEL, CONN_CLOSING } mode;
	bool finishing, lost, over;
	struct stream_ticket *ticket; /* until gone() */
	enum stream_kind kind;
	struct spdy spdy;
	struct ws ws;
	struct carrier tunnel;
	struct ws_channels channels;
	union {
		struct remote remote;
		struct forward forward;
	};
};

/* server.c */
void conn_end(struct conn *c);
void conn_finish(struct conn *c); /* all is said: the client closes, or we do after a while */
void conn_deadline(struct conn *c, int64_t ms, void (*fire)(struct loop_timer *));
void conn_watch_idle(struct conn *c);
struct stream_ticket *ticket_take(const char *path); /* NULL: no such path, or token */

/* upgrade.c: answers the request; -1: *ret_status and *err are the answer. The connection has its
 * protocol and its ticket then. */
int conn_upgrade(struct conn *c, const struct http1_request *r, struct stream_ticket *t,
    int *ret_status, struct err *err);
void conn_feed(struct conn *c, const char *p, size_t n);
void conn_drained(struct conn *c);

/* ws_channels.c */
extern const struct ws_user ws_channels_user;
void ws_channels_open(struct conn *c, size_t n);
void ws_channels_drained(struct conn *c);
void ws_channels_lost(struct conn *c);
void ws_channels_release(struct conn *c);

/* remote.c */
extern const struct spdy_user remote_spdy_user;
void remote_open(struct conn *c, unsigned version);
void remote_lost(struct conn *c);

/* forward.c */
extern const struct spdy_user forward_spdy_user;
int forward_read_ports(struct conn *c, const char *query, struct err *err);
void forward_open(struct conn *c);
void forward_lost(struct conn *c);

#endif
