/* SPDX-License-Identifier: Apache-2.0
 *
 * Child processes on the loop: spawned without copying the daemon's memory (vfork semantics),
 * watched by pidfd, output captured up to a limit, killed at a deadline.
 *
 * Embedded: struct child in its owner; child_spawn() fails at once without a callback, or succeeds
 * and calls done() exactly once, from the loop, after the child was reaped and its output drained.
 */
#ifndef LOOP_CHILD_H
#define LOOP_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "loop/loop.h"

struct op;

struct child_spec {
	const char *path;        /* absolute */
	const char *const *argv; /* NULL-terminated */
	const char *const *envp; /* NULL-terminated; NULL: empty environment */
	const void *input;       /* bytes for stdin (copied); NULL: /dev/null */
	size_t input_len;
	size_t max_output;  /* kept of stdout and of stderr each; the rest is read and dropped */
	int64_t timeout_ms; /* 0: none. At the deadline the child's process group gets SIGKILL */
	int netns_fd;       /* enter this network namespace first; 0 or -1: no */
	bool die_with_parent; /* SIGKILL when the daemon ends */
	const int *keep_fds; /* n_keep of them: the i'th becomes the child's descriptor 3 + i */
	size_t n_keep;
};

struct child {
	pid_t pid;
	int pidfd;
	struct buf out, err_out; /* captured stdout and stderr */
	int status;              /* as of waitpid, valid in done() */
	bool timed_out;
	void (*done)(struct child *);
	/* private */
	struct op *op;
	struct buf in;
	size_t max_output;
	ev_io w_exit, w_out, w_err, w_in;
	int fd_out, fd_err, fd_in;
	struct loop_timer deadline, linger;
	int64_t timeout_ms;
	bool reaped;
};

/* Watch a process that was forked by other means: fd_out and fd_err (-1: none) are read to the end,
 * fds and pid belong to the child object from here on. Never fails. */
void child_watch(struct child *c, pid_t pid, int pidfd, int fd_out, int fd_err, size_t max_output,
    int64_t timeout_ms, void (*done)(struct child *));

int child_spawn(struct child *c, const struct child_spec *spec, void (*done)(struct child *),
    struct err *err) __attribute__((warn_unused_result));

/* As child_spawn, but ends the wait of an op: the step returns OP_WAIT or OP_AGAIN after it. A child
 * that exits non-zero, is killed or times out becomes the op's error, with its first line of stderr;
 * op->stop is set to kill the child. The outputs stay readable until child_release(). */
int child_spawn_op(struct child *c, const struct child_spec *spec, struct op *op, struct err *err)
    __attribute__((warn_unused_result));

void child_kill(struct child *c, int sig); /* its process group; fine after the exit */

/* Free what was captured. Only when no child is running. */
void child_release(struct child *c);

/* "exit status 3", "killed by signal 9", "timed out after 5000 ms" and its first line of stderr. */
int child_error(const struct child *c, const char *what, struct err *err);

#endif
