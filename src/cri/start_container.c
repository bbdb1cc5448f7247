/* SPDX-License-Identifier: Apache-2.0
 *
 * StartContainer.
 */
#include "cri/methods.h"

#include "pod/ctr_steps.h"
#include "pod/node.h"

static void
on_done(struct ctr_op *o)
{
	Runtime__V1__StartContainerResponse m = RUNTIME__V1__START_CONTAINER_RESPONSE__INIT;
	struct grpc_call *call = o->owner;

	if (o->op.err.code != ERR_NONE)
		grpc_fail(call, &o->op.err);
	else
		grpc_reply(call, &m.base);
	ctr_op_free(o);
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__StartContainerRequest *r = (const void *)request;
	struct err err;
	struct container *c = container_find(r->container_id, &err);

	if (c == NULL)
		grpc_fail(call, &err);
	else
		call->op = &ctr_start_start(c, on_done, call)->op;
}

const struct grpc_method cri_start_container = {
    "StartContainer", &runtime__v1__start_container_request__descriptor, handle, 0};
