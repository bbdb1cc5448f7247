/* SPDX-License-Identifier: Apache-2.0
 *
 * UpdateContainerResources: all of it or nothing, on created and running containers.
 */
#include "cri/methods.h"

#include "exec/cgroup.h"
#include "pod/node.h"

static int
update(struct container *c, const Runtime__V1__LinuxContainerResources *res, struct err *err)
{
	if (res == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "linux is missing");
	if (c->state == CONTAINER_EXITED)
		return err_set(err, ERR_FAILED_PRECONDITION, "container %.12s has exited", c->id);
	if (cgroup_apply(c->sb->cgroup_parent, c->id, res, err) < 0)
		return -1;
	return container_merge_resources(c, res, err);
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__UpdateContainerResourcesRequest *r = (const void *)request;
	Runtime__V1__UpdateContainerResourcesResponse m =
	    RUNTIME__V1__UPDATE_CONTAINER_RESOURCES_RESPONSE__INIT;
	struct err err;
	struct container *c = container_find(r->container_id, &err);

	if (c == NULL || update(c, r->linux, &err) < 0)
		grpc_fail(call, &err);
	else
		grpc_reply(call, &m.base);
}

const struct grpc_method cri_update_container_resources = {
    "UpdateContainerResources", &runtime__v1__update_container_resources_request__descriptor, handle, 0};
