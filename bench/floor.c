/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's floor: what the bare system calls of a pod, its container and a command in it take,
 * with no runtime around them. No daemon can be faster than this on the same machine; the distance
 *to it is the daemon's own part.
 *
 *	round trip     64 bytes to another process and back over a unix socket (compare: Version)
 *	pod            cgroup directories, a process in new network, UTS and IPC namespaces,
 *loopback up, the namespaces pinned by bind mounts (RunPodSandbox without addresses) container
 *cgroup directories, overlay by fsopen and fsmount, a process in new PID and mount namespaces and
 *the pod's others, the usual mounts and devices, pivot_root, exec of a static busybox
 *(CreateContainer and StartContainer) pod up         the two together pod down       the pins,
 *directories and cgroups of both exec           setns, clone, exec of true, wait (ExecSync)
 *
 * All mounts are made in a mount namespace of our own; cgroups are named after our pid.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "bench/bench.h"

enum { MAX_HIERARCHIES = 16, N_PINS = 3, MESSAGE = 64, MAX_ITERATIONS = 100000 };
enum floor_id { ROUND_TRIP, POD, CONTAINER, UP, DOWN, EXEC, N_FLOORS };

static const char *const names[N_FLOORS] = {
    "round trip", "pod", "container", "pod up", "pod down", "exec"};
static const struct {
	const char *name;
	int flag;
} pins[N_PINS] = {
    {"ipc", CLONE_NEWIPC},
    {"uts", CLONE_NEWUTS},
    {"net", CLONE_NEWNET}
};

static struct series series[N_FLOORS];
static char dir[] = "/tmp/coracle-floor-XXXXXX";
static char *hierarchies[MAX_HIERARCHIES];
static size_t n_hierarchies, n_pins = N_PINS;
static int own_pidns = -1;
static pid_t owner;

static void clean_up(void);

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	fputs("floor: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(saved));
	if (getpid() != owner)
		_exit(1);
	clean_up();
	exit(1);
}

static pid_t
clone_process(uint64_t flags, int *ret_pidfd)
{
	struct clone_args args = {
	    .flags = flags | CLONE_PIDFD, .pidfd = (uintptr_t)ret_pidfd, .exit_signal = SIGCHLD};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid < 0)
		die("clone3");
	return pid;
}

static void
wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) < 0)
		die("wait");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		errno = ECHILD;
		die("a child failed");
	}
}

/* ---- cgroups --------------------------------------------------------------------------------- */

static void
find_hierarchies(void)
{
	FILE *f = fopen("/proc/self/mounts", "re");
	char path[256], type[32];

	if (f == NULL)
		die("open /proc/self/mounts");
	while (fscanf(f, "%*s %255s %31s %*[^\n]", path, type) == 2)
		if (str_starts(type, "cgroup") && n_hierarchies < MAX_HIERARCHIES)
			hierarchies[n_hierarchies++] = xstrdup(path);
	fclose(f);
}

static char *
cgroup_path(size_t i, const char *below)
{
	return xasprintf("%s/coracle-floor-%d%s", hierarchies[i], (int)owner, below);
}

/* A v1 cpuset lets no process in before it has CPUs and memory nodes. */
static void
inherit_cpuset(const char *path)
{
	static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		cleanup_free char *from = xasprintf("%s/../%s", path, files[i]);
		cleanup_free char *to = xasprintf("%s/%s", path, files[i]);
		char value[4096];
		cleanup_close int in = open(from, O_RDONLY | O_CLOEXEC);
		cleanup_close int out = open(to, O_WRONLY | O_CLOEXEC);
		ssize_t n = in >= 0 ? read(in, value, sizeof(value)) : 0;

		if (n > 0 && out >= 0 && write(out, value, (size_t)n) < 0)
			die("write %s", to);
	}
}

static void
make_cgroups(const char *below)
{
	for (size_t i = 0; i < n_hierarchies; i++) {
		cleanup_free char *path = cgroup_path(i, below);

		if (mkdir(path, 0755) < 0)
			die("mkdir %s", path);
		if (str_ends(hierarchies[i], "/cpuset"))
			inherit_cpuset(path);
	}
}

static void
enter_cgroups(const char *below)
{
	for (size_t i = 0; i < n_hierarchies; i++) {
		cleanup_free char *path = cgroup_path(i, below);
		cleanup_free char *procs = xasprintf("%s/cgroup.procs", path);
		cleanup_close int fd = open(procs, O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, "0", 1) < 0)
			die("enter %s", path);
	}
}

