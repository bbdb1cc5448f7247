/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper's event loop: see reactor.h. A turn waits for events, calls the sources that have
 * some, then the timers that are due, then the tasks that were queued before the turn's tasks
 * began.
 */
#include "exec/keeper/reactor.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/macros.h"

enum { EVENTS_PER_TURN = 64 };

static int epfd = -1;
static bool stopping;
static struct epoll_event batch[EVENTS_PER_TURN];
static int batch_at, batch_len;
static TAILQ_HEAD(timers, reactor_timer) timers = TAILQ_HEAD_INITIALIZER(timers);
static TAILQ_HEAD(tasks, reactor_task) tasks = TAILQ_HEAD_INITIALIZER(tasks);
static TAILQ_HEAD(running, reactor_task) running = TAILQ_HEAD_INITIALIZER(running);

int
reactor_init(struct err *err)
{
	epfd = epoll_create1(EPOLL_CLOEXEC);
	if (epfd < 0)
		return err_errno(err, "epoll_create1");
	stopping = false;
	return 0;
}

void
reactor_close(void)
{
	close(epfd);
	epfd = -1;
}

void
reactor_stop(void)
{
	stopping = true;
}

int
reactor_add(struct reactor_source *s, int fd, uint32_t events,
    void (*ready)(struct reactor_source *, uint32_t events))
{
	struct epoll_event ev = {.events = events, .data.ptr = s};

	if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -1;
	s->fd = fd;
	s->ready = ready;
	s->registered = true;
	return 0;
}

void
reactor_mod(struct reactor_source *s, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = s};

	if (s->registered)
		epoll_ctl(epfd, EPOLL_CTL_MOD, s->fd, &ev);
}

void
reactor_del(struct reactor_source *s)
{
	int i;

	if (!s->registered)
		return;
	epoll_ctl(epfd, EPOLL_CTL_DEL, s->fd, NULL);
	s->registered = false;
	s->fd = -1;
	/* It may be freed next: what this turn still has in hand for it must not be delivered. */
	for (i = batch_at; i < batch_len; i++)
		if (batch[i].data.ptr == s)
			batch[i].data.ptr = NULL;
}

void
reactor_timer_start(struct reactor_timer *t, int64_t ms, void (*fire)(struct reactor_timer *))
{
	struct reactor_timer *next;

	reactor_timer_stop(t);
	t->fire = fire;
	t->due_ns = clock_mono_ns() + ms * NS_PER_MS;
	t->armed = true;
	TAILQ_FOREACH (next, &timers, entry)
		if (next->due_ns > t->due_ns)
			break;
	if (next != NULL)
		TAILQ_INSERT_BEFORE(next, t, entry);
	else
		TAILQ_INSERT_TAIL(&timers, t, entry);
}

void
reactor_timer_stop(struct reactor_timer *t)
{
	if (!t->armed)
		return;
	TAILQ_REMOVE(&timers, t, entry);
	t->armed = false;
}

void
reactor_task_queue(struct reactor_task *t, void (*run)(struct reactor_task *))
{
	if (t->queued)
		return;
	t->run = run;
	t->queued = true;
	TAILQ_INSERT_TAIL(&tasks, t, entry);
}

void
reactor_task_cancel(struct reactor_task *t)
{
	struct reactor_task *r;

	if (!t->queued)
		return;
	t->queued = false;
	TAILQ_FOREACH (r, &running, entry) {
		if (r == t) {
			TAILQ_REMOVE(&running, t, entry);
			return;
		}
	}
	TAILQ_REMOVE(&tasks, t, entry);
}

static int
wait_ms(int64_t max_wait_ns)
{
	const struct reactor_timer *first = TAILQ_FIRST(&timers);
	int64_t ns = max_wait_ns;

	if (!TAILQ_EMPTY(&tasks))
		return 0;
	if (first != NULL) {
		int64_t left = MAX(first->due_ns - clock_mono_ns(), 0);

		ns = ns < 0 ? left : MIN(ns, left);
	}
	/* Rounded up, or a timer due in half a millisecond would spin. */
	return ns < 0 ? -1 : (int)MIN((ns + NS_PER_MS - 1) / NS_PER_MS, 60000);
}

void
reactor_turn(int64_t max_wait_ns)
{
	struct reactor_timer *timer;
	struct reactor_task *task;
	int64_t now;

	batch_at = 0;
	batch_len = epoll_wait(epfd, batch, EVENTS_PER_TURN, wait_ms(max_wait_ns));
	while (batch_at < batch_len) {
		struct epoll_event ev = batch[batch_at++];
		struct reactor_source *s = ev.data.ptr;

		if (s != NULL)
			s->ready(s, ev.events);
	}
	batch_at = batch_len = 0;

	now = clock_mono_ns();
	while ((timer = TAILQ_FIRST(&timers)) != NULL && timer->due_ns <= now) {
		reactor_timer_stop(timer);
		timer->fire(timer);
	}

	TAILQ_CONCAT(&running, &tasks, entry);
	while ((task = TAILQ_FIRST(&running)) != NULL) {
		TAILQ_REMOVE(&running, task, entry);
		task->queued = false;
		task->run(task);
	}
}

void
reactor_run(void)
{
	while (!stopping)
		reactor_turn(-1);
}
