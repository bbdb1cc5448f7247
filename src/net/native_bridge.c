/* SPDX-License-Identifier: Apache-2.0
 *
 * The plugin "bridge": a pair of links between pod and bridge, addresses from host-local, a gateway
 * on the bridge, masquerading. Options that are not here (VLANs, spoof checks, other IPAM plugins)
 * leave the call to the real plugin.
 *
 * The host's end is named after container and interface, so that a second attempt finds what a
 * first one left.
 */
#include <errno.h>
#include <linux/if_addr.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/id.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "net/cni_conf.h"
#include "net/cni_result.h"
#include "net/hostlocal.h"
#include "net/native.h"
#include "net/native_masq.h"
#include "net/netns.h"
#include "net/rtnl.h"
#include "net/settle.h"
#include "net/sysctl.h"

enum { ADDRS_MAX = HOSTLOCAL_SETS };

struct bridge_conf {
	const char *bridge;
	bool gateway, default_gateway, force_address, masquerade, hairpin, promiscuous;
	unsigned mtu;
	uint8_t mac[MAC_SIZE];
	bool has_mac, ipam;
};

/* ---- configuration -------------------------------------------------------------------------- */

static const char *const members[] = {"bridge", "isGateway", "isDefaultGateway", "forceAddress",
    "ipMasq", "ipMasqBackend", "mtu", "hairpinMode", "promiscMode", "vlan", "macspoofchk",
    "preserveDefaultVlan", "enabledad", "ipam", NULL};

static bool
optional_bool(const json_t *conf, const char *key)
{
	const json_t *v = json_object_get(conf, key);

	return v == NULL || json_is_boolean(v);
}

static bool
bridge_knows(const json_t *conf)
{
	static const char *const bools[] = {"isGateway", "isDefaultGateway", "forceAddress",
	    "ipMasq", "hairpinMode", "promiscMode", "macspoofchk", "preserveDefaultVlan",
	    "enabledad"};
	const json_t *runtime = json_object_get(conf, "runtimeConfig");
	const json_t *bridge = json_object_get(conf, "bridge"), *mtu = json_object_get(conf, "mtu");
	const json_t *mac = json_object_get(runtime, "mac"), *ipam = json_object_get(conf, "ipam");
	uint8_t parsed[MAC_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(bools); i++)
		if (!optional_bool(conf, bools[i]))
			return false;
	return (bridge == NULL || cni_ifname_valid(cni_str(conf, "bridge"))) &&
	       (mtu == NULL || (json_is_integer(mtu) && json_integer_value(mtu) >= 0 &&
	                           json_integer_value(mtu) <= UINT16_MAX)) &&
	       json_integer_value(json_object_get(conf, "vlan")) == 0 &&
	       !json_is_true(json_object_get(conf, "macspoofchk")) &&
	       !json_is_true(json_object_get(conf, "enabledad")) &&
	       strcmp(cni_str(conf, "ipMasqBackend"), "iptables") != 0 &&
	       (mac == NULL || mac_parse(cni_str(runtime, "mac"), parsed)) &&
	       json_object_get(conf, "args") == NULL &&
	       (ipam == NULL || json_object_size(ipam) == 0 ||
	           (strcmp(cni_str(ipam, "type"), "host-local") == 0 && hostlocal_knows(conf)));
}

static bool
is_true(const json_t *conf, const char *key)
{
	return json_is_true(json_object_get(conf, key));
}

static void
load(const json_t *conf, struct bridge_conf *b)
{
	*b = (struct bridge_conf){
	    .bridge = *cni_str(conf, "bridge") != '\0' ? cni_str(conf, "bridge") : "cni0",
	    .default_gateway = is_true(conf, "isDefaultGateway"),
	    .force_address = is_true(conf, "forceAddress"),
	    .masquerade = is_true(conf, "ipMasq"),
	    .hairpin = is_true(conf, "hairpinMode"),
	    .promiscuous = is_true(conf, "promiscMode"),
	    .mtu = (unsigned)json_integer_value(json_object_get(conf, "mtu")),
	    .ipam = json_object_size(json_object_get(conf, "ipam")) > 0,
	};
	b->gateway = b->default_gateway || is_true(conf, "isGateway");
	b->has_mac = mac_parse(cni_str(json_object_get(conf, "runtimeConfig"), "mac"), b->mac);
}

