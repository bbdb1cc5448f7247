/* SPDX-License-Identifier: Apache-2.0
 *
 * Listing an archive: see scan.h. In the worker: spool() where needed, then list_tar() or
 * list_dir(), which put() each member.
 */
#include "image/scan.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/config.h"
#include "image/confine.h"
#include "image/extract.h"
#include "image/inflate.h"

enum { READ_SIZE = 64 << 10, DIR_DEPTH_MAX = 6, LINKS_MAX = 8, MEMORY = 256 << 20 };

/* One member on its way to the daemon; name, link and JSON follow, each with a NUL. */
struct wire {
	int64_t at, size;
	uint32_t n_name, n_link, n_json; /* with their NULs; 0: none */
};

struct wire_head {
	char magic[8];
	uint64_t spooled;
};
static const char magic[8] = "scan..1";

struct lister {
	const struct scan_job *job;
	int out;
	int fd; /* the tar */
	int64_t at, size;
	char *buf;
	size_t n, json_bytes;
	struct inflate inflate;
	/* the member whose place is known when the next one begins */
	bool pending;
	struct wire wire;
	struct buf name, link, json;
};

/* ---- in the worker ------------------------------------------------------------------------ */

static int
put(struct lister *l, struct err *err)
{
	struct wire *w = &l->wire;

	if (++l->n > SCAN_MEMBERS_MAX)
		return err_set(
		    err, ERR_RESOURCE_EXHAUSTED, "more than %d members", SCAN_MEMBERS_MAX);
	l->json_bytes += l->json.len;
	if (l->json_bytes > SCAN_JSON_MAX)
		return err_set(
		    err, ERR_RESOURCE_EXHAUSTED, "more than %d bytes of JSON", SCAN_JSON_MAX);
	w->n_name = (uint32_t)l->name.len + 1;
	w->n_link = l->link.len > 0 ? (uint32_t)l->link.len + 1 : 0;
	w->n_json = l->json.len > 0 ? (uint32_t)l->json.len + 1 : 0;
	if (fd_write_all(l->out, w, sizeof(*w)) < 0 ||
	    fd_write_all(l->out, l->name.data, w->n_name) < 0 ||
	    fd_write_all(l->out, l->link.data, w->n_link) < 0 ||
	    fd_write_all(l->out, l->json.data, w->n_json) < 0)
		return err_errno(err, "report a member");
	l->pending = false;
	return 0;
}

static void
begin(struct lister *l, const char *name)
{
	l->wire = (struct wire){0};
	buf_truncate(&l->name, 0);
	buf_truncate(&l->link, 0);
	buf_truncate(&l->json, 0);
	buf_addstr(&l->name, name);
}

/* The first character decides; a NUL inside is no JSON. */
static bool
is_json(const struct buf *b)
{
	size_t skip = b->len > 0 ? strspn(b->data, " \t\r\n") : 0;

	return skip < b->len && (b->data[skip] == '{' || b->data[skip] == '[') &&
	       memchr(b->data, '\0', b->len) == NULL;
}

static ssize_t
on_packed(struct inflate *z, void *p, size_t n, struct err *err)
{
	struct lister *l = container_of(z, struct lister, inflate);
	ssize_t got;

	do
		got = read(l->job->in, p, n);
	while (got < 0 && errno == EINTR);
	return got < 0 ? err_errno(err, "read the archive") : got;
}

/* Does the archive have to be copied? A pipe, or compressed. */
static int
needs_spool(struct lister *l, bool *ret, struct err *err)
{
	struct stat st;
	unsigned char head[4] = {0};

	if (fstat(l->job->in, &st) < 0)
		return err_errno(err, "stat the archive");
	*ret = true;
	if (!S_ISREG(st.st_mode))
		return 0;
	if (pread(l->job->in, head, sizeof(head), 0) < 0)
		return err_errno(err, "read the archive");
	/* Anything that inflate would not pass through; what it refuses, it refuses by name. */
	*ret = memcmp(head, "\x1f\x8b", 2) == 0 || memcmp(head, "\x28\xb5\x2f\xfd", 4) == 0 ||
	       memcmp(head, "BZh", 3) == 0 ||
	       memcmp(head,
	           "\xfd"
	           "7zX",
	           4) == 0;
	return 0;
}

