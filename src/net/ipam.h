/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses of one subnet for the built-in network: struct ipam, a bitmap in memory. Who has which
 * address is the owner's to keep (in the pods' records); after a restart ipam_take() restores it.
 */
#ifndef NET_IPAM_H
#define NET_IPAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/ipaddr.h"

struct ipam {
	struct ipnet net;      /* without host bits; family 0: unused */
	struct ipaddr gateway; /* the first address; never given out */
	uint32_t first, last;  /* offsets that may be given out, both inclusive */
	uint32_t cursor;       /* where the search starts: behind the address given out last */
	uint32_t n_taken;
	uint64_t *taken; /* bit per offset */
};

/* A subnet needs room for the gateway and a pod: /30 or wider, /126 for IPv6. Of a large one the
 * first 65534 addresses are used. INVALID_ARGUMENT otherwise. */
int ipam_init(struct ipam *p, const struct ipnet *net, struct err *err);
void ipam_release(struct ipam *p);

/* The next free address, in turn, so that one that was given back rests as long as possible.
 * RESOURCE_EXHAUSTED when there is none. */
int ipam_get(struct ipam *p, struct ipaddr *ret, struct err *err);

/* Mark one as taken. false: it is outside, not to be given out, or taken already. */
bool ipam_take(struct ipam *p, const struct ipaddr *a);

void ipam_put(struct ipam *p, const struct ipaddr *a); /* fine for one that is not taken */

#endif
