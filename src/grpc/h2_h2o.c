/* SPDX-License-Identifier: Apache-2.0
 *
 * The codec on libh2o, its input: what may come next (conn->expect) and the frame table. The
 * library decodes frames and payloads; every state, window and limit is ours.
 */
#include "grpc/h2_h2o.h"

#include <string.h>

#include "base/xalloc.h"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum { PREFACE_LEN = sizeof(preface) - 1, CLIENT_WINDOW = 1024 * 1024, DEFAULT_WINDOW = 65535 };

static const uint8_t drain_ping[8] = "draining";

static ssize_t expect_preface(struct h2o_conn *c, const uint8_t *p, size_t n);
static ssize_t expect_settings(struct h2o_conn *c, const uint8_t *p, size_t n);
static ssize_t expect_frame(struct h2o_conn *c, const uint8_t *p, size_t n);
static ssize_t expect_continuation(struct h2o_conn *c, const uint8_t *p, size_t n);

static int64_t
local_window(const struct h2o_conn *c)
{
	return c->c.server ? H2_STREAM_WINDOW : CLIENT_WINDOW;
}

/* A stream id that the peer can name: opened once by whoever opens streams here. */
static bool
is_idle(const struct h2o_conn *c, uint32_t id)
{
	return id % 2 == 0 || id > c->c.max_id;
}

/* A frame that is wrong for its stream alone. The peer pays for making us reset (CVE-2025-8671). */
static int
refuse(struct h2o_conn *c, struct h2_stream *s, uint32_t id, enum h2_error code)
{
	if (!h2_charge(&c->c, 1))
		return 0;
	if (s != NULL)
		h2_reset(s, code);
	else
		put_reset(&c->c, id, code);
	return 0;
}

/* ---- DATA ---------------------------------------------------------------------------------- */

static void
return_window(struct h2o_conn *c)
{
	if (!c->acked || c->recv_returned < H2_CONN_WINDOW / 2)
		return;
	put_window_update(&c->c, 0, (uint32_t)c->recv_returned);
	c->recv_window += c->recv_returned;
	c->recv_returned = 0;
}

static int
handle_data(struct h2o_conn *c, const h2o_http2_frame_t *f)
{
	bool end = (f->flags & H2O_HTTP2_FRAME_FLAG_END_STREAM) != 0;
	h2o_http2_data_payload_t data;
	struct h2_stream *s;
	const char *why;
	int r = h2o_http2_decode_data_payload(&data, f, &why);

	if (r != 0)
		return r;
	if (is_idle(c, f->stream_id))
		return H2O_HTTP2_ERROR_PROTOCOL;
	if (f->length > c->recv_window)
		return H2O_HTTP2_ERROR_FLOW_CONTROL;
	c->recv_window -= f->length;
	c->recv_returned += f->length; /* what a stream may keep is bounded by its own window */
	return_window(c);
	s = h2_find(&c->c, f->stream_id);
	if (s == NULL || s->recv_closed)
		return refuse(c, s, f->stream_id, H2_STREAM_CLOSED);
	if (f->length > s->recv_window)
		return refuse(c, s, f->stream_id, H2_FLOW_CONTROL_ERROR);
	s->recv_window -= (int64_t)data.length;
	if (f->length > data.length && !end)
		put_window_update(&c->c, s->id, f->length - (uint32_t)data.length);
	if (data.length == 0 && !end) {
		h2_charge(&c->c, 1);
		return 0;
	}
	if (!h2_count_body(s, data.length, end))
		return 0;
	s->recv_closed = end;
	c->c.host->on->on_data(s, data.data, data.length, end);
	stream_check_done(s);
	return 0;
}

/* ---- HEADERS ------------------------------------------------------------------------------- */

static struct head head; /* of the block being read: blocks are decoded when complete */

static void
new_request(struct h2o_conn *c, uint32_t id, bool end)
{
	struct h2_stream *s;

	if (head.malformed != NULL) {
		refuse(c, NULL, id, H2_PROTOCOL_ERROR);
		return;
	}
	if (c->c.state == H2_DRAIN_LAST || h2_full(&c->c) ||
	    (s = c->c.host->on->on_request(c->c.owner)) == NULL) {
		refuse(c, NULL, id, H2_REFUSED_STREAM);
		return;
	}
	stream_begin(c, s, id);
	s->length_left = head.content_length;
	s->recv_closed = end;
	c->c.host->on->on_head(s, &head.pub);
	stream_check_done(s);
}

