/* SPDX-License-Identifier: Apache-2.0
 *
 * The requests of coracled and their handlers: see requests.h. A handler answers once, now or
 * later; one that returns -1 has the error answered for it.
 */
#include "exec/keeper/requests.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper/adopt.h"
#include "exec/keeper/attachment.h"
#include "exec/keeper/decode.h"
#include "exec/keeper/front.h"
#include "exec/keeper/input.h"
#include "exec/keeper/killtree.h"
#include "exec/keeper/pidfd.h"
#include "exec/keeper/proc.h"
#include "exec/keeper/reactor.h"
#include "exec/keeper/start.h"
#include "exec/keeper/upgrade.h"

typedef Coracle__Launch__Request request;
typedef int handler(const request *r, int *fds, size_t n_fds, struct err *err);

static struct proc *
find_running(const char *id, struct err *err)
{
	struct proc *p = proc_find(id);

	if (p == NULL)
		err_set(err, ERR_NOT_FOUND, "no process %s", id);
	else if (p->state != PROC_RUNNING)
		err_set(err, ERR_FAILED_PRECONDITION, "process %s %s", id,
		    p->state == PROC_ENDED ? "has ended" : "is being launched");
	return p == NULL || p->state != PROC_RUNNING ? NULL : p;
}

static int
on_hello(const request *r, int *fds, size_t n_fds, struct err *err)
{
	Coracle__Launch__Reply reply;

	(void)fds, (void)n_fds, (void)err;
	coracle__launch__reply__init(&reply);
	reply.serial = r->serial;
	reply.version = (char *)PACKAGE_VERSION;
	reply.keeper_pid = getpid();
	front_take_notes(&reply);
	front_send(&reply, NULL, 0);
	front_free_notes(&reply);
	return 0;
}

static int
on_launch(const request *r, int *fds, size_t n_fds, struct err *err)
{
	(void)err;
	start_request(r->serial, r->launch, fds, n_fds);
	return 0;
}

static int
on_reopen_log(const request *r, int *fds, size_t n_fds, struct err *err)
{
	struct proc *p = find_running(r->reopen_log->id, err);

	(void)fds, (void)n_fds;
	if (p == NULL || crilog_open(&p->log, r->reopen_log->log_path, err) < 0)
		return -1;
	front_answer(r->serial, NULL);
	return 0;
}

static int
on_forget(const request *r, int *fds, size_t n_fds, struct err *err)
{
	const struct proc *p = proc_find(r->forget->id);

	(void)fds, (void)n_fds;
	if (p != NULL && p->state != PROC_ENDED)
		return err_set(err, ERR_FAILED_PRECONDITION, "process %s has not ended", p->id);
	proc_forget(r->forget->id);
	front_answer(r->serial, NULL);
	return 0;
}

static int
on_resize(const request *r, int *fds, size_t n_fds, struct err *err)
{
	struct winsize size = {.ws_row = (unsigned short)r->resize->height,
	    .ws_col = (unsigned short)r->resize->width};
	struct proc *p = find_running(r->resize->id, err);

	(void)fds, (void)n_fds;
	if (p == NULL)
		return -1;
	if (p->tty_fd < 0)
		return err_set(err, ERR_FAILED_PRECONDITION, "process %s has no terminal", p->id);
	if (ioctl(p->tty_fd, TIOCSWINSZ, &size) < 0)
		return err_errno(err, "resize the terminal of %s", p->id);
	front_answer(r->serial, NULL);
	return 0;
}

/* A descriptor of its own for each stream: one socket may stand for two of them. */
static int
stream_fd(const int *fds, uint32_t index)
{
	return index == 0 ? -1 : fcntl(fds[index - 1], F_DUPFD_CLOEXEC, 3);
}

static int
on_attach(const request *r, int *fds, size_t n_fds, struct err *err)
{
	const Coracle__Launch__Attach *a = r->attach;
	struct proc *p = find_running(a->id, err);

	(void)n_fds;
	if (p == NULL)
		return -1;
	if (p->out[0] == NULL)
		return err_set(
		    err, ERR_FAILED_PRECONDITION, "the streams of %s are not the keeper's", p->id);
	if (attachment_new_take(p, stream_fd(fds, a->stdin_fd), stream_fd(fds, a->stdout_fd),
	        stream_fd(fds, a->stderr_fd), err) < 0)
		return -1;
	front_answer(r->serial, NULL);
	return 0;
}

static int
on_list(const request *r, int *fds, size_t n_fds, struct err *err)
{
	cleanup_free Coracle__Launch__Process *all = NULL;
	cleanup_free Coracle__Launch__Process **at = NULL;
	cleanup_free Coracle__Launch__Exit *exits = NULL;
	Coracle__Launch__Reply reply;
	size_t n = 0, i = 0;
	struct proc *p;

	(void)fds, (void)n_fds, (void)err;
	TAILQ_FOREACH (p, &procs, all)
		n++;
	all = xcalloc(n + 1, sizeof(*all));
	at = xcalloc(n + 1, sizeof(*at));
	exits = xcalloc(n + 1, sizeof(*exits));
	TAILQ_FOREACH (p, &procs, all) {
		if (p->state == PROC_LAUNCHING)
			continue;
		coracle__launch__process__init(&all[i]);
		all[i].id = p->id;
		all[i].pid = p->pid;
		all[i].is_exec = p->kind == CORACLE__LAUNCH__PLAN__KIND__EXEC;
		all[i].tty = p->tty;
		if (p->log.path != NULL)
			all[i].log_path = p->log.path;
		if (p->state == PROC_ENDED) {
			proc_to_exit(p, &exits[i]);
			all[i].exit = &exits[i];
		}
		at[i] = &all[i];
		i++;
	}
	coracle__launch__reply__init(&reply);
	reply.serial = r->serial;
	reply.n_processes = i;
	reply.processes = at;
	front_send(&reply, NULL, 0);
	return 0;
}

