/* SPDX-License-Identifier: Apache-2.0
 *
 * IP addresses and subnets as values: parsed strictly, compared, counted through.
 */
#ifndef NET_IPADDR_H
#define NET_IPADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

enum { IPADDR_SIZE = 46, IPNET_SIZE = 50 };

struct ipaddr {
	int family;    /* AF_INET or AF_INET6; 0: none */
	uint8_t b[16]; /* network order; the rest is zero */
};

struct ipnet {
	struct ipaddr addr; /* may have host bits: "10.1.2.3/16" */
	unsigned prefix;
};

/* "10.1.2.3", "fd00::1"; an IPv4-mapped IPv6 address becomes IPv4. false: anything else, blanks,
 * zones and octal digits included. */
bool ipaddr_parse(const char *s, struct ipaddr *ret);
/* "10.1.2.3/16"; the prefix is required. */
bool ipnet_parse(const char *s, struct ipnet *ret);

const char *ipaddr_format(const struct ipaddr *a, char out[static IPADDR_SIZE]);
const char *ipnet_format(const struct ipnet *n, char out[static IPNET_SIZE]);

unsigned ipaddr_bits(const struct ipaddr *a);                   /* 32 or 128 */
size_t ipaddr_len(const struct ipaddr *a);                      /* 4 or 16 */
int ipaddr_cmp(const struct ipaddr *a, const struct ipaddr *b); /* IPv4 before IPv6 */
bool ipaddr_is_zero(const struct ipaddr *a);
bool ipaddr_is_loopback(const struct ipaddr *a);

struct ipaddr ipnet_base(const struct ipnet *n); /* host bits cleared */
struct ipaddr ipnet_last(const struct ipnet *n); /* host bits set: IPv4's broadcast address */
bool ipnet_contains(const struct ipnet *n, const struct ipaddr *a);
bool ipnet_overlaps(const struct ipnet *a, const struct ipnet *b);

/* a + n; wraps at the end of the family's range. */
struct ipaddr ipaddr_add(const struct ipaddr *a, uint64_t n);
/* a - base, or UINT64_MAX when it is more than fits or below. */
uint64_t ipaddr_distance(const struct ipaddr *base, const struct ipaddr *a);

#endif