static void
old_stream_head(struct h2o_conn *c, struct h2_stream *s, bool end)
{
	if (head.malformed != NULL || (head.kind == HEAD_TRAILERS && !end)) {
		refuse(c, s, s->id, H2_PROTOCOL_ERROR);
		return;
	}
	if (head.kind == HEAD_RESPONSE)
		s->length_left = head.content_length;
	if (end && !h2_count_body(s, 0, true))
		return;
	s->got_head = 1;
	s->recv_closed = end;
	if (c->c.server)
		c->c.host->on->on_data(s, NULL, 0, true); /* nobody reads request trailers */
	else
		c->c.host->on->on_head(s, &head.pub);
	stream_check_done(s);
}

/* A whole header block. It is decoded whatever becomes of its stream: the table must stay in step.
 */
static int
handle_block(struct h2o_conn *c, uint32_t id, uint8_t flags, const uint8_t *p, size_t n)
{
	bool end = (flags & H2O_HTTP2_FRAME_FLAG_END_STREAM) != 0;
	bool fresh = is_idle(c, id);
	struct h2_stream *s = h2_find(&c->c, id);
	int r;

	if (fresh && (!c->c.server || id % 2 == 0))
		return H2O_HTTP2_ERROR_PROTOCOL;
	head_begin(&head, fresh                                       ? HEAD_REQUEST
	                  : c->c.server || (s != NULL && s->got_head) ? HEAD_TRAILERS
	                                                              : HEAD_RESPONSE);
	r = hpack_parse(c, &head, p, n);
	if (r != 0)
		return r;
	head_end(&head, end);
	if (fresh) {
		c->c.max_id = id;
		new_request(c, id, end);
	} else if (s == NULL || s->recv_closed) {
		refuse(c, s, id, H2_STREAM_CLOSED);
	} else {
		old_stream_head(c, s, end);
	}
	return 0;
}

static int
handle_headers(struct h2o_conn *c, const h2o_http2_frame_t *f)
{
	h2o_http2_headers_payload_t h;
	const char *why;
	int r = h2o_http2_decode_headers_payload(&h, f, &why);

	if (r != 0)
		return r;
	if (f->flags & H2O_HTTP2_FRAME_FLAG_END_HEADERS)
		return handle_block(c, f->stream_id, f->flags, h.headers, h.headers_len);
	c->block_id = f->stream_id;
	c->block_flags = f->flags;
	c->block_frames = 0;
	buf_add(&c->block, h.headers, h.headers_len);
	c->expect = expect_continuation;
	return 0;
}

static int
handle_continuation(struct h2o_conn *c, const h2o_http2_frame_t *f)
{
	int r;

	if (f->stream_id != c->block_id)
		return H2O_HTTP2_ERROR_PROTOCOL;
	if (c->block.len + f->length > H2_MAX_HEADER_BLOCK ||
	    ++c->block_frames > H2_MAX_CONTINUATIONS)
		return H2O_HTTP2_ERROR_ENHANCE_YOUR_CALM;
	buf_add(&c->block, f->payload, f->length);
	if ((f->flags & H2O_HTTP2_FRAME_FLAG_END_HEADERS) == 0)
		return 0;
	c->expect = expect_frame;
	r = handle_block(
	    c, c->block_id, c->block_flags, (const uint8_t *)c->block.data, c->block.len);
	buf_release(&c->block);
	return r;
}

/* ---- the other frames ---------------------------------------------------------------------- */

static int
handle_priority(struct h2o_conn *c, const h2o_http2_frame_t *f)
{
	h2o_http2_priority_t ignored; /* RFC 9113 5.3.2 */
	const char *why;

	(void)c;
	return h2o_http2_decode_priority_payload(&ignored, f, &why);
}

static int
handle_rst_stream(struct h2o_conn *c, const h2o_http2_frame_t *f)
{
	h2o_http2_rst_stream_payload_t rst;
	struct h2_stream *s;
	const char *why;
	int r = h2o_http2_decode_rst_stream_payload(&rst, f, &why);

	if (r != 0)
		return r;
	if (is_idle(c, f->stream_id))
		return H2O_HTTP2_ERROR_PROTOCOL;
	s = h2_find(&c->c, f->stream_id);
	if (s == NULL || (c->c.server && !h2_charge(&c->c, 1))) /* rapid reset: CVE-2023-44487 */
		return 0;
	h2_close_stream(
	    s, rst.error_code != H2_NO_ERROR ? (enum h2_error)rst.error_code : H2_CANCEL);
	return 0;
}

