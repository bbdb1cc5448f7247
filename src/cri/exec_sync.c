/* SPDX-License-Identifier: Apache-2.0
 *
 * ExecSync: how probes run.
 */
#include "cri/methods.h"

#include "base/macros.h"
#include "base/xalloc.h"
#include "pod/container.h"
#include "pod/exec_sync.h"

struct exec_call {
	struct exec_sync x;
	struct grpc_call *call;
};

/* Both together must fit into a message: each may have half of it, and what the other leaves. */
static void
share_message(size_t out, size_t err, size_t *ret_out, size_t *ret_err)
{
	const size_t all = EXEC_SYNC_MAX;
	size_t least_err = MIN(err, all / 2);

	*ret_out = MIN(out, all - least_err);
	*ret_err = MIN(err, all - *ret_out);
}

static void
on_done(struct exec_sync *x)
{
	struct exec_call *e = container_of(x, struct exec_call, x);
	Runtime__V1__ExecSyncResponse m = RUNTIME__V1__EXEC_SYNC_RESPONSE__INIT;

	if (x->op.err.code != ERR_NONE) {
		grpc_fail(e->call, &x->op.err);
	} else {
		m.exit_code = x->exit_code;
		m.stdout.data = (uint8_t *)x->out.data.data;
		m.stderr.data = (uint8_t *)x->err_out.data.data;
		share_message(x->out.data.len, x->err_out.data.len, &m.stdout.len, &m.stderr.len);
		grpc_reply(e->call, &m.base);
	}
	exec_sync_release(x);
	free(e);
}

static int
check(const Runtime__V1__ExecSyncRequest *r, const struct container *c, struct err *err)
{
	if (r->n_cmd == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "cmd is empty");
	if (r->timeout < 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "timeout is negative");
	if (c->state != CONTAINER_RUNNING)
		return err_set(err, ERR_FAILED_PRECONDITION, "container %.12s is not running",
		    c->id);
	return 0;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__ExecSyncRequest *r = (const void *)request;
	struct exec_call *e;
	struct err err;
	struct container *c = container_find(r->container_id, &err);

	if (c == NULL || check(r, c, &err) < 0) {
		grpc_fail(call, &err);
		return;
	}
	e = xcalloc(1, sizeof(*e));
	e->call = call;
	exec_sync_start(&e->x, c, r->cmd, r->n_cmd, MIN(r->timeout, INT32_MAX) * 1000, on_done);
	call->op = &e->x.op;
}

const struct grpc_method cri_exec_sync = {
    "ExecSync", &runtime__v1__exec_sync_request__descriptor, handle, 0};
