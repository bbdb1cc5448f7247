/* SPDX-License-Identifier: Apache-2.0
 *
 * Client and server of src/grpc on one loop, through a socket in a directory of its own.
 */
#include "grpc/client.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/macros.h"
#include "base/xalloc.h"
#include "grpc/server.h"
#include "t/echo.pb-c.h"
#include "tap.h"

typedef Coracle__Test__EchoRequest echo_request;
typedef Coracle__Test__EchoResponse echo_response;

static char dir[] = "/tmp/coracle-grpc-XXXXXX", sock[64];
static struct grpc_server *server;
static struct grpc_client *client;

/* ---- the server's methods -------------------------------------------------------------------- */

static struct grpc_call *parked;
static int gone, writable;

static void
echo(struct grpc_call *call, const ProtobufCMessage *request)
{
	const echo_request *rq = (const void *)request;
	echo_response rs = CORACLE__TEST__ECHO_RESPONSE__INIT;

	rs.payload = rq->payload;
	rs.text = rq->text;
	if (rq->reply_size > 0) {
		rs.payload.len = rq->reply_size;
		rs.payload.data = arena_zalloc(&call->arena, rq->reply_size);
	}
	grpc_reply(call, &rs.base);
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
on_gone(struct grpc_call *call)
{
	(void)call;
	gone++;
}

static void
park(struct grpc_call *call, const ProtobufCMessage *request)
{
	(void)request;
	parked = call;
	call->on_gone = on_gone;
}

static void
on_writable(struct grpc_call *call)
{
	(void)call;
	writable++;
}

static void
stream(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Coracle__Test__StreamRequest *rq = (const void *)request;
	echo_response rs = CORACLE__TEST__ECHO_RESPONSE__INIT;

	call->on_writable = on_writable;
	rs.payload.len = rq->size;
	rs.payload.data = arena_zalloc(&call->arena, rq->size);
	for (rs.index = 0; rs.index < rq->count; rs.index++)
		grpc_send(call, &rs.base);
	parked = call; /* finished by the test, when everything was taken */
}

static const struct grpc_method m_echo = {
    "Unary", &coracle__test__echo_request__descriptor, echo, 0};
static const struct grpc_method m_fail = {
    "Fail", &coracle__test__fail_request__descriptor, fail, 0};
static const struct grpc_method m_park = {
    "Slow", &coracle__test__slow_request__descriptor, park, 0};
static const struct grpc_method m_stream = {
    "Stream", &coracle__test__stream_request__descriptor, stream, GRPC_STREAM};
static const struct grpc_method m_early = {
    "Counters", &coracle__test__counters_request__descriptor, park, GRPC_EARLY};
static const struct grpc_method *const methods[] = {&m_echo, &m_fail, &m_park, &m_stream, &m_early};

#define PATH(m) "/coracle.test.Echo/" m

/* ---- the client's side ----------------------------------------------------------------------- */

struct probe {
	struct grpc_client_call call;
	int messages, done;
	size_t bytes;
	uint32_t last;
};

static int n_done;

static void
on_message(struct grpc_client_call *call, ProtobufCMessage **m)
{
	struct probe *p = container_of(call, struct probe, call);
	const echo_response *rs = (const void *)*m;

	p->messages++;
	p->bytes += rs->payload.len;
	p->last = rs->index;
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
	return (struct probe){
	    .call = {.on_message = on_message,
	             .on_done = on_done,
	             .response = &coracle__test__echo_response__descriptor}
        };
}

static void
turn_until(const int *what, int value)
{
	for (int i = 0; i < 100000 && *what != value; i++)
		ev_run(loop, EVRUN_ONCE);
}

static void
turn(int n)
{
	while (n-- > 0)
		loop_once();
}

static echo_response *
call_echo(const echo_request *rq, struct err *err)
{
	return (echo_response *)grpc_client_unary(client, PATH("Unary"), &rq->base,
	    &coracle__test__echo_response__descriptor, 10000, err);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void
start(void)
{
	struct err err;

	server = grpc_server_new();
	grpc_server_add(server, "coracle.test.Echo", methods, ARRAY_SIZE(methods));
	if (grpc_server_listen(server, sock, &err) < 0) {
		diag("%s", err.msg);
		abort();
	}
	grpc_server_set_ready(server);
	client = grpc_client_open(sock, &err);
	if (client == NULL)
		abort();
}

static void
stop(void)
{
	grpc_client_close(client);
	grpc_server_free(server);
}

static void
test_unary(void)
{
	static const size_t sizes[] = {
	    0, 1, 16378, 16379, 16380, 65530, 65536, 1000003, GRPC_MAX_MESSAGE - 16};
	struct err err;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		echo_request rq = CORACLE__TEST__ECHO_REQUEST__INIT;
		echo_response *rs;

		rq.payload.len = sizes[i];
		rq.payload.data = xmalloc(sizes[i]);
		for (size_t k = 0; k < sizes[i]; k++)
			rq.payload.data[k] = (uint8_t)(k * 31 + k / 256);
		rs = call_echo(&rq, &err);
		ok(rs != NULL && rs->payload.len == sizes[i] &&
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
	Coracle__Test__FailRequest fq = CORACLE__TEST__FAIL_REQUEST__INIT;
	echo_request rq = CORACLE__TEST__ECHO_REQUEST__INIT;
	Coracle__Test__EchoRequest__LabelsEntry entry =
	    CORACLE__TEST__ECHO_REQUEST__LABELS_ENTRY__INIT;
	Coracle__Test__EchoRequest__LabelsEntry *entries[] = {&entry};
	struct err err;

	for (int code = 1; code <= 16; code++) {
		fq.code = code;
		fq.message = (char *)(uintptr_t) "100 % caf\xc3\xa9\nline two";
		grpc_client_unary(client, PATH("Fail"), &fq.base,
		    &coracle__test__echo_response__descriptor, 5000, &err);
		ok(err.code == (enum err_code)code && strcmp(err.msg, fq.message) == 0,
		    "%s arrives", err_name(err.code));
	}
	grpc_client_unary(client, "/coracle.test.Echo/Nothing", &fq.base,
	    &coracle__test__echo_response__descriptor, 5000, &err);
	is_int(err.code, ERR_UNIMPLEMENTED, "unknown method");
	is_str(err.msg, "unknown method /coracle.test.Echo/Nothing", "... is named");
	grpc_client_unary(client, "/no.such/Nothing", &fq.base,
	    &coracle__test__echo_response__descriptor, 5000, &err);
	is_str(err.msg, "unknown service /no.such/Nothing", "unknown service is named");

	rq.n_labels = 1;
	rq.labels = entries;
	entry.key = (char *)(uintptr_t) "k";
	entry.value = (char *)(uintptr_t) "\xff";
	ok(call_echo(&rq, &err) == NULL && err.code == ERR_INVALID_ARGUMENT, "invalid UTF-8");
	is_str(err.msg, "error unmarshalling request: labels.value contains invalid UTF-8",
	    "... names its field");
	rq.n_labels = 0;
	rq.reply_size = GRPC_MAX_MESSAGE + 1;
	ok(call_echo(&rq, &err) == NULL && err.code == ERR_RESOURCE_EXHAUSTED,
	    "response too large");
	rq.reply_size = 0;
	rq.payload.len = GRPC_MAX_MESSAGE + 1;
	rq.payload.data = xcalloc(1, rq.payload.len);
	ok(call_echo(&rq, &err) == NULL && err.code == ERR_RESOURCE_EXHAUSTED, "request too large");
	free(rq.payload.data);
}

static void
test_deadline_and_cancel(void)
{
	Coracle__Test__SlowRequest rq = CORACLE__TEST__SLOW_REQUEST__INIT;
	struct probe p = probe_init();
	struct err late;

	gone = 0;
	grpc_client_call(client, &p.call, PATH("Slow"), &rq.base, 30);
	turn_until(&p.done, 1);
	is_int(p.call.err.code, ERR_DEADLINE_EXCEEDED, "deadline");
	turn_until(&gone, 1);
	ok(gone == 1 && parked->gone, "the handler is told once");
	err_set(&late, ERR_INTERNAL, "too late");
	grpc_fail(parked, &late);

	p = probe_init();
	parked = NULL;
	grpc_client_call(client, &p.call, PATH("Slow"), &rq.base, 0);
	for (int i = 0; i < 1000 && parked == NULL; i++)
		turn(1);
	grpc_client_cancel(&p.call);
	is_int(p.done, 0, "cancelling does not call back at once");
	turn_until(&p.done, 1);
	is_int(p.call.err.code, ERR_CANCELLED, "cancelled");
	turn_until(&gone, 2);
	is_int(gone, 2, "the handler is told");
	grpc_fail(parked, &late);
}

static void
test_stream(void)
{
	Coracle__Test__StreamRequest rq = CORACLE__TEST__STREAM_REQUEST__INIT;
	struct probe p = probe_init();

	writable = 0;
	parked = NULL;
	rq.count = 300;
	rq.size = 30000;
	grpc_client_call(client, &p.call, PATH("Stream"), &rq.base, 0);
	turn_until(&p.messages, 300);
	is_int(p.messages, 300, "300 messages");
	is_int((long long)p.bytes, 300 * 30000, "... whole");
	is_int(p.last, 299, "... in order");
	is_int(writable, 1, "on_writable came when the backlog was gone");
	is_int((long long)grpc_backlog(parked), 0, "no backlog is left");
	is_int(p.done, 0, "the stream is open");
	grpc_finish(parked);
	turn_until(&p.done, 1);
	is_int(p.call.err.code, ERR_NONE, "and ends");
}

static void
test_many(void)
{
	enum { N = 5000 };
	struct probe *p = xcalloc(N, sizeof(*p));
	echo_request rq = CORACLE__TEST__ECHO_REQUEST__INIT;
	int good = 0;

	n_done = 0;
	for (int i = 0; i < N; i++) {
		p[i] = probe_init();
		grpc_client_call(client, &p[i].call, PATH("Unary"), &rq.base, 60000);
	}
	turn_until(&n_done, N);
	for (int i = 0; i < N; i++)
		good += p[i].done == 1 && p[i].messages == 1 && p[i].call.err.code == ERR_NONE;
	is_int(good, N, "5000 calls at once, queued over the server's limit");
	free(p);
}

static int drained;

static void
on_drained(struct grpc_server *s)
{
	(void)s;
	drained++;
}

static void
test_drain(void)
{
	Coracle__Test__SlowRequest rq = CORACLE__TEST__SLOW_REQUEST__INIT;
	echo_response rs = CORACLE__TEST__ECHO_RESPONSE__INIT;
	struct probe p = probe_init(), refused = probe_init();
	struct err err;

	parked = NULL;
	grpc_client_call(client, &p.call, PATH("Slow"), &rq.base, 0);
	for (int i = 0; i < 1000 && parked == NULL; i++)
		turn(1);
	grpc_server_drain(server, on_drained);
	turn(20);
	is_int(drained, 0, "a call in flight holds the drain up");
	ok(access(sock, F_OK) < 0 && errno == ENOENT, "the socket is gone");
	grpc_client_call(client, &refused.call, PATH("Slow"), &rq.base, 0);
	turn_until(&refused.done, 1);
	is_int(refused.call.err.code, ERR_UNAVAILABLE, "a new call is UNAVAILABLE");
	grpc_reply(parked, &rs.base);
	turn_until(&p.done, 1);
	ok(p.call.err.code == ERR_NONE && p.messages == 1, "the call in flight is answered");
	turn_until(&drained, 1);
	is_int(drained, 1, "and then the drain is done");
	ok(grpc_client_unary(client, PATH("Slow"), &rq.base,
	       &coracle__test__echo_response__descriptor, 1000, &err) == NULL &&
	        err.code == ERR_UNAVAILABLE,
	    "the connection is closed");
}

static void
test_sudden_ends(void)
{
	Coracle__Test__SlowRequest rq = CORACLE__TEST__SLOW_REQUEST__INIT;
	echo_response rs = CORACLE__TEST__ECHO_RESPONSE__INIT;
	struct probe p = probe_init();

	gone = 0;
	parked = NULL;
	grpc_client_call(client, &p.call, PATH("Slow"), &rq.base, 0);
	for (int i = 0; i < 1000 && parked == NULL; i++)
		turn(1);
	grpc_client_close(client);
	ok(p.done == 1 && p.call.err.code == ERR_CANCELLED, "closing the client ends its calls");
	turn_until(&gone, 1);
	is_int(gone, 1, "the server sees it go");
	grpc_server_free(server);
	grpc_reply(parked, &rs.base); /* the call outlived both */

	start();
	p = probe_init();
	parked = NULL;
	grpc_client_call(client, &p.call, PATH("Slow"), &rq.base, 0);
	for (int i = 0; i < 1000 && parked == NULL; i++)
		turn(1);
	grpc_server_free(server);
	is_int(gone, 2, "freeing the server tells its handlers");
	grpc_reply(parked, &rs.base);
	turn_until(&p.done, 1);
	is_int(p.call.err.code, ERR_UNAVAILABLE, "the client sees the server go");
	grpc_client_close(client);
}

static void
test_not_ready(void)
{
	Coracle__Test__CountersRequest cq = CORACLE__TEST__COUNTERS_REQUEST__INIT;
	echo_request rq = CORACLE__TEST__ECHO_REQUEST__INIT;
	echo_response *rs;
	struct probe p = probe_init();
	struct err err;

	server = grpc_server_new();
	grpc_server_add(server, "coracle.test.Echo", methods, ARRAY_SIZE(methods));
	if (grpc_server_listen(server, sock, &err) < 0)
		abort();
	client = grpc_client_open(sock, &err);
	ok(call_echo(&rq, &err) == NULL && err.code == ERR_UNAVAILABLE, "not ready: UNAVAILABLE");
	is_str(err.msg, "server is not initialized yet", "... with the words kubelet knows");
	parked = NULL;
	grpc_client_call(client, &p.call, PATH("Counters"), &cq.base, 0);
	for (int i = 0; i < 1000 && parked == NULL; i++)
		turn(1);
	ok(parked != NULL, "an early method is served");
	grpc_server_set_ready(server);
	rs = call_echo(&rq, &err);
	ok(rs != NULL, "ready");
	if (rs != NULL)
		protobuf_c_message_free_unpacked(&rs->base, NULL);
	err_set(&err, ERR_ABORTED, "over");
	grpc_fail(parked, &err);
	turn_until(&p.done, 1);
	stop();
}

static void
test_sockets(void)
{
	struct grpc_server *other = grpc_server_new();
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char file[80], longer[200];
	struct stat st;
	struct err err;
	int fd;

	start();
	ok(stat(sock, &st) == 0 && (st.st_mode & 07777) == 0660, "the socket's mode is 0660");
	ok(grpc_server_listen(other, sock, &err) < 0 && err.code == ERR_ALREADY_EXISTS,
	    "a live socket is not taken over: %s", err.msg);
	stop();
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memcpy(addr.sun_path, sock, strlen(sock) + 1);
	ok(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0, "leave a stale socket");
	close(fd);
	ok(grpc_server_listen(other, sock, &err) == 0, "a stale one is replaced");
	snprintf(file, sizeof(file), "%s/file", dir);
	fclose(fopen(file, "w"));
	ok(grpc_server_listen(other, file, &err) < 0 && err.code == ERR_ALREADY_EXISTS &&
	        access(file, F_OK) == 0,
	    "a file is not a socket: %s", err.msg);
	unlink(file);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	ok(grpc_server_listen(other, longer, &err) < 0, "a path too long");
	ok(grpc_server_listen_fd(other, dup(0), &err) < 0, "an fd that does not listen: %s",
	    err.msg);
	grpc_server_free(other);
	ok(access(sock, F_OK) < 0, "the socket is removed at the end");
	ok(grpc_client_open(sock, &err) == NULL && err.code == ERR_UNAVAILABLE, "nobody there: %s",
	    err.msg);
	ok(grpc_client_open("unix://", &err) == NULL && err.code == ERR_INVALID_ARGUMENT,
	    "no path");
}

int
main(void)
{
	if (mkdtemp(dir) == NULL)
		return 1;
	snprintf(sock, sizeof(sock), "%s/s", dir);
	loop_init();
	start();
	test_unary();
	test_errors();
	test_deadline_and_cancel();
	test_stream();
	test_many();
	test_drain();
	stop();
	start();
	test_sudden_ends();
	test_not_ready();
	test_sockets();
	rmdir(dir);
	return tap_done();
}
