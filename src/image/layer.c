/* SPDX-License-Identifier: Apache-2.0
 *
 * The ingest of layers: see layer.h. begin() forks the unpack worker; on_unpacked() reads its
 * result and, where directories are opaque, starts the sealing worker; publish() makes the layer
 * visible; finish() is the one way out.
 */
#include "image/layer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/digest.h"
#include "image/store_private.h"
#include "image/unpack.h"

enum { PIPE_SIZE = 1 << 20 };

struct ingest_job {
	struct unpack_job unpack;
	struct unpack_result result;
	struct unpack_seal seal;
	int dir; /* the directory being filled */
};

enum layer_presence
layer_lookup(const struct image_store *st, const char *diff_id, int64_t *ret_num)
{
	const struct layer *l = shelf_find(st, diff_id);
	const struct layer_ingest *in;

	if (l != NULL) {
		*ret_num = l->num;
		return LAYER_PRESENT;
	}
	TAILQ_FOREACH (in, &st->ingests, entry)
		if (strcmp(in->diff_id, diff_id) == 0)
			return LAYER_IN_FLIGHT;
	return LAYER_ABSENT;
}

void
layer_wait_start(struct layer_wait *w, struct image_store *st, const char *diff_id,
    void (*done)(struct layer_wait *))
{
	int64_t num;

	assert(layer_lookup(st, diff_id, &num) == LAYER_IN_FLIGHT);
	*w = (struct layer_wait){.store = st, .done = done, .diff_id = xstrdup(diff_id)};
	TAILQ_INSERT_TAIL(&st->waits, w, entry);
}

void
layer_wait_cancel(struct layer_wait *w)
{
	if (w->diff_id == NULL)
		return;
	TAILQ_REMOVE(&w->store->waits, w, entry);
	free(take_ptr(w->diff_id));
	if (w->num != 0 && !w->told)
		layer_release(w->store, w->num);
}

/* Mark those it is about first; then one at a time, since a done() may start and cancel waits. A
 * cancelled one loses its hold. */
void
layer_notify(struct image_store *st, const char *diff_id, struct layer *l, const struct err *err)
{
	struct layer_wait *w;

	TAILQ_FOREACH (w, &st->waits, entry) {
		if (strcmp(w->diff_id, diff_id) != 0)
			continue;
		w->err = *err;
		if (l != NULL) {
			w->num = l->num;
			l->holds++;
		}
	}
	do {
		TAILQ_FOREACH (w, &st->waits, entry)
			if (strcmp(w->diff_id, diff_id) == 0 &&
			    (w->num != 0 || w->err.code != ERR_NONE))
				break;
		if (w != NULL) {
			w->told = true;
			layer_wait_cancel(w);
			w->done(w);
		}
	} while (w != NULL);
}

static void
finish(struct layer_ingest *in, struct layer *l)
{
	struct image_store *st = in->store;
	cleanup_free char *diff_id = take_ptr(in->diff_id);

	TAILQ_REMOVE(&st->ingests, in, entry);
	fd_closep(&in->fd);
	fd_closep(&in->job->dir);
	unpack_result_release(&in->job->result);
	free(take_ptr(in->job));
	if (l != NULL)
		in->num = l->num;
	else
		shelf_trash(st, st->ingest_fd, in->dir);
	layer_notify(st, diff_id, l, &in->err);
	in->done(in); /* may free in */
}

static void
publish(struct layer_ingest *in)
{
	const struct unpack_result *r = &in->job->result;
	struct layer *l;

	l = xcalloc(1, sizeof(*l));
	l->key = xstrdup(r->diff_id);
	l->bytes = in->bytes = r->bytes;
	l->inodes = in->inodes = r->inodes;
	l->opaque = r->opaque.len > 0 && r->opaque.data[0] == '\0'; /* "" sorts first */
	l = shelf_publish_take(in->store, l, in->dir, r->implicit.data, r->implicit.len, &in->err);
	finish(in, l);
}

static bool
worker_failed(struct layer_ingest *in)
{
	in->err = in->worker.err;
	if (in->aborted)
		err_set(&in->err, ERR_CANCELLED, "aborted");
	return in->err.code != ERR_NONE;
}

static void
on_sealed(struct worker *w)
{
	struct layer_ingest *in = container_of(w, struct layer_ingest, worker);
	uint64_t bytes = 0;
	bool failed = worker_failed(in);

	if (w->child.out.len == sizeof(bytes))
		memcpy(&bytes, w->child.out.data, sizeof(bytes));
	child_release(&w->child);
	in->job->result.bytes += bytes;
	if (failed)
		finish(in, NULL);
	else
		publish(in);
}

