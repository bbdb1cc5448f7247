/* SPDX-License-Identifier: Apache-2.0
 *
 * ContainerStats.
 */
#include "cri/methods.h"

#include "base/arena.h"
#include "cri/stats.h"
#include "pod/container.h"

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__ContainerStatsRequest *r = (const void *)request;
	Runtime__V1__ContainerStatsResponse m = RUNTIME__V1__CONTAINER_STATS_RESPONSE__INIT;
	struct err err;
	struct container *c = container_find(r->container_id, &err);

	if (c == NULL) {
		grpc_fail(call, &err);
		return;
	}
	m.stats = container_stats_message(c, &call->arena);
	grpc_reply(call, &m.base);
}

const struct grpc_method cri_container_stats = {
    "ContainerStats", &runtime__v1__container_stats_request__descriptor, handle, 0};