/* A process that was waited for may leave its cgroup a moment later. */
static void
remove_cgroups(const char *below)
{
	for (size_t i = 0; i < n_hierarchies; i++) {
		cleanup_free char *path = cgroup_path(i, below);

		for (int tries = 0; rmdir(path) < 0 && errno == EBUSY && tries < 1000; tries++)
			usleep(100);
	}
}

/* ---- the pod --------------------------------------------------------------------------------- */

static char *
below_dir(const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

static void
loopback_up(void)
{
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	cleanup_close int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0 || ioctl(s, SIOCSIFFLAGS, &ifr) < 0)
		die("loopback up");
}

static void
make_pod(void)
{
	uint64_t flags = CLONE_NEWIPC | CLONE_NEWUTS;
	int pidfd, pair[2];
	char byte = 0;
	pid_t pid;

	if (n_pins == N_PINS)
		flags |= CLONE_NEWNET;
	make_cgroups("/pod");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	pid = clone_process(flags, &pidfd);
	if (pid == 0) {
		if (n_pins == N_PINS)
			loopback_up();
		if (write(pair[1], &byte, 1) != 1 || read(pair[1], &byte, 1) != 1)
			die("pod");
		_exit(0);
	}
	if (read(pair[0], &byte, 1) != 1)
		die("pod");
	for (size_t i = 0; i < n_pins; i++) {
		cleanup_free char *from = xasprintf("/proc/%d/ns/%s", (int)pid, pins[i].name);
		cleanup_free char *to = below_dir(pins[i].name);
		cleanup_close int fd = open(to, O_CREAT | O_RDONLY | O_CLOEXEC, 0600);

		if (fd < 0 || mount(from, to, NULL, MS_BIND, NULL) < 0)
			die("pin %s", to);
	}
	if (write(pair[0], &byte, 1) != 1)
		die("pod");
	wait_for(pid);
	close(pair[0]);
	close(pair[1]);
	close(pidfd);
}

/* ---- the container --------------------------------------------------------------------------- */

static int
mount_overlay(void)
{
	cleanup_free char *lower = below_dir("lower"), *upper = below_dir("upper");
	cleanup_free char *work = below_dir("work");
	cleanup_close int fs = -1;
	int fd;

	if (mkdir(upper, 0755) < 0 || mkdir(work, 0700) < 0)
		die("mkdir %s", upper);
	fs = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "lowerdir", lower, 0) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "upperdir", upper, 0) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "workdir", work, 0) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		die("overlay");
	fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	if (fd < 0)
		die("fsmount");
	return fd;
}

static void
fill_root(void)
{
	static const struct {
		const char *type, *at, *data;
		unsigned long flags;
	} mounts[] = {
	    {"proc",   "proc",       NULL,                                  MS_NOSUID | MS_NODEV | MS_NOEXEC},
	    {"tmpfs",  "dev",        "mode=755,size=65536k",                MS_NOSUID                       },
	    {"devpts", "dev/pts",    "newinstance,ptmxmode=0666,mode=0620", MS_NOSUID | MS_NOEXEC           },
	    {"tmpfs",  "dev/shm",    "mode=1777,size=65536k",               MS_NOSUID | MS_NODEV | MS_NOEXEC},
	    {"mqueue", "dev/mqueue", NULL,                                  MS_NOSUID | MS_NODEV | MS_NOEXEC},
	};
	static const struct {
		const char *path;
		unsigned minor;
	} devices[] = {
	    {"dev/null",    3},
            {"dev/zero",    5},
            {"dev/full",    7},
            {"dev/random",  8},
	    {"dev/urandom", 9}
        };

	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		if (mkdir(mounts[i].at, 0755) < 0 && errno != EEXIST)
			die("mkdir %s", mounts[i].at);
		if (mount(mounts[i].type, mounts[i].at, mounts[i].type, mounts[i].flags,
		        mounts[i].data) < 0)
			die("mount %s", mounts[i].at);
	}
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		if (mknod(devices[i].path, S_IFCHR | 0666, makedev(1, devices[i].minor)) < 0)
			die("mknod %s", devices[i].path);
}

