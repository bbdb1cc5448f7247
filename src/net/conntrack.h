/* SPDX-License-Identifier: Apache-2.0
 *
 * Forgetting connections: a UDP client goes on with the same ports, so the kernel would keep
 * sending it to where a host port led before. Blocks: for the agent's process.
 */
#ifndef NET_CONNTRACK_H
#define NET_CONNTRACK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "net/ipaddr.h"

/* Delete the UDP entries whose original destination port is one of ports, and those that are
 * answered from one of the addresses. Entries that are gone already are fine, and so is a kernel
 * without connection tracking. */
int conntrack_flush_udp(
    const uint16_t *ports, size_t n_ports, const struct ipaddr *ips, size_t n_ips, struct err *err);

#endif
