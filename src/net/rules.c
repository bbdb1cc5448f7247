/* SPDX-License-Identifier: Apache-2.0
 *
 * nftables text: see rules.h.
 *
 * Host ports are elements of maps, so that a pod's coming and going changes elements and no rules:
 * port4 and port6 for ports on every address, addr4 and addr6 for those on one. Traffic that a host
 * port sends back to the bridge it came from is masqueraded, or the answer would go past us; so is
 * what comes from 127.0.0.1, which route_localnet lets out. "guard" closes the hole that opens: the
 * host's loopback services must not be reachable from pods (CVE-2020-8558).
 */
#include "net/rules.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

void
rules_table_name(const char *instance, char *out, size_t size)
{
	snprintf(out, size, "%s%s", isalpha((unsigned char)instance[0]) ? "" : "c", instance);
	for (char *p = out; *p != '\0'; p++)
		if (!isalnum((unsigned char)*p))
			*p = '_';
}

static void
add_maps(const char *t, struct buf *out)
{
	for (int v = 4; v <= 6; v += 2) {
		buf_addf(out,
		    "add map inet %s port%d { type inet_proto . inet_service : ipv%d_addr . "
		    "inet_service; }\n",
		    t, v, v);
		buf_addf(out,
		    "add map inet %s addr%d { type ipv%d_addr . inet_proto . inet_service : "
		    "ipv%d_addr . inet_service; }\n",
		    t, v, v, v);
		buf_addf(out, "add set inet %s pods%d { type ipv%d_addr; }\n", t, v, v);
	}
}

static void
add_chains(const char *t, struct buf *out)
{
	static const char *const chains[][2] = {
	    {"guard",       "{ type filter hook prerouting priority -300; }"},
	    {"prerouting",  "{ type nat hook prerouting priority -100; }"   },
	    {"output",      "{ type nat hook output priority -100; }"       },
	    {"postrouting", "{ type nat hook postrouting priority 100; }"   },
	    {"hostports",   ""	                                      },
	};

	for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++)
		buf_addf(out, "add chain inet %s %s %s\nflush chain inet %s %s\n", t, chains[i][0],
		    chains[i][1], t, chains[i][0]);
}

static void
add_bridge_rules(const struct rules_spec *s, struct buf *out)
{
	char text[IPNET_SIZE];

	for (size_t i = 0; i < 2; i++) {
		const struct ipnet *n = &s->subnets[i];
		const char *ip = n->addr.family == AF_INET ? "ip" : "ip6";
		const char *many = n->addr.family == AF_INET ? "224.0.0.0/4" : "ff00::/8";

		if (n->addr.family == 0)
			continue;
		ipnet_format(n, text);
		buf_addf(out,
		    "add rule inet %s postrouting %s saddr %s oifname \"%s\" ct status dnat "
		    "masquerade\n",
		    s->table, ip, text, s->bridge);
		buf_addf(out,
		    "add rule inet %s postrouting %s saddr %s %s daddr != { %s, %s } oifname != "
		    "\"%s\" masquerade\n",
		    s->table, ip, text, ip, text, many, s->bridge);
	}
}

void
rules_table(const struct rules_spec *s, struct buf *out)
{
	const char *t = s->table;

	buf_addf(out, "add table inet %s\n", t);
	add_maps(t, out);
	add_chains(t, out);
	buf_addf(out, "add rule inet %s guard iifname != \"lo\" ip daddr 127.0.0.0/8 drop\n", t);
	buf_addf(out, "add rule inet %s prerouting fib daddr type local jump hostports\n", t);
	buf_addf(out, "add rule inet %s output fib daddr type local jump hostports\n", t);
	for (int v = 4; v <= 6; v += 2) {
		const char *ip = v == 4 ? "ip" : "ip6";

		buf_addf(out,
		    "add rule inet %s hostports dnat %s to %s daddr . meta l4proto . th dport map "
		    "@addr%d\n",
		    t, ip, ip, v);
		buf_addf(out,
		    "add rule inet %s hostports meta nfproto ipv%d dnat %s to meta l4proto . th "
		    "dport map @port%d\n",
		    t, v, ip, v);
		buf_addf(out,
		    "add rule inet %s postrouting %s saddr @pods%d %s daddr @pods%d ct status dnat "
		    "masquerade\n",
		    t, ip, v, ip, v);
	}
	buf_addf(out,
	    "add rule inet %s postrouting ip saddr 127.0.0.0/8 ip daddr != 127.0.0.0/8 ct status "
	    "dnat masquerade\n",
	    t);
	if (s->bridge != NULL)
		add_bridge_rules(s, out);
}

static void
add_port(const char *t, const struct ipaddr *pod, const struct hostport *p, struct buf *out)
{
	int v = pod->family == AF_INET ? 4 : 6;
	char to[IPADDR_SIZE], at[IPADDR_SIZE];
	bool any = p->host_ip.family == 0 || ipaddr_is_zero(&p->host_ip);

	if (p->host_ip.family != 0 && p->host_ip.family != pod->family)
		return;
	buf_addf(out, "add element inet %s %s%d { %s%s%s . %u : %s . %u }\n", t,
	    any ? "port" : "addr", v, any ? "" : ipaddr_format(&p->host_ip, at), any ? "" : " . ",
	    net_proto_name(p->proto), p->host_port, ipaddr_format(pod, to), p->container_port);
}

/* Ports lead to the pod's first address of the family. */
static void
add_lease(const char *t, const struct lease *l, struct buf *out)
{
	bool seen[2] = {false, false};
	char text[IPADDR_SIZE];

	for (size_t i = 0; l->n_ports > 0 && i < l->n_ips; i++) {
		bool *s = &seen[l->ips[i].family == AF_INET6];

		if (*s)
			continue;
		*s = true;
		buf_addf(out, "add element inet %s pods%d { %s }\n", t,
		    l->ips[i].family == AF_INET ? 4 : 6, ipaddr_format(&l->ips[i], text));
		for (size_t k = 0; k < l->n_ports; k++)
			add_port(t, &l->ips[i], &l->ports[k], out);
	}
}

void
rules_ports(const char *table, const struct leases *leases, struct buf *out)
{
	const struct lease *l;

	for (int v = 4; v <= 6; v += 2)
		buf_addf(out,
		    "flush map inet %s port%d\nflush map inet %s addr%d\nflush set inet %s "
		    "pods%d\n",
		    table, v, table, v, table, v);
	TAILQ_FOREACH (l, &leases->list, entry)
		if (!l->closing && !l->plugin_ports)
			add_lease(table, l, out);
}

void
rules_remove(const char *table, struct buf *out)
{
	buf_addf(out, "add table inet %s\ndelete table inet %s\n", table, table);
}
