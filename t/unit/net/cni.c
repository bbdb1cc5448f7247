/* SPDX-License-Identifier: Apache-2.0
 *
 * CNI with plugins that are scripts: what they are given, what becomes of what they say, which of
 * their ways to fail are survived.
 */
#include "tap.h"

#include <jansson.h>

#include "base/fd.h"
#include "netpod.h"

static char bin_dir[128], conf_dir[128], cache_dir[128];
static struct net_config config = {
    .instance = "labcni",
    .mode = NET_CNI,
    .state_dir = lab_dir,
    .cni_bin_dirs = {"/nonexistent", bin_dir},
    .cni_conf_dir = conf_dir,
    .cni_cache_dir = cache_dir,
    .plugin_timeout_ms = 1500
};

static void
put(const char *dir, const char *name, const char *text, mode_t mode)
{
	struct err err = {0};
	char path[700];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (fd_write_file(AT_FDCWD, path, text, strlen(text), mode, false, &err) < 0) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
}

/* A plugin that logs each call to calls/<type>-<command>-<n>: its environment and its stdin; body:
 * shell commands that print the result. VERSION is answered for it. */
static void
put_plugin(const char *type, const char *body)
{
	char text[4096];

	snprintf(text, sizeof(text),
	    "#!/bin/sh\n"
	    "conf=$(cat)\n"
	    "if [ \"$CNI_COMMAND\" = VERSION ]; then\n"
	    "echo '{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\"0.3.0\","
	    "\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}'; exit; fi\n"
	    "cd %s; mkdir -p calls; n=$(ls calls | grep -vc env)\n"
	    "me=%s; f=calls/$(printf %%02d $n)-$me-$CNI_COMMAND\n"
	    "{ env | grep ^CNI_ | sort; echo \"PATH=$PATH\"; } > $f.env\n"
	    "echo \"$conf\" > $f.json; mv $f.json $f\n"
	    "%s\nexit 0\n",
	    lab_dir, type, body);
	put(bin_dir, type, text, 0755);
}

static const char *
read_call(const char *name)
{
	char command[400];

	snprintf(command, sizeof(command), "cat %s/calls/%s", lab_dir, name);
	return lab_output(NULL, command);
}

static const char *
calls(void)
{
	char command[400];

	snprintf(command, sizeof(command),
	    "cd %s/calls 2>/dev/null && ls | grep -v env | cut -d- -f2- | tr '\\n' ' '; rm -rf "
	    "%s/calls",
	    lab_dir, lab_dir);
	return lab_output(NULL, command);
}

/* A member of a JSON text by its path, "a.b.0.c", as compact JSON; "" when there is none. */
static const char *
at(const char *text, const char *path)
{
	static char out[2048];
	json_t *o = json_loads(text, 0, NULL);
	const json_t *v = o;
	char copy[200], *rest = copy, *part, *dump;

	snprintf(copy, sizeof(copy), "%s", path);
	while ((part = strsep(&rest, "/")) != NULL)
		v = json_is_array(v) ? json_array_get(v, (size_t)strtol(part, NULL, 10))
		                     : json_object_get(v, part);
	dump = v != NULL ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;
	snprintf(out, sizeof(out), "%s", dump != NULL ? dump : "");
	free(dump);
	json_decref(o);
	return out;
}

static struct net *
open_net(void)
{
	struct err err = {0};
	struct net *net = net_open(&config, &err);

	if (net == NULL) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
	return net;
}

static void
settle(int64_t ms)
{
	bool never = false;

	lab_wait(&never, ms);
}

static const char *
not_ready(struct net *net)
{
	static char msg[512];
	const char *reason = "";

	msg[0] = '\0';
	if (net_ready(net, &reason, msg, sizeof(msg)))
		return "ready";
	if (strcmp(reason, "NetworkPluginNotReady") != 0)
		return reason;
	return msg;
}

static bool
has(const char *text, const char *what)
{
	bool found = strstr(text, what) != NULL;

	if (!found)
		diag("not in: %s", text);
	return found;
}

