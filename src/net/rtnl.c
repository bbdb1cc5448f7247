/* SPDX-License-Identifier: Apache-2.0
 *
 * Links, addresses, routes: see rtnl.h.
 */
#include "net/rtnl.h"

#include <ctype.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <string.h>
#include <sys/random.h>

#include "base/id.h"
#include "base/macros.h"

static void
take_kind(const struct nlattr *info, struct rtnl_link *l)
{
	const struct nlattr *a, *b;

	mnl_attr_for_each_nested (a, info) {
		if (mnl_attr_get_type(a) == IFLA_INFO_KIND)
			snprintf(l->kind, sizeof(l->kind), "%.*s", (int)mnl_attr_get_payload_len(a),
			    (const char *)mnl_attr_get_payload(a));
		if (mnl_attr_get_type(a) != IFLA_INFO_SLAVE_DATA)
			continue;
		mnl_attr_for_each_nested (b, a)
			if (mnl_attr_get_type(b) == IFLA_BRPORT_STATE)
				l->port_state = mnl_attr_get_u8(b);
	}
}

static void
parse_link(const struct nlmsghdr *h, struct rtnl_link *l)
{
	const struct ifinfomsg *i = mnl_nlmsg_get_payload(h);
	const struct nlattr *a;

	*l = (struct rtnl_link){.index = i->ifi_index, .flags = i->ifi_flags};
	mnl_attr_for_each (a, h, sizeof(*i)) {
		size_t len = mnl_attr_get_payload_len(a);

		switch (mnl_attr_get_type(a)) {
		case IFLA_IFNAME:
			snprintf(l->name, sizeof(l->name), "%s", mnl_attr_get_str(a));
			break;
		case IFLA_MASTER:
			l->master = (int)mnl_attr_get_u32(a);
			break;
		case IFLA_LINK:
			l->peer = (int)mnl_attr_get_u32(a);
			break;
		case IFLA_OPERSTATE:
			l->operstate = mnl_attr_get_u8(a);
			break;
		case IFLA_MTU:
			l->mtu = mnl_attr_get_u32(a);
			break;
		case IFLA_ADDRESS:
			l->has_mac = len == MAC_SIZE;
			if (l->has_mac)
				memcpy(l->mac, mnl_attr_get_payload(a), MAC_SIZE);
			break;
		case IFLA_LINKINFO:
			take_kind(a, l);
			break;
		}
	}
}

static int
on_one_link(const struct nlmsghdr *h, void *arg)
{
	if (h->nlmsg_type == RTM_NEWLINK)
		parse_link(h, arg);
	return MNL_CB_OK;
}

static int
get_link(struct nl *nl, const char *name, int index, struct rtnl_link *ret)
{
	struct rtnl_link l = {0};
	struct nlmsghdr *h;
	struct ifinfomsg *i;

	h = nl_message(nl, RTM_GETLINK, 0, sizeof(*i), &i);
	i->ifi_index = index;
	if (name != NULL)
		mnl_attr_put_strz(h, IFLA_IFNAME, name);
	if (nl_talk(nl, on_one_link, &l) < 0)
		return errno == ENODEV ? 0 : -1;
	*ret = l;
	return 1;
}

int
rtnl_link_get(struct nl *nl, const char *name, struct rtnl_link *ret, struct err *err)
{
	int n = get_link(nl, name, 0, ret);

	return n < 0 ? nl_error(nl, err, "look up link %s", name) : n;
}

int
rtnl_link_get_index(struct nl *nl, int index, struct rtnl_link *ret, struct err *err)
{
	int n = get_link(nl, NULL, index, ret);

	return n < 0 ? nl_error(nl, err, "look up link number %d", index) : n;
}

struct walk {
	bool (*link)(const struct rtnl_link *, void *);
	bool (*addr)(const struct rtnl_addr *, void *);
	bool (*route)(const struct rtnl_route *, void *);
	void *arg;
	bool stopped;
};

static int
on_link(const struct nlmsghdr *h, void *arg)
{
	struct walk *w = arg;
	struct rtnl_link l;

	if (h->nlmsg_type != RTM_NEWLINK || w->stopped)
		return MNL_CB_OK;
	parse_link(h, &l);
	w->stopped = !w->link(&l, w->arg);
	return MNL_CB_OK;
}

