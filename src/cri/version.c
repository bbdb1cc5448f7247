/* SPDX-License-Identifier: Apache-2.0
 *
 * Version: who we are, and that we speak the API "0.1.0" that kubelets ask for.
 */
#include "cri/methods.h"

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	Runtime__V1__VersionResponse m = RUNTIME__V1__VERSION_RESPONSE__INIT;

	(void)request;
	m.version = LEND("0.1.0");
	m.runtime_name = LEND("coracle");
	m.runtime_version = LEND(PACKAGE_VERSION);
	m.runtime_api_version = LEND(strstr(call->service, "v1alpha2") != NULL ? "v1alpha2" : "v1");
	grpc_reply(call, &m.base);
}

const struct grpc_method cri_version = {
    "Version", &runtime__v1__version_request__descriptor, handle, 0};
