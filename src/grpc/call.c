/* SPDX-License-Identifier: Apache-2.0
 *
 * A call from its headers to its trailers: see server.h and call.h.
 *
 * Happy path: on_head finds the route, on_data collects one message, dispatch unpacks it into the
 * arena and runs the handler, which ends in answer_end. Requests are one message, never a stream.
 */
#include "grpc/call.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "grpc/proto_check.h"
#include "grpc/wire.h"
#include "loop/op.h"

enum { MESSAGE_MAX = 3 * sizeof(((struct err *)0)->msg) };

void (*grpc_observe)(const struct grpc_call *call, enum err_code status, int64_t took_ns);

static struct call *
from_stream(struct h2_stream *s)
{
	return container_of(s, struct call, s);
}

static struct call *
from_pub(const struct grpc_call *pub)
{
	return container_of(pub, struct call, pub);
}

/* ---- memory and windows -------------------------------------------------------------------- */

static void
grant_windows(struct peer *p)
{
	struct call *call;

	while ((call = TAILQ_FIRST(&p->waiting)) != NULL &&
	       (p->windows == 0 || p->windows + call->need <= CALL_WINDOW_BUDGET)) {
		TAILQ_REMOVE(&p->waiting, call, wait_entry);
		call->waiting = false;
		call->window = call->need;
		p->windows += call->need;
		buf_reserve(&call->body, call->need - call->body.len);
		h2_want(&call->s, call->need - call->body.len);
	}
}

/* The rest of a message larger than a stream's first window: one after another, as memory
 * allows. */
static void
ask_window(struct call *call)
{
	if (call->need <= H2_STREAM_WINDOW) {
		h2_want(&call->s, call->need - call->body.len); /* padding may have eaten of it */
		return;
	}
	call->waiting = true;
	TAILQ_INSERT_TAIL(&call->peer->waiting, call, wait_entry);
	grant_windows(call->peer);
}

static void
release_memory(struct call *call)
{
	struct peer *p = call->peer;

	buf_release(&call->body);
	arena_release(&call->pub.arena);
	p->arenas -= call->arena_cost;
	call->arena_cost = 0;
	if (call->waiting)
		TAILQ_REMOVE(&p->waiting, call, wait_entry);
	call->waiting = false;
	p->windows -= call->window;
	call->window = 0;
	grant_windows(p);
}

static void
peer_check_done(struct peer *p)
{
	if (p->owner.conn == NULL && p->n_calls == 0)
		free(p);
}

static void
free_if_done(struct call *call)
{
	struct peer *p = call->peer;

	if (call->lent || call->running)
		return;
	timer_stop(&call->deadline);
	release_memory(call);
	if (p->server != NULL) {
		TAILQ_REMOVE(&p->server->calls, call, entry);
		server_check_drained(p->server);
	}
	free(call);
	p->n_calls--;
	peer_check_done(p);
}

void
call_forget_server(struct grpc_server *s, struct call *call)
{
	TAILQ_REMOVE(&s->calls, call, entry);
	call->peer->server = NULL;
}

/* ---- answers ------------------------------------------------------------------------------- */

static void
send_head(struct call *call)
{
	static const struct h2_field fields[] = {
	    {H2_STATUS,       "200"             },
	    {H2_CONTENT_TYPE, "application/grpc"},
	};

	if (!call->head_sent)
		h2_head(&call->s, fields, ARRAY_SIZE(fields));
	call->head_sent = true;
}

/* The trailers; they are the whole response when no message was sent. */
static void
send_status(struct call *call, const char *http_status, enum err_code code, const char *message)
{
	char number[12], encoded[MESSAGE_MAX];
	struct h2_field fields[5];
	size_t n = 0;

	if (call->answered)
		return;
	if (!call->head_sent) {
		fields[n++] = (struct h2_field){H2_STATUS, http_status};
		fields[n++] = (struct h2_field){H2_CONTENT_TYPE, "application/grpc"};
		if (code == ERR_UNIMPLEMENTED)
			fields[n++] = (struct h2_field){H2_GRPC_ACCEPT_ENCODING, "identity"};
	}
	snprintf(number, sizeof(number), "%d", (int)code);
	fields[n++] = (struct h2_field){H2_GRPC_STATUS, number};
	if (message[0] != '\0') {
		wire_percent_encode(message, encoded, sizeof(encoded));
		fields[n++] = (struct h2_field){H2_GRPC_MESSAGE, encoded};
	}
	h2_end(&call->s, fields, n);
	call->answered = call->head_sent = true;
	call->status = code;
}

