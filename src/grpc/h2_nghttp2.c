/* SPDX-License-Identifier: Apache-2.0
 *
 * The codec on libnghttp2, for distributions without libh2o. Frames, HPACK, stream states and
 * windows are the library's; header rules, the body's bookkeeping and the limits are ours, so that
 * both codecs behave alike. Its own check of HTTP messages is off: it refuses the :authority of old
 * kubelets.
 */
#include <assert.h>
#include <nghttp2/nghttp2.h>
#include <string.h>

#include "base/macros.h"
#include "base/xalloc.h"
#include "grpc/h2_conn.h"
#include "grpc/h2_head.h"

enum { CLIENT_WINDOW = 1024 * 1024, DEFAULT_WINDOW = 65535, MAX_FIELDS = 16 };

static const uint8_t drain_ping[8] = "draining";

struct ng_conn {
	struct h2_conn c;
	nghttp2_session *session;
	struct head head; /* of the block being read */
	bool in_block;
	bool acked;        /* the peer has our SETTINGS */
	bool receiving;    /* inside nghttp2_session_mem_recv, where nothing may be sent */
	bool goaway_due;   /* h2_codec_goaway was asked for there */
	bool ended;        /* the library sent a GOAWAY of its own, with an error */
	size_t unreturned; /* bytes of the connection's window not given back yet */
};

static struct ng_conn *
ng(struct h2_conn *c)
{
	return container_of(c, struct ng_conn, c);
}

static int32_t
local_window(const struct ng_conn *c)
{
	return c->c.server ? H2_STREAM_WINDOW : CLIENT_WINDOW;
}

/* A callback's way out when the connection has failed meanwhile. */
static int
go_on(const struct ng_conn *c)
{
	return c->c.state >= H2_FAILED ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static void
reset_stream(struct ng_conn *c, int32_t id, enum h2_error code)
{
	nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, id, (uint32_t)code);
	h2_touch(&c->c);
}

/* A request that is wrong for its stream alone. The peer pays for making us reset. */
static void
refuse(struct ng_conn *c, struct h2_stream *s, int32_t id, enum h2_error code)
{
	if (!h2_charge(&c->c, 1))
		return;
	if (s != NULL)
		h2_reset(s, code);
	else
		reset_stream(c, id, code);
}

/* ---- output -------------------------------------------------------------------------------- */

static size_t
fill_fields(nghttp2_nv *nv, const struct h2_field *fields, size_t n)
{
	assert(n <= MAX_FIELDS);
	for (size_t i = 0; i < n; i++) {
		const char *name = head_name(fields[i].name);

		nv[i] = (nghttp2_nv){
		    .name = (uint8_t *)(uintptr_t)name,
		    .value = (uint8_t *)(uintptr_t)fields[i].value,
		    .namelen = strlen(name),
		    .valuelen = strlen(fields[i].value),
		    .flags = NGHTTP2_NV_FLAG_NO_INDEX,
		};
	}
	return n;
}

/* The trailer waits in s->trailer as a byte for the name and the value with its NUL, each. */
static void
store_trailer(struct h2_stream *s, const struct h2_field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		buf_addch(&s->trailer, (char)fields[i].name);
		buf_add(&s->trailer, fields[i].value, strlen(fields[i].value) + 1);
	}
}

static void
submit_trailer(struct ng_conn *c, struct h2_stream *s)
{
	struct h2_field fields[MAX_FIELDS];
	nghttp2_nv nv[MAX_FIELDS];
	size_t n = 0;

	for (size_t at = 0; at < s->trailer.len; n++) {
		fields[n].name = (enum h2_name)s->trailer.data[at];
		fields[n].value = s->trailer.data + at + 1;
		at += 1 + strlen(fields[n].value) + 1;
	}
	nghttp2_submit_trailer(c->session, (int32_t)s->id, nv, fill_fields(nv, fields, n));
	buf_release(&s->trailer);
}

