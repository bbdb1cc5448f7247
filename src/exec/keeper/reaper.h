/* SPDX-License-Identifier: Apache-2.0
 *
 * Reaps everything: what the keeper launched, and what that orphaned (it is the subreaper).
 */
#ifndef EXEC_KEEPER_REAPER_H
#define EXEC_KEEPER_REAPER_H

#include "base/err.h"

/* Blocks SIGCHLD and SIGTERM, takes them by descriptor, and reaps what has ended before. SIGTERM
 * ends a keeper that has nothing to keep, and is nothing to others. */
int reaper_open(struct err *err);

#endif