static void
host_link_name(const struct native_call *c, char out[static IFNAMSIZ])
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	char text[512], digits[2 * 6 + 1];

	snprintf(text, sizeof(text), "%s:%s", c->container_id, c->ifname);
	SHA256((const unsigned char *)text, strlen(text), digest);
	hex_encode(digest, 6, digits);
	snprintf(out, IFNAMSIZ, "veth%.11s", digits);
}

/* ---- links ---------------------------------------------------------------------------------- */

static void
disown_routes(const char *link)
{
	struct err ignored = {0}; /* a kernel without IPv6 */
	char path[64];

	snprintf(path, sizeof(path), "net/ipv6/conf/%s/accept_ra", link);
	(void)sysctl_set(path, "0", &ignored);
}

static int
ensure_bridge(struct nl *nl, const struct bridge_conf *b, struct rtnl_link *ret, struct err *err)
{
	int found = rtnl_link_get(nl, b->bridge, ret, err);

	if (found == 0 && rtnl_bridge_add(nl, b->bridge, NULL, b->mtu, err) < 0) {
		if (errno != EEXIST)
			return err_wrap(err, "failed to create bridge \"%s\"", b->bridge);
		*err = (struct err){0};
	}
	if (found == 0)
		found = rtnl_link_get(nl, b->bridge, ret, err);
	if (found <= 0)
		return found < 0 ? -1 : err_set(err, ERR_UNAVAILABLE, "%s vanished", b->bridge);
	if (strcmp(ret->kind, "bridge") != 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "\"%s\" already exists but is not a bridge", b->bridge);
	disown_routes(b->bridge);
	if (b->promiscuous &&
	    rtnl_link_set_flags(nl, ret->index, IFF_PROMISC, IFF_PROMISC, err) < 0)
		return -1;
	return ret->flags & IFF_UP ? 0 : rtnl_link_up(nl, ret->index, err);
}

/* A link of that name is left from an earlier attempt, unless the pod has its interface already. */
static int
replace_pair(struct nl *host, struct nl *pod, const struct rtnl_veth *v, struct err *err)
{
	struct rtnl_link l;
	int found = rtnl_link_get(pod, v->peer_name, &l, err);

	if (found < 0)
		return -1;
	if (found > 0)
		return err_set(err, ERR_ALREADY_EXISTS,
		    "container veth name provided (%s) already exists", v->peer_name);
	return rtnl_link_del(host, v->name, err) < 0 || rtnl_veth_add(host, v, err) < 0 ? -1 : 0;
}

static int
add_pair(struct nl *host, struct nl *pod, const struct native_call *c, const struct bridge_conf *b,
    int bridge_index, int netns, const char *name, struct err *err)
{
	struct rtnl_veth v = {.name = name,
	    .peer_name = c->ifname,
	    .peer_netns_fd = netns,
	    .master = bridge_index,
	    .mtu = b->mtu,
	    .peer_mac = b->has_mac ? b->mac : NULL,
	    .hairpin = b->hairpin,
	    .up = true};

	if (rtnl_veth_add(host, &v, err) < 0) {
		if (errno != EEXIST)
			return -1;
		*err = (struct err){0};
		if (replace_pair(host, pod, &v, err) < 0)
			return -1;
	}
	disown_routes(name);
	return 0;
}

/* ---- addresses ------------------------------------------------------------------------------ */

struct plan {
	struct ipnet addrs[ADDRS_MAX];
	struct ipaddr gateways[ADDRS_MAX]; /* family 0: none */
	size_t n;
	json_t *result; /* ips, routes, dns; later interfaces */
};

static bool
has_default_route(const json_t *routes, int family)
{
	const json_t *r;
	struct ipnet n;
	size_t i;

	json_array_foreach (routes, i, r)
		if (json_object_get(r, "gw") != NULL && ipnet_parse(cni_str(r, "dst"), &n) &&
		    n.addr.family == family && n.prefix == 0 && ipaddr_is_zero(&n.addr))
			return true;
	return false;
}

