/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects as CRI messages: see status.h.
 */
#include "pod/status.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"
#include "image/store.h"
#include "pod/config.h"
#include "pod/container.h"
#include "pod/node.h"
#include "pod/sandbox.h"

#define NEW(a, type, init)                                                                         \
	({                                                                                         \
		type *m_ = arena_alloc((a), sizeof(type));                                         \
		init(m_);                                                                          \
		m_;                                                                                \
	})

/* The generated structs are not const-correct; nothing is written through what we lend them. */
#define LEND(type, p) ((type *)(uintptr_t)(p))

/* Every map<string,string> has an entry type of its own, all of the same fields: on the wire, and for
 * the packer, which goes by an entry's own descriptor, one is as good as another. */
#define LEND_MAP(entries) ((void *)(entries))

static Runtime__V1__PodSandboxState
cri_state(const struct sandbox *sb)
{
	return sb->state == SANDBOX_READY ? RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY
	                                  : RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
}

Runtime__V1__PodSandbox *
status_sandbox_item(const struct sandbox *sb, struct arena *a)
{
	Runtime__V1__PodSandbox *m = NEW(a, Runtime__V1__PodSandbox, runtime__v1__pod_sandbox__init);

	m->id = LEND(char, sb->id);
	m->metadata = sb->config->metadata;
	m->state = cri_state(sb);
	m->created_at = sb->created_at;
	m->n_labels = sb->config->n_labels;
	m->labels = LEND_MAP(sb->config->labels);
	m->n_annotations = sb->config->n_annotations;
	m->annotations = LEND_MAP(sb->config->annotations);
	m->runtime_handler = sb->request->runtime_handler;
	return m;
}

static Runtime__V1__PodSandboxNetworkStatus *
network_status(const struct sandbox *sb, struct arena *a)
{
	Runtime__V1__PodSandboxNetworkStatus *m = NEW(a, Runtime__V1__PodSandboxNetworkStatus,
	    runtime__v1__pod_sandbox_network_status__init);
	const struct net_result *net = &sb->network;

	if (sb->state != SANDBOX_READY || net->n_ips == 0)
		return m;
	m->ip = LEND(char, net->ips[0]);
	m->n_additional_ips = net->n_ips - 1;
	m->additional_ips = arena_array(a, Runtime__V1__PodIP *, m->n_additional_ips);
	for (size_t i = 1; i < net->n_ips; i++) {
		Runtime__V1__PodIP *ip = NEW(a, Runtime__V1__PodIP, runtime__v1__pod_ip__init);

		ip->ip = LEND(char, net->ips[i]);
		m->additional_ips[i - 1] = ip;
	}
	return m;
}

static Runtime__V1__LinuxPodSandboxStatus *
linux_status(const struct sandbox *sb, struct arena *a)
{
	Runtime__V1__LinuxPodSandboxStatus *m = NEW(a, Runtime__V1__LinuxPodSandboxStatus,
	    runtime__v1__linux_pod_sandbox_status__init);
	const Runtime__V1__LinuxPodSandboxConfig *l = sb->config->linux;

	m->namespaces = NEW(a, Runtime__V1__Namespace, runtime__v1__namespace__init);
	if (l != NULL && l->security_context != NULL &&
	    l->security_context->namespace_options != NULL)
		m->namespaces->options = l->security_context->namespace_options;
	else
		m->namespaces->options =
		    NEW(a, Runtime__V1__NamespaceOption, runtime__v1__namespace_option__init);
	return m;
}

