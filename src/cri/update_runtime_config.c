/* SPDX-License-Identifier: Apache-2.0
 *
 * UpdateRuntimeConfig: the node's pod CIDR.
 */
#include "cri/methods.h"

#include "base/str.h"
#include "net/net.h"
#include "pod/node.h"

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__UpdateRuntimeConfigRequest *r = (const void *)request;
	Runtime__V1__UpdateRuntimeConfigResponse m =
	    RUNTIME__V1__UPDATE_RUNTIME_CONFIG_RESPONSE__INIT;
	const Runtime__V1__RuntimeConfig *c = r->runtime_config;
	struct err err;

	if (c != NULL && c->network_config != NULL && !str_empty(c->network_config->pod_cidr) &&
	    net_set_pod_cidr(node.net, c->network_config->pod_cidr, &err) < 0)
		grpc_fail(call, &err);
	else
		grpc_reply(call, &m.base);
}

const struct grpc_method cri_update_runtime_config = {
    "UpdateRuntimeConfig", &runtime__v1__update_runtime_config_request__descriptor, handle, 0};
