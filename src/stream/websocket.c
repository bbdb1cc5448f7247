/* SPDX-License-Identifier: Apache-2.0
 *
 * WebSocket connections: see websocket.h. Section numbers are those of RFC 6455.
 */
#include "stream/websocket.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

#include "base/macros.h"

enum { MAX_PIECES = 4 };

/* ---- sending ---- */

static ssize_t
on_send(const uint8_t *data, size_t len, int flags, void *arg)
{
	struct ws *ws = arg;

	(void)flags;
	ws->out[ws->n_out++] = (struct iovec){(void *)(uintptr_t)data, len};
	return (ssize_t)len;
}

static void
send_frame(
    struct ws *ws, uint8_t opcode, const void *prefix, size_t n_prefix, const void *p, size_t n)
{
	struct wslay_frame_iocb f = {.fin = 1, .opcode = opcode, .payload_length = n_prefix + n};
	struct iovec iov[MAX_PIECES];

	if (ws->close_sent)
		return;
	ws->out = iov;
	ws->n_out = 0;
	/* The header goes out with the first piece. */
	f.data = n_prefix > 0 ? prefix : p;
	f.data_length = n_prefix > 0 ? n_prefix : n;
	wslay_frame_send(ws->frames, &f);
	if (n_prefix > 0 && n > 0) {
		f.data = p;
		f.data_length = n;
		wslay_frame_send(ws->frames, &f);
	}
	ws->below->send(ws->below, iov, ws->n_out);
}

void
ws_send(struct ws *ws, bool binary, const void *prefix, size_t n_prefix, const void *p, size_t n)
{
	send_frame(ws, binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME, prefix, n_prefix, p, n);
}

void
ws_close(struct ws *ws, uint16_t code, const char *why)
{
	const uint8_t be[2] = {(uint8_t)(code >> 8), (uint8_t)code};

	send_frame(ws, WSLAY_CONNECTION_CLOSE, be, sizeof(be), why,
	    MIN(strlen(why), (size_t)WS_CONTROL_MAX - sizeof(be)));
	ws->close_sent = true;
}

static void
fail(struct ws *ws, uint16_t code, const char *why)
{
	if (ws->failed)
		return;
	ws->failed = true;
	ws_close(ws, code, why);
	ws->below->fail(ws->below, why);
}

/* ---- receiving ---- */

static ssize_t
on_recv(uint8_t *buf, size_t len, int flags, void *arg)
{
	struct ws *ws = arg;
	size_t n = MIN(len, ws->n_in);

	(void)flags;
	if (n == 0)
		return -1;
	memcpy(buf, ws->in, n);
	ws->in += n;
	ws->n_in -= n;
	return (ssize_t)n;
}

static bool
begin_frame(struct ws *ws, const struct wslay_frame_iocb *f)
{
	const char *wrong = NULL;

	ws->in_frame = true;
	ws->left = f->payload_length;
	ws->opcode = f->opcode;
	ws->fin = f->fin;
	ws->n_control = 0;
	if (!f->mask)
		wrong = "a client's frames are masked";
	else if (f->rsv != 0)
		wrong = "no extension was agreed upon";
	else if (wslay_is_ctrl_frame(f->opcode))
		wrong = f->opcode > WSLAY_PONG                          ? "unknown opcode"
		        : !f->fin || f->payload_length > WS_CONTROL_MAX ? "malformed control frame"
		                                                        : NULL;
	else if (f->opcode > WSLAY_BINARY_FRAME)
		wrong = "unknown opcode";
	else if ((f->opcode == WSLAY_CONTINUATION_FRAME) != ws->in_message)
		wrong = "messages are interleaved";
	if (wrong != NULL) {
		fail(ws, WSLAY_CODE_PROTOCOL_ERROR, wrong);
		return false;
	}
	if (!wslay_is_ctrl_frame(f->opcode) && !ws->in_message) {
		ws->in_message = true;
		ws->user->begin(ws, f->opcode == WSLAY_BINARY_FRAME);
	}
	return true;
}

static void
on_close_frame(struct ws *ws)
{
	uint16_t code = WSLAY_CODE_NORMAL_CLOSURE;

	/* 5.5.1: a status code or nothing. */
	if (ws->n_control == 1) {
		fail(ws, WSLAY_CODE_PROTOCOL_ERROR, "malformed close frame");
		return;
	}
	if (ws->n_control >= 2)
		code = (uint16_t)(ws->control[0] << 8 | ws->control[1]);
	if (code < 1000 || code >= 5000 || code == WSLAY_CODE_NO_STATUS_RCVD ||
	    code == WSLAY_CODE_ABNORMAL_CLOSURE || code == WSLAY_CODE_TLS_HANDSHAKE)
		code = WSLAY_CODE_PROTOCOL_ERROR;
	ws_close(ws, code, "");
	ws->failed = true;
	ws->user->closed(ws);
}

static void
end_frame(struct ws *ws)
{
	ws->in_frame = false;
	if (ws->opcode == WSLAY_CONNECTION_CLOSE) {
		on_close_frame(ws);
	} else if (ws->opcode == WSLAY_PING) {
		send_frame(ws, WSLAY_PONG, NULL, 0, ws->control, ws->n_control);
	} else if (!wslay_is_ctrl_frame(ws->opcode) && ws->fin) {
		ws->in_message = false;
		ws->user->end(ws);
	}
}

static void
take_payload(struct ws *ws, const struct wslay_frame_iocb *f)
{
	ws->left -= f->data_length;
	if (wslay_is_ctrl_frame(ws->opcode)) {
		memcpy(ws->control + ws->n_control, f->data, f->data_length);
		ws->n_control += f->data_length;
	} else if (f->data_length > 0) {
		ws->user->piece(ws, (const char *)f->data, f->data_length);
	}
}

void
ws_feed(struct ws *ws, const char *p, size_t n)
{
	ws->in = p;
	ws->n_in = n;
	while (!ws->failed) {
		struct wslay_frame_iocb f;
		ssize_t r;

		memset(&f, 0, sizeof(f));
		r = wslay_frame_recv(ws->frames, &f);
		if (r == WSLAY_ERR_WANT_READ)
			return;
		if (r < 0) {
			fail(ws, WSLAY_CODE_PROTOCOL_ERROR, "malformed frame");
			return;
		}
		if (!ws->in_frame && !begin_frame(ws, &f))
			return;
		take_payload(ws, &f);
		if (!ws->failed && ws->left == 0)
			end_frame(ws);
	}
}

void
ws_init(struct ws *ws, struct carrier *below, const struct ws_user *user)
{
	static const struct wslay_frame_callbacks callbacks = {on_send, on_recv, NULL};

	*ws = (struct ws){.below = below, .user = user};
	if (wslay_frame_context_init(&ws->frames, &callbacks, ws) != 0)
		abort();
}

void
ws_release(struct ws *ws)
{
	if (ws->frames != NULL)
		wslay_frame_context_free(take_ptr(ws->frames));
}

int
ws_accept_key(const char *key, char out[static WS_ACCEPT_SIZE])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* 1.3 */
	unsigned char digest[SHA_DIGEST_LENGTH], nonce[18];
	char text[24 + sizeof(guid)];

	if (strlen(key) != 24 || EVP_DecodeBlock(nonce, (const unsigned char *)key, 24) != 18 ||
	    key[22] != '=' || key[23] != '=' || key[21] == '=')
		return -1;
	memcpy(text, key, 24);
	memcpy(text + 24, guid, sizeof(guid));
	SHA1((const unsigned char *)text, strlen(text), digest);
	EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest));
	return 0;
}
