/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs of the built-in network: see bridge_jobs.h.
 */
#include "net/bridge_jobs.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/macros.h"
#include "net/conntrack.h"
#include "net/netns.h"
#include "net/nft.h"
#include "net/rtnl.h"
#include "net/rules.h"
#include "net/settle.h"
#include "net/sysctl.h"

enum { UDP_PORTS_MAX = 4096 };

static const char *
text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "";
}

static int
run_nft(const json_t *request, struct err *err)
{
	const char *nft = text_of(request, "nft");

	return *nft != '\0' ? nft_run(nft, NULL, err) : 0;
}

static int
flush_udp(const json_t *request, struct err *err)
{
	const json_t *udp = json_object_get(request, "udp"), *ips = json_object_get(request, "ips");
	struct ipaddr addrs[NET_IPS_MAX];
	uint16_t ports[UDP_PORTS_MAX];
	size_t n_ports = MIN(json_array_size(udp), UDP_PORTS_MAX), n_ips = 0;

	for (size_t i = 0; i < n_ports; i++)
		ports[i] = (uint16_t)json_integer_value(json_array_get(udp, i));
	for (size_t i = 0; i < MIN(json_array_size(ips), NET_IPS_MAX); i++) {
		const char *ip = json_string_value(json_array_get(ips, i));

		if (ip != NULL && ipaddr_parse(ip, &addrs[n_ips]))
			n_ips++;
	}
	return conntrack_flush_udp(ports, n_ports, addrs, n_ips, err);
}

/* ---- the bridge ----------------------------------------------------------------------------- */

struct overlap {
	const json_t *addrs;
	int bridge;
	int other; /* link number of the first that overlaps */
	struct ipnet net;
};

static bool
find_overlap(const struct rtnl_addr *a, void *arg)
{
	struct overlap *o = arg;

	for (size_t i = 0; a->index != o->bridge && i < json_array_size(o->addrs); i++) {
		struct ipnet ours;

		if (!ipnet_parse(json_string_value(json_array_get(o->addrs, i)), &ours) ||
		    !ipnet_overlaps(&ours, &a->net))
			continue;
		o->other = a->index;
		o->net = a->net;
		return false;
	}
	return true;
}

static int
refuse_overlap(struct nl *nl, const json_t *addrs, int bridge, struct err *err)
{
	struct overlap o = {.addrs = addrs, .bridge = bridge};
	struct rtnl_link l = {0};
	char text[IPNET_SIZE];

	if (rtnl_addrs(nl, AF_UNSPEC, find_overlap, &o, err) < 0)
		return -1;
	if (o.other == 0)
		return 0;
	if (rtnl_link_get_index(nl, o.other, &l, err) < 0)
		return -1;
	return err_set(err, ERR_FAILED_PRECONDITION,
	    "the pods' subnet overlaps address %s of interface %s", ipnet_format(&o.net, text),
	    l.name);
}

static int
ensure_bridge(struct nl *nl, const json_t *request, struct rtnl_link *l, struct err *err)
{
	const char *name = text_of(request, "bridge");
	uint8_t mac[MAC_SIZE];
	int found;

	found = rtnl_link_get(nl, name, l, err);
	if (found < 0)
		return -1;
	if (found == 0) {
		if (hex_decode(text_of(request, "mac"), mac, MAC_SIZE) < 0)
			return err_set(err, ERR_INTERNAL, "bridge %s: no hardware address", name);
		if (rtnl_bridge_add(nl, name, mac,
		        (unsigned)json_integer_value(json_object_get(request, "mtu")), err) < 0)
			return -1;
		found = rtnl_link_get(nl, name, l, err);
		if (found <= 0)
			return found < 0
			           ? -1
			           : err_set(err, ERR_UNAVAILABLE, "bridge %s vanished", name);
	}
	if (strcmp(l->kind, "bridge") != 0)
		return err_set(err, ERR_FAILED_PRECONDITION, "interface %s is no bridge", name);
	return l->flags & IFF_UP ? 0 : rtnl_link_up(nl, l->index, err);
}