static void __attribute__((noreturn)) container_child(int root_fd, char *const *argv)
{
	cleanup_free char *at = below_dir("root");

	enter_cgroups("/pod/container");
	for (size_t i = 0; i < n_pins; i++) {
		cleanup_free char *pin = below_dir(pins[i].name);
		cleanup_close int fd = open(pin, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || setns(fd, pins[i].flag) < 0)
			die("join %s", pins[i].name);
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    syscall(SYS_move_mount, root_fd, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	    chdir(at) < 0)
		die("root");
	fill_root();
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		die("pivot_root");
	execv("/bin/busybox", argv);
	die("exec busybox");
}

/* Returns once the program runs: the pipe closes with the exec. */
static pid_t
start_container(char *const *argv, int *ret_pidfd)
{
	cleanup_close int root_fd = -1;
	uint64_t flags = CLONE_NEWPID | CLONE_NEWNS;
	int pair[2];
	char byte;
	pid_t pid;

	make_cgroups("/pod/container");
	root_fd = mount_overlay();
	if (pipe2(pair, O_CLOEXEC) < 0)
		die("pipe");
	pid = clone_process(flags, ret_pidfd);
	if (pid == 0) {
		close(pair[0]);
		container_child(root_fd, argv);
	}
	close(pair[1]);
	if (read(pair[0], &byte, 1) != 0)
		die("container");
	close(pair[0]);
	return pid;
}

static void
take_down(void)
{
	static const char *const trees[] = {"upper", "work"};
	struct err err;

	remove_cgroups("/pod/container");
	remove_cgroups("/pod");
	for (size_t i = 0; i < ARRAY_SIZE(trees); i++) {
		cleanup_free char *path = below_dir(trees[i]);

		if (fd_remove_tree(AT_FDCWD, path, &err) < 0)
			die("%s", err.msg);
	}
	for (size_t i = 0; i < n_pins; i++) {
		cleanup_free char *path = below_dir(pins[i].name);

		umount2(path, MNT_DETACH);
		unlink(path);
	}
}

static void
measure_pods(unsigned n)
{
	char *argv[] = {(char *)(uintptr_t) "true", NULL};

	for (unsigned i = 0; i <= n; i++) {
		int64_t t[5];
		int pidfd;
		pid_t pid;

		t[0] = clock_mono_ns();
		make_pod();
		t[1] = clock_mono_ns();
		pid = start_container(argv, &pidfd);
		t[2] = clock_mono_ns();
		wait_for(pid);
		close(pidfd);
		t[3] = clock_mono_ns();
		take_down();
		t[4] = clock_mono_ns();
		if (i == 0) /* the first time is another thing */
			continue;
		series_add(&series[POD], t[1] - t[0]);
		series_add(&series[CONTAINER], t[2] - t[1]);
		series_add(&series[UP], t[2] - t[0]);
		series_add(&series[DOWN], t[4] - t[3]);
	}
}

/* ---- exec and round trip --------------------------------------------------------------------- */

static void
exec_once(int target)
{
	char *argv[] = {(char *)(uintptr_t) "true", NULL};
	int flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS, pidfd;
	pid_t pid;

	if (n_pins == N_PINS)
		flags |= CLONE_NEWNET;
	if (setns(target, CLONE_NEWPID) < 0)
		die("setns");
	pid = clone_process(0, &pidfd);
	if (pid == 0) {
		enter_cgroups("/pod/container");
		if (setns(target, flags) < 0)
			die("setns");
		execv("/bin/busybox", argv);
		die("exec busybox");
	}
	wait_for(pid);
	close(pidfd);
	if (setns(own_pidns, CLONE_NEWPID) < 0)
		die("setns back");
}

static void
measure_exec(unsigned n)
{
	char *argv[] = {(char *)(uintptr_t) "sleep", (char *)(uintptr_t) "1000000", NULL};
	int target;
	pid_t pid;

	make_pod();
	pid = start_container(argv, &target);
	for (unsigned i = 0; i <= n; i++) {
		int64_t start = clock_mono_ns();

		exec_once(target);
		if (i > 0)
			series_add(&series[EXEC], clock_mono_ns() - start);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(target);
	take_down();
}

static void
measure_round_trip(unsigned n)
{
	char message[MESSAGE] = {0};
	int pair[2], pidfd;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	pid = clone_process(0, &pidfd);
	if (pid == 0) {
		close(pair[0]);
		while (read(pair[1], message, MESSAGE) == MESSAGE)
			if (write(pair[1], message, MESSAGE) != MESSAGE)
				_exit(1);
		_exit(0);
	}
	close(pair[1]);
	for (unsigned i = 0; i <= n; i++) {
		int64_t start = clock_mono_ns();

		if (write(pair[0], message, MESSAGE) != MESSAGE ||
		    read(pair[0], message, MESSAGE) != MESSAGE)
			die("round trip");
		if (i > 0)
			series_add(&series[ROUND_TRIP], clock_mono_ns() - start);
	}
	close(pair[0]);
	wait_for(pid);
	close(pidfd);
}

/* ---- around ---------------------------------------------------------------------------------- */

static void
copy_busybox(const char *from)
{
	cleanup_free char *to = below_dir("lower/bin/busybox");
	cleanup_close int in = open(from, O_RDONLY | O_CLOEXEC);
	cleanup_close int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	struct stat st;
	off_t at = 0;

	if (in < 0 || out < 0 || fstat(in, &st) < 0)
		die("copy %s", from);
	while (at < st.st_size)
		if (sendfile(out, in, &at, (size_t)(st.st_size - at)) <= 0)
			die("copy %s", from);
}

static void
set_up(const char *busybox)
{
	static const char *const dirs[] = {"lower", "lower/bin", "root"};

	owner = getpid();
	if (mkdtemp(dir) == NULL)
		die("%s", dir);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		die("a mount namespace (root is needed)");
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		cleanup_free char *path = below_dir(dirs[i]);

		if (mkdir(path, 0755) < 0)
			die("mkdir %s", path);
	}
	copy_busybox(busybox);
	own_pidns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (own_pidns < 0)
		die("/proc/self/ns/pid");
	find_hierarchies();
	make_cgroups("");
}

static void
clean_up(void)
{
	static const char *const groups[] = {"/pod/container", "/pod", ""};
	struct err err;

	for (size_t i = 0; i < n_pins; i++) {
		cleanup_free char *path = below_dir(pins[i].name);

		umount2(path, MNT_DETACH);
	}
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		remove_cgroups(groups[i]);
	if (fd_remove_tree(AT_FDCWD, dir, &err) < 0)
		fprintf(stderr, "floor: %s\n", err.msg);
	for (size_t i = 0; i < n_hierarchies; i++)
		free(hierarchies[i]);
}

static void
report(bool json)
{
	if (!json)
		printf("%-12s %6s %10s %10s %10s\n", "FLOOR, MS", "N", "P50", "P90", "P99");
	for (size_t i = 0; i < N_FLOORS; i++) {
		double p50, p90, p99;

		series_sort(&series[i]);
		p50 = (double)series_percentile(&series[i], 50) / 1e3;
		p90 = (double)series_percentile(&series[i], 90) / 1e3;
		p99 = (double)series_percentile(&series[i], 99) / 1e3;
		if (json)
			printf(
			    "%s{\"floor\": \"%s\", \"n\": %zu, \"p50_us\": %.3f, \"p90_us\": %.3f, "
			    "\"p99_us\": %.3f}%s\n",
			    i == 0 ? "[" : " ", names[i], series[i].n, p50, p90, p99,
			    i + 1 < N_FLOORS ? "," : "]");
		else
			printf("%-12s %6zu %10.3f %10.3f %10.3f\n", names[i], series[i].n,
			    p50 / 1e3, p90 / 1e3, p99 / 1e3);
		free(series[i].ns);
	}
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"iterations",   required_argument, NULL, 'n'},
            {"busybox",      required_argument, NULL, 'b'},
	    {"host-network", no_argument,       NULL, 'H'},
            {"output",       required_argument, NULL, 'o'},
	    {NULL,           0,                 NULL, 0  }
        };
	const char *busybox = "/bin/busybox";
	uint32_t n = 100;
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "n:b:o:", options, NULL)) != -1) {
		if (c == 'b')
			busybox = optarg;
		else if (c == 'H')
			n_pins = N_PINS - 1; /* the last one is the network */
		else if (c == 'o' && (strcmp(optarg, "json") == 0 || strcmp(optarg, "table") == 0))
			json = strcmp(optarg, "json") == 0;
		else if (c != 'n' || str_u32(optarg, MAX_ITERATIONS, &n) < 0 || n == 0)
			optind = argc + 1;
	}
	if (optind != argc) {
		fputs("usage: floor [-n N] [--busybox FILE] [--host-network] [-o json]\n", stderr);
		return 2;
	}
	set_up(busybox);
	measure_round_trip(n);
	measure_pods(n);
	measure_exec(n);
	clean_up();
	report(json);
	return 0;
}
