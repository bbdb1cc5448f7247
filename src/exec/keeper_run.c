/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting a keeper, and finding one that runs: at start-up while nothing else is going on, and
 * from the loop when the keeper has died.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper_impl.h"

enum { START_TIMEOUT_MS = 10000, RETRY_MS = 1000, READY_TEXT_MAX = 1024 };

static const char ready[] = "ready";

/* ---- processes and sockets ---- */

/* Connected, and to a process of root: or -1. */
static int
connect_to(const struct keeper *k)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ucred cred;
	socklen_t len = sizeof(cred);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/keeper.sock", k->state_dir);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -1;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.uid != 0) {
		errno = EPERM;
		return -1;
	}
	return take_fd(fd);
}

static _Noreturn void
say_and_exit(int fd, const char *what)
{
	char text[256];
	ssize_t n;

	snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
	n = write(fd, text, strlen(text));
	_exit(n < 0 ? 2 : 1);
}

/* In the process that becomes the keeper. */
static _Noreturn void
exec_keeper(const struct keeper *k, int ready_fd)
{
	char number[16], procs[4096];
	char *argv[] = {(char *)"coracle-keeper", (char *)"--state", k->state_dir,
	    (char *)"--ready", number, NULL};
	char *none_set[] = {NULL}, **envp = none_set;
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t none;
	int fd, i;

	if (k->cgroup != NULL) {
		snprintf(procs, sizeof(procs), "%s/cgroup.procs", k->cgroup);
		fd = open(procs, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, "0", 1) != 1)
			say_and_exit(ready_fd, procs);
	}
	fd = open("/dev/null", O_RDWR);
	for (i = 0; i <= 2; i++)
		if (fd < 0 || dup2(fd, i) < 0)
			say_and_exit(ready_fd, "/dev/null");
	for (i = 1; i < NSIG; i++)
		sigaction(i, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
#ifdef SANITIZED
	envp = environ; /* where its reports go */
#endif
	fcntl(ready_fd, F_SETFD, 0);
	snprintf(number, sizeof(number), "%d", ready_fd);
	execve(k->program, argv, envp);
	say_and_exit(ready_fd, k->program);
}

/* Forks twice, so that the keeper is nobody's child here. Returns the end of the pipe on which it
 * says "ready", or what went wrong. */
static int
spawn(const struct keeper *k, struct err *err)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(err, "pipe");
	/* Standard streams of the keeper are replaced: its end must be none of them. */
	if (fds[1] <= 2) {
		int up = fcntl(fds[1], F_DUPFD_CLOEXEC, 3);

		close(fds[1]);
		fds[1] = up;
	}
	pid = fork();
	if (pid < 0) {
		err_errno(err, "fork the keeper");
		close(fds[0]);
		close(fds[1]);
		return -1;
	}
	if (pid == 0) {
		setsid();
		pid = fork();
		if (pid == 0)
			exec_keeper(k, fds[1]);
		_exit(pid < 0);
	}
	close(fds[1]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return fds[0];
}

/* Something to read, within the time that is left: else an error. */
static int
wait_readable(int fd, int64_t deadline_ns, struct err *err)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int64_t left_ms;
	int n;

	do {
		left_ms = MAX((deadline_ns - clock_mono_ns()) / NS_PER_MS, 0);
		n = poll(&p, 1, (int)left_ms);
	} while (n < 0 && errno == EINTR);
	if (n > 0)
		return 0;
	return err_set(err, ERR_UNAVAILABLE, "the keeper does not answer");
}

