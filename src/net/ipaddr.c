/* SPDX-License-Identifier: Apache-2.0
 *
 * IP addresses and subnets as values: see ipaddr.h.
 */
#include "net/ipaddr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

bool
ipaddr_parse(const char *s, struct ipaddr *ret)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct ipaddr a = {0};

	if (inet_pton(AF_INET, s, a.b) == 1) {
		a.family = AF_INET;
	} else if (inet_pton(AF_INET6, s, a.b) == 1) {
		a.family = AF_INET6;
		if (memcmp(a.b, mapped, sizeof(mapped)) == 0) {
			uint8_t v4[4];

			memcpy(v4, a.b + 12, 4);
			a = (struct ipaddr){.family = AF_INET};
			memcpy(a.b, v4, 4);
		}
	} else {
		return false;
	}
	*ret = a;
	return true;
}

bool
ipnet_parse(const char *s, struct ipnet *ret)
{
	const char *slash = strchr(s, '/');
	char text[IPADDR_SIZE];
	struct ipnet n;
	uint32_t prefix;

	if (slash == NULL || (size_t)(slash - s) >= sizeof(text))
		return false;
	memcpy(text, s, (size_t)(slash - s));
	text[slash - s] = '\0';
	/* "::ffff:10.0.0.0/104" has two readings: refused */
	if (!ipaddr_parse(text, &n.addr) ||
	    (n.addr.family == AF_INET) != (strchr(text, ':') == NULL) || strlen(slash + 1) > 3 ||
	    str_u32(slash + 1, ipaddr_bits(&n.addr), &prefix) < 0)
		return false;
	n.prefix = prefix;
	*ret = n;
	return true;
}

const char *
ipaddr_format(const struct ipaddr *a, char out[static IPADDR_SIZE])
{
	if (inet_ntop(a->family, a->b, out, IPADDR_SIZE) == NULL)
		out[0] = '\0';
	return out;
}

const char *
ipnet_format(const struct ipnet *n, char out[static IPNET_SIZE])
{
	char addr[IPADDR_SIZE];

	snprintf(out, IPNET_SIZE, "%s/%u", ipaddr_format(&n->addr, addr), n->prefix % 1000);
	return out;
}

unsigned
ipaddr_bits(const struct ipaddr *a)
{
	return a->family == AF_INET ? 32 : 128;
}

size_t
ipaddr_len(const struct ipaddr *a)
{
	return a->family == AF_INET ? 4 : 16;
}

int
ipaddr_cmp(const struct ipaddr *a, const struct ipaddr *b)
{
	if (a->family != b->family)
		return a->family == AF_INET ? -1 : 1;
	return memcmp(a->b, b->b, sizeof(a->b));
}

bool
ipaddr_is_zero(const struct ipaddr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->b, zero, sizeof(zero)) == 0;
}

bool
ipaddr_is_loopback(const struct ipaddr *a)
{
	struct ipaddr low = *a;

	if (a->family == AF_INET)
		return a->b[0] == 127;
	low.b[15] = 0;
	return a->b[15] == 1 && ipaddr_is_zero(&low);
}

static struct ipaddr
fill_host_bits(const struct ipnet *n, bool ones)
{
	struct ipaddr a = n->addr;
	unsigned bits = ipaddr_bits(&a);

	assert(n->prefix <= bits);
	for (unsigned i = n->prefix; i < bits; i++) {
		uint8_t bit = (uint8_t)(0x80 >> (i % 8));

		if (ones)
			a.b[i / 8] |= bit;
		else
			a.b[i / 8] &= (uint8_t)~bit;
	}
	return a;
}

struct ipaddr
ipnet_base(const struct ipnet *n)
{
	return fill_host_bits(n, false);
}

struct ipaddr
ipnet_last(const struct ipnet *n)
{
	return fill_host_bits(n, true);
}

bool
ipnet_contains(const struct ipnet *n, const struct ipaddr *a)
{
	struct ipnet same = {.addr = *a, .prefix = n->prefix};
	struct ipaddr base, other;

	if (n->addr.family != a->family)
		return false;
	base = ipnet_base(n);
	other = ipnet_base(&same);
	return ipaddr_cmp(&base, &other) == 0;
}

bool
ipnet_overlaps(const struct ipnet *a, const struct ipnet *b)
{
	return a->prefix <= b->prefix ? ipnet_contains(a, &b->addr) : ipnet_contains(b, &a->addr);
}

struct ipaddr
ipaddr_add(const struct ipaddr *a, uint64_t n)
{
	struct ipaddr sum = *a;

	for (size_t i = ipaddr_len(a); i-- > 0 && n > 0;) {
		n += sum.b[i];
		sum.b[i] = (uint8_t)n;
		n >>= 8;
	}
	return sum;
}

uint64_t
ipaddr_distance(const struct ipaddr *base, const struct ipaddr *a)
{
	size_t len = ipaddr_len(a);
	uint8_t diff[16];
	uint64_t n = 0;
	int borrow = 0;

	if (base->family != a->family || ipaddr_cmp(a, base) < 0)
		return UINT64_MAX;
	for (size_t i = len; i-- > 0;) {
		int d = a->b[i] - base->b[i] - borrow;

		borrow = d < 0;
		diff[i] = (uint8_t)(d + (borrow ? 256 : 0));
	}
	for (size_t i = 0; i < len; i++) {
		if (n >> 56 != 0)
			return UINT64_MAX;
		n = n << 8 | diff[i];
	}
	return n;
}
