/* SPDX-License-Identifier: Apache-2.0
 *
 * Stopping a container: one stop signal, a grace period that a later request can only shorten, then
 * SIGKILL for all that is in its cgroup. The op ends when the container is EXITED.
 */
#ifndef POD_CTR_STOP_H
#define POD_CTR_STOP_H

#include "loop/op.h"
#include "pod/container.h"

struct stop_op {
	struct op op;
	struct container *c; /* not to be touched in done(): it may be gone */
	int64_t grace_ms;    /* 0: SIGKILL at once */
	struct exit_waiter waiter;
	void (*done)(struct stop_op *);
	void *owner;
};

/* A container that does not run is stopped already. name: of the RPC. */
void container_stop_start(struct stop_op *s, const char *name, struct container *c, int64_t grace_ms,
    void (*done)(struct stop_op *));

/* SIGKILL now, and again until it is dead. */
void container_kill(struct container *c);

/* How a process ended, from the keeper: writes the state, wakes who waits, forgets the record. */
void container_exited(struct container *c, int status, int64_t finished_at, bool unknown);

#endif