static int
seal(struct layer_ingest *in)
{
	struct ingest_job *job = in->job;
	const struct worker_spec spec = {.fn = unpack_seal_worker,
	    .arg = &job->seal,
	    .max_output = sizeof(uint64_t),
	    .what = "seal-layer",
	    .keep_fds = &job->dir,
	    .n_keep = 1};

	job->seal = (struct unpack_seal){job->dir, job->result.opaque.data, job->result.opaque.len};
	return worker_start(&in->worker, &spec, on_sealed, &in->err);
}

static void
on_unpacked(struct worker *w)
{
	struct layer_ingest *in = container_of(w, struct layer_ingest, worker);
	struct unpack_result *r = &in->job->result;
	bool ok = !worker_failed(in) && unpack_parse(&w->child.out, r, &in->err) == 0;

	child_release(&w->child);
	fd_closep(&in->fd);
	if (ok && shelf_find(in->store, r->diff_id) != NULL) {
		err_set(&in->err, ERR_ALREADY_EXISTS, "layer %s is there already", r->diff_id);
		ok = false;
	}
	in->xattrs_lost = r->xattrs_lost;
	if (!ok)
		finish(in, NULL);
	else if (r->opaque.len == 0)
		publish(in);
	else if (seal(in) < 0)
		finish(in, NULL);
}

static int
check(struct image_store *st, const struct layer_desc *d, struct err *err)
{
	int64_t num;

	if (d->digest != NULL && !digest_valid(d->digest))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "layer with a bad digest: %.100s", d->digest);
	if (!digest_valid(d->diff_id))
		return err_set(err, ERR_INVALID_ARGUMENT, "layer with a bad diff id: %.100s",
		    STR_OR_EMPTY(d->diff_id));
	if (d->size < -1)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "layer %s with a negative size", d->digest);
	if (layer_lookup(st, d->diff_id, &num) != LAYER_ABSENT)
		return err_set(err, ERR_ALREADY_EXISTS, "layer %s is there already", d->diff_id);
	return 0;
}

static int
begin(struct layer_ingest *in, struct image_store *st, const struct layer_desc *d,
    const struct layer_source *src, void (*done)(struct layer_ingest *), struct err *err)
{
	cleanup_free struct ingest_job *job = xcalloc(1, sizeof(*job));
	struct worker_spec spec = {.fn = unpack_worker,
	    .arg = &job->unpack,
	    .max_output = UNPACK_OUTPUT_MAX,
	    .what = "unpack-layer",
	    .n_keep = 2};
	int keep[2];

	*in = (struct layer_ingest){.fd = -1, .store = st, .done = done};
	job->dir = shelf_make(st, in->dir, err);
	if (job->dir < 0)
		return -1;
	job->unpack.in = keep[0] = src->fd;
	job->unpack.dir = keep[1] = job->dir;
	job->unpack.path = src->path;
	job->unpack.at = src->at;
	job->unpack.size = d->size;
	if (d->digest != NULL)
		memcpy(job->unpack.digest, d->digest, strlen(d->digest) + 1);
	memcpy(job->unpack.diff_id, d->diff_id, strlen(d->diff_id) + 1);
	spec.keep_fds = keep;
	if (worker_start(&in->worker, &spec, on_unpacked, err) < 0) {
		shelf_trash(st, st->ingest_fd, in->dir);
		fd_closep(&job->dir);
		return -1;
	}
	in->diff_id = xstrdup(d->diff_id);
	in->job = take_ptr(job);
	TAILQ_INSERT_TAIL(&st->ingests, in, entry);
	return 0;
}

int
layer_ingest_start(struct layer_ingest *in, struct image_store *st, const struct layer_desc *d,
    void (*done)(struct layer_ingest *), struct err *err)
{
	struct layer_source src = {.path = NULL, .at = -1};
	int pair[2], ret;

	if (check(st, d, err) < 0)
		return -1;
	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_errno(err, "pipe for a layer");
	if (fd_set_nonblock(pair[1], true) < 0) {
		err_errno(err, "pipe for a layer");
		close(pair[0]);
		close(pair[1]);
		return -1;
	}
	/* Fewer wake-ups; the default size will do as well where this is not allowed. */
	fcntl(pair[1], F_SETPIPE_SZ, PIPE_SIZE);
	src.fd = pair[0];
	ret = begin(in, st, d, &src, done, err);
	close(pair[0]);
	if (ret < 0)
		close(pair[1]);
	else
		in->fd = pair[1];
	return ret;
}

int
layer_ingest_start_file(struct layer_ingest *in, struct image_store *st, const struct layer_desc *d,
    const struct layer_source *src, void (*done)(struct layer_ingest *), struct err *err)
{
	assert(src->at >= 0);
	return check(st, d, err) < 0 ? -1 : begin(in, st, d, src, done, err);
}

void
layer_ingest_end(struct layer_ingest *in)
{
	fd_closep(&in->fd);
}

void
layer_ingest_abort(struct layer_ingest *in)
{
	in->aborted = true;
	fd_closep(&in->fd);
	child_kill(&in->worker.child, SIGKILL);
}
