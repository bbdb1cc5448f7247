/* SPDX-License-Identifier: Apache-2.0
 *
 * Attempts to leave the unpack worker's confinement. Each runs in a worker of its own, confined as
 * the real one is, and reports what it achieved.
 */
#include "tap.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "scratch.h"

#include "base/fd.h"
#include "base/macros.h"
#include "image/confine.h"
#include "image/unpack.h"
#include "loop/loop.h"
#include "loop/worker.h"

static struct err err;

/* 0: it worked (bad); else errno. Ends by SIGSYS where the filter forbids it. */
typedef int attempt_fn(void);

static int
result(long ret)
{
	return ret >= 0 ? 0 : errno;
}

static int
read_passwd(void)
{
	return result(open("/etc/passwd", O_RDONLY));
}

static int
climb(void)
{
	return result(openat(AT_FDCWD, "../../../../../../../../etc/passwd", O_RDONLY));
}

/* Every descriptor there is must not lead to the host's tree. */
static int
climb_by_fds(void)
{
	for (int fd = 0; fd < 64; fd++)
		if (openat(fd, "../../../../../../../../etc/passwd", O_RDONLY) >= 0)
			return 0;
	return ENOENT;
}

static int
read_proc(void)
{
	return result(open("/proc/self/mem", O_RDWR));
}

static int
open_device(void)
{
	if (mknodat(AT_FDCWD, "zero", S_IFCHR | 0666, makedev(1, 5)) < 0)
		return 0;
	return result(open("/zero", O_RDWR));
}

static int
set_trusted(void)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY);

	return result(fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0));
}

static int
make_socket(void)
{
	return result(socket(AF_INET, SOCK_STREAM, 0));
}

static int
make_netlink(void)
{
	return result(socket(AF_NETLINK, SOCK_RAW, 0));
}

