/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters: what a compiled program says is asked of an interpreter of classic BPF, for every system
 * call and with arguments; some programs are installed in a child and asked for real.
 */
#include "exec/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/caps.h"
#include "tap.h"

static struct err err;
static struct seccomp_prog prog;

/* ---- an interpreter ------------------------------------------------------------------------ */

enum { BROKEN = 0x12345678 };

/* Only the instructions that libseccomp and we emit. */
static uint32_t
run(const struct seccomp_prog *p, const struct seccomp_data *d)
{
	const struct sock_filter *f = p->bpf;
	size_t n = p->len / sizeof(*f);
	uint32_t a = 0, x;

	for (size_t pc = 0; pc < n; pc++) {
		const struct sock_filter *i = &f[pc];
		bool jump = false;

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			if (i->k % 4 != 0 || i->k + 4 > sizeof(*d))
				return BROKEN;
			memcpy(&x, (const char *)d + i->k, 4);
			a = x;
			continue;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= i->k;
			continue;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			jump = a == i->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			jump = a > i->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			jump = a >= i->k;
			break;
		case BPF_RET | BPF_K:
			return i->k;
		default:
			diag("instruction %zu: code 0x%x", pc, i->code);
			return BROKEN;
		}
		pc += jump ? i->jt : i->jf;
	}
	return BROKEN;
}

static uint32_t
ask_nr(uint32_t arch, int nr, uint64_t a0, uint64_t a1)
{
	struct seccomp_data d = {.nr = nr, .arch = arch, .args = {a0, a1}};

	return run(&prog, &d);
}

/* Of x86-64, where numbers are known. */
static uint32_t
ask(const char *name, uint64_t a0, uint64_t a1)
{
	int nr = seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, name);

	if (nr < 0)
		return BROKEN;
	return ask_nr(AUDIT_ARCH_X86_64, nr, a0, a1);
}

#define ALLOW SECCOMP_RET_ALLOW
#define ERRNO(e) (SECCOMP_RET_ERRNO | (e))
#define says(what, want, ...)                                                                      \
	do {                                                                                       \
		uint32_t got_ = (what);                                                            \
		if (!ok(got_ == (uint32_t)(want), __VA_ARGS__))                                    \
			diag("got 0x%x, want 0x%x", got_, (uint32_t)(want));                       \
	} while (0)
#define CAP(c) (UINT64_C(1) << (c))

static bool
use_default(uint64_t caps)
{
	err.msg[0] = '\0';
	if (!ok(seccomp_default(caps, &prog, &err) == 0, "default profile, caps %llx",
		(unsigned long long)caps)) {
		diag("%s", err.msg);
		return false;
	}
	return true;
}

/* ---- the default profile ------------------------------------------------------------------- */

static const char *const always_denied[] = {"add_key", "keyctl", "request_key", "kexec_load",
    "kexec_file_load", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "swapon", "swapoff", "move_pages", "migrate_pages", "pivot_root", "nfsservctl", "sysfs", "ustat",
    "uselib", "_sysctl", "create_module", "query_module", "get_kernel_syms"};

static const char *const always_allowed[] = {"read", "write", "openat", "execve", "execveat",
    "exit_group", "futex", "mmap", "prctl", "ptrace", "seccomp", "arch_prctl", "pidfd_open",
    "landlock_create_ruleset", "memfd_create", "rseq", "close_range", "getrandom", "epoll_pwait2",
    "process_vm_readv", "mknod", "setgroups", "bind", "socketpair", "ioctl", "faccessat2",
    "statx", "clock_adjtime", "fork", "vfork"};

static const struct {
	int cap;
	const char *name;
} guarded[] = {
    {CAP_DAC_READ_SEARCH, "open_by_handle_at"}, {CAP_SYS_ADMIN, "mount"},
    {CAP_SYS_ADMIN, "umount2"}, {CAP_SYS_ADMIN, "setns"}, {CAP_SYS_ADMIN, "unshare"},
    {CAP_SYS_ADMIN, "fsopen"}, {CAP_SYS_ADMIN, "move_mount"}, {CAP_SYS_ADMIN, "sethostname"},
    {CAP_SYS_ADMIN, "bpf"}, {CAP_BPF, "bpf"}, {CAP_SYS_ADMIN, "perf_event_open"},
    {CAP_PERFMON, "perf_event_open"}, {CAP_SYS_ADMIN, "syslog"}, {CAP_SYSLOG, "syslog"},
    {CAP_SYS_BOOT, "reboot"}, {CAP_SYS_CHROOT, "chroot"}, {CAP_SYS_MODULE, "init_module"},
    {CAP_SYS_MODULE, "finit_module"}, {CAP_SYS_MODULE, "delete_module"}, {CAP_SYS_PACCT, "acct"},
    {CAP_SYS_PTRACE, "kcmp"}, {CAP_SYS_PTRACE, "pidfd_getfd"}, {CAP_SYS_RAWIO, "iopl"},
    {CAP_SYS_RAWIO, "ioperm"}, {CAP_SYS_TIME, "settimeofday"}, {CAP_SYS_TIME, "clock_settime"},
    {CAP_SYS_TTY_CONFIG, "vhangup"}, {CAP_SYS_NICE, "mbind"}, {CAP_SYS_NICE, "set_mempolicy"},
};

