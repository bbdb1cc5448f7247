/* SPDX-License-Identifier: Apache-2.0
 *
 * The streaming server: Exec, Attach and PortForward answer with a URL of it, which is good for one
 * connection, soon. What the client may do with it was decided when the URL was given out: that is
 * a ticket, embedded in what the pod layer keeps of the request.
 *
 * Life cycle of a ticket: ticket_offer(); then either it expires, or a client comes with it, and
 * start() or dial() is called; gone() is the last call in any case, and comes exactly once: nothing
 * of the ticket is looked at after it. After session_abort() no call comes at all.
 */
#ifndef STREAM_SERVER_H
#define STREAM_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"
#include "loop/loop.h"

struct conn;
struct stream_ticket;

enum stream_kind { STREAM_EXEC, STREAM_ATTACH, STREAM_FORWARD };

enum {
	TICKET_TOKEN_LEN = 32, /* hex digits: 128 bits */
	TICKET_LIFE_MS = 60 * 1000,
	TICKETS_MAX = 1000,
	STREAM_CONNECTIONS_MAX = 4096,
	STREAM_URL_SIZE = 160
};

/* One forwarded connection that is to be made. */
struct stream_dial {
	uint16_t port;
	void *owner; /* of the pod layer */
};

struct stream_backend {
	/* Exec and attach: the client's streams are there. Answer by session_run() or
	 * session_fail(). */
	void (*start)(struct stream_ticket *t);
	void (*resize)(struct stream_ticket *t, unsigned width, unsigned height);
	/* Port-forward: connect. Answer once, by dial_done_take() or dial_fail()... */
	void (*dial)(struct stream_ticket *t, struct stream_dial *d);
	/* ...unless the client has lost interest meanwhile. */
	void (*undial)(struct stream_ticket *t, struct stream_dial *d);
	void (*gone)(struct stream_ticket *t);
};

struct stream_ticket {
	enum stream_kind kind;
	bool in, out, err, tty; /* exec and attach: the streams */
	const int32_t
	    *ports; /* port-forward by channels of a WebSocket: the ports, when named before */
	size_t n_ports;
	const struct stream_backend *backend;
	/* private */
	char token[TICKET_TOKEN_LEN + 1];
	struct loop_timer expiry;
	struct conn *conn; /* once a client has come */
	TAILQ_ENTRY(stream_ticket) entry;
	bool offered;
};

/* address: of an interface, "127.0.0.1" or "::1"; port 0: any. cert and key: PEM files, or NULL. */
int stream_server_open(const char *address, uint16_t port, const char *cert, const char *key,
    struct err *err) __attribute__((warn_unused_result));
/* Sessions are cut off; no call comes any more. */
void stream_server_close(void);
uint16_t stream_server_port(void);
unsigned stream_server_connections(void);
unsigned stream_server_tickets(void);

/* RESOURCE_EXHAUSTED when there are too many. */
int ticket_offer(struct stream_ticket *t, char url[static STREAM_URL_SIZE], struct err *err)
    __attribute__((warn_unused_result));

/* The process runs: its descriptors, non-blocking, taken over; -1: not that stream. With a
 * terminal, in_fd and out_fd are its master side. Exec: session_exited() ends it; attach: the end
 * of out_fd and err_fd. */
void session_run(struct stream_ticket *t, int in_fd, int out_fd, int err_fd);
/* What it wrote is sent, then the exit code, then the connection ends. */
void session_exited(struct stream_ticket *t, int exit_code);
/* The same with an error. */
void session_fail(struct stream_ticket *t, const struct err *err);
/* Withdraws the ticket or cuts the session off. */
void session_abort(struct stream_ticket *t);

void dial_done_take(struct stream_dial *d, int fd); /* a connected, non-blocking socket */
void dial_fail(struct stream_dial *d, const struct err *err);

#endif
