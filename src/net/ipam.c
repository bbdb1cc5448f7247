/* SPDX-License-Identifier: Apache-2.0
 *
 * Address pool: see ipam.h.
 */
#include "net/ipam.h"

#include <string.h>

#include "base/xalloc.h"

enum { IPAM_MAX = 65536 };

int
ipam_init(struct ipam *p, const struct ipnet *net, struct err *err)
{
	unsigned host_bits = ipaddr_bits(&net->addr) - net->prefix;
	char text[IPNET_SIZE];
	uint32_t size;

	if (host_bits < 2)
		return err_set(err, ERR_INVALID_ARGUMENT, "subnet %s has no room for pods",
		    ipnet_format(net, text));
	size = host_bits >= 16 ? IPAM_MAX : 1U << host_bits;
	*p = (struct ipam){
	    .net = {.addr = ipnet_base(net), .prefix = net->prefix},
	    .first = 2,
	    .last = size - 2, /* IPv4's broadcast address is size - 1 */
	    .cursor = 2,
	    .taken = xcalloc((size + 63) / 64, sizeof(uint64_t)),
	};
	p->gateway = ipaddr_add(&p->net.addr, 1);
	return 0;
}

void
ipam_release(struct ipam *p)
{
	free(p->taken);
	*p = (struct ipam){0};
}

static bool
is_taken(const struct ipam *p, uint32_t i)
{
	return p->taken[i / 64] >> (i % 64) & 1;
}

static void
mark(struct ipam *p, uint32_t i)
{
	p->taken[i / 64] |= UINT64_C(1) << (i % 64);
	p->n_taken++;
	p->cursor = i < p->last ? i + 1 : p->first;
}

int
ipam_get(struct ipam *p, struct ipaddr *ret, struct err *err)
{
	uint32_t n = p->last - p->first + 1, i = p->cursor;
	char text[IPNET_SIZE];

	if (p->n_taken >= n)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
		    "no address left in subnet %s (%u in use)", ipnet_format(&p->net, text),
		    p->n_taken);
	while (is_taken(p, i))
		i = i < p->last ? i + 1 : p->first;
	mark(p, i);
	*ret = ipaddr_add(&p->net.addr, i);
	return 0;
}

/* The bit of an address, or 0, which is no pod's. */
static uint32_t
offset_of(const struct ipam *p, const struct ipaddr *a)
{
	uint64_t i;

	if (p->taken == NULL)
		return 0;
	i = ipaddr_distance(&p->net.addr, a);
	return i >= p->first && i <= p->last ? (uint32_t)i : 0;
}

bool
ipam_take(struct ipam *p, const struct ipaddr *a)
{
	uint32_t i = offset_of(p, a);

	if (i == 0 || is_taken(p, i))
		return false;
	mark(p, i);
	return true;
}

void
ipam_put(struct ipam *p, const struct ipaddr *a)
{
	uint32_t i = offset_of(p, a);

	if (i == 0 || !is_taken(p, i))
		return;
	p->taken[i / 64] &= ~(UINT64_C(1) << (i % 64));
	p->n_taken--;
}
