/* SPDX-License-Identifier: Apache-2.0
 *
 * Sockets from another network namespace: see netns_sockets.h. A request is one byte, the family;
 * an answer is an errno, with the socket beside it when that is 0. Answers come in the order of
 * requests.
 */
#include "pod/netns_sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "loop/worker.h"

struct netns_sockets {
	struct worker worker;
	int sock;
	ev_io r;
	size_t n_order, cap_order;
	struct netns_socket **order; /* as they were asked for; NULL: withdrawn */
	bool closed, running;
};

struct arg {
	int sock, ns;
};

static int
send_answer(int sock, int number, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {&number, sizeof(number)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *cm;

		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		cm = CMSG_FIRSTHDR(&m);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &fd, sizeof(int));
	}
	return sendmsg(sock, &m, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static int
serve(const void *p, int out, struct err *err)
{
	const struct arg *a = p;
	unsigned char family;

	(void)out;
	if (setns(a->ns, CLONE_NEWNET) < 0)
		return err_errno(err, "enter the network namespace");
	while (recv(a->sock, &family, 1, 0) == 1) {
		int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (send_answer(a->sock, fd < 0 ? errno : 0, fd) < 0)
			break;
		fd_closep(&fd);
	}
	return 0;
}

static void
free_closed(struct netns_sockets *n)
{
	if (!n->closed || n->running)
		return;
	child_release(&n->worker.child);
	free(n->order);
	free(n);
}

static void
hang_up(struct netns_sockets *n)
{
	if (n->sock < 0)
		return;
	ev_io_stop(loop, &n->r);
	fd_closep(&n->sock);
}

/* The first in the queue has its answer. */
static void
answer(struct netns_sockets *n, int fd, const struct err *err)
{
	struct netns_socket *s;

	if (n->n_order == 0) {
		fd_closep(&fd);
		return;
	}
	s = n->order[0];
	memmove(n->order, n->order + 1, --n->n_order * sizeof(*n->order));
	if (s != NULL)
		s->done(s, fd, err);
	else
		fd_closep(&fd);
}

static void
fail_all(struct netns_sockets *n, const struct err *err)
{
	hang_up(n);
	while (n->n_order > 0 && !n->closed)
		answer(n, -1, err);
}

static void
on_answer(struct ev_loop *l, ev_io *w, int events)
{
	struct netns_sockets *n = container_of(w, struct netns_sockets, r);
	char control[CMSG_SPACE(sizeof(int))];
	int number = 0, fd = -1;
	struct iovec iov = {&number, sizeof(number)};
	struct msghdr m = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control,
	    .msg_controllen = sizeof(control)};
	ssize_t r = recvmsg(n->sock, &m, MSG_CMSG_CLOEXEC);
	struct cmsghdr *cm = r > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	struct err err = {0};

	(void)l;
	(void)events;
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (cm != NULL && cm->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(cm), sizeof(int));
	if (r != sizeof(number)) {
		fd_closep(&fd);
		/* The worker's own error comes with its end. */
		hang_up(n);
		return;
	}
	errno = number;
	if (fd < 0)
		err_errno(&err, "socket in the pod");
	answer(n, fd, &err);
}

static void
on_worker_done(struct worker *w)
{
	struct netns_sockets *n = container_of(w, struct netns_sockets, worker);
	struct err err = w->err;

	n->running = false;
	if (err.code == ERR_NONE)
		err_set(&err, ERR_UNAVAILABLE, "the process in the pod's network ended");
	if (!n->closed)
		fail_all(n, &err);
	free_closed(n);
}

struct netns_sockets *
netns_sockets_open(const char *path, struct err *err)
{
	cleanup_close int ns = open(path, O_RDONLY | O_CLOEXEC), theirs = -1;
	struct netns_sockets *n;
	struct arg a;
	int sv[2], keep[2];
	struct worker_spec spec = {.fn = serve,
	    .arg = &a,
	    .max_output = 1,
	    .what = "netns",
	    .keep_fds = keep,
	    .n_keep = 2};

	if (ns < 0) {
		err_errno(err, "open %s", path);
		return NULL;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0) {
		err_errno(err, "socketpair");
		return NULL;
	}
	theirs = sv[1];
	a = (struct arg){sv[1], ns};
	keep[0] = sv[1];
	keep[1] = ns;
	n = xcalloc(1, sizeof(*n));
	n->sock = sv[0];
	fd_set_nonblock(n->sock, true);
	if (worker_start(&n->worker, &spec, on_worker_done, err) < 0) {
		fd_closep(&n->sock);
		free(n);
		return NULL;
	}
	n->running = true;
	ev_io_init(&n->r, on_answer, n->sock, EV_READ);
	ev_io_start(loop, &n->r);
	return n;
}

int
netns_socket_ask(struct netns_sockets *n, struct netns_socket *s, int family,
    void (*done)(struct netns_socket *, int fd, const struct err *err), struct err *err)
{
	unsigned char byte = (unsigned char)family;

	if (n->sock < 0 || !n->running)
		return err_set(err, ERR_UNAVAILABLE, "the process in the pod's network ended");
	if (send(n->sock, &byte, 1, MSG_NOSIGNAL) != 1)
		return err_errno(err, "ask for a socket in the pod");
	if (n->n_order == n->cap_order) {
		n->cap_order = n->cap_order > 0 ? 2 * n->cap_order : 8;
		n->order = xrealloc(n->order, n->cap_order * sizeof(*n->order));
	}
	s->done = done;
	n->order[n->n_order++] = s;
	return 0;
}

void
netns_socket_withdraw(struct netns_sockets *n, struct netns_socket *s)
{
	for (size_t i = 0; i < n->n_order; i++)
		if (n->order[i] == s)
			n->order[i] = NULL;
}

void
netns_sockets_close(struct netns_sockets *n)
{
	if (n == NULL)
		return;
	n->closed = true;
	hang_up(n);
	free_closed(n);
}
