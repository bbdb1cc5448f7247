/* SPDX-License-Identifier: Apache-2.0
 *
 * Making an image visible: see store.h. image_commit_start() checks, and, when layers have implicit
 * directories, starts the worker that may add one more layer (image/dirs.h); then write_rows() does
 * the transaction and update() repeats it in memory.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "image/config.h"
#include "image/digest.h"
#include "image/dirs.h"
#include "image/store_private.h"
#include "loop/op.h"
#include "store/db.h"

struct commit_job {
	struct dirs_job dirs;
	struct dirs_layer *layers;
	char key[8 + DIGEST_SIZE]; /* of the layer of directories */
	char name[TMP_NAME_SIZE];
	int dir;
	int64_t top; /* that layer, held, when it was there from the start; else 0 */
};

/* OCI image spec, "Layer ChainID". */
static void
chain_id(const struct image_config *c, char out[static DIGEST_SIZE])
{
	out[0] = '\0';
	for (size_t i = 0; i < c->n_diff_ids; i++) {
		cleanup_free char *link =
		    i == 0 ? xstrdup(c->diff_ids[0]) : xasprintf("%s %s", out, c->diff_ids[i]);

		if (i == 0)
			memcpy(out, link, strlen(link) + 1);
		else
			digest_of(link, strlen(link), out);
	}
}

static void
release(struct image_commit *c)
{
	struct image_store *st = c->store;

	st->commits--;
	for (size_t i = 0; i < c->n_layers; i++)
		layer_release(st, c->layers[i]);
	image_config_free(take_ptr(c->parsed));
	if (c->job != NULL) {
		for (size_t i = 0; i < c->n_layers; i++)
			buf_release(&c->job->layers[i].implicit);
		free(c->job->layers);
		fd_closep(&c->job->dir);
		if (c->job->top != 0)
			layer_release(st, c->job->top);
	}
	free(take_ptr(c->job));
}

static struct image *
new_image(struct image_commit *c, struct layer *top)
{
	struct image_store *st = c->store;
	struct image *img = xcalloc(1, sizeof(*img));

	img->id = xstrdup(c->id);
	img->created_at = clock_wall_ns();
	img->n_layers = c->n_layers + (top != NULL);
	img->layers = xcalloc(img->n_layers, sizeof(*img->layers));
	img->size = c->manifest_len + c->config_len;
	for (size_t i = 0; i < img->n_layers; i++) {
		img->layers[i] = i < c->n_layers ? c->layers[i] : top->num;
		img->size += shelf_by_num(st, img->layers[i])->bytes;
	}
	img->config = take_ptr(c->parsed);
	return img;
}

static int
write_refs(struct image_commit *c, const struct image *img, int64_t *seq, struct err *err)
{
	for (size_t i = 0; i < c->n_tags + c->n_digests; i++) {
		const char *ref = i < c->n_tags ? c->tags[i] : c->digests[i - c->n_tags];

		if (!image_has_ref(img, ref) &&
		    rows_set_ref(c->store, ref, img->id, (*seq)++, err) < 0)
			return -1;
	}
	return 0;
}

static int
write_rows(struct image_commit *c, struct image *img, bool is_new, int64_t *seq, struct err *err)
{
	struct image_store *st = c->store;

	if (db_begin(st->db, err) < 0)
		return -1;
	if ((is_new ? rows_add_image(st, img, c, err)
	            : rows_set_spec(st, img->id, c->spec, c->spec_len, err)) < 0 ||
	    (img->detached && rows_set_state(st, img->id, IMAGE_PRESENT, err) < 0) ||
	    write_refs(c, img, seq, err) < 0 || db_commit(st->db, err) < 0) {
		db_rollback(st->db);
		return err_wrap(err, "store image %s", img->id);
	}
	return 0;
}

static void
update(struct image_commit *c, struct image *img, bool is_new, int64_t seq)
{
	struct image_store *st = c->store;
	struct image *other;

	st->next_seq = seq;
	st->generation++;
	if (is_new) {
		TAILQ_INSERT_TAIL(&st->images, img, entry);
		for (size_t i = 0; i < img->n_layers; i++)
			shelf_by_num(st, img->layers[i])->images++;
	}
	img->detached = false;
	free(img->spec);
	img->spec = c->spec_len > 0 ? xmemdup(c->spec, c->spec_len) : NULL;
	img->spec_len = c->spec_len;
	for (size_t i = 0; i < c->n_tags + c->n_digests; i++) {
		const char *ref = i < c->n_tags ? c->tags[i] : c->digests[i - c->n_tags];

		TAILQ_FOREACH (other, &st->images, entry)
			if (other != img && image_has_ref(other, ref)) {
				image_drop_ref(other, ref);
				image_set_pinned(st, other);
			}
		image_add_ref(img, ref);
	}
	image_set_pinned(st, img);
}

/* top: the layer of directories, held once; or NULL. */
static int
commit(struct image_commit *c, struct layer *top, struct err *err)
{
	struct image_store *st = c->store;
	struct image *img = image_store_by_id_in_use(st, c->id);
	bool is_new = img == NULL;
	int64_t seq = st->next_seq;

	if (is_new)
		img = new_image(c, top);
	if (write_rows(c, img, is_new, &seq, err) < 0) {
		if (is_new)
			image_free(img);
		return -1;
	}
	update(c, img, is_new, seq);
	return 0;
}

static void
on_later(struct loop_timer *t)
{
	struct image_commit *c = container_of(t, struct image_commit, later);
	struct layer *top = c->job != NULL ? shelf_by_num(c->store, c->job->top) : NULL;
	struct err err = {0};

	if (commit(c, top, &err) < 0)
		assert(err.code != ERR_NONE);
	release(c);
	op_resume(c->op, &err);
}

