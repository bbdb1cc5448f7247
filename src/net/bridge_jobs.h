/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's half of the built-in network: what its jobs do to links, addresses, rules. Every one
 *is idempotent. Requests come from net/builtin.c:
 *
 *	bridge-setup   {bridge, mtu, mac, addrs: ["10.88.0.1/16"…], nft}
 *	bridge-attach  {netns, link, bridge, mtu, mac, addrs, gateways, nft?, udp: [port…]}
 *	bridge-detach  {link, nft?, udp, ips}
 *	bridge-gc      {bridge, links: [those to keep], nft}
 *	nft            {nft, udp, ips, to: [pods' addresses to be reached from 127.0.0.1]}
 */
#ifndef NET_BRIDGE_JOBS_H
#define NET_BRIDGE_JOBS_H

#include "net/agent.h"

agent_fn job_bridge_setup, job_bridge_attach, job_bridge_gc, job_nft;
agent_many_fn jobs_bridge_detach;

/* Remove the bridge and the table; FAILED_PRECONDITION when the bridge has ports. */
int bridge_remove(const char *bridge, const char *table, struct err *err);

#endif
