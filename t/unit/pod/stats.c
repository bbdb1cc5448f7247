/* SPDX-License-Identifier: Apache-2.0
 *
 * Usage of containers and pods, from a cgroup, a network namespace and a directory of our own.
 */
#include "pod/stats.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/cgroup.h"
#include "loop/loop.h"
#include "pod/stats_impl.h"
#include "tap.h"

static struct err err;
/* a tmpfs: hostfs, under user-mode Linux, cannot nest deeper than a path is long */
static char dir[] = "/dev/shm/t-stats-XXXXXX";

/* ---- trees --------------------------------------------------------------------------------- */

static void
put(int at, const char *name, size_t size)
{
	int fd = openat(at, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char block[4096];

	memset(block, 'x', sizeof(block));
	for (; size > 0; size -= MIN(size, sizeof(block)))
		if (write(fd, block, MIN(size, sizeof(block))) < 0)
			break;
	fsync(fd);
	close(fd);
}

static void
test_tree(void)
{
	uint64_t bytes = 0, inodes = 0, more = 0, n = 0;
	int top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), at, fd;
	const int levels = 1500;

	is_int(stats_tree_usage(dir, &bytes, &inodes, &err), 0, "an empty directory");
	is_int(inodes, 1, "is one inode");
	put(top, "a", 100000);
	ok(linkat(top, "a", top, "b", 0) == 0 && linkat(top, "a", top, "c", 0) == 0, "three names");
	ok(symlinkat("/", top, "up") == 0, "a link to the root");
	mkdirat(top, "d", 0700);
	at = openat(top, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	put(at, "e", 5000);
	mkfifoat(at, "f", 0600);
	fd = openat(at, "sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ok(ftruncate(fd, INT64_C(1) << 33) == 0, "8 GiB of nothing");
	close(fd);
	is_int(stats_tree_usage(dir, &bytes, &inodes, &err), 0, "a small tree");
	is_int(inodes, 7, "each inode once, no link followed");
	ok(bytes >= 105000 && bytes < 400000, "what is on the disk: %" PRIu64, bytes);
	/* deeper than a path can be long */
	for (int i = 0; i < levels; i++) {
		int next;

		mkdirat(at, "deeper", 0700);
		next = openat(at, "deeper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = next;
	}
	put(at, "bottom", 200000);
	close(at);
	is_int(stats_tree_usage(dir, &more, &n, &err), 0, "a deep tree");
	is_int(n, inodes + (uint64_t)levels + 1, "is counted to its bottom");
	ok(more >= bytes + 200000, "with what is there");
	ok(stats_tree_usage("/nonexistent", &more, &n, &err) < 0, "no tree: %s", err.msg);
	close(top);
}

/* ---- links --------------------------------------------------------------------------------- */

/* A process in a network namespace of its own, which has a link called eth0 and one more. */
static pid_t
spawn_netns(bool *ret_links)
{
	int ready[2];
	pid_t pid;
	char c = 'n';

	if (pipe2(ready, O_CLOEXEC) < 0)
		return -1;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		static const char *const names[] = {"net1", "eth0"};
		bool made = unshare(CLONE_NEWNET) == 0;

		for (size_t i = 0; i < 2 && made; i++) {
			struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI};
			int fd = open("/dev/net/tun", O_RDWR);

			snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", names[i]);
			made = fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) == 0;
		}
		if (write(ready[1], made ? "y" : "n", 1) == 1)
			while (pause() < 0)
				;
		_exit(0);
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		c = 'n';
	close(ready[0]);
	*ret_links = c == 'y';
	return pid;
}

static void
test_links(const char *netns, bool has_links)
{
	struct stats_link links[4];
	struct stat before, after;

	stat("/proc/self/ns/net", &before);
	is_int(stats_read_links(netns, links, 4, &err), has_links ? 2 : 0, "links, but lo");
	stat("/proc/self/ns/net", &after);
	ok(before.st_ino == after.st_ino, "we are back in our own namespace");
	if (has_links) {
		ok(strcmp(links[0].name, "net1") == 0 && strcmp(links[1].name, "eth0") == 0,
		    "by name");
		ok(links[0].rx_bytes == 0 && links[0].tx_packets == 0, "without traffic");
		is_int(
		    stats_read_links(netns, links, 1, &err), 1, "no more than there is room for");
	}
	ok(stats_read_links("/nonexistent", links, 4, &err) < 0, "no namespace: %s", err.msg);
	ok(stats_read_links("/dev/null", links, 4, &err) < 0, "none either: %s", err.msg);
	stat("/proc/self/ns/net", &after);
	ok(before.st_ino == after.st_ino, "we are still in our own");
}

/* ---- messages ------------------------------------------------------------------------------ */

static pid_t
spawn_burner(const char *parent, const char *id)
{
	struct cgroup_fds fds = CGROUP_FDS_INIT;
	pid_t pid;

	if (cgroup_open(parent, id, &fds, &err) < 0)
		return -1;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		char *p;

		for (size_t i = 0; i < fds.n_procs; i++)
			if (write(fds.procs[i], "0", 1) != 1)
				_exit(1);
		if (fds.dir >= 0) {
			int procs = openat(fds.dir, "cgroup.procs", O_WRONLY);

			if (write(procs, "0", 1) != 1)
				_exit(1);
		}
		p = mmap(
		    NULL, 20 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		for (;;)
			memset(p, 1, 20 << 20);
	}
	cgroup_fds_release(&fds);
	return pid;
}

static void
turn_for(int64_t ms)
{
	int64_t end = clock_mono_ns() + ms * NS_PER_MS;

	while (clock_mono_ns() < end) {
		loop_once();
		usleep(2000);
	}
}

static void
check_container(struct stats_target *t, struct arena *a)
{
	Runtime__V1__ContainerStats m = RUNTIME__V1__CONTAINER_STATS__INIT;
	void *packed;

	is_int(stats_fill_container(t, a, &m, &err), 0, "fill a container's");
	ok(m.cpu != NULL && m.cpu->timestamp > 0 &&
	        m.cpu->usage_core_nano_seconds->value > 10000000,
	    "cpu time");
	ok(m.cpu != NULL && m.cpu->usage_nano_cores != NULL &&
	        m.cpu->usage_nano_cores->value > 50000000 &&
	        m.cpu->usage_nano_cores->value < 1500000000,
	    "one busy process is about one core: %" PRIu64,
	    m.cpu != NULL && m.cpu->usage_nano_cores != NULL ? m.cpu->usage_nano_cores->value : 0);
	ok(m.memory != NULL && m.memory->timestamp > 0 &&
	        m.memory->working_set_bytes->value >= 18 << 20 &&
	        m.memory->usage_bytes->value >= m.memory->working_set_bytes->value,
	    "memory");
	ok(m.memory != NULL && m.memory->available_bytes != NULL &&
	        m.memory->available_bytes->value + m.memory->working_set_bytes->value == 100 << 20,
	    "what the limit leaves");
	ok(m.memory != NULL && m.memory->page_faults->value > 100, "faults");
	if (cgroup_info()->swap)
		ok(m.swap != NULL && m.swap->swap_usage_bytes->value < 1 << 20 &&
		        m.swap->swap_available_bytes->value < 1 << 20,
		    "swap, of which there is none");
	if (cgroup_info()->psi)
		ok(m.cpu->psi != NULL && m.memory->psi != NULL && m.io != NULL && m.io->psi != NULL,
		    "pressure");
	if (ok(m.writable_layer != NULL, "the writable layer was measured meanwhile")) {
		is_str(m.writable_layer->fs_id->mountpoint, "/tmp", "  where");
		ok(m.writable_layer->used_bytes->value >= 305000, "  bytes");
		is_int(m.writable_layer->inodes_used->value, 1508, "  inodes");
		ok(m.writable_layer->timestamp > 0, "  when");
	}
	packed = malloc(runtime__v1__container_stats__get_packed_size(&m));
	ok(runtime__v1__container_stats__pack(&m, packed) > 100, "it packs");
	free(packed);
}

static void
check_pod(struct stats_target *t, struct arena *a, bool has_links)
{
	Runtime__V1__LinuxPodSandboxStats m = RUNTIME__V1__LINUX_POD_SANDBOX_STATS__INIT;

	is_int(stats_fill_pod(t, a, &m, &err), 0, "fill a pod's");
	ok(m.cpu != NULL && m.cpu->usage_core_nano_seconds->value > 10000000, "cpu time");
	ok(m.cpu != NULL && m.cpu->usage_nano_cores != NULL, "and its rate");
	ok(m.memory != NULL && m.memory->working_set_bytes->value >= 18 << 20, "memory");
	ok(m.memory != NULL && m.memory->available_bytes == NULL, "without a limit");
	if (cgroup_info()->controllers & 1 << CGROUP_PIDS)
		ok(m.process != NULL && m.process->process_count->value == 1, "one process");
	if (has_links) {
		ok(m.network != NULL && m.network->timestamp > 0, "network");
		is_str(m.network->default_interface->name, "eth0", "  the default interface");
		is_int(m.network->n_interfaces, 1, "  one more");
		is_str(m.network->interfaces[0]->name, "net1", "  which is this");
	}
}

static void
test_messages(const char *netns, bool has_links)
{
	Runtime__V1__LinuxContainerResources res = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
	Runtime__V1__ContainerStats m = RUNTIME__V1__CONTAINER_STATS__INIT;
	char top[64], parent[80];
	struct stats_target c, pod, *many;
	struct stats_conf conf = {.sample_ms = 400, .upper_ms = 1000};
	struct cgroup_stats s;
	struct arena a;
	uint64_t first = 0;
	pid_t pid;

	snprintf(top, sizeof(top), "t-stats-%d", (int)getpid());
	snprintf(parent, sizeof(parent), "/%s/pod", top);
	if (cgroup_init(top, CGROUP_DRIVER_CGROUPFS, &err) < 0 ||
	    cgroup_create(parent, "ctr", &err) < 0) {
		ok(false, "cgroups: %s", err.msg);
		return;
	}
	res.memory_limit_in_bytes = 100 << 20;
	is_int(cgroup_apply(parent, "ctr", &res, &err), 0, "100 MiB");
	arena_init(&a);
	c = (struct stats_target){
	    .id = "ctr", .cgroup_parent = parent, .upper = dir, .upper_fs = "/tmp"};
	pod = (struct stats_target){
	    .id = "pod", .cgroup_parent = parent, .is_pod = true, .netns = netns};
	stats_init(&conf);
	stats_watch(&c);
	stats_watch(&pod);
	stats_watch(&pod);
	pid = spawn_burner(parent, "ctr");
	ok(stats_fill_container(&c, &a, &m, &err) == 0 && m.cpu != NULL &&
	        m.cpu->usage_nano_cores == NULL,
	    "no rate before there is something to compare with");
	turn_for(3000);
	for (int i = 0; i < 300 && c.upper_wall_ns == 0;
	     i++) /* a slow machine: ours is the idle class */
		turn_for(100);
	check_container(&c, &a);
	check_pod(&pod, &a, has_links);
	ok(stats_read(&c, &s, &err) == 0 && s.have & CGROUP_HAVE_MEMORY, "the counters themselves");

	/* the sampler comes round all of many */
	many = calloc(500, sizeof(*many));
	for (int i = 0; i < 500; i++) {
		many[i] = (struct stats_target){.id = "ctr", .cgroup_parent = parent};
		stats_watch(&many[i]);
		many[i].new_mono_ns = 0;
	}
	for (int turns = 0, unsampled; turns < 300; turns++) {
		turn_for(100);
		unsampled = 0;
		for (int i = 0; i < 500; i++)
			unsampled += many[i].new_mono_ns == 0;
		first = (uint64_t)unsampled;
		if (unsampled == 0)
			break;
	}
	is_int(first, 0, "500 targets, each sampled");
	for (int i = 0; i < 500; i++)
		stats_unwatch(&many[i]);
	free(many);

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 1000 && cgroup_remove(parent, "ctr", &err) == 0; i++)
		usleep(1000);
	runtime__v1__container_stats__init(&m);
	is_int(stats_fill_container(&c, &a, &m, &err), 0, "fill what is gone");
	ok(m.cpu == NULL && m.memory == NULL && m.writable_layer != NULL, "only its layer is left");
	stats_unwatch(&c);
	stats_unwatch(&c);
	turn_for(1200);
	stats_fini();
	ok(!pod.watched, "all are forgotten at the end");
	cgroup_remove_parent(parent, &err);
	ok(!cgroup_exists(parent, NULL), "no cgroup is left");
	cgroup_fini();
	arena_release(&a);
}

int
main(void)
{
	char netns[64];
	bool has_links = false;
	pid_t pid;

	if (getuid() != 0)
		skip_all("needs root");
	if (fd_openat2(AT_FDCWD, "/", O_PATH, 0, 0) < 0 && errno == ENOSYS)
		skip_all("no openat2(2) here (valgrind lacks it)");
	loop_init();
	if (mkdtemp(dir) == NULL)
		return 1;
	test_tree();
	pid = spawn_netns(&has_links);
	snprintf(netns, sizeof(netns), "/proc/%d/ns/net", (int)pid);
	test_links(netns, has_links);
	test_messages(netns, has_links);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	fd_remove_tree(AT_FDCWD, dir, &err);
	return tap_done();
}
