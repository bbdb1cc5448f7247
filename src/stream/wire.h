/* SPDX-License-Identifier: Apache-2.0
 *
 * A client's socket on the loop: what it sends goes to a callback at once, what it gets is written
 * when it takes it and queued meanwhile. With a TLS context, the same over TLS.
 *
 * Life cycle: wire_open_take(); callbacks; wire_close() from anywhere, after which none comes any
 * more; wire_release() frees, and is not called from inside a callback of the wire's.
 */
#ifndef STREAM_WIRE_H
#define STREAM_WIRE_H

#include <openssl/ssl.h>
#include <stdint.h>

#include "base/buf.h"
#include "loop/loop.h"
#include "stream/channel.h"

enum { WIRE_HIGH = 256 * 1024, WIRE_LOW = 64 * 1024 };

struct wire {
	struct carrier carrier;
	int fd;
	void (*on_data)(struct wire *, const char *p, size_t n); /* all of it is dealt with */
	void (*on_drained)(struct wire *);                       /* there is room again */
	void (*on_lost)(struct wire *);                          /* end of input, or an error */
	/* private */
	ev_io r, w;
	SSL *ssl;
	struct buf queue;
	size_t sent; /* of the queue */
	bool held, full, finishing, shut, read_wants_write;
	int64_t active_ms;
};

/* ctx NULL: plain. Takes the non-blocking socket over. */
void wire_open_take(struct wire *w, int fd, SSL_CTX *ctx);
void wire_send(struct wire *w, const void *p, size_t n);
void wire_hold(struct wire *w, bool hold);
size_t wire_room(const struct wire *w);

/* After what is queued, tell the peer that no more comes; its input is still read. */
void wire_finish(struct wire *w);

/* Stop at once. */
void wire_close(struct wire *w);
void wire_release(struct wire *w);

#endif
