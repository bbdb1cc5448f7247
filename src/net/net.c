/* SPDX-License-Identifier: Apache-2.0
 *
 * Pod networking: the entry points of net.h, which hand over to the mode's own file.
 */
#include "net/net.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/xalloc.h"
#include "net/bridge_jobs.h"
#include "net/cni.h"
#include "net/cni_conf.h"
#include "net/cni_native.h"
#include "net/internal.h"
#include "net/rules.h"

static const struct agent_method methods[] = {
    {"bridge-setup",  job_bridge_setup,  NULL              },
    {"bridge-attach", job_bridge_attach, NULL              },
    {"bridge-detach", NULL,              jobs_bridge_detach},
    {"bridge-gc",     job_bridge_gc,     NULL              },
    {"cni",           job_cni_native,    NULL              },
    {"nft",           job_nft,           NULL              },
    {NULL,            NULL,              NULL              },
};

/* As containerd does: no privilege is needed for low ports or for ping inside a pod. */
const struct net_kv net_default_sysctls[] = {
    {"net.ipv4.ip_unprivileged_port_start", "0"           },
    {"net.ipv4.ping_group_range",           "0 2147483647"},
    {NULL,                                  NULL          },
};

static int
check_instance(const char *instance, struct err *err)
{
	size_t n = strlen(instance);

	for (const char *p = instance; *p != '\0'; p++)
		if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_')
			n = 0;
	if (n == 0 || n > 32 || !isalnum((unsigned char)instance[0]))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "instance '%.64s': up to 32 letters, digits, '-' and '_'", instance);
	return 0;
}

static int
start(struct net *net, const struct net_config *config, struct err *err)
{
	cleanup_free char *lock = NULL;

	if (check_instance(net->instance, err) < 0)
		return -1;
	if (str_empty(net->state_dir) || net->state_dir[0] != '/')
		return err_set(err, ERR_INVALID_ARGUMENT, "network: no absolute state directory");
	rules_table_name(net->instance, net->table, sizeof(net->table));
	lock = xasprintf("%s/net.lock", net->state_dir);
	net->agent = agent_new(methods, lock, NET_JOB_TIMEOUT_MS, err);
	if (net->agent == NULL)
		return -1;
	if (cni_open(net, config, err) < 0)
		return -1;
	return net->mode == NET_BUILTIN ? builtin_open(net, config, err) : 0;
}

struct net *
net_open(const struct net_config *config, struct err *err)
{
	struct net *net = xcalloc(1, sizeof(*net));

	net->mode = config->mode;
	net->instance = xstrdup(str_empty(config->instance) ? "coracle" : config->instance);
	net->state_dir = xstrdup(config->state_dir);
	leases_init(&net->leases);
	if (start(net, config, err) < 0) {
		err_wrap(err, "network");
		net_close(net);
		return NULL;
	}
	return net;
}

void
net_close(struct net *net)
{
	if (net == NULL)
		return;
	builtin_close(net);
	cni_close(net->cni);
	agent_free(net->agent);
	leases_release(&net->leases);
	free(net->instance);
	free(net->state_dir);
	free(net);
}

void
net_call_release(struct net_call *c)
{
	task_free(c);
	free(c->result.json);
	c->result = (struct net_result){0};
}

enum op_ret
net_attach(
    struct net_call *c, struct net *net, const struct net_pod *pod, struct op *op, struct err *err)
{
	return net->mode == NET_BUILTIN ? builtin_attach(c, net, pod, op, err)
	                                : cni_attach(c, net, pod, op, err);
}

/* The record's kind; without one, the present mode. */
static enum net_mode
mode_of(const struct net *net, const char *json)
{
	json_t *record = json != NULL ? json_loads(json, 0, NULL) : NULL;
	const char *kind = cni_str(record, "kind");
	enum net_mode mode = net->mode;

	if (strcmp(kind, "cni") == 0)
		mode = NET_CNI;
	else if (strcmp(kind, "builtin") == 0)
		mode = NET_BUILTIN;
	json_decref(record);
	return mode;
}

enum op_ret
net_detach(struct net_call *c, struct net *net, const struct net_pod *pod, const char *json,
    struct op *op, struct err *err)
{
	return mode_of(net, json) == NET_BUILTIN ? builtin_detach(c, net, pod, op, err)
	                                         : cni_detach(c, net, pod, json, op, err);
}

enum op_ret
net_check(struct net_call *c, struct net *net, const struct net_pod *pod, const char *json,
    struct op *op, struct err *err)
{
	return mode_of(net, json) == NET_BUILTIN ? OP_NEXT : cni_check(c, net, pod, json, op, err);
}

