/* SPDX-License-Identifier: Apache-2.0
 *
 * Namespaces of pods: made, pinned, joined and held; user namespaces; cgroups.
 */
#include "box.h"

static Coracle__Launch__IdMap id_map, *id_maps[] = {&id_map};
static Coracle__Launch__Pin pins[4], *pin_ptrs[4];
static char pin_paths[4][300];

static const struct {
	uint32_t type;
	const char *name;
} pinned[] = {
    {CLONE_NEWNET,  "net" },
    {CLONE_NEWIPC,  "ipc" },
    {CLONE_NEWUTS,  "uts" },
    {CLONE_NEWUSER, "user"}
};

static void
namespaces_init(struct box *b, bool userns)
{
	box_common(b, CORACLE__LAUNCH__PLAN__KIND__NAMESPACES);
	b->plan.hostname = (char *)"podname";
	b->plan.loopback_up = true;
	b->plan.pins = pin_ptrs;
	coracle__launch__id_map__init(&id_map);
	id_map.host_id = 100000;
	id_map.length = 65536;
	for (size_t i = 0; i < (userns ? 4 : 3); i++) {
		coracle__launch__pin__init(&pins[i]);
		snprintf(pin_paths[i], sizeof(pin_paths[i]), "%s/ns-%s", box_dir, pinned[i].name);
		close(open(pin_paths[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		pins[i].type = pinned[i].type;
		pins[i].path = pin_paths[i];
		pin_ptrs[i] = &pins[i];
		b->plan.clone_flags |= pinned[i].type;
		b->plan.n_pins++;
	}
	if (userns) {
		b->plan.uid_map = b->plan.gid_map = id_maps;
		b->plan.n_uid_map = b->plan.n_gid_map = 1;
	}
}

static void
unpin(void)
{
	for (size_t i = 0; i < 4; i++)
		if (pin_paths[i][0] != '\0') {
			umount2(pin_paths[i], MNT_DETACH);
			unlink(pin_paths[i]);
		}
}

static void
add_sysctl(struct box *b, Coracle__Launch__Sysctl *s, Coracle__Launch__Sysctl **list,
    const char *key, const char *value)
{
	coracle__launch__sysctl__init(s);
	s->key = (char *)(uintptr_t)key;
	s->value = (char *)(uintptr_t)value;
	list[b->plan.n_sysctls++] = s;
	b->plan.sysctls = list;
}

/* The container joins what is pinned. */
static void
join_pins(struct box *b, size_t n)
{
	b->plan.clone_flags &= ~(uint64_t)(CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET);
	for (size_t i = 0; i < n; i++)
		box_join(b, pinned[i].type, box_fd(b, open(pin_paths[i], O_RDONLY | O_CLOEXEC)));
}

static void
test_pod(bool userns)
{
	Coracle__Launch__Sysctl s[3], *list[3];
	const char *who = userns ? "user namespace" : "pod";
	char want[256], host_value[64] = "";
	struct box b;
	FILE *f = popen("cat /proc/sys/kernel/shm_rmid_forced", "r");

	if (f != NULL && fgets(host_value, sizeof(host_value), f) == NULL)
		diag("no sysctl");
	if (f != NULL)
		pclose(f);
	namespaces_init(&b, userns);
	add_sysctl(&b, &s[0], list, "net.ipv4.ip_unprivileged_port_start", "81");
	add_sysctl(&b, &s[1], list, "net/ipv4/conf/lo/forwarding", "1");
	add_sysctl(&b, &s[2], list, "kernel.shm_rmid_forced", "1");
	if (!ok(box_run(&b) && b.status == 0, "%s: made and pinned", who)) {
		diag("%s: %s", b.fail.step, b.fail.text);
		unpin();
		return;
	}
	box_init(&b, "hostname; ip -o link | wc -l; ip link show lo | grep -c ,UP; "
	             "cat /proc/sys/net/ipv4/ip_unprivileged_port_start "
	             "/proc/sys/net/ipv4/conf/lo/forwarding /proc/sys/kernel/shm_rmid_forced; "
	             "echo $$; cat /proc/self/uid_map | tr -s ' '; id -u; touch /dev/x && stat -c "
	             "%u /dev/x; test -c /dev/null && echo x > /dev/null && echo null");
	join_pins(&b, userns ? 4 : 3);
	if (userns) {
		b.plan.uid_map = b.plan.gid_map = id_maps;
		b.plan.n_uid_map = b.plan.n_gid_map = 1;
		for (size_t i = 0; i < b.plan.n_devices; i++)
			b.devices[i].bind_source = b.devices[i].path;
	}
	snprintf(want, sizeof(want), "podname\n1\n1\n81\n1\n1\n1\n 0 %s\n0\n0\nnull\n",
	    userns ? "100000 65536" : "0 4294967295");
	box_says(&b, want, who);
	unpin();
	f = fopen("/proc/sys/kernel/shm_rmid_forced", "r");
	if (f != NULL) {
		char now[64] = "";

		ok(fgets(now, sizeof(now), f) != NULL && strcmp(now, host_value) == 0,
		    "the host's sysctl is what it was");
		fclose(f);
	}
}

static void
test_userns_exec(void)
{
	struct box b, e;

	namespaces_init(&b, true);
	ok(box_run(&b) && b.status == 0, "a user namespace");
	box_init(&b, "sleep 100");
	join_pins(&b, 4);
	for (size_t i = 0; i < b.plan.n_devices; i++)
		b.devices[i].bind_source = b.devices[i].path;
	b.plan.uid_map = b.plan.gid_map = id_maps;
	b.plan.n_uid_map = b.plan.n_gid_map = 1;
	if (ok(box_start(&b), "a container in it")) {
		box_exec(&e, &b,
		    "id -u; echo $(cat /proc/self/uid_map); hostname; "
		    "grep CapBnd /proc/self/status | cut -f2; echo x > /dev/stdout");
		e.joins[1].type |= CLONE_NEWUSER;
		e.plan.uid = 5;
		e.plan.uid_map = id_maps;
		e.plan.n_uid_map = 1;
		box_says(&e, "5\n0 100000 65536\npodname\n00000000000000a3\nx\n", "exec in it");
		kill(b.child.pid, SIGKILL);
		box_wait(&b);
	} else {
		diag("%s: %s", b.fail.step, b.fail.text);
	}
	box_release(&b);
	unpin();
}

static void
test_bad_namespaces(void)
{
	Coracle__Launch__Sysctl s, *list[1];
	struct box b;

	namespaces_init(&b, false);
	add_sysctl(&b, &s, list, "net.ipv4.nonesuch", "1");
	box_refused(&b, "sysctl", "net.ipv4.nonesuch: No such file", "an unknown sysctl");
	unpin();
	namespaces_init(&b, false);
	add_sysctl(&b, &s, list, "net.ipv4.ip_forward", "garbage");
	box_refused(&b, "sysctl", "Invalid argument", "a value that is none");
	unpin();
	namespaces_init(&b, false);
	add_sysctl(&b, &s, list, "net.ipv4/../../self/oom_score_adj", "1");
	box_refused(&b, "sysctl", "Invalid argument", "a way out of /proc/sys");
	unpin();
	namespaces_init(&b, true);
	unlink(pin_paths[3]);
	box_refused(&b, "pin", "user namespace", "nothing to pin at");
	unpin();
	namespaces_init(&b, true);
	id_map.length = 0;
	box_refused(&b, "namespaces", "uid_map", "a map of nothing");
	unpin();
	box_init(&b, "true");
	box_join(&b, CLONE_NEWNET, box_fd(&b, open("/dev/null", O_RDONLY | O_CLOEXEC)));
	box_refused(&b, "namespaces", "join the net namespace", "no namespace");
	box_init(&b, "true");
	b.plan.clone_flags &= ~(uint64_t)CLONE_NEWPID;
	box_join(&b, CLONE_NEWPID, box_fd(&b, open("/dev/null", O_RDONLY | O_CLOEXEC)));
	box_refused(&b, "namespaces", "PID namespace", "no PID namespace");
}

static void
test_holder(bool userns)
{
	struct box h, b;
	const char *who = userns ? "holder in a user namespace" : "holder";

	if (userns) {
		namespaces_init(&b, true);
		ok(box_run(&b), "a user namespace");
	}
	box_common(&h, CORACLE__LAUNCH__PLAN__KIND__HOLDER);
	h.plan.clone_flags = CLONE_NEWPID;
	if (userns)
		box_join(&h, CLONE_NEWUSER, box_fd(&h, open(pin_paths[3], O_RDONLY | O_CLOEXEC)));
	if (!ok(box_start(&h), "%s", who)) {
		diag("%s: %s", h.fail.step, h.fail.text);
		return;
	}
	/* an orphan is reaped; the holder's root and memory are nothing to see */
	box_init(&b, "cat /proc/1/comm; (sleep 0.05 &) ; sleep 1; ls /proc | grep -c '^[0-9]'; "
	             "ls /proc/1/root/ 2>/dev/null | wc -l; ls /proc/1/fd 2>/dev/null | wc -l; "
	             "grep -E '^Cap(Prm|Bnd)' /proc/1/status | cut -f2; [ $$ != 1 ] && echo other");
	b.plan.clone_flags &= ~(uint64_t)CLONE_NEWPID;
	box_join(&b, CLONE_NEWPID, box_fd(&b, h.child.pidfd));
	if (userns) {
		join_pins(&b, 4);
		for (size_t i = 0; i < b.plan.n_devices; i++)
			b.devices[i].bind_source = b.devices[i].path;
	}
	box_says(&b, "coracle-holder\n4\n0\n0\n0000000000000000\n0000000000000000\nother\n", who);
	h.child.pidfd = -1; /* closed with the box */
	kill(h.child.pid, SIGTERM);
	box_wait(&h);
	ok(WIFEXITED(h.status) && WEXITSTATUS(h.status) == 0, "it ends when asked to");
	for (size_t i = 0; i < h.n_fds; i++)
		close(h.fds[i]);
	unpin();
}

static void
test_dead_pidns(void)
{
	struct box h, b;
	int ns;
	char path[64];

	box_common(&h, CORACLE__LAUNCH__PLAN__KIND__HOLDER);
	h.plan.clone_flags = CLONE_NEWPID;
	ok(box_start(&h), "holder");
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)h.child.pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	kill(h.child.pid, SIGKILL);
	box_wait(&h);
	box_init(&b, "true");
	b.plan.clone_flags &= ~(uint64_t)CLONE_NEWPID;
	box_join(&b, CLONE_NEWPID, box_fd(&b, ns));
	box_refused(&b, "clone", "has ended", "a PID namespace without its first process");
	box_init(&b, "echo $$");
	box_says(&b, "1\n", "and the next launch is not affected");
}

/* In whatever hierarchies this machine has: v1's by cgroup.procs, v2's by its directory. */
static void
test_cgroup(void)
{
	char dir[128], procs[160];
	struct box b;
	bool v2 = access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0;
	uint32_t procs_fd;

	snprintf(
	    dir, sizeof(dir), "/sys/fs/cgroup/%slaunch-test-%d", v2 ? "" : "pids/", (int)getpid());
	if (mkdir(dir, 0755) == 0) {
		snprintf(procs, sizeof(procs), "%s/cgroup.procs", dir);
		box_init(&b, "cat /proc/self/cgroup | grep -c launch-test");
		if (v2) {
			b.plan.cgroup_fd = box_fd(&b, open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC));
		} else {
			procs_fd = box_fd(&b, open(procs, O_WRONLY | O_CLOEXEC));
			b.plan.cgroup_procs_fd = &procs_fd;
			b.plan.n_cgroup_procs_fd = 1;
		}
		box_says(&b, "1\n", "born in a cgroup");
		box_init(&b, "grep -c launch-test /proc/self/cgroup; true");
		b.plan.clone_flags |= CLONE_NEWCGROUP;
		procs_fd = box_fd(&b, open(v2 ? dir : procs, (v2 ? O_PATH : O_WRONLY) | O_CLOEXEC));
		b.plan.cgroup_fd = v2 ? procs_fd : 0;
		b.plan.cgroup_procs_fd = &procs_fd;
		b.plan.n_cgroup_procs_fd = !v2;
		box_says(&b, "0\n", "which is the root of its cgroup namespace");
		ok(rmdir(dir) == 0, "nothing is left in it");
	}
	snprintf(dir, sizeof(dir), "/sys/fs/cgroup/unified/launch-test-%d", (int)getpid());
	if (mkdir(dir, 0755) == 0) {
		box_init(&b, "grep -c ^0::/launch-test /proc/self/cgroup");
		b.plan.cgroup_fd = box_fd(&b, open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC));
		box_says(&b, "1\n", "born in the unified hierarchy");
		ok(rmdir(dir) == 0, "nothing is left in it");
	}
}

int
main(int argc, char **argv)
{
	launch_holder_main(argc, argv);
	box_setup();
	test_pod(false);
	test_pod(true);
	test_userns_exec();
	test_bad_namespaces();
	test_holder(false);
	test_holder(true);
	test_dead_pidns();
	test_cgroup();
	is_int(waitpid(-1, NULL, WNOHANG), -1, "no child is left over");
	return tap_done();
}
