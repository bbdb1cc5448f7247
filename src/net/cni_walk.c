/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks through plugin chains: see cni_walk.h.
 */
#include "net/cni_walk.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "net/cni_cache.h"
#include "net/cni_conf.h"
#include "net/cni_native.h"
#include "net/cni_result.h"

static const char *const command_names[] = {[CNI_ADD] = "ADD",
    [CNI_DEL] = "DEL",
    [CNI_CHECK] = "CHECK",
    [CNI_STATUS] = "STATUS",
    [CNI_VERSION] = "VERSION",
    [CNI_GC] = "GC"};

struct cni_walk {
	struct cni_walk_spec spec;
	char *container_id, *netns, *args_text;
	json_t *attachments, *args, *live;
	size_t at;    /* attachment, in order of the walk */
	size_t done;  /* plugins of it that have answered */
	json_t *prev; /* result so far, or the cached one, in the form of 1.1.0 */
	bool started; /* the present attachment */
	struct err first_err;
	struct op *op;
	struct cni_exec exec;
	struct agent_job job;
	bool exec_running;
};

/* ---- what is where -------------------------------------------------------------------------- */

static bool
backwards(const struct cni_walk *w)
{
	return w->spec.command == CNI_DEL;
}

static json_t *
attachment(const struct cni_walk *w)
{
	size_t n = json_array_size(w->attachments);

	return json_array_get(w->attachments, backwards(w) ? n - 1 - w->at : w->at);
}

static const json_t *
network_of(const json_t *a)
{
	return json_object_get(a, "network");
}

static size_t
plugin_count(const struct cni_walk *w)
{
	return json_array_size(json_object_get(network_of(attachment(w)), "plugins"));
}

static size_t
plugin_index(const struct cni_walk *w)
{
	return backwards(w) ? plugin_count(w) - 1 - w->done : w->done;
}

static const char *
plugin_type(const struct cni_walk *w)
{
	return cni_str(
	    json_array_get(json_object_get(network_of(attachment(w)), "plugins"), plugin_index(w)),
	    "type");
}

static bool
at_least(const json_t *network, const char *version)
{
	return cni_version_cmp(cni_str(network, "cniVersion"), version) >= 0;
}

/* Does the command concern this network at all? */
static bool
applies(const struct cni_walk *w, const json_t *network)
{
	switch (w->spec.command) {
	case CNI_CHECK:
		return at_least(network, "0.4.0") &&
		       !json_is_true(json_object_get(network, "disableCheck"));
	case CNI_STATUS:
		return at_least(network, "1.1.0");
	case CNI_GC:
		return at_least(network, "1.1.0") &&
		       !json_is_true(json_object_get(network, "disableGC"));
	default:
		return true;
	}
}

static struct cni_attachment
cache_key(const struct cni_walk *w)
{
	return (struct cni_attachment){.network = cni_str(network_of(attachment(w)), "name"),
	    .container_id = w->container_id,
	    .ifname = cni_str(attachment(w), "ifname")};
}

/* ---- a plugin's configuration --------------------------------------------------------------- */

json_t *
cni_plugin_conf(const json_t *network, size_t plugin, const json_t *caps, const json_t *prev_result,
    struct err *err)
{
	const json_t *orig = json_array_get(json_object_get(network, "plugins"), plugin);
	json_t *conf = json_copy((json_t *)orig), *runtime = json_object(), *v;
	const char *version = cni_str(network, "cniVersion"), *key;

	json_object_set(conf, "name", json_object_get(network, "name"));
	json_object_set_new(conf, "cniVersion", json_string(version));
	json_object_foreach (json_object_get(orig, "capabilities"), key, v)
		if (json_is_true(v) && json_object_get(caps, key) != NULL)
			json_object_set(runtime, key, json_object_get(caps, key));
	if (json_object_size(runtime) > 0)
		json_object_set(conf, "runtimeConfig", runtime);
	json_decref(runtime);
	if (prev_result == NULL)
		return conf;
	v = cni_result_export(prev_result, version, err);
	if (v == NULL) {
		json_decref(conf);
		return NULL;
	}
	json_object_set_new(conf, "prevResult", v);
	return conf;
}

static json_t *
make_conf(struct cni_walk *w, struct err *err)
{
	const json_t *network = network_of(attachment(w));
	json_t *conf;

	if (w->spec.command == CNI_VERSION)
		return json_pack("{s:O}", "cniVersion", json_object_get(network, "cniVersion"));
	/* Results reach DEL since 0.4.0. */
	conf = cni_plugin_conf(network, plugin_index(w), json_object_get(attachment(w), "caps"),
	    w->spec.command == CNI_DEL && !at_least(network, "0.4.0") ? NULL : w->prev, err);
	if (conf != NULL && w->spec.command == CNI_GC) {
		/* The second name was a mistake of the specification's that some plugins read. */
		json_object_set(conf, "cni.dev/valid-attachments", w->live);
		json_object_set(conf, "cni.dev/attachments", w->live);
	}
	return conf;
}

