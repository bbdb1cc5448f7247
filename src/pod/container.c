/* SPDX-License-Identifier: Apache-2.0
 *
 * Containers: objects, rows, the state table. See container.h.
 */
#include "pod/container.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "pod/config.h"
#include "pod/events.h"
#include "pod/node.h"
#include "pod/sandbox.h"
#include "store/db.h"

/* may_go[from] has a bit for each state it may become. */
static const unsigned may_go[] = {
    [CONTAINER_CREATING] = 1 << CONTAINER_CREATED,
    [CONTAINER_CREATED] = 1 << CONTAINER_STARTING | 1 << CONTAINER_EXITED,
    [CONTAINER_STARTING] = 1 << CONTAINER_RUNNING | 1 << CONTAINER_EXITED,
    [CONTAINER_RUNNING] = 1 << CONTAINER_EXITED,
    [CONTAINER_EXITED] = 0,
};

char *
container_name(const Runtime__V1__ContainerMetadata *m, const char *sandbox_id)
{
	return xasprintf("%s_%u_%s", m->name, m->attempt, sandbox_id);
}

static struct container *
from_packed(struct sandbox *sb, const char *id, const void *packed, size_t n)
{
	struct container *c = xcalloc(1, sizeof(*c));

	snprintf(c->id, sizeof(c->id), "%s", id);
	c->pidfd = c->tty_fd = c->oom_fd = c->root_fd = -1;
	op_queue_init(&c->queue);
	TAILQ_INIT(&c->exit_waiters);
	arena_init(&c->arena);
	c->request = runtime__v1__create_container_request__unpack(&c->arena.alloc, n, packed);
	if (c->request == NULL || c->request->config == NULL ||
	    c->request->config->metadata == NULL || c->request->config->image == NULL) {
		arena_release(&c->arena);
		free(c);
		return NULL;
	}
	c->config = c->request->config;
	c->sb = sb;
	c->name = container_name(c->config->metadata, sb->id);
	c->reason = xstrdup("");
	c->message = xstrdup("");
	c->image_id = xstrdup("");
	c->image_ref = xstrdup("");
	if (!str_empty(c->config->log_path) && !str_empty(sb->config->log_directory))
		c->log_path =
		    xasprintf("%s/%s", sb->config->log_directory, c->config->log_path);
	TAILQ_INSERT_TAIL(&node.containers, c, all);
	TAILQ_INSERT_TAIL(&sb->containers, c, in_sandbox);
	index_put(&node.container_by_id, c->id, c);
	return c;
}

static void
release_name(struct container *c)
{
	if (container_named(c->name) == c)
		index_remove(&node.container_by_name, c->name);
}

struct container *
container_new(struct sandbox *sb, const Runtime__V1__CreateContainerRequest *request)
{
	Runtime__V1__CreateContainerRequest kept = *request;
	cleanup_free unsigned char *packed = NULL;
	char id[ID_SIZE];
	struct container *c;
	size_t n;

	/* The sandbox has its configuration; containers need not keep a copy each. */
	kept.sandbox_config = NULL;
	kept.pod_sandbox_id = sb->id;
	n = runtime__v1__create_container_request__get_packed_size(&kept);
	packed = xmalloc(n);
	runtime__v1__create_container_request__pack(&kept, packed);
	id_new(id);
	c = from_packed(sb, id, packed, n);
	assert(c != NULL);
	c->created_at = clock_wall_ns();
	/* Whoever has the name is being removed, or its creation fails: the name is the newest one's. */
	index_remove(&node.container_by_name, c->name);
	index_put(&node.container_by_name, c->name, c);
	return c;
}

struct container *
container_load(struct sandbox *sb, const char *id, const void *packed, size_t n, struct err *err)
{
	struct container *c = id_valid(id) ? from_packed(sb, id, packed, n) : NULL;

	if (c == NULL)
		err_set(err, ERR_DATA_LOSS, "the stored request of container %.64s does not parse",
		    id);
	return c;
}

void
container_free(struct container *c)
{
	if (c == NULL)
		return;
	assert(c->queue.holder == NULL && TAILQ_EMPTY(&c->exit_waiters));
	stats_unwatch(&c->stats);
	timer_stop(&c->kill_timer);
	release_name(c);
	index_remove(&node.container_by_id, c->id);
	TAILQ_REMOVE(&node.containers, c, all);
	TAILQ_REMOVE(&c->sb->containers, c, in_sandbox);
	fd_closep(&c->pidfd);
	fd_closep(&c->tty_fd);
	fd_closep(&c->oom_fd);
	fd_closep(&c->root_fd);
	user_release(&c->user);
	if (c->resources != NULL)
		runtime__v1__linux_container_resources__free_unpacked(c->resources, NULL);
	arena_release(&c->arena);
	free(c->image_id);
	free(c->image_ref);
	free(c->reason);
	free(c->message);
	free(c->log_path);
	free(c->name);
	free(c);
}

