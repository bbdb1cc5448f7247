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
	close_net(net);
	if (!is_int(net_remove_all(&config, &err), 0, "everything is removed"))
		diag("%s", err.msg);
	lab_cleanup();
	return tap_done();
}
