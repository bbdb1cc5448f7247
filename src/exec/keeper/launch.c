/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper's side of a launch: checks the plan, prepares what the child must not allocate,
 * clones, and listens to it.
 */
#include "exec/keeper/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exec/keeper/child.h"
#include "exec/keeper/launch_check.h"

/* Opened once: what every launch needs of the host. */
static struct {
	bool ready;
	int proc_fd, pidns_fd, null_fd;
} host = {.proc_fd = -1, .pidns_fd = -1, .null_fd = -1};

int
launch_bad(struct launch_failure *fail, const char *step, int errnum, const char *fmt, ...)
{
	size_t used;
	va_list ap;

	memset(fail, 0, sizeof(*fail));
	snprintf(fail->step, sizeof(fail->step), "%s", step);
	fail->errnum = errnum;
	va_start(ap, fmt);
	vsnprintf(fail->text, sizeof(fail->text), fmt, ap);
	va_end(ap);
	used = strlen(fail->text);
	if (errnum != 0)
		snprintf(fail->text + used, sizeof(fail->text) - used, ": %s", strerror(errnum));
	return -1;
}

/* A procfs that is mounted nowhere shows the same to everybody, whatever is laid over /proc
 * (CVE-2025-52881). */
static int
open_proc(void)
{
	int fs = fsopen("proc", FSOPEN_CLOEXEC), fd = -1, saved;

	if (fs >= 0 && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(
		    fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	saved = errno;
	if (fs >= 0)
		close(fs);
	errno = saved;
	return fd;
}

static int
open_host(struct launch_failure *fail)
{
	struct stat st;

	if (host.ready)
		return 0;
	if (host.proc_fd < 0 && (host.proc_fd = open_proc()) < 0)
		return launch_bad(fail, "start", errno, "make a private procfs");
	if (host.pidns_fd < 0 &&
	    (host.pidns_fd = openat(host.proc_fd, "self/ns/pid", O_RDONLY | O_CLOEXEC)) < 0)
		return launch_bad(fail, "start", errno, "open the PID namespace");
	if (host.null_fd < 0 &&
	    (host.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOFOLLOW)) < 0)
		return launch_bad(fail, "start", errno, "open /dev/null");
	if (fstat(host.null_fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return launch_bad(fail, "start", ENODEV, "/dev/null is not the null device");
	/* a child is in its PID namespace, among others, from its first instruction on */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return launch_bad(fail, "start", errno, "PR_SET_DUMPABLE");
	host.ready = true;
	return 0;
}

/* ---- the clone ----------------------------------------------------------------------------- */

/* One block with all that execve and the child want as arrays. Strings of the environment lie in
 * the plan as bytes without an end. */
static void *
make_arrays(const Coracle__Launch__Plan *plan, struct launch_ctx *c)
{
	size_t n_ptrs = plan->n_argv + 1 + plan->n_env + 1;
	size_t n_ints = plan->n_mounts + plan->n_devices, text = 0;
	char *block, *at;

	for (size_t i = 0; i < plan->n_env; i++)
		text += plan->env[i].len + 1;
	block = malloc(n_ptrs * sizeof(char *) + n_ints * sizeof(int) + text);
	if (block == NULL)
		return NULL;
	c->argv = (char **)(void *)block;
	c->envp = c->argv + plan->n_argv + 1;
	c->mount_fds = (int *)(void *)(c->argv + n_ptrs);
	c->device_fds = c->mount_fds + plan->n_mounts;
	at = (char *)(c->mount_fds + n_ints);
	for (size_t i = 0; i < plan->n_argv; i++)
		c->argv[i] = plan->argv[i];
	c->argv[plan->n_argv] = NULL;
	for (size_t i = 0; i < plan->n_env; i++) {
		c->envp[i] = at;
		if (plan->env[i].len > 0)
			memcpy(at, plan->env[i].data, plan->env[i].len);
		at[plan->env[i].len] = '\0';
		at += plan->env[i].len + 1;
	}
	c->envp[plan->n_env] = NULL;
	return block;
}

/* The children of this process are born in that PID namespace. */
static int
point_to_pidns(const struct launch_ctx *c, struct launch_failure *fail)
{
	for (size_t i = 0; i < c->plan->n_join; i++) {
		const Coracle__Launch__JoinNamespace *j = c->plan->join[i];

		if ((j->type & CLONE_NEWPID) && setns(child_fd(c, j->ns_fd), CLONE_NEWPID) < 0)
			return launch_bad(fail, "namespaces", errno, "join the PID namespace");
	}
	return 0;
}

static pid_t
clone_child(struct launch_ctx *c, int *ret_pidfd, struct launch_failure *fail)
{
	const Coracle__Launch__Plan *plan = c->plan;
	bool pidns = child_joins(c, CLONE_NEWPID);
	uint64_t flags = 0;
	pid_t pid;

	if (plan->kind != CORACLE__LAUNCH__PLAN__KIND__NAMESPACES && !child_joins(c, CLONE_NEWUSER))
		flags = plan->clone_flags & CLONE_NEWPID;
	if (pidns && point_to_pidns(c, fail) < 0)
		return -1;
	pid = child_clone(flags, child_fd(c, plan->cgroup_fd), ret_pidfd);
	if (pid == 0)
		child_run(c);
	if (pid < 0 && errno == ENOMEM && pidns)
		launch_bad(fail, "clone", ESRCH, "the PID namespace to be joined has ended");
	else if (pid < 0)
		launch_bad(fail, "clone", errno, "clone3%s",
		    plan->cgroup_fd != 0 ? " into the cgroup" : "");
	/* cannot fail: a process may always return to the namespace it lives in. Were it to, all
	 * children to come would be born in a container. */
	if (pidns && setns(host.pidns_fd, CLONE_NEWPID) < 0)
		abort();
	return pid;
}

int
launch_clone(const Coracle__Launch__Plan *plan, const int *fds, size_t n_fds,
    const struct launch_stdio *io, struct launch_child *ret, struct launch_failure *fail)
{
	struct launch_ctx c = {.plan = plan,
	    .fds = fds,
	    .root_fd = -1,
	    .devpts_fd = -1,
	    .tty_fd = -1,
	    .step = "start"};
	int sock[2], pidfd = -1;
	void *arrays;
	pid_t pid;

	if (launch_check(plan, n_fds, fail) < 0 || open_host(fail) < 0)
		return -1;
	c.proc_fd = host.proc_fd;
	c.stdio[0] = io != NULL && io->in >= 0 ? io->in : host.null_fd;
	c.stdio[1] = io != NULL && io->out >= 0 ? io->out : host.null_fd;
	c.stdio[2] = io != NULL && io->err >= 0 ? io->err : host.null_fd;
	if ((arrays = make_arrays(plan, &c)) == NULL)
		return launch_bad(fail, "start", ENOMEM, "launch");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0) {
		free(arrays);
		return launch_bad(fail, "start", errno, "socketpair");
	}
	c.status_fd = sock[1];
	pid = clone_child(&c, &pidfd, fail);
	free(arrays);
	close(sock[1]);
	if (pid < 0) {
		close(sock[0]);
		return -1;
	}
	*ret = (struct launch_child){
	    .pid = pid, .pidfd = pidfd, .status_fd = sock[0], .tty_master = -1};
	return 0;
}

/* ---- what the child says ------------------------------------------------------------------- */

/* One packet and the descriptor that came with it; 1, 0 at the end, -1 with errno. */
static int
receive(int fd, struct launch_msg *m, int *ret_fd)
{
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {m, sizeof(*m)};
	struct msghdr msg = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control)};
	struct cmsghdr *h;
	ssize_t n;

	do
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	*ret_fd = -1;
	if (n <= 0)
		return n == 0 || errno == ECONNRESET ? 0 : -1;
	h = CMSG_FIRSTHDR(&msg);
	if (h != NULL && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS &&
	    h->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(h), sizeof(int));
	if ((size_t)n != sizeof(*m)) {
		if (*ret_fd >= 0)
			close(*ret_fd);
		errno = EBADMSG;
		return -1;
	}
	m->step[sizeof(m->step) - 1] = m->text[sizeof(m->text) - 1] = '\0';
	return 1;
}

