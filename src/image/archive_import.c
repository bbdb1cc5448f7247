/* SPDX-License-Identifier: Apache-2.0
 *
 * Import of images: see archive.h, and the table of steps at the end.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "image/config.h"
#include "image/import_job.h"
#include "image/ref.h"
#include "image/store_private.h"

enum { PARALLEL = 2 }; /* layers unpacked at a time: their source is one disk */

#define JOB(o) container_of((o), struct import_job, op)

/* ---- scanning ----------------------------------------------------------------------------- */

static enum op_ret
start_scan(struct op *op, struct err *err)
{
	struct import_job *job = JOB(op);
	int keep[3], n = 0;
	const struct worker_spec spec = {.fn = scan_worker,
	    .arg = &job->scan_job,
	    .max_output = SCAN_OUTPUT_MAX,
	    .what = "scan-archive",
	    .keep_fds = keep,
	    .n_keep = job->is_dir ? 1 : 3};

	job->scan_job = (struct scan_job){
	    .in = job->is_dir ? -1 : job->fd,
	    .is_dir = job->is_dir,
	    .spool = job->spool,
	    .empty = job->is_dir ? job->fd : job->empty,
	};
	keep[n++] = job->scan_job.empty;
	keep[n++] = job->scan_job.in;
	keep[n++] = job->spool;
	return worker_start_op(&job->worker, &spec, op, err) < 0 ? OP_FAIL : OP_WAIT;
}

static enum op_ret
choose(struct op *op, struct err *err)
{
	struct import_job *job = JOB(op);

	if (scan_parse(&job->worker.child.out, &job->scan, err) < 0)
		return OP_FAIL;
	child_release(&job->worker.child);
	return import_choose(job, err) < 0 ? OP_FAIL : OP_NEXT;
}

static enum op_ret
release_scan(struct op *op, struct err *err)
{
	(void)err;
	child_release(&JOB(op)->worker.child);
	return OP_NEXT;
}

/* ---- layers ------------------------------------------------------------------------------- */

static void start_layers(struct import_job *job);

static void
layer_done(struct import_layer *l, int64_t num, const struct err *err)
{
	struct import_job *job = l->job;

	l->busy = false;
	l->done = err->code != ERR_ABORTED;
	l->num = err->code == ERR_NONE ? num : 0;
	job->n_busy--;
	if (l->done && err->code != ERR_NONE && job->layer_err.code == ERR_NONE) {
		job->layer_err = *err;
		err_wrap(&job->layer_err, "layer %s", l->diff_id);
	}
	start_layers(job);
	if (job->n_busy == 0)
		op_resume(&job->op, &job->layer_err);
}

static void
on_ingested(struct layer_ingest *in)
{
	layer_done(container_of(in, struct import_layer, ingest), in->num, &in->err);
}

static void
on_waited(struct layer_wait *w)
{
	struct err again = w->err;

	/* The other one's failure is not ours: try it ourselves. */
	if (again.code != ERR_NONE)
		again.code = ERR_ABORTED;
	layer_done(container_of(w, struct import_layer, wait), w->num, &again);
}

/* 1: under way, 0: it is there, -1. */
static int
start_layer(struct import_layer *l, struct err *err)
{
	struct import_job *job = l->job;
	const struct scan_member *m = l->member;
	struct layer_desc d = {l->digest, "archive", l->size, l->diff_id};
	struct layer_source src = {.path = NULL};
	int64_t num;

	switch (layer_lookup(job->store, l->diff_id, &num)) {
	case LAYER_PRESENT:
		layer_hold(job->store, num);
		l->num = num;
		l->done = true;
		return 0;
	case LAYER_IN_FLIGHT:
		layer_wait_start(&l->wait, job->store, l->diff_id, on_waited);
		return 1;
	case LAYER_ABSENT:
		break;
	}
	if (m == NULL)
		return err_set(err, ERR_NOT_FOUND,
		    "the archive lacks layer %s, and so does the store", l->diff_id);
	if (l->size >= 0 && m->size != l->size)
		return err_set(err, ERR_DATA_LOSS, "layer %s has %lld bytes, not %lld", l->digest,
		    (long long)m->size, (long long)l->size);
	src.fd = job->scan.spooled ? job->spool : job->fd;
	src.path = job->is_dir ? m->name : NULL;
	src.at = job->is_dir ? 0 : m->at;
	return layer_ingest_start_file(&l->ingest, job->store, &d, &src, on_ingested, err) < 0 ? -1
	                                                                                       : 1;
}

static void
start_layers(struct import_job *job)
{
	for (size_t i = 0; i < job->n_layers && job->n_busy < PARALLEL; i++) {
		struct import_layer *l = &job->layers[i];
		int ret;

		if (l->busy || l->done)
			continue;
		if (job->layer_err.code != ERR_NONE)
			return;
		l->job = job;
		ret = start_layer(l, &job->layer_err);
		if (ret > 0) {
			l->busy = true;
			job->n_busy++;
		}
	}
}

static void
stop_layers(struct op *op)
{
	struct import_job *job = JOB(op);

	if (job->layer_err.code == ERR_NONE)
		err_set(&job->layer_err, ERR_CANCELLED, "cancelled");
	for (size_t i = 0; i < job->n_layers; i++) {
		struct import_layer *l = &job->layers[i];

		if (!l->busy)
			continue;
		if (l->wait.diff_id == NULL) {
			layer_ingest_abort(&l->ingest); /* on_ingested follows */
			continue;
		}
		layer_wait_cancel(&l->wait);
		l->busy = false;
		job->n_busy--;
		if (job->n_busy == 0)
			op_resume(op, &job->layer_err);
	}
}

