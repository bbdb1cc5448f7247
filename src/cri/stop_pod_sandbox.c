/* SPDX-License-Identifier: Apache-2.0
 *
 * StopPodSandbox: idempotent; an unknown sandbox is fine.
 */
#include "cri/methods.h"

#include "pod/node.h"
#include "pod/pod_steps.h"

static void
reply(struct grpc_call *call)
{
	Runtime__V1__StopPodSandboxResponse m = RUNTIME__V1__STOP_POD_SANDBOX_RESPONSE__INIT;

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
	const Runtime__V1__StopPodSandboxRequest *r = (const void *)request;
	struct err err;
	struct sandbox *o = sandbox_find(r->pod_sandbox_id, &err);

	if (o != NULL)
		call->op = &pod_stop_start(o, on_done, call)->op;
	else if (err.code == ERR_NOT_FOUND)
		reply(call);
	else
		grpc_fail(call, &err);
}

const struct grpc_method cri_stop_pod_sandbox = {
    "StopPodSandbox", &runtime__v1__stop_pod_sandbox_request__descriptor, handle, 0};
