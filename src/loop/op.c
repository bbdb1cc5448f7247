/* SPDX-License-Identifier: Apache-2.0
 *
 * The step engine: see op.h. advance() is the only function that enters a step.
 */
#include "loop/op.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "loop/loop.h"

static TAILQ_HEAD(, op) ready = TAILQ_HEAD_INITIALIZER(ready);
static TAILQ_HEAD(, op) all = TAILQ_HEAD_INITIALIZER(all);
static unsigned n_all;

int op_fail_at = -1;
void (*op_step_hook)(const struct op *op, bool undo);

static struct err *
slot(struct op *op)
{
	return op->phase == OP_RUNNING ? &op->err : &op->undo_err;
}

const char *
op_step_name(const struct op *op)
{
	const char *name = op->at >= 0 ? op->steps[op->at].name : NULL;

	return name != NULL ? name : "done";
}

static enum op_ret
enter(struct op *op)
{
	const struct op_step *step = &op->steps[op->at];
	op_fn *fn = op->phase == OP_RUNNING ? step->run : step->undo;
	struct err err = {.code = ERR_NONE};
	enum op_ret ret = OP_NEXT;

	op->step_ms = loop_now_ms();
	trace(TRACE_OP, "%s %.12s: %s%s", op->name, op->object,
	    op->phase == OP_RUNNING ? "" : "undo ", step->name);
	if (op_step_hook != NULL)
		op_step_hook(op, op->phase != OP_RUNNING);
	if (op->phase == OP_RUNNING && op->at == op_fail_at) {
		err_set(&op->err, ERR_INTERNAL, "injected");
		return OP_FAIL;
	}
	/* What a step that goes on has put into *err was of no consequence. */
	if (fn != NULL)
		ret = fn(op, &err);
	if (ret == OP_FAIL)
		*slot(op) = err;
	return ret;
}

/* A cancelled op already names its step. */
static void
name_step(struct op *op, struct err *err)
{
	size_t used = strlen(err->msg);

	if (op->keep_message)
		snprintf(err->msg + used, sizeof(err->msg) - used, " (%s)", op_step_name(op));
	else
		err_wrap(err, "%s", op_step_name(op));
}

static void
turn_round(struct op *op)
{
	if (!op->cancelled)
		name_step(op, &op->err);
	op->phase = OP_UNDOING;
}

static void
finish(struct op *op)
{
	op->phase = OP_DONE;
	if (op->err.code != ERR_NONE)
		log_info("%s %s: %s: %s", op->name, op->object, err_name(op->err.code),
		    op->err.msg);
	if (op->undo_err.code != ERR_NONE)
		log_warn("%s %s: clean-up stopped at %s: %s", op->name, op->object,
		    op_step_name(op), op->undo_err.msg);
	TAILQ_REMOVE(&all, op, all);
	n_all--;
	op->done(op);
}

static void
advance(struct op *op)
{
	enum op_ret ret = op->parked == OP_AGAIN ? OP_AGAIN : OP_NEXT;

	for (;;) {
		if (op->phase == OP_RUNNING && op->err.code != ERR_NONE) {
			turn_round(op);
			ret = OP_AGAIN; /* begin with the step that failed */
		}
		if (op->undo_err.code != ERR_NONE)
			break;
		if (ret == OP_NEXT)
			op->at += op->phase == OP_RUNNING ? 1 : -1;
		if (op->at < 0 || op->steps[op->at].name == NULL)
			break;
		ret = enter(op);
		if (ret == OP_WAIT || ret == OP_AGAIN) {
			op->waiting = true;
			op->parked = ret;
			return;
		}
		assert(ret == OP_NEXT || slot(op)->code != ERR_NONE);
	}
	finish(op);
}

void
op_start(struct op *op, const char *name, const char *object, const struct op_step *steps,
    void (*done)(struct op *))
{
	*op = (struct op){.steps = steps, .name = name, .done = done, .parked = OP_AGAIN};
	snprintf(op->object, sizeof(op->object), "%s", object);
	op->started_ms = op->step_ms = loop_now_ms();
	TAILQ_INSERT_TAIL(&ready, op, ready);
	TAILQ_INSERT_TAIL(&all, op, all);
	n_all++;
}

void
op_resume(struct op *op, const struct err *err)
{
	assert(op->waiting);
	op->waiting = false;
	op->stop = NULL;
	op->leaf = NULL;
	if (err != NULL && err->code != ERR_NONE && slot(op)->code == ERR_NONE)
		*slot(op) = *err;
	TAILQ_INSERT_TAIL(&ready, op, ready);
}

void
op_cancel(struct op *op, enum err_code code, const char *why)
{
	if (op->phase != OP_RUNNING || op->err.code != ERR_NONE)
		return;
	op->cancelled = true;
	err_set(&op->err, code, "%s during '%s'", why, op_step_name(op));
	if (op->waiting && op->stop != NULL)
		op->stop(op); /* the leaf resumes the op soon; without a stop, it is waited out */
}

void
op_run_ready(void)
{
	struct op *op;

	while ((op = TAILQ_FIRST(&ready)) != NULL) {
		TAILQ_REMOVE(&ready, op, ready);
		advance(op);
	}
}

bool
op_any_ready(void)
{
	return !TAILQ_EMPTY(&ready);
}

void
op_foreach(void (*each)(const struct op *, void *arg), void *arg)
{
	struct op *op;

	TAILQ_FOREACH(op, &all, all)
		each(op, arg);
}

unsigned
op_count(void)
{
	return n_all;
}

void
op_queue_init(struct op_queue *q)
{
	q->holder = NULL;
	TAILQ_INIT(&q->waiting);
}

static void
unlink_waiting(struct op *op)
{
	TAILQ_REMOVE(&op->queue->waiting, op, queued);
	op->queue = NULL;
}

static void
stop_queued(struct op *op)
{
	unlink_waiting(op);
	op_resume(op, NULL); /* op_cancel() has set the error */
}

void
op_queue_join(struct op_queue *q, struct op *op)
{
	assert(op->queue == NULL && op->at == 0);
	op->queue = q;
	if (q->holder == NULL)
		q->holder = op;
	else
		TAILQ_INSERT_TAIL(&q->waiting, op, queued);
}

enum op_ret
op_queue_enter(struct op *op)
{
	assert(op->queue != NULL);
	if (op->queue->holder == op)
		return OP_NEXT;
	op->stop = stop_queued;
	return OP_WAIT;
}

/* An op that has not yet come to its first step is in the ready list as it is. */
static void
wake_queued(struct op *op, const struct err *err)
{
	if (op->waiting)
		op_resume(op, err);
	else if (err != NULL && op->err.code == ERR_NONE)
		op->err = *err;
}

void
op_queue_leave(struct op *op)
{
	struct op_queue *q = op->queue;
	struct op *next;

	if (q == NULL)
		return;
	if (q->holder != op) {
		unlink_waiting(op);
		return;
	}
	op->queue = NULL;
	q->holder = next = TAILQ_FIRST(&q->waiting);
	if (next == NULL)
		return;
	TAILQ_REMOVE(&q->waiting, next, queued);
	wake_queued(next, NULL);
}

void
op_queue_close(struct op_queue *q, const struct err *err)
{
	struct op *op;

	if (q->holder != NULL)
		q->holder->queue = NULL;
	q->holder = NULL;
	while ((op = TAILQ_FIRST(&q->waiting)) != NULL) {
		unlink_waiting(op);
		wake_queued(op, err);
	}
}
