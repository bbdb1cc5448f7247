/* SPDX-License-Identifier: Apache-2.0
 *
 * The plugin "portmap" with the nftables backend: tables "cni_hostport" of families ip and ip6,
 * whose rules carry the container's id as a comment, as the reference plugin writes them.
 * Configurations for the iptables backend leave the call to the real plugin.
 */
#include <string.h>

#include "base/buf.h"
#include "base/macros.h"
#include "net/cni_conf.h"
#include "net/cni_result.h"
#include "net/conntrack.h"
#include "net/native.h"
#include "net/nft.h"
#include "net/rtnl.h"
#include "net/sysctl.h"

#define TABLE "cni_hostport"

enum { PORTS_MAX = 4096 };

static const char *const chains[] = {"hostports", "hostip_hostports", "masquerading"};

/* ---- configuration -------------------------------------------------------------------------- */

static const char *const members[] = {
    "backend", "snat", "conditionsV4", "conditionsV6", "masqAll", "markMasqBit", NULL};

/* An iptables condition begins with '-' or '!'. One that could end its command is none. */
static bool
knows_conditions(const json_t *list)
{
	const json_t *v;
	size_t i;

	if (list == NULL || json_is_null(list))
		return true;
	if (!json_is_array(list))
		return false;
	json_array_foreach (list, i, v) {
		const char *s = json_string_value(v);

		if (s == NULL || *s == '-' || *s == '!' || strpbrk(s, "\r\n;#\\") != NULL)
			return false;
	}
	return true;
}

static bool
portmap_knows(const json_t *conf)
{
	const json_t *snat = json_object_get(conf, "snat"), *all = json_object_get(conf, "masqAll");
	const char *backend = cni_str(conf, "backend");

	return (*backend == '\0' || strcmp(backend, "nftables") == 0) &&
	       (snat == NULL || json_is_boolean(snat)) && (all == NULL || json_is_boolean(all)) &&
	       knows_conditions(json_object_get(conf, "conditionsV4")) &&
	       knows_conditions(json_object_get(conf, "conditionsV6"));
}

struct mapping {
	int host_port, container_port;
	const char *protocol;
	struct ipaddr host_ip; /* family 0: any */
};

static int
load_mapping(const json_t *o, struct mapping *m, struct err *err)
{
	static const char *const protocols[] = {"tcp", "udp", "sctp"};
	const char *protocol = cni_str(o, "protocol"), *ip = cni_str(o, "hostIP");
	json_int_t host = json_integer_value(json_object_get(o, "hostPort"));
	json_int_t pod = json_integer_value(json_object_get(o, "containerPort"));

	if (pod <= 0 || pod > UINT16_MAX)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "Invalid container port number: %lld", pod);
	if (host <= 0 || host > UINT16_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "Invalid host port number: %lld", host);
	*m = (struct mapping){.host_port = (int)host, .container_port = (int)pod};
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (strcasecmp(protocol, protocols[i]) == 0)
			m->protocol = protocols[i];
	if (m->protocol == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "unknown protocol '%.32s'", protocol);
	if (*ip != '\0' && !ipaddr_parse(ip, &m->host_ip))
		return err_set(err, ERR_INVALID_ARGUMENT, "invalid host IP '%.64s'", ip);
	return 0;
}

static const json_t *
mappings(const struct native_call *c)
{
	return json_object_get(json_object_get(c->conf, "runtimeConfig"), "portMappings");
}

/* The pod's first address of each family. */
static void
pod_addresses(const json_t *result, const char *ifname, struct ipaddr out[static 2])
{
	struct ipaddr list[16];
	size_t n = cni_result_ips(result, ifname, list, ARRAY_SIZE(list));

	out[0] = out[1] = (struct ipaddr){0};
	for (size_t i = n; i-- > 0;)
		out[list[i].family == AF_INET6] = list[i];
}

/* ---- rules ---------------------------------------------------------------------------------- */

static void
add_conditions(const struct native_call *c, const char *key, struct buf *out)
{
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(c->conf, key), i, v)
		buf_addf(out, "%s ", json_string_value(v));
}

