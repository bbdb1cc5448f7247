/* SPDX-License-Identifier: Apache-2.0
 *
 * Pods on CNI networks: see cni.h. An attach writes a file about what it is going to do, named
 * after the pod, before the first plugin runs; it stays until the last DEL has succeeded. So
 * whatever happens in between, it is known which networks a pod may be on, and which pods are ours
 * where another runtime uses the same networks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "net/cni_caps.h"
#include "net/cni_conf.h"
#include "net/cni_internal.h"
#include "net/cni_result.h"

enum { PLUGIN_TIMEOUT_MS = 60000, NETWORKS_MAX = 64 };

/* ---- opening -------------------------------------------------------------------------------- */

static int
copy_dir(const char *dir, char **ret, struct err *err)
{
	if (dir[0] != '/' || strchr(dir, ':') != NULL)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "directory '%s' is not absolute, or has a ':'", dir);
	*ret = xstrdup(dir);
	return 0;
}

static int
copy_dirs(struct cni *cni, const struct net_config *config, struct err *err)
{
	size_t n = 0;

	for (size_t i = 0; i < NET_CNI_BIN_DIRS; i++)
		if (!str_empty(config->cni_bin_dirs[i]) &&
		    copy_dir(config->cni_bin_dirs[i], &cni->bin_dirs[n++], err) < 0)
			return -1;
	if (n == 0)
		cni->bin_dirs[n++] = xstrdup("/opt/cni/bin");
	cni->base.n_bin_dirs = n;
	return copy_dir(!str_empty(config->cni_cache_dir) ? config->cni_cache_dir : "/var/lib/cni",
	    &cni->cache_dir, err);
}

static int
open_set(struct cni *cni, const char *handler, const char *dir, int max, struct err *err)
{
	if (dir[0] != '/')
		return err_set(err, ERR_INVALID_ARGUMENT, "directory '%s' is not absolute", dir);
	cni->sets[cni->n_sets] = xcalloc(1, sizeof(struct cni_set));
	cni_set_open(cni->sets[cni->n_sets++], handler, dir, max, cni->native, &cni->base);
	return 0;
}

static int
open_sets(struct cni *cni, const struct net_config *config, struct err *err)
{
	const char *dir =
	    !str_empty(config->cni_conf_dir) ? config->cni_conf_dir : "/etc/cni/net.d";

	cni->sets = xcalloc(config->n_handlers + 1, sizeof(cni->sets[0]));
	if (open_set(cni, "", dir, config->cni_max_networks, err) < 0)
		return -1;
	for (size_t i = 0; i < config->n_handlers; i++) {
		const struct net_handler *h = &config->handlers[i];

		if (!str_empty(h->cni_conf_dir) &&
		    open_set(cni, h->handler, h->cni_conf_dir, h->cni_max_networks, err) < 0)
			return -1;
	}
	return 0;
}

/* Under NET_BUILTIN too, without sets: pods of before a change of mode are detached by plugins. */
int
cni_open(struct net *net, const struct net_config *config, struct err *err)
{
	struct cni *cni = xcalloc(1, sizeof(*cni));

	net->cni = cni;
	if (copy_dirs(cni, config, err) < 0)
		return -1;
	cni->intent_dir = xasprintf("%s/cni", net->state_dir);
	if (fd_mkdir_p(AT_FDCWD, cni->intent_dir, 0700, err) < 0)
		return -1;
	cni->base.bin_dirs = (const char *const *)cni->bin_dirs;
	cni->base.cache_dir = cni->cache_dir;
	cni->base.timeout_ms =
	    config->plugin_timeout_ms > 0 ? config->plugin_timeout_ms : PLUGIN_TIMEOUT_MS;
	cni->base.agent = net->agent;
	cni->native = config->cni_native;
	return net->mode == NET_CNI ? open_sets(cni, config, err) : 0;
}

void
cni_close(struct cni *cni)
{
	if (cni == NULL)
		return;
	cni_sweep_close_take(cni->sweep);
	for (size_t i = 0; i < cni->n_sets; i++)
		cni_set_close_take(cni->sets[i]);
	free(cni->sets);
	for (size_t i = 0; i < NET_CNI_BIN_DIRS; i++)
		free(cni->bin_dirs[i]);
	free(cni->cache_dir);
	free(cni->intent_dir);
	json_decref(cni->ip_ranges);
	free(cni);
}

static struct cni_set *
set_of(struct cni *cni, const char *handler)
{
	for (size_t i = 1; i < cni->n_sets; i++)
		if (handler != NULL && strcmp(cni->sets[i]->handler, handler) == 0)
			return cni->sets[i];
	return cni->sets[0];
}

