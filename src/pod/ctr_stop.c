/* SPDX-License-Identifier: Apache-2.0
 *
 * Stop signals, kills and exits of containers: see ctr_stop.h.
 */
#include "pod/ctr_stop.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/cgroup.h"
#include "pod/keeping.h"
#include "pod/node.h"
#include "pod/sandbox.h"

enum { KILL_AGAIN_MS = 500 };

static void
on_kill_due(struct loop_timer *t)
{
	container_kill(container_of(t, struct container, kill_timer));
}

void
container_kill(struct container *c)
{
	struct err err = {0};

	if (c->state != CONTAINER_RUNNING)
		return;
	if (c->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
	if (cgroup_kill(c->sb->cgroup_parent, c->id, &err) < 0)
		log_warn("container %.12s: kill: %s", c->id, err.msg);
	/* Processes that were being forked, or that a freezer held: ask again. */
	timer_start(&c->kill_timer, KILL_AGAIN_MS, on_kill_due);
}

static enum op_ret
take_turn(struct op *op, struct err *err)
{
	(void)err;
	return op_queue_enter(op);
}

/* A start that was in flight is through. The turn is given back at once: a second request with a
 * shorter grace period must not wait for this one. */
static enum op_ret
send_signal(struct op *op, struct err *err)
{
	struct stop_op *s = container_of(op, struct stop_op, op);
	struct container *c = s->c;
	int64_t kill_at;

	(void)err;
	op_queue_leave(op);
	if (c->state != CONTAINER_RUNNING)
		return OP_NEXT;
	if (s->grace_ms <= 0) {
		c->kill_at_ms = loop_now_ms();
		container_kill(c);
		return OP_NEXT;
	}
	if (!c->stop_sent && c->pidfd >= 0) {
		c->stop_sent = true;
		syscall(SYS_pidfd_send_signal, c->pidfd, c->stop_signal, NULL, 0);
	}
	kill_at = loop_now_ms() + s->grace_ms;
	if (c->kill_at_ms == 0 || kill_at < c->kill_at_ms) {
		c->kill_at_ms = kill_at;
		timer_start(&c->kill_timer, s->grace_ms, on_kill_due);
	}
	return OP_NEXT;
}

static void
on_exited(struct exit_waiter *w)
{
	op_resume(&container_of(w, struct stop_op, waiter)->op, NULL);
}

static void
stop_waiting(struct op *op)
{
	struct stop_op *s = container_of(op, struct stop_op, op);

	container_unwait_exit(s->c, &s->waiter);
	op_resume(op, NULL);
}

static enum op_ret
wait_exit(struct op *op, struct err *err)
{
	struct stop_op *s = container_of(op, struct stop_op, op);

	(void)err;
	if (s->c->state != CONTAINER_RUNNING)
		return OP_NEXT;
	container_wait_exit(s->c, &s->waiter, on_exited);
	op->stop = stop_waiting;
	return OP_WAIT; /* not OP_AGAIN: the container may be removed by then */
}

static const struct op_step stop_steps[] = {
    {"take turn",         take_turn,   NULL},
    {"send the signal",   send_signal, NULL},
    {"wait for the exit", wait_exit,   NULL},
    {NULL,                NULL,        NULL},
};

static void
on_done(struct op *op)
{
	struct stop_op *s = container_of(op, struct stop_op, op);

	op_queue_leave(op);
	s->done(s);
}

void
container_stop_start(struct stop_op *s, const char *name, struct container *c, int64_t grace_ms,
    void (*done)(struct stop_op *))
{
	s->c = c;
	s->grace_ms = grace_ms;
	s->waiter.waiting = false;
	s->done = done;
	op_start(&s->op, name, c->id, stop_steps, on_done);
	op_queue_join(&c->queue, &s->op);
}

static void
wake_waiters(struct container *c)
{
	struct exit_waiter *w;

	while ((w = TAILQ_FIRST(&c->exit_waiters)) != NULL) {
		container_unwait_exit(c, w);
		w->exited(w);
	}
}

/* Read before anybody is told: the kernel counts the kill before the process is reaped. */
static bool
was_oom_killed(struct container *c)
{
	uint64_t kills = 0;
	struct err err;

	if (c->oom_fd < 0 || cgroup_oom_kills(c->oom_fd, &kills, &err) < 0)
		return false;
	return kills > 0;
}

static void
set_outcome(struct container *c, int status, bool unknown)
{
	bool oom = was_oom_killed(c);
	const char *reason;

	if (unknown)
		c->exit_code = 255;
	else if (WIFSIGNALED(status))
		c->exit_code = 128 + WTERMSIG(status);
	else
		c->exit_code = WEXITSTATUS(status);
	if (oom && c->exit_code != 0)
		reason = "OOMKilled";
	else if (unknown)
		reason = "Unknown";
	else
		reason = c->exit_code == 0 ? "Completed" : "Error";
	free(c->reason);
	c->reason = xstrdup(reason);
}

void
container_exited(struct container *c, int status, int64_t finished_at, bool unknown)
{
	struct err err;

	if (c->state == CONTAINER_STARTING) {
		c->exit_pending = true;
		c->exit_status = status;
		c->exit_at = finished_at;
		return;
	}
	if (c->state != CONTAINER_RUNNING)
		return;
	set_outcome(c, status, unknown);
	c->finished_at = MAX(finished_at, c->started_at);
	timer_stop(&c->kill_timer);
	c->kill_at_ms = 0;
	c->pid = 0;
	fd_closep(&c->pidfd);
	fd_closep(&c->tty_fd);
	fd_closep(&c->oom_fd);
	stats_unwatch(&c->stats);
	/* Its children may have outlived it in a PID namespace that is not its own. */
	cgroup_kill(c->sb->cgroup_parent, c->id, &err);
	cgroup_remove(c->sb->cgroup_parent, c->id, &err); /* if it is empty yet; else on removal */
	if (container_set_state(c, CONTAINER_EXITED, &err) < 0) {
		/* The keeper keeps its record until the row says it too: a restart finds it. */
		log_err("container %.12s: exit not stored: %s", c->id, err.msg);
		c->state = CONTAINER_EXITED;
	} else {
		keeping_forget(c->id);
	}
	log_info("container %.12s exited: code %d, %s", c->id, c->exit_code, c->reason);
	wake_waiters(c);
}
