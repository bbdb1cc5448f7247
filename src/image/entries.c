/* SPDX-License-Identifier: Apache-2.0
 *
 * Making one entry of an archive in the tree: see extract.h. A function per kind; each replaces
 * what was there under the name, and keeps the account.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "image/extract_private.h"

static const uint64_t check_disk_every = UINT64_C(32) << 20;
static const uint64_t reserve_max = UINT64_C(1) << 30;

void
entry_spend_now(struct extract *x)
{
	x->unchecked = check_disk_every;
}

int
entry_spend(struct extract *x, uint64_t n, struct err *err)
{
	uint64_t unit, room, reserve;
	struct statfs fs;

	x->unchecked += n;
	if (x->unchecked < check_disk_every)
		return 0;
	if (fstatfs(x->walk.root, &fs) < 0)
		return err_errno(err, "statfs");
	unit = (uint64_t)fs.f_bsize;
	room = (uint64_t)fs.f_bavail * unit;
	reserve = MIN((uint64_t)fs.f_blocks * unit / 100, reserve_max);
	if (room < reserve || room - reserve < n)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
		    "no room: %llu bytes are free, %llu of them are kept in reserve",
		    (unsigned long long)room, (unsigned long long)reserve);
	if (fs.f_files > 0 && fs.f_ffree < 256)
		return err_set(err, ERR_RESOURCE_EXHAUSTED, "no room: no inodes are free");
	x->unchecked = 0;
	return 0;
}

static int
check_size(struct extract *x, int64_t size, struct err *err)
{
	struct statfs fs;

	if (size < 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "negative size");
	if (size < (int64_t)check_disk_every)
		return 0;
	if (fstatfs(x->walk.root, &fs) < 0)
		return err_errno(err, "statfs");
	/* Sparse files as well: nothing could ever be stored in one larger than its disk. */
	if ((uint64_t)size / (uint64_t)fs.f_bsize > (uint64_t)fs.f_blocks)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
		    "%lld bytes are more than the whole file system", (long long)size);
	return 0;
}

static int
write_at(int fd, const char *p, size_t n, int64_t at)
{
	while (n > 0) {
		ssize_t w = pwrite(fd, p, n, at);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -1;
		p += w;
		n -= (size_t)w;
		at += w;
	}
	return 0;
}

static int
write_data(struct extract *x, const struct item *it, int fd, struct err *err)
{
	const void *p;
	size_t n;
	int64_t at, end = 0;
	int ret;

	while ((ret = archive_read_data_block(x->archive, &p, &n, &at)) == ARCHIVE_OK) {
		if (at < 0 || at > it->size || (int64_t)n > it->size - at)
			return err_set(err, ERR_INVALID_ARGUMENT, "data beyond its size");
		x->written += n;
		if (x->max_bytes != 0 && x->written > x->max_bytes)
			return err_set(err, ERR_RESOURCE_EXHAUSTED, "more than %llu bytes",
			    (unsigned long long)x->max_bytes);
		if (entry_spend(x, n, err) < 0)
			return -1;
		if (write_at(fd, p, n, at) < 0)
			return err_errno(err, "write");
		end = at + (int64_t)n;
	}
	if (ret != ARCHIVE_EOF) {
		/* A writer that does not close its archive (umoci insert) leaves out the padding of
		 * the last file and the end mark. Go's reader takes that, so such layers exist. */
		if (x->failed || !x->at_end || end != it->size)
			return extract_failure(x, err);
		x->unpadded = true;
	}
	if (end < it->size && ftruncate(fd, it->size) < 0)
		return err_errno(err, "set the size");
	return 0;
}

static bool
xattr_allowed(const char *name)
{
	return strcmp(name, "security.capability") == 0 ||
	       (str_starts(name, "user.") && !str_starts(name, "user.overlay."));
}

static int
set_xattrs(struct extract *x, int fd, struct err *err)
{
	const char *name;
	const void *value;
	size_t n;

	if (archive_entry_xattr_count(x->entry) > EXTRACT_XATTRS_MAX)
		return err_set(err, ERR_RESOURCE_EXHAUSTED, "more than %d extended attributes",
		    EXTRACT_XATTRS_MAX);
	archive_entry_xattr_reset(x->entry);
	while (archive_entry_xattr_next(x->entry, &name, &value, &n) == ARCHIVE_OK) {
		if (name == NULL || !xattr_allowed(name) || fsetxattr(fd, name, value, n, 0) == 0)
			continue;
		if (errno == ENOTSUP)
			x->xattrs_lost++;
		else
			return err_errno(err, "set %.100s", name);
	}
	return 0;
}