static void
add_default_route(json_t *result, const struct ipaddr *gateway)
{
	json_t *routes = json_object_get(result, "routes");
	char text[IPADDR_SIZE];

	if (routes == NULL) {
		routes = json_array();
		json_object_set_new(result, "routes", routes);
	}
	if (has_default_route(routes, gateway->family))
		return;
	json_array_append_new(
	    routes, json_pack("{s:s,s:s}", "dst", gateway->family == AF_INET ? "0.0.0.0/0" : "::/0",
	                "gw", ipaddr_format(gateway, text)));
}

/* Gateways that IPAM did not name are the first address of the subnet. */
static int
make_plan(struct plan *p, const struct bridge_conf *b, struct err *err)
{
	bool routed[2] = {false, false};
	char text[IPADDR_SIZE];
	json_t *ip;
	size_t i;

	json_array_foreach (json_object_get(p->result, "ips"), i, ip) {
		if (p->n == ADDRS_MAX || !ipnet_parse(cni_str(ip, "address"), &p->addrs[p->n]))
			return err_set(err, ERR_INTERNAL, "IPAM returned no address");
		if (!ipaddr_parse(cni_str(ip, "gateway"), &p->gateways[p->n]) && b->gateway) {
			struct ipaddr base = ipnet_base(&p->addrs[p->n]);

			p->gateways[p->n] = ipaddr_add(&base, 1);
			json_object_set_new(
			    ip, "gateway", json_string(ipaddr_format(&p->gateways[p->n], text)));
		}
		json_object_set_new(ip, "interface", json_integer(2));
		if (b->default_gateway && !routed[p->addrs[p->n].addr.family == AF_INET6]) {
			routed[p->addrs[p->n].addr.family == AF_INET6] = true;
			add_default_route(p->result, &p->gateways[p->n]);
		}
		p->n++;
	}
	return p->n > 0 ? 0 : err_set(err, ERR_INTERNAL, "IPAM plugin returned missing IP config");
}

struct sysctls {
	const char *ifname;
	bool ipv6;
};

/* In the pod's namespace. */
static int
set_pod_sysctls(void *arg, struct err *err)
{
	const struct sysctls *s = arg;
	struct err ignored = {0};
	char path[96];

	snprintf(path, sizeof(path), "net/ipv6/conf/%s/accept_dad", s->ifname);
	(void)sysctl_set(path, "0", &ignored);
	snprintf(path, sizeof(path), "net/ipv4/conf/%s/arp_notify", s->ifname);
	(void)sysctl_set(path, "1", &ignored);
	if (!s->ipv6)
		return 0;
	(void)sysctl_set("net/ipv6/conf/lo/disable_ipv6", "0", &ignored);
	snprintf(path, sizeof(path), "net/ipv6/conf/%s/disable_ipv6", s->ifname);
	if (sysctl_set(path, "0", err) < 0)
		return -1;
	snprintf(path, sizeof(path), "net/ipv6/conf/%s/keep_addr_on_down", s->ifname);
	return sysctl_set(path, "1", err);
}

static const struct ipaddr *
first_gateway(const struct plan *p, int family)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->gateways[i].family == family)
			return &p->gateways[i];
	return NULL;
}

static int
configure_pod(struct nl *pod, const struct native_call *c, const struct plan *p, int netns,
    int index, struct err *err)
{
	struct sysctls s = {.ifname = c->ifname};
	const json_t *r;
	size_t i;

	for (size_t k = 0; k < p->n; k++)
		s.ipv6 |= p->addrs[k].addr.family == AF_INET6;
	if (netns_run(netns, set_pod_sysctls, &s, err) < 0)
		return -1;
	rtnl_queue_up(pod, index);
	for (size_t k = 0; k < p->n; k++)
		rtnl_queue_addr(pod, index, &p->addrs[k], true, false);
	if (nl_talk(pod, NULL, NULL) < 0)
		return nl_error(pod, err, "failed to add the pod's addresses");
	json_array_foreach (json_object_get(p->result, "routes"), i, r) {
		struct rtnl_route route = {.index = index};
		const struct ipaddr *gw;

		if (!ipnet_parse(cni_str(r, "dst"), &route.dst))
			continue;
		gw = first_gateway(p, route.dst.addr.family);
		if (!ipaddr_parse(cni_str(r, "gw"), &route.gw) && gw != NULL)
			route.gw = *gw;
		rtnl_queue_route(pod, &route, false);
		if (nl_talk(pod, NULL, NULL) < 0)
			return nl_error(pod, err, "failed to add route '%s'", cni_str(r, "dst"));
	}
	return 0;
}

