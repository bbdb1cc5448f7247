/* SPDX-License-Identifier: Apache-2.0
 *
 * One command in a running container, its output captured: ExecSync, the path of every probe.
 *
 * The keeper launches the command with the write ends of two pipes; output is read here, up to a
 * limit for each stream and dropped beyond it (CVE-2022-1708). The command has ended when its
 * process has: a grandchild that keeps a pipe open is not waited for.
 */
#ifndef POD_EXEC_SYNC_H
#define POD_EXEC_SYNC_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/id.h"
#include "exec/keeper.h"
#include "loop/loop.h"
#include "loop/op.h"

struct container;

enum { EXEC_SYNC_MAX = 16 * 1024 * 1024 - 64 * 1024 };

struct exec_stream {
	ev_io w;
	int fd;
	struct buf data;
	size_t max;
};

struct exec_sync {
	struct op op;
	struct arena arena;
	char container_id[ID_SIZE];
	char *const *argv;
	size_t n_argv;
	int64_t timeout_ms; /* 0: none */
	char id[ID_SIZE];
	struct keeper_call keeper;
	struct exec_stream out, err_out;
	int exit_code; /* valid in done() */
	/* private */
	bool launched, exited, timed_out, killed;
	struct loop_timer deadline, linger;
	void (*done)(struct exec_sync *);
	TAILQ_ENTRY(exec_sync) entry;
};

/* Not running: FAILED_PRECONDITION. Past the timeout: DEADLINE_EXCEEDED, the command killed with its
 * children. argv is borrowed until done(), which then calls exec_sync_release(). */
void exec_sync_start(struct exec_sync *x, struct container *c, char *const *argv, size_t n_argv,
    int64_t timeout_ms, void (*done)(struct exec_sync *));
void exec_sync_release(struct exec_sync *x);

/* From the keeper: true when the id is that of a command in flight. */
bool exec_sync_exited(const char *id, int status);

#endif
