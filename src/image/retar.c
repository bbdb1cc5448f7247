/* SPDX-License-Identifier: Apache-2.0
 *
 * A directory to a tar: see retar.h.
 */
#include "image/retar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/walk.h"

enum { COPY_SIZE = 256 << 10, XATTRS_MAX = 64 };

/* Files of several names: the first name each was written under. */
struct seen {
	ino_t ino;
	char *name;
};

struct retar {
	struct tarout *out;
	const struct pathset *implicit;
	int fd;            /* of the present directory */
	struct seen *seen; /* open addressing; name NULL: free */
	size_t cap, n;
	char *copy;
	struct buf xattrs; /* values, one after the other */
	struct tarout_xattr list[XATTRS_MAX];
	size_t n_list;
	struct buf names;
};

static struct seen *
slot(struct retar *r, ino_t ino)
{
	for (size_t i = (size_t)(ino * UINT64_C(0x9e3779b97f4a7c15) >> 20);; i++) {
		struct seen *s = &r->seen[i & (r->cap - 1)];

		if (s->name == NULL || s->ino == ino)
			return s;
	}
}

/* The name under which this inode was written before, or NULL, and from now on it is this one. */
static const char *
first_name(struct retar *r, ino_t ino, const char *name)
{
	struct seen *s;

	if ((r->n + 1) * 2 > r->cap) {
		struct seen *old = r->seen;
		size_t cap = r->cap;

		r->cap = cap == 0 ? 256 : cap * 2;
		r->seen = xcalloc(r->cap, sizeof(*r->seen));
		for (size_t i = 0; i < cap; i++)
			if (old[i].name != NULL)
				*slot(r, old[i].ino) = old[i];
		free(old);
	}
	s = slot(r, ino);
	if (s->name != NULL)
		return s->name;
	*s = (struct seen){ino, xstrdup(name)};
	r->n++;
	return NULL;
}

static int
compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int
compare_xattrs(const void *a, const void *b)
{
	return strcmp(
	    ((const struct tarout_xattr *)a)->name, ((const struct tarout_xattr *)b)->name);
}

/* The attributes worth keeping, in r->list. */
static int
read_xattrs(struct retar *r, int fd, const char *name, struct err *err)
{
	char names[16384];
	ssize_t len = flistxattr(fd, names, sizeof(names));

	r->n_list = 0;
	buf_truncate(&r->names, 0);
	buf_truncate(&r->xattrs, 0);
	if (len < 0 && errno != ENOTSUP)
		return err_errno(err, "list the attributes of %s", name);
	if (len <= 0)
		return 0;
	/* Reserved at once, so that pointers into them stay valid. */
	buf_add(&r->names, names, (size_t)len);
	buf_reserve(&r->xattrs, XATTRS_MAX * 4096);
	for (const char *p = r->names.data; p < r->names.data + r->names.len; p += strlen(p) + 1) {
		size_t room = XATTRS_MAX * 4096 - r->xattrs.len;
		ssize_t n;

		if (strcmp(p, "security.capability") != 0 &&
		    (!str_starts(p, "user.") || str_starts(p, "user.overlay.")))
			continue;
		n = r->n_list < XATTRS_MAX ? fgetxattr(fd, p, r->xattrs.data + r->xattrs.len, room)
		                           : -1;
		if (n < 0)
			return err_errno(err, "read the attribute %s of %s", p, name);
		r->list[r->n_list++] =
		    (struct tarout_xattr){p, r->xattrs.data + r->xattrs.len, (size_t)n};
		buf_grew(&r->xattrs, (size_t)n);
	}
	qsort(r->list, r->n_list, sizeof(r->list[0]), compare_xattrs);
	return 0;
}

static void
fill(struct tarout_entry *e, const struct stat *st, const char *name)
{
	*e = (struct tarout_entry){
	    .name = name,
	    .mode = st->st_mode & 07777,
	    .uid = st->st_uid,
	    .gid = st->st_gid,
	    .mtime = st->st_mtim,
	};
}

