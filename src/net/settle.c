/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting for new links: see settle.h. (RTM_GETLINK of newer kernels runs the pending work itself.)
 */
#include "net/settle.h"

#include <linux/if_bridge.h>
#include <unistd.h>

enum { TRIES = 500, PAUSE_US = 200 };

static bool
is_up(struct nl *nl, const char *name, bool is_port)
{
	struct err ignored = {0};
	struct rtnl_link l;

	return rtnl_link_get(nl, name, &l, &ignored) > 0 && l.operstate == RTNL_OPER_UP &&
	       (!is_port || l.port_state == BR_STATE_FORWARDING);
}

static bool
answers(struct nl *pod, const struct ipaddr *addrs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (addrs[i].family == AF_INET6 && !rtnl_answers_for(pod, &addrs[i]))
			return false;
	return true;
}

bool
settle_links(struct nl *host, const char *link, const char *bridge, struct nl *pod,
    const char *ifname, const struct ipaddr *addrs, size_t n)
{
	for (int i = 0; i < TRIES; i++) {
		if (is_up(host, link, true) && is_up(host, bridge, false) &&
		    is_up(pod, ifname, false) && answers(pod, addrs, n))
			return true;
		usleep(PAUSE_US);
	}
	return false;
}
