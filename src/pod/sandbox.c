/* SPDX-License-Identifier: Apache-2.0
 *
 * Sandboxes: objects, rows, the state table. See sandbox.h.
 */
#include "pod/sandbox.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "pod/config.h"
#include "pod/container.h"
#include "pod/events.h"
#include "pod/node.h"
#include "store/db.h"

/* may_go[from] has a bit for each state it may become. */
static const unsigned may_go[] = {
    [SANDBOX_CREATING] = 1 << SANDBOX_READY | 1 << SANDBOX_NOTREADY,
    [SANDBOX_READY] = 1 << SANDBOX_NOTREADY,
    [SANDBOX_NOTREADY] = 1 << SANDBOX_NOTREADY,
};

char *
sandbox_name(const Runtime__V1__PodSandboxMetadata *m)
{
	return xasprintf("%s_%s_%s_%u", m->name, m->namespace_, m->uid, m->attempt);
}

/* The cgroup the pod's containers live in. Without one from the kubelet the pod gets its own. */
static char *
cgroup_parent_of(const struct sandbox *sb)
{
	const Runtime__V1__LinuxPodSandboxConfig *l = sb->config->linux;

	if (l != NULL && !str_empty(l->cgroup_parent))
		return xstrdup(l->cgroup_parent);
	if (node.config->cgroup_driver == CGROUP_DRIVER_SYSTEMD)
		return xasprintf("/%s.slice", node.config->instance);
	return xasprintf("/%s/%s", node.config->instance, sb->id);
}

static struct sandbox *
from_packed(const char *id, const void *packed, size_t n)
{
	struct sandbox *sb = xcalloc(1, sizeof(*sb));

	snprintf(sb->id, sizeof(sb->id), "%s", id);
	sb->holder_pidfd = -1;
	TAILQ_INIT(&sb->containers);
	op_queue_init(&sb->queue);
	arena_init(&sb->arena);
	sb->packed = xmemdup(packed, n);
	sb->packed_len = n;
	sb->request = runtime__v1__run_pod_sandbox_request__unpack(&sb->arena.alloc, n, packed);
	if (sb->request == NULL || sb->request->config == NULL ||
	    sb->request->config->metadata == NULL) {
		arena_release(&sb->arena);
		free(sb->packed);
		free(sb);
		return NULL;
	}
	sb->config = sb->request->config;
	sb->name = sandbox_name(sb->config->metadata);
	sb->cgroup_parent = cgroup_parent_of(sb);
	TAILQ_INSERT_TAIL(&node.sandboxes, sb, all);
	index_put(&node.sandbox_by_id, sb->id, sb);
	return sb;
}

static void
hold_name(struct sandbox *sb)
{
	/* Whoever has it is on its way out: it is the newest one's. */
	index_remove(&node.sandbox_by_name, sb->name);
	index_put(&node.sandbox_by_name, sb->name, sb);
}

static void
release_name(struct sandbox *sb)
{
	if (sandbox_named(sb->name) == sb)
		index_remove(&node.sandbox_by_name, sb->name);
}

struct sandbox *
sandbox_new(const Runtime__V1__RunPodSandboxRequest *request)
{
	size_t n = runtime__v1__run_pod_sandbox_request__get_packed_size(request);
	cleanup_free unsigned char *packed = xmalloc(n);
	char id[ID_SIZE];
	struct sandbox *sb;

	runtime__v1__run_pod_sandbox_request__pack(request, packed);
	id_new(id);
	sb = from_packed(id, packed, n);
	assert(sb != NULL);
	sb->created_at = clock_wall_ns();
	hold_name(sb);
	return sb;
}

struct sandbox *
sandbox_load(const char *id, const void *packed, size_t n, struct err *err)
{
	struct sandbox *sb = id_valid(id) ? from_packed(id, packed, n) : NULL;

	if (sb == NULL)
		err_set(err, ERR_DATA_LOSS, "the stored request of sandbox %.64s does not parse", id);
	return sb;
}

static void
free_resources(Runtime__V1__LinuxContainerResources *res)
{
	if (res != NULL)
		runtime__v1__linux_container_resources__free_unpacked(res, NULL);
}

