/* SPDX-License-Identifier: Apache-2.0
 *
 * SPDY/3.1 sessions: see spdy.h. Section numbers are those of draft-mbelshe-httpbis-spdy-00.
 */
#include "stream/spdy.h"

#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/xalloc.h"

enum {
	SPDY_VERSION = 3,
	SYN_STREAM = 1,
	SYN_REPLY = 2,
	RST_STREAM = 3,
	SETTINGS = 4,
	PING = 6,
	GOAWAY = 7,
	HEADERS = 8,
	WINDOW_UPDATE = 9,

	FLAG_FIN = 1,
	SETTINGS_INITIAL_WINDOW = 7,

	RST_INVALID_STREAM = 2,
	RST_REFUSED_STREAM = 3,
	RST_CANCEL = 5,
	RST_FLOW_CONTROL_ERROR = 7,

	DEFAULT_WINDOW = 64 * 1024,
	CREDIT_STEP = 32 * 1024,
	CONTROL_ROOM = 1024 /* kept free for control frames */
};

static uint32_t
get32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void
put32(unsigned char *p, uint32_t v)
{
	p[0] = (unsigned char)(v >> 24);
	p[1] = (unsigned char)(v >> 16);
	p[2] = (unsigned char)(v >> 8);
	p[3] = (unsigned char)v;
}

/* ---- sending ---- */

static void
send_control(struct spdy *s, unsigned type, unsigned flags, const void *p, size_t n)
{
	unsigned char head[8];
	const struct iovec iov[2] = {
	    {head,                 sizeof(head)},
            {(void *)(uintptr_t)p, n           }
        };

	put32(head, 0x80000000 | SPDY_VERSION << 16 | type);
	put32(head + 4, flags << 24 | (uint32_t)n);
	s->below->send(s->below, iov, 2);
}

static void
send_pair(struct spdy *s, unsigned type, uint32_t a, uint32_t b)
{
	unsigned char p[8];

	put32(p, a);
	put32(p + 4, b);
	send_control(s, type, 0, p, sizeof(p));
}

static void
send_data(struct spdy_stream *st, unsigned flags, const void *p, size_t n)
{
	unsigned char head[8];
	const struct iovec iov[2] = {
	    {head,                 sizeof(head)},
            {(void *)(uintptr_t)p, n           }
        };

	put32(head, st->id);
	put32(head + 4, flags << 24 | (uint32_t)n);
	st->s->below->send(st->s->below, iov, n > 0 ? 2 : 1);
}

static void
send_reply(struct spdy_stream *st)
{
	cleanup_buf struct buf b = BUF_INIT;
	unsigned char id[4];

	put32(id, st->id);
	buf_add(&b, id, sizeof(id));
	spdy_pack(&st->s->zlib, NULL, 0, &b);
	send_control(st->s, SYN_REPLY, 0, b.data, b.len);
}

/* The session is of no use any more, 2.4.1. */
static void
fail(struct spdy *s, const char *why)
{
	if (s->failed)
		return;
	s->failed = true;
	send_pair(s, GOAWAY, s->last_id, 1);
	s->below->fail(s->below, why);
}

static size_t
room(const struct channel *ch)
{
	const struct spdy_stream *st = container_of(ch, struct spdy_stream, ch);
	const struct spdy *s = st->s;
	size_t n = s->below->room(s->below);

	if (ch->out_ended || n <= CONTROL_ROOM)
		return 0;
	n -= CONTROL_ROOM;
	if (s->flow) {
		int64_t window = MIN(st->window, s->window);

		n = window <= 0 ? 0 : MIN(n, (size_t)window);
	}
	return MIN(n, (size_t)CHANNEL_CHUNK);
}

static void
send_bytes(struct channel *ch, const void *p, size_t n)
{
	struct spdy_stream *st = container_of(ch, struct spdy_stream, ch);

	st->window -= (int64_t)n;
	st->s->window -= (int64_t)n;
	send_data(st, 0, p, n);
}

