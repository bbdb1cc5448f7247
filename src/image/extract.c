/* SPDX-License-Identifier: Apache-2.0
 *
 * A layer's tar to a directory: see extract.h. extract_run() drives libarchive; entry() takes one
 * entry apart and hands it to entries.c.
 */
#include "image/extract.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/macros.h"
#include "base/str.h"
#include "image/extract_private.h"

#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"
#define AUFS_META ".wh..wh." /* aufs's own files: plnk, aufs, orph */

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

char *
extract_split(char *path)
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

int
extract_failure(struct extract *x, struct err *err)
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
		return entry_set_root(x, &it, err);
	it.name = extract_split(path);
	skip = check_parents(path, err);
	if (skip != 0)
		return skip < 0 ? -1 : 0;
	if (str_starts(it.name, AUFS_META) && strcmp(it.name, OPAQUE) != 0)
		return 0;
	if (walk_enter(w, path, err) < 0 || entry_spend(x, 4096, err) < 0)
		return -1;
	if (strcmp(it.name, OPAQUE) == 0)
		return entry_mark_opaque(x, w->path, err);
	if (str_starts(it.name, WHITEOUT))
		return entry_make_whiteout(x, &it, it.name + strlen(WHITEOUT), err);
	if (strlen(it.name) > NAME_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "name too long");
	it.owned = it.uid != 0 || it.gid != 0 || w->setgid;
	return entry_make(x, &it, err);
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
			return extract_failure(x, err);
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
	entry_spend_now(x);
	if (entry_spend(x, 0, err) < 0)
		return -1;
	if (x->n_first == 0)
		return 0; /* no bytes at all are an empty tar, as Go's reader has it */
	x->archive = archive_read_new();
	x->entry = archive_entry_new();
	if (x->archive == NULL || x->entry == NULL)
		abort(); /* out of memory */
	if (archive_read_support_format_tar(x->archive) != ARCHIVE_OK ||
	    archive_read_open(x->archive, x, NULL, on_read, NULL) != ARCHIVE_OK)
		return extract_failure(x, err);
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
