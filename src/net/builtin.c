/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in network: a bridge, addresses from a subnet, masquerading, host ports. This half
 * lives in the daemon and decides: who gets which address, which links there are to be. The other
 * half, bridge_jobs.c, does it in the agent.
 *
 * The bridge is set up by the first job after the start and again whenever something is found to be
 * missing; until then the network is not ready. A pod's link is named after the pod, so that what
 * is left over is a set difference.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/log.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "loop/loop.h"
#include "net/internal.h"
#include "net/rtnl.h"

enum {
	MTU_DEFAULT = 1500,
	RETRY_MS = 5000,
	VERIFY_MS = 30000, /* somebody may have flushed the rules */
	LINK_ID_LEN = 12,
	CANDIDATES = 32
};

static void submit_setup(struct net *net);

/* A link is "cor" and the first digits of the pod's id: 15 characters is all that a name has. */
static int
link_name(const char *pod_id, char out[static IFNAMSIZ], struct err *err)
{
	size_t i = 0;

	while (i < LINK_ID_LEN && isalnum((unsigned char)pod_id[i]))
		i++;
	if (i < LINK_ID_LEN)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "pod id '%.64s' makes no link name", pod_id);
	snprintf(out, IFNAMSIZ, "cor%.12s", pod_id);
	return 0;
}

/* Made from the address, so that an address that comes to another pod keeps its hardware address
 * and nobody's neighbour table is wrong. */
static json_t *
mac_of(const struct ipaddr *a)
{
	size_t len = ipaddr_len(a);
	uint8_t mac[MAC_SIZE] = {0x0a, 0x58};
	char text[2 * MAC_SIZE + 1];

	memcpy(mac + 2, a->b + len - 4, 4);
	hex_encode(mac, MAC_SIZE, text);
	return json_string(text);
}

int
builtin_bridge_name(const struct net_config *config, char out[static IFNAMSIZ], struct err *err)
{
	const char *instance = str_empty(config->instance) ? "coracle" : config->instance;
	size_t n;

	if (str_empty(config->bridge))
		n = (size_t)snprintf(out, IFNAMSIZ, "%.*s0", IFNAMSIZ - 2, instance);
	else
		n = (size_t)snprintf(out, IFNAMSIZ, "%s", config->bridge);
	for (const char *p = out; *p != '\0'; p++)
		if (!isalnum((unsigned char)*p) && strchr("-_.", *p) == NULL)
			n = IFNAMSIZ;
	if (n >= IFNAMSIZ || out[0] == '.' || out[0] == '-')
		return err_set(err, ERR_INVALID_ARGUMENT, "no name for a bridge: '%.64s'",
		    str_empty(config->bridge) ? instance : config->bridge);
	return 0;
}

/* ---- setting up ----------------------------------------------------------------------------- */

static void
on_again(struct loop_timer *t)
{
	submit_setup(container_of(t, struct net, again));
}

static void
on_setup(struct agent_job *job)
{
	struct net *net = container_of(job, struct net, setup_job);

	net->setup_queued = false;
	if (job->err.code == ERR_NONE) {
		if (net->setup_state != SETUP_DONE)
			log_info("network: bridge %s is ready", net->bridge);
		net->setup_state = SETUP_DONE;
	} else {
		if (strcmp(net->setup_err.msg, job->err.msg) != 0 ||
		    net->setup_state != SETUP_FAILED)
			log_warn("network: bridge %s: %s", net->bridge, job->err.msg);
		net->setup_state = SETUP_FAILED;
		net->setup_err = job->err;
	}
	timer_start(&net->again, net->setup_state == SETUP_DONE ? VERIFY_MS : RETRY_MS, on_again);
}

