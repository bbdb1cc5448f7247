/* SPDX-License-Identifier: Apache-2.0
 *
 * grpc-call SOCKET: the client of src/grpc against a server of coracle.test.Echo (see echo.proto) by
 * someone else; prints TAP.
 */
#include "base/macros.h"
#include "base/xalloc.h"
#include "grpc/client.h"
#include "t/echo.pb-c.h"
#include "tap.h"

typedef Coracle__Test__EchoResponse echo_response;

#define PATH(m) "/coracle.test.Echo/" m

static struct grpc_client *client;
static int n_done;

struct probe {
	struct grpc_client_call call;
	int messages, done, cancel_at;
	size_t bytes;
};

static void
on_message(struct grpc_client_call *call, ProtobufCMessage **m)
{
	struct probe *p = container_of(call, struct probe, call);

	p->bytes += ((const echo_response *)(const void *)*m)->payload.len;
	if (++p->messages == p->cancel_at)
		grpc_client_cancel(call);
}

static void
on_done(struct grpc_client_call *call)
{
	container_of(call, struct probe, call)->done++;
	n_done++;
}

static struct probe
probe_init(void)
{
	return (struct probe){.call = {.on_message = on_message,
	                          .on_done = on_done,
	                          .response = &coracle__test__echo_response__descriptor}};
}

static void
wait_for(const struct probe *p)
{
	while (p->done == 0)
		ev_run(loop, EVRUN_ONCE);
}

static void
test_unary(void)
{
	static const size_t sizes[] = {0, 1, 16379, 16380, 65535, 65536, 1 << 20, (4 << 20) - 100};
	struct err err;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		Coracle__Test__EchoRequest rq = CORACLE__TEST__ECHO_REQUEST__INIT;
		echo_response *rs;

		rq.text = (char *)(uintptr_t)"caf\xc3\xa9";
		rq.payload.len = sizes[i];
		rq.payload.data = xmalloc(sizes[i]);
		memset(rq.payload.data, 'a' + (int)i, sizes[i]);
		rs = (echo_response *)grpc_client_unary(client, PATH("Unary"), &rq.base,
		    &coracle__test__echo_response__descriptor, 20000, &err);
		if (rs == NULL)
			diag("%s: %s", err_name(err.code), err.msg);
		ok(rs != NULL && rs->payload.len == sizes[i] && strcmp(rs->text, rq.text) == 0 &&
		        (sizes[i] == 0 || memcmp(rs->payload.data, rq.payload.data, sizes[i]) == 0),
		    "%zu bytes there and back", sizes[i]);
		free(rq.payload.data);
		if (rs != NULL)
			protobuf_c_message_free_unpacked(&rs->base, NULL);
	}
}

static void
test_errors(void)
{
	Coracle__Test__FailRequest rq = CORACLE__TEST__FAIL_REQUEST__INIT;
	struct err err;

	for (rq.code = 1; rq.code <= 16; rq.code++) {
		rq.message = (char *)(uintptr_t)"why: 50% caf\xc3\xa9";
		ok(grpc_client_unary(client, PATH("Fail"), &rq.base,
		       &coracle__test__echo_response__descriptor, 10000, &err) == NULL &&
		        err.code == (enum err_code)rq.code && strcmp(err.msg, rq.message) == 0,
		    "%s: %s", err_name((enum err_code)rq.code), err.msg);
	}
	ok(grpc_client_unary(client, PATH("Missing"), &rq.base,
	       &coracle__test__echo_response__descriptor, 10000, &err) == NULL &&
	        err.code == ERR_UNIMPLEMENTED,
	    "an unknown method: %s", err.msg);
}

static void
test_stream(void)
{
	Coracle__Test__StreamRequest rq = CORACLE__TEST__STREAM_REQUEST__INIT;
	struct probe p = probe_init();

	rq.count = 500;
	rq.size = 20000;
	grpc_client_call(client, &p.call, PATH("Stream"), &rq.base, 60000);
	wait_for(&p);
	ok(p.call.err.code == ERR_NONE && p.messages == 500 && p.bytes == 500 * 20000,
	    "a stream of 500 messages: %d, %s", p.messages, p.call.err.msg);
	p = probe_init();
	p.cancel_at = 3;
	grpc_client_call(client, &p.call, PATH("Stream"), &rq.base, 60000);
	wait_for(&p);
	ok(p.call.err.code == ERR_CANCELLED && p.messages == 3, "cancelled at the third message");
	p = probe_init();
	rq.count = 2;
	rq.fail_code = 9;
	grpc_client_call(client, &p.call, PATH("Stream"), &rq.base, 60000);
	wait_for(&p);
	ok(p.call.err.code == ERR_FAILED_PRECONDITION && p.messages == 2, "a stream that fails");
}

static void
test_slow(void)
{
	Coracle__Test__SlowRequest rq = CORACLE__TEST__SLOW_REQUEST__INIT;
	struct probe p = probe_init();

	rq.delay_ms = 10000;
	grpc_client_call(client, &p.call, PATH("Slow"), &rq.base, 200);
	wait_for(&p);
	is_int(p.call.err.code, ERR_DEADLINE_EXCEEDED, "a deadline");
	ok(p.call.done_ns - p.call.sent_ns < INT64_C(5000000000), "... in time");
}

static void
test_many(void)
{
	enum { N = 2000 };
	Coracle__Test__EchoRequest rq = CORACLE__TEST__ECHO_REQUEST__INIT;
	struct probe *p = xcalloc(N, sizeof(*p));
	int good = 0;

	n_done = 0;
	for (int i = 0; i < N; i++) {
		p[i] = probe_init();
		grpc_client_call(client, &p[i].call, PATH("Unary"), &rq.base, 60000);
	}
	while (n_done < N)
		ev_run(loop, EVRUN_ONCE);
	for (int i = 0; i < N; i++)
		good += p[i].call.err.code == ERR_NONE && p[i].messages == 1;
	is_int(good, N, "2000 calls at once");
	free(p);
}

int
main(int argc, char **argv)
{
	struct err err;

	if (argc != 2)
		return 2;
	loop_init();
	client = grpc_client_open(argv[1], &err);
	if (client == NULL) {
		printf("Bail out! %s\n", err.msg);
		return 1;
	}
	test_unary();
	test_errors();
	test_stream();
	test_slow();
	test_many();
	test_unary();
	grpc_client_close(client);
	return tap_done();
}
