/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/2 connections, the half that no codec knows: the socket, the streams' table and life cycle,
 * the limits. See h2.h and h2_conn.h.
 *
 * Happy path: on_io reads once and feeds the codec, which calls the host's handlers; what they and
 * the codec put into the output is written by the flusher, when the loop is about to wait, so that
 * one write carries the answers of a whole wake-up. Streams that ended are given back there as
 * well, never on the stack of the call that ended them.
 */
#include "grpc/h2_conn.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "loop/op.h"

static void on_io(struct ev_loop *l, ev_io *w, int events);
static void flush_conn(struct h2_conn *c);

/* ---- host ---------------------------------------------------------------------------------- */

static void
on_flush(struct ev_loop *l, ev_prepare *w, int events)
{
	struct h2_host *h = container_of(w, struct h2_host, flusher);

	(void)l;
	(void)events;
	/* What a flush gives back may make ops ready, and the loop's own hook has run already. */
	while (!TAILQ_EMPTY(&h->flush)) {
		struct h2_conn *c = TAILQ_FIRST(&h->flush);

		TAILQ_REMOVE(&h->flush, c, flush_entry);
		c->in_flush = false;
		flush_conn(c);
		if (TAILQ_EMPTY(&h->flush) && op_any_ready())
			op_run_ready();
	}
}

static void
sweep_conn(struct h2_conn *c, int64_t now)
{
	struct h2_stream *s, *next;

	if ((!c->greeted && now - c->made_ms > H2_PREFACE_MS) ||
	    (c->output_ms != 0 && now - c->output_ms > H2_UNSENT_MS) ||
	    (c->state == H2_FAILED && now - c->state_ms > H2_FAILED_MS)) {
		trace(TRACE_H2, "fd %d: no progress", c->fd);
		c->state = H2_DEAD;
		h2_touch(c);
		return;
	}
	if (c->state == H2_FAILED)
		return;
	if (c->input_ms != 0 && now - c->input_ms > H2_FRAME_MS) {
		h2_fail(c, H2_ENHANCE_YOUR_CALM, "a frame or header block that never ends");
		return;
	}
	if (c->state == H2_DRAIN_BEGUN && now - c->state_ms > H2_DRAIN_MS) {
		c->state = H2_DRAIN_LAST;
		h2_codec_drain(c, true);
		h2_touch(c);
	}
	if (!c->server)
		return;
	TAILQ_FOREACH_SAFE (s, &c->streams, entry, next)
		if (!s->recv_closed && now - s->opened_ms > H2_REQUEST_MS)
			h2_reset(s, H2_CANCEL);
}

static void
on_sweep(struct loop_timer *t)
{
	struct h2_host *h = container_of(t, struct h2_host, sweep);
	int64_t now = loop_now_ms();
	struct h2_conn *c, *next;

	TAILQ_FOREACH_SAFE (c, &h->conns, entry, next)
		sweep_conn(c, now);
	if (!TAILQ_EMPTY(&h->conns))
		timer_start(&h->sweep, H2_SWEEP_MS, on_sweep);
}

void
h2_host_init(struct h2_host *h, const struct h2_handlers *on, bool server)
{
	*h = (struct h2_host){.on = on, .server = server};
	TAILQ_INIT(&h->conns);
	TAILQ_INIT(&h->flush);
	ev_prepare_init(&h->flusher, on_flush);
	ev_set_priority(&h->flusher, EV_MINPRI); /* after the ops have run */
	ev_prepare_start(loop, &h->flusher);
	ev_unref(loop);
}

void
h2_host_release(struct h2_host *h)
{
	struct h2_conn *c;

	while ((c = TAILQ_FIRST(&h->conns)) != NULL)
		h2_conn_free(c);
	timer_stop(&h->sweep);
	ev_ref(loop);
	ev_prepare_stop(loop, &h->flusher);
}

void
h2_host_drain(struct h2_host *h)
{
	struct h2_conn *c;

	TAILQ_FOREACH (c, &h->conns, entry)
		h2_conn_drain(c);
}

/* ---- streams ------------------------------------------------------------------------------- */

struct h2_stream *
h2_find(const struct h2_conn *c, uint32_t id)
{
	struct h2_stream *s;

	if (c->n_buckets == 0)
		return NULL;
	for (s = c->buckets[id >> 1 & (c->n_buckets - 1)]; s != NULL; s = s->hash_next)
		if (s->id == id)
			return s;
	return NULL;
}

