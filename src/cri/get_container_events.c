/* SPDX-License-Identifier: Apache-2.0
 *
 * GetContainerEvents: see pod/events.h.
 */
#include "cri/methods.h"

#include "pod/events.h"

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	(void)request;
	events_subscribe(call);
}

const struct grpc_method cri_get_container_events = {
    "GetContainerEvents", &runtime__v1__get_events_request__descriptor, handle, GRPC_STREAM};