static int
spool(struct lister *l, struct err *err)
{
	const void *p;
	ssize_t n;
	uint64_t unchecked = UINT64_MAX / 2;
	struct statfs fs;
	int ret = 0;

	if (lseek(l->job->in, 0, SEEK_SET) < 0 && errno != ESPIPE)
		return err_errno(err, "rewind the archive");
	inflate_init(&l->inflate, on_packed);
	while (ret == 0 && (n = inflate_next(&l->inflate, &p, err)) != 0) {
		if (n < 0) {
			ret = -1;
			break;
		}
		unchecked += (uint64_t)n;
		if (unchecked > 32 << 20 && fstatfs(l->job->spool, &fs) == 0) {
			unchecked = 0;
			if (fs.f_bavail < fs.f_blocks / 100)
				ret = err_set(err, ERR_RESOURCE_EXHAUSTED,
				    "no room for the uncompressed archive");
		}
		if (ret == 0 && fd_write_all(l->job->spool, p, (size_t)n) < 0)
			ret = err_errno(err, "write the uncompressed archive");
	}
	inflate_release(&l->inflate);
	return ret;
}

static la_ssize_t
on_read(struct archive *a, void *data, const void **ret)
{
	struct lister *l = data;
	ssize_t n;

	do
		n = pread(l->fd, l->buf, READ_SIZE, l->at);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		archive_set_error(a, errno, "read");
		return -1;
	}
	l->at += n;
	*ret = l->buf;
	return n;
}

static la_int64_t
on_skip(struct archive *a, void *data, la_int64_t n)
{
	struct lister *l = data;

	(void)a;
	n = MAX(0, MIN(n, l->size - l->at));
	l->at += n;
	return n;
}

static int
tar_error(struct archive *a, struct err *err)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "bad tar archive: %s",
	    archive_error_string(a) != NULL ? archive_error_string(a) : "unreadable");
}

/* Targets are relative to the directory of the link, or, hard links, to the root. */
static int
set_link(struct lister *l, const char *target, bool from_root, struct err *err)
{
	cleanup_buf struct buf full = BUF_INIT;
	char clean[PATH_MAX];
	const char *slash = strrchr(l->name.data, '/');

	if (!from_root && *target != '/' && slash != NULL)
		buf_add(&full, l->name.data, (size_t)(slash - l->name.data));
	/* "../<id>/layer.tar", as old versions of docker save write it */
	while (!from_root && str_starts(target, "../") && full.len > 0) {
		while (full.len > 0 && full.data[--full.len] != '/')
			continue;
		buf_truncate(&full, full.len);
		target += 3;
	}
	if (full.len > 0)
		buf_addch(&full, '/');
	buf_addstr(&full, target);
	if (!extract_clean_name(full.data, clean))
		return err_set(err, ERR_INVALID_ARGUMENT, "link %.100s leads out of the archive",
		    l->name.data);
	buf_addstr(&l->link, clean);
	return 0;
}

static int
read_json(struct lister *l, struct archive *a, int64_t size, struct err *err)
{
	size_t left = (size_t)size;

	while (left > 0) {
		/* Decide by the beginning, without reading megabytes of a layer. */
		size_t want = l->json.len == 0 ? MIN(left, 512) : left;
		la_ssize_t n = archive_read_data(a, buf_reserve(&l->json, want), want);

		if (n < 0)
			return tar_error(a, err);
		if (n == 0)
			return err_set(
			    err, ERR_INVALID_ARGUMENT, "%.100s is cut short", l->name.data);
		buf_grew(&l->json, (size_t)n);
		left -= (size_t)n;
		if (!is_json(&l->json))
			break;
	}
	if (!is_json(&l->json))
		buf_truncate(&l->json, 0);
	return 0;
}

static int
list_entry(struct lister *l, struct archive *a, struct archive_entry *e, struct err *err)
{
	const char *raw = archive_entry_pathname(e);
	const char *hard = archive_entry_hardlink(e), *sym = archive_entry_symlink(e);
	char name[PATH_MAX];

	if (raw == NULL || !extract_clean_name(raw, name))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "member with a bad name: %.100s", STR_OR_EMPTY(raw));
	if (*name == '\0')
		return 0;
	begin(l, name);
	if (hard != NULL || sym != NULL) {
		if (set_link(l, hard != NULL ? hard : sym, hard != NULL, err) < 0)
			return -1;
		l->pending = true;
		return 0;
	}
	if (archive_entry_filetype(e) != AE_IFREG || archive_entry_sparse_count(e) > 0)
		return 0;
	l->wire.size = archive_entry_size(e);
	l->pending = true;
	return l->wire.size > 0 && l->wire.size <= IMAGE_CONFIG_MAX
	           ? read_json(l, a, l->wire.size, err)
	           : 0;
}

