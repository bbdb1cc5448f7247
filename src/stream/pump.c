/* SPDX-License-Identifier: Apache-2.0
 *
 * Between channels and descriptors: see pump.h.
 */
#include "stream/pump.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"

/* ---- from the client ---- */

static void
close_in(struct pump *p)
{
	size_t left = p->queue.len;

	if (p->in_fd < 0)
		return;
	ev_io_stop(loop, &p->in_w);
	if (p->half_close) {
		shutdown(p->in_fd, SHUT_WR);
		p->kept = true;
		p->kept_fd = take_fd(p->in_fd);
	}
	fd_closep(&p->in_fd);
	buf_release(&p->queue);
	/* Nobody wants it; the client is not to wait for that. */
	if (p->ch != NULL && left > 0)
		channel_taken(p->ch, left);
	if (p->in_done != NULL)
		p->in_done(p);
}

static ssize_t
give(struct pump *p, const char *data, size_t n)
{
	ssize_t r;

	do
		r = write(p->in_fd, data, n);
	while (r < 0 && errno == EINTR);
	if (r < 0 && errno == EAGAIN)
		return 0;
	return r;
}

static void
maybe_end_in(struct pump *p)
{
	if (p->ch != NULL && p->ch->in_ended && p->queue.len == 0 && !p->hold_open)
		close_in(p);
}

static void
on_in_writable(struct ev_loop *l, ev_io *w, int events)
{
	struct pump *p = container_of(w, struct pump, in_w);
	ssize_t n = give(p, p->queue.data, p->queue.len);

	(void)l;
	(void)events;
	if (n < 0) {
		close_in(p);
		return;
	}
	buf_consume(&p->queue, (size_t)n);
	if (p->queue.len == 0) {
		buf_release(&p->queue);
		ev_io_stop(loop, &p->in_w);
	}
	if (p->ch != NULL && n > 0)
		channel_taken(p->ch, (size_t)n);
	maybe_end_in(p);
}

static void
on_data(struct channel *ch, const char *data, size_t n)
{
	struct pump *p = ch->owner;
	ssize_t done = 0;

	if (p->in_fd < 0) {
		channel_taken(ch, n);
		return;
	}
	if (p->queue.len == 0)
		done = give(p, data, n);
	if (done < 0) {
		close_in(p);
		channel_taken(ch, n);
		return;
	}
	if ((size_t)done < n) {
		buf_add(&p->queue, data + done, n - (size_t)done);
		ev_io_start(loop, &p->in_w);
	}
	if (done > 0)
		channel_taken(ch, (size_t)done);
}

static void
on_ended(struct channel *ch)
{
	struct pump *p = ch->owner;

	if (p->in_fd >= 0)
		maybe_end_in(p);
}

/* ---- to the client ---- */

static void
end_out(struct pump *p)
{
	ev_io_stop(loop, &p->out_r);
	fd_closep(&p->out_fd);
	if (p->out_done != NULL)
		p->out_done(p);
}

static void
on_out_readable(struct ev_loop *l, ev_io *w, int events)
{
	static char scratch[CHANNEL_CHUNK];
	struct pump *p = container_of(w, struct pump, out_r);
	size_t room =
	    p->ch != NULL && !p->ch->out_ended ? p->ch->ops->room(p->ch) : sizeof(scratch);
	ssize_t n;

	(void)l;
	(void)events;
	if (room == 0) {
		p->ch->want_room = true;
		ev_io_stop(loop, &p->out_r);
		return;
	}
	n = read(p->out_fd, scratch, MIN(room, sizeof(scratch)));
	if (n > 0) {
		if (p->ch != NULL && !p->ch->out_ended)
			p->ch->ops->send(p->ch, scratch, (size_t)n);
		if (p->draining && p->out_fd >= 0)
			ev_feed_event(loop, &p->out_r, EV_READ);
		return;
	}
	if (n < 0 && errno == EINTR)
		return;
	if (n < 0 && errno == EAGAIN && !p->draining)
		return;
	if (n < 0 && errno != EAGAIN) {
		p->out_failed = true;
		p->out_errno = errno;
	}
	end_out(p);
}

static void
on_room(struct channel *ch)
{
	struct pump *p = ch->owner;

	if (p->out_fd < 0)
		return;
	ev_io_start(loop, &p->out_r);
	if (p->draining)
		ev_feed_event(loop, &p->out_r, EV_READ);
}

static void
on_gone(struct channel *ch)
{
	struct pump *p = ch->owner;

	p->ch = NULL;
	if (p->gone != NULL) {
		p->gone(p);
		return;
	}
	if (p->in_fd >= 0 && !p->hold_open)
		close_in(p);
	/* What comes is read on and dropped: a process does not wait for a reader that is gone. */
	if (p->out_fd >= 0) {
		ev_io_start(loop, &p->out_r);
		if (p->draining)
			ev_feed_event(loop, &p->out_r, EV_READ);
	}
}

void
pump_start_take(struct pump *p, struct channel *ch, int in_fd, int out_fd)
{
	static const struct channel_user user = {on_data, on_ended, on_room, on_gone};

	p->ch = ch;
	p->in_fd = in_fd;
	p->out_fd = out_fd;
	p->started = true;
	if (in_fd >= 0)
		ev_io_init(&p->in_w, on_in_writable, in_fd, EV_WRITE);
	if (out_fd >= 0) {
		ev_io_init(&p->out_r, on_out_readable, out_fd, EV_READ);
		ev_io_start(loop, &p->out_r);
	}
	if (ch != NULL)
		channel_use(ch, &user, p);
}

void
pump_drain(struct pump *p)
{
	p->draining = true;
	if (p->out_fd >= 0 && ev_is_active(&p->out_r))
		ev_feed_event(loop, &p->out_r, EV_READ);
}

void
pump_stop(struct pump *p)
{
	if (!p->started)
		return;
	if (p->ch != NULL)
		channel_leave(take_ptr(p->ch));
	if (p->in_fd >= 0) {
		ev_io_stop(loop, &p->in_w);
		fd_closep(&p->in_fd);
	}
	if (p->out_fd >= 0) {
		ev_io_stop(loop, &p->out_r);
		fd_closep(&p->out_fd);
	}
	if (p->kept)
		fd_closep(&p->kept_fd);
	p->kept = false;
	buf_release(&p->queue);
	p->started = false;
}
