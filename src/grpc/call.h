/* SPDX-License-Identifier: Apache-2.0
 *
 * Between server.c and call.c: the server, one peer per connection, and the call behind
 * struct grpc_call.
 *
 * A call is `lent` to its HTTP/2 stream from the request's headers to on_close, and `running` from
 * its handler's start until the handler ends it; it is freed when it is neither.
 */
#ifndef GRPC_CALL_H
#define GRPC_CALL_H

#include "grpc/h2.h"
#include "grpc/server.h"

enum {
	CALL_WINDOW_BUDGET = 32 * 1024 * 1024, /* requests over H2_STREAM_WINDOW, per connection */
	CALL_ARENA_BUDGET = 128 * 1024 * 1024  /* requests unpacked and not yet answered */
};

TAILQ_HEAD(calls, call);

struct service {
	struct service *next;
	char *name;
};

/* A path that is served. */
struct route {
	char *path;
	const char *service;
	const struct grpc_method *method;
};

struct listener {
	struct listener *next;
	struct grpc_server *server;
	ev_io io;
	int fd;
	char *path; /* NULL: the socket is not ours to remove */
	dev_t dev;
	ino_t ino;
};

struct grpc_server {
	struct h2_host host;
	struct service *services;
	struct route *routes; /* open addressing by path */
	size_t n_routes, n_slots;
	struct listener *listeners;
	struct loop_timer accept_again, drain_done;
	struct calls calls;
	bool ready, draining;
	void (*drained)(struct grpc_server *);
};

struct peer {
	struct h2_owner owner;
	struct grpc_server *server; /* NULL: it was freed before the calls ended */
	unsigned n_calls;
	size_t windows;       /* of CALL_WINDOW_BUDGET */
	size_t arenas;        /* of CALL_ARENA_BUDGET */
	struct calls waiting; /* for room in windows, in order */
};

struct call {
	struct grpc_call pub;
	struct h2_stream s;
	struct peer *peer;
	TAILQ_ENTRY(call) entry, wait_entry;
	struct loop_timer deadline;
	struct buf body;
	size_t need; /* prefix and message; 0: the prefix is not complete */
	size_t window, arena_cost;
	bool lent, running, answered, head_sent, waiting;
	enum err_code status;
};

extern const struct h2_handlers call_handlers;

/* server.c */
const struct route *server_route(const struct grpc_server *s, const char *path);
bool server_has_service(const struct grpc_server *s, const char *path);
void server_check_drained(struct grpc_server *s);

/* call.c */
void peer_new(struct grpc_server *s, int fd);
void call_forget_server(struct grpc_server *s, struct call *call);

#endif
