/* SPDX-License-Identifier: Apache-2.0
 *
 * The image store: see store.h. Images and their references are a list in memory, some hundreds at
 * most; layers are in shelf.c, new images in commit.c, rows in rows.c.
 */
#include "image/store.h"

#include <assert.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/config.h"
#include "image/ref.h"
#include "image/store_private.h"
#include "store/db.h"

/* ---- references of one image -------------------------------------------------------------- */

static void
list_add(char ***list, size_t *n, const char *s)
{
	*list = xrealloc(*list, (*n + 1) * sizeof(**list));
	(*list)[(*n)++] = xstrdup(s);
}

static ssize_t
list_find(char *const *list, size_t n, const char *s)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], s) == 0)
			return (ssize_t)i;
	return -1;
}

static void
list_drop(char **list, size_t *n, const char *s)
{
	ssize_t at = list_find(list, *n, s);

	if (at < 0)
		return;
	free(list[at]);
	(*n)--;
	memmove(&list[at], &list[at + 1], (*n - (size_t)at) * sizeof(*list));
}

static void
list_free(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

static bool
is_digest_ref(const char *ref)
{
	return strchr(ref, '@') != NULL;
}

bool
image_has_ref(const struct image *img, const char *ref)
{
	return is_digest_ref(ref) ? list_find(img->digests, img->n_digests, ref) >= 0
	                          : list_find(img->tags, img->n_tags, ref) >= 0;
}

void
image_add_ref(struct image *img, const char *ref)
{
	if (image_has_ref(img, ref))
		return;
	if (is_digest_ref(ref))
		list_add(&img->digests, &img->n_digests, ref);
	else
		list_add(&img->tags, &img->n_tags, ref);
}

void
image_drop_ref(struct image *img, const char *ref)
{
	if (is_digest_ref(ref))
		list_drop(img->digests, &img->n_digests, ref);
	else
		list_drop(img->tags, &img->n_tags, ref);
}

static void
drop_all_refs(struct image *img)
{
	list_free(take_ptr(img->tags), img->n_tags);
	list_free(take_ptr(img->digests), img->n_digests);
	img->n_tags = img->n_digests = 0;
}

void
image_free(struct image *img)
{
	if (img == NULL)
		return;
	drop_all_refs(img);
	image_config_free(img->config);
	free(img->layers);
	free(img->spec);
	free(img->id);
	free(img);
}

/* ---- pinned ------------------------------------------------------------------------------- */

void
image_set_pinned(const struct image_store *st, struct image *img)
{
	img->pinned = false;
	for (size_t g = 0; g < st->n_pinned; g++) {
		for (size_t i = 0; i < img->n_tags; i++)
			img->pinned |= fnmatch(st->pinned[g], img->tags[i], 0) == 0;
		for (size_t i = 0; i < img->n_digests; i++)
			img->pinned |= fnmatch(st->pinned[g], img->digests[i], 0) == 0;
	}
}

void
image_store_set_pinned(struct image_store *st, const char *const *globs, size_t n)
{
	struct image *img;

	list_free(st->pinned, st->n_pinned);
	st->pinned = NULL;
	st->n_pinned = 0;
	for (size_t i = 0; i < n; i++)
		list_add(&st->pinned, &st->n_pinned, globs[i]);
	TAILQ_FOREACH (img, &st->images, entry)
		image_set_pinned(st, img);
	st->generation++;
}

/* ---- opening ------------------------------------------------------------------------------ */

/* Count what the images need; an image that lacks a layer goes, rows and all. */
static int
link_images(struct image_store *st, struct err *err)
{
	struct image *img, *next;

	for (img = TAILQ_FIRST(&st->images); img != NULL; img = next) {
		bool whole = true;

		next = TAILQ_NEXT(img, entry);
		for (size_t i = 0; i < img->n_layers; i++) {
			const struct layer *l = shelf_by_num(st, img->layers[i]);

			whole = whole && l != NULL && l->on_disk;
		}
		if (whole) {
			for (size_t i = 0; i < img->n_layers; i++)
				shelf_by_num(st, img->layers[i])->images++;
			continue;
		}
		if (rows_drop_image(st, img->id, err) < 0)
			return -1;
		TAILQ_REMOVE(&st->images, img, entry);
		image_free(img);
	}
	return 0;
}

static int
drop_lost_layers(struct image_store *st, struct err *err)
{
	struct layer *l, *next;

	for (l = TAILQ_FIRST(&st->layers); l != NULL; l = next) {
		next = TAILQ_NEXT(l, entry);
		if (l->on_disk)
			continue;
		if (rows_drop_layer(st, l->num, err) < 0)
			return -1;
		shelf_forget(st, l);
	}
	return 0;
}

static int
load(struct image_store *st, const char *root, struct err *err)
{
	if (shelf_open(st, root, err) < 0 || rows_load(st, err) < 0 || shelf_compare(st, err) < 0)
		return -1;
	if (db_begin(st->db, err) < 0)
		return -1;
	if (link_images(st, err) < 0 || drop_lost_layers(st, err) < 0 ||
	    db_commit(st->db, err) < 0) {
		db_rollback(st->db);
		return -1;
	}
	return 0;
}

struct image_store *
image_store_open(struct db *db, const char *root, struct err *err)
{
	struct image_store *st = xcalloc(1, sizeof(*st));

	st->db = db;
	st->layers_fd = st->ingest_fd = st->trash_fd = -1;
	st->next_seq = 1;
	TAILQ_INIT(&st->images);
	TAILQ_INIT(&st->layers);
	TAILQ_INIT(&st->ingests);
	TAILQ_INIT(&st->waits);
	if (load(st, root, err) < 0) {
		err_wrap(err, "image store %s", root);
		image_store_close(st);
		return NULL;
	}
	return st;
}

void
image_store_close(struct image_store *st)
{
	struct image *img;

	if (st == NULL)
		return;
	assert(TAILQ_EMPTY(&st->ingests) && TAILQ_EMPTY(&st->waits) && st->commits == 0);
	shelf_close(st);
	while ((img = TAILQ_FIRST(&st->images)) != NULL) {
		TAILQ_REMOVE(&st->images, img, entry);
		image_free(img);
	}
	list_free(st->pinned, st->n_pinned);
	free(st);
}

/* ---- finding ------------------------------------------------------------------------------ */

struct image *
image_store_by_id_in_use(const struct image_store *st, const char *id)
{
	struct image *img;

	TAILQ_FOREACH (img, &st->images, entry)
		if (strcmp(img->id, id) == 0)
			return img;
	return NULL;
}

struct image *
image_store_by_id(const struct image_store *st, const char *id)
{
	struct image *img = image_store_by_id_in_use(st, id);

	return img != NULL && !img->detached ? img : NULL;
}

static struct image *
by_ref(const struct image_store *st, const char *ref)
{
	struct image *img;

	TAILQ_FOREACH (img, &st->images, entry)
		if (!img->detached && image_has_ref(img, ref))
			return img;
	return NULL;
}

static struct image *
by_id_prefix(const struct image_store *st, const char *ref)
{
	const size_t skip = strlen("sha256:");
	struct image *img, *found = NULL;

	if (str_starts(ref, "sha256:"))
		ref += skip;
	TAILQ_FOREACH (img, &st->images, entry) {
		if (img->detached || !str_starts(img->id + skip, ref))
			continue;
		if (found != NULL)
			return NULL;
		found = img;
	}
	return found;
}

struct image *
image_store_find(const struct image_store *st, const char *ref)
{
	struct image *img = image_store_by_id(st, ref);
	struct image_ref parsed;
	struct err err;

	if (img == NULL)
		img = by_ref(st, ref);
	if (img == NULL && image_ref_parse(ref, &parsed, &err) == 0) {
		cleanup_free char *normal = image_ref_string(&parsed);

		img = by_ref(st, normal);
		image_ref_release(&parsed);
	}
	if (img == NULL && image_id_like(ref))
		img = by_id_prefix(st, ref);
	return img;
}

struct image *
image_store_next(const struct image_store *st, const struct image *prev)
{
	struct image *img = prev == NULL ? TAILQ_FIRST(&st->images) : TAILQ_NEXT(prev, entry);

	while (img != NULL && img->detached)
		img = TAILQ_NEXT(img, entry);
	return img;
}

int
image_store_blobs(struct image_store *st, const struct image *img, struct buf *ret_manifest,
    struct buf *ret_config, struct err *err)
{
	return rows_blobs(st, img->id, ret_manifest, ret_config, err);
}

uint64_t
image_store_generation(const struct image_store *st)
{
	return st->generation;
}

/* ---- removing ----------------------------------------------------------------------------- */

/* Memory and layers of an image without rows. */
static void
forget(struct image_store *st, struct image *img)
{
	TAILQ_REMOVE(&st->images, img, entry);
	st->generation++;
	for (size_t i = 0; i < img->n_layers; i++) {
		struct layer *l = shelf_by_num(st, img->layers[i]);

		/* A layer may be in an image twice: the same diff id, empty mostly. */
		l->images--;
		if (l->images == 0)
			shelf_unused(st, l, true);
	}
	image_free(img);
}

static int
drop_rows(struct image_store *st, const char *id, struct err *err)
{
	if (db_begin(st->db, err) < 0)
		return -1;
	if (rows_drop_image(st, id, err) < 0 || db_commit(st->db, err) < 0) {
		db_rollback(st->db);
		return -1;
	}
	return 0;
}

void
image_drop(struct image_store *st, struct image *img)
{
	struct err err = {0};

	/* Without the rows gone it stays detached, and the next start drops it. */
	if (drop_rows(st, img->id, &err) == 0)
		forget(st, img);
}

static int
detach(struct image_store *st, struct image *img, struct err *err)
{
	if (db_begin(st->db, err) < 0)
		return -1;
	if (rows_drop_refs(st, img->id, err) < 0 ||
	    rows_set_state(st, img->id, IMAGE_DETACHED, err) < 0 || db_commit(st->db, err) < 0) {
		db_rollback(st->db);
		return -1;
	}
	drop_all_refs(img);
	img->pinned = false;
	img->detached = true;
	st->generation++;
	return 0;
}

int
image_store_remove(struct image_store *st, const char *ref, struct err *err)
{
	struct image *img = image_store_find(st, ref);

	if (img == NULL)
		return 0;
	/* Before the containers have declared their uses, any image may be in use. */
	if (img->uses > 0 || !st->settled) {
		if (detach(st, img, err) < 0)
			return err_wrap(err, "remove image %s", ref);
		return 0;
	}
	if (drop_rows(st, img->id, err) < 0)
		return err_wrap(err, "remove image %s", ref);
	forget(st, img);
	return 0;
}

int
image_store_use(struct image_store *st, const char *id, struct err *err)
{
	struct image *img = image_store_by_id_in_use(st, id);

	if (img == NULL)
		return err_set(err, ERR_NOT_FOUND, "no image %s", id);
	img->uses++;
	return 0;
}

void
image_store_unuse(struct image_store *st, const char *id)
{
	struct image *img = image_store_by_id_in_use(st, id);

	assert(img != NULL && img->uses > 0);
	img->uses--;
	if (img->uses == 0 && img->detached && st->settled)
		image_drop(st, img);
}

void
image_store_settle(struct image_store *st)
{
	struct image *img, *next;
	struct layer *l;

	st->settled = true;
	for (img = TAILQ_FIRST(&st->images); img != NULL; img = next) {
		next = TAILQ_NEXT(img, entry);
		if (img->detached && img->uses == 0)
			image_drop(st, img);
	}
	TAILQ_FOREACH (l, &st->layers, entry)
		l->orphaned_ms = loop_now_ms();
	shelf_start_sweep(st);
}

/* ---- for mounts and statistics ------------------------------------------------------------ */

void
image_lower_names(const struct image_store *st, const struct image *img, struct buf *out)
{
	if (img->n_layers == 0)
		buf_addstr(out, "empty");
	for (size_t i = img->n_layers; i-- > 0;) {
		buf_addf(out, "%" PRId64 "%s", img->layers[i], i > 0 ? ":" : "");
		if (shelf_by_num(st, img->layers[i])->opaque) {
			buf_truncate(out, out->len - (i > 0));
			break;
		}
	}
}

int
image_store_layers_fd(const struct image_store *st)
{
	return st->layers_fd;
}

void
image_store_fs_info(const struct image_store *st, struct image_fs_info *ret)
{
	*ret = (struct image_fs_info){
	    .mountpoint = st->layers_path,
	    .bytes = st->bytes,
	    .inodes = st->inodes,
	    .timestamp = clock_wall_ns(),
	};
}