/* A request that reaches no handler. */
static void refuse(struct call *call, enum err_code code, const char *fmt, ...) printf_like(3, 4);

static void
refuse(struct call *call, enum err_code code, const char *fmt, ...)
{
	struct err err;
	va_list ap;

	va_start(ap, fmt);
	err_setv(&err, code, fmt, ap);
	va_end(ap);
	send_status(call, "200", code, err.msg);
	release_memory(call);
}

/* The handler is done. */
static void
end_running(struct call *call, enum err_code status)
{
	if (!call->answered) /* else the deadline or a full backlog was faster */
		call->status = status;
	call->answered = true;
	if (grpc_observe != NULL)
		grpc_observe(&call->pub, call->status, clock_mono_ns() - call->pub.received_ns);
	call->running = false;
	timer_stop(&call->deadline);
	release_memory(call);
	free_if_done(call);
}

/* Nobody waits for the answer any more. Last thing its callers do: the call may be freed. */
static void
tell_gone(struct call *call, enum err_code code, const char *why)
{
	if (!call->running || call->pub.gone)
		return;
	call->pub.gone = true;
	if (!call->answered)
		call->status = code;
	call->answered = true;
	if (call->pub.op != NULL)
		op_cancel(call->pub.op, code, why);
	else if (call->pub.on_gone != NULL)
		call->pub.on_gone(&call->pub);
}

static void
on_deadline(struct loop_timer *t)
{
	struct call *call = container_of(t, struct call, deadline);

	if (!call->running) {
		refuse(call, ERR_DEADLINE_EXCEEDED,
		    "deadline exceeded before the request was complete");
		return;
	}
	send_status(call, "200", ERR_DEADLINE_EXCEEDED, "deadline exceeded");
	tell_gone(call, ERR_DEADLINE_EXCEEDED, "deadline exceeded");
}

static bool
put_message(struct call *call, const uint8_t *framed, size_t n)
{
	if (call->s.conn != NULL && h2_conn_backlog(call->s.conn) + n > H2_MAX_BACKLOG) {
		/* gRPC reads this code as RESOURCE_EXHAUSTED. on_close follows. */
		h2_reset(&call->s, H2_ENHANCE_YOUR_CALM);
		call->answered = true;
		call->status = ERR_RESOURCE_EXHAUSTED;
		return false;
	}
	send_head(call);
	h2_send(&call->s, framed, n, false);
	return true;
}

/* The frame of a message in memory that all calls share, valid until the next one. */
static uint8_t *
frame_room(size_t n)
{
	static struct buf frame;

	if (frame.cap > 256 * 1024)
		buf_release(&frame);
	buf_reserve(&frame, WIRE_PREFIX + n);
	wire_put_prefix((uint8_t *)frame.data, n);
	return (uint8_t *)frame.data;
}

static bool
send_message(struct call *call, const ProtobufCMessage *message)
{
	size_t n;
	uint8_t *frame;

	if (call->answered)
		return false;
	n = protobuf_c_message_get_packed_size(message);
	if (n > GRPC_MAX_MESSAGE) {
		struct err err;

		err_set(&err, ERR_RESOURCE_EXHAUSTED,
		    "response is larger than the limit: %zu vs. %d bytes", n, GRPC_MAX_MESSAGE);
		send_status(call, "200", err.code, err.msg);
		return false;
	}
	frame = frame_room(n);
	protobuf_c_message_pack(message, frame + WIRE_PREFIX);
	return put_message(call, frame, WIRE_PREFIX + n);
}

void
grpc_reply(struct grpc_call *pub, const ProtobufCMessage *response)
{
	struct call *call = from_pub(pub);

	if (send_message(call, response))
		send_status(call, "200", ERR_NONE, "");
	end_running(call, ERR_NONE);
}

