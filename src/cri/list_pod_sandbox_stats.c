/* SPDX-License-Identifier: Apache-2.0
 *
 * ListPodSandboxStats and StreamPodSandboxStats.
 */
#include "cri/methods.h"

#include "base/arena.h"
#include "cri/filter.h"
#include "cri/stats.h"
#include "cri/stream_items.h"
#include "pod/node.h"

enum { ITEMS_PER_MESSAGE = 100 };

static size_t
collect(const Runtime__V1__PodSandboxStatsFilter *filter, struct arena *a, Runtime__V1__PodSandboxStats ***ret)
{
	struct sandbox *o;
	size_t n = 0;

	*ret = arena_array(a, Runtime__V1__PodSandboxStats *, node.sandbox_by_id.n);
	TAILQ_FOREACH(o, &node.sandboxes, all)
		if (filter_sandbox_stats(filter, o))
			(*ret)[n++] = sandbox_stats_message(o, a);
	return n;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__ListPodSandboxStatsRequest *r = (const void *)request;
	Runtime__V1__ListPodSandboxStatsResponse m = RUNTIME__V1__LIST_POD_SANDBOX_STATS_RESPONSE__INIT;

	m.n_stats = collect(r->filter, &call->arena, &m.stats);
	grpc_reply(call, &m.base);
}

static void
handle_stream(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__StreamPodSandboxStatsRequest *r = (const void *)request;
	Runtime__V1__PodSandboxStats **items;
	size_t n = collect(r->filter, &call->arena, &items);

	stream_items(
	    call, &runtime__v1__stream_pod_sandbox_stats_response__descriptor, items, n, ITEMS_PER_MESSAGE);
}

const struct grpc_method cri_list_pod_sandbox_stats = {
    "ListPodSandboxStats", &runtime__v1__list_pod_sandbox_stats_request__descriptor, handle, 0};

const struct grpc_method cri_stream_pod_sandbox_stats = {
    "StreamPodSandboxStats", &runtime__v1__stream_pod_sandbox_stats_request__descriptor, handle_stream, GRPC_STREAM};
