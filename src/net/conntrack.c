/* SPDX-License-Identifier: Apache-2.0
 *
 * Connection tracking over ctnetlink: see conntrack.h. The table is dumped, what matches is kept as
 * the bytes of its tuple, and deleted afterwards.
 */
#include "net/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "net/nl.h"

enum { CT_TYPE = NFNL_SUBSYS_CTNETLINK << 8, MATCHES_MAX = 1 << 20 };

struct search {
	const uint16_t *ports;
	size_t n_ports;
	const struct ipaddr *ips;
	size_t n_ips;
	struct buf found; /* a family byte, a length byte, the tuple's attributes; and so on */
};

struct tuple {
	struct ipaddr src;
	uint16_t dst_port;
	uint8_t proto;
};

static void
parse_ip(const struct nlattr *nest, struct ipaddr *src)
{
	const struct nlattr *a;

	mnl_attr_for_each_nested (a, nest) {
		int type = mnl_attr_get_type(a);
		size_t len = mnl_attr_get_payload_len(a);

		if (!(type == CTA_IP_V4_SRC && len == 4) && !(type == CTA_IP_V6_SRC && len == 16))
			continue;
		src->family = len == 4 ? AF_INET : AF_INET6;
		memcpy(src->b, mnl_attr_get_payload(a), len);
	}
}

static void
parse_proto(const struct nlattr *nest, struct tuple *t)
{
	const struct nlattr *a;

	mnl_attr_for_each_nested (a, nest) {
		if (mnl_attr_get_type(a) == CTA_PROTO_NUM)
			t->proto = mnl_attr_get_u8(a);
		else if (mnl_attr_get_type(a) == CTA_PROTO_DST_PORT)
			t->dst_port = ntohs(mnl_attr_get_u16(a));
	}
}

static struct tuple
parse_tuple(const struct nlattr *nest)
{
	struct tuple t = {0};
	const struct nlattr *a;

	mnl_attr_for_each_nested (a, nest) {
		if (mnl_attr_get_type(a) == CTA_TUPLE_IP)
			parse_ip(a, &t.src);
		else if (mnl_attr_get_type(a) == CTA_TUPLE_PROTO)
			parse_proto(a, &t);
	}
	return t;
}

static bool
matches(const struct search *s, const struct tuple *orig, const struct tuple *reply)
{
	if (orig->proto != IPPROTO_UDP)
		return false;
	for (size_t i = 0; i < s->n_ports; i++)
		if (s->ports[i] == orig->dst_port)
			return true;
	for (size_t i = 0; i < s->n_ips; i++)
		if (ipaddr_cmp(&s->ips[i], &reply->src) == 0)
			return true;
	return false;
}

static int
on_entry(const struct nlmsghdr *h, void *arg)
{
	const struct nfgenmsg *g = mnl_nlmsg_get_payload(h);
	const struct nlattr *a, *orig_attr = NULL;
	struct tuple orig = {0}, reply = {0};
	struct search *s = arg;
	size_t len;

	mnl_attr_for_each (a, h, sizeof(*g)) {
		if (mnl_attr_get_type(a) == CTA_TUPLE_ORIG) {
			orig_attr = a;
			orig = parse_tuple(a);
		} else if (mnl_attr_get_type(a) == CTA_TUPLE_REPLY) {
			reply = parse_tuple(a);
		}
	}
	if (orig_attr == NULL || !matches(s, &orig, &reply) || s->found.len > MATCHES_MAX)
		return MNL_CB_OK;
	len = mnl_attr_get_payload_len(orig_attr);
	if (len > UINT8_MAX)
		return MNL_CB_OK;
	buf_addch(&s->found, (char)g->nfgen_family);
	buf_addch(&s->found, (char)len);
	buf_add(&s->found, mnl_attr_get_payload(orig_attr), len);
	return MNL_CB_OK;
}

static int
delete_found(struct nl *nl, const struct buf *found, struct err *err)
{
	for (size_t at = 0; at < found->len;) {
		uint8_t family = (uint8_t)found->data[at], len = (uint8_t)found->data[at + 1];
		struct nlmsghdr *h;
		struct nfgenmsg *g;

		h = nl_message(nl, CT_TYPE | IPCTNL_MSG_CT_DELETE, 0, sizeof(*g), &g);
		g->nfgen_family = family;
		mnl_attr_put(h, CTA_TUPLE_ORIG | NLA_F_NESTED, len, found->data + at + 2);
		if (nl_talk(nl, NULL, NULL) < 0 && errno != ENOENT)
			return nl_error(nl, err, "forget a UDP connection");
		at += 2U + len;
	}
	return 0;
}

int
conntrack_flush_udp(
    const uint16_t *ports, size_t n_ports, const struct ipaddr *ips, size_t n_ips, struct err *err)
{
	struct search s = {.ports = ports, .n_ports = n_ports, .ips = ips, .n_ips = n_ips};
	struct nfgenmsg *g;
	struct nl nl;
	int ret;

	if (n_ports == 0 && n_ips == 0)
		return 0;
	if (nl_open(&nl, NETLINK_NETFILTER, -1, err) < 0)
		return errno == EPROTONOSUPPORT ? 0 : -1;
	nl_message(&nl, CT_TYPE | IPCTNL_MSG_CT_GET, NLM_F_DUMP, sizeof(*g), &g);
	if (nl_talk(&nl, on_entry, &s) < 0)
		ret = errno == EINVAL || errno == EOPNOTSUPP
		          ? 0 /* the kernel has no ctnetlink */
		          : nl_error(&nl, err, "list connections");
	else
		ret = delete_found(&nl, &s.found, err);
	buf_release(&s.found);
	nl_close(&nl);
	return ret;
}
