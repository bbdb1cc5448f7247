/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of stats that need no cgroup: network counters, and the size of a tree.
 */
#ifndef POD_STATS_IMPL_H
#define POD_STATS_IMPL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "pod/stats.h"

/* The links of a pinned network namespace but lo, at most max. Neither waits for a lock of the
 * network stack nor leaves the caller's namespace for longer than one open(2). The number of them,
 * or -1. */
int stats_read_links(const char *netns, struct stats_link *ret, size_t max, struct err *err);

/* What is below a directory and the directory itself, as du counts: blocks in use, each inode once.
 * Follows no link, enters no other file system, whatever is changed meanwhile. For a worker: it
 * takes as long as it takes. */
int stats_tree_usage(const char *path, uint64_t *ret_bytes, uint64_t *ret_inodes, struct err *err);
/* The same of a small tree: OUT_OF_RANGE when it has more inodes than that. */
int stats_tree_usage_max(const char *path, uint64_t max, uint64_t *ret_bytes, uint64_t *ret_inodes,
    struct err *err);

#endif
