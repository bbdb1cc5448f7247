/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting until a new link carries packets. The kernel notices from a work queue that a link has a
 * carrier, and joins the group of an IPv6 address from another; before that it drops packets, and a
 * pod's first connection would wait for TCP's second attempt. Blocks: for the agent's process.
 */
#ifndef NET_SETTLE_H
#define NET_SETTLE_H

#include <stddef.h>

#include "net/ipaddr.h"
#include "net/rtnl.h"

/* link: the host's end, a port of the bridge; ifname and addrs: the pod's. Microseconds as a rule,
 * some milliseconds on a busy machine; after 100 ms the pod is left to itself, and false returned.
 */
bool settle_links(struct nl *host, const char *link, const char *bridge, struct nl *pod,
    const char *ifname, const struct ipaddr *addrs, size_t n);

#endif