static void
moved(struct launch_child *c, pid_t pid, int pidfd)
{
	pid_t old = c->pid;

	close(c->pidfd);
	c->pid = pid;
	c->pidfd = pidfd;
	while (waitpid(old, NULL, 0) < 0 && errno == EINTR) /* it has nothing left to do but end */
		;
}

static enum launch_state
end(struct launch_child *c, enum launch_state state)
{
	close(c->status_fd);
	c->status_fd = -1;
	if (state == LAUNCH_FAILED && c->tty_master >= 0) {
		close(c->tty_master);
		c->tty_master = -1;
	}
	return state;
}

enum launch_state
launch_status(struct launch_child *c, struct launch_failure *fail)
{
	struct launch_msg m;
	int r, fd;

	while ((r = receive(c->status_fd, &m, &fd)) > 0) {
		switch (m.type) {
		case LAUNCH_MSG_FAIL:
			launch_bad(fail, m.step, m.plain ? 0 : m.errnum, "%s", m.text);
			fail->errnum = m.errnum;
			return end(c, LAUNCH_FAILED);
		case LAUNCH_MSG_NOTE:
			snprintf(
			    c->note, sizeof(c->note), "%.*s", (int)sizeof(c->note) - 1, m.text);
			break;
		case LAUNCH_MSG_TTY:
			if (c->tty_master >= 0)
				close(c->tty_master);
			c->tty_master = fd;
			fd = -1;
			break;
		case LAUNCH_MSG_MOVED:
			moved(c, m.pid, fd);
			fd = -1;
			break;
		case LAUNCH_MSG_LAST:
			c->past_last = true;
			break;
		}
		if (fd >= 0)
			close(fd);
	}
	if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return LAUNCH_PENDING;
	if (r == 0 && c->past_last)
		return end(c, LAUNCH_RUNNING);
	launch_bad(fail, "start", r < 0 ? errno : 0, "%s",
	    r < 0 ? "status of the launch" : "the process was killed while it was being launched");
	if (r >= 0)
		fail->errnum = ECANCELED;
	return end(c, LAUNCH_FAILED);
}