static enum op_ret
unpack_layers(struct op *op, struct err *err)
{
	struct import_job *job = JOB(op);

	start_layers(job);
	if (job->n_busy > 0) {
		op->stop = stop_layers;
		return OP_WAIT;
	}
	if (job->layer_err.code != ERR_NONE) {
		*err = job->layer_err;
		return OP_FAIL;
	}
	return OP_NEXT;
}

/* ---- images ------------------------------------------------------------------------------- */

static void
record(struct import_job *job, const struct import_image *img)
{
	struct image_import *imp = job->imp;
	struct image_imported *done;

	imp->images = xrealloc(imp->images, (imp->n_images + 1) * sizeof(*imp->images));
	done = &imp->images[imp->n_images++];
	*done = (struct image_imported){.id = xstrdup(job->commit.id), .n_tags = img->n_tags};
	done->tags = xcalloc(img->n_tags + 1, sizeof(*done->tags));
	for (size_t i = 0; i < img->n_tags; i++)
		done->tags[i] = xstrdup(img->tags[i]);
}

/* One image per pass. */
static enum op_ret
commit(struct op *op, struct err *err)
{
	struct import_job *job = JOB(op);
	const struct import_image *img;
	size_t n;

	if (job->committed > 0)
		record(job, &job->images[job->committed - 1]);
	if (job->committed == job->n_images)
		return OP_NEXT;
	img = &job->images[job->committed++];
	n = img->parsed->n_diff_ids;
	free(job->nums);
	job->nums = xcalloc(n + 1, sizeof(*job->nums));
	for (size_t i = 0; i < n; i++)
		job->nums[i] = job->layers[img->layers[i]].num;
	job->commit = (struct image_commit){
	    .manifest = img->manifest,
	    .manifest_len = img->manifest_len,
	    .config = img->config,
	    .config_len = img->config_len,
	    .tags = (const char *const *)img->tags,
	    .n_tags = img->n_tags,
	    .digests = (const char *const *)img->digests,
	    .n_digests = img->n_digests,
	    .layers = job->nums,
	    .n_layers = n,
	};
	return image_commit_start(&job->commit, job->store, op, err) < 0 ? OP_FAIL : OP_AGAIN;
}

static const struct op_step steps[] = {
    {"scan the archive", start_scan,    release_scan},
    {"choose images",    choose,        NULL        },
    {"unpack layers",    unpack_layers, NULL        }, /* held until the op ends */
    {"commit",           commit,        NULL        },
    {NULL,               NULL,          NULL        },
};

static void
free_job(struct import_job *job)
{
	for (size_t i = 0; i < job->n_layers; i++) {
		if (job->layers[i].num != 0)
			layer_release(job->store, job->layers[i].num);
		free(job->layers[i].diff_id);
		free(job->layers[i].digest);
	}
	for (size_t i = 0; i < job->n_images; i++)
		import_image_release(&job->images[i]);
	free(job->images);
	free(job->layers);
	free(job->nums);
	free(job->base_name);
	scan_release(&job->scan);
	fd_closep(&job->fd);
	fd_closep(&job->spool);
	fd_closep(&job->empty);
	free(job);
}

static void
on_done(struct op *op)
{
	struct import_job *job = JOB(op);
	struct op *waiter = job->waiter;
	struct err err = op->err;

	job->imp->job = NULL;
	free_job(job);
	op_resume(waiter, &err);
}

static void
stop_import(struct op *waiter)
{
	struct image_import *imp = waiter->leaf;

	op_cancel(&imp->job->op, ERR_CANCELLED, "cancelled");
}

static int
open_files(struct import_job *job, const struct image_import_options *o, struct err *err)
{
	struct stat st;

	job->fd = fcntl(o->fd, F_DUPFD_CLOEXEC, 3);
	if (job->fd < 0 || fstat(job->fd, &st) < 0)
		return err_errno(err, "the archive");
	job->is_dir = S_ISDIR(st.st_mode);
	if (!job->is_dir && !S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "the archive is neither a file nor a directory nor a pipe");
	job->empty = openat(job->store->layers_fd, "empty", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	job->spool = job->is_dir ? -1 : shelf_unnamed_file(job->store, err);
	if (!job->is_dir && job->spool < 0)
		return -1;
	return job->empty < 0 ? err_errno(err, "open layers/empty") : 0;
}

int
image_import_start(struct image_import *imp, struct image_store *st,
    const struct image_import_options *o, struct op *op, struct err *err)
{
	struct import_job *job;

	*imp = (struct image_import){0};
	if (o->base_name != NULL) {
		struct image_ref ref;

		if (image_ref_parse(o->base_name, &ref, err) < 0)
			return err_wrap(err, "base name");
		image_ref_release(&ref);
	}
	job = xcalloc(1, sizeof(*job));
	job->fd = job->spool = job->empty = -1;
	job->imp = imp;
	job->store = st;
	job->waiter = op;
	job->all_platforms = o->all_platforms;
	job->base_name = xstrdup(o->base_name);
	if (o->platform != NULL)
		job->platform = *o->platform;
	else
		platform_host(&job->platform);
	if (open_files(job, o, err) < 0) {
		free_job(job);
		return -1;
	}
	imp->job = job;
	op->stop = stop_import;
	op->leaf = imp;
	op_start(
	    &job->op, "Import", o->base_name != NULL ? o->base_name : "archive", steps, on_done);
	return 0;
}

void
image_import_release(struct image_import *imp)
{
	for (size_t i = 0; i < imp->n_images; i++) {
		for (size_t k = 0; k < imp->images[i].n_tags; k++)
			free(imp->images[i].tags[k]);
		free(imp->images[i].tags);
		free(imp->images[i].id);
	}
	free(imp->images);
	*imp = (struct image_import){0};
}
