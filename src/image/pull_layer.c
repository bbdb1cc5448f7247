/* SPDX-License-Identifier: Apache-2.0
 *
 * One layer of a pull. It is here already, or somebody else's ingest brings it (wait, and look
 * again), or it is ours to bring: when there is a slot for it, the request writes what comes into
 * the pipe of the layer's unpack worker, and pauses while the pipe is full. The worker verifies. A
 * layer that turns out not to be what its digest says is tried once more from the next host, or
 * from the same one when it was put together from several answers.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macros.h"
#include "image/pull_job.h"
#include "loop/loop.h"

enum { RESTARTS_MAX = 3 };

#define LAYER(o) container_of((o), struct pull_layer, op)

const char *
pull_layer_state_name(enum pull_layer_state state)
{
	static const char *const names[] = {
	    "waiting", "downloading", "unpacking", "done", "present"};

	return names[state];
}

/* ---- slots --------------------------------------------------------------------------------- */

static bool
slot_free(const struct pull_layer *l)
{
	const struct puller *pr = l->job->puller;

	return pr->slots < pr->per_node && l->job->slots < pr->per_image;
}

static void
slot_take(struct pull_layer *l)
{
	l->slot = true;
	l->job->slots++;
	l->job->puller->slots++;
}

/* The next in line whose image may have one more gets it. */
static void
slot_give_back(struct pull_layer *l)
{
	struct puller *pr = l->job->puller;
	struct pull_layer *w, *next;

	if (!l->slot)
		return;
	l->slot = false;
	l->job->slots--;
	pr->slots--;
	for (w = TAILQ_FIRST(&pr->waiting); w != NULL; w = next) {
		next = TAILQ_NEXT(w, entry);
		if (!slot_free(w))
			continue;
		TAILQ_REMOVE(&pr->waiting, w, entry);
		slot_take(w);
		w->waits = PULL_FOR_NOTHING;
		op_resume(&w->op, NULL);
	}
}

/* ---- the transfer -------------------------------------------------------------------------- */

/* Both halves have ended. */
static void
transfer_over(struct pull_layer *l)
{
	struct err *err = &l->ingest.err;

	ev_io_stop(loop, &l->w_pipe);
	registry_request_stop(&l->request);
	l->waits = PULL_FOR_NOTHING;
	if (err->code == ERR_NONE) {
		l->num = l->ingest.num;
		l->state = PULL_DONE;
	} else {
		l->state = PULL_WAITING;
	}
	slot_give_back(l);
	/* The worker's reason, unless it only went because the request had failed. */
	if (err->code != ERR_NONE && l->err.code != ERR_NONE && !l->pipe_broke)
		err = &l->err;
	if (err->code == ERR_DATA_LOSS && err == &l->ingest.err && l->restarts < RESTARTS_MAX) {
		unsigned from = l->request.host + (l->request.pieced ? 0 : 1);

		if (from < l->job->registry->hosts.n) {
			trace(TRACE_IMAGE, "layer %s: once more: %s", l->desc->digest, err->msg);
			l->first_host = from;
			l->restarts++;
			op_resume(&l->op, NULL); /* the step is entered again and finds no layer */
			return;
		}
	}
	if (err->code != ERR_NONE && err == &l->ingest.err)
		err_wrap(err, "layer %s", l->desc->digest);
	op_resume(&l->op, err);
}

static void
on_ingested(struct layer_ingest *in)
{
	struct pull_layer *l = container_of(in, struct pull_layer, ingest);

	l->ingesting = false;
	if (l->requesting) { /* the worker has given up early */
		l->requesting = false;
		l->request.host = (unsigned)(l->request.peer - l->job->registry->peers);
		registry_request_stop(&l->request);
	}
	transfer_over(l);
}

static void
on_request_done(struct registry_request *q)
{
	struct pull_layer *l = container_of(q, struct pull_layer, request);

	l->requesting = false;
	ev_io_stop(loop, &l->w_pipe);
	l->err = q->err;
	if (q->err.code == ERR_NONE) {
		l->state = PULL_UNPACKING;
		layer_ingest_end(&l->ingest);
	} else if (!l->pipe_broke) {
		layer_ingest_abort(&l->ingest);
	}
	/* on_ingested follows in every case */
}

static void
on_pipe(struct ev_loop *lp, ev_io *w, int revents)
{
	struct pull_layer *l = container_of(w, struct pull_layer, w_pipe);

	(void)revents;
	ev_io_stop(lp, w);
	registry_request_unpause(&l->request);
}

