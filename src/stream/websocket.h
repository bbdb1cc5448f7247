/* SPDX-License-Identifier: Apache-2.0
 *
 * The server's half of WebSocket (RFC 6455) on a carrier: frames by libwslay, messages passed on
 * piece by piece, so that a long one needs no memory.
 */
#ifndef STREAM_WEBSOCKET_H
#define STREAM_WEBSOCKET_H

#include <stdint.h>
#include <sys/types.h>
#include <wslay/wslay.h>

#include "stream/channel.h"

enum { WS_ACCEPT_SIZE = 29, WS_CONTROL_MAX = 125 };

struct ws;

struct ws_user {
	void (*begin)(struct ws *ws, bool binary); /* a message */
	void (*piece)(struct ws *ws, const char *p, size_t n);
	void (*end)(struct ws *ws);    /* of the message */
	void (*closed)(struct ws *ws); /* by the client; it was answered */
};

struct ws {
	struct carrier *below;
	const struct ws_user *user;
	/* private */
	wslay_frame_context_ptr frames;
	const char *in; /* being fed */
	size_t n_in;
	struct iovec *out; /* being collected */
	int n_out;
	uint64_t left;  /* of the frame's payload */
	uint8_t opcode; /* of the frame */
	bool in_frame, fin, in_message, close_sent, failed;
	uint8_t control[WS_CONTROL_MAX];
	size_t n_control;
};

void ws_init(struct ws *ws, struct carrier *below, const struct ws_user *user);
void ws_feed(
    struct ws *ws, const char *p, size_t n); /* a broken peer: close frame, below->fail() */
/* One message of a prefix (n_prefix may be 0) and the bytes. */
void ws_send(
    struct ws *ws, bool binary, const void *prefix, size_t n_prefix, const void *p, size_t n);
void ws_close(struct ws *ws, uint16_t code, const char *why); /* once */
void ws_release(struct ws *ws);

/* Sec-WebSocket-Accept for a key; -1: it is not 16 bytes of base64. */
int ws_accept_key(const char *key, char out[static WS_ACCEPT_SIZE]);

#endif
