/* SPDX-License-Identifier: Apache-2.0
 *
 * ListPodSandbox and StreamPodSandboxes: from memory.
 */
#include "cri/methods.h"

#include "base/arena.h"
#include "cri/filter.h"
#include "cri/stream_items.h"
#include "pod/node.h"
#include "pod/status.h"

enum { ITEMS_PER_MESSAGE = 500 };

static size_t
collect(const Runtime__V1__PodSandboxFilter *filter, struct arena *a, Runtime__V1__PodSandbox ***ret)
{
	struct sandbox *o;
	size_t n = 0;

	*ret = arena_array(a, Runtime__V1__PodSandbox *, node.sandbox_by_id.n);
	TAILQ_FOREACH(o, &node.sandboxes, all)
		if (filter_sandbox(filter, o))
			(*ret)[n++] = status_sandbox_item(o, a);
	return n;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__ListPodSandboxRequest *r = (const void *)request;
	Runtime__V1__ListPodSandboxResponse m = RUNTIME__V1__LIST_POD_SANDBOX_RESPONSE__INIT;

	m.n_items = collect(r->filter, &call->arena, &m.items);
	grpc_reply(call, &m.base);
}

static void
handle_stream(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__StreamPodSandboxesRequest *r = (const void *)request;
	Runtime__V1__PodSandbox **items;
	size_t n = collect(r->filter, &call->arena, &items);

	stream_items(
	    call, &runtime__v1__stream_pod_sandboxes_response__descriptor, items, n, ITEMS_PER_MESSAGE);
}

const struct grpc_method cri_list_pod_sandbox = {
    "ListPodSandbox", &runtime__v1__list_pod_sandbox_request__descriptor, handle, 0};

const struct grpc_method cri_stream_pod_sandboxes = {
    "StreamPodSandboxes", &runtime__v1__stream_pod_sandboxes_request__descriptor, handle_stream, GRPC_STREAM};
