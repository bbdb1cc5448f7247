/* SPDX-License-Identifier: Apache-2.0
 *
 * Masquerading of single addresses in the table "cni_plugins_masquerade", rule by rule as the
 * reference plugins' nftables backend writes them. Blocks: for the agent's process.
 */
#ifndef NET_NATIVE_MASQ_H
#define NET_NATIVE_MASQ_H

#include "base/buf.h"
#include "net/ipaddr.h"

/* Masquerade what these addresses send out of their subnets; in place of what the container had. */
int native_masq_add(const char *network, const char *ifname, const char *container_id,
    const struct ipnet *addrs, size_t n, struct err *err);
int native_masq_del(
    const char *network, const char *ifname, const char *container_id, struct err *err);

#endif