static void
end(struct channel *ch)
{
	struct spdy_stream *st = container_of(ch, struct spdy_stream, ch);

	if (ch->out_ended)
		return;
	ch->out_ended = true;
	send_data(st, FLAG_FIN, NULL, 0);
}

static void
reset(struct channel *ch)
{
	struct spdy_stream *st = container_of(ch, struct spdy_stream, ch);

	if (!st->reset && !(ch->in_ended && ch->out_ended))
		send_pair(st->s, RST_STREAM, st->id, RST_CANCEL);
	st->reset = true;
	ch->in_ended = ch->out_ended = true;
}

static void
credit(struct channel *ch, size_t n)
{
	struct spdy_stream *st = container_of(ch, struct spdy_stream, ch);

	st->owed += n;
	if (st->owed < CREDIT_STEP || ch->in_ended)
		return;
	send_pair(st->s, WINDOW_UPDATE, st->id, (uint32_t)st->owed);
	st->owed = 0;
}

static const struct channel_ops stream_ops = {room, send_bytes, end, reset, credit};

/* ---- streams ---- */

static struct spdy_stream *
find(struct spdy *s, uint32_t id)
{
	struct spdy_stream *st;

	TAILQ_FOREACH (st, &s->streams, entry)
		if (st->id == id)
			return st;
	return NULL;
}

static void
bury(struct spdy *s)
{
	struct spdy_stream *st;

	while ((st = TAILQ_FIRST(&s->forgotten)) != NULL) {
		TAILQ_REMOVE(&s->forgotten, st, entry);
		free(st);
	}
}

void
spdy_forget(struct spdy_stream *st)
{
	struct spdy *s = st->s;

	reset(&st->ch);
	channel_leave(&st->ch);
	channel_release(&st->ch);
	TAILQ_REMOVE(&s->streams, st, entry);
	s->n_streams--;
	if (s->target == st)
		s->target = NULL;
	/* Its memory stays until nobody further up the stack can look at it. */
	TAILQ_INSERT_TAIL(&s->forgotten, st, entry);
}

static void
on_syn_stream(struct spdy *s, unsigned flags, const unsigned char *p, size_t n)
{
	struct spdy_headers h;
	struct spdy_stream *st;
	struct err err;
	uint32_t id;

	if (n < 10) {
		fail(s, "SYN_STREAM is too short");
		return;
	}
	id = get32(p) & 0x7fffffff;
	if (id % 2 == 0 || id <= s->last_id) {
		fail(s, "SYN_STREAM with a stream id out of order");
		return;
	}
	s->last_id = id;
	h.bytes = NULL;
	if (spdy_unpack(&s->zlib, p + 10, n - 10, &h, &err) < 0) {
		fail(s, err.msg);
		return;
	}
	if (s->n_streams >= SPDY_STREAMS_MAX) {
		send_pair(s, RST_STREAM, id, RST_REFUSED_STREAM);
		spdy_headers_release(&h);
		return;
	}
	st = xcalloc(1, sizeof(*st));
	st->ch.ops = &stream_ops;
	st->ch.group = &s->group;
	st->s = s;
	st->id = id;
	st->window = s->initial_window;
	TAILQ_INSERT_TAIL(&s->streams, st, entry);
	s->n_streams++;
	send_reply(st);
	if (flags & FLAG_FIN)
		channel_input_end(&st->ch);
	if (!s->user->opened(s, st, &h)) {
		send_pair(s, RST_STREAM, id, RST_REFUSED_STREAM);
		st->reset = true;
		spdy_forget(st);
	}
	spdy_headers_release(&h);
}

static void
on_rst_stream(struct spdy *s, const unsigned char *p, size_t n)
{
	struct spdy_stream *st;

	if (n != 8) {
		fail(s, "RST_STREAM of a wrong length");
		return;
	}
	st = find(s, get32(p) & 0x7fffffff);
	if (st == NULL)
		return;
	st->reset = true;
	channel_lost(&st->ch);
}