/* A member's content ends, padded, where the header of the next one begins. */
static int
settle(struct lister *l, struct archive *a, struct err *err)
{
	int64_t end = archive_read_header_position(a);

	if (!l->pending)
		return 0;
	l->wire.at = end - (l->wire.size + 511) / 512 * 512;
	if (l->wire.size < 0 || l->wire.at < 0 || end > l->size)
		return err_set(err, ERR_INVALID_ARGUMENT, "%.100s is cut short", l->name.data);
	return put(l, err);
}

static int
list_tar(struct lister *l, struct err *err)
{
	struct archive *a = archive_read_new();
	struct archive_entry *e = archive_entry_new();
	int ret, status = 0;

	if (a == NULL || e == NULL)
		abort(); /* out of memory */
	if (archive_read_support_format_tar(a) != ARCHIVE_OK ||
	    archive_read_set_read_callback(a, on_read) != ARCHIVE_OK ||
	    archive_read_set_skip_callback(a, on_skip) != ARCHIVE_OK ||
	    archive_read_set_callback_data(a, l) != ARCHIVE_OK ||
	    archive_read_open1(a) != ARCHIVE_OK)
		status = tar_error(a, err);
	while (status == 0) {
		ret = archive_read_next_header2(a, e);
		if (ret != ARCHIVE_OK && ret != ARCHIVE_EOF && ret != ARCHIVE_WARN)
			status = tar_error(a, err);
		else
			status = settle(l, a, err);
		if (ret == ARCHIVE_EOF)
			break;
		if (status == 0)
			status = list_entry(l, a, e, err);
	}
	archive_entry_free(e);
	archive_read_free(a);
	return status;
}

static int list_dir(struct lister *l, int dirfd, const char *prefix, int depth, struct err *err);

static int
list_dir_entry(
    struct lister *l, int dirfd, const char *name, const char *path, int depth, struct err *err)
{
	char target[PATH_MAX];
	struct stat st;
	ssize_t n;
	int fd;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(err, "stat %s", path);
	if (S_ISDIR(st.st_mode)) {
		fd = depth < DIR_DEPTH_MAX
		         ? openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
		         : -1;
		if (fd < 0)
			return depth < DIR_DEPTH_MAX ? err_errno(err, "open %s", path) : 0;
		return list_dir(l, fd, path, depth + 1, err);
	}
	begin(l, path);
	if (S_ISLNK(st.st_mode)) {
		n = readlinkat(dirfd, name, target, sizeof(target) - 1);
		if (n < 0)
			return err_errno(err, "read the link %s", path);
		target[n] = '\0';
		return set_link(l, target, false, err) < 0 ? -1 : put(l, err);
	}
	if (!S_ISREG(st.st_mode))
		return 0;
	l->wire.size = st.st_size;
	if (st.st_size > 0 && st.st_size <= IMAGE_CONFIG_MAX) {
		cleanup_close int file =
		    openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

		if (file < 0)
			return err_errno(err, "open %s", path);
		/* Decide by the beginning, then read the whole. */
		n = read(file, target, 256);
		if (n > 0) {
			buf_add(&l->json, target, (size_t)n);
			if (is_json(&l->json) &&
			    fd_read_all(file, IMAGE_CONFIG_MAX, &l->json, err) < 0)
				return err_wrap(err, "%s", path);
		}
		if (!is_json(&l->json))
			buf_truncate(&l->json, 0);
	}
	return put(l, err);
}

/* Consumes dirfd. */
static int
list_dir(struct lister *l, int dirfd, const char *prefix, int depth, struct err *err)
{
	DIR *dir = fdopendir(dirfd);
	struct dirent *ent;
	int ret = 0;

	if (dir == NULL) {
		close(dirfd);
		return err_errno(err, "list %s", prefix);
	}
	while (ret == 0 && (ent = readdir(dir)) != NULL) {
		cleanup_free char *path = *prefix == '\0' ? xstrdup(ent->d_name)
		                                          : xasprintf("%s/%s", prefix, ent->d_name);

		if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
			ret = list_dir_entry(l, dirfd, ent->d_name, path, depth, err);
	}
	closedir(dir);
	return ret;
}

static int
run(struct lister *l, struct err *err)
{
	const struct scan_job *job = l->job;
	struct confine_spec spec = {.rootfd = job->empty,
	    .caps = UINT64_C(1) << CAP_DAC_READ_SEARCH,
	    .readonly = true,
	    .memory = MEMORY};
	struct wire_head head = {.spooled = false};
	struct stat st;
	bool copy = false;

	extract_prepare();
	if (confine_enter(&spec, err) < 0)
		return -1;
	if (!job->is_dir && needs_spool(l, &copy, err) < 0)
		return -1;
	memcpy(head.magic, magic, sizeof(magic));
	head.spooled = copy;
	if (fd_write_all(l->out, &head, sizeof(head)) < 0)
		return err_errno(err, "report the members");
	if (job->is_dir) {
		int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		return fd < 0 ? err_errno(err, "open the directory") : list_dir(l, fd, "", 0, err);
	}
	if (copy && spool(l, err) < 0)
		return -1;
	l->fd = copy ? job->spool : job->in;
	if (fstat(l->fd, &st) < 0)
		return err_errno(err, "stat the archive");
	l->size = st.st_size;
	l->buf = xmalloc(READ_SIZE);
	return list_tar(l, err);
}

