/* SPDX-License-Identifier: Apache-2.0
 *
 * The streaming server: listener, tickets, connections until they are upgraded and when they end.
 */
#include "stream/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/id.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "stream/conn.h"

enum { REQUEST_MS = 10 * 1000, CUT_MS = 2000, BACKLOG = 128, ACCEPTS_PER_TURN = 16, REST_MS = 100 };

static struct {
	int fd;
	uint16_t port;
	char host[INET6_ADDRSTRLEN + 2]; /* as in a URL */
	ev_io accept;
	struct loop_timer rest;
	SSL_CTX *tls;
	unsigned n_conns, n_tickets;
	TAILQ_HEAD(, conn) conns;
	TAILQ_HEAD(, stream_ticket) tickets;
} server = {.fd = -1};

/* ---- tickets ---- */

static void
withdraw(struct stream_ticket *t)
{
	if (!t->offered)
		return;
	timer_stop(&t->expiry);
	TAILQ_REMOVE(&server.tickets, t, entry);
	server.n_tickets--;
	t->offered = false;
}

static void
on_expired(struct loop_timer *timer)
{
	struct stream_ticket *t = container_of(timer, struct stream_ticket, expiry);

	withdraw(t);
	t->backend->gone(t);
}

int
ticket_offer(struct stream_ticket *t, char url[static STREAM_URL_SIZE], struct err *err)
{
	static const char *const path[] = {"exec", "attach", "portforward"};
	unsigned char random[TICKET_TOKEN_LEN / 2];

	if (server.fd < 0)
		return err_set(err, ERR_UNAVAILABLE, "the streaming server is not running");
	if (server.n_tickets >= TICKETS_MAX)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
		    "too many streaming requests are waiting for their client (%d)", TICKETS_MAX);
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return err_errno(err, "random bytes");
	hex_encode(random, sizeof(random), t->token);
	t->offered = true;
	TAILQ_INSERT_TAIL(&server.tickets, t, entry);
	server.n_tickets++;
	timer_start(&t->expiry, TICKET_LIFE_MS, on_expired);
	snprintf(url, STREAM_URL_SIZE, "%s://%s:%u/%s/%s", server.tls != NULL ? "https" : "http",
	    server.host, server.port, path[t->kind], t->token);
	return 0;
}

struct stream_ticket *
ticket_take(const char *path)
{
	static const char *const prefix[] = {"/exec/", "/attach/", "/portforward/"};
	struct stream_ticket *t, *found = NULL;

	for (size_t k = 0; k < ARRAY_SIZE(prefix); k++) {
		const char *token = path + strlen(prefix[k]);

		if (!str_starts(path, prefix[k]) || strlen(token) != TICKET_TOKEN_LEN)
			continue;
		/* In the same time for every token, whether it is known or not. */
		TAILQ_FOREACH (t, &server.tickets, entry)
			if (CRYPTO_memcmp(t->token, token, TICKET_TOKEN_LEN) == 0 && t->kind == k)
				found = t;
	}
	if (found != NULL)
		withdraw(found);
	return found;
}

/* ---- the end of a connection ---- */

static void
let_go(struct conn *c)
{
	struct stream_ticket *t = take_ptr(c->ticket);

	if (t == NULL)
		return;
	t->conn = NULL;
	t->backend->gone(t);
}

/* Its session is over, whatever becomes of the socket. */
static void
lose(struct conn *c)
{
	c->lost = true;
	if (c->mode == CONN_SPDY || c->mode == CONN_TUNNEL)
		spdy_lost(&c->spdy);
	else if (c->mode == CONN_CHANNELS)
		ws_channels_lost(c);
	if (c->mode != CONN_REQUEST && c->mode != CONN_CLOSING) {
		if (c->kind == STREAM_FORWARD)
			forward_lost(c);
		else
			remote_lost(c);
	}
	c->ws.failed = c->spdy.failed = true;
	c->mode = CONN_CLOSING;
	let_go(c);
}

static void
on_reap(struct loop_timer *t)
{
	struct conn *c = container_of(t, struct conn, reaper);

	if (c->spdy.below != NULL)
		spdy_release(&c->spdy);
	ws_channels_release(c);
	ws_release(&c->ws);
	wire_release(&c->wire);
	buf_release(&c->head);
	TAILQ_REMOVE(&server.conns, c, entry);
	server.n_conns--;
	free(c);
}

void
conn_end(struct conn *c)
{
	if (c->over)
		return;
	c->over = true;
	timer_stop(&c->deadline);
	wire_close(&c->wire);
	lose(c);
	timer_start(&c->reaper, 0, on_reap);
}

