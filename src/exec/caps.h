/* SPDX-License-Identifier: Apache-2.0
 *
 * Capabilities: names and masks. A mask has bit n for capability n.
 */
#ifndef EXEC_CAPS_H
#define EXEC_CAPS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What containers get that ask for nothing: Docker's and containerd's fourteen. */
extern const uint64_t caps_default;

/* What a container can get at all: what the kernel knows and our own bounding set has. Read once.
 */
uint64_t caps_available(void);

/* "NET_ADMIN", "cap_net_admin": the number; -1 when there is no such name. */
int caps_number(const char *name);
/* "CAP_NET_ADMIN"; NULL when the number has no name. */
const char *caps_name(int number);

/*
 * A container's set by the CRI's rules: start from `start` (the default list), from everything when
 * "ALL" is added, from nothing when "ALL" is dropped; then the single adds, then the single drops.
 * The result is bounded by `available`. An unknown name is INVALID_ARGUMENT naming it and its list.
 */
int caps_resolve(const char *const *add, size_t n_add, const char *const *drop, size_t n_drop,
    uint64_t start, uint64_t available, uint64_t *ret, struct err *err)
    __attribute__((warn_unused_result));

/* Names alone, without rules ("ALL" is not one): for ambient capabilities. */
int caps_of_names(const char *const *names, size_t n, const char *list, uint64_t *ret,
    struct err *err) __attribute__((warn_unused_result));

#endif