enum op_ret
net_gc(struct net_call *c, struct net *net, const char *const *live_pod_ids, size_t n,
    struct op *op, struct err *err)
{
	return net->mode == NET_BUILTIN ? builtin_gc(c, net, live_pod_ids, n, op, err)
	                                : cni_gc(c, net, live_pod_ids, n, op, err);
}

static int
restore(struct net *net, const char *pod_id, const json_t *record, struct net_result *ret_result,
    struct err *err)
{
	struct lease *lease;

	if (json_integer_value(json_object_get(record, "version")) != 1)
		return err_set(err, ERR_INVALID_ARGUMENT, "network record: not of version 1");
	if (lease_find(&net->leases, pod_id) != NULL)
		return err_set(err, ERR_ALREADY_EXISTS, "pod %s has a network already", pod_id);
	lease = lease_add(&net->leases, pod_id, json_string_value(json_object_get(record, "pod")));
	if (lease_restore(&net->leases, lease, json_object_get(record, "ips"),
	        json_object_get(record, "ports"), err) < 0) {
		lease_drop(&net->leases, lease);
		return -1;
	}
	lease->plugin_ports = cni_maps_ports(record);
	if (net->mode == NET_BUILTIN && builtin_reserve(net, lease, err) < 0) {
		builtin_drop_lease(net, lease);
		return -1;
	}
	if (ret_result != NULL)
		lease_result(lease, ret_result);
	return 0;
}

int
net_reserve(struct net *net, const char *pod_id, const char *json, struct net_result *ret_result,
    struct err *err)
{
	json_error_t why;
	json_t *record = json_loads(json, JSON_REJECT_DUPLICATES, &why);
	int ret;

	if (record == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "network record: %s", why.text);
	ret = restore(net, pod_id, record, ret_result, err);
	json_decref(record);
	return ret;
}

bool
net_ready(struct net *net, const char **ret_reason, char *msg, size_t n)
{
	bool ready =
	    net->mode == NET_BUILTIN ? builtin_ready(net, msg, n) : cni_ready(net->cni, msg, n);

	if (!ready)
		*ret_reason = "NetworkPluginNotReady";
	return ready;
}

/* One range set for each subnet: an address from each. */
static json_t *
ip_ranges(const struct ipnet *nets, size_t n)
{
	json_t *sets = json_array();
	char text[IPNET_SIZE];

	for (size_t i = 0; i < n; i++)
		json_array_append_new(
		    sets, json_pack("[{s:s}]", "subnet", ipnet_format(&nets[i], text)));
	return sets;
}

int
net_set_pod_cidr(struct net *net, const char *cidr, struct err *err)
{
	cleanup_free char *copy = xstrdup(cidr);
	struct ipnet nets[2];
	size_t n = 0, same = 0;
	char *rest = copy;

	for (char *one = strsep(&rest, ","); one != NULL; one = strsep(&rest, ",")) {
		if (n == 2 || !ipnet_parse(one, &nets[n]) ||
		    (n == 1 && nets[0].addr.family == nets[1].addr.family))
			return err_set(err, ERR_INVALID_ARGUMENT, "no pod CIDR: '%.128s'", cidr);
		n++;
	}
	if (net->mode != NET_BUILTIN) {
		cni_set_ip_ranges(net->cni, ip_ranges(nets, n));
		return 0;
	}
	for (size_t i = 0; i < 2; i++) {
		const struct ipam *p = &net->pools[i];

		for (size_t k = 0; k < n; k++)
			same += p->net.addr.family == nets[k].addr.family &&
			        p->net.prefix == nets[k].prefix &&
			        ipnet_contains(&p->net, &nets[k].addr);
		same += p->net.addr.family == 0 && n == 1;
	}
	return same == 2 ? 0 : builtin_set_subnets(net, nets, n, err);
}

void
net_info(struct net *net, struct buf *ret_json)
{
	const char *reason = "";
	char msg[512] = "", *text;
	bool ready = net_ready(net, &reason, msg, sizeof(msg));
	json_t *info = json_pack("{s:s,s:b,s:s}", "mode",
	    net->mode == NET_BUILTIN ? "builtin" : "cni", "ready", ready, "message", msg);

	if (net->mode == NET_BUILTIN)
		builtin_info(net, info);
	else
		cni_info(net->cni, info);
	text = json_dumps(info, JSON_COMPACT);
	buf_addstr(ret_json, text);
	free(text);
	json_decref(info);
}

int
net_remove_all(const struct net_config *config, struct err *err)
{
	char bridge[IFNAMSIZ], table[NET_TABLE_SIZE];

	if (builtin_bridge_name(config, bridge, err) < 0)
		return -1;
	rules_table_name(
	    str_empty(config->instance) ? "coracle" : config->instance, table, sizeof(table));
	return bridge_remove(bridge, table, err);
}
