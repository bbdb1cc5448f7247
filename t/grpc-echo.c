/* SPDX-License-Identifier: Apache-2.0
 *
 * grpc-echo SOCKET [--not-ready]: the server under the gRPC tests. Serves coracle.test.Echo (see
 * echo.proto) under two names, drains on SIGTERM, prints "listening" when it does.
 */
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "base/xalloc.h"
#include "grpc/server.h"
#include "loop/loop.h"
#include "loop/op.h"
#include "t/echo.pb-c.h"

static struct grpc_server *server;
static Coracle__Test__CountersResponse counters = CORACLE__TEST__COUNTERS_RESPONSE__INIT;
static ev_signal sigterm;

static void
on_observed(const struct grpc_call *call, enum err_code status, int64_t took_ns)
{
	(void)status;
	if (call->method != NULL && took_ns >= 0)
		counters.observed++;
}

/* ---- Unary, Fail, Counters, SetReady --------------------------------------------------------- */

static void
unary(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Coracle__Test__EchoRequest *rq = (const void *)request;
	Coracle__Test__EchoResponse *rs =
	    grpc_new(call, Coracle__Test__EchoResponse, coracle__test__echo_response__init);

	rs->payload = rq->payload;
	if (rq->reply_size > 0) {
		rs->payload.len = rq->reply_size;
		rs->payload.data = arena_alloc(&call->arena, rq->reply_size);
		memset(rs->payload.data, 'x', rq->reply_size);
	}
	rs->text = rq->text;
	rs->n_labels = rq->n_labels;
	rs->labels =
	    arena_array(&call->arena, Coracle__Test__EchoResponse__LabelsEntry *, rq->n_labels);
	for (size_t i = 0; i < rq->n_labels; i++) {
		rs->labels[i] = grpc_new(call, Coracle__Test__EchoResponse__LabelsEntry,
		    coracle__test__echo_response__labels_entry__init);
		rs->labels[i]->key = rq->labels[i]->key;
		rs->labels[i]->value = rq->labels[i]->value;
	}
	rs->peer_pid = call->peer_pid;
	rs->peer_uid = call->peer_uid;
	rs->path = (char *)(uintptr_t)call->path;
	rs->service = (char *)(uintptr_t)call->service;
	if (call->traceparent != NULL)
		rs->traceparent = (char *)(uintptr_t)call->traceparent;
	grpc_reply(call, &rs->base);
}

static void
fail(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Coracle__Test__FailRequest *rq = (const void *)request;
	struct err err;

	err_set(&err, (enum err_code)rq->code, "%s", rq->message);
	grpc_fail(call, &err);
}

static void
read_counters(struct grpc_call *call, const ProtobufCMessage *request)
{
	(void)request;
	grpc_reply(call, &counters.base);
}

static void
set_ready(struct grpc_call *call, const ProtobufCMessage *request)
{
	(void)request;
	grpc_server_set_ready(server);
	grpc_reply(call, &counters.base);
}

/* ---- Slow: an op that waits, and takes a while to undo --------------------------------------- */

struct slow {
	struct op op;
	struct grpc_call *call;
	struct loop_timer timer;
	uint32_t delay_ms, undo_ms;
};

static void
on_slept(struct loop_timer *t)
{
	op_resume(&container_of(t, struct slow, timer)->op, NULL);
}

static void
stop_sleep(struct op *op)
{
	struct err err;

	timer_stop(&container_of(op, struct slow, op)->timer);
	err_set(&err, ERR_CANCELLED, "woken");
	op_resume(op, &err);
}

static enum op_ret
sleep_delay(struct op *op, struct err *err)
{
	struct slow *s = container_of(op, struct slow, op);

	(void)err;
	timer_start(&s->timer, s->delay_ms, on_slept);
	op->stop = stop_sleep;
	return OP_WAIT;
}

static enum op_ret
sleep_undo(struct op *op, struct err *err)
{
	struct slow *s = container_of(op, struct slow, op);

	(void)err;
	timer_start(&s->timer, s->undo_ms, on_slept);
	return OP_WAIT;
}

static const struct op_step slow_steps[] = {
    {"sleep", sleep_delay, sleep_undo},
    {NULL,    NULL,        NULL      },
};

static void
on_slow_done(struct op *op)
{
	struct slow *s = container_of(op, struct slow, op);
	Coracle__Test__EchoResponse rs = CORACLE__TEST__ECHO_RESPONSE__INIT;

	counters.running--;
	counters.ended++;
	counters.cancelled += op->err.code == ERR_CANCELLED;
	counters.expired += op->err.code == ERR_DEADLINE_EXCEEDED;
	rs.text = (char *)(uintptr_t) "slept";
	if (op->err.code != ERR_NONE)
		grpc_fail(s->call, &op->err);
	else
		grpc_reply(s->call, &rs.base);
	free(s);
}

