/* SPDX-License-Identifier: Apache-2.0
 *
 * File descriptors and small files: see fd.h.
 */
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/macros.h"
#include "base/xalloc.h"

void
fd_closep(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

int
fd_read_all(int fd, size_t max, struct buf *b, struct err *err)
{
	size_t start = b->len;

	for (;;) {
		ssize_t n = read(fd, buf_reserve(b, 4096), 4096);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "read");
		if (n == 0)
			return 0;
		buf_grew(b, (size_t)n);
		if (b->len - start > max)
			return err_set(err, ERR_OUT_OF_RANGE, "longer than %zu bytes", max);
	}
}

int
fd_read_file(int dirfd, const char *path, size_t max, struct buf *b, struct err *err)
{
	cleanup_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return err_errno(err, "open %s", path);
	if (fd_read_all(fd, max, b, err) < 0)
		return err_wrap(err, "%s", path);
	return 0;
}

int
fd_write_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t w = write(fd, at, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -1;
		at += w;
		n -= (size_t)w;
	}
	return 0;
}

int
fd_write_file(int dirfd, const char *path, const void *p, size_t n, mode_t mode, bool durable,
    struct err *err)
{
	cleanup_free char *tmp = xasprintf("%s.tmp~", path);
	cleanup_close int fd = -1;

	unlinkat(dirfd, tmp, 0);
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return err_errno(err, "create %s", tmp);
	if (fchmod(fd, mode) < 0 || fd_write_all(fd, p, n) < 0 || (durable && fsync(fd) < 0) ||
	    renameat(dirfd, tmp, dirfd, path) < 0) {
		err_errno(err, "write %s", path);
		unlinkat(dirfd, tmp, 0);
		return -1;
	}
	return 0;
}

int
fd_mkdir_p(int dirfd, const char *path, mode_t mode, struct err *err)
{
	cleanup_free char *part = xstrdup(path);
	struct stat st;
	char *p = part;

	while (*p == '/')
		p++;
	for (;; p++) {
		char was = *p;

		if (was != '/' && was != '\0')
			continue;
		*p = '\0';
		if (*part != '\0' && mkdirat(dirfd, part, mode) < 0 && errno != EEXIST)
			return err_errno(err, "mkdir %s", part);
		*p = was;
		if (was == '\0')
			break;
	}
	if (fstatat(dirfd, path, &st, 0) < 0)
		return err_errno(err, "stat %s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ERR_INTERNAL, "%s is not a directory", path);
	return 0;
}

static int
remove_entries(int fd, dev_t dev, const char *path, struct err *err)
{
	DIR *dir = fdopendir(fd);
	struct dirent *ent;
	int ret = 0;

	if (dir == NULL) {
		err_errno(err, "open %s", path);
		close(fd);
		return -1;
	}
	while (ret == 0 && (ent = readdir(dir)) != NULL) {
		struct stat st;
		int sub;

		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(dir), ent->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno != EISDIR && errno != EPERM) {
			ret = err_errno(err, "remove %s in %s", ent->d_name, path);
			break;
		}
		sub = openat(dirfd(dir), ent->d_name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0 || fstat(sub, &st) < 0) {
			ret = err_errno(err, "open %s in %s", ent->d_name, path);
			fd_closep(&sub);
			break;
		}
		if (st.st_dev != dev) {
			close(sub);
			ret = err_set(err, ERR_INTERNAL, "%s in %s is a mount point", ent->d_name,
			    path);
			break;
		}
		ret = remove_entries(sub, dev, ent->d_name, err);
		if (ret == 0 && unlinkat(dirfd(dir), ent->d_name, AT_REMOVEDIR) < 0 &&
		    errno != ENOENT)
			ret = err_errno(err, "rmdir %s in %s", ent->d_name, path);
	}
	closedir(dir);
	return ret;
}

int
fd_remove_tree(int dirfd, const char *path, struct err *err)
{
	struct stat st;
	int fd;

	if (unlinkat(dirfd, path, 0) == 0 || errno == ENOENT || errno == ENOTDIR)
		return 0;
	fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		err_errno(err, "open %s", path);
		fd_closep(&fd);
		return -1;
	}
	if (remove_entries(fd, st.st_dev, path, err) < 0)
		return -1;
	if (unlinkat(dirfd, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_errno(err, "rmdir %s", path);
	return 0;
}

int
fd_set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -1;
	return fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

int
fd_openat2(int dirfd, const char *path, int flags, mode_t mode, unsigned long long resolve)
{
	struct open_how how = {
	    .flags = (unsigned long long)(flags | O_CLOEXEC), .mode = mode, .resolve = resolve};

	return (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
}