static void
add_base(const struct native_call *c, const char *family, bool snat, struct buf *out)
{
	static const char *const hooks[] = {"prerouting", "output"};

	buf_addf(out, "add table %s " TABLE " { comment \"CNI portmap plugin\"; }\n", family);
	for (size_t i = 0; i < 2; i++)
		buf_addf(out, "add chain %s " TABLE " %s\n", family, chains[i]);
	buf_addf(out,
	    "add chain %s " TABLE " hostports_all\nflush chain %s " TABLE " hostports_all\n"
	    "add rule %s " TABLE " hostports_all jump hostip_hostports\n"
	    "add rule %s " TABLE " hostports_all jump hostports\n",
	    family, family, family, family);
	for (size_t i = 0; i < 2; i++) {
		buf_addf(out,
		    "add chain %s " TABLE " %s { type nat hook %s priority -100; }\n"
		    "flush chain %s " TABLE " %s\nadd rule %s " TABLE " %s ",
		    family, hooks[i], hooks[i], family, hooks[i], family, hooks[i]);
		add_conditions(c, strcmp(family, "ip") == 0 ? "conditionsV4" : "conditionsV6", out);
		buf_addstr(out, "fib daddr type local jump hostports_all\n");
	}
	if (snat)
		buf_addf(out,
		    "add chain %s " TABLE
		    " masquerading { type nat hook postrouting priority 100; }\n",
		    family);
}

static void
add_mapping(const struct native_call *c, const char *family, const struct mapping *m,
    const struct ipaddr *pod, struct buf *out)
{
	char to[IPADDR_SIZE], at[IPADDR_SIZE];
	bool v6 = pod->family == AF_INET6;

	if (m->host_ip.family != 0 && m->host_ip.family != pod->family)
		return;
	buf_addf(out, "add rule %s " TABLE " hostports ", family);
	if (m->host_ip.family != 0 && !ipaddr_is_zero(&m->host_ip))
		buf_addf(out, "%s daddr %s ", family, ipaddr_format(&m->host_ip, at));
	buf_addf(out, "%s dport %d dnat to %s%s%s:%d comment \"%s\"\n", m->protocol, m->host_port,
	    v6 ? "[" : "", ipaddr_format(pod, to), v6 ? "]" : "", m->container_port,
	    c->container_id);
}

static void
add_masquerading(
    const struct native_call *c, const char *family, const struct ipaddr *pod, struct buf *out)
{
	bool all = json_is_true(json_object_get(c->conf, "masqAll")), v6 = pod->family == AF_INET6;
	char text[IPADDR_SIZE];

	ipaddr_format(pod, text);
	buf_addf(out,
	    "add rule %s " TABLE
	    " masquerading %s saddr %s %s daddr %s masquerade comment \"%s\"\n",
	    family, family,
	    !all ? text
	    : v6 ? "::/0"
	         : "0.0.0.0/0",
	    family, text, c->container_id);
	if (!v6 && !all)
		buf_addf(out,
		    "add rule %s " TABLE " masquerading %s saddr 127.0.0.1 %s daddr %s masquerade "
		    "comment \"%s\"\n",
		    family, family, family, text, c->container_id);
}

static int
delete_rules(const char *container_id, struct buf *out, struct err *err)
{
	for (size_t v = 0; v < 2; v++)
		for (size_t i = 0; i < ARRAY_SIZE(chains); i++)
			if (nft_delete_rules(v == 0 ? "ip" : "ip6", TABLE, chains[i], container_id,
			        out, err) < 0)
				return -1;
	return 0;
}

static int
open_loopback(const struct ipaddr *pod, struct err *err)
{
	struct rtnl_link l = {0};
	char path[96];
	struct nl nl;
	int ret, index;

	if (nl_open(&nl, NETLINK_ROUTE, -1, err) < 0)
		return -1;
	ret = rtnl_route_to(&nl, pod, &index, err);
	if (ret == 0 && index > 0)
		ret = rtnl_link_get_index(&nl, index, &l, err) < 0 ? -1 : 0;
	nl_close(&nl);
	if (ret < 0 || l.index == 0)
		return ret;
	snprintf(path, sizeof(path), "net/ipv4/conf/%s/route_localnet", l.name);
	return sysctl_set(path, "1", err);
}

