/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in network with real namespaces: pods that talk to each other, to the host, to another
 * host; restarts; what is left behind.
 */
#include "tap.h"

#include "netpod.h"

static struct net_config config = {
    .instance = "labnet", .mode = NET_BUILTIN, .state_dir = lab_dir, .subnet6 = "fd00:10:99::/64"};
static char other_host[128];

/* Another host, wired to ours: 192.0.2.1 here, 192.0.2.9 there, and IPv6 alike. */
static void
wire_other_host(void)
{
	char command[1024];

	lab_netns("other", other_host);
	snprintf(command, sizeof(command),
	    "ip link add wire0 type veth peer name wire1 && ip link set wire0 up && "
	    "ip addr add 192.0.2.1/24 dev wire0 && ip addr add 2001:db8::1/64 dev wire0 nodad && "
	    "nsenter --net=%s true && ip link set wire1 netns /proc/self/fd/9 9<%s && "
	    "nsenter --net=%s sh -c 'ip link set wire1 up; ip addr add 192.0.2.9/24 dev wire1; "
	    "ip addr add 2001:db8::9/64 dev wire1 nodad'",
	    other_host, other_host, other_host);
	is_str(lab_output(NULL, command), "", "another host is wired up");
}

static struct net *
open_net(void)
{
	struct err err = {0};
	struct net *net = net_open(&config, &err);

	if (!ok(net != NULL, "opens"))
		diag("%s", err.msg);
	return net;
}

static void
close_net(struct net *net)
{
	bool never = false;

	net_close(net);
	lab_wait(&never, 50); /* the agent goes */
}

static void
test_traffic(struct net *net)
{
	struct tpod a, b;

	tpod_init(&a, net, 1, true);
	tpod_init(&b, net, 2, true);
	ok(tpod_up(&a), "pod a is attached");
	ok(tpod_up(&b), "pod b is attached");
	diag("attach took %lld and %lld us", (long long)a.took_us, (long long)b.took_us);
	is_int(a.call.result.n_ips, 2, "two addresses");
	is_str(a.call.result.ips[0], "10.99.0.2", "the first IPv4 address");
	is_str(a.call.result.ips[1], "fd00:10:99::2", "the first IPv6 address");
	is_str(b.call.result.ips[0], "10.99.0.3", "the second IPv4 address");
	lab_serve(a.netns, SOCK_STREAM, "0.0.0.0", 80, "a4");
	lab_serve(a.netns, SOCK_STREAM, "::", 81, "a6");
	lab_serve(NULL, SOCK_STREAM, "0.0.0.0", 90, "host");
	lab_serve(other_host, SOCK_STREAM, "0.0.0.0", 91, "other4");
	lab_serve(other_host, SOCK_STREAM, "::", 92, "other6");
	is_str(lab_ask(b.netns, SOCK_STREAM, "10.99.0.2", 80), "a4 from 10.99.0.3", "pod to pod");
	is_str(lab_ask(b.netns, SOCK_STREAM, "fd00:10:99::2", 81), "a6 from fd00:10:99::3",
	    "pod to pod by IPv6");
	is_str(lab_ask(NULL, SOCK_STREAM, "10.99.0.2", 80), "a4 from 10.99.0.1", "host to pod");
	is_str(lab_ask(NULL, SOCK_STREAM, "fd00:10:99::2", 81), "a6 from fd00:10:99::1",
	    "host to pod by IPv6");
	is_str(
	    lab_ask(a.netns, SOCK_STREAM, "10.99.0.1", 90), "host from 10.99.0.2", "pod to host");
	is_str(lab_ask(a.netns, SOCK_STREAM, "192.0.2.1", 90), "host from 10.99.0.2",
	    "pod to another address of the host");
	is_str(lab_ask(a.netns, SOCK_STREAM, "192.0.2.9", 91), "other4 from 192.0.2.1",
	    "pod to another host is masqueraded");
	is_str(lab_ask(a.netns, SOCK_STREAM, "2001:db8::9", 92), "other6 from 2001:db8::1",
	    "pod to another host by IPv6 too");
	ok(tpod_down(&a), "pod a is detached");
	ok(tpod_down(&a), "and once more");
	diag("detach took %lld us", (long long)a.took_us);
	ok(tpod_down(&b), "pod b is detached");
	tpod_release(&a);
	tpod_release(&b);
}

