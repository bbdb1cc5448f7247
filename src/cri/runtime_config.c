/* SPDX-License-Identifier: Apache-2.0
 *
 * RuntimeConfig: the cgroup driver. The zero value means systemd, so it is always told.
 */
#include "cri/methods.h"

#include "exec/cgroup.h"

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	Runtime__V1__RuntimeConfigResponse m = RUNTIME__V1__RUNTIME_CONFIG_RESPONSE__INIT;
	Runtime__V1__LinuxRuntimeConfiguration l = RUNTIME__V1__LINUX_RUNTIME_CONFIGURATION__INIT;

	(void)request;
	l.cgroup_driver = cgroup_info()->driver == CGROUP_DRIVER_SYSTEMD
	                      ? RUNTIME__V1__CGROUP_DRIVER__SYSTEMD
	                      : RUNTIME__V1__CGROUP_DRIVER__CGROUPFS;
	m.linux = &l;
	grpc_reply(call, &m.base);
}

const struct grpc_method cri_runtime_config = {
    "RuntimeConfig", &runtime__v1__runtime_config_request__descriptor, handle, 0};
