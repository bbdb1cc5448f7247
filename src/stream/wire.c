/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients' sockets: see wire.h. One read per wake-up and client, so that a busy one starves nobody.
 */
#include "stream/wire.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"

enum { READ_SIZE = 64 * 1024, MAX_IOV = 4 };

static size_t
queued(const struct wire *w)
{
	return w->queue.len - w->sent;
}

static void
watch(struct wire *w)
{
	bool read = w->fd >= 0 && !w->held && !w->full;
	bool write =
	    w->fd >= 0 && (queued(w) > 0 || w->read_wants_write || (w->finishing && !w->shut));

	if (read != (bool)ev_is_active(&w->r)) {
		if (read)
			ev_io_start(loop, &w->r);
		else
			ev_io_stop(loop, &w->r);
	}
	if (write != (bool)ev_is_active(&w->w)) {
		if (write)
			ev_io_start(loop, &w->w);
		else
			ev_io_stop(loop, &w->w);
	}
}

static void
lost(struct wire *w)
{
	wire_close(w);
	w->on_lost(w);
}

/* As write(2): -1 with EAGAIN when it has to wait. */
static ssize_t
put(struct wire *w, const void *p, size_t n)
{
	int r;

	if (w->ssl == NULL)
		return send(w->fd, p, n, MSG_NOSIGNAL);
	ERR_clear_error();
	r = SSL_write(w->ssl, p, (int)MIN(n, (size_t)INT32_MAX));
	if (r > 0)
		return r;
	r = SSL_get_error(w->ssl, r);
	errno = r == SSL_ERROR_WANT_WRITE || r == SSL_ERROR_WANT_READ ? EAGAIN : EPIPE;
	return -1;
}

static ssize_t
get(struct wire *w, void *p, size_t n)
{
	int r;

	if (w->ssl == NULL)
		return recv(w->fd, p, n, 0);
	ERR_clear_error();
	r = SSL_read(w->ssl, p, (int)n);
	w->read_wants_write = false;
	if (r > 0)
		return r;
	r = SSL_get_error(w->ssl, r);
	w->read_wants_write = r == SSL_ERROR_WANT_WRITE;
	if (r == SSL_ERROR_ZERO_RETURN)
		return 0;
	errno = r == SSL_ERROR_WANT_READ || r == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
	return -1;
}

/* -1: the socket is broken. */
static int
flush(struct wire *w)
{
	while (queued(w) > 0) {
		ssize_t n = put(w, w->queue.data + w->sent, queued(w));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		w->sent += (size_t)n;
		w->active_ms = loop_now_ms();
	}
	buf_release(&w->queue);
	w->sent = 0;
	if (w->finishing && !w->shut) {
		w->shut = true;
		if (w->ssl != NULL)
			SSL_shutdown(w->ssl);
		shutdown(w->fd, SHUT_WR);
	}
	return 0;
}

static void
on_writable(struct ev_loop *l, ev_io *io, int events)
{
	struct wire *w = container_of(io, struct wire, w);

	(void)l;
	(void)events;
	if (flush(w) < 0) {
		lost(w);
		return;
	}
	if (w->sent > WIRE_HIGH) {
		buf_consume(&w->queue, w->sent);
		w->sent = 0;
	}
	if (queued(w) <= WIRE_LOW) {
		w->full = false;
		w->on_drained(w);
	}
	if (w->fd >= 0)
		watch(w);
}

static void
on_readable(struct ev_loop *l, ev_io *io, int events)
{
	static char scratch[READ_SIZE];
	struct wire *w = container_of(io, struct wire, r);
	ssize_t n;

	(void)l;
	(void)events;
	do {
		n = get(w, scratch, sizeof(scratch));
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			lost(w);
			return;
		}
		if (n < 0)
			break;
		w->active_ms = loop_now_ms();
		w->on_data(w, scratch, (size_t)n);
		/* What TLS has decrypted already wakes nobody up. */
	} while (w->fd >= 0 && !w->held && w->ssl != NULL && SSL_pending(w->ssl) > 0);
	if (w->fd >= 0)
		watch(w);
}

static void
carrier_send(struct carrier *c, const struct iovec *iov, int n)
{
	struct wire *w = container_of(c, struct wire, carrier);
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
	ssize_t done = 0;

	if (w->fd < 0 || w->finishing)
		return;
	if (queued(w) == 0 && w->ssl == NULL) {
		done = sendmsg(w->fd, &m, MSG_NOSIGNAL);
		/* What is broken is found by the next read, outside of our caller. */
		if (done < 0)
			done = 0;
		w->active_ms = loop_now_ms();
	}
	for (int i = 0; i < n; i++) {
		size_t skip = MIN((size_t)done, iov[i].iov_len);

		done -= (ssize_t)skip;
		if (iov[i].iov_len > skip)
			buf_add(&w->queue, (char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
	}
	if (queued(w) >= WIRE_HIGH)
		w->full = true;
	watch(w);
}

static size_t
carrier_room(const struct carrier *c)
{
	return wire_room(container_of(c, struct wire, carrier));
}

static void
carrier_hold(struct carrier *c, bool hold)
{
	wire_hold(container_of(c, struct wire, carrier), hold);
}

void
wire_open_take(struct wire *w, int fd, SSL_CTX *ctx)
{
	w->carrier.send = carrier_send;
	w->carrier.room = carrier_room;
	w->carrier.hold = carrier_hold;
	w->fd = fd;
	w->active_ms = loop_now_ms();
	if (ctx != NULL) {
		w->ssl = SSL_new(ctx);
		SSL_set_fd(w->ssl, fd);
		SSL_set_accept_state(w->ssl);
		SSL_set_mode(w->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
		                         SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	}
	ev_io_init(&w->r, on_readable, fd, EV_READ);
	ev_io_init(&w->w, on_writable, fd, EV_WRITE);
	watch(w);
}

void
wire_send(struct wire *w, const void *p, size_t n)
{
	struct iovec iov = {(void *)(uintptr_t)p, n};

	carrier_send(&w->carrier, &iov, 1);
}

void
wire_hold(struct wire *w, bool hold)
{
	w->held = hold;
	watch(w);
	/* TLS may have decrypted bytes that no readiness of the socket announces. */
	if (!hold && w->ssl != NULL && w->fd >= 0 && SSL_pending(w->ssl) > 0)
		ev_feed_event(loop, &w->r, EV_READ);
}

size_t
wire_room(const struct wire *w)
{
	return w->fd >= 0 && !w->finishing && queued(w) < WIRE_HIGH ? WIRE_HIGH - queued(w) : 0;
}

void
wire_finish(struct wire *w)
{
	if (w->fd < 0 || w->finishing)
		return;
	w->finishing = true;
	watch(w);
}

void
wire_close(struct wire *w)
{
	if (w->fd < 0)
		return;
	ev_io_stop(loop, &w->r);
	ev_io_stop(loop, &w->w);
	if (w->ssl != NULL)
		SSL_free(take_ptr(w->ssl));
	fd_closep(&w->fd);
	buf_release(&w->queue);
	w->sent = 0;
}

void
wire_release(struct wire *w)
{
	wire_close(w);
}