static void
test_default(void)
{
	static const uint32_t archs[] = {AUDIT_ARCH_X86_64, AUDIT_ARCH_I386};
	static const uint64_t personalities[] = {0, 8, 0x20000, 0x20008, 0xffffffff};
	static const uint64_t ns[] = {CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER,
	    CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP};

	if (!use_default(0))
		return;
	diag("%zu instructions", prog.len / sizeof(struct sock_filter));
	ok(prog.len / sizeof(struct sock_filter) <= BPF_MAXINSNS, "the kernel takes it");
	is_int(prog.flags, 0, "no flags");
	for (size_t i = 0; i < ARRAY_SIZE(always_allowed); i++)
		says(ask(always_allowed[i], 0, 0), ALLOW, "%s is allowed", always_allowed[i]);
	for (size_t i = 0; i < ARRAY_SIZE(guarded); i++)
		says(ask(guarded[i].name, 0, 0), ERRNO(EPERM), "%s is not", guarded[i].name);
	says(ask("clone3", 0, 0), ERRNO(ENOSYS), "clone3 is unknown");
	says(ask("clone", SIGCHLD, 0), ALLOW, "clone for a fork");
	says(ask("clone", 0x3d0f00, 0), ALLOW, "clone for a thread");
	for (size_t i = 0; i < ARRAY_SIZE(ns); i++)
		says(ask("clone", SIGCHLD | ns[i], 0), ERRNO(EPERM), "clone 0x%llx",
		    (unsigned long long)ns[i]);
	for (size_t i = 0; i < ARRAY_SIZE(personalities); i++)
		says(ask("personality", personalities[i], 0), ALLOW, "personality 0x%llx",
		    (unsigned long long)personalities[i]);
	says(ask("personality", 0x40000, 0), ERRNO(EPERM), "ADDR_NO_RANDOMIZE");
	says(ask("personality", 0x28, 0), ERRNO(EPERM), "another personality");
	for (int domain = 0; domain < 46; domain++)
		says(ask("socket", (uint64_t)domain, 0),
		    domain == AF_ALG || domain == AF_VSOCK ? ERRNO(EPERM) : ALLOW, "socket %d", domain);
	/* the kernel takes an int: what is above it must not hide the family */
	says(ask("socket", UINT64_C(0x100000000) | AF_VSOCK, 0), ERRNO(EPERM), "AF_VSOCK, in disguise");
	says(ask("socket", UINT64_C(0x100000000) | AF_ALG, 0), ERRNO(EPERM), "AF_ALG, in disguise");
	for (int nr = 480; nr < 1000; nr++)
		for (size_t i = 0; i < 2; i++)
			if (ask_nr(archs[i], nr, 0, 0) != ERRNO(ENOSYS))
				says(ask_nr(archs[i], nr, 0, 0), ERRNO(ENOSYS), "future %d", nr);
	says(ask_nr(AUDIT_ARCH_X86_64, -1, 0, 0), ERRNO(EPERM), "a negative number");
	says(ask_nr(AUDIT_ARCH_I386, 1, 0, 0), ALLOW, "32-bit exit");
	says(ask_nr(AUDIT_ARCH_I386, 21, 0, 0), ERRNO(EPERM), "32-bit mount");
	says(ask_nr(AUDIT_ARCH_I386, 120, SIGCHLD | CLONE_NEWUSER, 0), ERRNO(EPERM), "32-bit clone");
	says(ask_nr(AUDIT_ARCH_I386, 359, AF_VSOCK, 0), ERRNO(EPERM), "32-bit socket");
	says(ask_nr(AUDIT_ARCH_X86_64, 0x40000000, 0, 0), ALLOW, "x32 read");
	says(ask_nr(AUDIT_ARCH_X86_64, 0x40000000 + 165, 0, 0), ERRNO(EPERM), "x32 mount");
	says(ask_nr(AUDIT_ARCH_AARCH64, 0, 0, 0), SECCOMP_RET_KILL_THREAD, "another machine's call");
	for (size_t i = 0; i < ARRAY_SIZE(guarded); i++) {
		use_default(CAP(guarded[i].cap));
		says(ask(guarded[i].name, 0, 0), ALLOW, "%s with capability %d", guarded[i].name,
		    guarded[i].cap);
	}
	use_default(CAP(CAP_SYS_ADMIN));
	says(ask("clone3", 0, 0), ALLOW, "clone3 with CAP_SYS_ADMIN");
	says(ask("clone", CLONE_NEWUSER, 0), ALLOW, "clone with CAP_SYS_ADMIN");
	says(ask("reboot", 0, 0), ERRNO(EPERM), "but no reboot");
	use_default(UINT64_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(always_denied); i++)
		says(ask(always_denied[i], 0, 0), ERRNO(EPERM), "%s, whatever one has",
		    always_denied[i]);
	for (size_t i = 0; i < ARRAY_SIZE(guarded); i++)
		says(ask(guarded[i].name, 0, 0), ALLOW, "%s with all", guarded[i].name);
}

