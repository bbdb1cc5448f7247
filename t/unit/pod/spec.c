/* SPDX-License-Identifier: Apache-2.0
 *
 * Launch plans as data: what a request, an image and a pod become, and what is refused.
 */
#include "spec_rig.h"

/* ---- namespaces ---------------------------------------------------------------------------- */

static void
test_namespaces(void)
{
	struct rig r;

	rig_init(&r);
	ok(make(&r), "defaults");
	is_int(r.spec.plan->clone_flags, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP, "new ones");
	is_int(joined(&r, CLONE_NEWNET), NET_FD, "joins the network");
	is_int(joined(&r, CLONE_NEWUTS), UTS_FD, "joins UTS");
	is_int(joined(&r, CLONE_NEWIPC), IPC_FD, "joins IPC");
	is_int(joined(&r, CLONE_NEWPID | CLONE_NEWUSER), -1, "nothing else");
	is_int(fd_of(&r, r.spec.plan->cgroup_fd), CGROUP_FD, "cgroup");
	is_int(fd_of(&r, r.spec.plan->cgroup_procs_fd[0]), CGROUP_FD + 100, "v1 hierarchy");
	is_int(fd_of(&r, r.spec.plan->root_fd), ROOT_FD, "root");
	arena_release(&r.arena);

	rig_init(&r);
	r.pod_ns.network = r.pod_ns.ipc = r.ns.pid = RUNTIME__V1__NAMESPACE_MODE__NODE;
	r.in.net_ns = r.in.ipc_ns = r.in.uts_ns = r.in.pid_ns = -1;
	ok(make(&r) && r.spec.plan->n_join == 0, "all of the node");
	is_int(r.spec.plan->clone_flags, CLONE_NEWNS | CLONE_NEWCGROUP, "few are new");
	is_str(mount_at(&r, "/dev/shm")->source, "/dev/shm", "the node's shared memory");
	arena_release(&r.arena);

	rig_init(&r);
	r.pod_ns.ipc = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
	r.ns.pid = RUNTIME__V1__NAMESPACE_MODE__TARGET;
	r.ns.target_id = text("abc");
	ok(make(&r) && joined(&r, CLONE_NEWPID) == PID_FD, "joins its target");
	ok((r.spec.plan->clone_flags & CLONE_NEWIPC) != 0, "IPC of its own");
	is_str(mount_at(&r, "/dev/shm")->fs_type, "tmpfs", "and its own shared memory");
	arena_release(&r.arena);

	rig_init(&r);
	userns_on(&r);
	ok(make(&r) && joined(&r, CLONE_NEWUSER) == USER_FD, "joins the user namespace");
	is_int(r.spec.plan->uid_map[0]->host_id, 100000, "and knows its map");
	is_str(r.spec.plan->devices[0]->bind_source, "/dev/null", "devices are bound");
	arena_release(&r.arena);

	rig_init(&r);
	userns_on(&r);
	r.pod_ns.network = r.ns.pid = r.pod_ns.ipc = RUNTIME__V1__NAMESPACE_MODE__NODE;
	ok(make(&r), "user namespace with the node's others");
	is_str(mount_at(&r, "/sys")->source, "/sys", "/sys is bound");
	ok(mount_at(&r, "/sys")->attr_recursive, "read-only to the bottom");
	is_str(mount_at(&r, "/proc")->source, "/proc", "/proc is bound");
	is_str(mount_at(&r, "/dev/mqueue")->source, "/dev/mqueue", "so are queues");
	arena_release(&r.arena);

	rig_init(&r);
	r.in.net_ns = -1;
	ok(spec_container(&r.in, &r.arena, &r.spec, &r.err) < 0 && r.err.code == ERR_INTERNAL,
	    "a namespace that is not there: %s", r.err.msg);
	arena_release(&r.arena);

	rig_init(&r);
	r.ns.network = r.pod_ns.network = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
	refused(&r, "namespace_options.network");
	rig_init(&r);
	r.ns.pid = RUNTIME__V1__NAMESPACE_MODE__TARGET;
	refused(&r, "namespace_options.target_id");
	rig_init(&r);
	userns_on(&r);
	r.ns.userns_options = NULL;
	r.user.uid = 70000;
	refused(&r, "run_as_user: 70000 is not mapped");
	rig_init(&r);
	r.ns.userns_options = &r.userns;
	r.userns.mode = RUNTIME__V1__NAMESPACE_MODE__POD;
	refused(&r, "userns_options.mode: not that of the pod");
}

