/* SPDX-License-Identifier: Apache-2.0
 *
 * What a pod holds of the host: struct lease has its addresses and host ports, struct leases all of
 * them. In memory; the pods' records restore it after a restart.
 */
#ifndef NET_LEASE_H
#define NET_LEASE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"
#include "net/ipaddr.h"
#include "net/net.h"

struct hostport {
	enum net_proto proto;
	uint16_t host_port, container_port;
	struct ipaddr host_ip; /* family 0: every address; zeroes: every one of that family */
};

struct lease {
	char *pod_id;
	char *pod_name;                 /* "namespace/name", for messages */
	struct ipaddr ips[NET_IPS_MAX]; /* the primary first */
	size_t n_ips;
	struct hostport *ports;
	size_t n_ports;
	bool plugin_ports; /* a CNI plugin has them mapped: they are not in our table */
	bool closing;      /* its rules are going; the ports are not free before they are gone */
	TAILQ_ENTRY(lease) entry;
};

TAILQ_HEAD(lease_list, lease);

struct leases {
	struct lease_list list;
	size_t n;
};

void leases_init(struct leases *l);
void leases_release(struct leases *l);
struct lease *lease_find(struct leases *l, const char *pod_id);

/* A new one without addresses and ports, for a pod that has none yet. pod_name may be NULL. */
struct lease *lease_add(struct leases *l, const char *pod_id, const char *pod_name);
void lease_drop(struct leases *l, struct lease *lease);

/* Drop those of pods that are not in the list. */
void leases_keep(struct leases *l, const char *const *pod_ids, size_t n);

/* The pod that has this address, or NULL. */
struct lease *lease_of_ip(struct leases *l, const struct ipaddr *a);

/* Give the lease the pod's host ports (those with a host port). INVALID_ARGUMENT for a host_ip that
 * is none, for a container port 0; ALREADY_EXISTS naming the pod that holds a port, or that the pod
 * itself wants it twice. */
int lease_set_ports(
    struct leases *l, struct lease *lease, const struct net_port *ports, size_t n, struct err *err);

/* The record's members: "ips" and "ports". json_t owned by the caller. */
json_t *lease_ips_json(const struct lease *lease);
json_t *lease_ports_json(const struct lease *lease);
/* The same back; INVALID_ARGUMENT when they are not what the above makes. Conflicts as above. */
int lease_restore(
    struct leases *l, struct lease *lease, const json_t *ips, const json_t *ports, struct err *err);

const char *net_proto_name(enum net_proto proto); /* "tcp" */

/* The addresses, in text, as net_attach() and net_reserve() return them. */
void lease_result(const struct lease *lease, struct net_result *ret);

#endif
