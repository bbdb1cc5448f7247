/* SPDX-License-Identifier: Apache-2.0
 *
 * PortForward: the URL at which a client gets connections into a pod.
 */
#include "cri/methods.h"

#include "pod/forward_session.h"
#include "pod/sandbox.h"

static int
check(const Runtime__V1__PortForwardRequest *r, const struct sandbox *sb, struct err *err)
{
	if (r->n_port > 32)
		return err_set(err, ERR_INVALID_ARGUMENT, "more than 32 ports");
	for (size_t i = 0; i < r->n_port; i++)
		if (r->port[i] <= 0 || r->port[i] > UINT16_MAX)
			return err_set(
			    err, ERR_INVALID_ARGUMENT, "port %d is out of range", r->port[i]);
	if (sb->state != SANDBOX_READY)
		return err_set(err, ERR_FAILED_PRECONDITION, "sandbox %.12s is not ready", sb->id);
	return 0;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__PortForwardRequest *r = (const void *)request;
	Runtime__V1__PortForwardResponse m = RUNTIME__V1__PORT_FORWARD_RESPONSE__INIT;
	char url[STREAM_URL_SIZE];
	struct err err;
	struct sandbox *sb = sandbox_find(r->pod_sandbox_id, &err);

	if (sb == NULL || check(r, sb, &err) < 0 || forward_session_offer(sb, r, url, &err) < 0) {
		grpc_fail(call, &err);
		return;
	}
	m.url = url;
	grpc_reply(call, &m.base);
}

const struct grpc_method cri_port_forward = {
    "PortForward", &runtime__v1__port_forward_request__descriptor, handle, 0};
