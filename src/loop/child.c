/* SPDX-License-Identifier: Apache-2.0
 *
 * Child processes: see child.h. The happy path: spawn() clones with vfork semantics, so that the
 * daemon's page tables are not copied; the pidfd becomes readable at the exit; outputs are read to
 * their end, or for LINGER_MS more when a grandchild keeps them open; then done().
 */
#include "loop/child.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "loop/op.h"

enum { LINGER_MS = 200, STACK_SIZE = 64 * 1024, READ_SIZE = 16 * 1024 };

/* What the new process does before exec. It shares our memory: only system calls in here. */
struct launch {
	const struct child_spec *spec;
	int in, out, err;
	pid_t parent;
	int failed; /* errno of what failed */
};

static int
enter_program(void *arg)
{
	static char *const no_env[] = {NULL};
	struct launch *l = arg;
	const struct child_spec *s = l->spec;
	sigset_t none;

	sigemptyset(&none);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	if (s->die_with_parent && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != l->parent))
		_exit(127);
	if (s->netns_fd > 0 && setns(s->netns_fd, CLONE_NEWNET) < 0)
		goto fail;
	/* Above any target number first, so that no dup2 overwrites a source. */
	for (size_t i = 0; i < s->n_keep; i++)
		if (fcntl(s->keep_fds[i], F_DUPFD, 100 + (int)i) != 100 + (int)i)
			goto fail;
	if (dup2(l->in, 0) < 0 || dup2(l->out, 1) < 0 || dup2(l->err, 2) < 0)
		goto fail;
	for (size_t i = 0; i < s->n_keep; i++)
		if (dup2(100 + (int)i, 3 + (int)i) < 0)
			goto fail;
	if (syscall(SYS_close_range, 3 + (unsigned)s->n_keep, ~0u, 0) < 0)
		goto fail;
	execve(s->path, (char *const *)s->argv,
	    s->envp != NULL ? (char *const *)s->envp : no_env);
fail:
	l->failed = errno;
	_exit(127);
}

static void
close_output(ev_io *w, int *fd)
{
	ev_io_stop(loop, w);
	fd_closep(fd);
}

static void
maybe_done(struct child *c)
{
	if (!c->reaped || c->fd_out >= 0 || c->fd_err >= 0)
		return;
	timer_stop(&c->linger);
	timer_stop(&c->deadline);
	c->pid = 0;
	c->done(c);
}

static void
take_output(struct child *c, ev_io *w, int *fd, struct buf *b)
{
	char chunk[READ_SIZE];
	ssize_t n = read(*fd, chunk, sizeof(chunk));

	if (n > 0) {
		size_t room = c->max_output > b->len ? c->max_output - b->len : 0;

		buf_add(b, chunk, MIN((size_t)n, room));
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	close_output(w, fd);
	maybe_done(c);
}

static void
on_out(struct ev_loop *l, ev_io *w, int events)
{
	struct child *c = container_of(w, struct child, w_out);

	(void)l;
	(void)events;
	take_output(c, w, &c->fd_out, &c->out);
}

static void
on_err(struct ev_loop *l, ev_io *w, int events)
{
	struct child *c = container_of(w, struct child, w_err);

	(void)l;
	(void)events;
	take_output(c, w, &c->fd_err, &c->err_out);
}

static void
on_in(struct ev_loop *l, ev_io *w, int events)
{
	struct child *c = container_of(w, struct child, w_in);
	ssize_t n = write(c->fd_in, c->in.data, c->in.len);

	(void)l;
	(void)events;
	if (n > 0)
		buf_consume(&c->in, (size_t)n);
	if (c->in.len > 0 && (n > 0 || errno == EAGAIN || errno == EINTR))
		return;
	close_output(w, &c->fd_in); /* all written, or nobody reads it */
	buf_release(&c->in);
}

static void
on_linger(struct loop_timer *t)
{
	struct child *c = container_of(t, struct child, linger);

	close_output(&c->w_out, &c->fd_out);
	close_output(&c->w_err, &c->fd_err);
	maybe_done(c);
}

static void
on_exit_(struct ev_loop *l, ev_io *w, int events)
{
	struct child *c = container_of(w, struct child, w_exit);

	(void)l;
	(void)events;
	if (waitpid(c->pid, &c->status, WNOHANG) != c->pid)
		return;
	trace(TRACE_CHILD, "child %d ended, status %d", c->pid, c->status);
	ev_io_stop(loop, w);
	fd_closep(&c->pidfd);
	c->reaped = true;
	if (c->fd_in >= 0)
		close_output(&c->w_in, &c->fd_in);
	if (c->fd_out >= 0 || c->fd_err >= 0)
		timer_start(&c->linger, LINGER_MS, on_linger);
	maybe_done(c);
}

static void
on_deadline(struct loop_timer *t)
{
	struct child *c = container_of(t, struct child, deadline);

	c->timed_out = true;
	child_kill(c, SIGKILL);
}

void
child_watch(struct child *c, pid_t pid, int pidfd, int fd_out, int fd_err, size_t max_output,
    int64_t timeout_ms, void (*done)(struct child *))
{
	*c = (struct child){.pid = pid, .pidfd = pidfd, .done = done, .max_output = max_output,
	    .fd_out = fd_out, .fd_err = fd_err, .fd_in = -1, .timeout_ms = timeout_ms};
	ev_io_init(&c->w_exit, on_exit_, pidfd, EV_READ);
	ev_io_start(loop, &c->w_exit);
	ev_io_init(&c->w_out, on_out, fd_out, EV_READ);
	ev_io_init(&c->w_err, on_err, fd_err, EV_READ);
	if (fd_out >= 0)
		ev_io_start(loop, &c->w_out);
	if (fd_err >= 0)
		ev_io_start(loop, &c->w_err);
	if (timeout_ms > 0)
		timer_start(&c->deadline, timeout_ms, on_deadline);
}

static void
start_input(struct child *c, const struct child_spec *spec, int fd)
{
	c->fd_in = fd;
	buf_add(&c->in, spec->input, spec->input_len);
	ev_io_init(&c->w_in, on_in, fd, EV_WRITE);
	ev_io_start(loop, &c->w_in);
}

/* The read ends (and for stdin the write end) are ours; they never block us. */
static int
open_pipes(const struct child_spec *spec, int in[2], int out[2], int err_[2])
{
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err_, O_CLOEXEC) < 0)
		return -1;
	if (spec->input != NULL) {
		if (pipe2(in, O_CLOEXEC) < 0 || fd_set_nonblock(in[1], true) < 0)
			return -1;
	} else if ((in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0) {
		return -1;
	}
	return fd_set_nonblock(out[0], true) < 0 || fd_set_nonblock(err_[0], true) < 0 ? -1 : 0;
}

