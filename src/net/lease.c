/* SPDX-License-Identifier: Apache-2.0
 *
 * Leases: see lease.h.
 */
#include "net/lease.h"

#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"

enum { PORTS_MAX = 4096 };

static const char *const proto_names[] = {
    [NET_TCP] = "tcp", [NET_UDP] = "udp", [NET_SCTP] = "sctp"};

const char *
net_proto_name(enum net_proto proto)
{
	return proto_names[proto];
}

void
leases_init(struct leases *l)
{
	TAILQ_INIT(&l->list);
	l->n = 0;
}

void
leases_release(struct leases *l)
{
	while (!TAILQ_EMPTY(&l->list))
		lease_drop(l, TAILQ_FIRST(&l->list));
}

struct lease *
lease_find(struct leases *l, const char *pod_id)
{
	struct lease *lease;

	TAILQ_FOREACH (lease, &l->list, entry)
		if (strcmp(lease->pod_id, pod_id) == 0)
			break;
	return lease;
}

struct lease *
lease_add(struct leases *l, const char *pod_id, const char *pod_name)
{
	struct lease *lease = xcalloc(1, sizeof(*lease));

	lease->pod_id = xstrdup(pod_id);
	lease->pod_name = xstrdup(pod_name != NULL ? pod_name : pod_id);
	TAILQ_INSERT_TAIL(&l->list, lease, entry);
	l->n++;
	return lease;
}

void
lease_drop(struct leases *l, struct lease *lease)
{
	TAILQ_REMOVE(&l->list, lease, entry);
	l->n--;
	free(lease->pod_id);
	free(lease->pod_name);
	free(lease->ports);
	free(lease);
}

void
leases_keep(struct leases *l, const char *const *pod_ids, size_t n)
{
	struct lease *lease, *next;

	for (lease = TAILQ_FIRST(&l->list); lease != NULL; lease = next) {
		size_t i = 0;

		next = TAILQ_NEXT(lease, entry);
		while (i < n && strcmp(lease->pod_id, pod_ids[i]) != 0)
			i++;
		if (i == n)
			lease_drop(l, lease);
	}
}

struct lease *
lease_of_ip(struct leases *l, const struct ipaddr *a)
{
	struct lease *lease;

	TAILQ_FOREACH (lease, &l->list, entry)
		for (size_t i = 0; i < lease->n_ips; i++)
			if (ipaddr_cmp(&lease->ips[i], a) == 0)
				return lease;
	return NULL;
}

/* Would a packet to one address find both? */
static bool
same_port(const struct hostport *a, const struct hostport *b)
{
	if (a->proto != b->proto || a->host_port != b->host_port)
		return false;
	if (a->host_ip.family == 0 || b->host_ip.family == 0)
		return true;
	return a->host_ip.family == b->host_ip.family &&
	       (ipaddr_is_zero(&a->host_ip) || ipaddr_is_zero(&b->host_ip) ||
	           ipaddr_cmp(&a->host_ip, &b->host_ip) == 0);
}

static int
check_conflicts(struct leases *l, const struct lease *own, const struct hostport *p,
    const struct hostport *before, size_t n_before, struct err *err)
{
	const struct lease *other;

	for (size_t i = 0; i < n_before; i++)
		if (same_port(&before[i], p))
			return err_set(err, ERR_ALREADY_EXISTS,
			    "host port %u/%s is asked for twice by this pod", p->host_port,
			    net_proto_name(p->proto));
	TAILQ_FOREACH (other, &l->list, entry)
		for (size_t i = 0; other != own && i < other->n_ports; i++)
			if (same_port(&other->ports[i], p))
				return err_set(err, ERR_ALREADY_EXISTS,
				    "host port %u/%s is held by pod %s (%.13s)", p->host_port,
				    net_proto_name(p->proto), other->pod_name, other->pod_id);
	return 0;
}

static int
take_port(const struct net_port *from, struct hostport *to, struct err *err)
{
	*to = (struct hostport){.proto = from->proto,
	    .host_port = from->host_port,
	    .container_port = from->container_port};
	if (from->container_port == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "host port %u/%s has no container port",
		    from->host_port, net_proto_name(from->proto));
	if (!str_empty(from->host_ip) && !ipaddr_parse(from->host_ip, &to->host_ip))
		return err_set(err, ERR_INVALID_ARGUMENT, "host port %u/%s: no IP address: '%.64s'",
		    from->host_port, net_proto_name(from->proto), from->host_ip);
	return 0;
}

