/* SPDX-License-Identifier: Apache-2.0
 *
 * One CNI configuration directory: see cni_set.h.
 */
#include "net/cni_set.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "net/cni_conf.h"
#include "net/cni_native.h"

enum {
	RETRY_MS = 5000,   /* while a plugin is not there or not ready */
	STATUS_MS = 15000, /* while it is */
	PROBE_TIMEOUT_MS = 10000
};

static void probe(struct cni_set *s);

/* ---- what the plugins say ------------------------------------------------------------------- */

/* The networks as attachments, without plugins that we are ourselves: those work. */
static json_t *
probe_list(const struct cni_set *s)
{
	json_t *list = json_array(), *network, *conf;
	size_t i, k;

	json_array_foreach (s->networks, i, network) {
		json_t *plugins = json_array(), *copy = json_copy(network);

		json_array_foreach (json_object_get(network, "plugins"), k, conf)
			if (!s->native || !cni_native_has(cni_str(conf, "type"), conf))
				json_array_append(plugins, conf);
		json_object_set_new(copy, "plugins", plugins);
		json_array_append_new(list, json_pack("{s:o}", "network", copy));
	}
	return list;
}

static enum op_ret
walk_with(struct cni_set *s, enum cni_command command, struct op *op, struct err *err)
{
	enum op_ret ret;

	if (s->walk == NULL) {
		struct cni_walk_spec spec = s->base;

		spec.command = command;
		spec.timeout_ms = MIN(spec.timeout_ms, PROBE_TIMEOUT_MS);
		spec.attachments = probe_list(s);
		s->walk = cni_walk_new(&spec);
		json_decref(spec.attachments);
	}
	ret = cni_walk_step(s->walk, op, err);
	if (ret != OP_AGAIN) {
		cni_walk_free(s->walk);
		s->walk = NULL;
	}
	return ret;
}

static enum op_ret
ask_versions(struct op *op, struct err *err)
{
	return walk_with(container_of(op, struct cni_set, probe), CNI_VERSION, op, err);
}

static enum op_ret
ask_status(struct op *op, struct err *err)
{
	return walk_with(container_of(op, struct cni_set, probe), CNI_STATUS, op, err);
}

static const struct op_step probe_steps[] = {
    {"ask plugins for their versions", ask_versions, NULL},
    {"ask plugins for their status",   ask_status,   NULL},
    {NULL,                             NULL,         NULL},
};

static void
on_again(struct loop_timer *t)
{
	probe(container_of(t, struct cni_set, again));
}

static bool
has_status(const struct cni_set *s)
{
	const json_t *network;
	size_t i;

	json_array_foreach (s->networks, i, network)
		if (cni_version_cmp(cni_str(network, "cniVersion"), "1.1.0") >= 0)
			return true;
	return false;
}

static void free_set(struct cni_set *s);

static void
on_probed(struct op *op)
{
	struct cni_set *s = container_of(op, struct cni_set, probe);

	s->probing = false;
	cni_walk_free(s->walk);
	s->walk = NULL;
	if (s->closing) {
		free_set(s);
		return;
	}
	s->probe_err = op->err;
	s->probed = true;
	if (s->probe_again) {
		s->probe_again = false;
		probe(s);
	} else if (op->err.code != ERR_NONE) {
		timer_start(&s->again, RETRY_MS, on_again);
	} else if (has_status(s)) {
		timer_start(&s->again, STATUS_MS, on_again);
	}
}

static void
probe(struct cni_set *s)
{
	timer_stop(&s->again);
	if (s->probing) {
		s->probe_again = true;
		return;
	}
	s->probing = true;
	op_start(&s->probe, "CNI", s->dir, probe_steps, on_probed);
}

/* ---- what the files say --------------------------------------------------------------------- */

static void
log_load(const struct cni_set *s)
{
	const json_t *v;
	size_t i;

	if (s->load_err.code != ERR_NONE)
		log_warn("network: %s", s->load_err.msg);
	json_array_foreach (s->faults, i, v)
		log_warn("network: %s: %s", cni_str(v, "file"), cni_str(v, "fault"));
	json_array_foreach (s->networks, i, v)
		log_info("network: %s from %s", cni_str(v, "name"), cni_str(v, "file"));
}