static int
bridge_sysctl(
    const char *bridge, const char *family, const char *key, const char *value, struct err *err)
{
	char path[128];

	snprintf(path, sizeof(path), "net/%s/conf/%s/%s", family, bridge, key);
	return sysctl_set(path, value, err);
}

static int
prepare_family(const char *bridge, int family, struct err *err)
{
	if (family == AF_INET)
		return sysctl_forward4(err) < 0 ||
		               bridge_sysctl(bridge, "ipv4", "route_localnet", "1", err) < 0
		           ? -1
		           : 0;
	/* The bridge's link-local address is what asks for neighbours: without it nothing is
	 * forwarded to pods, so it must not wait for duplicate detection. */
	return bridge_sysctl(bridge, "ipv6", "accept_dad", "0", err) < 0 ||
	               bridge_sysctl(bridge, "ipv6", "disable_ipv6", "0", err) < 0 ||
	               bridge_sysctl(bridge, "ipv6", "accept_ra", "0", err) < 0 ||
	               sysctl_forward6(err) < 0
	           ? -1
	           : 0;
}

static int
setup(struct nl *nl, const json_t *request, struct err *err)
{
	const json_t *addrs = json_object_get(request, "addrs");
	const char *bridge = text_of(request, "bridge");
	struct rtnl_link l;

	if (ensure_bridge(nl, request, &l, err) < 0 || refuse_overlap(nl, addrs, l.index, err) < 0)
		return -1;
	for (size_t i = 0; i < json_array_size(addrs); i++) {
		const char *text = json_string_value(json_array_get(addrs, i));
		struct ipnet n;

		if (text == NULL || !ipnet_parse(text, &n))
			return err_set(err, ERR_INTERNAL, "bridge %s: no address", bridge);
		if (prepare_family(bridge, n.addr.family, err) < 0)
			return -1;
		rtnl_queue_addr(nl, l.index, &n, true, true);
		if (nl_talk(nl, NULL, NULL) < 0)
			return nl_error(nl, err, "give %s the address %s", bridge, text);
	}
	return run_nft(request, err);
}

int
job_bridge_setup(json_t *request, json_t **ret_reply, struct err *err)
{
	struct nl nl;
	int ret;

	(void)ret_reply;
	if (nl_open(&nl, NETLINK_ROUTE, -1, err) < 0)
		return -1;
	ret = setup(&nl, request, err);
	nl_close(&nl);
	return ret;
}

/* ---- a pod ---------------------------------------------------------------------------------- */

/* NOT_FOUND when the bridge is missing, so that it is set up again. */
static int
add_pair(struct nl *nl, const json_t *request, int netns, struct err *err)
{
	const char *bridge = text_of(request, "bridge"), *link = text_of(request, "link");
	struct rtnl_link br;
	uint8_t mac[MAC_SIZE];
	struct rtnl_veth v = {.name = link,
	    .peer_name = "eth0",
	    .peer_netns_fd = netns,
	    .mtu = (unsigned)json_integer_value(json_object_get(request, "mtu")),
	    .up = true,
	    .hairpin = true,
	    .peer_mac = hex_decode(text_of(request, "mac"), mac, MAC_SIZE) == 0 ? mac : NULL};
	int found = rtnl_link_get(nl, bridge, &br, err);

	if (found <= 0)
		return found < 0 ? -1
		                 : err_set(err, ERR_NOT_FOUND, "there is no bridge %s", bridge);
	v.master = br.index;
	if (rtnl_veth_add(nl, &v, err) == 0)
		return 0;
	if (errno != EEXIST)
		return -1;
	/* Left from an attempt that was cut short. */
	*err = (struct err){0};
	return rtnl_link_del(nl, link, err) < 0 || rtnl_veth_add(nl, &v, err) < 0 ? -1 : 0;
}

/* Undo the host's defaults where the pod needs IPv6: an interface without it takes no address. */
static int
enable_ipv6(void *arg, struct err *err)
{
	(void)arg;
	return sysctl_set("net/ipv6/conf/eth0/disable_ipv6", "0", err);
}