int
rtnl_links(
    struct nl *nl, bool (*each)(const struct rtnl_link *, void *), void *arg, struct err *err)
{
	struct walk w = {.link = each, .arg = arg};
	struct ifinfomsg *i;

	nl_message(nl, RTM_GETLINK, NLM_F_DUMP, sizeof(*i), &i);
	return nl_talk(nl, on_link, &w) < 0 ? nl_error(nl, err, "list links") : 0;
}

static bool
take_addr(const struct nlattr *a, int family, struct ipaddr *ret)
{
	*ret = (struct ipaddr){.family = family};
	if (mnl_attr_get_payload_len(a) != ipaddr_len(ret))
		return false;
	memcpy(ret->b, mnl_attr_get_payload(a), ipaddr_len(ret));
	return true;
}

static int
on_addr(const struct nlmsghdr *h, void *arg)
{
	const struct ifaddrmsg *i = mnl_nlmsg_get_payload(h);
	struct rtnl_addr addr = {.index = (int)i->ifa_index};
	struct walk *w = arg;
	const struct nlattr *a;
	bool local = false;

	if (h->nlmsg_type != RTM_NEWADDR || w->stopped)
		return MNL_CB_OK;
	mnl_attr_for_each (a, h, sizeof(*i)) {
		int type = mnl_attr_get_type(a);

		/* IFA_LOCAL is the address; IFA_ADDRESS is it too, or a point-to-point peer's. */
		if ((type == IFA_ADDRESS && !local) || type == IFA_LOCAL)
			take_addr(a, i->ifa_family, &addr.net.addr);
		local |= type == IFA_LOCAL;
	}
	addr.net.prefix = i->ifa_prefixlen;
	if (addr.net.addr.family != 0 && addr.net.prefix <= ipaddr_bits(&addr.net.addr))
		w->stopped = !w->addr(&addr, w->arg);
	return MNL_CB_OK;
}

int
rtnl_addrs(struct nl *nl, int family, bool (*each)(const struct rtnl_addr *, void *), void *arg,
    struct err *err)
{
	struct walk w = {.addr = each, .arg = arg};
	struct ifaddrmsg *i;

	nl_message(nl, RTM_GETADDR, NLM_F_DUMP, sizeof(*i), &i);
	i->ifa_family = (uint8_t)family;
	return nl_talk(nl, on_addr, &w) < 0 ? nl_error(nl, err, "list addresses") : 0;
}

static int
on_route(const struct nlmsghdr *h, void *arg)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(h);
	struct rtnl_route r = {
	    .dst = {.addr.family = m->rtm_family, .prefix = m->rtm_dst_len}
        };
	struct walk *w = arg;
	const struct nlattr *a;

	if (h->nlmsg_type != RTM_NEWROUTE || w->stopped || m->rtm_table != RT_TABLE_MAIN ||
	    m->rtm_type != RTN_UNICAST || (m->rtm_flags & RTM_F_CLONED) ||
	    r.dst.prefix > ipaddr_bits(&r.dst.addr))
		return MNL_CB_OK;
	r.link_scope = m->rtm_scope == RT_SCOPE_LINK;
	mnl_attr_for_each (a, h, sizeof(*m)) {
		switch (mnl_attr_get_type(a)) {
		case RTA_DST:
			take_addr(a, m->rtm_family, &r.dst.addr);
			break;
		case RTA_GATEWAY:
			take_addr(a, m->rtm_family, &r.gw);
			break;
		case RTA_OIF:
			r.index = (int)mnl_attr_get_u32(a);
			break;
		}
	}
	w->stopped = !w->route(&r, w->arg);
	return MNL_CB_OK;
}

int
rtnl_routes(struct nl *nl, int family, bool (*each)(const struct rtnl_route *, void *), void *arg,
    struct err *err)
{
	struct walk w = {.route = each, .arg = arg};
	struct rtmsg *m;

	nl_message(nl, RTM_GETROUTE, NLM_F_DUMP, sizeof(*m), &m);
	m->rtm_family = (uint8_t)family;
	return nl_talk(nl, on_route, &w) < 0 ? nl_error(nl, err, "list routes") : 0;
}

struct membership {
	struct ipaddr group;
	bool found;
};

