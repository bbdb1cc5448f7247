/* SPDX-License-Identifier: Apache-2.0
 *
 * The root and the mounts of a container. Sources are opened as detached mounts while the child is
 * still in the host's namespaces, so that host paths are resolved on the host and nothing is
 * visible yet; targets are descriptors inside the new root; a mount moves from the one to the other
 * and is never named (move_mount).
 */
#include "exec/keeper/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* ---- sources ------------------------------------------------------------------------------- */

/* mkdir -p of a host path that the kubelet gave. */
static void
make_host_directory(struct launch_ctx *c, const char *path)
{
	char part[PATH_MAX];
	size_t n = strlen(path);

	if (n >= sizeof(part))
		child_fail(c, ENAMETOOLONG, "%s", path);
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			child_fail(c, errno, "make the missing source %s", part);
	}
}

/* The optional fields of the line of /proc/self/mountinfo that starts with this mount's id; false
 * when there is no such line. */
static bool
mount_is(struct launch_ctx *c, uint64_t id, bool *ret_shared, bool *ret_slave)
{
	int fd = openat(c->proc_fd, "self/mountinfo", O_RDONLY | O_CLOEXEC);
	char buf[8192], want[24];
	size_t have = 0;
	ssize_t n;

	if (fd < 0)
		child_fail(c, errno, "open mountinfo");
	snprintf(want, sizeof(want), "%llu ", (unsigned long long)id);
	while ((n = read(fd, buf + have, sizeof(buf) - 1 - have)) > 0) {
		char *line = buf, *end;

		have += (size_t)n;
		buf[have] = '\0';
		while ((end = strchr(line, '\n')) != NULL) {
			*end = '\0';
			if (strncmp(line, want, strlen(want)) == 0) {
				char *sep = strstr(line, " - ");

				if (sep != NULL)
					*sep = '\0';
				*ret_shared = strstr(line, " shared:") != NULL;
				*ret_slave = strstr(line, " master:") != NULL;
				close(fd);
				return true;
			}
			line = end + 1;
		}
		have -= (size_t)(line - buf);
		memmove(buf, line, have);
		if (have == sizeof(buf) - 1) /* a line longer than the buffer: its head is enough */
			have = 0;
	}
	close(fd);
	return false;
}

/* Mounts can only travel through a mount that has peers; without them the request would silently
 * mean less than it says. */
static void
check_propagation(struct launch_ctx *c, int fd, const Coracle__Launch__Mount *m)
{
	bool shared = false, slave = false;
	struct statx stx;

	if (m->propagation != MS_SLAVE && m->propagation != MS_SHARED)
		return;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0 ||
	    !mount_is(c, stx.stx_mnt_id, &shared, &slave))
		return; /* e.g. a detached mount: nothing to say about it */
	if (m->propagation == MS_SHARED && !shared)
		child_fail_plain(c, EINVAL,
		    "%s is not on a shared mount, which bidirectional propagation needs",
		    m->source);
	if (m->propagation == MS_SLAVE && !shared && !slave)
		child_fail_plain(c, EINVAL,
		    "%s is not on a shared or slave mount, which propagation from the host needs",
		    m->source);
}

static int
open_host_path(struct launch_ctx *c, const Coracle__Launch__Mount *m)
{
	int fd = open(m->source, O_PATH | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT && m->create_source) {
		make_host_directory(c, m->source);
		fd = open(m->source, O_PATH | O_CLOEXEC);
	}
	if (fd < 0 && !(errno == ENOENT && m->optional))
		child_fail(c, errno, "open the source %s", m->source);
	return fd;
}

