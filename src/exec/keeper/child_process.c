/* SPDX-License-Identifier: Apache-2.0
 *
 * The last stretch: everything that makes a process what the plan says, in the order in which each
 * step still has the privileges it needs, then execve.
 */
#include "exec/keeper/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- standard streams ---------------------------------------------------------------------- */

static uint32_t
to_host_id(Coracle__Launch__IdMap *const *map, size_t n, uint32_t id)
{
	for (size_t i = 0; i < n; i++)
		if (id >= map[i]->container_id && id - map[i]->container_id < map[i]->length)
			return map[i]->host_id + (id - map[i]->container_id);
	return id;
}

/* The user of the container may open /dev/stdout once more, which asks for the pipe's permissions.
 * Done from the host's user namespace, where the pipe's owner can be changed. */
void
child_own_stdio(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;
	uid_t uid = to_host_id(plan->uid_map, plan->n_uid_map, plan->uid);

	c->step = "stdio";
	for (int i = 0; i < 3; i++) {
		struct stat st;

		if (c->stdio[i] < 0 || fstat(c->stdio[i], &st) < 0 || !S_ISFIFO(st.st_mode) ||
		    st.st_uid == uid)
			continue;
		if (fchown(c->stdio[i], uid, (gid_t)-1) < 0 && errno != EPERM && errno != EROFS)
			child_fail(c, errno, "chown stream %d", i);
	}
}

static void
place_stdio(struct launch_ctx *c)
{
	int from[3];

	c->step = "stdio";
	for (int i = 0; i < 3; i++) {
		from[i] = c->tty_fd >= 0 ? c->tty_fd : c->stdio[i];
		from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 4);
		if (from[i] < 0)
			child_fail(c, errno, "duplicate stream %d", i);
	}
	for (int i = 0; i < 3; i++)
		if (dup2(from[i], i) < 0)
			child_fail(c, errno, "set stream %d", i);
	if (c->tty_fd >= 0 && ioctl(0, TIOCSCTTY, 0) < 0)
		child_fail(c, errno, "set the controlling terminal");
}

/* Nothing of the keeper is left from here on, but for the status socket (CVE-2024-21626). */
static void
close_rest(struct launch_ctx *c)
{
	if (c->status_fd != 3) {
		if (dup3(c->status_fd, 3, O_CLOEXEC) < 0)
			child_fail(c, errno, "duplicate the status socket");
		c->status_fd = 3;
	}
	if (syscall(SYS_close_range, 4U, ~0U, 0U) < 0)
		child_fail(c, errno, "close_range");
	c->proc_fd = c->root_fd = c->devpts_fd = c->tty_fd = -1;
}

/* ---- labels -------------------------------------------------------------------------------- */

static void
write_label(struct launch_ctx *c, const char *file, const char *label, const char *prefix)
{
	char text[512];
	int len, fd;

	if (!child_has(label))
		return;
	c->step = "label";
	len = snprintf(text, sizeof(text), "%s%s", prefix, label);
	if (len < 0 || (size_t)len >= sizeof(text))
		child_fail(c, ENAMETOOLONG, "label");
	fd = child_openat2(
	    c->proc_fd, file, O_WRONLY, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
	if (fd < 0 || write(fd, text, (size_t)len) < 0)
		child_fail(c, errno, "set the label %s", label);
	close(fd);
}

static void
set_labels(struct launch_ctx *c)
{
	struct stat st;

	/* the attr directory of its own exists since Linux 5.1, in case of several modules */
	if (fstatat(c->proc_fd, "thread-self/attr/apparmor/exec", &st, 0) == 0)
		write_label(c, "thread-self/attr/apparmor/exec", c->plan->apparmor_exec, "exec ");
	else
		write_label(c, "thread-self/attr/exec", c->plan->apparmor_exec, "exec ");
	write_label(c, "thread-self/attr/exec", c->plan->selinux_exec, "");
}

/* ---- limits, user, capabilities ------------------------------------------------------------ */

static void
set_rlimits(struct launch_ctx *c)
{
	c->step = "rlimits";
	for (size_t i = 0; i < c->plan->n_rlimits; i++) {
		const Coracle__Launch__Rlimit *r = c->plan->rlimits[i];
		struct rlimit lim = {.rlim_cur = r->soft, .rlim_max = r->hard}, own;
		__rlimit_resource_t what = (__rlimit_resource_t)r->resource;

		if (setrlimit(what, &lim) == 0)
			continue;
		if (errno != EPERM || getrlimit(what, &own) < 0)
			child_fail(c, errno, "set resource limit %u", r->resource);
		lim.rlim_max = MIN(lim.rlim_max, own.rlim_max);
		lim.rlim_cur = MIN(lim.rlim_cur, lim.rlim_max);
		if (setrlimit(what, &lim) < 0)
			child_fail(c, errno, "set resource limit %u", r->resource);
		child_note(c, "resource limit %u is cut to %llu: CAP_SYS_RESOURCE is missing",
		    r->resource, (unsigned long long)lim.rlim_max);
	}
}

/* A session keyring of its own, so that keys of the host's session are out of reach. */
static void
join_keyring(struct launch_ctx *c)
{
	c->step = "keyring";
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS &&
	    errno != EPERM && errno != EDQUOT && errno != ENOMEM)
		child_fail(c, errno, "join a session keyring");
}

