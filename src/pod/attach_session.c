/* SPDX-License-Identifier: Apache-2.0
 *
 * Attached clients: see attach_session.h.
 */
#include "pod/attach_session.h"

#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/id.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper.h"
#include "pod/container.h"
#include "pod/keeping.h"
#include "pod/node.h"

struct attach_session {
	struct stream_ticket ticket;
	char container_id[ID_SIZE];
	struct keeper_call keeper;
	int fds[3]; /* our ends, until the server has them */
};

static void
on_attached(struct keeper_call *call)
{
	struct attach_session *a = container_of(call, struct attach_session, keeper);

	if (call->err.code != ERR_NONE)
		session_fail(&a->ticket, &call->err);
	else
		session_run(&a->ticket, take_fd(a->fds[0]), take_fd(a->fds[1]), take_fd(a->fds[2]));
}

static int
send_attach(struct attach_session *a, const struct container *c, struct err *err)
{
	/* Output is always asked for: its end is how the end of the process is seen. */
	const bool want[3] = {a->ticket.in, true, a->ticket.err && !c->config->tty};
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	Coracle__Launch__Attach m = CORACLE__LAUNCH__ATTACH__INIT;
	uint32_t *const field[3] = {&m.stdin_fd, &m.stdout_fd, &m.stderr_fd};
	int theirs[3], ret;
	size_t n = 0;

	for (int i = 0; i < 3; i++) {
		int sv[2];

		if (!want[i])
			continue;
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) < 0) {
			while (n > 0)
				fd_closep(&theirs[--n]);
			return err_errno(err, "socketpair");
		}
		a->fds[i] = sv[0];
		theirs[n++] = sv[1];
		*field[i] = (uint32_t)n;
	}
	m.id = a->container_id;
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_ATTACH;
	req.attach = &m;
	ret = keeper_call_start(node.keeper, &a->keeper, &req, theirs, n, on_attached, err);
	while (n > 0)
		fd_closep(&theirs[--n]);
	return ret;
}

static void
on_start(struct stream_ticket *t)
{
	struct attach_session *a = container_of(t, struct attach_session, ticket);
	struct container *c = index_get(&node.container_by_id, a->container_id);
	struct err err;

	if (c == NULL || c->state != CONTAINER_RUNNING) {
		err_set(&err, ERR_FAILED_PRECONDITION, "container %.12s is not running",
		    a->container_id);
		session_fail(t, &err);
	} else if (send_attach(a, c, &err) < 0) {
		session_fail(t, &err);
	}
}

static void
on_resize(struct stream_ticket *t, unsigned width, unsigned height)
{
	keeping_resize(container_of(t, struct attach_session, ticket)->container_id, width, height);
}

static void
on_gone(struct stream_ticket *t)
{
	struct attach_session *a = container_of(t, struct attach_session, ticket);

	keeper_call_release(&a->keeper);
	for (int i = 0; i < 3; i++)
		fd_closep(&a->fds[i]);
	free(a);
}

static const struct stream_backend backend = {
    .start = on_start, .resize = on_resize, .gone = on_gone};

int
attach_session_offer(const struct container *c, const Runtime__V1__AttachRequest *r,
    char url[static STREAM_URL_SIZE], struct err *err)
{
	struct attach_session *a = xcalloc(1, sizeof(*a));

	a->fds[0] = a->fds[1] = a->fds[2] = -1;
	a->ticket.kind = STREAM_ATTACH;
	a->ticket.in = r->stdin;
	a->ticket.out = r->stdout;
	a->ticket.err = r->stderr;
	a->ticket.tty = r->tty;
	a->ticket.backend = &backend;
	memcpy(a->container_id, c->id, sizeof(a->container_id));
	if (ticket_offer(&a->ticket, url, err) < 0) {
		free(a);
		return -1;
	}
	return 0;
}