static const char one_result[] =
    "echo '{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"br\"},{\"name\":\"eth0\","
    "\"sandbox\":\"x\"}],\"ips\":[{\"address\":\"10.0.0.1/24\",\"interface\":0},{\"address\":"
    "\"fd00::5/64\",\"gateway\":\"fd00::1\",\"interface\":1},{\"address\":\"10.0.0.5/24\","
    "\"interface\":1}],\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}'";

static void
test_readiness(void)
{
	struct net *net = open_net();
	char dead[700];
	struct buf info = BUF_INIT;

	ok(has(not_ready(net), "no CNI network configuration in") && has(not_ready(net), conf_dir),
	    "without a directory the message names it");
	mkdir(conf_dir, 0755);
	put(conf_dir, "05-broken.conflist", "{\"name\": \"x\", \"plugins\": [\n{]}", 0644);
	settle(120);
	ok(has(not_ready(net), "05-broken.conflist: line 2"),
	    "a broken file and its line are named");
	put(conf_dir, "06-escape.conf",
	    "{\"name\":\"x\",\"cniVersion\":\"1.0.0\",\"type\":\"../../bin/sh\"}", 0644);
	put(conf_dir, "10-good.conflist",
	    "{\"name\":\"good\",\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"first\"}]}",
	    0644);
	settle(200);
	ok(has(not_ready(net), "plugin first is not in /nonexistent, /"), "a plugin is missing");
	net_info(net, &info);
	ok(has(info.data, "06-escape.conf") &&
	        has(info.data, "type '../../bin/sh' is no plain name"),
	    "a type that is a path is refused and reported");
	buf_release(&info);
	put_plugin("first", one_result);
	put(conf_dir, "10-good.conflist",
	    "{\"name\":\"good\",\"cniVersion\":\"1.0.0\" ,\"plugins\":[{\"type\":\"first\"}]}",
	    0644);
	ok(net_wait_ready(net), "with the plugin the network is ready");
	snprintf(dead, sizeof(dead), "rm -r %s", conf_dir);
	lab_output(NULL, dead);
	settle(120);
	ok(has(not_ready(net), "no CNI network configuration"), "the directory goes");
	snprintf(dead, sizeof(dead),
	    "mkdir %s.new; echo '{\"name\":\"re\",\"cniVersion\":\"0.4.0\",\"type\":\"first\"}' > "
	    "%s.new/9.conf; mv %s.new %s",
	    conf_dir, conf_dir, conf_dir, conf_dir);
	lab_output(NULL, dead);
	ok(net_wait_ready(net), "another takes its place");
	put_plugin("first", "echo x");
	put(conf_dir, "9.conf", "{\"name\":\"re\",\"cniVersion\":\"0.9.0\",\"type\":\"first\"}",
	    0644);
	settle(300);
	ok(has(not_ready(net), "plugin first does not support CNI version 0.9.0"),
	    "a version that the plugin does not know");
	put(conf_dir, "9.conf", "{\"name\":\"re\",\"cniVersion\":\"2.0.0\",\"type\":\"first\"}",
	    0644);
	settle(300);
	ok(has(not_ready(net), "newer than 1.1.0"), "a version that we do not know");
	net_close(net);
	snprintf(dead, sizeof(dead), "rm -r %s; mkdir %s", conf_dir, conf_dir);
	lab_output(NULL, dead);
}

static const char chain[] =
    "{\"name\":\"chain\",\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"first\",\"keep\":7},"
    "{\"type\":\"second\",\"capabilities\":{\"portMappings\":true,\"bandwidth\":true,\"dns\":true,"
    "\"aliases\":true,\"cgroupPath\":true,\"ipRanges\":true,\"unknown\":true,"
    "\"io.kubernetes.cri.pod-annotations\":true}}]}";