static void
on_deadline_end(struct loop_timer *t)
{
	conn_end(container_of(t, struct conn, deadline));
}

void
conn_deadline(struct conn *c, int64_t ms, void (*fire)(struct loop_timer *))
{
	if (!c->over)
		timer_start(&c->deadline, ms, fire);
}

/* The last words are on their way; they would be lost by a close() with input unread. */
static void
cut(struct conn *c)
{
	if (c->over || c->mode == CONN_CLOSING)
		return;
	lose(c);
	wire_hold(&c->wire, false);
	wire_finish(&c->wire);
	conn_deadline(c, CUT_MS, on_deadline_end);
}

static void
on_fail(struct carrier *carrier, const char *why)
{
	struct conn *c = container_of(carrier, struct conn, wire.carrier);

	trace(TRACE_STREAM, "connection %d: %s", c->wire.fd, why);
	cut(c);
}

static void
on_closing(struct loop_timer *t)
{
	struct conn *c = container_of(t, struct conn, deadline);
	bool waits = wire_room(&c->wire) < WIRE_HIGH;
	int64_t quiet = loop_now_ms() - c->wire.active_ms, limit = waits ? IDLE_MS : CLOSING_MS;

	/* A client that reads slowly gets all there is. */
	if (quiet < limit) {
		conn_deadline(c, waits ? CLOSING_MS : limit - quiet, on_closing);
		return;
	}
	if (c->mode == CONN_SPDY || c->mode == CONN_TUNNEL)
		spdy_goaway(&c->spdy);
	cut(c);
}

void
conn_finish(struct conn *c)
{
	if (c->lost || c->finishing)
		return;
	c->finishing = true;
	if (c->mode == CONN_CHANNELS)
		ws_close(&c->ws, WSLAY_CODE_NORMAL_CLOSURE, "");
	conn_deadline(c, CLOSING_MS, on_closing);
	let_go(c);
}

static void
on_idle(struct loop_timer *t)
{
	struct conn *c = container_of(t, struct conn, deadline);
	int64_t quiet = loop_now_ms() - c->wire.active_ms;

	if (quiet >= IDLE_MS)
		conn_end(c);
	else
		conn_deadline(c, IDLE_MS - quiet, on_idle);
}

void
conn_watch_idle(struct conn *c)
{
	if (!c->finishing)
		conn_deadline(c, IDLE_MS, on_idle);
}

/* ---- requests ---- */

static void
answer(struct conn *c, int status, const char *text)
{
	cleanup_buf struct buf b = BUF_INIT;

	http1_answer(&b, status, text);
	wire_send(&c->wire, b.data, b.len);
	cut(c);
	/* In CONN_REQUEST there is no session to lose, but the socket has to end all the same. */
	wire_finish(&c->wire);
	conn_deadline(c, CUT_MS, on_deadline_end);
}

static void
on_request_timeout(struct loop_timer *t)
{
	answer(container_of(t, struct conn, deadline), 408, "no request came");
}

static void
on_request(struct conn *c, size_t length)
{
	struct http1_request r;
	struct stream_ticket *t;
	struct err err = {0};
	struct buf rest = BUF_INIT;
	int status = 500;

	buf_add(&rest, c->head.data + length, c->head.len - length);
	timer_stop(&c->deadline);
	if (http1_parse(c->head.data, length, &r, &status, &err) < 0) {
		answer(c, status, err.msg);
	} else if ((t = ticket_take(r.path)) == NULL) {
		answer(c, 404, "not found");
	} else if (conn_upgrade(c, &r, t, &status, &err) < 0) {
		t->backend->gone(t);
		answer(c, status, err.msg);
	} else {
		buf_release(&c->head);
		if (rest.len > 0 && !c->over)
			conn_feed(c, rest.data, rest.len);
	}
	buf_release(&rest);
}

static void
on_data(struct wire *w, const char *p, size_t n)
{
	struct conn *c = container_of(w, struct conn, wire);
	size_t length;

	if (c->mode != CONN_REQUEST) {
		conn_feed(c, p, n);
		return;
	}
	buf_add(&c->head, p, n);
	length = http1_head_length(c->head.data, c->head.len);
	if (length > HTTP1_HEAD_MAX || (length == 0 && c->head.len > HTTP1_HEAD_MAX))
		answer(c, 431, "the request head is too long");
	else if (length > 0)
		on_request(c, length);
}

static void
on_drained(struct wire *w)
{
	conn_drained(container_of(w, struct conn, wire));
}

static void
on_lost(struct wire *w)
{
	conn_end(container_of(w, struct conn, wire));
}

