/* SPDX-License-Identifier: Apache-2.0
 *
 * A layer's tar to a directory: see extract.h. extract_run() drives libarchive; entry() takes one
 * entry apart and hands it to the function for its kind.
 */
#include "image/extract.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"

#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"
#define AUFS_META ".wh..wh." /* aufs's own files: plnk, aufs, orph */

static const uint64_t check_disk_every = UINT64_C(32) << 20;
static const uint64_t reserve_max = UINT64_C(1) << 30;

/* The present entry. */
struct item {
	const char *name; /* in w->dir */
	mode_t type, perm;
	uid_t uid;
	gid_t gid;
	int64_t size;
	struct timespec times[2];
	bool owned; /* its owner is not what the kernel gives it by itself */
};

bool
extract_clean_name(const char *name, char *out)
{
	size_t len = 0;

	while (*name != '\0') {
		size_t n = strcspn(name, "/");

		if (n == 2 && name[0] == '.' && name[1] == '.')
			return false;
		if (n > 0 && !(n == 1 && name[0] == '.')) {
			if (len + n + 2 > PATH_MAX)
				return false;
			if (len > 0)
				out[len++] = '/';
			memcpy(out + len, name, n);
			len += n;
		}
		name += n;
		while (*name == '/')
			name++;
	}
	out[len] = '\0';
	return true;
}

/* Cut off the last component: returns it, and leaves the parent ("" : the root) in path. */
static char *
split(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash == NULL) {
		size_t len = strlen(path);

		memmove(path + 1, path, len + 1); /* PATH_MAX has room: see extract_clean_name() */
		path[0] = '\0';
		return path + 1;
	}
	*slash = '\0';
	return slash + 1;
}

/* Is there room for n more bytes? Asks the file system now and then. */
static int
spend(struct extract *x, uint64_t n, struct err *err)
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
archive_failure(struct extract *x, struct err *err)
{
	if (x->failed)
		return -1; /* read() has filled *err already */
	return err_set(err,
	    archive_errno(x->archive) == ENOMEM ? ERR_RESOURCE_EXHAUSTED : ERR_INVALID_ARGUMENT,
	    "bad tar archive: %s",
	    archive_error_string(x->archive) != NULL ? archive_error_string(x->archive)
	                                             : "unreadable");
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
		if (spend(x, n, err) < 0)
			return -1;
		if (write_at(fd, p, n, at) < 0)
			return err_errno(err, "write");
		end = at + (int64_t)n;
	}
	if (ret != ARCHIVE_EOF) {
		/* A writer that does not close its archive (umoci insert) leaves out the padding of
		 * the last file and the end mark. Go's reader takes that, so such layers exist. */
		if (x->failed || !x->at_end || end != it->size)
			return archive_failure(x, err);
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
	name = split(target);
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

static int
mark_opaque(struct extract *x, const char *path, struct err *err)
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
		if (whiteout && mark_opaque(x, path, err) < 0)
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
static int
set_root(struct extract *x, const struct item *it, struct err *err)
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

static int
make_whiteout(struct extract *x, const char *name, struct err *err)
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
		return mark_opaque(x, path, err);
	}
	if (errno != ENOENT)
		return err_errno(err, "stat %s", name);
	if (mknodat(w->dir, name, S_IFCHR, makedev(0, 0)) < 0)
		return err_errno(err, "make a whiteout");
	w->inodes++;
	return 0;
}

static int
load_item(struct extract *x, struct item *it, struct err *err)
{
	struct archive_entry *e = x->entry;
	int64_t uid = archive_entry_uid(e), gid = archive_entry_gid(e);

	if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "bad owner %lld:%lld", (long long)uid,
		    (long long)gid);
	it->type = archive_entry_filetype(e);
	it->perm = archive_entry_perm(e) & 07777;
	it->uid = (uid_t)uid;
	it->gid = (gid_t)gid;
	it->size = archive_entry_size(e);
	it->times[1].tv_sec = archive_entry_mtime(e);
	it->times[1].tv_nsec = archive_entry_mtime_nsec(e);
	it->times[0] = it->times[1];
	if (archive_entry_atime_is_set(e)) {
		it->times[0].tv_sec = archive_entry_atime(e);
		it->times[0].tv_nsec = archive_entry_atime_nsec(e);
	}
	for (int i = 0; i < 2; i++)
		if (it->times[i].tv_nsec < 0 || it->times[i].tv_nsec >= 1000000000)
			it->times[i].tv_nsec = 0;
	return 0;
}

/* A component that begins with ".wh." cannot be the name of a directory: 1 when the entry belongs
 * to aufs and is skipped, -1 when it is refused. */
static int
check_parents(const char *parent, struct err *err)
{
	for (const char *p = parent; p != NULL; p = strchr(p, '/')) {
		p += *p == '/';
		if (str_starts(p, AUFS_META))
			return 1;
		if (str_starts(p, WHITEOUT))
			return err_set(err, ERR_INVALID_ARGUMENT, "below a whiteout");
	}
	return 0;
}

static int
make_item(struct extract *x, const struct item *it, struct err *err)
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

