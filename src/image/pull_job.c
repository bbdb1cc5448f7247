/* SPDX-License-Identifier: Apache-2.0
 *
 * The steps of a pull: see pull_job.h and the table at the end of the file.
 */
#include "image/pull_job.h"

#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"

enum { INDEX_DEPTH_MAX = 4 };

#define JOB(o) container_of((o), struct pull_job, op)

static void
stop_request(struct op *op)
{
	registry_request_stop(&JOB(op)->request);
	op_resume(op, NULL);
}

static void
on_request_done(struct registry_request *q)
{
	struct pull_job *job = container_of(q, struct pull_job, request);

	op_resume(&job->op, &q->err);
}

static int
start_request(struct pull_job *job, void (*done)(struct registry_request *), struct err *err)
{
	if (registry_request_start(&job->request, job->registry, done, err) < 0)
		return -1;
	job->op.stop = stop_request;
	return 0;
}

static enum op_ret
read_hosts(struct op *op, struct err *err)
{
	struct pull_job *job = JOB(op);
	struct registry_options o = {
	    .certs_dirs = job->puller->certs_dirs,
	    .stall_timeout_ms = job->puller->stall_timeout_ms,
	    .retry_ms = job->puller->retry_ms,
	};

	job->registry = registry_new(&job->ref, &job->cred, &o, err);
	return job->registry != NULL ? OP_NEXT : OP_FAIL;
}

static const char *
tag_or_digest(const struct pull_job *job)
{
	return job->ref.digest != NULL ? job->ref.digest : job->ref.tag;
}

static void
on_resolved(struct registry_request *q)
{
	struct pull_job *job = container_of(q, struct pull_job, request);

	if (q->err.code == ERR_NONE && job->ref.digest == NULL)
		snprintf(job->top, sizeof(job->top), "%s", q->digest);
	/* a server without HEAD: the GET that follows will tell */
	op_resume(&job->op, q->no_head ? NULL : &q->err);
}

/* HEAD costs no pull of a registry that counts them, and also asks whether this credential may have
 * what is perhaps here already. */
static enum op_ret
resolve(struct op *op, struct err *err)
{
	struct pull_job *job = JOB(op);

	if (job->ref.digest != NULL)
		snprintf(job->top, sizeof(job->top), "%s", job->ref.digest);
	job->request = (struct registry_request){
	    .kind = REGISTRY_MANIFEST,
	    .head = true,
	    .what = tag_or_digest(job),
	    .size = SIZE_UNKNOWN,
	};
	return start_request(job, on_resolved, err) < 0 ? OP_FAIL : OP_WAIT;
}

static int
parse_config(struct pull_job *job, struct err *err)
{
	struct image_config *c;
	char have[sizeof(struct platform) + 4], want[sizeof(struct platform) + 4];

	c = job->config = image_config_parse(job->config_bytes.data, job->config_bytes.len, err);
	if (c == NULL)
		return -1;
	if (c->n_diff_ids != job->manifest->n_layers)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "image config: %zu diff ids for the %zu layers of the manifest", c->n_diff_ids,
		    job->manifest->n_layers);
	if (c->platform.os[0] == '\0' || c->platform.arch[0] == '\0' ||
	    platform_match(&job->platform, &c->platform) >= 0)
		return 0;
	platform_format(&c->platform, have, sizeof(have));
	platform_format(&job->platform, want, sizeof(want));
	return err_set(
	    err, ERR_NOT_FOUND, "no image for platform %s: this one is for %s", want, have);
}

/* What the reference names is here, whole, and for our platform: nothing needs to be fetched. */
static bool
take_from_store(struct pull_job *job)
{
	cleanup_free char *repo_digest = image_ref_repo_digest(&job->ref, job->top);
	struct image_store *st = job->puller->store;
	struct image *img = image_store_find(st, repo_digest);
	const struct platform *have;
	struct err ignored;

	if (img == NULL ||
	    image_store_blobs(st, img, &job->manifest_bytes, &job->config_bytes, &ignored) < 0)
		goto no;
	job->manifest =
	    manifest_parse(job->manifest_bytes.data, job->manifest_bytes.len, NULL, &ignored);
	if (job->manifest == NULL) /* an OCI manifest need not say what it is */
		job->manifest = manifest_parse(job->manifest_bytes.data, job->manifest_bytes.len,
		    MEDIA_OCI_MANIFEST, &ignored);
	if (job->manifest == NULL || job->manifest->is_index || parse_config(job, &ignored) < 0)
		goto no;
	have = &job->config->platform; /* a stand-in for another pull may not do for this one */
	if (have->os[0] == '\0' || platform_match(&job->platform, have) == 0)
		return true;
no:
	buf_release(&job->manifest_bytes);
	buf_release(&job->config_bytes);
	manifest_free(job->manifest);
	image_config_free(job->config);
	job->manifest = NULL;
	job->config = NULL;
	return false;
}

