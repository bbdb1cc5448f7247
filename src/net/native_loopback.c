/* SPDX-License-Identifier: Apache-2.0
 *
 * The plugin "loopback": sets lo up, and says which addresses it has.
 */
#include "net/native.h"

#include <unistd.h>

#include "net/cni_conf.h"
#include "net/cni_result.h"
#include "net/netns.h"
#include "net/rtnl.h"

static bool
add_address(const struct rtnl_addr *a, void *arg)
{
	json_t *ips = arg;
	char text[IPNET_SIZE];

	if (a->index == 1)
		json_array_append_new(ips,
		    json_pack("{s:s,s:i}", "address", ipnet_format(&a->net, text), "interface", 0));
	return true;
}

static int
set_up(struct nl *nl, const struct native_call *c, json_t *result, struct err *err)
{
	struct rtnl_link lo;
	int found = rtnl_link_get(nl, "lo", &lo, err);

	if (found <= 0 || (!(lo.flags & IFF_UP) && rtnl_link_up(nl, lo.index, err) < 0))
		return found != 0 ? -1 : err_set(err, ERR_INTERNAL, "there is no lo");
	json_object_set_new(result, "interfaces",
	    json_pack(
	        "[{s:s,s:s,s:s}]", "name", "lo", "mac", "00:00:00:00:00:00", "sandbox", c->netns));
	return rtnl_addrs(nl, AF_UNSPEC, add_address, json_object_get(result, "ips"), err);
}

static int
loopback_add(const struct native_call *c, json_t **ret_result, struct err *err)
{
	json_t *result;
	struct nl nl;
	int netns, ret;

	if (native_prev_result(c, &result, err) < 0)
		return -1;
	netns = netns_open(c->netns, NULL, err);
	if (netns < 0 || nl_open(&nl, NETLINK_ROUTE, netns, err) < 0) {
		json_decref(result);
		if (netns >= 0)
			close(netns);
		return -1;
	}
	if (result == NULL) {
		result = json_pack("{s:[]}", "ips");
		ret = set_up(&nl, c, result, err);
	} else {
		json_t *scratch = json_pack("{s:[]}", "ips");

		ret = set_up(&nl, c, scratch, err);
		json_decref(scratch);
	}
	nl_close(&nl);
	close(netns);
	if (ret == 0)
		return native_export_take(c, result, ret_result, err);
	json_decref(result);
	return -1;
}

/* The namespace goes anyway; the real plugin sets lo down. */
static int
loopback_del(const struct native_call *c, struct err *err)
{
	(void)c;
	(void)err;
	return 0;
}

static int
loopback_check(const struct native_call *c, struct err *err)
{
	struct rtnl_link lo = {0};
	struct nl nl;
	int netns = netns_open(c->netns, NULL, err), ret;

	if (netns < 0)
		return -1;
	ret = nl_open(&nl, NETLINK_ROUTE, netns, err);
	close(netns);
	if (ret < 0)
		return -1;
	ret = rtnl_link_get(&nl, "lo", &lo, err);
	nl_close(&nl);
	if (ret < 0)
		return -1;
	return lo.flags & IFF_UP ? 0 : err_set(err, ERR_FAILED_PRECONDITION, "lo is down");
}

static const char *const members[] = {NULL};

const struct native_plugin native_loopback = {.type = "loopback",
    .members = members,
    .add = loopback_add,
    .del = loopback_del,
    .check = loopback_check};
