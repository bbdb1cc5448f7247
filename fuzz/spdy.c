/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client of SPDY/3.1 sends, in pieces whose size is the first byte. Streams are used by a
 * reader that takes everything, some are forgotten at once; whatever comes, what is sent back is
 * whole frames, the number of streams is bounded, and nothing is left pending.
 */
#include "stream/spdy.h"

#include "base/macros.h"
#include "fuzz.h"

static struct buf sent;
static unsigned holds, fails;

static void
on_send(struct carrier *c, const struct iovec *iov, int n)
{
	(void)c;
	for (int i = 0; i < n; i++)
		if (iov[i].iov_len > 0)
			buf_add(&sent, iov[i].iov_base, iov[i].iov_len);
}

static size_t
on_room(const struct carrier *c)
{
	(void)c;
	return 64 * 1024;
}

static void
on_hold(struct carrier *c, bool hold)
{
	(void)c;
	must(hold == (holds == 0));
	holds = hold;
}

static void
on_fail(struct carrier *c, const char *why)
{
	(void)c;
	must(why[0] != '\0' && fails++ == 0);
}

static void
on_data(struct channel *ch, const char *p, size_t n)
{
	must(n > 0 && !ch->in_ended);
	/* An echo, so that windows are used. */
	while (n > 0 && !ch->out_ended) {
		size_t part = MIN(n, ch->ops->room(ch));

		if (part == 0)
			break;
		ch->ops->send(ch, p, part);
		p += part;
		n -= part;
	}
	channel_taken(ch, ch->pending);
}

static void
on_ended(struct channel *ch)
{
	ch->ops->end(ch);
}

static void
on_channel_room(struct channel *ch)
{
	must(ch->ops->room(ch) > 0);
}

static void
on_gone(struct channel *ch)
{
	spdy_forget(container_of(ch, struct spdy_stream, ch));
}

static bool
on_opened(struct spdy *s, struct spdy_stream *st, const struct spdy_headers *h)
{
	static const struct channel_user user = {on_data, on_ended, on_channel_room, on_gone};

	must(s->n_streams <= SPDY_STREAMS_MAX && h->n <= SPDY_HEADERS_MAX);
	for (size_t i = 0; i < h->n; i++)
		must(h->h[i].name[0] != '\0' && strlen(h->h[i].value) <= SPDY_BLOCK_MAX);
	if (h->n % 4 == 3)
		return false;
	if (h->n % 4 == 2)
		return true; /* nobody reads it: it is kept, up to a limit */
	channel_use(&st->ch, &user, NULL);
	st->ch.want_room = true;
	return true;
}

static void
check_frames(void)
{
	size_t at = 0;

	while (at < sent.len) {
		const unsigned char *p = (unsigned char *)sent.data + at;

		must(sent.len - at >= 8);
		must(!(p[0] & 0x80) || (p[0] == 0x80 && p[1] == 3));
		at += 8 + ((size_t)p[5] << 16 | (size_t)p[6] << 8 | p[7]);
	}
	must(at == sent.len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct spdy_user user = {on_opened};
	struct carrier below = {on_send, on_room, on_hold, on_fail};
	struct spdy s;

	if (size == 0)
		return 0;
	holds = fails = 0;
	spdy_init(&s, &below, &user);
	for (size_t at = 1, step = data[0] + 1; at < size; at += step)
		spdy_feed(&s, (const char *)data + at, MIN(step, size - at));
	spdy_drained(&s);
	check_frames();
	spdy_lost(&s);
	spdy_release(&s);
	must(holds == 0);
	buf_release(&sent);
	return 0;
}
