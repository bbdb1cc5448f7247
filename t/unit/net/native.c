/* SPDX-License-Identifier: Apache-2.0
 *
 * Native CNI plugins against the real ones (Debian's containernetworking-plugins): the same
 * configuration, each in a host of its own; then results, links, addresses, routes, state files,
 * traffic and what is left at the end are compared, line by line.
 */
#include "tap.h"

#include <jansson.h>
#include <regex.h>

#include "base/fd.h"
#include "netpod.h"

static char conf_dir[128], cache_dir[128];

struct scene {
	const char *name, *conf;
	struct net_port ports[3];
	size_t n_ports;
	bool ipv6, fails, masquerades;
};

#define BRIDGE(rest)                                                                               \
	"{\"name\":\"dbnet\",\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"bridge\"," rest
#define RANGE                                                                                      \
	"\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"LAB/ips\",\"subnet\":\"10.55.0.0/24\","

/* clang-format off */
static const struct scene scenes[] = {
    {.name = "a gateway, and nothing else",
	.conf = BRIDGE("\"bridge\":\"br5\",\"isGateway\":true," RANGE
		       "\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}}]}")},
    {.name = "a default gateway, a range, hairpin, MTU",
	.conf = BRIDGE("\"isDefaultGateway\":true,\"hairpinMode\":true,\"mtu\":1400," RANGE
		       "\"rangeStart\":\"10.55.0.20\",\"rangeEnd\":\"10.55.0.22\",\"gateway\":"
		       "\"10.55.0.99\"}}]}")},
    {.name = "masquerading",
	.masquerades = true,
	.conf = BRIDGE("\"bridge\":\"br5\",\"isDefaultGateway\":true,\"ipMasq\":true," RANGE
		       "\"routes\":[{\"dst\":\"10.66.0.0/16\",\"gw\":\"10.55.0.9\"}]}}]}")},
    {.name = "two families, ranges, resolvConf, dns",
	.ipv6 = true,
	.masquerades = true,
	.conf = BRIDGE("\"bridge\":\"br5\",\"isDefaultGateway\":true,\"ipMasq\":true,\"dns\":{"
		       "\"search\":[\"x\"]},\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"LAB/ips\","
		       "\"resolvConf\":\"LAB/resolv\",\"ranges\":[[{\"subnet\":\"10.55.0.0/24\","
		       "\"rangeStart\":\"10.55.0.250\",\"rangeEnd\":\"10.55.0.250\"},{\"subnet\":"
		       "\"10.55.0.0/24\",\"rangeStart\":\"10.55.0.10\",\"rangeEnd\":\"10.55.0.20\"}],[{\"subnet\":\"fd00:55::/64\"}]]}}]}")},
    {.name = "resolvConf alone",
	.conf = BRIDGE("\"bridge\":\"br5\"," RANGE "\"resolvConf\":\"LAB/resolv\"}}]}")},
    {.name = "promiscuous, no gateway",
	.conf = BRIDGE("\"bridge\":\"br5\",\"promiscMode\":true," RANGE "\"routes\":[]}}]}")},
    {.name = "layer 2 only", .conf = BRIDGE("\"bridge\":\"br5\"}]}")},
    {.name = "the older version",
	.conf = "{\"name\":\"dbnet\",\"cniVersion\":\"0.3.1\",\"plugins\":[{\"type\":\"bridge\","
		"\"isGateway\":true," RANGE "\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}}]}"},
    {.name = "a single plugin of version 0.2.0",
	.conf = "{\"name\":\"dbnet\",\"cniVersion\":\"0.2.0\",\"plugins\":[{\"type\":\"bridge\","
		"\"isGateway\":true," RANGE "\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}}]}"},
    {.name = "host ports",
	.ports = {{NET_TCP, 80, 8080, NULL}, {NET_UDP, 53, 5353, ""},
	    {NET_TCP, 80, 8081, "192.0.2.1"}},
	.n_ports = 3,
	.masquerades = true,
	.conf = BRIDGE("\"isDefaultGateway\":true,\"hairpinMode\":true,\"ipMasq\":true," RANGE
		       "\"routes\":[]}},{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":true}}"
		       "]}")},
    {.name = "host ports on two families, without SNAT",
	.ipv6 = true,
	.ports = {{NET_TCP, 80, 8080, NULL}},
	.n_ports = 1,
	.conf = BRIDGE("\"isDefaultGateway\":true,\"ipam\":{\"type\":\"host-local\",\"dataDir\":"
		       "\"LAB/ips\",\"ranges\":[[{\"subnet\":\"10.55.0.0/24\"}],[{\"subnet\":"
		       "\"fd00:55::/64\"}]]}},{\"type\":\"portmap\",\"snat\":false,\"capabilities\":{"
		       "\"portMappings\":true}}]}")},
    {.name = "loopback", .conf = "{\"name\":\"lo\",\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":"
				 "\"loopback\"}]}"},
    {.name = "a subnet without room",
	.fails = true,
	.conf = BRIDGE("\"bridge\":\"br5\",\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"LAB/ips\","
		       "\"subnet\":\"10.55.0.0/31\"}}]}")},
    {.name = "host bits in the subnet",
	.fails = true,
	.conf = BRIDGE("\"bridge\":\"br5\",\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"LAB/ips\","
		       "\"subnet\":\"10.55.0.7/24\"}}]}")},
    {.name = "a range of one address",
	.fails = true,
	.conf = BRIDGE("\"bridge\":\"br5\"," RANGE "\"rangeStart\":\"10.55.0.7\",\"rangeEnd\":"
		       "\"10.55.0.7\"}}]}")},
    {.name = "overlapping ranges",
	.fails = true,
	.conf = BRIDGE("\"bridge\":\"br5\",\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"LAB/ips\","
		       "\"ranges\":[[{\"subnet\":\"10.55.0.0/24\"}],[{\"subnet\":\"10.55.0.0/16\"}]]}"
		       "}]}")},
    {.name = "hairpin and promiscuous",
	.fails = true,
	.conf = BRIDGE("\"hairpinMode\":true,\"promiscMode\":true," RANGE "\"routes\":[]}}]}")},
    {.name = "a bridge that is none",
	.fails = true,
	.conf = BRIDGE("\"bridge\":\"wire0\"," RANGE "\"routes\":[]}}]}")},
};