Runtime__V1__PodSandboxStatus *
status_sandbox(const struct sandbox *sb, struct arena *a)
{
	Runtime__V1__PodSandboxStatus *m =
	    NEW(a, Runtime__V1__PodSandboxStatus, runtime__v1__pod_sandbox_status__init);

	m->id = LEND(char, sb->id);
	m->metadata = sb->config->metadata;
	m->state = cri_state(sb);
	m->created_at = sb->created_at;
	m->network = network_status(sb, a);
	m->linux = linux_status(sb, a);
	m->n_labels = sb->config->n_labels;
	m->labels = LEND_MAP(sb->config->labels);
	m->n_annotations = sb->config->n_annotations;
	m->annotations = LEND_MAP(sb->config->annotations);
	m->runtime_handler = sb->request->runtime_handler;
	return m;
}

Runtime__V1__Container *
status_container_item(const struct container *c, struct arena *a)
{
	Runtime__V1__Container *m = NEW(a, Runtime__V1__Container, runtime__v1__container__init);

	m->id = LEND(char, c->id);
	m->pod_sandbox_id = c->sb->id;
	m->metadata = c->config->metadata;
	m->image = c->config->image;
	m->image_ref = c->image_id;
	m->image_id = c->image_id;
	m->state = container_cri_state(c);
	m->created_at = c->created_at;
	m->n_labels = c->config->n_labels;
	m->labels = LEND_MAP(c->config->labels);
	m->n_annotations = c->config->n_annotations;
	m->annotations = LEND_MAP(c->config->annotations);
	return m;
}

static Runtime__V1__ContainerUser *
user_status(const struct container *c, struct arena *a)
{
	Runtime__V1__ContainerUser *m =
	    NEW(a, Runtime__V1__ContainerUser, runtime__v1__container_user__init);

	m->linux = NEW(a, Runtime__V1__LinuxContainerUser, runtime__v1__linux_container_user__init);
	m->linux->uid = c->user.uid;
	m->linux->gid = c->user.gid;
	m->linux->n_supplemental_groups = c->user.n_groups;
	m->linux->supplemental_groups = arena_array(a, int64_t, c->user.n_groups);
	for (size_t i = 0; i < c->user.n_groups; i++)
		m->linux->supplemental_groups[i] = c->user.groups[i];
	return m;
}

/* The image by a name people know: what the pod's author wrote, else a tag, else what was asked. */
static Runtime__V1__ImageSpec *
image_status(const struct container *c, struct arena *a)
{
	Runtime__V1__ImageSpec *m = arena_memdup(a, c->config->image, sizeof(*m));
	const struct image *img = image_store_by_id(node.images, c->image_id);

	if (!str_empty(m->user_specified_image))
		m->image = m->user_specified_image;
	else if (img != NULL && img->n_tags > 0)
		m->image = img->tags[0];
	return m;
}

/* As requested, and nothing that we add. An image's mount also tells which image it was. */
static void
mounts_status(const struct container *c, struct arena *a, Runtime__V1__ContainerStatus *m)
{
	m->n_mounts = c->config->n_mounts;
	m->mounts = arena_array(a, Runtime__V1__Mount *, m->n_mounts);
	for (size_t i = 0; i < m->n_mounts; i++) {
		const Runtime__V1__Mount *asked = c->config->mounts[i];
		const struct image *img;

		m->mounts[i] = c->config->mounts[i];
		if (asked->image == NULL || str_empty(asked->image->image))
			continue;
		m->mounts[i] = arena_memdup(a, asked, sizeof(*asked));
		m->mounts[i]->image = arena_memdup(a, asked->image, sizeof(*asked->image));
		img = image_store_find(node.images, asked->image->image);
		if (img != NULL)
			m->mounts[i]->image->image_ref = img->id;
	}
}