static void
set_attributes(struct launch_ctx *c, int fd, const Coracle__Launch__Mount *m)
{
	struct mount_attr attr = {.attr_set = m->attr_set, .attr_clr = m->attr_clear};
	unsigned recursive = m->attr_recursive ? AT_RECURSIVE : 0;

	if ((attr.attr_set | attr.attr_clr) != 0 &&
	    mount_setattr(fd, "", AT_EMPTY_PATH | recursive, &attr, sizeof(attr)) < 0)
		child_fail(c, errno, "set the attributes of the mount at %s", m->target);
	if (m->propagation != 0) {
		attr = (struct mount_attr){.propagation = m->propagation};
		if (mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
			child_fail(c, errno, "set the propagation of the mount at %s", m->target);
	}
	if (m->idmap_userns_fd != 0) {
		attr = (struct mount_attr){.attr_set = MOUNT_ATTR_IDMAP,
		    .userns_fd = (uint64_t)child_fd(c, m->idmap_userns_fd)};
		if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
			child_fail(c, errno, "map the ids of the mount at %s%s", m->target,
			    errno == EINVAL ? " (its filesystem may not be able to)" : "");
	}
}

static int
clone_tree(struct launch_ctx *c, int fd, bool recursive, const char *what)
{
	int tree = open_tree(fd, "",
	    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0));

	if (tree < 0)
		child_fail(c, errno, "clone the mount of %s", what);
	return tree;
}

static int
open_source(struct launch_ctx *c, const Coracle__Launch__Mount *m)
{
	bool given = m->source_fd != 0;
	int fd = given ? child_fd(c, m->source_fd) : open_host_path(c, m);
	const char *what = given ? m->target : m->source;
	int tree;

	if (fd < 0)
		return -1;
	check_propagation(c, fd, m);
	if (child_has(m->sub_path)) {
		int sub =
		    child_openat2(fd, m->sub_path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);

		if (sub < 0)
			child_fail(c, errno, "open %s in the source of %s", m->sub_path, m->target);
		if (!given)
			close(fd);
		fd = sub;
		given = false;
	}
	tree = clone_tree(c, fd, m->recursive, what);
	if (!given)
		close(fd);
	return tree;
}

void
child_open_sources(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;

	c->step = "mount sources";
	for (size_t i = 0; i < plan->n_mounts; i++) {
		const Coracle__Launch__Mount *m = plan->mounts[i];

		c->mount_fds[i] = -1;
		if (m->kind == CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM)
			continue;
		if (m->kind == CORACLE__LAUNCH__MOUNT__KIND__BIND)
			c->mount_fds[i] = open_source(c, m);
		else
			c->mount_fds[i] = child_fd(c, m->source_fd);
		if (c->mount_fds[i] >= 0)
			set_attributes(c, c->mount_fds[i], m);
	}
	for (size_t i = 0; i < plan->n_devices; i++) {
		const Coracle__Launch__Device *d = plan->devices[i];
		struct stat st;
		int fd = child_fd(c, d->bind_fd);

		c->device_fds[i] = -1;
		if (fd < 0 && !child_has(d->bind_source))
			continue;
		if (fd < 0)
			fd = open(d->bind_source, O_PATH | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0)
			child_fail(c, errno, "open the device %s", d->bind_source);
		if (((st.st_mode ^ d->mode) & S_IFMT) != 0 ||
		    st.st_rdev != makedev(d->major, d->minor))
			child_fail_plain(c, ENODEV, "%s is not the device %c %u:%u",
			    child_has(d->bind_source) ? d->bind_source : d->path,
			    S_ISBLK(d->mode) ? 'b' : 'c', d->major, d->minor);
		c->device_fds[i] = clone_tree(c, fd, false, d->path);
		if (d->bind_fd == 0)
			close(fd);
	}
}

/* ---- the root ------------------------------------------------------------------------------ */

