/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits in time, under a virtual clock: peers that make no progress are cut off, those that do are
 * not; the bucket for abuse refills; a drain does not wait for a peer that is dead.
 */
#include "grpc/h2_conn.h"

#include <unistd.h>

#include "base/macros.h"
#include "base/xalloc.h"
#include "tap.h"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                              "\0\0\0\4\0\0\0\0\0"
                              "\0\0\0\4\1\0\0\0\0";
/* POST http /a, without indexing; stream 1, no END_STREAM */
static const char head_block[] = "\x83\x86\x04\x02/a";
static const char ping[] = "\0\0\10\6\0\0\0\0\0abcdefgh";

static struct h2_host host;
static struct h2_owner owner;
static struct h2_stream streams[64];
static int n_streams, n_closed, n_conn_closed, n_drains;
static enum h2_error last_error;

static struct h2_stream *
on_request(struct h2_owner *o)
{
	(void)o;
	return n_streams < 64 ? &streams[n_streams++] : NULL;
}

static void
on_head(struct h2_stream *s, const struct h2_head *head)
{
	(void)s;
	(void)head;
}

static void
on_data(struct h2_stream *s, const void *p, size_t n, bool end)
{
	(void)s;
	(void)p;
	(void)n;
	(void)end;
}

static void
on_drain(struct h2_stream *s)
{
	(void)s;
	n_drains++;
}

static void
on_close(struct h2_stream *s, enum h2_error error)
{
	ok(s->conn == NULL, "a stream is given back: %s", h2_error_name(error));
	n_closed++;
	last_error = error;
}

static void
on_conn_close(struct h2_owner *o)
{
	(void)o;
	n_conn_closed++;
}

static const struct h2_handlers handlers = {
    on_request, on_head, on_data, on_drain, on_close, on_conn_close};

static int peer;

static void
turn(void)
{
	for (int i = 0; i < 4; i++)
		loop_once();
}

static void
start(const void *bytes, size_t n)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		abort();
	peer = fds[1];
	n_streams = n_closed = n_conn_closed = n_drains = 0;
	memset(streams, 0, sizeof(streams));
	h2_conn_new(&host, fds[0], &owner);
	if (write(peer, bytes, n) != (ssize_t)n)
		abort();
	turn();
}

static void
say(const void *bytes, size_t n)
{
	if (n_conn_closed == 0 && write(peer, bytes, n) != (ssize_t)n)
		abort();
	turn();
}

static void
later(int64_t ms)
{
	loop_advance(ms);
	turn();
}

/* Everything the peer was sent so far; how many frames of the type. */
static int
count_frames(uint8_t type, uint32_t *ret_code)
{
	static uint8_t bytes[1 << 20];
	size_t n = 0, at = 0;
	int count = 0;
	ssize_t r;

	while (n < sizeof(bytes) && (r = read(peer, bytes + n, sizeof(bytes) - n)) > 0)
		n += (size_t)r;
	while (at + 9 <= n) {
		size_t len = (size_t)bytes[at] << 16 | (size_t)bytes[at + 1] << 8 | bytes[at + 2];
		const uint8_t *code = bytes + at + 9 + (type == 7 ? 4 : 0);

		if (bytes[at + 3] == type) {
			count++;
			*ret_code = (uint32_t)code[0] << 24 | (uint32_t)code[1] << 16 |
			            (uint32_t)code[2] << 8 | code[3];
		}
		at += 9 + len;
	}
	return count;
}

static void
stop(void)
{
	close(peer);
	turn();
	is_int(n_conn_closed, 1, "the connection is closed, once");
	is_int(host.n_conns, 0, "and gone");
	is_int(n_closed, n_streams, "every stream was given back");
}

static void
put_frame(struct buf *b, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n)
{
	uint8_t raw[9] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags,
	    (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};

	buf_add(b, raw, 9);
	buf_add(b, p, n);
}

