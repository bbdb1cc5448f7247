/* SPDX-License-Identifier: Apache-2.0
 *
 * Adopt: a process that a keeper launched which has died since. It is no child of this one, so its
 * end is seen on its pidfd.
 */
#ifndef EXEC_KEEPER_ADOPT_H
#define EXEC_KEEPER_ADOPT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/launch.pb-c.h"

struct proc;

/* Answers. It stores -1 for the descriptors it keeps. */
void adopt_request(uint64_t serial, const Coracle__Launch__Adopt *a, int *fds, size_t n_fds);

/* Watch p->adopted_pidfd. */
int adopt_watch(struct proc *p, struct err *err);

#endif