/* Every block takes part in the compression; what it says is of no interest. */
static void
on_headers(struct spdy *s, unsigned flags, const unsigned char *p, size_t n)
{
	struct spdy_headers h = {.bytes = NULL};
	struct spdy_stream *st;
	struct err err;

	if (n < 4) {
		fail(s, "HEADERS is too short");
		return;
	}
	if (spdy_unpack(&s->zlib, p + 4, n - 4, &h, &err) < 0) {
		fail(s, err.msg);
		return;
	}
	spdy_headers_release(&h);
	st = find(s, get32(p) & 0x7fffffff);
	if (st != NULL && (flags & FLAG_FIN))
		channel_input_end(&st->ch);
}

/* ---- flow control, 2.6.8 ---- */

void
spdy_drained(struct spdy *s)
{
	uint32_t start = s->turn;

	/* Round robin, by id, since a user may make streams go away meanwhile. */
	for (int pass = 0; pass < 2; pass++) {
		uint32_t at = pass == 0 ? start : 0;

		for (;;) {
			struct spdy_stream *st;

			TAILQ_FOREACH (st, &s->streams, entry)
				if (st->id > at && st->ch.want_room)
					break;
			if (st == NULL || (pass == 1 && st->id > start))
				break;
			at = st->id;
			if (room(&st->ch) == 0)
				continue;
			s->turn = at;
			st->ch.want_room = false;
			if (st->ch.user != NULL)
				st->ch.user->room(&st->ch);
		}
	}
}

static void
on_window_update(struct spdy *s, const unsigned char *p, size_t n)
{
	struct spdy_stream *st = NULL;
	uint32_t id, delta;
	int64_t *window;

	if (n != 8) {
		fail(s, "WINDOW_UPDATE of a wrong length");
		return;
	}
	id = get32(p) & 0x7fffffff;
	delta = get32(p + 4) & 0x7fffffff;
	s->flow = true;
	if (id != 0 && (st = find(s, id)) == NULL)
		return;
	window = st != NULL ? &st->window : &s->window;
	if (delta == 0 || *window + delta > INT32_MAX) {
		if (st == NULL) {
			fail(s, "WINDOW_UPDATE out of range");
			return;
		}
		send_pair(s, RST_STREAM, id, RST_FLOW_CONTROL_ERROR);
		st->reset = true;
		channel_lost(&st->ch);
		return;
	}
	*window += delta;
	spdy_drained(s);
}

static void
on_settings(struct spdy *s, const unsigned char *p, size_t n)
{
	size_t count;

	if (n < 4 || (n - 4) % 8 != 0 || (count = get32(p)) != (n - 4) / 8) {
		fail(s, "SETTINGS of a wrong length");
		return;
	}
	for (p += 4; count > 0; count--, p += 8) {
		uint32_t value = get32(p + 4);
		struct spdy_stream *st;

		if ((get32(p) & 0xffffff) != SETTINGS_INITIAL_WINDOW)
			continue;
		if (value > INT32_MAX) {
			fail(s, "SETTINGS: window out of range");
			return;
		}
		s->flow = true;
		TAILQ_FOREACH (st, &s->streams, entry)
			st->window += (int64_t)value - s->initial_window;
		s->initial_window = value;
	}
	spdy_drained(s);
}

/* ---- frames ---- */

static void
on_control(struct spdy *s)
{
	const unsigned char *p = (const unsigned char *)(s->body.len > 0 ? s->body.data : "");
	unsigned type = get32(s->head) & 0xffff, flags = s->head[4];
	size_t n = s->body.len;

	switch (type) {
	case SYN_STREAM:
		on_syn_stream(s, flags, p, n);
		break;
	case SYN_REPLY:
	case HEADERS:
		on_headers(s, flags, p, n);
		break;
	case RST_STREAM:
		on_rst_stream(s, p, n);
		break;
	case SETTINGS:
		on_settings(s, p, n);
		break;
	case PING:
		if (n != 4)
			fail(s, "PING of a wrong length");
		else if (p[3] % 2 == 1) /* a client's are odd, 2.6.5; even ones would answer ours */
			send_control(s, PING, 0, p, 4);
		break;
	case WINDOW_UPDATE:
		on_window_update(s, p, n);
		break;
	default: /* GOAWAY: it opens no more streams; others are to be ignored, 2.2.1 */
		break;
	}
}

