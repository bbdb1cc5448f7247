/* SPDX-License-Identifier: Apache-2.0
 *
 * Lost pods whose DEL failed when they were collected: tried again and again in the background,
 * with growing pauses, until it succeeds. Their notes stay on disk until then, for the next start.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "net/cni_internal.h"

enum { PAUSE_MS = 1000, PAUSE_MAX_MS = 300000 };

struct cni_sweep {
	struct op op;
	struct cni *cni;
	json_t *ids;
	size_t at;
	json_t *record;
	struct cni_walk *walk;
	struct loop_timer timer;
	int64_t pause_ms;
	bool running, closing;
};

static void
free_sweep(struct cni_sweep *s)
{
	cni_walk_free(s->walk);
	json_decref(s->record);
	json_decref(s->ids);
	free(s);
}

static bool
begin_pod(struct cni_sweep *s, const char *id)
{
	struct net_pod pod = {.id = id};

	json_decref(s->record);
	s->record = cni_intent_read(s->cni, id);
	if (s->record != NULL)
		s->walk = cni_pod_walk(s->cni, CNI_DEL, &pod, s->record);
	return s->record != NULL;
}

static void
end_pod(struct cni_sweep *s, const char *id, enum op_ret ret, struct err *err)
{
	cleanup_free char *path = cni_intent_path(s->cni, id);

	cni_walk_free(take_ptr(s->walk));
	if (ret == OP_FAIL) {
		log_warn("network: leftovers of %.13s: %s", id, err->msg);
		*err = (struct err){0};
		s->at++;
		return;
	}
	log_info("network: leftovers of %.13s are gone", id);
	unlink(path);
	json_array_remove(s->ids, s->at);
}

static enum op_ret
delete_all(struct op *op, struct err *err)
{
	struct cni_sweep *s = container_of(op, struct cni_sweep, op);
	const char *id;

	while ((id = json_string_value(json_array_get(s->ids, s->at))) != NULL) {
		enum op_ret ret = OP_NEXT;

		if (s->walk != NULL || begin_pod(s, id))
			ret = cni_walk_step(s->walk, op, err);
		if (ret == OP_AGAIN)
			return ret;
		end_pod(s, id, ret, err);
	}
	return OP_NEXT;
}

static const struct op_step steps[] = {
    {"delete leftovers", delete_all, NULL},
    {NULL,               NULL,       NULL}
};

static void on_timer(struct loop_timer *t);

static void
on_done(struct op *op)
{
	struct cni_sweep *s = container_of(op, struct cni_sweep, op);

	s->running = false;
	if (s->closing)
		free_sweep(s);
	else if (json_array_size(s->ids) > 0)
		timer_start(&s->timer, s->pause_ms, on_timer);
}

static void
on_timer(struct loop_timer *t)
{
	struct cni_sweep *s = container_of(t, struct cni_sweep, timer);

	s->pause_ms = MIN(2 * s->pause_ms, PAUSE_MAX_MS);
	s->running = true;
	s->at = 0;
	op_start(&s->op, "CNI", "leftovers", steps, on_done);
}

void
cni_sweep_add(struct cni *cni, const char *pod_id)
{
	struct cni_sweep *s = cni->sweep;

	if (s == NULL) {
		s = cni->sweep = xcalloc(1, sizeof(*s));
		s->cni = cni;
		s->ids = json_array();
	}
	json_array_append_new(s->ids, json_string(pod_id));
	s->pause_ms = PAUSE_MS;
	if (!s->running)
		timer_start(&s->timer, s->pause_ms, on_timer);
}

void
cni_sweep_close_take(struct cni_sweep *s)
{
	if (s == NULL)
		return;
	timer_stop(&s->timer);
	s->closing = true;
	if (s->running)
		op_cancel(&s->op, ERR_CANCELLED, "the network is closed"); /* on_done() frees */
	else
		free_sweep(s);
}
