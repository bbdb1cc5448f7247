/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of processes and their exit records: see proc.h.
 */
#include "exec/keeper/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/keeper/attachment.h"
#include "exec/keeper/front.h"
#include "exec/keeper/input.h"
#include "exec/keeper/output.h"
#include "exec/keeper/pipes.h"
#include "exec/keeper/start.h"

enum { BUCKETS = 512, RECORD_MAX = 4096 };

struct proc_list procs = TAILQ_HEAD_INITIALIZER(procs);
static LIST_HEAD(, proc) by_id[BUCKETS], by_pid[BUCKETS];
static int exits_fd = -1;

bool
proc_id_ok(const char *id)
{
	return id[0] != '.' && strlen(id) <= PROC_ID_MAX &&
	       str_only(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
}

static unsigned
bucket_of_id(const char *id)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (; *id != '\0'; id++)
		h = (h ^ (unsigned char)*id) * 16777619u;
	return h % BUCKETS;
}

struct proc *
proc_new(const char *id, uint32_t kind)
{
	struct proc *p = xcalloc(1, sizeof(*p));

	p->id = xstrdup(id);
	p->kind = kind;
	p->adopted_pidfd = p->tty_fd = p->log.fd = p->exit_watch.fd = -1;
	LIST_INIT(&p->attachments);
	LIST_INSERT_HEAD(&by_id[bucket_of_id(id)], p, by_id);
	TAILQ_INSERT_TAIL(&procs, p, all);
	return p;
}

void
proc_set_pid(struct proc *p, pid_t pid)
{
	if (p->pid != 0)
		LIST_REMOVE(p, by_pid);
	p->pid = pid;
	if (pid != 0)
		LIST_INSERT_HEAD(&by_pid[(unsigned)pid % BUCKETS], p, by_pid);
}

struct proc *
proc_find(const char *id)
{
	struct proc *p;

	LIST_FOREACH(p, &by_id[bucket_of_id(id)], by_id)
	if (strcmp(p->id, id) == 0)
		return p;
	return NULL;
}

struct proc *
proc_by_pid(pid_t pid)
{
	struct proc *p;

	LIST_FOREACH(p, &by_pid[(unsigned)pid % BUCKETS], by_pid)
	if (p->pid == pid)
		return p;
	return NULL;
}

void
proc_drop_io(struct proc *p)
{
	start_drop(p);
	attachments_finish(p);
	input_free(take_ptr(p->in));
	output_free(take_ptr(p->out[0]));
	output_free(take_ptr(p->out[1]));
	reactor_del(&p->exit_watch);
	fd_closep(&p->adopted_pidfd);
	fd_closep(&p->tty_fd);
	crilog_close(&p->log);
}

void
proc_add_waiter(struct proc *p, uint64_t serial)
{
	p->waiters = xrealloc(p->waiters, (p->n_waiters + 1) * sizeof(*p->waiters));
	p->waiters[p->n_waiters++] = serial;
}

static void
answer_waiters(struct proc *p)
{
	size_t i;

	for (i = 0; i < p->n_waiters; i++)
		front_answer(p->waiters[i], NULL);
	p->n_waiters = 0;
	free(take_ptr(p->waiters));
}

void
proc_free(struct proc *p)
{
	answer_waiters(p);
	proc_drop_io(p);
	proc_set_pid(p, 0);
	LIST_REMOVE(p, by_id);
	TAILQ_REMOVE(&procs, p, all);
	pipes_remove(p->io_dir);
	free(p->id);
	free(p->container_id);
	free(p->io_dir);
	free(p);
}

void
proc_to_exit(const struct proc *p, Coracle__Launch__Exit *exit)
{
	coracle__launch__exit__init(exit);
	exit->id = p->id;
	exit->status = p->status;
	exit->finished_at = p->finished_at;
	exit->unknown = p->unknown;
}

static void
write_record(const struct proc *p, const Coracle__Launch__Exit *exit)
{
	uint8_t packed[PROC_ID_MAX + 64];
	size_t n = coracle__launch__exit__pack(exit, packed);
	struct err err = {0};

	/* Without room on the disk the record is still in memory, and the event is still sent. */
	if (fd_write_file(exits_fd, p->id, packed, n, 0600, false, &err) < 0)
		front_note("exit record of %s: %s", p->id, err.msg);
}

void
proc_end(struct proc *p, int32_t status, bool unknown)
{
	Coracle__Launch__Reply event;
	Coracle__Launch__Exit exit;
	int i;

	for (i = 0; i < 2; i++)
		if (p->out[i] != NULL)
			output_drain(p->out[i]);
	if (p->log.dropped > 0)
		front_note("log %s: %llu lines were dropped", p->log.path,
		    (unsigned long long)p->log.dropped);
	proc_drop_io(p);
	proc_set_pid(p, 0);
	pipes_remove(p->io_dir);
	free(take_ptr(p->io_dir));
	p->state = PROC_ENDED;
	p->status = status;
	p->unknown = unknown;
	p->finished_at = clock_wall_ns();
	proc_to_exit(p, &exit);
	write_record(p, &exit);

	coracle__launch__reply__init(&event);
	event.exited = &exit;
	front_send(&event, NULL, 0);
	answer_waiters(p);
}

static void
load_record(const char *name)
{
	cleanup_buf struct buf b = BUF_INIT;
	Coracle__Launch__Exit *exit;
	struct err err = {0};
	struct proc *p;

	/* "…~" is a record that was being written. */
	if (!proc_id_ok(name)) {
		unlinkat(exits_fd, name, 0);
		return;
	}
	if (proc_find(name) != NULL || fd_read_file(exits_fd, name, RECORD_MAX, &b, &err) < 0)
		return;
	exit = coracle__launch__exit__unpack(NULL, b.len, (const uint8_t *)b.data);
	if (exit == NULL || strcmp(exit->id, name) != 0) {
		front_note("exit record %s is damaged: removed", name);
		unlinkat(exits_fd, name, 0);
	} else {
		p = proc_new(name, CORACLE__LAUNCH__PLAN__KIND__CONTAINER);
		p->state = PROC_ENDED;
		p->status = exit->status;
		p->finished_at = exit->finished_at;
		p->unknown = exit->unknown;
	}
	if (exit != NULL)
		coracle__launch__exit__free_unpacked(exit, NULL);
}

int
proc_open_records(int state_dirfd, struct err *err)
{
	struct dirent *ent;
	DIR *dir;
	int fd;

	if (fd_mkdir_p(state_dirfd, "exits", 0700, err) < 0)
		return -1;
	exits_fd = openat(state_dirfd, "exits", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	fd = exits_fd < 0 ? -1 : fcntl(exits_fd, F_DUPFD_CLOEXEC, 3);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL) {
		err_errno(err, "open exits");
		fd_closep(&fd);
		return -1;
	}
	while ((ent = readdir(dir)) != NULL)
		if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
			load_record(ent->d_name);
	closedir(dir);
	return 0;
}

void
proc_forget(const char *id)
{
	struct proc *p = proc_find(id);

	if (p != NULL && p->state != PROC_ENDED)
		return;
	unlinkat(exits_fd, id, 0);
	if (p != NULL)
		proc_free(p);
}