int
lease_set_ports(
    struct leases *l, struct lease *lease, const struct net_port *ports, size_t n, struct err *err)
{
	cleanup_free struct hostport *list = NULL;
	size_t n_list = 0;

	if (n > PORTS_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "more than %d port mappings", PORTS_MAX);
	list = xcalloc(n + 1, sizeof(*list));
	for (size_t i = 0; i < n; i++) {
		if (ports[i].host_port == 0)
			continue;
		if (take_port(&ports[i], &list[n_list], err) < 0 ||
		    check_conflicts(l, lease, &list[n_list], list, n_list, err) < 0)
			return -1;
		n_list++;
	}
	free(lease->ports);
	lease->ports = take_ptr(list);
	lease->n_ports = n_list;
	return 0;
}

json_t *
lease_ips_json(const struct lease *lease)
{
	json_t *ips = json_array();
	char text[IPADDR_SIZE];

	for (size_t i = 0; i < lease->n_ips; i++)
		json_array_append_new(ips, json_string(ipaddr_format(&lease->ips[i], text)));
	return ips;
}

json_t *
lease_ports_json(const struct lease *lease)
{
	json_t *ports = json_array();
	char text[IPADDR_SIZE];

	for (size_t i = 0; i < lease->n_ports; i++) {
		const struct hostport *p = &lease->ports[i];

		json_array_append_new(ports,
		    json_pack("{s:s,s:i,s:i,s:s}", "protocol", net_proto_name(p->proto), "hostPort",
		        p->host_port, "containerPort", p->container_port, "hostIP",
		        p->host_ip.family != 0 ? ipaddr_format(&p->host_ip, text) : ""));
	}
	return ports;
}

static int
bad_record(struct err *err, const char *what)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "network record: %s", what);
}

static int
parse_ports(const json_t *ports, struct net_port *list, struct err *err)
{
	for (size_t i = 0; i < json_array_size(ports); i++) {
		const json_t *p = json_array_get(ports, i);
		const char *proto = json_string_value(json_object_get(p, "protocol"));
		json_int_t host = json_integer_value(json_object_get(p, "hostPort"));
		json_int_t pod = json_integer_value(json_object_get(p, "containerPort"));
		size_t k = 0;

		while (k < ARRAY_SIZE(proto_names) &&
		       (proto == NULL || strcmp(proto, proto_names[k]) != 0))
			k++;
		if (k == ARRAY_SIZE(proto_names) || host < 1 || host > UINT16_MAX || pod < 1 ||
		    pod > UINT16_MAX)
			return bad_record(err, "a port is malformed");
		list[i] = (struct net_port){.proto = (enum net_proto)k,
		    .host_port = (uint16_t)host,
		    .container_port = (uint16_t)pod,
		    .host_ip = json_string_value(json_object_get(p, "hostIP"))};
	}
	return 0;
}

int
lease_restore(
    struct leases *l, struct lease *lease, const json_t *ips, const json_t *ports, struct err *err)
{
	cleanup_free struct net_port *list = NULL;
	size_t n_ports = json_array_size(ports);

	if (!json_is_array(ips) || json_array_size(ips) > NET_IPS_MAX)
		return bad_record(err, "'ips' is no list of at most 8");
	if (!json_is_array(ports) || n_ports > PORTS_MAX)
		return bad_record(err, "'ports' is no list of at most 4096");
	for (size_t i = 0; i < json_array_size(ips); i++) {
		const char *text = json_string_value(json_array_get(ips, i));

		if (text == NULL || !ipaddr_parse(text, &lease->ips[i]))
			return bad_record(err, "an address is malformed");
		lease->n_ips = i + 1;
	}
	list = xcalloc(n_ports + 1, sizeof(*list));
	if (parse_ports(ports, list, err) < 0)
		return -1;
	return lease_set_ports(l, lease, list, n_ports, err);
}

void
lease_result(const struct lease *lease, struct net_result *ret)
{
	for (size_t i = 0; i < lease->n_ips; i++)
		ipaddr_format(&lease->ips[i], ret->ips[i]);
	ret->n_ips = lease->n_ips;
}
