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
#include "exec/cgroup.h"
#include "proto/launch.pb-c.h"

struct container;
struct sandbox;

struct plan {
	Coracle__Launch__Plan *message; /* in the arena */
	const int *fds;                 /* what travels with it; in the arena, borrowed */
	size_t n_fds;
	const struct cgroup_device *devices; /* the policy of its cgroup; plan_container() only */
	size_t n_devices;
	/* private: what was opened for it */
	int *open;
	size_t n_open;
	struct cgroup_fds cgroup;
};
#define PLAN_INIT {.cgroup = CGROUP_FDS_INIT}
void plan_release(struct plan *p); /* fine on PLAN_INIT */

/* The process of a container. c->root_fd is lent. */
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
