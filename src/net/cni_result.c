/* SPDX-License-Identifier: Apache-2.0
 *
 * CNI results: see cni_result.h. Versions: 0.1.0 and 0.2.0 have one address of each family with its
 * routes inside (ip4, ip6); 0.3.0 to 0.4.0 have lists, and say "version" at each address; 1.0.0
 * does not; 1.1.0 has more members (https://www.cni.dev/docs/spec-upgrades/).
 */
#include "net/cni_result.h"

#include <string.h>

#include "base/str.h"
#include "net/cni_conf.h"

enum { LIST_MAX = 4096 };

static int
invalid(struct err *err, const char *what)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "result: %s", what);
}

static bool
optional_list(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return v == NULL || json_is_null(v) || (json_is_array(v) && json_array_size(v) <= LIST_MAX);
}

static int
check_route(const json_t *r, struct err *err)
{
	const char *gw = cni_str(r, "gw");
	struct ipaddr a;
	struct ipnet n;

	if (!json_is_object(r) || !ipnet_parse(cni_str(r, "dst"), &n))
		return invalid(err, "a route has no 'dst'");
	if (*gw != '\0' && !ipaddr_parse(gw, &a))
		return invalid(err, "a route's 'gw' is no address");
	return 0;
}

static int
check_ip(const json_t *ip, size_t n_interfaces, struct err *err)
{
	const json_t *index = json_object_get(ip, "interface");
	const char *gw = cni_str(ip, "gateway");
	struct ipaddr a;
	struct ipnet n;

	if (!json_is_object(ip) || !ipnet_parse(cni_str(ip, "address"), &n))
		return invalid(err, "an IP has no 'address' with a prefix");
	if (*gw != '\0' && !ipaddr_parse(gw, &a))
		return invalid(err, "an IP's 'gateway' is no address");
	if (index == NULL || json_is_null(index))
		return 0;
	/* Some plugins say -1 for none. */
	if (!json_is_integer(index) || json_integer_value(index) < -1 ||
	    json_integer_value(index) >= (json_int_t)n_interfaces)
		return invalid(err, "an IP's 'interface' is out of range");
	return 0;
}

static int
check_lists(const json_t *o, struct err *err)
{
	const json_t *interfaces = json_object_get(o, "interfaces"), *v;
	const json_t *dns = json_object_get(o, "dns");
	size_t i;

	if (!optional_list(o, "interfaces") || !optional_list(o, "ips") ||
	    !optional_list(o, "routes"))
		return invalid(err, "'interfaces', 'ips' or 'routes' is no list");
	if (dns != NULL && !json_is_null(dns) && !json_is_object(dns))
		return invalid(err, "'dns' is no object");
	json_array_foreach (interfaces, i, v)
		if (!json_is_object(v) || !json_is_string(json_object_get(v, "name")))
			return invalid(err, "an interface has no 'name'");
	json_array_foreach (json_object_get(o, "ips"), i, v)
		if (check_ip(v, json_array_size(interfaces), err) < 0)
			return -1;
	json_array_foreach (json_object_get(o, "routes"), i, v)
		if (check_route(v, err) < 0)
			return -1;
	return 0;
}

/* ---- from a version ------------------------------------------------------------------------- */

static void
drop_empty(json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	if (json_is_null(v) || (json_is_object(v) && json_object_size(v) == 0))
		json_object_del(o, key);
}

/* {ip, gateway, routes} */
static int
import_old_ip(const json_t *old, json_t *ips, json_t *routes, struct err *err)
{
	const json_t *list = json_object_get(old, "routes");
	json_t *ip, *gateway;

	if (old == NULL || json_is_null(old))
		return 0;
	if (!json_is_object(old) || !optional_list(old, "routes"))
		return invalid(err, "'ip4' or 'ip6' is malformed");
	ip = json_pack("{s:O*}", "address", json_object_get(old, "ip"));
	gateway = json_object_get(old, "gateway");
	if (gateway != NULL && !json_is_null(gateway))
		json_object_set(ip, "gateway", gateway);
	json_array_append_new(ips, ip);
	if (json_is_array(list))
		json_array_extend(routes, (json_t *)list);
	return 0;
}

static json_t *
import_old(const json_t *result, struct err *err)
{
	json_t *ips = json_array(), *routes = json_array(), *o;

	if (import_old_ip(json_object_get(result, "ip4"), ips, routes, err) < 0 ||
	    import_old_ip(json_object_get(result, "ip6"), ips, routes, err) < 0) {
		json_decref(ips);
		json_decref(routes);
		return NULL;
	}
	o = json_pack("{s:o,s:o}", "ips", ips, "routes", routes);
	if (json_is_object(json_object_get(result, "dns")))
		json_object_set_new(o, "dns", json_deep_copy(json_object_get(result, "dns")));
	return o;
}

json_t *
cni_result_import(const json_t *result, struct err *err)
{
	const char *version = cni_str(result, "cniVersion");
	json_t *o, *v;
	size_t i;

	if (!json_is_object(result)) {
		invalid(err, "is no JSON object");
		return NULL;
	}
	if (*version == '\0')
		version = "0.1.0"; /* as libcni takes it */
	if (!cni_version_valid(version) || cni_version_cmp(version, CNI_VERSION_MAX) > 0) {
		err_set(err, ERR_INVALID_ARGUMENT, "result: version '%.32s' is not known", version);
		return NULL;
	}
	o = cni_version_cmp(version, "0.3.0") < 0 ? import_old(result, err)
	                                          : json_deep_copy(result);
	if (o == NULL)
		return NULL;
	if (check_lists(o, err) < 0) {
		json_decref(o);
		return NULL;
	}
	json_array_foreach (json_object_get(o, "ips"), i, v) {
		json_object_del(v, "version");
		if (json_integer_value(json_object_get(v, "interface")) < 0)
			json_object_del(v, "interface");
		drop_empty(v, "interface");
	}
	drop_empty(o, "interfaces");
	drop_empty(o, "ips");
	drop_empty(o, "routes");
	drop_empty(o, "dns");
	json_object_set_new(o, "cniVersion", json_string(CNI_VERSION_MAX));
	return o;
}

