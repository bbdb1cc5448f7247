/* SPDX-License-Identifier: Apache-2.0
 *
 * The gRPC server: sockets, routes, readiness and drain. See server.h; calls are in call.c.
 */
#include "grpc/server.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "grpc/call.h"

enum {
	MAX_CONNS = 4096,
	ACCEPT_TURN = 16,      /* accepted per wake-up */
	ACCEPT_AGAIN_MS = 100, /* after the process ran out of fds */
	BACKLOG = 1024
};

/* ---- routes -------------------------------------------------------------------------------- */

static size_t
hash(const char *s)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a: what is hashed is ours */

	for (; *s != '\0'; s++)
		h = (h ^ (unsigned char)*s) * UINT64_C(1099511628211);
	return (size_t)(h ^ h >> 32);
}

static struct route *
slot(struct route *routes, size_t n_slots, const char *path)
{
	size_t i = hash(path);

	for (;; i++) {
		struct route *r = &routes[i & (n_slots - 1)];

		if (r->path == NULL || strcmp(r->path, path) == 0)
			return r;
	}
}

static void
add_route(struct grpc_server *s, struct route route)
{
	if (2 * (s->n_routes + 1) > s->n_slots) {
		size_t n = s->n_slots > 0 ? 2 * s->n_slots : 64;
		struct route *routes = xcalloc(n, sizeof(*routes));

		for (size_t i = 0; i < s->n_slots; i++)
			if (s->routes[i].path != NULL)
				*slot(routes, n, s->routes[i].path) = s->routes[i];
		free(s->routes);
		s->routes = routes;
		s->n_slots = n;
	}
	*slot(s->routes, s->n_slots, route.path) = route;
	s->n_routes++;
}

const struct route *
server_route(const struct grpc_server *s, const char *path)
{
	const struct route *r = s->n_slots > 0 ? slot(s->routes, s->n_slots, path) : NULL;

	return r != NULL && r->path != NULL ? r : NULL;
}

bool
server_has_service(const struct grpc_server *s, const char *path)
{
	for (const struct service *v = s->services; v != NULL; v = v->next) {
		size_t n = strlen(v->name);

		if (path[0] == '/' && strncmp(path + 1, v->name, n) == 0 && path[1 + n] == '/')
			return true;
	}
	return false;
}

void
grpc_server_add(
    struct grpc_server *s, const char *name, const struct grpc_method *const *methods, size_t n)
{
	struct service *v = xcalloc(1, sizeof(*v));

	v->name = xstrdup(name);
	v->next = s->services;
	s->services = v;
	for (size_t i = 0; i < n; i++)
		add_route(s, (struct route){
		                 .path = xasprintf("/%s/%s", name, methods[i]->name),
		                 .service = v->name,
		                 .method = methods[i],
		             });
}

/* ---- listening ----------------------------------------------------------------------------- */

static void on_acceptable(struct ev_loop *l, ev_io *w, int events);

static void
on_accept_again(struct loop_timer *t)
{
	struct grpc_server *s = container_of(t, struct grpc_server, accept_again);

	for (struct listener *li = s->listeners; li != NULL; li = li->next)
		ev_io_start(loop, &li->io);
}

static void
on_acceptable(struct ev_loop *l, ev_io *w, int events)
{
	struct listener *li = container_of(w, struct listener, io);
	struct grpc_server *s = li->server;

	(void)l;
	(void)events;
	for (int i = 0; i < ACCEPT_TURN; i++) {
		int fd = accept4(li->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0) { /* out of fds or memory: the queue would wake us at once, again and
			         again */
			for (li = s->listeners; li != NULL; li = li->next)
				ev_io_stop(loop, &li->io);
			timer_start(&s->accept_again, ACCEPT_AGAIN_MS, on_accept_again);
			return;
		}
		if (s->host.n_conns >= MAX_CONNS)
			close(fd);
		else
			peer_new(s, fd);
	}
}

static struct listener *
add_listener(struct grpc_server *s, int fd)
{
	struct listener *li = xcalloc(1, sizeof(*li));

	li->server = s;
	li->fd = fd;
	li->next = s->listeners;
	s->listeners = li;
	ev_io_init(&li->io, on_acceptable, fd, EV_READ);
	ev_io_start(loop, &li->io);
	return li;
}