static void
submit_setup(struct net *net)
{
	cleanup_free char *rules = NULL;
	json_t *addrs = json_array();
	const struct ipaddr *first = NULL;
	char text[IPNET_SIZE];

	if (net->setup_queued) {
		json_decref(addrs);
		return;
	}
	for (size_t i = 0; i < 2; i++) {
		struct ipnet gw = {
		    .addr = net->pools[i].gateway, .prefix = net->pools[i].net.prefix};

		if (gw.addr.family == 0)
			continue;
		first = first != NULL ? first : &net->pools[i].gateway;
		json_array_append_new(addrs, json_string(ipnet_format(&gw, text)));
	}
	rules = net_rules_text(net);
	net->setup_queued = true;
	agent_submit_take(net->agent, &net->setup_job,
	    json_pack("{s:s,s:s,s:i,s:o,s:o,s:s}", "job", "bridge-setup", "bridge", net->bridge,
	        "mtu", net->mtu, "mac", mac_of(first), "addrs", addrs, "nft", rules),
	    on_setup);
}

struct probe {
	struct ipnet net;
	int bridge;
	bool taken, ours;
};

static bool
probe_addr(const struct rtnl_addr *a, void *arg)
{
	struct probe *p = arg;

	if (a->index == p->bridge)
		p->ours |= ipnet_overlaps(&p->net, &a->net);
	else
		p->taken |= ipnet_overlaps(&p->net, &a->net);
	return true;
}

static bool
probe_route(const struct rtnl_route *r, void *arg)
{
	struct probe *p = arg;

	if (r->index != p->bridge && r->dst.prefix > 0)
		p->taken |= ipnet_overlaps(&p->net, &r->dst);
	return true;
}

/* The subnet when none is configured: the one our bridge has, else the first of some that nothing
 * on this host overlaps. The instance decides where the search starts, so that several agree. */
static int
choose_subnet(const struct net *net, struct ipnet *ret, struct err *err)
{
	struct rtnl_link l = {0};
	unsigned hash = 0;
	bool chosen = false;
	struct nl nl;
	int n;

	for (const char *p = net->instance; strcmp(net->instance, "coracle") != 0 && *p != '\0';
	     p++)
		hash = hash * 31 + (unsigned char)*p;
	if (nl_open(&nl, NETLINK_ROUTE, -1, err) < 0)
		return -1;
	n = rtnl_link_get(&nl, net->bridge, &l, err);
	for (unsigned i = 0; n >= 0 && i < CANDIDATES; i++) {
		struct probe p = {
		    .bridge = n > 0 ? l.index : -1,
		    .net = {.addr = {.family = AF_INET}, .prefix = 16}
                };

		p.net.addr.b[0] = 10;
		p.net.addr.b[1] = (uint8_t)(88 + (hash + i) % 128);
		if (rtnl_addrs(&nl, AF_INET, probe_addr, &p, err) < 0 ||
		    rtnl_routes(&nl, AF_INET, probe_route, &p, err) < 0) {
			n = -1;
		} else if (p.ours || (!p.taken && !chosen)) {
			*ret = p.net;
			chosen = true;
			if (p.ours)
				break;
		}
	}
	nl_close(&nl);
	if (n >= 0 && !chosen)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
		    "every subnet that could be the pods' overlaps one of this host's: configure "
		    "network.subnet");
	return n < 0 ? -1 : 0;
}

static int
parse_subnet(const char *text, int family, struct ipnet *ret, struct err *err)
{
	if (!ipnet_parse(text, ret) || ret->addr.family != family)
		return err_set(err, ERR_INVALID_ARGUMENT, "'%.64s' is no IPv%d subnet", text,
		    family == AF_INET ? 4 : 6);
	return 0;
}

