/* SPDX-License-Identifier: Apache-2.0
 *
 * Namespaces and cgroup of the new process, and the NAMESPACES plan that makes and pins a pod's.
 *
 * PID namespaces to be joined were entered by the parent around the clone; all others are joined
 * here. A user namespace comes last of the joins, and what is new is made after it, so that it
 * belongs to it.
 */
#include "exec/keeper/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct ns_name {
	uint32_t type;
	const char *name; /* in /proc/<pid>/ns */
} ns_names[] = {
    {CLONE_NEWNET,    "net"   },
    {CLONE_NEWIPC,    "ipc"   },
    {CLONE_NEWUTS,    "uts"   },
    {CLONE_NEWUSER,   "user"  },
    {CLONE_NEWPID,    "pid"   },
    {CLONE_NEWCGROUP, "cgroup"},
    {CLONE_NEWNS,     "mnt"   },
};

static const char *
ns_name(uint32_t type)
{
	for (size_t i = 0; i < ARRAY_SIZE(ns_names); i++)
		if (ns_names[i].type == type)
			return ns_names[i].name;
	return "several";
}

pid_t
child_clone(uint64_t flags, int cgroup_fd, int *ret_pidfd)
{
	struct clone_args args = {.flags = flags | CLONE_PIDFD, .pidfd = (uintptr_t)ret_pidfd};

	if (!(flags & CLONE_PARENT)) /* else it is the caller's own */
		args.exit_signal = SIGCHLD;
	if (cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup_fd;
	}
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

void
child_cgroup(struct launch_ctx *c)
{
	c->step = "cgroup";
	for (size_t i = 0; i < c->plan->n_cgroup_procs_fd; i++)
		if (write(child_fd(c, c->plan->cgroup_procs_fd[i]), "0", 1) < 0)
			child_fail(c, errno, "enter the cgroup (hierarchy %zu)", i + 1);
}

static int
write_proc(struct launch_ctx *c, const char *path, const char *value)
{
	int fd = child_openat2(
	    c->proc_fd, path, O_WRONLY, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, value, strlen(value));
	close(fd);
	return n < 0 ? -1 : 0;
}

void
child_oom_score_adj(struct launch_ctx *c)
{
	char value[16];

	if (!c->plan->set_oom_score_adj)
		return;
	c->step = "oom_score_adj";
	snprintf(value, sizeof(value), "%d", (int)c->plan->oom_score_adj);
	if (write_proc(c, "self/oom_score_adj", value) == 0)
		return;
	if (errno != EPERM && errno != EACCES)
		child_fail(c, errno, "set oom_score_adj %s", value);
	child_note(c, "oom_score_adj %s needs CAP_SYS_RESOURCE, which is missing", value);
}

bool
child_joins(const struct launch_ctx *c, uint32_t type)
{
	for (size_t i = 0; i < c->plan->n_join; i++)
		if (c->plan->join[i]->type & type)
			return true;
	return false;
}

/* Entries of one descriptor (a pidfd) that follow each other are joined by one call. */
static void
join_listed(struct launch_ctx *c, bool user)
{
	const Coracle__Launch__Plan *plan = c->plan;

	for (size_t i = 0; i < plan->n_join;) {
		uint32_t ns_fd = plan->join[i]->ns_fd, types = 0;

		for (; i < plan->n_join && plan->join[i]->ns_fd == ns_fd; i++)
			types |= plan->join[i]->type;
		types &= ~(uint32_t)CLONE_NEWPID;
		if (types == 0 || !!(types & CLONE_NEWUSER) != user)
			continue;
		if (setns(child_fd(c, ns_fd), (int)types) < 0)
			child_fail(c, errno, "join the %s namespace%s", ns_name(types),
			    (types & (types - 1)) != 0 ? "s" : "");
	}
}

/* The user namespace's root is who we are from now on: the host's is not mapped in it, and could
 * own nothing that is made. */
static void
become_ns_root(struct launch_ctx *c)
{
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		child_fail(c, errno, "become root of the user namespace");
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		child_fail(c, errno, "PR_SET_DUMPABLE");
}

/* A PID namespace that shall belong to the joined user namespace cannot be made by the keeper's
 * clone. The clone made here is the keeper's child as well (CLONE_PARENT), so this one just ends.
 */
static void
clone_again(struct launch_ctx *c)
{
	int pidfd = -1;
	pid_t pid = child_clone(CLONE_PARENT | CLONE_NEWPID, -1, &pidfd);

	if (pid < 0)
		child_fail(c, errno, "clone into the user namespace");
	if (pid > 0) {
		child_send_fd(c, LAUNCH_MSG_MOVED, pid, pidfd);
		_exit(0);
	}
}

void
child_join(struct launch_ctx *c)
{
	int flags = (int)(c->plan->clone_flags & ~(uint64_t)CLONE_NEWPID);
	bool user = child_joins(c, CLONE_NEWUSER);

	c->step = "namespaces";
	join_listed(c, false);
	if (user) {
		join_listed(c, true);
		become_ns_root(c);
		if (c->plan->clone_flags & CLONE_NEWPID)
			clone_again(c);
	}
	if (flags != 0 && unshare(flags) < 0)
		child_fail(c, errno, "make namespaces (flags %#x)", (unsigned)flags);
}

/* Since Linux 6.11 the IPC sysctls of a user namespace belong to its root, and the host's has no
 * say in them; before, only the host's had. */
static bool
write_as_ns_root(struct launch_ctx *c, const char *path, const char *value)
{
	const Coracle__Launch__Plan *plan = c->plan;
	int saved;
	bool done;

	if ((errno != EACCES && errno != EPERM) || plan->n_uid_map == 0 ||
	    plan->uid_map[0]->container_id != 0)
		return false;
	if (syscall(SYS_setresuid, -1, plan->uid_map[0]->host_id, -1) < 0)
		return false;
	done = write_proc(c, path, value) == 0;
	saved = errno;
	if (syscall(SYS_setresuid, -1, 0, -1) < 0)
		child_fail(c, errno, "become root again");
	errno = saved;
	return done;
}

/* "net.ipv4.ip_forward" and "net/ipv4/conf/eth0.1/forwarding" are files below /proc/sys: the first
 * separator met tells which of the two it is, as sysctl(8) has it. */
static void
write_sysctl(struct launch_ctx *c, const char *key, const char *value)
{
	const char *first = strpbrk(key, "./");
	char path[256] = "sys/";
	size_t n = strlen(key);

	if (n + 5 > sizeof(path) || strstr(key, "..") != NULL)
		child_fail(c, EINVAL, "sysctl %s", key);
	for (size_t i = 0; i <= n; i++) {
		char ch = key[i];

		if (first != NULL && *first == '.' && (ch == '.' || ch == '/'))
			ch = ch == '.' ? '/' : '.';
		path[4 + i] = ch;
	}
	if (write_proc(c, path, value) < 0 && !write_as_ns_root(c, path, value))
		child_fail(c, errno, "sysctl %s", key);
}

static void
loopback_up(struct launch_ctx *c)
{
	struct ifreq ifr = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		child_fail(c, errno, "loopback interface");
	ifr.ifr_flags |= IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		child_fail(c, errno, "bring up the loopback interface");
	close(fd);
}

void
child_configure_namespaces(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;

	if (child_has(plan->hostname)) {
		c->step = "hostname";
		if (sethostname(plan->hostname, strlen(plan->hostname)) < 0)
			child_fail(c, errno, "set the host name %s", plan->hostname);
	}
	if (plan->loopback_up) {
		c->step = "loopback";
		loopback_up(c);
	}
	c->step = "sysctl";
	for (size_t i = 0; i < plan->n_sysctls; i++)
		write_sysctl(c, plan->sysctls[i]->key, plan->sysctls[i]->value);
}

static void
write_id_map(
    struct launch_ctx *c, pid_t pid, const char *file, Coracle__Launch__IdMap *const *map, size_t n)
{
	char path[48], text[4096];
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		int len = snprintf(text + used, sizeof(text) - used, "%u %u %u\n",
		    map[i]->container_id, map[i]->host_id, map[i]->length);

		if (len < 0 || (size_t)len >= sizeof(text) - used)
			child_fail(c, E2BIG, "%s", file);
		used += (size_t)len;
	}
	snprintf(path, sizeof(path), "%d/%s", (int)pid, file);
	if (write_proc(c, path, text) < 0)
		child_fail(c, errno, "write %s", file);
}

