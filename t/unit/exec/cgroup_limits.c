/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits, devices and counters of cgroups, on whatever layout this kernel has.
 */
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "cglab.h"
#include "exec/cgroup_stats.h"

static void
test_weights(void)
{
	bool monotone = true, inverse = true;

	is_int(cgroup_weight_of_shares(0), 0, "0 is not set");
	is_int(cgroup_weight_of_shares(1), 1, "1");
	is_int(cgroup_weight_of_shares(2), 1, "2 is the least");
	is_int(cgroup_weight_of_shares(102), 17, "102 (100m)");
	is_int(cgroup_weight_of_shares(256), 35, "256");
	is_int(cgroup_weight_of_shares(512), 59, "512");
	is_int(cgroup_weight_of_shares(1024), 100, "1024 is the default");
	is_int(cgroup_weight_of_shares(262144), 10000, "262144 is the most");
	is_int(cgroup_weight_of_shares(UINT64_MAX), 10000, "and so is more");
	is_int(cgroup_shares_of_weight(0), 0, "weight 0");
	is_int(cgroup_shares_of_weight(1), 2, "weight 1");
	is_int(cgroup_shares_of_weight(100), 1024, "weight 100");
	is_int(cgroup_shares_of_weight(10000), 262144, "weight 10000");
	for (uint64_t s = 2; s < 262144; s += 7) {
		uint64_t w = cgroup_weight_of_shares(s);

		monotone &= cgroup_weight_of_shares(s + 1) >= w;
		inverse &= cgroup_weight_of_shares(cgroup_shares_of_weight(w)) == w;
	}
	ok(monotone, "more shares never weigh less");
	ok(inverse, "there and back gives the same weight");
}

/* ---- limits -------------------------------------------------------------------------------- */

static void
test_checks(void)
{
	static const struct {
		int64_t shares, period, quota, memory, swap;
		const char *cpus, *mems, *word;
	} t[] = {
	    {.shares = -1, .word = "cpu_shares"}, {.period = 999, .word = "cpu_period"},
	    {.period = 1000001, .word = "cpu_period"}, {.quota = 999, .word = "cpu_quota"},
	    {.quota = -2, .word = "cpu_quota"}, {.memory = -2, .word = "memory_limit"},
	    {.swap = -2, .word = "memory_swap"}, {.memory = 10, .swap = 9, .word = "below"},
	    {.memory = -1, .swap = 9, .word = "without"}, {.cpus = "a", .word = "cpuset_cpus"},
	    {.cpus = "1,,2", .word = "cpuset_cpus"}, {.cpus = "3-1", .word = "cpuset_cpus"},
	    {.cpus = "0\n1", .word = "cpuset_cpus"}, {.cpus = "-1", .word = "cpuset_cpus"},
	    {.mems = "0;1", .word = "cpuset_mems"}, {.cpus = "1-", .word = "cpuset_cpus"},
	};
	static char *const keys[] = {"memory/high", "..", "a..b", "memory", "cgroup.procs",
	    "cgroup.kill", "cgroup.subtree_control", ".x", "../memory.max"};
	static char *const sizes[] = {"", "2", "MB", "2MB/x", "2Mi", "-2MB", "../2MB", "2mb"};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		Runtime__V1__LinuxContainerResources res =
		    RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;

		res.cpu_shares = t[i].shares;
		res.cpu_period = t[i].period;
		res.cpu_quota = t[i].quota;
		res.memory_limit_in_bytes = t[i].memory;
		res.memory_swap_limit_in_bytes = t[i].swap;
		if (t[i].cpus != NULL)
			res.cpuset_cpus = (char *)t[i].cpus;
		if (t[i].mems != NULL)
			res.cpuset_mems = (char *)t[i].mems;
		refused(cgroup_check_resources(&res, &err), ERR_INVALID_ARGUMENT, "bad %s",
		    t[i].word);
		ok(strstr(err.msg, t[i].word) != NULL, "  %s", err.msg);
	}
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		Runtime__V1__LinuxContainerResources res =
		    RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
		Runtime__V1__LinuxContainerResources__UnifiedEntry e =
		    RUNTIME__V1__LINUX_CONTAINER_RESOURCES__UNIFIED_ENTRY__INIT;
		Runtime__V1__LinuxContainerResources__UnifiedEntry *list[] = {&e};

		e.key = keys[i];
		e.value = "1";
		res.unified = list;
		res.n_unified = 1;
		refused(cgroup_check_resources(&res, &err),
		    cgroups.info.layout == CGROUP_V2 ? ERR_INVALID_ARGUMENT
						     : ERR_FAILED_PRECONDITION,
		    "unified %s", keys[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		Runtime__V1__LinuxContainerResources res =
		    RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
		Runtime__V1__HugepageLimit l = RUNTIME__V1__HUGEPAGE_LIMIT__INIT;
		Runtime__V1__HugepageLimit *list[] = {&l};

		l.page_size = sizes[i];
		res.hugepage_limits = list;
		res.n_hugepage_limits = 1;
		refused(cgroup_check_resources(&res, &err), ERR_INVALID_ARGUMENT,
		    "hugepage size '%s'", sizes[i]);
	}
}