static bool
says_type(const char *content_type)
{
	char type[256];

	snprintf(type, sizeof(type), "%.*s", (int)strcspn(content_type, "; \t"), content_type);
	return media_is_manifest(type);
}

/* An answer is there: an index leads to another, a manifest ends the step. */
static int
take_manifest(struct pull_job *job, struct err *err)
{
	struct registry_request *q = &job->request;
	const char *announced = q->content_type;
	const struct manifest_entry *e;
	struct manifest *m;

	if (job->top[0] == '\0') /* of the first, when its server did not say */
		digest_of(q->body.len > 0 ? q->body.data : "", q->body.len, job->top);
	if (job->next.media_type != NULL && !says_type(announced))
		announced = job->next.media_type;
	m = manifest_parse(q->body.data, q->body.len, announced, err);
	if (m == NULL)
		return -1;
	if (job->next.media_type != NULL && strcmp(m->media_type, job->next.media_type) != 0) {
		err_set(err, ERR_INVALID_ARGUMENT,
		    "manifest: the index calls it %.100s, but it is %s", job->next.media_type,
		    m->media_type);
		manifest_free(m);
		return -1;
	}
	manifest_free(job->manifest);
	job->manifest = m;
	if (!m->is_index) {
		job->manifest_bytes = q->body;
		q->body = (struct buf)BUF_INIT;
		return manifest_check_image(m, err);
	}
	buf_release(&q->body);
	if (++job->depth > INDEX_DEPTH_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "manifest: indexes nested deeper than %d",
		    INDEX_DEPTH_MAX);
	e = manifest_choose(m, &job->platform, err);
	if (e == NULL)
		return -1;
	job->next = e->desc; /* borrowed from job->manifest */
	return 0;
}

static enum op_ret
fetch_manifest(struct op *op, struct err *err)
{
	struct pull_job *job = JOB(op);
	struct registry_request *q = &job->request;
	bool first = job->next.digest == NULL;

	if (q->max == 0) { /* the request is still that of the step before */
		if (job->top[0] != '\0' && take_from_store(job))
			return OP_NEXT;
	} else {
		if (take_manifest(job, err) < 0)
			return OP_FAIL;
		if (!job->manifest->is_index)
			return OP_NEXT;
		first = false;
	}
	registry_request_stop(q);
	*q = (struct registry_request){
	    .kind = REGISTRY_MANIFEST,
	    .what =
	        first ? (job->top[0] != '\0' ? job->top : tag_or_digest(job)) : job->next.digest,
	    .size = first ? SIZE_UNKNOWN : job->next.size,
	    .max = MANIFEST_MAX,
	};
	if (!first && job->next.size > MANIFEST_MAX) {
		err_set(err, ERR_RESOURCE_EXHAUSTED, "manifest %s: %llu bytes, the limit is %d",
		    job->next.digest, (unsigned long long)job->next.size, MANIFEST_MAX);
		return OP_FAIL;
	}
	return start_request(job, on_request_done, err) < 0 ? OP_FAIL : OP_AGAIN;
}

static enum op_ret
fetch_config(struct op *op, struct err *err)
{
	struct pull_job *job = JOB(op);
	struct registry_request *q = &job->request;
	const struct descriptor *d = &job->manifest->config;

	if (job->config != NULL)
		return OP_NEXT;
	if (q->kind == REGISTRY_BLOB) { /* it is there */
		job->config_bytes = q->body;
		q->body = (struct buf)BUF_INIT;
		return parse_config(job, err) < 0 ? OP_FAIL : OP_NEXT;
	}
	if (d->size > IMAGE_CONFIG_MAX) {
		err_set(err, ERR_RESOURCE_EXHAUSTED, "image config: %llu bytes, the limit is %d",
		    (unsigned long long)d->size, IMAGE_CONFIG_MAX);
		return OP_FAIL;
	}
	registry_request_stop(q);
	*q = (struct registry_request){
	    .kind = REGISTRY_BLOB,
	    .what = d->digest,
	    .size = d->size,
	    .max = IMAGE_CONFIG_MAX,
	};
	return start_request(job, on_request_done, err) < 0 ? OP_FAIL : OP_AGAIN;
}

