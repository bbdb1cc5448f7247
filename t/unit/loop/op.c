/* SPDX-License-Identifier: Apache-2.0
 *
 * The step engine: fail at every step, fail at every wait, cancel at every wait, undo that fails;
 * nothing may be left behind. Queues keep their order.
 */
#include "loop/op.h"

#include "base/log.h"
#include "base/macros.h"
#include "loop/loop.h"
#include "tap.h"

#define POD(o) container_of(o, struct pod_op, op)

enum { ROW = 1, NETNS = 2, NET = 4, CGROUP = 8, HOLDER = 16, ALL = 31 };

struct pod_op {
	struct op op;
	unsigned live; /* one bit per resource that exists */
	int plugin;
	bool undo_fails, done;
};

/* The fake leaf: the test decides when, and how, a wait ends. */
static struct op *parked[8];
static int n_parked;

static void
leaf_stop(struct op *op)
{
	struct err err;

	n_parked = 0;
	err_set(&err, ERR_CANCELLED, "child killed");
	op_resume(op, &err);
}

static enum op_ret
leaf_start(struct op *op, enum op_ret ret)
{
	parked[n_parked++] = op;
	op->stop = leaf_stop;
	return ret;
}

static enum op_ret
row_insert(struct op *op, struct err *err)
{
	(void)err;
	POD(op)->live |= ROW;
	return OP_NEXT;
}

static enum op_ret
row_delete(struct op *op, struct err *err)
{
	(void)err;
	POD(op)->live &= ~(unsigned)ROW;
	return OP_NEXT;
}

static enum op_ret
netns_create(struct op *op, struct err *err)
{
	(void)err;
	POD(op)->live |= NETNS;
	return OP_NEXT;
}

static enum op_ret
netns_remove(struct op *op, struct err *err)
{
	(void)err;
	POD(op)->live &= ~(unsigned)NETNS;
	return OP_NEXT;
}

static enum op_ret
network_add(struct op *op, struct err *err)
{
	(void)err;
	if (POD(op)->plugin == 3)
		return OP_NEXT;
	POD(op)->plugin++;
	POD(op)->live |= NET;
	return leaf_start(op, OP_AGAIN);
}

static enum op_ret
network_del(struct op *op, struct err *err)
{
	if (POD(op)->undo_fails)
		return err_set(err, ERR_INTERNAL, "bridge DEL: exit 1"), OP_FAIL;
	if (POD(op)->plugin == 0) {
		POD(op)->live &= ~(unsigned)NET;
		return OP_NEXT;
	}
	POD(op)->plugin--;
	return leaf_start(op, OP_AGAIN);
}

static enum op_ret
holder_start(struct op *op, struct err *err)
{
	(void)err;
	POD(op)->live |= HOLDER;
	return leaf_start(op, OP_WAIT);
}

static enum op_ret
holder_kill(struct op *op, struct err *err)
{
	(void)err;
	if ((POD(op)->live & HOLDER) == 0)
		return OP_NEXT;
	POD(op)->live &= ~(unsigned)HOLDER;
	return leaf_start(op, OP_WAIT);
}

static enum op_ret
cgroup_add(struct op *op, struct err *err)
{
	(void)err;
	POD(op)->live |= CGROUP;
	return OP_NEXT;
}

static enum op_ret
cgroup_del(struct op *op, struct err *err)
{
	(void)err;
	POD(op)->live &= ~(unsigned)CGROUP;
	return OP_NEXT;
}

static const struct op_step steps[] = {
    {"insert row",     row_insert,   row_delete  },
    {"create netns",   netns_create, netns_remove},
    {"attach network", network_add,  network_del },
    {"create cgroup",  cgroup_add,   cgroup_del  },
    {"start holder",   holder_start, holder_kill },
    {"mark ready",     NULL,         NULL        },
    {NULL,             NULL,         NULL        },
};

static void
on_done(struct op *op)
{
	POD(op)->done = true;
}

/* Run to the end; the bad_wait'th wait (-1: none) ends in an error. */
static void
pump(int bad_wait)
{
	struct err boom;

	err_set(&boom, ERR_INTERNAL, "leaf failed");
	for (int k = 0;; k++) {
		op_run_ready();
		if (n_parked == 0)
			return;
		op_resume(parked[--n_parked], k == bad_wait ? &boom : NULL);
	}
}

static bool
clean(const struct pod_op *p)
{
	if (!p->done || p->op.phase != OP_DONE)
		return false;
	if (p->op.err.code == ERR_NONE)
		return p->live == ALL;
	if (p->op.undo_err.code == ERR_NONE)
		return p->live == 0;
	return (p->live & ROW) != 0; /* the row is kept, so that the clean-up can be retried */
}

static void
fails_everywhere(void)
{
	int paths = 0, bad = 0;

	for (int step = -1; step < 6; step++)
		for (int wait = -1; wait < 10; wait++)
			for (int undo_fails = 0; undo_fails < 2; undo_fails++, paths++) {
				struct pod_op p = {.undo_fails = undo_fails};

				op_fail_at = step;
				op_start(&p.op, "RunPodSandbox", "p", steps, on_done);
				pump(wait);
				bad += !clean(&p);
			}
	op_fail_at = -1;
	for (int waits = 0; waits < 5; waits++, paths++) {
		struct pod_op p = {0};

		op_start(&p.op, "RunPodSandbox", "p", steps, on_done);
		op_run_ready();
		for (int k = 0; k < waits && n_parked > 0; k++) {
			op_resume(parked[--n_parked], NULL);
			op_run_ready();
		}
		op_cancel(&p.op, ERR_CANCELLED, "client went away");
		pump(-1);
		bad += !clean(&p);
	}
	ok(bad == 0, "%d ways through the table leave nothing behind", paths);
	is_int(op_count(), 0, "no op is listed any more");
}

