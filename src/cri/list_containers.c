/* SPDX-License-Identifier: Apache-2.0
 *
 * ListContainers and StreamContainers: from memory.
 */
#include "cri/methods.h"

#include "base/arena.h"
#include "cri/filter.h"
#include "cri/stream_items.h"
#include "pod/node.h"
#include "pod/status.h"

enum { ITEMS_PER_MESSAGE = 500 };

static size_t
collect(const Runtime__V1__ContainerFilter *filter, struct arena *a, Runtime__V1__Container ***ret)
{
	struct container *o;
	size_t n = 0;

	*ret = arena_array(a, Runtime__V1__Container *, node.container_by_id.n);
	TAILQ_FOREACH(o, &node.containers, all)
		if (filter_container(filter, o))
			(*ret)[n++] = status_container_item(o, a);
	return n;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__ListContainersRequest *r = (const void *)request;
	Runtime__V1__ListContainersResponse m = RUNTIME__V1__LIST_CONTAINERS_RESPONSE__INIT;

	m.n_containers = collect(r->filter, &call->arena, &m.containers);
	grpc_reply(call, &m.base);
}

static void
handle_stream(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__StreamContainersRequest *r = (const void *)request;
	Runtime__V1__Container **items;
	size_t n = collect(r->filter, &call->arena, &items);

	stream_items(
	    call, &runtime__v1__stream_containers_response__descriptor, items, n, ITEMS_PER_MESSAGE);
}

const struct grpc_method cri_list_containers = {
    "ListContainers", &runtime__v1__list_containers_request__descriptor, handle, 0};

const struct grpc_method cri_stream_containers = {
    "StreamContainers", &runtime__v1__stream_containers_request__descriptor, handle_stream, GRPC_STREAM};