/* What creation resolved, as JSON: read back by load_detail() in pod/recover.c. */
static char *
detail_of(const struct container *c)
{
	json_t *groups = json_array(), *o;
	char *text;

	for (size_t i = 0; i < c->user.n_groups; i++)
		json_array_append_new(groups, json_integer(c->user.groups[i]));
	o = json_pack("{s:i, s:i, s:o, s:s?, s:s?, s:i, s:s, s:i}", "uid", (int)c->user.uid, "gid",
	    (int)c->user.gid, "groups", groups, "home", c->user.home, "user", c->user.name,
	    "stop_signal", c->stop_signal, "image_ref", c->image_ref, "pid", (int)c->pid);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (text == NULL)
		abort();
	return text;
}

int
container_insert(struct container *c, struct err *err)
{
	sqlite3_stmt *st = db_stmt(node.db,
	    "INSERT INTO container (id, sandbox_id, state, created_at, image_id, request) "
	    "VALUES (?, ?, ?, ?, ?, ?)");
	size_t n = runtime__v1__create_container_request__get_packed_size(c->request);
	cleanup_free unsigned char *packed = xmalloc(n);

	runtime__v1__create_container_request__pack(c->request, packed);
	db_bind_text(st, 1, c->id);
	db_bind_text(st, 2, c->sb->id);
	db_bind_int(st, 3, c->state);
	db_bind_int(st, 4, c->created_at);
	db_bind_text(st, 5, c->image_id);
	db_bind_blob(st, 6, packed, n);
	return db_run(node.db, st, err);
}

int
container_delete(struct container *c, struct err *err)
{
	sqlite3_stmt *st = db_stmt(node.db, "DELETE FROM container WHERE id = ?");

	db_bind_text(st, 1, c->id);
	if (db_run(node.db, st, err) < 0)
		return -1;
	c->removing = true;
	if (c->state != CONTAINER_CREATING)
		events_container(c, RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_DELETED_EVENT);
	return 0;
}

static void
emit_event(struct container *c)
{
	switch (c->state) {
	case CONTAINER_CREATED:
		events_container(c, RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_CREATED_EVENT);
		break;
	case CONTAINER_RUNNING:
		events_container(c, RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT);
		break;
	case CONTAINER_EXITED:
		events_container(c, RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT);
		break;
	case CONTAINER_CREATING:
	case CONTAINER_STARTING:
		break;
	}
}

static void
bind_resources(sqlite3_stmt *st, int at, const Runtime__V1__LinuxContainerResources *res)
{
	cleanup_free unsigned char *packed = NULL;
	size_t n;

	if (res == NULL) {
		db_bind_blob(st, at, NULL, 0);
		return;
	}
	n = runtime__v1__linux_container_resources__get_packed_size(res);
	packed = xmalloc(n);
	runtime__v1__linux_container_resources__pack(res, packed);
	db_bind_blob(st, at, packed, n);
}

int
container_set_state(struct container *c, enum container_state state, struct err *err)
{
	cleanup_free char *detail = NULL;
	sqlite3_stmt *st;

	assert(may_go[c->state] & 1u << state);
	if (state == CONTAINER_STARTING) {
		c->state = state;
		return 0;
	}
	detail = detail_of(c);
	st = db_stmt(node.db,
	    "UPDATE container SET state = ?, started_at = ?, finished_at = ?, exit_code = ?, "
	    "reason = ?, message = ?, resources = ?, detail = ?, image_id = ? WHERE id = ?");
	db_bind_int(st, 1, state);
	db_bind_int(st, 2, c->started_at);
	db_bind_int(st, 3, c->finished_at);
	db_bind_int(st, 4, c->exit_code);
	db_bind_text(st, 5, c->reason);
	db_bind_text(st, 6, c->message);
	bind_resources(st, 7, c->resources);
	db_bind_text(st, 8, detail);
	db_bind_text(st, 9, c->image_id);
	db_bind_text(st, 10, c->id);
	if (db_run(node.db, st, err) < 0)
		return -1;
	c->state = state;
	if (state == CONTAINER_EXITED)
		release_name(c);
	emit_event(c);
	return 0;
}

