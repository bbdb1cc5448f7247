/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices of a container: the default nodes and links, what the request names on the host, all of
 * the host's for a privileged one; and the rules of the device cgroup that go with them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/macros.h"
#include "base/str.h"
#include "pod/spec_impl.h"

enum { MAX_DEVICES = 4096, MAX_DEPTH = 8 };

static const struct {
	const char *path;
	unsigned major, minor;
} default_nodes[] = {
    {"/dev/null",    1, 3},
    {"/dev/zero",    1, 5},
    {"/dev/full",    1, 7},
    {"/dev/random",  1, 8},
    {"/dev/urandom", 1, 9},
    {"/dev/tty",     5, 0},
};

static const struct {
	const char *path, *target;
} default_links[] = {
    {"/dev/fd",     "/proc/self/fd"  },
    {"/dev/stdin",  "/proc/self/fd/0"},
    {"/dev/stdout", "/proc/self/fd/1"},
    {"/dev/stderr", "/proc/self/fd/2"},
    {"/dev/ptmx",   "pts/ptmx"       },
};

/* Of the host's /dev: what a container has of its own, or what is no device for it. */
static const char *const not_the_hosts[] = {
    "pts", "shm", "fd", "mqueue", "console", "ptmx", "tty", "lxc", ".lxc", ".lxd-mounts", ".udev"};

static void
allow(struct spec_builder *b, char type, int64_t major, int64_t minor, unsigned access)
{
	struct cgroup_device rule = {
	    .type = type, .major = major, .minor = minor, .access = access};

	SPEC_PUSH(b->a, b->out->devices, b->out->n_devices, rule);
}

/* A node of the container. In a user namespace none can be made, so the host's is bound. */
static void
add_node(struct spec_builder *b, const char *path, const char *host_path, uint32_t mode, dev_t dev,
    uint32_t uid, uint32_t gid)
{
	Coracle__Launch__Device *d = arena_new(b->a, Coracle__Launch__Device);

	coracle__launch__device__init(d);
	d->path = arena_strdup(b->a, path);
	d->mode = mode;
	d->major = major(dev);
	d->minor = minor(dev);
	d->uid = uid;
	d->gid = gid;
	if (b->userns)
		d->bind_source = arena_strdup(b->a, host_path);
	SPEC_PUSH(b->a, b->plan->devices, b->plan->n_devices, d);
}

static bool
has_node(const struct spec_builder *b, const char *path)
{
	for (size_t i = 0; i < b->plan->n_devices; i++)
		if (strcmp(b->plan->devices[i]->path, path) == 0)
			return true;
	return false;
}

static void
add_host_node(struct spec_builder *b, const char *path, const char *host_path,
    const struct stat *st, unsigned access)
{
	const struct user *u = b->in->user;
	bool own = b->in->defaults->device_ownership;

	if (!has_node(b, path))
		add_node(b, path, host_path, st->st_mode & (S_IFMT | 0777), st->st_rdev,
		    own ? u->uid : st->st_uid, own ? u->gid : st->st_gid);
	if (access != 0)
		allow(b, S_ISBLK(st->st_mode) ? 'b' : 'c', major(st->st_rdev), minor(st->st_rdev),
		    access);
}

/* ---- directories of devices ---------------------------------------------------------------- */

struct walk {
	struct spec_builder *b;
	unsigned access; /* 0: no rules */
	bool all;        /* the host's /dev for a privileged container */
};

static bool
is_not_the_hosts(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(not_the_hosts); i++)
		if (strcmp(name, not_the_hosts[i]) == 0)
			return true;
	return false;
}

static int add_directory(struct walk *w, int fd_taken, const char *path, const char *host_path,
    unsigned level, struct err *err);

