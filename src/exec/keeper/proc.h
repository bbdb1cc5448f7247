/* SPDX-License-Identifier: Apache-2.0
 *
 * The processes the keeper looks after, and the records of those that ended.
 *
 *	PROC_LAUNCHING   cloned, not yet exec'd; its Launch has no answer yet
 *	PROC_RUNNING     launched, adopted, or taken over from the image before an upgrade
 *	PROC_ENDED       its record is in <state>/exits/<id>; stays until Forget
 *
 * A struct proc owns its log, outputs, input and attached clients; when it ends only the ids and
 *the record remain.
 */
#ifndef EXEC_KEEPER_PROC_H
#define EXEC_KEEPER_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/err.h"
#include "exec/keeper/crilog.h"
#include "exec/keeper/reactor.h"
#include "proto/launch.pb-c.h"

struct attachment;
struct input;
struct launching;
struct output;

enum { PROC_ID_MAX = 128 };

enum proc_state { PROC_LAUNCHING, PROC_RUNNING, PROC_ENDED };

struct proc {
	char *id, *container_id, *io_dir; /* io_dir: "" when it has no pipes of ours */
	pid_t pid;
	uint32_t kind; /* of its plan */
	enum proc_state state;
	bool tty, stdin_once, kill_with_client;
	uint64_t max_line;
	struct launching *launching;      /* PROC_LAUNCHING only */
	struct reactor_source exit_watch; /* adopted: its pidfd, owned; else not registered */
	int adopted_pidfd;                /* -1: a child of ours */
	int tty_fd;                       /* the master side; -1 */
	struct crilog log;
	struct output *out[2]; /* stdout, stderr; NULL: not read by us */
	struct input *in;      /* NULL: none, or closed for good */
	LIST_HEAD(, attachment) attachments;
	uint64_t *waiters; /* serials of requests that are answered when it has ended */
	size_t n_waiters;
	int32_t status; /* PROC_ENDED: as of waitpid */
	int64_t finished_at;
	bool unknown;
	LIST_ENTRY(proc) by_id, by_pid;
	TAILQ_ENTRY(proc) all;
};

TAILQ_HEAD(proc_list, proc);
extern struct proc_list procs; /* oldest first */

/* Letters, digits, '.', '_', '-'; not a '.' first; at most PROC_ID_MAX: it is a file name. */
bool proc_id_ok(const char *id);

struct proc *proc_new(const char *id, uint32_t kind);
void proc_set_pid(struct proc *p, pid_t pid); /* 0: none any more */
struct proc *proc_find(const char *id);       /* NULL when unknown */
struct proc *proc_by_pid(pid_t pid);          /* not ended; NULL when it is none of ours */

/* Close what it holds; what was read of its output is not logged any further. */
void proc_drop_io(struct proc *p);
/* With its FIFOs, which are unlinked; the exit file stays. */
void proc_free(struct proc *p);

void proc_add_waiter(struct proc *p, uint64_t serial);

/* It ended: what it wrote is logged, the record written, the client told. */
void proc_end(struct proc *p, int32_t status, bool unknown);

/* Fill a message that borrows from p. */
void proc_to_exit(const struct proc *p, Coracle__Launch__Exit *exit);

/* <state>/exits: made when missing; the records in it become ended processes. */
int proc_open_records(int state_dirfd, struct err *err);
/* Drop the record of an ended process: file and struct. Fine when there is none. */
void proc_forget(const char *id);

#endif
