/* SPDX-License-Identifier: Apache-2.0
 *
 * One system call filter in the making: what seccomp.c, the default profile and the JSON reader
 * share. Life cycle: filter_init, filter_add_arch for each, filter_add_rule for each,
 * filter_export, filter_release.
 */
#ifndef EXEC_SECCOMP_FILTER_H
#define EXEC_SECCOMP_FILTER_H

#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf;

enum { FILTER_MAX_ARCHS = 24, FILTER_MAX_ARGS = 6 };

struct filter {
	scmp_filter_ctx ctx;
	uint32_t default_action; /* SCMP_ACT_* */
	uint32_t flags;          /* SECCOMP_FILTER_FLAG_* */
	struct {
		uint32_t token; /* SCMP_ARCH_* */
		int last;       /* the highest number of a system call that a rule names; -1 */
	} archs[FILTER_MAX_ARCHS];
	size_t n_archs;
};

/* The native architecture is in it from the start. */
int filter_init(struct filter *f, uint32_t default_action, struct err *err);
void filter_release(struct filter *f); /* fine on a zeroed one */

/* One that cannot run here (of the other byte order) is left out. */
int filter_add_arch(struct filter *f, uint32_t token, struct err *err);

/* Take note that the profile knows a system call, even when no rule of it applies. */
void filter_mention(struct filter *f, const char *name);

/* A rule for one system call, all of whose args must match. A name that libseccomp does not know is
 * left out: on such an old machine there is no such call. */
int filter_add_rule(struct filter *f, const char *name, uint32_t action,
    const struct scmp_arg_cmp *args, unsigned n_args, struct err *err);

/* Count what libseccomp knows as known to the profile. */
void filter_mention_all(struct filter *f);

/* Compile. Where the default is an errno, system calls newer than all that the profile knows get
 * ENOSYS, not the default: a C library tries the newest call first, and goes back to the one before
 * only on ENOSYS. */
int filter_export(struct filter *f, struct buf *ret, struct err *err);

/* seccomp_default.c, seccomp_json.c: initialise and fill *f, which the caller releases in any case.
 */
int filter_of_default(struct filter *f, uint64_t caps, struct err *err);
int filter_of_json(struct filter *f, const char *name, const char *json, size_t len, uint64_t caps,
    struct err *err);

#endif
