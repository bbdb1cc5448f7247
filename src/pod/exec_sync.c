/* SPDX-License-Identifier: Apache-2.0
 *
 * Captured commands: see exec_sync.h.
 */
#include "pod/exec_sync.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "pod/container.h"
#include "pod/keeping.h"
#include "pod/node.h"
#include "pod/plan.h"

enum { LINGER_MS = 50, READ_SIZE = 64 * 1024, READS_PER_TURN = 4 };

static TAILQ_HEAD(, exec_sync) running = TAILQ_HEAD_INITIALIZER(running);

static void
close_stream(struct exec_stream *s)
{
	if (s->fd < 0)
		return;
	ev_io_stop(loop, &s->w);
	fd_closep(&s->fd);
}

static void
maybe_done(struct exec_sync *x)
{
	if (!x->exited || x->out.fd >= 0 || x->err_out.fd >= 0 || !x->op.waiting)
		return;
	timer_stop(&x->linger);
	timer_stop(&x->deadline);
	op_resume(&x->op, NULL);
}

/* Returns false at the end of the stream. */
static bool
take(struct exec_stream *s)
{
	static char scrap[READ_SIZE];

	for (int i = 0; i < READS_PER_TURN; i++) {
		bool keep = s->data.len < s->max;
		size_t room = keep ? MIN((size_t)READ_SIZE, s->max - s->data.len) : sizeof(scrap);
		ssize_t n = read(s->fd, keep ? buf_reserve(&s->data, room) : scrap, room);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		if (n < 0)
			return true;
		if (keep)
			buf_grew(&s->data, (size_t)n);
	}
	return true;
}

static void
on_out(struct ev_loop *l, ev_io *w, int events)
{
	struct exec_sync *x = container_of(w, struct exec_sync, out.w);

	(void)l;
	(void)events;
	if (!take(&x->out)) {
		close_stream(&x->out);
		maybe_done(x);
	}
}

static void
on_err(struct ev_loop *l, ev_io *w, int events)
{
	struct exec_sync *x = container_of(w, struct exec_sync, err_out.w);

	(void)l;
	(void)events;
	if (!take(&x->err_out)) {
		close_stream(&x->err_out);
		maybe_done(x);
	}
}

static void
on_linger(struct loop_timer *t)
{
	struct exec_sync *x = container_of(t, struct exec_sync, linger);

	close_stream(&x->out);
	close_stream(&x->err_out);
	maybe_done(x);
}

static void
kill_command(struct exec_sync *x)
{
	if (!x->launched || x->exited || x->killed)
		return;
	x->killed = true;
	keeping_kill(x->id, SIGKILL, true);
}

static void
on_deadline(struct loop_timer *t)
{
	struct exec_sync *x = container_of(t, struct exec_sync, deadline);

	x->timed_out = true;
	kill_command(x);
}

bool
exec_sync_exited(const char *id, int status)
{
	struct exec_sync *x;

	TAILQ_FOREACH(x, &running, entry)
		if (strcmp(x->id, id) == 0)
			break;
	if (x == NULL)
		return false;
	x->exited = true;
	x->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	if (x->out.fd >= 0 && !take(&x->out))
		close_stream(&x->out);
	if (x->err_out.fd >= 0 && !take(&x->err_out))
		close_stream(&x->err_out);
	if (x->out.fd >= 0 || x->err_out.fd >= 0)
		timer_start(&x->linger, LINGER_MS, on_linger);
	maybe_done(x);
	return true;
}

static int
open_stream(struct exec_stream *s, void (*cb)(struct ev_loop *, ev_io *, int), int *ret_write)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return -1;
	fd_set_nonblock(p[0], true);
	s->fd = p[0];
	ev_io_init(&s->w, cb, s->fd, EV_READ);
	ev_io_start(loop, &s->w);
	*ret_write = p[1];
	return 0;
}