/* ---- answers -------------------------------------------------------------------------------- */

static int
check_versions(const struct cni_walk *w, const char *text, size_t len, struct err *err)
{
	const char *version = cni_str(network_of(attachment(w)), "cniVersion");
	json_t *o = json_loadb(text != NULL ? text : "", len, 0, NULL);
	const json_t *list = json_object_get(o, "supportedVersions");
	bool found = false;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *one = json_string_value(json_array_get(list, i));

		found |= one != NULL && strcmp(one, version) == 0;
	}
	/* A plugin of before 0.2.0 knows no VERSION. */
	found |= o == NULL && strcmp(version, "0.1.0") == 0;
	json_decref(o);
	return found ? 0
	             : err_set(err, ERR_FAILED_PRECONDITION,
	                   "plugin %s does not support CNI version %s", plugin_type(w), version);
}

static int
take_output(struct cni_walk *w, const char *text, size_t len, struct err *err)
{
	json_t *result;

	if (w->spec.command == CNI_VERSION)
		return check_versions(w, text, len, err);
	if (w->spec.command != CNI_ADD)
		return 0;
	result = cni_result_parse(text, len, err);
	if (result == NULL)
		return err_wrap(err, "plugin %s ADD", plugin_type(w));
	json_decref(w->prev);
	w->prev = result;
	return 0;
}

static void
next_attachment(struct cni_walk *w)
{
	w->at++;
	w->done = 0;
	w->started = false;
	json_decref(w->prev);
	w->prev = NULL;
}

/* The call ended. ADD and CHECK end with a failure; the others leave the network and go on. */
static void
finish_call(struct cni_walk *w, int plugin_code, const struct err *outcome)
{
	struct err err = *outcome;
	bool gone_already = w->spec.command == CNI_DEL && plugin_code == CNI_ERR_UNKNOWN_CONTAINER;

	if (err.code == ERR_NONE || gone_already) {
		w->done++;
		op_resume(w->op, NULL);
		return;
	}
	if (w->spec.command == CNI_ADD || w->spec.command == CNI_CHECK) {
		op_resume(w->op, &err);
		return;
	}
	if (w->first_err.code == ERR_NONE)
		w->first_err = err;
	next_attachment(w);
	op_resume(w->op, NULL);
}

static void
on_exec_done(struct cni_exec *e)
{
	struct cni_walk *w = container_of(e, struct cni_walk, exec);
	struct err err = e->err;

	w->exec_running = false;
	if (err.code == ERR_NONE)
		(void)take_output(w, e->out.data, e->out.len, &err);
	finish_call(w, e->plugin_code, &err);
}

static int start_exec(struct cni_walk *w, const json_t *conf, struct err *err);

/* UNIMPLEMENTED: something in its configuration is the real plugin's business. */
static void
on_native_done(struct agent_job *job)
{
	struct cni_walk *w = container_of(job, struct cni_walk, job);
	struct err err = job->err;
	cleanup_free char *text = NULL;

	if (err.code == ERR_UNIMPLEMENTED) {
		json_t *conf;

		err = (struct err){0};
		conf = make_conf(w, &err);
		if (conf != NULL && start_exec(w, conf, &err) == 0) {
			json_decref(conf);
			return;
		}
		json_decref(conf);
	} else if (err.code == ERR_NONE) {
		text = job->reply != NULL ? json_dumps(job->reply, JSON_COMPACT) : xstrdup("");
		(void)take_output(w, text, strlen(text), &err);
	}
	finish_call(w, 0, &err);
}

/* ---- calls ---------------------------------------------------------------------------------- */

static void
stop_exec(struct op *op)
{
	struct cni_walk *w = op->leaf;

	cni_exec_kill(&w->exec);
}

static struct cni_params
make_params(const struct cni_walk *w)
{
	bool of_pod = w->container_id != NULL;

	return (struct cni_params){.command = command_names[w->spec.command],
	    .container_id = w->container_id,
	    .netns = of_pod ? w->netns : NULL,
	    .ifname = of_pod ? cni_str(attachment(w), "ifname") : NULL,
	    .args = of_pod ? w->args_text : NULL,
	    .bin_dirs = w->spec.bin_dirs,
	    .n_bin_dirs = w->spec.n_bin_dirs,
	    .timeout_ms = w->spec.timeout_ms};
}

static int
start_exec(struct cni_walk *w, const json_t *conf, struct err *err)
{
	struct cni_params params = make_params(w);

	if (cni_exec_start(&w->exec, plugin_type(w), conf, &params, on_exec_done, err) < 0)
		return -1;
	w->exec_running = true;
	w->op->stop = stop_exec;
	w->op->leaf = w;
	return 0;
}

