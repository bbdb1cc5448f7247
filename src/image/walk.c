/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding directories inside a tree: see walk.h.
 */
#include "image/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"

enum { MAX_LINKS = 40 };

static const int dir_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

void
walk_init(struct walk *w, int root)
{
	struct stat st;

	*w = (struct walk){.root = root, .dir = -1, .inodes = 1};
	if (fstat(root, &st) == 0)
		w->bytes = (uint64_t)st.st_blocks * 512;
	if (pathset_add(&w->implicit, "") < 0)
		abort(); /* the set is empty */
}

void
walk_release(struct walk *w)
{
	fd_closep(&w->dir);
	free(w->path);
	free(w->asked);
	pathset_release(&w->implicit);
	pathset_release(&w->opaque);
}

bool
walk_is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

char *
walk_name(const struct walk *w, const char *name)
{
	return *w->path == '\0' ? xstrdup(name) : xasprintf("%s/%s", w->path, name);
}

/* A path in the making: where it has come to, and what is left to go. */
struct route {
	int fd;
	struct buf at;    /* from the root, free of links */
	struct buf to_go; /* components, with links' targets in front */
	int links;
};

static void
route_release(struct route *r)
{
	fd_closep(&r->fd);
	buf_release(&r->at);
	buf_release(&r->to_go);
}

