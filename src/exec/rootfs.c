/* SPDX-License-Identifier: Apache-2.0
 *
 * Root file systems: see rootfs.h.
 *
 * The happy path is fsopen, one fsconfig per layer, fsmount. A string of fsconfig is limited to 256
 * bytes, so kernels without "lowerdir+" (before 6.8) cannot be given many layers that way, and
 *those before 6.15 take no layer from a detached mount, which an idmapped one is. For both, a
 *forked child makes the mount by mount(2) in a mount namespace of its own and sends a detached
 *clone of it.
 *
 * Options, and why:
 *	index=off         the index ties the upper layer to the identity of the lower ones; a store
 *	                  that was copied or restored would make the mount fail
 *	redirect_dir=nofollow  a redirect in a hostile layer could show any directory of another
 *layer metacopy=off      the same for files; and a copied-up file is whole userxattr is not used:
 *layers are unpacked with trusted.overlay.* by a privileged process.
 */
#include "exec/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"

bool rootfs_old_kernel;

static const struct {
	const char *key, *value;
} options[] = {
    {"index",        "off"     },
    {"redirect_dir", "nofollow"},
    {"metacopy",     "off"     },
};

enum { FSCONFIG_STRING_MAX = 255 };

/* ---- directories --------------------------------------------------------------------------- */

int
rootfs_create(const struct rootfs_spec *spec, uint32_t root_uid, uint32_t root_gid, struct err *err)
{
	cleanup_close int dir = -1, layers = -1;
	struct stat st;

	if (fd_mkdir_p(AT_FDCWD, spec->dir, 0711, err) < 0)
		return err_wrap(err, "make the directory of the container");
	dir = open(spec->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	layers = open(spec->layers_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || layers < 0)
		return err_errno(err, "open %s", dir < 0 ? spec->dir : spec->layers_dir);
	if (fstatat(layers, spec->lowers[0], &st, 0) < 0)
		return err_errno(err, "layer %s", spec->lowers[0]);
	if (mkdirat(dir, "work", 0700) < 0 && errno != EEXIST)
		return err_errno(err, "mkdir %s/work", spec->dir);
	if (mkdirat(dir, "upper", 0700) < 0) {
		if (errno == EEXIST)
			return 0;
		return err_errno(err, "mkdir %s/upper", spec->dir);
	}
	if (fchownat(dir, "upper", root_uid, root_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(dir, "upper", st.st_mode & 07777, 0) < 0) {
		err_errno(err, "set the owner of %s/upper", spec->dir);
		unlinkat(dir, "upper", AT_REMOVEDIR); /* or a repetition would take it as it is */
		return -1;
	}
	return 0;
}

int
rootfs_remove(const char *dir, struct err *err)
{
	return fd_remove_tree(AT_FDCWD, dir, err);
}

int
rootfs_split_lowers(char *names, const char **ret, size_t *ret_n, struct err *err)
{
	size_t n = 0;

	for (char *at = names; at != NULL && *at != '\0';) {
		char *colon = strchr(at, ':');

		if (n == ROOTFS_MAX_LOWERS)
			return err_set(err, ERR_FAILED_PRECONDITION,
			    "the image has more than %d layers", ROOTFS_MAX_LOWERS);
		ret[n++] = at;
		if (colon != NULL)
			*colon++ = '\0';
		at = colon;
	}
	*ret_n = n;
	return 0;
}

/* ---- mounts with mapped owners ------------------------------------------------------------- */

/* A detached view of a directory in which owners are those of the user namespace. */
static int
map_owners(const char *path, int userns_fd, struct err *err)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};
	cleanup_close int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0)
		return err_errno(err, "open the mount of %s", path);
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "the filesystem of %s cannot map owners for a user namespace: %s", path,
		    strerror(errno));
	return take_fd(fd);
}

static bool
kernel_at_least(unsigned major, unsigned minor)
{
	struct utsname u;
	unsigned a = 0, b = 0;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &a, &b) != 2)
		return false;
	return a > major || (a == major && b >= minor);
}

