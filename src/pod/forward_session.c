/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections into pods: see forward_session.h. An attempt gets a socket of the pod's namespace,
 * connects it, and is tried again with the other family before it fails.
 */
#include "pod/forward_session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/id.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "loop/loop.h"
#include "pod/netns_sockets.h"
#include "pod/node.h"
#include "pod/sandbox.h"

struct attempt {
	struct forward_session *f;
	struct stream_dial *dial;
	struct netns_socket ask;
	bool asking;
	int family, fd;
	int failed; /* errno of a connect() that failed at once */
	int first;  /* errno of the first family */
	ev_io w;
	TAILQ_ENTRY(attempt) entry;
};

struct forward_session {
	struct stream_ticket ticket;
	char sandbox_id[ID_SIZE];
	int32_t *ports;
	struct netns_sockets *sockets; /* from the first connection on */
	TAILQ_HEAD(, attempt) attempts;
};

static void ask_socket(struct attempt *a);

static void
free_attempt(struct attempt *a)
{
	if (a->asking)
		netns_socket_withdraw(a->f->sockets, &a->ask);
	if (a->fd >= 0) {
		ev_io_stop(loop, &a->w);
		fd_closep(&a->fd);
	}
	TAILQ_REMOVE(&a->f->attempts, a, entry);
	free(a);
}

static void
fail(struct attempt *a, const struct err *err)
{
	struct stream_dial *d = a->dial;

	free_attempt(a);
	dial_fail(d, err);
}

static void
on_connected(struct ev_loop *l, ev_io *w, int events)
{
	struct attempt *a = container_of(w, struct attempt, w);
	int error = a->failed;
	socklen_t len = sizeof(error);
	struct stream_dial *d = a->dial;
	struct err err;
	int fd;

	(void)l;
	(void)events;
	if (error == 0 && getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	ev_io_stop(loop, &a->w);
	fd = take_fd(a->fd);
	if (error == 0) {
		free_attempt(a);
		dial_done_take(d, fd);
		return;
	}
	fd_closep(&fd);
	if (a->family == AF_INET) {
		a->first = error;
		a->family = AF_INET6;
		ask_socket(a);
		return;
	}
	errno = a->first;
	err_errno(&err, "connect to port %u of the pod's loopback", d->port);
	fail(a, &err);
}

static void
connect_take(struct attempt *a, int fd)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
	    .sin_port = htons(a->dial->port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
	    .sin6_port = htons(a->dial->port),
	    .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int r = a->family == AF_INET ? connect(fd, (void *)&in, sizeof(in))
	                             : connect(fd, (void *)&in6, sizeof(in6));

	a->fd = fd;
	a->failed = r < 0 && errno != EINPROGRESS ? errno : 0;
	ev_io_init(&a->w, on_connected, fd, EV_WRITE);
	ev_io_start(loop, &a->w);
	if (a->failed != 0)
		ev_feed_event(loop, &a->w, EV_WRITE);
}

static void
on_socket(struct netns_socket *s, int fd, const struct err *err)
{
	struct attempt *a = container_of(s, struct attempt, ask);
	struct err e;

	a->asking = false;
	if (fd >= 0) {
		connect_take(a, fd);
		return;
	}
	/* A kernel without IPv6 does not hide why IPv4 failed. */
	e = *err;
	if (a->family == AF_INET6) {
		errno = a->first;
		err_errno(&e, "connect to port %u of the pod's loopback", a->dial->port);
	}
	fail(a, &e);
}

/* Goes on from the loop, or fails: the attempt is gone then. */
static void
ask_socket(struct attempt *a)
{
	struct sandbox *sb = index_get(&node.sandbox_by_id, a->f->sandbox_id);
	struct forward_session *f = a->f;
	struct err err;
	int fd;

	if (sb == NULL || sb->state != SANDBOX_READY) {
		err_set(&err, ERR_FAILED_PRECONDITION, "sandbox %.12s is not ready", f->sandbox_id);
	} else if (sandbox_host_network(sb)) {
		fd = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd >= 0) {
			connect_take(a, fd);
			return;
		}
		err_errno(&err, "socket");
	} else {
		cleanup_free char *path = sandbox_path(sb, "ns/net");

		if (f->sockets == NULL)
			f->sockets = netns_sockets_open(path, &err);
		if (f->sockets != NULL &&
		    netns_socket_ask(f->sockets, &a->ask, a->family, on_socket, &err) == 0) {
			a->asking = true;
			return;
		}
	}
	fail(a, &err);
}

/* ---- the server's side ---- */

static void
on_dial(struct stream_ticket *t, struct stream_dial *d)
{
	struct forward_session *f = container_of(t, struct forward_session, ticket);
	struct attempt *a = xcalloc(1, sizeof(*a));

	a->f = f;
	a->dial = d;
	a->family = AF_INET;
	a->fd = -1;
	d->owner = a;
	TAILQ_INSERT_TAIL(&f->attempts, a, entry);
	ask_socket(a);
}

static void
on_undial(struct stream_ticket *t, struct stream_dial *d)
{
	(void)t;
	free_attempt(d->owner);
}

static void
free_session(struct forward_session *f)
{
	while (!TAILQ_EMPTY(&f->attempts))
		free_attempt(TAILQ_FIRST(&f->attempts));
	netns_sockets_close(f->sockets);
	free(f->ports);
	free(f);
}

static void
on_gone(struct stream_ticket *t)
{
	free_session(container_of(t, struct forward_session, ticket));
}

static const struct stream_backend backend = {
    .dial = on_dial, .undial = on_undial, .gone = on_gone};

int
forward_session_offer(const struct sandbox *sb, const Runtime__V1__PortForwardRequest *r,
    char url[static STREAM_URL_SIZE], struct err *err)
{
	struct forward_session *f = xcalloc(1, sizeof(*f));

	TAILQ_INIT(&f->attempts);
	f->ticket.kind = STREAM_FORWARD;
	f->ticket.backend = &backend;
	memcpy(f->sandbox_id, sb->id, sizeof(f->sandbox_id));
	if (r->n_port > 0)
		f->ports = xmemdup(r->port, r->n_port * sizeof(*f->ports));
	f->ticket.ports = f->ports;
	f->ticket.n_ports = r->n_port;
	if (ticket_offer(&f->ticket, url, err) < 0) {
		free_session(f);
		return -1;
	}
	return 0;
}
