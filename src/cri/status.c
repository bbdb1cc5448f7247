/* SPDX-License-Identifier: Apache-2.0
 *
 * Status: the two conditions, the handlers and what this kernel can do.
 */
#include "cri/methods.h"

#include <jansson.h>

#include "base/arena.h"
#include "base/buf.h"
#include "exec/cgroup.h"
#include "exec/keeper.h"
#include "exec/rootfs.h"
#include "net/net.h"
#include "pod/config.h"
#include "pod/node.h"

static Runtime__V1__RuntimeCondition *
condition(struct arena *a, const char *type, bool status, const char *reason, const char *message)
{
	Runtime__V1__RuntimeCondition *m = arena_alloc(a, sizeof(*m));

	runtime__v1__runtime_condition__init(m);
	m->type = LEND(type);
	m->status = status;
	m->reason = LEND(status ? "" : reason);
	m->message = LEND(status ? "" : message);
	return m;
}

static Runtime__V1__RuntimeStatus *
conditions(struct arena *a)
{
	Runtime__V1__RuntimeStatus *m = arena_alloc(a, sizeof(*m));
	bool keeper = keeper_pid(node.keeper) > 0, network;
	const char *reason = "";
	char *message = arena_zalloc(a, 512);

	network = net_ready(node.net, &reason, message, 512);
	runtime__v1__runtime_status__init(m);
	m->n_conditions = 2;
	m->conditions = arena_array(a, Runtime__V1__RuntimeCondition *, 2);
	m->conditions[0] = condition(a, "RuntimeReady", keeper, "KeeperNotRunning",
	    "the keeper died and cannot be started again");
	m->conditions[1] = condition(a, "NetworkReady", network, reason, message);
	return m;
}

/* The default handler by its empty name, and by the name it has. */
static void
handlers(struct arena *a, Runtime__V1__StatusResponse *m)
{
	static const char *const names[] = {"", "native"};
	static int idmap = -1;
	char *layers = arena_printf(a, "%s/layers", node.config->root);

	if (idmap < 0)
		idmap = rootfs_can_idmap(layers);
	m->n_runtime_handlers = 2;
	m->runtime_handlers = arena_array(a, Runtime__V1__RuntimeHandler *, 2);
	for (size_t i = 0; i < 2; i++) {
		Runtime__V1__RuntimeHandler *h = arena_alloc(a, sizeof(*h));

		runtime__v1__runtime_handler__init(h);
		h->name = LEND(names[i]);
		h->features = arena_alloc(a, sizeof(*h->features));
		runtime__v1__runtime_handler_features__init(h->features);
		h->features->recursive_read_only_mounts = true; /* mount_setattr(2) is in our floor */
		h->features->user_namespaces = idmap;
		m->runtime_handlers[i] = h;
	}
	m->features = arena_alloc(a, sizeof(*m->features));
	runtime__v1__runtime_features__init(m->features);
	m->features->supplemental_groups_policy = true;
	m->features->mount_options = true;
}

const char *
status_info(struct arena *a)
{
	cleanup_buf struct buf net = BUF_INIT;
	const struct cgroup_info *cg = cgroup_info();
	static const char *const layouts[] = {"v2", "v1", "hybrid"};
	json_t *n, *o;
	const char *text;
	char *dump;

	net_info(node.net, &net);
	n = json_loadb(net.data, net.len, 0, NULL);
	o = json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:{s:s, s:s, s:b, s:b}, s:i, s:i, s:o}",
	    "version", PACKAGE_VERSION, "rootDir", node.config->root, "stateDir",
	    node.config->state, "instance", node.config->instance, "keeperPid",
	    (int)keeper_pid(node.keeper), "keeperVersion", keeper_version(node.keeper), "cgroups",
	    "layout", layouts[cg->layout], "driver",
	    cg->driver == CGROUP_DRIVER_SYSTEMD ? "systemd" : "cgroupfs", "swap", cg->swap,
	    "psi", cg->psi, "sandboxes", (int)node.sandbox_by_id.n, "containers",
	    (int)node.container_by_id.n, "network", n != NULL ? n : json_null());
	dump = json_dumps(o, JSON_INDENT(2));
	if (dump == NULL)
		abort();
	text = arena_strdup(a, dump);
	free(dump);
	json_decref(o);
	return text;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__StatusRequest *r = (const void *)request;
	Runtime__V1__StatusResponse m = RUNTIME__V1__STATUS_RESPONSE__INIT;
	Runtime__V1__StatusResponse__InfoEntry info = RUNTIME__V1__STATUS_RESPONSE__INFO_ENTRY__INIT;
	Runtime__V1__StatusResponse__InfoEntry *infos[] = {&info};

	m.status = conditions(&call->arena);
	handlers(&call->arena, &m);
	if (r->verbose) {
		info.key = LEND("config");
		info.value = LEND(status_info(&call->arena));
		m.n_info = 1;
		m.info = infos;
	}
	grpc_reply(call, &m.base);
}

const struct grpc_method cri_status = {
    "Status", &runtime__v1__status_request__descriptor, handle, 0};
