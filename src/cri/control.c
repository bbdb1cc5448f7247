/* SPDX-License-Identifier: Apache-2.0
 *
 * The Control service: operations in flight, pull progress, log level, reload. See control.h.
 */
#include "cri/control.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "cri/archives.h"
#include "cri/images.h"
#include "cri/methods.h"
#include "grpc/server.h"
#include "image/pull.h"
#include "image/store.h"
#include "loop/loop.h"
#include "loop/op.h"
#include "pod/config.h"
#include "pod/node.h"
#include "proto/control.pb-c.h"

static struct config *config;
static char *config_path;

void
control_init(struct config *c, const char *path)
{
	config = c;
	config_path = xstrdup(path);
}

struct op_list {
	struct arena *arena;
	Coracle__V1__ListOperationsResponse *m;
};

static void
add_op(const struct op *op, void *arg)
{
	struct op_list *l = arg;
	Coracle__V1__Operation *o = arena_alloc(l->arena, sizeof(*o));
	int64_t now = loop_now_ms();

	coracle__v1__operation__init(o);
	o->name = LEND(op->name);
	o->object = arena_strdup(l->arena, op->object);
	o->step = LEND(op_step_name(op));
	o->undoing = op->phase == OP_UNDOING;
	o->age_ms = now - op->started_ms;
	o->step_age_ms = now - op->step_ms;
	l->m->operations[l->m->n_operations++] = o;
}

static void
list_operations(struct grpc_call *call, const ProtobufCMessage *request)
{
	Coracle__V1__ListOperationsResponse m = CORACLE__V1__LIST_OPERATIONS_RESPONSE__INIT;
	struct op_list l = {&call->arena, &m};

	(void)request;
	m.operations = arena_array(&call->arena, Coracle__V1__Operation *, op_count());
	op_foreach(add_op, &l);
	grpc_reply(call, &m.base);
}

static void
set_log_level(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Coracle__V1__SetLogLevelRequest *r = (const void *)request;
	Coracle__V1__SetLogLevelResponse m = CORACLE__V1__SET_LOG_LEVEL_RESPONSE__INIT;
	enum log_level level = log_threshold;
	unsigned mask = trace_mask;
	struct err err;

	if (!str_empty(r->level) && !log_level_parse(r->level, &level)) {
		err_set(&err, ERR_INVALID_ARGUMENT,
		    "level: \"%.32s\" is none of error, warn, info, debug", r->level);
		grpc_fail(call, &err);
		return;
	}
	if (!str_empty(r->trace) && !trace_parse(r->trace, &mask)) {
		err_set(&err, ERR_INVALID_ARGUMENT, "trace: \"%.64s\" has an unknown name", r->trace);
		grpc_fail(call, &err);
		return;
	}
	log_threshold = level;
	trace_mask = mask;
	m.level = LEND(log_level_name(level));
	m.trace = r->trace;
	grpc_reply(call, &m.base);
}

static void
info(struct grpc_call *call, const ProtobufCMessage *request)
{
	Coracle__V1__InfoResponse m = CORACLE__V1__INFO_RESPONSE__INIT;

	(void)request;
	m.json = LEND(status_info(&call->arena));
	grpc_reply(call, &m.base);
}

/* Only what can change under running pods; the rest waits for a restart. */
static int
reload(struct err *err)
{
	struct config fresh;
	enum log_level level;
	unsigned mask;

	if (config_load(&fresh, config_path, false, err) < 0) {
		config_release(&fresh);
		return -1;
	}
	if (!log_level_parse(fresh.log_level, &level) || !trace_parse(fresh.trace, &mask)) {
		config_release(&fresh);
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: log_level or trace is unknown",
		    config_path);
	}
	log_threshold = level;
	trace_mask = mask;
	image_store_set_pinned(node.images, (const char *const *)fresh.pinned_images,
	    fresh.n_pinned_images);
	config->enable_events = fresh.enable_events;
	config_release(&fresh);
	return 0;
}

void
control_reload(void)
{
	struct err err;

	if (reload(&err) < 0)
		log_err("reload: %s; nothing was changed", err.msg);
	else
		log_info("reloaded %s", config_path);
}