static enum fetch_take
on_body(struct registry_request *q, const char *p, size_t n)
{
	struct pull_layer *l = container_of(q, struct pull_layer, request);

	while (l->written < n) {
		ssize_t got = write(l->ingest.fd, p + l->written, n - l->written);

		if (got >= 0) {
			l->written += (size_t)got;
		} else if (errno == EAGAIN) {
			ev_io_start(loop, &l->w_pipe);
			return FETCH_PAUSE; /* the same bytes come again, in pieces perhaps */
		} else if (errno != EINTR) {
			l->pipe_broke = errno == EPIPE;
			err_errno(&q->err, "write to the unpack worker");
			return FETCH_ABORT;
		}
	}
	l->written -= n;
	return FETCH_TAKEN;
}

static void
stop_transfer(struct op *op)
{
	struct pull_layer *l = LAYER(op);

	if (l->requesting) {
		l->requesting = false;
		ev_io_stop(loop, &l->w_pipe);
		registry_request_stop(&l->request);
	}
	layer_ingest_abort(&l->ingest);
}

static int
transfer(struct pull_layer *l, struct err *err)
{
	struct layer_desc d = {
	    .digest = l->desc->digest,
	    .media_type = l->desc->media_type,
	    .size = (int64_t)l->desc->size,
	    .diff_id = l->diff_id,
	};

	if (layer_ingest_start(&l->ingest, l->job->puller->store, &d, on_ingested, err) < 0)
		return -1;
	l->ingesting = true;
	l->written = 0;
	l->pipe_broke = false;
	l->err = (struct err){0};
	ev_io_init(&l->w_pipe, on_pipe, l->ingest.fd, EV_WRITE);
	l->request = (struct registry_request){
	    .kind = REGISTRY_BLOB,
	    .what = l->desc->digest,
	    .size = l->desc->size,
	    .on_body = on_body,
	    .first_host = l->first_host,
	};
	l->state = PULL_DOWNLOADING;
	l->waits = PULL_FOR_TRANSFER;
	l->op.stop = stop_transfer;
	if (registry_request_start(&l->request, l->job->registry, on_request_done, &l->err) < 0)
		layer_ingest_abort(&l->ingest); /* on_ingested ends it with l->err */
	else
		l->requesting = true;
	return 0;
}

/* ---- the op -------------------------------------------------------------------------------- */

static void
on_other(struct layer_wait *w)
{
	struct pull_layer *l = container_of(w, struct pull_layer, other);

	l->waits = PULL_FOR_NOTHING;
	if (w->err.code == ERR_NONE) {
		l->num = w->num;
		l->state = PULL_DONE;
	}
	op_resume(&l->op, NULL); /* after an error: look again, it may be ours now */
}

static void
stop_waiting(struct op *op)
{
	struct pull_layer *l = LAYER(op);

	if (l->waits == PULL_FOR_OTHER)
		layer_wait_cancel(&l->other);
	else
		TAILQ_REMOVE(&l->job->puller->waiting, l, entry);
	l->waits = PULL_FOR_NOTHING;
	op_resume(op, NULL);
}

static enum op_ret
wait_for(struct pull_layer *l, enum pull_layer_wait what)
{
	l->waits = what;
	l->op.stop = stop_waiting;
	return OP_AGAIN;
}

static enum op_ret
fetch_layer(struct op *op, struct err *err)
{
	struct pull_layer *l = LAYER(op);
	struct image_store *st = l->job->puller->store;
	int64_t num;

	if (l->num >= 0)
		return OP_NEXT;
	switch (layer_lookup(st, l->diff_id, &num)) {
	case LAYER_PRESENT:
		layer_hold(st, num);
		l->num = num;
		l->state = PULL_PRESENT;
		slot_give_back(l);
		return OP_NEXT;
	case LAYER_IN_FLIGHT:
		slot_give_back(l);
		layer_wait_start(&l->other, st, l->diff_id, on_other);
		return wait_for(l, PULL_FOR_OTHER);
	case LAYER_ABSENT:
		break;
	}
	if (!l->slot && !slot_free(l)) {
		TAILQ_INSERT_TAIL(&l->job->puller->waiting, l, entry);
		return wait_for(l, PULL_FOR_SLOT);
	}
	if (!l->slot)
		slot_take(l);
	if (transfer(l, err) < 0) {
		slot_give_back(l);
		return OP_FAIL;
	}
	return OP_AGAIN;
}

/* A slot that was granted in the same turn as the op was cancelled. */
static enum op_ret
drop_slot(struct op *op, struct err *err)
{
	(void)err;
	slot_give_back(LAYER(op));
	return OP_NEXT;
}

static const struct op_step layer_steps[] = {
    {"fetch layer", fetch_layer, drop_slot},
    {NULL,          NULL,        NULL     },
};

static void
on_layer_done(struct op *op)
{
	pull_job_layer_done(LAYER(op));
}

void
pull_layer_start(struct pull_layer *l)
{
	op_start(&l->op, "PullLayer", l->desc->digest, layer_steps, on_layer_done);
	l->op.keep_message = true;
}
