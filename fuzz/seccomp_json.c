/* SPDX-License-Identifier: Apache-2.0
 *
 * Profiles in JSON from anyone: reading and compiling them. What compiles is a whole number of
 * instructions that the kernel takes.
 */
#include <assert.h>
#include <linux/filter.h>
#include <stdint.h>

#include "exec/seccomp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t caps[] = {0, 0xa80425fb};
	struct seccomp_prog prog;
	struct err err = {0};

	for (size_t i = 0; i < 2; i++) {
		if (seccomp_compile_json("fuzz", (const char *)data, size, caps[i], &prog, &err) <
		    0) {
			assert(err.code != ERR_NONE && err.msg[0] != '\0');
			continue;
		}
		assert(prog.len > 0 && prog.len % sizeof(struct sock_filter) == 0);
		assert(prog.len / sizeof(struct sock_filter) <= BPF_MAXINSNS);
	}
	seccomp_fini();
	return 0;
}
