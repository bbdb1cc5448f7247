/* SPDX-License-Identifier: Apache-2.0
 *
 * Leaving: from a running keeper to the exec of the next image. See upgrade.h; restore.c is the
 * other half.
 */
#include "exec/keeper/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper/attachment.h"
#include "exec/keeper/front.h"
#include "exec/keeper/input.h"
#include "exec/keeper/output.h"
#include "exec/keeper/parcel.h"
#include "exec/keeper/proc.h"
#include "exec/keeper/reactor.h"
#include "exec/keeper/start.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

enum {
	PROGRAM_MAX = 64 << 20,
	LINGER_CHECK_MS = 10,
	PATIENCE_MS = 5000, /* nobody is answered while it waits */
	ALL_SEALS = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL
};

static struct {
	bool pending;
	uint64_t serial;
	int program_fd;
	struct reactor_task task;
	struct reactor_timer timer, patience;
} wanted = {.program_fd = -1};
static const char *state_dir = "";
static int lock_fd = -1;

void
upgrade_set_context(const char *dir, int fd)
{
	state_dir = dir;
	lock_fd = fd;
}

int
upgrade_is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & ALL_SEALS) == ALL_SEALS;
}

int
upgrade_seal_program(int program_fd, struct err *err)
{
	cleanup_close int fd = -1;
	struct stat st;
	off_t at = 0;

	if (fstat(program_fd, &st) < 0)
		return err_errno(err, "stat the program");
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > PROGRAM_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "the program is not a file of at most %d bytes", PROGRAM_MAX);
	fd = memfd_create("coracle-keeper", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 every memfd may be executed */
		fd = memfd_create("coracle-keeper", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_errno(err, "memfd for the program");
	while (at < st.st_size) {
		char part[16384];
		ssize_t n = pread(program_fd, part, sizeof(part), at);

		if (n == 0)
			errno = EIO;
		if (n <= 0 || fd_write_all(fd, part, (size_t)n) < 0)
			return err_errno(err, "copy the program");
		at += n;
	}
	if (fchmod(fd, 0555) < 0 || fcntl(fd, F_ADD_SEALS, ALL_SEALS) < 0)
		return err_errno(err, "seal the program");
	return take_fd(fd);
}

/* ---- what is left behind ---- */

/* Filled with malloc'd parts; saved_release() frees them, borrowed strings are not its. */
static void
save_output(const struct output *o, Coracle__Launch__SavedOutput **ret)
{
	Coracle__Launch__SavedOutput *s;

	if (o == NULL)
		return;
	*ret = s = xcalloc(1, sizeof(*s));
	coracle__launch__saved_output__init(s);
	s->fd = o->fd;
	s->carry.data = (uint8_t *)o->carry;
	s->carry.len = o->carry_len;
	s->seen = o->seen;
}

static Coracle__Launch__SavedAttachment *
save_attachment(const struct attachment *a)
{
	Coracle__Launch__SavedAttachment *s = xcalloc(1, sizeof(*s));

	coracle__launch__saved_attachment__init(s);
	s->stdin_fd = a->in_fd;
	s->stdout_fd = a->out[0].fd;
	s->stderr_fd = a->out[1].fd;
	s->stdin_queue.data = (uint8_t *)a->in_queue;
	s->stdin_queue.len = a->in_len;
	s->stdout_queue.data = (uint8_t *)a->out[0].queue;
	s->stdout_queue.len = a->out[0].len;
	s->stderr_queue.data = (uint8_t *)a->out[1].queue;
	s->stderr_queue.len = a->out[1].len;
	return s;
}

static Coracle__Launch__SavedProcess *
save_proc(struct proc *p)
{
	Coracle__Launch__SavedProcess *s = xcalloc(1, sizeof(*s));
	struct attachment *a;

	coracle__launch__saved_process__init(s);
	s->process = xcalloc(1, sizeof(*s->process));
	coracle__launch__process__init(s->process);
	s->process->id = p->id;
	s->process->pid = p->pid;
	s->process->is_exec = p->kind == CORACLE__LAUNCH__PLAN__KIND__EXEC;
	s->process->tty = p->tty;
	s->kind = p->kind;
	if (p->log.path != NULL)
		s->process->log_path = p->log.path;
	if (p->container_id != NULL)
		s->container_id = p->container_id;
	s->has_io_dir = p->io_dir != NULL;
	if (p->io_dir != NULL)
		s->io_dir = p->io_dir;
	s->log_max_line = p->max_line;
	s->kill_with_client = p->kill_with_client;
	s->stdin_once = p->stdin_once;
	s->adopted_pidfd = p->adopted_pidfd;
	s->stdin_fd = p->in == NULL ? -1 : p->in->fd;
	s->tty_fd = p->tty_fd;
	s->log_fd = p->log.fd;
	s->log_failing = p->log.failing;
	s->log_dropped = p->log.dropped;
	save_output(p->out[0], &s->out);
	save_output(p->out[1], &s->err);
	s->waiters = p->waiters;
	s->n_waiters = p->n_waiters;
	LIST_FOREACH(a, &p->attachments, entry)
	s->n_attachments++;
	s->attachments = xcalloc(s->n_attachments + 1, sizeof(*s->attachments));
	s->n_attachments = 0;
	LIST_FOREACH(a, &p->attachments, entry)
	s->attachments[s->n_attachments++] = save_attachment(a);
	return s;
}

static void
save_message(const void *data, size_t len, const int *fds, size_t n_fds, void *arg)
{
	Coracle__Launch__Saved *s = arg;
	Coracle__Launch__SavedMessage *m = xcalloc(1, sizeof(*m));

	coracle__launch__saved_message__init(m);
	m->data.data = (uint8_t *)data;
	m->data.len = len;
	m->fds = (int32_t *)fds;
	m->n_fds = n_fds;
	s->replies = xrealloc(s->replies, (s->n_replies + 1) * sizeof(*s->replies));
	s->replies[s->n_replies++] = m;
}

static void
save(Coracle__Launch__Saved *s)
{
	struct proc *p;
	size_t n = 0;

	coracle__launch__saved__init(s);
	s->format = UPGRADE_FORMAT;
	s->listen_fd = front_listen_fd();
	s->client_fd = front_client_fd();
	s->lock_fd = lock_fd;
	s->nofile_soft = start_inherited.nofile.rlim_cur;
	s->nofile_hard = start_inherited.nofile.rlim_max;
	s->oom_score_adj = start_inherited.oom_score_adj;
	s->upgrade_serial = wanted.serial;
	TAILQ_FOREACH (p, &procs, all)
		n++;
	s->processes = xcalloc(n + 1, sizeof(*s->processes));
	/* The records of those that ended are on disk. */
	TAILQ_FOREACH (p, &procs, all)
		if (p->state == PROC_RUNNING)
			s->processes[s->n_processes++] = save_proc(p);
	front_each_queued(save_message, s);
}

static void
saved_release(Coracle__Launch__Saved *s)
{
	size_t i, k;

	for (i = 0; i < s->n_processes; i++) {
		Coracle__Launch__SavedProcess *p = s->processes[i];

		for (k = 0; k < p->n_attachments; k++)
			free(p->attachments[k]);
		free(p->attachments);
		free(p->out);
		free(p->err);
		free(p->process);
		free(p);
	}
	free(s->processes);
	for (i = 0; i < s->n_replies; i++)
		free(s->replies[i]);
	free(s->replies);
}

/* ---- the exec ---- */

static void
keep(int fd, bool keep_it)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, keep_it ? 0 : FD_CLOEXEC);
}

