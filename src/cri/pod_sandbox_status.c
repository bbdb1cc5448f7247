/* SPDX-License-Identifier: Apache-2.0
 *
 * PodSandboxStatus.
 */
#include "cri/methods.h"

#include "base/arena.h"
#include "base/clock.h"
#include "pod/config.h"
#include "pod/node.h"
#include "pod/status.h"

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__PodSandboxStatusRequest *r = (const void *)request;
	Runtime__V1__PodSandboxStatusResponse m = RUNTIME__V1__POD_SANDBOX_STATUS_RESPONSE__INIT;
	Runtime__V1__PodSandboxStatusResponse__InfoEntry info =
	    RUNTIME__V1__POD_SANDBOX_STATUS_RESPONSE__INFO_ENTRY__INIT;
	Runtime__V1__PodSandboxStatusResponse__InfoEntry *infos[] = {&info};
	struct err err;
	struct sandbox *sb = sandbox_find(r->pod_sandbox_id, &err);

	if (sb == NULL) {
		grpc_fail(call, &err);
		return;
	}
	m.status = status_sandbox(sb, &call->arena);
	if (node.config->enable_events) {
		m.n_containers_statuses =
		    status_containers_of(sb, &call->arena, &m.containers_statuses);
		m.timestamp = clock_wall_ns();
	}
	if (r->verbose) {
		info.key = LEND("info");
		info.value = LEND(status_sandbox_info(sb, &call->arena));
		m.n_info = 1;
		m.info = infos;
	}
	grpc_reply(call, &m.base);
}

const struct grpc_method cri_pod_sandbox_status = {
    "PodSandboxStatus", &runtime__v1__pod_sandbox_status_request__descriptor, handle, 0};
