/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking over the processes of a keeper that died: see adopt.h.
 */
#include "exec/keeper/adopt.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper/front.h"
#include "exec/keeper/input.h"
#include "exec/keeper/output.h"
#include "exec/keeper/pidfd.h"
#include "exec/keeper/pipes.h"
#include "exec/keeper/proc.h"
#include "exec/keeper/start.h"

enum { UNKNOWN_STATUS = 255 << 8 };

static int
take_index(int *fds, uint32_t index)
{
	return index == 0 ? -1 : take_fd(fds[index - 1]);
}

static void
on_exit_watch(struct reactor_source *src, uint32_t events)
{
	struct proc *p = container_of(src, struct proc, exit_watch);
	int32_t status = UNKNOWN_STATUS;
	siginfo_t info = {0};

	(void)events;
	/* It may be a child of ours after all, when a keeper was upgraded to this one and lost its
	 * state: then the reaper is who ends it. */
	if (waitid(P_PIDFD, (id_t)p->adopted_pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
		return;
	switch (pidfd_exit_status(p->adopted_pidfd, p->pid, &status)) {
	case PIDFD_RUNNING:
		return;
	case PIDFD_EXITED:
		proc_end(p, status, false);
		return;
	case PIDFD_LOST:
		proc_end(p, UNKNOWN_STATUS, true);
		return;
	}
}

int
adopt_watch(struct proc *p, struct err *err)
{
	if (reactor_add(&p->exit_watch, p->adopted_pidfd, EPOLLIN, on_exit_watch) < 0)
		return err_errno(err, "watch process %d", (int)p->pid);
	return 0;
}

/* The pipes as coracled kept them, or as they lie in io_dir. */
static int
take_output(struct proc *p, const Coracle__Launch__Adopt *a, int which, int kept, struct err *err)
{
	bool is_stderr = which == STDERR_FILENO;
	int fd = kept >= 0 ? kept : pipes_reopen(a->io_dir, which, err);

	if (fd < 0)
		return -1;
	p->out[is_stderr] = output_new_take(p, fd, is_stderr, false);
	if (p->out[is_stderr] == NULL)
		return err_errno(err, "watch the pipes of %s", a->id);
	output_recover(p->out[is_stderr]);
	return 0;
}

static int
take_pipes(struct proc *p, const Coracle__Launch__Adopt *a, int *fds, struct err *err)
{
	struct err ignored;
	int in = take_index(fds, a->stdin_fd);

	if (in < 0 && a->stdin) /* one that nobody reads any more is no error */
		in = pipes_reopen(a->io_dir, STDIN_FILENO, &ignored);
	if (in >= 0)
		p->in = input_new_take(p, in);
	if (take_output(p, a, STDOUT_FILENO, take_index(fds, a->stdout_fd), err) < 0)
		return -1;
	return take_output(p, a, STDERR_FILENO, take_index(fds, a->stderr_fd), err);
}

static int
take_terminal(struct proc *p, const Coracle__Launch__Adopt *a, struct err *err)
{
	int in = -1, out;

	p->tty = true;
	if (a->is_exec && a->io_dir[0] == '\0')
		return 0;
	if (a->stdin && (in = fcntl(p->tty_fd, F_DUPFD_CLOEXEC, 3)) >= 0)
		p->in = input_new_take(p, in);
	out = fcntl(p->tty_fd, F_DUPFD_CLOEXEC, 3);
	p->out[0] = out < 0 ? NULL : output_new_take(p, out, false, true);
	if (p->out[0] == NULL)
		return err_errno(err, "watch the terminal of %s", a->id);
	return 0;
}

static int
adopt(struct proc *p, const Coracle__Launch__Adopt *a, int *fds, struct err *err)
{
	pid_t pid;

	p->state = PROC_RUNNING;
	p->container_id = a->container_id[0] == '\0' ? NULL : xstrdup(a->container_id);
	p->stdin_once = a->stdin_once;
	p->kill_with_client = a->kill_with_client;
	p->max_line = a->log_max_line == 0 ? CRILOG_DEFAULT_LINE
	                                   : MIN(a->log_max_line, (uint64_t)CRILOG_LONGEST_LINE);
	p->adopted_pidfd = take_index(fds, a->pid_fd);
	p->tty_fd = take_index(fds, a->tty_fd);
	pid = pidfd_pid(p->adopted_pidfd);
	if (pid < 0 && pidfd_signal(p->adopted_pidfd, 0) == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "adopt %s: pid_fd is no pidfd", a->id);
	if (pid >= 0 && pid != a->pid)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "adopt %s: pid_fd is of process %d, not %d", a->id, (int)pid, a->pid);
	/* A pid that may be another's by now is not looked up by. */
	proc_set_pid(p, pid < 0 ? 0 : pid);
	if (a->log_path[0] != '\0' && crilog_open(&p->log, a->log_path, err) < 0)
		return -1;
	if (p->tty_fd >= 0 ? take_terminal(p, a, err) < 0
	                   : a->io_dir[0] != '\0' && take_pipes(p, a, fds, err) < 0)
		return -1;
	if (adopt_watch(p, err) < 0)
		return -1;
	if (a->io_dir[0] != '\0')
		p->io_dir = xstrdup(a->io_dir);
	return 0;
}

void
adopt_request(uint64_t serial, const Coracle__Launch__Adopt *a, int *fds, size_t n_fds)
{
	struct proc *p = proc_find(a->id);
	struct err err;

	(void)n_fds;
	if (p != NULL && p->state == PROC_RUNNING && p->pid == a->pid) {
		start_answer_fds(p, serial, NULL); /* it was never lost */
		return;
	}
	if (p != NULL && p->state != PROC_ENDED) {
		err_set(&err, ERR_ALREADY_EXISTS, "%s is running", a->id);
		front_answer(serial, &err);
		return;
	}
	if (p != NULL) {
		/* The keeper before wrote its record, and died before it told anybody. */
		Coracle__Launch__Reply event;
		Coracle__Launch__Exit exit;

		pipes_remove(a->io_dir);
		proc_to_exit(p, &exit);
		coracle__launch__reply__init(&event);
		event.exited = &exit;
		front_answer(serial, NULL);
		front_send(&event, NULL, 0);
		return;
	}
	p = proc_new(a->id, a->is_exec ? CORACLE__LAUNCH__PLAN__KIND__EXEC
	                               : CORACLE__LAUNCH__PLAN__KIND__CONTAINER);
	if (adopt(p, a, fds, &err) < 0) {
		proc_free(p);
		front_answer(serial, &err);
		return;
	}
	start_answer_fds(p, serial, NULL);
}