static void
same_resources(const Runtime__V1__LinuxContainerResources *got, int64_t shares, int64_t period,
    int64_t quota, int64_t memory, int64_t swap)
{
	is_int(got->cpu_shares, shares, "  shares");
	is_int(got->cpu_period, period, "  period");
	is_int(got->cpu_quota, quota, "  quota");
	is_int(got->memory_limit_in_bytes, memory, "  memory");
	if (cgroups.info.swap)
		is_int(got->memory_swap_limit_in_bytes, swap, "  swap");
}

static int
do_hold_40m(void)
{
	memset(mmap(NULL, 40 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1,
	    40 << 20);
	return do_sleep();
}

static void
test_limits(void)
{
	Runtime__V1__LinuxContainerResources res = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
	Runtime__V1__LinuxContainerResources got = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
	Runtime__V1__LinuxContainerResources none = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
	struct cgroup_stats stats;
	struct arena arena;
	pid_t child;

	arena_init(&arena);
	good(cgroup_create(pod, id, &err), "create");
	good(cgroup_apply(pod, id, &none, &err), "apply nothing");
	res.cpu_shares = 333;
	res.cpu_period = 50000;
	res.cpu_quota = 25000;
	res.memory_limit_in_bytes = 100000001; /* no multiple of a page */
	good(cgroup_apply(pod, id, &res, &err), "apply");
	got.cpu_shares = 333;
	got.memory_limit_in_bytes = got.memory_swap_limit_in_bytes = 100000001;
	good(cgroup_read_resources(pod, id, &arena, &got, &err), "read what was applied");
	same_resources(&got, 333, 50000, 25000, 100000001, 100000001);
	got = none;
	good(cgroup_read_resources(pod, id, &arena, &got, &err), "read without knowing");
	ok(cgroup_weight_of_shares((uint64_t)got.cpu_shares) == cgroup_weight_of_shares(333),
	    "  shares of the same weight");
	is_int(got.memory_limit_in_bytes, 99999744, "  memory in pages");
	res = none;
	res.cpu_period = 200000;
	good(cgroup_apply(pod, id, &res, &err), "only another period");
	good(cgroup_read_resources(pod, id, &arena, &got, &err), "read");
	same_resources(&got, got.cpu_shares, 200000, 25000, 99999744, 99999744);
	res = none;
	res.cpu_quota = -1;
	res.memory_limit_in_bytes = 200 << 20;
	res.memory_swap_limit_in_bytes = 300 << 20;
	good(cgroup_apply(pod, id, &res, &err), "raise");
	good(cgroup_read_resources(pod, id, &arena, &got, &err), "read");
	same_resources(&got, got.cpu_shares, 200000, -1, 200 << 20, 300 << 20);
	res.memory_limit_in_bytes = 50 << 20;
	res.memory_swap_limit_in_bytes = 60 << 20;
	good(cgroup_apply(pod, id, &res, &err), "lower");
	good(cgroup_read_resources(pod, id, &arena, &got, &err), "read");
	same_resources(&got, got.cpu_shares, 200000, -1, 50 << 20, 60 << 20);
	res = none;
	res.memory_limit_in_bytes = 64 << 20;
	good(cgroup_apply(pod, id, &res, &err), "memory above the old swap limit");
	good(cgroup_read_resources(pod, id, &arena, &got, &err), "read");
	same_resources(&got, got.cpu_shares, 200000, -1, 64 << 20, 64 << 20);

	child = spawn(pod, id, do_hold_40m);
	for (int i = 0; i < 1000; i++) {
		stats.memory_working_set = 0;
		if (cgroup_stats(pod, id, CGROUP_STATS_CRI, &stats, &err) == 0 &&
		    stats.memory_working_set >= 40 << 20)
			break;
		usleep(5000);
	}
	ok(stats.memory_working_set >= 40 << 20, "40 MiB are in use");
	res = none;
	res.cpu_shares = 700;
	res.memory_limit_in_bytes = 16 << 20;
	refused(cgroup_apply(pod, id, &res, &err), ERR_FAILED_PRECONDITION, "not below what is used");
	ok(strstr(err.msg, "in use") != NULL, "  %s", err.msg);
	good(cgroup_read_resources(pod, id, &arena, &got, &err), "read");
	is_int(got.memory_limit_in_bytes, 64 << 20, "and nothing changed");
	ok(cgroup_weight_of_shares((uint64_t)got.cpu_shares) == cgroup_weight_of_shares(333),
	    "nor the shares");
	res = none;
	res.memory_limit_in_bytes = -1;
	good(cgroup_apply(pod, id, &res, &err), "no limit");
	good(cgroup_read_resources(pod, id, &arena, &got, &err), "read");
	same_resources(&got, got.cpu_shares, 200000, -1, 0, 0);
	if (cgroup_has(CGROUP_PIDS)) {
		good(cgroup_set_pids_max(pod, id, 7, &err), "7 processes");
		good(cgroup_stats(pod, id, CGROUP_STATS_CRI, &stats, &err), "stats");
		is_int(stats.pids_limit, 7, "pids limit");
		is_int(stats.pids, 1, "one process");
		good(cgroup_set_pids_max(pod, id, -1, &err), "any number");
		refused(cgroup_set_pids_max(pod, id, 0, &err), ERR_INVALID_ARGUMENT, "none");
	}
	if (cgroup_has(CGROUP_CPUSET)) {
		res = none;
		res.cpuset_cpus = "0";
		res.cpuset_mems = "0";
		good(cgroup_apply(pod, id, &res, &err), "cpuset");
		got.cpuset_cpus = "0-1";
		good(cgroup_read_resources(pod, id, &arena, &got, &err), "read");
		is_str(got.cpuset_cpus, "0", "  as the kernel has it");
		res.cpuset_cpus = "60000";
		refused(cgroup_apply(pod, id, &res, &err), ERR_INVALID_ARGUMENT, "no such CPU");
		ok(strstr(err.msg, "cpuset.cpus") != NULL, "  %s", err.msg);
	}
	cgroup_kill(pod, id, &err);
	wait_status(child);
	ok(removed_soon(pod, id, NULL), "remove");
	refused(cgroup_apply(pod, id, &res, &err), ERR_NOT_FOUND, "nothing to apply to");
	arena_release(&arena);
}

/* The last of several writes fails: the kernel refuses it, nothing of the others stays. */
static void
test_rollback(void)
{
	Runtime__V1__LinuxContainerResources res = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
	Runtime__V1__LinuxContainerResources got = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
	Runtime__V1__LinuxContainerResources none = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
	Runtime__V1__LinuxContainerResources__UnifiedEntry e[2];
	Runtime__V1__LinuxContainerResources__UnifiedEntry *list[] = {&e[0], &e[1]};
	struct arena arena;

	for (size_t i = 0; i < 2; i++)
		runtime__v1__linux_container_resources__unified_entry__init(&e[i]);
	arena_init(&arena);
	good(cgroup_create(pod, id, &err), "create");
	res.cpu_shares = 512;
	res.cpu_period = 100000;
	res.cpu_quota = 20000;
	res.memory_limit_in_bytes = 64 << 20;
	res.memory_swap_limit_in_bytes = 64 << 20;
	good(cgroup_apply(pod, id, &res, &err), "apply");
	res.cpu_shares = 2048;
	if (cgroups.info.layout == CGROUP_V2) {
		res.cpu_period = 50000;
		res.cpu_quota = 30000;
		res.memory_limit_in_bytes = 128 << 20;
		res.memory_swap_limit_in_bytes = 256 << 20;
		e[0].key = "memory.high";
		e[0].value = "50000000";
		e[1].key = "memory.low";
		e[1].value = "lots";
		res.unified = list;
		res.n_unified = 2;
	} else { /* more than the parent has */
		Runtime__V1__LinuxContainerResources above = none;

		above.cpu_period = 100000;
		above.cpu_quota = 50000;
		good(cgroup_apply(pod, NULL, &above, &err), "limit the pod");
		res.cpu_period = 50000;
		res.cpu_quota = 30000;
	}
	refused(cgroup_apply(pod, id, &res, &err), ERR_INVALID_ARGUMENT, "the kernel refuses the last");
	ok(strstr(err.msg, cgroups.info.layout == CGROUP_V2 ? "memory.low" : "cfs_quota") != NULL,
	    "  %s", err.msg);
	got.cpu_shares = 512;
	got.memory_limit_in_bytes = got.memory_swap_limit_in_bytes = 64 << 20;
	good(cgroup_read_resources(pod, id, &arena, &got, &err), "read");
	same_resources(&got, 512, 100000, 20000, 64 << 20, 64 << 20);
	if (cgroups.info.layout == CGROUP_V2) {
		int dir = cgroup_controller_dir(CGROUP_MEMORY, pod, &err);
		char text[64], file[128];

		snprintf(file, sizeof(file), "%s/memory.high", id);
		ok(cgroup_file_read(dir, file, text, sizeof(text)) >= 0, "read memory.high");
		is_str(text, "max", "it was taken back");
		close(dir);
		res.n_unified = 1;
		e[0].key = "memory.nonsense";
		refused(cgroup_apply(pod, id, &res, &err), ERR_FAILED_PRECONDITION, "no such file");
		e[0].key = "memory.oom.group";
		e[0].value = "1";
		good(cgroup_apply(pod, id, &res, &err), "unified");
	}
	ok(removed_soon(pod, id, NULL), "remove");
	arena_release(&arena);
}

static int
do_eat_memory(void)
{
	for (int i = 0; i < 64; i++) {
		void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);

		memset(p, 1, 1 << 20);
	}
	return 0;
}

