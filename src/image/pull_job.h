/* SPDX-License-Identifier: Apache-2.0
 *
 * The operation behind a pull, shared by pull.c (who waits for what), pull_job.c (its steps) and
 * pull_layer.c (one layer of it, an operation as well).
 */
#ifndef IMAGE_PULL_JOB_H
#define IMAGE_PULL_JOB_H

#include <ev.h>
#include <stdbool.h>

#include "image/config.h"
#include "image/layer.h"
#include "image/manifest.h"
#include "image/pull.h"
#include "image/ref.h"
#include "image/registry.h"
#include "image/request.h"
#include "image/store.h"
#include "loop/op.h"

struct pull_job;

enum pull_layer_state { PULL_WAITING, PULL_DOWNLOADING, PULL_UNPACKING, PULL_DONE, PULL_PRESENT };

/* What the op of a layer waits for. */
enum pull_layer_wait { PULL_FOR_NOTHING, PULL_FOR_SLOT, PULL_FOR_OTHER, PULL_FOR_TRANSFER };

struct pull_layer {
	struct op op;
	struct pull_job *job;
	const struct descriptor *desc;
	const char *diff_id;
	enum pull_layer_state state;
	enum pull_layer_wait waits;
	int64_t num; /* held; -1: not yet */
	bool slot;   /* holds one */
	struct layer_wait other;
	/* the transfer: the request writes into the ingest's pipe */
	struct registry_request request;
	struct layer_ingest ingest;
	ev_io w_pipe;   /* running while the pipe is full and the request paused */
	size_t written; /* of the bytes on offer, when only a part fitted */
	bool requesting, ingesting, pipe_broke;
	struct err err; /* of the request */
	unsigned first_host, restarts;
	TAILQ_ENTRY(pull_layer) entry; /* of puller->waiting */
};

struct pull_job {
	struct op op;
	struct puller *puller;
	TAILQ_HEAD(, pull) waiters;
	char *key; /* equal for pulls that may join */
	struct image_ref ref;
	char *ref_string;
	struct platform platform;
	void *spec;
	size_t spec_len;
	struct credential cred; /* moved into the registry */
	struct registry *registry;
	struct registry_request request;
	char top[DIGEST_SIZE]; /* of the index or manifest that the reference names; "": not yet */
	struct descriptor next; /* the manifest to fetch, when an index named it */
	unsigned depth;
	struct buf manifest_bytes, config_bytes;
	struct manifest *manifest;
	struct image_config *config;
	struct pull_layer *layers;
	size_t n_layers, n_running;
	unsigned slots; /* held by its layers */
	struct err layer_err;
	char *tag, *repo_digest;
	int64_t *nums;
	struct image_commit commit;
	TAILQ_ENTRY(pull_job) entry;
};

struct puller {
	struct image_store *store;
	char *certs_dirs;
	struct platform platform;
	unsigned per_image, per_node, slots;
	int64_t stall_timeout_ms, retry_ms;
	unsigned n_jobs;
	TAILQ_HEAD(, pull_job) jobs;
	TAILQ_HEAD(, pull_layer) waiting; /* for a slot */
};

/* pull_job.c: queue the job's op; done() gets it when it has ended. */
void pull_job_start(struct pull_job *job, void (*done)(struct op *));
/* Let go of its layers and free it. */
void pull_job_free(struct pull_job *job);

/* pull_layer.c: queue the op of a layer; pull_job_layer_done() follows. */
void pull_layer_start(struct pull_layer *l);
void pull_job_layer_done(struct pull_layer *l);
const char *pull_layer_state_name(enum pull_layer_state state);

#endif