static int
on_group(const struct nlmsghdr *h, void *arg)
{
	struct membership *m = arg;
	const struct nlattr *a;
	struct ipaddr group;

	if (h->nlmsg_type == RTM_GETMULTICAST)
		mnl_attr_for_each (a, h, sizeof(struct ifaddrmsg))
			if (mnl_attr_get_type(a) == IFA_MULTICAST &&
			    take_addr(a, AF_INET6, &group) && ipaddr_cmp(&group, &m->group) == 0)
				m->found = true;
	return MNL_CB_OK;
}

bool
rtnl_answers_for(struct nl *nl, const struct ipaddr *a)
{
	/* ff02::1:ffxx:xxxx, RFC 4291 2.7.1 */
	struct membership m = {
	    .group = {.family = AF_INET6,
	              .b = {0xff, 0x02, [11] = 0x01, 0xff, a->b[13], a->b[14], a->b[15]}}
        };
	struct ifaddrmsg *i;

	nl_message(nl, RTM_GETMULTICAST, NLM_F_DUMP, sizeof(*i), &i);
	i->ifa_family = AF_INET6;
	return nl_talk(nl, on_group, &m) == 0 && m.found;
}

static int
on_route_to(const struct nlmsghdr *h, void *arg)
{
	const struct nlattr *a;

	if (h->nlmsg_type == RTM_NEWROUTE)
		mnl_attr_for_each (a, h, sizeof(struct rtmsg))
			if (mnl_attr_get_type(a) == RTA_OIF)
				*(int *)arg = (int)mnl_attr_get_u32(a);
	return MNL_CB_OK;
}

int
rtnl_route_to(struct nl *nl, const struct ipaddr *a, int *ret_index, struct err *err)
{
	struct nlmsghdr *h;
	struct rtmsg *m;

	*ret_index = 0;
	h = nl_message(nl, RTM_GETROUTE, 0, sizeof(*m), &m);
	m->rtm_family = (uint8_t)a->family;
	m->rtm_dst_len = (uint8_t)ipaddr_bits(a);
	mnl_attr_put(h, RTA_DST, ipaddr_len(a), a->b);
	if (nl_talk(nl, on_route_to, ret_index) < 0 && errno != ENETUNREACH &&
	    errno != EHOSTUNREACH)
		return nl_error(nl, err, "look up a route");
	return 0;
}

static void
put_link_attrs(struct nlmsghdr *h, const char *name, unsigned mtu, const uint8_t *mac)
{
	mnl_attr_put_strz(h, IFLA_IFNAME, name);
	if (mtu > 0)
		mnl_attr_put_u32(h, IFLA_MTU, mtu);
	if (mac != NULL)
		mnl_attr_put(h, IFLA_ADDRESS, MAC_SIZE, mac);
}

int
rtnl_bridge_add(struct nl *nl, const char *name, const uint8_t *mac, unsigned mtu, struct err *err)
{
	struct nlmsghdr *h;
	struct nlattr *info;
	struct ifinfomsg *i;

	h = nl_message(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(*i), &i);
	i->ifi_flags = i->ifi_change = IFF_UP;
	put_link_attrs(h, name, mtu, mac);
	info = mnl_attr_nest_start(h, IFLA_LINKINFO);
	mnl_attr_put_strz(h, IFLA_INFO_KIND, "bridge");
	mnl_attr_nest_end(h, info);
	return nl_talk(nl, NULL, NULL) < 0 ? nl_error(nl, err, "create bridge %s", name) : 0;
}

