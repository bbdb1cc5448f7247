/* SPDX-License-Identifier: Apache-2.0
 *
 * Launching a process: see start.h.
 */
#include "exec/keeper/start.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper/decode.h"
#include "exec/keeper/front.h"
#include "exec/keeper/input.h"
#include "exec/keeper/output.h"
#include "exec/keeper/pidfd.h"
#include "exec/keeper/pipes.h"
#include "exec/keeper/proc.h"
#include "exec/keeper/upgrade.h"

#define KIND(name) CORACLE__LAUNCH__PLAN__KIND__##name

struct start_inherited start_inherited;
static unsigned in_flight;

unsigned
start_in_flight(void)
{
	return in_flight;
}

void
start_drop(struct proc *p)
{
	struct launching *l = take_ptr(p->launching);

	if (l == NULL)
		return;
	reactor_del(&l->status);
	reactor_timer_stop(&l->deadline);
	fd_closep(&l->child.status_fd);
	fd_closep(&l->child.pidfd);
	fd_closep(&l->child.tty_master);
	free(l);
	in_flight--;
	if (in_flight == 0)
		upgrade_when_idle();
}

static enum err_code
failure_code(const struct launch_failure *fail)
{
	switch (fail->errnum) {
	case ENOSPC:
	case EDQUOT:
	case ENOMEM:
		return ERR_RESOURCE_EXHAUSTED;
	case ESRCH: /* the process whose namespaces are to be joined has ended meanwhile */
		return ERR_FAILED_PRECONDITION;
	case ECANCELED: /* killed before it could begin, as by a stop of its container */
		return ERR_ABORTED;
	default:
		return ERR_INTERNAL;
	}
}

static void
answer_failure(uint64_t serial, const struct launch_failure *fail)
{
	Coracle__Launch__Reply reply;

	coracle__launch__reply__init(&reply);
	reply.serial = serial;
	reply.code = failure_code(fail);
	reply.step = (char *)fail->step;
	reply.error = (char *)fail->text;
	reply.error_number = fail->errnum;
	front_send(&reply, NULL, 0);
}

void
start_answer_fds(struct proc *p, uint64_t serial, const char *note)
{
	Coracle__Launch__Reply reply;
	int fds[5];
	size_t n = 0;
	int pidfd = -1;

	coracle__launch__reply__init(&reply);
	reply.serial = serial;
	reply.pid = p->pid;
	if (p->adopted_pidfd < 0)
		pidfd = pidfd_open_(p->pid);
	if (pidfd >= 0 || p->adopted_pidfd >= 0) {
		fds[n++] = pidfd >= 0 ? pidfd : p->adopted_pidfd;
		reply.pid_fd = (uint32_t)n;
	}
	if (p->tty_fd >= 0) {
		fds[n++] = p->tty_fd;
		reply.tty_fd = (uint32_t)n;
	}
	if (p->in != NULL && !p->tty) {
		fds[n++] = p->in->fd;
		reply.stdin_fd = (uint32_t)n;
	}
	if (p->out[0] != NULL && !p->tty) {
		fds[n++] = p->out[0]->fd;
		reply.stdout_fd = (uint32_t)n;
	}
	if (p->out[1] != NULL && !p->tty) {
		fds[n++] = p->out[1]->fd;
		reply.stderr_fd = (uint32_t)n;
	}
	if (note != NULL && *note != '\0') {
		reply.n_notes = 1;
		reply.notes = (char **)&note;
	}
	front_send(&reply, fds, n);
	fd_closep(&pidfd);
}

/* ---- the child's progress ---- */

static void on_status(struct reactor_source *src, uint32_t events);

/* The keeper reads a terminal, and writes to it, unless whoever asked for an EXEC does so. */
static int
use_terminal(struct proc *p, bool wants_stdin)
{
	int out, in = -1;

	fd_set_nonblock(p->tty_fd, true);
	if (p->io_dir == NULL && p->kind == KIND(EXEC))
		return 0;
	out = fcntl(p->tty_fd, F_DUPFD_CLOEXEC, 3);
	if (wants_stdin)
		in = fcntl(p->tty_fd, F_DUPFD_CLOEXEC, 3);
	if (in >= 0)
		p->in = input_new_take(p, in);
	p->out[0] = out < 0 ? NULL : output_new_take(p, out, false, true);
	return p->out[0] == NULL || (wants_stdin && in < 0) ? -1 : 0;
}