void
grpc_reply_packed(struct grpc_call *pub, const void *p, size_t n)
{
	struct call *call = from_pub(pub);

	if (!call->answered && n > GRPC_MAX_MESSAGE) {
		send_status(
		    call, "200", ERR_RESOURCE_EXHAUSTED, "response is larger than the limit");
	} else if (!call->answered) {
		uint8_t *frame = frame_room(n);

		if (n > 0)
			memcpy(frame + WIRE_PREFIX, p, n);
		if (put_message(call, frame, WIRE_PREFIX + n))
			send_status(call, "200", ERR_NONE, "");
	}
	end_running(call, ERR_NONE);
}

void
grpc_fail(struct grpc_call *pub, const struct err *err)
{
	struct call *call = from_pub(pub);
	enum err_code code = err->code != ERR_NONE ? err->code : ERR_UNKNOWN;

	send_status(call, "200", code, err->msg);
	end_running(call, code);
}

void
grpc_send(struct grpc_call *pub, const ProtobufCMessage *message)
{
	send_message(from_pub(pub), message);
}

size_t
grpc_backlog(const struct grpc_call *pub)
{
	return h2_backlog(&from_pub(pub)->s);
}

void
grpc_finish(struct grpc_call *pub)
{
	struct call *call = from_pub(pub);

	if (!call->answered)
		send_head(call);
	send_status(call, "200", ERR_NONE, "");
	end_running(call, ERR_NONE);
}

/* ---- the request --------------------------------------------------------------------------- */

static void
dispatch(struct call *call, const uint8_t *message, size_t n)
{
	const struct grpc_method *m = call->pub.method;
	ProtobufCMessage *request;
	struct err err;
	size_t cost;

	if (proto_check(m->request, message, n, &cost, &err) < 0) {
		refuse(call, err.code, "%s", err.msg);
		return;
	}
	if (cost + call->peer->arenas > CALL_ARENA_BUDGET) {
		refuse(call, ERR_RESOURCE_EXHAUSTED, "requests in flight need too much memory");
		return;
	}
	request = protobuf_c_message_unpack(m->request, &call->pub.arena.alloc, n, message);
	if (request == NULL) {
		refuse(
		    call, ERR_INTERNAL, "error unmarshalling request: not a %s", m->request->name);
		return;
	}
	buf_release(&call->body);
	call->arena_cost = cost;
	call->peer->arenas += cost;
	call->running = true;
	trace(TRACE_GRPC, "%s: %zu bytes", call->pub.path, n);
	m->handle(&call->pub, request);
}

static bool
read_prefix(struct call *call, const uint8_t *p)
{
	size_t n = wire_length(p);

	if (p[0] == 1)
		refuse(call, ERR_UNIMPLEMENTED, "compressed messages are not supported");
	else if (p[0] != 0)
		refuse(call, ERR_INTERNAL, "a message begins with %u, which is no compression flag",
		    p[0]);
	else if (n > GRPC_MAX_MESSAGE)
		refuse(call, ERR_RESOURCE_EXHAUSTED,
		    "received message larger than max (%zu vs. %d)", n, GRPC_MAX_MESSAGE);
	else
		call->need = WIRE_PREFIX + n;
	return call->need != 0;
}

static void
finish_request(struct call *call, const uint8_t *p, size_t n)
{
	if (call->need == 0 || n < call->need)
		refuse(call, ERR_INTERNAL, "the request ends before its message does");
	else
		dispatch(call, p + WIRE_PREFIX, n - WIRE_PREFIX);
}

static void
on_data(struct h2_stream *s, const void *p, size_t n, bool end)
{
	struct call *call = from_stream(s);
	bool whole = call->body.len == 0 && end;

	if (call->answered || call->running)
		return;
	if (!whole) {
		buf_add(&call->body, p, n);
		p = call->body.data;
		n = call->body.len;
	}
	if (call->need == 0 && n >= WIRE_PREFIX) {
		if (!read_prefix(call, p))
			return;
		if (!end)
			ask_window(call);
	}
	if (call->need != 0 && n > call->need) {
		refuse(call, ERR_INTERNAL, "more than one message in the request");
		return;
	}
	if (end)
		finish_request(call, p, n);
}