static void
grow_table(struct h2_conn *c)
{
	struct h2_stream *s;

	c->n_buckets = c->n_buckets > 0 ? c->n_buckets * 4 : 8;
	free(c->buckets);
	c->buckets = xcalloc(c->n_buckets, sizeof(c->buckets[0]));
	TAILQ_FOREACH (s, &c->streams, entry) {
		struct h2_stream **head = &c->buckets[s->id >> 1 & (c->n_buckets - 1)];

		s->hash_next = *head;
		*head = s;
	}
}

void
h2_lend(struct h2_conn *c, struct h2_stream *s, uint32_t id)
{
	struct h2_stream **head;

	s->conn = c;
	s->id = id;
	s->opened_ms = loop_now_ms();
	s->length_left = -1;
	if (c->n_streams >= c->n_buckets)
		grow_table(c);
	head = &c->buckets[id >> 1 & (c->n_buckets - 1)];
	s->hash_next = *head;
	*head = s;
	TAILQ_INSERT_TAIL(&c->streams, s, entry);
	c->n_streams++;
}

static void
drop_pending(struct h2_stream *s)
{
	s->conn->backlog -= h2_backlog(s);
	buf_release(&s->pending);
	buf_release(&s->trailer);
	s->pending_off = 0;
}

void
h2_close_stream(struct h2_stream *s, enum h2_error code)
{
	struct h2_conn *c = s->conn;
	struct h2_stream **at;

	if (s->closing)
		return;
	for (at = &c->buckets[s->id >> 1 & (c->n_buckets - 1)]; *at != s; at = &(*at)->hash_next)
		;
	*at = s->hash_next;
	TAILQ_REMOVE(&c->streams, s, entry);
	c->n_streams--;
	if (s->ready)
		TAILQ_REMOVE(&c->ready, s, ready_entry);
	s->ready = 0;
	drop_pending(s);
	s->closing = s->send_closed = s->recv_closed = 1;
	s->error = code;
	TAILQ_INSERT_TAIL(&c->closed, s, entry);
	h2_touch(c);
}

bool
h2_full(const struct h2_conn *c)
{
	return c->n_streams >= H2_MAX_STREAMS;
}

void
h2_pending_add(struct h2_stream *s, const void *p, size_t n)
{
	if (s->pending_off > s->pending.len / 2) {
		buf_consume(&s->pending, s->pending_off);
		s->pending_off = 0;
	}
	buf_add(&s->pending, p, n);
	s->conn->backlog += n;
	if (h2_backlog(s) > H2_LOW_WATER)
		s->over_low = 1;
}

void
h2_pending_take(struct h2_stream *s, size_t n)
{
	s->pending_off += n;
	s->conn->backlog -= n;
	if (s->pending_off < s->pending.len)
		return;
	buf_release(&s->pending);
	s->pending_off = 0;
}

size_t
h2_backlog(const struct h2_stream *s)
{
	return s->pending.len - s->pending_off;
}

size_t
h2_conn_backlog(const struct h2_conn *c)
{
	return c->backlog + h2_unsent(c);
}

bool
h2_count_body(struct h2_stream *s, size_t n, bool end)
{
	if (s->length_left < 0)
		return true;
	s->length_left -= (int64_t)n;
	if (s->length_left >= 0 && (!end || s->length_left == 0))
		return true;
	h2_reset(s, H2_PROTOCOL_ERROR); /* RFC 9113 8.1.1 */
	return false;
}

/* on_close for every stream that ended since. */
static void
give_back(struct h2_conn *c)
{
	struct h2_stream *s;

	while ((s = TAILQ_FIRST(&c->closed)) != NULL) {
		TAILQ_REMOVE(&c->closed, s, entry);
		s->conn = NULL;
		s->closing = 0;
		c->host->on->on_close(s, s->error);
	}
}

/* ---- connection ---------------------------------------------------------------------------- */

