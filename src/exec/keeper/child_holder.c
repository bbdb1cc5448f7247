/* SPDX-License-Identifier: Apache-2.0
 *
 * PID 1 of a pod whose containers share a PID namespace: it reaps what they orphan, and is nothing
 * else. The other processes of the namespace are hostile and may be allowed to look at it
 * (/proc/1/root, ptrace), so it is executed afresh instead of being a copy of the keeper's memory,
 * and gets an empty root, no descriptors, no capabilities and a user of its own.
 */
#include "exec/keeper/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exec/keeper/launch.h"

enum { NOBODY = 65534 };

void
child_holder(struct launch_ctx *c)
{
	static char name[] = LAUNCH_HOLDER_NAME;
	char *argv[] = {name, NULL}, *envp[] = {NULL};
	int exe;

	c->step = "holder";
	exe = openat(c->proc_fd, "self/exe", O_PATH | O_CLOEXEC);
	if (exe < 0)
		child_fail(c, errno, "open the keeper's program");
	for (int i = 0; i < 3; i++)
		if (dup2(c->stdio[i], i) < 0)
			child_fail(c, errno, "set stream %d", i);
	/* the descriptor numbers of the program to come: 0-2, and the status socket as 3, open over
	 * execve until the holder has reported */
	if (exe == LAUNCH_HOLDER_STATUS_FD && (exe = fcntl(exe, F_DUPFD_CLOEXEC, 4)) < 0)
		child_fail(c, errno, "duplicate a descriptor");
	if (c->status_fd != LAUNCH_HOLDER_STATUS_FD) {
		if (dup2(c->status_fd, LAUNCH_HOLDER_STATUS_FD) < 0)
			child_fail(c, errno, "duplicate the status socket");
	} else if (fcntl(LAUNCH_HOLDER_STATUS_FD, F_SETFD, 0) < 0) {
		child_fail(c, errno, "keep the status socket");
	}
	syscall(SYS_execveat, exe, "", argv, envp, AT_EMPTY_PATH);
	child_fail(c, errno, "execute the holder");
}

static void
enter_empty_root(struct launch_ctx *c)
{
	int fs, root;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		child_fail(c, errno, "make a mount namespace");
	fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", "holder", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "1", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0555", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		child_fail(c, errno, "make an empty root");
	root = fsmount(fs, FSMOUNT_CLOEXEC,
	    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (root < 0)
		child_fail(c, errno, "mount an empty root");
	/* any directory does for the moment until the pivot */
	if (move_mount(root, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	    fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		child_fail(c, errno, "enter the empty root");
}

static void
drop_everything(struct launch_ctx *c)
{
	struct __user_cap_header_struct hdr = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};

	for (int cap = 0; cap < 64; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			child_fail(c, errno, "drop capability %d", cap);
	if (setgroups(0, NULL) < 0)
		child_fail(c, errno, "drop the groups");
	/* EINVAL: a user namespace without it; its root will have to do */
	if ((setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0) &&
	    errno != EINVAL)
		child_fail(c, errno, "become nobody");
	if (syscall(SYS_capset, &hdr, none) < 0)
		child_fail(c, errno, "drop the capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		child_fail(c, errno, "prctl");
}

/* Signals are blocked and taken one by one: for PID 1, unlike others, a blocked signal without a
 * handler is kept, not dropped. */
static _Noreturn void
reap(const sigset_t *set)
{
	for (;;) {
		int sig = sigwaitinfo(set, NULL);

		if (sig == SIGTERM || sig == SIGINT)
			_exit(0);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

void
launch_holder_main(int argc, char **argv)
{
	struct launch_ctx c = {.status_fd = LAUNCH_HOLDER_STATUS_FD, .step = "holder"};
	sigset_t set;

	if (argc < 1 || strcmp(argv[0], LAUNCH_HOLDER_NAME) != 0)
		return;
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NAME, LAUNCH_HOLDER_NAME, 0, 0, 0);
	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	umask(0);
	enter_empty_root(&c);
	drop_everything(&c);
	child_send_last(&c);
	syscall(SYS_close_range, 0U, ~0U, 0U);
	reap(&set);
}