int
builtin_open(struct net *net, const struct net_config *config, struct err *err)
{
	struct ipnet nets[2];
	size_t n = 0;

	if (builtin_bridge_name(config, net->bridge, err) < 0)
		return -1;
	net->mtu = config->mtu > 0 ? config->mtu : MTU_DEFAULT;
	if (net->mtu < 68 || net->mtu > 65535)
		return err_set(err, ERR_INVALID_ARGUMENT, "no MTU: %d", net->mtu);
	if (config->subnet4 == NULL) {
		if (choose_subnet(net, &nets[n++], err) < 0)
			return -1;
	} else if (!str_empty(config->subnet4) &&
	           parse_subnet(config->subnet4, AF_INET, &nets[n++], err) < 0) {
		return -1;
	}
	if (!str_empty(config->subnet6) &&
	    parse_subnet(config->subnet6, AF_INET6, &nets[n++], err) < 0)
		return -1;
	if (n == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "the built-in network has no subnet");
	return builtin_set_subnets(net, nets, n, err);
}

void
builtin_close(struct net *net)
{
	timer_stop(&net->again);
	for (size_t i = 0; i < 2; i++)
		ipam_release(&net->pools[i]);
}

/* Addresses that pods hold stay theirs in a subnet that contains them. */
int
builtin_set_subnets(struct net *net, const struct ipnet *nets, size_t n, struct err *err)
{
	struct ipam pools[2] = {0};
	const struct lease *l;

	for (size_t i = 0; i < n; i++) {
		struct ipam *p = &pools[nets[i].addr.family == AF_INET6];

		if (p->net.addr.family == 0 && ipam_init(p, &nets[i], err) == 0)
			continue;
		if (p->net.addr.family != 0)
			err_set(err, ERR_INVALID_ARGUMENT, "two subnets of one family");
		ipam_release(&pools[0]);
		ipam_release(&pools[1]);
		return -1;
	}
	for (size_t i = 0; i < 2; i++) {
		ipam_release(&net->pools[i]);
		net->pools[i] = pools[i];
	}
	TAILQ_FOREACH (l, &net->leases.list, entry)
		for (size_t i = 0; i < l->n_ips; i++)
			ipam_take(&net->pools[l->ips[i].family == AF_INET6], &l->ips[i]);
	net->setup_state = SETUP_RUNNING;
	submit_setup(net);
	return 0;
}

bool
builtin_ready(struct net *net, char *msg, size_t n)
{
	if (net->setup_state == SETUP_DONE)
		return true;
	if (net->setup_state == SETUP_RUNNING)
		snprintf(msg, n, "bridge %s is being set up", net->bridge);
	else
		snprintf(msg, n, "bridge %s: %s", net->bridge, net->setup_err.msg);
	return false;
}

void
builtin_info(struct net *net, json_t *out)
{
	json_t *nets = json_array();
	char text[IPNET_SIZE];

	for (size_t i = 0; i < 2; i++)
		if (net->pools[i].net.addr.family != 0)
			json_array_append_new(nets,
			    json_pack("{s:s,s:I}", "subnet", ipnet_format(&net->pools[i].net, text),
			        "inUse", (json_int_t)net->pools[i].n_taken));
	json_object_set_new(out, "bridge", json_string(net->bridge));
	json_object_set_new(out, "table", json_string(net->table));
	json_object_set_new(out, "subnets", nets);
}

/* ---- pods ----------------------------------------------------------------------------------- */

void
builtin_drop_lease(struct net *net, struct lease *lease)
{
	for (size_t i = 0; i < lease->n_ips; i++)
		ipam_put(&net->pools[lease->ips[i].family == AF_INET6], &lease->ips[i]);
	lease_drop(&net->leases, lease);
}

int
builtin_reserve(struct net *net, struct lease *lease, struct err *err)
{
	char text[IPADDR_SIZE];

	for (size_t i = 0; i < lease->n_ips; i++) {
		const struct ipaddr *a = &lease->ips[i];
		struct ipam *p = &net->pools[a->family == AF_INET6];
		const struct lease *other;

		if (ipam_take(p, a))
			continue;
		/* Outside of the subnet: of one that was configured before. */
		lease->n_ips = i;
		other = lease_of_ip(&net->leases, a);
		lease->n_ips = i + 1;
		if (other == NULL)
			continue;
		ipaddr_format(a, text);
		for (size_t k = i; k < lease->n_ips; k++)
			lease->ips[k] = (struct ipaddr){0};
		lease->n_ips = i;
		return err_set(
		    err, ERR_ALREADY_EXISTS, "address %s is held by pod %s", text, other->pod_name);
	}
	return 0;
}

