/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients attached to a process: see attachment.h.
 */
#include "exec/keeper/attachment.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper/front.h"
#include "exec/keeper/input.h"
#include "exec/keeper/output.h"
#include "exec/keeper/proc.h"

enum {
	INPUT_SIZE = 4096,    /* read at once, and kept until the process took it */
	INPUT_READS = 16,     /* per turn */
	CRASH_DELAY_MS = 200, /* for the end of coracled's connection to show */
	CHECK_MS = 50
};

/* Those whose process has ended. */
static LIST_HEAD(, attachment) lingering = LIST_HEAD_INITIALIZER(lingering);

static void on_timer(struct reactor_timer *timer);

static int64_t
now_ms(void)
{
	return clock_mono_ns() / NS_PER_MS;
}

static struct output *
output_of(const struct sink *s)
{
	const struct attachment *a = s->owner;

	return a->proc == NULL ? NULL : a->proc->out[s == &a->out[1]];
}

static void
sink_release_output(struct sink *s)
{
	struct output *o = output_of(s);

	if (s->holding && o != NULL)
		output_release(o);
	s->holding = false;
}

static void
sink_close(struct sink *s)
{
	sink_release_output(s);
	reactor_del(&s->src);
	fd_closep(&s->fd);
	free(take_ptr(s->queue));
	s->len = s->cap = 0;
}

static void
close_input(struct attachment *a)
{
	reactor_del(&a->in_src);
	reactor_timer_stop(&a->in_timer);
	fd_closep(&a->in_fd);
	free(take_ptr(a->in_queue));
	a->in_len = 0;
}

void
attachment_free(struct attachment *a)
{
	sink_close(&a->out[0]);
	sink_close(&a->out[1]);
	close_input(a);
	reactor_timer_stop(&a->timer);
	LIST_REMOVE(a, entry);
	free(a);
}

/* Nothing is left that this client could send or get. */
static bool
is_over(const struct attachment *a)
{
	return a->in_fd < 0 && a->out[0].fd < 0 && a->out[1].fd < 0;
}

/* From its process; it still gets what is queued for it. */
static void
detach(struct attachment *a)
{
	int i;

	for (i = 0; i < 2; i++) {
		sink_release_output(&a->out[i]);
		if (a->out[i].fd >= 0 && a->out[i].len == 0)
			sink_close(&a->out[i]);
	}
	close_input(a);
	if (is_over(a)) {
		attachment_free(a);
		return;
	}
	LIST_REMOVE(a, entry);
	LIST_INSERT_HEAD(&lingering, a, entry);
	a->proc = NULL;
	reactor_timer_start(&a->timer, ATTACHMENT_LINGER_MS, on_timer);
}

/* ---- output ---- */

static void
sink_watch(struct sink *s)
{
	reactor_mod(&s->src, s->len > 0 ? EPOLLOUT : 0);
}

/* Whether the sink is still open. */
static bool
sink_flush(struct sink *s)
{
	while (s->len > 0) {
		ssize_t n = write(s->fd, s->queue, s->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			sink_close(s);
			return false;
		}
		s->progress_ms = now_ms();
		s->len -= (size_t)n;
		memmove(s->queue, s->queue + n, s->len);
	}
	if (s->len == 0) {
		free(take_ptr(s->queue));
		s->cap = 0;
	}
	if (s->len <= ATTACHMENT_QUEUE_LOW)
		sink_release_output(s);
	return true;
}

static void
on_sink(struct reactor_source *src, uint32_t events)
{
	struct sink *s = container_of(src, struct sink, src);
	struct attachment *a = s->owner;

	if ((events & (EPOLLERR | EPOLLHUP)) != 0 || !sink_flush(s)) {
		sink_close(s);
	} else if (a->proc == NULL && s->len == 0) {
		sink_close(s);
	} else {
		sink_watch(s);
	}
	if (is_over(a))
		attachment_free(a);
}

static void
sink_queue(struct sink *s, const char *data, size_t n)
{
	if (s->len + n > s->cap) {
		s->cap = MAX(s->len + n, 2 * s->cap);
		s->queue = xrealloc(s->queue, s->cap);
	}
	memcpy(s->queue + s->len, data, n);
	s->len += n;
}

/* Whether the sink is still open. */
static bool
sink_send(struct sink *s, const char *data, size_t n)
{
	struct output *o = output_of(s);

	sink_queue(s, data, n);
	if (!sink_flush(s))
		return false;
	sink_watch(s);
	if (s->len < ATTACHMENT_QUEUE_FULL || s->holding || o == NULL)
		return true;
	s->holding = true;
	s->progress_ms = s->full_since_ms = now_ms();
	output_hold(o);
	if (!s->owner->timer.armed)
		reactor_timer_start(&s->owner->timer, CHECK_MS, on_timer);
	return true;
}

void
attachments_output(struct proc *p, bool is_stderr, const char *data, size_t n)
{
	struct attachment *a = LIST_FIRST(&p->attachments), *next;

	for (; a != NULL; a = next) {
		struct sink *s = &a->out[is_stderr];

		next = LIST_NEXT(a, entry);
		if (s->fd >= 0 && !sink_send(s, data, n) && is_over(a))
			attachment_free(a);
	}
}

/* ---- input ---- */

/*
 * The client has no more to send. A socket that was closed altogether may mean that coracled was
 * killed: a process must not notice that, so its stdin stays open when the connection has ended
 * too.
 */
static void
input_ended(struct attachment *a)
{
	struct proc *p = a->proc;

	close_input(a);
	if (a->epoch == front_epoch() && p != NULL && p->stdin_once && !p->tty) {
		input_close(p);
		if (is_over(a))
			attachment_free(a);
		return;
	}
	detach(a);
}