void
h2_conn_new(struct h2_host *h, int fd, struct h2_owner *owner)
{
	struct h2_conn *c = h2_codec_new();
	socklen_t len = sizeof(c->peer);

	c->host = h;
	c->owner = owner;
	owner->conn = c;
	c->server = h->server;
	c->fd = fd;
	c->made_ms = c->tokens_ms = loop_now_ms();
	c->tokens = H2_BUCKET;
	c->max_streams = 100; /* until the peer says (RFC 9113 6.5.2 has no limit; servers do) */
	TAILQ_INIT(&c->streams);
	TAILQ_INIT(&c->closed);
	TAILQ_INIT(&c->ready);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->peer, &len) < 0)
		c->peer = (struct ucred){.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
	fd_set_nonblock(fd, true);
	ev_io_init(&c->io, on_io, fd, EV_READ);
	ev_set_priority(&c->io, 1); /* before log pumps and the like: probes wait for it */
	c->events = EV_READ;
	ev_io_start(loop, &c->io);
	TAILQ_INSERT_TAIL(&h->conns, c, entry);
	h->n_conns++;
	if (!h->sweep.armed)
		timer_start(&h->sweep, H2_SWEEP_MS, on_sweep);
	h2_codec_start(c);
	h2_touch(c);
}

void
h2_conn_free(struct h2_conn *c)
{
	struct h2_host *h = c->host;
	struct h2_owner *owner;
	struct h2_stream *s;

	assert(!c->busy);
	c->state = H2_DEAD;
	c->busy = true;
	while ((s = TAILQ_FIRST(&c->streams)) != NULL)
		h2_close_stream(s, H2_CONNECT_ERROR);
	give_back(c);
	assert(c->n_streams == 0 && c->backlog == 0);
	if (c->in_flush)
		TAILQ_REMOVE(&h->flush, c, flush_entry);
	TAILQ_REMOVE(&h->conns, c, entry);
	h->n_conns--;
	ev_io_stop(loop, &c->io);
	close(c->fd);
	buf_release(&c->in);
	buf_release(&c->out);
	free(c->buckets);
	owner = c->owner;
	h2_codec_free(c);
	owner->conn = NULL;
	h->on->on_conn_close(owner);
}

struct h2_owner *
h2_conn_owner(const struct h2_conn *c)
{
	return c->owner;
}

const struct ucred *
h2_conn_peer(const struct h2_conn *c)
{
	return &c->peer;
}

void
h2_conn_drain(struct h2_conn *c)
{
	if (c->state != H2_OPEN)
		return;
	c->state = H2_DRAIN_BEGUN;
	c->state_ms = loop_now_ms();
	h2_codec_drain(c, false);
	h2_touch(c);
}

bool
h2_conn_draining(const struct h2_conn *c)
{
	return c->state != H2_OPEN || c->peer_drains;
}

void
h2_fail(struct h2_conn *c, enum h2_error code, const char *why)
{
	struct h2_stream *s;

	if (c->state >= H2_FAILED)
		return;
	trace(TRACE_H2, "fd %d: %s: %s", c->fd, h2_error_name(code), why);
	h2_codec_goaway(c, code, why);
	c->state = H2_FAILED;
	c->state_ms = loop_now_ms();
	while ((s = TAILQ_FIRST(&c->streams)) != NULL)
		h2_close_stream(s, code != H2_NO_ERROR ? code : H2_CANCEL);
	h2_touch(c);
}

bool
h2_charge(struct h2_conn *c, int n)
{
	int64_t now = loop_now_ms(), more = (now - c->tokens_ms) * H2_BUCKET_PER_S / 1000;

	if (more > 0) {
		c->tokens = (int)MIN(c->tokens + more, (int64_t)H2_BUCKET);
		c->tokens_ms = now;
	}
	c->tokens -= n;
	if (c->tokens >= 0)
		return true;
	h2_fail(c, H2_ENHANCE_YOUR_CALM, "too many resets, empty frames or settings");
	return false;
}

/* ---- socket -------------------------------------------------------------------------------- */

void
h2_touch(struct h2_conn *c)
{
	/* A full socket reports itself, unless there is something else to do. */
	if (c->in_flush || (c->blocked && TAILQ_EMPTY(&c->closed) && c->state < H2_FAILED))
		return;
	c->in_flush = true;
	TAILQ_INSERT_TAIL(&c->host->flush, c, flush_entry);
}

size_t
h2_unsent(const struct h2_conn *c)
{
	return c->out.len - c->out_off;
}

uint8_t *
h2_out(struct h2_conn *c, size_t n)
{
	if (c->out.data == NULL && n < H2_OUT_FIRST)
		buf_reserve(&c->out, H2_OUT_FIRST);
	h2_touch(c);
	return (uint8_t *)buf_reserve(&c->out, n);
}