bool
rootfs_can_idmap(const char *layers_dir)
{
	int p[2];
	bool can = false;
	pid_t pid;

	if (!kernel_at_least(5, 19) || pipe2(p, O_CLOEXEC) < 0)
		return false;
	/* a user namespace to try with; it need not be mapped to anything in particular */
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		char c;

		close(p[1]);
		(void)!read(p[0], &c, 1);
		_exit(0);
	}
	if (pid > 0) {
		char path[64];
		struct err err;
		cleanup_close int map = -1, userns = -1, fd = -1;

		snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
		map = open(path, O_WRONLY | O_CLOEXEC);
		if (map >= 0 && write(map, "0 100000 1\n", 11) == 11) {
			fd_closep(&map);
			snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)pid);
			map = open(path, O_WRONLY | O_CLOEXEC);
			if (map >= 0 && write(map, "0 100000 1\n", 11) == 11) {
				snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
				userns = open(path, O_RDONLY | O_CLOEXEC);
			}
		}
		if (userns >= 0)
			fd = map_owners(layers_dir, userns, &err);
		can = fd >= 0;
	}
	close(p[0]);
	close(p[1]);
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	return can;
}

/* ---- the overlay by descriptors ------------------------------------------------------------ */

static int
set_string(int fs, const char *key, const char *value)
{
	return fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0);
}

