/* SPDX-License-Identifier: Apache-2.0
 *
 * Launch plans of this node's objects: pod/spec.h makes a plan of data, this module finds the data:
 * images, cgroups, namespaces, the descriptors that travel with a plan.
 */
#ifndef POD_PLAN_H
#define POD_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "proto/launch.pb-c.h"

struct container;
struct sandbox;

enum { PLAN_MAX_FDS = 250 }; /* what one message carries (SCM_MAX_FD is 253) */

struct plan {
	Coracle__Launch__Plan *message; /* in the arena */
	int fds[PLAN_MAX_FDS];
	size_t n_fds;
	bool owned[PLAN_MAX_FDS]; /* closed by plan_release() */
};
void plan_release(struct plan *p); /* fine on a zeroed one */

/* The process of a container. c->root_fd is lent. check_only: for CreateContainer, everything that
 * the request alone can get wrong. */
int plan_container(struct container *c, struct arena *a, struct plan *ret, struct err *err)
    __attribute__((warn_unused_result));

/* One more process of a running container. fds: lent; -1: /dev/null. */
int plan_exec(struct container *c, char *const *argv, size_t n_argv, bool tty, int in, int out,
    int err_fd, struct arena *a, struct plan *ret, struct err *err)
    __attribute__((warn_unused_result));

/* A pod's namespaces; NULL message when it has none of its own. */
int plan_namespaces(struct sandbox *sb, struct arena *a, struct plan *ret, struct err *err)
    __attribute__((warn_unused_result));

/* PID 1 of a pod's shared PID namespace. */
int plan_holder(struct sandbox *sb, struct arena *a, struct plan *ret, struct err *err)
    __attribute__((warn_unused_result));

#endif