static void
on_rest_over(struct loop_timer *t)
{
	(void)t;
	if (server.fd >= 0)
		ev_io_start(loop, &server.accept);
}

static void
open_conn_take(int fd)
{
	struct conn *c = xcalloc(1, sizeof(*c));
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	c->wire.on_data = on_data;
	c->wire.on_drained = on_drained;
	c->wire.on_lost = on_lost;
	c->wire.carrier.fail = on_fail;
	TAILQ_INSERT_TAIL(&server.conns, c, entry);
	server.n_conns++;
	conn_deadline(c, REQUEST_MS, on_request_timeout);
	wire_open_take(&c->wire, fd, server.tls);
}

static void
on_accept(struct ev_loop *l, ev_io *w, int events)
{
	(void)l;
	(void)w;
	(void)events;
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(server.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
			return;
		if (fd < 0) { /* out of descriptors or memory: not a busy loop */
			ev_io_stop(loop, &server.accept);
			timer_start(&server.rest, REST_MS, on_rest_over);
			return;
		}
		if (server.n_conns >= STREAM_CONNECTIONS_MAX)
			fd_closep(&fd);
		else
			open_conn_take(fd);
	}
}

/* ---- the server ---- */

static int
open_tls(const char *cert, const char *key, struct err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(ctx) != 1) {
		err_set(err, ERR_INVALID_ARGUMENT, "streaming: TLS with %s and %s: %s", cert, key,
		    ERR_reason_error_string(ERR_get_error()));
		SSL_CTX_free(ctx);
		return -1;
	}
	server.tls = ctx;
	return 0;
}

static int
bind_listener(const char *address, uint16_t port, struct err *err)
{
	struct sockaddr_storage ss = {0};
	struct sockaddr_in *in = (void *)&ss;
	struct sockaddr_in6 *in6 = (void *)&ss;
	socklen_t len;
	int one = 1;

	if (inet_pton(AF_INET, address, &in->sin_addr) == 1) {
		ss.ss_family = AF_INET;
		in->sin_port = htons(port);
		len = sizeof(*in);
		snprintf(server.host, sizeof(server.host), "%s", address);
	} else if (inet_pton(AF_INET6, address, &in6->sin6_addr) == 1) {
		ss.ss_family = AF_INET6;
		in6->sin6_port = htons(port);
		len = sizeof(*in6);
		snprintf(server.host, sizeof(server.host), "[%s]", address);
	} else {
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "streaming: \"%s\" is not an IP address", address);
	}
	server.fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (server.fd < 0)
		return err_errno(err, "streaming: socket");
	setsockopt(server.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(server.fd, (void *)&ss, len) < 0 || listen(server.fd, BACKLOG) < 0 ||
	    getsockname(server.fd, (void *)&ss, &len) < 0)
		return err_errno(err, "streaming: listen on %s port %u", address, port);
	server.port = ntohs(ss.ss_family == AF_INET ? in->sin_port : in6->sin6_port);
	return 0;
}

int
stream_server_open(
    const char *address, uint16_t port, const char *cert, const char *key, struct err *err)
{
	TAILQ_INIT(&server.conns);
	TAILQ_INIT(&server.tickets);
	if ((cert != NULL && open_tls(cert, key, err) < 0) ||
	    bind_listener(address, port, err) < 0) {
		stream_server_close();
		return -1;
	}
	ev_io_init(&server.accept, on_accept, server.fd, EV_READ);
	ev_io_start(loop, &server.accept);
	return 0;
}

void
stream_server_close(void)
{
	struct conn *c;

	if (server.fd >= 0 && ev_is_active(&server.accept))
		ev_io_stop(loop, &server.accept);
	timer_stop(&server.rest);
	fd_closep(&server.fd);
	while (!TAILQ_EMPTY(&server.tickets)) {
		struct stream_ticket *t = TAILQ_FIRST(&server.tickets);

		withdraw(t);
		t->backend->gone(t);
	}
	while ((c = TAILQ_FIRST(&server.conns)) != NULL) {
		conn_end(c);
		timer_stop(&c->reaper);
		on_reap(&c->reaper);
	}
	SSL_CTX_free(take_ptr(server.tls));
}

uint16_t
stream_server_port(void)
{
	return server.port;
}

unsigned
stream_server_connections(void)
{
	return server.n_conns;
}

unsigned
stream_server_tickets(void)
{
	return server.n_tickets;
}

void
session_abort(struct stream_ticket *t)
{
	struct conn *c = take_ptr(t->conn);

	withdraw(t);
	if (c == NULL)
		return;
	c->ticket = NULL;
	cut(c);
}