static void
fail_and_free(struct proc *p, const struct launch_failure *fail)
{
	uint64_t serial = p->launching->serial;

	proc_free(p);
	answer_failure(serial, fail);
}

static void
on_running(struct proc *p)
{
	struct launching *l = p->launching;
	uint64_t serial = l->serial;
	char note[sizeof(l->child.note)];

	if (l->abandoned) { /* it exec'd just before it was killed */
		proc_free(p);
		return;
	}
	memcpy(note, l->child.note, sizeof(note));
	p->tty_fd = take_fd(l->child.tty_master);
	if (p->kind == KIND(NAMESPACES)) {
		/* It exits by itself, and is nothing that anybody wants to hear of again. */
		start_answer_fds(p, serial, note);
		proc_free(p);
		return;
	}
	if (p->tty_fd >= 0 && use_terminal(p, l->wants_stdin) < 0) {
		struct launch_failure fail = {.step = "terminal", .errnum = errno};

		snprintf(fail.text, sizeof(fail.text), "watch it: %s", strerror(errno));
		kill(p->pid, SIGKILL);
		fail_and_free(p, &fail);
		return;
	}
	p->state = PROC_RUNNING;
	start_answer_fds(p, serial, note);
	start_drop(p);
}

static void on_status(struct reactor_source *src, uint32_t events);

void
start_progress(struct proc *p)
{
	struct launching *l = p->launching;
	struct launch_failure fail;
	enum launch_state state;

	/* Before it is closed: a child that is just being cloned has it open as well, and then
	 * epoll would go on reporting what can no longer be unregistered. */
	reactor_del(&l->status);
	state = launch_status(&l->child, &fail);
	if (state == LAUNCH_PENDING &&
	    reactor_add(&l->status, l->child.status_fd, EPOLLIN, on_status) < 0) {
		fail = (struct launch_failure){.step = "start", .errnum = errno};
		snprintf(fail.text, sizeof(fail.text), "watch it: %s", strerror(errno));
		pidfd_signal(l->child.pidfd, SIGKILL);
		state = LAUNCH_FAILED;
	}
	if (p->pid != l->child.pid)
		proc_set_pid(p, l->child.pid);
	if (state == LAUNCH_FAILED)
		fail_and_free(p, &fail);
	else if (state == LAUNCH_RUNNING)
		on_running(p);
}

void
start_died(struct proc *p)
{
	struct launch_failure fail = {
	    .step = "start", .text = "the process was killed while it was being launched",
	    .errnum = ECANCELED};

	fail_and_free(p, &fail);
}

void
start_abandon(struct proc *p)
{
	p->launching->abandoned = true;
	pidfd_signal(p->launching->child.pidfd, SIGKILL);
}

static void
on_status(struct reactor_source *src, uint32_t events)
{
	struct launching *l = container_of(src, struct launching, status);

	(void)events;
	start_progress(l->proc);
}

static void
on_deadline(struct reactor_timer *timer)
{
	struct launching *l = container_of(timer, struct launching, deadline);
	uint64_t serial = l->serial;
	struct err err;

	pidfd_signal(l->child.pidfd, SIGKILL);
	err_set(&err, ERR_DEADLINE_EXCEEDED, "launch of %s took too long: killed", l->proc->id);
	proc_free(l->proc);
	front_answer(serial, &err);
}

/* ---- the request ---- */

static int
plan_fd(const int *fds, uint32_t index)
{
	return index == 0 ? -1 : fds[index - 1];
}

/* Streams: the keeper's pipes, or for an EXEC what came with its plan. */
static int
prepare_streams(struct proc *p, const Coracle__Launch__Launch *l, const int *fds,
    struct pipes *pipes, struct launch_stdio *io, struct err *err)
{
	const Coracle__Launch__Plan *plan = l->plan;

	*io = (struct launch_stdio){-1, -1, -1};
	if (plan->kind != KIND(CONTAINER) && plan->kind != KIND(EXEC))
		return 0;
	if (l->io_dir[0] == '\0' && plan->kind == KIND(EXEC)) {
		*io = (struct launch_stdio){plan_fd(fds, plan->stdin_fd),
		    plan_fd(fds, plan->stdout_fd), plan_fd(fds, plan->stderr_fd)};
		return 0;
	}
	if (l->io_dir[0] == '\0' && !plan->tty)
		return err_set(err, ERR_INVALID_ARGUMENT, "launch of %s: no io_dir", l->id);
	p->io_dir = xstrdup(l->io_dir);
	if (plan->tty)
		return 0;
	if (pipes_make(l->io_dir, plan->stdin, pipes, err) < 0)
		return -1;
	*io = (struct launch_stdio){pipes->child[0], pipes->child[1], pipes->child[2]};
	p->out[0] = output_new_take(p, take_fd(pipes->ours[1]), false, false);
	p->out[1] = output_new_take(p, take_fd(pipes->ours[2]), true, false);
	if (p->out[0] == NULL || p->out[1] == NULL)
		return err_errno(err, "watch the pipes of %s", l->id);
	if (pipes->ours[0] >= 0)
		p->in = input_new_take(p, take_fd(pipes->ours[0]));
	return 0;
}

