/* SPDX-License-Identifier: Apache-2.0
 *
 * RemoveContainer: in any state, by force; an unknown one is fine.
 */
#include "cri/methods.h"

#include "pod/ctr_steps.h"
#include "pod/node.h"

static void
reply(struct grpc_call *call)
{
	Runtime__V1__RemoveContainerResponse m = RUNTIME__V1__REMOVE_CONTAINER_RESPONSE__INIT;

	grpc_reply(call, &m.base);
}

static void
on_done(struct ctr_op *o)
{
	struct grpc_call *call = o->owner;

	/* ABORTED: another call removed it while this one waited for its turn. */
	if (o->op.err.code != ERR_NONE && o->op.err.code != ERR_ABORTED)
		grpc_fail(call, &o->op.err);
	else
		reply(call);
	ctr_op_free(o);
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__RemoveContainerRequest *r = (const void *)request;
	struct err err;
	struct container *o = container_find(r->container_id, &err);

	if (o != NULL)
		call->op = &ctr_remove_start(o, on_done, call)->op;
	else if (err.code == ERR_NOT_FOUND)
		reply(call);
	else
		grpc_fail(call, &err);
}

const struct grpc_method cri_remove_container = {
    "RemoveContainer", &runtime__v1__remove_container_request__descriptor, handle, 0};