static void
test_chain(void)
{
	static const struct net_port ports[] = {
	    {NET_UDP, 53, 5353, "127.0.0.1"},
            {NET_TCP, 80, 0,    ""         }
        };
	static const struct net_kv notes[] = {
	    {"kubernetes.io/ingress-bandwidth", "1.5M"},
            {"other",                           "x"   }
        };
	static const char *const servers[] = {"10.0.0.10"}, *const options[] = {"ndots:5"};
	struct net *net;
	struct err err = {0};
	struct tpod a;
	char path[700];

	put(conf_dir, "10-chain.conflist", chain, 0644);
	put_plugin("first", one_result);
	put_plugin("second",
	    "[ $CNI_COMMAND = ADD ] && echo '{\"cniVersion\":\"0.4.0\",\"ips\":[{\"version\":\"4\","
	    "\"address\":\"10.0.0.6/24\"}]}'");
	net = open_net();
	ok(net_wait_ready(net), "a chain of two");
	calls();
	is_int(net_set_pod_cidr(net, "10.1.0.0/24,fd01::/64", &err), 0, "the pod CIDR is told");
	tpod_init(&a, net, 1, true);
	a.pod.ports = ports;
	a.pod.n_ports = 2;
	a.pod.annotations = notes;
	a.pod.n_annotations = 2;
	a.pod.dns_servers = servers;
	a.pod.n_dns_servers = 1;
	a.pod.dns_options = options;
	a.pod.n_dns_options = 1;
	a.pod.cgroup_parent = "/kubepods/x";
	ok(tpod_up(&a), "is attached");
	diag("attach took %lld us", (long long)a.took_us);
	is_int(a.call.result.n_ips, 1, "the last result counts");
	is_str(a.call.result.ips[0], "10.0.0.6", "with its address");
	ok(has(read_call("00-first-ADD.env"),
	       "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;"
	       "K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=00000001"),
	    "CNI_ARGS");
	ok(has(read_call("00-first-ADD.env"), ";K8S_POD_UID=uid-1\n") &&
	        has(read_call("00-first-ADD.env"), "CNI_IFNAME=eth0\n") &&
	        has(read_call("00-first-ADD.env"), a.netns) &&
	        has(read_call("00-first-ADD.env"), "CNI_PATH=/nonexistent:/"),
	    "the other parameters");
	is_str(at(read_call("00-first-ADD"), "name"), "\"chain\"", "the network's name goes in");
	is_str(at(read_call("00-first-ADD"), "cniVersion"), "\"1.0.0\"", "and its version");
	is_str(at(read_call("00-first-ADD"), "keep"), "7", "what else is there stays");
	is_str(at(read_call("00-first-ADD"), "runtimeConfig"), "", "no capabilities, no arguments");
	is_str(at(read_call("01-second-ADD"), "prevResult/ips/1/address"), "\"fd00::5/64\"",
	    "the first result reaches the second plugin");
	is_str(at(read_call("01-second-ADD"), "prevResult/cniVersion"), "\"1.0.0\"",
	    "in the network's version");
	is_str(at(read_call("01-second-ADD"), "runtimeConfig"),
	    "{\"aliases\":[\"web\"],\"bandwidth\":{\"ingressBurst\":2147483647,\"ingressRate\":"
	    "1500000},\"cgroupPath\":\"/kubepods/"
	    "x\",\"dns\":{\"options\":[\"ndots:5\"],\"searches\":"
	    "[],\"servers\":[\"10.0.0.10\"]},\"io.kubernetes.cri.pod-annotations\":{"
	    "\"kubernetes.io/"
	    "ingress-bandwidth\":\"1.5M\",\"other\":\"x\"},\"ipRanges\":[[{\"subnet\":"
	    "\"10.1.0.0/24\"}],[{\"subnet\":\"fd01::/"
	    "64\"}]],\"portMappings\":[{\"containerPort\":53,"
	    "\"hostIP\":\"127.0.0.1\",\"hostPort\":5353,\"protocol\":\"udp\"}]}",
	    "all capability arguments");
	calls();
	snprintf(path, sizeof(path), "cat %s/results/chain-%s-eth0", cache_dir, a.id);
	is_str(at(lab_output(NULL, path), "kind"), "\"cniCacheV1\"", "the result is cached");
	is_str(at(lab_output(NULL, path), "result"),
	    "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.6/24\"}]}",
	    "in the network's version");
	is_str(
	    at(lab_output(NULL, path), "cniArgs/0"), "[\"IgnoreUnknown\",\"1\"]", "with CNI_ARGS");
	is_str(at(lab_output(NULL, path), "ifName"), "\"eth0\"", "and the interface");
	snprintf(path, sizeof(path),
	    "python3 -c \"import json,base64;print(base64.b64decode(json.load(open('%s/results/"
	    "chain-%s-eth0'))['config']).decode(),end='')\"",
	    cache_dir, a.id);
	is_str(lab_output(NULL, path), chain, "and the configuration's very bytes");
	ok(strstr(lab_output(NULL, "nft list tables"), "labcni") == NULL,
	    "ports that a plugin maps are not ours");
	ok(tpod_down(&a), "is detached");
	is_str(at(read_call("00-second-DEL"), "prevResult/ips/0/address"), "\"10.0.0.6/24\"",
	    "DEL gets the last result");
	is_str(at(read_call("01-first-DEL"), "prevResult/ips/0/address"), "\"10.0.0.6/24\"",
	    "each plugin of it");
	ok(has(read_call("01-first-DEL.env"), a.netns), "and the namespace");
	is_str(calls(), "second-DEL first-DEL ", "backwards");
	snprintf(path, sizeof(path), "ls %s/results %s/cni | grep -c 00000001", cache_dir, lab_dir);
	is_str(lab_output(NULL, path), "0\n", "no file is left");
	ok(tpod_down(&a), "once more, from the record");
	is_str(calls(), "second-DEL first-DEL ", "asks them again");
	free(a.json);
	a.json = NULL;
	ok(tpod_down(&a), "without a record");
	is_str(calls(), "", "there is nothing to do");
	tpod_release(&a);
	net_close(net);
}