static void
test_oom(void)
{
	Runtime__V1__LinuxContainerResources res = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
	uint64_t kills = 77;
	int fd, status;

	if (!cgroup_has(CGROUP_MEMORY))
		return;
	good(cgroup_create(pod, id, &err), "create");
	res.memory_limit_in_bytes = 16 << 20;
	good(cgroup_apply(pod, id, &res, &err), "16 MiB");
	fd = cgroup_oom_open(pod, id, &err);
	ok(fd >= 0, "open the counter");
	good(cgroup_oom_kills(fd, &kills, &err), "read it");
	is_int(kills, 0, "no kill yet");
	status = wait_status(spawn(pod, id, do_eat_memory));
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "64 MiB are too much");
	good(cgroup_oom_kills(fd, &kills, &err), "read it");
	is_int(kills, 1, "one kill");
	ok(removed_soon(pod, id, NULL), "remove");
	refused(cgroup_oom_kills(fd, &kills, &err), ERR_INTERNAL, "it ends with the cgroup");
	close(fd);
	refused(cgroup_oom_open(pod, id, &err), ERR_NOT_FOUND, "gone");
}

/* ---- devices ------------------------------------------------------------------------------- */

enum { CAN_NULL = 1, CAN_KMSG_R = 2, CAN_KMSG_W = 4, CAN_MKNOD = 8, CAN_FULL = 16 };