static pid_t
spawn(struct launch *l)
{
	char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	sigset_t every, was;
	pid_t pid;

	if (stack == MAP_FAILED)
		return -1;
	/* No handler of ours may run in the child while it shares our memory. */
	sigfillset(&every);
	sigprocmask(SIG_SETMASK, &every, &was);
	pid = clone(enter_program, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD, l);
	sigprocmask(SIG_SETMASK, &was, NULL);
	munmap(stack, STACK_SIZE);
	return pid;
}

int
child_spawn(struct child *c, const struct child_spec *spec, void (*done)(struct child *),
    struct err *err)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1}, err_[2] = {-1, -1}, pidfd = -1, ret = -1;
	struct launch l = {.spec = spec, .parent = getpid()};
	pid_t pid;

	if (open_pipes(spec, in, out, err_) < 0) {
		err_errno(err, "pipe for %s", spec->path);
		goto out;
	}
	l.in = in[0];
	l.out = out[1];
	l.err = err_[1];
	pid = spawn(&l);
	if (pid < 0) {
		err_errno(err, "clone for %s", spec->path);
		goto out;
	}
	if (l.failed != 0) {
		waitpid(pid, NULL, 0);
		errno = l.failed;
		err_errno(err, "run %s", spec->path);
		goto out;
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		err_errno(err, "pidfd_open");
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		goto out;
	}
	trace(TRACE_CHILD, "child %d: %s", pid, spec->path);
	child_watch(c, pid, pidfd, take_fd(out[0]), take_fd(err_[0]), spec->max_output,
	    spec->timeout_ms, done);
	if (spec->input != NULL)
		start_input(c, spec, take_fd(in[1]));
	ret = 0;
out:
	for (int i = 0; i < 2; i++) {
		fd_closep(&in[i]);
		fd_closep(&out[i]);
		fd_closep(&err_[i]);
	}
	return ret;
}

static void
on_op_done(struct child *c)
{
	struct err err = {0};

	if (c->status != 0 || c->timed_out)
		child_error(c, "command", &err);
	op_resume(c->op, &err);
}

static void
stop_child(struct op *op)
{
	child_kill(op->leaf, SIGKILL);
}

int
child_spawn_op(struct child *c, const struct child_spec *spec, struct op *op, struct err *err)
{
	if (child_spawn(c, spec, on_op_done, err) < 0)
		return -1;
	c->op = op;
	op->stop = stop_child;
	op->leaf = c;
	return 0;
}

void
child_kill(struct child *c, int sig)
{
	if (c->pid <= 0 || c->reaped)
		return;
	/* The group too: until the leader is reaped its number cannot be another's. */
	kill(-c->pid, sig);
	syscall(SYS_pidfd_send_signal, c->pidfd, sig, NULL, 0);
}

void
child_release(struct child *c)
{
	assert(c->pid <= 0 || c->reaped);
	buf_release(&c->out);
	buf_release(&c->err_out);
	buf_release(&c->in);
}

int
child_error(const struct child *c, const char *what, struct err *err)
{
	const char *text = c->err_out.data != NULL ? c->err_out.data : "";
	int n = (int)strcspn(text, "\r\n");

	if (c->timed_out)
		return err_set(err, ERR_DEADLINE_EXCEEDED, "%s timed out after %lld ms%s%.*s", what,
		    (long long)c->timeout_ms, n > 0 ? ": " : "", n, text);
	if (WIFSIGNALED(c->status))
		return err_set(err, ERR_INTERNAL, "%s killed by signal %d%s%.*s", what,
		    WTERMSIG(c->status), n > 0 ? ": " : "", n, text);
	return err_set(err, ERR_INTERNAL, "%s exit status %d%s%.*s", what, WEXITSTATUS(c->status),
	    n > 0 ? ": " : "", n, text);
}