static ssize_t
on_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
    nghttp2_data_source *source, void *arg)
{
	struct ng_conn *c = arg;
	struct h2_stream *s = h2_find(&c->c, (uint32_t)id);
	size_t n;

	(void)session;
	(void)source;
	if (s == NULL)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = MIN(room, h2_backlog(s));
	if (n == 0 && !s->send_closed)
		return NGHTTP2_ERR_DEFERRED;
	if (n > 0)
		memcpy(to, s->pending.data + s->pending_off, n);
	h2_pending_take(s, n);
	if (h2_backlog(s) == 0 && s->send_closed) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (s->trailer.len > 0) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			submit_trailer(c, s);
		}
	}
	/* on_drain sends, which is not for here. */
	if (s->over_low && h2_backlog(s) <= H2_LOW_WATER && !s->ready) {
		s->ready = 1;
		TAILQ_INSERT_TAIL(&c->c.ready, s, ready_entry);
	}
	return (ssize_t)n;
}

static void
tell_drained(struct ng_conn *c)
{
	struct h2_stream *s;

	while ((s = TAILQ_FIRST(&c->c.ready)) != NULL) {
		TAILQ_REMOVE(&c->c.ready, s, ready_entry);
		s->ready = 0;
		s->over_low = 0;
		if (c->c.host->on->on_drain != NULL)
			c->c.host->on->on_drain(s);
	}
}

/* Frames into the output, until it holds `target` bytes. */
static void
collect(struct ng_conn *c, size_t target)
{
	const uint8_t *p;
	ssize_t n;

	while (h2_unsent(&c->c) < target && (n = nghttp2_session_mem_send(c->session, &p)) > 0) {
		memcpy(h2_out(&c->c, (size_t)n), p, (size_t)n);
		buf_grew(&c->c.out, (size_t)n);
	}
}

void
h2_codec_output(struct h2_conn *c)
{
	collect(ng(c), H2_OUT_TARGET);
	if (ng(c)->ended)
		h2_fail(c, H2_PROTOCOL_ERROR, "the peer broke the protocol");
	else
		tell_drained(ng(c));
}

static int
on_frame_send(nghttp2_session *session, const nghttp2_frame *f, void *arg)
{
	struct ng_conn *c = arg;
	struct h2_stream *s;

	(void)session;
	if (f->hd.type == NGHTTP2_GOAWAY && f->goaway.error_code != NGHTTP2_NO_ERROR)
		c->ended = true;
	if (!(f->hd.flags & NGHTTP2_FLAG_END_STREAM) ||
	    (f->hd.type != NGHTTP2_DATA && f->hd.type != NGHTTP2_HEADERS))
		return 0;
	s = h2_find(&c->c, (uint32_t)f->hd.stream_id);
	if (s == NULL)
		return 0;
	s->sent_all = 1;
	if (c->c.server && !s->recv_closed) { /* answered before its end: RFC 9113 8.1 */
		reset_stream(c, f->hd.stream_id, H2_NO_ERROR);
		h2_close_stream(s, H2_NO_ERROR);
	}
	return 0;
}

/* ---- header blocks ------------------------------------------------------------------------- */

static int
on_begin_headers(nghttp2_session *session, const nghttp2_frame *f, void *arg)
{
	struct ng_conn *c = arg;
	struct h2_stream *s = h2_find(&c->c, (uint32_t)f->hd.stream_id);

	(void)session;
	c->in_block = true;
	head_begin(&c->head, f->headers.cat == NGHTTP2_HCAT_REQUEST      ? HEAD_REQUEST
	                     : c->c.server || (s != NULL && s->got_head) ? HEAD_TRAILERS
	                                                                 : HEAD_RESPONSE);
	return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name, size_t name_len,
    const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct ng_conn *c = arg;

	(void)session;
	(void)f;
	(void)flags;
	if (!nghttp2_check_header_name(name, name_len) ||
	    !nghttp2_check_header_value(value, value_len))
		c->head.malformed = "a character that HTTP/2 forbids";
	head_field(&c->head, (const char *)name, name_len, (const char *)value, value_len);
	return 0;
}

static void
new_request(struct ng_conn *c, int32_t id, bool end)
{
	struct h2_stream *s;

	c->c.max_id = (uint32_t)id;
	if (c->head.malformed != NULL) {
		refuse(c, NULL, id, H2_PROTOCOL_ERROR);
		return;
	}
	if (c->c.state == H2_DRAIN_LAST || h2_full(&c->c) ||
	    (s = c->c.host->on->on_request(c->c.owner)) == NULL) {
		refuse(c, NULL, id, H2_REFUSED_STREAM);
		return;
	}
	h2_lend(&c->c, s, (uint32_t)id);
	s->length_left = c->head.content_length;
	s->recv_closed = end;
	c->c.host->on->on_head(s, &c->head.pub);
}

