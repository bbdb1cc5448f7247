/* SPDX-License-Identifier: Apache-2.0
 *
 * From HTTP to SPDY/3.1 or WebSocket: what protocol, in which version, and who gets its bytes.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "stream/conn.h"

enum { NAME_MAX_LEN = 64 };

struct protocol {
	const char *name;
	unsigned version;
	bool base64, tunnel;
};

static const struct protocol remote_spdy[] = {
    {"v4.channel.k8s.io", 4, false, false},
    {"v3.channel.k8s.io", 3, false, false},
    {"v2.channel.k8s.io", 2, false, false},
    {"channel.k8s.io",    1, false, false},
    {NULL,                0, false, false},
};
static const struct protocol forward_spdy[] = {
    {"portforward.k8s.io", 1, false, false},
    {NULL,                 0, false, false},
};
static const struct protocol remote_ws[] = {
    {"v5.channel.k8s.io",        5, false, false},
    {"v4.channel.k8s.io",        4, false, false},
    {"v4.base64.channel.k8s.io", 4, true,  false},
    {"channel.k8s.io",           1, false, false},
    {"base64.channel.k8s.io",    1, true,  false},
    {NULL,                       0, false, false},
};
static const struct protocol forward_ws[] = {
    {"SPDY/3.1+portforward.k8s.io", 1, false, true },
    {"v4.channel.k8s.io",           4, false, false},
    {"v4.base64.channel.k8s.io",    4, true,  false},
    {NULL,                          0, false, false},
};

/* The first of the client's that is ours. A client that names none gets the oldest kind. */
static const struct protocol *
negotiate(const struct http1_request *r, const char *field, const struct protocol *ours)
{
	static const struct protocol none = {"", 1, false, false};
	char name[NAME_MAX_LEN];
	size_t i;

	for (i = 0; i < HTTP1_FIELDS_MAX && http1_element(r, field, i, name, sizeof(name)); i++)
		for (const struct protocol *p = ours; p->name != NULL; p++)
			if (strcmp(p->name, name) == 0)
				return p;
	return i == 0 && http1_field(r, field, 0) == NULL ? &none : NULL;
}

static int
refuse(int *ret_status, int status, struct err *err, const char *why)
{
	*ret_status = status;
	return err_set(err, ERR_INVALID_ARGUMENT, "%s", why);
}

static void
give_ticket(struct conn *c, struct stream_ticket *t)
{
	c->ticket = t;
	c->kind = t->kind;
	t->conn = c;
}

static void
open_session(struct conn *c, unsigned version)
{
	if (c->kind == STREAM_FORWARD)
		forward_open(c);
	else
		remote_open(c, version);
}

static const struct spdy_user *
spdy_user(const struct stream_ticket *t)
{
	return t->kind == STREAM_FORWARD ? &forward_spdy_user : &remote_spdy_user;
}

static int
upgrade_spdy(struct conn *c, const struct http1_request *r, struct stream_ticket *t,
    int *ret_status, struct err *err)
{
	static const char field[] = "x-stream-protocol-version";
	const struct protocol *p =
	    negotiate(r, field, t->kind == STREAM_FORWARD ? forward_spdy : remote_spdy);
	char head[256];
	int n;

	if (p == NULL)
		return refuse(ret_status, 403, err, "none of the stream protocols is spoken here");
	n = snprintf(head, sizeof(head),
	    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
	    "%s%s%s\r\n",
	    p->name[0] != '\0' ? "X-Stream-Protocol-Version: " : "", p->name,
	    p->name[0] != '\0' ? "\r\n" : "");
	wire_send(&c->wire, head, (size_t)n);
	give_ticket(c, t);
	c->mode = CONN_SPDY;
	spdy_init(&c->spdy, &c->wire.carrier, spdy_user(t));
	open_session(c, p->version);
	return 0;
}

/* ---- SPDY through the messages of a WebSocket ---- */

static void
tunnel_send(struct carrier *carrier, const struct iovec *iov, int n)
{
	struct conn *c = container_of(carrier, struct conn, tunnel);

	ws_send(&c->ws, true, iov[0].iov_base, iov[0].iov_len, n > 1 ? iov[1].iov_base : NULL,
	    n > 1 ? iov[1].iov_len : 0);
}

static size_t
tunnel_room(const struct carrier *carrier)
{
	return wire_room(&container_of(carrier, struct conn, tunnel)->wire);
}

static void
tunnel_hold(struct carrier *carrier, bool hold)
{
	wire_hold(&container_of(carrier, struct conn, tunnel)->wire, hold);
}

static void
tunnel_fail(struct carrier *carrier, const char *why)
{
	struct conn *c = container_of(carrier, struct conn, tunnel);

	ws_close(&c->ws, WSLAY_CODE_PROTOCOL_ERROR, why);
	c->wire.carrier.fail(&c->wire.carrier, why);
}

