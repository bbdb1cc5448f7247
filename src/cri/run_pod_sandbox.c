/* SPDX-License-Identifier: Apache-2.0
 *
 * RunPodSandbox. A repeated request with the same metadata joins the one in flight, or gets the
 * id of the sandbox that is ready.
 */
#include "cri/methods.h"

#include "base/str.h"
#include "cri/join.h"
#include "pod/node.h"
#include "pod/pod_steps.h"
#include "pod/spec.h"

static void
on_done(struct pod_op *p)
{
	Runtime__V1__RunPodSandboxResponse m = RUNTIME__V1__RUN_POD_SANDBOX_RESPONSE__INIT;
	bool failed = p->op.err.code != ERR_NONE;

	if (!failed)
		m.pod_sandbox_id = p->sb->id;
	join_end(p->owner, &m.base, failed ? &p->op.err : NULL);
	pod_op_free(p);
}

static int
check(const Runtime__V1__RunPodSandboxRequest *r, struct err *err)
{
	const Runtime__V1__PodSandboxConfig *c = r->config;

	if (c == NULL || c->metadata == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "config.metadata is missing");
	if (str_empty(c->metadata->name) || str_empty(c->metadata->namespace_) ||
	    str_empty(c->metadata->uid))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "config.metadata needs a name, a namespace and a uid");
	if (!str_empty(r->runtime_handler) && strcmp(r->runtime_handler, "native") != 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "no runtime handler \"%.64s\" is configured", r->runtime_handler);
	if (!str_empty(c->log_directory) && c->log_directory[0] != '/')
		return err_set(err, ERR_INVALID_ARGUMENT, "config.log_directory is not absolute");
	for (size_t i = 0; i < c->n_port_mappings; i++) {
		const Runtime__V1__PortMapping *p = c->port_mappings[i];

		if (p->container_port < 0 || p->container_port > 65535 || p->host_port < 0 ||
		    p->host_port > 65535)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "config.port_mappings[%zu]: a port is out of range", i);
	}
	return spec_check_pod(c, err);
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__RunPodSandboxRequest *r = (const void *)request;
	Runtime__V1__RunPodSandboxResponse m = RUNTIME__V1__RUN_POD_SANDBOX_RESPONSE__INIT;
	struct join *j = NULL;
	struct sandbox *sb;
	struct pod_op *p;
	struct err err;
	char *name;

	if (check(r, &err) < 0) {
		grpc_fail(call, &err);
		return;
	}
	name = sandbox_name(r->config->metadata);
	sb = sandbox_named(name);
	free(name);
	if (sb != NULL && sb->state == SANDBOX_READY) {
		m.pod_sandbox_id = sb->id;
		grpc_reply(call, &m.base);
		return;
	}
	if (sb != NULL && sb->run_op != NULL)
		j = join_find(sb->run_op);
	if (j == NULL) {
		p = pod_run_start(sandbox_new(r), on_done, NULL);
		p->owner = j = join_new(&p->op);
	}
	join_add(j, call);
}

const struct grpc_method cri_run_pod_sandbox = {
    "RunPodSandbox", &runtime__v1__run_pod_sandbox_request__descriptor, handle, 0};
