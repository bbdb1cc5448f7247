/* SPDX-License-Identifier: Apache-2.0
 *
 * The gRPC client: see client.h. One connection, calls side by side on it; those over the server's
 * limit of streams wait in line.
 *
 * A request is a struct request of ours, which the HTTP/2 stream keeps until on_close; the caller's
 * struct grpc_client_call hangs on it until on_done.
 */
#include "grpc/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "grpc/h2.h"
#include "grpc/server.h"
#include "grpc/wire.h"

enum { WINDOW = 1024 * 1024, WINDOW_STEP = WINDOW / 4 };

TAILQ_HEAD(requests, request);

struct request {
	struct h2_stream s;
	struct grpc_client *client;
	struct grpc_client_call *call; /* NULL after on_done */
	TAILQ_ENTRY(request) entry;
	/* OVER: on_done is due. ENDING: it was; the stream is not ours yet. */
	enum { WAITING, SENT, OVER, ENDING, N_STATES } state;
	char *path;
	struct buf out; /* the framed message, while waiting */
	int64_t timeout_ms;
	struct buf in;
	size_t consumed; /* since the last window */
	bool has_status;
};

struct grpc_client {
	struct h2_owner owner;
	struct h2_host host;
	char *endpoint;
	struct requests lists[N_STATES];
	struct loop_timer finisher;
};

/* ---- ends ---------------------------------------------------------------------------------- */

static void
set_state(struct request *r, int state)
{
	TAILQ_REMOVE(&r->client->lists[r->state], r, entry);
	r->state = state;
	TAILQ_INSERT_TAIL(&r->client->lists[state], r, entry);
}

static void
request_free(struct request *r)
{
	TAILQ_REMOVE(&r->client->lists[r->state], r, entry);
	buf_release(&r->in);
	buf_release(&r->out);
	free(r->path);
	free(r);
}

/* on_done; the call is the owner's again, and may be gone when this returns. */
static void
finish(struct request *r)
{
	struct grpc_client_call *call = take_ptr(r->call);

	timer_stop(&call->deadline);
	call->stream = NULL;
	call->done_ns = clock_mono_ns();
	set_state(r, ENDING);
	if (r->s.conn == NULL)
		request_free(r);
	call->on_done(call);
}

/* One at a time: a callback may add more, or close the client. */
static void
on_finisher(struct loop_timer *t)
{
	struct grpc_client *c = container_of(t, struct grpc_client, finisher);
	struct request *r = TAILQ_FIRST(&c->lists[OVER]);

	if (r == NULL)
		return;
	if (TAILQ_NEXT(r, entry) != NULL)
		timer_start(t, 0, on_finisher);
	finish(r);
}

/* From inside the caller's own call: on_done comes from the loop. */
static void
finish_later(struct request *r)
{
	set_state(r, OVER);
	timer_start(&r->client->finisher, 0, on_finisher);
}

static void
fail(struct request *r, enum err_code code, const char *message)
{
	if (r->call->err.code == ERR_NONE)
		err_set(&r->call->err, code, "%s", message);
}

/* ---- requests ------------------------------------------------------------------------------ */

static void
send_request(struct request *r)
{
	struct grpc_client *c = r->client;
	char timeout[WIRE_TIMEOUT_MAX];
	struct h2_field fields[9] = {
	    {H2_METHOD,       "POST"                    },
	    {H2_SCHEME,       "http"                    },
	    {H2_PATH,         r->path                   },
	    {H2_AUTHORITY,    "localhost"               },
	    {H2_CONTENT_TYPE, "application/grpc"        },
	    {H2_TE,           "trailers"                },
	    {H2_USER_AGENT,   "coracle/" PACKAGE_VERSION},
	};
	size_t n = 7;

	if (r->timeout_ms > 0) {
		wire_format_timeout(r->timeout_ms, timeout);
		fields[n++] = (struct h2_field){H2_GRPC_TIMEOUT, timeout};
	}
	set_state(r, SENT);
	h2_request(c->owner.conn, &r->s, fields, n);
	h2_send(&r->s, r->out.data, r->out.len, true);
	buf_release(&r->out);
	r->call->sent_ns = clock_mono_ns();
}