/* The host's port from everywhere: another host, the host by address and by name, pods, itself. */
static void
test_host_ports(struct net *net)
{
	const struct net_port ports[] = {
	    {NET_TCP,  80, 8080, NULL       },
	    {NET_UDP,  53, 5353, ""         },
	    {NET_TCP,  80, 8081, "192.0.2.1"},
	    {NET_TCP,  80, 8082, "127.0.0.1"},
	    {NET_SCTP, 99, 9999, NULL       },
	    {NET_TCP,  83, 8083, "::"       },
	    {NET_TCP,  80, 0,    NULL       },
	};
	const struct net_port same[] = {
	    {NET_TCP, 1, 8080, "192.0.2.1"}
        };
	struct tpod a, b;

	tpod_init(&a, net, 3, true);
	tpod_init(&b, net, 4, true);
	a.pod.ports = ports;
	a.pod.n_ports = ARRAY_SIZE(ports);
	ok(tpod_up(&a), "a pod with host ports");
	diag("attach with ports took %lld us", (long long)a.took_us);
	b.pod.ports = same;
	b.pod.n_ports = 1;
	ok(!tpod_up(&b), "a port that is taken");
	is_int(b.err.code, ERR_ALREADY_EXISTS, "is refused as such");
	ok(strstr(b.err.msg, "8080/tcp is held by pod default/web (00000003abcd") != NULL,
	    "the message names the holder: %s", b.err.msg);
	b.pod.n_ports = 0;
	ok(tpod_up(&b), "the other pod goes without");
	lab_serve(a.netns, SOCK_STREAM, "0.0.0.0", 80, "a");
	lab_serve(a.netns, SOCK_DGRAM, "0.0.0.0", 53, "dns");
	lab_serve(a.netns, SOCK_STREAM, "::", 83, "a6");
	is_str(lab_ask(other_host, SOCK_STREAM, "192.0.2.1", 8080), "a from 192.0.2.9",
	    "another host, its address kept");
	is_str(lab_ask(other_host, SOCK_DGRAM, "192.0.2.1", 5353), "dns from 192.0.2.9",
	    "another host by UDP");
	is_str(lab_ask(other_host, SOCK_STREAM, "192.0.2.1", 8081), "a from 192.0.2.9",
	    "the port on one address");
	is_str(lab_ask(other_host, SOCK_STREAM, "192.0.2.1", 8082), "", "not that of loopback");
	is_str(lab_ask(other_host, SOCK_STREAM, "2001:db8::1", 8083), "a6 from 2001:db8::9",
	    "another host by IPv6");
	is_str(lab_ask(other_host, SOCK_STREAM, "2001:db8::1", 8081), "", "not IPv4's by IPv6");
	is_str(lab_ask(NULL, SOCK_STREAM, "127.0.0.1", 8080), "a from 10.99.0.1",
	    "the host through 127.0.0.1");
	is_str(lab_ask(NULL, SOCK_DGRAM, "127.0.0.1", 5353), "dns from 10.99.0.1",
	    "the host through 127.0.0.1 by UDP");
	is_str(lab_ask(NULL, SOCK_STREAM, "127.0.0.1", 8082), "a from 10.99.0.1",
	    "the port on loopback alone");
	is_str(lab_ask(NULL, SOCK_STREAM, "192.0.2.1", 8080), "a from 192.0.2.1",
	    "the host through its address");
	is_str(lab_ask(a.netns, SOCK_STREAM, "192.0.2.1", 8080), "a from 10.99.0.1",
	    "the pod itself (hairpin)");
	is_str(lab_ask(a.netns, SOCK_STREAM, "10.99.0.1", 8080), "a from 10.99.0.1",
	    "the pod itself through the bridge");
	is_str(lab_ask(b.netns, SOCK_STREAM, "192.0.2.1", 8080), "a from 10.99.0.1",
	    "a neighbour on the bridge");
	ok(strstr(lab_output(NULL, "nft list table inet labnet"), "sctp . 9999 : 10.99.0.4 . 99") !=
	        NULL,
	    "the SCTP port has its element");
	ok(tpod_down(&a), "it goes");
	is_str(lab_ask(NULL, SOCK_STREAM, "127.0.0.1", 8080), "", "and its port with it");
	ok(strstr(lab_output(NULL, "nft list table inet labnet"), "10.99.0.4") == NULL,
	    "no rule is left of it");
	b.pod.n_ports = 1;
	ok(tpod_down(&b) && tpod_up(&b), "now the port is free");
	ok(tpod_down(&b), "end");
	tpod_release(&a);
	tpod_release(&b);
}

/* route_localnet, which 127.0.0.1 needs, must not open the host's loopback services to pods. */
static void
test_loopback_is_closed(struct net *net)
{
	struct tpod a;

	tpod_init(&a, net, 5, true);
	ok(tpod_up(&a), "a pod");
	lab_serve(NULL, SOCK_DGRAM, "127.0.0.1", 6000, "secret");
	lab_output(a.netns, "ip addr flush dev lo; ip route add 127.0.0.0/8 via 10.99.0.1");
	lab_output(a.netns, "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet");
	is_str(lab_ask(a.netns, SOCK_DGRAM, "127.0.0.1", 6000), "",
	    "a pod does not reach the host's loopback");
	ok(tpod_down(&a), "end");
	tpod_release(&a);
}