/* One of each family. */
static int
take_addresses(struct net *net, struct lease *lease, struct err *err)
{
	for (size_t i = 0; i < 2; i++) {
		if (net->pools[i].net.addr.family == 0)
			continue;
		if (ipam_get(&net->pools[i], &lease->ips[lease->n_ips], err) == 0) {
			lease->n_ips++;
			continue;
		}
		if (lease->n_ips > 0)
			ipam_put(&net->pools[0], &lease->ips[--lease->n_ips]);
		return -1;
	}
	return 0;
}

static int
take_lease(struct net *net, const struct net_pod *pod, struct lease **ret, struct err *err)
{
	struct lease *lease = lease_find(&net->leases, pod->id);
	cleanup_free char *name =
	    xasprintf("%s/%s", STR_OR_EMPTY(pod->ns), STR_OR_EMPTY(pod->name));

	if (lease == NULL)
		lease = lease_add(&net->leases, pod->id, name);
	lease->closing = false;
	*ret = lease; /* a failure's remains are net_detach()'s */
	if (lease_set_ports(&net->leases, lease, pod->ports, pod->n_ports, err) < 0)
		return -1;
	return lease->n_ips > 0 ? 0 : take_addresses(net, lease, err);
}

static json_t *
attach_request(
    struct net *net, const struct net_pod *pod, const char *link, const struct lease *lease)
{
	json_t *addrs = json_array(), *gateways = json_array(), *request;
	char text[IPNET_SIZE];

	for (size_t i = 0; i < lease->n_ips; i++) {
		const struct ipam *p = &net->pools[lease->ips[i].family == AF_INET6];
		struct ipnet n = {.addr = lease->ips[i], .prefix = p->net.prefix};

		json_array_append_new(addrs, json_string(ipnet_format(&n, text)));
		json_array_append_new(gateways, json_string(ipaddr_format(&p->gateway, text)));
	}
	request = json_pack("{s:s,s:s,s:s,s:s,s:i,s:o,s:o,s:o}", "job", "bridge-attach", "netns",
	    pod->netns_path, "link", link, "bridge", net->bridge, "mtu", net->mtu, "mac",
	    mac_of(&lease->ips[0]), "addrs", addrs, "gateways", gateways);
	if (lease->n_ports > 0) {
		cleanup_free char *rules = net_rules_text(net);

		json_object_set_new(request, "nft", json_string(rules));
		task_add_flush(request, lease, false);
	}
	return request;
}

static char *
make_record(const struct lease *lease, const char *link)
{
	json_t *record = json_pack("{s:i,s:s,s:s,s:s,s:o,s:o}", "version", 1, "kind", "builtin",
	    "pod", lease->pod_name, "link", link, "ips", lease_ips_json(lease), "ports",
	    lease_ports_json(lease));
	char *text = json_dumps(record, JSON_COMPACT);

	json_decref(record);
	return text;
}

/* A bridge that somebody removed is no reason to fail: set it up once more, and try again. */
static void
on_attached(struct agent_job *job)
{
	struct net_task *t = container_of(job, struct net_task, job);
	struct net *net = t->net;

	if (job->err.code == ERR_NOT_FOUND && t->request != NULL) {
		submit_setup(net);
		agent_submit_take(net->agent, &t->job, take_ptr(t->request), on_attached);
		return;
	}
	if (job->err.code == ERR_NOT_FOUND && net->setup_state == SETUP_FAILED)
		job->err = net->setup_err;
	t->state = job->err.code == ERR_NONE ? TASK_ANSWERED : TASK_FAILED;
	op_resume(t->op, &job->err);
}