static void
reload_method(struct grpc_call *call, const ProtobufCMessage *request)
{
	Coracle__V1__ReloadResponse m = CORACLE__V1__RELOAD_RESPONSE__INIT;
	struct err err;

	(void)request;
	if (reload(&err) < 0)
		grpc_fail(call, &err);
	else
		grpc_reply(call, &m.base);
}

/* PullProgress: a snapshot every PROGRESS_MS until no pull that was asked for is in flight. */
enum { PROGRESS_MS = 100 };

struct watcher {
	struct grpc_call *call;
	struct loop_timer timer;
	char *image; /* normalised or as written; "" : all */
};

struct pull_list {
	struct arena *arena;
	const char *only;
	Coracle__V1__PullProgressResponse *m;
};

static void
count_pull(const struct pull_progress *p, void *arg)
{
	(void)p;
	++*(size_t *)arg;
}

static void
add_pull(const struct pull_progress *p, void *arg)
{
	struct pull_list *l = arg;
	Coracle__V1__Pull *m;

	if (*l->only != '\0' && strstr(p->image, l->only) == NULL)
		return;
	m = arena_alloc(l->arena, sizeof(*m));
	coracle__v1__pull__init(m);
	m->image = LEND(p->image);
	m->step = LEND(p->step);
	m->layers = arena_array(l->arena, Coracle__V1__Layer *, p->n_layers);
	for (size_t i = 0; i < p->n_layers; i++) {
		Coracle__V1__Layer *layer = arena_alloc(l->arena, sizeof(*layer));

		coracle__v1__layer__init(layer);
		layer->digest = LEND(p->layers[i].digest);
		layer->state = LEND(p->layers[i].state);
		layer->size = p->layers[i].size;
		layer->received = p->layers[i].received;
		m->layers[m->n_layers++] = layer;
	}
	l->m->pulls[l->m->n_pulls++] = m;
}

static void
watcher_free(struct watcher *w)
{
	timer_stop(&w->timer);
	free(w->image);
	free(w);
}

static void
on_progress_due(struct loop_timer *t)
{
	struct watcher *w = container_of(t, struct watcher, timer);
	Coracle__V1__PullProgressResponse m = CORACLE__V1__PULL_PROGRESS_RESPONSE__INIT;
	struct arena a;
	struct pull_list l = {&a, w->image, &m};
	size_t n = 0;

	arena_init(&a);
	pull_foreach(images_puller, count_pull, &n);
	m.pulls = arena_array(&a, Coracle__V1__Pull *, n);
	pull_foreach(images_puller, add_pull, &l);
	grpc_send(w->call, &m.base);
	n = m.n_pulls;
	arena_release(&a);
	if (n == 0) {
		grpc_finish(w->call);
		watcher_free(w);
	} else {
		timer_start(t, PROGRESS_MS, on_progress_due);
	}
}

static void
on_watcher_gone(struct grpc_call *call)
{
	struct watcher *w = call->owner;
	struct err err;

	err_set(&err, ERR_CANCELLED, "client went away");
	grpc_fail(call, &err);
	watcher_free(w);
}

static void
pull_progress(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Coracle__V1__PullProgressRequest *r = (const void *)request;
	struct watcher *w = xcalloc(1, sizeof(*w));

	w->call = call;
	w->image = xstrdup(r->image);
	call->owner = w;
	call->on_gone = on_watcher_gone;
	timer_start(&w->timer, 0, on_progress_due);
}

void
control_register(struct grpc_server *server)
{
	static const struct grpc_method list = {"ListOperations",
	    &coracle__v1__list_operations_request__descriptor, list_operations, GRPC_EARLY};
	static const struct grpc_method level = {
	    "SetLogLevel", &coracle__v1__set_log_level_request__descriptor, set_log_level, GRPC_EARLY};
	static const struct grpc_method reload_m = {
	    "Reload", &coracle__v1__reload_request__descriptor, reload_method, 0};
	static const struct grpc_method info_m = {
	    "Info", &coracle__v1__info_request__descriptor, info, 0};
	static const struct grpc_method progress = {"PullProgress",
	    &coracle__v1__pull_progress_request__descriptor, pull_progress, GRPC_STREAM};
	static const struct grpc_method *const methods[] = {
	    &list, &level, &reload_m, &info_m, &progress, &control_import_images,
	    &control_export_images};

	grpc_server_add(server, "coracle.v1.Control", methods, ARRAY_SIZE(methods));
}
