/* SPDX-License-Identifier: Apache-2.0
 *
 * What the specs say, done: pods and containers of several kinds are made from requests, mounted,
 * launched and looked at from inside. The root is an overlay of a layer with busybox.
 */
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "box.h"
#include "exec/caps.h"
#include "exec/rootfs.h"
#include "image/config.h"
#include "pod/spec.h"

#define NODE RUNTIME__V1__NAMESPACE_MODE__NODE
#define POD RUNTIME__V1__NAMESPACE_MODE__POD

struct scene {
	struct arena arena;
	Runtime__V1__PodSandboxConfig pod;
	Runtime__V1__LinuxPodSandboxConfig pod_linux;
	Runtime__V1__LinuxSandboxSecurityContext pod_sc;
	Runtime__V1__NamespaceOption ns;
	Runtime__V1__UserNamespace userns;
	Runtime__V1__IDMapping map, *maps[1];
	Runtime__V1__ContainerConfig config;
	Runtime__V1__LinuxContainerConfig config_linux;
	Runtime__V1__LinuxContainerSecurityContext sc;
	char *command[3];
	struct user user;
	struct spec_defaults defaults;
	struct spec_input in;
	struct spec spec;
	struct box box, exec, holder;
	struct err err;
	char dir[300], paths[4][400], shm[400], hosts[400], root_dir[400];
	int ns_fds[4]; /* net, ipc, uts, user */
	bool held;
};

static char layers_dir[300];
static int scenes;

static void
scene_init(struct scene *s, const char *script)
{
	memset(s, 0, sizeof(*s));
	arena_init(&s->arena);
	runtime__v1__pod_sandbox_config__init(&s->pod);
	runtime__v1__linux_pod_sandbox_config__init(&s->pod_linux);
	runtime__v1__linux_sandbox_security_context__init(&s->pod_sc);
	runtime__v1__namespace_option__init(&s->ns);
	runtime__v1__user_namespace__init(&s->userns);
	runtime__v1__idmapping__init(&s->map);
	runtime__v1__container_config__init(&s->config);
	runtime__v1__linux_container_config__init(&s->config_linux);
	runtime__v1__linux_container_security_context__init(&s->sc);
	s->pod.linux = &s->pod_linux;
	s->pod_linux.security_context = &s->pod_sc;
	s->pod_sc.namespace_options = s->sc.namespace_options = &s->ns;
	s->ns.pid = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
	s->maps[0] = &s->map;
	s->map.host_id = 200000;
	s->map.length = 65536;
	s->userns.uids = s->userns.gids = s->maps;
	s->userns.n_uids = s->userns.n_gids = 1;
	s->config.linux = &s->config_linux;
	s->config_linux.security_context = &s->sc;
	s->command[0] = (char *)"sh";
	s->command[1] = (char *)"-c";
	s->command[2] = (char *)(uintptr_t)script;
	s->config.command = s->command;
	s->config.n_command = 3;
	s->user.home = (char *)"/root";
	s->defaults.caps_available = caps_available();
	snprintf(s->dir, sizeof(s->dir), "%.200s/scene%d", box_dir, scenes++);
	snprintf(s->shm, sizeof(s->shm), "%s/shm", s->dir);
	snprintf(s->hosts, sizeof(s->hosts), "%s/hosts", s->dir);
	snprintf(s->root_dir, sizeof(s->root_dir), "%s/root", s->dir);
	box_sh("mkdir -p %s %s && chmod 1777 %s && echo '1.2.3.4 me' > %s", s->shm, s->root_dir,
	    s->shm, s->hosts);
	for (int i = 0; i < 4; i++)
		s->ns_fds[i] = -1;
}

static void
userns_on(struct scene *s)
{
	s->userns.mode = RUNTIME__V1__NAMESPACE_MODE__POD;
	s->ns.userns_options = &s->userns;
}

static bool
run_plan(struct scene *s, struct box *b, bool wait)
{
	b->plan = *s->spec.plan;
	b->n_fds = s->spec.n_fds;
	for (size_t i = 0; i < s->spec.n_fds; i++)
		b->fds[i] = s->spec.fds[i];
	if (!box_start(b)) {
		diag("%s: %s", b->fail.step, b->fail.text);
		return false;
	}
	if (wait)
		box_wait(b);
	return true;
}

