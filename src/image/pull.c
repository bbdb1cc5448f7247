/* SPDX-License-Identifier: Apache-2.0
 *
 * Who waits for which pull: see pull.h.
 */
#include "image/pull.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/pull_job.h"

int
puller_set_options(struct puller *pr, const struct puller_options *o, struct err *err)
{
	if (platform_parse(o->platform, &pr->platform, err) < 0)
		return -1;
	free(pr->certs_dirs);
	pr->certs_dirs = xstrdup(o->certs_dirs);
	pr->per_image = o->per_image > 0 ? o->per_image : PULL_PER_IMAGE;
	pr->per_node = o->per_node > 0 ? o->per_node : PULL_PER_NODE;
	pr->stall_timeout_ms = o->stall_timeout_ms;
	pr->retry_ms = o->retry_ms;
	return 0;
}

struct puller *
puller_new(struct image_store *st, const struct puller_options *o, struct err *err)
{
	struct puller *pr = xcalloc(1, sizeof(*pr));

	pr->store = st;
	TAILQ_INIT(&pr->jobs);
	TAILQ_INIT(&pr->waiting);
	if (puller_set_options(pr, o, err) < 0) {
		puller_free(pr);
		return NULL;
	}
	return pr;
}

void
puller_free(struct puller *pr)
{
	if (pr == NULL)
		return;
	assert(pr->n_jobs == 0);
	free(pr->certs_dirs);
	free(pr);
}

unsigned
puller_busy(const struct puller *pr)
{
	return pr->n_jobs;
}

static void
on_job_done(struct op *op)
{
	struct pull_job *job = container_of(op, struct pull_job, op);
	struct pull *p;

	while ((p = TAILQ_FIRST(&job->waiters)) != NULL) {
		TAILQ_REMOVE(&job->waiters, p, entry);
		p->job = NULL;
		if (op->err.code == ERR_NONE)
			snprintf(p->image_id, sizeof(p->image_id), "%s", job->commit.id);
		op_resume(p->op, &op->err);
	}
	TAILQ_REMOVE(&job->puller->jobs, job, entry);
	job->puller->n_jobs--;
	pull_job_free(job);
}

/* The caller's op is cancelled: it need not wait for what the pull cleans up. */
static void
stop_pull(struct op *op)
{
	struct pull *p = op->leaf;
	struct pull_job *job = p->job;

	TAILQ_REMOVE(&job->waiters, p, entry);
	p->job = NULL;
	op_resume(op, NULL);
	if (TAILQ_EMPTY(&job->waiters))
		op_cancel(&job->op, ERR_CANCELLED, "nobody waits for the pull any more");
}

static char *
make_key(const char *ref, const struct credential *cred, const struct platform *platform,
    const struct pull_spec *spec)
{
	char who[DIGEST_SIZE], what[DIGEST_SIZE], where[sizeof(*platform) + 4];

	credential_key(cred, who);
	digest_of(spec->spec_len > 0 ? spec->spec : "", spec->spec_len, what);
	platform_format(platform, where, sizeof(where));
	return xasprintf("%s %s %s %s", ref, where, who, what);
}

/* One that has not failed, nor been cancelled, yet. */
static struct pull_job *
find_job(const struct puller *pr, const char *key)
{
	struct pull_job *job;

	TAILQ_FOREACH (job, &pr->jobs, entry)
		if (job->op.phase == OP_RUNNING && job->op.err.code == ERR_NONE &&
		    strcmp(job->key, key) == 0)
			return job;
	return NULL;
}

/* Takes ref and cred. */
static struct pull_job *
new_job(struct puller *pr, const struct pull_spec *spec, char *key, struct image_ref *ref,
    struct credential *cred, const struct platform *platform)
{
	struct pull_job *job = xcalloc(1, sizeof(*job));

	job->puller = pr;
	job->key = key;
	job->ref = *ref;
	job->ref_string = image_ref_string(ref);
	job->cred = *cred;
	job->platform = *platform;
	job->spec = spec->spec_len > 0 ? xmemdup(spec->spec, spec->spec_len) : NULL;
	job->spec_len = spec->spec_len;
	*ref = (struct image_ref){0};
	*cred = (struct credential){0};
	TAILQ_INIT(&job->waiters);
	TAILQ_INSERT_TAIL(&pr->jobs, job, entry);
	pr->n_jobs++;
	pull_job_start(job, on_job_done);
	return job;
}

int
pull_start(
    struct pull *p, struct puller *pr, const struct pull_spec *spec, struct op *op, struct err *err)
{
	struct platform platform = pr->platform;
	struct image_ref ref = {0};
	struct credential cred = {0};
	cleanup_free char *string = NULL;
	char *key;

	if (image_ref_parse(spec->image, &ref, err) < 0)
		return -1;
	if (credential_parse(&spec->auth, &cred, err) < 0 ||
	    (!str_empty(spec->platform) && platform_parse(spec->platform, &platform, err) < 0)) {
		image_ref_release(&ref);
		credential_release(&cred);
		return -1;
	}
	string = image_ref_string(&ref);
	key = make_key(string, &cred, &platform, spec);
	*p = (struct pull){.op = op};
	p->job = find_job(pr, key);
	if (p->job == NULL) {
		p->job = new_job(pr, spec, key, &ref, &cred, &platform);
	} else {
		free(key);
		image_ref_release(&ref);
		credential_release(&cred);
	}
	TAILQ_INSERT_TAIL(&p->job->waiters, p, entry);
	op->leaf = p;
	op->stop = stop_pull;
	op->keep_message = true; /* its first word may be one that the kubelet looks for */
	return 0;
}

static void
layer_progress(const struct pull_layer *l, struct pull_layer_progress *ret)
{
	bool all = l->state == PULL_DONE || l->state == PULL_PRESENT || l->state == PULL_UNPACKING;

	ret->digest = l->desc->digest;
	ret->state = pull_layer_state_name(l->state);
	ret->size = l->desc->size;
	ret->received = all ? l->desc->size : l->request.got;
}

void
pull_foreach(
    const struct puller *pr, void (*each)(const struct pull_progress *, void *arg), void *arg)
{
	struct pull_job *job;

	TAILQ_FOREACH (job, &pr->jobs, entry) {
		struct pull_layer_progress *list = xcalloc(job->n_layers + 1, sizeof(*list));
		struct pull_progress p = {
		    job->ref_string, op_step_name(&job->op), list, job->n_layers};

		for (size_t i = 0; i < job->n_layers; i++)
			layer_progress(&job->layers[i], &list[i]);
		each(&p, arg);
		free(list);
	}
}
