/* SPDX-License-Identifier: Apache-2.0
 *
 * host-local's configuration: see hostlocal.h.
 */
#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "base/str.h"
#include "net/cni_conf.h"
#include "net/hostlocal.h"

static bool
only(const json_t *o, const char *const *keys)
{
	const char *key;
	const json_t *v;

	json_object_foreach ((json_t *)o, key, v) {
		const char *const *k = keys;

		/* The real plugin's JSON does not care for case: leave such to it. */
		while (*k != NULL && strcmp(*k, key) != 0)
			k++;
		if (*k == NULL)
			return false;
	}
	return json_is_object(o);
}

static bool
optional_string(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return v == NULL || json_is_string(v);
}

static bool
knows_range(const json_t *r)
{
	return optional_string(r, "subnet") && optional_string(r, "rangeStart") &&
	       optional_string(r, "rangeEnd") && optional_string(r, "gateway");
}

static bool
knows_sets(const json_t *sets)
{
	static const char *const keys[] = {"subnet", "rangeStart", "rangeEnd", "gateway", NULL};
	const json_t *set, *r;
	size_t i, k;

	if (sets == NULL)
		return true;
	if (!json_is_array(sets) || json_array_size(sets) > HOSTLOCAL_SETS - 1)
		return false;
	json_array_foreach (sets, i, set) {
		if (!json_is_array(set) || json_array_size(set) > HOSTLOCAL_RANGES)
			return false;
		json_array_foreach (set, k, r)
			if (!only(r, keys) || !knows_range(r))
				return false;
	}
	return true;
}

static bool
knows_routes(const json_t *routes)
{
	static const char *const keys[] = {"dst", "gw", NULL};
	const json_t *r;
	struct ipaddr a;
	struct ipnet n;
	size_t i;

	if (routes == NULL)
		return true;
	if (!json_is_array(routes))
		return false;
	json_array_foreach (routes, i, r)
		if (!only(r, keys) || !ipnet_parse(cni_str(r, "dst"), &n) ||
		    (json_object_get(r, "gw") != NULL && !ipaddr_parse(cni_str(r, "gw"), &a)))
			return false;
	return true;
}

bool
hostlocal_knows(const json_t *conf)
{
	static const char *const keys[] = {"type", "subnet", "rangeStart", "rangeEnd", "gateway",
	    "routes", "dataDir", "resolvConf", "ranges", NULL};
	const json_t *ipam = json_object_get(conf, "ipam");
	const json_t *runtime = json_object_get(conf, "runtimeConfig");
	size_t ranges = json_array_size(json_object_get(ipam, "ranges")) +
	                json_array_size(json_object_get(runtime, "ipRanges"));

	return only(ipam, keys) && knows_range(ipam) &&
	       knows_routes(json_object_get(ipam, "routes")) && optional_string(ipam, "dataDir") &&
	       optional_string(ipam, "resolvConf") && knows_sets(json_object_get(ipam, "ranges")) &&
	       knows_sets(json_object_get(runtime, "ipRanges")) && ranges < HOSTLOCAL_SETS &&
	       json_object_get(runtime, "ips") == NULL && json_object_get(conf, "args") == NULL;
}

/* ---- ranges --------------------------------------------------------------------------------- */

static bool
in_range(const struct hostlocal_range *r, const struct ipaddr *a)
{
	return ipnet_contains(&r->subnet, a) && ipaddr_cmp(a, &r->start) >= 0 &&
	       ipaddr_cmp(a, &r->end) <= 0;
}

static bool
ranges_overlap(const struct hostlocal_range *a, const struct hostlocal_range *b)
{
	return in_range(a, &b->start) || in_range(a, &b->end) || in_range(b, &a->start) ||
	       in_range(b, &a->end);
}

static int
optional_address(const json_t *o, const char *key, const struct ipnet *subnet, struct ipaddr *ret,
    struct err *err)
{
	const char *text = cni_str(o, key);
	char net[IPNET_SIZE];

	if (*text == '\0')
		return 0;
	if (!ipaddr_parse(text, ret))
		return err_set(err, ERR_INVALID_ARGUMENT, "invalid IP address: %.64s", text);
	if (subnet != NULL && !ipnet_contains(subnet, ret))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s%s %s not in network %s",
		    (const char[]){(char)(key[0] - 'a' + 'A'), '\0'}, key + 1, text,
		    ipnet_format(subnet, net));
	return 0;
}

