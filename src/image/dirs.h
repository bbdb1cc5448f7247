/* SPDX-License-Identifier: Apache-2.0
 *
 * Implicit directories. A layer that has "usr/bin/x" and no entry for "usr/bin/" got a directory
 * with default attributes there, which in an overlay would cover those of the layers below: a /tmp
 * of mode 1777 would become 0755. For an image in which that happens this worker fills a directory
 * that goes on top as one more layer and holds nothing but such directories, and the ones that lead
 * to them, with the attributes of the uppermost layer that has an entry for them. That is what
 * unpacking onto the layers below would have given, without tying a layer to what is below it.
 *
 * A directory hides what is not a directory (a link, say) below it, as in containerd and Docker.
 */
#ifndef IMAGE_DIRS_H
#define IMAGE_DIRS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { DIRS_IMPLICIT_MAX = 16 << 20 }; /* bytes of the paths of all layers of an image */

struct dirs_layer {
	int64_t num;
	struct buf implicit; /* paths in order, each with its NUL */
};

struct dirs_job {
	int layers_fd;
	int dir;                         /* to fill; empty */
	const struct dirs_layer *layers; /* the lowest first */
	size_t n;
};

struct dirs_result {
	uint64_t n_dirs; /* 0: nothing is needed */
	uint64_t bytes;
	uint64_t inodes;
};

/* Worker function; arg is a struct dirs_job, the output a struct dirs_result. */
int dirs_worker(const void *arg, int out, struct err *err);

#endif
