/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection's input from anyone: to the gRPC server, and to the client side of HTTP/2. The first
 * byte says how: bit 0 the client side; bit 1 the preface and SETTINGS are sent for the input; the
 * rest how the input is cut. Time is virtual; what the peer gets is read and dropped.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macros.h"
#include "base/xalloc.h"
#include "grpc/call.h"
#include "grpc/h2_conn.h"
#include "loop/op.h"
#include "t/echo.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLIENT = 1, GREET = 2, INPUT_LIMIT = 1 << 18, CLIENT_STREAMS = 3 };

static struct grpc_server *server;
static struct h2_host client_host;

/* ---- the server's methods -------------------------------------------------------------------- */

static void
echo(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Coracle__Test__EchoRequest *rq = (const void *)request;
	Coracle__Test__EchoResponse rs = CORACLE__TEST__ECHO_RESPONSE__INIT;

	rs.payload = rq->payload;
	if (rq->reply_size > 0) {
		rs.payload.len = rq->reply_size % (1 << 20);
		rs.payload.data = arena_zalloc(&call->arena, rs.payload.len);
	}
	rs.text = rq->text;
	grpc_reply(call, &rs.base);
}

static void
end_parked(struct grpc_call *call)
{
	struct err err = {.code = ERR_CANCELLED};

	grpc_fail(call, &err);
}

static void
park(struct grpc_call *call, const ProtobufCMessage *request)
{
	(void)request;
	call->on_gone = end_parked;
}

static void
on_writable(struct grpc_call *call)
{
	grpc_finish(call);
}

static void
stream(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Coracle__Test__StreamRequest *rq = (const void *)request;
	Coracle__Test__EchoResponse rs = CORACLE__TEST__ECHO_RESPONSE__INIT;

	rs.payload.len = rq->size % 65536;
	rs.payload.data = arena_zalloc(&call->arena, rs.payload.len);
	call->on_gone = end_parked;
	call->on_writable = on_writable;
	for (uint32_t i = 0; i < rq->count % 16; i++)
		grpc_send(call, &rs.base);
}

static const struct grpc_method m_echo = {
    "Unary", &coracle__test__echo_request__descriptor, echo, 0};
static const struct grpc_method m_slow = {
    "Slow", &coracle__test__slow_request__descriptor, park, 0};
static const struct grpc_method m_stream = {
    "Stream", &coracle__test__stream_request__descriptor, stream, GRPC_STREAM};
static const struct grpc_method *const methods[] = {&m_echo, &m_slow, &m_stream};

/* ---- the client's side ----------------------------------------------------------------------- */

static unsigned lent;

static void
on_head(struct h2_stream *s, const struct h2_head *head)
{
	assert(s->conn != NULL);
	for (size_t i = 0; i < H2_N_NAMES; i++)
		assert(head->value[i] == NULL || strlen(head->value[i]) <= H2_MAX_HEADER_LIST);
}

static void
on_data(struct h2_stream *s, const void *p, size_t n, bool end)
{
	(void)p;
	(void)end;
	h2_want(s, n + 4096);
}

static void
on_close(struct h2_stream *s, enum h2_error error)
{
	(void)error;
	assert(s->conn == NULL && lent > 0);
	lent--;
}

static void
on_conn_close(struct h2_owner *owner)
{
	assert(owner->conn == NULL);
}

static const struct h2_handlers client_handlers = {
    .on_head = on_head, .on_data = on_data, .on_close = on_close, .on_conn_close = on_conn_close};

static struct h2_stream client_streams[CLIENT_STREAMS];
static struct h2_owner client_owner;

static void
open_client(int fd)
{
	static const struct h2_field fields[] = {
	    {H2_METHOD,       "POST"            },
	    {H2_SCHEME,       "http"            },
	    {H2_PATH,         "/a/b"            },
	    {H2_AUTHORITY,    "x"               },
	    {H2_CONTENT_TYPE, "application/grpc"},
	};

	h2_conn_new(&client_host, fd, &client_owner);
	for (size_t i = 0; i < CLIENT_STREAMS; i++) {
		client_streams[i] = (struct h2_stream){.conn = NULL};
		h2_request(client_owner.conn, &client_streams[i], fields, ARRAY_SIZE(fields));
		h2_send(&client_streams[i], "\0\0\0\0\0", 5, i > 0);
		lent++;
	}
}

/* ---------------------------------------------------------------------------------------------- */

static void
init(void)
{
	loop_init();
	loop_virtual_clock();
	server = grpc_server_new();
	grpc_server_add(server, "coracle.test.Echo", methods, ARRAY_SIZE(methods));
	grpc_server_set_ready(server);
	h2_host_init(&client_host, &client_handlers, false);
}

/* In an allocation of its own size, and the one byte more that the codec may look at. */
static void
feed(struct h2_conn *c, const uint8_t *p, size_t n)
{
	size_t have = c->in.len;
	uint8_t *exact = xmalloc(have + n + 1);

	if (have > 0)
		memcpy(exact, c->in.data, have);
	memcpy(exact + have, p, n);
	exact[have + n] = 0;
	c->busy = true;
	h2_input(c, exact, have + n);
	c->busy = false;
	free(exact);
}

static void
turn(int peer)
{
	static char sink[1 << 16];

	loop_once();
	while (read(peer, sink, sizeof(sink)) > 0)
		loop_once();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t greeting[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	                                  "\0\0\0\4\0\0\0\0\0" /* SETTINGS */
	                                  "\0\0\0\4\1\0\0\0\0" /* its ACK */;
	struct h2_host *host;
	struct h2_conn *c;
	size_t cut;
	int fds[2];

	if (size < 1 || size > INPUT_LIMIT)
		return 0;
	if (server == NULL)
		init();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return 0;
	host = data[0] & CLIENT ? &client_host : &server->host;
	if (data[0] & CLIENT)
		open_client(fds[0]);
	else
		peer_new(server, fds[0]);
	if (data[0] & GREET)
		feed(TAILQ_FIRST(&host->conns), greeting + (data[0] & CLIENT ? 24 : 0),
		    sizeof(greeting) - 1 - (data[0] & CLIENT ? 24 : 0));
	cut = data[0] >> 2 == 0 ? size : (size_t)(data[0] >> 2) * 7;
	for (size_t at = 1; at < size; at += cut) {
		c = TAILQ_FIRST(&host->conns);
		if (c == NULL || c->state >= H2_FAILED)
			break;
		feed(c, data + at, MIN(cut, size - at));
		turn(fds[1]);
	}
	loop_advance(H2_REQUEST_MS + 1000);
	turn(fds[1]);
	close(fds[1]);
	for (int i = 0; i < 10 && !TAILQ_EMPTY(&host->conns); i++)
		loop_once();
	if ((c = TAILQ_FIRST(&host->conns)) != NULL)
		h2_conn_free(c);
	loop_once();
	assert(host->n_conns == 0 && lent == 0 && TAILQ_EMPTY(&server->calls));
	return 0;
}