static int
put_file(struct retar *r, int dirfd, const char *base, struct tarout_entry *e, uint64_t size,
    struct err *err)
{
	cleanup_close int fd = openat(dirfd, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	uint64_t left = size;

	if (fd < 0)
		return err_errno(err, "open %s", e->name);
	if (read_xattrs(r, fd, e->name, err) < 0)
		return -1;
	e->type = '0';
	e->size = size;
	e->xattrs = r->list;
	e->n_xattrs = r->n_list;
	if (tarout_header(r->out, e, err) < 0)
		return -1;
	while (left > 0) {
		ssize_t n = read(fd, r->copy, MIN(left, (uint64_t)COPY_SIZE));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "read %s", e->name);
		if (n == 0)
			return err_set(err, ERR_DATA_LOSS, "%s became shorter", e->name);
		if (tarout_write(r->out, r->copy, (size_t)n, err) < 0)
			return -1;
		left -= (uint64_t)n;
	}
	return tarout_pad(r->out, size, err);
}

static int
put_whiteout(struct retar *r, const char *name, const struct stat *st, struct err *err)
{
	const char *base = strrchr(name, '/') != NULL ? strrchr(name, '/') + 1 : name;
	cleanup_free char *full = xasprintf("%.*s.wh.%s", (int)(base - name), name, base);
	struct tarout_entry e;

	fill(&e, st, full);
	e.type = '0';
	e.mode = 0;
	return tarout_header(r->out, &e, err);
}

/* Anything but a directory. */
static int
put_other(struct retar *r, int dirfd, const char *base, const char *name, const struct stat *st,
    struct err *err)
{
	const char *first = st->st_nlink > 1 ? first_name(r, st->st_ino, name) : NULL;
	char target[PATH_MAX];
	struct tarout_entry e;
	ssize_t n;

	if (walk_is_whiteout(st))
		return put_whiteout(r, name, st, err);
	fill(&e, st, name);
	if (first != NULL) {
		e.type = '1';
		e.link = first;
		return tarout_header(r->out, &e, err);
	}
	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		return put_file(r, dirfd, base, &e, (uint64_t)st->st_size, err);
	case S_IFLNK:
		n = readlinkat(dirfd, base, target, sizeof(target) - 1);
		if (n < 0)
			return err_errno(err, "read the link %s", name);
		target[n] = '\0';
		e.type = '2';
		e.link = target;
		break;
	case S_IFCHR:
	case S_IFBLK:
		e.type = S_ISCHR(st->st_mode) ? '3' : '4';
		e.major = major(st->st_rdev);
		e.minor = minor(st->st_rdev);
		break;
	case S_IFIFO:
		e.type = '6';
		break;
	default: /* a socket: no tar has them */
		return 0;
	}
	return tarout_header(r->out, &e, err);
}

static bool
is_opaque(int fd)
{
	char c = 0;

	return fgetxattr(fd, "trusted.overlay.opaque", &c, 1) == 1 && c == 'y';
}

/* The entries of a directory, sorted. */
static int
read_names(int fd, const char *path, char ***ret, size_t *ret_n, struct err *err)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *ent;
	char **list = NULL;
	size_t n = 0, cap = 0;

	if (dir == NULL) {
		fd_closep(&copy);
		return err_errno(err, "list %s", path);
	}
	while ((errno = 0, ent = readdir(dir)) != NULL) {
		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
			continue;
		if (n == cap) {
			cap = cap == 0 ? 32 : cap * 2;
			list = xrealloc(list, cap * sizeof(*list));
		}
		list[n++] = xstrdup(ent->d_name);
	}
	closedir(dir);
	if (n > 0)
		qsort(list, n, sizeof(*list), compare);
	*ret = list;
	*ret_n = n;
	return 0;
}