/* ---- process ------------------------------------------------------------------------------- */

static void
set_env(struct rig *r, int i, const char *key, const char *value)
{
	r->envs[i].key = text(key);
	r->envs[i].value = (ProtobufCBinaryData){strlen(value), (uint8_t *)(uintptr_t)value};
	r->config.n_envs = (size_t)i + 1;
}

static void
test_env(void)
{
	struct rig r;

	rig_init(&r);
	ok(make(&r), "defaults");
	is_str(env_of(&r, "PATH"), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	    "PATH");
	is_str(env_of(&r, "HOSTNAME"), "web-0", "HOSTNAME");
	is_str(env_of(&r, "HOME"), "/home/u", "HOME");
	is_str(env_of(&r, "TERM"), NULL, "no TERM");
	arena_release(&r.arena);

	rig_init(&r);
	r.config.tty = true;
	r.image_env[0] = text("PATH=/img");
	r.image_env[1] = text("A=image");
	r.image_env[2] = text("B=image=x");
	r.image_env[3] = text("broken");
	r.image.n_env = 4;
	set_env(&r, 0, "A", "cri");
	set_env(&r, 1, "HOME", "/cri");
	set_env(&r, 2, "C", "1");
	set_env(&r, 3, "C", "");
	ok(make(&r), "from three sides");
	is_str(env_of(&r, "PATH"), "/img", "the image over the default");
	is_str(env_of(&r, "A"), "cri", "the request over the image");
	is_str(env_of(&r, "B"), "image=x", "a value with a =");
	is_str(env_of(&r, "HOME"), "/cri", "the request over HOME");
	is_str(env_of(&r, "C"), "", "the last one wins");
	is_str(env_of(&r, "TERM"), "xterm", "TERM of a terminal");
	is_int(r.spec.plan->n_env, 7, "no duplicates");
	arena_release(&r.arena);

	rig_init(&r);
	set_env(&r, 0, "A=B", "c");
	refused(&r, "envs[0].key");
	rig_init(&r);
	set_env(&r, 0, "", "c");
	refused(&r, "envs[0].key");
	rig_init(&r);
	set_env(&r, 0, "A", "c");
	r.envs[0].value = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "a\0b"};
	refused(&r, "envs[0].value");
}

static const struct argv_row {
	const char *what, *entrypoint, *cmd, *command, *args, *want;
} argv_rows[] = {
    {"the image's",                 "ep", "c",  NULL,  NULL, "ep c" },
    {"cmd only",                    NULL, "c",  NULL,  NULL, "c"    },
    {"args replace cmd",            "ep", "c",  NULL,  "a",  "ep a" },
    {"command replaces both",       "ep", "c",  "cmd", NULL, "cmd"  },
    {"command and args",            "ep", "c",  "cmd", "a",  "cmd a"},
    {"an empty entrypoint is none", "",   "c",  NULL,  NULL, "c"    },
    {"args alone",                  NULL, NULL, NULL,  "a",  "a"    },
};

static void
test_argv(void)
{
	struct rig r;

	for (size_t i = 0; i < ARRAY_SIZE(argv_rows); i++) {
		const struct argv_row *row = &argv_rows[i];
		char got[64] = "";

		rig_init(&r);
		r.entrypoint[0] = text(row->entrypoint);
		r.image.n_entrypoint = row->entrypoint != NULL;
		r.cmd[0] = text(row->cmd);
		r.image.n_cmd = row->cmd != NULL;
		r.command[0] = text(row->command);
		r.config.n_command = row->command != NULL;
		r.args[0] = text(row->args);
		r.config.n_args = row->args != NULL;
		if (make(&r))
			for (size_t k = 0; k < r.spec.plan->n_argv; k++)
				snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s",
				    k > 0 ? " " : "", r.spec.plan->argv[k]);
		is_str(got, row->want, row->what);
		arena_release(&r.arena);
	}
	rig_init(&r);
	r.image.n_cmd = 0;
	refused(&r, "no command specified");
}

