/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses, subnets and the pool of them.
 */
#include "tap.h"

#include "net/ipam.h"

static const char *
text(const struct ipaddr *a)
{
	static char out[IPADDR_SIZE];

	return ipaddr_format(a, out);
}

static struct ipnet
net(const char *s)
{
	struct ipnet n = {0};

	ok(ipnet_parse(s, &n), "%s is a subnet", s);
	return n;
}

static void
test_parse(void)
{
	static const char *const bad[] = {"", "10.1.2", "10.1.2.3.4", "010.1.2.3", " 10.1.2.3",
	    "10.1.2.3 ", "::1%lo", ":::", "fe80::g", "1:2:3:4:5:6:7:8:9", "0x7f.1", "256.1.1.1"};
	static const char *const bad_nets[] = {"10.0.0.0", "10.0.0.0/", "10.0.0.0/33",
	    "10.0.0.0/-1", "10.0.0.0/08x", "fd00::/129", "/8", "10.0.0.0/8/8",
	    "::ffff:10.0.0.0/104", "1111:2222:3333:4444:5555:6666:7777:88888888888888888888/64",
	    "10.0.0.0/0000000008"};
	struct ipaddr a, b;
	struct ipnet n;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(!ipaddr_parse(bad[i], &a), "no address: '%s'", bad[i]);
	for (size_t i = 0; i < sizeof(bad_nets) / sizeof(bad_nets[0]); i++)
		ok(!ipnet_parse(bad_nets[i], &n), "no subnet: '%s'", bad_nets[i]);
	ok(ipaddr_parse("::ffff:10.1.2.3", &a) && ipaddr_parse("10.1.2.3", &b) &&
	        ipaddr_cmp(&a, &b) == 0,
	    "a mapped address is the IPv4 one");
	ok(ipaddr_parse("FD00::0001", &a), "IPv6");
	is_str(text(&a), "fd00::1", "in short form");
	ok(ipaddr_cmp(&b, &a) < 0, "IPv4 comes before IPv6");
	ok(ipaddr_parse("127.9.9.9", &a) && ipaddr_is_loopback(&a), "loopback");
	ok(ipaddr_parse("::1", &a) && ipaddr_is_loopback(&a), "IPv6 loopback");
	ok(ipaddr_parse("2::1", &a) && !ipaddr_is_loopback(&a), "not loopback");
}

static void
test_nets(void)
{
	struct ipnet a = net("10.1.2.3/16"), b = net("10.1.128.0/17"), c = net("10.2.0.0/16"),
	             all = net("0.0.0.0/0"), six = net("fd00:1::/64");
	struct ipaddr x = ipnet_base(&a);

	is_str(text(&x), "10.1.0.0", "base");
	x = ipnet_last(&a);
	is_str(text(&x), "10.1.255.255", "last");
	x = ipnet_last(&six);
	is_str(text(&x), "fd00:1::ffff:ffff:ffff:ffff", "last of IPv6");
	ok(ipnet_overlaps(&a, &b) && ipnet_overlaps(&b, &a), "overlap");
	ok(!ipnet_overlaps(&a, &c), "no overlap");
	ok(ipnet_overlaps(&all, &c) && !ipnet_overlaps(&all, &six), "families are apart");
	ok(ipaddr_parse("10.1.255.255", &x) && ipnet_contains(&a, &x), "contains");
	x = ipaddr_add(&x, 1);
	is_str(text(&x), "10.2.0.0", "carry");
	ok(ipaddr_parse("255.255.255.255", &x), "the end");
	x = ipaddr_add(&x, 1);
	is_str(text(&x), "0.0.0.0", "wraps");
	x = ipaddr_add(&six.addr, UINT64_MAX);
	is_str(text(&x), "fd00:1::ffff:ffff:ffff:ffff", "a large step");
	ok(ipaddr_distance(&six.addr, &x) == UINT64_MAX, "the distance back");
	ok(ipaddr_parse("fd00:1::1:0", &x) && ipaddr_distance(&six.addr, &x) == 65536,
	    "a distance");
	ok(ipaddr_parse("fd00:2::", &x) && ipaddr_distance(&six.addr, &x) == UINT64_MAX, "too far");
	ok(ipaddr_parse("fd00::", &x) && ipaddr_distance(&six.addr, &x) == UINT64_MAX, "below");
}

static void
test_pool(void)
{
	struct ipnet n = net("10.9.0.0/29"), none = net("10.9.0.0/31"), wide = net("fd00::/64");
	struct err err = {0};
	struct ipam p;
	struct ipaddr a, first;

	ok(ipam_init(&p, &none, &err) < 0 && err.code == ERR_INVALID_ARGUMENT, "no room: %s",
	    err.msg);
	is_int(ipam_init(&p, &n, &err), 0, "a small pool");
	is_str(text(&p.gateway), "10.9.0.1", "its gateway");
	for (int i = 2; i <= 6; i++) {
		char want[16];

		snprintf(want, sizeof(want), "10.9.0.%d", i);
		ok(ipam_get(&p, &a, &err) == 0, "an address");
		is_str(text(&a), want, "the next");
	}
	ok(ipam_get(&p, &a, &err) < 0 && err.code == ERR_RESOURCE_EXHAUSTED, "full: %s", err.msg);
	ipaddr_parse("10.9.0.3", &first);
	ipam_put(&p, &first);
	ipam_put(&p, &first);
	is_int(p.n_taken, 4, "given back once");
	ok(ipam_get(&p, &a, &err) == 0 && ipaddr_cmp(&a, &first) == 0, "and taken again");
	ipam_put(&p, &a);
	ok(ipam_take(&p, &first), "taken by name");
	ok(!ipam_take(&p, &first), "not twice");
	for (int i = 0; i < 3; i++) {
		static const char *const special[] = {"10.9.0.0", "10.9.0.1", "10.9.0.7"};

		ipaddr_parse(special[i], &a);
		ok(!ipam_take(&p, &a), "%s is nobody's", special[i]);
		ipam_put(&p, &a);
	}
	ipaddr_parse("10.9.0.9", &a);
	ok(!ipam_take(&p, &a), "outside");
	ipaddr_parse("fd00::3", &a);
	ok(!ipam_take(&p, &a), "the wrong family");
	ipam_release(&p);
	ok(!ipam_take(&p, &a), "nothing from a released pool");
	is_int(ipam_init(&p, &wide, &err), 0, "a wide pool");
	for (int i = 0; i < 65533; i++)
		if (ipam_get(&p, &a, &err) < 0)
			ok(false, "address %d", i);
	is_str(text(&a), "fd00::fffe", "65533 addresses of it");
	ok(ipam_get(&p, &a, &err) < 0, "and no more");
	ipaddr_parse("fd00::8000", &first);
	ipam_put(&p, &first);
	ok(ipam_get(&p, &a, &err) == 0 && ipaddr_cmp(&a, &first) == 0,
	    "the only free one is found");
	ipam_release(&p);
}

/* An address that was given back rests while there are others. */
static void
test_turns(void)
{
	struct ipnet n = net("10.9.0.0/24");
	struct err err = {0};
	struct ipaddr a, b;
	struct ipam p;

	is_int(ipam_init(&p, &n, &err), 0, "a pool");
	for (int i = 0; i < 600; i++) {
		ok(ipam_get(&p, &a, &err) == 0, "taken");
		ipam_put(&p, &a);
		if (i > 0)
			ok(ipaddr_cmp(&a, &b) != 0, "another than before");
		b = a;
	}
	ipam_release(&p);
}

int
main(void)
{
	test_parse();
	test_nets();
	test_pool();
	test_turns();
	return tap_done();
}
