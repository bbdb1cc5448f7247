/* SPDX-License-Identifier: Apache-2.0
 *
 * Export of images, the daemon's side: see archive.h. Everything the worker needs is put together
 * first; the images are in use while it runs, so that removing one does not take its layers away.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/config.h"
#include "image/digest.h"
#include "image/export_job.h"
#include "image/ref.h"
#include "image/store_private.h"
#include "loop/op.h"

enum { EXPORT_IMAGES_MAX = 1000 };

static void
free_job(struct export_job *job)
{
	for (size_t i = 0; i < job->n_images; i++) {
		struct export_image *x = &job->images[i];

		image_store_unuse(job->store, x->id);
		for (size_t k = 0; k < x->n_tags; k++)
			free(x->tags[k]);
		free(x->tags);
		free(x->layers);
		free(x->id);
		buf_release(&x->config);
	}
	for (size_t i = 0; i < job->n_layers; i++)
		buf_release(&job->layers[i].implicit);
	free(job->images);
	free(job->layers);
	fd_closep(&job->fd);
	free(job);
}

static int
add_layer(struct export_job *job, int64_t num, size_t *ret, struct err *err)
{
	struct export_layer *l;

	for (*ret = 0; *ret < job->n_layers; (*ret)++)
		if (job->layers[*ret].num == num)
			return 0;
	job->layers = xrealloc(job->layers, (job->n_layers + 1) * sizeof(*job->layers));
	l = &job->layers[job->n_layers++];
	*l = (struct export_layer){.num = num, .implicit = BUF_INIT};
	return rows_layer_implicit(job->store, num, &l->implicit, err);
}

/* The tag that was asked for, or all of them. */
static void
add_tags(struct export_image *x, const struct image *img, const char *ref)
{
	struct image_ref parsed;
	struct err ignored;
	char *tag = NULL;

	if (image_ref_parse(ref, &parsed, &ignored) == 0) {
		tag = image_ref_tag(&parsed);
		image_ref_release(&parsed);
	}
	x->tags = xcalloc(img->n_tags + 1, sizeof(*x->tags));
	for (size_t i = 0; i < img->n_tags; i++)
		if (tag != NULL && strcmp(tag, img->tags[i]) == 0) {
			x->tags[x->n_tags++] = tag;
			return;
		}
	free(tag);
	for (size_t i = 0; i < img->n_tags; i++)
		x->tags[x->n_tags++] = xstrdup(img->tags[i]);
}

static int
add_image(struct export_job *job, const char *ref, struct err *err)
{
	const struct image *img = image_store_find(job->store, ref);
	struct export_image *x;

	if (img == NULL)
		return err_set(err, ERR_NOT_FOUND, "no image %s", ref);
	if (image_store_use(job->store, img->id, err) < 0)
		return -1;
	job->images = xrealloc(job->images, (job->n_images + 1) * sizeof(*job->images));
	x = &job->images[job->n_images++];
	*x = (struct export_image){.id = xstrdup(img->id), .config = BUF_INIT};
	add_tags(x, img, ref);
	/* Without the layer of directories, which an import makes anew. */
	x->n_layers = MIN(img->n_layers, img->config->n_diff_ids);
	x->layers = xcalloc(x->n_layers + 1, sizeof(*x->layers));
	for (size_t i = 0; i < x->n_layers; i++)
		if (add_layer(job, img->layers[i], &x->layers[i], err) < 0)
			return -1;
	return image_store_blobs(job->store, img, NULL, &x->config, err);
}

static int
parse_result(struct export_job *job, struct err *err)
{
	struct image_export *exp = job->exp;
	const struct buf *out = &job->worker.child.out;
	struct export_head head;
	size_t at = sizeof(head);

	if (out->len < sizeof(head))
		return err_set(err, ERR_INTERNAL, "the export worker's result is malformed");
	memcpy(&head, out->data, sizeof(head));
	exp->bytes = head.bytes;
	exp->images = xcalloc(job->n_images + 1, sizeof(*exp->images));
	for (size_t i = 0; i < job->n_images; i++) {
		const char *id = out->data + at;

		/* buf keeps a NUL behind its end */
		if (at >= out->len || !digest_valid(id))
			return err_set(
			    err, ERR_INTERNAL, "the export worker's result is malformed");
		exp->images[exp->n_images++].id = xstrdup(id);
		at += strlen(id) + 1;
	}
	return 0;
}

static void
on_done(struct worker *w)
{
	struct export_job *job = container_of(w, struct export_job, worker);
	struct op *waiter = job->waiter;
	struct err err = w->err;

	if (err.code != ERR_NONE || parse_result(job, &err) < 0)
		image_export_release(job->exp);
	child_release(&w->child);
	job->exp->job = NULL;
	free_job(job);
	waiter->stop = NULL;
	op_resume(waiter, &err);
}

static void
stop_export(struct op *waiter)
{
	struct image_export *exp = waiter->leaf;

	child_kill(&exp->job->worker.child, SIGKILL);
}

static int
start(struct export_job *job, const struct image_export_options *o, struct err *err)
{
	int keep[2];
	const struct worker_spec spec = {.fn = export_worker,
	    .arg = job,
	    .max_output = sizeof(struct export_head) + EXPORT_IMAGES_MAX * DIGEST_SIZE,
	    .what = "export-images",
	    .keep_fds = keep,
	    .n_keep = 2};
	struct stat st;

	if (o->n_refs == 0 || o->n_refs > EXPORT_IMAGES_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "%zu images to export; 1 to %d can be",
		    o->n_refs, EXPORT_IMAGES_MAX);
	job->fd = fcntl(o->fd, F_DUPFD_CLOEXEC, 3);
	if (job->fd < 0 || fstat(job->fd, &st) < 0)
		return err_errno(err, "the archive");
	if (!S_ISREG(st.st_mode) || st.st_size != 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "the archive is not a new regular file");
	for (size_t i = 0; i < o->n_refs; i++)
		if (add_image(job, o->refs[i], err) < 0)
			return -1;
	keep[0] = job->fd;
	keep[1] = job->layers_fd = image_store_layers_fd(job->store);
	return worker_start(&job->worker, &spec, on_done, err);
}

int
image_export_start(struct image_export *exp, struct image_store *st,
    const struct image_export_options *o, struct op *op, struct err *err)
{
	struct export_job *job = xcalloc(1, sizeof(*job));

	*exp = (struct image_export){.job = job};
	job->fd = -1;
	job->exp = exp;
	job->store = st;
	job->waiter = op;
	job->format = o->format;
	if (start(job, o, err) < 0) {
		free_job(job);
		exp->job = NULL;
		return -1;
	}
	op->stop = stop_export;
	op->leaf = exp;
	return 0;
}

void
image_export_release(struct image_export *exp)
{
	for (size_t i = 0; i < exp->n_images; i++)
		free(exp->images[i].id);
	free(exp->images);
	exp->images = NULL;
	exp->n_images = 0;
}