static void
test_process(void)
{
	struct rig r;
	char *add[] = {text("NET_ADMIN")}, *drop[] = {text("ALL")}, *bad[] = {text("FLY")};
	const uint8_t filter[16] = {1, 2, 3};
	struct seccomp_prog prog = {.bpf = filter, .len = sizeof(filter), .flags = 2};

	rig_init(&r);
	r.in.seccomp = &prog;
	r.in.apparmor = "profile";
	r.resources.oom_score_adj = 900;
	r.sc.no_new_privs = true;
	ok(make(&r), "process");
	ok(r.spec.plan->caps->bounding == caps_default && r.spec.plan->caps->inheritable == 0 &&
	        r.spec.plan->caps->ambient == 0,
	    "default capabilities, nothing inheritable");
	ok(r.spec.plan->uid == 7 && r.spec.plan->gid == 8 && r.spec.plan->n_groups == 2 &&
	        r.spec.plan->groups[1] == 9,
	    "user");
	ok(r.spec.plan->seccomp.len == 16 && r.spec.plan->seccomp.data != filter &&
	        r.spec.plan->seccomp_flags == 2,
	    "the filter is copied");
	ok(r.spec.plan->no_new_privs && r.spec.plan->oom_score_adj == 900 &&
	        r.spec.plan->set_oom_score_adj && r.spec.plan->umask == 022,
	    "the rest");
	is_str(r.spec.plan->apparmor_exec, "profile", "label");
	is_str(r.spec.plan->cwd, "/", "working directory");
	arena_release(&r.arena);

	rig_init(&r);
	r.sc.capabilities = &r.caps;
	r.caps.add_capabilities = r.caps.add_ambient_capabilities = add;
	r.caps.n_add_capabilities = r.caps.n_add_ambient_capabilities = 1;
	r.caps.drop_capabilities = drop;
	r.caps.n_drop_capabilities = 1;
	r.config.working_dir = text("/a//b/../c/");
	ok(make(&r) && r.spec.plan->caps->effective == BIT(CAP_NET_ADMIN) &&
	        r.spec.plan->caps->ambient == BIT(CAP_NET_ADMIN) &&
	        r.spec.plan->caps->inheritable == BIT(CAP_NET_ADMIN),
	    "one capability, ambient");
	is_str(r.spec.plan->cwd, "/a/c", "working directory");
	arena_release(&r.arena);

	rig_init(&r);
	r.sc.capabilities = &r.caps;
	r.caps.add_capabilities = bad;
	r.caps.n_add_capabilities = 1;
	refused(&r, "security_context.capabilities: add_capabilities: no capability");
	rig_init(&r);
	r.sc.capabilities = &r.caps;
	r.caps.add_ambient_capabilities = add;
	r.caps.n_add_ambient_capabilities = 1;
	refused(&r, "add_ambient_capabilities: one that");
	rig_init(&r);
	r.config.working_dir = text("a/b");
	refused(&r, "working_dir");
	rig_init(&r);
	r.resources.oom_score_adj = 1001;
	refused(&r, "oom_score_adj");

	rig_init(&r);
	r.sc.privileged = true;
	refused(&r, "security_context.privileged: the pod");
	rig_init(&r);
	r.sc.privileged = r.pod_sc.privileged = true;
	r.sc.masked_paths = bad;
	r.sc.n_masked_paths = 1;
	ok(make(&r) && r.spec.plan->caps->bounding == BIT(41) - 1, "privileged: all capabilities");
	ok(r.spec.plan->n_masked_paths == 0 && r.spec.n_devices == 1 &&
	        r.spec.devices[0].type == 'a',
	    "nothing masked, all devices");
	ok((mount_at(&r, "/sys")->attr_set & MOUNT_ATTR_RDONLY) == 0 &&
	        (mount_at(&r, "/sys/fs/cgroup")->attr_set & MOUNT_ATTR_RDONLY) == 0,
	    "/sys is writable");
	arena_release(&r.arena);
}

static const struct signal_row {
	int cri;
	const char *image;
	int want; /* 0: refused */
} signal_rows[] = {
    {0,                                           "",           SIGTERM},
    {RUNTIME__V1__SIGNAL__SIGNAL_SIGABRT,         "SIGQUIT",    SIGABRT},
    {RUNTIME__V1__SIGNAL__SIGNAL_SIGXFSZ,         "",           SIGXFSZ},
    {RUNTIME__V1__SIGNAL__SIGNAL_SIGPOLL,         "",           SIGIO  },
    {RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMIN,        "",           34     },
    {RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMINPLUS15,  "",           49     },
    {RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMAXMINUS14, "",           50     },
    {RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMAX,        "",           64     },
    {0,                                           "SIGQUIT",    SIGQUIT},
    {0,                                           "usr1",       SIGUSR1},
    {0,                                           "15",         SIGTERM},
    {0,                                           "SIGRTMIN+3", 37     },
    {0,                                           "RTMAX-1",    63     },
    {0,                                           "0",          0      },
    {0,                                           "65",         0      },
    {0,                                           "SIGNAL",     0      },
    {0,                                           "RTMIN+31",   0      },
    {0,                                           "RTMIN-1",    0      },
    {66,                                          "",           0      },
};

