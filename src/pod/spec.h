/* SPDX-License-Identifier: Apache-2.0
 *
 * From what the CRI says to a launch plan: pure data in, a plan and a list of descriptors out. All
 * defaults of a container are decided here (mounts, devices, environment, command, capabilities),
 * and all of a request is checked here that can be checked without starting anything. What is wrong
 * is INVALID_ARGUMENT and names the field.
 *
 * Everything returned lives in the arena. Descriptors are borrowed: the caller keeps them open
 * until the keeper has the plan.
 */
#ifndef POD_SPEC_H
#define POD_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "exec/cgroup.h"
#include "exec/seccomp.h"
#include "exec/user.h"
#include "proto/cri.pb-c.h"
#include "proto/launch.pb-c.h"

struct image_config;

/* What the node's configuration gives to every container. */
struct spec_defaults {
	uint64_t caps_available;                /* caps_available() */
	uint64_t caps_default;                  /* caps_default, or as configured */
	const Coracle__Launch__Rlimit *rlimits; /* e.g. of the configuration; may be none */
	size_t n_rlimits;
	bool cgroup_writable;                 /* /sys/fs/cgroup is not read-only */
	bool privileged_without_host_devices; /* of the runtime handler */
	bool image_volumes_ignore;            /* do not make the image's VOLUME directories */
	bool device_ownership; /* devices belong to the user of the container, not to the host's
	                          owner */
};

/* A v1 hierarchy, or v2's on a hybrid host, as a container shall see it. */
struct spec_cgroup_dir {
	const char *name; /* "memory", "cpu,cpuacct": the directory in /sys/fs/cgroup */
	const char *path; /* of the container's own cgroup on the host */
};

struct spec_input {
	const Runtime__V1__ContainerConfig *config;
	const Runtime__V1__PodSandboxConfig *pod;
	const struct image_config *image; /* NULL: none */
	const struct user *user;
	const struct spec_defaults *defaults;
	const char *hostname; /* of the pod */

	/* -1 where the container is to have none of the pod's. Which are used is decided by the
	 * namespace options; one that is needed and missing is INTERNAL. */
	int net_ns, ipc_ns, uts_ns, user_ns; /* pinned namespaces */
	int pid_ns; /* pidfd of the pod's holder, or of the target container's process */

	int root_fd;          /* rootfs_mount() */
	const char *root_dir; /* an empty directory on the host */
	const char *shm;      /* host paths; NULL: not mounted */
	const char *resolv_conf, *hosts, *hostname_file;

	struct cgroup_fds *cgroup;                 /* NULL: stays in the keeper's */
	const struct spec_cgroup_dir *cgroup_dirs; /* hosts with v1 hierarchies; else none */
	size_t n_cgroup_dirs;

	const int *image_fds; /* one per config->mounts: the detached root of its image, or -1 */
	const struct seccomp_prog *seccomp; /* NULL: no filter */
	const char *apparmor, *selinux;     /* exec labels; NULL: none */
};

struct spec {
	Coracle__Launch__Plan *plan;
	int *fds; /* for keeper_call_start */
	size_t n_fds;
	struct cgroup_device *devices; /* for cgroup_set_devices; spec_container only */
	size_t n_devices;
};

int spec_container(const struct spec_input *in, struct arena *a, struct spec *ret, struct err *err)
    __attribute__((warn_unused_result));

/* One more process in a running container; of the input: config, pod, image, user, defaults,
 * hostname, cgroup, seccomp and labels. */
struct spec_exec_input {
	const struct spec_input *in;
	int pidfd; /* of the container's first process */
	char *const *cmd;
	size_t n_cmd;
	bool tty;
	int in_fd, out_fd, err_fd; /* -1: /dev/null; not used with tty */
};
int spec_exec(const struct spec_exec_input *in, struct arena *a, struct spec *ret, struct err *err)
    __attribute__((warn_unused_result));

/* The namespaces of a pod: all that its options do not take from the node. Pinned at these files
 * (existing, empty); only those the pod is to have are used. ret->plan is NULL when it has none. */
struct spec_pod_input {
	const Runtime__V1__PodSandboxConfig *pod;
	const char *hostname;
	const char *net_path, *ipc_path, *uts_path, *user_path;
};
int spec_pod_namespaces(const struct spec_pod_input *in, struct arena *a, struct spec *ret,
    struct err *err) __attribute__((warn_unused_result));

/* PID 1 of a pod with a shared PID namespace. user_ns: -1 when the pod has none. */
int spec_holder(const Runtime__V1__PodSandboxConfig *pod, int user_ns, struct cgroup_fds *cgroup,
    struct arena *a, struct spec *ret, struct err *err) __attribute__((warn_unused_result));

/* Checks that need no plan, for RunPodSandbox and CreateContainer before anything is made. */
int spec_check_pod(const Runtime__V1__PodSandboxConfig *pod, struct err *err)
    __attribute__((warn_unused_result));
int spec_check_container(const Runtime__V1__ContainerConfig *config,
    const Runtime__V1__PodSandboxConfig *pod, struct err *err) __attribute__((warn_unused_result));

/* The bounding set a container is to have: what its seccomp profile is compiled for. */
int spec_capabilities(const Runtime__V1__ContainerConfig *config,
    const struct spec_defaults *defaults, uint64_t *ret, struct err *err)
    __attribute__((warn_unused_result));

/* Number of the stop signal: the request's, else the image's, else SIGTERM. */
int spec_stop_signal(const Runtime__V1__ContainerConfig *config, const struct image_config *image,
    int *ret, struct err *err) __attribute__((warn_unused_result));

/* Shorthands for what a config says; missing messages read as their defaults. */
const Runtime__V1__NamespaceOption *spec_namespaces(
    const Runtime__V1__ContainerConfig *config, const Runtime__V1__PodSandboxConfig *pod);
bool spec_privileged(const Runtime__V1__ContainerConfig *config);
/* The pod has a user namespace; *ret (may be NULL) is its options. */
bool spec_has_userns(
    const Runtime__V1__PodSandboxConfig *pod, const Runtime__V1__UserNamespace **ret);

#endif