/* 1: it is ready; 0: it has more to say; -1: what it said is the error. */
static int
read_ready(struct keeper *k, struct err *err)
{
	ssize_t n = read(k->ready_fd, buf_reserve(&k->ready_text, 256), 256);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n > 0) {
		buf_grew(&k->ready_text, (size_t)n);
		return k->ready_text.len <= READY_TEXT_MAX
		           ? 0
		           : err_set(err, ERR_INTERNAL, "start the keeper: it says too much");
	}
	if (k->ready_text.len > 0 && strcmp(k->ready_text.data, ready) == 0)
		return 1;
	return err_set(err, ERR_UNAVAILABLE, "start the keeper: %s",
	    k->ready_text.len > 0 ? k->ready_text.data : "it ended without a word");
}

static void
stop_waiting(struct keeper *k)
{
	if (k->ready_fd >= 0)
		ev_io_stop(loop, &k->w_ready);
	fd_closep(&k->ready_fd);
	buf_release(&k->ready_text);
}

/* ---- at start-up ---- */

static int
start_and_connect(struct keeper *k, int64_t deadline_ns, struct err *err)
{
	int said = 0, fd;

	k->ready_fd = spawn(k, err);
	if (k->ready_fd < 0)
		return -1;
	while (said == 0)
		said = wait_readable(k->ready_fd, deadline_ns, err) < 0 ? -1 : read_ready(k, err);
	fd_closep(&k->ready_fd);
	buf_release(&k->ready_text);
	if (said < 0)
		return -1;
	fd = connect_to(k);
	if (fd < 0)
		return err_errno(err, "connect to %s/keeper.sock", k->state_dir);
	return fd;
}

static void
on_first_calls(struct keeper_call *call)
{
	(void)call;
}

/* Without the loop, which may not run yet. */
static int
wait_for(struct keeper *k, struct keeper_call *call, int64_t deadline_ns, struct err *err)
{
	while (call->keeper != NULL) {
		if (wait_readable(k->fd, deadline_ns, err) < 0)
			return -1;
		if (keeper_read(k) < 0)
			return err_set(err, ERR_UNAVAILABLE, "the keeper has gone");
	}
	if (call->err.code == ERR_NONE)
		return 0;
	*err = call->err;
	return -1;
}

static int
say_hello(struct keeper *k, int64_t deadline_ns, struct err *err)
{
	if (keeper_hello(k, on_first_calls, err) < 0 ||
	    wait_for(k, &k->hello, deadline_ns, err) < 0)
		return -1;
	keeper_note_hello(k);
	return 0;
}

/* A keeper of another version, which an earlier coracled has started, becomes one of ours. */
static int
upgrade(struct keeper *k, int64_t deadline_ns, struct err *err)
{
	Coracle__Launch__Upgrade msg = CORACLE__LAUNCH__UPGRADE__INIT;
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	struct keeper_call call;
	cleanup_close int program = open(k->program, O_RDONLY | O_CLOEXEC);
	int ret;

	if (program < 0)
		return err_errno(err, "open %s", k->program);
	msg.program_fd = 1;
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_UPGRADE;
	req.upgrade = &msg;
	if (keeper_call_start(k, &call, &req, &program, 1, on_first_calls, err) < 0)
		return -1;
	ret = wait_for(k, &call, deadline_ns, err);
	keeper_call_release(&call);
	return ret < 0 ? -1 : say_hello(k, deadline_ns, err);
}

struct keeper *
keeper_open(const struct keeper_config *config, struct err *err)
{
	int64_t deadline_ns = clock_mono_ns() + START_TIMEOUT_MS * NS_PER_MS;
	struct keeper *k = xcalloc(1, sizeof(*k));
	int fd;

	k->program = xstrdup(config->program);
	k->state_dir = xstrdup(config->state_dir);
	k->cgroup = xstrdup(config->cgroup);
	k->fd = k->ready_fd = -1;
	TAILQ_INIT(&k->calls);
	STAILQ_INIT(&k->unsent);
	TAILQ_INIT(&k->pipes);
	fd = connect_to(k);
	if (fd < 0)
		fd = start_and_connect(k, deadline_ns, err);
	if (fd >= 0) {
		keeper_use_take(k, fd);
		if (say_hello(k, deadline_ns, err) == 0 &&
		    (strcmp(k->version, PACKAGE_VERSION) == 0 || upgrade(k, deadline_ns, err) == 0))
			return k;
	}
	keeper_close(k);
	return NULL;
}