/* clang-format on */

/* ---- what is seen --------------------------------------------------------------------------- */

static FILE *report;

static void
say(const char *what, const char *text)
{
	fprintf(report, "== %s\n%s\n", what, text);
}

/* Names and numbers that differ from run to run become the same. */
static char *
normalise(const char *text)
{
	static const char *const patterns[][2] = {
	    {"veth[0-9a-f]+",                "VETH" },
	    {"([0-9a-f]{2}:){5}[0-9a-f]{2}", "MAC"  },
	    {"/tmp/netlab\\.[A-Za-z0-9]{6}", "LAB"  },
	    {"if[0-9]+",                     "ifN"  },
	    {"CNI-[A-Z]*-?[0-9a-f]{20,}",    "CHAIN"},
	};
	char *s = strdup(text);

	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
		regex_t re;
		regmatch_t m;
		struct buf out = BUF_INIT;
		const char *at = s;

		if (regcomp(&re, patterns[i][0], REG_EXTENDED) != 0)
			abort();
		while (regexec(&re, at, 1, &m, 0) == 0) {
			buf_add(&out, at, (size_t)m.rm_so);
			buf_addstr(&out, patterns[i][1]);
			at += m.rm_eo;
		}
		buf_addstr(&out, at);
		regfree(&re);
		free(s);
		s = buf_detach(&out);
	}
	return s;
}

static void
run(const char *netns, const char *command)
{
	char text[600], *plain;
	char *copy = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&copy, &n);

	/* LAB in a command is the scratch directory */
	for (const char *p = command; *p != '\0'; p++) {
		if (strncmp(p, "LAB", 3) == 0) {
			fputs(lab_dir, f);
			p += 2;
		} else {
			fputc(*p, f);
		}
	}
	fclose(f);
	snprintf(text, sizeof(text), "%s", copy);
	free(copy);
	plain = normalise(lab_output(netns, text));
	say(command, plain);
	free(plain);
}

static void
say_result(const char *what, const char *json, bool with_dns)
{
	json_t *record = json_loads(json, 0, NULL);
	json_t *result =
	    json_object_get(json_array_get(json_object_get(record, "attachments"), 0), "result");
	char *text, *plain;

	/* Debian's bridge does not hand on what host-local reads from resolvConf. */
	if (strstr(json, "resolvConf") != NULL && !with_dns)
		json_object_del(result, "dns");
	text = json_dumps(result, JSON_INDENT(1) | JSON_SORT_KEYS);
	plain = normalise(text);

	say(what, plain);
	free(text);
	free(plain);
	json_decref(record);
}

static void
look_at_host(void)
{
	run(NULL,
	    "ip -o link | grep -v wire | cut -d' ' -f2- | sed 's/link-netns.*//; s/link.MAC.*//' | "
	    "grep -oE '^[a-z0-9@:.A-Z]+ <[A-Z,_]*>|mtu [0-9]+|master [a-z0-9]+' | sort");
	run(NULL, "ip -o addr show | grep -v wire | grep -v fe80 | awk '{print $2,$3,$4}' | sort");
	run(NULL, "ip route; ip -6 route | grep -v fe80");
	run(NULL, "bridge -d link | grep -oE 'hairpin [a-z]+|promisc[a-z]* [0-9]'");
	run(NULL, "cat /proc/sys/net/ipv4/ip_forward");
	run(NULL, "cat /proc/sys/net/ipv4/conf/[bc][rn]*/route_localnet 2>/dev/null");
	run(NULL,
	    "cd LAB/ips 2>/dev/null && find . -type f | sort && for f in $(find . -type f | sort); "
	    "do cat -A $f; echo; done");
}

