/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks of a launch plan: see launch_check.h.
 */
#include "exec/keeper/launch_check.h"

#include <limits.h>
#include <linux/filter.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/macros.h"

#define plan_t Coracle__Launch__Plan

enum {
	MAX_MOUNTS = 16384,
	MAX_DEVICES = 16384,
	MAX_GROUPS = 65536, /* NGROUPS_MAX */
	MAX_ID_MAPS = 340,  /* UID_GID_MAP_MAX_EXTENTS */
};

#define NS_FLAGS                                                                                   \
	((uint64_t)(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |  \
	            CLONE_NEWPID | CLONE_NEWNET))

#define BAD(...) launch_bad(fail, "plan", 0, __VA_ARGS__)

static bool
is_path(const char *s)
{
	return s != NULL && s[0] == '/' && strlen(s) < PATH_MAX;
}

static int
check_fd(uint32_t index, size_t n_fds, const char *what, struct launch_failure *fail)
{
	if (index > n_fds)
		return BAD("%s: descriptor %u of %zu", what, index, n_fds);
	return 0;
}

static int
check_namespaces(const plan_t *p, size_t n_fds, struct launch_failure *fail)
{
	uint64_t allowed = NS_FLAGS & ~(uint64_t)CLONE_NEWUSER;

	if (p->kind == CORACLE__LAUNCH__PLAN__KIND__NAMESPACES)
		allowed =
		    CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWUSER | CLONE_NEWCGROUP;
	else if (p->kind == CORACLE__LAUNCH__PLAN__KIND__EXEC)
		allowed = 0;
	if (p->clone_flags & ~allowed)
		return BAD("clone_flags: %#llx", (unsigned long long)p->clone_flags);
	if (p->kind == CORACLE__LAUNCH__PLAN__KIND__CONTAINER && !(p->clone_flags & CLONE_NEWNS))
		return BAD("clone_flags: a container without its own mounts");
	for (size_t i = 0; i < p->n_join; i++) {
		uint32_t type = p->join[i]->type;

		if (type == 0 || (type & ~NS_FLAGS) != 0 || (type & p->clone_flags) != 0)
			return BAD("join: type %#x", type);
		if (p->join[i]->ns_fd == 0 || check_fd(p->join[i]->ns_fd, n_fds, "join", fail) < 0)
			return BAD("join: no descriptor");
	}
	if (p->n_uid_map > MAX_ID_MAPS || p->n_gid_map > MAX_ID_MAPS)
		return BAD("uid_map: too many lines");
	if ((p->clone_flags & CLONE_NEWUSER) && (p->n_uid_map == 0 || p->n_gid_map == 0))
		return BAD("uid_map: none for the new user namespace");
	for (size_t i = 0; i < p->n_pins; i++)
		if (!is_path(p->pins[i]->path) || !(p->pins[i]->type & p->clone_flags))
			return BAD("pins: %s", p->pins[i]->path);
	if (p->cgroup_fd > n_fds)
		return BAD("cgroup_fd");
	for (size_t i = 0; i < p->n_cgroup_procs_fd; i++)
		if (p->cgroup_procs_fd[i] == 0 || p->cgroup_procs_fd[i] > n_fds)
			return BAD("cgroup_procs_fd");
	return 0;
}

static int
check_mount(const Coracle__Launch__Mount *m, size_t n_fds, struct launch_failure *fail)
{
	if (!is_path(m->target))
		return BAD("mounts: target \"%s\"", m->target);
	if (check_fd(m->source_fd, n_fds, "mounts: source_fd", fail) < 0 ||
	    check_fd(m->idmap_userns_fd, n_fds, "mounts: idmap_userns_fd", fail) < 0)
		return -1;
	switch (m->kind) {
	case CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM:
		if (m->fs_type == NULL || m->fs_type[0] == '\0')
			return BAD("mounts: %s has no type", m->target);
		for (size_t i = 0; i < m->n_options; i++)
			if (strcspn(m->options[i], "=") > 63)
				return BAD("mounts: %s has an odd option", m->target);
		return 0;
	case CORACLE__LAUNCH__MOUNT__KIND__BIND:
		if (m->source_fd == 0 && !is_path(m->source))
			return BAD("mounts: %s has no source", m->target);
		return 0;
	case CORACLE__LAUNCH__MOUNT__KIND__DETACHED:
		if (m->source_fd == 0)
			return BAD("mounts: %s has no descriptor", m->target);
		return 0;
	default:
		return BAD("mounts: kind %d", (int)m->kind);
	}
}