/* Whatever the open file needs beside its content, and the account. */
static int
finish_file(struct extract *x, const struct item *it, int fd, struct err *err)
{
	struct stat st;

	if (it->owned && fchown(fd, it->uid, it->gid) < 0)
		return err_errno(err, "chown to %u:%u", it->uid, it->gid);
	/* After the chown, which takes set-user-id bits and capabilities away. */
	if ((it->perm & 07000) != 0 && fchmod(fd, it->perm) < 0)
		return err_errno(err, "chmod");
	if (archive_entry_xattr_count(x->entry) > 0 && set_xattrs(x, fd, err) < 0)
		return -1;
	if (futimens(fd, it->times) < 0 || fstat(fd, &st) < 0)
		return err_errno(err, "set the times");
	x->walk.inodes++;
	x->walk.bytes += (uint64_t)st.st_blocks * 512;
	return 0;
}

/* The same by name, for what has no content. */
static int
finish_node(struct extract *x, const struct item *it, bool chmod, struct err *err)
{
	struct walk *w = &x->walk;

	if (it->owned && fchownat(w->dir, it->name, it->uid, it->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(err, "chown to %u:%u", it->uid, it->gid);
	if (chmod && fchmodat(w->dir, it->name, it->perm, 0) < 0)
		return err_errno(err, "chmod");
	if (utimensat(w->dir, it->name, it->times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(err, "set the times");
	return 0;
}

static int
make_file(struct extract *x, const struct item *it, struct err *err)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	cleanup_close int fd = -1;

	if (check_size(x, it->size, err) < 0)
		return -1;
	fd = openat(x->walk.dir, it->name, flags, it->perm & 0777);
	if (fd < 0 && errno == EEXIST) {
		if (walk_remove(&x->walk, it->name, err) < 0)
			return -1;
		fd = openat(x->walk.dir, it->name, flags, it->perm & 0777);
	}
	if (fd < 0)
		return err_errno(err, "create");
	if (it->size > 0 && write_data(x, it, fd, err) < 0)
		return -1;
	return finish_file(x, it, fd, err);
}

static int
make_symlink(struct extract *x, const struct item *it, struct err *err)
{
	const char *target = archive_entry_symlink(x->entry);
	struct walk *w = &x->walk;
	struct stat st;

	if (target == NULL || *target == '\0')
		return err_set(err, ERR_INVALID_ARGUMENT, "symbolic link without a target");
	if (symlinkat(target, w->dir, it->name) < 0 &&
	    (errno != EEXIST || walk_remove(w, it->name, err) < 0 ||
	        symlinkat(target, w->dir, it->name) < 0))
		return err_errno(err, "make a symbolic link");
	if (finish_node(x, it, false, err) < 0)
		return -1;
	w->inodes++;
	/* Short targets are inside the inode of every file system there is. */
	if (strlen(target) >= 48 && fstatat(w->dir, it->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		w->bytes += (uint64_t)st.st_blocks * 512;
	return 0;
}

static int
make_special(struct extract *x, const struct item *it, struct err *err)
{
	dev_t dev = it->type == S_IFIFO ? 0
	                                : makedev((unsigned)archive_entry_rdevmajor(x->entry),
	                                      (unsigned)archive_entry_rdevminor(x->entry));
	struct walk *w = &x->walk;

	if (mknodat(w->dir, it->name, it->type | it->perm, dev) < 0 &&
	    (errno != EEXIST || walk_remove(w, it->name, err) < 0 ||
	        mknodat(w->dir, it->name, it->type | it->perm, dev) < 0))
		return err_errno(err, "mknod");
	w->inodes++;
	return finish_node(x, it, it->owned && (it->perm & 07000) != 0, err);
}

static int
make_hardlink(struct extract *x, const struct item *it, struct err *err)
{
	const char *raw = archive_entry_hardlink(x->entry);
	char target[PATH_MAX];
	cleanup_close int fd = -1;
	struct walk *w = &x->walk;
	struct stat to, st;
	char *name;

	if (!extract_clean_name(raw, target) || *target == '\0')
		return err_set(err, ERR_INVALID_ARGUMENT, "hard link to a bad name: %.100s", raw);
	name = extract_split(target);
	fd = walk_find(w, target, err);
	if (fd < 0)
		return err_wrap(err, "hard link to %.100s", raw);
	if (fstatat(fd, name, &to, AT_SYMLINK_NOFOLLOW) < 0 || walk_is_whiteout(&to))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "hard link to %.100s, which this layer does not have", raw);
	if (S_ISDIR(to.st_mode))
		return err_set(err, ERR_INVALID_ARGUMENT, "hard link to the directory %.100s", raw);
	if (linkat(fd, name, w->dir, it->name, 0) == 0)
		return 0;
	if (errno == EEXIST) {
		if (fstatat(w->dir, it->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_dev == to.st_dev && st.st_ino == to.st_ino)
			return 0;
		if (walk_remove(w, it->name, err) < 0)
			return -1;
		if (linkat(fd, name, w->dir, it->name, 0) == 0)
			return 0;
	}
	return err_errno(err, "make a hard link to %.100s", raw);
}

int
entry_mark_opaque(struct extract *x, const char *path, struct err *err)
{
	if (pathset_add(&x->walk.opaque, path) < 0)
		return err_set(err, ERR_RESOURCE_EXHAUSTED, "too many opaque directories");
	return 0;
}

static int
make_directory(struct extract *x, const struct item *it, struct err *err)
{
	struct walk *w = &x->walk;
	bool merged = false;
	struct stat st;

	if (mkdirat(w->dir, it->name, it->perm & 01777) < 0) {
		cleanup_free char *path = walk_name(w, it->name);
		bool whiteout;

		if (errno != EEXIST || fstatat(w->dir, it->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_errno(err, "mkdir");
		merged = S_ISDIR(st.st_mode);
		whiteout = walk_is_whiteout(&st);
		if (!merged && (walk_remove(w, it->name, err) < 0 ||
		                   mkdirat(w->dir, it->name, it->perm & 01777) < 0))
			return err_errno(err, "mkdir");
		pathset_remove(&w->implicit, path);
		/* OCI image spec, "Whiteouts": the one below is gone, this one begins anew. */
		if (whiteout && entry_mark_opaque(x, path, err) < 0)
			return -1;
	}
	if (finish_node(x, it, merged || it->owned || w->setgid || (it->perm & 06000) != 0, err) <
	    0)
		return -1;
	if (merged && !it->owned && fchownat(w->dir, it->name, 0, 0, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(err, "chown");
	if (archive_entry_xattr_count(x->entry) > 0) {
		cleanup_close int fd =
		    openat(w->dir, it->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (fd < 0)
			return err_errno(err, "open");
		if (set_xattrs(x, fd, err) < 0)
			return -1;
	}
	if (merged)
		return 0;
	if (fstatat(w->dir, it->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(err, "stat");
	w->inodes++;
	w->bytes += (uint64_t)st.st_blocks * 512;
	return 0;
}

/* An entry for "./": the root's own attributes. */
int
entry_set_root(struct extract *x, const struct item *it, struct err *err)
{
	struct walk *w = &x->walk;

	if (it->type != S_IFDIR)
		return err_set(err, ERR_INVALID_ARGUMENT, "the root is no directory");
	if (walk_leave(w, err) < 0)
		return -1;
	pathset_remove(&w->implicit, "");
	if (fchown(w->root, it->uid, it->gid) < 0 || fchmod(w->root, it->perm) < 0)
		return err_errno(err, "set the owner and mode");
	if (set_xattrs(x, w->root, err) < 0)
		return -1;
	if (futimens(w->root, it->times) < 0)
		return err_errno(err, "set the times");
	return 0;
}

int
entry_make_whiteout(struct extract *x, const struct item *it, const char *name, struct err *err)
{
	struct walk *w = &x->walk;
	cleanup_free char *path = NULL;
	struct stat st;

	if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "whiteout of a bad name");
	if (fstatat(w->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		/* It hides what is below, not what this layer itself brings. */
		if (!S_ISDIR(st.st_mode))
			return 0;
		path = walk_name(w, name);
		pathset_remove(&w->implicit, path);
		return entry_mark_opaque(x, path, err);
	}
	if (errno != ENOENT)
		return err_errno(err, "stat %s", name);
	if (mknodat(w->dir, name, S_IFCHR, makedev(0, 0)) < 0 ||
	    utimensat(w->dir, name, it->times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(err, "make a whiteout");
	w->inodes++;
	return 0;
}

int
entry_make(struct extract *x, const struct item *it, struct err *err)
{
	if (archive_entry_hardlink(x->entry) != NULL)
		return make_hardlink(x, it, err);
	switch (it->type) {
	case S_IFREG:
		return make_file(x, it, err);
	case S_IFDIR:
		return make_directory(x, it, err);
	case S_IFLNK:
		return make_symlink(x, it, err);
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
		return make_special(x, it, err);
	}
	return err_set(err, ERR_INVALID_ARGUMENT, "unknown type of entry");
}
