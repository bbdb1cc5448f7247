/* SPDX-License-Identifier: Apache-2.0
 *
 * cgroups for tests: a parent of our own, processes that are born in a cgroup, and the end of it.
 */
#ifndef CGLAB_H
#define CGLAB_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "exec/cgroup.h"
#include "exec/cgroup_impl.h"
#include "tap.h"

static struct err err;
static char top[64], pod[96];
static const char id[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#define good(call, ...)                                                                            \
	do {                                                                                       \
		err.msg[0] = '\0';                                                                 \
		if (!ok((call) == 0, __VA_ARGS__))                                                 \
			diag("%s", err.msg);                                                       \
	} while (0)
#define refused(call, want, ...)                                                                   \
	do {                                                                                       \
		err.code = ERR_NONE;                                                               \
		if (!ok((call) == -1 && err.code == (want), __VA_ARGS__))                          \
			diag("code %s: %s", err_name(err.code), err.msg);                          \
	} while (0)

static inline size_t
count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

/* Fork a process that is in the cgroup in all hierarchies before it runs fn. */
static inline pid_t
spawn(const char *parent, const char *name, int (*fn)(void))
{
	struct cgroup_fds fds = CGROUP_FDS_INIT;
	struct clone_args args = {.exit_signal = SIGCHLD};
	pid_t pid;

	if (cgroup_open(parent, name, &fds, &err) < 0) {
		diag("%s", err.msg);
		return -1;
	}
	if (fds.dir >= 0) {
		args.flags = CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)fds.dir;
	}
	fflush(stdout);
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0) {
		for (size_t i = 0; i < fds.n_procs; i++)
			if (write(fds.procs[i], "0", 1) != 1)
				_exit(99);
		_exit(fn());
	}
	cgroup_fds_release(&fds);
	return pid;
}

static inline int
do_sleep(void)
{
	while (pause() < 0)
		;
	return 0;
}

static inline int
wait_status(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static inline bool
removed_soon(const char *parent, const char *name, int *ret_calls)
{
	int calls = 0, ret = 0;

	for (; calls < 2000 && ret == 0; calls++) {
		ret = cgroup_remove(parent, name, &err);
		if (ret == 0)
			usleep(1000);
	}
	if (ret < 0)
		diag("%s", err.msg);
	if (ret_calls != NULL)
		*ret_calls = calls;
	return ret == 1;
}

/* Initialise the module with an instance named after the test; the number of fds open then. */
static inline size_t
cglab_open(const char *name)
{
	static const char *const layouts[] = {"v2", "v1", "hybrid"};

	if (getuid() != 0)
		skip_all("needs root");
	if (fd_openat2(AT_FDCWD, "/", O_PATH, 0, 0) < 0 && errno == ENOSYS)
		skip_all("no openat2(2) here (valgrind lacks it)");
	snprintf(top, sizeof(top), "/t-%s-%d", name, (int)getpid());
	snprintf(pod, sizeof(pod), "%s/pod1", top);
	if (cgroup_init(top + 1, CGROUP_DRIVER_CGROUPFS, &err) < 0)
		skip_all(err.msg);
	diag("layout %s, controllers %x, devices %d, swap %d, kill %d, psi %d",
	    layouts[cgroups.info.layout], cgroups.info.controllers, cgroups.info.devices,
	    cgroups.info.swap, cgroups.info.kill, cgroups.info.psi);
	return count_fds();
}

static inline void
cglab_close(size_t fds)
{
	good(cgroup_remove_parent(pod, &err), "clean up");
	ok(!cgroup_exists(top, NULL), "nothing is left");
	is_int(count_fds(), fds, "no fd leaked");
	cgroup_fini();
	cgroup_fini();
}

#endif
