/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers on disk and in memory: see store_private.h. A directory goes ingest/ -> layers/ -> trash/,
 * by renames only; what is in the trash is deleted by a worker, one at a time.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/store_private.h"
#include "image/walk.h"
#include "store/db.h"

enum { TRASH_RETRY_MS = 60 * 1000 };

static void empty_trash(struct image_store *st);

void
layer_free(struct layer *l)
{
	if (l != NULL)
		free(l->key);
	free(l);
}

struct layer *
shelf_find(const struct image_store *st, const char *key)
{
	struct layer *l;

	TAILQ_FOREACH (l, &st->layers, entry)
		if (strcmp(l->key, key) == 0)
			return l;
	return NULL;
}

struct layer *
shelf_by_num(const struct image_store *st, int64_t num)
{
	struct layer *l;

	TAILQ_FOREACH (l, &st->layers, entry)
		if (l->num == num)
			return l;
	return NULL;
}

void
shelf_insert(struct image_store *st, struct layer *l)
{
	TAILQ_INSERT_TAIL(&st->layers, l, entry);
	st->bytes += l->bytes;
	st->inodes += l->inodes;
}

void
shelf_forget(struct image_store *st, struct layer *l)
{
	TAILQ_REMOVE(&st->layers, l, entry);
	st->bytes -= l->bytes;
	st->inodes -= l->inodes;
	layer_free(l);
}

int
shelf_make(struct image_store *st, char name[static TMP_NAME_SIZE], struct err *err)
{
	int fd;

	do
		snprintf(name, TMP_NAME_SIZE, "%" PRIu64, st->next_tmp++);
	while (mkdirat(st->ingest_fd, name, 0755) < 0 && errno == EEXIST);
	fd = openat(st->ingest_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, "make ingest/%s", name);
	if (fchmod(fd, 0755) < 0) {
		err_errno(err, "chmod ingest/%s", name);
		close(fd);
		return -1;
	}
	return fd;
}

