/* SPDX-License-Identifier: Apache-2.0
 *
 * StopContainer: returns when the container is EXITED; an unknown one is fine.
 */
#include "cri/methods.h"

#include "base/macros.h"
#include "base/xalloc.h"
#include "pod/ctr_stop.h"
#include "pod/node.h"

enum { MAX_GRACE_S = 10 * 365 * 24 * 3600 };

static void
reply(struct grpc_call *call)
{
	Runtime__V1__StopContainerResponse m = RUNTIME__V1__STOP_CONTAINER_RESPONSE__INIT;

	grpc_reply(call, &m.base);
}

static void
on_done(struct stop_op *s)
{
	struct grpc_call *call = s->owner;

	/* ABORTED: it was removed while this call waited. */
	if (s->op.err.code != ERR_NONE && s->op.err.code != ERR_ABORTED)
		grpc_fail(call, &s->op.err);
	else
		reply(call);
	free(s);
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__StopContainerRequest *r = (const void *)request;
	struct err err;
	struct container *c = container_find(r->container_id, &err);
	struct stop_op *s;

	if (c == NULL && err.code == ERR_NOT_FOUND) {
		reply(call);
	} else if (c == NULL) {
		grpc_fail(call, &err);
	} else {
		s = xcalloc(1, sizeof(*s));
		s->owner = call;
		container_stop_start(s, "StopContainer", c,
		    MIN(MAX(r->timeout, 0), (int64_t)MAX_GRACE_S) * 1000, on_done);
		call->op = &s->op;
	}
}

const struct grpc_method cri_stop_container = {
    "StopContainer", &runtime__v1__stop_container_request__descriptor, handle, 0};