struct present {
	int index;
	struct ipnet want;
	bool there, clash;
	struct ipnet other;
};

static bool
on_present(const struct rtnl_addr *a, void *arg)
{
	struct present *p = arg;

	if (a->index != p->index || a->net.addr.family != p->want.addr.family)
		return true;
	if (ipaddr_cmp(&a->net.addr, &p->want.addr) == 0 && a->net.prefix == p->want.prefix) {
		p->there = true;
	} else if (a->net.addr.family == AF_INET || ipnet_overlaps(&a->net, &p->want)) {
		p->clash = true;
		p->other = a->net;
	}
	return true;
}

/* IPv6 may have several addresses in subnets of their own, IPv4 one. */
static int
ensure_gateway(struct nl *nl, const struct rtnl_link *bridge, const struct bridge_conf *b,
    const struct ipnet *want, struct err *err)
{
	struct present p = {.index = bridge->index, .want = *want};
	char text[IPNET_SIZE];

	for (;;) {
		if (rtnl_addrs(nl, want->addr.family, on_present, &p, err) < 0)
			return -1;
		if (p.there)
			return 0;
		if (!p.clash)
			break;
		if (!b->force_address)
			return err_set(err, ERR_FAILED_PRECONDITION,
			    "\"%s\" already has an IP address different from %s", b->bridge,
			    ipnet_format(want, text));
		if (rtnl_addr_del(nl, bridge->index, &p.other, err) < 0)
			return -1;
		p.clash = false;
	}
	rtnl_queue_addr(nl, bridge->index, want, true, true);
	if (nl_talk(nl, NULL, NULL) < 0)
		return nl_error(nl, err, "could not add IP address %s to \"%s\"",
		    ipnet_format(want, text), b->bridge);
	/* Set to what it is, it stays when ports come and go. */
	return rtnl_link_set_mac(nl, bridge->index, bridge->mac, err);
}

static int
configure_gateway(struct nl *nl, const struct bridge_conf *b, const struct plan *p, struct err *err)
{
	struct rtnl_link bridge;

	if (rtnl_link_get(nl, b->bridge, &bridge, err) <= 0)
		return err->code != ERR_NONE
		           ? -1
		           : err_set(err, ERR_UNAVAILABLE, "%s vanished", b->bridge);
	for (size_t i = 0; i < p->n; i++) {
		struct ipnet want = {.addr = p->gateways[i], .prefix = p->addrs[i].prefix};

		if (ensure_gateway(nl, &bridge, b, &want, err) < 0)
			return err_wrap(err, "failed to set bridge addr");
		if ((want.addr.family == AF_INET ? sysctl_forward4 : sysctl_forward6)(err) < 0)
			return err_wrap(err, "failed to enable forwarding");
	}
	return 0;
}

/* ---- ADD ------------------------------------------------------------------------------------ */

static json_t *
interface(const struct rtnl_link *l, const char *sandbox)
{
	char mac[MAC_TEXT];
	json_t *o = json_pack("{s:s,s:s}", "name", l->name, "mac", mac_format(l->mac, mac));

	if (sandbox != NULL)
		json_object_set_new(o, "sandbox", json_string(sandbox));
	return o;
}