static int
reopen(struct walk *w, struct route *r, struct err *err)
{
	fd_closep(&r->fd);
	r->fd = r->at.len == 0 ? openat(w->root, ".", dir_flags)
	                       : fd_openat2(w->root, r->at.data, O_RDONLY | O_DIRECTORY, 0,
	                             RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	return r->fd < 0 ? err_errno(err, "open %s", r->at.len > 0 ? r->at.data : "/") : 0;
}

static int
go_up(struct walk *w, struct route *r, struct err *err)
{
	while (r->at.len > 0 && r->at.data[r->at.len - 1] != '/')
		buf_truncate(&r->at, r->at.len - 1);
	if (r->at.len > 0)
		buf_truncate(&r->at, r->at.len - 1);
	return reopen(w, r, err);
}

static void
append(struct route *r, const char *name)
{
	if (r->at.len > 0)
		buf_addch(&r->at, '/');
	buf_addstr(&r->at, name);
}

/* Make a directory that no entry made (yet). */
static int
make_implicit(struct walk *w, struct route *r, const char *name, bool opaque, struct err *err)
{
	const struct timespec times[2] = {w->mtime, w->mtime};
	struct timespec was[2];
	struct stat up, st;

	if (fstat(r->fd, &up) < 0)
		return err_errno(err, "stat %s", r->at.data);
	was[0] = up.st_atim;
	was[1] = up.st_mtim;
	w->bytes -= (uint64_t)up.st_blocks * 512;
	if (mkdirat(r->fd, name, 0755) < 0)
		return err_errno(err, "mkdir %s", name);
	if (fstatat(r->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (st.st_gid != 0 && fchownat(r->fd, name, 0, 0, AT_SYMLINK_NOFOLLOW) < 0) ||
	    ((st.st_mode & 07777) != 0755 && fchmodat(r->fd, name, 0755, 0) < 0) ||
	    utimensat(r->fd, name, times, AT_SYMLINK_NOFOLLOW) < 0 || futimens(r->fd, was) < 0 ||
	    fstat(r->fd, &up) < 0)
		return err_errno(err, "set up %s", name);
	w->inodes++;
	w->bytes += (uint64_t)(up.st_blocks + st.st_blocks) * 512;
	append(r, name);
	/* Where a whiteout stood, nothing of the layers below is seen: the attributes are settled.
	 */
	if ((opaque ? pathset_add(&w->opaque, r->at.data) : pathset_add(&w->implicit, r->at.data)) <
	    0)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
		    "too many directories without an entry of their own");
	return 0;
}

/* A component that is no directory: a link to follow, a whiteout to replace, or an error. */
static int
turn(struct walk *w, struct route *r, const char *name, bool make, struct err *err)
{
	char target[PATH_MAX];
	struct buf rest = BUF_INIT;
	ssize_t n = readlinkat(r->fd, name, target, sizeof(target));
	struct stat st;

	if (n < 0 && make && fstatat(r->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    walk_is_whiteout(&st)) {
		if (unlinkat(r->fd, name, 0) < 0)
			return err_errno(err, "remove %s", name);
		w->inodes--;
		return make_implicit(w, r, name, true, err);
	}
	if (n < 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s%s%s is not a directory",
		    r->at.len > 0 ? r->at.data : "", r->at.len > 0 ? "/" : "", name);
	if (++r->links > MAX_LINKS)
		return err_set(err, ERR_INVALID_ARGUMENT, "too many symbolic links at %s", name);
	if (n == 0 || (size_t)n + r->to_go.len >= 2 * (size_t)PATH_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "bad symbolic link at %s", name);
	buf_add(&rest, target, (size_t)n);
	buf_addch(&rest, '/');
	buf_add(&rest, r->to_go.data, r->to_go.len);
	buf_release(&r->to_go);
	r->to_go = rest;
	if (target[0] != '/')
		return 0;
	buf_truncate(&r->at, 0);
	return reopen(w, r, err);
}

static int
step(struct walk *w, struct route *r, const char *name, bool make, struct err *err)
{
	int sub;

	if (strcmp(name, ".") == 0)
		return 0;
	if (strcmp(name, "..") == 0)
		return go_up(w, r, err);
	if (r->at.len + strlen(name) + 1 >= PATH_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "path too long at %.64s", name);
	sub = openat(r->fd, name, dir_flags);
	if (sub < 0 && errno == ENOENT) {
		if (!make)
			return err_set(err, ERR_NOT_FOUND, "no %s", name);
		if (make_implicit(w, r, name, false, err) < 0)
			return -1;
		return reopen(w, r, err);
	}
	if (sub < 0 && (errno == ENOTDIR || errno == ELOOP)) {
		size_t len = r->at.len;

		if (turn(w, r, name, make, err) < 0)
			return -1;
		return r->at.len > len ? reopen(w, r, err) : 0; /* made where a whiteout was */
	}
	if (sub < 0)
		return err_errno(err, "open %s", name);
	close(r->fd);
	r->fd = sub;
	append(r, name);
	return 0;
}

static int
travel(struct walk *w, struct route *r, const char *path, bool make, struct err *err)
{
	buf_addstr(&r->at, "");
	buf_addstr(&r->to_go, path);
	if (reopen(w, r, err) < 0)
		return -1;
	while (r->to_go.len > 0) {
		size_t len = strcspn(r->to_go.data, "/");
		cleanup_free char *name = xstrndup(r->to_go.data, len);

		buf_consume(&r->to_go, MIN(len + 1, r->to_go.len));
		if (*name != '\0' && step(w, r, name, make, err) < 0)
			return -1;
	}
	return 0;
}

int
walk_find(struct walk *w, const char *parent, struct err *err)
{
	struct route r = {.fd = -1};
	int fd = -1;

	if (*parent != '\0') {
		fd = fd_openat2(w->root, parent, O_RDONLY | O_DIRECTORY, 0,
		    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
		if (fd >= 0)
			return fd;
	}
	if (travel(w, &r, parent, false, err) == 0)
		fd = take_fd(r.fd);
	route_release(&r);
	return fd;
}

int
walk_leave(struct walk *w, struct err *err)
{
	struct stat st;
	int ret = 0;

	if (w->dir < 0)
		return 0;
	if (futimens(w->dir, w->times) < 0 || fstat(w->dir, &st) < 0)
		ret = err_errno(err, "set the times of %s", *w->path != '\0' ? w->path : "/");
	else
		w->bytes += (uint64_t)st.st_blocks * 512 - w->dir_bytes;
	fd_closep(&w->dir);
	free(take_ptr(w->path));
	free(take_ptr(w->asked));
	return ret;
}

int
walk_enter(struct walk *w, const char *parent, struct err *err)
{
	struct route r = {.fd = -1};
	struct stat st;

	if (w->dir >= 0 && strcmp(w->asked, parent) == 0)
		return 0;
	if (walk_leave(w, err) < 0)
		return -1;
	if (*parent != '\0')
		r.fd = fd_openat2(w->root, parent, O_RDONLY | O_DIRECTORY, 0,
		    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	if (r.fd >= 0)
		buf_addstr(&r.at, parent);
	else if (travel(w, &r, parent, true, err) < 0) {
		route_release(&r);
		return -1;
	}
	if (fstat(r.fd, &st) < 0) {
		err_errno(err, "stat %s", parent);
		route_release(&r);
		return -1;
	}
	w->dir = take_fd(r.fd);
	w->path = buf_detach(&r.at);
	w->asked = xstrdup(parent);
	w->setgid = (st.st_mode & S_ISGID) != 0;
	w->times[0] = st.st_atim;
	w->times[1] = st.st_mtim;
	w->dir_bytes = (uint64_t)st.st_blocks * 512;
	route_release(&r);
	return 0;
}

/* Empty the directory fd, with one fd and a list of names for any depth. Consumes fd. */
static int
remove_below_take(struct walk *w, int fd, struct err *err)
{
	struct buf names = BUF_INIT; /* of the directories entered, each with a NUL in front */
	int ret = 0;

	for (;;) {
		DIR *dir = fdopendir(fd);
		struct dirent *ent = NULL;
		struct stat st;
		int sub = -1;

		if (dir == NULL) {
			close(fd);
			ret = err_errno(err, "open a directory");
			break;
		}
		while (sub < 0 && (ent = readdir(dir)) != NULL) {
			if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
				continue;
			if (fstatat(fd, ent->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
				break;
			if (S_ISDIR(st.st_mode)) {
				sub = openat(fd, ent->d_name, dir_flags);
				if (sub < 0)
					break;
				buf_add(&names, "", 1);
				buf_addstr(&names, ent->d_name);
				continue;
			}
			if (unlinkat(fd, ent->d_name, 0) < 0)
				break;
			if (st.st_nlink == 1) {
				w->inodes--;
				w->bytes -= (uint64_t)st.st_blocks * 512;
			}
		}
		if (ent != NULL && sub < 0) {
			ret = err_errno(err, "remove %s", ent->d_name);
			closedir(dir);
			break;
		}
		if (sub < 0 && names.len > 0) { /* empty: out, and away with it */
			const char *name;

			sub = openat(fd, "..", dir_flags);
			if (fstat(fd, &st) == 0)
				w->bytes -= (uint64_t)st.st_blocks * 512;
			w->inodes--;
			name = names.data + names.len;
			while (name[-1] != '\0')
				name--;
			if (sub < 0 || unlinkat(sub, name, AT_REMOVEDIR) < 0) {
				ret = err_errno(err, "remove %s", name);
				fd_closep(&sub);
				closedir(dir);
				break;
			}
			buf_truncate(&names, (size_t)(name - names.data) - 1);
		}
		closedir(dir);
		if (sub < 0)
			break;
		fd = sub;
	}
	buf_release(&names);
	return ret;
}

int
walk_remove(struct walk *w, const char *name, struct err *err)
{
	cleanup_free char *path = walk_name(w, name);
	struct stat st;
	int fd;

	if (fstatat(w->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_errno(err, "stat %s", path);
	if (S_ISDIR(st.st_mode)) {
		fd = openat(w->dir, name, dir_flags);
		if (fd < 0)
			return err_errno(err, "open %s", path);
		if (remove_below_take(w, fd, err) < 0)
			return err_wrap(err, "replace %s", path);
		if (fstatat(w->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_errno(err, "stat %s", path);
		pathset_remove_below(&w->implicit, path);
		pathset_remove_below(&w->opaque, path);
	}
	if (unlinkat(w->dir, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0)
		return err_errno(err, "replace %s", path);
	if (S_ISDIR(st.st_mode) || st.st_nlink == 1) {
		w->inodes--;
		w->bytes -= (uint64_t)st.st_blocks * 512;
	}
	return 0;
}