static void
test_signals(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(signal_rows); i++) {
		struct rig r;
		int sig = -1;

		rig_init(&r);
		r.config.stop_signal = (Runtime__V1__Signal)signal_rows[i].cri;
		r.image.stop_signal = text(signal_rows[i].image);
		if (signal_rows[i].want != 0)
			ok(spec_stop_signal(&r.config, &r.image, &sig, &r.err) == 0 &&
			        sig == signal_rows[i].want,
			    "signal %d \"%s\" is %d", signal_rows[i].cri, signal_rows[i].image,
			    sig);
		else
			ok(spec_stop_signal(&r.config, &r.image, &sig, &r.err) < 0 && sig == -1,
			    "no signal: %s", r.err.msg);
		arena_release(&r.arena);
	}
}

/* ---- pods and exec ------------------------------------------------------------------------- */

static const struct sysctl_row {
	const char *key, *value;
	bool node_net, node_ipc, fine;
} sysctl_rows[] = {
    {"net.ipv4.ip_forward",                "1",                         false, false, true },
    {"net/ipv4/conf/eth0.100/forwarding",  "1",                         false, false, true },
    {"net.ipv4.ip_forward",                "1",                         true,  false, false},
    {"kernel.shm_rmid_forced",             "1",                         false, false, true },
    {"kernel.shm_rmid_forced",             "1",                         false, true,  false},
    {"kernel/shm_rmid_forced",             "1",                         false, false, true },
    {"fs.mqueue.msg_max",                  "100",                       false, false, true },
    {"kernel.sem",                         "250 32000 100 128",         false, false, true },
    {"kernel.core_pattern",                "x",                         false, false, false},
    {"kernel.shm_rmid_forced",             "1+kernel.core_pattern=|/x", false, false, false},
    {"kernel.shm_rmid_forced+x",           "1",                         false, false, false},
    {"net.ipv4/../../kernel/core_pattern", "1",                         false, false, false},
    {"net..ipv4",                          "1",                         false, false, false},
    {"vm.swappiness",                      "1",                         false, false, false},
    {"kernel.hostname",                    "x",                         false, false, false},
    {"",                                   "x",                         false, false, false},
    {"net.ipv4.ip_forward",                "1\n2",                      false, false, false},
};

static void
test_pods(void)
{
	struct spec_pod_input in = {.hostname = "web-0",
	    .net_path = "/ns/net",
	    .ipc_path = "/ns/ipc",
	    .uts_path = "/ns/uts",
	    .user_path = "/ns/user"};
	struct rig r;

	rig_init(&r);
	in.pod = &r.pod;
	ok(spec_pod_namespaces(&in, &r.arena, &r.spec, &r.err) == 0, "namespaces of a pod");
	is_int(r.spec.plan->clone_flags, CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC, "these");
	is_int(r.spec.plan->n_pins, 3, "pinned");
	is_int(r.spec.plan->n_sysctls, 2, "two default sysctls");
	ok(r.spec.plan->loopback_up, "loopback");
	is_str(r.spec.plan->hostname, "web-0", "host name");
	arena_release(&r.arena);

	rig_init(&r);
	in.pod = &r.pod;
	userns_on(&r);
	r.pod_linux.n_sysctls = 1;
	r.sysctl.key = text("net/ipv4/ip_unprivileged_port_start");
	r.sysctl.value = text("80");
	ok(spec_pod_namespaces(&in, &r.arena, &r.spec, &r.err) == 0 &&
	        (r.spec.plan->clone_flags & CLONE_NEWUSER) != 0 && r.spec.plan->n_uid_map == 1,
	    "with a user namespace");
	ok(r.spec.plan->n_sysctls == 1 && strcmp(r.spec.plan->sysctls[0]->value, "80") == 0,
	    "its sysctl in the place of the default");
	arena_release(&r.arena);

	rig_init(&r);
	in.pod = &r.pod;
	r.pod_ns.network = r.pod_ns.ipc = RUNTIME__V1__NAMESPACE_MODE__NODE;
	ok(spec_pod_namespaces(&in, &r.arena, &r.spec, &r.err) == 0 && r.spec.plan == NULL,
	    "none at all");
	arena_release(&r.arena);

	for (size_t i = 0; i < ARRAY_SIZE(sysctl_rows); i++) {
		const struct sysctl_row *row = &sysctl_rows[i];

		rig_init(&r);
		r.pod_linux.n_sysctls = 1;
		r.sysctl.key = text(row->key);
		r.sysctl.value = text(row->value);
		if (row->node_net)
			r.pod_ns.network = RUNTIME__V1__NAMESPACE_MODE__NODE;
		if (row->node_ipc)
			r.pod_ns.ipc = RUNTIME__V1__NAMESPACE_MODE__NODE;
		ok((spec_check_pod(&r.pod, &r.err) == 0) == row->fine, "sysctl %s: %s", row->key,
		    row->fine ? "fine" : r.err.msg);
		arena_release(&r.arena);
	}
}