bool
cni_ready(struct cni *cni, char *msg, size_t n)
{
	struct err err = {0};

	cni_set_refresh(cni->sets[0]);
	if (cni_set_ready(cni->sets[0], &err) == 0)
		return true;
	snprintf(msg, n, "%s", err.msg);
	return false;
}

void
cni_set_ip_ranges(struct cni *cni, json_t *ranges_take)
{
	json_decref(cni->ip_ranges);
	cni->ip_ranges = ranges_take;
}

void
cni_info(struct cni *cni, json_t *out)
{
	json_t *sets = json_array();

	for (size_t i = 0; i < cni->n_sets; i++)
		json_array_append_new(sets, cni_set_info(cni->sets[i]));
	json_object_set_new(out, "cni", sets);
	json_object_set_new(out, "native", json_boolean(cni->native));
}

/* ---- attach --------------------------------------------------------------------------------- */

static json_t *
make_record(struct cni *cni, const struct cni_set *set, const struct net_pod *pod, struct err *err)
{
	json_t *attachments, *network, *caps, *args = cni_args(pod, err);
	size_t i;

	caps = args != NULL ? cni_caps(pod, cni->ip_ranges, err) : NULL;
	if (caps == NULL) {
		json_decref(args);
		return NULL;
	}
	attachments = json_array();
	json_array_foreach (set->networks, i, network)
		if (i < NETWORKS_MAX)
			json_array_append_new(attachments,
			    json_pack("{s:O,s:o,s:O,s:b}", "network", network, "ifname",
			        json_sprintf("eth%zu", i), "caps", caps, "native", cni->native));
	json_decref(caps);
	return json_pack("{s:i,s:s,s:s,s:o,s:o,s:o}", "version", 1, "kind", "cni", "netns",
	    pod->netns_path, "pod",
	    json_sprintf("%s/%s", STR_OR_EMPTY(pod->ns), STR_OR_EMPTY(pod->name)), "args", args,
	    "attachments", attachments);
}

static int
begin_attach(
    struct net_call *c, struct net *net, const struct net_pod *pod, struct op *op, struct err *err)
{
	struct cni_set *set = set_of(net->cni, pod->handler);
	struct net_task *t;

	cni_set_refresh(set);
	if (cni_set_usable(set, err) < 0)
		return -1;
	if (!cni_name_valid(pod->id))
		return err_set(err, ERR_INVALID_ARGUMENT, "pod id '%.64s' is no name", pod->id);
	if (*cni_pod_netns(pod, NULL) == '\0')
		return err_set(err, ERR_INVALID_ARGUMENT, "%s is no network namespace",
		    STR_OR_EMPTY(pod->netns_path));
	t = task_new(c, TASK_ATTACH, net, op);
	t->state = TASK_ANSWERED; /* the walk does its own waiting */
	t->record = make_record(net->cni, set, pod, err);
	if (t->record == NULL)
		return -1;
	t->lease = lease_find(&net->leases, pod->id);
	if (t->lease == NULL)
		t->lease = lease_add(&net->leases, pod->id, cni_str(t->record, "pod"));
	t->lease->closing = false;
	t->lease->plugin_ports = cni_maps_ports(t->record);
	if (lease_set_ports(&net->leases, t->lease, pod->ports, pod->n_ports, err) < 0 ||
	    cni_intent_write(net->cni, pod->id, t->record, err) < 0)
		return -1;
	t->walk = cni_pod_walk(net->cni, CNI_ADD, pod, t->record);
	return 0;
}

static void
take_addresses(struct lease *lease, const json_t *attachments)
{
	const json_t *a;
	size_t i;

	lease->n_ips = 0;
	json_array_foreach (attachments, i, a)
		lease->n_ips += cni_result_ips(json_object_get(a, "result"), cni_str(a, "ifname"),
		    lease->ips + lease->n_ips, NET_IPS_MAX - lease->n_ips);
}

static json_t *
ports_request(struct net *net, const struct lease *lease, bool gone)
{
	cleanup_free char *rules = net_rules_text(net);
	json_t *request =
	    json_pack("{s:s,s:s,s:o}", "job", "nft", "nft", rules, "to", lease_ips_json(lease));

	task_add_flush(request, lease, gone);
	return request;
}

static void
finish_attach(struct net_call *c, struct net_task *t)
{
	json_t *record = t->record;

	json_object_set_new(record, "ips", lease_ips_json(t->lease));
	json_object_set_new(record, "ports", lease_ports_json(t->lease));
	free(c->result.json);
	c->result.json = json_dumps(record, JSON_COMPACT);
	lease_result(t->lease, &c->result);
	task_free(c);
}

enum op_ret
cni_attach(
    struct net_call *c, struct net *net, const struct net_pod *pod, struct op *op, struct err *err)
{
	struct net_task *t = task_resumed(c, TASK_ATTACH);
	enum op_ret ret;