/* With a new user namespace, the process that makes the namespaces loses all power over the host's
 * mounts. So a second one makes them and does nothing else; this one stays outside and joins them
 * for the configuration. */
static pid_t
clone_owner(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;
	pid_t self = getpid(), pid;
	int pidfd = -1, others;

	pid = child_clone(plan->clone_flags, -1, &pidfd);
	if (pid < 0)
		child_fail(c, errno, "make namespaces (flags %#x)", (unsigned)plan->clone_flags);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == self)
			pause();
		_exit(0);
	}
	write_id_map(c, pid, "uid_map", plan->uid_map, plan->n_uid_map);
	write_id_map(c, pid, "gid_map", plan->gid_map, plan->n_gid_map);
	others = (int)plan->clone_flags & ~CLONE_NEWUSER;
	if (others != 0 && setns(pidfd, others) < 0)
		child_fail(c, errno, "join the new namespaces");
	close(pidfd);
	return pid;
}

static void
pin(struct launch_ctx *c, const Coracle__Launch__Pin *p, pid_t pid)
{
	char path[48];
	int fd, tree;

	if (pid > 0)
		snprintf(path, sizeof(path), "%d/ns/%s", (int)pid, ns_name(p->type));
	else
		snprintf(path, sizeof(path), "self/ns/%s", ns_name(p->type));
	fd = openat(c->proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		child_fail(c, errno, "open the %s namespace", ns_name(p->type));
	tree = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (tree < 0)
		child_fail(c, errno, "clone the mount of the %s namespace", ns_name(p->type));
	if (move_mount(tree, "", AT_FDCWD, p->path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		child_fail(c, errno, "pin the %s namespace at %s", ns_name(p->type), p->path);
	close(tree);
	close(fd);
}

void
child_namespaces(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;
	pid_t owner = 0;

	c->step = "namespaces";
	join_listed(c, false);
	if (plan->clone_flags & CLONE_NEWUSER)
		owner = clone_owner(c);
	else if (plan->clone_flags != 0 && unshare((int)plan->clone_flags) < 0)
		child_fail(c, errno, "make namespaces (flags %#x)", (unsigned)plan->clone_flags);
	child_configure_namespaces(c);
	c->step = "pin";
	for (size_t i = 0; i < plan->n_pins; i++)
		pin(c, plan->pins[i], owner);
	if (owner > 0) {
		kill(owner, SIGKILL);
		while (waitpid(owner, NULL, 0) < 0 && errno == EINTR)
			;
	}
	child_send_last(c);
	_exit(0);
}
