/* SPDX-License-Identifier: Apache-2.0
 *
 * Users and groups of an image: see user.h.
 *
 * The files are looked at by length, not as strings: a NUL in them is a byte like another. What
 * they cannot do: block us (a FIFO, a device), lead out of the image (a link), fill our memory, or
 * turn an overflowing number into a small one.
 */
#include "exec/user.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"

enum { FILE_MAX = 4 << 20, NAME_MAX_LEN = 256 };

/* ---- text ---------------------------------------------------------------------------------- */

struct slice {
	const char *p;
	size_t n;
};

static bool
slice_is(struct slice s, const char *text)
{
	return strlen(text) == s.n && memcmp(s.p, text, s.n) == 0;
}

/* Cut off what is before the separator; the rest is left in *s. False when *s was empty. */
static bool
slice_cut(struct slice *s, char separator, struct slice *ret)
{
	const char *end = s->n > 0 ? memchr(s->p, separator, s->n) : NULL;

	if (s->p == NULL)
		return false;
	ret->p = s->p;
	ret->n = end != NULL ? (size_t)(end - s->p) : s->n;
	if (end != NULL)
		*s = (struct slice){end + 1, s->n - ret->n - 1};
	else
		*s = (struct slice){NULL, 0};
	return true;
}

static int
slice_id(struct slice s, uint32_t *ret)
{
	char text[16];

	if (s.n == 0 || s.n >= sizeof(text) || memchr(s.p, '\0', s.n) != NULL)
		return -1;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	return user_parse_id(text, ret);
}

int
user_parse_id(const char *s, uint32_t *ret)
{
	return str_u32(s, USER_MAX_ID, ret);
}

static bool
all_digits(const char *s)
{
	return str_only(s, "0123456789");
}

/* ---- the files ----------------------------------------------------------------------------- */

struct entry {
	struct slice name, uid, gid, home, members;
};

/* The next line that could be an entry. NIS' "+" lines and comments are none. */
static bool
next_entry(struct slice *text, bool is_group, struct entry *ret)
{
	struct slice line, ignored;

	while (slice_cut(text, '\n', &line)) {
		struct entry e = {0};

		if (line.n == 0 || strchr("#+-", *line.p) != NULL)
			continue;
		if (!slice_cut(&line, ':', &e.name) || !slice_cut(&line, ':', &ignored) ||
		    e.name.n == 0)
			continue;
		if (is_group) {
			if (!slice_cut(&line, ':', &e.gid))
				continue;
			(void)slice_cut(&line, ':', &e.members);
		} else {
			if (!slice_cut(&line, ':', &e.uid) || !slice_cut(&line, ':', &e.gid))
				continue;
			if (slice_cut(&line, ':', &ignored))
				(void)slice_cut(&line, ':', &e.home);
		}
		*ret = e;
		return true;
	}
	return false;
}

/* The first entry with this name, or when that is NULL with this number. */
static bool
find_entry(
    const struct user_file *file, bool is_group, const char *name, uint32_t id, struct entry *ret)
{
	struct slice text = {file->len > 0 ? file->text : NULL, file->len};
	struct entry e;

	while (next_entry(&text, is_group, &e)) {
		uint32_t its;

		if (name != NULL ? slice_is(e.name, name)
		                 : slice_id(is_group ? e.gid : e.uid, &its) == 0 && its == id) {
			*ret = e;
			return true;
		}
	}
	return false;
}

static bool
has_member(struct slice members, const char *name)
{
	struct slice one;

	while (slice_cut(&members, ',', &one))
		if (slice_is(one, name))
			return true;
	return false;
}

/* ---- groups -------------------------------------------------------------------------------- */

struct groups {
	uint32_t *ids;
	size_t n, cap;
};

static int
add_group(struct groups *g, uint32_t id, struct err *err)
{
	if (g->n == 2 * USER_MAX_GROUPS) /* duplicates are dropped later */
		return err_set(err, ERR_INVALID_ARGUMENT, "more than %d supplementary groups",
		    USER_MAX_GROUPS);
	if (g->n == g->cap) {
		g->cap = MAX(2 * g->cap, 16);
		g->ids = xrealloc(g->ids, g->cap * sizeof(*g->ids));
	}
	g->ids[g->n++] = id;
	return 0;
}