	if (t == NULL) {
		if (begin_attach(c, net, pod, op, err) < 0)
			return OP_FAIL;
		t = c->task;
	}
	if (t->walk != NULL) {
		ret = cni_walk_step(t->walk, op, err);
		if (ret != OP_NEXT)
			return ret;
		take_addresses(t->lease, json_object_get(t->record, "attachments"));
		cni_walk_free(take_ptr(t->walk));
		if (t->lease->n_ports > 0 && !t->lease->plugin_ports) {
			net->recovered = true;
			task_submit_take(t, ports_request(net, t->lease, false));
			return OP_AGAIN;
		}
	}
	finish_attach(c, t);
	return OP_NEXT;
}

/* ---- detach, check -------------------------------------------------------------------------- */

static json_t *
find_record(const struct cni *cni, const char *pod_id, const char *json)
{
	json_t *record = json != NULL ? json_loads(json, 0, NULL) : NULL;

	if (record != NULL)
		record = cni_record_check(record);
	return record != NULL ? record : cni_intent_read(cni, pod_id);
}

/* Where ADD never came to an end, its configuration may be the reason, and one that was mended
 * since is the better one for DEL. */
static void
renew_networks(const struct cni *cni, const struct net_pod *pod, json_t *record)
{
	const struct cni_set *set =
	    cni->n_sets > 0 ? set_of((struct cni *)cni, pod->handler) : NULL;
	json_t *a, *network;
	size_t i, k;

	json_array_foreach (json_object_get(record, "attachments"), i, a) {
		const char *name = cni_str(json_object_get(a, "network"), "name");

		if (set == NULL || json_object_get(a, "result") != NULL)
			continue;
		json_array_foreach (set->networks, k, network)
			if (strcmp(cni_str(network, "name"), name) == 0)
				json_object_set(a, "network", network);
	}
}

static int
begin_detach(struct net_call *c, struct net *net, const struct net_pod *pod, const char *json,
    struct op *op, struct err *err)
{
	struct lease *lease = lease_find(&net->leases, pod->id);
	struct net_task *t;

	if (!cni_name_valid(pod->id))
		return err_set(err, ERR_INVALID_ARGUMENT, "pod id '%.64s' is no name", pod->id);
	t = task_new(c, TASK_DETACH, net, op);
	t->state = TASK_ANSWERED;
	t->record = find_record(net->cni, pod->id, json);
	if (t->record != NULL) {
		renew_networks(net->cni, pod, t->record);
		t->walk = cni_pod_walk(net->cni, CNI_DEL, pod, t->record);
	}
	if (lease == NULL || lease->n_ports == 0 || lease->plugin_ports)
		return 0;
	lease->closing = true;
	task_submit_take(t, ports_request(net, lease, true));
	return 0;
}

enum op_ret
cni_detach(struct net_call *c, struct net *net, const struct net_pod *pod, const char *json,
    struct op *op, struct err *err)
{
	struct net_task *t = task_resumed(c, TASK_DETACH);
	struct lease *lease;
	enum op_ret ret = OP_NEXT;

	if (t == NULL) {
		if (begin_detach(c, net, pod, json, op, err) < 0)
			return OP_FAIL;
		t = c->task;
		if (t->state == TASK_WAITING)
			return OP_AGAIN;
	}
	if (t->walk != NULL)
		ret = cni_walk_step(t->walk, op, err);
	if (ret == OP_AGAIN)
		return ret;
	task_free(c);
	if (ret == OP_NEXT) {
		cleanup_free char *path = cni_intent_path(net->cni, pod->id);

		if (unlink(path) < 0 && errno != ENOENT) {
			err_errno(err, "remove %s", path);
			return OP_FAIL;
		}
		lease = lease_find(&net->leases, pod->id);
		if (lease != NULL)
			lease_drop(&net->leases, lease);
	}
	return ret;
}

enum op_ret
cni_check(struct net_call *c, struct net *net, const struct net_pod *pod, const char *json,
    struct op *op, struct err *err)
{
	struct net_task *t = task_resumed(c, TASK_CHECK);
	enum op_ret ret;

	if (t == NULL) {
		t = task_new(c, TASK_CHECK, net, op);
		t->state = TASK_ANSWERED;
		t->record = find_record(net->cni, pod->id, json);
		if (t->record == NULL) {
			err_set(err, ERR_NOT_FOUND, "pod %s is on no network", pod->id);
			return OP_FAIL;
		}
		t->walk = cni_pod_walk(net->cni, CNI_CHECK, pod, t->record);
	}
	ret = cni_walk_step(t->walk, op, err);
	if (ret != OP_AGAIN)
		task_free(c);
	return ret;
}
