/* SPDX-License-Identifier: Apache-2.0
 *
 * A container's root: an overlay of the image's layers and the container's own directory, as a
 * detached mount. It is never visible on the host and vanishes with its last descriptor, so that it
 * cannot leak and is never busy.
 *
 *	<root>/containers/<id>/upper   what the container wrote
 *	<root>/containers/<id>/work    overlayfs' own
 *
 * Life cycle: rootfs_create() once per container; rootfs_mount() for each start; close() of the
 * descriptor; rootfs_remove(). All of it works on local directories and does not wait for anybody.
 */
#ifndef EXEC_ROOTFS_H
#define EXEC_ROOTFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rootfs_spec {
	const char *layers_dir;    /* absolute; the containers' directories are not below it */
	const char *const *lowers; /* names in layers_dir, top first; at least one */
	size_t n_lowers;           /* at most ROOTFS_MAX_LOWERS */
	const char *dir;     /* of the container (rootfs_create); NULL: nothing can be written */
	int idmap_userns_fd; /* the layers' owners are mapped into this user namespace; -1: not */
};

enum { ROOTFS_MAX_LOWERS = 500 }; /* of overlayfs */

/* The directory <dir> with upper and work in it. The root of the container (and so upper's owner)
 * is root_uid:root_gid; its permissions are those of the uppermost layer's root directory. What is
 * there already is kept. */
int rootfs_create(const struct rootfs_spec *spec, uint32_t root_uid, uint32_t root_gid,
    struct err *err) __attribute__((warn_unused_result));

/* A detached mount, or -1. With a dir it is writable whatever the container is to have: targets of
 * mounts are made in it, and the launch makes it read-only at last. FAILED_PRECONDITION when ids
 * shall be mapped and the kernel (before 5.19) or the layers' filesystem cannot. */
int rootfs_mount(const struct rootfs_spec *spec, struct err *err)
    __attribute__((warn_unused_result));

/* Split what image_lower_names() gives ("12:9:7") in place; the array has room for
 * ROOTFS_MAX_LOWERS. -1 when there are more. */
int rootfs_split_lowers(char *names, const char **ret, size_t *ret_n, struct err *err);

/* Remove <dir> and all in it; a missing one is fine. May take long for a container that wrote much:
 * for a worker. */
int rootfs_remove(const char *dir, struct err *err);

/* Whether layers in that directory can have their owners mapped: for the handler's features. */
bool rootfs_can_idmap(const char *layers_dir);

/* Tests only: mount as older kernels have to. */
extern bool rootfs_old_kernel;

#endif
