/* SPDX-License-Identifier: Apache-2.0
 *
 * ListPodSandboxMetrics and StreamPodSandboxMetrics, of the pods that are ready.
 */
#include "cri/methods.h"

#include "base/arena.h"
#include "cri/stream_items.h"
#include "pod/config.h"
#include "pod/metrics.h"
#include "pod/node.h"

enum { ITEMS_PER_MESSAGE = 10 }; /* a pod has some tens of KiB */

static size_t
collect(struct arena *a, Runtime__V1__PodSandboxMetrics ***ret)
{
	struct metrics_scrape scrape;
	struct sandbox *o;
	size_t n = 0;

	metrics_scrape_init(&scrape, node.config->root, a);
	*ret = arena_array(a, Runtime__V1__PodSandboxMetrics *, node.sandbox_by_id.n);
	TAILQ_FOREACH (o, &node.sandboxes, all)
		if (o->state == SANDBOX_READY && !o->removing)
			(*ret)[n++] = metrics_sandbox(&scrape, o);
	return n;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	Runtime__V1__ListPodSandboxMetricsResponse m =
	    RUNTIME__V1__LIST_POD_SANDBOX_METRICS_RESPONSE__INIT;

	(void)request;
	m.n_pod_metrics = collect(&call->arena, &m.pod_metrics);
	grpc_reply(call, &m.base);
}

static void
handle_stream(struct grpc_call *call, const ProtobufCMessage *request)
{
	Runtime__V1__PodSandboxMetrics **items;
	size_t n = collect(&call->arena, &items);

	(void)request;
	stream_items(call, &runtime__v1__stream_pod_sandbox_metrics_response__descriptor, items, n,
	    ITEMS_PER_MESSAGE);
}

const struct grpc_method cri_list_pod_sandbox_metrics = {
    "ListPodSandboxMetrics", &runtime__v1__list_pod_sandbox_metrics_request__descriptor, handle, 0};

const struct grpc_method cri_stream_pod_sandbox_metrics = {"StreamPodSandboxMetrics",
    &runtime__v1__stream_pod_sandbox_metrics_request__descriptor, handle_stream, GRPC_STREAM};
