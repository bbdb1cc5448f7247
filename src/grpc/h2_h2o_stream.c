/* SPDX-License-Identifier: Apache-2.0
 *
 * The codec on libh2o, its output: frames, and the streams' data as windows allow. Bytes that no
 * window admits wait in the stream; streams that have bytes and window stand in conn->ready and
 * take turns, a frame each, so that a slow or greedy one holds up nobody.
 */
#include "grpc/h2_h2o.h"

#include <assert.h>
#include <string.h>

enum { FRAME_HEADER = H2O_HTTP2_FRAME_HEADER_SIZE };

/* ---- frames -------------------------------------------------------------------------------- */

void
put_frame(struct h2_conn *c, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n)
{
	uint8_t *to;

	if (c->state >= H2_FAILED)
		return;
	to = h2_out(c, FRAME_HEADER + n);
	to = h2o_http2_encode_frame_header(to, n, type, flags, (int32_t)id);
	if (n > 0)
		memcpy(to, p, n);
	buf_grew(&c->out, FRAME_HEADER + n);
}

void
put_window_update(struct h2_conn *c, uint32_t id, uint32_t n)
{
	uint8_t raw[4];

	h2o_http2_encode32u(raw, n);
	put_frame(c, H2O_HTTP2_FRAME_TYPE_WINDOW_UPDATE, 0, id, raw, sizeof(raw));
}

void
put_reset(struct h2_conn *c, uint32_t id, enum h2_error code)
{
	uint8_t raw[4];

	h2o_http2_encode32u(raw, (uint32_t)code);
	put_frame(c, H2O_HTTP2_FRAME_TYPE_RST_STREAM, 0, id, raw, sizeof(raw));
}

/* Leaves room for the frame's header; returns where it goes. */
static size_t
begin_block(struct h2o_conn *c)
{
	size_t at;

	h2_out(&c->c, 256);
	at = c->c.out.len;
	buf_grew(&c->c.out, FRAME_HEADER);
	if (c->table_update)
		buf_addch(&c->c.out, 0x20); /* our table is as good as empty: size 0 */
	c->table_update = false;
	return at;
}

static void
end_block(struct h2o_conn *c, size_t at, uint32_t id, bool end)
{
	size_t n = c->c.out.len - at - FRAME_HEADER;

	assert(n <= H2_MAX_FRAME);
	h2o_http2_encode_frame_header((uint8_t *)c->c.out.data + at, n,
	    H2O_HTTP2_FRAME_TYPE_HEADERS,
	    H2O_HTTP2_FRAME_FLAG_END_HEADERS | (end ? H2O_HTTP2_FRAME_FLAG_END_STREAM : 0),
	    (int32_t)id);
}

static void
put_head(struct h2_stream *s, const struct h2_field *fields, size_t n, bool end)
{
	struct h2o_conn *c = h2o(s->conn);
	size_t at = begin_block(c);

	hpack_write(&c->c.out, fields, n);
	end_block(c, at, s->id, end);
}

/* ---- streams ------------------------------------------------------------------------------- */

static bool
is_over(const struct h2_stream *s)
{
	return s->conn == NULL || s->closing || s->conn->state >= H2_FAILED;
}

static bool
has_output(const struct h2_stream *s)
{
	return h2_backlog(s) > 0 || (s->send_closed && !s->sent_all);
}

void
stream_check_done(struct h2_stream *s)
{
	struct h2_conn *c = s->conn;

	if (s->closing)
		return;
	if (s->sent_all && !s->recv_closed && c->server) {
		put_reset(c, s->id, H2_NO_ERROR); /* RFC 9113 8.1: the answer came before the end */
		h2_close_stream(s, H2_NO_ERROR);
	} else if (s->recv_closed && !s->sent_all && !c->server) {
		put_reset(c, s->id, H2_CANCEL);
		h2_close_stream(s, H2_NO_ERROR);
	} else if (s->recv_closed && s->sent_all) {
		h2_close_stream(s, H2_NO_ERROR);
	}
}

void
stream_writable(struct h2o_conn *c, struct h2_stream *s)
{
	if (s->ready || s->closing || !has_output(s) || (s->send_window <= 0 && h2_backlog(s) > 0))
		return;
	s->ready = 1;
	TAILQ_INSERT_TAIL(&c->c.ready, s, ready_entry);
	h2_touch(&c->c);
}

static void
unready(struct h2_stream *s)
{
	s->ready = 0;
	TAILQ_REMOVE(&s->conn->ready, s, ready_entry);
}

