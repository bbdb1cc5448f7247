/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbered channels on a WebSocket (channel.k8s.io): the first byte of a message is the number of
 * its channel, the rest belongs to it; in base64 the first is a digit, and the rest is encoded. In
 * v5 a message of 255 and a number ends the client's half of that channel.
 */
#include <openssl/evp.h>
#include <string.h>

#include "base/macros.h"
#include "base/xalloc.h"
#include "stream/conn.h"

enum { CLOSE_SIGNAL = 255, FRAME_ROOM = 64, DECODE_SIZE = 4096 };

/* ---- to the client ---- */

static size_t
room(const struct channel *ch)
{
	const struct ws_channel *w = container_of(ch, struct ws_channel, ch);
	size_t n = wire_room(&w->c->wire);

	if (ch->out_ended || n <= FRAME_ROOM)
		return 0;
	n -= FRAME_ROOM;
	return MIN(w->c->channels.base64 ? n / 2 : n, (size_t)CHANNEL_CHUNK);
}

static void
send_bytes(struct channel *ch, const void *p, size_t n)
{
	static unsigned char text[CHANNEL_CHUNK / 3 * 4 + 8];
	struct ws_channel *w = container_of(ch, struct ws_channel, ch);
	unsigned char number = w->number;

	if (!w->c->channels.base64) {
		ws_send(&w->c->ws, true, &number, 1, p, n);
		return;
	}
	number = (unsigned char)('0' + number);
	for (const char *at = p;;) {
		size_t part = MIN(n, (size_t)CHANNEL_CHUNK);
		int len = EVP_EncodeBlock(text, (const unsigned char *)at, (int)part);

		ws_send(&w->c->ws, false, &number, 1, text, (size_t)len);
		at += part;
		n -= part;
		if (n == 0)
			return;
	}
}

static void
end(struct channel *ch)
{
	ch->out_ended = true;
}

static void
reset(struct channel *ch)
{
	ch->in_ended = ch->out_ended = true;
}

static const struct channel_ops ops = {room, send_bytes, end, reset, NULL};

void
ws_channels_drained(struct conn *c)
{
	for (size_t i = 0; i < c->channels.n && c->mode == CONN_CHANNELS; i++) {
		struct channel *ch = &c->channels.at[i].ch;

		if (!ch->want_room || room(ch) == 0)
			continue;
		ch->want_room = false;
		if (ch->user != NULL)
			ch->user->room(ch);
	}
}

/* ---- from the client ---- */

static void
fail(struct conn *c, uint16_t code, const char *why)
{
	ws_close(&c->ws, code, why);
	c->wire.carrier.fail(&c->wire.carrier, why);
}

static void
on_begin(struct ws *ws, bool binary)
{
	struct conn *c = container_of(ws, struct conn, ws);

	(void)binary; /* clients are not careful about it */
	c->channels.expect = WS_NUMBER;
	c->channels.target = NULL;
	c->channels.n_carry = 0;
	c->channels.padded = false;
}

static struct ws_channel *
numbered(struct ws_channels *w, unsigned number)
{
	return number < w->n ? &w->at[number] : NULL;
}

static void
on_number(struct ws_channels *w, unsigned char b)
{
	if (w->close_signal && b == CLOSE_SIGNAL) {
		w->expect = WS_CLOSE_NUMBER;
		return;
	}
	w->target = numbered(w, w->base64 ? (unsigned)(b - '0') : b);
	w->expect = w->target != NULL ? WS_DATA : WS_IGNORE;
}

/* False: these are not four digits of base64. */
static bool
decode_four(struct ws_channels *w, unsigned char out[static 3], size_t *ret_n)
{
	size_t pads = w->carry[3] != '=' ? 0 : w->carry[2] != '=' ? 1 : 2;

	if (w->padded || memchr(w->carry, '=', 4 - pads) != NULL ||
	    EVP_DecodeBlock(out, (unsigned char *)w->carry, 4) != 3)
		return false;
	w->padded = pads > 0;
	*ret_n = 3 - pads;
	return true;
}

static bool
is_digit(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '+' || c == '/' || c == '=';
}

static void
on_base64(struct conn *c, const char *p, size_t n)
{
	struct ws_channels *w = &c->channels;
	unsigned char out[DECODE_SIZE + 3];
	size_t len = 0, got;

	for (; n > 0; p++, n--) {
		if (!is_digit(*p)) {
			fail(c, WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA, "malformed base64");
			return;
		}
		w->carry[w->n_carry++] = *p;
		if (w->n_carry < 4)
			continue;
		w->n_carry = 0;
		if (!decode_four(w, out + len, &got)) {
			fail(c, WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA, "malformed base64");
			return;
		}
		len += got;
		if (len >= DECODE_SIZE) {
			channel_input(&w->target->ch, (char *)out, len);
			len = 0;
			if (c->mode != CONN_CHANNELS)
				return;
		}
	}
	channel_input(&w->target->ch, (char *)out, len);
}

static void
on_piece(struct ws *ws, const char *p, size_t n)
{
	struct conn *c = container_of(ws, struct conn, ws);
	struct ws_channels *w = &c->channels;

	if (c->mode != CONN_CHANNELS)
		return;
	if (w->expect == WS_NUMBER) {
		on_number(w, (unsigned char)*p);
		p++;
		n--;
	}
	if (n > 0 && w->expect == WS_CLOSE_NUMBER) {
		struct ws_channel *t = numbered(w, (unsigned char)*p);

		w->expect = WS_IGNORE;
		if (t != NULL)
			channel_input_end(&t->ch);
		return;
	}
	if (n == 0 || w->expect != WS_DATA)
		return;
	if (w->base64)
		on_base64(c, p, n);
	else
		channel_input(&w->target->ch, p, n);
}

static void
on_end(struct ws *ws)
{
	struct conn *c = container_of(ws, struct conn, ws);

	if (c->mode == CONN_CHANNELS && c->channels.n_carry != 0)
		fail(c, WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA, "base64 is cut short");
}

static void
on_closed(struct ws *ws)
{
	conn_end(container_of(ws, struct conn, ws));
}

const struct ws_user ws_channels_user = {on_begin, on_piece, on_end, on_closed};

void
ws_channels_open(struct conn *c, size_t n)
{
	struct ws_channels *w = &c->channels;

	w->group.below = &c->wire.carrier;
	w->at = xcalloc(n, sizeof(*w->at));
	w->n = n;
	for (size_t i = 0; i < n; i++) {
		w->at[i].ch.ops = &ops;
		w->at[i].ch.group = &w->group;
		w->at[i].c = c;
		w->at[i].number = (unsigned char)i;
	}
}

void
ws_channels_lost(struct conn *c)
{
	for (size_t i = 0; i < c->channels.n; i++)
		channel_lost(&c->channels.at[i].ch);
}

void
ws_channels_release(struct conn *c)
{
	for (size_t i = 0; i < c->channels.n; i++)
		channel_release(&c->channels.at[i].ch);
	free(take_ptr(c->channels.at));
	c->channels.n = 0;
}