static void
request(uint32_t id, bool end)
{
	cleanup_buf struct buf b = BUF_INIT;

	put_frame(&b, 1, end ? 5 : 4, id, head_block, sizeof(head_block) - 1);
	say(b.data, b.len);
}

static void
reset(uint32_t id)
{
	cleanup_buf struct buf b = BUF_INIT;

	put_frame(&b, 3, 0, id, "\0\0\0\10", 4);
	say(b.data, b.len);
}

static void
test_preface(void)
{
	start("", 0);
	later(H2_PREFACE_MS - 1500);
	is_int(n_conn_closed, 0, "no preface yet");
	later(3000);
	is_int(n_conn_closed, 1, "no preface in ten seconds");
	stop();
	start(preface, 24);
	later(H2_PREFACE_MS + 2000);
	is_int(n_conn_closed, 1, "a preface without SETTINGS is none");
	stop();
	start(preface, sizeof(preface) - 1);
	later(3600 * 1000);
	is_int(n_conn_closed, 0, "an idle connection stays for an hour");
	say(ping, sizeof(ping) - 1);
	later(3600 * 1000);
	is_int(n_conn_closed, 0, "and another");
	stop();
}

static void
test_header_block(void)
{
	cleanup_buf struct buf b = BUF_INIT;
	uint32_t code = 0;

	start(preface, sizeof(preface) - 1);
	put_frame(&b, 1, 0, 1, head_block, 3);
	say(b.data, b.len);
	later(H2_FRAME_MS - 2000);
	is_int(n_conn_closed, 0, "a block in the making");
	later(4000);
	is_int(count_frames(7, &code), 1, "a block that never ends: GOAWAY");
	is_int(code, H2_ENHANCE_YOUR_CALM, "ENHANCE_YOUR_CALM");
	is_int(n_conn_closed, 1, "and the end");
	stop();
}

static void
test_request(void)
{
	uint32_t code = 0;

	start(preface, sizeof(preface) - 1);
	request(1, false);
	later(H2_REQUEST_MS - 2000);
	is_int(n_closed, 0, "a request in the making");
	later(4000);
	is_int(n_closed, 1, "a request that never ends");
	is_int(count_frames(3, &code), 1, "is reset");
	is_int(code, H2_CANCEL, "CANCEL");
	request(3, true);
	later(600 * 1000);
	is_int(n_closed, 1, "one that is complete may take its time");
	is_int(n_conn_closed, 0, "the connection goes on");
	stop();
	ok(last_error != H2_NO_ERROR, "its end is an error");
}

static void
test_bucket(void)
{
	uint32_t code = 0, id = 1;

	start(preface, sizeof(preface) - 1);
	for (int second = 0; second < 20; second++) {
		n_streams = n_closed = 0;
		for (int i = 0; i < 60; i++, id += 2) {
			streams[n_streams] = (struct h2_stream){.conn = NULL};
			request(id, true);
			reset(id);
		}
		later(1000);
	}
	is_int(n_conn_closed, 0, "60 resets a second are fine");
	for (int i = 0; i < 1300 && n_conn_closed == 0; i++, id += 2) {
		n_streams = n_closed = 0;
		streams[0] = (struct h2_stream){.conn = NULL};
		request(id, true);
		reset(id);
	}
	is_int(n_conn_closed, 1, "1300 at once are not");
	n_streams = n_closed;
	is_int(count_frames(7, &code), 1, "GOAWAY");
	is_int(code, H2_ENHANCE_YOUR_CALM, "ENHANCE_YOUR_CALM");
	stop();
}