static void
old_stream_head(struct ng_conn *c, struct h2_stream *s, bool end)
{
	if (c->head.malformed != NULL || (c->head.kind == HEAD_TRAILERS && !end)) {
		refuse(c, s, (int32_t)s->id, H2_PROTOCOL_ERROR);
		return;
	}
	if (c->head.kind == HEAD_RESPONSE)
		s->length_left = c->head.content_length;
	if (end && !h2_count_body(s, 0, true))
		return;
	s->got_head = 1;
	s->recv_closed = end;
	if (c->c.server)
		c->c.host->on->on_data(s, NULL, 0, true);
	else
		c->c.host->on->on_head(s, &c->head.pub);
}

static void
handle_block(struct ng_conn *c, const nghttp2_frame *f)
{
	bool end = (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
	struct h2_stream *s = h2_find(&c->c, (uint32_t)f->hd.stream_id);

	c->in_block = false;
	head_end(&c->head, end);
	if (f->headers.cat == NGHTTP2_HCAT_REQUEST)
		new_request(c, f->hd.stream_id, end);
	else if (s != NULL && !s->recv_closed)
		old_stream_head(c, s, end);
}

/* ---- the other frames ---------------------------------------------------------------------- */

static int
on_data_chunk(
    nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct ng_conn *c = arg;
	struct h2_stream *s = h2_find(&c->c, (uint32_t)id);

	(void)flags;
	/* What a stream may keep is bounded by its own window; see settings_acked for the first. */
	if (c->acked)
		nghttp2_session_consume_connection(session, n);
	else
		c->unreturned += n;
	if (s != NULL && !s->recv_closed && h2_count_body(s, n, false))
		c->c.host->on->on_data(s, p, n, false);
	return go_on(c);
}

static void
handle_data_end(struct ng_conn *c, const nghttp2_frame *f)
{
	bool end = (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
	struct h2_stream *s = h2_find(&c->c, (uint32_t)f->hd.stream_id);

	if (!end && f->hd.length <= f->data.padlen)
		h2_charge(&c->c, 1);
	if (!end || s == NULL || s->recv_closed || !h2_count_body(s, 0, true))
		return;
	s->recv_closed = 1;
	c->c.host->on->on_data(s, NULL, 0, true);
}

static void
settings_acked(struct ng_conn *c)
{
	if (c->acked)
		return;
	c->acked = true;
	nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, H2_CONN_WINDOW);
	nghttp2_session_consume_connection(c->session, c->unreturned);
}

static void
handle_settings(struct ng_conn *c, const nghttp2_frame *f)
{
	if (f->hd.flags & NGHTTP2_FLAG_ACK) {
		settings_acked(c);
		return;
	}
	c->c.greeted = true;
	h2_charge(&c->c, 1);
	c->c.max_streams = nghttp2_session_get_remote_settings(
	    c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

static void
handle_goaway(struct ng_conn *c, const nghttp2_frame *f)
{
	struct h2_stream *s, *next;

	c->c.peer_drains = true;
	if (c->c.server)
		return;
	TAILQ_FOREACH_SAFE (s, &c->c.streams, entry, next)
		if (s->id > (uint32_t)f->goaway.last_stream_id)
			h2_close_stream(s, f->goaway.error_code != 0
			                       ? (enum h2_error)f->goaway.error_code
			                       : H2_REFUSED_STREAM);
}

static void
handle_ping(struct ng_conn *c, const nghttp2_frame *f)
{
	if (!(f->hd.flags & NGHTTP2_FLAG_ACK) || c->c.state != H2_DRAIN_BEGUN ||
	    memcmp(f->ping.opaque_data, drain_ping, sizeof(drain_ping)) != 0)
		return;
	c->c.state = H2_DRAIN_LAST;
	h2_codec_drain(&c->c, true);
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *f, void *arg)
{
	struct ng_conn *c = arg;

	(void)session;
	switch (f->hd.type) {
	case NGHTTP2_HEADERS:
		handle_block(c, f);
		break;
	case NGHTTP2_DATA:
		handle_data_end(c, f);
		break;
	case NGHTTP2_SETTINGS:
		handle_settings(c, f);
		break;
	case NGHTTP2_RST_STREAM: /* rapid reset: CVE-2023-44487 */
		if (c->c.server && h2_find(&c->c, (uint32_t)f->hd.stream_id) != NULL)
			h2_charge(&c->c, 1);
		break;
	case NGHTTP2_PING:
		handle_ping(c, f);
		break;
	case NGHTTP2_GOAWAY:
		handle_goaway(c, f);
		break;
	default:
		break;
	}
	h2_touch(&c->c);
	return go_on(c);
}

/* The library resets the stream or ends the connection for it (CVE-2025-8671). */
static int
on_invalid_frame(nghttp2_session *session, const nghttp2_frame *f, int error, void *arg)
{
	struct ng_conn *c = arg;

	(void)session;
	(void)error;
	if (f->hd.type == NGHTTP2_HEADERS)
		c->in_block = false;
	h2_charge(&c->c, 1);
	return go_on(c);
}

static int
on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	struct ng_conn *c = arg;
	struct h2_stream *s = h2_find(&c->c, (uint32_t)id);

	(void)session;
	if (s == NULL)
		return 0;
	if (s->recv_closed && (s->sent_all || !c->c.server))
		h2_close_stream(s, (enum h2_error)code);
	else
		h2_close_stream(s, code != H2_NO_ERROR ? (enum h2_error)code : H2_CANCEL);
	return 0;
}

size_t
h2_codec_input(struct h2_conn *c, const uint8_t *p, size_t n)
{
	struct ng_conn *g = ng(c);
	ssize_t r;

	g->receiving = true;
	r = nghttp2_session_mem_recv(g->session, p, n);
	g->receiving = false;
	if (g->goaway_due)
		collect(g, H2_MAX_UNSENT);
	else if (r < 0)
		h2_fail(c, r == NGHTTP2_ERR_FLOODED ? H2_ENHANCE_YOUR_CALM : H2_PROTOCOL_ERROR,
		    nghttp2_strerror((int)r));
	h2_touch(c);
	return n;
}

bool
h2_codec_midway(const struct h2_conn *c)
{
	return container_of(c, const struct ng_conn, c)->in_block;
}

/* ---- life cycle ---------------------------------------------------------------------------- */

struct h2_conn *
h2_codec_new(void)
{
	return &((struct ng_conn *)xcalloc(1, sizeof(struct ng_conn)))->c;
}

void
h2_codec_free(struct h2_conn *c)
{
	nghttp2_session_del(ng(c)->session);
	head_release(&ng(c)->head);
	free(ng(c));
}

static nghttp2_session_callbacks *
make_callbacks(void)
{
	nghttp2_session_callbacks *cb;

	if (nghttp2_session_callbacks_new(&cb) != 0)
		abort();
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	return cb;
}

static nghttp2_option *
make_options(void)
{
	nghttp2_option *o;

	if (nghttp2_option_new(&o) != 0)
		abort();
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_http_messaging(o, 1);
	nghttp2_option_set_no_closed_streams(o, 1);
	nghttp2_option_set_max_deflate_dynamic_table_size(o, 0);
	nghttp2_option_set_max_continuations(o, H2_MAX_CONTINUATIONS);
	/* h2_charge() decides, as with the other codec. */
	nghttp2_option_set_stream_reset_rate_limit(o, UINT32_MAX, UINT32_MAX);
	return o;
}

void
h2_codec_start(struct h2_conn *c)
{
	nghttp2_session_callbacks *cb = make_callbacks();
	nghttp2_option *o = make_options();
	const nghttp2_settings_entry settings[] = {
	    {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,    (uint32_t)local_window(ng(c))   },
	    {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,   H2_MAX_HEADER_LIST              },
	    {NGHTTP2_SETTINGS_ENABLE_PUSH,            0                               },
	    {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, c->server ? H2_MAX_STREAMS : 100},
	};

	if ((c->server ? nghttp2_session_server_new2 : nghttp2_session_client_new2)(
	        &ng(c)->session, cb, ng(c), o) != 0)
		abort();
	nghttp2_option_del(o);
	nghttp2_session_callbacks_del(cb);
	nghttp2_submit_settings(ng(c)->session, NGHTTP2_FLAG_NONE, settings, ARRAY_SIZE(settings));
}

void
h2_codec_goaway(struct h2_conn *c, enum h2_error code, const char *why)
{
	(void)why;
	nghttp2_session_terminate_session(ng(c)->session, (uint32_t)code);
	ng(c)->goaway_due = ng(c)->receiving;
	if (!ng(c)->receiving)
		collect(ng(c), H2_MAX_UNSENT);
}

void
h2_codec_drain(struct h2_conn *c, bool last)
{
	nghttp2_session *session = ng(c)->session;

	if (last) {
		nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE,
		    c->server ? nghttp2_session_get_last_proc_stream_id(session) : 0,
		    NGHTTP2_NO_ERROR, NULL, 0);
		return;
	}
	if (c->server)
		nghttp2_submit_shutdown_notice(session);
	nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, drain_ping);
}

