/* SPDX-License-Identifier: Apache-2.0
 *
 * Exec: the URL at which a client gets its command.
 */
#include "cri/methods.h"

#include "pod/container.h"
#include "pod/exec_session.h"

static int
check(const Runtime__V1__ExecRequest *r, const struct container *c, struct err *err)
{
	if (r->n_cmd == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "cmd is empty");
	if (r->tty && r->stderr)
		return err_set(err, ERR_INVALID_ARGUMENT, "tty and stderr cannot both be true");
	if (!r->stdin && !r->stdout && !r->stderr)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "one of stdin, stdout and stderr must be true");
	if (c->state != CONTAINER_RUNNING)
		return err_set(
		    err, ERR_FAILED_PRECONDITION, "container %.12s is not running", c->id);
	return 0;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__ExecRequest *r = (const void *)request;
	Runtime__V1__ExecResponse m = RUNTIME__V1__EXEC_RESPONSE__INIT;
	char url[STREAM_URL_SIZE];
	struct err err;
	struct container *c = container_find(r->container_id, &err);

	if (c == NULL || check(r, c, &err) < 0 || exec_session_offer(c, r, url, &err) < 0) {
		grpc_fail(call, &err);
		return;
	}
	m.url = url;
	grpc_reply(call, &m.base);
}

const struct grpc_method cri_exec = {"Exec", &runtime__v1__exec_request__descriptor, handle, 0};