static void
settings_acked(struct h2o_conn *c)
{
	struct h2_stream *s;
	int64_t more = H2_CONN_WINDOW - c->recv_window;

	if (c->acked)
		return;
	c->acked = true;
	TAILQ_FOREACH (s, &c->c.streams, entry)
		s->recv_window += local_window(c) - DEFAULT_WINDOW;
	put_window_update(&c->c, 0, (uint32_t)more);
	c->recv_window += more;
	c->recv_returned = 0;
}

static int
handle_settings(struct h2o_conn *c, const h2o_http2_frame_t *f)
{
	h2o_http2_settings_t was = c->peer;
	struct h2_stream *s, *next;
	int64_t delta;
	const char *why;
	int r;

	if (f->stream_id != 0)
		return H2O_HTTP2_ERROR_PROTOCOL;
	if (f->flags & H2O_HTTP2_FRAME_FLAG_ACK) {
		if (f->length != 0)
			return H2O_HTTP2_ERROR_FRAME_SIZE;
		settings_acked(c);
		return 0;
	}
	if (!h2_charge(&c->c, 1))
		return 0;
	r = h2o_http2_update_peer_settings(&c->peer, f->payload, f->length, &why);
	if (r != 0)
		return r;
	c->c.max_streams = c->peer.max_concurrent_streams;
	if (c->peer.header_table_size < was.header_table_size)
		c->table_update = true;
	delta = (int64_t)c->peer.initial_window_size - was.initial_window_size;
	if (delta != 0)
		TAILQ_FOREACH_SAFE (s, &c->c.streams, entry, next) {
			s->send_window += delta; /* may fall below zero: RFC 9113 6.9.2 */
			if (s->send_window > INT32_MAX)
				return H2O_HTTP2_ERROR_FLOW_CONTROL;
			stream_writable(c, s);
		}
	put_frame(&c->c, H2O_HTTP2_FRAME_TYPE_SETTINGS, H2O_HTTP2_FRAME_FLAG_ACK, 0, NULL, 0);
	return 0;
}

static int
handle_push_promise(struct h2o_conn *c, const h2o_http2_frame_t *f)
{
	(void)c;
	(void)f;
	return H2O_HTTP2_ERROR_PROTOCOL; /* a client never may; a server was told not to */
}

static int
handle_ping(struct h2o_conn *c, const h2o_http2_frame_t *f)
{
	h2o_http2_ping_payload_t ping;
	const char *why;
	int r = h2o_http2_decode_ping_payload(&ping, f, &why);

	if (r != 0)
		return r;
	if ((f->flags & H2O_HTTP2_FRAME_FLAG_ACK) == 0) {
		put_frame(
		    &c->c, H2O_HTTP2_FRAME_TYPE_PING, H2O_HTTP2_FRAME_FLAG_ACK, 0, ping.data, 8);
	} else if (c->c.state == H2_DRAIN_BEGUN && memcmp(ping.data, drain_ping, 8) == 0) {
		c->c.state = H2_DRAIN_LAST;
		h2_codec_drain(&c->c, true);
	}
	return 0;
}

static int
handle_goaway(struct h2o_conn *c, const h2o_http2_frame_t *f)
{
	h2o_http2_goaway_payload_t g;
	struct h2_stream *s, *next;
	const char *why;
	int r = h2o_http2_decode_goaway_payload(&g, f, &why);

	if (r != 0)
		return r;
	c->c.peer_drains = true;
	if (c->c.server)
		return 0;
	TAILQ_FOREACH_SAFE (s, &c->c.streams, entry, next)
		if (s->id > g.last_stream_id)
			h2_close_stream(
			    s, g.error_code != 0 ? (enum h2_error)g.error_code : H2_REFUSED_STREAM);
	h2_touch(&c->c);
	return 0;
}