/* ---- what owners call ---------------------------------------------------------------------- */

static bool
is_over(const struct h2_stream *s)
{
	return s->conn == NULL || s->closing || s->conn->state >= H2_FAILED;
}

static const nghttp2_data_provider provider = {.read_callback = on_read};

bool
h2_can_request(const struct h2_conn *c)
{
	return !h2_conn_draining(c) && c->n_streams < c->max_streams && c->max_id < INT32_MAX - 2;
}

void
h2_request(struct h2_conn *c, struct h2_stream *s, const struct h2_field *fields, size_t n)
{
	nghttp2_nv nv[MAX_FIELDS];
	int32_t id;

	fill_fields(nv, fields, n);
	id = nghttp2_submit_request(ng(c)->session, NULL, nv, n, &provider, NULL);
	assert(id > 0);
	c->max_id = (uint32_t)id;
	h2_lend(c, s, (uint32_t)id);
	h2_touch(c);
}

void
h2_head(struct h2_stream *s, const struct h2_field *fields, size_t n)
{
	nghttp2_nv nv[MAX_FIELDS];

	if (is_over(s) || s->send_closed || s->sent_head)
		return;
	s->sent_head = 1;
	fill_fields(nv, fields, n);
	nghttp2_submit_response(ng(s->conn)->session, (int32_t)s->id, nv, n, &provider);
	h2_touch(s->conn);
}