json_t *
cni_result_parse(const char *text, size_t len, struct err *err)
{
	json_error_t why;
	json_t *o = json_loadb(text != NULL ? text : "", len, 0, &why), *result;

	if (o == NULL) {
		err_set(err, ERR_INVALID_ARGUMENT, "result: line %d: %s", why.line, why.text);
		return NULL;
	}
	result = cni_result_import(o, err);
	json_decref(o);
	return result;
}

/* ---- to a version --------------------------------------------------------------------------- */

static int
family_of(const json_t *o, const char *key)
{
	struct ipnet n;

	return ipnet_parse(cni_str(o, key), &n) ? n.addr.family : 0;
}

/* The first address of each family, with the routes of that family. */
static json_t *
export_old(const json_t *result, struct err *err)
{
	json_t *o = json_object(), *v, *old;
	size_t i;

	json_array_foreach (json_object_get(result, "ips"), i, v) {
		const char *key = family_of(v, "address") == AF_INET ? "ip4" : "ip6";

		if (json_object_get(o, key) != NULL)
			continue;
		old = json_pack("{s:O}", "ip", json_object_get(v, "address"));
		if (json_object_get(v, "gateway") != NULL)
			json_object_set(old, "gateway", json_object_get(v, "gateway"));
		json_object_set_new(o, key, old);
	}
	if (json_object_size(o) == 0) {
		json_decref(o);
		err_set(err, ERR_FAILED_PRECONDITION,
		    "result: without an IP address it has no form in this CNI version");
		return NULL;
	}
	json_array_foreach (json_object_get(result, "routes"), i, v) {
		json_t *route = json_pack("{s:O}", "dst", json_object_get(v, "dst")), *routes;

		if (json_object_get(v, "gw") != NULL)
			json_object_set(route, "gw", json_object_get(v, "gw"));
		old = json_object_get(o, family_of(v, "dst") == AF_INET ? "ip4" : "ip6");
		routes = json_object_get(old, "routes");
		if (old != NULL && routes == NULL) {
			routes = json_array();
			json_object_set_new(old, "routes", routes);
		}
		json_array_append_new(routes, route); /* drops it when there is no list */
	}
	return o;
}

/* 1.0.0 added members to interfaces. */
static void
strip_new(json_t *o)
{
	static const char *const of_interface[] = {"mtu", "socketPath", "pciID"};
	json_t *v;
	size_t i;

	json_array_foreach (json_object_get(o, "interfaces"), i, v)
		for (size_t k = 0; k < sizeof(of_interface) / sizeof(of_interface[0]); k++)
			json_object_del(v, of_interface[k]);
}

json_t *
cni_result_export(const json_t *result, const char *version, struct err *err)
{
	json_t *o, *v;
	size_t i;

	if (cni_version_cmp(version, "0.3.0") < 0) {
		o = export_old(result, err);
		if (o == NULL)
			return NULL;
		if (json_is_object(json_object_get(result, "dns")))
			json_object_set_new(
			    o, "dns", json_deep_copy(json_object_get(result, "dns")));
	} else {
		o = json_deep_copy(result);
		if (cni_version_cmp(version, "1.0.0") < 0)
			strip_new(o);
		if (cni_version_cmp(version, "1.0.0") < 0)
			json_array_foreach (json_object_get(o, "ips"), i, v)
				json_object_set_new(v, "version",
				    json_string(family_of(v, "address") == AF_INET ? "4" : "6"));
	}
	json_object_set_new(o, "cniVersion", json_string(version));
	return o;
}

/* ---- addresses ------------------------------------------------------------------------------ */

static bool
on_interface(const json_t *result, const json_t *ip, const char *ifname)
{
	const json_t *index = json_object_get(ip, "interface"), *interface;

	if (index == NULL)
		return true;
	interface = json_array_get(
	    json_object_get(result, "interfaces"), (size_t)json_integer_value(index));
	return *cni_str(interface, "sandbox") != '\0' &&
	       strcmp(cni_str(interface, "name"), ifname) == 0;
}

static size_t
collect(
    const json_t *result, const char *ifname, int family, struct ipaddr *out, size_t n, size_t max)
{
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(result, "ips"), i, v) {
		struct ipnet ip;
		size_t k = 0;

		if (!ipnet_parse(cni_str(v, "address"), &ip) || ip.addr.family != family ||
		    (ifname != NULL && !on_interface(result, v, ifname)))
			continue;
		while (k < n && ipaddr_cmp(&out[k], &ip.addr) != 0)
			k++;
		if (k == n && n < max)
			out[n++] = ip.addr;
	}
	return n;
}

size_t
cni_result_ips(const json_t *result, const char *ifname, struct ipaddr *out, size_t max)
{
	size_t n = collect(result, ifname, AF_INET, out, 0, max);

	n = collect(result, ifname, AF_INET6, out, n, max);
	if (n > 0)
		return n;
	n = collect(result, NULL, AF_INET, out, 0, max);
	return collect(result, NULL, AF_INET6, out, n, max);
}
