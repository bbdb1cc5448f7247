/* SPDX-License-Identifier: Apache-2.0
 *
 * A sandbox's directory below the state directory: hosts, hostname and resolv.conf, the files its
 * namespaces are pinned on, and the mount point of its /dev/shm.
 */
#ifndef POD_POD_FILES_H
#define POD_POD_FILES_H

#include "base/err.h"

struct sandbox;

int pod_files_make(const struct sandbox *sb, struct err *err);
int pod_files_remove(const struct sandbox *sb, struct err *err); /* idempotent */

#endif
