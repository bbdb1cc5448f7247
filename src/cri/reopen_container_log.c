/* SPDX-License-Identifier: Apache-2.0
 *
 * ReopenContainerLog: the new file exists when the call returns.
 */
#include "cri/methods.h"

#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper.h"
#include "pod/node.h"

struct reopen {
	struct keeper_call keeper;
	struct grpc_call *call;
};

static void
on_done(struct keeper_call *k)
{
	struct reopen *r = container_of(k, struct reopen, keeper);
	Runtime__V1__ReopenContainerLogResponse m =
	    RUNTIME__V1__REOPEN_CONTAINER_LOG_RESPONSE__INIT;

	if (k->err.code != ERR_NONE)
		grpc_fail(r->call, &k->err);
	else
		grpc_reply(r->call, &m.base);
	keeper_call_release(k);
	free(r);
}

static int
begin(struct grpc_call *call, struct container *c, struct err *err)
{
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	Coracle__Launch__ReopenLog m = CORACLE__LAUNCH__REOPEN_LOG__INIT;
	struct reopen *r;

	if (c->state != CONTAINER_RUNNING)
		return err_set(err, ERR_FAILED_PRECONDITION, "container %.12s is not running",
		    c->id);
	if (c->log_path == NULL)
		return err_set(err, ERR_FAILED_PRECONDITION, "container %.12s has no log", c->id);
	m.id = c->id;
	m.log_path = c->log_path;
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_REOPEN_LOG;
	req.reopen_log = &m;
	r = xcalloc(1, sizeof(*r));
	r->call = call;
	if (keeper_call_start(node.keeper, &r->keeper, &req, NULL, 0, on_done, err) < 0) {
		free(r);
		return -1;
	}
	return 0;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__ReopenContainerLogRequest *r = (const void *)request;
	struct err err;
	struct container *c = container_find(r->container_id, &err);

	if (c == NULL || begin(call, c, &err) < 0)
		grpc_fail(call, &err);
}

const struct grpc_method cri_reopen_container_log = {
    "ReopenContainerLog", &runtime__v1__reopen_container_log_request__descriptor, handle, 0};
