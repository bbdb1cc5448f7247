/* SPDX-License-Identifier: Apache-2.0
 *
 * Commands with a client: see exec_session.h.
 *
 * struct exec_session is made with its ticket. When the client has come, an op launches the command
 * and waits for its exit; the session ends by the ticket's gone(), before that or after it, and the
 * object is freed when both are through.
 */
#include "pod/exec_session.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper.h"
#include "loop/op.h"
#include "pod/container.h"
#include "pod/keeping.h"
#include "pod/node.h"
#include "pod/plan.h"

struct exec_session {
	struct stream_ticket ticket;
	struct op op;
	struct arena arena;
	char container_id[ID_SIZE];
	char id[ID_SIZE];
	char **argv;
	size_t n_argv;
	struct keeper_call keeper;
	int in, out, err_out;   /* our ends, until the server has them */
	int pidfd;              /* of the command; -1: not known yet */
	int tty;                /* a handle of the terminal, for its size */
	unsigned width, height; /* 0: not said */
	bool in_op, gone, launched, running, exited;
	int exit_code;
	TAILQ_ENTRY(exec_session) entry; /* while launched */
};

static TAILQ_HEAD(, exec_session) launched = TAILQ_HEAD_INITIALIZER(launched);

static void
maybe_free(struct exec_session *x)
{
	if (x->in_op || !x->gone)
		return;
	keeper_call_release(&x->keeper);
	fd_closep(&x->in);
	fd_closep(&x->out);
	fd_closep(&x->err_out);
	fd_closep(&x->tty);
	fd_closep(&x->pidfd);
	for (size_t i = 0; i < x->n_argv; i++)
		free(x->argv[i]);
	free(x->argv);
	arena_release(&x->arena);
	free(x);
}

static void
kill_command(struct exec_session *x)
{
	if (x->launched && !x->exited)
		keeping_kill(x->id, SIGKILL, true);
}

bool
exec_session_exited(const char *id, int status)
{
	struct exec_session *x;

	TAILQ_FOREACH (x, &launched, entry)
		if (strcmp(x->id, id) == 0)
			break;
	if (x == NULL)
		return false;
	x->exited = true;
	x->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	if (x->op.waiting && x->running)
		op_resume(&x->op, NULL);
	return true;
}

void
exec_sessions_lost(void)
{
	struct exec_session *x, *next;

	TAILQ_FOREACH_SAFE (x, &launched, entry, next) {
		if (!x->running || x->exited)
			continue;
		if (x->pidfd >= 0)
			syscall(SYS_pidfd_send_signal, x->pidfd, SIGKILL, NULL, 0);
		op_cancel(&x->op, ERR_UNAVAILABLE, "the keeper died");
	}
}

static void
set_size(const struct exec_session *x)
{
	struct winsize ws = {
	    .ws_col = (unsigned short)x->width, .ws_row = (unsigned short)x->height};

	if (x->tty >= 0 && x->width > 0)
		ioctl(x->tty, TIOCSWINSZ, &ws);
}

/* ours: which end of the pipe stays here, 0 to read, 1 to write. */
static int
open_pipe(int ours, int *ret_ours, int *ret_theirs, struct err *err)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_errno(err, "pipe");
	fd_set_nonblock(p[ours], true);
	*ret_ours = p[ours];
	*ret_theirs = p[1 - ours];
	return 0;
}

static enum op_ret
launch(struct op *op, struct err *err)
{
	struct exec_session *x = container_of(op, struct exec_session, op);
	struct container *c = index_get(&node.container_by_id, x->container_id);
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	Coracle__Launch__Launch m = CORACLE__LAUNCH__LAUNCH__INIT;
	cleanup_close int in = -1, out = -1, err_out = -1;
	struct plan plan = PLAN_INIT;
	const struct stream_ticket *t = &x->ticket;
	enum op_ret ret = OP_FAIL;

	if (c == NULL || c->state != CONTAINER_RUNNING) {
		err_set(err, ERR_FAILED_PRECONDITION, "container %.12s is not running",
		    x->container_id);
		return OP_FAIL;
	}
	if (!t->tty && ((t->in && open_pipe(1, &x->in, &in, err) < 0) ||
	                   (t->out && open_pipe(0, &x->out, &out, err) < 0) ||
	                   (t->err && open_pipe(0, &x->err_out, &err_out, err) < 0)))
		return OP_FAIL;
	if (plan_exec(c, x->argv, x->n_argv, t->tty, in, out, err_out, &x->arena, &plan, err) < 0)
		return OP_FAIL;
	m.id = x->id;
	m.container_id = c->id;
	m.plan = plan.message;
	m.plan->tty_width = x->width;
	m.plan->tty_height = x->height;
	m.kill_with_client = true;
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_LAUNCH;
	req.launch = &m;
	if (keeper_call_op(node.keeper, &x->keeper, &req, plan.fds, plan.n_fds, op, err) == 0) {
		TAILQ_INSERT_TAIL(&launched, x, entry);
		x->launched = true;
		ret = OP_WAIT;
	}
	plan_release(&plan);
	return ret;
}

