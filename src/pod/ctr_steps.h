/* SPDX-License-Identifier: Apache-2.0
 *
 * The steps of a container's life: creation, start, removal. See pod_steps.h for the idea.
 */
#ifndef POD_CTR_STEPS_H
#define POD_CTR_STEPS_H

#include "base/arena.h"
#include "exec/keeper.h"
#include "loop/op.h"
#include "loop/worker.h"
#include "pod/container.h"

struct ctr_op {
	struct op op;
	struct container *c; /* NULL once it is freed */
	struct arena arena;
	struct keeper_call keeper;
	struct worker worker;
	struct exit_waiter waiter;
	struct loop_timer timer;
	int64_t give_up_ms;
	bool scope_asked; /* systemd was asked for the cgroup, in this op */
	char *tree;       /* directory that is being removed */

	void (*done)(struct ctr_op *); /* frees the op with ctr_op_free() */
	void *owner;
};

/* For a container in CREATING. On failure the container is freed before done(). */
struct ctr_op *ctr_create_start(struct container *c, void (*done)(struct ctr_op *), void *owner);

/* Failure leaves it EXITED, 128, StartError; it was not CREATED: FAILED_PRECONDITION, unchanged. */
struct ctr_op *ctr_start_start(struct container *c, void (*done)(struct ctr_op *), void *owner);

/* In any state; a running one is killed. c is NULL in done() on success. */
struct ctr_op *ctr_remove_start(struct container *c, void (*done)(struct ctr_op *), void *owner);
/* Start sampling a RUNNING container. */
void container_watch(struct container *c);

void ctr_op_free(struct ctr_op *o);

#endif
