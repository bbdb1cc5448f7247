/* SPDX-License-Identifier: Apache-2.0
 *
 * Network namespaces by path and fd.
 */
#ifndef NET_NETNS_H
#define NET_NETNS_H

#include <stdbool.h>

#include "base/err.h"

/* An fd of the namespace pinned at path. -1; *ret_gone (may be NULL) tells that nothing is pinned
 * there: no file, or an ordinary one. */
int netns_open(const char *path, bool *ret_gone, struct err *err);

/* Run fn in the namespace; the process is back in its own when this returns. For single-threaded
 * processes. */
int netns_run(int fd, int (*fn)(void *arg, struct err *err), void *arg, struct err *err);

#endif