static void
look_at_pod(const char *netns)
{
	run(netns, "ip -o link | grep -oE '[a-z0-9]+@|<[A-Z,_]*>|mtu [0-9]+'");
	run(netns, "ip -o addr show | grep -v fe80 | awk '{print $2,$3,$4}'");
	run(netns, "ip route; ip -6 route | grep -v fe80");
	run(netns,
	    "cat /proc/sys/net/ipv4/conf/eth0/arp_notify /proc/sys/net/ipv6/conf/eth0/accept_dad");
}

/* ---- one run -------------------------------------------------------------------------------- */

static void
put(const char *path, const char *text)
{
	struct err err = {0};

	if (fd_write_file(AT_FDCWD, path, text, strlen(text), 0644, false, &err) < 0)
		abort();
}

static void
prepare(const struct scene *s)
{
	char path[200], *conf = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&conf, &n);

	for (const char *p = s->conf; *p != '\0'; p++) {
		if (strncmp(p, "LAB", 3) == 0) {
			fputs(lab_dir, f);
			p += 2;
		} else {
			fputc(*p, f);
		}
	}
	fclose(f);
	snprintf(conf_dir, sizeof(conf_dir), "%s/conf", lab_dir);
	snprintf(cache_dir, sizeof(cache_dir), "%s/cache", lab_dir);
	mkdir(conf_dir, 0755);
	snprintf(path, sizeof(path), "%s/1.conflist", conf_dir);
	put(path, conf);
	free(conf);
	snprintf(path, sizeof(path), "%s/resolv", lab_dir);
	put(path, "# comment\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n search a b\noptions x y\n"
	          "domain d\nnonsense\n");
}

static void
talk(const struct scene *s, struct tpod *a, struct tpod *b, const char *other)
{
	const char *ip = a->call.result.n_ips > 0 ? a->call.result.ips[0] : NULL;
	bool routed = strstr(s->conf, "Gateway") != NULL;

	if (ip == NULL || strchr(ip, '.') == NULL)
		return;
	lab_serve(a->netns, SOCK_STREAM, "0.0.0.0", 80, "a");
	lab_serve(a->netns, SOCK_DGRAM, "0.0.0.0", 53, "a");
	say("pod to pod", lab_ask(b->netns, SOCK_STREAM, ip, 80));
	if (!routed)
		return;
	say("host to pod", lab_ask(NULL, SOCK_STREAM, ip, 80));
	if (s->masquerades)
		say("pod to another host", lab_ask(a->netns, SOCK_STREAM, "192.0.2.9", 91));
	if (s->n_ports < 3)
		return;
	say("another host to the port", lab_ask(other, SOCK_STREAM, "192.0.2.1", 8080));
	say("by UDP", lab_ask(other, SOCK_DGRAM, "192.0.2.1", 5353));
	say("on one address", lab_ask(other, SOCK_STREAM, "192.0.2.1", 8081));
	say("the host by 127.0.0.1", lab_ask(NULL, SOCK_STREAM, "127.0.0.1", 8080));
	say("the pod to itself", lab_ask(a->netns, SOCK_STREAM, "192.0.2.1", 8080));
}