static void
test_user_namespaces(void)
{
	struct rig r;

	for (int i = 0; i < 6; i++) {
		rig_init(&r);
		userns_on(&r);
		if (i == 0)
			r.userns.n_uids = 2;
		if (i == 1)
			r.userns.n_gids = 0;
		if (i == 2)
			r.map.container_id = 1;
		if (i == 3)
			r.map.length = 0;
		if (i == 4)
			r.map.host_id = UINT32_MAX - 5;
		if (i == 5)
			r.userns.mode = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
		ok(spec_check_pod(&r.pod, &r.err) < 0 && r.err.code == ERR_INVALID_ARGUMENT &&
		        strncmp(r.err.msg, "userns_options", 14) == 0,
		    "refused: %s", r.err.msg);
		arena_release(&r.arena);
	}
	rig_init(&r);
	r.pod.hostname = text("a b");
	ok(spec_check_pod(&r.pod, &r.err) < 0, "refused: %s", r.err.msg);
	arena_release(&r.arena);

	rig_init(&r);
	userns_on(&r);
	ok(spec_holder(&r.pod, USER_FD, &r.cgroup, &r.arena, &r.spec, &r.err) == 0 &&
	        joined(&r, CLONE_NEWUSER) == USER_FD && r.spec.plan->oom_score_adj == -998,
	    "a holder");
	ok(spec_holder(&r.pod, -1, NULL, &r.arena, &r.spec, &r.err) < 0, "without its namespace");
	arena_release(&r.arena);
}

static void
test_exec(void)
{
	char *cmd[] = {text("ls"), text("-l")};
	struct spec_exec_input ex = {
	    .pidfd = PIDFD, .cmd = cmd, .n_cmd = 2, .in_fd = -1, .out_fd = 200, .err_fd = 201};
	struct rig r;

	rig_init(&r);
	ex.in = &r.in;
	ok(spec_exec(&ex, &r.arena, &r.spec, &r.err) == 0, "exec");
	ok(r.spec.plan->kind == CORACLE__LAUNCH__PLAN__KIND__EXEC && r.spec.plan->n_mounts == 0 &&
	        r.spec.plan->clone_flags == 0,
	    "mounts nothing");
	ok(joined(&r, CLONE_NEWPID) == PIDFD && joined(&r, CLONE_NEWNS) == PIDFD &&
	        joined(&r, CLONE_NEWUSER) == -1,
	    "joins by the pidfd");
	ok(r.spec.plan->stdin_fd == 0 && fd_of(&r, r.spec.plan->stdout_fd) == 200 &&
	        fd_of(&r, r.spec.plan->stderr_fd) == 201,
	    "its streams");
	ok(r.spec.plan->n_argv == 2 && r.spec.plan->uid == 7 &&
	        r.spec.plan->caps->bounding == caps_default,
	    "command, user, capabilities");
	is_str(env_of(&r, "TERM"), NULL, "no TERM");
	arena_release(&r.arena);

	rig_init(&r);
	userns_on(&r);
	ex.tty = true;
	ok(spec_exec(&ex, &r.arena, &r.spec, &r.err) == 0 && joined(&r, CLONE_NEWUSER) == PIDFD &&
	        r.spec.plan->stdout_fd == 0,
	    "terminal, user namespace");
	is_str(env_of(&r, "TERM"), "xterm", "TERM");
	ex.n_cmd = 0;
	ok(spec_exec(&ex, &r.arena, &r.spec, &r.err) < 0, "refused: %s", r.err.msg);
	arena_release(&r.arena);
}

int
main(void)
{
	test_namespaces();
	test_env();
	test_argv();
	test_process();
	test_signals();
	test_pods();
	test_user_namespaces();
	test_exec();
	return tap_done();
}