static void
on_tunnel_begin(struct ws *ws, bool binary)
{
	struct conn *c = container_of(ws, struct conn, ws);

	if (!binary)
		tunnel_fail(&c->tunnel, "the tunnel takes binary messages only");
}

static void
on_tunnel_piece(struct ws *ws, const char *p, size_t n)
{
	struct conn *c = container_of(ws, struct conn, ws);

	if (c->mode == CONN_TUNNEL)
		spdy_feed(&c->spdy, p, n);
}

static void
on_tunnel_end(struct ws *ws)
{
	(void)ws;
}

static void
on_tunnel_closed(struct ws *ws)
{
	conn_end(container_of(ws, struct conn, ws));
}

static const struct ws_user tunnel_user = {
    on_tunnel_begin, on_tunnel_piece, on_tunnel_end, on_tunnel_closed};

static void
open_tunnel(struct conn *c, const struct stream_ticket *t)
{
	c->mode = CONN_TUNNEL;
	c->tunnel = (struct carrier){tunnel_send, tunnel_room, tunnel_hold, tunnel_fail};
	ws_init(&c->ws, &c->wire.carrier, &tunnel_user);
	spdy_init(&c->spdy, &c->tunnel, spdy_user(t));
}

/* ---- WebSocket ---- */

static int
upgrade_ws(struct conn *c, const struct http1_request *r, struct stream_ticket *t, int *ret_status,
    struct err *err)
{
	static const char field[] = "sec-websocket-protocol";
	const struct protocol *p =
	    negotiate(r, field, t->kind == STREAM_FORWARD ? forward_ws : remote_ws);
	const char *key = http1_field(r, "sec-websocket-key", 0);
	const char *version = http1_field(r, "sec-websocket-version", 0);
	char accept[WS_ACCEPT_SIZE], head[320];
	int n;

	if (strcmp(r->method, "GET") != 0)
		return refuse(ret_status, 405, err, "a WebSocket begins with GET");
	if (version == NULL || strcmp(version, "13") != 0)
		return refuse(ret_status, 426, err, "Sec-WebSocket-Version 13 is spoken here");
	if (key == NULL || http1_field(r, "sec-websocket-key", 1) != NULL ||
	    ws_accept_key(key, accept) < 0)
		return refuse(ret_status, 400, err, "malformed Sec-WebSocket-Key");
	if (p == NULL)
		return refuse(ret_status, 403, err, "none of the subprotocols is spoken here");
	give_ticket(c, t);
	if (t->kind == STREAM_FORWARD && !p->tunnel && forward_read_ports(c, r->query, err) < 0) {
		c->ticket = NULL;
		t->conn = NULL;
		*ret_status = 400;
		return -1;
	}
	n = snprintf(head, sizeof(head),
	    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	    "Sec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
	    accept, p->name[0] != '\0' ? "Sec-WebSocket-Protocol: " : "", p->name,
	    p->name[0] != '\0' ? "\r\n" : "");
	wire_send(&c->wire, head, (size_t)n);
	if (p->tunnel) {
		open_tunnel(c, t);
	} else {
		c->mode = CONN_CHANNELS;
		ws_init(&c->ws, &c->wire.carrier, &ws_channels_user);
		c->channels.base64 = p->base64;
		c->channels.close_signal = p->version >= 5;
		ws_channels_open(
		    c, t->kind == STREAM_FORWARD ? 2 * c->forward.n_ports : REMOTE_CHANNELS);
	}
	open_session(c, p->version);
	return 0;
}

int
conn_upgrade(struct conn *c, const struct http1_request *r, struct stream_ticket *t,
    int *ret_status, struct err *err)
{
	if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "POST") != 0)
		return refuse(ret_status, 405, err, "GET or POST");
	if (!http1_has_token(r, "connection", "upgrade"))
		return refuse(
		    ret_status, 400, err, "an upgrade to SPDY/3.1 or WebSocket is expected");
	if (http1_has_token(r, "upgrade", "SPDY/3.1"))
		return upgrade_spdy(c, r, t, ret_status, err);
	if (http1_has_token(r, "upgrade", "websocket"))
		return upgrade_ws(c, r, t, ret_status, err);
	return refuse(ret_status, 426, err, "an upgrade to SPDY/3.1 or WebSocket is expected");
}

void
conn_feed(struct conn *c, const char *p, size_t n)
{
	if (c->mode == CONN_SPDY)
		spdy_feed(&c->spdy, p, n);
	else if (c->mode == CONN_CHANNELS || c->mode == CONN_TUNNEL)
		ws_feed(&c->ws, p, n);
}

void
conn_drained(struct conn *c)
{
	if (c->mode == CONN_SPDY || c->mode == CONN_TUNNEL)
		spdy_drained(&c->spdy);
	else if (c->mode == CONN_CHANNELS)
		ws_channels_drained(c);
}
