/* SPDX-License-Identifier: Apache-2.0
 *
 * PodSandboxStats.
 */
#include "cri/methods.h"

#include "base/arena.h"
#include "cri/stats.h"
#include "pod/sandbox.h"

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__PodSandboxStatsRequest *r = (const void *)request;
	Runtime__V1__PodSandboxStatsResponse m = RUNTIME__V1__POD_SANDBOX_STATS_RESPONSE__INIT;
	struct err err;
	struct sandbox *sb = sandbox_find(r->pod_sandbox_id, &err);

	if (sb != NULL && sb->state != SANDBOX_READY) {
		err_set(&err, ERR_FAILED_PRECONDITION, "sandbox %.12s is not ready", sb->id);
		sb = NULL;
	}
	if (sb == NULL) {
		grpc_fail(call, &err);
		return;
	}
	m.stats = sandbox_stats_message(sb, &call->arena);
	grpc_reply(call, &m.base);
}

const struct grpc_method cri_pod_sandbox_stats = {
    "PodSandboxStats", &runtime__v1__pod_sandbox_stats_request__descriptor, handle, 0};