static void
get_caps(struct launch_ctx *c, uint64_t *ret_permitted)
{
	struct __user_cap_header_struct hdr = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &hdr, data) < 0)
		child_fail(c, errno, "capget");
	*ret_permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
}

static void
set_caps(struct launch_ctx *c, uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
	struct __user_cap_header_struct hdr = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
	    {(uint32_t)effective,         (uint32_t)permitted,         (uint32_t)inheritable},
	    {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32),
             (uint32_t)(inheritable >> 32)	                                          }
        };

	if (syscall(SYS_capset, &hdr, data) < 0)
		child_fail(c, errno, "capset");
}

static void
drop_bounding(struct launch_ctx *c, uint64_t keep)
{
	for (int cap = 0; cap < 64; cap++) {
		if (keep & UINT64_C(1) << cap)
			continue;
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			child_fail(c, errno, "drop capability %d from the bounding set", cap);
	}
}

static void
set_user(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;

	c->step = "user";
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		child_fail(c, errno, "PR_SET_KEEPCAPS");
	if (setgroups(plan->n_groups, (const gid_t *)plan->groups) < 0)
		child_fail(c, errno, "set %zu supplementary groups", plan->n_groups);
	if (setresgid(plan->gid, plan->gid, plan->gid) < 0)
		child_fail(c, errno, "set gid %u", plan->gid);
	if (setresuid(plan->uid, plan->uid, plan->uid) < 0)
		child_fail(c, errno, "set uid %u", plan->uid);
	/* a change of user makes it what fs.suid_dumpable says */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		child_fail(c, errno, "PR_SET_DUMPABLE");
}

/*
 * A filter needs either no_new_privs or CAP_SYS_ADMIN, and shall be the last thing before execve,
 * so in the second case that one capability stays effective until then. It does not reach the
 * program: execve computes its sets from the bounding, inheritable and ambient ones only.
 */