static void
start_native(struct cni_walk *w, json_t *conf)
{
	struct cni_params params = make_params(w);

	agent_submit_take(w->spec.agent, &w->job, cni_native_request(plugin_type(w), conf, &params),
	    on_native_done);
}

static int
start_call(struct cni_walk *w, struct err *err)
{
	json_t *conf = make_conf(w, err);
	int ret = 0;

	if (conf == NULL)
		return -1;
	trace(TRACE_NET, "%s %s of network %s for %.13s", plugin_type(w),
	    command_names[w->spec.command], cni_str(network_of(attachment(w)), "name"),
	    w->container_id != NULL ? w->container_id : "-");
	if (json_is_true(json_object_get(attachment(w), "native")) &&
	    cni_native_has(plugin_type(w), conf))
		start_native(w, conf);
	else
		ret = start_exec(w, conf, err);
	json_decref(conf);
	return ret;
}

static void
begin_attachment(struct cni_walk *w)
{
	const json_t *known = json_object_get(attachment(w), "result");
	struct cni_attachment key;
	struct err ignored = {0};
	json_t *cached;

	w->started = true;
	if (w->spec.command != CNI_DEL && w->spec.command != CNI_CHECK)
		return;
	if (known != NULL) {
		w->prev = json_incref((json_t *)known);
		return;
	}
	key = cache_key(w);
	cached = cni_cache_result(w->spec.cache_dir, &key);
	if (cached != NULL)
		w->prev = cni_result_import(cached, &ignored);
	json_decref(cached);
}

static int
end_attachment(struct cni_walk *w, struct err *err)
{
	const json_t *network = network_of(attachment(w));
	struct cni_attachment key = cache_key(w);
	json_t *result;
	int ret;

	if (w->spec.command == CNI_DEL)
		cni_cache_remove(w->spec.cache_dir, &key);
	if (w->spec.command != CNI_ADD)
		return 0;
	json_object_set(attachment(w), "result", w->prev);
	result = cni_result_export(w->prev, cni_str(network, "cniVersion"), err);
	if (result == NULL)
		return -1;
	ret = cni_cache_write(w->spec.cache_dir, &key, cni_str(network, "text"), w->netns, w->args,
	    json_object_get(attachment(w), "caps"), result, err);
	json_decref(result);
	return ret < 0 ? err_wrap(err, "cache the result of network %s", key.network) : 0;
}

/* A call that cannot be started is like one that fails. */
static enum op_ret
next_call(struct cni_walk *w, struct err *err)
{
	if (start_call(w, err) == 0)
		return OP_AGAIN;
	if (w->spec.command == CNI_ADD || w->spec.command == CNI_CHECK)
		return OP_FAIL;
	if (w->first_err.code == ERR_NONE)
		w->first_err = *err;
	*err = (struct err){0};
	next_attachment(w);
	return OP_NEXT;
}

enum op_ret
cni_walk_step(struct cni_walk *w, struct op *op, struct err *err)
{
	w->op = op;
	while (w->at < json_array_size(w->attachments)) {
		enum op_ret ret = OP_NEXT;

		if (!w->started)
			begin_attachment(w);
		if (applies(w, network_of(attachment(w))) && w->done < plugin_count(w)) {
			ret = next_call(w, err);
		} else {
			if (end_attachment(w, err) < 0)
				return OP_FAIL;
			next_attachment(w);
		}
		if (ret != OP_NEXT)
			return ret;
	}
	if (w->first_err.code == ERR_NONE)
		return OP_NEXT;
	*err = w->first_err;
	return OP_FAIL;
}

/* ---- life ----------------------------------------------------------------------------------- */

static char *
join_args(const json_t *args)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < json_array_size(args); i++) {
		const json_t *pair = json_array_get(args, i);

		buf_addf(&text, "%s%s=%s", i > 0 ? ";" : "",
		    json_string_value(json_array_get(pair, 0)),
		    json_string_value(json_array_get(pair, 1)));
	}
	return buf_detach(&text);
}

struct cni_walk *
cni_walk_new(const struct cni_walk_spec *spec)
{
	struct cni_walk *w = xcalloc(1, sizeof(*w));

	w->spec = *spec;
	w->container_id = xstrdup(spec->container_id);
	w->netns = xstrdup(spec->netns != NULL ? spec->netns : "");
	w->args_text = join_args(spec->args);
	w->attachments = json_incref(spec->attachments);
	w->args = json_incref((json_t *)spec->args);
	w->live = json_incref((json_t *)spec->live);
	return w;
}

void
cni_walk_free(struct cni_walk *w)
{
	if (w == NULL)
		return;
	cni_exec_release(&w->exec);
	json_decref(w->attachments);
	json_decref(w->args);
	json_decref(w->live);
	json_decref(w->prev);
	free(w->container_id);
	free(w->netns);
	free(w->args_text);
	free(w);
}

json_t *
cni_walk_attachments(const struct cni_walk *w)
{
	return w->attachments;
}