static int
compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The primary group first, then each of the others once, in the order the kernel keeps them in. */
static int
order_groups(struct groups *g, uint32_t primary, struct err *err)
{
	size_t n = 0;

	if (g->n > 0)
		qsort(g->ids, g->n, sizeof(*g->ids), compare_ids);
	for (size_t i = 0; i < g->n; i++)
		if (g->ids[i] != primary && (n == 0 || g->ids[n - 1] != g->ids[i]))
			g->ids[n++] = g->ids[i];
	g->n = n;
	if (n >= USER_MAX_GROUPS)
		return err_set(err, ERR_INVALID_ARGUMENT, "more than %d supplementary groups",
		    USER_MAX_GROUPS);
	if (add_group(g, primary, err) < 0)
		return -1;
	memmove(g->ids + 1, g->ids, n * sizeof(*g->ids));
	g->ids[0] = primary;
	return 0;
}

static int
collect_groups(struct groups *g, const struct user_file *file, const char *user,
    const struct user_request *req, struct err *err)
{
	struct slice text = {file->len > 0 ? file->text : NULL, file->len};
	struct entry e;
	uint32_t id;

	while (!req->strict && user != NULL && next_entry(&text, true, &e)) {
		if (!has_member(e.members, user))
			continue;
		if (slice_id(e.gid, &id) < 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "/etc/group of the image: the group %.*s of %s has no valid number",
			    (int)MIN(e.name.n, 64), e.name.p, user);
		if (add_group(g, id, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < req->n_supplemental; i++) {
		if (req->supplemental[i] < 0 || req->supplemental[i] > USER_MAX_ID)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "supplemental group %" PRId64 " is not 0 … %d", req->supplemental[i],
			    USER_MAX_ID);
		if (add_group(g, (uint32_t)req->supplemental[i], err) < 0)
			return -1;
	}
	return 0;
}

/* ---- who ----------------------------------------------------------------------------------- */

/* What was asked for, taken apart: a name or a number each. */
struct wanted {
	char *user, *group; /* NULL: none */
};

static void
wanted_release(struct wanted *w)
{
	free(w->user);
	free(w->group);
}

/* "name|uid[:group|gid]" */
static int
split_image_user(const char *spec, struct wanted *ret, struct err *err)
{
	const char *colon = strchr(spec, ':');

	if (*spec == ':' || (colon != NULL && strchr(colon + 1, ':') != NULL))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "the image's user '%.80s' is not user[:group]", spec);
	ret->user = colon != NULL ? xstrndup(spec, (size_t)(colon - spec)) : xstrdup(spec);
	if (colon != NULL && colon[1] != '\0')
		ret->group = xstrdup(colon + 1);
	return 0;
}

static int
check_number(const char *what, int64_t id, struct err *err)
{
	if (id < 0 || id > USER_MAX_ID)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s %" PRId64 " is not 0 … %d", what,
		    id, USER_MAX_ID);
	return 0;
}

static int
what_is_wanted(const struct user_request *req, struct wanted *ret, struct err *err)
{
	bool named = !str_empty(req->run_as_username);

	if ((req->has_uid && check_number("run_as_user", req->uid, err) < 0) ||
	    (req->has_gid && check_number("run_as_group", req->gid, err) < 0))
		return -1;
	if (req->has_gid && !req->has_uid && !named)
		return err_set(err, ERR_INVALID_ARGUMENT, "run_as_group without run_as_user");
	if (named && strchr(req->run_as_username, ':') != NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "run_as_username '%.80s' is no name",
		    req->run_as_username);
	if (named)
		ret->user = xstrdup(req->run_as_username);
	else if (req->has_uid)
		ret->user = xasprintf("%" PRId64, req->uid);
	else if (!str_empty(req->image_user))
		return split_image_user(req->image_user, ret, err);
	else
		ret->user = xstrdup("0");
	if (req->has_gid)
		ret->group = xasprintf("%" PRId64, req->gid);
	return 0;
}

/* A string of digits is a number and nothing else, even where a file has such a name. */
static int
wanted_number(const char *what, const char *s, uint32_t *ret, struct err *err)
{
	if (user_parse_id(s, ret) < 0)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "%s %.80s is not 0 … %d", what, s, USER_MAX_ID);
	return 0;
}

static char *
clean_home(struct slice home)
{
	if (home.n == 0 || home.n > 4096 || *home.p != '/')
		return xstrdup("/");
	for (size_t i = 0; i < home.n; i++)
		if ((unsigned char)home.p[i] < ' ' || home.p[i] == 0x7f)
			return xstrdup("/");
	return xstrndup(home.p, home.n);
}

/* The user's name is kept only when it could be one: it goes to an environment and to messages. */
static char *
clean_name(struct slice name)
{
	if (name.n > NAME_MAX_LEN)
		return NULL;
	for (size_t i = 0; i < name.n; i++)
		if ((unsigned char)name.p[i] <= ' ' || name.p[i] == 0x7f)
			return NULL;
	return xstrndup(name.p, name.n);
}