static void
set_capabilities(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;
	static const Coracle__Launch__Capabilities none;
	const Coracle__Launch__Capabilities *want = plan->caps != NULL ? plan->caps : &none;
	uint64_t ambient = want->ambient, extra = 0, effective, permitted, own;

	c->step = "capabilities";
	get_caps(c, &own);
	if (plan->seccomp.len > 0 && !plan->no_new_privs)
		extra = UINT64_C(1) << CAP_SYS_ADMIN & own;
	permitted = want->permitted & own;
	effective = want->effective & permitted;
	if (plan->uid !=
	    0) { /* what the program will have: it shall also be looked up as its user */
		permitted &= ambient;
		effective &= ambient;
	}
	set_caps(c, effective | extra, permitted | extra, want->inheritable & own);
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		child_fail(c, errno, "PR_SET_KEEPCAPS");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		child_fail(c, errno, "clear the ambient capabilities");
	for (int cap = 0; cap < 64; cap++)
		if ((ambient & own & UINT64_C(1) << cap) &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			child_fail(c, errno, "raise the ambient capability %d", cap);
}

/* ---- working directory --------------------------------------------------------------------- */

/* -1 with errno EACCES or EPERM: to be tried again as the user. Whatever way it was reached, the
 * directory has to be inside the root: the kernel knows (CVE-2024-21626). */
static int
enter_cwd(struct launch_ctx *c)
{
	const char *cwd = child_has(c->plan->cwd) ? c->plan->cwd : "/";
	char real[PATH_MAX];
	int fd = child_openat2(AT_FDCWD, cwd, O_PATH | O_DIRECTORY, RESOLVE_NO_MAGICLINKS);

	c->step = "working directory";
	if (fd < 0 || fchdir(fd) < 0) {
		int saved = errno;

		if (fd >= 0)
			close(fd);
		if (saved == EACCES || saved == EPERM)
			return -1;
		child_fail(c, saved, "chdir to %s", cwd);
	}
	close(fd);
	if (syscall(SYS_getcwd, real, sizeof(real)) < 0)
		child_fail(c, errno, "find out what %s is", cwd);
	if (real[0] != '/')
		child_fail_plain(c, EPERM, "%s is outside of the container's root", cwd);
	return 0;
}

/* ---- the program --------------------------------------------------------------------------- */

static int
check_program(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno;
	if (S_ISDIR(st.st_mode))
		return EISDIR;
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
		return errno;
	return 0;
}

/* The first in PATH that can be executed; else it fails with what was found. */
static void
find_program(struct launch_ctx *c, char out[static PATH_MAX])
{
	const char *name = c->argv[0], *path = DEFAULT_PATH, *end;
	bool denied = false;
	int e;

	c->step = "exec";
	if (strchr(name, '/') != NULL) {
		e = check_program(name);
		if (e != 0)
			child_fail(c, e, "exec \"%s\"", name);
		if ((size_t)snprintf(out, PATH_MAX, "%s", name) >= PATH_MAX)
			child_fail(c, ENAMETOOLONG, "exec \"%s\"", name);
		return;
	}
	for (char **env = c->envp; *env != NULL; env++)
		if (strncmp(*env, "PATH=", 5) == 0)
			path = *env + 5;
	for (; *name != '\0'; path = end + 1) {
		end = path + strcspn(path, ":");
		if (snprintf(out, PATH_MAX, "%.*s/%s", end == path ? 1 : (int)(end - path),
		        end == path ? "." : path, name) < PATH_MAX) {
			e = check_program(out);
			if (e == 0)
				return;
			denied = denied || e == EACCES;
		}
		if (*end == '\0')
			break;
	}
	if (denied)
		child_fail(c, EACCES, "exec \"%s\"", name);
	child_fail_plain(c, ENOENT, "exec \"%s\": executable file not found in $PATH", name);
}

static void
install_filter(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;
	struct sock_fprog prog = {
	    .len = (unsigned short)(plan->seccomp.len / sizeof(struct sock_filter)),
	    .filter = (struct sock_filter *)(void *)plan->seccomp.data};

	if (plan->seccomp.len == 0)
		return;
	c->step = "seccomp";
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (unsigned)plan->seccomp_flags, &prog) < 0)
		child_fail(c, errno, "install the system call filter");
	c->step = "exec";
}

void
child_exec(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;
	char program[PATH_MAX];
	sigset_t none;
	bool at_cwd;

	set_labels(c);
	join_keyring(c);
	place_stdio(c);
	close_rest(c);
	at_cwd = enter_cwd(c) == 0;
	set_rlimits(c);
	c->step = "capabilities";
	drop_bounding(c, plan->caps != NULL ? plan->caps->bounding : 0);
	set_user(c);
	set_capabilities(c);
	if (!at_cwd && enter_cwd(c) < 0)
		child_fail(c, errno, "chdir to %s", plan->cwd);
	umask((mode_t)plan->umask);
	if (plan->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		child_fail(c, errno, "PR_SET_NO_NEW_PRIVS");
	find_program(c, program);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	child_send_last(c);
	install_filter(c);
	execve(program, c->argv, c->envp);
	child_fail(c, errno, "exec \"%s\"", program);
}
