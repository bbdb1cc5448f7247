/* SPDX-License-Identifier: Apache-2.0
 *
 * RemovePodSandbox: idempotent; an unknown sandbox is fine.
 */
#include "cri/methods.h"

#include "pod/node.h"
#include "pod/pod_steps.h"

static void
reply(struct grpc_call *call)
{
	Runtime__V1__RemovePodSandboxResponse m = RUNTIME__V1__REMOVE_POD_SANDBOX_RESPONSE__INIT;

	grpc_reply(call, &m.base);
}

static void
on_done(struct pod_op *o)
{
	struct grpc_call *call = o->owner;

	/* ABORTED: another call removed it while this one waited for its turn. */
	if (o->op.err.code != ERR_NONE && o->op.err.code != ERR_ABORTED)
		grpc_fail(call, &o->op.err);
	else
		reply(call);
	pod_op_free(o);
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__RemovePodSandboxRequest *r = (const void *)request;
	struct err err;
	struct sandbox *o = sandbox_find(r->pod_sandbox_id, &err);

	if (o != NULL)
		call->op = &pod_remove_start(o, on_done, call)->op;
	else if (err.code == ERR_NOT_FOUND)
		reply(call);
	else
		grpc_fail(call, &err);
}

const struct grpc_method cri_remove_pod_sandbox = {
    "RemovePodSandbox", &runtime__v1__remove_pod_sandbox_request__descriptor, handle, 0};
