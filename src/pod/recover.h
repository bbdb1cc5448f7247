/* SPDX-License-Identifier: Apache-2.0
 *
 * The start of the daemon: rows and world are made to agree.
 *
 *	rows     are loaded; those of another boot have no processes and no namespaces any more
 *	keeper   tells what runs and what has ended: exits are recorded, processes it does not know
 *	         (it died as well) are found in their cgroups and handed to it
 *	intents  rows in CREATING are undone
 *	world    sandbox and container directories, mounts, cgroups and addresses without a row go
 */
#ifndef POD_RECOVER_H
#define POD_RECOVER_H

#include "base/err.h"

/* With database, image store, keeper, cgroups and network open, before the first request is
 * answered. Blocks; what takes longer (undoing, releasing networks) goes on as ops on the loop. */
int recover(struct err *err);

#endif