/* Nobody must listen on the path; a socket that a dead process left is removed. */
static int
clear_path(const char *path, const struct sockaddr_un *addr, struct err *err)
{
	int fd cleanup_close = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_errno(err, "stat %s", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_ALREADY_EXISTS, "%s exists and is not a socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, "socket");
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN)
		return err_set(err, ERR_ALREADY_EXISTS, "another process listens on %s", path);
	if (errno != ECONNREFUSED)
		return err_errno(err, "connect to %s", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(err, "unlink %s", path);
	return 0;
}

int
grpc_server_listen(struct grpc_server *s, const char *path, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd cleanup_close = -1;
	struct listener *li;
	struct stat st;
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, ERR_INVALID_ARGUMENT, "socket path %s is longer than %zu bytes",
		    path, sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (clear_path(path, &addr, err) < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, "socket");
	mask = umask(0117); /* mode 0660 from birth */
	r = bind(fd, (const struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (r < 0)
		return err_errno(err, "bind %s", path);
	if (listen(fd, BACKLOG) < 0 || lstat(path, &st) < 0)
		return err_errno(err, "listen on %s", path);
	li = add_listener(s, take_fd(fd));
	li->path = xstrdup(path);
	li->dev = st.st_dev;
	li->ino = st.st_ino;
	return 0;
}

int
grpc_server_listen_fd(struct grpc_server *s, int fd, struct err *err)
{
	int listens = 0;
	socklen_t len = sizeof(listens);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0 || !listens) {
		close(fd);
		return err_set(err, ERR_INVALID_ARGUMENT, "fd %d is not a listening socket", fd);
	}
	fd_set_nonblock(fd, true);
	add_listener(s, fd);
	return 0;
}

static void
stop_listening(struct grpc_server *s)
{
	struct listener *li;
	struct stat st;

	timer_stop(&s->accept_again);
	while ((li = s->listeners) != NULL) {
		s->listeners = li->next;
		ev_io_stop(loop, &li->io);
		/* A successor may have put its own socket there. */
		if (li->path != NULL && lstat(li->path, &st) == 0 && st.st_dev == li->dev &&
		    st.st_ino == li->ino)
			unlink(li->path);
		close(li->fd);
		free(li->path);
		free(li);
	}
}

/* ---- life cycle ---------------------------------------------------------------------------- */

struct grpc_server *
grpc_server_new(void)
{
	struct grpc_server *s = xcalloc(1, sizeof(*s));

	h2_host_init(&s->host, &call_handlers, true);
	TAILQ_INIT(&s->calls);
	return s;
}

void
grpc_server_set_ready(struct grpc_server *s)
{
	s->ready = true;
}

static void
on_drain_done(struct loop_timer *t)
{
	struct grpc_server *s = container_of(t, struct grpc_server, drain_done);

	s->drained(s);
}

/* drained() may free the server: not on the stack of whoever found that nothing is left. */
void
server_check_drained(struct grpc_server *s)
{
	if (s->draining && s->host.n_conns == 0 && TAILQ_EMPTY(&s->calls) && !s->drain_done.armed)
		timer_start(&s->drain_done, 0, on_drain_done);
}

void
grpc_server_drain(struct grpc_server *s, void (*drained)(struct grpc_server *))
{
	stop_listening(s);
	s->draining = true;
	s->drained = drained;
	h2_host_drain(&s->host);
	server_check_drained(s);
}

void
grpc_server_free(struct grpc_server *s)
{
	struct service *v;
	struct call *call;

	if (s == NULL)
		return;
	s->draining = false;
	stop_listening(s);
	timer_stop(&s->drain_done);
	h2_host_release(&s->host);
	while ((call = TAILQ_FIRST(&s->calls)) != NULL)
		call_forget_server(s, call);
	for (size_t i = 0; i < s->n_slots; i++)
		free(s->routes[i].path);
	free(s->routes);
	while ((v = s->services) != NULL) {
		s->services = v->next;
		free(v->name);
		free(v);
	}
	free(s);
}
