/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the launch: whether a plan makes sense at all. The daemon checks what people wrote;
 * this is the keeper's guard against a plan that would have it do half of something, so that the
 * child can take every index, path and size as given.
 */
#ifndef EXEC_KEEPER_LAUNCH_CHECK_H
#define EXEC_KEEPER_LAUNCH_CHECK_H

#include <stddef.h>

#include "exec/keeper/launch.h"

/* 0, or -1 with step "plan" and the field in the text. */
int launch_check(const Coracle__Launch__Plan *plan, size_t n_fds, struct launch_failure *fail);

/* Fill *fail; ": <words of errnum>" is appended unless that is 0. Returns -1. */
int launch_bad(struct launch_failure *fail, const char *step, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