static void
cancel_layers(struct pull_job *job, const char *why)
{
	for (size_t i = 0; i < job->n_layers; i++)
		if (job->layers[i].op.phase != OP_DONE)
			op_cancel(&job->layers[i].op, ERR_CANCELLED, why);
}

static void
stop_layers(struct op *op)
{
	cancel_layers(JOB(op), "the pull is cancelled");
}

/* The first error counts; the last layer to end resumes the pull. */
void
pull_job_layer_done(struct pull_layer *l)
{
	struct pull_job *job = l->job;

	if (l->op.err.code != ERR_NONE && job->layer_err.code == ERR_NONE) {
		job->layer_err = l->op.err;
		cancel_layers(job, "another layer failed");
	}
	if (--job->n_running == 0)
		op_resume(&job->op, &job->layer_err);
}

static enum op_ret
fetch_layers(struct op *op, struct err *err)
{
	struct pull_job *job = JOB(op);
	size_t n = job->manifest->n_layers;

	(void)err;
	registry_request_stop(&job->request);
	job->nums = xcalloc(n + 1, sizeof(*job->nums));
	job->layers = xcalloc(n + 1, sizeof(*job->layers));
	job->n_layers = job->n_running = n;
	for (size_t i = 0; i < n; i++) {
		struct pull_layer *l = &job->layers[i];

		l->job = job;
		l->desc = &job->manifest->layers[i];
		l->diff_id = job->config->diff_ids[i];
		l->num = -1;
		pull_layer_start(l);
	}
	if (n == 0)
		return OP_NEXT;
	op->stop = stop_layers;
	return OP_WAIT;
}

static enum op_ret
commit(struct op *op, struct err *err)
{
	struct pull_job *job = JOB(op);

	job->tag = image_ref_tag(&job->ref);
	job->repo_digest = image_ref_repo_digest(&job->ref, job->top);
	for (size_t i = 0; i < job->n_layers; i++)
		job->nums[i] = job->layers[i].num;
	job->commit = (struct image_commit){
	    .manifest = job->manifest_bytes.data,
	    .manifest_len = job->manifest_bytes.len,
	    .config = job->config_bytes.data,
	    .config_len = job->config_bytes.len,
	    .tags = (const char *const *)&job->tag,
	    .n_tags = job->tag != NULL,
	    .digests = (const char *const *)&job->repo_digest,
	    .n_digests = 1,
	    .layers = job->nums,
	    .n_layers = job->n_layers,
	    .spec = job->spec,
	    .spec_len = job->spec_len,
	};
	return image_commit_start(&job->commit, job->puller->store, op, err) < 0 ? OP_FAIL
	                                                                         : OP_WAIT;
}

static const struct op_step pull_steps[] = {
    {"read hosts",     read_hosts,     NULL},
    {"resolve",        resolve,        NULL},
    {"fetch manifest", fetch_manifest, NULL},
    {"fetch config",   fetch_config,   NULL},
    {"fetch layers",   fetch_layers,   NULL}, /* what is unpacked stays held until the op ends */
    {"commit",         commit,         NULL},
    {NULL,             NULL,           NULL},
};

void
pull_job_start(struct pull_job *job, void (*done)(struct op *))
{
	op_start(&job->op, "Pull", job->ref_string, pull_steps, done);
	job->op.keep_message = true;
}

void
pull_job_free(struct pull_job *job)
{
	registry_request_stop(&job->request);
	for (size_t i = 0; i < job->n_layers; i++)
		if (job->layers[i].num >= 0)
			layer_release(job->puller->store, job->layers[i].num);
	registry_free(job->registry);
	credential_release(&job->cred);
	image_ref_release(&job->ref);
	buf_release(&job->manifest_bytes);
	buf_release(&job->config_bytes);
	manifest_free(job->manifest);
	image_config_free(job->config);
	free(job->layers);
	free(job->nums);
	free(job->ref_string);
	free(job->key);
	free(job->spec);
	free(job->tag);
	free(job->repo_digest);
	free(job);
}