static Runtime__V1__LinuxContainerResources *
copy_resources(const Runtime__V1__LinuxContainerResources *res)
{
	size_t n = runtime__v1__linux_container_resources__get_packed_size(res);
	cleanup_free unsigned char *packed = xmalloc(n);

	runtime__v1__linux_container_resources__pack(res, packed);
	return runtime__v1__linux_container_resources__unpack(NULL, n, packed);
}

/* What a request leaves empty means "as it is": packing one message after the other is how protobuf
 * lays a later one over an earlier. Lists would grow by that, so given ones replace. */
static Runtime__V1__LinuxContainerResources *
merged(const Runtime__V1__LinuxContainerResources *was,
    const Runtime__V1__LinuxContainerResources *res)
{
	Runtime__V1__LinuxContainerResources base = *was;
	cleanup_buf struct buf b = BUF_INIT;
	size_t n;

	if (res->n_hugepage_limits > 0)
		base.n_hugepage_limits = 0;
	if (res->n_unified > 0)
		base.n_unified = 0;
	n = runtime__v1__linux_container_resources__get_packed_size(&base);
	runtime__v1__linux_container_resources__pack(&base, (uint8_t *)buf_reserve(&b, n));
	buf_grew(&b, n);
	n = runtime__v1__linux_container_resources__get_packed_size(res);
	runtime__v1__linux_container_resources__pack(res, (uint8_t *)buf_reserve(&b, n));
	buf_grew(&b, n);
	return runtime__v1__linux_container_resources__unpack(NULL, b.len, (uint8_t *)b.data);
}

int
container_merge_resources(struct container *c, const Runtime__V1__LinuxContainerResources *res,
    struct err *err)
{
	const Runtime__V1__LinuxContainerConfig *l = c->config->linux;
	const Runtime__V1__LinuxContainerResources *was =
	    c->resources != NULL ? c->resources : l != NULL ? l->resources : NULL;
	Runtime__V1__LinuxContainerResources *now =
	    was != NULL ? merged(was, res) : copy_resources(res);
	sqlite3_stmt *st = db_stmt(node.db, "UPDATE container SET resources = ? WHERE id = ?");

	bind_resources(st, 1, now);
	db_bind_text(st, 2, c->id);
	if (db_run(node.db, st, err) < 0) {
		runtime__v1__linux_container_resources__free_unpacked(now, NULL);
		return -1;
	}
	if (c->resources != NULL)
		runtime__v1__linux_container_resources__free_unpacked(c->resources, NULL);
	c->resources = now;
	return 0;
}

struct container *
container_find(const char *id, struct err *err)
{
	bool many;
	struct container *c = index_prefix(&node.container_by_id, id, &many);

	if (c != NULL && c->state != CONTAINER_CREATING && !c->removing)
		return c;
	if (many)
		err_set(err, ERR_INVALID_ARGUMENT, "container id %s is ambiguous", id);
	else
		err_set(err, ERR_NOT_FOUND, "no container with id \"%.80s\"", id);
	return NULL;
}

struct container *
container_named(const char *name)
{
	return index_get(&node.container_by_name, name);
}

Runtime__V1__ContainerState
container_cri_state(const struct container *c)
{
	switch (c->state) {
	case CONTAINER_CREATING:
	case CONTAINER_CREATED:
	case CONTAINER_STARTING:
		return RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED;
	case CONTAINER_RUNNING:
		return RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
	case CONTAINER_EXITED:
		return RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED;
	}
	return RUNTIME__V1__CONTAINER_STATE__CONTAINER_UNKNOWN;
}

void
container_wait_exit(struct container *c, struct exit_waiter *w, void (*exited)(struct exit_waiter *))
{
	w->exited = exited;
	w->waiting = true;
	TAILQ_INSERT_TAIL(&c->exit_waiters, w, entry);
}

void
container_unwait_exit(struct container *c, struct exit_waiter *w)
{
	if (!w->waiting)
		return;
	w->waiting = false;
	TAILQ_REMOVE(&c->exit_waiters, w, entry);
}

char *
container_root_path(const struct container *c, const char *file)
{
	return xasprintf("%s/containers/%s%s%s", node.config->root, c->id, *file != '\0' ? "/" : "",
	    file);
}

char *
container_state_path(const struct container *c, const char *file)
{
	return xasprintf("%s/containers/%s%s%s", node.config->state, c->id,
	    *file != '\0' ? "/" : "", file);
}