static void
on_head(struct spdy *s)
{
	uint32_t id = get32(s->head);

	s->left = get32(s->head + 4) & 0xffffff;
	s->control = (id & 0x80000000) != 0;
	s->target = NULL;
	if (s->control) {
		if ((id >> 16 & 0x7fff) != SPDY_VERSION)
			fail(s, "a control frame of another version");
		else if (s->left > SPDY_CONTROL_MAX)
			fail(s, "a control frame of more than 16 KiB");
		return;
	}
	s->target = find(s, id);
	if (s->target == NULL && id > s->last_id) {
		if (id == 0)
			fail(s, "data on stream 0");
		else
			send_pair(s, RST_STREAM, id, RST_INVALID_STREAM);
	}
}

static void
on_payload(struct spdy *s, const char *p, size_t n)
{
	if (s->control) {
		buf_add(&s->body, p, n);
		return;
	}
	s->owed += n;
	if (s->owed >= CREDIT_STEP) {
		send_pair(s, WINDOW_UPDATE, 0, (uint32_t)s->owed);
		s->owed = 0;
	}
	if (s->target == NULL)
		return;
	if (s->target->ch.in_ended || s->target->ch.discard)
		credit(&s->target->ch, n);
	else
		channel_input(&s->target->ch, p, n);
}

static void
on_frame_end(struct spdy *s)
{
	s->n_head = 0;
	if (s->control) {
		on_control(s);
		buf_release(&s->body);
	} else if (s->target != NULL && (s->head[4] & FLAG_FIN)) {
		channel_input_end(&s->target->ch);
	}
	s->target = NULL;
}

void
spdy_feed(struct spdy *s, const char *p, size_t n)
{
	bury(s);
	while (n > 0 && !s->failed) {
		size_t take;

		if (s->n_head < sizeof(s->head)) {
			take = MIN(n, sizeof(s->head) - s->n_head);
			memcpy(s->head + s->n_head, p, take);
			s->n_head += take;
			p += take;
			n -= take;
			if (s->n_head < sizeof(s->head))
				return;
			on_head(s);
		} else {
			take = MIN(n, (size_t)s->left);
			on_payload(s, p, take);
			s->left -= (uint32_t)take;
			p += take;
			n -= take;
		}
		if (!s->failed && s->left == 0)
			on_frame_end(s);
	}
}

void
spdy_init(struct spdy *s, struct carrier *below, const struct spdy_user *user)
{
	*s = (struct spdy){.below = below,
	    .user = user,
	    .window = DEFAULT_WINDOW,
	    .initial_window = DEFAULT_WINDOW,
	    .group.below = below};
	TAILQ_INIT(&s->streams);
	TAILQ_INIT(&s->forgotten);
}

void
spdy_goaway(struct spdy *s)
{
	if (s->failed)
		return;
	s->failed = true;
	send_pair(s, GOAWAY, s->last_id, 0);
}

void
spdy_lost(struct spdy *s)
{
	uint32_t at = 0;

	s->failed = true;
	for (;;) {
		struct spdy_stream *st;

		TAILQ_FOREACH (st, &s->streams, entry)
			if (st->id > at)
				break;
		if (st == NULL)
			return;
		at = st->id;
		st->reset = true;
		channel_lost(&st->ch);
	}
}

void
spdy_release(struct spdy *s)
{
	s->failed = true;
	while (!TAILQ_EMPTY(&s->streams)) {
		struct spdy_stream *st = TAILQ_FIRST(&s->streams);

		st->reset = true;
		spdy_forget(st);
	}
	bury(s);
	buf_release(&s->body);
	spdy_zlib_release(&s->zlib);
}