/* A UDP client that keeps its port: the flow must follow when the port's pod changes. */
static void
test_udp_flows(struct net *net)
{
	const struct net_port port[] = {
	    {NET_UDP, 53, 5354, NULL}
        };
	const char *ask = "python3 -c \"import socket,sys;"
	                  "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);"
	                  "s.bind(('192.0.2.9',40000));s.settimeout(1);"
	                  "s.sendto(b'?',('192.0.2.1',5354));print(s.recv(99).decode(),end='')\" "
	                  "2>/dev/null";
	struct tpod a, b;

	tpod_init(&a, net, 6, true);
	tpod_init(&b, net, 7, true);
	a.pod.ports = b.pod.ports = port;
	a.pod.n_ports = b.pod.n_ports = 1;
	lab_output(other_host, ask); /* an entry that leads nowhere */
	ok(tpod_up(&a), "a pod with a UDP port");
	lab_serve(a.netns, SOCK_DGRAM, "0.0.0.0", 53, "first");
	is_str(lab_output(other_host, ask), "first from 192.0.2.9", "the flow reaches it");
	ok(tpod_down(&a) && tpod_up(&b), "another takes its place");
	lab_serve(b.netns, SOCK_DGRAM, "0.0.0.0", 53, "second");
	is_str(lab_output(other_host, ask), "second from 192.0.2.9", "the same flow reaches that");
	ok(tpod_down(&b), "end");
	tpod_release(&a);
	tpod_release(&b);
}

/* What a pod has outlives the daemon; what nobody owns does not. */
static struct net *
test_restart(struct net *net)
{
	const struct net_port port[] = {
	    {NET_TCP, 80, 8090, NULL}
        };
	struct tpod a, lost, c, gc;
	struct net_result result = {0};
	struct err err = {0};
	const char *live[1];

	tpod_init(&a, net, 8, true);
	tpod_init(&lost, net, 9, true);
	a.pod.ports = port;
	a.pod.n_ports = 1;
	ok(tpod_up(&a) && tpod_up(&lost), "two pods");
	diag("record: %s", a.json);
	lab_serve(a.netns, SOCK_STREAM, "0.0.0.0", 80, "kept");
	close_net(net);
	is_str(lab_ask(NULL, SOCK_STREAM, "127.0.0.1", 8090), "kept from 10.99.0.1",
	    "without a daemon the port works");
	net = open_net();
	ok(net_wait_ready(net), "ready again");
	is_str(lab_ask(NULL, SOCK_STREAM, "127.0.0.1", 8090), "kept from 10.99.0.1",
	    "with the daemon back it works, before recovery");
	is_int(net_reserve(net, a.id, a.json, &result, &err), 0, "the record is taken");
	is_str(result.ips[0], a.call.result.ips[0], "the same address");
	is_int(net_reserve(net, lost.id, a.json, NULL, &err), -1, "not for another pod");
	is_int(err.code, ERR_ALREADY_EXISTS, "since the address is held");
	is_int(
	    net_reserve(net, lost.id, "{\"version\":1,\"ips\":[\"x\"],\"ports\":[]}", NULL, &err),
	    -1, "a broken record");
	is_int(err.code, ERR_INVALID_ARGUMENT, "is refused");
	live[0] = a.id;
	tpod_init(&gc, net, 10, false);
	gc.live = live;
	gc.n_live = 1;
	ok(tpod_run(&gc, tpod_gc_steps), "leftovers are collected");
	ok(strstr(lab_output(NULL, "ip -o link"), "cor00000009abcd") == NULL,
	    "the lost link is gone");
	ok(strstr(lab_output(NULL, "ip -o link"), "cor00000008abcd") != NULL,
	    "the live one is not");
	is_str(lab_ask(NULL, SOCK_STREAM, "127.0.0.1", 8090), "kept from 10.99.0.1",
	    "the port works on");
	tpod_init(&c, net, 11, true);
	ok(tpod_up(&c), "a new pod");
	ok(strcmp(c.call.result.ips[0], result.ips[0]) != 0, "gets another address");
	a.net = net;
	lab_netns_remove(a.netns);
	ok(tpod_down(&a), "the old one goes, without a namespace");
	ok(tpod_down(&c), "the new one goes");
	tpod_release(&a);
	tpod_release(&c);
	tpod_release(&lost);
	tpod_release(&gc);
	return net;
}

