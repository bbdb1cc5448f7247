/* SPDX-License-Identifier: Apache-2.0
 *
 * Device nodes and links, the terminal, and what is masked or read-only in a container.
 */
#include "exec/keeper/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

/* ---- devices and links --------------------------------------------------------------------- */

static void
bind_device(struct launch_ctx *c, const Coracle__Launch__Device *d, int source)
{
	int target = child_make_path(c, d->path, false);

	child_move_onto(c, source, target, d->path);
	close(target);
	close(source);
}

static void
make_device(struct launch_ctx *c, const Coracle__Launch__Device *d)
{
	const char *base;
	int dir = child_make_parent(c, d->path, &base);
	struct stat st;

	if (mknodat(dir, base, (mode_t)d->mode, makedev(d->major, d->minor)) == 0) {
		if (fchownat(dir, base, d->uid, d->gid, AT_SYMLINK_NOFOLLOW) < 0)
			child_fail(c, errno, "chown the device %s", d->path);
	} else if (errno != EEXIST) {
		child_fail(c, errno, "make the device %s", d->path);
	} else if (fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	           ((st.st_mode ^ d->mode) & S_IFMT) != 0 ||
	           st.st_rdev != makedev(d->major, d->minor)) {
		child_fail_plain(c, EEXIST, "%s exists and is not the device %c %u:%u", d->path,
		    S_ISBLK(d->mode) ? 'b' : 'c', d->major, d->minor);
	}
	close(dir);
}

void
child_devices(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;

	c->step = "devices";
	for (size_t i = 0; i < plan->n_devices; i++) {
		if (c->device_fds[i] >= 0)
			bind_device(c, plan->devices[i], c->device_fds[i]);
		else
			make_device(c, plan->devices[i]);
	}
	c->step = "links";
	for (size_t i = 0; i < plan->n_symlinks; i++) {
		const Coracle__Launch__Symlink *l = plan->symlinks[i];
		const char *base;
		int dir = child_make_parent(c, l->path, &base);

		if (symlinkat(l->target, dir, base) < 0 && errno != EEXIST)
			child_fail(c, errno, "make the link %s", l->path);
		close(dir);
	}
}

/* ---- terminal ------------------------------------------------------------------------------ */

/* The multiplexer of the container's own devpts, and surely that: an image could have put anything
 * at its path. */
