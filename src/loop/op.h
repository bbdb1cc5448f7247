/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations: asynchronous sequences as tables of steps.
 *
 * An op walks its table. A step either finishes at once (OP_NEXT), or starts something and waits:
 * OP_WAIT goes on to the next step when op_resume() is called, OP_AGAIN enters the same step again.
 * When a step fails, a wait ends in an error, or the op is cancelled, the op turns round and enters
 * the undo half of the step it is in, then of those before it. An undo half therefore tolerates a
 * step that was half done or never begun, works from the object alone, and is idempotent. An undo
 * that fails ends the walk: what is left is on record, and a later call of the same undo functions
 * retries it.
 *
 * Rules: only the engine enters steps. op_resume() only queues, so it is safe from any callback; a
 * leaf (child, fetch, timer, request to the keeper) resumes exactly once and never from inside the
 * call that starts it. Undo is never cancelled. One op at a time per object, by op_queue.
 *
 * Life cycle: embed struct op, op_start(), … , done() once, which may free the op.
 */
#ifndef LOOP_OP_H
#define LOOP_OP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"

struct op;
enum op_ret { OP_FAIL = -1, OP_NEXT, OP_WAIT, OP_AGAIN };
typedef enum op_ret op_fn(struct op *, struct err *);

/* A table ends with a row of NULLs. */
struct op_step {
	const char *name; /* shown in logs, traces and error messages */
	op_fn *run;
	op_fn *undo; /* NULL: nothing to undo */
};

struct op {
	const struct op_step *steps;
	const char *name;  /* "RunPodSandbox" */
	char object[80];   /* an id or a reference, for people */
	int at;            /* the step in progress */
	enum { OP_RUNNING, OP_UNDOING, OP_DONE } phase;
	bool waiting, cancelled;
	enum op_ret parked;        /* OP_WAIT or OP_AGAIN, while waiting */
	struct err err, undo_err;  /* the first failure of either direction */
	void (*stop)(struct op *); /* set by the leaf: cuts the present wait short */
	void *leaf;                /* set with stop: what stop() acts on */
	bool keep_message;         /* clients parse how the message begins: name the step at its end */
	void (*done)(struct op *); /* called once, last; may free the op */
	int64_t started_ms, step_ms;
	TAILQ_ENTRY(op) ready;
	TAILQ_ENTRY(op) all;
	TAILQ_ENTRY(op) queued; /* in an op_queue */
	struct op_queue *queue;    /* the one it holds or waits in */
};

/* Queue the op. Nothing of it runs before op_run_ready(). name and steps are not copied. Fields the
 * owner sets (keep_message) are set after this call. The error of a failed op names the step. */
void op_start(struct op *op, const char *name, const char *object, const struct op_step *steps,
    void (*done)(struct op *));

/* End a wait; err may be NULL. Only queues the op. */
void op_resume(struct op *op, const struct err *err);

/* Turn a running op round. One that is undoing or done is left alone. The error's message names the
 * step: "<why> during '<step>'". */
void op_cancel(struct op *op, enum err_code code, const char *why);

/* Run every queued op as far as it goes. Called by the loop's prepare hook (and by unit tests). */
void op_run_ready(void);
bool op_any_ready(void);

/* The step in progress; "done" after the last. */
const char *op_step_name(const struct op *op);

/* Calls each() for every op that has not ended, oldest first. */
void op_foreach(void (*each)(const struct op *, void *arg), void *arg);
unsigned op_count(void);

/*
 * A queue of ops on one object: the holder works, the others wait in order. Embedded in the object.
 * An op is in one queue at most.
 */
struct op_queue {
	struct op *holder;
	TAILQ_HEAD(, op) waiting;
};

void op_queue_init(struct op_queue *q);

/* Right after op_start(): take a place in the queue. Until the op is done its `queue` is either set,
 * then the object is there, or NULL: it was cancelled while it waited, or the object is gone. */
void op_queue_join(struct op_queue *q, struct op *op);

/* For step 0, of an op that has joined: OP_NEXT when the op holds the queue now, else OP_WAIT (it
 * holds it when resumed). Cancelling a waiting op takes it out. */
enum op_ret op_queue_enter(struct op *op);

/* Give the queue to the next. Fine for an op that is in none. Call it from done(). */
void op_queue_leave(struct op *op);

/* The object goes: whoever waits ends with this error, and nobody refers to the queue. The holder
 * does not leave before: that would let the next one work on what is about to be freed. */
void op_queue_close(struct op_queue *q, const struct err *err);

/* Tests only: fail instead of running step N; -1: never. */
extern int op_fail_at;
/* Tests only: called before every step (undo: true), to kill the process there. */
extern void (*op_step_hook)(const struct op *op, bool undo);

#endif
