/* SPDX-License-Identifier: Apache-2.0
 *
 * Control groups: names, creation, and what a launch needs of them. See cgroup.h.
 */
#include "exec/cgroup.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/cgroup_impl.h"

/* ---- names --------------------------------------------------------------------------------- */

bool
cgroup_name_valid(const char *s)
{
	return *s != '\0' && strlen(s) <= 255 && strpbrk(s, "/\n") == NULL && strcmp(s, ".") != 0 &&
	       strcmp(s, "..") != 0;
}

/* "/a/b/c.slice" or "c.slice" to the path systemd gives c.slice: its dashes are its ancestors
 * (systemd.slice(5)): "x-y.slice" lives in "/x.slice/x-y.slice". */
static int
slice_path(const char *parent, struct buf *path, struct err *err)
{
	const char *base = strrchr(parent, '/') != NULL ? strrchr(parent, '/') + 1 : parent;
	size_t stem = strlen(base);

	if (!str_ends(base, ".slice") || stem == strlen(".slice"))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "cgroup parent '%s' is no slice, as the systemd cgroup driver wants it",
		    parent);
	stem -= strlen(".slice");
	if (stem == 1 && *base == '-') /* the root slice */
		return 0;
	if (*base == '-' || base[stem - 1] == '-')
		return err_set(err, ERR_INVALID_ARGUMENT, "'%s' is no name of a slice", base);
	for (size_t i = 1; i <= stem; i++) {
		if (i < stem && base[i] == '-' && base[i - 1] == '-')
			return err_set(
			    err, ERR_INVALID_ARGUMENT, "'%s' is no name of a slice", base);
		if (i == stem || base[i] == '-')
			buf_addf(path, "/%.*s.slice", (int)i, base);
	}
	return 0;
}

char *
cgroup_path(const char *parent, const char *id, struct err *err)
{
	bool systemd = cgroups.info.driver == CGROUP_DRIVER_SYSTEMD;
	cleanup_free char *fallback =
	    xasprintf(systemd ? "/%s.slice" : "/%s", STR_OR_EMPTY(cgroups.instance));
	const char *from = str_empty(parent) ? fallback : parent;
	cleanup_free char *copy = xstrdup(from);
	cleanup_buf struct buf path = BUF_INIT;
	char *save = NULL;

	if (*from != '/' && !systemd) {
		err_set(err, ERR_INVALID_ARGUMENT, "cgroup parent '%s' is not absolute", from);
		return NULL;
	}
	for (char *w = strtok_r(copy, "/", &save); w != NULL; w = strtok_r(NULL, "/", &save)) {
		if (strcmp(w, ".") == 0)
			continue;
		if (!cgroup_name_valid(w)) {
			err_set(err, ERR_INVALID_ARGUMENT,
			    "cgroup parent '%s' has the component '%s'", from, w);
			return NULL;
		}
		if (!systemd)
			buf_addf(&path, "/%s", w);
	}
	if (systemd && slice_path(from, &path, err) < 0)
		return NULL;
	if (id != NULL && !cgroup_name_valid(id)) {
		err_set(err, ERR_INVALID_ARGUMENT, "'%s' is no name of a cgroup", id);
		return NULL;
	}
	if (id != NULL)
		buf_addf(&path, systemd ? "/coracle-%s.scope" : "/%s", id);
	if (path.len == 0)
		buf_addch(&path, '/');
	if (path.len >= 4096) {
		err_set(
		    err, ERR_INVALID_ARGUMENT, "cgroup path of %zu bytes is too long", path.len);
		return NULL;
	}
	return buf_detach(&path);
}

char *
cgroup_path_below_root(const char *parent, const char *id, struct err *err)
{
	char *path = cgroup_path(parent, id, err);

	if (path != NULL && strcmp(path, "/") == 0) {
		free(path);
		err_set(err, ERR_INVALID_ARGUMENT, "the root cgroup is not ours to change");
		return NULL;
	}
	return path;
}