static int
on_adopt(const request *r, int *fds, size_t n_fds, struct err *err)
{
	(void)err;
	adopt_request(r->serial, r->adopt, fds, n_fds);
	return 0;
}

static int
on_upgrade(const request *r, int *fds, size_t n_fds, struct err *err)
{
	int *program = &fds[r->upgrade->program_fd - 1];

	(void)n_fds;
	return upgrade_request(r->serial, take_fd(*program), err);
}

static int
signal_one(const struct proc *p, int sig)
{
	if (p->adopted_pidfd >= 0)
		return pidfd_signal(p->adopted_pidfd, sig);
	return kill(p->pid, sig);
}

static int
on_kill(const request *r, int *fds, size_t n_fds, struct err *err)
{
	struct proc *p = proc_find(r->kill->id);
	bool alive = p != NULL && p->state != PROC_ENDED;

	(void)fds, (void)n_fds;
	/* Nobody to be killed is what a repeated Kill finds. */
	if (alive && p->pid > 0) {
		if (r->kill->tree && r->kill->signal == SIGKILL)
			killtree(p->pid, p->adopted_pidfd);
		else if (signal_one(p, r->kill->signal) < 0 && errno != ESRCH)
			return err_errno(err, "signal %d to %s", r->kill->signal, p->id);
	}
	if (alive && r->kill->wait)
		proc_add_waiter(p, r->serial);
	else
		front_answer(r->serial, NULL);
	return 0;
}

static int
on_close_stdin(const request *r, int *fds, size_t n_fds, struct err *err)
{
	struct proc *p = find_running(r->close_stdin->id, err);

	(void)fds, (void)n_fds;
	if (p == NULL)
		return -1;
	input_close(p);
	front_answer(r->serial, NULL);
	return 0;
}

static int
on_open(const request *r, int *fds, size_t n_fds, struct err *err)
{
	struct proc *p = find_running(r->open->id, err);

	(void)fds, (void)n_fds;
	if (p == NULL)
		return -1;
	start_answer_fds(p, r->serial, NULL);
	return 0;
}

static const struct proc *
first_running(void)
{
	const struct proc *p;

	TAILQ_FOREACH (p, &procs, all)
		if (p->state != PROC_ENDED)
			return p;
	return NULL;
}

static void
end(void)
{
	front_remove();
	reactor_stop();
}

static int
on_shutdown(const request *r, int *fds, size_t n_fds, struct err *err)
{
	const struct proc *p = first_running();

	(void)fds, (void)n_fds;
	if (p != NULL)
		return err_set(err, ERR_FAILED_PRECONDITION, "%s is running", p->id);
	front_answer(r->serial, NULL);
	end();
	return 0;
}

void
requests_end_if_unused(void)
{
	if (first_running() == NULL)
		end();
}

static handler *const handlers[] = {
    [CORACLE__LAUNCH__REQUEST__WHAT_HELLO] = on_hello,
    [CORACLE__LAUNCH__REQUEST__WHAT_LAUNCH] = on_launch,
    [CORACLE__LAUNCH__REQUEST__WHAT_REOPEN_LOG] = on_reopen_log,
    [CORACLE__LAUNCH__REQUEST__WHAT_FORGET] = on_forget,
    [CORACLE__LAUNCH__REQUEST__WHAT_RESIZE] = on_resize,
    [CORACLE__LAUNCH__REQUEST__WHAT_ATTACH] = on_attach,
    [CORACLE__LAUNCH__REQUEST__WHAT_LIST] = on_list,
    [CORACLE__LAUNCH__REQUEST__WHAT_ADOPT] = on_adopt,
    [CORACLE__LAUNCH__REQUEST__WHAT_UPGRADE] = on_upgrade,
    [CORACLE__LAUNCH__REQUEST__WHAT_KILL] = on_kill,
    [CORACLE__LAUNCH__REQUEST__WHAT_CLOSE_STDIN] = on_close_stdin,
    [CORACLE__LAUNCH__REQUEST__WHAT_SHUTDOWN] = on_shutdown,
    [CORACLE__LAUNCH__REQUEST__WHAT_OPEN] = on_open,
};

void
requests_on_message(const void *data, size_t len, int *fds, size_t n_fds)
{
	uint64_t serial;
	struct err err;
	request *r = decode_request(data, len, n_fds, &serial, &err);

	if (r == NULL || handlers[r->what_case](r, fds, n_fds, &err) < 0)
		front_answer(serial, &err);
	if (r != NULL)
		coracle__launch__request__free_unpacked(r, NULL);
}

static void
kill_orphans(struct reactor_task *task)
{
	struct proc *p;

	(void)task;
	TAILQ_FOREACH (p, &procs, all) {
		if (p->state == PROC_LAUNCHING) {
			start_abandon(p);
		} else if (p->kill_with_client && p->state == PROC_RUNNING && p->pid > 0) {
			p->kill_with_client = false;
			killtree(p->pid, p->adopted_pidfd);
		}
	}
}

/* It may be in the middle of a send that it is found gone: processes are touched in the next turn.
 */
void
requests_on_client_gone(void)
{
	static struct reactor_task task;

	reactor_task_queue(&task, kill_orphans);
}