static int
add_entry(struct walk *w, DIR *dir, const char *name, const char *path, const char *host_path,
    unsigned level, struct err *err)
{
	char *sub = arena_printf(w->b->a, "%s/%s", path, name);
	char *host_sub = arena_printf(w->b->a, "%s/%s", host_path, name);
	struct stat st;
	int fd;

	if (fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_errno(err, "devices: stat %s", host_sub);
	if (S_ISDIR(st.st_mode) && level < MAX_DEPTH) {
		fd = openat(dirfd(dir), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return errno == ENOENT ? 0 : err_errno(err, "devices: open %s", host_sub);
		return add_directory(w, fd, sub, host_sub, level + 1, err);
	}
	if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
		return 0;
	if (w->b->plan->n_devices >= MAX_DEVICES)
		return err_set(err, ERR_INVALID_ARGUMENT, "devices: more than %d below %s",
		    MAX_DEVICES, host_path);
	add_host_node(w->b, sub, host_sub, &st, w->access);
	return 0;
}

static int
add_directory(struct walk *w, int fd_taken, const char *path, const char *host_path, unsigned level,
    struct err *err)
{
	DIR *dir = fdopendir(fd_taken);
	struct dirent *ent;
	int ret = 0;

	if (dir == NULL) {
		err_errno(err, "devices: open %s", host_path);
		close(fd_taken);
		return -1;
	}
	while (ret == 0 && (ent = readdir(dir)) != NULL) {
		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0 ||
		    (w->all && level == 0 && is_not_the_hosts(ent->d_name)))
			continue;
		ret = add_entry(w, dir, ent->d_name, path, host_path, level, err);
	}
	closedir(dir);
	return ret;
}

/* ---- the request's ------------------------------------------------------------------------- */

/* "rwm" in any order; empty: all. -1 when it is something else. */
static int
parse_permissions(const char *s)
{
	unsigned access = 0;

	if (str_empty(s))
		return CGROUP_DEV_ALL;
	for (; *s != '\0'; s++) {
		if (*s == 'r')
			access |= CGROUP_DEV_READ;
		else if (*s == 'w')
			access |= CGROUP_DEV_WRITE;
		else if (*s == 'm')
			access |= CGROUP_DEV_MKNOD;
		else
			return -1;
	}
	return (int)access;
}

static int
add_cri_device(struct spec_builder *b, const Runtime__V1__Device *dev, size_t i, struct err *err)
{
	const char *inside = str_empty(dev->container_path) ? dev->host_path : dev->container_path;
	char *host = spec_clean_path(b->a, STR_OR_EMPTY(dev->host_path));
	char *path = spec_clean_path(b->a, STR_OR_EMPTY(inside)), real[PATH_MAX];
	int access = parse_permissions(dev->permissions), fd;
	struct stat st;

	if (host == NULL || path == NULL || strcmp(path, "/") == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "devices[%zu].%s: \"%.200s\" is not an absolute path", i,
		    host == NULL ? "host_path" : "container_path",
		    STR_OR_EMPTY(host == NULL ? dev->host_path : inside));
	if (access < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "devices[%zu].permissions: \"%.16s\" is not of r, w, m", i, dev->permissions);
	if (realpath(host, real) == NULL || stat(real, &st) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "devices[%zu].host_path: %.200s: %s", i,
		    host, strerror(errno));
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
		add_host_node(b, path, real, &st, (unsigned)access);
		return 0;
	}
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "devices[%zu].host_path: %.200s is neither a device nor a directory", i, host);
	fd = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, "devices[%zu].host_path: open %.200s", i, host);
	return add_directory(
	    &(struct walk){.b = b, .access = (unsigned)access}, fd, path, real, 0, err);
}

static int
add_all_of_host(struct spec_builder *b, struct err *err)
{
	int fd = open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, "devices: open /dev");
	return add_directory(&(struct walk){.b = b, .all = true}, fd, "/dev", "/dev", 0, err);
}

int
spec_add_devices(struct spec_builder *b, struct err *err)
{
	const Runtime__V1__ContainerConfig *config = b->in->config;
	bool all = b->privileged && !b->in->defaults->privileged_without_host_devices;

	if (all)
		allow(b, 'a', -1, -1, CGROUP_DEV_ALL);
	for (size_t i = 0; !all && i < cgroup_n_default_devices; i++)
		SPEC_PUSH(b->a, b->out->devices, b->out->n_devices, cgroup_default_devices[i]);
	/* what the request mounts on /dev has them, or is not to have them */
	for (size_t i = 0; !b->no_dev && i < ARRAY_SIZE(default_nodes); i++)
		add_node(b, default_nodes[i].path, default_nodes[i].path, S_IFCHR | 0666,
		    makedev(default_nodes[i].major, default_nodes[i].minor), 0, 0);
	for (size_t i = 0; !b->no_dev && i < ARRAY_SIZE(default_links); i++) {
		Coracle__Launch__Symlink *l = arena_new(b->a, Coracle__Launch__Symlink);

		coracle__launch__symlink__init(l);
		l->path = arena_strdup(b->a, default_links[i].path);
		l->target = arena_strdup(b->a, default_links[i].target);
		SPEC_PUSH(b->a, b->plan->symlinks, b->plan->n_symlinks, l);
	}
	if (!b->no_dev && all && add_all_of_host(b, err) < 0)
		return -1;
	for (size_t i = 0; i < config->n_devices; i++)
		if (add_cri_device(b, config->devices[i], i, err) < 0)
			return -1;
	return 0;
}
