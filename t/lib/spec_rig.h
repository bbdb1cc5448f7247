/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything a container's spec is made from, with values that work: for the unit tests of the
 * specs, which change what they are about and look at the plan.
 */
#ifndef SPEC_RIG_H
#define SPEC_RIG_H

#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>

#include "base/macros.h"
#include "exec/caps.h"
#include "image/config.h"
#include "pod/spec.h"
#include "tap.h"

#define BIT(n) (UINT64_C(1) << (n))

enum { NET_FD = 100, IPC_FD, UTS_FD, USER_FD, PID_FD, ROOT_FD, IMAGE_FD, CGROUP_FD, PIDFD };

/* Everything a container's spec is made from, with values that work; tests change parts of it. */
struct rig {
	struct arena arena;
	Runtime__V1__ContainerConfig config;
	Runtime__V1__LinuxContainerConfig container_linux;
	Runtime__V1__LinuxContainerSecurityContext sc;
	Runtime__V1__LinuxContainerResources resources;
	Runtime__V1__Capability caps;
	Runtime__V1__NamespaceOption ns, pod_ns;
	Runtime__V1__UserNamespace userns;
	Runtime__V1__IDMapping map, *maps[1];
	Runtime__V1__PodSandboxConfig pod;
	Runtime__V1__LinuxPodSandboxConfig pod_linux;
	Runtime__V1__LinuxSandboxSecurityContext pod_sc;
	Runtime__V1__LinuxPodSandboxConfig__SysctlsEntry sysctl, *sysctls[1];
	Runtime__V1__Mount mounts[4], *mount_ptrs[4];
	Runtime__V1__ImageSpec mount_image;
	Runtime__V1__Device device, *device_ptrs[1];
	Runtime__V1__KeyValue envs[4], *env_ptrs[4];
	int image_fds[4];
	char *command[4], *args[4];
	char *image_env[4], *entrypoint[4], *cmd[4], *volumes[4];
	struct image_config image;
	uint32_t groups[2];
	struct user user;
	struct spec_defaults defaults;
	struct cgroup_fds cgroup;
	struct spec_input in;
	struct spec spec;
	struct err err;
};

static inline char *
text(const char *s)
{
	return (char *)(uintptr_t)s;
}