enum op_ret
builtin_attach(
    struct net_call *c, struct net *net, const struct net_pod *pod, struct op *op, struct err *err)
{
	struct net_task *t = task_resumed(c, TASK_ATTACH);
	char link[IFNAMSIZ];

	if (link_name(pod->id, link, err) < 0)
		return OP_FAIL;
	if (t != NULL) {
		lease_result(t->lease, &c->result);
		free(c->result.json);
		c->result.json = make_record(t->lease, link);
		task_free(c);
		return OP_NEXT;
	}
	if (net->setup_state == SETUP_FAILED) {
		err_set(
		    err, ERR_FAILED_PRECONDITION, "bridge %s: %s", net->bridge, net->setup_err.msg);
		return OP_FAIL;
	}
	if (str_empty(pod->netns_path)) {
		err_set(err, ERR_INVALID_ARGUMENT, "the pod has no network namespace");
		return OP_FAIL;
	}
	net->recovered = true;
	t = task_new(c, TASK_ATTACH, net, op);
	t->state = TASK_FAILED;
	if (take_lease(net, pod, &t->lease, err) < 0)
		return OP_FAIL;
	t->state = TASK_WAITING;
	t->request = attach_request(net, pod, link, t->lease);
	agent_submit_take(net->agent, &t->job, json_incref(t->request), on_attached);
	return OP_AGAIN;
}

enum op_ret
builtin_detach(
    struct net_call *c, struct net *net, const struct net_pod *pod, struct op *op, struct err *err)
{
	struct net_task *t = task_resumed(c, TASK_DETACH);
	struct lease *lease = lease_find(&net->leases, pod->id);
	char link[IFNAMSIZ];
	json_t *request;

	if (link_name(pod->id, link, err) < 0)
		return OP_FAIL;
	if (t != NULL) {
		task_free(c);
		if (lease != NULL)
			builtin_drop_lease(net, lease);
		return OP_NEXT;
	}
	request = json_pack("{s:s,s:s}", "job", "bridge-detach", "link", link);
	if (lease != NULL && lease->n_ports > 0) {
		cleanup_free char *rules = NULL;

		lease->closing = true;
		rules = net_rules_text(net);
		json_object_set_new(request, "nft", json_string(rules));
		task_add_flush(request, lease, true);
	}
	task_submit_take(task_new(c, TASK_DETACH, net, op), request);
	return OP_AGAIN;
}

static bool
is_live(const char *pod_id, const char *const *live, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(pod_id, live[i]) == 0)
			return true;
	return false;
}

enum op_ret
builtin_gc(struct net_call *c, struct net *net, const char *const *live, size_t n, struct op *op,
    struct err *err)
{
	cleanup_free char *rules = NULL;
	struct lease *lease, *next;
	json_t *links;

	if (task_resumed(c, TASK_GC) != NULL) {
		task_free(c);
		return OP_NEXT;
	}
	for (lease = TAILQ_FIRST(&net->leases.list); lease != NULL; lease = next) {
		next = TAILQ_NEXT(lease, entry);
		if (!is_live(lease->pod_id, live, n))
			builtin_drop_lease(net, lease);
	}
	net->recovered = true;
	links = json_array();
	for (size_t i = 0; i < n; i++) {
		char link[IFNAMSIZ];

		if (link_name(live[i], link, err) < 0) {
			json_decref(links);
			return OP_FAIL;
		}
		json_array_append_new(links, json_string(link));
	}
	rules = net_rules_text(net);
	task_submit_take(task_new(c, TASK_GC, net, op),
	    json_pack("{s:s,s:s,s:o,s:s}", "job", "bridge-gc", "bridge", net->bridge, "links",
	        links, "nft", rules));
	return OP_AGAIN;
}
