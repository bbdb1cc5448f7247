/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon is killed at any moment of an attach or a detach, and the agent too; what follows must
 * find everything: at the end there is no link, address, rule or note left. For each way to make a
 * network.
 */
#include "tap.h"

#include "base/fd.h"
#include "netpod.h"

enum { ROUNDS = 25 };

static char conf_dir[128], cache_dir[128];
static struct net_config config = {.instance = "labcrash",
    .state_dir = lab_dir,
    .cni_bin_dirs = {"/usr/lib/cni"},
    .cni_conf_dir = conf_dir,
    .cni_cache_dir = cache_dir,
    .subnet4 = "10.57.0.0/16"};
static const struct net_port ports[] = {
    {NET_TCP, 80, 8080, NULL}
};

static struct net *
open_net(void)
{
	struct err err = {0};
	struct net *net = net_open(&config, &err);

	if (net == NULL || !net_wait_ready(net)) {
		printf("Bail out! network: %s\n", err.msg);
		exit(1);
	}
	return net;
}

static void
rest(int64_t ms)
{
	bool never = false;

	lab_wait(&never, ms);
}

/* A daemon that attaches and detaches a pod until it is killed. */
static void __attribute__((noreturn)) be_daemon(unsigned id, const char *netns, int ready)
{
	struct tpod p;
	struct net *net;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	loop_init();
	net = open_net();
	tpod_init(&p, net, id, false);
	p.pod.netns_path = netns;
	p.pod.ports = ports;
	p.pod.n_ports = 1;
	if (write(ready, "x", 1) != 1)
		_exit(1);
	for (;;) {
		(void)tpod_up(&p);
		(void)tpod_down(&p);
	}
}

static void
kill_one_daemon(unsigned id, const char *netns, useconds_t after_us)
{
	int ready[2], status;
	char c;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0)
		abort();
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		be_daemon(id, netns, ready[1]);
	close(ready[1]);
	ok(read(ready[0], &c, 1) == 1, "a daemon is up");
	close(ready[0]);
	usleep(after_us);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

static const char *
leftovers(void)
{
	static char out[66000];
	char command[1024];

	snprintf(command, sizeof(command),
	    "ip -o link | grep -E 'cor0|veth'; find %s/ips -type f 2>/dev/null | grep '10[.]57'; "
	    "ls %s/cni %s/results 2>/dev/null | grep abcd; nft list ruleset 2>/dev/null | grep -E "
	    "'8080|abcd'",
	    lab_dir, lab_dir, cache_dir);
	snprintf(out, sizeof(out), "%s", lab_output(NULL, command));
	return out;
}

static void
collect(struct net *net)
{
	struct tpod gc;

	tpod_init(&gc, net, 999, false);
	if (!ok(tpod_run(&gc, tpod_gc_steps), "leftovers are collected"))
		diag("%s", gc.err.msg);
	tpod_release(&gc);
}

static void
test_daemon(const char *way, unsigned spread_us)
{
	char name[32], netns[128];

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct net *net;
		struct tpod p;

		snprintf(name, sizeof(name), "crash%u", i);
		lab_netns(name, netns);
		kill_one_daemon(i + 1, netns, i * spread_us / ROUNDS);
		net = open_net();
		collect(net);
		/* the pod's namespace has gone with it, or not */
		if (i % 2 == 0)
			lab_netns_remove(netns);
		else
			ok(strstr(lab_output(netns, "ip -o link"), "eth0") == NULL ||
			        strstr(way, "builtin") != NULL,
			    "the pod's interface is gone");
		rest(i % 2 == 0 ? 30 : 1);
		/* Debian's bridge trips over what it left itself, once. */
		for (int k = 0; k < 60 && *leftovers() != '\0'; k++)
			rest(100);
		is_str(leftovers(), "", way);
		tpod_init(&p, net, 500 + i, true);
		p.pod.ports = ports;
		p.pod.n_ports = 1;
		if (!ok(tpod_up(&p) && tpod_down(&p), "%s: the next pod finds all free", way))
			diag("%s", p.err.msg);
		tpod_release(&p);
		net_close(net);
		rest(20);
		lab_netns_remove(netns);
	}
}

/* The agent's process number: our child of that name. */
static pid_t
agent_pid(void)
{
	char command[200];

	snprintf(command, sizeof(command),
	    "for p in $(cat /proc/%d/task/%d/children); do grep -qx coracle-net /proc/$p/comm && "
	    "echo "
	    "$p; done",
	    getpid(), getpid());
	return (pid_t)strtol(lab_output(NULL, command), NULL, 10);
}

static void
test_agent(const char *way)
{
	struct net *net = open_net();
	unsigned failed = 0;

	for (unsigned i = 0; i < 8; i++) {
		pid_t pid = agent_pid();
		struct tpod p;

		if (!ok(pid > 0, "there is an agent"))
			break;
		tpod_init(&p, net, 700 + i, true);
		p.pod.ports = ports;
		p.pod.n_ports = 1;
		if (i % 2 == 0)
			kill(pid, SIGSTOP); /* so that the job is surely in its hands */
		tpod_start(&p, tpod_attach_steps);
		rest((int64_t)i % 3);
		kill(pid, SIGKILL);
		failed += !tpod_finish(&p);
		/* The undo may have been lost as well: its owner tries again. */
		ok(tpod_down(&p) || tpod_down(&p), "it is undone");
		tpod_release(&p);
		rest(1200); /* a successor that dies young waits a second */
	}
	ok(failed > 0, "%s: %u attaches failed with their agent", way, failed);
	rest(50);
	is_str(leftovers(), "", "nothing is left of them");
	net_close(net);
	rest(50);
}

static void
put_conf(void)
{
	struct err err = {0};
	char path[200], text[1024];

	mkdir(conf_dir, 0755);
	snprintf(path, sizeof(path), "%s/1.conflist", conf_dir);
	snprintf(text, sizeof(text),
	    "{\"name\":\"n\",\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"bridge\",\"bridge\":"
	    "\"br7\",\"isDefaultGateway\":true,\"ipMasq\":true,\"ipam\":{\"type\":\"host-local\","
	    "\"dataDir\":\"%s/ips\",\"subnet\":\"10.57.0.0/"
	    "24\"}},{\"type\":\"portmap\",\"capabilities\":"
	    "{\"portMappings\":true}}]}",
	    lab_dir);
	if (fd_write_file(AT_FDCWD, path, text, strlen(text), 0644, false, &err) < 0)
		abort();
}

int
main(void)
{
	struct err err = {0};

	lab_host();
	loop_init();
	snprintf(conf_dir, sizeof(conf_dir), "%s/conf", lab_dir);
	snprintf(cache_dir, sizeof(cache_dir), "%s/cache", lab_dir);
	put_conf();
	config.mode = NET_BUILTIN;
	test_daemon("builtin", 4000);
	test_agent("builtin");
	is_int(net_remove_all(&config, &err), 0, "the built-in network is removed");
	config.mode = NET_CNI;
	config.cni_native = true;
	test_daemon("native", 6000);
	test_agent("native");
	config.cni_native = false;
	if (access("/usr/lib/cni/bridge", X_OK) == 0)
		test_daemon("exec'd", 60000);
	lab_cleanup();
	return tap_done();
}
