/* SPDX-License-Identifier: Apache-2.0
 *
 * What a container has on disk: directories, the overlay root; and who its process is.
 *
 *	<root>/containers/<id>/upper, work     the writable layer
 *	<state>/containers/<id>/               the named pipes of its standard streams
 */
#ifndef POD_CTR_ROOT_H
#define POD_CTR_ROOT_H

#include <stdbool.h>

#include "base/err.h"
#include "loop/op.h"

struct container;

int ctr_dirs_make(const struct container *c, struct err *err);

/* Nothing but a few entries in the writable layer: deleting it here takes no time. */
bool ctr_root_is_small(const struct container *c);

/* c->root_fd: the detached overlay mount, made if it is not there. */
int ctr_root_mount(struct container *c, struct err *err);

/* A step: c->user from the request, the image and the files in the root. */
op_fn ctr_resolve_user;

#endif
