/* SPDX-License-Identifier: Apache-2.0
 *
 * The steps of a sandbox's life: each made by one function and undone by its neighbour. RunPodSandbox
 * walks them forward; its failure walks back over the undo halves; StopPodSandbox, RemovePodSandbox
 * and the recovery run the undo halves as steps.
 */
#ifndef POD_POD_STEPS_H
#define POD_POD_STEPS_H

#include "base/arena.h"
#include "exec/keeper.h"
#include "loop/op.h"
#include "pod/ctr_stop.h"
#include "pod/sandbox.h"

struct pod_op {
	struct op op;
	struct sandbox *sb;
	struct arena arena;
	struct net_call net;
	struct net_pod *net_pod;   /* in the arena */
	struct keeper_call keeper;
	struct stop_op *stops;     /* one per container that is being killed; heap */
	unsigned n_stopping;
	struct ctr_op *removing;   /* the container that is being removed */
	void (*done)(struct pod_op *); /* frees the op with pod_op_free() */
	void *owner;
};

/* RunPodSandbox for a sandbox in CREATING. On failure the sandbox is freed before done(), unless the
 * clean-up failed too: then it is NOTREADY, and is cleaned up later. op->sb tells: NULL or not. */
struct pod_op *pod_run_start(struct sandbox *sb, void (*done)(struct pod_op *), void *owner);

/* NOTREADY at once, then everything that belongs to it is killed and released. */
struct pod_op *pod_stop_start(struct sandbox *sb, void (*done)(struct pod_op *), void *owner);

/* The same, then its containers and itself are removed: op->sb is NULL in done() on success. */
struct pod_op *pod_remove_start(struct sandbox *sb, void (*done)(struct pod_op *), void *owner);
void pod_op_free(struct pod_op *p);

/* Start sampling a READY sandbox. */
void sandbox_watch(struct sandbox *sb);

void sandbox_holder_exited(const char *holder_id); /* "<sandbox id>.holder" */

/* Retry, every few seconds, the release of what a stopped pod could not give back. */
void pod_release_init(void);

/* What net needs of a sandbox, in the arena. */
struct net_pod *pod_net_pod(const struct sandbox *sb, struct arena *a);

#endif