static enum op_ret
launch(struct op *op, struct err *err)
{
	struct exec_sync *x = container_of(op, struct exec_sync, op);
	struct container *c = index_get(&node.container_by_id, x->container_id);
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	Coracle__Launch__Launch m = CORACLE__LAUNCH__LAUNCH__INIT;
	cleanup_close int out = -1, err_w = -1;
	struct plan plan = PLAN_INIT;
	enum op_ret ret = OP_FAIL;

	if (c == NULL || c->state != CONTAINER_RUNNING) {
		err_set(err, ERR_FAILED_PRECONDITION, "container %.12s is not running",
		    x->container_id);
		return OP_FAIL;
	}
	if (open_stream(&x->out, on_out, &out) < 0 || open_stream(&x->err_out, on_err, &err_w) < 0) {
		err_errno(err, "pipe");
		return OP_FAIL;
	}
	if (plan_exec(c, x->argv, x->n_argv, false, -1, out, err_w, &x->arena, &plan, err) < 0)
		return OP_FAIL;
	m.id = x->id;
	m.container_id = x->container_id;
	m.plan = plan.message;
	m.kill_with_client = true;
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_LAUNCH;
	req.launch = &m;
	TAILQ_INSERT_TAIL(&running, x, entry);
	if (keeper_call_op(node.keeper, &x->keeper, &req, plan.fds, plan.n_fds, op, err) < 0) {
		TAILQ_REMOVE(&running, x, entry);
	} else {
		x->launched = true;
		if (x->timeout_ms > 0)
			timer_start(&x->deadline, x->timeout_ms, on_deadline);
		ret = OP_WAIT;
	}
	plan_release(&plan);
	return ret;
}

static enum op_ret
unlaunch(struct op *op, struct err *err)
{
	struct exec_sync *x = container_of(op, struct exec_sync, op);

	(void)err;
	if (x->launched) {
		TAILQ_REMOVE(&running, x, entry);
		if (!x->exited)
			kill_command(x);
	}
	x->launched = false;
	return OP_NEXT;
}

static void
stop_command(struct op *op)
{
	/* The exit comes soon, and resumes the op. */
	kill_command(container_of(op, struct exec_sync, op));
}

static enum op_ret
run(struct op *op, struct err *err)
{
	struct exec_sync *x = container_of(op, struct exec_sync, op);

	if (!x->exited || x->out.fd >= 0 || x->err_out.fd >= 0) {
		op->stop = stop_command;
		return OP_AGAIN;
	}
	if (x->timed_out) {
		err_set(err, ERR_DEADLINE_EXCEEDED, "command timed out after %lld ms",
		    (long long)x->timeout_ms);
		return OP_FAIL;
	}
	TAILQ_REMOVE(&running, x, entry);
	x->launched = false;
	return OP_NEXT;
}

static const struct op_step exec_steps[] = {
    {"launch the command", launch, unlaunch},
    {"run the command",    run,    NULL    },
    {NULL,                 NULL,   NULL    },
};

static void
on_done(struct op *op)
{
	struct exec_sync *x = container_of(op, struct exec_sync, op);

	timer_stop(&x->deadline);
	timer_stop(&x->linger);
	close_stream(&x->out);
	close_stream(&x->err_out);
	x->done(x);
}

void
exec_sync_start(struct exec_sync *x, struct container *c, char *const *argv, size_t n_argv,
    int64_t timeout_ms, void (*done)(struct exec_sync *))
{
	*x = (struct exec_sync){
	    .argv = argv, .n_argv = n_argv, .timeout_ms = timeout_ms, .done = done};
	memcpy(x->container_id, c->id, sizeof(x->container_id));
	x->out.fd = x->err_out.fd = -1;
	x->out.max = x->err_out.max = EXEC_SYNC_MAX;
	arena_init(&x->arena);
	id_new(x->id);
	op_start(&x->op, "ExecSync", c->id, exec_steps, on_done);
}

void
exec_sync_release(struct exec_sync *x)
{
	keeper_call_release(&x->keeper);
	buf_release(&x->out.data);
	buf_release(&x->err_out.data);
	arena_release(&x->arena);
}
