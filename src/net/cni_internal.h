/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of NET_CNI share: struct cni, and the records of pods.
 */
#ifndef NET_CNI_INTERNAL_H
#define NET_CNI_INTERNAL_H

#include "net/cni.h"
#include "net/cni_set.h"
#include "net/internal.h"

struct cni {
	struct cni_walk_spec base;
	char *bin_dirs[NET_CNI_BIN_DIRS];
	char *cache_dir, *intent_dir;
	bool native;
	json_t *ip_ranges;
	struct cni_set **sets; /* the default first */
	size_t n_sets;
	struct cni_sweep *sweep; /* NULL: nothing to do */
};

/* The file that says what an attach is going to do. The caller frees the path. */
char *cni_intent_path(const struct cni *cni, const char *pod_id);
int cni_intent_write(
    const struct cni *cni, const char *pod_id, const json_t *record, struct err *err);
json_t *cni_intent_read(
    const struct cni *cni, const char *pod_id); /* NULL: none, or none of ours */

/* The record, when it is one that a walk is safe with; else NULL, and it is freed. */
json_t *cni_record_check(json_t *record);

/* The path of the pod's namespace: the pod's, or where it has none the record's (may be NULL); ""
 * when it is gone. */
const char *cni_pod_netns(const struct net_pod *pod, const json_t *record);

struct cni_walk *cni_pod_walk(const struct cni *cni, enum cni_command command,
    const struct net_pod *pod, const json_t *record);

/* Try again to delete what a lost pod left. */
void cni_sweep_add(struct cni *cni, const char *pod_id);
void cni_sweep_close_take(struct cni_sweep *s); /* NULL is fine */

#endif