static void
watch(struct h2_conn *c)
{
	size_t unsent = c->blocked ? h2_conn_backlog(c) : h2_unsent(c);
	int events = 0;

	/* A peer that does not read is not read from. One whose streams merely lack window is: the
	 * window comes that way. */
	if (c->state < H2_FAILED && unsent < H2_MAX_UNSENT)
		events |= EV_READ;
	if (c->blocked)
		events |= EV_WRITE;
	if (events == c->events)
		return;
	ev_io_stop(loop, &c->io);
	ev_io_set(&c->io, c->fd, events);
	if (events != 0)
		ev_io_start(loop, &c->io);
	c->events = events;
}

static void
write_out(struct h2_conn *c)
{
	size_t written = 0;

	c->blocked = false;
	for (;;) {
		ssize_t n;

		if (c->state < H2_FAILED)
			h2_codec_output(c);
		if (h2_unsent(c) == 0)
			break;
		if (written >= H2_WRITE_TURN) {
			c->blocked = true; /* others' turn; the socket is writable at once */
			break;
		}
		n = send(c->fd, c->out.data + c->out_off, h2_unsent(c), MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			c->blocked = true;
			if (c->output_ms == 0)
				c->output_ms = loop_now_ms();
			break;
		}
		if (n < 0) {
			c->state = H2_DEAD;
			return;
		}
		written += (size_t)n;
		c->out_off += (size_t)n;
		c->output_ms = 0;
	}
	if (h2_unsent(c) == 0) {
		buf_release(&c->out);
		c->out_off = 0;
	} else if (c->out_off > c->out.len / 2) {
		buf_consume(&c->out, c->out_off);
		c->out_off = 0;
	}
}

static void
flush_conn(struct h2_conn *c)
{
	c->busy = true;
	if (c->state != H2_DEAD)
		write_out(c);
	give_back(c);
	c->busy = false;
	if (c->state == H2_DEAD || (c->state == H2_FAILED && h2_unsent(c) == 0) ||
	    (c->state == H2_DRAIN_LAST && c->n_streams == 0 && h2_unsent(c) == 0) ||
	    (!c->server && c->peer_drains && c->n_streams == 0)) {
		h2_conn_free(c);
		return;
	}
	watch(c);
}

void
h2_input(struct h2_conn *c, const uint8_t *p, size_t n)
{
	size_t done = h2_codec_input(c, p, n);

	if (c->state >= H2_FAILED) {
		buf_release(&c->in);
		return;
	}
	if (done > 0 || c->in.len == 0)
		c->input_ms = done < n || h2_codec_midway(c) ? loop_now_ms() : 0;
	if (done == n) {
		buf_release(&c->in);
	} else if (done > 0 || c->in.len < n) {
		buf_truncate(&c->in, 0);
		buf_add(&c->in, p + done, n - done);
	}
}

static void
read_in(struct h2_conn *c)
{
	/* Shared by all connections: nothing of it outlives this call. The codec may look one byte
	 * ahead. */
	static uint8_t input[H2_MAX_FRAME + 64 + H2_INPUT_READ + 1];
	size_t have = c->in.len;
	ssize_t n;

	assert(have <= H2_MAX_FRAME + 64);
	n = read(c->fd, input + have, H2_INPUT_READ);
	if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	if (n <= 0) {
		trace(TRACE_H2, "fd %d: %s", c->fd, n == 0 ? "peer closed" : strerror(errno));
		c->state = H2_DEAD;
		h2_touch(c);
		return;
	}
	if (have > 0)
		memcpy(input, c->in.data, have);
	input[have + (size_t)n] = 0;
	h2_input(c, input, have + (size_t)n);
}

static void
on_io(struct ev_loop *l, ev_io *w, int events)
{
	struct h2_conn *c = container_of(w, struct h2_conn, io);

	(void)l;
	if (events & EV_READ && c->state < H2_FAILED) {
		c->busy = true;
		read_in(c);
		c->busy = false;
	}
	if (events & EV_WRITE)
		c->blocked = false; /* the flusher finds out */
	h2_touch(c);
	if (!c->in_flush)
		watch(c);
}

const char *
h2_error_name(enum h2_error code)
{
	static const char *const names[] = {"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR",
	    "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
	    "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"};

	return (size_t)code < ARRAY_SIZE(names) ? names[code] : "unknown error";
}
