/* SPDX-License-Identifier: Apache-2.0
 *
 * What is in a cgroup and below it: processes, and the cgroups they made. Killing, freezing,
 * removing; see cgroup.h.
 *
 * A container that may write to its cgroup can nest and fill it as it likes, and go on while we
 * look. So every walk is relative to directory fds, skips what vanishes, and is bounded.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/cgroup.h"
#include "exec/cgroup_impl.h"

enum {
	WALK_DEPTH = 512,
	REMOVE_BUDGET = 512,  /* cgroups that go in one call of cgroup_remove() */
	REMOVE_STEPS = 65536, /* and directories it opens for that */
	PROCS_MAX = 16 << 20  /* bytes of one cgroup.procs */
};

/* ---- walking ------------------------------------------------------------------------------- */

static int
open_child(int dir, const char *name)
{
	return openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

/* A stream of its own over a borrowed fd, from the start. */
static DIR *
read_dir(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d;

	if (fd < 0)
		return NULL;
	d = fdopendir(fd);
	if (d == NULL)
		close(fd);
	return d;
}

/* The next subdirectory; NULL at the end. */
static const char *
next_child(DIR *d)
{
	struct dirent *ent;

	while ((ent = readdir(d)) != NULL)
		if (ent->d_type == DT_DIR && strcmp(ent->d_name, ".") != 0 &&
		    strcmp(ent->d_name, "..") != 0)
			return ent->d_name;
	return NULL;
}

static int
walk(int dir, int depth, cgroup_each_dir *each, void *arg)
{
	int ret = each(dir, arg);
	const char *name;
	DIR *d;

	if (ret != 0 || depth == WALK_DEPTH || (d = read_dir(dir)) == NULL)
		return ret;
	while (ret == 0 && (name = next_child(d)) != NULL) {
		cleanup_close int child = open_child(dir, name);

		if (child >= 0)
			ret = walk(child, depth + 1, each, arg);
	}
	closedir(d);
	return ret;
}

int
cgroup_walk(int dir, cgroup_each_dir *each, void *arg)
{
	return walk(dir, 0, each, arg);
}

/* ---- processes ----------------------------------------------------------------------------- */

/* The hierarchy that knows best which processes are in a cgroup. */
static const struct cgroup_hierarchy *
grouping_hierarchy(void)
{
	static const enum cgroup_controller order[] = {CGROUP_FREEZER, CGROUP_PIDS, CGROUP_MEMORY};

	if (cgroups.v2 >= 0)
		return &cgroups.h[cgroups.v2];
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		if (cgroup_has(order[i]))
			return &cgroups.h[cgroups.of[order[i]]];
	return &cgroups.h[0];
}

struct pid_list {
	pid_t *pids;
	size_t n, max;
};

/* Calls each pid of one cgroup.procs; those outside our PID namespace read as 0. */
static int
each_pid(int dir, int (*each)(pid_t pid, void *arg), void *arg)
{
	cleanup_buf struct buf procs = BUF_INIT;
	struct err ignored;
	char *save = NULL;
	int ret = 0;

	/* gone meanwhile, or a threaded cgroup (EOPNOTSUPP), whose processes are listed above it */
	if (fd_read_file(dir, "cgroup.procs", PROCS_MAX, &procs, &ignored) < 0 || procs.len == 0)
		return 0;
	for (char *w = strtok_r(procs.data, "\n", &save); w != NULL && ret == 0;
	     w = strtok_r(NULL, "\n", &save)) {
		uint32_t pid;

		if (str_u32(w, INT_MAX, &pid) == 0 && pid > 1)
			ret = each((pid_t)pid, arg);
	}
	return ret;
}

static int
collect_pid(pid_t pid, void *arg)
{
	struct pid_list *list = arg;

	if (list->n == list->max)
		return 1;
	if ((list->n & (list->n - 1)) == 0)
		list->pids = xrealloc(list->pids, MAX(2 * list->n, 16) * sizeof(*list->pids));
	list->pids[list->n++] = pid;
	return 0;
}

static int
collect_pids(int dir, void *arg)
{
	return each_pid(dir, collect_pid, arg);
}

int
cgroup_pids(
    const char *parent, const char *id, size_t max, pid_t **ret, size_t *ret_n, struct err *err)
{
	cleanup_free char *path = cgroup_path(parent, id, err);
	cleanup_close int dir = -1;
	struct pid_list list = {.max = max};

	if (path == NULL)
		return -1;
	dir = cgroup_dir(grouping_hierarchy(), path, err);
	if (dir < 0)
		return -1;
	(void)cgroup_walk(dir, collect_pids, &list);
	*ret = list.pids;
	*ret_n = list.n;
	return 0;
}

static int
stop_at_pid(pid_t pid, void *arg)
{
	(void)pid;
	(void)arg;
	return 1;
}

static int
stop_at_any(int dir, void *arg)
{
	return each_pid(dir, stop_at_pid, arg);
}

/* 1, 0, or -1 with errno. */
static int
populated(const struct cgroup_hierarchy *h, int dir)
{
	char events[256];
	uint64_t value;

	if (!h->v2)
		return cgroup_walk(dir, stop_at_any, NULL);
	if (cgroup_file_read(dir, "cgroup.events", events, sizeof(events)) < 0)
		return errno == ENODEV || errno == ENOENT ? 0 : -1;
	return cgroup_keyed_u64(events, "populated", &value) && value != 0;
}

int
cgroup_populated(const char *parent, const char *id, struct err *err)
{
	cleanup_free char *path = cgroup_path_below_root(parent, id, err);
	cleanup_close int dir = -1;
	int ret;

	if (path == NULL)
		return -1;
	dir = cgroup_dir(grouping_hierarchy(), path, err);
	if (dir < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	ret = populated(grouping_hierarchy(), dir);
	if (ret < 0)
		return err_errno(err, "read cgroup.events of %s", path);
	return ret;
}

static int
kill_pid(pid_t pid, void *arg)
{
	(void)arg;
	if (pid != getpid())
		(void)kill(pid, SIGKILL);
	return 0;
}

/* A frozen process does not die before it is thawed. */
static int
kill_dir(int dir, void *arg)
{
	(void)each_pid(dir, kill_pid, arg);
	(void)cgroup_file_write(dir, "freezer.state", "THAWED");
	return 0;
}

/* Without cgroup.kill: stop the forking first where that can be done, then signal one by one. */
static void
kill_by_signals(const struct cgroup_hierarchy *h, int dir)
{
	if (h->controllers & 1u << CGROUP_FREEZER)
		(void)cgroup_file_write(dir, "freezer.state", "FROZEN");
	(void)cgroup_walk(dir, kill_dir, NULL);
}

int
cgroup_kill(const char *parent, const char *id, struct err *err)
{
	cleanup_free char *path = cgroup_path_below_root(parent, id, err);

	if (path == NULL)
		return -1;
	if (cgroups.v2 >= 0) {
		const struct cgroup_hierarchy *h = &cgroups.h[cgroups.v2];
		cleanup_close int dir = cgroup_dir(h, path, err);

		if (dir < 0 && err->code != ERR_NOT_FOUND)
			return -1;
		if (dir >= 0 && populated(h, dir) > 0) {
			if (cgroup_file_write(dir, "cgroup.kill", "1") == 0)
				return 0;
			if (errno != ENOENT && errno != ENODEV)
				return err_errno(err, "write cgroup.kill of %s", path);
			kill_by_signals(h, dir);
		}
	}
	/* On a hybrid host only what has left the v2 cgroup: those that die have a pid to lose, and
	 * are not signalled by number when there is another way. */
	for (size_t i = 0; i < cgroups.n_h; i++) {
		cleanup_close int dir = -1;

		if (cgroups.h[i].v2)
			continue;
		dir = cgroup_dir(&cgroups.h[i], path, err);
		if (dir >= 0)
			kill_by_signals(&cgroups.h[i], dir);
		else if (err->code != ERR_NOT_FOUND)
			return -1;
	}
	return 0;
}

int
cgroup_freeze(const char *parent, const char *id, bool freeze, struct err *err)
{
	cleanup_free char *path = cgroup_path_below_root(parent, id, err);
	cleanup_close int dir = -1;
	int ret;

	if (path == NULL)
		return -1;
	if (cgroups.v2 >= 0) {
		dir = cgroup_dir(&cgroups.h[cgroups.v2], path, err);
		ret = dir < 0 ? -1 : cgroup_file_write(dir, "cgroup.freeze", freeze ? "1" : "0");
	} else {
		dir = cgroup_controller_dir(CGROUP_FREEZER, path, err);
		ret = dir < 0
		          ? -1
		          : cgroup_file_write(dir, "freezer.state", freeze ? "FROZEN" : "THAWED");
	}
	if (dir >= 0 && ret < 0)
		return err_errno(err, "%s the cgroup %s", freeze ? "freeze" : "thaw", path);
	return ret;
}

int
cgroup_frozen(const char *parent, const char *id, struct err *err)
{
	cleanup_free char *path = cgroup_path_below_root(parent, id, err);
	cleanup_close int dir = -1;
	uint64_t value = 0;
	char text[256];

	if (path == NULL)
		return -1;
	dir = cgroups.v2 >= 0 ? cgroup_dir(&cgroups.h[cgroups.v2], path, err)
	                      : cgroup_controller_dir(CGROUP_FREEZER, path, err);
	if (dir < 0)
		return -1;
	if (cgroup_file_read(
	        dir, cgroups.v2 >= 0 ? "cgroup.events" : "freezer.state", text, sizeof(text)) < 0)
		return err_errno(err, "read whether the cgroup %s is frozen", path);
	if (cgroups.v2 < 0)
		return strcmp(text, "FROZEN") == 0;
	return cgroup_keyed_u64(text, "frozen", &value) && value != 0;
}

/* ---- removal ------------------------------------------------------------------------------- */

/* Remove the children of dir that have none themselves. *ret_removed counts them; `name` is the
 * first that could not be removed, or "". */
static int
remove_children(int dir, char name[static NAME_MAX + 1], unsigned *budget, unsigned *ret_removed)
{
	DIR *d = read_dir(dir);
	const char *child;

	*name = '\0';
	*ret_removed = 0;
	if (d == NULL)
		return -1;
	while (*budget > 0 && (child = next_child(d)) != NULL) {
		if (unlinkat(dir, child, AT_REMOVEDIR) == 0 || errno == ENOENT) {
			--*budget;
			++*ret_removed;
			continue;
		}
		snprintf(name, NAME_MAX + 1, "%s", child);
		break;
	}
	closedir(d);
	return 0;
}

/* Remove all cgroups below dir, the deepest first, with two fds however deep they are nested: down
 * to the first that has no children, and up again by "..", which a cgroup cannot change (there is
 * no rename on v2, and none to another parent on v1). 1: all gone, 0: not yet, -1 with errno. */
static int
remove_below(int dir)
{
	cleanup_close int at = fcntl(dir, F_DUPFD_CLOEXEC, 3);
	unsigned budget = REMOVE_BUDGET, removed;
	size_t depth = 0;

	if (at < 0)
		return -1;
	for (unsigned steps = 0; steps < REMOVE_STEPS; steps++) {
		char name[NAME_MAX + 1];
		int next;

		if (remove_children(at, name, &budget, &removed) < 0)
			return errno == ENOENT || errno == ENODEV ? 0 : -1;
		if (budget == 0)
			return 0;
		if (*name == '\0' && depth == 0)
			return 1;
		if (*name == '\0' && removed == 0)
			return 0; /* it has no children, and still is there: a process is in it */
		next = *name != '\0' ? open_child(at, name) : open_child(at, "..");
		if (next < 0)
			return errno == ENOENT ? 0 : -1;
		if (*name != '\0')
			depth++;
		else
			depth--;
		close(at);
		at = next;
	}
	return 0;
}

/* In one hierarchy: 1 gone, 0 not yet, -1 error. */
static int
remove_in(const struct cgroup_hierarchy *h, const char *path, struct err *err)
{
	const char *name = strrchr(path, '/') + 1;
	cleanup_free char *above = xstrndup(path, (size_t)(name - path));
	cleanup_close int parent = cgroup_dir(h, above, err);
	cleanup_close int dir = -1;
	int ret;

	if (parent < 0)
		return err->code == ERR_NOT_FOUND ? 1 : -1;
	if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 1;
	if (errno != EBUSY)
		return err_errno(err, "remove the cgroup %s in the hierarchy %s", path, h->name);
	dir = open_child(parent, name);
	ret = dir < 0 ? -1 : remove_below(dir);
	if (ret < 0 && errno == ENOENT)
		return 1;
	if (ret < 0)
		return err_errno(
		    err, "remove what is below the cgroup %s in the hierarchy %s", path, h->name);
	if (ret == 1 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return errno == EBUSY ? 0
		                      : err_errno(err, "remove the cgroup %s in the hierarchy %s",
		                            path, h->name);
	return ret;
}

int
cgroup_remove(const char *parent, const char *id, struct err *err)
{
	cleanup_free char *path = cgroup_path_below_root(parent, id, err);
	int ret = 1;

	if (path == NULL)
		return -1;
	for (size_t i = 0; i < cgroups.n_h; i++) {
		int one = remove_in(&cgroups.h[i], path, err);

		if (one < 0)
			return -1;
		ret = MIN(ret, one);
	}
	return ret;
}

static void
remove_parents_in(const struct cgroup_hierarchy *h, const char *path)
{
	cleanup_free char *at = xstrdup(path);

	while (*at != '\0' && strcmp(at, "/") != 0) {
		struct err ignored;
		cleanup_close int dir = cgroup_dir(h, at, &ignored);
		cleanup_close int above = -1;
		char *slash = strrchr(at, '/');

		if (dir >= 0) {
			if (cgroup_mark_of(dir) != CGROUP_OUR_PARENT)
				return;
			above = open_child(dir, "..");
			if (above < 0 || unlinkat(above, slash + 1, AT_REMOVEDIR) < 0)
				return;
		}
		*slash = '\0';
	}
}

int
cgroup_remove_parent(const char *parent, struct err *err)
{
	cleanup_free char *path = cgroup_path(parent, NULL, err);

	if (path == NULL)
		return -1;
	for (size_t i = 0; i < cgroups.n_h; i++)
		remove_parents_in(&cgroups.h[i], path);
	return 0;
}

/* ---- what is there ------------------------------------------------------------------------- */

enum { FIND_DEPTH = 32 };

struct found {
	char **paths;
	size_t n;
};

static void
find_leaves(int dir, const char *path, int depth, struct found *found)
{
	DIR *d = depth < FIND_DEPTH ? read_dir(dir) : NULL;
	const char *name;

	if (d == NULL)
		return;
	while ((name = next_child(d)) != NULL) {
		cleanup_free char *sub = xasprintf("%s/%s", path, name);
		cleanup_close int child = open_child(dir, name);

		if (child < 0)
			continue;
		/* what is below a leaf is the container's own */
		if (cgroup_mark_of(child) == CGROUP_OUR_LEAF) {
			found->paths =
			    xrealloc(found->paths, (found->n + 1) * sizeof(*found->paths));
			found->paths[found->n++] = take_ptr(sub);
		} else {
			find_leaves(child, sub, depth + 1, found);
		}
	}
	closedir(d);
}

static int
compare_paths(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int
cgroup_foreach(
    void (*each)(const char *parent, const char *id, void *arg), void *arg, struct err *err)
{
	struct found found = {0};
	int ret = 0;

	for (size_t i = 0; i < cgroups.n_h && ret == 0; i++) {
		cleanup_close int root = cgroup_dir(&cgroups.h[i], "/", err);

		if (root < 0)
			ret = -1;
		else
			find_leaves(root, "", 0, &found);
	}
	if (found.n > 0)
		qsort(found.paths, found.n, sizeof(*found.paths), compare_paths);
	for (size_t i = 0; ret == 0 && i < found.n; i++) {
		char *slash = strrchr(found.paths[i], '/');

		if (i + 1 < found.n && strcmp(found.paths[i], found.paths[i + 1]) == 0)
			continue; /* the same in the next hierarchy */
		*slash = '\0';
		each(slash == found.paths[i] ? "/" : found.paths[i], slash + 1, arg);
		*slash = '/';
	}
	for (size_t i = 0; i < found.n; i++)
		free(found.paths[i]);
	free(found.paths);
	return ret;
}

/* ---- out of memory ------------------------------------------------------------------------- */

int
cgroup_oom_open(const char *parent, const char *id, struct err *err)
{
	cleanup_free char *path = cgroup_path(parent, id, err);
	const char *file =
	    cgroup_on_v2(CGROUP_MEMORY) ? "memory.events.local" : "memory.oom_control";
	cleanup_close int dir = -1;
	int fd;

	if (path == NULL)
		return -1;
	dir = cgroup_controller_dir(CGROUP_MEMORY, path, err);
	if (dir < 0)
		return -1;
	fd = openat(dir, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "the memory controller is not enabled in the cgroup %s", path);
	if (fd < 0)
		return err_errno(err, "open %s of %s", file, path);
	return fd;
}

int
cgroup_oom_kills(int fd, uint64_t *ret, struct err *err)
{
	char text[512];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return err_errno(err, "read the OOM kills of a cgroup");
	text[n] = '\0';
	if (!cgroup_keyed_u64(text, "oom_kill", ret))
		return err_set(err, ERR_INTERNAL, "the kernel does not count OOM kills");
	return 0;
}