int
rtnl_veth_add(struct nl *nl, const struct rtnl_veth *v, struct err *err)
{
	struct nlattr *info, *data, *peer;
	struct ifinfomsg *i;
	struct nlmsghdr *h;

	h = nl_message(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(*i), &i);
	if (v->up)
		i->ifi_flags = i->ifi_change = IFF_UP;
	put_link_attrs(h, v->name, v->mtu, v->mac);
	if (v->master > 0)
		mnl_attr_put_u32(h, IFLA_MASTER, (uint32_t)v->master);
	info = mnl_attr_nest_start(h, IFLA_LINKINFO);
	mnl_attr_put_strz(h, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(h, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(h, sizeof(*i));
	put_link_attrs(h, v->peer_name, v->mtu, v->peer_mac);
	mnl_attr_put_u32(h, IFLA_NET_NS_FD, (uint32_t)v->peer_netns_fd);
	mnl_attr_nest_end(h, peer);
	mnl_attr_nest_end(h, data);
	mnl_attr_nest_end(h, info);
	if (v->hairpin)
		rtnl_queue_hairpin(nl, v->name);
	return nl_talk(nl, NULL, NULL) < 0 ? nl_error(nl, err, "create link %s", v->name) : 0;
}

int
rtnl_link_del(struct nl *nl, const char *name, struct err *err)
{
	struct nlmsghdr *h;
	struct ifinfomsg *i;

	h = nl_message(nl, RTM_DELLINK, 0, sizeof(*i), &i);
	mnl_attr_put_strz(h, IFLA_IFNAME, name);
	if (nl_talk(nl, NULL, NULL) < 0 && errno != ENODEV)
		return nl_error(nl, err, "delete link %s", name);
	return 0;
}

/* By a group made up for the purpose: the kernel unregisters a group's links in one go. Above 2^31
 * no administrator numbers groups. */
int
rtnl_links_del(struct nl *nl, const char *const *names, size_t n, struct err *err)
{
	uint32_t group;
	struct nlmsghdr *h;
	struct ifinfomsg *i;

	if (n == 1)
		return rtnl_link_del(nl, names[0], err);
	if (getrandom(&group, sizeof(group), 0) != sizeof(group))
		return err_errno(err, "getrandom");
	group |= UINT32_C(1) << 31;
	for (size_t k = 0; k < n; k++) {
		h = nl_message(nl, RTM_NEWLINK, 0, sizeof(*i), &i);
		mnl_attr_put_strz(h, IFLA_IFNAME, names[k]);
		mnl_attr_put_u32(h, IFLA_GROUP, group);
		if (nl_talk(nl, NULL, NULL) < 0 && errno != ENODEV)
			return nl_error(nl, err, "mark link %s", names[k]);
	}
	h = nl_message(nl, RTM_DELLINK, 0, sizeof(*i), &i);
	mnl_attr_put_u32(h, IFLA_GROUP, group);
	if (nl_talk(nl, NULL, NULL) < 0 && errno != ENODEV)
		return nl_error(nl, err, "delete %zu links", n);
	return 0;
}

void
rtnl_queue_up(struct nl *nl, int index)
{
	struct ifinfomsg *i;

	nl_message(nl, RTM_NEWLINK, 0, sizeof(*i), &i);
	i->ifi_index = index;
	i->ifi_flags = i->ifi_change = IFF_UP;
}

void
rtnl_queue_hairpin(struct nl *nl, const char *port)
{
	struct nlattr *info, *data;
	struct nlmsghdr *h;
	struct ifinfomsg *i;

	h = nl_message(nl, RTM_NEWLINK, 0, sizeof(*i), &i);
	mnl_attr_put_strz(h, IFLA_IFNAME, port);
	info = mnl_attr_nest_start(h, IFLA_LINKINFO);
	mnl_attr_put_strz(h, IFLA_INFO_SLAVE_KIND, "bridge");
	data = mnl_attr_nest_start(h, IFLA_INFO_SLAVE_DATA);
	mnl_attr_put_u8(h, IFLA_BRPORT_MODE, 1);
	mnl_attr_nest_end(h, data);
	mnl_attr_nest_end(h, info);
}

int
rtnl_link_set_flags(struct nl *nl, int index, unsigned flags, unsigned mask, struct err *err)
{
	struct ifinfomsg *i;

	nl_message(nl, RTM_NEWLINK, 0, sizeof(*i), &i);
	i->ifi_index = index;
	i->ifi_flags = flags;
	i->ifi_change = mask;
	return nl_talk(nl, NULL, NULL) < 0 ? nl_error(nl, err, "set flags of link number %d", index)
	                                   : 0;
}

int
rtnl_link_up(struct nl *nl, int index, struct err *err)
{
	return rtnl_link_set_flags(nl, index, IFF_UP, IFF_UP, err);
}

int
rtnl_link_set_mac(struct nl *nl, int index, const uint8_t mac[static MAC_SIZE], struct err *err)
{
	struct nlmsghdr *h;
	struct ifinfomsg *i;

	h = nl_message(nl, RTM_NEWLINK, 0, sizeof(*i), &i);
	i->ifi_index = index;
	mnl_attr_put(h, IFLA_ADDRESS, MAC_SIZE, mac);
	return nl_talk(nl, NULL, NULL) < 0
	           ? nl_error(nl, err, "set the hardware address of link number %d", index)
	           : 0;
}

int
rtnl_addr_del(struct nl *nl, int index, const struct ipnet *addr, struct err *err)
{
	char text[IPNET_SIZE];
	struct nlmsghdr *h;
	struct ifaddrmsg *i;

	h = nl_message(nl, RTM_DELADDR, 0, sizeof(*i), &i);
	i->ifa_family = (uint8_t)addr->addr.family;
	i->ifa_prefixlen = (uint8_t)addr->prefix;
	i->ifa_index = (unsigned)index;
	mnl_attr_put(h, IFA_LOCAL, ipaddr_len(&addr->addr), addr->addr.b);
	if (nl_talk(nl, NULL, NULL) < 0 && errno != EADDRNOTAVAIL)
		return nl_error(nl, err, "remove address %s", ipnet_format(addr, text));
	return 0;
}

bool
mac_parse(const char *s, uint8_t ret[static MAC_SIZE])
{
	uint8_t mac[MAC_SIZE];
	char digits[2 * MAC_SIZE + 1];

	if (strlen(s) != MAC_TEXT - 1)
		return false;
	for (size_t i = 0; i < MAC_SIZE; i++) {
		if (i > 0 && s[3 * i - 1] != ':')
			return false;
		digits[2 * i] = (char)tolower((unsigned char)s[3 * i]);
		digits[2 * i + 1] = (char)tolower((unsigned char)s[3 * i + 1]);
	}
	digits[2 * MAC_SIZE] = '\0';
	if (hex_decode(digits, mac, MAC_SIZE) < 0)
		return false;
	memcpy(ret, mac, MAC_SIZE);
	return true;
}

const char *
mac_format(const uint8_t mac[static MAC_SIZE], char out[static MAC_TEXT])
{
	snprintf(out, MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
	    mac[4], mac[5]);
	return out;
}

void
rtnl_queue_addr(struct nl *nl, int index, const struct ipnet *addr, bool no_dad, bool replace)
{
	struct nlmsghdr *h;
	struct ifaddrmsg *i;
	size_t len = ipaddr_len(&addr->addr);

	h = nl_message(nl, RTM_NEWADDR,
	    (uint16_t)(NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL)), sizeof(*i), &i);
	i->ifa_family = (uint8_t)addr->addr.family;
	i->ifa_prefixlen = (uint8_t)addr->prefix;
	i->ifa_index = (unsigned)index;
	if (no_dad && addr->addr.family == AF_INET6)
		i->ifa_flags = IFA_F_NODAD;
	mnl_attr_put(h, IFA_LOCAL, len, addr->addr.b);
	mnl_attr_put(h, IFA_ADDRESS, len, addr->addr.b);
	if (addr->addr.family == AF_INET && addr->prefix < 31) {
		struct ipaddr last = ipnet_last(addr);

		mnl_attr_put(h, IFA_BROADCAST, len, last.b);
	}
}

void
rtnl_queue_route(struct nl *nl, const struct rtnl_route *r, bool replace)
{
	size_t len = ipaddr_len(&r->dst.addr);
	struct nlmsghdr *h;
	struct rtmsg *m;

	h = nl_message(nl, RTM_NEWROUTE,
	    (uint16_t)(NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL)), sizeof(*m), &m);
	m->rtm_family = (uint8_t)r->dst.addr.family;
	m->rtm_dst_len = (uint8_t)r->dst.prefix;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_BOOT;
	m->rtm_scope = r->link_scope ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	m->rtm_type = RTN_UNICAST;
	if (r->dst.prefix > 0)
		mnl_attr_put(h, RTA_DST, len, r->dst.addr.b);
	if (r->gw.family != 0)
		mnl_attr_put(h, RTA_GATEWAY, len, r->gw.b);
	if (r->index > 0)
		mnl_attr_put_u32(h, RTA_OIF, (uint32_t)r->index);
}