static int
load_range(const json_t *o, struct hostlocal_range *r, struct err *err)
{
	struct ipaddr base;
	char text[IPNET_SIZE], text2[IPADDR_SIZE];

	*r = (struct hostlocal_range){0};
	if (!ipnet_parse(cni_str(o, "subnet"), &r->subnet))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "invalid CIDR address: %.64s", cni_str(o, "subnet"));
	if (r->subnet.prefix > ipaddr_bits(&r->subnet.addr) - 2)
		return err_set(err, ERR_INVALID_ARGUMENT, "Network %s too small to allocate from",
		    ipnet_format(&r->subnet, text));
	base = ipnet_base(&r->subnet);
	if (ipaddr_cmp(&base, &r->subnet.addr) != 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "Network has host bits set. For a subnet mask of length %u the network address "
		    "is %s",
		    r->subnet.prefix, ipaddr_format(&base, text2));
	r->gateway = r->start = ipaddr_add(&base, 1);
	r->end = ipnet_last(&r->subnet);
	if (base.family == AF_INET) /* without the broadcast address */
		r->end.b[3]--;
	if (optional_address(o, "gateway", NULL, &r->gateway, err) < 0 ||
	    optional_address(o, "rangeStart", &r->subnet, &r->start, err) < 0 ||
	    optional_address(o, "rangeEnd", &r->subnet, &r->end, err) < 0)
		return -1;
	return ipaddr_cmp(&r->start, &r->end) <= 0
	           ? 0
	           : err_set(err, ERR_INVALID_ARGUMENT, "RangeEnd %s not in network %s",
	                 cni_str(o, "rangeEnd"), ipnet_format(&r->subnet, text));
}

/* list: an array of ranges, or one range. */
static int
load_set(const json_t *list, struct hostlocal_set *set, struct err *err)
{
	size_t n = json_is_array(list) ? json_array_size(list) : 1;

	if (n == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "empty range set");
	for (set->n = 0; set->n < n; set->n++) {
		struct hostlocal_range *r = &set->ranges[set->n];

		if (load_range(json_is_array(list) ? json_array_get(list, set->n) : list, r, err) <
		    0)
			return -1;
		if (r->subnet.addr.family != set->ranges[0].subnet.addr.family)
			return err_set(err, ERR_INVALID_ARGUMENT, "mixed address families");
		for (size_t i = 0; i < set->n; i++)
			if (ranges_overlap(&set->ranges[i], r))
				return err_set(
				    err, ERR_INVALID_ARGUMENT, "subnets of a range set overlap");
	}
	return 0;
}

static bool
sets_overlap(const struct hostlocal_set *a, const struct hostlocal_set *b)
{
	for (size_t i = 0; i < a->n; i++)
		for (size_t k = 0; k < b->n; k++)
			if (ranges_overlap(&a->ranges[i], &b->ranges[k]))
				return true;
	return false;
}

static int
add_set(struct hostlocal_conf *c, const json_t *list, struct err *err)
{
	if (c->n == HOSTLOCAL_SETS)
		return err_set(err, ERR_INVALID_ARGUMENT, "too many range sets");
	if (load_set(list, &c->sets[c->n], err) < 0)
		return err_wrap(err, "invalid range set %zu", c->n);
	for (size_t i = 0; i < c->n; i++)
		if (sets_overlap(&c->sets[i], &c->sets[c->n]))
			return err_set(
			    err, ERR_INVALID_ARGUMENT, "range set %zu overlaps with %zu", i, c->n);
	c->n++;
	return 0;
}

/* In the order of the real plugin, whose "last reserved" files are numbered by it. */
static int
load_sets(const json_t *conf, struct hostlocal_conf *c, struct err *err)
{
	const json_t *ipam = json_object_get(conf, "ipam"), *set;
	size_t i;

	json_array_foreach (
	    json_object_get(json_object_get(conf, "runtimeConfig"), "ipRanges"), i, set)
		if (add_set(c, set, err) < 0)
			return -1;
	if (*cni_str(ipam, "subnet") != '\0' && add_set(c, ipam, err) < 0)
		return -1;
	json_array_foreach (json_object_get(ipam, "ranges"), i, set)
		if (add_set(c, set, err) < 0)
			return -1;
	return c->n > 0 ? 0 : err_set(err, ERR_INVALID_ARGUMENT, "no IP ranges specified");
}

int
hostlocal_load(const json_t *conf, struct hostlocal_conf *ret, struct err *err)
{
	const json_t *ipam = json_object_get(conf, "ipam");
	const char *dir = cni_str(ipam, "dataDir"), *version = cni_str(conf, "cniVersion");
	size_t n[2] = {0, 0};

	*ret = (struct hostlocal_conf){
	    .routes = json_object_get(ipam, "routes"), .resolv_conf = cni_str(ipam, "resolvConf")};
	if (*dir == '\0')
		dir = "/var/lib/cni/networks";
	if (!cni_name_valid(cni_str(conf, "name")) || dir[0] != '/' ||
	    snprintf(ret->dir, sizeof(ret->dir), "%s/%s", dir, cni_str(conf, "name")) >=
	        (int)sizeof(ret->dir) - 64)
		return err_set(err, ERR_INVALID_ARGUMENT, "host-local: no directory '%.200s'", dir);
	if (load_sets(conf, ret, err) < 0)
		return -1;
	for (size_t i = 0; i < ret->n; i++)
		n[ret->sets[i].ranges[0].subnet.addr.family == AF_INET6]++;
	if ((n[0] > 1 || n[1] > 1) && cni_version_cmp(version, "0.3.0") < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "CNI version %s does not support more than 1 address per family", version);
	return 0;
}
