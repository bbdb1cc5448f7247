/* SPDX-License-Identifier: Apache-2.0
 *
 * Shutting a worker in before it looks at hostile bytes. After confine_enter() the process
 *	- sees one directory as its root (own mount namespace, everything else unmounted), mounted
 *	  nosuid, nodev and noexec, so that a device node it makes is of no use to it;
 *	- has a network, an IPC and a UTS namespace of its own, all empty;
 *	- keeps the capabilities asked for and no others, bounding set included, and can gain none
 *	  (no_new_privs);
 *	- may use the system calls of one list, each thing else ends it by SIGSYS; executable
 *memory, sockets, processes, mounts, ioctls and signals to others are not on it;
 *	- has limits on memory and descriptors, and leaves no core.
 *
 * What a library loads lazily (locale, gconv tables, crypto providers) must be loaded before: the
 * root is then a directory that an image's author fills.
 */
#ifndef IMAGE_CONFINE_H
#define IMAGE_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct confine_spec {
	int rootfd;    /* the directory that becomes "/"; closed on success: from it, the host's
	                * tree could be reached by ".." */
	uint64_t caps; /* 1 << CAP_… */
	bool readonly; /* the directory cannot be written to */
	size_t memory; /* bytes of data and anonymous memory on top of what there is now */
};

/* Consumes rootfd on success. The working directory is "/" afterwards. */
int confine_enter(const struct confine_spec *spec, struct err *err)
    __attribute__((warn_unused_result));

/* Error messages of a worker quote names from its input, and end up in a log and in a gRPC status:
 * bytes that are not printable UTF-8 become '?'. */
void confine_printable(struct err *err);

#endif
