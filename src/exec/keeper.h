/* SPDX-License-Identifier: Apache-2.0
 *
 * coracled's side of the keeper (exec/keeper/): starts it when there is none, asks it, hears from
 * it.
 *
 * Life cycle: keeper_open() once, at start-up; set the hooks; calls; keeper_close(). When the
 * keeper dies, every call in flight fails with UNAVAILABLE, on_lost is called, a new keeper is
 * started (and tried again each second for as long as that fails; calls fail meanwhile), and
 * on_renewed is called once it answers. Its owner then asks for a List and has every running
 * container it misses adopted. One that was asked to end (Shutdown) is not replaced.
 *
 * The pipes of a process (stdin_fd, stdout_fd, stderr_fd of the replies to Launch and Open) are
 * kept here until it ends, and go with an Adopt of the same id by themselves: what is in a pipe
 * then outlives even a keeper and a container that die at the same moment. After a restart of
 * coracled its owner sends an Open for each running process of the List, which also gives it the
 * pidfd and the terminal.
 *
 * A Reply is decoded before done() is called, its descriptors are in call->fds, and a field named
 * *_fd of the Reply with value v > 0 means fds[v - 1]; keeper_call_take_fd() hands one over.
 */
#ifndef EXEC_KEEPER_H
#define EXEC_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/err.h"
#include "proto/launch.pb-c.h"

struct keeper;
struct op;

struct keeper_config {
	const char *program;   /* absolute path of coracle-keeper; it runs from a sealed copy */
	const char *state_dir; /* existing; keeper.sock and exits/ are in it. Below 90 bytes */
	const char *cgroup;    /* directory of a cgroup to put a new keeper into, or NULL */
};

/* Connects to the keeper of state_dir, or starts one (own session, no child of the caller) and
 * connects. A keeper of another version than ours is upgraded to config->program. At start-up only:
 * it may block for some ms, and up to 10 s when the keeper hangs. The strings of the config are
 * copied. NULL with *err filled. */
struct keeper *keeper_open(const struct keeper_config *config, struct err *err);

/* Drops the connection; the keeper lives on. Not from within one of its callbacks. No call is in
 * flight any more: those that were have had their done() with CANCELLED before this returns. NULL
 * is fine. */
void keeper_close(struct keeper *k);

/* The hooks; `owner` is for them. Any may be NULL. */
struct keeper_hooks {
	/* A process that was launched or adopted has ended; its record is on disk. What ended while
	 * nobody was connected is found by List. *e lives as long as the call. */
	void (*on_exit)(struct keeper *k, const Coracle__Launch__Exit *e);
	void (*on_lost)(struct keeper *k);
	void (*on_renewed)(struct keeper *k);
	void (*on_note)(
	    struct keeper *k, const char *text); /* a degradation, said once: for the log */
};
void keeper_set_hooks(struct keeper *k, const struct keeper_hooks *hooks, void *owner);
void *keeper_owner(const struct keeper *k);

pid_t keeper_pid(const struct keeper *k);           /* 0 while there is none */
const char *keeper_version(const struct keeper *k); /* "" while there is none */

enum { KEEPER_CALL_FDS = 8 };

struct keeper_call {
	void (*done)(struct keeper_call *); /* called once, from the loop */
	struct op *op;
	Coracle__Launch__Reply *reply; /* NULL when the call failed on our side */
	int fds[KEEPER_CALL_FDS];      /* that came with the reply; -1 when taken */
	size_t n_fds;
	struct err err; /* ERR_NONE, or a Reply's code with "step: text: strerror" */
	/* private */
	struct keeper *keeper; /* NULL when not in flight */
	uint64_t serial;
	bool shutdown;
	char *process; /* id of the process whose pipes may come with the reply */
	TAILQ_ENTRY(keeper_call) entry, op_entry;
};

/* Send a request; its serial is set here, and nothing of it is kept: it may be freed at once, and
 * the descriptors closed. A long plan goes by memfd. Fails at once without a callback (UNAVAILABLE
 * while there is no keeper), or succeeds and calls done() exactly once. */
int keeper_call_start(struct keeper *k, struct keeper_call *call, Coracle__Launch__Request *req,
    const int *fds, size_t n_fds, void (*done)(struct keeper_call *), struct err *err)
    __attribute__((warn_unused_result));

/* As keeper_call_start, but ends the wait of an op; an error becomes the op's. Cancelling the op
 * ends the wait at once; a launch in flight then still happens, and the op's undo half is a Kill
 * with `wait` and a Forget (neither minds an unknown id). */
int keeper_call_op(struct keeper *k, struct keeper_call *call, Coracle__Launch__Request *req,
    const int *fds, size_t n_fds, struct op *op, struct err *err)
    __attribute__((warn_unused_result));

/* Frees the reply and closes the descriptors that were not taken. When the call is in flight it is
 * given up: no callback comes any more. Fine on one that is all zero, and twice. */
void keeper_call_release(struct keeper_call *call);

/* The descriptor a field of the reply names (pid_fd, tty_fd), the caller's from now on; -1 when the
 * field is 0. */
int keeper_call_take_fd(struct keeper_call *call, uint32_t index);

#endif
