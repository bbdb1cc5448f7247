/* SPDX-License-Identifier: Apache-2.0
 *
 * The size of a writable layer: see stats_impl.h.
 *
 * The container may move, nest and replace directories while we walk. Directories are therefore not
 * walked by a chain of open fds and "..", but by their path from the top, resolved anew without
 * links; one that has moved away is not there, and that is all. A path longer than the kernel takes
 * is resolved in pieces.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "pod/stats_impl.h"

enum {
	PIECE_MAX = 3800,        /* bytes of a path resolved at once, below PATH_MAX */
	PENDING_MAX = 128 << 20, /* bytes of the paths yet to visit */
	LINKED_MAX = 1 << 20     /* inodes with several names that are remembered */
};

/* Paths yet to visit, the last in first out. */
struct pending {
	char **paths;
	size_t n, cap, bytes;
};

/* Inodes seen that have several names: an open hash of inode numbers, 0 is free. */
struct seen {
	ino_t *slots;
	size_t n, cap;
};

struct walk {
	int top;
	struct pending pending;
	struct seen seen;
	uint64_t blocks, inodes, max; /* max: of inodes */
};

static void
push(struct pending *p, const char *dir, const char *name)
{
	size_t n = strlen(dir) + strlen(name) + 2;

	if (p->bytes + n > PENDING_MAX)
		return; /* what this leaves out is in a tree of millions of directories */
	if (p->n == p->cap) {
		p->cap = MAX(2 * p->cap, 64);
		p->paths = xrealloc(p->paths, p->cap * sizeof(*p->paths));
	}
	p->paths[p->n++] = *dir != '\0' ? xasprintf("%s/%s", dir, name) : xstrdup(name);
	p->bytes += n;
}

static char *
pop(struct pending *p)
{
	char *path = p->paths[--p->n];

	p->bytes -= MIN(p->bytes, strlen(path) + 2);
	return path;
}

static bool
insert(ino_t *slots, size_t cap, ino_t ino)
{
	size_t i = (size_t)(ino * UINT64_C(0x9e3779b97f4a7c15) >> 20) % cap;

	while (slots[i] != 0 && slots[i] != ino)
		i = (i + 1) % cap;
	if (slots[i] == ino)
		return false;
	slots[i] = ino;
	return true;
}

/* True the first time. */
static bool
first_seen(struct seen *s, ino_t ino)
{
	if (2 * s->n >= s->cap && s->cap < 2 * LINKED_MAX) {
		size_t cap = MAX(2 * s->cap, 1024);
		ino_t *slots = xcalloc(cap, sizeof(*slots));

		for (size_t i = 0; i < s->cap; i++)
			if (s->slots[i] != 0)
				insert(slots, cap, s->slots[i]);
		free(s->slots);
		s->slots = slots;
		s->cap = cap;
	}
	if (s->n >= LINKED_MAX)
		return true;
	if (!insert(s->slots, s->cap, ino))
		return false;
	s->n++;
	return true;
}

static int
open_path(int top, const char *path)
{
	const unsigned long long resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
	int at = fcntl(top, F_DUPFD_CLOEXEC, 3);

	while (at >= 0 && *path != '\0') {
		size_t n = strlen(path);
		char piece[PIECE_MAX + 1];
		int next;

		if (n > PIECE_MAX)
			for (n = PIECE_MAX; path[n] != '/';) /* a name has 255 bytes at most */
				n--;
		memcpy(piece, path, n);
		piece[n] = '\0';
		next = fd_openat2(at, piece, O_RDONLY | O_DIRECTORY | O_NOATIME, 0, resolve);
		close(at);
		at = next;
		path += n;
		while (*path == '/')
			path++;
	}
	return at;
}

static void
count(struct walk *w, const struct stat *st)
{
	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1 && !first_seen(&w->seen, st->st_ino))
		return;
	w->blocks += (uint64_t)st->st_blocks;
	w->inodes++;
}

/* A directory that cannot be opened has moved or gone, and is left out. */
static void
visit(struct walk *w, const char *path)
{
	int fd = open_path(w->top, path);
	struct dirent *ent;
	struct stat st;
	DIR *d;

	if (fd < 0)
		return;
	d = fdopendir(fd);
	if (d == NULL) {
		close(fd);
		return;
	}
	while (w->inodes <= w->max && (ent = readdir(d)) != NULL) {
		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
			continue;
		if (fstatat(fd, ent->d_name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
			continue;
		count(w, &st);
		if (S_ISDIR(st.st_mode))
			push(&w->pending, path, ent->d_name);
	}
	closedir(d);
}

int
stats_tree_usage(const char *path, uint64_t *ret_bytes, uint64_t *ret_inodes, struct err *err)
{
	return stats_tree_usage_max(path, UINT64_MAX, ret_bytes, ret_inodes, err);
}

int
stats_tree_usage_max(const char *path, uint64_t max, uint64_t *ret_bytes, uint64_t *ret_inodes,
    struct err *err)
{
	cleanup_close int top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct walk w = {.top = top, .max = max};
	struct stat st;

	if (top < 0 || fstat(top, &st) < 0)
		return err_errno(err, "open %s", path);
	count(&w, &st);
	visit(&w, "");
	while (w.pending.n > 0) { /* visited or not, the paths are freed here */
		cleanup_free char *next = pop(&w.pending);

		if (w.inodes <= w.max)
			visit(&w, next);
	}
	free(w.pending.paths);
	free(w.seen.slots);
	if (w.inodes > w.max)
		return err_set(err, ERR_OUT_OF_RANGE, "%s has more than %" PRIu64 " inodes", path, max);
	*ret_bytes = w.blocks * 512;
	*ret_inodes = w.inodes;
	return 0;
}
