/* SPDX-License-Identifier: Apache-2.0
 *
 * The default profile as data. What is not in these tables gets EPERM, and what is newer than all
 * of them ENOSYS. Left out are system calls that load code into the kernel, reach into other
 * processes or the machine as a whole, are obsolete, or have a long record of holes while few
 * programs need them (keyrings, userfaultfd, io_uring); those that a capability guards are allowed
 * to those who have it.
 */
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/seccomp_filter.h"

static const char base[] =
    "_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset "
    "chdir chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 "
    "clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range "
    "connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl "
    "epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve "
    "execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate "
    "fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 "
    "fdatasync fgetxattr file_getattr file_setattr flistxattr flock fork fremovexattr fsetxattr "
    "fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue "
    "futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area "
    "getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 "
    "getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority "
    "getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid "
    "getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat "
    "inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy "
    "io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get "
    "ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self "
    "lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr "
    "lremovexattr lseek lsetxattr lsm_get_self_attr lsm_list_modules lsm_set_self_attr lstat "
    "lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir "
    "mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify "
    "mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink "
    "mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at "
    "nanosleep newfstatat nice open openat openat2 pause pidfd_open pidfd_send_signal pipe "
    "pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv "
    "preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 "
    "pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readdir readlink "
    "readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages "
    "removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq "
    "rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend "
    "rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max "
    "sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler "
    "sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr "
    "sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop "
    "semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto "
    "set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 "
    "setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 "
    "setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid "
    "setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown "
    "sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigreturn "
    "sigsuspend socketcall socketpair splice stat stat64 statfs statfs64 statmount statx "
    "symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create "
    "timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 "
    "timerfd timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 "
    "times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime "
    "utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev";

/* Allowed to those who have the capability. */
static const struct {
	int cap;
	const char *names;
} by_capability[] = {
    {CAP_DAC_READ_SEARCH, "open_by_handle_at"},
    {CAP_SYS_ADMIN, "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie "
		    "mount mount_setattr move_mount open_tree open_tree_attr perf_event_open "
		    "quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 "
		    "unshare"},
    {CAP_SYS_BOOT, "reboot"},
    {CAP_SYS_CHROOT, "chroot"},
    {CAP_SYS_MODULE, "delete_module finit_module init_module"},
    {CAP_SYS_PACCT, "acct"},
    {CAP_SYS_PTRACE, "kcmp pidfd_getfd process_madvise"},
    {CAP_SYS_RAWIO, "ioperm iopl"},
    {CAP_SYS_TIME, "clock_settime clock_settime64 settimeofday stime"},
    {CAP_SYS_TTY_CONFIG, "vhangup"},
    {CAP_SYS_NICE, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"},
    {CAP_SYSLOG, "syslog"},
    {CAP_BPF, "bpf"},
    {CAP_PERFMON, "perf_event_open"},
};

/* What only some architectures have. */
static const struct {
	uint32_t native;
	uint32_t others[2];
	const char *names;
} by_arch[] = {
    {SCMP_ARCH_X86_64, {SCMP_ARCH_X86, SCMP_ARCH_X32}, "arch_prctl modify_ldt"},
    {SCMP_ARCH_X86, {0}, "modify_ldt"},
    {SCMP_ARCH_AARCH64, {SCMP_ARCH_ARM}, "arm_fadvise64_64 arm_sync_file_range breakpoint "
					  "cacheflush set_tls sync_file_range2"},
    {SCMP_ARCH_ARM, {0}, "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls "
			 "sync_file_range2"},
    {SCMP_ARCH_PPC64LE, {0}, "swapcontext sync_file_range2"},
    {SCMP_ARCH_S390X, {SCMP_ARCH_S390}, "s390_pci_mmio_read s390_pci_mmio_write "
					"s390_runtime_instr"},
    {SCMP_ARCH_RISCV64, {0}, "riscv_flush_icache riscv_hwprobe"},
};

/* AF_MAX of Linux 5.15 (AF_MCTP is the last), and of all since. */
enum { FAMILIES = 46 };

static int
allow(struct filter *f, const char *names, struct err *err)
{
	cleanup_free char *copy = xstrdup(names);
	char *save = NULL;

	for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
		if (filter_add_rule(f, w, SCMP_ACT_ALLOW, NULL, 0, err) < 0)
			return -1;
	return 0;
}

static void
mention(struct filter *f, const char *names)
{
	cleanup_free char *copy = xstrdup(names);
	char *save = NULL;

	for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
		filter_mention(f, w);
}

static int
allow_arg(struct filter *f, const char *name, struct scmp_arg_cmp arg, struct err *err)
{
	return filter_add_rule(f, name, SCMP_ACT_ALLOW, &arg, 1, err);
}

/* Rules that look at an argument. Several rules are alternatives. */
static int
add_conditions(struct filter *f, uint64_t caps, struct err *err)
{
	static const uint64_t personalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};
	uint32_t native = f->archs[0].token;
	unsigned clone_flags = native == SCMP_ARCH_S390X || native == SCMP_ARCH_S390 ? 1 : 0;
	const uint64_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
				    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

	for (size_t i = 0; i < ARRAY_SIZE(personalities); i++)
		if (allow_arg(f, "personality", SCMP_A0_64(SCMP_CMP_EQ, personalities[i]), err) < 0)
			return -1;
	/* Neither AF_ALG nor AF_VSOCK. No open end: the kernel takes the low half of the argument,
	 * and AF_VSOCK with a bit in the high half is a large number to a filter. */
	if (allow_arg(f, "socket", SCMP_A0_64(SCMP_CMP_LT, AF_ALG), err) < 0 ||
	    allow_arg(f, "socket", SCMP_A0_64(SCMP_CMP_EQ, AF_ALG + 1), err) < 0)
		return -1;
	for (uint64_t family = AF_VSOCK + 1; family < FAMILIES; family++)
		if (allow_arg(f, "socket", SCMP_A0_64(SCMP_CMP_EQ, family), err) < 0)
			return -1;
	if (caps & UINT64_C(1) << CAP_SYS_ADMIN)
		return 0;
	/* clone3's flags are in memory, which a filter cannot read */
	if (filter_add_rule(f, "clone3", SCMP_ACT_ERRNO(ENOSYS), NULL, 0, err) < 0)
		return -1;
	return allow_arg(f, "clone",
	    SCMP_CMP64(clone_flags, SCMP_CMP_MASKED_EQ, namespaces, UINT64_C(0)), err);
}

int
filter_of_default(struct filter *f, uint64_t caps, struct err *err)
{
	_Static_assert(AF_VSOCK == AF_ALG + 2, "the rules for socket(2) know what is between");

	if (filter_init(f, SCMP_ACT_ERRNO(EPERM), err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(by_arch); i++)
		for (size_t k = 0; by_arch[i].native == f->archs[0].token && k < 2; k++)
			if (by_arch[i].others[k] != 0 &&
			    filter_add_arch(f, by_arch[i].others[k], err) < 0)
				return -1;
	if (allow(f, base, err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(by_capability); i++) {
		mention(f, by_capability[i].names);
		if (caps & UINT64_C(1) << by_capability[i].cap &&
		    allow(f, by_capability[i].names, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(by_arch); i++)
		if (by_arch[i].native == f->archs[0].token && allow(f, by_arch[i].names, err) < 0)
			return -1;
	return add_conditions(f, caps, err);
}
