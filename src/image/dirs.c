/* SPDX-License-Identifier: Apache-2.0
 *
 * Implicit directories of an image: see dirs.h. settle() finds what one path should look like by
 * going down the layers; the paths that must change, with all their parents, are then made.
 */
#include "image/dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/pathset.h"

/* What a merged directory looks like. */
struct look {
	bool there;   /* it is a directory in the image */
	bool wrong;   /* its uppermost layer has it for want of an entry, and looks different */
	int64_t top;  /* that layer */
	int64_t from; /* the layer whose entry it has; -1: none, the defaults are right */
	struct stat st;
};

struct dirs {
	const struct dirs_job *job;
	struct pathset *implicit; /* one per layer */
	struct pathset wanted;    /* to be made */
	struct dirs_result result;
};

static int
open_in(const struct dirs *d, size_t layer, const char *path, int flags)
{
	cleanup_free char *name =
	    *path == '\0' ? xasprintf("%" PRId64, d->job->layers[layer].num)
	                  : xasprintf("%" PRId64 "/%s", d->job->layers[layer].num, path);

	return fd_openat2(d->job->layers_fd, name, flags, 0,
	    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
}

static bool
is_opaque(int fd)
{
	char c = 0;

	return fgetxattr(fd, "trusted.overlay.opaque", &c, 1) == 1 && c == 'y';
}

/* Does this layer hide the path in the layers below: by a parent that is no directory, or an opaque
 * one? */
static bool
hides(const struct dirs *d, size_t layer, const char *path)
{
	cleanup_free char *parent = xstrdup(path);

	while (*parent != '\0') {
		char *slash = strrchr(parent, '/');
		cleanup_close int fd = -1;

		*(slash != NULL ? slash : parent) = '\0';
		fd = open_in(d, layer, parent, O_RDONLY | O_DIRECTORY);
		if (fd >= 0 ? is_opaque(fd) : errno != ENOENT)
			return true;
	}
	return false;
}

static bool
same_look(const struct stat *a, const struct stat *b, bool root)
{
	return a->st_mode == b->st_mode && a->st_uid == b->st_uid && a->st_gid == b->st_gid &&
	       /* Hardly a layer has an entry for the root; a time is no reason for one more. */
	       (root || (a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	                    a->st_mtim.tv_nsec == b->st_mtim.tv_nsec));
}

/* What extract lets through; overlayfs's own attributes belong to the layer. */
static bool
is_kept(const char *xattr)
{
	return str_starts(xattr, "user.") || strcmp(xattr, "security.capability") == 0;
}

static bool
has_xattrs(int fd)
{
	char names[4096];
	ssize_t len = flistxattr(fd, names, sizeof(names));

	for (const char *p = names; len > 0 && p < names + len; p += strlen(p) + 1)
		if (is_kept(p))
			return true;
	return false;
}

static struct look
settle(const struct dirs *d, const char *path)
{
	struct look look = {.from = -1, .top = -1};
	struct stat st;

	for (size_t i = d->job->n; i-- > 0;) {
		cleanup_close int fd = open_in(d, i, path, O_RDONLY | O_DIRECTORY);

		if (fd < 0 && errno != ENOENT)
			break; /* no directory, or a parent that is none */
		if (fd >= 0) {
			if (fstat(fd, &st) < 0)
				break;
			if (!look.there) {
				look.there = true;
				look.top = (int64_t)i;
				look.st = st;
			}
			if (!pathset_has(&d->implicit[i], path)) {
				look.from = (int64_t)i;
				look.wrong =
				    look.top != look.from &&
				    (!same_look(&look.st, &st, *path == '\0') || has_xattrs(fd));
				look.st = st;
				break;
			}
		}
		if (hides(d, i, path))
			break;
	}
	return look;
}

static int
want(struct dirs *d, const char *path, struct err *err)
{
	cleanup_free char *p = xstrdup(path);

	for (;;) {
		char *slash = strrchr(p, '/');

		if (pathset_add(&d->wanted, p) < 0)
			return err_set(err, ERR_RESOURCE_EXHAUSTED, "too many directories");
		if (*p == '\0')
			return 0;
		*(slash != NULL ? slash : p) = '\0';
	}
}

static int
copy_xattrs(int from, int to, struct err *err)
{
	char names[4096], value[4096];
	ssize_t len = flistxattr(from, names, sizeof(names));

	for (char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
		ssize_t n;

		if (!is_kept(name))
			continue;
		n = fgetxattr(from, name, value, sizeof(value));
		if (n >= 0 && fsetxattr(to, name, value, (size_t)n, 0) < 0)
			return err_errno(err, "set %s", name);
	}
	return 0;
}

static int
make(struct dirs *d, const char *path, struct err *err)
{
	struct look look = settle(d, path);
	cleanup_close int fd = -1, from = -1;

	if (!look.there)
		return err_set(err, ERR_INTERNAL, "%s went away", path);
	if (*path != '\0' && mkdirat(d->job->dir, path, 0755) < 0)
		return err_errno(err, "mkdir %s", path);
	fd = *path == '\0' ? openat(d->job->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
	                   : openat(d->job->dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	from = open_in(
	    d, (size_t)(look.from >= 0 ? look.from : look.top), path, O_RDONLY | O_DIRECTORY);
	if (fd < 0 || from < 0)
		return err_errno(err, "open %s", path);
	if (fchown(fd, look.st.st_uid, look.st.st_gid) < 0 ||
	    fchmod(fd, look.st.st_mode & 07777) < 0)
		return err_errno(err, "set up %s", path);
	return copy_xattrs(from, fd, err);
}

static int
finish_one(struct dirs *d, const char *path, struct err *err)
{
	struct look look = settle(d, path);
	struct timespec times[2] = {look.st.st_atim, look.st.st_mtim};
	struct stat st;
	const char *p = *path == '\0' ? "." : path;

	if (utimensat(d->job->dir, p, times, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fstatat(d->job->dir, p, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(err, "set the times of %s", path);
	d->result.bytes += (uint64_t)st.st_blocks * 512;
	d->result.inodes++;
	d->result.n_dirs++;
	return 0;
}

/* Parents sort before what is in them, so they are made in order and finished in reverse. */
static int
make_all(struct dirs *d, struct err *err)
{
	cleanup_buf struct buf paths = BUF_INIT;
	const char *p;

	umask(0);
	pathset_dump(&d->wanted, &paths);
	for (p = paths.data; p < paths.data + paths.len; p += strlen(p) + 1)
		if (make(d, p, err) < 0)
			return -1;
	while (paths.len > 0) {
		buf_truncate(&paths, paths.len - 1);
		p = memrchr(paths.data, '\0', paths.len);
		p = p != NULL ? p + 1 : paths.data;
		if (finish_one(d, p, err) < 0)
			return -1;
		buf_truncate(&paths, (size_t)(p - paths.data));
	}
	if (syncfs(d->job->dir) < 0)
		return err_errno(err, "syncfs");
	return 0;
}

static int
run(struct dirs *d, struct err *err)
{
	const struct dirs_job *job = d->job;
	size_t bytes = 0;

	for (size_t i = 0; i < job->n; i++) {
		const struct buf *b = &job->layers[i].implicit;

		bytes += b->len;
		if (bytes > DIRS_IMPLICIT_MAX)
			return err_set(err, ERR_RESOURCE_EXHAUSTED,
			    "too many directories without an entry of their own");
		for (const char *p = b->data; b->len > 0 && p < b->data + b->len;
		     p += strlen(p) + 1)
			if (pathset_add(&d->implicit[i], p) < 0)
				return err_set(err, ERR_INTERNAL, "implicit directories overflow");
	}
	for (size_t i = 0; i < job->n; i++) {
		const struct buf *b = &job->layers[i].implicit;

		for (const char *p = b->data; b->len > 0 && p < b->data + b->len;
		     p += strlen(p) + 1) {
			struct look look;

			if (pathset_has(&d->wanted, p))
				continue;
			look = settle(d, p);
			if (look.there && look.wrong && want(d, p, err) < 0)
				return -1;
		}
	}
	return d->wanted.n > 0 ? make_all(d, err) : 0;
}

int
dirs_worker(const void *arg, int out, struct err *err)
{
	struct dirs d = {.job = arg};
	int ret;

	d.implicit = xcalloc(d.job->n, sizeof(*d.implicit));
	ret = run(&d, err);
	if (ret == 0 && fd_write_all(out, &d.result, sizeof(d.result)) < 0)
		ret = err_errno(err, "report the result");
	for (size_t i = 0; i < d.job->n; i++)
		pathset_release(&d.implicit[i]);
	free(d.implicit);
	pathset_release(&d.wanted);
	return ret;
}
