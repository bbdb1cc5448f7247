/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths inside the new root, which is hostile: an image chose its links, and a volume shared with
 * another container can change under us. So nothing is checked and then used by name: openat2 with
 * RESOLVE_IN_ROOT yields a descriptor, and what is missing is made relative to one
 * (CVE-2019-19921, CVE-2021-30465, CVE-2024-45310).
 */
#include "exec/keeper/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_LINKS = 40 };

int
child_openat2(int dirfd, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
	int fd, tries = 0;

	/* EAGAIN: something was renamed during the walk and the kernel could not be sure */
	do
		fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || (errno == EAGAIN && ++tries < 64)));
	return fd;
}

int
child_open_in_root(struct launch_ctx *c, const char *path, int flags)
{
	return child_openat2(
	    c->root_fd, path, (uint64_t)flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/* Make one missing entry in a directory and open it; anything else found there meanwhile counts, if
 * it is no link. */
static int
make_entry(int dir, const char *name, bool directory)
{
	int fd;

	if (directory) {
		if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
			return -1;
	} else {
		fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
		if (fd < 0 && errno != EEXIST)
			return -1;
		if (fd >= 0)
			close(fd);
	}
	return child_openat2(dir, name, O_PATH, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

/* Replace the link at path[0..at) + name by its target; the rest of the path follows it. */
static int
splice_link(struct launch_ctx *c, char *path, size_t at, int link, const char *rest)
{
	char target[PATH_MAX], whole[PATH_MAX];
	ssize_t n = readlinkat(link, "", target, sizeof(target) - 1);
	int len;

	if (n <= 0)
		return -1;
	target[n] = '\0';
	if (target[0] == '/')
		at = 0;
	len = snprintf(whole, sizeof(whole), "%.*s/%s/%s", (int)at, path, target, rest);
	if (len < 0 || (size_t)len >= sizeof(whole))
		child_fail(c, ENAMETOOLONG, "%s", path);
	memcpy(path, whole, (size_t)len + 1);
	return 0;
}

/*
 * Walk path and make what is missing. Returns the O_PATH descriptor of its end, or -1 after it has
 * replaced a link in path: the caller starts over. Links have to be followed by hand since one that
 * dangles (/var/run -> /run in an image without /run) names the directory to be made.
 */
static int
walk(struct launch_ctx *c, char *path, const char *what, bool directory)
{
	int cur = child_open_in_root(c, "/", O_PATH | O_DIRECTORY);
	char *p = path;

	if (cur < 0)
		child_fail(c, errno, "open the root");
	for (;;) {
		char *name, *end, was, prefix[PATH_MAX];
		struct stat st;
		bool last;
		int next;

		while (*p == '/')
			p++;
		if (*p == '\0')
			return cur;
		name = p;
		end = p + strcspn(p, "/");
		last = end[strspn(end, "/")] == '\0';
		was = *end;
		*end = '\0';
		snprintf(prefix, sizeof(prefix), "%s", path);
		next = child_openat2(c->root_fd, prefix, O_PATH | O_NOFOLLOW,
		    RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
		if (next < 0 && errno == ENOENT)
			next = make_entry(cur, name, !last || directory);
		if (next < 0)
			child_fail(c, errno, "make %s in the root (at %s)", what, prefix);
		if (fstat(next, &st) < 0)
			child_fail(c, errno, "stat %s in the root", prefix);
		*end = was;
		if (S_ISLNK(st.st_mode)) {
			if (splice_link(c, path, (size_t)(name - path), next, end) < 0)
				child_fail(c, errno, "read the link %s in the root", prefix);
			close(next);
			close(cur);
			return -1;
		}
		close(cur);
		cur = next;
		p = end;
	}
}

int
child_make_path(struct launch_ctx *c, const char *path, bool directory)
{
	int fd = child_open_in_root(c, path, O_PATH);
	char copy[PATH_MAX];

	if (fd >= 0)
		return fd;
	if (errno != ENOENT)
		child_fail(c, errno, "open %s in the root", path);
	if (strlen(path) >= sizeof(copy))
		child_fail(c, ENAMETOOLONG, "%s", path);
	memcpy(copy, path, strlen(path) + 1);
	for (int links = 0; links <= MAX_LINKS; links++)
		if ((fd = walk(c, copy, path, directory)) >= 0)
			return fd;
	child_fail(c, ELOOP, "make %s in the root", path);
}

int
child_make_parent(struct launch_ctx *c, const char *path, const char **ret_base)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];
	size_t n;

	if (slash == NULL || slash[1] == '\0' || strcmp(slash + 1, ".") == 0 ||
	    strcmp(slash + 1, "..") == 0)
		child_fail(c, EINVAL, "path %s", path);
	n = (size_t)(slash - path);
	if (n + 2 > sizeof(dir))
		child_fail(c, ENAMETOOLONG, "%s", path);
	memcpy(dir, path, n);
	memcpy(dir + n, "/", 2);
	*ret_base = slash + 1;
	return child_make_path(c, dir, true);
}

bool
child_path_of(struct launch_ctx *c, int fd, char *buf, size_t size)
{
	char link[40];
	ssize_t n;

	snprintf(link, sizeof(link), "self/fd/%d", fd);
	n = readlinkat(c->proc_fd, link, buf, size - 1);
	if (n <= 0)
		return false;
	buf[n] = '\0';
	return true;
}