static int
find_user(const struct user_file *passwd, const char *user, struct user *ret, struct err *err)
{
	bool number = all_digits(user), found;
	struct entry e = {0};

	if (number && wanted_number("user", user, &ret->uid, err) < 0)
		return -1;
	found = find_entry(passwd, false, number ? NULL : user, ret->uid, &e);
	if (!found && !number)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "no user '%.80s' in /etc/passwd of the image", user);
	if (found && (slice_id(e.uid, &ret->uid) < 0 || slice_id(e.gid, &ret->gid) < 0))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "/etc/passwd of the image: the user %.80s has no valid numbers", user);
	ret->home = clean_home(e.home);
	if (found)
		ret->name = clean_name(e.name);
	return 0;
}

static int
find_group(const struct user_file *group, const char *name, uint32_t *ret, struct err *err)
{
	struct entry e;

	if (all_digits(name))
		return wanted_number("group", name, ret, err);
	if (!find_entry(group, true, name, 0, &e))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "no group '%.80s' in /etc/group of the image", name);
	if (slice_id(e.gid, ret) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "/etc/group of the image: the group %.80s has no valid number", name);
	return 0;
}

int
user_resolve_in(const struct user_file *passwd, const struct user_file *group,
    const struct user_request *req, struct user *ret, struct err *err)
{
	struct wanted wanted = {0};
	struct groups groups = {0};
	struct user u = {0};
	int rc;

	rc = what_is_wanted(req, &wanted, err);
	if (rc == 0)
		rc = find_user(passwd, wanted.user, &u, err);
	if (rc == 0 && wanted.group != NULL)
		rc = find_group(group, wanted.group, &u.gid, err);
	if (rc == 0)
		rc = collect_groups(&groups, group, u.name, req, err);
	if (rc == 0)
		rc = order_groups(&groups, u.gid, err);
	u.groups = groups.ids;
	u.n_groups = groups.n;
	wanted_release(&wanted);
	if (rc < 0)
		user_release(&u);
	else
		*ret = u;
	return rc;
}

void
user_release(struct user *u)
{
	free(u->groups);
	free(u->home);
	free(u->name);
	*u = (struct user){0};
}

/* ---- inside the image ---------------------------------------------------------------------- */

/* Look at it before it is opened: an open alone can wait (a FIFO) or do things (a device). */
static int
read_inside(int root_fd, const char *path, struct buf *ret, struct err *err)
{
	cleanup_close int at =
	    fd_openat2(root_fd, path, O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	cleanup_close int fd = -1;
	char self[32];
	struct stat st;

	if (at < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (at < 0 && errno == ELOOP)
		return err_set(err, ERR_INVALID_ARGUMENT, "/%s of the image: too many links", path);
	if (at < 0 || fstat(at, &st) < 0)
		return err_errno(err, "open /%s of the image", path);
	if (!S_ISREG(st.st_mode))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "/%s of the image is no regular file", path);
	if (st.st_size > FILE_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "/%s of the image has %lld bytes, more than %d", path, (long long)st.st_size,
		    FILE_MAX);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", at);
	fd = open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return err_errno(err, "open /%s of the image", path);
	if (fd_read_all(fd, FILE_MAX, ret, err) < 0)
		return err_wrap(err, "/%s of the image", path);
	return 0;
}

int
user_resolve(int root_fd, const struct user_request *req, struct user *ret, struct err *err)
{
	cleanup_buf struct buf passwd = BUF_INIT, group = BUF_INIT;

	if (read_inside(root_fd, "etc/passwd", &passwd, err) < 0 ||
	    read_inside(root_fd, "etc/group", &group, err) < 0)
		return -1;
	return user_resolve_in(&(struct user_file){passwd.data, passwd.len},
	    &(struct user_file){group.data, group.len}, req, ret, err);
}

int
user_of_image(const char *image_user, struct user_of_image *ret, struct err *err)
{
	const char *spec = STR_OR_EMPTY(image_user);
	cleanup_free char *user = xstrndup(spec, strcspn(spec, ":"));
	uint32_t uid;

	if (*user == '\0') {
		*ret = (struct user_of_image){0};
		return 0;
	}
	if (!all_digits(user)) {
		*ret = (struct user_of_image){.username = take_ptr(user)};
		return 0;
	}
	if (wanted_number("the image's user", user, &uid, err) < 0)
		return -1;
	*ret = (struct user_of_image){.has_uid = true, .uid = uid};
	return 0;
}