struct failure {
	const char *what, *body, *words;
	enum err_code code;
};

static void
test_failures(void)
{
	static const struct failure failures[] = {
	    {"an error object",
             "echo '{\"cniVersion\":\"1.0.0\",\"code\":7,\"msg\":\"bad "
	        "subnet\",\"details\":\"too "
	        "small\"}'; echo log line >&2; exit 1",	                            "plugin second ADD: bad subnet; too small; on stderr: log line", ERR_INTERNAL        },
	    {"try again later",           "echo '{\"code\":11,\"msg\":\"busy\"}'; exit 1",
             "plugin second ADD: busy",	                                                                                                             ERR_UNAVAILABLE     },
	    {"words on stderr",           "echo no luck >&2; exit 3",
             "plugin second ADD: exit status 3; on stderr: no luck",	                                                                                ERR_INTERNAL        },
	    {"garbage and failure",       "printf 'a\\033[31mb\\001'; exit 1",
             "plugin second ADD: exit status 1, and printed: a?[31mb?",	                                                                             ERR_INTERNAL        },
	    {"garbage and success",       "echo 'not json'",
             "plugin second ADD: result: line 1:",	                                                                                                  ERR_INVALID_ARGUMENT},
	    {"nothing and success",       "true",
             "plugin second ADD: result: line 1:",	                                                                                                  ERR_INVALID_ARGUMENT},
	    {"another shape",
             "echo '{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.1\"}]}'",     "an IP has no 'address' with a prefix",                          ERR_INVALID_ARGUMENT},
	    {"an interface out of range",
             "echo "
	        "'{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":"
	        "3}]}'",	                                                           "an IP's 'interface' is out of range",                           ERR_INVALID_ARGUMENT},
	    {"death",                     "kill -9 $$",	                            "plugin second ADD killed by signal 9",                          ERR_INTERNAL        },
	    {"a flood",                   "yes | head -c 3000000",                         "prints more than 1048576 bytes",                                ERR_INTERNAL        },
	    {"hanging",                   "sleep 60 & sleep 60",                           "plugin second ADD timed out after 1500 ms",
             ERR_DEADLINE_EXCEEDED	                                                                                                                                      },
	};
	struct net *net = open_net();
	struct tpod a;
	char body[1024];

	ok(net_wait_ready(net), "the chain again");
	put_plugin("first", one_result);
	tpod_init(&a, net, 2, true);
	for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
		const struct failure *f = &failures[i];

		snprintf(body, sizeof(body), "[ $CNI_COMMAND = DEL ] && exit\n%s", f->body);
		put_plugin("second", body);
		calls();
		ok(!tpod_up(&a), "%s is a failure", f->what);
		ok(has(a.err.msg, f->words), "with the plugin's words");
		ok(has(a.err.msg, "attach network: "), "and the step's name");
		is_int(a.err.code, f->code, "and a code");
		is_int(a.undo_err.code, ERR_NONE, "it is undone");
		is_str(calls(), "first-ADD second-ADD second-DEL first-DEL ",
		    "by DEL of all plugins, the failed one too");
	}
	put(bin_dir, "second", "#!/bin/sh\n", 0644);
	ok(!tpod_up(&a), "a plugin that is no program any more");
	ok(has(a.err.msg, "ADD: plugin second is not in /nonexistent"), "is missing");
	is_int(a.undo_err.code, ERR_NOT_FOUND, "for DEL as well");
	calls();
	put_plugin("second", "exit 1");
	ok(!tpod_down(&a), "DEL fails");
	is_str(calls(), "second-DEL ", "before the first plugin");
	put_plugin("second", "echo '{\"code\":3,\"msg\":\"never heard of it\"}'; exit 1");
	ok(tpod_down(&a), "a container that the plugin does not know is deleted");
	is_str(calls(), "second-DEL first-DEL ", "and the others go on");
	tpod_release(&a);
	net_close(net);
}

