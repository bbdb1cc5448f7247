/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernel settings of the network namespace that the process is in.
 */
#ifndef NET_SYSCTL_H
#define NET_SYSCTL_H

#include "base/err.h"

/* Write value to /proc/sys/<path>, unless it has it already. */
int sysctl_set(const char *path, const char *value, struct err *err);

/* IPv4 and IPv6 forwarding. A host that forwards IPv6 no longer listens to router advertisements:
 * interfaces that did are told to go on. */
int sysctl_forward4(struct err *err);
int sysctl_forward6(struct err *err);

#endif
