/* SPDX-License-Identifier: Apache-2.0
 *
 * Functions in forked processes: see worker.h. The result travels over one pipe, a struct err over
 * another.
 */
#include "loop/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "loop/op.h"

/* Close everything above stderr but the fds in keep. */
static void
close_others(int *keep, size_t n)
{
	unsigned from = 3;

	for (size_t i = 1; i < n; i++)
		for (size_t k = i; k > 0 && keep[k - 1] > keep[k]; k--) {
			int swap = keep[k];

			keep[k] = keep[k - 1];
			keep[k - 1] = swap;
		}
	for (size_t i = 0; i < n; i++) {
		if (keep[i] < 3)
			continue;
		if ((unsigned)keep[i] > from)
			syscall(SYS_close_range, from, (unsigned)keep[i] - 1, 0);
		from = (unsigned)keep[i] + 1;
	}
	syscall(SYS_close_range, from, ~0u, 0);
}

static void __attribute__((noreturn))
run_in_child(const struct worker_spec *spec, pid_t parent, int out, int err_fd)
{
	int keep[16];
	size_t n = 0;
	struct err err = {0};
	sigset_t none;
	int ret;

	/* Without the parent nobody wants the result; it may have gone before the prctl. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	setpgid(0, 0);
	prctl(PR_SET_NAME, spec->what);
	for (int sig = 1; sig < NSIG; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	keep[n++] = out;
	keep[n++] = err_fd;
	for (size_t i = 0; i < spec->n_keep && n < ARRAY_SIZE(keep); i++)
		keep[n++] = spec->keep_fds[i];
	close_others(keep, n);
	ret = spec->fn(spec->arg, out, &err);
	if (ret < 0) {
		if (err.code == ERR_NONE)
			err_set(&err, ERR_INTERNAL, "failed without a reason");
		ret = fd_write_all(err_fd, &err, sizeof(err)) < 0 ? 2 : 1;
	}
	_exit(ret);
}

static void
on_child_done(struct child *c)
{
	struct worker *w = container_of(c, struct worker, child);

	if (c->err_out.len == sizeof(struct err)) {
		memcpy(&w->err, c->err_out.data, sizeof(w->err));
		/* The worker may have been taken over by what it read. */
		w->err.msg[sizeof(w->err.msg) - 1] = '\0';
		if (w->err.code <= ERR_NONE || w->err.code > ERR_UNAUTHENTICATED)
			w->err.code = ERR_INTERNAL;
	} else if (c->status != 0 || c->timed_out) {
		buf_truncate(&c->err_out, 0);
		child_error(c, "worker", &w->err);
	}
	w->done(w);
}

int
worker_start(struct worker *w, const struct worker_spec *spec, void (*done)(struct worker *),
    struct err *err)
{
	int out[2] = {-1, -1}, err_[2] = {-1, -1}, pidfd, ret = -1;
	pid_t pid, self = getpid();

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err_, O_CLOEXEC) < 0) {
		err_errno(err, "pipe for a %s worker", spec->what);
		goto out;
	}
	pid = fork();
	if (pid == 0)
		run_in_child(spec, self, out[1], err_[1]);
	if (pid < 0) {
		err_errno(err, "fork a %s worker", spec->what);
		goto out;
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		err_errno(err, "pidfd_open");
		kill(pid, SIGKILL);
		goto out;
	}
	trace(TRACE_CHILD, "worker %d: %s", pid, spec->what);
	fd_set_nonblock(out[0], true);
	fd_set_nonblock(err_[0], true);
	w->err = (struct err){0};
	w->op = NULL;
	w->done = done;
	child_watch(&w->child, pid, pidfd, take_fd(out[0]), take_fd(err_[0]),
	    MAX(spec->max_output, sizeof(struct err)), spec->timeout_ms, on_child_done);
	ret = 0;
out:
	for (int i = 0; i < 2; i++) {
		fd_closep(&out[i]);
		fd_closep(&err_[i]);
	}
	return ret;
}

static void
on_op_done(struct worker *w)
{
	op_resume(w->op, &w->err);
}

static void
stop_worker(struct op *op)
{
	struct worker *w = op->leaf;

	child_kill(&w->child, SIGKILL);
}

int
worker_start_op(struct worker *w, const struct worker_spec *spec, struct op *op, struct err *err)
{
	if (worker_start(w, spec, on_op_done, err) < 0)
		return -1;
	w->op = op;
	op->stop = stop_worker;
	op->leaf = w;
	return 0;
}
