/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the image store share: store.c (images, references, lookups), commit.c (new
 * images), layer.c (ingest), shelf.c (layers on disk: publish, drop, sweep), rows.c (database).
 */
#ifndef IMAGE_STORE_PRIVATE_H
#define IMAGE_STORE_PRIVATE_H

#include "image/layer.h"
#include "image/store.h"

struct layer {
	int64_t num;
	char *key; /* diff id, or "dirs:<chain id>" */
	uint64_t bytes, inodes;
	bool opaque;            /* hides all layers below it */
	bool has_implicit;      /* has directories whose attributes come from below */
	unsigned images, holds; /* detached images count */
	int64_t orphaned_ms;    /* since when it has neither */
	bool on_disk;           /* while loading */
	TAILQ_ENTRY(layer) entry;
};

enum image_state { IMAGE_PRESENT, IMAGE_DETACHED };

TAILQ_HEAD(image_list, image);
TAILQ_HEAD(layer_list, layer);

struct image_store {
	struct db *db;
	char *layers_path;
	int layers_fd, ingest_fd, trash_fd;
	struct image_list images; /* oldest first */
	struct layer_list layers; /* by number */
	uint64_t bytes, inodes;   /* of all layers */
	uint64_t generation;
	int64_t next_seq;  /* of references */
	uint64_t next_tmp; /* names below ingest/ and trash/ */
	bool settled;
	char **pinned;
	size_t n_pinned;
	TAILQ_HEAD(, layer_ingest) ingests;
	TAILQ_HEAD(, layer_wait) waits;
	unsigned commits; /* under way */
	/* deleting */
	struct worker trash_worker;
	struct loop_timer trash_retry;
	bool trash_running, trash_again;
	struct loop_timer sweep;
};

/* shelf.c */
enum { TMP_NAME_SIZE = 24 };
int shelf_open(struct image_store *st, const char *root, struct err *err);
void shelf_close(struct image_store *st);
/* Make a new directory below ingest/: its fd and its name. */
int shelf_make(struct image_store *st, char name[static TMP_NAME_SIZE], struct err *err);
/* A file without a name, on the disk of the layers. */
int shelf_unnamed_file(struct image_store *st, struct err *err);
/* Give a directory below dirfd to the deleting worker. */
void shelf_trash(struct image_store *st, int dirfd, const char *name);
struct layer *shelf_find(const struct image_store *st, const char *key);
struct layer *shelf_by_num(const struct image_store *st, int64_t num);
/* A full directory below ingest/ becomes a layer: one row and one rename. l's key, bytes, inodes,
 * opaque are given; it is consumed, and held once. */
struct layer *shelf_publish_take(struct image_store *st, struct layer *l, const char *name,
    const void *implicit, size_t n_implicit, struct err *err);
void shelf_insert(struct image_store *st, struct layer *l); /* into memory only */
void shelf_forget(struct image_store *st, struct layer *l); /* from memory only; frees it */
/* A use may have ended: layers without image and hold become orphans, or go at once. */
void shelf_unused(struct image_store *st, struct layer *l, bool at_once);
/* Directories without a row to the trash; layers without a directory get on_disk false. */
int shelf_compare(struct image_store *st, struct err *err);
void shelf_start_sweep(struct image_store *st);
void layer_free(struct layer *l);

/* layer.c */
void layer_notify(
    struct image_store *st, const char *diff_id, struct layer *l, const struct err *err);

/* rows.c: the database. The changing ones are called inside a transaction. */
int rows_load(struct image_store *st, struct err *err);
int rows_add_layer(struct image_store *st, struct layer *l, const void *implicit, size_t n,
    struct err *err); /* sets l->num */
int rows_drop_layer(struct image_store *st, int64_t num, struct err *err);
int rows_layer_implicit(struct image_store *st, int64_t num, struct buf *out, struct err *err);
int rows_add_image(
    struct image_store *st, const struct image *img, const struct image_commit *c, struct err *err);
int rows_set_state(struct image_store *st, const char *id, enum image_state state, struct err *err);
int rows_set_spec(
    struct image_store *st, const char *id, const void *spec, size_t n, struct err *err);
int rows_drop_refs(struct image_store *st, const char *id, struct err *err);
int rows_drop_image(struct image_store *st, const char *id, struct err *err);
int rows_set_ref(
    struct image_store *st, const char *ref, const char *id, int64_t seq, struct err *err);
int rows_blobs(struct image_store *st, const char *id, struct buf *manifest, struct buf *config,
    struct err *err);

/* store.c */
void image_free(struct image *img);
void image_drop(struct image_store *st, struct image *img); /* rows, memory, layers */
void image_set_pinned(const struct image_store *st, struct image *img);
bool image_has_ref(const struct image *img, const char *ref);
void image_add_ref(struct image *img, const char *ref); /* at the end of its list */
void image_drop_ref(struct image *img, const char *ref);

#endif