static void
test_cancel_and_restart(void)
{
	struct net *net = open_net();
	struct tpod a, b, gc;
	const char *live[1];
	char path[700];

	ok(net_wait_ready(net), "the chain again");
	put_plugin("first", one_result);
	put_plugin("second", "[ $CNI_COMMAND = DEL ] && exit\nsleep 60");
	tpod_init(&a, net, 3, true);
	calls();
	tpod_start(&a, tpod_attach_steps);
	settle(300);
	op_cancel(&a.op, ERR_CANCELLED, "the client went away");
	ok(!tpod_finish(&a), "cancelled in the second plugin");
	is_int(a.err.code, ERR_CANCELLED, "is an error of its own");
	ok(a.took_us < 1000000, "that does not wait for the plugin's deadline");
	is_str(calls(), "first-ADD second-ADD second-DEL first-DEL ", "and is undone");

	/* The daemon dies in the middle of it. */
	tpod_start(&a, tpod_attach_steps);
	settle(300);
	op_cancel(&a.op, ERR_CANCELLED, "test over");
	put_plugin("second", "exit 1");
	ok(!tpod_finish(&a) && a.undo_err.code != ERR_NONE, "an attach that could not be undone");
	put_plugin("second",
	    "[ $CNI_COMMAND = DEL ] || cat <<X\n"
	    "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.7/24\"}]}\nX");
	tpod_init(&b, net, 4, true);
	ok(tpod_up(&b), "another pod");
	net_close(net);
	settle(50);
	calls();
	put(conf_dir, "10-chain.conflist",
	    "{\"name\":\"other\",\"cniVersion\":\"1.1.0\",\"plugins\":[{\"type\":\"first\"}]}",
	    0644);
	/* a pod of another runtime's */
	snprintf(path, sizeof(path),
	    "echo '{\"kind\":\"cniCacheV1\",\"containerId\":\"theirs\",\"ifName\":\"eth9\","
	    "\"networkName\":\"other\",\"config\":\"\"}' > %s/results/other-theirs-eth9",
	    cache_dir);
	lab_output(NULL, path);
	net = open_net();
	ok(net_wait_ready(net), "restarted, with another configuration");
	calls();
	{
		struct net_result result = {0};
		struct err err = {0};

		is_int(net_reserve(net, b.id, b.json, &result, &err), 0, "the record is taken");
		is_str(result.ips[0], "10.0.0.7", "and has the address");
	}
	tpod_init(&gc, net, 5, false);
	live[0] = b.id;
	gc.live = live;
	gc.n_live = 1;
	ok(tpod_run(&gc, tpod_gc_steps), "leftovers are collected");
	ok(has(read_call("00-second-DEL.env"), "CNI_CONTAINERID=00000003abcd"), "the lost pod");
	ok(has(read_call("00-second-DEL.env"), a.netns), "in its namespace, which is still there");
	ok(has(read_call("02-first-GC"),
	       "\"cni.dev/valid-attachments\":[{\"containerID\":\"theirs\",\"ifname\":\"eth9\"}]"),
	    "that spares other runtimes' pods");
	is_str(calls(), "second-DEL first-DEL first-GC ", "nothing else");
	snprintf(path, sizeof(path), "cp %s/cni/%s %s/cni/lost", lab_dir, b.id, lab_dir);
	lab_output(NULL, path);
	put_plugin("second", "exit 1");
	ok(tpod_run(&gc, tpod_gc_steps), "a leftover that cannot be deleted now");
	calls();
	put_plugin("second", "true");
	settle(1500);
	is_str(calls(), "second-DEL first-DEL ", "is deleted later");
	snprintf(path, sizeof(path), "ls %s/cni | grep lost", lab_dir);
	is_str(lab_output(NULL, path), "", "and its note is gone");
	b.net = net;
	lab_netns_remove(b.netns);
	ok(tpod_down(&b), "a pod of the old configuration is detached by its record");
	is_str(calls(), "second-DEL first-DEL ", "through the old plugins");
	tpod_release(&a);
	tpod_release(&b);
	tpod_release(&gc);
	net_close(net);
}