static void
send_waiting(struct grpc_client *c)
{
	struct request *r;

	while ((r = TAILQ_FIRST(&c->lists[WAITING])) != NULL && c->owner.conn != NULL &&
	       h2_can_request(c->owner.conn))
		send_request(r);
}

static void
on_deadline(struct loop_timer *t)
{
	struct grpc_client_call *call = container_of(t, struct grpc_client_call, deadline);
	struct request *r = call->stream;

	fail(r, ERR_DEADLINE_EXCEEDED, "deadline exceeded");
	h2_reset(&r->s, H2_CANCEL);
	finish(r);
}

void
grpc_client_call(struct grpc_client *c, struct grpc_client_call *call, const char *path,
    const ProtobufCMessage *request, int64_t timeout_ms)
{
	struct request *r = xcalloc(1, sizeof(*r));
	size_t n = protobuf_c_message_get_packed_size(request);
	char *frame = buf_reserve(&r->out, WIRE_PREFIX + n);

	wire_put_prefix((uint8_t *)frame, n);
	protobuf_c_message_pack(request, (uint8_t *)frame + WIRE_PREFIX);
	buf_grew(&r->out, WIRE_PREFIX + n);
	r->client = c;
	r->call = call;
	r->path = xstrdup(path);
	r->timeout_ms = timeout_ms;
	TAILQ_INSERT_TAIL(&c->lists[WAITING], r, entry);
	call->client = c;
	call->stream = r;
	call->err = (struct err){.code = ERR_NONE};
	call->sent_ns = call->done_ns = 0;
	call->deadline = (struct loop_timer){.armed = 0};
	if (timeout_ms > 0)
		timer_start(&call->deadline, timeout_ms, on_deadline);
	if (c->owner.conn == NULL || h2_conn_draining(c->owner.conn)) {
		fail(r, ERR_UNAVAILABLE, "the connection is closed");
		finish_later(r);
		return;
	}
	send_waiting(c);
}

void
grpc_client_cancel(struct grpc_client_call *call)
{
	struct request *r = call->stream;

	if (r == NULL || r->state >= OVER)
		return;
	fail(r, ERR_CANCELLED, "cancelled");
	h2_reset(&r->s, H2_CANCEL);
	finish_later(r);
}

/* ---- responses ----------------------------------------------------------------------------- */

static enum err_code
code_of_http(const char *status)
{
	static const struct {
		const char *status;
		enum err_code code;
	} map[] = {
	    {"400", ERR_INTERNAL         },
	    {"401", ERR_UNAUTHENTICATED  },
	    {"403", ERR_PERMISSION_DENIED},
	    {"404", ERR_UNIMPLEMENTED    },
	    {"429", ERR_UNAVAILABLE      },
	    {"502", ERR_UNAVAILABLE      },
	    {"503", ERR_UNAVAILABLE      },
	    {"504", ERR_UNAVAILABLE      },
	};

	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (strcmp(status, map[i].status) == 0)
			return map[i].code;
	return ERR_UNKNOWN;
}

static enum err_code
code_of_reset(enum h2_error error)
{
	switch (error) {
	case H2_REFUSED_STREAM:
	case H2_CONNECT_ERROR: /* as h2_conn.c says that the connection went */
		return ERR_UNAVAILABLE;
	case H2_CANCEL:
		return ERR_CANCELLED;
	case H2_ENHANCE_YOUR_CALM:
		return ERR_RESOURCE_EXHAUSTED;
	default:
		return ERR_INTERNAL;
	}
}

