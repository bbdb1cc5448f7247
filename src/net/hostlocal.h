/* SPDX-License-Identifier: Apache-2.0
 *
 * The IPAM plugin "host-local" for native use: ranges, and the directory with a file for every
 * address that is taken. Format, locking and order of allocation are the reference plugin's, so
 * that both can work on one directory. Blocks: for the agent's process.
 */
#ifndef NET_HOSTLOCAL_H
#define NET_HOSTLOCAL_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "net/ipaddr.h"
#include "net/native.h"

enum { HOSTLOCAL_RANGES = 16, HOSTLOCAL_SETS = 16 };

struct hostlocal_range {
	struct ipnet subnet;
	struct ipaddr start, end; /* inclusive */
	struct ipaddr gateway;    /* never given out */
};

struct hostlocal_set {
	struct hostlocal_range ranges[HOSTLOCAL_RANGES]; /* of one family */
	size_t n;
};

struct hostlocal_conf {
	char dir[PATH_MAX];
	struct hostlocal_set sets[HOSTLOCAL_SETS]; /* an address from each */
	size_t n;
	const json_t *routes;    /* borrowed; NULL: none */
	const char *resolv_conf; /* "": none */
};

/* Does the member "ipam" have only what we know? */
bool hostlocal_knows(const json_t *conf);

/* From a plugin's configuration. INVALID_ARGUMENT with the reference plugin's words. */
int hostlocal_load(const json_t *conf, struct hostlocal_conf *ret, struct err *err);

/* One address of each set, on disk before it returns. An address that this container has already is
 * an error, as the specification has it. */
int hostlocal_get(const struct hostlocal_conf *conf, const char *id, const char *ifname,
    struct ipnet *ret_addrs, struct ipaddr *ret_gateways, struct err *err);

/* Give back whatever the container has; fine when that is nothing. */
int hostlocal_put(
    const struct hostlocal_conf *conf, const char *id, const char *ifname, struct err *err);

/* NOT_FOUND when the container has no address. */
int hostlocal_check(
    const struct hostlocal_conf *conf, const char *id, const char *ifname, struct err *err);

/* The plugin's whole ADD: a result of 1.1.0 with ips, routes, dns. */
json_t *hostlocal_add(const struct native_call *c, struct err *err);

#endif