int
shelf_unnamed_file(struct image_store *st, struct err *err)
{
	char name[TMP_NAME_SIZE];
	int fd = openat(st->ingest_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	/* Not every file system has O_TMPFILE. */
	snprintf(name, sizeof(name), "%" PRIu64, st->next_tmp++);
	fd = openat(st->ingest_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(err, "make a temporary file");
	unlinkat(st->ingest_fd, name, 0);
	return fd;
}

void
shelf_trash(struct image_store *st, int dirfd, const char *name)
{
	char to[TMP_NAME_SIZE];
	int ret;

	do {
		snprintf(to, sizeof(to), "%" PRIu64, st->next_tmp++);
		ret = renameat2(dirfd, name, st->trash_fd, to, RENAME_NOREPLACE);
	} while (ret < 0 && errno == EEXIST);
	/* If it stays where it is, it has no row: the next start tries again. */
	if (ret == 0)
		empty_trash(st);
}

static void
rename_back(struct image_store *st, const char *dir, const char *name)
{
	if (renameat(st->layers_fd, dir, st->ingest_fd, name) == 0)
		shelf_trash(st, st->ingest_fd, name);
}

struct layer *
shelf_publish_take(struct image_store *st, struct layer *l, const char *name, const void *implicit,
    size_t n_implicit, struct err *err)
{
	char dir[TMP_NAME_SIZE];

	if (db_begin(st->db, err) < 0)
		goto fail;
	if (rows_add_layer(st, l, implicit, n_implicit, err) < 0) {
		db_rollback(st->db);
		goto fail;
	}
	snprintf(dir, sizeof(dir), "%" PRId64, l->num);
	if (renameat2(st->ingest_fd, name, st->layers_fd, dir, RENAME_NOREPLACE) < 0) {
		err_errno(err, "rename ingest/%s to layers/%s", name, dir);
		db_rollback(st->db);
		goto fail;
	}
	if (db_commit(st->db, err) < 0) {
		db_rollback(st->db);
		rename_back(st, dir, name);
		goto fail;
	}
	l->has_implicit = n_implicit > 0;
	l->holds = 1;
	shelf_insert(st, l);
	return l;
fail:
	layer_free(l);
	return NULL;
}

/* Row, memory, directory. Without its row gone it stays, and is tried again by the next sweep. */
static void
drop(struct image_store *st, struct layer *l)
{
	char dir[TMP_NAME_SIZE];
	struct err err = {0};

	if (rows_drop_layer(st, l->num, &err) < 0)
		return;
	snprintf(dir, sizeof(dir), "%" PRId64, l->num);
	shelf_forget(st, l);
	shelf_trash(st, st->layers_fd, dir);
}

static void
on_sweep(struct loop_timer *t)
{
	struct image_store *st = container_of(t, struct image_store, sweep);
	struct layer *l, *next;
	int64_t wait = LAYER_ORPHAN_MS, now = loop_now_ms();
	bool any = false;

	for (l = TAILQ_FIRST(&st->layers); l != NULL; l = next) {
		int64_t left = l->orphaned_ms + LAYER_ORPHAN_MS - now;

		next = TAILQ_NEXT(l, entry);
		if (l->images > 0 || l->holds > 0)
			continue;
		if (left <= 0) {
			drop(st, l);
		} else {
			any = true;
			wait = MIN(wait, left);
		}
	}
	if (any)
		timer_start(&st->sweep, wait, on_sweep);
}

void
shelf_start_sweep(struct image_store *st)
{
	on_sweep(&st->sweep);
}

void
shelf_unused(struct image_store *st, struct layer *l, bool at_once)
{
	if (l->images > 0 || l->holds > 0)
		return;
	l->orphaned_ms = loop_now_ms();
	if (at_once)
		drop(st, l);
	else if (!st->sweep.armed && st->settled)
		timer_start(&st->sweep, LAYER_ORPHAN_MS, on_sweep);
}

void
layer_hold(struct image_store *st, int64_t num)
{
	struct layer *l = shelf_by_num(st, num);

	assert(l != NULL);
	l->holds++;
}

void
layer_release(struct image_store *st, int64_t num)
{
	struct layer *l = shelf_by_num(st, num);

	assert(l != NULL && l->holds > 0);
	l->holds--;
	shelf_unused(st, l, false);
}

struct trash_arg {
	int fd;
};

static int
trash_worker(const void *arg, int out, struct err *err)
{
	const struct trash_arg *t = arg;
	/* Not fdopendir(t->fd): its position is shared with every worker before. */
	int fd = openat(t->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *ent;
	struct walk w;
	int ret = 0;

	(void)out;
	if (dir == NULL)
		return err_errno(err, "open the trash");
	walk_init(&w, t->fd);
	if (walk_enter(&w, "", err) < 0)
		return -1;
	while (ret == 0 && (ent = readdir(dir)) != NULL)
		if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
			ret = walk_remove(&w, ent->d_name, err);
	walk_release(&w);
	closedir(dir);
	return ret;
}

static void
on_trash_retry(struct loop_timer *t)
{
	empty_trash(container_of(t, struct image_store, trash_retry));
}

static void
on_trash_done(struct worker *w)
{
	struct image_store *st = container_of(w, struct image_store, trash_worker);

	child_release(&w->child);
	st->trash_running = false;
	if (w->err.code != ERR_NONE)
		timer_start(&st->trash_retry, TRASH_RETRY_MS, on_trash_retry);
	else if (st->trash_again)
		empty_trash(st);
}

static void
empty_trash(struct image_store *st)
{
	const struct trash_arg arg = {.fd = st->trash_fd};
	const struct worker_spec spec = {.fn = trash_worker,
	    .arg = &arg,
	    .what = "delete",
	    .keep_fds = &st->trash_fd,
	    .n_keep = 1};
	struct err err = {0};

	st->trash_again = st->trash_running;
	if (st->trash_running)
		return;
	if (worker_start(&st->trash_worker, &spec, on_trash_done, &err) < 0)
		timer_start(&st->trash_retry, TRASH_RETRY_MS, on_trash_retry);
	else
		st->trash_running = true;
}

static int
open_dir(const char *root, const char *name, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/%s", root, name);
	int fd;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_errno(err, "mkdir %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fchmod(fd, 0700) < 0) {
		err_errno(err, "open %s", path);
		fd_closep(&fd);
		return -1;
	}
	return fd;
}

/* Every entry of a directory to the trash. */
static int
clear(struct image_store *st, int fd, struct err *err)
{
	int dup_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = dup_fd >= 0 ? fdopendir(dup_fd) : NULL;
	struct dirent *ent;

	if (dir == NULL) {
		err_errno(err, "list a directory of layers");
		fd_closep(&dup_fd);
		return -1;
	}
	while ((ent = readdir(dir)) != NULL)
		if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
			shelf_trash(st, fd, ent->d_name);
	closedir(dir);
	return 0;
}

int
shelf_open(struct image_store *st, const char *root, struct err *err)
{
	st->layers_path = xasprintf("%s/layers", root);
	if (fd_mkdir_p(AT_FDCWD, root, 0700, err) < 0)
		return -1;
	st->layers_fd = open_dir(root, "layers", err);
	st->ingest_fd = st->layers_fd < 0 ? -1 : open_dir(root, "ingest", err);
	st->trash_fd = st->ingest_fd < 0 ? -1 : open_dir(root, "trash", err);
	if (st->trash_fd < 0)
		return -1;
	if (mkdirat(st->layers_fd, "empty", 0755) < 0 && errno != EEXIST)
		return err_errno(err, "mkdir %s/empty", st->layers_path);
	if (clear(st, st->ingest_fd, err) < 0)
		return -1;
	empty_trash(st); /* what the last run left */
	return 0;
}

void
shelf_close(struct image_store *st)
{
	timer_stop(&st->trash_retry);
	timer_stop(&st->sweep);
	st->trash_again = false;
	if (st->trash_running)
		child_kill(&st->trash_worker.child, SIGKILL);
	while (st->trash_running)
		ev_run(loop, EVRUN_ONCE);
	timer_stop(&st->trash_retry); /* the kill was a failure to retry */
	fd_closep(&st->layers_fd);
	fd_closep(&st->ingest_fd);
	fd_closep(&st->trash_fd);
	while (!TAILQ_EMPTY(&st->layers))
		shelf_forget(st, TAILQ_FIRST(&st->layers));
	free(st->layers_path);
}

int
shelf_compare(struct image_store *st, struct err *err)
{
	int fd = openat(st->layers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *ent;

	if (dir == NULL) {
		err_errno(err, "list %s", st->layers_path);
		fd_closep(&fd);
		return -1;
	}
	while ((ent = readdir(dir)) != NULL) {
		struct layer *l;
		uint64_t num;
		bool is_num =
		    str_u64(ent->d_name, 10, INT64_MAX, &num) == 0 && ent->d_name[0] != '0';

		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0 ||
		    strcmp(ent->d_name, "empty") == 0)
			continue;
		l = is_num ? shelf_by_num(st, (int64_t)num) : NULL;
		if (l != NULL)
			l->on_disk = true;
		else
			shelf_trash(st, st->layers_fd, ent->d_name);
	}
	closedir(dir);
	return 0;
}