static size_t
sendable(const struct h2o_conn *c, const struct h2_stream *s, size_t n)
{
	int64_t window = MIN(c->send_window, s->send_window);

	return (size_t)MAX(MIN(MIN((int64_t)n, window), (int64_t)H2_MAX_FRAME), INT64_C(0));
}

static void
put_data(struct h2o_conn *c, struct h2_stream *s, const void *p, size_t n, bool end)
{
	put_frame(&c->c, H2O_HTTP2_FRAME_TYPE_DATA, end ? H2O_HTTP2_FRAME_FLAG_END_STREAM : 0,
	    s->id, p, n);
	c->send_window -= (int64_t)n;
	s->send_window -= (int64_t)n;
}

/* Behind the last byte of data: the trailer, or the flag that was not sent with it. */
static void
put_end(struct h2o_conn *c, struct h2_stream *s)
{
	if (s->trailer.len > 0) {
		size_t at = begin_block(c);

		buf_add(&c->c.out, s->trailer.data, s->trailer.len);
		end_block(c, at, s->id, true);
		buf_release(&s->trailer);
	} else {
		put_data(c, s, NULL, 0, true);
	}
	s->sent_all = 1;
}

/* One frame of one stream's turn. */
static void
stream_turn(struct h2o_conn *c, struct h2_stream *s)
{
	size_t n = sendable(c, s, h2_backlog(s));

	unready(s);
	if (n > 0) {
		bool end = s->send_closed && s->trailer.len == 0 && n == h2_backlog(s);

		put_data(c, s, s->pending.data + s->pending_off, n, end);
		h2_pending_take(s, n);
		s->sent_all = end;
	}
	if (h2_backlog(s) == 0 && s->send_closed && !s->sent_all)
		put_end(c, s);
	stream_check_done(s);
	if (s->closing)
		return;
	if (s->over_low && h2_backlog(s) <= H2_LOW_WATER && c->c.host->on->on_drain != NULL) {
		s->over_low = 0;
		c->c.host->on->on_drain(s);
	}
	stream_writable(c, s);
}

void
h2_codec_output(struct h2_conn *c)
{
	struct h2_stream *s;

	while (h2_unsent(c) < H2_OUT_TARGET && (s = TAILQ_FIRST(&c->ready)) != NULL) {
		if (h2_backlog(s) > 0 && h2o(c)->send_window <= 0)
			break; /* the connection's window: a WINDOW_UPDATE brings us back */
		stream_turn(h2o(c), s);
	}
}

/* ---- what owners call ---------------------------------------------------------------------- */

bool
h2_can_request(const struct h2_conn *c)
{
	return !h2_conn_draining(c) && c->state == H2_OPEN && c->n_streams < c->max_streams &&
	       c->max_id < INT32_MAX - 2;
}

void
h2_request(struct h2_conn *c, struct h2_stream *s, const struct h2_field *fields, size_t n)
{
	c->max_id = c->max_id == 0 ? 1 : c->max_id + 2;
	stream_begin(h2o(c), s, c->max_id);
	if (!is_over(s))
		put_head(s, fields, n, false);
}

void
h2_head(struct h2_stream *s, const struct h2_field *fields, size_t n)
{
	if (!is_over(s) && !s->send_closed)
		put_head(s, fields, n, false);
}

void
h2_send(struct h2_stream *s, const void *p, size_t n, bool end)
{
	const char *at = p;
	struct h2o_conn *c;

	if (is_over(s) || s->send_closed)
		return;
	c = h2o(s->conn);
	s->send_closed = end;
	/* Straight into the output while nothing is in front of it. */
	while (n > 0 && h2_backlog(s) == 0 && h2_unsent(&c->c) < H2_OUT_TARGET) {
		size_t now = sendable(c, s, n);

		if (now == 0)
			break;
		put_data(c, s, at, now, end && now == n);
		s->sent_all = end && now == n;
		at += now;
		n -= now;
	}
	if (n > 0)
		h2_pending_add(s, at, n);
	stream_writable(c, s);
	stream_check_done(s);
}

void
h2_end(struct h2_stream *s, const struct h2_field *fields, size_t n)
{
	if (is_over(s) || s->send_closed)
		return;
	s->send_closed = 1;
	if (h2_backlog(s) > 0) {
		hpack_write(&s->trailer, fields, n);
		stream_writable(h2o(s->conn), s);
		return;
	}
	put_head(s, fields, n, true);
	s->sent_all = 1;
	stream_check_done(s);
}

void
h2_reset(struct h2_stream *s, enum h2_error code)
{
	if (is_over(s))
		return;
	put_reset(s->conn, s->id, code);
	h2_close_stream(s, code);
}