void
sandbox_free(struct sandbox *sb)
{
	if (sb == NULL)
		return;
	assert(TAILQ_EMPTY(&sb->containers));
	assert(sb->queue.holder == NULL);
	stats_unwatch(&sb->stats);
	release_name(sb);
	index_remove(&node.sandbox_by_id, sb->id);
	TAILQ_REMOVE(&node.sandboxes, sb, all);
	fd_closep(&sb->holder_pidfd);
	free_resources(sb->overhead);
	free_resources(sb->resources);
	arena_release(&sb->arena);
	free(sb->network.json);
	free(sb->cgroup_parent);
	free(sb->packed);
	free(sb->name);
	free(sb);
}

int
sandbox_insert(struct sandbox *sb, struct err *err)
{
	sqlite3_stmt *st = db_stmt(node.db,
	    "INSERT INTO sandbox (id, name, state, created_at, boot_id, request) "
	    "VALUES (?, ?, ?, ?, ?, ?)");

	db_bind_text(st, 1, sb->id);
	db_bind_text(st, 2, sb->name);
	db_bind_int(st, 3, sb->state);
	db_bind_int(st, 4, sb->created_at);
	db_bind_text(st, 5, node.boot_id);
	db_bind_blob(st, 6, sb->packed, sb->packed_len);
	return db_run(node.db, st, err);
}

int
sandbox_delete(struct sandbox *sb, struct err *err)
{
	sqlite3_stmt *st = db_stmt(node.db, "DELETE FROM sandbox WHERE id = ?");

	db_bind_text(st, 1, sb->id);
	if (db_run(node.db, st, err) < 0)
		return -1;
	if (sb->state != SANDBOX_CREATING)
		events_sandbox(sb, RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_DELETED_EVENT);
	return 0;
}

static int
update(struct sandbox *sb, enum sandbox_state state, struct err *err)
{
	sqlite3_stmt *st =
	    db_stmt(node.db, "UPDATE sandbox SET state = ?, network = ? WHERE id = ?");

	db_bind_int(st, 1, state);
	db_bind_text(st, 2, sb->network.json);
	db_bind_text(st, 3, sb->id);
	return db_run(node.db, st, err);
}

int
sandbox_set_state(struct sandbox *sb, enum sandbox_state state, struct err *err)
{
	enum sandbox_state was = sb->state;

	assert(may_go[was] & 1u << state);
	if (update(sb, state, err) < 0)
		return -1;
	sb->state = state;
	if (state == SANDBOX_NOTREADY)
		release_name(sb);
	if (state == SANDBOX_READY) {
		events_sandbox(sb, RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_CREATED_EVENT);
		events_sandbox(sb, RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT);
	} else if (was == SANDBOX_READY) {
		events_sandbox(sb, RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT);
	}
	return 0;
}

int
sandbox_set_network(struct sandbox *sb, struct net_result *result, struct err *err)
{
	struct net_result was = sb->network;

	sb->network = *result;
	if (update(sb, sb->state, err) < 0) {
		sb->network = was;
		return -1;
	}
	*result = (struct net_result){0};
	free(was.json);
	return 0;
}

const Runtime__V1__LinuxContainerResources *
sandbox_overhead(const struct sandbox *sb)
{
	if (sb->overhead != NULL || sb->config->linux == NULL)
		return sb->overhead;
	return sb->config->linux->overhead;
}

const Runtime__V1__LinuxContainerResources *
sandbox_resources(const struct sandbox *sb)
{
	if (sb->resources != NULL || sb->config->linux == NULL)
		return sb->resources;
	return sb->config->linux->resources;
}

static Runtime__V1__LinuxContainerResources *
copy_resources(const Runtime__V1__LinuxContainerResources *res)
{
	size_t n = runtime__v1__linux_container_resources__get_packed_size(res);
	cleanup_free unsigned char *packed = xmalloc(n);

	runtime__v1__linux_container_resources__pack(res, packed);
	return runtime__v1__linux_container_resources__unpack(NULL, n, packed);
}

static void
replace_resources(Runtime__V1__LinuxContainerResources **was,
    const Runtime__V1__LinuxContainerResources *by)
{
	if (by == NULL)
		return;
	free_resources(*was);
	*was = copy_resources(by);
}

