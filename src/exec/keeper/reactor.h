/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper's event loop: descriptors on epoll, timers, and tasks that run once in the next turn.
 * All three are embedded in the struct they belong to (zero-initialise; fd of a source: -1 when it
 * is not registered), and a callback's first line is container_of. Whatever runs is bounded by its
 * owner: a source or task with more to do queues a task, and everybody else has a turn first.
 *
 * A callback may remove, and free, any source, timer or task, its own included.
 */
#ifndef EXEC_KEEPER_REACTOR_H
#define EXEC_KEEPER_REACTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include "base/err.h"

struct reactor_source {
	int fd; /* not owned */
	void (*ready)(struct reactor_source *, uint32_t events);
	bool registered;
};

struct reactor_timer {
	void (*fire)(struct reactor_timer *);
	int64_t due_ns;
	bool armed;
	TAILQ_ENTRY(reactor_timer) entry;
};

struct reactor_task {
	void (*run)(struct reactor_task *);
	bool queued;
	TAILQ_ENTRY(reactor_task) entry;
};

int reactor_init(struct err *err); /* once per process */
void reactor_close(void);          /* before another reactor_init (tests) */
void reactor_run(void);            /* until reactor_stop() */
void reactor_stop(void);
void reactor_turn(int64_t max_wait_ns); /* one turn; -1: waits without limit */

/* events as of epoll(7). Fails with errno: ENOSPC and ENOMEM, or EPERM for a file that is always
 * ready (a regular one). */
int reactor_add(struct reactor_source *s, int fd, uint32_t events,
    void (*ready)(struct reactor_source *, uint32_t events));
void reactor_mod(struct reactor_source *s, uint32_t events);
void reactor_del(struct reactor_source *s); /* before its fd is closed; fine when not registered */

/* Starting an armed timer moves it. It fires once. */
void reactor_timer_start(struct reactor_timer *t, int64_t ms, void (*fire)(struct reactor_timer *));
void reactor_timer_stop(struct reactor_timer *t); /* fine when not armed */

/* Run in the next turn; queueing twice is once. */
void reactor_task_queue(struct reactor_task *t, void (*run)(struct reactor_task *));
void reactor_task_cancel(struct reactor_task *t); /* fine when not queued */

#endif
