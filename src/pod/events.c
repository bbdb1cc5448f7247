/* SPDX-License-Identifier: Apache-2.0
 *
 * Lifecycle events: see events.h. An event becomes an entry in each subscriber's queue; a
 * subscriber's queue is drained into its stream as long as little is unsent there.
 */
#include "pod/events.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "grpc/server.h"
#include "pod/config.h"
#include "pod/node.h"
#include "pod/status.h"

enum { QUEUE_MAX = 8192, BACKLOG_HIGH = 256 * 1024 };

struct entry {
	char id[ID_SIZE], sandbox_id[ID_SIZE];
	Runtime__V1__ContainerEventType type;
	int64_t at; /* wall clock, ns */
	Runtime__V1__PodSandboxStatus *last; /* of a sandbox that is gone; heap */
	TAILQ_ENTRY(entry) entry;
};

struct subscriber {
	struct grpc_call *call;
	TAILQ_HEAD(, entry) queue;
	size_t n;
	TAILQ_ENTRY(subscriber) entry;
};

static TAILQ_HEAD(, subscriber) subscribers = TAILQ_HEAD_INITIALIZER(subscribers);
static int64_t last_at;

/* The caches that read these times need them to grow, whatever the wall clock does. */
static int64_t
growing_now(void)
{
	last_at = MAX(last_at + 1, clock_wall_ns());
	return last_at;
}

static void
entry_free(struct entry *e)
{
	if (e->last != NULL)
		runtime__v1__pod_sandbox_status__free_unpacked(e->last, NULL);
	free(e);
}

static void
clear(struct subscriber *s)
{
	struct entry *e;

	while ((e = TAILQ_FIRST(&s->queue)) != NULL) {
		TAILQ_REMOVE(&s->queue, e, entry);
		entry_free(e);
	}
	s->n = 0;
}

static void
send_entry(struct subscriber *s, const struct entry *e)
{
	Runtime__V1__ContainerEventResponse m = RUNTIME__V1__CONTAINER_EVENT_RESPONSE__INIT;
	struct sandbox *sb = index_get(&node.sandbox_by_id, e->sandbox_id);
	struct arena a;

	arena_init(&a);
	m.container_id = (char *)(uintptr_t)e->id;
	m.container_event_type = e->type;
	m.created_at = e->at;
	if (sb != NULL) {
		m.pod_sandbox_status = status_sandbox(sb, &a);
		m.n_containers_statuses = status_containers_of(sb, &a, &m.containers_statuses);
	} else {
		m.pod_sandbox_status = e->last;
	}
	if (m.pod_sandbox_status != NULL) /* else a DELETED of the pod follows, with its status */
		grpc_send(s->call, &m.base);
	arena_release(&a);
}

static void
drain(struct subscriber *s)
{
	struct entry *e;

	while ((e = TAILQ_FIRST(&s->queue)) != NULL && grpc_backlog(s->call) < BACKLOG_HIGH) {
		TAILQ_REMOVE(&s->queue, e, entry);
		s->n--;
		send_entry(s, e);
		entry_free(e);
	}
}

static struct entry *
add(struct subscriber *s, const char *id, const char *sandbox_id,
    Runtime__V1__ContainerEventType type, int64_t at)
{
	struct entry *e = xcalloc(1, sizeof(*e));

	memcpy(e->id, id, ID_SIZE);
	memcpy(e->sandbox_id, sandbox_id, ID_SIZE);
	e->type = type;
	e->at = at;
	TAILQ_INSERT_TAIL(&s->queue, e, entry);
	s->n++;
	return e;
}

static Runtime__V1__ContainerEventType
present(const struct container *c)
{
	switch (c->state) {
	case CONTAINER_RUNNING:
		return RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT;
	case CONTAINER_EXITED:
		return RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT;
	default:
		return RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_CREATED_EVENT;
	}
}

/* What is, told as if it had just become so. */
static void
replay(struct subscriber *s)
{
	struct sandbox *sb;
	struct container *c;

	clear(s);
	TAILQ_FOREACH(sb, &node.sandboxes, all) {
		if (sb->state == SANDBOX_CREATING || sb->removing)
			continue;
		add(s, sb->id, sb->id,
		    sb->state == SANDBOX_READY
		        ? RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT
		        : RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT,
		    growing_now());
		TAILQ_FOREACH(c, &sb->containers, in_sandbox)
			if (c->state != CONTAINER_CREATING && !c->removing)
				add(s, c->id, sb->id, present(c), growing_now());
	}
}

static void
publish(const char *id, struct sandbox *sb, Runtime__V1__ContainerEventType type)
{
	int64_t at = growing_now();
	struct subscriber *s;

	TAILQ_FOREACH(s, &subscribers, entry) {
		if (s->n >= QUEUE_MAX) {
			replay(s);
		} else {
			add(s, id, sb->id, type, at);
		}
		drain(s);
	}
}

/* A pod that is being deleted will not be there when its entry is sent: keep its last status. */
static void
publish_deleted(struct sandbox *sb)
{
	struct arena a;
	Runtime__V1__PodSandboxStatus *m;
	unsigned char *packed;
	struct subscriber *s;
	struct entry *e;
	int64_t at = growing_now();
	size_t n;

	arena_init(&a);
	m = status_sandbox(sb, &a);
	n = runtime__v1__pod_sandbox_status__get_packed_size(m);
	packed = arena_alloc(&a, n);
	runtime__v1__pod_sandbox_status__pack(m, packed);
	TAILQ_FOREACH(s, &subscribers, entry) {
		if (s->n >= QUEUE_MAX)
			replay(s);
		e = add(s, sb->id, sb->id,
		    RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_DELETED_EVENT, at);
		e->last = runtime__v1__pod_sandbox_status__unpack(NULL, n, packed);
		drain(s);
	}
	arena_release(&a);
}

void
events_sandbox(struct sandbox *sb, Runtime__V1__ContainerEventType type)
{
	if (TAILQ_EMPTY(&subscribers))
		return;
	if (type == RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_DELETED_EVENT)
		publish_deleted(sb);
	else
		publish(sb->id, sb, type);
}

void
events_container(struct container *c, Runtime__V1__ContainerEventType type)
{
	if (!TAILQ_EMPTY(&subscribers))
		publish(c->id, c->sb, type);
}

static void
on_writable(struct grpc_call *call)
{
	drain(call->owner);
}

static void
end(struct subscriber *s, const struct err *err)
{
	TAILQ_REMOVE(&subscribers, s, entry);
	clear(s);
	if (err != NULL)
		grpc_fail(s->call, err);
	else
		grpc_finish(s->call);
	free(s);
}

static void
on_gone(struct grpc_call *call)
{
	struct err err;

	err_set(&err, ERR_CANCELLED, "client went away");
	end(call->owner, &err);
}

void
events_subscribe(struct grpc_call *call)
{
	struct subscriber *s = xcalloc(1, sizeof(*s));

	s->call = call;
	TAILQ_INIT(&s->queue);
	TAILQ_INSERT_TAIL(&subscribers, s, entry);
	call->owner = s;
	call->on_gone = on_gone;
	call->on_writable = on_writable;
	replay(s);
	drain(s);
}

void
events_close_all(void)
{
	struct subscriber *s;

	while ((s = TAILQ_FIRST(&subscribers)) != NULL)
		end(s, NULL);
}