/* The row's request gets them, so that the next start finds them where it looks for the first. */
int
sandbox_set_resources(struct sandbox *sb, const Runtime__V1__LinuxContainerResources *overhead,
    const Runtime__V1__LinuxContainerResources *resources, struct err *err)
{
	Runtime__V1__RunPodSandboxRequest request = *sb->request;
	Runtime__V1__PodSandboxConfig config = *sb->config;
	Runtime__V1__LinuxPodSandboxConfig l = RUNTIME__V1__LINUX_POD_SANDBOX_CONFIG__INIT;
	sqlite3_stmt *st = db_stmt(node.db, "UPDATE sandbox SET request = ? WHERE id = ?");
	cleanup_free unsigned char *packed = NULL;
	size_t n;

	if (config.linux != NULL)
		l = *config.linux;
	/* nothing is written through what is lent to them */
	l.overhead = (void *)(uintptr_t)(overhead != NULL ? overhead : sandbox_overhead(sb));
	l.resources = (void *)(uintptr_t)(resources != NULL ? resources : sandbox_resources(sb));
	config.linux = &l;
	request.config = &config;
	n = runtime__v1__run_pod_sandbox_request__get_packed_size(&request);
	packed = xmalloc(n);
	runtime__v1__run_pod_sandbox_request__pack(&request, packed);
	db_bind_blob(st, 1, packed, n);
	db_bind_text(st, 2, sb->id);
	if (db_run(node.db, st, err) < 0)
		return -1;
	free(sb->packed);
	sb->packed = take_ptr(packed);
	sb->packed_len = n;
	replace_resources(&sb->overhead, overhead);
	replace_resources(&sb->resources, resources);
	return 0;
}

struct sandbox *
sandbox_find(const char *id, struct err *err)
{
	bool many;
	struct sandbox *sb = index_prefix(&node.sandbox_by_id, id, &many);

	if (sb != NULL && sb->state != SANDBOX_CREATING && !sb->removing)
		return sb;
	if (many)
		err_set(err, ERR_INVALID_ARGUMENT, "sandbox id %s is ambiguous", id);
	else
		err_set(err, ERR_NOT_FOUND, "no sandbox with id \"%.80s\"", id);
	return NULL;
}

struct sandbox *
sandbox_named(const char *name)
{
	return index_get(&node.sandbox_by_name, name);
}

static const Runtime__V1__NamespaceOption *
namespaces(const struct sandbox *sb)
{
	const Runtime__V1__LinuxPodSandboxConfig *l = sb->config->linux;

	if (l == NULL || l->security_context == NULL)
		return NULL;
	return l->security_context->namespace_options;
}

bool
sandbox_host_network(const struct sandbox *sb)
{
	const Runtime__V1__NamespaceOption *ns = namespaces(sb);

	return ns != NULL && ns->network == RUNTIME__V1__NAMESPACE_MODE__NODE;
}

bool
sandbox_host_ipc(const struct sandbox *sb)
{
	const Runtime__V1__NamespaceOption *ns = namespaces(sb);

	return ns != NULL && ns->ipc == RUNTIME__V1__NAMESPACE_MODE__NODE;
}

/* The zero value is POD: a request without options shares the PID namespace, as the CRI says. */
bool
sandbox_shares_pid(const struct sandbox *sb)
{
	const Runtime__V1__NamespaceOption *ns = namespaces(sb);

	return ns == NULL || ns->pid == RUNTIME__V1__NAMESPACE_MODE__POD;
}

bool
sandbox_privileged(const struct sandbox *sb)
{
	const Runtime__V1__LinuxPodSandboxConfig *l = sb->config->linux;

	return l != NULL && l->security_context != NULL && l->security_context->privileged;
}

const char *
sandbox_hostname(const struct sandbox *sb)
{
	return str_empty(sb->config->hostname) ? node.hostname : sb->config->hostname;
}

char *
sandbox_path(const struct sandbox *sb, const char *file)
{
	return xasprintf("%s/sandboxes/%s%s%s", node.config->state, sb->id,
	    *file != '\0' ? "/" : "", file);
}
