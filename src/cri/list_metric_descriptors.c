/* SPDX-License-Identifier: Apache-2.0
 *
 * ListMetricDescriptors: the same for as long as this program runs.
 */
#include "cri/methods.h"

#include "pod/metrics.h"

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	Runtime__V1__ListMetricDescriptorsResponse m =
	    RUNTIME__V1__LIST_METRIC_DESCRIPTORS_RESPONSE__INIT;

	(void)request;
	m.n_descriptors = metrics_descriptors(&call->arena, &m.descriptors);
	grpc_reply(call, &m.base);
}

const struct grpc_method cri_list_metric_descriptors = {
    "ListMetricDescriptors", &runtime__v1__list_metric_descriptors_request__descriptor, handle, 0};