static int
handle_window_update(struct h2o_conn *c, const h2o_http2_frame_t *f)
{
	h2o_http2_window_update_payload_t w;
	struct h2_stream *s = NULL;
	const char *why;
	int stream_level, r;

	r = h2o_http2_decode_window_update_payload(&w, f, &why, &stream_level);
	if (r != 0 && !stream_level)
		return r;
	if (f->stream_id == 0) {
		c->send_window += w.window_size_increment;
		if (c->send_window > INT32_MAX)
			return H2O_HTTP2_ERROR_FLOW_CONTROL;
		h2_touch(&c->c);
		return 0;
	}
	if (is_idle(c, f->stream_id))
		return H2O_HTTP2_ERROR_PROTOCOL;
	s = h2_find(&c->c, f->stream_id);
	if (r != 0)
		return refuse(c, s, f->stream_id, H2_PROTOCOL_ERROR);
	if (s == NULL)
		return 0;
	s->send_window += w.window_size_increment;
	if (s->send_window > INT32_MAX)
		return refuse(c, s, s->id, H2_FLOW_CONTROL_ERROR);
	stream_writable(c, s);
	return 0;
}

static int (*const frame_handlers[])(struct h2o_conn *, const h2o_http2_frame_t *) = {
    [H2O_HTTP2_FRAME_TYPE_DATA] = handle_data,
    [H2O_HTTP2_FRAME_TYPE_HEADERS] = handle_headers,
    [H2O_HTTP2_FRAME_TYPE_PRIORITY] = handle_priority,
    [H2O_HTTP2_FRAME_TYPE_RST_STREAM] = handle_rst_stream,
    [H2O_HTTP2_FRAME_TYPE_SETTINGS] = handle_settings,
    [H2O_HTTP2_FRAME_TYPE_PUSH_PROMISE] = handle_push_promise,
    [H2O_HTTP2_FRAME_TYPE_PING] = handle_ping,
    [H2O_HTTP2_FRAME_TYPE_GOAWAY] = handle_goaway,
    [H2O_HTTP2_FRAME_TYPE_WINDOW_UPDATE] = handle_window_update,
};

/* ---- what may come next -------------------------------------------------------------------- */

static ssize_t
expect_preface(struct h2o_conn *c, const uint8_t *p, size_t n)
{
	if (memcmp(p, preface, MIN(n, (size_t)PREFACE_LEN)) != 0)
		return H2O_HTTP2_ERROR_PROTOCOL;
	if (n < PREFACE_LEN)
		return 0;
	c->expect = expect_settings;
	return PREFACE_LEN;
}

static ssize_t
read_frame(const uint8_t *p, size_t n, h2o_http2_frame_t *f)
{
	const char *why;
	/* The library's default is what we announce: frames of 16384 bytes. */
	ssize_t r = h2o_http2_decode_frame(f, p, n, &H2O_HTTP2_SETTINGS_DEFAULT, &why);

	return r == H2O_HTTP2_ERROR_INCOMPLETE ? 0 : r;
}

static ssize_t
expect_settings(struct h2o_conn *c, const uint8_t *p, size_t n)
{
	h2o_http2_frame_t f;
	ssize_t used = read_frame(p, n, &f);
	int r;

	if (used <= 0)
		return used;
	if (f.type != H2O_HTTP2_FRAME_TYPE_SETTINGS || f.flags & H2O_HTTP2_FRAME_FLAG_ACK)
		return H2O_HTTP2_ERROR_PROTOCOL;
	c->c.greeted = true;
	c->expect = expect_frame;
	r = handle_settings(c, &f);
	return r != 0 ? r : used;
}

static ssize_t
expect_frame(struct h2o_conn *c, const uint8_t *p, size_t n)
{
	h2o_http2_frame_t f;
	ssize_t used = read_frame(p, n, &f);
	int r;

	if (used <= 0)
		return used;
	if (f.type == H2O_HTTP2_FRAME_TYPE_CONTINUATION)
		return H2O_HTTP2_ERROR_PROTOCOL;
	if (f.type >= ARRAY_SIZE(frame_handlers))
		return used; /* RFC 9113 4.1: unknown types are ignored */
	r = frame_handlers[f.type](c, &f);
	return r != 0 ? r : used;
}

static ssize_t
expect_continuation(struct h2o_conn *c, const uint8_t *p, size_t n)
{
	h2o_http2_frame_t f;
	ssize_t used = read_frame(p, n, &f);
	int r;

	if (used <= 0)
		return used;
	if (f.type != H2O_HTTP2_FRAME_TYPE_CONTINUATION)
		return H2O_HTTP2_ERROR_PROTOCOL;
	r = handle_continuation(c, &f);
	return r != 0 ? r : used;
}