static void
act(const struct scene *s, struct net *net, const char *other, bool native)
{
	struct tpod a, b;

	tpod_init(&a, net, 1, true);
	tpod_init(&b, net, 2, true);
	a.pod.ports = s->ports;
	a.pod.n_ports = s->n_ports;
	if (s->fails) {
		const char *at;

		if (tpod_up(&a) && tpod_up(&b))
			say("no failure", "");
		at = a.err.code != ERR_NONE ? a.err.msg : b.err.msg;
		at = strstr(at, "ADD: ") != NULL ? strstr(at, "ADD: ") + 5 : at;
		fprintf(stderr, "#   %s\n", at);
		say("undone", a.undo_err.msg);
		(void)tpod_down(&a);
		(void)tpod_down(&b);
		run(NULL, "cd LAB/ips 2>/dev/null && find . -type f | grep -v last | sort");
		return;
	}
	if (!tpod_up(&a) || !tpod_up(&b)) {
		say("failure", a.err.code != ERR_NONE ? a.err.msg : b.err.msg);
		return;
	}
	fprintf(stderr, "#   attach took %lld us\n", (long long)b.took_us);
	say_result("the first result", a.json, strstr(s->conf, "\"dns\"") != NULL);
	say_result("the second result", b.json, strstr(s->conf, "\"dns\"") != NULL);
	look_at_host();
	look_at_pod(a.netns);
	look_at_pod(b.netns);
	/* Without a gateway the bridge's hardware address changes with its ports, and the real
	 * plugin takes offence; Debian's portmap looks for rules of both families whatever the pod
	 * has. */
	if (strstr(s->conf, "Gateway") != NULL && strstr(s->conf, "portmap") == NULL)
		say("check", tpod_run(&a, tpod_check_steps) ? "passes" : a.err.msg);
	talk(s, &a, &b, other);
	if (!tpod_down(&a))
		say("detach", a.err.msg);
	fprintf(stderr, "#   detach took %lld us\n", (long long)a.took_us);
	run(a.netns, "ip -o link | cut -d: -f2");
	lab_netns_remove(b.netns);
	if (!tpod_down(&b))
		say("detach without a namespace", b.err.msg);
	run(NULL, "ip -o link | grep -v wire | cut -d: -f2 | cut -d@ -f1 | grep -v veth");
	run(NULL, "cd LAB/ips 2>/dev/null && find . -type f | sort");
	run(NULL, "ls LAB/cache/results LAB/cni");
	/* The real plugins leave rules of a pod whose namespace went first. */
	if (native && strcmp(lab_output(NULL, "nft list ruleset | grep -cE '10[.]55|00000001abcd'"),
	                  "0\n") != 0)
		say("rules are left", lab_output(NULL, "nft list ruleset"));
}

static void
observe(const struct scene *s, bool native, const char *path)
{
	struct net_config config = {.instance = "labnat",
	    .mode = NET_CNI,
	    .state_dir = lab_dir,
	    .cni_bin_dirs = {"/usr/lib/cni"},
	    .cni_conf_dir = conf_dir,
	    .cni_cache_dir = cache_dir,
	    .cni_native = native};
	char other[128], command[600];
	struct err err = {0};
	struct net *net;

	report = fopen(path, "w");
	lab_host();
	loop_init();
	prepare(s);
	lab_netns("other", other);
	snprintf(command, sizeof(command),
	    "ip link add wire0 type veth peer name wire1; ip link set wire0 up; ip addr add "
	    "192.0.2.1/24 dev wire0; ip link set wire1 netns /proc/self/fd/9 9<%s; nsenter "
	    "--net=%s sh "
	    "-c 'ip link set wire1 up; ip addr add 192.0.2.9/24 dev wire1'",
	    other, other);
	lab_output(NULL, command);
	lab_serve(other, SOCK_STREAM, "0.0.0.0", 91, "other");
	net = net_open(&config, &err);
	if (net == NULL || !net_wait_ready(net))
		say("not ready", err.msg);
	else
		act(s, net, other, native);
	net_close(net);
	lab_cleanup();
	fclose(report);
	_exit(0);
}

static void
compare(const struct scene *s)
{
	char real[] = "/tmp/native.XXXXXX", ours[] = "/tmp/native.XXXXXX", command[200];
	char *paths[2] = {real, ours};
	const char *diff;

	fprintf(stderr, "# %s\n", s->name);
	for (int i = 0; i < 2; i++) {
		int fd = mkstemp(paths[i]), status;
		pid_t pid;

		close(fd);
		fflush(stdout);
		fprintf(stderr, "#  %s\n", i == 0 ? "exec'd" : "native");
		pid = fork();
		if (pid == 0)
			observe(s, i == 1, paths[i]);
		waitpid(pid, &status, 0);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			ok(false, "%s: status %d", s->name, status);
	}
	snprintf(command, sizeof(command), "diff -u %s %s", real, ours);
	diff = lab_output(NULL, command);
	ok(diff[0] == '\0', "%s: the same by both", s->name);
	if (diff[0] != '\0')
		printf("%s\n", diff);
	snprintf(command, sizeof(command), "grep -c . %s", ours);
	ok(strtol(lab_output(NULL, command), NULL, 10) > 2, "and there was something to compare");
	if (getenv("KEEP") == NULL) {
		unlink(real);
		unlink(ours);
	}
}

int
main(void)
{
	const char *only = getenv("SCENE");

	if (geteuid() != 0)
		skip_all("needs root: network namespaces");
	if (access("/usr/lib/cni/bridge", X_OK) < 0)
		skip_all("needs the package containernetworking-plugins");
	for (size_t i = 0; i < ARRAY_SIZE(scenes); i++)
		if (only == NULL || strstr(scenes[i].name, only) != NULL)
			compare(&scenes[i]);
	return tap_done();
}