static void
keep_all(const Coracle__Launch__Saved *s, bool yes)
{
	size_t i, k;

	keep(s->listen_fd, yes);
	keep(s->client_fd, yes);
	keep(s->lock_fd, yes);
	for (i = 0; i < s->n_processes; i++) {
		const Coracle__Launch__SavedProcess *p = s->processes[i];

		keep(p->adopted_pidfd, yes);
		keep(p->stdin_fd, yes);
		keep(p->tty_fd, yes);
		keep(p->log_fd, yes);
		keep(p->out == NULL ? -1 : p->out->fd, yes);
		keep(p->err == NULL ? -1 : p->err->fd, yes);
		for (k = 0; k < p->n_attachments; k++) {
			keep(p->attachments[k]->stdin_fd, yes);
			keep(p->attachments[k]->stdout_fd, yes);
			keep(p->attachments[k]->stderr_fd, yes);
		}
	}
	for (i = 0; i < s->n_replies; i++)
		for (k = 0; k < s->replies[i]->n_fds; k++)
			keep(s->replies[i]->fds[k], yes);
}

/* Returns only when it failed, and then nothing has changed. */
static int
exec_next(struct err *err)
{
	Coracle__Launch__Saved s;
	cleanup_close int saved_fd = -1;
	cleanup_free uint8_t *packed = NULL;
	char number[16];
	char *argv[] = {(char *)"coracle-keeper", (char *)"--state", (char *)state_dir,
	    (char *)"--restore", number, NULL};

	save(&s);
	packed = xmalloc(coracle__launch__saved__get_packed_size(&s) + 1);
	saved_fd = parcel_memfd("keeper-state", packed, coracle__launch__saved__pack(&s, packed));
	if (saved_fd < 0) {
		err_errno(err, "save the state");
	} else {
		snprintf(number, sizeof(number), "%d", saved_fd);
		keep_all(&s, true);
		keep(saved_fd, true);
		syscall(SYS_execveat, wanted.program_fd, "", argv, environ, AT_EMPTY_PATH);
		err_errno(err, "execute the new program");
		keep_all(&s, false);
	}
	saved_release(&s);
	return -1;
}

