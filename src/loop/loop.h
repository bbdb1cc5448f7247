/* SPDX-License-Identifier: Apache-2.0
 *
 * The one event loop of a process. Watchers are libev's own, embedded in the struct they belong to;
 * a callback's first line is container_of. What must not run on a callback's stack is an op
 * (loop/op.h): the loop's prepare hook runs all ready ops once per turn.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include <ev.h>
#include <stdint.h>
#include <sys/queue.h>

/* Valid after loop_init(). Use as ev_io_start(loop, &w). */
extern struct ev_loop *loop;

void loop_init(void); /* once per process, and again in a forked child that wants a loop of its own */
void loop_run(void);  /* until loop_stop() */
void loop_stop(void);
void loop_once(void); /* one turn that does not block: for tests */

/*
 * Timers in milliseconds. Embedded; zero-initialise. Starting a running timer re-arms it. The
 * callback fires once. Under loop_virtual_clock() time moves only by loop_advance(), which fires
 * what is due in order: that is how retries and deadlines are unit-tested.
 */
struct loop_timer {
	void (*fire)(struct loop_timer *);
	ev_timer w;
	int64_t due_ms; /* virtual clock only */
	TAILQ_ENTRY(loop_timer) entry;
	int armed;
};

void timer_start(struct loop_timer *t, int64_t ms, void (*fire)(struct loop_timer *));
void timer_stop(struct loop_timer *t); /* fine on one that is not running */
int64_t loop_now_ms(void);       /* monotonic (or virtual) milliseconds, read once per turn */

void loop_virtual_clock(void);
void loop_advance(int64_t ms);

/* Largest time between two turns of the loop since the last call, in microseconds: loop lag. */
int64_t loop_take_lag_us(void);

#endif
