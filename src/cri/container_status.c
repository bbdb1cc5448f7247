/* SPDX-License-Identifier: Apache-2.0
 *
 * ContainerStatus.
 */
#include "cri/methods.h"

#include "base/arena.h"
#include "pod/node.h"
#include "pod/status.h"

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__ContainerStatusRequest *r = (const void *)request;
	Runtime__V1__ContainerStatusResponse m = RUNTIME__V1__CONTAINER_STATUS_RESPONSE__INIT;
	Runtime__V1__ContainerStatusResponse__InfoEntry info =
	    RUNTIME__V1__CONTAINER_STATUS_RESPONSE__INFO_ENTRY__INIT;
	Runtime__V1__ContainerStatusResponse__InfoEntry *infos[] = {&info};
	struct err err;
	struct container *c = container_find(r->container_id, &err);

	if (c == NULL) {
		grpc_fail(call, &err);
		return;
	}
	m.status = status_container(c, &call->arena);
	if (r->verbose) {
		info.key = LEND("info");
		info.value = LEND(status_container_info(c, &call->arena));
		m.n_info = 1;
		m.info = infos;
	}
	grpc_reply(call, &m.base);
}

const struct grpc_method cri_container_status = {
    "ContainerStatus", &runtime__v1__container_status_request__descriptor, handle, 0};