static void
test_cache(void)
{
	const void *first;
	int64_t start = clock_mono_ns();

	seccomp_fini();
	use_default(7);
	diag("compiled in %lld us", (long long)(clock_mono_ns() - start) / 1000);
	first = prog.bpf;
	use_default(8);
	ok(prog.bpf != first, "other capabilities, another program");
	use_default(7);
	ok(prog.bpf == first, "the same again is not compiled again");
}

/* The tree of comparisons says the same as the plain list for every number. */
static void
test_tree(void)
{
	scmp_filter_ctx plain = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	char buf[4096];
	struct buf list = BUF_INIT;
	struct seccomp_prog linear;
	int fd = memfd_create("list", MFD_CLOEXEC), wrong = 0;
	ssize_t n;

	use_default(caps_default);
	seccomp_arch_add(plain, SCMP_ARCH_X86);
	seccomp_arch_add(plain, SCMP_ARCH_X32);
	for (int nr = 0; nr < 600; nr++)
		if (ask_nr(AUDIT_ARCH_X86_64, nr, 0, 0) == ALLOW)
			seccomp_rule_add(plain, SCMP_ACT_ALLOW, nr, 0);
	seccomp_export_bpf(plain, fd);
	lseek(fd, 0, SEEK_SET);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		buf_add(&list, buf, (size_t)n);
	close(fd);
	linear = (struct seccomp_prog){.bpf = list.data, .len = list.len};
	for (int nr = 0; nr < 600; nr++) {
		struct seccomp_data d = {.nr = nr, .arch = AUDIT_ARCH_X86_64};
		uint32_t here = ask_nr(AUDIT_ARCH_X86_64, nr, 0, 0), there = run(&linear, &d);

		wrong += (here == ALLOW) != (there == ALLOW);
	}
	is_int(wrong, 0, "600 numbers, tree and list agree");
	buf_release(&list);
	seccomp_release(plain);
}

/* ---- profiles in JSON ---------------------------------------------------------------------- */

static int
use_json(const char *json, uint64_t caps)
{
	err.code = ERR_NONE;
	err.msg[0] = '\0';
	prog = (struct seccomp_prog){0};
	return seccomp_compile_json("p.json", json, strlen(json), caps, &prog, &err);
}

#define RULES(rules) "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":7,\"syscalls\":[" rules "]}"

static bool
kernel_has_seccomp(void)
{
	uint32_t action = SECCOMP_RET_LOG;

	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0)
		return true;
	diag("seccomp(2) is of no use here (valgrind lacks it)");
	return false;
}