static int
configure_pod(struct nl *pod, const json_t *request, int netns, struct err *err)
{
	const json_t *addrs = json_object_get(request, "addrs");
	const json_t *gateways = json_object_get(request, "gateways");
	struct rtnl_link l;
	int found = rtnl_link_get(pod, "eth0", &l, err);

	if (found <= 0)
		return found < 0 ? -1 : err_set(err, ERR_UNAVAILABLE, "the pod lost its eth0");
	rtnl_queue_up(pod, l.index);
	for (size_t i = 0; i < json_array_size(addrs); i++) {
		struct rtnl_route r = {.index = l.index};
		struct ipnet n;

		if (!ipnet_parse(json_string_value(json_array_get(addrs, i)), &n) ||
		    !ipaddr_parse(json_string_value(json_array_get(gateways, i)), &r.gw))
			return err_set(err, ERR_INTERNAL, "the pod's address is malformed");
		if (n.addr.family == AF_INET6 && netns_run(netns, enable_ipv6, NULL, err) < 0)
			return -1;
		r.dst.addr.family = n.addr.family;
		rtnl_queue_addr(pod, l.index, &n, true, false);
		rtnl_queue_route(pod, &r, false);
	}
	return nl_talk(pod, NULL, NULL) < 0 ? nl_error(pod, err, "give the pod its addresses") : 0;
}

static void
settle(struct nl *host, struct nl *pod, const json_t *request)
{
	const json_t *addrs = json_object_get(request, "addrs");
	struct ipaddr list[NET_IPS_MAX];
	size_t n = 0;
	struct ipnet net;

	for (size_t i = 0; i < MIN(json_array_size(addrs), NET_IPS_MAX); i++)
		if (ipnet_parse(json_string_value(json_array_get(addrs, i)), &net))
			list[n++] = net.addr;
	settle_links(
	    host, text_of(request, "link"), text_of(request, "bridge"), pod, "eth0", list, n);
}

int
job_bridge_attach(json_t *request, json_t **ret_reply, struct err *err)
{
	cleanup_close int netns = netns_open(text_of(request, "netns"), NULL, err);
	struct nl host, pod;
	int ret;

	(void)ret_reply;
	if (netns < 0 || nl_open(&host, NETLINK_ROUTE, -1, err) < 0)
		return -1;
	ret = add_pair(&host, request, netns, err);
	if (ret == 0)
		ret = nl_open(&pod, NETLINK_ROUTE, netns, err);
	if (ret == 0) {
		ret = configure_pod(&pod, request, netns, err);
		if (ret == 0)
			settle(&host, &pod, request);
		nl_close(&pod);
	}
	nl_close(&host);
	return ret < 0 || run_nft(request, err) < 0 ? -1 : flush_udp(request, err);
}

static int
delete_links(json_t *const *requests, size_t n, struct err *err)
{
	const char *names[AGENT_MANY_MAX];
	struct nl nl;
	int ret;

	for (size_t i = 0; i < n; i++)
		names[i] = text_of(requests[i], "link");
	if (nl_open(&nl, NETLINK_ROUTE, -1, err) < 0)
		return -1;
	ret = rtnl_links_del(&nl, names, n, err);
	nl_close(&nl);
	return ret;
}

