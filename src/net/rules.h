/* SPDX-License-Identifier: Apache-2.0
 *
 * Our nftables table as text: masquerading for the built-in bridge, and host ports. All text comes
 * from parsed values, none from a client's strings.
 */
#ifndef NET_RULES_H
#define NET_RULES_H

#include "base/buf.h"
#include "net/lease.h"

struct rules_spec {
	const char *table;       /* name, as rules_table_name() makes it */
	const char *bridge;      /* the built-in network's; NULL: host ports only */
	struct ipnet subnets[2]; /* of the bridge, to be masqueraded; family 0: unused */
};

/* A name that nft takes: the instance's letters and digits, others as '_'. */
void rules_table_name(const char *instance, char *out, size_t size);

/* Make the table, or bring an existing one to the present rules; its elements stay. */
void rules_table(const struct rules_spec *spec, struct buf *out);

/* The host ports of all leases that are not closing, in place of those the table has. */
void rules_ports(const char *table, const struct leases *leases, struct buf *out);

void rules_remove(const char *table, struct buf *out); /* fine when there is none */

#endif