size_t
h2_codec_input(struct h2_conn *c, const uint8_t *p, size_t n)
{
	size_t at = 0;

	while (at < n && c->state < H2_FAILED) {
		ssize_t r = h2o(c)->expect(h2o(c), p + at, n - at);

		if (r == 0)
			break;
		if (r < 0) {
			h2_fail(
			    c, (enum h2_error) - r, "broken frame, or not one that may come now");
			break;
		}
		at += (size_t)r;
	}
	return at;
}

bool
h2_codec_midway(const struct h2_conn *c)
{
	return container_of(c, const struct h2o_conn, c)->expect == expect_continuation;
}

/* ---- life cycle ---------------------------------------------------------------------------- */

struct h2_conn *
h2_codec_new(void)
{
	return &((struct h2o_conn *)xcalloc(1, sizeof(struct h2o_conn)))->c;
}

void
h2_codec_free(struct h2_conn *c)
{
	h2o_hpack_dispose_header_table(&h2o(c)->table);
	buf_release(&h2o(c)->block);
	free(h2o(c));
}

static void
add_setting(struct buf *b, uint16_t id, uint32_t value)
{
	uint8_t raw[6] = {(uint8_t)(id >> 8), (uint8_t)id};

	h2o_http2_encode32u(raw + 2, value);
	buf_add(b, raw, sizeof(raw));
}

void
h2_codec_start(struct h2_conn *c)
{
	struct buf settings cleanup_buf = BUF_INIT;

	h2o(c)->peer = H2O_HTTP2_SETTINGS_DEFAULT;
	h2o(c)->send_window = h2o(c)->recv_window = DEFAULT_WINDOW;
	h2o(c)->table.hpack_capacity = h2o(c)->table.hpack_max_capacity = 4096;
	h2o(c)->expect = c->server ? expect_preface : expect_settings;
	if (c->server) {
		add_setting(&settings, H2O_HTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_MAX_STREAMS);
	} else {
		memcpy(h2_out(c, PREFACE_LEN), preface, PREFACE_LEN);
		buf_grew(&c->out, PREFACE_LEN);
		add_setting(&settings, H2O_HTTP2_SETTINGS_ENABLE_PUSH, 0);
	}
	add_setting(
	    &settings, H2O_HTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)local_window(h2o(c)));
	add_setting(&settings, H2O_HTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_MAX_HEADER_LIST);
	put_frame(c, H2O_HTTP2_FRAME_TYPE_SETTINGS, 0, 0, settings.data, settings.len);
}

static void
put_goaway(struct h2_conn *c, uint32_t last, enum h2_error code, const char *why)
{
	uint8_t raw[8 + 64];
	size_t n = MIN(strlen(why), sizeof(raw) - 8);

	h2o_http2_encode32u(raw, last);
	h2o_http2_encode32u(raw + 4, (uint32_t)code);
	memcpy(raw + 8, why, n);
	put_frame(c, H2O_HTTP2_FRAME_TYPE_GOAWAY, 0, 0, raw, 8 + n);
}

void
h2_codec_goaway(struct h2_conn *c, enum h2_error code, const char *why)
{
	put_goaway(c, c->server ? c->max_id : 0, code, why);
}

void
h2_codec_drain(struct h2_conn *c, bool last)
{
	if (last) {
		put_goaway(c, c->max_id, H2_NO_ERROR, "");
		return;
	}
	put_goaway(c, INT32_MAX, H2_NO_ERROR, "");
	put_frame(c, H2O_HTTP2_FRAME_TYPE_PING, 0, 0, drain_ping, sizeof(drain_ping));
}

void
h2_want(struct h2_stream *s, size_t n)
{
	struct h2o_conn *c;
	int64_t have;

	if (s->conn == NULL || s->closing || s->recv_closed)
		return;
	c = h2o(s->conn);
	/* Until our SETTINGS are acknowledged the peer's idea of the window may be either. */
	have = c->acked ? s->recv_window
	                : s->recv_window + MIN(local_window(c) - DEFAULT_WINDOW, INT64_C(0));
	if (have >= (int64_t)n)
		return;
	put_window_update(s->conn, s->id, (uint32_t)((int64_t)n - have));
	s->recv_window += (int64_t)n - have;
}

void
stream_begin(struct h2o_conn *c, struct h2_stream *s, uint32_t id)
{
	h2_lend(&c->c, s, id);
	s->send_window = c->peer.initial_window_size;
	s->recv_window = c->acked ? local_window(c) : DEFAULT_WINDOW;
}