/* Somebody removes what we made. */
static void
test_vandals(struct net *net)
{
	const struct net_port port[] = {
	    {NET_TCP, 80, 8091, NULL}
        };
	struct tpod a;

	tpod_init(&a, net, 12, true);
	a.pod.ports = port;
	a.pod.n_ports = 1;
	lab_output(NULL, "nft flush ruleset; ip link del labnet0");
	if (!ok(tpod_up(&a), "bridge and rules come back with the next pod"))
		diag("%s", a.err.msg);
	lab_serve(a.netns, SOCK_STREAM, "0.0.0.0", 80, "again");
	is_str(lab_ask(NULL, SOCK_STREAM, "127.0.0.1", 8091), "again from 10.99.0.1", "and work");
	ok(tpod_down(&a), "end");
	tpod_release(&a);
	tpod_init(&a, net, 13, false);
	a.pod.netns_path = "/etc/passwd";
	ok(!tpod_up(&a), "a file that is no namespace");
	ok(strstr(a.err.msg, "/etc/passwd is no network namespace") != NULL, "is named: %s",
	    a.err.msg);
	tpod_release(&a);
}

/* Addresses are given out in turn and come back; at the end the subnet is full. */
static void
test_full_subnet(struct net *net)
{
	struct err err = {0};
	struct tpod p[6];

	is_int(net_set_pod_cidr(net, "10.97.0.0/29", &err), 0, "a small pod CIDR");
	for (unsigned i = 0; i < 5; i++) {
		char want[16];

		tpod_init(&p[i], net, 20 + i, true);
		snprintf(want, sizeof(want), "10.97.0.%u", 2 + i);
		ok(tpod_up(&p[i]), "pod %u", i);
		is_str(p[i].call.result.ips[0], want, "has the next address");
	}
	tpod_init(&p[5], net, 25, true);
	ok(!tpod_up(&p[5]), "one too many");
	is_int(p[5].err.code, ERR_RESOURCE_EXHAUSTED, "the subnet is full");
	ok(tpod_down(&p[1]), "one goes");
	ok(tpod_up(&p[5]), "now there is room");
	is_str(p[5].call.result.ips[0], "10.97.0.3", "at the address that came back");
	is_int(net_set_pod_cidr(net, "10.97.0.0/29", &err), 0, "the same CIDR again is nothing");
	is_int(net_set_pod_cidr(net, "10.97.0.0/29,10.96.0.0/16", &err), -1, "two of a family");
	is_int(net_set_pod_cidr(net, "10.97.0.0", &err), -1, "no CIDR");
	is_int(net_set_pod_cidr(net, "10.97.0.0/31", &err), -1, "a CIDR without room");
	for (unsigned i = 0; i < 6; i++) {
		ok(tpod_down(&p[i]), "end");
		tpod_release(&p[i]);
	}
}

/* Many at once; what goes in comes out. */
static void
test_many(struct net *net)
{
	enum { N = 60 };
	static struct tpod p[N];
	struct err err = {0};
	int64_t up = 0, lag;

	is_int(net_set_pod_cidr(net, "10.99.0.0/16,fd00:10:99::/64", &err), 0, "back to the large");
	for (unsigned i = 0; i < N; i++)
		tpod_init(&p[i], net, 100 + i, true);
	loop_once();
	loop_take_lag_us();
	for (unsigned i = 0; i < N; i++)
		tpod_start(&p[i], tpod_attach_steps);
	for (unsigned i = 0; i < N; i++) {
		if (!tpod_finish(&p[i]))
			ok(false, "pod %u: %s", i, p[i].err.msg);
		up = MAX(up, p[i].took_us);
	}
	for (unsigned i = 0; i < N; i++)
		tpod_start(&p[i], tpod_detach_steps);
	for (unsigned i = 0; i < N; i++)
		ok(tpod_finish(&p[i]), "detached");
	lag = loop_take_lag_us();
	diag("%d pods up in %lld us, down in %lld us, loop lag %lld us", N, (long long)up,
	    (long long)p[N - 1].took_us, (long long)lag);
	is_str(lab_output(NULL, "ip -o link | grep -c cor"), "0\n", "no link is left");
	for (unsigned i = 0; i < N; i++)
		tpod_release(&p[i]);
}

int
main(void)
{
	struct net *net;
	struct err err = {0};

	lab_host();
	loop_init();
	wire_other_host();
	config.subnet4 = "10.99.0.0/16";
	net = open_net();
	if (net == NULL)
		return tap_done();
	ok(net_wait_ready(net), "the network is ready");
	test_traffic(net);
	test_host_ports(net);
	test_loopback_is_closed(net);
	test_udp_flows(net);
	net = test_restart(net);
	test_vandals(net);
	test_full_subnet(net);
	test_many(net);
	close_net(net);
	if (!is_int(net_remove_all(&config, &err), 0, "everything is removed"))
		diag("%s", err.msg);
	lab_cleanup();
	return tap_done();
}