static enum op_ret
unlaunch(struct op *op, struct err *err)
{
	struct exec_session *x = container_of(op, struct exec_session, op);

	(void)err;
	if (x->launched) {
		kill_command(x);
		TAILQ_REMOVE(&launched, x, entry);
		x->launched = false;
	}
	return OP_NEXT;
}

static int
take_terminal(struct exec_session *x, struct err *err)
{
	x->tty = keeper_call_take_fd(&x->keeper, x->keeper.reply->tty_fd);
	if (x->tty < 0)
		return err_set(err, ERR_INTERNAL, "the keeper sent no terminal");
	fd_set_nonblock(x->tty, true);
	x->out = fcntl(x->tty, F_DUPFD_CLOEXEC, 0);
	x->in = x->ticket.in ? fcntl(x->tty, F_DUPFD_CLOEXEC, 0) : -1;
	if (x->out < 0 || (x->ticket.in && x->in < 0))
		return err_errno(err, "dup");
	set_size(x);
	return 0;
}

static void
stop_command(struct op *op)
{
	/* Nobody waits for the exit of what was killed: the keeper's record of it is dropped then.
	 */
	op_resume(op, NULL);
}

static enum op_ret
run(struct op *op, struct err *err)
{
	struct exec_session *x = container_of(op, struct exec_session, op);

	if (!x->running) {
		x->pidfd = keeper_call_take_fd(&x->keeper, x->keeper.reply->pid_fd);
		if (x->ticket.tty && take_terminal(x, err) < 0)
			return OP_FAIL;
		x->running = true;
		if (!x->gone)
			session_run(
			    &x->ticket, take_fd(x->in), take_fd(x->out), take_fd(x->err_out));
	}
	if (!x->exited) {
		op->stop = stop_command;
		return OP_AGAIN;
	}
	TAILQ_REMOVE(&launched, x, entry);
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
	struct exec_session *x = container_of(op, struct exec_session, op);

	if (!x->gone && op->err.code != ERR_NONE)
		session_fail(&x->ticket, &op->err);
	else if (!x->gone)
		session_exited(&x->ticket, x->exit_code);
	x->in_op = false;
	maybe_free(x);
}

/* ---- the server's side ---- */

static void
on_start(struct stream_ticket *t)
{
	struct exec_session *x = container_of(t, struct exec_session, ticket);

	x->in_op = true;
	op_start(&x->op, "Exec", x->container_id, exec_steps, on_done);
}

static void
on_resize(struct stream_ticket *t, unsigned width, unsigned height)
{
	struct exec_session *x = container_of(t, struct exec_session, ticket);

	x->width = width;
	x->height = height;
	set_size(x);
}

static void
on_gone(struct stream_ticket *t)
{
	struct exec_session *x = container_of(t, struct exec_session, ticket);

	x->gone = true;
	if (x->in_op)
		op_cancel(&x->op, ERR_CANCELLED, "the client is gone");
	maybe_free(x);
}

static const struct stream_backend backend = {
    .start = on_start, .resize = on_resize, .gone = on_gone};

int
exec_session_offer(const struct container *c, const Runtime__V1__ExecRequest *r,
    char url[static STREAM_URL_SIZE], struct err *err)
{
	struct exec_session *x = xcalloc(1, sizeof(*x));

	arena_init(&x->arena);
	x->in = x->out = x->err_out = x->tty = x->pidfd = -1;
	x->ticket.kind = STREAM_EXEC;
	x->ticket.in = r->stdin;
	x->ticket.out = r->stdout;
	x->ticket.err = r->stderr;
	x->ticket.tty = r->tty;
	x->ticket.backend = &backend;
	memcpy(x->container_id, c->id, sizeof(x->container_id));
	id_new(x->id);
	x->argv = xcalloc(r->n_cmd, sizeof(*x->argv));
	x->n_argv = r->n_cmd;
	for (size_t i = 0; i < r->n_cmd; i++)
		x->argv[i] = xstrdup(r->cmd[i]);
	if (ticket_offer(&x->ticket, url, err) < 0) {
		x->gone = true;
		maybe_free(x);
		return -1;
	}
	return 0;
}
