/* SPDX-License-Identifier: Apache-2.0
 *
 * Shutting a worker in: see confine.h.
 */
#include "image/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"

/* What extracting, hashing and allocating need. */
static const char *const allowed[] = {
    /* files */
    "read",
    "pread64",
    "write",
    "pwrite64",
    "writev",
    "lseek",
    "_llseek",
    "close",
    "openat",
    "openat2",
    "newfstatat",
    "fstatat64",
    "fstat",
    "fstat64",
    "fstatfs",
    "fstatfs64",
    "mkdirat",
    "mknodat",
    "symlinkat",
    "linkat",
    "unlinkat",
    "readlinkat",
    "fchown",
    "fchown32",
    "fchownat",
    "fchmod",
    "fchmodat",
    "utimensat",
    "utimensat_time64",
    "fsetxattr",
    "flistxattr",
    "fgetxattr",
    "ftruncate",
    "ftruncate64",
    "getdents64",
    "fcntl",
    "fcntl64",
    "syncfs",
    "fsync",
    "poll",
    "ppoll",
    /* memory */
    "munmap",
    "mremap",
    "brk",
    "madvise",
    /* the rest of a C library */
    "exit",
    "exit_group",
    "rt_sigreturn",
    "rt_sigprocmask",
    "rt_sigaction",
    "sigaltstack",
    "restart_syscall",
    "clock_gettime",
    "clock_gettime64",
    "gettimeofday",
    "futex",
    "futex_time64",
    "getrandom",
    "getpid",
    "gettid",
    "sched_yield",
    "sysinfo", /* glibc's qsort asks for the memory there is */
#ifdef SANITIZED
    "readlink",
    "getuid",
    "geteuid",
    "prctl",
    "dup",
    "dup2",
    "dup3",
    "pipe2",
    "sched_getaffinity",
#endif
};

/* Asked for by some C library or other as a matter of course, and done without. */
static const char *const absent[] = {
    "statx",
    "rseq",
    "set_robust_list",
    "membarrier",
    "prlimit64",
    "getrlimit",
    "ugetrlimit",
    "fallocate",
    "copy_file_range",
    "fadvise64",
    "access",
    "faccessat",
    "faccessat2",
    "ioctl",
    "sched_getparam",
    "open",
    "stat",
    "lstat",
    "getcwd",
    "fchmodat2",
};

static int
add_rule(scmp_filter_ctx ctx, uint32_t action, const char *name)
{
	int nr = seccomp_syscall_resolve_name(name);

	/* Not every architecture and library version knows every name. */
	return nr == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(ctx, action, nr, 0);
}

static int
filter_syscalls(struct err *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	const struct scmp_arg_cmp no_exec = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	const struct scmp_arg_cmp own = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid());
	int ret = ctx != NULL ? 0 : -ENOMEM;

	for (size_t i = 0; ret == 0 && i < ARRAY_SIZE(allowed); i++)
		ret = add_rule(ctx, SCMP_ACT_ALLOW, allowed[i]);
	for (size_t i = 0; ret == 0 && i < ARRAY_SIZE(absent); i++)
		ret = add_rule(ctx, SCMP_ACT_ERRNO(ENOSYS), absent[i]);
	if (ret == 0)
		ret = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, &no_exec);
	if (ret == 0)
		ret = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, &no_exec);
	/* abort() signals its own process */
	if (ret == 0)
		ret = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &own);
	if (ret == 0)
		ret = seccomp_load(ctx);
	if (ctx != NULL)
		seccomp_release(ctx);
	errno = -ret;
	return ret == 0 ? 0 : err_errno(err, "load the system call filter");
}

static int
drop_capabilities(uint64_t keep, struct err *err)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data) < 0)
		return err_errno(err, "capget");
	for (int cap = 0; cap < 64; cap++) {
		if ((keep & UINT64_C(1) << cap) != 0 || prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
			continue;
		if (errno == EINVAL)
			break; /* beyond the last one of this kernel */
		return err_errno(err, "drop capability %d", cap);
	}
	for (int i = 0; i < 2; i++) {
		uint32_t want = (uint32_t)(keep >> (32 * i)) & data[i].permitted;

		data[i] = (struct __user_cap_data_struct){want, want, 0};
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return err_errno(err, "clear the ambient capabilities");
	if (syscall(SYS_capset, &head, data) < 0)
		return err_errno(err, "capset");
	return 0;
}

static int
set_limits(size_t memory, struct err *err)
{
	struct rlimit none = {0, 0}, few = {64, 64};
	unsigned long pages = 0;

	if (setrlimit(RLIMIT_CORE, &none) < 0 || setrlimit(RLIMIT_NOFILE, &few) < 0)
		return err_errno(err, "setrlimit");
#ifndef SANITIZED /* whose shadow memory is terabytes */
	{
		/* The sixth number: pages of data and stack, which is what RLIMIT_DATA counts. */
		FILE *f = fopen("/proc/self/statm", "re");
		struct rlimit data;

		if (f == NULL || fscanf(f, "%*u %*u %*u %*u %*u %lu", &pages) != 1) {
			if (f != NULL)
				fclose(f);
			return err_set(err, ERR_INTERNAL, "cannot read /proc/self/statm");
		}
		fclose(f);
		data.rlim_cur = data.rlim_max = pages * (rlim_t)sysconf(_SC_PAGESIZE) + memory;
		if (getrlimit(RLIMIT_DATA, &none) == 0 && none.rlim_max < data.rlim_max)
			data.rlim_cur = data.rlim_max = none.rlim_max;
		if (setrlimit(RLIMIT_DATA, &data) < 0)
			return err_errno(err, "setrlimit");
	}
#else
	(void)memory;
	(void)pages;
#endif
	return 0;
}

static int
enter_root(int rootfd, bool readonly, struct err *err)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
	                                      MOUNT_ATTR_NOEXEC |
	                                      (readonly ? MOUNT_ATTR_RDONLY : 0)};
	cleanup_close int tree = -1;

	/* Copied before the unshare: afterwards rootfd belongs to a foreign mount namespace. */
	tree = open_tree(rootfd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return err_errno(err, "open_tree");
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_errno(err, "mount_setattr");
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		return err_errno(err, "unshare");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_errno(err, "make / private");
	if (move_mount(tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_errno(err, "move_mount");
	if (fchdir(tree) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return err_errno(err, "pivot_root");
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return err_errno(err, "leave the old root");
	return 0;
}

int
confine_enter(const struct confine_spec *spec, struct err *err)
{
	if (set_limits(spec->memory, err) < 0 || enter_root(spec->rootfd, spec->readonly, err) < 0)
		return err_wrap(err, "confine the worker");
	close(spec->rootfd);
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		err_errno(err, "prctl");
		return err_wrap(err, "confine the worker");
	}
	if (drop_capabilities(spec->caps, err) < 0 || filter_syscalls(err) < 0)
		return err_wrap(err, "confine the worker");
	return 0;
}

void
confine_printable(struct err *err)
{
	bool utf8 = str_utf8(err->msg, strlen(err->msg));

	for (unsigned char *p = (unsigned char *)err->msg; *p != '\0'; p++)
		if (*p < 0x20 || *p == 0x7f || (!utf8 && *p >= 0x80))
			*p = '?';
}