static void
on_input_timer(struct reactor_timer *timer)
{
	input_ended(container_of(timer, struct attachment, in_timer));
}

static void
on_input_end(struct attachment *a)
{
	reactor_del(&a->in_src);
	if (a->in_hangup && a->proc->stdin_once && !a->proc->tty)
		reactor_timer_start(&a->in_timer, CRASH_DELAY_MS, on_input_timer);
	else
		input_ended(a);
}

/* Give the process what is queued for it; true when it took all. */
static bool
feed_queue(struct attachment *a)
{
	while (a->in_len > 0) {
		struct input *in = a->proc->in;
		/* Nobody reads it: what a client sends is dropped, and its output goes on. */
		ssize_t n =
		    in == NULL ? (ssize_t)a->in_len : input_write(in, a->in_queue, a->in_len);

		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0) {
			input_close(a->proc);
			n = (ssize_t)a->in_len;
		}
		a->in_len -= (size_t)n;
		memmove(a->in_queue, a->in_queue + n, a->in_len);
	}
	return true;
}

static void
feed(struct attachment *a)
{
	int reads;

	for (reads = 0; reads < INPUT_READS; reads++) {
		ssize_t n;

		if (!feed_queue(a)) {
			/* It sleeps until the process took something. Once only: to modify is to
			 * re-arm, and a hangup would come again and again. */
			if (!a->in_blocked)
				reactor_mod(&a->in_src, EPOLLET);
			a->in_blocked = true;
			return;
		}
		n = read(a->in_fd, a->in_queue, INPUT_SIZE);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			on_input_end(a);
			return;
		}
		a->in_len = (size_t)n;
	}
	reactor_mod(&a->in_src, EPOLLIN);
	a->in_blocked = false;
}

static void
on_input(struct reactor_source *src, uint32_t events)
{
	struct attachment *a = container_of(src, struct attachment, in_src);

	a->in_hangup = a->in_hangup || (events & (EPOLLHUP | EPOLLERR)) != 0;
	feed(a);
}

void
attachments_input_ready(struct proc *p)
{
	struct attachment *a = LIST_FIRST(&p->attachments), *next;

	for (; a != NULL; a = next) {
		next = LIST_NEXT(a, entry);
		if (a->in_src.registered)
			feed(a);
	}
}

/* ---- life cycle ---- */

static bool
sink_is_stalled(const struct sink *s, int64_t now)
{
	return s->holding && (now - s->progress_ms >= ATTACHMENT_STALL_MS ||
	                         now - s->full_since_ms >= ATTACHMENT_FULL_MS);
}

static void
on_timer(struct reactor_timer *timer)
{
	struct attachment *a = container_of(timer, struct attachment, timer);
	int64_t now = now_ms();

	if (a->proc == NULL) { /* lingering is over */
		attachment_free(a);
		return;
	}
	if (sink_is_stalled(&a->out[0], now) || sink_is_stalled(&a->out[1], now)) {
		front_note("a client attached to %s does not read: detached", a->proc->id);
		attachment_free(a);
		return;
	}
	if (a->out[0].holding || a->out[1].holding)
		reactor_timer_start(&a->timer, CHECK_MS, on_timer);
}

static int
sink_start(struct sink *s, struct err *err)
{
	if (s->fd < 0)
		return 0;
	if (fd_set_nonblock(s->fd, true) < 0 || reactor_add(&s->src, s->fd, 0, on_sink) < 0)
		return err_errno(err, "watch an attached client");
	return 0;
}

static int
input_start(struct attachment *a, struct err *err)
{
	if (a->in_fd < 0)
		return 0;
	a->in_queue = xmalloc(INPUT_SIZE);
	if (fd_set_nonblock(a->in_fd, true) < 0 ||
	    reactor_add(&a->in_src, a->in_fd, EPOLLIN, on_input) < 0)
		return err_errno(err, "watch an attached client");
	return 0;
}

int
attachment_new_take(struct proc *p, int in_fd, int out_fd, int err_fd, struct err *err)
{
	struct attachment *a = xcalloc(1, sizeof(*a)), *other;
	size_t others = 0;

	a->proc = p;
	a->in_fd = in_fd;
	a->out[0].fd = out_fd;
	a->out[1].fd = err_fd;
	a->out[0].owner = a->out[1].owner = a;
	a->epoch = front_epoch();
	LIST_FOREACH(other, &p->attachments, entry)
	others++;
	LIST_INSERT_HEAD(&p->attachments, a, entry);
	if (others >= ATTACHMENT_MAX)
		err_set(err, ERR_RESOURCE_EXHAUSTED, "%s has %d attached clients", p->id,
		    ATTACHMENT_MAX);
	else if (sink_start(&a->out[0], err) == 0 && sink_start(&a->out[1], err) == 0 &&
	         input_start(a, err) == 0)
		return 0;
	attachment_free(a);
	return -1;
}

void
attachment_restore(struct attachment *a, const void *in, size_t in_len, const void *out,
    size_t out_len, const void *err_out, size_t err_len)
{
	if (a->in_fd >= 0 && in_len > 0 && in_len <= INPUT_SIZE) {
		memcpy(a->in_queue, in, in_len);
		a->in_len = in_len;
	}
	if (a->out[0].fd >= 0 && out_len > 0)
		sink_send(&a->out[0], out, out_len);
	if (a->out[1].fd >= 0 && err_len > 0)
		sink_send(&a->out[1], err_out, err_len);
}

void
attachments_finish(struct proc *p)
{
	while (!LIST_EMPTY(&p->attachments))
		detach(LIST_FIRST(&p->attachments));
}

bool
attachments_lingering(void)
{
	return !LIST_EMPTY(&lingering);
}
