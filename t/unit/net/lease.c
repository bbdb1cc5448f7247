/* SPDX-License-Identifier: Apache-2.0
 *
 * Leases: conflicts of host ports, records, and the nftables text that comes of them.
 */
#include "tap.h"

#include "base/macros.h"
#include "net/lease.h"
#include "net/rules.h"

static struct leases leases;

static int
ports(const char *pod, struct net_port p, struct err *err)
{
	struct lease *l = lease_find(&leases, pod);

	*err = (struct err){0};
	if (l == NULL)
		l = lease_add(&leases, pod, NULL);
	return lease_set_ports(&leases, l, &p, 1, err);
}

static void
test_conflicts(void)
{
	static const struct {
		struct net_port a, b;
		bool conflict;
	} cases[] = {
	    {{NET_TCP, 1, 80, ""},                {NET_TCP, 2, 80, NULL},       true },
	    {{NET_TCP, 1, 80, ""},                {NET_UDP, 2, 80, ""},         false},
	    {{NET_TCP, 1, 80, ""},                {NET_TCP, 1, 81, ""},         false},
	    {{NET_TCP, 1, 80, "10.0.0.1"},        {NET_TCP, 2, 80, ""},         true },
	    {{NET_TCP, 1, 80, "10.0.0.1"},        {NET_TCP, 2, 80, "0.0.0.0"},  true },
	    {{NET_TCP, 1, 80, "10.0.0.1"},        {NET_TCP, 2, 80, "10.0.0.2"}, false},
	    {{NET_TCP, 1, 80, "10.0.0.1"},        {NET_TCP, 2, 80, "::"},       false},
	    {{NET_TCP, 1, 80, "fd00::1"},         {NET_TCP, 2, 80, "::"},       true },
	    {{NET_TCP, 1, 80, "0.0.0.0"},         {NET_TCP, 2, 80, "::"},       false},
	    {{NET_TCP, 1, 80, "::ffff:10.0.0.1"}, {NET_TCP, 2, 80, "10.0.0.1"}, true },
	    {{NET_TCP, 1, 0, ""},                 {NET_TCP, 2, 0, ""},          false},
	};
	struct err err;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		leases_init(&leases);
		is_int(ports("a", cases[i].a, &err), 0, "the first pod");
		is_int(ports("b", cases[i].b, &err), cases[i].conflict ? -1 : 0, "the second");
		if (cases[i].conflict)
			ok(err.code == ERR_ALREADY_EXISTS &&
			        strstr(err.msg, "held by pod a") != NULL,
			    "says who: %s", err.msg);
		is_int(ports("a", cases[i].a, &err), 0, "the first again");
		leases_release(&leases);
	}
}

static void
test_bad_ports(void)
{
	static const struct net_port twice[] = {
	    {NET_TCP, 1, 80, ""       },
            {NET_TCP, 2, 80, "1.2.3.4"}
        };
	static struct net_port many[5000];
	struct err err = {0};
	struct lease *l;

	leases_init(&leases);
	l = lease_add(&leases, "a", "ns/a");
	ok(lease_set_ports(&leases, l, twice, 2, &err) < 0 && err.code == ERR_ALREADY_EXISTS,
	    "the same port twice: %s", err.msg);
	is_int(l->n_ports, 0, "none is set");
	ok(ports("a", (struct net_port){NET_TCP, 0, 80, ""}, &err) < 0 &&
	        err.code == ERR_INVALID_ARGUMENT,
	    "no container port: %s", err.msg);
	ok(ports("a", (struct net_port){NET_TCP, 1, 80, "localhost"}, &err) < 0 &&
	        err.code == ERR_INVALID_ARGUMENT,
	    "no address: %s", err.msg);
	ok(ports("a", (struct net_port){NET_TCP, 1, 80, "1.1.1.1; drop"}, &err) < 0, "no address");
	ok(lease_set_ports(&leases, l, many, 5000, &err) < 0, "too many");
	leases_release(&leases);
}