static void
take_status(struct request *r, const struct h2_head *head)
{
	const char *status = head->value[H2_GRPC_STATUS], *message = head->value[H2_GRPC_MESSAGE];
	uint32_t code;

	if (status == NULL)
		return;
	r->has_status = true;
	if (str_u32(status, UINT32_MAX, &code) < 0 || code > ERR_UNAUTHENTICATED)
		code = ERR_UNKNOWN;
	if (code == ERR_NONE || r->call->err.code != ERR_NONE)
		return;
	r->call->err.code = (enum err_code)code;
	wire_percent_decode(
	    message != NULL ? message : "", r->call->err.msg, sizeof(r->call->err.msg));
}

static void
finish_response(struct request *r)
{
	if (!r->has_status)
		fail(r, ERR_INTERNAL, "the response has no grpc-status");
	else if (r->call->err.code == ERR_NONE && r->in.len > 0)
		fail(r, ERR_INTERNAL, "the response ends inside a message");
	finish(r);
}

static void
on_head(struct h2_stream *s, const struct h2_head *head)
{
	struct request *r = container_of(s, struct request, s);
	const char *status = head->value[H2_STATUS];

	if (r->state != SENT)
		return;
	take_status(r, head);
	if (status != NULL && !r->has_status &&
	    (strcmp(status, "200") != 0 || !wire_is_grpc(head->value[H2_CONTENT_TYPE]))) {
		err_set(&r->call->err, code_of_http(status),
		    "not a gRPC response: HTTP status %.20s", status);
		h2_reset(s, H2_CANCEL);
		finish(r);
		return;
	}
	if (head->end)
		finish_response(r);
}

/* One message; false when the call is over. */
static bool
take_message(struct request *r, const uint8_t *p, size_t n)
{
	struct grpc_client_call *call = r->call;
	ProtobufCMessage *m = protobuf_c_message_unpack(call->response, NULL, n, p);

	if (m == NULL) {
		err_set(&call->err, ERR_INTERNAL, "the response is not a %s", call->response->name);
		return false;
	}
	if (call->on_message != NULL)
		call->on_message(call, &m);
	if (m != NULL)
		protobuf_c_message_free_unpacked(m, NULL);
	return r->state == SENT;
}

/* All whole messages in r->in; false when the call is over. */
static bool
take_messages(struct request *r)
{
	size_t at = 0;
	bool ok = true;

	while (ok && r->in.len - at >= WIRE_PREFIX) {
		const uint8_t *p = (const uint8_t *)r->in.data + at;
		size_t n = wire_length(p);

		if (p[0] != 0 || n > GRPC_MAX_MESSAGE) {
			err_set(&r->call->err, p[0] != 0 ? ERR_INTERNAL : ERR_RESOURCE_EXHAUSTED,
			    p[0] != 0 ? "the response is compressed, which was not asked for"
			              : "the response is larger than 16 MiB");
			return false;
		}
		if (r->in.len - at < WIRE_PREFIX + n)
			break;
		ok = take_message(r, p + WIRE_PREFIX, n);
		at += WIRE_PREFIX + n;
	}
	if (at == r->in.len)
		buf_release(&r->in);
	else
		buf_consume(&r->in, at);
	return ok;
}

static void
on_data(struct h2_stream *s, const void *p, size_t n, bool end)
{
	struct request *r = container_of(s, struct request, s);

	if (r->state != SENT)
		return;
	buf_add(&r->in, p, n);
	r->consumed += n;
	if (r->consumed >= WINDOW_STEP) {
		h2_want(s, WINDOW);
		r->consumed = 0;
	}
	if (!take_messages(r)) {
		if (r->state != SENT) /* a callback cancelled it */
			return;
		h2_reset(s, H2_CANCEL);
		finish(r);
		return;
	}
	if (end)
		finish_response(r);
}

