/* SPDX-License-Identifier: Apache-2.0
 *
 * Collecting what lost pods left on CNI networks: DEL by the notes of their attaches, then GC of
 * the networks in use, then our rules.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "net/cni_cache.h"
#include "net/cni_conf.h"
#include "net/cni_internal.h"

static bool
is_live(const char *pod_id, const char *const *live, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(pod_id, live[i]) == 0)
			return true;
	return false;
}

/* Pods that we began to attach and that nobody knows any more. */
static json_t *
list_orphans(const struct cni *cni, const char *const *live, size_t n)
{
	json_t *orphans = json_array();
	DIR *d = opendir(cni->intent_dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (cni_name_valid(e->d_name) && !is_live(e->d_name, live, n))
			json_array_append_new(orphans, json_string(e->d_name));
	if (d != NULL)
		closedir(d);
	return orphans;
}

/* Everything that is attached to this network: by what the cache says, of whichever runtime, and by
 * our own notes. */
static json_t *
list_attached(const struct cni *cni, const char *network, const char *const *live, size_t n)
{
	json_t *list = cni_cache_list(cni->cache_dir, network), *a;
	size_t i, k;

	for (size_t p = 0; p < n; p++) {
		json_t *record = cni_name_valid(live[p]) ? cni_intent_read(cni, live[p]) : NULL,
		       *one;

		json_array_foreach (json_object_get(record, "attachments"), i, a) {
			if (strcmp(cni_str(json_object_get(a, "network"), "name"), network) != 0)
				continue;
			one = json_pack("{s:s,s:O}", "containerID", live[p], "ifname",
			    json_object_get(a, "ifname"));
			for (k = 0; k < json_array_size(list); k++)
				if (json_equal(json_array_get(list, k), one))
					break;
			if (k == json_array_size(list))
				json_array_append(list, one);
			json_decref(one);
		}
		json_decref(record);
	}
	return list;
}

static void
forget(const struct cni *cni, const char *pod_id)
{
	cleanup_free char *path = cni_intent_path(cni, pod_id);

	unlink(path);
}

/* The next step of the collection: a leftover pod's DEL, then GC of each network, then our rules.
 */
static bool
next_walk(struct net_task *t, struct cni *cni, const char *const *live, size_t n)
{
	struct cni_walk_spec spec = cni->base;
	size_t n_orphans = json_array_size(t->orphans), at = t->at++;
	json_t *network;

	if (at < n_orphans) {
		struct net_pod pod = {.id = json_string_value(json_array_get(t->orphans, at))};

		json_decref(t->record);
		t->record = cni_intent_read(cni, pod.id);
		if (t->record != NULL)
			t->walk = cni_pod_walk(cni, CNI_DEL, &pod, t->record);
		else
			forget(
			    cni, pod.id); /* no note of ours, or one that the disk did not keep */
		return true;
	}
	network = cni->n_sets > 0 ? json_array_get(cni->sets[0]->networks, at - n_orphans) : NULL;
	if (network == NULL)
		return false;
	spec.command = CNI_GC;
	spec.attachments = json_pack("[{s:O,s:b}]", "network", network, "native", cni->native);
	spec.live = list_attached(cni, cni_str(network, "name"), live, n);
	t->walk = cni_walk_new(&spec);
	json_decref(spec.attachments);
	json_decref((json_t *)spec.live);
	return true;
}

/* A plugin that fails here must not keep the daemon from starting: a lost pod's DEL is tried again
 * later. */
static void
end_walk(struct net_task *t, struct net *net, enum op_ret ret, struct err *err)
{
	const char *id = json_string_value(json_array_get(t->orphans, t->at - 1));

	cni_walk_free(take_ptr(t->walk));
	if (ret == OP_FAIL) {
		log_warn("network: leftovers: %s", err->msg);
		*err = (struct err){0};
		if (id != NULL)
			cni_sweep_add(net->cni, id);
	} else if (id != NULL) {
		forget(net->cni, id);
	}
}

enum op_ret
cni_gc(struct net_call *c, struct net *net, const char *const *live, size_t n, struct op *op,
    struct err *err)
{
	struct net_task *t = task_resumed(c, TASK_GC);

	if (t == NULL) {
		t = task_new(c, TASK_GC, net, op);
		t->state = TASK_ANSWERED;
		t->orphans = list_orphans(net->cni, live, n);
		leases_keep(&net->leases, live, n);
		net->recovered = true;
	}
	while (!t->rules_done) {
		enum op_ret ret = OP_NEXT;

		if (t->walk != NULL) {
			ret = cni_walk_step(t->walk, op, err);
			if (ret == OP_AGAIN)
				return ret;
			end_walk(t, net, ret, err);
		} else if (!next_walk(t, net->cni, live, n)) {
			cleanup_free char *rules = net_rules_text(net);

			t->rules_done = true;
			task_submit_take(t, json_pack("{s:s,s:s}", "job", "nft", "nft", rules));
			return OP_AGAIN;
		}
	}
	task_free(c);
	return OP_NEXT;
}
