/* SPDX-License-Identifier: Apache-2.0
 *
 * A walk through the plugins of one or more networks with one command: struct cni_walk, driven by
 * an op's step, one plugin call per pass. ADD hands each plugin the result of the one before it,
 * DEL goes backwards with the last result.
 *
 * An attachment is a JSON object {network, ifname, caps, result?}: a network (cni_conf.h), the
 * pod's interface, the capability arguments; result (of 1.1.0) once there is one.
 */
#ifndef NET_CNI_WALK_H
#define NET_CNI_WALK_H

#include <jansson.h>

#include "loop/op.h"
#include "net/agent.h"
#include "net/cni_exec.h"

enum cni_command { CNI_ADD, CNI_DEL, CNI_CHECK, CNI_STATUS, CNI_VERSION, CNI_GC };

struct cni_walk_spec {
	enum cni_command command;
	json_t *attachments;      /* array; ADD puts the results into it */
	const char *container_id; /* ADD, DEL, CHECK */
	const char *netns;        /* "" when it is gone */
	const json_t *args;       /* of CNI_ARGS: array of [key, value]; may be NULL */
	const json_t *live;       /* GC: array of {containerID, ifname} */
	const char *const *bin_dirs;
	size_t n_bin_dirs;
	const char *cache_dir;
	int64_t timeout_ms;
	struct agent *agent; /* runs the native plugins */
};

struct cni_walk;

/* Everything of the spec is copied or referenced, except bin_dirs, cache_dir and native, which
 * outlive the walk. */
struct cni_walk *cni_walk_new(const struct cni_walk_spec *spec);
void cni_walk_free(struct cni_walk *w); /* only when the op does not wait for it; NULL is fine */

/* OP_AGAIN until the last plugin has answered, then OP_NEXT. ADD and CHECK fail with the first that
 * fails; DEL, STATUS, VERSION and GC go on with the next network, and fail at the end with the
 * first error. */
enum op_ret cni_walk_step(struct cni_walk *w, struct op *op, struct err *err);

json_t *cni_walk_attachments(const struct cni_walk *w); /* borrowed */

/* The configuration of one plugin as it is given to it: with name and version of its network, the
 * result before it, and those capability arguments it declares. For tests too. */
json_t *cni_plugin_conf(const json_t *network, size_t plugin, const json_t *caps,
    const json_t *prev_result, struct err *err);

#endif