void
child_attach_root(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;

	c->step = "root";
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		child_fail(c, errno, "cut off the mounts from the host's");
	c->root_fd = child_fd(c, plan->root_fd);
	if (move_mount(c->root_fd, "", AT_FDCWD, plan->root_dir, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		child_fail(c, errno, "attach the root at %s", plan->root_dir);
}

void
child_pivot(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;
	struct mount_attr ro = {.attr_set = MOUNT_ATTR_RDONLY};

	c->step = "pivot";
	if (plan->root_readonly &&
	    mount_setattr(c->root_fd, "", AT_EMPTY_PATH, &ro, sizeof(ro)) < 0)
		child_fail(c, errno, "make the root read-only");
	/* pivot_root(2): with both paths ".", the old root ends up on top of the new one, from
	 * where it is unmounted without a name for it */
	if (fchdir(c->root_fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		child_fail(c, errno, "pivot into the root");
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		child_fail(c, errno, "leave the old root");
	if (plan->root_propagation != 0 &&
	    mount(NULL, "/", NULL, (unsigned long)plan->root_propagation, NULL) < 0)
		child_fail(c, errno, "set the propagation of the root");
}

/* ---- mounts inside ------------------------------------------------------------------------- */

void
child_move_onto(struct launch_ctx *c, int mount_fd, int target_fd, const char *target)
{
	if (move_mount(
	        mount_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		child_fail(c, errno, "mount on %s", target);
}

/* Put on the end of what failed what the filesystem itself has to say about it. */
static _Noreturn void
fail_filesystem(
    struct launch_ctx *c, int fs, int errnum, const Coracle__Launch__Mount *m, const char *what)
{
	char words[96] = "";
	ssize_t n = fs >= 0 ? read(fs, words, sizeof(words) - 1) : 0;

	words[n > 0 ? n : 0] = '\0';
	child_fail(c, errnum, "mount %s at %s (%s)%s%s", m->fs_type, m->target, what,
	    n > 0 ? ": " : "", words);
}

/* A detached new instance; -1 when it is optional and this kernel does not have it. */
static int
make_filesystem(struct launch_ctx *c, const Coracle__Launch__Mount *m)
{
	int fs = fsopen(m->fs_type, FSOPEN_CLOEXEC), fd;

	if (fs < 0 && m->optional && errno == ENODEV)
		return -1;
	if (fs < 0)
		fail_filesystem(c, -1, errno, m, "fsopen");
	(void)fsconfig(fs, FSCONFIG_SET_STRING, "source", m->fs_type, 0); /* a label only */
	for (size_t i = 0; i < m->n_options; i++) {
		const char *eq = strchr(m->options[i], '='), *key = m->options[i];
		char name[64];
		int r;

		if (eq == NULL) {
			r = fsconfig(fs, FSCONFIG_SET_FLAG, key, NULL, 0);
		} else {
			snprintf(name, sizeof(name), "%.*s", (int)(eq - key), key);
			r = fsconfig(fs, FSCONFIG_SET_STRING, name, eq + 1, 0);
		}
		if (r < 0)
			fail_filesystem(c, fs, errno, m, key);
	}
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
		if (m->optional && (errno == EPERM || errno == ENODEV)) {
			close(fs);
			return -1;
		}
		fail_filesystem(c, fs, errno, m, "create");
	}
	fd = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)m->attr_set);
	if (fd < 0)
		fail_filesystem(c, fs, errno, m, "fsmount");
	close(fs);
	return fd;
}

/* The kernel's own filesystems go to where they are looked for, or nowhere: through a link of the
 * image they would leave a fake in their place (CVE-2023-27561, CVE-2026-47766). */
static int
open_real_directory(struct launch_ctx *c, const char *path)
{
	int fd = child_make_path(c, path, true);

	close(fd);
	fd = child_openat2(
	    c->root_fd, path, O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
	if (fd < 0 && errno == ELOOP)
		child_fail_plain(c, ELOOP, "%s in the root is a symbolic link", path);
	if (fd < 0 && errno == ENOTDIR)
		child_fail_plain(c, ENOTDIR, "%s in the root is not a directory", path);
	if (fd < 0)
		child_fail(c, errno, "open %s in the root", path);
	return fd;
}

static bool
is_procfs(struct launch_ctx *c, int fd, const char *what)
{
	struct statfs sfs;

	if (fstatfs(fd, &sfs) < 0)
		child_fail(c, errno, "statfs %s", what);
	return sfs.f_type == PROC_SUPER_MAGIC;
}

/* Something laid over /proc can feign what later is written there (CVE-2019-16884): only files
 * that programs read, and procfs itself. */
static void
check_over_proc(struct launch_ctx *c, int source, int target, const char *path)
{
	static const char *const fine[] = {"/cpuinfo", "/diskstats", "/loadavg", "/meminfo",
	    "/slabinfo", "/stat", "/swaps", "/uptime", "/sys/kernel/ns_last_pid",
	    "/sys/crypto/fips_enabled"};
	char real[PATH_MAX];
	size_t n;

	if (is_procfs(c, source, path))
		return;
	if (strcmp(path, "/proc") == 0)
		child_fail_plain(c, EPERM, "only a procfs may be mounted on /proc");
	if (!is_procfs(c, target, path))
		return;
	if (!child_path_of(c, target, real, sizeof(real)))
		child_fail(c, errno, "find out what %s is", path);
	n = strlen(real);
	for (size_t i = 0; i < ARRAY_SIZE(fine); i++) {
		size_t tail = strlen(fine[i]) + strlen("/proc");

		if (n >= tail && strncmp(real + n - tail, "/proc", 5) == 0 &&
		    strcmp(real + n - tail + 5, fine[i]) == 0)
			return;
	}
	child_fail_plain(c, EPERM, "%s is inside /proc, where nothing may be mounted", path);
}

/* Only a path inside of a mount that came detached. It has to be attached to be cloned, so it takes
 * a turn on the target itself. */
static int
part_of_detached(struct launch_ctx *c, const Coracle__Launch__Mount *m, int whole)
{
	int target = child_make_path(c, m->target, true), sub, tree;

	child_move_onto(c, whole, target, m->target);
	sub = child_openat2(whole, m->sub_path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	if (sub < 0)
		child_fail(c, errno, "open %s in the source of %s", m->sub_path, m->target);
	tree = clone_tree(c, sub, false, m->sub_path);
	close(sub);
	if (fchdir(whole) < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		child_fail(c, errno, "take the whole of the source off %s", m->target);
	close(target);
	return tree;
}

static void
mount_source(struct launch_ctx *c, const Coracle__Launch__Mount *m, int source)
{
	bool part = m->kind == CORACLE__LAUNCH__MOUNT__KIND__DETACHED && child_has(m->sub_path);
	struct stat st, there;
	int target;

	if (part)
		source = part_of_detached(c, m, source);
	if (fstat(source, &st) < 0)
		child_fail(c, errno, "stat the source of %s", m->target);
	target = child_make_path(c, m->target, S_ISDIR(st.st_mode));
	if (fstat(target, &there) < 0)
		child_fail(c, errno, "stat %s", m->target);
	if (S_ISDIR(st.st_mode) != S_ISDIR(there.st_mode))
		child_fail_plain(c, ENOTDIR,
		    "%s is %s directory, and what is to be mounted on it is %s", m->target,
		    S_ISDIR(there.st_mode) ? "a" : "no", S_ISDIR(st.st_mode) ? "one" : "none");
	check_over_proc(c, source, target, m->target);
	child_move_onto(c, source, target, m->target);
	close(target);
	close(source);
}

void
child_mounts(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;

	c->step = "mount";
	for (size_t i = 0; i < plan->n_mounts; i++) {
		const Coracle__Launch__Mount *m = plan->mounts[i];
		int fd, target;

		if (m->kind != CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM) {
			if (c->mount_fds[i] >= 0)
				mount_source(c, m, c->mount_fds[i]);
			continue;
		}
		target = open_real_directory(c, m->target);
		fd = make_filesystem(c, m);
		if (fd >= 0) {
			child_move_onto(c, fd, target, m->target);
			if (strcmp(m->fs_type, "devpts") == 0)
				c->devpts_fd = fd;
			else
				close(fd);
		}
		close(target);
	}
	c->step = "directories";
	for (size_t i = 0; i < plan->n_directories; i++)
		close(child_make_path(c, plan->directories[i], true));
}