/* Nodes of our own, so that it does not matter what /dev is. */
static int
do_try_devices(void)
{
	int can = 0, fd;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
	    mount("none", "/tmp", "tmpfs", 0, NULL) < 0)
		return 64;
	if (mknod("/tmp/null", S_IFCHR | 0666, makedev(1, 3)) == 0)
		can |= CAN_MKNOD;
	mknod("/tmp/kmsg", S_IFCHR | 0666, makedev(1, 11));
	mknod("/tmp/full", S_IFCHR | 0666, makedev(1, 7));
	if ((fd = open("/tmp/null", O_RDWR)) >= 0)
		can |= CAN_NULL;
	if ((fd = open("/tmp/kmsg", O_RDONLY)) >= 0)
		can |= CAN_KMSG_R;
	if ((fd = open("/tmp/kmsg", O_WRONLY)) >= 0)
		can |= CAN_KMSG_W;
	if ((fd = open("/tmp/full", O_RDONLY)) >= 0)
		can |= CAN_FULL;
	return can;
}

static void
test_devices(void)
{
	static const struct cgroup_device all[] = {{'a', -1, -1, CGROUP_DEV_ALL}};
	static const struct cgroup_device some[] = {{'c', 1, 11, CGROUP_DEV_READ},
	    {'c', -1, 3, CGROUP_DEV_READ}, {'c', -1, 3, CGROUP_DEV_WRITE},
	    {'a', -1, -1, CGROUP_DEV_MKNOD}};
	static const struct cgroup_device bad[] = {{'x', 1, 1, 1}, {'c', -2, 1, 1},
	    {'c', 1, 1 << 20, 1}, {'c', 4096, 1, 1}, {'c', 1, 1, 0}, {'c', 1, 1, 8}};
	struct cgroup_device *many;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		refused(cgroup_set_devices(pod, id, &bad[i], 1, &err), ERR_INVALID_ARGUMENT,
		    "bad rule %zu", i);
	if (cgroups.info.devices == CGROUP_DEVICES_NONE) {
		refused(cgroup_set_devices(pod, id, all, 1, &err), ERR_FAILED_PRECONDITION,
		    "this host cannot");
		return;
	}
	good(cgroup_create(pod, id, &err), "create");
	is_int(WEXITSTATUS(wait_status(spawn(pod, id, do_try_devices))), 31, "all at first");
	good(cgroup_set_devices(pod, id, cgroup_default_devices, cgroup_n_default_devices, &err),
	    "the default");
	is_int(WEXITSTATUS(wait_status(spawn(pod, id, do_try_devices))),
	    CAN_NULL | CAN_MKNOD | CAN_FULL, "null, full and mknod");
	good(cgroup_set_devices(pod, id, some, ARRAY_SIZE(some), &err), "others");
	is_int(WEXITSTATUS(wait_status(spawn(pod, id, do_try_devices))),
	    CAN_NULL | CAN_MKNOD | CAN_KMSG_R, "reading kmsg, both of null by two rules");
	good(cgroup_set_devices(pod, id, NULL, 0, &err), "none");
	is_int(WEXITSTATUS(wait_status(spawn(pod, id, do_try_devices))), 0, "nothing at all");
	good(cgroup_set_devices(pod, id, all, 1, &err), "all");
	is_int(WEXITSTATUS(wait_status(spawn(pod, id, do_try_devices))), 31, "everything again");
	many = calloc(1025, sizeof(*many));
	for (int i = 0; i < 1025; i++)
		many[i] = (struct cgroup_device){'b', 200 + i, i, CGROUP_DEV_READ};
	good(cgroup_set_devices(pod, id, many, 1024, &err), "1024 rules");
	refused(cgroup_set_devices(pod, id, many, 1025, &err), ERR_RESOURCE_EXHAUSTED, "one more");
	free(many);
	ok(removed_soon(pod, id, NULL), "remove");
}

