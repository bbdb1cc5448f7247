/* SPDX-License-Identifier: Apache-2.0
 *
 * The image store's rows: see store_private.h. What is read here was written by this program; a row
 * that makes no sense is DATA_LOSS all the same, never a crash.
 */
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/xalloc.h"
#include "image/config.h"
#include "image/store_private.h"
#include "store/db.h"

static int
load_layers(struct image_store *st, struct err *err)
{
	sqlite3_stmt *q = db_stmt(st->db, "SELECT num, key, size, inodes, opaque, "
	                                  "implicit IS NOT NULL FROM layer ORDER BY num");
	int ret;

	while ((ret = db_next(st->db, q, err)) == 1) {
		struct layer *l = xcalloc(1, sizeof(*l));

		l->num = sqlite3_column_int64(q, 0);
		l->key = xstrdup(db_text(q, 1));
		l->bytes = (uint64_t)sqlite3_column_int64(q, 2);
		l->inodes = (uint64_t)sqlite3_column_int64(q, 3);
		l->opaque = sqlite3_column_int(q, 4) != 0;
		l->has_implicit = sqlite3_column_int(q, 5) != 0;
		shelf_insert(st, l);
	}
	return ret;
}

static int
load_images(struct image_store *st, struct err *err)
{
	sqlite3_stmt *q = db_stmt(st->db, "SELECT id, state, config, size, created_at, spec "
	                                  "FROM image ORDER BY created_at, id");
	int ret;

	while ((ret = db_next(st->db, q, err)) == 1) {
		struct image *img = xcalloc(1, sizeof(*img));
		const void *p;
		size_t n;

		img->id = xstrdup(db_text(q, 0));
		img->detached = sqlite3_column_int(q, 1) == IMAGE_DETACHED;
		img->size = (uint64_t)sqlite3_column_int64(q, 3);
		img->created_at = sqlite3_column_int64(q, 4);
		p = db_blob(q, 5, &n);
		if (n > 0) {
			img->spec = xmemdup(p, n);
			img->spec_len = n;
		}
		p = db_blob(q, 2, &n);
		img->config = image_config_parse(p, n, err);
		if (img->config == NULL) {
			err->code = ERR_DATA_LOSS;
			err_wrap(err, "image %s", img->id);
			image_free(img);
			return -1;
		}
		TAILQ_INSERT_TAIL(&st->images, img, entry);
	}
	return ret;
}

static int
load_image_layers(struct image_store *st, struct err *err)
{
	sqlite3_stmt *q =
	    db_stmt(st->db, "SELECT image_id, num FROM image_layer ORDER BY image_id, pos");
	struct image *img = NULL;
	int ret;

	while ((ret = db_next(st->db, q, err)) == 1) {
		const char *id = db_text(q, 0);

		if (img == NULL || strcmp(img->id, id) != 0)
			TAILQ_FOREACH (img, &st->images, entry)
				if (strcmp(img->id, id) == 0)
					break;
		if (img == NULL)
			continue; /* of no image: the next row may be */
		img->layers = xrealloc(img->layers, (img->n_layers + 1) * sizeof(*img->layers));
		img->layers[img->n_layers++] = sqlite3_column_int64(q, 1);
	}
	return ret;
}

static int
load_refs(struct image_store *st, struct err *err)
{
	sqlite3_stmt *q = db_stmt(st->db, "SELECT ref, image_id, seq FROM image_ref ORDER BY seq");
	int ret;

	while ((ret = db_next(st->db, q, err)) == 1) {
		struct image *img;
		const char *id = db_text(q, 1);

		TAILQ_FOREACH (img, &st->images, entry)
			if (strcmp(img->id, id) == 0)
				image_add_ref(img, db_text(q, 0));
		st->next_seq = MAX(st->next_seq, sqlite3_column_int64(q, 2) + 1);
	}
	return ret;
}

int
rows_load(struct image_store *st, struct err *err)
{
	if (load_layers(st, err) < 0 || load_images(st, err) < 0 ||
	    load_image_layers(st, err) < 0 || load_refs(st, err) < 0)
		return err_wrap(err, "load the images");
	return 0;
}

int
rows_add_layer(
    struct image_store *st, struct layer *l, const void *implicit, size_t n, struct err *err)
{
	sqlite3_stmt *q = db_stmt(st->db, "INSERT INTO layer (key, size, inodes, opaque, implicit) "
	                                  "VALUES (?, ?, ?, ?, ?)");

	db_bind_text(q, 1, l->key);
	db_bind_int(q, 2, (int64_t)l->bytes);
	db_bind_int(q, 3, (int64_t)l->inodes);
	db_bind_int(q, 4, l->opaque);
	db_bind_blob(q, 5, n > 0 ? implicit : NULL, n);
	if (db_run(st->db, q, err) < 0)
		return -1;
	l->num = db_last_rowid(st->db);
	return 0;
}

