/* SPDX-License-Identifier: Apache-2.0
 *
 * Links, addresses and routes over a netlink socket (NETLINK_ROUTE). Each function is one dialogue
 * with the kernel and may wait for its lock; rtnl_queue_*() only collect a message for nl_talk().
 */
#ifndef NET_RTNL_H
#define NET_RTNL_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "net/ipaddr.h"
#include "net/nl.h"

enum {
	MAC_SIZE = 6,
	MAC_TEXT = 18,
	RTNL_OPER_UP = 6 /* IF_OPER_UP of linux/if.h, which net/if.h excludes */
};

struct rtnl_link {
	int index;
	int master; /* 0: none */
	int peer;   /* IFLA_LINK: a veth's other end; 0: none */
	unsigned flags, mtu;
	unsigned operstate;  /* RTNL_OPER_UP, or not yet */
	unsigned port_state; /* of a bridge's port: BR_STATE_* of linux/if_bridge.h */
	char name[IFNAMSIZ];
	char kind[16]; /* "bridge", "veth"; "" for a physical one */
	uint8_t mac[MAC_SIZE];
	bool has_mac;
};

struct rtnl_addr {
	int index;
	struct ipnet net;
};

struct rtnl_route {
	struct ipnet dst; /* the default route: zeroes with prefix 0 */
	struct ipaddr gw; /* family 0: none */
	int index;        /* of the outgoing link; 0: none */
	bool link_scope;
};

struct rtnl_veth {
	const char *name;      /* here */
	const char *peer_name; /* there */
	int peer_netns_fd;
	int master;                    /* index of the bridge; 0: none */
	unsigned mtu;                  /* 0: the kernel's */
	const uint8_t *mac, *peer_mac; /* NULL: random */
	bool hairpin;
	bool up; /* this end; the other one cannot be before both are there */
};

/* 1, or 0 when there is no such link, or -1. */
int rtnl_link_get(struct nl *nl, const char *name, struct rtnl_link *ret, struct err *err);
int rtnl_link_get_index(struct nl *nl, int index, struct rtnl_link *ret, struct err *err);

/* Every link in turn; each() returns false to stop. */
int rtnl_links(
    struct nl *nl, bool (*each)(const struct rtnl_link *, void *), void *arg, struct err *err);
int rtnl_addrs(struct nl *nl, int family, bool (*each)(const struct rtnl_addr *, void *), void *arg,
    struct err *err);
int rtnl_routes(struct nl *nl, int family, bool (*each)(const struct rtnl_route *, void *),
    void *arg, struct err *err);

/* Has the host joined the group by which neighbours ask for this IPv6 address? */
bool rtnl_answers_for(struct nl *nl, const struct ipaddr *a);

/* The number of the link that leads to an address; 0: none does. */
int rtnl_route_to(struct nl *nl, const struct ipaddr *a, int *ret_index, struct err *err);

/* -1 with errno EEXIST kept when the name is taken. */
/* mac NULL, mtu 0: the kernel's. */
int rtnl_bridge_add(
    struct nl *nl, const char *name, const uint8_t *mac, unsigned mtu, struct err *err);
int rtnl_veth_add(struct nl *nl, const struct rtnl_veth *v, struct err *err);

/* A missing link is fine. */
int rtnl_link_del(struct nl *nl, const char *name, struct err *err);
/* Delete many together, which takes hardly longer than one. */
int rtnl_links_del(struct nl *nl, const char *const *names, size_t n, struct err *err);
int rtnl_link_up(struct nl *nl, int index, struct err *err);
int rtnl_link_set_flags(struct nl *nl, int index, unsigned flags, unsigned mask, struct err *err);
int rtnl_link_set_mac(
    struct nl *nl, int index, const uint8_t mac[static MAC_SIZE], struct err *err);
int rtnl_addr_del(struct nl *nl, int index, const struct ipnet *addr, struct err *err);

bool mac_parse(const char *s, uint8_t ret[static MAC_SIZE]); /* "0a:58:0a:01:00:05" */
const char *mac_format(const uint8_t mac[static MAC_SIZE], char out[static MAC_TEXT]);

void rtnl_queue_up(struct nl *nl, int index);
/* Let a bridge send a packet out of the port it came in by: a pod that calls its own host port. */
void rtnl_queue_hairpin(struct nl *nl, const char *port);
/* Address on a link. no_dad: usable at once, nobody is asked whether it is free. */
void rtnl_queue_addr(struct nl *nl, int index, const struct ipnet *addr, bool no_dad, bool replace);
void rtnl_queue_route(struct nl *nl, const struct rtnl_route *r, bool replace);

#endif
