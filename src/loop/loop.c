/* SPDX-License-Identifier: Apache-2.0
 *
 * The event loop and its timers: see loop.h. Not libev's default loop, which would reap every child
 * of the process behind our pidfds.
 */
#include "loop/loop.h"

#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/macros.h"
#include "loop/op.h"

struct ev_loop *loop;

static ev_prepare prepare;
static ev_check woken;
static int64_t woken_ns, max_lag_us;

static bool virtual_clock;
static int64_t virtual_ms;
static TAILQ_HEAD(, loop_timer) timers = TAILQ_HEAD_INITIALIZER(timers);

static void
on_prepare(struct ev_loop *l, ev_prepare *w, int events)
{
	int64_t lag_us;

	(void)l;
	(void)w;
	(void)events;
	op_run_ready();
	if (woken_ns == 0)
		return;
	lag_us = (clock_mono_ns() - woken_ns) / 1000;
	max_lag_us = MAX(max_lag_us, lag_us);
}

static void
on_woken(struct ev_loop *l, ev_check *w, int events)
{
	(void)l;
	(void)w;
	(void)events;
	woken_ns = clock_mono_ns();
}

void
loop_init(void)
{
	if (loop != NULL)
		ev_loop_destroy(loop);
	loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	if (loop == NULL)
		abort();
	signal(SIGPIPE, SIG_IGN);
	ev_prepare_init(&prepare, on_prepare);
	ev_prepare_start(loop, &prepare);
	ev_unref(loop);
	ev_check_init(&woken, on_woken);
	ev_set_priority(&woken, EV_MAXPRI);
	ev_check_start(loop, &woken);
	ev_unref(loop);
}

void
loop_run(void)
{
	ev_run(loop, 0);
}

void
loop_stop(void)
{
	ev_break(loop, EVBREAK_ALL);
}

void
loop_once(void)
{
	ev_run(loop, EVRUN_NOWAIT);
	op_run_ready();
}

int64_t
loop_take_lag_us(void)
{
	int64_t lag_us = max_lag_us;

	max_lag_us = 0;
	return lag_us;
}

int64_t
loop_now_ms(void)
{
	return virtual_clock ? virtual_ms : clock_mono_ns() / NS_PER_MS;
}

static void
on_timer(struct ev_loop *l, ev_timer *w, int events)
{
	struct loop_timer *t = container_of(w, struct loop_timer, w);

	(void)l;
	(void)events;
	t->armed = 0;
	t->fire(t);
}

void
timer_start(struct loop_timer *t, int64_t ms, void (*fire)(struct loop_timer *))
{
	struct loop_timer *at;

	timer_stop(t);
	t->fire = fire;
	t->armed = 1;
	if (!virtual_clock) {
		ev_timer_init(&t->w, on_timer, (double)(ms > 0 ? ms : 0) / 1e3, 0.);
		ev_now_update(loop);
		ev_timer_start(loop, &t->w);
		return;
	}
	t->due_ms = virtual_ms + ms;
	TAILQ_FOREACH(at, &timers, entry)
		if (at->due_ms > t->due_ms)
			break;
	if (at != NULL)
		TAILQ_INSERT_BEFORE(at, t, entry);
	else
		TAILQ_INSERT_TAIL(&timers, t, entry);
}

void
timer_stop(struct loop_timer *t)
{
	if (!t->armed)
		return;
	t->armed = 0;
	if (virtual_clock)
		TAILQ_REMOVE(&timers, t, entry);
	else
		ev_timer_stop(loop, &t->w);
}

void
loop_virtual_clock(void)
{
	virtual_clock = true;
}

void
loop_advance(int64_t ms)
{
	int64_t until = virtual_ms + ms;
	struct loop_timer *t;

	op_run_ready();
	while ((t = TAILQ_FIRST(&timers)) != NULL && t->due_ms <= until) {
		virtual_ms = MAX(virtual_ms, t->due_ms);
		timer_stop(t);
		t->fire(t);
		op_run_ready();
	}
	virtual_ms = until;
}