static void
test_status_and_check(void)
{
	struct net *net;
	struct tpod a;

	put(conf_dir, "10-chain.conflist",
	    "{\"name\":\"st\",\"cniVersions\":[\"1.0.0\",\"1.1.0\",\"9.9.9\"],\"plugins\":[{"
	    "\"type\":"
	    "\"first\"}]}",
	    0644);
	put_plugin("first", "[ $CNI_COMMAND = STATUS ] && { echo '{\"code\":50,\"msg\":\"no "
	                    "uplink\"}'; exit 1; }");
	net = open_net();
	settle(300);
	ok(has(not_ready(net), "10-chain.conflist: network st: ") &&
	        has(not_ready(net), "plugin first STATUS: no uplink"),
	    "a plugin's STATUS makes the network not ready");
	put_plugin("first", one_result);
	put(conf_dir, "10-chain.conflist",
	    "{\"name\":\"st\",\"cniVersion\":\"1.1.0\",\"plugins\":[{\"type\":\"first\"}]}", 0644);
	ok(net_wait_ready(net), "and ready");
	tpod_init(&a, net, 6, true);
	ok(tpod_up(&a), "a pod");
	is_str(a.call.result.ips[0], "10.0.0.5", "IPv4 comes first");
	is_str(a.call.result.ips[1], "fd00::5", "then IPv6");
	is_int(a.call.result.n_ips, 2, "and not what the bridge has");
	calls();
	ok(tpod_run(&a, tpod_check_steps), "is checked");
	is_str(at(read_call("00-first-CHECK"), "prevResult/ips/0/address"), "\"10.0.0.1/24\"",
	    "with its result");
	put_plugin("first", "[ $CNI_COMMAND = CHECK ] && { echo '{\"code\":100,\"msg\":\"link "
	                    "gone\"}'; exit 1; }");
	ok(!tpod_run(&a, tpod_check_steps) && has(a.err.msg, "plugin first CHECK: link gone"),
	    "and fails");
	ok(tpod_down(&a), "end");
	tpod_release(&a);
	net_close(net);
}