static void
errors_name_the_step(void)
{
	struct pod_op p = {0};
	struct err boom;

	op_start(&p.op, "RunPodSandbox", "p", steps, on_done);
	op_run_ready();
	err_set(&boom, ERR_UNAVAILABLE, "bridge: exit 3");
	op_resume(parked[--n_parked], &boom);
	pump(-1);
	is_str(p.op.err.msg, "attach network: bridge: exit 3", "a failed wait names its step");
	is_int(p.op.err.code, ERR_UNAVAILABLE, "the code is kept");

	p = (struct pod_op){0};
	op_start(&p.op, "PullImage", "p", steps, on_done);
	p.op.keep_message = true;
	op_run_ready();
	op_resume(parked[--n_parked], &boom);
	pump(-1);
	is_str(p.op.err.msg, "bridge: exit 3 (attach network)", "or at the end, where asked");

	p = (struct pod_op){0};
	op_start(&p.op, "RunPodSandbox", "p", steps, on_done);
	op_run_ready();
	op_cancel(&p.op, ERR_DEADLINE_EXCEEDED, "deadline passed");
	pump(-1);
	is_str(p.op.err.msg, "deadline passed during 'attach network'", "a cancelled op too");
}

static enum op_ret
complain_and_go_on(struct op *op, struct err *err)
{
	(void)op;
	err_set(err, ERR_NOT_FOUND, "no cgroup, which is as good as gone");
	return OP_NEXT;
}

/* Functions leave what they said in *err although they succeeded: only OP_FAIL fails. */
static void
errors_of_no_consequence(void)
{
	static const struct op_step careless[] = {
	    {"complain", complain_and_go_on, NULL}, {"go on", NULL, NULL}, {NULL, NULL, NULL}};
	struct pod_op p = {0};

	op_start(&p.op, "x", "p", careless, on_done);
	op_run_ready();
	ok(p.done && p.op.err.code == ERR_NONE, "a step that goes on has not failed");
}

static struct op_queue queue;
static char order[32];

struct queued_op {
	struct op op;
	char name;
};

static enum op_ret
take_turn(struct op *op, struct err *err)
{
	(void)err;
	return op_queue_enter(op);
}

static enum op_ret
work(struct op *op, struct err *err)
{
	(void)err;
	strncat(order, &container_of(op, struct queued_op, op)->name, 1);
	return leaf_start(op, OP_WAIT);
}

static const struct op_step queue_steps[] = {
    {"take turn", take_turn, NULL},
    {"work",      work,      NULL},
    {NULL,        NULL,      NULL},
};

static void
on_queued_done(struct op *op)
{
	op_queue_leave(op);
}

static void
start_queued(struct queued_op *q)
{
	op_start(&q->op, "x", "queued", queue_steps, on_queued_done);
	op_queue_join(&queue, &q->op);
}

static void
queue_keeps_order(void)
{
	struct queued_op a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
	struct err gone;

	op_queue_init(&queue);
	start_queued(&a);
	start_queued(&b);
	start_queued(&c);
	op_run_ready();
	is_str(order, "a", "one at a time");
	op_cancel(&b.op, ERR_CANCELLED, "gone");
	op_run_ready();
	is_int(b.op.phase, OP_DONE, "a waiting op can be cancelled");
	pump(-1);
	is_str(order, "ac", "the next one takes its turn");
	ok(queue.holder == NULL, "and nobody holds the queue at the end");

	start_queued(&a);
	start_queued(&b);
	op_run_ready();
	start_queued(&c);
	err_set(&gone, ERR_NOT_FOUND, "removed");
	op_queue_close(&queue, &gone);
	ok(a.op.queue == NULL && b.op.queue == NULL && c.op.queue == NULL, "nobody refers to it");
	op_run_ready();
	ok(b.op.phase == OP_DONE && b.op.err.code == ERR_NOT_FOUND, "closing tells who waits");
	ok(c.op.phase == OP_DONE && c.op.err.code == ERR_NOT_FOUND && strcmp(order, "aca") == 0,
	    "and who has not yet come to wait");
	pump(-1);
	is_int(a.op.err.code, ERR_NONE, "and leaves the holder alone");
}

static int fired;

static void
on_fire(struct loop_timer *t)
{
	(void)t;
	fired++;
}

static void
virtual_time(void)
{
	struct loop_timer t1 = {0}, t2 = {0};

	loop_virtual_clock();
	timer_start(&t1, 1000, on_fire);
	timer_start(&t2, 500, on_fire);
	loop_advance(499);
	is_int(fired, 0, "no timer is early");
	loop_advance(1);
	is_int(fired, 1, "the nearest fires first");
	timer_stop(&t1);
	loop_advance(5000);
	is_int(fired, 1, "a stopped one does not");
	is_int(loop_now_ms(), 5500, "time is what was advanced");
}

int
main(void)
{
	log_threshold = LOG_LEVEL_ERROR;
	fails_everywhere();
	errors_name_the_step();
	errors_of_no_consequence();
	queue_keeps_order();
	virtual_time();
	return tap_done();
}