static void
on_close(struct h2_stream *s, enum h2_error error)
{
	struct request *r = container_of(s, struct request, s);
	struct grpc_client *c = r->client;
	char message[80];

	if (r->state == SENT) {
		snprintf(
		    message, sizeof(message), "the stream was reset: %s", h2_error_name(error));
		if (error == H2_CONNECT_ERROR)
			snprintf(message, sizeof(message), "the connection was lost");
		fail(r, code_of_reset(error), message);
		finish(r);
	} else if (r->state == ENDING) {
		request_free(r);
	}
	send_waiting(c);
}

static void
on_conn_close(struct h2_owner *owner)
{
	struct grpc_client *c = container_of(owner, struct grpc_client, owner);
	struct request *r;

	while ((r = TAILQ_FIRST(&c->lists[WAITING])) != NULL) {
		fail(r, ERR_UNAVAILABLE, "the connection was lost");
		finish_later(r);
	}
}

/* ---- client -------------------------------------------------------------------------------- */

static const struct h2_handlers handlers = {
    .on_head = on_head,
    .on_data = on_data,
    .on_drain = NULL,
    .on_close = on_close,
    .on_conn_close = on_conn_close,
};

struct grpc_client *
grpc_client_open(const char *endpoint, struct err *err)
{
	static const char scheme[] = "unix://";
	const char *path = str_starts(endpoint, scheme) ? endpoint + sizeof(scheme) - 1 : endpoint;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd cleanup_close = -1;
	struct grpc_client *c;

	if (*path == '\0' || strlen(path) >= sizeof(addr.sun_path)) {
		err_set(err, ERR_INVALID_ARGUMENT, "endpoint '%s' is not the path of a unix socket",
		    endpoint);
		return NULL;
	}
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		err_errno(err, "socket");
		return NULL;
	}
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		err_errno(err, "connect to %s", path);
		err->code = ERR_UNAVAILABLE;
		return NULL;
	}
	c = xcalloc(1, sizeof(*c));
	c->endpoint = xstrdup(endpoint);
	for (size_t i = 0; i < ARRAY_SIZE(c->lists); i++)
		TAILQ_INIT(&c->lists[i]);
	h2_host_init(&c->host, &handlers, false);
	h2_conn_new(&c->host, take_fd(fd), &c->owner);
	return c;
}

void
grpc_client_close(struct grpc_client *c)
{
	struct request *r;

	if (c == NULL)
		return;
	for (int state = WAITING; state < ENDING; state++)
		while ((r = TAILQ_FIRST(&c->lists[state])) != NULL) {
			fail(r, ERR_CANCELLED, "the client was closed");
			finish(r);
		}
	h2_host_release(&c->host);
	timer_stop(&c->finisher);
	free(c->endpoint);
	free(c);
}

/* ---- one call, waited for ------------------------------------------------------------------ */

struct unary {
	struct grpc_client_call call;
	ProtobufCMessage *message;
	bool done;
};

static void
on_unary_message(struct grpc_client_call *call, ProtobufCMessage **message)
{
	struct unary *u = container_of(call, struct unary, call);

	if (u->message == NULL)
		u->message = take_ptr(*message);
}

static void
on_unary_done(struct grpc_client_call *call)
{
	container_of(call, struct unary, call)->done = true;
}

ProtobufCMessage *
grpc_client_unary(struct grpc_client *c, const char *path, const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *response, int64_t timeout_ms, struct err *err)
{
	struct unary u = {
	    .call = {
	             .on_message = on_unary_message, .on_done = on_unary_done, .response = response}
        };

	grpc_client_call(c, &u.call, path, request, timeout_ms);
	while (!u.done)
		ev_run(loop, EVRUN_ONCE);
	if (u.call.err.code == ERR_NONE && u.message != NULL)
		return u.message;
	if (u.message != NULL)
		protobuf_c_message_free_unpacked(u.message, NULL);
	*err = u.call.err;
	if (err->code == ERR_NONE)
		err_set(err, ERR_INTERNAL, "%s answered without a message", path);
	return NULL;
}