static void
test_records(void)
{
	static const char *const bad[] = {"{}", "{\"ips\":{},\"ports\":[]}", "{\"ips\":[]}",
	    "{\"ips\":[1],\"ports\":[]}", "{\"ips\":[\"x\"],\"ports\":[]}",
	    "{\"ips\":[],\"ports\":[{}]}",
	    "{\"ips\":[],\"ports\":[{\"protocol\":\"icmp\",\"hostPort\":1,\"containerPort\":1}]}",
	    "{\"ips\":[],\"ports\":[{\"protocol\":\"tcp\",\"hostPort\":65536,\"containerPort\":1}]"
	    "}",
	    "{\"ips\":[],\"ports\":[{\"protocol\":\"tcp\",\"hostPort\":1,\"containerPort\":-1}]}",
	    "{\"ips\":[],\"ports\":[{\"protocol\":\"tcp\",\"hostPort\":1,\"containerPort\":1,"
	    "\"hostIP\":\"?\"}]}",
	    "{\"ips\":[\"1.1.1.1\",\"1.1.1.2\",\"1.1.1.3\",\"1.1.1.4\",\"1.1.1.5\",\"1.1.1.6\","
	    "\"1.1.1.7\",\"1.1.1.8\",\"1.1.1.9\"],\"ports\":[]}"};
	const struct net_port list[] = {
	    {NET_UDP,  53, 5353, "127.0.0.1"},
            {NET_SCTP, 9,  99,   "::"       },
            {NET_TCP,  80, 8080, NULL       }
        };
	json_t *ips, *saved;
	struct err err = {0};
	struct lease *l, *m;

	leases_init(&leases);
	l = lease_add(&leases, "a", NULL);
	ipaddr_parse("10.0.0.7", &l->ips[0]);
	ipaddr_parse("fd00::7", &l->ips[1]);
	l->n_ips = 2;
	is_int(lease_set_ports(&leases, l, list, 3, &err), 0, "three ports");
	ips = lease_ips_json(l);
	saved = lease_ports_json(l);
	lease_drop(&leases, l);
	m = lease_add(&leases, "a", NULL);
	is_int(lease_restore(&leases, m, ips, saved, &err), 0, "restored");
	is_int(m->n_ips, 2, "both addresses");
	is_int(m->n_ports, 3, "all ports");
	ok(m->ports[1].proto == NET_SCTP && m->ports[1].host_port == 99 &&
	        m->ports[1].host_ip.family == AF_INET6 && m->ports[0].host_ip.family == AF_INET &&
	        m->ports[2].host_ip.family == 0,
	    "as they were");
	json_decref(ips);
	json_decref(saved);
	ok(lease_of_ip(&leases, &m->ips[1]) == m, "found by address");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		json_t *o = json_loads(bad[i], 0, NULL);

		l = lease_add(&leases, "b", NULL);
		ok(lease_restore(&leases, l, json_object_get(o, "ips"), json_object_get(o, "ports"),
		       &err) < 0,
		    "refused: %s", err.msg);
		lease_drop(&leases, l);
		json_decref(o);
	}
	leases_keep(&leases, (const char *const[]){"x"}, 1);
	ok(TAILQ_EMPTY(&leases.list), "nobody is kept");
	leases_release(&leases);
}

static void
test_rules(void)
{
	const struct net_port list[] = {
	    {NET_UDP,  53, 5353, "127.0.0.1"},
            {NET_SCTP, 9,  99,   "::"       },
            {NET_TCP,  80, 8080, NULL       },
	    {NET_TCP,  81, 8081, "0.0.0.0"  }
        };
	struct rules_spec spec = {.table = "t", .bridge = "b0"};
	struct buf text = BUF_INIT;
	struct err err = {0};
	struct lease *l;
	char name[16];

	rules_table_name("my-node.1", name, sizeof(name));
	is_str(name, "my_node_1", "a table's name");
	rules_table_name("1st", name, sizeof(name));
	is_str(name, "c1st", "that starts with a digit");
	leases_init(&leases);
	l = lease_add(&leases, "a", NULL);
	ipaddr_parse("10.0.0.7", &l->ips[0]);
	ipaddr_parse("fd00::7", &l->ips[1]);
	ipaddr_parse("10.0.0.8", &l->ips[2]);
	l->n_ips = 3;
	is_int(lease_set_ports(&leases, l, list, 4, &err), 0, "ports");
	rules_ports("t", &leases, &text);
	is_str(text.data,
	    "flush map inet t port4\nflush map inet t addr4\nflush set inet t pods4\n"
	    "flush map inet t port6\nflush map inet t addr6\nflush set inet t pods6\n"
	    "add element inet t pods4 { 10.0.0.7 }\n"
	    "add element inet t addr4 { 127.0.0.1 . udp . 5353 : 10.0.0.7 . 53 }\n"
	    "add element inet t port4 { tcp . 8080 : 10.0.0.7 . 80 }\n"
	    "add element inet t port4 { tcp . 8081 : 10.0.0.7 . 81 }\n"
	    "add element inet t pods6 { fd00::7 }\n"
	    "add element inet t port6 { sctp . 99 : fd00::7 . 9 }\n"
	    "add element inet t port6 { tcp . 8080 : fd00::7 . 80 }\n",
	    "elements for the first address of each family");
	l->closing = true;
	buf_truncate(&text, 0);
	rules_ports("t", &leases, &text);
	ok(strstr(text.data, "add element") == NULL, "none for a pod that goes");
	l->closing = false;
	l->plugin_ports = true;
	buf_truncate(&text, 0);
	rules_ports("t", &leases, &text);
	ok(strstr(text.data, "add element") == NULL, "none for ports that a plugin maps");
	buf_truncate(&text, 0);
	rules_table(&spec, &text);
	ok(strstr(text.data, "b0") == NULL, "no subnet, no masquerading");
	ipnet_parse("10.0.0.0/16", &spec.subnets[0]);
	buf_truncate(&text, 0);
	rules_table(&spec, &text);
	ok(strstr(text.data,
	       "ip saddr 10.0.0.0/16 ip daddr != { 10.0.0.0/16, 224.0.0.0/4 } oifname "
	       "!= \"b0\" masquerade\n") != NULL,
	    "masquerading");
	buf_release(&text);
	leases_release(&leases);
}

int
main(void)
{
	test_conflicts();
	test_bad_ports();
	test_records();
	test_rules();
	return tap_done();
}