/* Every request's rules are all rules as of then: the last ones are what counts. */
void
jobs_bridge_detach(json_t *const *requests, size_t n, struct err *errs)
{
	struct err err = {0};
	size_t last = n;

	while (last > 0 && *text_of(requests[last - 1], "nft") == '\0')
		last--;
	if ((last > 0 && run_nft(requests[last - 1], &err) < 0) ||
	    delete_links(requests, n, &err) < 0) {
		for (size_t i = 0; i < n; i++)
			errs[i] = err;
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (flush_udp(requests[i], &errs[i]) == 0)
			errs[i] = (struct err){0};
}

/* Host ports on 127.0.0.1 leave the host by the link that leads to the pod. */
static int
open_loopback(struct nl *nl, const char *pod_ip, struct err *err)
{
	struct rtnl_link l;
	struct ipaddr a;
	int index;

	if (pod_ip == NULL || !ipaddr_parse(pod_ip, &a) || a.family != AF_INET)
		return 0;
	if (rtnl_route_to(nl, &a, &index, err) < 0)
		return -1;
	if (index == 0 || rtnl_link_get_index(nl, index, &l, err) <= 0 || l.flags & IFF_LOOPBACK)
		return err->code == ERR_NONE ? 0 : -1;
	return bridge_sysctl(l.name, "ipv4", "route_localnet", "1", err);
}

int
job_nft(json_t *request, json_t **ret_reply, struct err *err)
{
	const json_t *to = json_object_get(request, "to");
	struct nl nl;
	int ret = 0;

	(void)ret_reply;
	if (run_nft(request, err) < 0 || nl_open(&nl, NETLINK_ROUTE, -1, err) < 0)
		return -1;
	for (size_t i = 0; ret == 0 && i < json_array_size(to); i++)
		ret = open_loopback(&nl, json_string_value(json_array_get(to, i)), err);
	nl_close(&nl);
	return ret < 0 ? -1 : flush_udp(request, err);
}

/* ---- what is left over ---------------------------------------------------------------------- */

struct ports {
	int bridge;
	const json_t *keep;
	json_t *found;
};

static bool
collect_port(const struct rtnl_link *l, void *arg)
{
	struct ports *p = arg;
	size_t i = 0;

	if (l->master != p->bridge || strcmp(l->kind, "veth") != 0)
		return true;
	while (i < json_array_size(p->keep) &&
	       strcmp(json_string_value(json_array_get(p->keep, i)), l->name) != 0)
		i++;
	if (i == json_array_size(p->keep))
		json_array_append_new(p->found, json_string(l->name));
	return true;
}

static int
list_ports(struct nl *nl, const char *bridge, const json_t *keep, json_t *found, struct err *err)
{
	struct ports p = {.keep = keep, .found = found};
	struct rtnl_link l;
	int ret = rtnl_link_get(nl, bridge, &l, err);

	if (ret <= 0)
		return ret;
	p.bridge = l.index;
	return rtnl_links(nl, collect_port, &p, err);
}

int
job_bridge_gc(json_t *request, json_t **ret_reply, struct err *err)
{
	json_t *gone = json_array();
	const char *names[256];
	struct nl nl;
	size_t n;
	int ret;

	*ret_reply = gone;
	if (run_nft(request, err) < 0 || nl_open(&nl, NETLINK_ROUTE, -1, err) < 0)
		return -1;
	ret = list_ports(
	    &nl, text_of(request, "bridge"), json_object_get(request, "links"), gone, err);
	for (size_t i = 0; ret == 0 && i < json_array_size(gone); i += n) {
		for (n = 0; n < ARRAY_SIZE(names) && i + n < json_array_size(gone); n++)
			names[n] = json_string_value(json_array_get(gone, i + n));
		ret = rtnl_links_del(&nl, names, n, err);
	}
	nl_close(&nl);
	return ret;
}

int
bridge_remove(const char *bridge, const char *table, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT;
	json_t *ports = json_array();
	struct nl nl;
	int ret;

	if (nl_open(&nl, NETLINK_ROUTE, -1, err) < 0) {
		json_decref(ports);
		return -1;
	}
	ret = list_ports(&nl, bridge, NULL, ports, err);
	if (ret == 0 && json_array_size(ports) > 0)
		ret = err_set(err, ERR_FAILED_PRECONDITION, "a pod is still attached: %s",
		    json_string_value(json_array_get(ports, 0)));
	if (ret == 0)
		ret = rtnl_link_del(&nl, bridge, err);
	nl_close(&nl);
	json_decref(ports);
	rules_remove(table, &text);
	return ret < 0 ? -1 : nft_run(text.data, NULL, err);
}