void
keeper_close(struct keeper *k)
{
	if (k == NULL)
		return;
	keeper_stop_renewing(k);
	keeper_drop(k, ERR_CANCELLED, "shutting down");
	keeper_call_release(&k->hello);
	keeper_pipes_drop_all(k);
	free(k->program);
	free(k->state_dir);
	free(k->cgroup);
	free(k->version);
	free(k);
}

/* ---- when it has died ---- */

static void begin(struct keeper *k);

static void
tell(struct keeper *k, const struct err *err)
{
	if (k->hooks.on_note != NULL)
		k->hooks.on_note(k, err->msg);
}

static void
on_retry(struct loop_timer *timer)
{
	begin(container_of(timer, struct keeper, timer));
}

static void
fail(struct keeper *k, const struct err *err)
{
	tell(k, err);
	stop_waiting(k);
	keeper_drop(k, ERR_UNAVAILABLE, "the keeper does not answer");
	keeper_call_release(&k->hello);
	timer_start(&k->timer, RETRY_MS, on_retry);
}

static void
on_timeout(struct loop_timer *timer)
{
	struct err err;

	err_set(&err, ERR_UNAVAILABLE, "the keeper does not answer");
	fail(container_of(timer, struct keeper, timer), &err);
}

static void
on_hello(struct keeper_call *call)
{
	struct keeper *k = container_of(call, struct keeper, hello);

	/* A connection that ended: whoever noticed goes on from there. */
	if (call->reply == NULL)
		return;
	if (call->err.code != ERR_NONE) {
		struct err err = call->err;

		fail(k, &err);
		return;
	}
	timer_stop(&k->timer);
	keeper_note_hello(k);
	if (k->hooks.on_renewed != NULL)
		k->hooks.on_renewed(k);
}

static void
greet_take(struct keeper *k, int fd)
{
	struct err err;

	keeper_use_take(k, fd);
	if (keeper_hello(k, on_hello, &err) < 0)
		fail(k, &err);
}

static void
on_ready(struct ev_loop *l, ev_io *w, int events)
{
	struct keeper *k = container_of(w, struct keeper, w_ready);
	struct err err;
	int said = read_ready(k, &err), fd;

	(void)l;
	(void)events;
	if (said == 0)
		return;
	if (said < 0) {
		fail(k, &err);
		return;
	}
	stop_waiting(k);
	fd = connect_to(k);
	if (fd < 0) {
		err_errno(&err, "connect to %s/keeper.sock", k->state_dir);
		fail(k, &err);
		return;
	}
	greet_take(k, fd);
}

static void
begin(struct keeper *k)
{
	struct err err;
	int fd = connect_to(k);

	timer_start(&k->timer, START_TIMEOUT_MS, on_timeout);
	if (fd >= 0) {
		greet_take(k, fd);
		return;
	}
	k->ready_fd = spawn(k, &err);
	if (k->ready_fd < 0) {
		fail(k, &err);
		return;
	}
	fd_set_nonblock(k->ready_fd, true);
	ev_io_init(&k->w_ready, on_ready, k->ready_fd, EV_READ);
	ev_io_start(loop, &k->w_ready);
}

void
keeper_renew(struct keeper *k)
{
	static int64_t last_ms;
	int64_t now = loop_now_ms();

	keeper_call_release(&k->hello);
	/* One that dies as soon as it is started is not started again and again. */
	if (last_ms != 0 && now - last_ms < RETRY_MS)
		timer_start(&k->timer, RETRY_MS, on_retry);
	else
		begin(k);
	last_ms = now;
}

void
keeper_stop_renewing(struct keeper *k)
{
	timer_stop(&k->timer);
	stop_waiting(k);
}
