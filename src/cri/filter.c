/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters of the List calls: see filter.h.
 */
#include "cri/filter.h"

#include <string.h>

#include "base/str.h"
#include "pod/container.h"
#include "pod/sandbox.h"

/* Every map has an entry type of its own, all alike. */
struct label {
	ProtobufCMessage base;
	char *key, *value;
};

_Static_assert(sizeof(struct label) == sizeof(Runtime__V1__PodSandboxFilter__LabelSelectorEntry),
    "a map entry is a key and a value");

static bool
labels_match(void *wanted_, size_t n_wanted, void *have_, size_t n_have)
{
	struct label *const *wanted = wanted_, *const *have = have_;

	for (size_t i = 0; i < n_wanted; i++) {
		size_t k;

		for (k = 0; k < n_have; k++)
			if (strcmp(have[k]->key, wanted[i]->key) == 0)
				break;
		if (k == n_have || strcmp(have[k]->value, wanted[i]->value) != 0)
			return false;
	}
	return true;
}

static bool
id_matches(const char *wanted, const char *id)
{
	return str_empty(wanted) || str_starts(id, wanted);
}

#define LABELS_MATCH(f, config)                                                                    \
	labels_match((f)->label_selector, (f)->n_label_selector, (config)->labels,                 \
	    (config)->n_labels)

bool
filter_sandbox(const Runtime__V1__PodSandboxFilter *f, const struct sandbox *sb)
{
	if (sb->state == SANDBOX_CREATING || sb->removing)
		return false;
	if (f == NULL)
		return true;
	if (f->state != NULL && (f->state->state == RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY) !=
	                            (sb->state == SANDBOX_READY))
		return false;
	return id_matches(f->id, sb->id) && LABELS_MATCH(f, sb->config);
}

bool
filter_sandbox_stats(const Runtime__V1__PodSandboxStatsFilter *f, const struct sandbox *sb)
{
	if (sb->state != SANDBOX_READY || sb->removing)
		return false;
	return f == NULL || (id_matches(f->id, sb->id) && LABELS_MATCH(f, sb->config));
}

bool
filter_container(const Runtime__V1__ContainerFilter *f, const struct container *c)
{
	if (c->state == CONTAINER_CREATING || c->removing)
		return false;
	if (f == NULL)
		return true;
	if (f->state != NULL && f->state->state != container_cri_state(c))
		return false;
	return id_matches(f->id, c->id) && id_matches(f->pod_sandbox_id, c->sb->id) &&
	       LABELS_MATCH(f, c->config);
}

bool
filter_container_stats(const Runtime__V1__ContainerStatsFilter *f, const struct container *c)
{
	if (c->state == CONTAINER_CREATING || c->removing)
		return false;
	return f == NULL || (id_matches(f->id, c->id) && id_matches(f->pod_sandbox_id, c->sb->id) &&
	                        LABELS_MATCH(f, c->config));
}
