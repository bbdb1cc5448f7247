/* SPDX-License-Identifier: Apache-2.0
 *
 * ListContainerStats and StreamContainerStats.
 */
#include "cri/methods.h"

#include "base/arena.h"
#include "cri/filter.h"
#include "cri/stats.h"
#include "cri/stream_items.h"
#include "pod/node.h"

enum { ITEMS_PER_MESSAGE = 500 };

static size_t
collect(const Runtime__V1__ContainerStatsFilter *filter, struct arena *a, Runtime__V1__ContainerStats ***ret)
{
	struct container *o;
	size_t n = 0;

	*ret = arena_array(a, Runtime__V1__ContainerStats *, node.container_by_id.n);
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

static void
handle_stream(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__StreamContainerStatsRequest *r = (const void *)request;
	Runtime__V1__ContainerStats **items;
	size_t n = collect(r->filter, &call->arena, &items);

	stream_items(
	    call, &runtime__v1__stream_container_stats_response__descriptor, items, n, ITEMS_PER_MESSAGE);
}

const struct grpc_method cri_list_container_stats = {
    "ListContainerStats", &runtime__v1__list_container_stats_request__descriptor, handle, 0};

const struct grpc_method cri_stream_container_stats = {
    "StreamContainerStats", &runtime__v1__stream_container_stats_request__descriptor, handle_stream, GRPC_STREAM};