static int
entry(struct extract *x, char *path, struct err *err)
{
	struct walk *w = &x->walk;
	struct item it = {0};
	int skip;

	if (load_item(x, &it, err) < 0)
		return -1;
	w->mtime = it.times[1];
	if (x->entries == 1) { /* unless an entry says otherwise later */
		const struct timespec times[2] = {w->mtime, w->mtime};

		if (futimens(w->root, times) < 0)
			return err_errno(err, "set the root's times");
	}
	if (*path == '\0')
		return set_root(x, &it, err);
	it.name = split(path);
	skip = check_parents(path, err);
	if (skip != 0)
		return skip < 0 ? -1 : 0;
	if (str_starts(it.name, AUFS_META) && strcmp(it.name, OPAQUE) != 0)
		return 0;
	if (walk_enter(w, path, err) < 0 || spend(x, 4096, err) < 0)
		return -1;
	if (strcmp(it.name, OPAQUE) == 0)
		return mark_opaque(x, w->path, err);
	if (str_starts(it.name, WHITEOUT))
		return make_whiteout(x, it.name + strlen(WHITEOUT), err);
	if (strlen(it.name) > NAME_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "name too long");
	it.owned = it.uid != 0 || it.gid != 0 || w->setgid;
	return make_item(x, &it, err);
}

static la_ssize_t
on_read(struct archive *a, void *data, const void **ret)
{
	struct extract *x = data;
	ssize_t n = x->n_first;

	if (n > 0) {
		*ret = x->first;
		x->n_first = 0;
		return n;
	}
	if (x->failed)
		return -1;
	n = x->read(x, ret, x->err);
	if (n < 0) {
		x->failed = true;
		archive_set_error(a, EIO, "read");
	}
	x->at_end = n == 0;
	return n;
}

static int
entries(struct extract *x, struct err *err)
{
	char path[PATH_MAX];
	int ret;

	while ((ret = archive_read_next_header2(x->archive, x->entry)) != ARCHIVE_EOF) {
		const char *name = archive_entry_pathname(x->entry);

		/* Warnings are about names that are no UTF-8 (taken as they are), and about access
		 * control lists, which are dropped; any other one means a damaged header. */
		if (ret != ARCHIVE_OK &&
		    (ret != ARCHIVE_WARN ||
		        (archive_errno(x->archive) != EILSEQ &&
		            !str_starts(archive_error_string(x->archive), "Parse error:"))))
			return archive_failure(x, err);
		if (++x->entries > EXTRACT_ENTRIES_MAX)
			return err_set(err, ERR_RESOURCE_EXHAUSTED, "more than %d entries",
			    EXTRACT_ENTRIES_MAX);
		if (name == NULL || !extract_clean_name(name, path))
			return err_set(err, ERR_INVALID_ARGUMENT, "entry with a bad name: %.200s",
			    STR_OR_EMPTY(name));
		if (entry(x, path, err) < 0)
			return err_wrap(err, "entry %.200s", name);
		if (x->unpadded)
			break;
	}
	return walk_leave(&x->walk, err);
}

int
extract_run(struct extract *x, int root, struct err *err)
{
	const void *p;
	ssize_t n;

	walk_init(&x->walk, root);
	x->err = err;
	x->n_first = x->read(x, &x->first, err);
	if (x->n_first < 0)
		return -1;
	x->unchecked = check_disk_every;
	if (spend(x, 0, err) < 0)
		return -1;
	if (x->n_first == 0)
		return 0; /* no bytes at all are an empty tar, as Go's reader has it */
	x->archive = archive_read_new();
	x->entry = archive_entry_new();
	if (x->archive == NULL || x->entry == NULL)
		abort(); /* out of memory */
	if (archive_read_support_format_tar(x->archive) != ARCHIVE_OK ||
	    archive_read_open(x->archive, x, NULL, on_read, NULL) != ARCHIVE_OK)
		return archive_failure(x, err);
	if (entries(x, err) < 0)
		return -1;
	while ((n = x->read(x, &p, err)) > 0)
		continue;
	return n < 0 ? -1 : 0;
}

void
extract_release(struct extract *x)
{
	if (x->archive != NULL)
		archive_read_free(x->archive);
	archive_entry_free(x->entry);
	walk_release(&x->walk);
	x->archive = NULL;
	x->entry = NULL;
}

/* The sample's tar: a pax header with a name beyond ASCII makes libarchive set up every conversion
 * that it may want later. */
void
extract_prepare(void)
{
	char sample[4096];
	size_t used = 0;
	struct archive *a = archive_write_new();
	struct archive_entry *e = archive_entry_new();

	if (a == NULL || e == NULL)
		abort();
	setlocale(LC_CTYPE, "C.UTF-8");
	umask(0);
	archive_write_set_format_pax(a);
	archive_write_set_bytes_per_block(a, 0);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_copy_pathname(e, "\xc3\xa9\xff");
	archive_entry_copy_uname(e, "\xc3\xa9");
	if (archive_write_open_memory(a, sample, sizeof(sample), &used) == ARCHIVE_OK)
		archive_write_header(a, e);
	archive_write_free(a);
	a = archive_read_new();
	if (a == NULL)
		abort();
	archive_read_support_format_tar(a);
	if (archive_read_open_memory(a, sample, used) == ARCHIVE_OK &&
	    archive_read_next_header2(a, e) < ARCHIVE_WARN)
		abort(); /* what was written here cannot be unreadable */
	archive_read_free(a);
	archive_entry_free(e);
}