/* ---- directories and files ----------------------------------------------------------------- */

/* The path is computed by us, but what it leads through may be anyone's: nothing is followed. */
static int
open_below(int dir, const char *path)
{
	while (*path == '/')
		path++;
	return fd_openat2(dir, *path != '\0' ? path : ".", O_RDONLY | O_DIRECTORY, 0,
	    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

int
cgroup_dir(const struct cgroup_hierarchy *h, const char *path, struct err *err)
{
	int fd = open_below(h->fd, path);

	if (fd < 0 && (errno == ENOENT || errno == ENODEV))
		return err_set(
		    err, ERR_NOT_FOUND, "no cgroup %s in the hierarchy %s", path, h->name);
	if (fd < 0)
		return err_errno(err, "open the cgroup %s in the hierarchy %s", path, h->name);
	return fd;
}

int
cgroup_controller_dir(enum cgroup_controller c, const char *path, struct err *err)
{
	if (!cgroup_has(c))
		return err_set(err, ERR_FAILED_PRECONDITION, "this host has no %s controller",
		    cgroup_controller_name(c));
	return cgroup_dir(&cgroups.h[cgroups.of[c]], path, err);
}

int
cgroup_file_read(int dir, const char *file, char *buf, size_t size)
{
	cleanup_close int fd = openat(dir, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t used = 0;
	ssize_t n;

	assert(size > 0);
	if (fd < 0)
		return -1;
	while (used < size - 1) {
		n = read(fd, buf + used, size - 1 - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	if (used > 0 && buf[used - 1] == '\n')
		used--;
	buf[used] = '\0';
	return (int)used;
}

int
cgroup_file_write(int dir, const char *file, const char *value)
{
	cleanup_close int fd = openat(dir, file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0)
		return -1;
	do
		n = write(fd, value, strlen(value));
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 0;
}

bool
cgroup_file_exists(int dir, const char *file)
{
	struct stat st;

	return fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int
cgroup_file_u64(int dir, const char *file, uint64_t *ret)
{
	char text[64];

	if (cgroup_file_read(dir, file, text, sizeof(text)) < 0)
		return -1;
	if (strcmp(text, "max") == 0 || strcmp(text, "-1") == 0) {
		*ret = UINT64_MAX;
		return 0;
	}
	if (str_u64(text, 10, UINT64_MAX, ret) < 0) {
		errno = EBADMSG;
		return -1;
	}
	/* v1's "no limit" is LONG_MAX in pages, whatever the page size */
	if (*ret >= UINT64_C(1) << 62)
		*ret = UINT64_MAX;
	return 0;
}

bool
cgroup_keyed_u64(const char *text, const char *key, uint64_t *ret)
{
	size_t n = strlen(key);

	for (const char *line = text; line != NULL && *line != '\0';) {
		const char *end = strchr(line, '\n');

		if (strncmp(line, key, n) == 0 && line[n] == ' ') {
			char number[32];
			size_t len = strcspn(line + n + 1, "\n");

			if (len >= sizeof(number))
				return false;
			memcpy(number, line + n + 1, len);
			number[len] = '\0';
			return str_u64(number, 10, UINT64_MAX, ret) == 0;
		}
		line = end != NULL ? end + 1 : NULL;
	}
	return false;
}

/* ---- creation ------------------------------------------------------------------------------ */

enum cgroup_mark
cgroup_mark_of(int dir)
{
	char value[320];
	ssize_t n = fgetxattr(dir, CGROUP_MARK, value, sizeof(value) - 1);
	size_t len = strlen(cgroups.instance);

	if (n < 0)
		return CGROUP_FOREIGN;
	value[n] = '\0';
	if (strncmp(value, cgroups.instance, len) != 0)
		return CGROUP_FOREIGN;
	if (value[len] == '\0')
		return CGROUP_OUR_PARENT;
	return strcmp(value + len, ":leaf") == 0 ? CGROUP_OUR_LEAF : CGROUP_FOREIGN;
}

void
cgroup_enable_controllers(const struct cgroup_hierarchy *h, int dir)
{
	char available[512], enabled[512], word[32];
	cleanup_buf struct buf missing = BUF_INIT;
	unsigned want = 0;

	if (!h->v2 || h->controllers == 0 ||
	    cgroup_file_read(dir, "cgroup.controllers", available, sizeof(available)) < 0 ||
	    cgroup_file_read(dir, "cgroup.subtree_control", enabled, sizeof(enabled)) < 0)
		return;
	want = cgroup_parse_controllers(available, " ", true) & h->controllers &
	       ~cgroup_parse_controllers(enabled, " ", true);
	for (int c = 0; c < CGROUP_N_CONTROLLERS; c++)
		if (want & 1u << c)
			buf_addf(&missing, "+%s ", cgroup_controller_name(c));
	if (missing.len == 0 || cgroup_file_write(dir, "cgroup.subtree_control", missing.data) == 0)
		return;
	/* one that cannot be had (cpu, with realtime processes about) must not keep the others away
	 */
	for (int c = 0; c < CGROUP_N_CONTROLLERS; c++) {
		if ((want & 1u << c) == 0)
			continue;
		snprintf(word, sizeof(word), "+%s", cgroup_controller_name(c));
		(void)cgroup_file_write(dir, "cgroup.subtree_control", word);
	}
}

/* A v1 cpuset without processors and memory nodes takes no process: give it its parent's. */
static int
inherit_cpuset(int parent, int dir)
{
	static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
	char value[4096];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (cgroup_file_read(dir, files[i], value, sizeof(value)) < 0)
			return -1;
		if (*value != '\0')
			continue;
		if (cgroup_file_read(parent, files[i], value, sizeof(value)) < 0 ||
		    cgroup_file_write(dir, files[i], value) < 0)
			return -1;
	}
	return 0;
}

/* One level. Returns its directory, or -1 with errno; *made tells whether it is new. */
static int
make_level(const struct cgroup_hierarchy *h, int parent, const char *name, bool leaf, bool *made)
{
	cleanup_free char *mark = NULL;
	cleanup_close int dir = -1;

	*made = false;
	cgroup_enable_controllers(h, parent);
	if (mkdirat(parent, name, 0755) == 0)
		*made = true;
	else if (errno != EEXIST)
		return -1;
	dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return -1;
	if (*made) {
		/* without the privilege for it, what we made just stays when it is empty */
		mark = xasprintf("%s%s", cgroups.instance, leaf ? ":leaf" : "");
		(void)fsetxattr(dir, CGROUP_MARK, mark, strlen(mark), 0);
	}
	if (h->controllers & 1u << CGROUP_CPUSET && !h->v2 && inherit_cpuset(parent, dir) < 0)
		return -1;
	return take_fd(dir);
}

/* Remove the lowest n levels of path again; what is not empty any more stays. */
static void
unmake_levels(const struct cgroup_hierarchy *h, const char *path, size_t n)
{
	cleanup_free char *copy = xstrdup(path);

	for (; n > 0; n--) {
		char *slash = strrchr(copy, '/');
		int parent;

		*slash = '\0';
		parent = open_below(h->fd, copy);
		if (parent < 0)
			return;
		(void)unlinkat(parent, slash + 1, AT_REMOVEDIR);
		close(parent);
	}
}

/* All levels in one hierarchy; *ret_made counts the new ones, which are the lowest. On failure none
 * of them is left. */
static int
make_in(const struct cgroup_hierarchy *h, const char *path, bool leaf, size_t *ret_made,
    struct err *err)
{
	cleanup_free char *copy = xstrdup(path);
	cleanup_close int dir = fcntl(h->fd, F_DUPFD_CLOEXEC, 3);
	size_t depth = 0, made = 0;
	char *save = NULL, *next;

	if (dir < 0)
		return err_errno(err, "open the hierarchy %s", h->name);
	for (char *w = strtok_r(copy, "/", &save); w != NULL; w = next, depth++) {
		bool is_new;
		int child;

		next = strtok_r(NULL, "/", &save);
		child = make_level(h, dir, w, leaf && next == NULL, &is_new);
		made += is_new;
		if (child < 0) {
			cleanup_free char *to_here = xstrndup(path, (size_t)(w - copy) + strlen(w));

			err_errno(err, "make the cgroup %s in the hierarchy %s", to_here, h->name);
			unmake_levels(h, to_here, made);
			return -1;
		}
		close(dir);
		dir = child;
	}
	*ret_made = made;
	return 0;
}

int
cgroup_create(const char *parent, const char *id, struct err *err)
{
	cleanup_free char *path = NULL;
	size_t made[CGROUP_MAX_HIERARCHIES];

	path = cgroup_path_below_root(parent, id, err);
	if (path == NULL)
		return -1;
	if (cgroups.info.driver == CGROUP_DRIVER_SYSTEMD)
		return cgroup_exists(parent, id)
			   ? 0
			   : err_set(err, ERR_FAILED_PRECONDITION,
				 "there is no cgroup %s, and systemd is to make it", path);
	for (size_t i = 0; i < cgroups.n_h; i++) {
		if (make_in(&cgroups.h[i], path, id != NULL, &made[i], err) == 0)
			continue;
		while (i-- > 0)
			unmake_levels(&cgroups.h[i], path, made[i]);
		return -1;
	}
	return 0;
}

bool
cgroup_exists(const char *parent, const char *id)
{
	struct err ignored;
	cleanup_free char *path = cgroup_path(parent, id, &ignored);

	for (size_t i = 0; path != NULL && i < cgroups.n_h; i++) {
		cleanup_close int dir = open_below(cgroups.h[i].fd, path);

		if (dir >= 0)
			return true;
	}
	return false;
}

bool
cgroup_parent_is_ours(const char *parent)
{
	struct err ignored;
	cleanup_free char *path = cgroup_path_below_root(parent, NULL, &ignored);
	bool ours = false;

	for (size_t i = 0; path != NULL && i < cgroups.n_h; i++) {
		cleanup_close int dir = open_below(cgroups.h[i].fd, path);

		if (dir >= 0 && cgroup_mark_of(dir) != CGROUP_OUR_PARENT)
			return false;
		ours = ours || dir >= 0;
	}
	return ours;
}

int
cgroup_open(const char *parent, const char *id, struct cgroup_fds *ret, struct err *err)
{
	cleanup_free char *path = cgroup_path_below_root(parent, id, err);
	struct cgroup_fds fds = CGROUP_FDS_INIT;

	if (path == NULL)
		return -1;
	for (size_t i = 0; i < cgroups.n_h; i++) {
		cleanup_close int dir = cgroup_dir(&cgroups.h[i], path, err);
		int procs;

		/* systemd keeps its scopes only in the hierarchies that it uses */
		if (dir < 0 && err->code == ERR_NOT_FOUND && !cgroups.h[i].v2 &&
		    cgroups.info.driver == CGROUP_DRIVER_SYSTEMD)
			continue;
		if (dir < 0)
			goto fail;
		if (cgroups.h[i].v2) {
			fds.dir = take_fd(dir);
			continue;
		}
		procs = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		if (procs < 0) {
			err_errno(err, "open cgroup.procs of %s in the hierarchy %s", path,
			    cgroups.h[i].name);
			goto fail;
		}
		fds.procs[fds.n_procs++] = procs;
	}
	*ret = fds;
	return 0;
fail:
	cgroup_fds_release(&fds);
	return -1;
}

void
cgroup_fds_release(struct cgroup_fds *fds)
{
	fd_closep(&fds->dir);
	for (size_t i = 0; i < fds->n_procs; i++)
		fd_closep(&fds->procs[i]);
	fds->n_procs = 0;
}