static int
report(struct nl *host, struct nl *pod, const struct native_call *c, const struct bridge_conf *b,
    const char *name, struct plan *p, struct err *err)
{
	const json_t *dns = json_object_get(c->conf, "dns");
	struct rtnl_link bridge, link, peer;
	struct ipaddr addrs[ADDRS_MAX];

	for (size_t i = 0; i < p->n; i++)
		addrs[i] = p->addrs[i].addr;
	(void)settle_links(host, name, b->bridge, pod, c->ifname, addrs, p->n);
	if (rtnl_link_get(host, b->bridge, &bridge, err) <= 0 ||
	    rtnl_link_get(host, name, &link, err) <= 0 ||
	    rtnl_link_get(pod, c->ifname, &peer, err) <= 0)
		return err->code != ERR_NONE ? -1
		                             : err_set(err, ERR_UNAVAILABLE, "a link vanished");
	json_object_set_new(p->result, "interfaces",
	    json_pack("[o,o,o]", interface(&bridge, NULL), interface(&link, NULL),
	        interface(&peer, c->netns)));
	if (json_object_size(dns) > 0)
		json_object_set(p->result, "dns", (json_t *)dns);
	return 0;
}

static int
attach(struct nl *host, struct nl *pod, const struct native_call *c, const struct bridge_conf *b,
    int netns, struct plan *p, struct err *err)
{
	struct rtnl_link bridge, peer;
	char name[IFNAMSIZ];

	host_link_name(c, name);
	if (ensure_bridge(host, b, &bridge, err) < 0 ||
	    add_pair(host, pod, c, b, bridge.index, netns, name, err) < 0)
		return -1;
	if (rtnl_link_get(pod, c->ifname, &peer, err) <= 0)
		return err->code != ERR_NONE
		           ? -1
		           : err_set(err, ERR_UNAVAILABLE, "the pod lost its %s", c->ifname);
	if (b->ipam) {
		p->result = hostlocal_add(c, err);
		if (p->result == NULL || make_plan(p, b, err) < 0 ||
		    configure_pod(pod, c, p, netns, peer.index, err) < 0 ||
		    (b->gateway && configure_gateway(host, b, p, err) < 0) ||
		    (b->masquerade && native_masq_add(cni_str(c->conf, "name"), c->ifname,
		                          c->container_id, p->addrs, p->n, err) < 0))
			return -1;
	} else {
		p->result = json_object();
		if (rtnl_link_up(pod, peer.index, err) < 0)
			return -1;
	}
	return report(host, pod, c, b, name, p, err);
}

static int
put_addresses(const struct native_call *c, struct err *err)
{
	cleanup_free struct hostlocal_conf *conf = xmalloc(sizeof(*conf));

	return hostlocal_load(c->conf, conf, err) < 0
	           ? -1
	           : hostlocal_put(conf, c->container_id, c->ifname, err);
}

static int
bridge_add(const struct native_call *c, json_t **ret_result, struct err *err)
{
	cleanup_close int netns = -1;
	struct plan plan = {0};
	struct bridge_conf b;
	struct nl host, pod;
	int ret;

	load(c->conf, &b);
	if (b.hairpin && b.promiscuous)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "cannot set hairpin mode and promiscuous mode at the same time");
	netns = netns_open(c->netns, NULL, err);
	if (netns < 0 || nl_open(&host, NETLINK_ROUTE, -1, err) < 0)
		return -1;
	ret = nl_open(&pod, NETLINK_ROUTE, netns, err);
	if (ret == 0) {
		ret = attach(&host, &pod, c, &b, netns, &plan, err);
		nl_close(&pod);
	}
	nl_close(&host);
	if (ret == 0)
		return native_export_take(c, plan.result, ret_result, err);
	if (plan.result != NULL && b.ipam) {
		struct err ignored = {0}; /* DEL comes as well */

		(void)put_addresses(c, &ignored);
	}
	json_decref(plan.result);
	return -1;
}

/* ---- DEL, CHECK ----------------------------------------------------------------------------- */

/* By the pod's end, or by ours when the namespace is gone and the kernel has not got round to it.
 */
static int
delete_pair(const struct native_call *c, struct err *err)
{
	cleanup_close int netns = -1;
	char name[IFNAMSIZ];
	bool gone = true;
	struct nl nl;
	int ret;

	host_link_name(c, name);
	if (*c->netns != '\0')
		netns = netns_open(c->netns, &gone, err);
	if (netns < 0) {
		if (!gone)
			return -1;
		*err = (struct err){0};
	}
	if (nl_open(&nl, NETLINK_ROUTE, netns, err) < 0)
		return -1;
	ret = rtnl_link_del(&nl, netns >= 0 ? c->ifname : name, err);
	nl_close(&nl);
	return ret;
}