static void
test_json_good(void)
{
	static const char deny_chmod[] =
	    "{\n \"defaultAction\": \"SCMP_ACT_ALLOW\",\n \"architectures\": [\"SCMP_ARCH_X86_64\", "
	    "\"SCMP_ARCH_X86\", \"SCMP_ARCH_X32\", \"SCMP_ARCH_S390X\", \"SCMP_ARCH_LOONGARCH64\"],\n"
	    " \"comment\": {\"any\": 1},\n \"flags\": [\"SECCOMP_FILTER_FLAG_LOG\", "
	    "\"SECCOMP_FILTER_FLAG_TSYNC\"],\n \"listenerPath\": \"\",\n"
	    " \"syscalls\": [{\"names\": [\"chmod\", \"fchmodat\", \"no_such_call\"], "
	    "\"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 13, \"args\": null}]}";

	is_int(use_json(deny_chmod, 0), 0, "deny chmod");
	says(ask("chmod", 0, 0), ERRNO(13), "chmod");
	says(ask("fchmodat", 0, 0), ERRNO(13), "fchmodat");
	says(ask("open", 0, 0), ALLOW, "others");
	says(ask_nr(AUDIT_ARCH_I386, 15, 0, 0), ERRNO(13), "32-bit chmod");
	says(ask_nr(AUDIT_ARCH_X86_64, 900, 0, 0), ALLOW, "no ENOSYS where the default is to allow");
	is_int(prog.flags, SECCOMP_FILTER_FLAG_LOG, "flags");

	is_int(use_json(RULES("{\"name\":\"read\",\"action\":\"SCMP_ACT_ALLOW\"}"), 0), 0, "one name");
	says(ask("read", 0, 0), ALLOW, "read");
	says(ask("write", 0, 0), ERRNO(7), "the default errno");
	says(ask_nr(AUDIT_ARCH_X86_64, 900, 0, 0), ERRNO(ENOSYS), "and the future");
	says(ask_nr(AUDIT_ARCH_I386, 3, 0, 0), SECCOMP_RET_KILL_THREAD, "no 32 bits were asked for");

	is_int(use_json("{\"defaultAction\":\"SCMP_ACT_ERRNO\"}", 0), 0, "nothing but a default");
	says(ask("read", 0, 0), ERRNO(EPERM), "EPERM when no errno is given");
	is_int(use_json("{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrno\":\"ENOSYS\","
			"\"archMap\":[{\"architecture\":\"SCMP_ARCH_AARCH64\",\"subArchitectures\":"
			"[\"SCMP_ARCH_ARM\"]},{\"architecture\":\"SCMP_ARCH_X86_64\","
			"\"subArchitectures\":[\"SCMP_ARCH_X86\"]}],\"syscalls\":[{\"names\":[\"exit\"],"
			"\"action\":\"SCMP_ACT_ALLOW\"},{\"names\":[\"mount\"],"
			"\"action\":\"SCMP_ACT_ERRNO\",\"errno\":\"EPERM\"}]}",
		   0),
	    0, "errno by name, archMap");
	says(ask("read", 0, 0), ERRNO(ENOSYS), "ENOSYS");
	says(ask("mount", 0, 0), ERRNO(EPERM), "EPERM");
	says(ask_nr(AUDIT_ARCH_I386, 1, 0, 0), ALLOW, "the sub-architecture");
	says(ask_nr(AUDIT_ARCH_ARM, 1, 0, 0), SECCOMP_RET_KILL_THREAD, "not another machine's");

	if (!kernel_has_seccomp()) /* libseccomp asks it which actions there are */
		return;
	is_int(use_json("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":["
			"{\"names\":[\"a\"],\"action\":\"SCMP_ACT_ALLOW\"},"
			"{\"names\":[\"read\"],\"action\":\"SCMP_ACT_KILL\"},"
			"{\"names\":[\"write\"],\"action\":\"SCMP_ACT_KILL_PROCESS\"},"
			"{\"names\":[\"open\"],\"action\":\"SCMP_ACT_TRAP\"},"
			"{\"names\":[\"close\"],\"action\":\"SCMP_ACT_LOG\"},"
			"{\"names\":[\"stat\"],\"action\":\"SCMP_ACT_TRACE\",\"errnoRet\":5},"
			"{\"names\":[\"fstat\"],\"action\":\"SCMP_ACT_KILL_THREAD\"}]}",
		   0),
	    0, "all actions");
	says(ask("read", 0, 0), SECCOMP_RET_KILL_THREAD, "kill");
	says(ask("write", 0, 0), SECCOMP_RET_KILL_PROCESS, "kill process");
	says(ask("open", 0, 0), SECCOMP_RET_TRAP, "trap");
	says(ask("close", 0, 0), SECCOMP_RET_LOG, "log");
	says(ask("stat", 0, 0), SECCOMP_RET_TRACE | 5, "trace");
	says(ask("fstat", 0, 0), SECCOMP_RET_KILL_THREAD, "kill thread");
}

static void
test_json_args(void)
{
#define ARG(op, a, b) "{\"index\":0,\"op\":\"SCMP_CMP_" op "\",\"value\":" a ",\"valueTwo\":" b "}"
#define ALLOW_READ(args) RULES("{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[" args "]}")
	static const struct {
		const char *json;
		uint64_t yes, no;
	} t[] = {
	    {ALLOW_READ(ARG("EQ", "5", "0")), 5, 6},
	    {ALLOW_READ(ARG("NE", "5", "0")), 6, 5},
	    {ALLOW_READ(ARG("LT", "5", "0")), 4, 5},
	    {ALLOW_READ(ARG("LE", "5", "0")), 5, 6},
	    {ALLOW_READ(ARG("GT", "5", "0")), 6, 5},
	    {ALLOW_READ(ARG("GE", "5", "0")), 5, 4},
	    {ALLOW_READ(ARG("MASKED_EQ", "12", "8")), 0xf8, 0xfc},
	    {ALLOW_READ(ARG("MASKED_EQ", "2114060288", "0")), 0x11, 0x10000000},
	    {ALLOW_READ(ARG("EQ", "18446744073709551615", "0")), UINT64_MAX, UINT32_MAX},
	    {ALLOW_READ(ARG("EQ", "9223372036854775808", "0")), UINT64_C(1) << 63, 0},
	    {ALLOW_READ(ARG("EQ", "9223372036854775807", "0")), INT64_MAX, 0},
	    {ALLOW_READ(ARG("GT", "4294967296", "0")), UINT64_C(4294967297), 5},
	    /* twice the same index: alternatives */
	    {ALLOW_READ(ARG("EQ", "1", "0") "," ARG("EQ", "2", "0")), 2, 3},
	    {ALLOW_READ(ARG("EQ", "1", "0") "," ARG("EQ", "2", "0")), 1, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		if (!ok(use_json(t[i].json, 0) == 0, "arg %zu", i))
			diag("%s", err.msg);
		says(ask("read", t[i].yes, 0), ALLOW, "  0x%llx", (unsigned long long)t[i].yes);
		says(ask("read", t[i].no, 0), ERRNO(7), "  not 0x%llx", (unsigned long long)t[i].no);
	}
	is_int(use_json(ALLOW_READ(ARG("EQ", "1", "0") ",{\"index\":1,\"op\":\"SCMP_CMP_EQ\",\"value\":2}"),
		   0),
	    0, "two arguments");
	says(ask("read", 1, 2), ALLOW, "  both");
	says(ask("read", 1, 3), ERRNO(7), "  one");
}

static void
test_json_conditions(void)
{
#define WHEN(cond) RULES("{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\"," cond "}")
	static const struct {
		const char *json;
		uint64_t caps;
		bool applies;
	} t[] = {
	    {WHEN("\"includes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}"), 0, false},
	    {WHEN("\"includes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}"), CAP(CAP_SYS_ADMIN), true},
	    {WHEN("\"includes\":{\"caps\":[\"CAP_SYS_ADMIN\",\"CAP_KILL\"]}"), CAP(CAP_SYS_ADMIN), false},
	    {WHEN("\"includes\":{\"caps\":[\"CAP_NO_SUCH\"]}"), UINT64_MAX, false},
	    {WHEN("\"excludes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}"), 0, true},
	    {WHEN("\"excludes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}"), CAP(CAP_SYS_ADMIN), false},
	    {WHEN("\"excludes\":{\"caps\":[\"CAP_KILL\",\"CAP_SYS_ADMIN\"]}"), CAP(CAP_SYS_ADMIN), false},
	    {WHEN("\"includes\":{\"arches\":[\"amd64\",\"arm64\"]}"), 0, true},
	    {WHEN("\"includes\":{\"arches\":[\"s390x\"]}"), 0, false},
	    {WHEN("\"excludes\":{\"arches\":[\"s390\",\"s390x\"]}"), 0, true},
	    {WHEN("\"excludes\":{\"arches\":[\"amd64\"]}"), 0, false},
	    {WHEN("\"includes\":{\"minKernel\":\"4.8\"}"), 0, true},
	    {WHEN("\"includes\":{\"minKernel\":\"99.0\"}"), 0, false},
	    {WHEN("\"excludes\":{\"minKernel\":\"4.8\"}"), 0, false},
	    {WHEN("\"excludes\":{\"minKernel\":\"99.0\"}"), 0, true},
	    {WHEN("\"includes\":{},\"excludes\":{}"), 0, true},
	    {WHEN("\"includes\":null"), 0, true},
	    {WHEN("\"includes\":{\"arches\":[],\"caps\":null,\"minKernel\":\"\"}"), 0, true},
	    {WHEN("\"includes\":{\"arches\":[\"amd64\"]},\"excludes\":{\"caps\":[\"CAP_BPF\"]}"),
		CAP(CAP_BPF), false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		if (!ok(use_json(t[i].json, t[i].caps) == 0, "condition %zu", i))
			diag("%s", err.msg);
		says(ask("read", 0, 0), t[i].applies ? ALLOW : ERRNO(7), "  %s",
		    t[i].applies ? "applies" : "does not apply");
	}
}

static void
test_json_bad(void)
{
	static const struct {
		const char *json, *word;
	} t[] = {
	    {"", "line"},
	    {"{", "line 1"},
	    {"{\n\n\"defaultAction\":\n}", "line 4"},
	    {"[]", "object"},
	    {"{} {}", "line"},
	    {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"defaultAction\":\"SCMP_ACT_ERRNO\"}", "uplicate"},
	    {"{}", "defaultAction"},
	    {"{\"defaultAction\":1}", "defaultAction"},
	    {"{\"defaultAction\":\"ALLOW\"}", "ALLOW"},
	    {"{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}", "NOTIFY"},
	    {"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":4096}", "defaultErrnoRet"},
	    {"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":-1}", "defaultErrnoRet"},
	    {"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":1.5}", "defaultErrnoRet"},
	    {"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrno\":\"EWHAT\"}", "EWHAT"},
	    {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"defaultErrnoRet\":1}", "takes no errno"},
	    {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/x\"}", "listener"},
	    {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":\"x\"}", "architectures"},
	    {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_VAX\"]}", "SCMP_ARCH_VAX"},
	    {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_X86\"],\"archMap\":["
	     "{\"architecture\":\"SCMP_ARCH_X86_64\"}]}",
		"both"},
	    {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"archMap\":[1]}", "archMap[0]"},
	    {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"archMap\":[{}]}", "archMap[0].architecture"},
	    {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"archMap\":[{\"architecture\":\"SCMP_ARCH_X86_64\","
	     "\"subArchitectures\":[3]}]}",
		"archMap[0].subArchitectures[0]"},
	    {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_NEW_LISTENER\"]}",
		"NEW_LISTENER"},
	    {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":{}}", "syscalls"},
	    {RULES("1"), "syscalls[0]"},
	    {RULES("{\"action\":\"SCMP_ACT_ALLOW\"}"), "neither"},
	    {RULES("{\"names\":[],\"action\":\"SCMP_ACT_ALLOW\"}"), "neither"},
	    {RULES("{\"name\":\"a\",\"names\":[\"b\"],\"action\":\"SCMP_ACT_ALLOW\"}"), "both"},
	    {RULES("{\"names\":[\"read\",4],\"action\":\"SCMP_ACT_ALLOW\"}"), "syscalls[0].names[1]"},
	    {RULES("{\"names\":[\"\"],\"action\":\"SCMP_ACT_ALLOW\"}"), "syscalls[0].names[0]"},
	    {RULES("{\"names\":[\"a\\u0000b\"],\"action\":\"SCMP_ACT_ALLOW\"}"), "line 1"},
	    {RULES("{\"names\":\"read\",\"action\":\"SCMP_ACT_ALLOW\"}"), "syscalls[0].names"},
	    {RULES("{\"names\":[\"read\"]}"), "syscalls[0].action"},
	    {RULES("{\"names\":[\"read\"],\"action\":\"SCMP_ACT_NOTIFY\"}"), "NOTIFY"},
	    {RULES("{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\",\"errnoRet\":1}"), "errnoRet"},
	    {RULES("{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[1]}"), "args[0]"},
	    {ALLOW_READ("{\"index\":6,\"op\":\"SCMP_CMP_EQ\",\"value\":1}"), "args[0].index"},
	    {ALLOW_READ("{\"op\":\"SCMP_CMP_EQ\",\"value\":1}"), "args[0].index"},
	    {ALLOW_READ("{\"index\":0,\"op\":\"SCMP_CMP_XX\",\"value\":1}"), "SCMP_CMP_XX"},
	    {ALLOW_READ("{\"index\":0,\"value\":1}"), "args[0].op"},
	    {ALLOW_READ("{\"index\":0,\"op\":\"SCMP_CMP_EQ\",\"value\":\"1\"}"), "args[0].value"},
	    {ALLOW_READ("{\"index\":0,\"op\":\"SCMP_CMP_EQ\",\"value\":18446744073709551616}"),
		"args[0].value"},
	    {ALLOW_READ("{\"index\":0,\"op\":\"SCMP_CMP_EQ\",\"value\":-9223372036854775808}"),
		"args[0].value"},
	    {ALLOW_READ("{\"index\":0,\"op\":\"SCMP_CMP_EQ\",\"value\":-18446744073709551615}"), "line 1"},
	    {ALLOW_READ(ARG("EQ", "1", "0") "," ARG("EQ", "1", "0") "," ARG("EQ", "1", "0") "," ARG("EQ",
		 "1", "0") "," ARG("EQ", "1", "0") "," ARG("EQ", "1", "0") "," ARG("EQ", "1", "0")),
		"args[6]"},
	    {WHEN("\"includes\":1"), "includes"},
	    {WHEN("\"includes\":{\"caps\":\"x\"}"), "includes.caps"},
	    {WHEN("\"excludes\":{\"arches\":[1]}"), "excludes.arches[0]"},
	    {WHEN("\"includes\":{\"minKernel\":\"4\"}"), "minKernel"},
	    {WHEN("\"includes\":{\"minKernel\":\"4.8.1\"}"), "minKernel"},
	    {WHEN("\"includes\":{\"minKernel\":4.8}"), "minKernel"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		ok(use_json(t[i].json, 0) == -1 && err.code == ERR_INVALID_ARGUMENT, "bad %zu", i);
		if (!ok(strstr(err.msg, t[i].word) != NULL && strstr(err.msg, "p.json") != NULL,
			"  names %s", t[i].word))
			diag("%s", err.msg);
	}
}

/* ---- which profile ------------------------------------------------------------------------- */

static void
test_resolve(void)
{
	Runtime__V1__SecurityProfile p = RUNTIME__V1__SECURITY_PROFILE__INIT;
	char dir[] = "/tmp/t-seccomp-XXXXXX", path[64], fifo[64], localhost[96];
	struct buf json = BUF_INIT;
	const void *first;

	is_int(seccomp_resolve(NULL, NULL, false, 0, &prog, &err), 0, "nothing");
	ok(prog.bpf == NULL && prog.len == 0, "is unconfined");
	is_int(seccomp_resolve(NULL, "", false, 0, &prog, &err), 0, "nothing, old");
	ok(prog.bpf == NULL, "is unconfined");
	is_int(seccomp_resolve(&p, "unconfined", false, 0, &prog, &err), 0, "a zero profile");
	ok(prog.bpf != NULL, "is the default, whatever the old field says");
	is_int(seccomp_resolve(&p, NULL, true, 0, &prog, &err), 0, "privileged");
	ok(prog.bpf == NULL, "is unconfined");
	p.profile_type = RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Unconfined;
	is_int(seccomp_resolve(&p, "runtime/default", false, 0, &prog, &err), 0, "unconfined");
	ok(prog.bpf == NULL, "is unconfined");
	is_int(seccomp_resolve(NULL, "runtime/default", false, 0, &prog, &err), 0, "old default");
	ok(prog.bpf != NULL, "is the default");
	is_int(seccomp_resolve(NULL, "docker/default", false, 0, &prog, &err), 0, "older default");
	ok(prog.bpf != NULL, "is the default");
	is_int(seccomp_resolve(NULL, "unconfined", false, 0, &prog, &err), 0, "old unconfined");
	ok(prog.bpf == NULL, "is unconfined");
	is_int(seccomp_resolve(NULL, "what", false, 0, &prog, &err), -1, "old nonsense");
	is_int(err.code, ERR_INVALID_ARGUMENT, "is refused");
	p.profile_type = (Runtime__V1__SecurityProfile__ProfileType)7;
	is_int(seccomp_resolve(&p, NULL, false, 0, &prog, &err), -1, "new nonsense");
	is_int(err.code, ERR_INVALID_ARGUMENT, "is refused");

	if (mkdtemp(dir) == NULL)
		return;
	snprintf(path, sizeof(path), "%s/p.json", dir);
	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	p.profile_type = RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
	p.localhost_ref = path;
	is_int(seccomp_resolve(&p, NULL, false, 0, &prog, &err), -1, "a missing file");
	ok(err.code == ERR_NOT_FOUND && strstr(err.msg, path) != NULL, "is not found: %s", err.msg);
	buf_addstr(&json, RULES("{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\"}"));
	fd_write_file(AT_FDCWD, path, json.data, json.len, 0600, false, &err);
	is_int(seccomp_resolve(&p, NULL, false, 0, &prog, &err), 0, "a file");
	says(ask("read", 0, 0), ALLOW, "  allows");
	says(ask("write", 0, 0), ERRNO(7), "  and refuses");
	first = prog.bpf;
	is_int(seccomp_resolve(&p, NULL, false, 0, &prog, &err), 0, "again");
	ok(prog.bpf == first, "  from the cache");
	snprintf(localhost, sizeof(localhost), "localhost/%s", path);
	is_int(seccomp_resolve(NULL, localhost, false, 0, &prog, &err), 0, "by the old field");
	ok(prog.bpf == first, "  the same");
	buf_release(&json);
	buf_addstr(&json, RULES("{\"names\":[\"write\"],\"action\":\"SCMP_ACT_ALLOW\"}"));
	fd_write_file(AT_FDCWD, path, json.data, json.len, 0600, false, &err);
	is_int(seccomp_resolve(&p, NULL, false, 0, &prog, &err), 0, "another content");
	says(ask("write", 0, 0), ALLOW, "  is seen");
	fd_write_file(AT_FDCWD, path, "{", 1, 0600, false, &err);
	is_int(seccomp_resolve(&p, NULL, false, 0, &prog, &err), -1, "a broken one");
	ok(strstr(err.msg, path) != NULL, "  is named: %s", err.msg);
	for (int i = 0; i < 100; i++) /* more than the cache holds */
		if (seccomp_default((uint64_t)i, &prog, &err) < 0)
			ok(false, "caps %d: %s", i, err.msg);
	mkfifo(fifo, 0600);
	p.localhost_ref = fifo;
	is_int(seccomp_resolve(&p, NULL, false, 0, &prog, &err), -1, "a fifo");
	is_int(err.code, ERR_INVALID_ARGUMENT, "  is refused, not waited for");
	p.localhost_ref = "p.json";
	is_int(seccomp_resolve(&p, NULL, false, 0, &prog, &err), -1, "a relative path");
	is_int(err.code, ERR_INVALID_ARGUMENT, "  is refused");
	p.localhost_ref = "";
	is_int(seccomp_resolve(&p, NULL, false, 0, &prog, &err), -1, "no path");
	if (truncate(path, (4 << 20) + 1) == 0) {
		p.localhost_ref = path;
		is_int(seccomp_resolve(&p, NULL, false, 0, &prog, &err), -1, "a huge file");
		is_int(err.code, ERR_OUT_OF_RANGE, "  is refused");
	}
	unlink(path);
	unlink(fifo);
	rmdir(dir);
	buf_release(&json);
}

/* ---- for real ------------------------------------------------------------------------------ */

/* Install the program in a child, as the launch does. Its exit status. */
static int
in_child(int (*fn)(void))
{
	struct sock_fprog f = {.len = (unsigned short)(prog.len / sizeof(struct sock_filter)),
	    .filter = (struct sock_filter *)prog.bpf};
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, prog.flags, &f) < 0)
			_exit(90);
		_exit(fn());
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int
do_probe_default(void)
{
	char args[64] = {0};

	if (syscall(SYS_unshare, CLONE_NEWUTS) != -1 || errno != EPERM)
		return 1;
	if (syscall(SYS_clone3, args, sizeof(args)) != -1 || errno != ENOSYS)
		return 2;
	if (syscall(SYS_socket, AF_VSOCK, SOCK_STREAM, 0) != -1 || errno != EPERM)
		return 3;
	if (syscall(600) != -1 || errno != ENOSYS)
		return 4;
	if (syscall(SYS_keyctl, 0, 0, 0, 0, 0) != -1 || errno != EPERM)
		return 5;
	if (personality(0xffffffff) == -1)
		return 6;
	if (personality(ADDR_NO_RANDOMIZE) != -1 || errno != EPERM)
		return 7;
	if (close(socket(AF_UNIX, SOCK_STREAM, 0)) < 0)
		return 8;
	return 0;
}

static int
do_probe_chroot(void)
{
	return syscall(SYS_chroot, "/") == 0 ? 0 : errno;
}

static int
do_probe_kill(void)
{
	syscall(SYS_getpriority, 0, 0);
	return 0;
}

static void
test_real(void)
{
	use_default(0);
	is_int(in_child(do_probe_default), 0, "the default profile, in a process");
	is_int(in_child(do_probe_chroot), EPERM, "chroot without the capability");
	use_default(caps_default);
	is_int(in_child(do_probe_chroot), 0, "chroot with it");
	use_json("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"],"
		 "\"syscalls\":[{\"names\":[\"getpriority\"],\"action\":\"SCMP_ACT_KILL_PROCESS\"}]}",
	    0);
	is_int(in_child(do_probe_kill), 1000 + SIGSYS, "a call that kills");
}

int
main(void)
{
#ifndef __x86_64__
	skip_all("the numbers are those of x86-64");
#endif
	test_default();
	test_cache();
	test_tree();
	test_json_good();
	test_json_args();
	test_json_conditions();
	test_json_bad();
	test_resolve();
	if (getuid() == 0 && kernel_has_seccomp())
		test_real();
	seccomp_fini();
	return tap_done();
}