static void
load(struct cni_set *s)
{
	json_t *networks = NULL, *faults = NULL;

	s->load_err = (struct err){0};
	if (cni_conf_load(s->dir, &networks, &faults, &s->load_err) < 0) {
		networks = json_array();
		faults = json_array();
	}
	while (s->max_networks >= 0 && json_array_size(networks) > (size_t)s->max_networks)
		json_array_remove(networks, json_array_size(networks) - 1);
	if (json_equal(networks, s->networks) && json_equal(faults, s->faults)) {
		json_decref(networks);
		json_decref(faults);
		return;
	}
	json_decref(s->networks);
	json_decref(s->faults);
	s->networks = networks;
	s->faults = faults;
	log_load(s);
	if (json_array_size(networks) > 0)
		probe(s);
}

static void
on_change(struct cni_watch *w)
{
	load(container_of(w, struct cni_set, watch));
}

void
cni_set_refresh(struct cni_set *s)
{
	if (cni_watch_take(&s->watch))
		load(s);
}

void
cni_set_open(struct cni_set *s, const char *handler, const char *dir, int max_networks, bool native,
    const struct cni_walk_spec *base)
{
	s->handler = xstrdup(handler);
	s->dir = xstrdup(dir);
	s->max_networks = max_networks == 0 ? 1 : max_networks;
	s->native = native;
	s->base = *base;
	cni_watch_start(&s->watch, dir, on_change);
	load(s);
}

static void
free_set(struct cni_set *s)
{
	cni_walk_free(s->walk);
	json_decref(s->networks);
	json_decref(s->faults);
	free(s->handler);
	free(s->dir);
	free(s);
}

void
cni_set_close_take(struct cni_set *s)
{
	cni_watch_stop(&s->watch);
	timer_stop(&s->again);
	s->closing = true;
	if (s->probing)
		op_cancel(
		    &s->probe, ERR_CANCELLED, "the network is closed"); /* on_probed() frees */
	else
		free_set(s);
}

/* ---- readiness ------------------------------------------------------------------------------ */

int
cni_set_usable(const struct cni_set *s, struct err *err)
{
	const json_t *first = json_array_get(s->faults, 0);

	if (s->load_err.code != ERR_NONE)
		return err_set(err, ERR_FAILED_PRECONDITION, "%s", s->load_err.msg);
	if (json_array_size(s->networks) > 0)
		return 0;
	if (first == NULL)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "no CNI network configuration in %s: no *.conflist, *.conf or *.json", s->dir);
	return err_set(err, ERR_FAILED_PRECONDITION,
	    "no valid CNI network configuration in %s: %s: %s", s->dir, cni_str(first, "file"),
	    cni_str(first, "fault"));
}

int
cni_set_ready(const struct cni_set *s, struct err *err)
{
	const json_t *network = json_array_get(s->networks, 0);

	if (cni_set_usable(s, err) < 0)
		return -1;
	if (!s->probed)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s: the plugins have not answered yet", cni_str(network, "file"));
	if (s->probe_err.code == ERR_NONE)
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION, "%s: network %s: %s", cni_str(network, "file"),
	    cni_str(network, "name"), s->probe_err.msg);
}

json_t *
cni_set_info(const struct cni_set *s)
{
	json_t *networks = json_array(), *v;
	struct err err = {0};
	size_t i, k;

	json_array_foreach (s->networks, i, v) {
		json_t *types = json_array(), *conf;

		json_array_foreach (json_object_get(v, "plugins"), k, conf)
			json_array_append(types, json_object_get(conf, "type"));
		json_array_append_new(
		    networks, json_pack("{s:O,s:O,s:O,s:o}", "name", json_object_get(v, "name"),
		                  "file", json_object_get(v, "file"), "cniVersion",
		                  json_object_get(v, "cniVersion"), "plugins", types));
	}
	return json_pack("{s:s,s:s,s:o,s:O,s:s}", "handler", s->handler, "directory", s->dir,
	    "networks", networks, "faults", s->faults, "message",
	    cni_set_ready(s, &err) < 0 ? err.msg : "");
}
