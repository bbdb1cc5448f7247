/* SPDX-License-Identifier: Apache-2.0
 *
 * What a container has on disk: directories, the overlay root, its image's volumes; and who its
 * process is.
 *
 *	<root>/containers/<id>/upper, work     the writable layer
 *	<root>/containers/<id>/volumes/<n>     image VOLUMEs, with the image's content
 *	<state>/containers/<id>/               the named pipes of its standard streams
 */
#ifndef POD_CTR_ROOT_H
#define POD_CTR_ROOT_H

#include <stdbool.h>

#include "base/err.h"
#include "loop/op.h"
#include "loop/worker.h"

struct container;

int ctr_dirs_make(const struct container *c, struct err *err);

/* Nothing but a few entries in the writable layer: deleting it here takes no time. */
bool ctr_root_is_small(const struct container *c);

/* c->root_fd: the detached overlay mount, made if it is not there. */
int ctr_root_mount(struct container *c, struct err *err);

/* A step: c->user from the request, the image and the files in the root. */
op_fn ctr_resolve_user;

/* The body of a step: image volumes get the image's content. */
enum op_ret ctr_volumes_fill(struct container *c, struct worker *w, struct op *op, struct err *err);

/* The device policy of its cgroup. */
int ctr_devices_apply(const struct container *c, struct err *err);

#endif
