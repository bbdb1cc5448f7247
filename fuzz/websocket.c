/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client of WebSocket sends, in pieces whose size is the first byte. Messages begin and end
 * in turn, and a broken one ends the connection, once.
 */
#include "stream/websocket.h"

#include "base/macros.h"
#include "fuzz.h"

static bool inside, over;

static void
on_send(struct carrier *c, const struct iovec *iov, int n)
{
	(void)c;
	must(n >= 1 && iov[0].iov_len >= 2);
	/* Nothing of ours is masked or in fragments. */
	must((((unsigned char *)iov[0].iov_base)[0] & 0xf0) == 0x80);
	must((((unsigned char *)iov[0].iov_base)[1] & 0x80) == 0);
}

static void
on_fail(struct carrier *c, const char *why)
{
	(void)c;
	must(!over && why[0] != '\0');
	over = true;
}

static void
on_begin(struct ws *ws, bool binary)
{
	(void)binary;
	must(!inside && !over);
	inside = true;
	ws_send(ws, true, "\1", 1, "x", 1);
}

static void
on_piece(struct ws *ws, const char *p, size_t n)
{
	(void)ws;
	must(inside && !over && n > 0 && p != NULL);
}

static void
on_end(struct ws *ws)
{
	(void)ws;
	must(inside && !over);
	inside = false;
}

static void
on_closed(struct ws *ws)
{
	(void)ws;
	must(!over);
	over = true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ws_user user = {on_begin, on_piece, on_end, on_closed};
	struct carrier below = {.send = on_send, .fail = on_fail};
	char accept[WS_ACCEPT_SIZE], key[25] = "";
	struct ws ws;

	if (size == 0)
		return 0;
	inside = over = false;
	memcpy(key, data, MIN(size, sizeof(key) - 1));
	if (ws_accept_key(key, accept) == 0)
		must(strlen(accept) == WS_ACCEPT_SIZE - 1);
	ws_init(&ws, &below, &user);
	for (size_t at = 1, step = data[0] + 1; at < size; at += step)
		ws_feed(&ws, (const char *)data + at, MIN(step, size - at));
	ws_release(&ws);
	return 0;
}