static void
test_unsent(void)
{
	static const struct h2_field ok_head[] = {
	    {H2_STATUS, "200"},
	};
	static const char wide[] = "\0\0\6\4\0\0\0\0\0\0\4\x7f\xff\xff\xff"
	                           "\0\0\4\10\0\0\0\0\0\x7f\x00\x00\x00";
	char *bytes = xcalloc(1, 4 << 20);
	uint32_t code = 0;

	start(preface, sizeof(preface) - 1);
	say(wide, sizeof(wide) - 1);
	request(1, true);
	h2_head(&streams[0], ok_head, 1);
	h2_send(&streams[0], bytes, 4 << 20, false);
	turn();
	ok(h2_backlog(&streams[0]) > 2 << 20, "the socket is full");
	is_int(n_drains, 0, "no drain yet");
	later(H2_UNSENT_MS - 5000);
	is_int(n_conn_closed, 0, "a peer that does not read");
	for (int i = 0; i < 400 && h2_backlog(&streams[0]) > 0; i++) {
		count_frames(0, &code);
		turn();
	}
	is_int((long long)h2_backlog(&streams[0]), 0, "and then does");
	is_int(n_drains, 1, "one drain");
	count_frames(0, &code);
	later(H2_UNSENT_MS * 2);
	is_int(n_conn_closed, 0, "is kept");
	h2_send(&streams[0], bytes, 4 << 20, false);
	turn();
	later(H2_UNSENT_MS + 3000);
	is_int(n_conn_closed, 1, "one that never does is not");
	stop();
	free(bytes);
}

static void
test_drain(void)
{
	uint32_t code = 99;

	start(preface, sizeof(preface) - 1);
	request(1, true);
	h2_conn_drain(owner.conn);
	turn();
	is_int(count_frames(7, &code), 1, "the first GOAWAY");
	is_int(code, H2_NO_ERROR, "is no error");
	request(3, true);
	is_int(n_streams, 2, "what was under way is taken");
	later(H2_DRAIN_MS + 2000);
	is_int(count_frames(7, &code), 1, "the last GOAWAY, though the peer is deaf");
	request(5, true);
	is_int(n_streams, 2, "nothing new is taken");
	is_int(n_conn_closed, 0, "two streams hold the connection");
	h2_end(&streams[0],
	    (struct h2_field[]){
	        {H2_STATUS, "200"}
        },
	    1);
	h2_end(&streams[1],
	    (struct h2_field[]){
	        {H2_STATUS, "200"}
        },
	    1);
	turn();
	is_int(n_conn_closed, 1, "none holds it");
	is_int(last_error, H2_NO_ERROR, "both ended in order");
	stop();
}

/* Every function on a stream that was given back does nothing. */
static void
test_given_back(void)
{
	static const struct h2_field ok_head[] = {
	    {H2_STATUS, "200"},
	};

	start(preface, sizeof(preface) - 1);
	request(1, true);
	reset(1);
	is_int(n_closed, 1, "reset by the peer");
	is_int(last_error, H2_CANCEL, "CANCEL");
	h2_head(&streams[0], ok_head, 1);
	h2_send(&streams[0], "x", 1, false);
	h2_want(&streams[0], 100000);
	h2_end(&streams[0], ok_head, 1);
	h2_reset(&streams[0], H2_CANCEL);
	turn();
	is_int((long long)h2_backlog(&streams[0]), 0, "nothing is kept");
	is_int(n_closed, 1, "nothing is told");
	request(3, true);
	h2_reset(&streams[1], H2_INTERNAL_ERROR);
	h2_send(&streams[1], "x", 1, true);
	h2_reset(&streams[1], H2_CANCEL);
	is_int(n_closed, 1, "a reset of ours is told later");
	turn();
	is_int(n_closed, 2, "... by on_close");
	is_int(last_error, H2_INTERNAL_ERROR, "with its code");
	stop();
}

int
main(void)
{
	loop_init();
	loop_virtual_clock();
	h2_host_init(&host, &handlers, true);
	test_preface();
	test_header_block();
	test_request();
	test_bucket();
	test_unsent();
	test_drain();
	test_given_back();
	h2_host_release(&host);
	return tap_done();
}