static bool
check_http(struct call *call, const struct h2_head *head)
{
	const char *type = head->value[H2_CONTENT_TYPE];

	if (head->too_large) {
		refuse(call, ERR_RESOURCE_EXHAUSTED, "header list larger than %d bytes",
		    H2_MAX_HEADER_LIST);
		return false;
	}
	if (strcmp(head->value[H2_METHOD], "POST") != 0) {
		send_status(call, "405", ERR_INTERNAL, "only POST is served");
		return false;
	}
	if (!wire_is_grpc(type)) {
		send_status(
		    call, "415", ERR_INVALID_ARGUMENT, "content-type is not application/grpc");
		return false;
	}
	return true;
}

static bool
find_method(struct call *call, const char *path)
{
	struct grpc_server *server = call->peer->server;
	const struct route *r = server_route(server, path);

	if (r == NULL) {
		refuse(call, ERR_UNIMPLEMENTED, "unknown %s %.200s",
		    server_has_service(server, path) ? "method" : "service", path);
		return false;
	}
	if (!server->ready && (r->method->flags & GRPC_EARLY) == 0) {
		refuse(call, ERR_UNAVAILABLE, "server is not initialized yet");
		return false;
	}
	call->pub.method = r->method;
	call->pub.path = r->path;
	call->pub.service = r->service;
	return true;
}

static bool
start_deadline(struct call *call, const char *timeout)
{
	int64_t ms;

	if (timeout == NULL)
		return true;
	if (wire_parse_timeout(timeout, &ms) < 0) {
		refuse(call, ERR_INTERNAL, "malformed grpc-timeout: %.20s", timeout);
		return false;
	}
	if (ms <= 0) {
		refuse(call, ERR_DEADLINE_EXCEEDED, "deadline exceeded");
		return false;
	}
	call->pub.deadline_ms = loop_now_ms() + ms;
	timer_start(&call->deadline, ms, on_deadline);
	return true;
}

static void
on_head(struct h2_stream *s, const struct h2_head *head)
{
	struct call *call = from_stream(s);
	const char *traceparent = head->value[H2_TRACEPARENT];

	if (!check_http(call, head) || !find_method(call, head->value[H2_PATH]) ||
	    !start_deadline(call, head->value[H2_GRPC_TIMEOUT]))
		return;
	if (head->end) {
		refuse(call, ERR_INTERNAL, "the request has no message");
		return;
	}
	if (traceparent != NULL)
		call->pub.traceparent = arena_strdup(&call->pub.arena, traceparent);
}

/* ---- HTTP/2 events ------------------------------------------------------------------------- */

static struct h2_stream *
on_request(struct h2_owner *owner)
{
	struct peer *p = container_of(owner, struct peer, owner);
	const struct ucred *cred = h2_conn_peer(owner->conn);
	struct call *call;

	/* Calls whose stream was reset count until their handlers have let go (CVE-2023-44487). */
	if (p->n_calls >= H2_MAX_STREAMS)
		return NULL;
	call = xcalloc(1, sizeof(*call));
	arena_init(&call->pub.arena);
	call->peer = p;
	call->lent = true;
	call->pub.received_ns = clock_mono_ns();
	call->pub.peer_pid = cred->pid;
	call->pub.peer_uid = cred->uid;
	p->n_calls++;
	TAILQ_INSERT_TAIL(&p->server->calls, call, entry);
	return &call->s;
}

static void
on_drain(struct h2_stream *s)
{
	struct call *call = from_stream(s);

	if (call->running && !call->pub.gone && call->pub.on_writable != NULL)
		call->pub.on_writable(&call->pub);
}

static void
on_close(struct h2_stream *s, enum h2_error error)
{
	struct call *call = from_stream(s);

	(void)error;
	call->lent = false;
	timer_stop(&call->deadline);
	if (call->running)
		tell_gone(call, ERR_CANCELLED, "the client went away");
	else
		free_if_done(call);
}

static void
on_conn_close(struct h2_owner *owner)
{
	struct peer *p = container_of(owner, struct peer, owner);

	if (p->server != NULL)
		server_check_drained(p->server);
	peer_check_done(p);
}

const struct h2_handlers call_handlers = {
    .on_request = on_request,
    .on_head = on_head,
    .on_data = on_data,
    .on_drain = on_drain,
    .on_close = on_close,
    .on_conn_close = on_conn_close,
};

void
peer_new(struct grpc_server *s, int fd)
{
	struct peer *p = xcalloc(1, sizeof(*p));

	p->server = s;
	TAILQ_INIT(&p->waiting);
	h2_conn_new(&s->host, fd, &p->owner);
}