static int
bridge_del(const struct native_call *c, struct err *err)
{
	struct bridge_conf b;

	load(c->conf, &b);
	if (delete_pair(c, err) < 0 || (b.ipam && put_addresses(c, err) < 0))
		return -1;
	return b.ipam && b.masquerade
	           ? native_masq_del(cni_str(c->conf, "name"), c->ifname, c->container_id, err)
	           : 0;
}

struct wanted {
	int index;
	const json_t *result;
	size_t found;
};

static bool
on_wanted(const struct rtnl_addr *a, void *arg)
{
	struct wanted *w = arg;
	const json_t *ip;
	struct ipnet n;
	size_t i;

	json_array_foreach (json_object_get(w->result, "ips"), i, ip)
		if (a->index == w->index && ipnet_parse(cni_str(ip, "address"), &n) &&
		    n.prefix == a->net.prefix && ipaddr_cmp(&n.addr, &a->net.addr) == 0)
			w->found++;
	return true;
}

static int
check_pod(const struct native_call *c, const json_t *result, struct err *err)
{
	cleanup_close int netns = netns_open(c->netns, NULL, err);
	size_t n = json_array_size(json_object_get(result, "ips"));
	struct wanted w = {.result = result};
	struct rtnl_link l;
	struct nl pod;
	int ret;

	if (netns < 0 || nl_open(&pod, NETLINK_ROUTE, netns, err) < 0)
		return -1;
	ret = rtnl_link_get(&pod, c->ifname, &l, err);
	if (ret == 0) {
		ret =
		    err_set(err, ERR_FAILED_PRECONDITION, "Interface name %s not found", c->ifname);
	} else if (ret > 0) {
		w.index = l.index;
		ret = rtnl_addrs(&pod, AF_UNSPEC, on_wanted, &w, err);
		if (ret == 0 && w.found < n)
			ret = err_set(err, ERR_FAILED_PRECONDITION,
			    "%s has %zu of its %zu addresses", c->ifname, w.found, n);
	}
	nl_close(&pod);
	return ret;
}

static int
check_host(const struct native_call *c, const struct bridge_conf *b, struct err *err)
{
	struct rtnl_link bridge = {0}, link = {0};
	char name[IFNAMSIZ];
	struct nl nl;
	int ret = 0;

	host_link_name(c, name);
	if (nl_open(&nl, NETLINK_ROUTE, -1, err) < 0)
		return -1;
	if (rtnl_link_get(&nl, b->bridge, &bridge, err) < 0 ||
	    rtnl_link_get(&nl, name, &link, err) < 0)
		ret = -1;
	else if (strcmp(bridge.kind, "bridge") != 0)
		ret = err_set(err, ERR_FAILED_PRECONDITION,
		    "Interface %s does not have link type of bridge", b->bridge);
	else if (link.index == 0 || link.master != bridge.index)
		ret = err_set(err, ERR_FAILED_PRECONDITION, "Interface %s is not on bridge %s",
		    name, b->bridge);
	nl_close(&nl);
	return ret;
}

static int
bridge_check(const struct native_call *c, struct err *err)
{
	cleanup_free struct hostlocal_conf *conf = xmalloc(sizeof(*conf));
	struct bridge_conf b;
	json_t *result;
	int ret;

	load(c->conf, &b);
	if ((b.ipam && (hostlocal_load(c->conf, conf, err) < 0 ||
	                   hostlocal_check(conf, c->container_id, c->ifname, err) < 0)) ||
	    native_prev_result(c, &result, err) < 0)
		return -1;
	if (result == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "Required prevResult missing");
	ret = check_host(c, &b, err) < 0 ? -1 : check_pod(c, result, err);
	json_decref(result);
	return ret;
}

const struct native_plugin native_bridge = {.type = "bridge",
    .members = members,
    .knows = bridge_knows,
    .add = bridge_add,
    .del = bridge_del,
    .check = bridge_check};