/* The directory's own entry, unless it is implicit, and its opaque mark. */
static int
put_dir_entry(struct retar *r, int fd, const char *path, struct err *err)
{
	cleanup_free char *name = *path == '\0' ? xstrdup("./") : xasprintf("%s/", path);
	cleanup_free char *mark =
	    *path == '\0' ? xstrdup(".wh..wh..opq") : xasprintf("%s/.wh..wh..opq", path);
	struct tarout_entry e;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(err, "stat %s", name);
	fill(&e, &st, name);
	e.type = '5';
	if (!pathset_has(r->implicit, path)) {
		if (read_xattrs(r, fd, name, err) < 0)
			return -1;
		e.xattrs = r->list;
		e.n_xattrs = r->n_list;
		if (tarout_header(r->out, &e, err) < 0)
			return -1;
	}
	if (!is_opaque(fd))
		return 0;
	fill(&e, &st, mark);
	e.type = '0';
	e.mode = 0;
	return tarout_header(r->out, &e, err);
}

/* Depth first, with a list instead of recursion and one descriptor instead of a stack of them: a
 * layer may be two thousand directories deep, and nothing in it moves meanwhile. */
struct level {
	char **names;
	size_t n, at, len; /* len: of its path */
};

static int
enter(struct retar *r, struct level *l, const struct buf *path, struct err *err)
{
	const char *p = path->len > 0 ? path->data : "";

	*l = (struct level){.len = path->len};
	if (put_dir_entry(r, r->fd, p, err) < 0)
		return -1;
	return read_names(r->fd, p, &l->names, &l->n, err);
}

static void
leave(struct level *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->names[i]);
	free(l->names);
}

static int
change_dir(struct retar *r, const char *to, const struct buf *path, struct err *err)
{
	int fd = openat(r->fd, to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, "open %s", path->data);
	close(r->fd);
	r->fd = fd;
	return 0;
}

static int
walk_tree(struct retar *r, struct level *levels, size_t max, size_t *depth, struct err *err)
{
	cleanup_buf struct buf path = BUF_INIT;

	if (enter(r, &levels[0], &path, err) < 0)
		return -1;
	for (;;) {
		struct level *l = &levels[*depth - 1];
		const char *base;
		struct stat st;

		buf_truncate(&path, l->len);
		if (l->at == l->n) {
			leave(l);
			if (--*depth == 0)
				return 0;
			if (change_dir(r, "..", &path, err) < 0)
				return -1;
			continue;
		}
		base = l->names[l->at++];
		if (path.len > 0)
			buf_addch(&path, '/');
		buf_addstr(&path, base);
		if (fstatat(r->fd, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_errno(err, "stat %s", path.data);
		if (!S_ISDIR(st.st_mode)) {
			if (put_other(r, r->fd, base, path.data, &st, err) < 0)
				return -1;
			continue;
		}
		if (*depth == max)
			return err_set(
			    err, ERR_RESOURCE_EXHAUSTED, "directories nested too deeply");
		if (change_dir(r, base, &path, err) < 0)
			return -1;
		if (enter(r, &levels[(*depth)++], &path, err) < 0)
			return -1;
	}
}

int
retar_take(struct tarout *t, int dirfd, const struct pathset *implicit, struct err *err)
{
	enum { DEPTH_MAX = PATH_MAX / 2 };
	struct retar r = {.out = t, .implicit = implicit};
	struct level *levels = xcalloc(DEPTH_MAX, sizeof(*levels));
	size_t depth = 1;
	int ret;

	r.fd = dirfd;
	r.copy = xmalloc(COPY_SIZE);
	ret = walk_tree(&r, levels, DEPTH_MAX, &depth, err);
	while (depth > 0)
		leave(&levels[--depth]);
	close(r.fd);
	if (ret == 0)
		ret = tarout_end(t, err);
	for (size_t i = 0; i < r.cap; i++)
		free(r.seen[i].name);
	free(r.seen);
	free(r.copy);
	free(levels);
	buf_release(&r.names);
	buf_release(&r.xattrs);
	return ret;
}