static void
slow(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Coracle__Test__SlowRequest *rq = (const void *)request;
	struct slow *s = xcalloc(1, sizeof(*s));

	s->call = call;
	s->delay_ms = rq->delay_ms;
	s->undo_ms = rq->undo_ms;
	counters.running++;
	call->op = &s->op;
	op_start(&s->op, "Slow", "test", slow_steps, on_slow_done);
}

/* ---- Stream ---------------------------------------------------------------------------------- */

struct stream {
	struct grpc_call *call;
	struct loop_timer timer;
	uint32_t at, count, size, interval_ms;
	bool greedy;
	int fail_code;
	uint8_t *bytes;
};

static void
end_stream(struct stream *st)
{
	struct err err;

	timer_stop(&st->timer);
	counters.running--;
	counters.ended++;
	counters.cancelled += st->call->gone;
	if (st->fail_code != 0) {
		err_set(&err, (enum err_code)st->fail_code, "as asked");
		grpc_fail(st->call, &err);
	} else {
		grpc_finish(st->call);
	}
	free(st->bytes);
	free(st);
}

static void
on_stream_gone(struct grpc_call *call)
{
	end_stream(call->owner);
}

static void
send_one(struct stream *st)
{
	Coracle__Test__EchoResponse rs = CORACLE__TEST__ECHO_RESPONSE__INIT;

	rs.index = st->at++;
	rs.payload.data = st->bytes;
	rs.payload.len = st->size;
	grpc_send(st->call, &rs.base);
	counters.backlog_peak = MAX(counters.backlog_peak, (uint32_t)grpc_backlog(st->call));
}

static void
on_stream_writable(struct grpc_call *call)
{
	struct stream *st = call->owner;

	while (st->at < st->count && (st->greedy || grpc_backlog(call) < 128 * 1024))
		send_one(st);
	if (st->at == st->count)
		end_stream(st);
}

static void
on_stream_tick(struct loop_timer *t)
{
	struct stream *st = container_of(t, struct stream, timer);

	if (st->interval_ms == 0) {
		on_stream_writable(st->call);
		return;
	}
	send_one(st);
	if (st->at == st->count)
		end_stream(st);
	else
		timer_start(&st->timer, st->interval_ms, on_stream_tick);
}

static void
stream(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Coracle__Test__StreamRequest *rq = (const void *)request;
	struct stream *st = xcalloc(1, sizeof(*st));

	st->call = call;
	st->count = rq->count;
	st->size = rq->size;
	st->interval_ms = rq->interval_ms;
	st->greedy = rq->greedy;
	st->fail_code = rq->fail_code;
	st->bytes = xcalloc(1, rq->size);
	call->owner = st;
	call->on_gone = on_stream_gone;
	call->on_writable = rq->interval_ms == 0 ? on_stream_writable : NULL;
	counters.running++;
	if (st->count == 0)
		end_stream(st);
	else
		timer_start(&st->timer, st->interval_ms, on_stream_tick);
}

/* ---------------------------------------------------------------------------------------------- */

static const struct grpc_method m_unary = {
    "Unary", &coracle__test__echo_request__descriptor, unary, 0};
static const struct grpc_method m_stream = {
    "Stream", &coracle__test__stream_request__descriptor, stream, GRPC_STREAM};
static const struct grpc_method m_slow = {
    "Slow", &coracle__test__slow_request__descriptor, slow, 0};
static const struct grpc_method m_fail = {
    "Fail", &coracle__test__fail_request__descriptor, fail, 0};
static const struct grpc_method m_counters = {
    "Counters", &coracle__test__counters_request__descriptor, read_counters, GRPC_EARLY};
static const struct grpc_method m_set_ready = {
    "SetReady", &coracle__test__counters_request__descriptor, set_ready, GRPC_EARLY};

static const struct grpc_method *const methods[] = {
    &m_unary, &m_stream, &m_slow, &m_fail, &m_counters, &m_set_ready};

static void
on_drained(struct grpc_server *s)
{
	(void)s;
	loop_stop();
}

static void
on_sigterm(struct ev_loop *l, ev_signal *w, int events)
{
	(void)l;
	(void)w;
	(void)events;
	grpc_server_drain(server, on_drained);
}

int
main(int argc, char **argv)
{
	struct err err;

	if (argc < 2) {
		fprintf(stderr, "usage: grpc-echo SOCKET [--not-ready]\n");
		return 2;
	}
	loop_init();
	grpc_observe = on_observed;
	server = grpc_server_new();
	grpc_server_add(server, "coracle.test.Echo", methods, ARRAY_SIZE(methods));
	grpc_server_add(server, "coracle.testold.Echo", methods, ARRAY_SIZE(methods));
	if (grpc_server_listen(server, argv[1], &err) < 0) {
		fprintf(stderr, "grpc-echo: %s\n", err.msg);
		return 1;
	}
	if (argc < 3)
		grpc_server_set_ready(server);
	ev_signal_init(&sigterm, on_sigterm, SIGTERM);
	ev_signal_start(loop, &sigterm);
	printf("listening\n");
	fflush(stdout);
	loop_run();
	grpc_server_free(server);
	return 0;
}