Runtime__V1__ContainerStatus *
status_container(const struct container *c, struct arena *a)
{
	Runtime__V1__ContainerStatus *m =
	    NEW(a, Runtime__V1__ContainerStatus, runtime__v1__container_status__init);
	const Runtime__V1__LinuxContainerConfig *l = c->config->linux;

	m->id = LEND(char, c->id);
	m->metadata = c->config->metadata;
	m->state = container_cri_state(c);
	m->created_at = c->created_at;
	m->started_at = c->started_at;
	m->finished_at = c->finished_at;
	m->exit_code = c->exit_code;
	m->image = image_status(c, a);
	m->image_ref = c->image_ref;
	m->image_id = c->image_id;
	m->reason = c->reason;
	m->message = c->message;
	m->n_labels = c->config->n_labels;
	m->labels = LEND_MAP(c->config->labels);
	m->n_annotations = c->config->n_annotations;
	m->annotations = LEND_MAP(c->config->annotations);
	mounts_status(c, a, m);
	m->log_path = c->log_path != NULL ? c->log_path : LEND(char, "");
	m->resources = NEW(a, Runtime__V1__ContainerResources,
	    runtime__v1__container_resources__init);
	m->resources->linux = c->resources != NULL       ? c->resources
	                      : l != NULL && l->resources ? l->resources
	                                                  : NULL;
	m->user = user_status(c, a);
	m->stop_signal = c->config->stop_signal;
	return m;
}

size_t
status_containers_of(const struct sandbox *sb, struct arena *a,
    Runtime__V1__ContainerStatus ***ret)
{
	const struct container *c;
	size_t n = 0;

	TAILQ_FOREACH(c, &sb->containers, in_sandbox)
		n++;
	*ret = arena_array(a, Runtime__V1__ContainerStatus *, n);
	n = 0;
	TAILQ_FOREACH(c, &sb->containers, in_sandbox)
		if (c->state != CONTAINER_CREATING && !c->removing)
			(*ret)[n++] = status_container(c, a);
	return n;
}

static const char *
dump(json_t *o, struct arena *a)
{
	char *text = json_dumps(o, JSON_INDENT(2));
	const char *kept;

	if (text == NULL)
		abort();
	kept = arena_strdup(a, text);
	free(text);
	json_decref(o);
	return kept;
}

static json_t *
resources_json(const Runtime__V1__LinuxContainerResources *res)
{
	if (res == NULL)
		return json_null();
	return json_pack("{s:I, s:I, s:I, s:I}", "cpuPeriod", (json_int_t)res->cpu_period, "cpuQuota",
	    (json_int_t)res->cpu_quota, "cpuShares", (json_int_t)res->cpu_shares,
	    "memoryLimitInBytes", (json_int_t)res->memory_limit_in_bytes);
}

const char *
status_sandbox_info(const struct sandbox *sb, struct arena *a)
{
	char *netns = sandbox_path(sb, "ns/net");
	json_t *net = sb->network.json != NULL ? json_loads(sb->network.json, 0, NULL) : NULL;
	json_t *o = json_pack("{s:i, s:s, s:b, s:s, s:s, s:s, s:o, s:{s:{s:[{s:s, s:s}]}}}", "pid",
	    (int)sb->holder_pid, "processStatus", sb->state == SANDBOX_READY ? "running" : "deleted",
	    "netNamespaceClosed", sb->released, "runtimeHandler", sb->request->runtime_handler,
	    "runtimeType", "coracle.native", "cgroupParent", sb->cgroup_parent, "cniResult",
	    net != NULL ? net : json_null(), "runtimeSpec", "linux", "namespaces", "type", "network",
	    "path", sandbox_host_network(sb) ? "" : netns);

	free(netns);
	json_object_set_new(o, "overhead", resources_json(sandbox_overhead(sb)));
	json_object_set_new(o, "resources", resources_json(sandbox_resources(sb)));
	return dump(o, a);
}

const char *
status_container_info(const struct container *c, struct arena *a)
{
	char *dir = container_root_path(c, "");
	json_t *o = json_pack("{s:s, s:i, s:b, s:s, s:s, s:s, s:s}", "sandboxID", c->sb->id, "pid",
	    (int)c->pid, "removing", c->removing, "snapshotter", "overlayfs", "directory", dir,
	    "cgroupParent", c->sb->cgroup_parent, "imageID", c->image_id);

	free(dir);
	return dump(o, a);
}