/* ---- counters ------------------------------------------------------------------------------ */

static int
do_burn(void)
{
	struct timespec spent = {0};

	while (spent.tv_nsec < 100 * NS_PER_MS && spent.tv_sec == 0)
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
	return do_hold_40m();
}

static void
test_stats(void)
{
	struct cgroup_stats s = {0};
	pid_t child;

	refused(cgroup_stats(pod, id, CGROUP_STATS_ALL, &s, &err), ERR_NOT_FOUND, "no stats yet");
	good(cgroup_create(pod, id, &err), "create");
	child = spawn(pod, id, do_burn);
	for (int i = 0; i < 4000 && s.memory_usage < 40 << 20; i++) {
		usleep(5000);
		if (cgroup_stats(pod, id, CGROUP_STATS_ALL, &s, &err) < 0)
			break;
	}
	ok(s.have & CGROUP_HAVE_CPU && s.cpu_ns >= 50000000 && s.cpu_ns < 20000000000, "cpu %" PRIu64,
	    s.cpu_ns);
	ok(s.cpu_user_ns + s.cpu_system_ns > 0, "user and system");
	ok(s.have & CGROUP_HAVE_MEMORY && s.memory_usage >= 40 << 20, "memory %" PRIu64,
	    s.memory_usage);
	ok(s.memory_working_set <= s.memory_usage && s.memory_working_set >= 40 << 20, "working set");
	/* counted per CPU, in batches */
	ok(s.memory_rss >= 36 << 20 && s.memory_rss <= 64 << 20, "rss %" PRIu64, s.memory_rss);
	ok(s.page_faults > 100, "faults");
	ok(s.memory_limit == UINT64_MAX, "no limit");
	ok(s.oom_kills == 0, "no OOM kill");
	ok(llabs(s.wall_ns - clock_wall_ns()) < 10 * NS_PER_SEC, "just now");
	if (cgroup_has(CGROUP_PIDS))
		ok(s.have & CGROUP_HAVE_PIDS && s.pids == 1, "one process");
	if (cgroups.info.swap)
		ok(s.have & CGROUP_HAVE_SWAP && s.swap_usage < 64 << 20, "swap");
	if (cgroups.info.psi)
		ok(s.have & CGROUP_HAVE_CPU_PSI && s.cpu_psi.some.avg10 >= 0 &&
			s.cpu_psi.some.avg10 <= 100,
		    "pressure");
	good(cgroup_stats(pod, NULL, CGROUP_STATS_CPU_ONLY, &s, &err), "the pod's cpu");
	ok(s.have == CGROUP_HAVE_CPU && s.cpu_ns >= 50000000, "and nothing else");
	cgroup_kill(pod, id, &err);
	wait_status(child);
	ok(removed_soon(pod, id, NULL), "remove");
}

int
main(void)
{
	size_t fds = cglab_open("cgroup-limits");

	test_weights();
	test_checks();
	test_limits();
	test_rollback();
	test_oom();
	test_devices();
	test_stats();
	cglab_close(fds);
	return tap_done();
}