int
rows_drop_layer(struct image_store *st, int64_t num, struct err *err)
{
	sqlite3_stmt *q = db_stmt(st->db, "DELETE FROM layer WHERE num = ?");

	db_bind_int(q, 1, num);
	return db_run(st->db, q, err);
}

int
rows_layer_implicit(struct image_store *st, int64_t num, struct buf *out, struct err *err)
{
	sqlite3_stmt *q = db_stmt(st->db, "SELECT implicit FROM layer WHERE num = ?");
	const void *p;
	size_t n;
	int ret;

	db_bind_int(q, 1, num);
	while ((ret = db_next(st->db, q, err)) == 1) {
		p = db_blob(q, 0, &n);
		buf_add(out, p, n);
	}
	return ret;
}

int
rows_add_image(
    struct image_store *st, const struct image *img, const struct image_commit *c, struct err *err)
{
	sqlite3_stmt *q = db_stmt(st->db,
	    "INSERT INTO image (id, state, manifest, config, size, created_at, spec) "
	    "VALUES (?, ?, ?, ?, ?, ?, ?)");

	db_bind_text(q, 1, img->id);
	db_bind_int(q, 2, IMAGE_PRESENT);
	db_bind_blob(q, 3, c->manifest_len > 0 ? c->manifest : "", c->manifest_len);
	db_bind_blob(q, 4, c->config, c->config_len);
	db_bind_int(q, 5, (int64_t)img->size);
	db_bind_int(q, 6, img->created_at);
	db_bind_blob(q, 7, c->spec_len > 0 ? c->spec : NULL, c->spec_len);
	if (db_run(st->db, q, err) < 0)
		return -1;
	for (size_t i = 0; i < img->n_layers; i++) {
		q = db_stmt(
		    st->db, "INSERT INTO image_layer (image_id, pos, num) VALUES (?, ?, ?)");
		db_bind_text(q, 1, img->id);
		db_bind_int(q, 2, (int64_t)i);
		db_bind_int(q, 3, img->layers[i]);
		if (db_run(st->db, q, err) < 0)
			return -1;
	}
	return 0;
}

int
rows_set_state(struct image_store *st, const char *id, enum image_state state, struct err *err)
{
	sqlite3_stmt *q = db_stmt(st->db, "UPDATE image SET state = ? WHERE id = ?");

	db_bind_int(q, 1, state);
	db_bind_text(q, 2, id);
	return db_run(st->db, q, err);
}

int
rows_set_spec(struct image_store *st, const char *id, const void *spec, size_t n, struct err *err)
{
	sqlite3_stmt *q = db_stmt(st->db, "UPDATE image SET spec = ? WHERE id = ?");

	db_bind_blob(q, 1, n > 0 ? spec : NULL, n);
	db_bind_text(q, 2, id);
	return db_run(st->db, q, err);
}

int
rows_drop_refs(struct image_store *st, const char *id, struct err *err)
{
	sqlite3_stmt *q = db_stmt(st->db, "DELETE FROM image_ref WHERE image_id = ?");

	db_bind_text(q, 1, id);
	return db_run(st->db, q, err);
}

int
rows_drop_image(struct image_store *st, const char *id, struct err *err)
{
	sqlite3_stmt *q;

	if (rows_drop_refs(st, id, err) < 0)
		return -1;
	q = db_stmt(st->db, "DELETE FROM image_layer WHERE image_id = ?");
	db_bind_text(q, 1, id);
	if (db_run(st->db, q, err) < 0)
		return -1;
	q = db_stmt(st->db, "DELETE FROM image WHERE id = ?");
	db_bind_text(q, 1, id);
	return db_run(st->db, q, err);
}

int
rows_set_ref(struct image_store *st, const char *ref, const char *id, int64_t seq, struct err *err)
{
	sqlite3_stmt *q = db_stmt(st->db,
	    "INSERT INTO image_ref (ref, image_id, seq) VALUES (?, ?, ?) ON CONFLICT (ref) DO "
	    "UPDATE SET image_id = excluded.image_id, seq = excluded.seq");

	db_bind_text(q, 1, ref);
	db_bind_text(q, 2, id);
	db_bind_int(q, 3, seq);
	return db_run(st->db, q, err);
}

int
rows_blobs(struct image_store *st, const char *id, struct buf *manifest, struct buf *config,
    struct err *err)
{
	sqlite3_stmt *q = db_stmt(st->db, "SELECT manifest, config FROM image WHERE id = ?");
	bool found = false;
	const void *p;
	size_t n;
	int ret;

	db_bind_text(q, 1, id);
	while ((ret = db_next(st->db, q, err)) == 1) {
		found = true;
		p = db_blob(q, 0, &n);
		if (manifest != NULL)
			buf_add(manifest, p, n);
		p = db_blob(q, 1, &n);
		if (config != NULL)
			buf_add(config, p, n);
	}
	if (ret == 0 && !found)
		return err_set(err, ERR_NOT_FOUND, "no image %s", id);
	return ret;
}