/* Two networks, a handler with its own directory, ports without a plugin for them. */
static void
test_several(void)
{
	static const struct net_port port[] = {
	    {NET_TCP, 80, 8088, NULL}
        };
	static char special[160];
	static const struct net_handler handler = {"vm", special, 0};
	struct net *net;
	struct tpod a, b;

	put_plugin("first", "[ $CNI_COMMAND = ADD ] && echo "
	                    "'{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.0.1.5/24\","
	                    "\"gateway\":\"10.0.1.1\"}}'");
	put_plugin("second",
	    "[ $CNI_COMMAND = ADD ] && echo '{\"cniVersion\":\"0.3.1\",\"ips\":[{\"version\":\"4\","
	    "\"address\":\"10.0.2.5/24\"}]}'");
	put(conf_dir, "10-chain.conflist", "{\"name\":\"n1\",\"plugins\":[{\"type\":\"first\"}]}",
	    0644);
	put(conf_dir, "20-n2.conf",
	    "{\"name\":\"n2\",\"cniVersion\":\"0.3.1\",\"type\":\"second\"}", 0644);
	snprintf(special, sizeof(special), "%s/special", lab_dir);
	mkdir(special, 0755);
	put(special, "1.json", "{\"name\":\"n3\",\"cniVersion\":\"0.3.1\",\"type\":\"second\"}",
	    0644);
	config.cni_max_networks = -1;
	config.handlers = &handler;
	config.n_handlers = 1;
	net = open_net();
	ok(net_wait_ready(net), "two networks");
	tpod_init(&a, net, 7, true);
	tpod_init(&b, net, 8, true);
	calls();
	a.pod.ports = b.pod.ports = port;
	a.pod.n_ports = b.pod.n_ports = 1;
	ok(tpod_up(&a), "a pod on both");
	is_int(a.call.result.n_ips, 2, "two addresses");
	is_str(a.call.result.ips[0], "10.0.1.5", "the first network's is the primary");
	ok(has(read_call("01-second-ADD.env"), "CNI_IFNAME=eth1\n"), "the second is on eth1");
	is_str(at(read_call("00-first-ADD"), "cniVersion"), "\"0.1.0\"", "no version is 0.1.0");
	ok(has(lab_output(NULL, "nft list map inet labcni port4"), "tcp . 8088 : 10.0.1.5 . 80"),
	    "ports that no plugin maps are ours");
	ok(!tpod_up(&b) && b.err.code == ERR_ALREADY_EXISTS, "their conflicts are found");
	calls();
	ok(tpod_down(&a), "detached");
	is_str(calls(), "second-DEL first-DEL ", "from both");
	ok(strstr(lab_output(NULL, "nft list map inet labcni port4"), "8088") == NULL,
	    "the port is gone");
	b.pod.n_ports = 0;
	b.pod.handler = "vm";
	ok(tpod_up(&b), "another handler");
	is_str(b.call.result.ips[0], "10.0.2.5", "has its own networks");
	is_str(calls(), "second-ADD ", "only");
	ok(tpod_down(&b), "end");
	b.pod.annotations = (const struct net_kv[]){
	    {"kubernetes.io/egress-bandwidth", "12"}
        };
	b.pod.n_annotations = 1;
	ok(!tpod_up(&b), "a bandwidth out of reason");
	ok(has(b.err.msg, "kubernetes.io/egress-bandwidth: '12' is no rate"), "is named");
	b.pod.n_annotations = 0;
	b.pod.name = "a;IgnoreUnknown=0";
	ok(!tpod_up(&b) && b.err.code == ERR_INVALID_ARGUMENT, "a name that would forge CNI_ARGS");
	tpod_release(&a);
	tpod_release(&b);
	net_close(net);
}

int
main(void)
{
	lab_host();
	loop_init();
	snprintf(bin_dir, sizeof(bin_dir), "%s/bin", lab_dir);
	snprintf(conf_dir, sizeof(conf_dir), "%s/etc/cni/net.d", lab_dir);
	snprintf(cache_dir, sizeof(cache_dir), "%s/cache", lab_dir);
	mkdir(bin_dir, 0755);
	lab_output(NULL, "true");
	{
		char command[400];

		snprintf(command, sizeof(command), "mkdir -p %s/etc/cni", lab_dir);
		lab_output(NULL, command);
	}
	test_readiness();
	test_chain();
	test_failures();
	test_cancel_and_restart();
	test_status_and_check();
	test_several();
	settle(50);
	lab_cleanup();
	return tap_done();
}