static bool
make_pod(struct scene *s)
{
	static const char *const names[] = {"net", "ipc", "uts", "user"};
	struct spec_pod_input in = {.pod = &s->pod, .hostname = "podname"};

	for (int i = 0; i < 4; i++) {
		snprintf(s->paths[i], sizeof(s->paths[i]), "%s/ns-%s", s->dir, names[i]);
		close(open(s->paths[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	}
	in.net_path = s->paths[0];
	in.ipc_path = s->paths[1];
	in.uts_path = s->paths[2];
	in.user_path = s->paths[3];
	if (spec_pod_namespaces(&in, &s->arena, &s->spec, &s->err) < 0) {
		diag("%s", s->err.msg);
		return false;
	}
	if (s->spec.plan == NULL)
		return true;
	if (!run_plan(s, &s->box, true))
		return false;
	for (int i = 0; i < 4; i++)
		s->ns_fds[i] = open(s->paths[i], O_RDONLY | O_CLOEXEC);
	if (s->ns.pid == POD) {
		if (spec_holder(&s->pod, s->ns_fds[3], NULL, &s->arena, &s->spec, &s->err) < 0 ||
		    !run_plan(s, &s->holder, false))
			return false;
		s->held = true;
	}
	return true;
}

static bool
start(struct scene *s)
{
	const char *lowers[] = {"image"};
	struct rootfs_spec root = {
	    .layers_dir = layers_dir, .lowers = lowers, .n_lowers = 1, .idmap_userns_fd = -1};
	uint32_t owner = s->ns.userns_options != NULL ? s->map.host_id : 0;
	char dir[400];

	if (!make_pod(s))
		return false;
	snprintf(dir, sizeof(dir), "%s/container", s->dir);
	root.dir = dir;
	if (s->ns.userns_options != NULL)
		root.idmap_userns_fd = s->ns_fds[3];
	s->in = (struct spec_input){.config = &s->config,
	    .pod = &s->pod,
	    .user = &s->user,
	    .defaults = &s->defaults,
	    .hostname = "podname",
	    .net_ns = s->ns_fds[0],
	    .ipc_ns = s->ns_fds[1],
	    .uts_ns = s->ns_fds[2],
	    .user_ns = s->ns_fds[3],
	    .pid_ns = s->held ? s->holder.child.pidfd : -1,
	    .root_dir = s->root_dir,
	    .shm = s->shm,
	    .hosts = s->hosts};
	if (rootfs_create(&root, owner, owner, &s->err) < 0 ||
	    (s->in.root_fd = rootfs_mount(&root, &s->err)) < 0 ||
	    spec_container(&s->in, &s->arena, &s->spec, &s->err) < 0) {
		diag("%s", s->err.msg);
		return false;
	}
	return run_plan(s, &s->box, false);
}

static bool
run_exec(struct scene *s, const char *script)
{
	char *cmd[] = {(char *)"sh", (char *)"-c", (char *)(uintptr_t)script};
	struct spec_exec_input ex = {.in = &s->in,
	    .pidfd = s->box.child.pidfd,
	    .cmd = cmd,
	    .n_cmd = 3,
	    .in_fd = -1,
	    .out_fd = -1,
	    .err_fd = -1};

	if (spec_exec(&ex, &s->arena, &s->spec, &s->err) < 0) {
		diag("%s", s->err.msg);
		return false;
	}
	return run_plan(s, &s->exec, true);
}

static void
finish(struct scene *s)
{
	if (s->box.child.pid > 0 && s->box.out_fd >= 0 && s->box.status == -1) {
		kill(s->box.child.pid, SIGKILL);
		box_wait(&s->box);
	}
	if (s->held) {
		kill(s->holder.child.pid, SIGKILL);
		box_wait(&s->holder);
	}
	close(s->in.root_fd);
	for (int i = 0; i < 4; i++) {
		if (s->ns_fds[i] >= 0)
			close(s->ns_fds[i]);
		umount2(s->paths[i], MNT_DETACH);
	}
	arena_release(&s->arena);
}

/* Launch, read all it says, and compare. */
static void
says(struct scene *s, const char *want, const char *what)
{
	if (ok(start(s), "%s", what)) {
		box_wait(&s->box);
		is_str(s->box.out, want, what);
	}
	finish(s);
}

static void
test_plain(void)
{
	struct scene s;

	scene_init(&s,
	    "hostname; echo $$ $HOSTNAME $HOME; cat /etc/hosts; ls -ld /dev/shm | cut -c1-10; "
	    "ls /dev | sort | tr '\\n' ' '; ls /sys/fs/cgroup | wc -l | tr -d '\\n' > /tmp/n; "
	    "[ $(cat /tmp/n) -gt 0 ] && echo cgroups; touch /sys/x 2>&1; touch "
	    "/sys/fs/cgroup/x 2>&1; mkdir /w && echo writable; cat "
	    "/proc/sys/net/ipv4/ip_unprivileged_port_start");
	says(&s,
	    "podname\n1 podname /root\n1.2.3.4 me\ndrwxrwxrwt\n"
	    "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "
	    "cgroups\ntouch: /sys/x: Read-only file system\n"
	    "touch: /sys/fs/cgroup/x: Read-only file system\nwritable\n0\n",
	    "a plain container");

	scene_init(
	    &s, "touch /x 2>&1; touch /etc/hosts 2>&1; echo x > /dev/shm/f && cat /dev/shm/f");
	s.sc.readonly_rootfs = true;
	says(&s, "touch: /x: Read-only file system\ntouch: /etc/hosts: Read-only file system\nx\n",
	    "a read-only one");
}

static void
test_exec(void)
{
	struct scene s;

	scene_init(&s, "exec sleep 100");
	s.user.uid = s.user.gid = 1000;
	if (ok(start(&s), "a container")) {
		ok(run_exec(&s, "until grep -q sleep /proc/1/comm; do usleep 1000; done; echo $(id "
		                "-u) $HOSTNAME $(hostname)"),
		    "exec");
		is_str(s.exec.out, "1000 podname podname\n", "as the container is");
	}
	finish(&s);
}

static void
test_userns(void)
{
	struct scene s;

	if (!rootfs_can_idmap(layers_dir)) {
		diag("no user namespaces: owners cannot be mapped here");
		return;
	}
	scene_init(&s,
	    "echo $(cat /proc/self/uid_map); stat -c %u:%g / /bin/busybox /tmp; touch /mine && "
	    "stat -c %u /mine; echo x > /dev/null && chown 5:6 /bin/busybox && stat -c %u "
	    "/bin/busybox; tty_gid=$(grep devpts /proc/mounts | grep -c gid=); echo "
	    "$tty_gid; [ -e /sys/fs/cgroup/cgroup.procs ] && echo cgroup");
	userns_on(&s);
	says(&s, "0 200000 65536\n0:0\n0:0\n0:0\n0\n5\n1\ncgroup\n", "a user namespace");

	scene_init(&s, "sleep 100");
	userns_on(&s);
	s.ns.pid = POD;
	s.user.uid = s.user.gid = 1000;
	if (ok(start(&s), "a user namespace with a shared PID namespace")) {
		ok(run_exec(
		       &s, "echo $(id -u) $(cat /proc/1/comm); echo x > /dev/shm/f && echo shm"),
		    "exec");
		is_str(s.exec.out, "1000 coracle-holder\nshm\n", "in it");
	}
	finish(&s);

	scene_init(&s, "id -u; ls /sys/class | wc -l | grep -c '^[1-9]'; touch /sys/x 2>&1; cat "
	               "/proc/self/uid_map | wc -l; hostname > /dev/null && echo name");
	userns_on(&s);
	s.ns.network = s.ns.ipc = s.ns.pid = NODE;
	says(&s, "0\n1\ntouch: /sys/x: Read-only file system\n1\nname\n",
	    "a user namespace with the node's network, IPC and processes");
}

static void
test_node(void)
{
	struct scene s;

	scene_init(&s,
	    "[ $$ -gt 1 ] && echo pid; ls /sys > /dev/null && echo sys; cat /proc/1/comm "
	    "> /dev/null && echo comm");
	s.ns.network = s.ns.ipc = s.ns.pid = NODE;
	says(&s, "pid\nsys\ncomm\n", "all of the node's");

	scene_init(&s,
	    "grep CapEff /proc/self/status | cut -f2; ls /dev | wc -l | grep -c ..; mount -t "
	    "tmpfs x /tmp && echo mounted; [ -w /sys/fs/cgroup ] && echo cgroup; touch "
	    "/proc/sys/kernel/msgmax && echo proc");
	s.sc.privileged = s.pod_sc.privileged = true;
	if (ok(start(&s), "a privileged container")) {
		char want[128];

		box_wait(&s.box);
		snprintf(want, sizeof(want), "%016llx\n1\nmounted\ncgroup\nproc\n",
		    (unsigned long long)caps_available());
		is_str(s.box.out, want, "may do what there is to do");
	}
	finish(&s);
}

static void
test_shared_pid(void)
{
	struct scene s;

	scene_init(&s, "cat /proc/1/comm; [ $$ -gt 1 ] && echo second");
	s.ns.pid = POD;
	says(&s, "coracle-holder\nsecond\n", "a shared PID namespace");
}

int
main(int argc, char **argv)
{
	launch_holder_main(argc, argv);
	box_setup();
	snprintf(layers_dir, sizeof(layers_dir), "%s/layers", box_dir);
	box_sh("mkdir %s && mv %s %s/image", layers_dir, box_root, layers_dir);
	test_plain();
	test_exec();
	test_userns();
	test_node();
	test_shared_pid();
	is_int(waitpid(-1, NULL, WNOHANG), -1, "no child is left over");
	return tap_done();
}