static int
check_root(const plan_t *p, size_t n_fds, struct launch_failure *fail)
{
	if (p->root_fd == 0 || p->root_fd > n_fds)
		return BAD("root_fd: none");
	if (!is_path(p->root_dir))
		return BAD("root_dir: \"%s\"", p->root_dir);
	if (p->n_mounts > MAX_MOUNTS || p->n_devices > MAX_DEVICES)
		return BAD("mounts: too many");
	for (size_t i = 0; i < p->n_mounts; i++)
		if (check_mount(p->mounts[i], n_fds, fail) < 0)
			return -1;
	for (size_t i = 0; i < p->n_devices; i++) {
		const Coracle__Launch__Device *d = p->devices[i];

		if (!is_path(d->path) ||
		    (!S_ISCHR(d->mode) && !S_ISBLK(d->mode) && !S_ISFIFO(d->mode)))
			return BAD("devices: \"%s\"", d->path);
		if (check_fd(d->bind_fd, n_fds, "devices: bind_fd", fail) < 0)
			return -1;
	}
	for (size_t i = 0; i < p->n_symlinks; i++)
		if (!is_path(p->symlinks[i]->path))
			return BAD("symlinks: \"%s\"", p->symlinks[i]->path);
	for (size_t i = 0; i < p->n_masked_paths; i++)
		if (!is_path(p->masked_paths[i]))
			return BAD("masked_paths: \"%s\"", p->masked_paths[i]);
	for (size_t i = 0; i < p->n_readonly_paths; i++)
		if (!is_path(p->readonly_paths[i]))
			return BAD("readonly_paths: \"%s\"", p->readonly_paths[i]);
	for (size_t i = 0; i < p->n_directories; i++)
		if (!is_path(p->directories[i]))
			return BAD("directories: \"%s\"", p->directories[i]);
	return 0;
}

static int
check_process(const plan_t *p, size_t n_fds, struct launch_failure *fail)
{
	if (p->n_argv == 0 || p->argv[0][0] == '\0')
		return BAD("argv: no command specified");
	for (size_t i = 0; i < p->n_env; i++)
		if (p->env[i].len > 0 && memchr(p->env[i].data, '\0', p->env[i].len) != NULL)
			return BAD("env: a zero byte");
	if (p->cwd != NULL && p->cwd[0] != '\0' && !is_path(p->cwd))
		return BAD("cwd: \"%s\" is not absolute", p->cwd);
	if (p->n_groups > MAX_GROUPS)
		return BAD("groups: too many");
	if (p->seccomp.len % sizeof(struct sock_filter) != 0 ||
	    p->seccomp.len / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return BAD("seccomp: %zu bytes", p->seccomp.len);
	for (size_t i = 0; i < p->n_rlimits; i++)
		if (p->rlimits[i]->resource >= RLIM_NLIMITS)
			return BAD("rlimits: resource %u", p->rlimits[i]->resource);
	if (p->umask & ~0777U)
		return BAD("umask: %#o", p->umask);
	if (p->tty_width > USHRT_MAX || p->tty_height > USHRT_MAX)
		return BAD("tty_width, tty_height");
	if (check_fd(p->stdin_fd, n_fds, "stdin_fd", fail) < 0 ||
	    check_fd(p->stdout_fd, n_fds, "stdout_fd", fail) < 0 ||
	    check_fd(p->stderr_fd, n_fds, "stderr_fd", fail) < 0)
		return -1;
	return 0;
}

int
launch_check(const plan_t *p, size_t n_fds, struct launch_failure *fail)
{
	if (check_namespaces(p, n_fds, fail) < 0)
		return -1;
	switch (p->kind) {
	case CORACLE__LAUNCH__PLAN__KIND__CONTAINER:
		if (check_root(p, n_fds, fail) < 0)
			return -1;
		return check_process(p, n_fds, fail);
	case CORACLE__LAUNCH__PLAN__KIND__EXEC:
		if (p->root_fd != 0 || p->n_mounts + p->n_devices + p->n_symlinks != 0)
			return BAD("mounts: not for one more process");
		return check_process(p, n_fds, fail);
	case CORACLE__LAUNCH__PLAN__KIND__NAMESPACES:
		return 0;
	case CORACLE__LAUNCH__PLAN__KIND__HOLDER:
		if (!(p->clone_flags & CLONE_NEWPID))
			return BAD("clone_flags: a holder without a PID namespace");
		return 0;
	default:
		return BAD("kind: %d", (int)p->kind);
	}
}