int
scan_worker(const void *arg, int out, struct err *err)
{
	struct lister l = {.job = arg, .out = out};
	int ret = run(&l, err);

	if (ret < 0)
		confine_printable(err);
	free(l.buf);
	buf_release(&l.name);
	buf_release(&l.link);
	buf_release(&l.json);
	return ret;
}

/* ---- in the daemon ------------------------------------------------------------------------ */

static int
compare(const void *a, const void *b)
{
	return strcmp(((const struct scan_member *)a)->name, ((const struct scan_member *)b)->name);
}

static int
compare_with_place(const void *a, const void *b)
{
	const struct scan_member *x = a, *y = b;
	int ret = compare(a, b);

	return ret != 0 ? ret : (x->at > y->at) - (x->at < y->at);
}

/* Of members of one name the last counts, as when a tar is extracted. */
static void
sort(struct scan *s)
{
	size_t n = 0;

	if (s->n > 0)
		qsort(s->members, s->n, sizeof(*s->members), compare_with_place);
	for (size_t i = 0; i < s->n; i++)
		if (i + 1 == s->n || compare(&s->members[i], &s->members[i + 1]) != 0)
			s->members[n++] = s->members[i];
	s->n = n;
}

/* One member from text at *at; the worker is not trusted to be well-behaved. */
static int
parse_member(const struct buf *b, size_t *at, struct scan_member *m)
{
	const char *p;
	struct wire w;
	size_t n;

	if (b->len - *at < sizeof(w))
		return -1;
	memcpy(&w, b->data + *at, sizeof(w));
	*at += sizeof(w);
	n = (size_t)w.n_name + w.n_link + w.n_json;
	p = b->data + *at;
	if (w.n_name == 0 || n > b->len - *at || w.at < 0 || w.size < 0 ||
	    strnlen(p, w.n_name) != w.n_name - 1)
		return -1;
	*m = (struct scan_member){.name = p, .at = w.at, .size = w.size};
	p += w.n_name;
	if (w.n_link > 0) {
		if (strnlen(p, w.n_link) != w.n_link - 1)
			return -1;
		m->link = p;
	}
	p += w.n_link;
	if (w.n_json > 0) {
		if (strnlen(p, w.n_json) != w.n_json - 1 || w.n_json - 1 != w.size)
			return -1;
		m->json = p;
	}
	*at += n;
	return 0;
}

int
scan_parse(const struct buf *out, struct scan *ret, struct err *err)
{
	struct scan s = {.text = BUF_INIT};
	struct wire_head head;
	size_t at = sizeof(head), cap = 0;

	if (out->len < sizeof(head) ||
	    (memcpy(&head, out->data, sizeof(head)), memcmp(head.magic, magic, sizeof(magic)) != 0))
		return err_set(err, ERR_INTERNAL, "the scan worker's result is malformed");
	s.spooled = head.spooled != 0;
	buf_add(&s.text, out->data, out->len);
	while (at < s.text.len) {
		if (s.n == cap) {
			cap = cap == 0 ? 64 : cap * 2;
			s.members = xrealloc(s.members, cap * sizeof(*s.members));
		}
		if (s.n == SCAN_MEMBERS_MAX || parse_member(&s.text, &at, &s.members[s.n]) < 0) {
			scan_release(&s);
			return err_set(err, ERR_INTERNAL, "the scan worker's result is malformed");
		}
		s.n++;
	}
	sort(&s);
	*ret = s;
	return 0;
}

void
scan_release(struct scan *s)
{
	free(s->members);
	buf_release(&s->text);
	*s = (struct scan){0};
}

const struct scan_member *
scan_find(const struct scan *s, const char *name)
{
	for (int links = 0; links < LINKS_MAX; links++) {
		const struct scan_member key = {.name = name};
		const struct scan_member *m =
		    s->n > 0 ? bsearch(&key, s->members, s->n, sizeof(*m), compare) : NULL;

		if (m == NULL || m->link == NULL)
			return m;
		name = m->link;
	}
	return NULL;
}
