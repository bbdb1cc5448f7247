/* SPDX-License-Identifier: Apache-2.0
 *
 * Stats as messages: see stats.h.
 */
#include "cri/stats.h"

#include "base/arena.h"
#include "base/log.h"
#include "cri/methods.h"
#include "pod/node.h"
#include "pod/stats.h"

Runtime__V1__ContainerStats *
container_stats_message(struct container *c, struct arena *a)
{
	Runtime__V1__ContainerStats *m = arena_alloc(a, sizeof(*m));
	Runtime__V1__ContainerAttributes *at = arena_alloc(a, sizeof(*at));
	struct err err;

	runtime__v1__container_stats__init(m);
	runtime__v1__container_attributes__init(at);
	at->id = c->id;
	at->metadata = c->config->metadata;
	at->n_labels = c->config->n_labels;
	at->labels = (void *)c->config->labels;
	at->n_annotations = c->config->n_annotations;
	at->annotations = (void *)c->config->annotations;
	m->attributes = at;
	if (c->state == CONTAINER_RUNNING && stats_fill_container(&c->stats, a, m, &err) < 0)
		log_debug("container %.12s: stats: %s", c->id, err.msg);
	return m;
}

Runtime__V1__PodSandboxStats *
sandbox_stats_message(struct sandbox *sb, struct arena *a)
{
	Runtime__V1__PodSandboxStats *m = arena_alloc(a, sizeof(*m));
	Runtime__V1__PodSandboxAttributes *at = arena_alloc(a, sizeof(*at));
	Runtime__V1__LinuxPodSandboxStats *l = arena_alloc(a, sizeof(*l));
	struct container *c;
	struct err err;
	size_t n = 0;

	runtime__v1__pod_sandbox_stats__init(m);
	runtime__v1__pod_sandbox_attributes__init(at);
	runtime__v1__linux_pod_sandbox_stats__init(l);
	at->id = sb->id;
	at->metadata = sb->config->metadata;
	at->n_labels = sb->config->n_labels;
	at->labels = (void *)sb->config->labels;
	at->n_annotations = sb->config->n_annotations;
	at->annotations = (void *)sb->config->annotations;
	m->attributes = at;
	m->linux = l;
	if (stats_fill_pod(&sb->stats, a, l, &err) < 0)
		log_debug("sandbox %.12s: stats: %s", sb->id, err.msg);
	TAILQ_FOREACH(c, &sb->containers, in_sandbox)
		n++;
	l->containers = arena_array(a, Runtime__V1__ContainerStats *, n);
	TAILQ_FOREACH(c, &sb->containers, in_sandbox)
		if (c->state == CONTAINER_RUNNING)
			l->containers[l->n_containers++] = container_stats_message(c, a);
	return m;
}