/* ---- commands ------------------------------------------------------------------------------- */

static int
forward(const struct native_call *c, const struct ipaddr *pod, struct buf *text, struct err *err)
{
	const json_t *snat = json_object_get(c->conf, "snat");
	const char *family = pod->family == AF_INET ? "ip" : "ip6";
	const json_t *v;
	size_t i;

	add_base(c, family, !json_is_false(snat), text);
	json_array_foreach (mappings(c), i, v) {
		struct mapping m;

		if (load_mapping(v, &m, err) < 0)
			return -1;
		add_mapping(c, family, &m, pod, text);
	}
	if (json_is_false(snat))
		return 0;
	add_masquerading(c, family, pod, text);
	return pod->family == AF_INET ? open_loopback(pod, err) : 0;
}

static int
flush(const struct native_call *c, struct err *err)
{
	uint16_t ports[PORTS_MAX];
	size_t n = 0, i;
	const json_t *v;

	json_array_foreach (mappings(c), i, v)
		if (n < PORTS_MAX && strcasecmp(cni_str(v, "protocol"), "udp") == 0)
			ports[n++] = (uint16_t)json_integer_value(json_object_get(v, "hostPort"));
	return conntrack_flush_udp(ports, n, NULL, 0, err);
}

static int
portmap_add(const struct native_call *c, json_t **ret_result, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct ipaddr pod[2];
	json_t *result;
	int ret = 0;

	if (native_prev_result(c, &result, err) < 0)
		return -1;
	if (result == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "must be called as chained plugin");
	if (json_array_size(mappings(c)) > 0) {
		pod_addresses(result, c->ifname, pod);
		ret = delete_rules(c->container_id, &text, err);
		for (size_t i = 0; ret == 0 && i < 2; i++)
			if (pod[i].family != 0)
				ret = forward(c, &pod[i], &text, err);
		if (ret == 0 && text.len > 0)
			ret = nft_run(text.data, NULL, err);
		if (ret == 0)
			ret = flush(c, err);
	}
	if (ret == 0)
		return native_export_take(c, result, ret_result, err);
	json_decref(result);
	return -1;
}

static int
portmap_del(const struct native_call *c, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT;

	if (json_array_size(mappings(c)) == 0)
		return 0;
	if (delete_rules(c->container_id, &text, err) < 0 ||
	    (text.len > 0 && nft_run(text.data, NULL, err) < 0))
		return -1;
	return flush(c, err);
}

static void
count(long long handle, void *arg)
{
	(void)handle;
	(*(size_t *)arg)++;
}

static int
check_family(const struct native_call *c, const struct ipaddr *pod, struct err *err)
{
	size_t want = 0, found = 0, i;
	const json_t *v;

	json_array_foreach (mappings(c), i, v) {
		struct mapping m;

		if (load_mapping(v, &m, err) < 0)
			return -1;
		want += m.host_ip.family == 0 || m.host_ip.family == pod->family;
	}
	if (nft_find_rules(pod->family == AF_INET ? "ip" : "ip6", TABLE, "hostports",
	        c->container_id, count, &found, err) < 0)
		return -1;
	return found >= want ? 0
	                     : err_set(err, ERR_FAILED_PRECONDITION,
	                           "missing hostport rules in \"hostports\" chain");
}

static int
portmap_check(const struct native_call *c, struct err *err)
{
	struct ipaddr pod[2];
	json_t *result;

	if (native_prev_result(c, &result, err) < 0)
		return -1;
	if (result == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "Required prevResult missing");
	pod_addresses(result, c->ifname, pod);
	json_decref(result);
	for (size_t i = 0; json_array_size(mappings(c)) > 0 && i < 2; i++)
		if (pod[i].family != 0 && check_family(c, &pod[i], err) < 0)
			return -1;
	return 0;
}

const struct native_plugin native_portmap = {.type = "portmap",
    .members = members,
    .knows = portmap_knows,
    .add = portmap_add,
    .del = portmap_del,
    .check = portmap_check};