static int
open_ptmx(struct launch_ctx *c)
{
	int fd;
	struct statfs sfs;
	struct stat st;

	if (c->devpts_fd >= 0)
		fd = child_openat2(c->devpts_fd, "ptmx", O_RDWR | O_NOCTTY,
		    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
	else if (c->root_fd >= 0)
		fd = child_openat2(c->root_fd, "dev/pts/ptmx", O_RDWR | O_NOCTTY,
		    RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
	else
		fd = child_openat2(
		    AT_FDCWD, "/dev/pts/ptmx", O_RDWR | O_NOCTTY, RESOLVE_NO_SYMLINKS);
	if (fd < 0)
		child_fail(c, errno, "open /dev/pts/ptmx");
	if (fstat(fd, &st) < 0 || fstatfs(fd, &sfs) < 0)
		child_fail(c, errno, "stat /dev/pts/ptmx");
	if (sfs.f_type != DEVPTS_SUPER_MAGIC || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2))
		child_fail_plain(c, ENODEV, "/dev/pts/ptmx is not a terminal multiplexer");
	return fd;
}

/* /dev/console is the terminal itself by its descriptor, not what /dev/pts/N names by then
 * (CVE-2025-52565). */
static void
bind_console(struct launch_ctx *c)
{
	int tree = open_tree(c->tty_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	int dev, target;

	if (tree < 0)
		child_fail(c, errno, "clone the mount of the terminal");
	dev = child_open_in_root(c, "/dev", O_PATH | O_DIRECTORY);
	if (dev < 0)
		child_fail(c, errno, "open /dev in the root");
	target = openat(dev, "console", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (target < 0 && errno != EEXIST)
		child_fail(c, errno, "make /dev/console");
	if (target >= 0)
		close(target);
	target = openat(dev, "console", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (target < 0)
		child_fail(c, errno, "open /dev/console");
	child_move_onto(c, tree, target, "/dev/console");
	close(target);
	close(dev);
	close(tree);
}

void
child_terminal(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;
	struct winsize size = {
	    .ws_col = (unsigned short)plan->tty_width, .ws_row = (unsigned short)plan->tty_height};
	int master, unlock = 0;

	if (!plan->tty)
		return;
	c->step = "terminal";
	master = open_ptmx(c);
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		child_fail(c, errno, "unlock the terminal");
	c->tty_fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (c->tty_fd < 0)
		child_fail(c, errno, "open the terminal");
	if (size.ws_col != 0 && size.ws_row != 0 && ioctl(master, TIOCSWINSZ, &size) < 0)
		child_fail(c, errno, "set the size of the terminal");
	if (fchown(c->tty_fd, plan->uid, (gid_t)-1) < 0 && errno != EINVAL && errno != EPERM)
		child_fail(c, errno, "chown the terminal");
	if (plan->kind == CORACLE__LAUNCH__PLAN__KIND__CONTAINER)
		bind_console(c);
	child_send_fd(c, LAUNCH_MSG_TTY, 0, master);
	close(master);
}

/* ---- masked and read-only paths ------------------------------------------------------------ */

/* What hides files: the host's null device, which an image has no say in (CVE-2025-31133). */
static int
open_host_null(struct launch_ctx *c)
{
	int fd = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		child_fail(c, errno, "open the host's /dev/null");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		child_fail_plain(c, ENODEV, "the host's /dev/null is not the null device");
	return fd;
}

static int
clone_read_only(struct launch_ctx *c, int fd, unsigned recursive, const char *what)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	int tree =
	    open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | recursive);

	if (tree < 0)
		child_fail(c, errno, "clone the mount of %s", what);
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		child_fail(c, errno, "make %s read-only", what);
	return tree;
}

/* One empty file system is enough for all masked directories. */
static int
make_empty_directory(struct launch_ctx *c)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), fd;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", "masked", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "1", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0555", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		child_fail(c, errno, "make an empty directory for masks");
	fd = fsmount(fs, FSMOUNT_CLOEXEC,
	    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (fd < 0)
		child_fail(c, errno, "mount an empty directory for masks");
	close(fs);
	return fd;
}

static void
mask(struct launch_ctx *c, const char *path, int *null_fd, int *empty_fd)
{
	int target = child_open_in_root(c, path, O_PATH), tree;
	struct stat st;

	if (target < 0 && (errno == ENOENT || errno == ENOTDIR))
		return;
	if (target < 0 || fstat(target, &st) < 0)
		child_fail(c, errno, "open %s", path);
	if (!S_ISDIR(st.st_mode)) {
		if (*null_fd < 0)
			*null_fd = open_host_null(c);
		tree = clone_read_only(c, *null_fd, 0, "/dev/null");
		child_move_onto(c, tree, target, path);
		close(tree);
	} else if (*empty_fd < 0) {
		*empty_fd = make_empty_directory(c);
		child_move_onto(c, *empty_fd, target, path);
	} else {
		tree = clone_read_only(c, *empty_fd, 0, path);
		child_move_onto(c, tree, target, path);
		close(tree);
	}
	close(target);
}

void
child_masks(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;
	int null_fd = -1, empty_fd = -1;

	c->step = "readonly paths";
	for (size_t i = 0; i < plan->n_readonly_paths; i++) {
		const char *path = plan->readonly_paths[i];
		int target = child_open_in_root(c, path, O_PATH), tree;

		if (target < 0 && (errno == ENOENT || errno == ENOTDIR))
			continue;
		if (target < 0)
			child_fail(c, errno, "open %s", path);
		tree = clone_read_only(c, target, AT_RECURSIVE, path);
		child_move_onto(c, tree, target, path);
		close(tree);
		close(target);
	}
	c->step = "masked paths";
	for (size_t i = 0; i < plan->n_masked_paths; i++)
		mask(c, plan->masked_paths[i], &null_fd, &empty_fd);
	if (null_fd >= 0)
		close(null_fd);
	if (empty_fd >= 0)
		close(empty_fd);
}