static struct proc *
new_proc(const Coracle__Launch__Launch *l)
{
	struct proc *p = proc_new(l->id, l->plan->kind);

	p->state = PROC_LAUNCHING;
	p->container_id = l->container_id[0] == '\0' ? NULL : xstrdup(l->container_id);
	p->tty = l->plan->tty;
	p->stdin_once = l->plan->stdin_once;
	p->kill_with_client = l->kill_with_client;
	p->max_line = l->log_max_line == 0 ? CRILOG_DEFAULT_LINE
	                                   : MIN(l->log_max_line, (uint64_t)CRILOG_LONGEST_LINE);
	return p;
}

static int
watch_child(struct proc *p, uint64_t serial, const struct launch_child *child,
    const Coracle__Launch__Launch *l)
{
	struct launching *la = xcalloc(1, sizeof(*la));

	la->proc = p;
	la->serial = serial;
	la->child = *child;
	la->wants_stdin = l->plan->stdin;
	p->launching = la;
	in_flight++;
	proc_set_pid(p, child->pid);
	reactor_timer_start(
	    &la->deadline, l->timeout_ms == 0 ? START_TIMEOUT_MS : l->timeout_ms, on_deadline);
	return reactor_add(&la->status, child->status_fd, EPOLLIN, on_status);
}

/* The keeper's own exemptions are not for its children. Both parts are the plan's from now on. */
static void
complete_plan(Coracle__Launch__Plan *plan)
{
	Coracle__Launch__Rlimit *limit;
	size_t i;

	if (!plan->set_oom_score_adj) {
		plan->set_oom_score_adj = true;
		plan->oom_score_adj = start_inherited.oom_score_adj;
	}
	for (i = 0; i < plan->n_rlimits; i++)
		if (plan->rlimits[i]->resource == RLIMIT_NOFILE)
			return;
	limit = xmalloc(sizeof(*limit));
	coracle__launch__rlimit__init(limit);
	limit->resource = RLIMIT_NOFILE;
	limit->soft = start_inherited.nofile.rlim_cur;
	limit->hard = start_inherited.nofile.rlim_max;
	plan->rlimits = xrealloc(plan->rlimits, (plan->n_rlimits + 1) * sizeof(*plan->rlimits));
	plan->rlimits[plan->n_rlimits++] = limit;
}

static int
start(uint64_t serial, Coracle__Launch__Launch *l, int *fds, size_t n_fds, struct err *err)
{
	cleanup_pipes struct pipes pipes = PIPES_INIT;
	struct launch_failure fail;
	struct launch_child child;
	struct launch_stdio io;
	struct proc *p;

	if (l->plan == NULL && decode_plan_body(l, fds[l->plan_fd - 1], n_fds, err) < 0)
		return -1;
	p = proc_find(l->id);
	if (p != NULL && p->state != PROC_ENDED)
		return err_set(err, ERR_ALREADY_EXISTS, "%s is running", l->id);
	proc_forget(l->id);
	complete_plan(l->plan);
	p = new_proc(l);
	if ((l->log_path[0] != '\0' && crilog_open(&p->log, l->log_path, err) < 0) ||
	    prepare_streams(p, l, fds, &pipes, &io, err) < 0) {
		proc_free(p);
		return -1;
	}
	if (launch_clone(l->plan, fds, n_fds, &io, &child, &fail) < 0) {
		proc_free(p);
		answer_failure(serial, &fail);
		return 0;
	}
	if (watch_child(p, serial, &child, l) < 0) {
		err_errno(err, "watch the launch of %s", l->id);
		pidfd_signal(child.pidfd, SIGKILL);
		proc_free(p);
		return -1;
	}
	return 0;
}

void
start_request(uint64_t serial, Coracle__Launch__Launch *l, int *fds, size_t n_fds)
{
	struct err err;

	if (start(serial, l, fds, n_fds, &err) < 0)
		front_answer(serial, &err);
}