static int
set_path(int fs, const char *key, const char *dir, const char *name)
{
	char path[FSCONFIG_STRING_MAX + 1];
	int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

	if (n < 0 || (size_t)n >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return set_string(fs, key, path);
}

static int
add_lowers(int fs, const struct rootfs_spec *spec, int mapped_layers)
{
	for (size_t i = 0; i < spec->n_lowers; i++) {
		cleanup_close int fd = -1;

		if (mapped_layers < 0) {
			if (set_path(fs, "lowerdir+", spec->layers_dir, spec->lowers[i]) < 0)
				return -1;
			continue;
		}
		fd = openat(
		    mapped_layers, spec->lowers[i], O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fsconfig(fs, FSCONFIG_SET_FD, "lowerdir+", NULL, fd) < 0)
			return -1;
	}
	return 0;
}

/* -1 with errno. EINVAL and such: this kernel wants it the other way. */
static int
mount_by_fsconfig(const struct rootfs_spec *spec, int mapped_layers)
{
	cleanup_close int fs = fsopen("overlay", FSOPEN_CLOEXEC);

	if (fs < 0 || set_string(fs, "source", "overlay") < 0 ||
	    add_lowers(fs, spec, mapped_layers) < 0)
		return -1;
	if (spec->dir != NULL && (set_path(fs, "upperdir", spec->dir, "upper") < 0 ||
	                             set_path(fs, "workdir", spec->dir, "work") < 0))
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (set_string(fs, options[i].key, options[i].value) < 0)
			return -1;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	return fsmount(fs, FSMOUNT_CLOEXEC, spec->dir == NULL ? MOUNT_ATTR_RDONLY : 0);
}

/* ---- the overlay by mount(2), in a child --------------------------------------------------- */

static void
send_result(int sock, int error, const char *what, int fd)
{
	struct {
		int error;
		char what[120];
	} m = {.error = error};
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {&m, sizeof(m)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	snprintf(m.what, sizeof(m.what), "%s", what);
	if (fd >= 0) {
		struct cmsghdr *h;

		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		h = CMSG_FIRSTHDR(&msg);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	}
	(void)!sendmsg(sock, &msg, MSG_NOSIGNAL);
}

/* The child: layers are named relative to their directory, which keeps hundreds of them in the one
 * page that mount(2) takes. The overlay goes on top of that directory, and its clone away with us.
 */
static _Noreturn void
mount_in_child(const struct rootfs_spec *spec, const char *data, int mapped_layers, int sock)
{
	unsigned long flags = spec->dir == NULL ? MS_RDONLY : 0;
	int fd;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		send_result(sock, errno, "make a mount namespace", -1);
	else if (mapped_layers >= 0 && move_mount(mapped_layers, "", AT_FDCWD, spec->layers_dir,
	                                   MOVE_MOUNT_F_EMPTY_PATH) < 0)
		send_result(sock, errno, "attach the mapped layers", -1);
	else if (chdir(spec->layers_dir) < 0)
		send_result(sock, errno, "chdir to the layers", -1);
	else if (mount("overlay", spec->layers_dir, "overlay", flags, data) < 0)
		send_result(sock, errno, "mount the overlay", -1);
	else if ((fd = open_tree(AT_FDCWD, spec->layers_dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)) <
	         0)
		send_result(sock, errno, "clone the overlay", -1);
	else
		send_result(sock, 0, "", fd);
	_exit(0);
}

static int
receive_result(int sock, struct err *err)
{
	struct {
		int error;
		char what[120];
	} m = {.error = EPIPE, .what = "the child that mounts ended"};
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {&m, sizeof(m)};
	struct msghdr msg = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control)};
	struct cmsghdr *h;
	int fd;
	ssize_t n;

	while ((n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
		;
	h = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (n == (ssize_t)sizeof(m) && m.error == 0 && h != NULL && h->cmsg_type == SCM_RIGHTS) {
		memcpy(&fd, CMSG_DATA(h), sizeof(fd));
		return fd;
	}
	m.what[sizeof(m.what) - 1] = '\0';
	errno = m.error;
	return err_errno(err, "%s", m.what);
}

static int
make_mount_data(const struct rootfs_spec *spec, struct buf *data, struct err *err)
{
	buf_addstr(data, "lowerdir=");
	for (size_t i = 0; i < spec->n_lowers; i++)
		buf_addf(data, "%s%s", i > 0 ? ":" : "", spec->lowers[i]);
	if (spec->dir != NULL) {
		if (strpbrk(spec->dir, ",:\\") != NULL)
			return err_set(err, ERR_FAILED_PRECONDITION,
			    "this kernel cannot mount on %s: one of , : \\ is in the path",
			    spec->dir);
		buf_addf(data, ",upperdir=%s/upper,workdir=%s/work", spec->dir, spec->dir);
	}
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		buf_addf(data, ",%s=%s", options[i].key, options[i].value);
	if (data->len >= 4096)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%zu layers are too many for this kernel", spec->n_lowers);
	return 0;
}

static int
mount_by_child(const struct rootfs_spec *spec, int mapped_layers, struct err *err)
{
	cleanup_buf struct buf data = BUF_INIT;
	int sock[2], fd;
	pid_t pid;

	if (make_mount_data(spec, &data, err) < 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0)
		return err_errno(err, "socketpair");
	pid = fork();
	if (pid == 0) {
		close(sock[0]);
		mount_in_child(spec, data.data, mapped_layers, sock[1]);
	}
	close(sock[1]);
	fd = pid < 0 ? err_errno(err, "fork") : receive_result(sock[0], err);
	close(sock[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return fd;
}

/* ---- the one entry ------------------------------------------------------------------------- */

/* overlayfs refuses a single layer without an upper one; there is nothing to merge then. */
static int
mount_single(const struct rootfs_spec *spec, struct err *err)
{
	struct mount_attr ro = {.attr_set = MOUNT_ATTR_RDONLY};
	char path[PATH_MAX];
	cleanup_close int fd = -1;

	if (snprintf(path, sizeof(path), "%s/%s", spec->layers_dir, spec->lowers[0]) >=
	    (int)sizeof(path))
		return err_set(err, ERR_INTERNAL, "path of the layers is too long");
	if (spec->idmap_userns_fd >= 0)
		fd = map_owners(path, spec->idmap_userns_fd, err);
	else if ((fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)) < 0)
		err_errno(err, "open the mount of %s", path);
	if (fd < 0)
		return -1;
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &ro, sizeof(ro)) < 0)
		return err_errno(err, "make %s read-only", path);
	return take_fd(fd);
}

int
rootfs_mount(const struct rootfs_spec *spec, struct err *err)
{
	cleanup_close int mapped = -1;
	int fd;

	if (spec->n_lowers == 0 || spec->n_lowers > ROOTFS_MAX_LOWERS)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "an image of %zu layers cannot be mounted", spec->n_lowers);
	if (spec->dir == NULL && spec->n_lowers == 1)
		return mount_single(spec, err);
	if (spec->idmap_userns_fd >= 0) {
		if (!kernel_at_least(5, 19))
			return err_set(err, ERR_FAILED_PRECONDITION,
			    "user namespaces need Linux 5.19: overlayfs cannot map owners before");
		mapped = map_owners(spec->layers_dir, spec->idmap_userns_fd, err);
		if (mapped < 0)
			return -1;
	}
	fd = rootfs_old_kernel ? -1 : mount_by_fsconfig(spec, mapped);
	if (fd >= 0)
		return fd;
	if (!rootfs_old_kernel && errno != EINVAL && errno != EBADF && errno != EOPNOTSUPP &&
	    errno != ENAMETOOLONG)
		return err_errno(err, "mount the root of %zu layers", spec->n_lowers);
	return mount_by_child(spec, mapped, err);
}