static void
resume(struct h2_stream *s)
{
	nghttp2_session_resume_data(ng(s->conn)->session, (int32_t)s->id);
	h2_touch(s->conn);
}

void
h2_send(struct h2_stream *s, const void *p, size_t n, bool end)
{
	if (is_over(s) || s->send_closed)
		return;
	s->send_closed = end;
	if (n > 0)
		h2_pending_add(s, p, n);
	resume(s);
}

void
h2_end(struct h2_stream *s, const struct h2_field *fields, size_t n)
{
	nghttp2_nv nv[MAX_FIELDS];

	if (is_over(s) || s->send_closed)
		return;
	s->send_closed = 1;
	if (s->sent_head) {
		store_trailer(s, fields, n);
		resume(s);
		return;
	}
	fill_fields(nv, fields, n);
	nghttp2_submit_response(ng(s->conn)->session, (int32_t)s->id, nv, n, NULL);
	h2_touch(s->conn);
}

void
h2_reset(struct h2_stream *s, enum h2_error code)
{
	struct ng_conn *c;

	if (is_over(s))
		return;
	c = ng(s->conn);
	reset_stream(c, (int32_t)s->id, code);
	h2_close_stream(s, code);
}

void
h2_want(struct h2_stream *s, size_t n)
{
	nghttp2_session *session;
	int32_t id = (int32_t)s->id, window, used, have;

	if (is_over(s) || s->recv_closed)
		return;
	session = ng(s->conn)->session;
	window = nghttp2_session_get_stream_effective_local_window_size(session, id);
	used = nghttp2_session_get_stream_effective_recv_data_length(session, id);
	if (window < 0 || used < 0)
		return;
	have = window - used;
	/* Until our SETTINGS are acknowledged the peer's idea of the window may be either. */
	if (!ng(s->conn)->acked)
		have += MIN(local_window(ng(s->conn)) - DEFAULT_WINDOW, 0);
	if (have >= (int32_t)n)
		return;
	nghttp2_session_set_local_window_size(
	    session, NGHTTP2_FLAG_NONE, id, window + (int32_t)n - have);
	h2_touch(s->conn);
}
