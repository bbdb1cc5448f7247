/* SPDX-License-Identifier: Apache-2.0
 *
 * System call filters: the default profile, and profiles in the JSON format of Docker and the OCI,
 * compiled to BPF by libseccomp once and kept by profile and capabilities.
 *
 * caps is a mask of 1 << CAP_*: what the container may have (its bounding set); rules that depend
 * on a capability are decided by it at compile time.
 */
#ifndef EXEC_SECCOMP_H
#define EXEC_SECCOMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/cri.pb-c.h"

/* For seccomp(SECCOMP_SET_MODE_FILTER, flags, …). Borrowed: valid until the next call of this
 * module, so copy it into the plan. bpf NULL: no filter. */
struct seccomp_prog {
	const void *bpf; /* struct sock_filter[] */
	size_t len;      /* bytes */
	uint32_t flags;  /* SECCOMP_FILTER_FLAG_* */
};

/* As the CRI says it: profile, else the deprecated string ("runtime/default", "docker/default",
 * "unconfined", "localhost/<path>", ""), else unconfined. privileged is always unconfined.
 * INVALID_ARGUMENT names the file, the line and the key; NOT_FOUND a missing file. */
int seccomp_resolve(const Runtime__V1__SecurityProfile *profile, const char *deprecated,
    bool privileged, uint64_t caps, struct seccomp_prog *ret, struct err *err)
    __attribute__((warn_unused_result));

/* The default profile. */
int seccomp_default(uint64_t caps, struct seccomp_prog *ret, struct err *err)
    __attribute__((warn_unused_result));

/* A profile as text; name is for messages. Not kept: valid until the next call all the same. */
int seccomp_compile_json(const char *name, const char *json, size_t len, uint64_t caps,
    struct seccomp_prog *ret, struct err *err) __attribute__((warn_unused_result));

void seccomp_fini(void); /* frees what is kept */

#endif
