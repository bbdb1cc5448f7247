/* SPDX-License-Identifier: Apache-2.0
 *
 * Arriving: the new image of an upgraded keeper takes over what the old one left. See upgrade.h.
 */
#include "exec/keeper/upgrade.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper/adopt.h"
#include "exec/keeper/attachment.h"
#include "exec/keeper/front.h"
#include "exec/keeper/input.h"
#include "exec/keeper/output.h"
#include "exec/keeper/parcel.h"
#include "exec/keeper/proc.h"
#include "exec/keeper/requests.h"
#include "exec/keeper/start.h"

/* CLOEXEC again; what is not open (or was never there) is -1. */
static int
take_over(int fd)
{
	return fd >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
}

static void
restore_output(struct proc *p, const Coracle__Launch__SavedOutput *s, bool is_stderr)
{
	int fd = s == NULL ? -1 : take_over(s->fd);
	struct output *o;

	if (fd < 0)
		return;
	o = p->out[is_stderr] = output_new_take(p, fd, is_stderr, p->tty);
	if (o == NULL) {
		front_note(
		    "%s of %s was lost in the upgrade", is_stderr ? "stderr" : "stdout", p->id);
		return;
	}
	o->seen = s->seen;
	o->carry_len = o->carry_cap = s->carry.len;
	o->carry = s->carry.len == 0 ? NULL : xmemdup(s->carry.data, s->carry.len);
}

static void
restore_attachment(struct proc *p, const Coracle__Launch__SavedAttachment *s)
{
	struct err err;

	if (attachment_new_take(p, take_over(s->stdin_fd), take_over(s->stdout_fd),
	        take_over(s->stderr_fd), &err) < 0) {
		front_note("a client attached to %s was lost in the upgrade: %s", p->id, err.msg);
		return;
	}
	attachment_restore(LIST_FIRST(&p->attachments), s->stdin_queue.data, s->stdin_queue.len,
	    s->stdout_queue.data, s->stdout_queue.len, s->stderr_queue.data, s->stderr_queue.len);
}

static void
restore_proc(const Coracle__Launch__SavedProcess *s)
{
	struct proc *p = proc_new(s->process->id, s->kind);
	struct err err;
	size_t i;
	int in = take_over(s->stdin_fd);

	p->state = PROC_RUNNING;
	p->tty = s->process->tty;
	p->container_id = s->container_id[0] == '\0' ? NULL : xstrdup(s->container_id);
	p->io_dir = s->has_io_dir ? xstrdup(s->io_dir) : NULL;
	p->max_line = MIN(MAX(s->log_max_line, 1), (uint64_t)CRILOG_LONGEST_LINE);
	p->kill_with_client = s->kill_with_client;
	p->stdin_once = s->stdin_once;
	p->tty_fd = take_over(s->tty_fd);
	p->adopted_pidfd = take_over(s->adopted_pidfd);
	p->log.fd = take_over(s->log_fd);
	p->log.path = p->log.fd < 0 ? NULL : xstrdup(s->process->log_path);
	p->log.failing = s->log_failing;
	p->log.dropped = s->log_dropped;
	proc_set_pid(p, s->process->pid);
	restore_output(p, s->out, false);
	restore_output(p, s->err, true);
	if (in >= 0)
		p->in = input_new_take(p, in);
	for (i = s->n_attachments; i-- > 0;)
		restore_attachment(p, s->attachments[i]);
	for (i = 0; i < s->n_waiters; i++)
		proc_add_waiter(p, s->waiters[i]);
	if (p->adopted_pidfd >= 0 && adopt_watch(p, &err) < 0)
		front_note("%s: %s", p->id, err.msg);
}

static void
restore_reply(const Coracle__Launch__SavedMessage *m)
{
	size_t i;

	for (i = 0; i < m->n_fds; i++)
		take_over(m->fds[i]);
	if (m->n_fds <= PARCEL_FDS && front_client_fd() >= 0)
		front_requeue_take(m->data.data, m->data.len, m->fds, m->n_fds);
}

int
upgrade_restore(int saved_fd, const char *dir, struct err *err)
{
	cleanup_buf struct buf b = BUF_INIT;
	cleanup_close int fd = take_over(saved_fd);
	Coracle__Launch__Saved *s;
	size_t i;
	int ret;

	if (parcel_memfd_read(fd, &b, err) < 0)
		return err_wrap(err, "saved state");
	s = coracle__launch__saved__unpack(NULL, b.len, (const uint8_t *)b.data);
	if (s == NULL || s->format != UPGRADE_FORMAT || take_over(s->listen_fd) < 0) {
		if (s != NULL)
			coracle__launch__saved__free_unpacked(s, NULL);
		return err_set(err, ERR_INTERNAL, "saved state of another kind of keeper");
	}
	upgrade_set_context(dir, take_over(s->lock_fd));
	start_inherited.nofile.rlim_cur = s->nofile_soft;
	start_inherited.nofile.rlim_max = s->nofile_hard;
	start_inherited.oom_score_adj = s->oom_score_adj;
	ret = front_restore(s->listen_fd, take_over(s->client_fd), requests_on_message,
	    requests_on_client_gone, err);
	for (i = 0; ret == 0 && i < s->n_replies; i++)
		restore_reply(s->replies[i]);
	for (i = 0; ret == 0 && i < s->n_processes; i++)
		if (s->processes[i]->process != NULL && proc_id_ok(s->processes[i]->process->id))
			restore_proc(s->processes[i]);
	if (ret == 0)
		front_answer(s->upgrade_serial, NULL);
	coracle__launch__saved__free_unpacked(s, NULL);
	return ret;
}
