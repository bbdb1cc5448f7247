/* SPDX-License-Identifier: Apache-2.0
 *
 * With the systemd cgroup driver a container's cgroup is that of a transient scope,
 * coracle-<id>.scope, which the service manager makes on request over D-Bus.
 *
 * A scope needs a process from the start, and ends with its last one. So it begins with a
 * placeholder of ours, which is there from cgroup_scope_start() to cgroup_scope_settle(): between
 * the creation of a container and its launch. Cgroup v2 only: on v1 the manager would write over
 * the device policy.
 */
#ifndef EXEC_CGROUP_SYSTEMD_H
#define EXEC_CGROUP_SYSTEMD_H

#include "base/err.h"
#include "proto/cri.pb-c.h"

struct op;

/* Connect to the system bus, or take over fd, which speaks to a manager directly (tests). After
 * loop_init(). A connection that breaks is made anew when it is needed next. */
int cgroup_systemd_open(int fd, struct err *err) __attribute__((warn_unused_result));
void cgroup_systemd_close(void); /* fine when it is not open; waiting ops fail */

/* Have the scope made; ends the wait of an op. res (NULL: none) are limits that the manager has to
 * know of, as it writes the files of a scope again when it is reloaded; they still are the caller's
 * to apply. */
int cgroup_scope_start(const char *parent, const char *id,
    const Runtime__V1__LinuxContainerResources *res, struct op *op, struct err *err)
    __attribute__((warn_unused_result));

/* The placeholder may go: the container's own process is there, or the scope is not wanted any
 * more. Fine when there is none. */
void cgroup_scope_settle(const char *id);

/* Tell the manager of limits that were applied. Nothing is waited for: the files are right already. */
void cgroup_scope_limit(const char *id, const Runtime__V1__LinuxContainerResources *res);

#endif
