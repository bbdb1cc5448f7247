/* SPDX-License-Identifier: Apache-2.0
 *
 * ListContainerStats and StreamContainerStats.
 */
#include "cri/methods.h"

#include "base/arena.h"
#include "cri/filter.h"
#include "cri/stats.h"
#include "pod/node.h"

enum { ITEMS_PER_MESSAGE = 500 };

static size_t
collect(const Runtime__V1__ContainerStatsFilter *filter, struct arena *a, Runtime__V1__ContainerStats ***ret)
{
	struct container *o;
	size_t n = 0;

	TAILQ_FOREACH(o, &node.containers, all)
		n++;
	*ret = arena_array(a, Runtime__V1__ContainerStats *, n);
	n = 0;
	TAILQ_FOREACH(o, &node.containers, all)
		if (filter_container_stats(filter, o))
			(*ret)[n++] = container_stats_message(o, a);
	return n;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__ListContainerStatsRequest *r = (const void *)request;
	Runtime__V1__ListContainerStatsResponse m = RUNTIME__V1__LIST_CONTAINER_STATS_RESPONSE__INIT;

	m.n_stats = collect(r->filter, &call->arena, &m.stats);
	grpc_reply(call, &m.base);
}

/* The present as one snapshot, in as many messages as it takes. */
static void
handle_stream(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__StreamContainerStatsRequest *r = (const void *)request;
	Runtime__V1__ContainerStats **items;
	size_t n = collect(r->filter, &call->arena, &items);

	for (size_t i = 0; i < n; i += ITEMS_PER_MESSAGE) {
		Runtime__V1__StreamContainerStatsResponse m = RUNTIME__V1__STREAM_CONTAINER_STATS_RESPONSE__INIT;

		m.n_container_stats = n - i < ITEMS_PER_MESSAGE ? n - i : ITEMS_PER_MESSAGE;
		m.container_stats = items + i;
		grpc_send(call, &m.base);
	}
	grpc_finish(call);
}

const struct grpc_method cri_list_container_stats = {
    "ListContainerStats", &runtime__v1__list_container_stats_request__descriptor, handle, 0};

const struct grpc_method cri_stream_container_stats = {
    "StreamContainerStats", &runtime__v1__stream_container_stats_request__descriptor, handle_stream, GRPC_STREAM};