static inline void
rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	arena_init(&r->arena);
	runtime__v1__container_config__init(&r->config);
	runtime__v1__linux_container_config__init(&r->container_linux);
	runtime__v1__linux_container_security_context__init(&r->sc);
	runtime__v1__linux_container_resources__init(&r->resources);
	runtime__v1__capability__init(&r->caps);
	runtime__v1__namespace_option__init(&r->ns);
	runtime__v1__namespace_option__init(&r->pod_ns);
	runtime__v1__user_namespace__init(&r->userns);
	runtime__v1__idmapping__init(&r->map);
	runtime__v1__pod_sandbox_config__init(&r->pod);
	runtime__v1__linux_pod_sandbox_config__init(&r->pod_linux);
	runtime__v1__linux_sandbox_security_context__init(&r->pod_sc);
	runtime__v1__linux_pod_sandbox_config__sysctls_entry__init(&r->sysctl);
	runtime__v1__device__init(&r->device);
	runtime__v1__image_spec__init(&r->mount_image);
	r->config.linux = &r->container_linux;
	r->container_linux.security_context = &r->sc;
	r->container_linux.resources = &r->resources;
	r->pod.linux = &r->pod_linux;
	r->pod_linux.security_context = &r->pod_sc;
	r->pod_linux.sysctls = r->sysctls;
	r->sysctls[0] = &r->sysctl;
	r->pod_sc.namespace_options = &r->pod_ns;
	r->ns.pid = r->pod_ns.pid = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
	r->sc.namespace_options = &r->ns;
	r->maps[0] = &r->map;
	r->map.host_id = 100000;
	r->map.length = 65536;
	r->userns.n_uids = r->userns.n_gids = 1;
	r->userns.uids = r->userns.gids = r->maps;
	for (int i = 0; i < 4; i++) {
		runtime__v1__mount__init(&r->mounts[i]);
		r->mount_ptrs[i] = &r->mounts[i];
		runtime__v1__key_value__init(&r->envs[i]);
		r->env_ptrs[i] = &r->envs[i];
		r->image_fds[i] = -1;
	}
	r->config.mounts = r->mount_ptrs;
	r->config.envs = r->env_ptrs;
	r->config.devices = r->device_ptrs;
	r->device_ptrs[0] = &r->device;
	r->config.command = r->command;
	r->config.args = r->args;
	r->image = (struct image_config){.user = text(""),
	    .working_dir = text(""),
	    .stop_signal = text(""),
	    .env = r->image_env,
	    .entrypoint = r->entrypoint,
	    .cmd = r->cmd,
	    .volumes = r->volumes};
	r->cmd[0] = text("sh");
	r->image.n_cmd = 1;
	r->user = (struct user){
	    .uid = 7, .gid = 8, .groups = r->groups, .n_groups = 2, .home = text("/home/u")};
	r->groups[0] = 8;
	r->groups[1] = 9;
	r->defaults.caps_available = BIT(41) - 1;
	r->cgroup = (struct cgroup_fds){.dir = CGROUP_FD, .procs = {CGROUP_FD + 100}, .n_procs = 1};
	r->in = (struct spec_input){.config = &r->config,
	    .pod = &r->pod,
	    .image = &r->image,
	    .user = &r->user,
	    .defaults = &r->defaults,
	    .hostname = "web-0",
	    .net_ns = NET_FD,
	    .ipc_ns = IPC_FD,
	    .uts_ns = UTS_FD,
	    .user_ns = USER_FD,
	    .pid_ns = PID_FD,
	    .root_fd = ROOT_FD,
	    .root_dir = "/run/x/root",
	    .shm = "/run/x/shm",
	    .resolv_conf = "/run/x/resolv.conf",
	    .hosts = "/run/x/hosts",
	    .hostname_file = "/run/x/hostname",
	    .cgroup = &r->cgroup,
	    .image_fds = r->image_fds};
}

static inline bool
make(struct rig *r)
{
	bool done = spec_container(&r->in, &r->arena, &r->spec, &r->err) == 0;

	if (!done)
		diag("%s", r->err.msg);
	return done;
}

static inline void
refused(struct rig *r, const char *what)
{
	struct err err = {0};
	bool early = spec_check_container(&r->config, &r->pod, &err) < 0;

	ok(spec_container(&r->in, &r->arena, &r->spec, &r->err) < 0 &&
	        r->err.code == ERR_INVALID_ARGUMENT && strstr(r->err.msg, what) != NULL,
	    "refused: %s", r->err.msg);
	ok(early || strstr(what, "command") != NULL || strstr(what, "mapped") != NULL,
	    "before anything is made");
	arena_release(&r->arena);
}

static inline void
userns_on(struct rig *r)
{
	r->userns.mode = RUNTIME__V1__NAMESPACE_MODE__POD;
	r->pod_ns.userns_options = r->ns.userns_options = &r->userns;
}

static inline const Coracle__Launch__Mount *
mount_at(const struct rig *r, const char *target)
{
	const Coracle__Launch__Mount *found = NULL;

	for (size_t i = 0; i < r->spec.plan->n_mounts; i++)
		if (strcmp(r->spec.plan->mounts[i]->target, target) == 0)
			found = r->spec.plan->mounts[i];
	return found;
}

static inline int
fd_of(const struct rig *r, uint32_t index)
{
	return index == 0 ? -1 : r->spec.fds[index - 1];
}

static inline int
joined(const struct rig *r, uint32_t type)
{
	for (size_t i = 0; i < r->spec.plan->n_join; i++)
		if (r->spec.plan->join[i]->type & type)
			return fd_of(r, r->spec.plan->join[i]->ns_fd);
	return -1;
}

static inline const char *
env_of(const struct rig *r, const char *key)
{
	size_t n = strlen(key);

	for (size_t i = 0; i < r->spec.plan->n_env; i++) {
		const char *e = (const char *)r->spec.plan->env[i].data;

		if (strncmp(e, key, n) == 0 && e[n] == '=')
			return e + n + 1;
	}
	return NULL;
}

#endif
