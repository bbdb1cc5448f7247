/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to spec_*.c: a plan in the making.
 */
#ifndef POD_SPEC_IMPL_H
#define POD_SPEC_IMPL_H

#include <string.h>

#include "pod/spec.h"

struct spec_builder {
	const struct spec_input *in;
	struct arena *a;
	Coracle__Launch__Plan *plan;
	struct spec *out;
	bool userns;
	const Runtime__V1__UserNamespace *maps; /* with userns */
	bool privileged;
	/* network and IPC are the pod's affair: what a container says of them is not looked at, as
	 * in other runtimes; the PID namespace is its own */
	Runtime__V1__NamespaceMode network, ipc, pid;
	bool no_dev;     /* the request mounts something on /dev: no devices are made in it */
	bool check_only; /* nothing is launched: user and command need not be there */
};

/* Append to an array of the arena whose length is n; it grows at each power of two. */
#define SPEC_PUSH(arena, array, n, item)                                                           \
	do {                                                                                       \
		if (((n) & ((n)-1)) == 0) {                                                        \
			__typeof__(array) new_ =                                                   \
			    arena_alloc((arena), sizeof(*(array)) * ((n) == 0 ? 1 : 2 * (n)));     \
			if ((n) > 0)                                                               \
				memcpy(new_, (array), sizeof(*(array)) * (n));                     \
			(array) = new_;                                                            \
		}                                                                                  \
		(array)[(n)++] = (item);                                                           \
	} while (0)

/* The index for a *_fd field; -1 gives 0. */
uint32_t spec_fd(struct spec_builder *b, int fd);
void spec_join(struct spec_builder *b, uint32_t type, int fd);
void spec_cgroup(struct spec_builder *b, const struct cgroup_fds *cgroup);

/* Lexically shortest form of an absolute path ("//a/./b/../c" is "/a/c"); NULL when it is not
 * absolute or too long. */
char *spec_clean_path(struct arena *a, const char *path);

/* The container's security context, never NULL. */
const Runtime__V1__LinuxContainerSecurityContext *spec_security(
    const Runtime__V1__ContainerConfig *config);

bool spec_id_mapped(Runtime__V1__IDMapping *const *maps, size_t n, uint32_t id);

int spec_add_mounts(struct spec_builder *b, struct err *err);
int spec_add_devices(struct spec_builder *b, struct err *err);

/* Attributes of the first process and of all others alike: env, cwd, user, capabilities, labels,
 * filter, limits. argv is for the first only. */
int spec_add_process(struct spec_builder *b, bool tty, struct err *err);
int spec_add_argv(struct spec_builder *b, struct err *err);

/* Of a pod, merged with the defaults; validated against the namespaces it has. */
int spec_add_sysctls(struct arena *a, Coracle__Launch__Plan *plan,
    const Runtime__V1__PodSandboxConfig *pod, struct err *err);
int spec_check_sysctls(const Runtime__V1__PodSandboxConfig *pod, struct err *err);

#endif
