/* SPDX-License-Identifier: Apache-2.0
 *
 * UpdatePodSandboxResources: what the kubelet tells after it has resized a pod's cgroup.
 *
 * The cgroup is the kubelet's, and it has set the limits itself; the call is a note for runtimes
 * that keep something beside it. So the numbers are stored, and only a cgroup of our own, that no
 * other pod shares, gets them as its limits. A kernel that refuses these is no failure of the call,
 * whose caller could do nothing about it.
 */
#include "cri/methods.h"

#include "base/log.h"
#include "base/macros.h"
#include "exec/cgroup.h"
#include "pod/node.h"

static bool
shares_cgroup(const struct sandbox *sb)
{
	const struct sandbox *o;

	TAILQ_FOREACH (o, &node.sandboxes, all)
		if (o != sb && o->state != SANDBOX_NOTREADY &&
		    strcmp(o->cgroup_parent, sb->cgroup_parent) == 0)
			return true;
	return false;
}

/* A limit and what comes on top of it. Zero and below are no limit, which stays as it is. */
static void
add_overhead(int64_t *limit, int64_t overhead)
{
	if (*limit > 0 && overhead > 0 && __builtin_add_overflow(*limit, overhead, limit))
		*limit = INT64_MAX;
}

static void
apply(struct sandbox *sb)
{
	const Runtime__V1__LinuxContainerResources *over = sandbox_overhead(sb);
	Runtime__V1__LinuxContainerResources sum;
	struct err err;

	if (sb->state != SANDBOX_READY || sandbox_resources(sb) == NULL ||
	    !cgroup_parent_is_ours(sb->cgroup_parent) || shares_cgroup(sb))
		return;
	sum = *sandbox_resources(sb);
	if (over != NULL) {
		add_overhead(&sum.cpu_shares, over->cpu_shares);
		if (over->cpu_period == sum.cpu_period)
			add_overhead(&sum.cpu_quota, over->cpu_quota);
		add_overhead(&sum.memory_limit_in_bytes, over->memory_limit_in_bytes);
		add_overhead(&sum.memory_swap_limit_in_bytes, over->memory_swap_limit_in_bytes);
	}
	if (cgroup_apply(sb->cgroup_parent, NULL, &sum, &err) < 0)
		log_warn("sandbox %.12s: resources: %s", sb->id, err.msg);
}

static int
check(const Runtime__V1__LinuxContainerResources *res, const char *field, struct err *err)
{
	if (res != NULL && cgroup_check_resources(res, err) < 0)
		return err_wrap(err, "%s", field);
	return 0;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__UpdatePodSandboxResourcesRequest *r = (const void *)request;
	Runtime__V1__UpdatePodSandboxResourcesResponse m =
	    RUNTIME__V1__UPDATE_POD_SANDBOX_RESOURCES_RESPONSE__INIT;
	struct err err;
	struct sandbox *sb = sandbox_find(r->pod_sandbox_id, &err);

	if (sb == NULL || check(r->overhead, "overhead", &err) < 0 ||
	    check(r->resources, "resources", &err) < 0 ||
	    sandbox_set_resources(sb, r->overhead, r->resources, &err) < 0) {
		grpc_fail(call, &err);
		return;
	}
	apply(sb);
	grpc_reply(call, &m.base);
}

const struct grpc_method cri_update_pod_sandbox_resources = {"UpdatePodSandboxResources",
    &runtime__v1__update_pod_sandbox_resources_request__descriptor, handle, 0};