static int
publish_dirs(
    struct image_commit *c, const struct dirs_result *r, struct layer **ret, struct err *err)
{
	struct layer *l = shelf_find(c->store, c->job->key);

	if (r->n_dirs == 0)
		return 0;
	if (l != NULL) { /* another commit of the same layers was faster */
		l->holds++;
		*ret = l;
		return 0;
	}
	l = xcalloc(1, sizeof(*l));
	l->key = xstrdup(c->job->key);
	l->bytes = r->bytes;
	l->inodes = r->inodes;
	*ret = shelf_publish_take(c->store, l, c->job->name, NULL, 0, err);
	return *ret != NULL ? 0 : -1;
}

static void
on_dirs_done(struct worker *w)
{
	struct image_commit *c = container_of(w, struct image_commit, worker);
	struct image_store *st = c->store;
	struct dirs_result r = {0};
	struct layer *top = NULL;
	struct err err = w->err;

	c->op->stop = NULL;
	if (err.code == ERR_NONE && w->child.out.len != sizeof(r))
		err_set(&err, ERR_INTERNAL, "the directories worker's result is malformed");
	if (err.code == ERR_NONE) {
		memcpy(&r, w->child.out.data, sizeof(r));
		if (publish_dirs(c, &r, &top, &err) == 0)
			commit(c, top, &err);
	}
	child_release(&w->child);
	/* Unless it was published: then there is nothing of this name any more. */
	shelf_trash(st, st->ingest_fd, c->job->name);
	if (top != NULL)
		layer_release(st, top->num);
	release(c);
	op_resume(c->op, &err);
}

static void
stop_worker(struct op *op)
{
	struct image_commit *c = op->leaf;

	child_kill(&c->worker.child, SIGKILL);
}

static int
start_dirs(struct image_commit *c, struct err *err)
{
	struct image_store *st = c->store;
	struct commit_job *job = c->job;
	struct worker_spec spec = {.fn = dirs_worker,
	    .arg = &job->dirs,
	    .max_output = sizeof(struct dirs_result),
	    .what = "image-dirs",
	    .n_keep = 2};
	int keep[2];

	for (size_t i = 0; i < c->n_layers; i++) {
		job->layers[i].num = c->layers[i];
		if (shelf_by_num(st, c->layers[i])->has_implicit &&
		    rows_layer_implicit(st, c->layers[i], &job->layers[i].implicit, err) < 0)
			return -1;
	}
	job->dir = shelf_make(st, job->name, err);
	if (job->dir < 0)
		return -1;
	job->dirs = (struct dirs_job){st->layers_fd, job->dir, job->layers, c->n_layers};
	keep[0] = st->layers_fd;
	keep[1] = job->dir;
	spec.keep_fds = keep;
	if (worker_start(&c->worker, &spec, on_dirs_done, err) < 0) {
		shelf_trash(st, st->ingest_fd, job->name);
		return -1;
	}
	c->op->stop = stop_worker;
	c->op->leaf = c;
	return 0;
}

static int
check(struct image_commit *c, struct err *err)
{
	char id[DIGEST_SIZE];

	digest_of(c->config, c->config_len, id);
	memcpy(c->id, id, strlen(id) + 1);
	c->parsed = image_config_parse(c->config, c->config_len, err);
	if (c->parsed == NULL)
		return err_wrap(err, "config of image %s", c->id);
	if (c->parsed->n_diff_ids != c->n_layers)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "image %s has %zu layers, but its config has %zu diff ids", c->id, c->n_layers,
		    c->parsed->n_diff_ids);
	for (size_t i = 0; i < c->n_layers; i++) {
		const struct layer *l = shelf_by_num(c->store, c->layers[i]);

		if (l == NULL || strcmp(l->key, c->parsed->diff_ids[i]) != 0)
			return err_set(err, ERR_INVALID_ARGUMENT, "image %s: layer %zu is not %s",
			    c->id, i, c->parsed->diff_ids[i]);
	}
	return 0;
}

/* The lowest layer's implicit directories have nothing below. */
static bool
has_implicit_above_lowest(const struct image_commit *c)
{
	for (size_t i = 1; i < c->n_layers; i++)
		if (shelf_by_num(c->store, c->layers[i])->has_implicit)
			return true;
	return false;
}

int
image_commit_start(struct image_commit *c, struct image_store *st, struct op *op, struct err *err)
{
	char chain[DIGEST_SIZE];
	struct layer *top;

	_Static_assert(sizeof(c->id) > 7 + 64, "room for a sha256 digest");
	c->store = st;
	c->op = op;
	c->job = NULL;
	c->later = (struct loop_timer){0};
	if (check(c, err) < 0) {
		image_config_free(take_ptr(c->parsed));
		return -1;
	}
	for (size_t i = 0; i < c->n_layers; i++)
		layer_hold(st, c->layers[i]);
	st->commits++;
	if (has_implicit_above_lowest(c) && image_store_by_id_in_use(st, c->id) == NULL) {
		c->job = xcalloc(1, sizeof(*c->job));
		c->job->dir = -1;
		c->job->layers = xcalloc(c->n_layers, sizeof(*c->job->layers));
		chain_id(c->parsed, chain);
		snprintf(c->job->key, sizeof(c->job->key), "dirs:%s", chain);
		top = shelf_find(st, c->job->key);
		if (top == NULL) {
			if (start_dirs(c, err) == 0)
				return 0;
			release(c);
			return -1;
		}
		c->job->top = top->num;
		layer_hold(st, top->num);
	}
	timer_start(&c->later, 0, on_later);
	return 0;
}