static int
fork_process(void)
{
	return result(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
}

static int
exec_program(void)
{
	char *argv[] = {(char *)"sh", NULL};

	return result(execve("/bin/sh", argv, NULL));
}

static int
trace_parent(void)
{
	return result(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
}

static int
kill_parent(void)
{
	return result(kill(getppid(), 0));
}

static int
signal_parent(void)
{
	return result(syscall(SYS_tgkill, getppid(), getppid(), 0));
}

static int
mount_proc(void)
{
	return result(mount("proc", "/", "proc", 0, NULL));
}

static int
enter_namespace(void)
{
	return result(setns(0, 0));
}

static int
unshare_user(void)
{
	return result(unshare(CLONE_NEWUSER));
}

static int
change_root(void)
{
	return result(chroot("/"));
}

static int
map_code(void)
{
	return result(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
	                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
	                  ? -1
	                  : 0);
}

static int
make_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return result(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}

static int
use_bpf(void)
{
	return result(syscall(SYS_bpf, 0, NULL, 0));
}

static int
use_ring(void)
{
	return result(syscall(SYS_io_uring_setup, 1, NULL));
}

static int
open_by_handle(void)
{
	return result(syscall(SYS_open_by_handle_at, 0, NULL, 0));
}

static int
gain_capabilities(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {
	    {~0u, ~0u, ~0u},
            {~0u, ~0u, ~0u}
        };

	return result(syscall(SYS_capset, &head, data));
}

#ifndef SANITIZED /* whose shadow memory is not limited */
static void *volatile eaten; /* or a compiler leaves the allocation out */

static int
eat_memory(void)
{
	for (size_t got = 0; got < (size_t)1 << 30; got += 16 << 20)
		if ((eaten = malloc(16 << 20)) == NULL)
			return ENOMEM;
	return 0;
}
#endif

enum { SIGSYS_RESULT = -1 };

static const struct {
	const char *name;
	attempt_fn *fn;
	int want; /* errno, or SIGSYS_RESULT */
} attempts[] = {
    {"read a file of the host",      read_passwd,       ENOENT       },
    {"climb out by ..",              climb,             ENOENT       },
    {"climb out by a descriptor",    climb_by_fds,      ENOENT       },
    {"read /proc",                   read_proc,         ENOENT       },
    {"use a device node of its own", open_device,       EACCES       },
    {"set a trusted attribute",      set_trusted,       EPERM        },
    {"make a socket",                make_socket,       SIGSYS_RESULT},
    {"make a netlink socket",        make_netlink,      SIGSYS_RESULT},
    {"fork",                         fork_process,      SIGSYS_RESULT},
    {"exec",                         exec_program,      SIGSYS_RESULT},
    {"trace the daemon",             trace_parent,      SIGSYS_RESULT},
    {"kill the daemon",              kill_parent,       SIGSYS_RESULT},
    {"signal the daemon's thread",   signal_parent,     SIGSYS_RESULT},
    {"mount",                        mount_proc,        SIGSYS_RESULT},
    {"enter a namespace",            enter_namespace,   SIGSYS_RESULT},
    {"make a user namespace",        unshare_user,      SIGSYS_RESULT},
    {"change its root",              change_root,       SIGSYS_RESULT},
    {"map writable code",            map_code,          SIGSYS_RESULT},
    {"make memory executable",       make_code,         SIGSYS_RESULT},
    {"load a BPF program",           use_bpf,           SIGSYS_RESULT},
    {"set up an io_uring",           use_ring,          SIGSYS_RESULT},
    {"open by handle",               open_by_handle,    SIGSYS_RESULT},
    {"gain capabilities",            gain_capabilities, SIGSYS_RESULT},
#ifndef SANITIZED
    {"eat memory",                   eat_memory,        ENOMEM       },
#endif
};

struct arg {
	int dir;
	attempt_fn *fn;
};

static int
attempt(const void *p, int out, struct err *e)
{
	const struct arg *a = p;
	struct confine_spec spec = {.rootfd = a->dir,
	    .caps = UINT64_C(1) << CAP_CHOWN | UINT64_C(1) << CAP_DAC_OVERRIDE |
	            UINT64_C(1) << CAP_FOWNER | UINT64_C(1) << CAP_FSETID |
	            UINT64_C(1) << CAP_MKNOD | UINT64_C(1) << CAP_SETFCAP,
	    .memory = UNPACK_MEMORY};
	int ret;

	if (confine_enter(&spec, e) < 0)
		return -1;
	ret = a->fn();
	return fd_write_all(out, &ret, sizeof(ret));
}

static bool finished;

static void
on_done(struct worker *w)
{
	(void)w;
	finished = true;
}

static void
try(const char *name, attempt_fn *fn, int want)
{
	char dir[64];
	struct arg arg = {.fn = fn};
	struct worker w = {0};
	struct worker_spec spec = {
	    .fn = attempt, .arg = &arg, .max_output = 64, .what = "attempt", .n_keep = 1};
	int got = -2;

	snprintf(dir, sizeof(dir), "root.%d", (int)getpid());
	mkdir(in_scratch(dir), 0755);
	arg.dir = open(in_scratch(dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	spec.keep_fds = &arg.dir;
	finished = false;
	if (worker_start(&w, &spec, on_done, &err) < 0) {
		ok(false, "%s: %s", name, err.msg);
		return;
	}
	while (!finished)
		ev_run(loop, EVRUN_ONCE);
	if (w.child.out.len == sizeof(got))
		memcpy(&got, w.child.out.data, sizeof(got));
	else if (WIFSIGNALED(w.child.status) && WTERMSIG(w.child.status) == SIGSYS)
		got = SIGSYS_RESULT;
	ok(got == want, "cannot %s: %s", name,
	    got == SIGSYS_RESULT ? "SIGSYS"
	    : got == -2          ? w.err.msg
	                         : strerror(got));
	close(arg.dir);
	child_release(&w.child);
	scratch_sh("rm -rf root.*");
}

int
main(void)
{
	if (geteuid() != 0)
		skip_all("needs root");
	scratch_make();
	atexit(scratch_remove);
	loop_init();
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++)
		try(attempts[i].name, attempts[i].fn, attempts[i].want);
	is_str(scratch_sh("ls -d /proc/self/root/etc/passwd"), "/proc/self/root/etc/passwd",
	    "the daemon's own root is untouched");
	is_str(scratch_sh("grep -c coracle-test /proc/self/mountinfo"), "0", "no mount is left");
	return tap_done();
}