static void
on_timer(struct reactor_timer *timer)
{
	(void)timer;
	upgrade_when_idle();
}

static void
give_up(const struct err *err)
{
	reactor_timer_stop(&wanted.timer);
	reactor_timer_stop(&wanted.patience);
	reactor_task_cancel(&wanted.task);
	wanted.pending = false;
	fd_closep(&wanted.program_fd);
	front_pause(false);
	front_answer(wanted.serial, err);
}

static void
on_patience(struct reactor_timer *timer)
{
	struct err err;

	(void)timer;
	err_set(&err, ERR_UNAVAILABLE, "upgrade: %u launches are in flight", start_in_flight());
	give_up(&err);
}

static void
on_idle(struct reactor_task *task)
{
	struct err err;

	(void)task;
	/* What clients of ended processes have still to get is not taken along: it is soon done. */
	if (attachments_lingering()) {
		reactor_timer_start(&wanted.timer, LINGER_CHECK_MS, on_timer);
		return;
	}
	front_flush();
	exec_next(&err);
	give_up(&err);
}

void
upgrade_when_idle(void)
{
	if (wanted.pending)
		reactor_task_queue(&wanted.task, on_idle);
}

int
upgrade_request(uint64_t serial, int program_fd, struct err *err)
{
	cleanup_close int given = program_fd;
	int sealed;

	if (wanted.pending)
		return err_set(err, ERR_FAILED_PRECONDITION, "an upgrade is under way");
	sealed = upgrade_is_sealed(given) ? take_fd(given) : upgrade_seal_program(given, err);
	if (sealed < 0)
		return -1;
	wanted.program_fd = sealed;
	wanted.serial = serial;
	wanted.pending = true;
	front_pause(true);
	reactor_timer_start(&wanted.patience, PATIENCE_MS, on_patience);
	if (start_in_flight() == 0)
		upgrade_when_idle();
	return 0;
}
