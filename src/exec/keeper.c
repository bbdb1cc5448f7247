/* SPDX-License-Identifier: Apache-2.0
 *
 * Talking to the keeper: the connection, requests out, replies and events in. See keeper.h; the
 * happy path of a call is keeper_call_start, send_message, on_readable, handle_reply, finish.
 */
#include "exec/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper/parcel.h"
#include "exec/keeper_impl.h"
#include "loop/op.h"

enum { UNSENT_MAX = 16 << 20, MESSAGES_PER_TURN = 64 };

/* A message that the socket had no room for. */
struct keeper_unsent {
	STAILQ_ENTRY(keeper_unsent) entry;
	size_t len, n_fds;
	int *fds; /* owned */
	uint8_t data[];
};

/* Every call in flight has its op here, for op->stop to find it. */
static TAILQ_HEAD(, keeper_call) waiting_ops = TAILQ_HEAD_INITIALIZER(waiting_ops);

static uint8_t message[PARCEL_MAX];

/* ---- out ---- */

static void
drop_unsent(struct keeper *k)
{
	struct keeper_unsent *u = STAILQ_FIRST(&k->unsent);

	STAILQ_REMOVE_HEAD(&k->unsent, entry);
	k->unsent_bytes -= u->len;
	parcel_close_fds(u->fds, u->n_fds);
	free(u->fds);
	free(u);
}

static void
on_writable(struct ev_loop *l, ev_io *w, int events)
{
	struct keeper *k = container_of(w, struct keeper, w_write);
	struct keeper_unsent *u;

	(void)l;
	(void)events;
	while ((u = STAILQ_FIRST(&k->unsent)) != NULL) {
		/* Any other failure is the reader's to see. */
		if (parcel_send(k->fd, u->data, u->len, u->fds, u->n_fds) < 0 && errno == EAGAIN)
			return;
		drop_unsent(k);
	}
	ev_io_stop(loop, w);
}

static int
queue_message(
    struct keeper *k, const void *data, size_t len, const int *fds, size_t n_fds, struct err *err)
{
	struct keeper_unsent *u;
	size_t i;

	if (k->unsent_bytes + len > UNSENT_MAX)
		return err_set(
		    err, ERR_RESOURCE_EXHAUSTED, "the keeper does not read its requests");
	u = xmalloc(sizeof(*u) + len);
	memcpy(u->data, data, len);
	u->len = len;
	u->n_fds = n_fds;
	u->fds = xcalloc(n_fds + 1, sizeof(*u->fds));
	for (i = 0; i < n_fds; i++) {
		u->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (u->fds[i] < 0) {
			err_errno(err, "duplicate a descriptor for the keeper");
			parcel_close_fds(u->fds, i);
			free(u->fds);
			free(u);
			return -1;
		}
	}
	STAILQ_INSERT_TAIL(&k->unsent, u, entry);
	k->unsent_bytes += len;
	ev_io_start(loop, &k->w_write);
	return 0;
}

static int
send_message(
    struct keeper *k, const void *data, size_t len, const int *fds, size_t n_fds, struct err *err)
{
	if (STAILQ_EMPTY(&k->unsent)) {
		if (parcel_send(k->fd, data, len, fds, n_fds) == 0)
			return 0;
		if (errno == EPIPE || errno == ECONNRESET)
			return err_set(err, ERR_UNAVAILABLE, "the keeper has gone");
		if (errno != EAGAIN && errno != ENOBUFS)
			return err_errno(err, "send to the keeper");
	}
	return queue_message(k, data, len, fds, n_fds, err);
}

/* The plan is what makes a request long: it goes beside it. */
static int
send_long_launch(
    struct keeper *k, Coracle__Launch__Request *req, int *fds, size_t n_fds, struct err *err)
{
	Coracle__Launch__Plan *plan = req->launch->plan;
	size_t len = coracle__launch__plan__get_packed_size(plan);
	cleanup_free uint8_t *body = xmalloc(len), *packed = NULL;
	int fd, ret;

	if (len > PARCEL_BODY_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "launch plan of %zu bytes; at most %d",
		    len, PARCEL_BODY_MAX);
	coracle__launch__plan__pack(plan, body);
	fd = parcel_memfd("launch-plan", body, len);
	if (fd < 0)
		return err_errno(err, "memfd for a launch plan");
	fds[n_fds++] = fd;
	req->launch->plan = NULL;
	req->launch->plan_fd = (uint32_t)n_fds;
	packed = xmalloc(coracle__launch__request__get_packed_size(req));
	len = coracle__launch__request__pack(req, packed);
	ret = len > PARCEL_MAX ? err_set(err, ERR_INVALID_ARGUMENT, "request of %zu bytes", len)
	                       : send_message(k, packed, len, fds, n_fds, err);
	req->launch->plan = plan;
	req->launch->plan_fd = 0;
	close(fd);
	return ret;
}

/* fds has room for one more. */
static int
send_request(
    struct keeper *k, Coracle__Launch__Request *req, int *fds, size_t n_fds, struct err *err)
{
	size_t len = coracle__launch__request__get_packed_size(req);
	cleanup_free uint8_t *packed = NULL;

	if (len > PARCEL_MAX) {
		if (req->what_case == CORACLE__LAUNCH__REQUEST__WHAT_LAUNCH &&
		    req->launch->plan != NULL)
			return send_long_launch(k, req, fds, n_fds, err);
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "request of %zu bytes; at most %d", len, PARCEL_MAX);
	}
	packed = xmalloc(len);
	coracle__launch__request__pack(req, packed);
	return send_message(k, packed, len, fds, n_fds, err);
}

/* ---- calls ---- */

static void
unlink_call(struct keeper_call *call)
{
	if (call->keeper == NULL)
		return;
	TAILQ_REMOVE(&call->keeper->calls, call, entry);
	if (call->op != NULL)
		TAILQ_REMOVE(&waiting_ops, call, op_entry);
	call->keeper = NULL;
}

static void
finish(struct keeper_call *call)
{
	unlink_call(call);
	call->done(call);
}

static const char *
process_of(const Coracle__Launch__Request *req)
{
	switch (req->what_case) {
	case CORACLE__LAUNCH__REQUEST__WHAT_LAUNCH:
		return req->launch->id;
	case CORACLE__LAUNCH__REQUEST__WHAT_OPEN:
		return req->open->id;
	case CORACLE__LAUNCH__REQUEST__WHAT_ADOPT:
		return req->adopt->id;
	default:
		return NULL;
	}
}

static int
start(struct keeper *k, struct keeper_call *call, Coracle__Launch__Request *req, const int *fds,
    size_t n_fds, struct op *op, void (*done)(struct keeper_call *), struct err *err)
{
	int all[PARCEL_FDS + KEEPER_PIPES + 1];

	if (k->fd < 0 || (!k->answers && call != &k->hello))
		return err_set(err, ERR_UNAVAILABLE, "the keeper is being started");
	if (n_fds > PARCEL_FDS - KEEPER_PIPES - 1)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "%zu descriptors for the keeper; at most %d", n_fds,
		    PARCEL_FDS - KEEPER_PIPES - 1);
	if (n_fds > 0)
		memcpy(all, fds, n_fds * sizeof(*fds));
	memset(call, 0, sizeof(*call));
	req->serial = k->next_serial++;
	if (req->what_case == CORACLE__LAUNCH__REQUEST__WHAT_ADOPT)
		n_fds = keeper_pipes_add(k, req->adopt, all, n_fds);
	if (send_request(k, req, all, n_fds, err) < 0)
		return -1;
	k->ending = k->ending || req->what_case == CORACLE__LAUNCH__REQUEST__WHAT_SHUTDOWN;
	if (req->what_case == CORACLE__LAUNCH__REQUEST__WHAT_FORGET)
		keeper_pipes_drop(k, req->forget->id);
	call->done = done;
	call->op = op;
	call->keeper = k;
	call->serial = req->serial;
	call->shutdown = req->what_case == CORACLE__LAUNCH__REQUEST__WHAT_SHUTDOWN;
	call->process = xstrdup(process_of(req));
	TAILQ_INSERT_TAIL(&k->calls, call, entry);
	if (op != NULL)
		TAILQ_INSERT_TAIL(&waiting_ops, call, op_entry);
	trace(TRACE_KEEPER, "request %d, serial %llu", (int)req->what_case,
	    (unsigned long long)req->serial);
	return 0;
}

int
keeper_call_start(struct keeper *k, struct keeper_call *call, Coracle__Launch__Request *req,
    const int *fds, size_t n_fds, void (*done)(struct keeper_call *), struct err *err)
{
	return start(k, call, req, fds, n_fds, NULL, done, err);
}

static void
on_op_call_done(struct keeper_call *call)
{
	op_resume(call->op, call->err.code == ERR_NONE ? NULL : &call->err);
}

static void
stop_call(struct op *op)
{
	struct keeper_call *call;

	TAILQ_FOREACH (call, &waiting_ops, op_entry)
		if (call->op == op)
			break;
	if (call == NULL)
		return;
	unlink_call(call);
	op_resume(op, NULL); /* op_cancel() has set the error */
}

int
keeper_call_op(struct keeper *k, struct keeper_call *call, Coracle__Launch__Request *req,
    const int *fds, size_t n_fds, struct op *op, struct err *err)
{
	if (start(k, call, req, fds, n_fds, op, on_op_call_done, err) < 0)
		return -1;
	op->stop = stop_call;
	return 0;
}

void
keeper_call_release(struct keeper_call *call)
{
	unlink_call(call);
	parcel_close_fds(call->fds, call->n_fds);
	call->n_fds = 0;
	if (call->reply != NULL)
		coracle__launch__reply__free_unpacked(take_ptr(call->reply), NULL);
	free(take_ptr(call->process));
}

int
keeper_call_take_fd(struct keeper_call *call, uint32_t index)
{
	return index == 0 || index > call->n_fds ? -1 : take_fd(call->fds[index - 1]);
}

/* ---- in ---- */

static void
tell_notes(struct keeper *k, const Coracle__Launch__Reply *r)
{
	size_t i;

	for (i = 0; k->hooks.on_note != NULL && i < r->n_notes; i++)
		k->hooks.on_note(k, r->notes[i]);
}

static void
handle_event(struct keeper *k, const Coracle__Launch__Reply *r)
{
	if (r->stdin_closed[0] != '\0')
		keeper_pipes_drop_stdin(k, r->stdin_closed);
	if (r->exited == NULL)
		return;
	keeper_pipes_drop(k, r->exited->id);
	if (k->hooks.on_exit != NULL)
		k->hooks.on_exit(k, r->exited);
}

static struct keeper_call *
find_call(struct keeper *k, uint64_t serial)
{
	struct keeper_call *call;

	TAILQ_FOREACH (call, &k->calls, entry)
		if (call->serial == serial)
			return call;
	return NULL;
}

static void
set_reply_error(struct err *err, const Coracle__Launch__Reply *r)
{
	if (r->code == ERR_NONE)
		return;
	if (r->step[0] != '\0')
		err_set(err, (enum err_code)r->code, "%s: %s", r->step, r->error);
	else
		err_set(err, (enum err_code)r->code, "%s",
		    r->error[0] != '\0' ? r->error : "the keeper could not answer");
}

/* r and the descriptors go to the call, or are freed. */
static void
handle_reply(struct keeper *k, Coracle__Launch__Reply *r, int *fds, size_t n_fds)
{
	struct keeper_call *call = NULL;
	bool lost = false;
	size_t i;

	tell_notes(k, r);
	if (r->serial == 0)
		handle_event(k, r);
	else
		call = find_call(k, r->serial);
	if (call == NULL || n_fds > KEEPER_CALL_FDS) {
		lost = call != NULL;
		parcel_close_fds(fds, n_fds == PARCEL_CUT ? 0 : n_fds);
		n_fds = 0;
	}
	if (call == NULL) {
		coracle__launch__reply__free_unpacked(r, NULL);
		return;
	}
	call->reply = r;
	call->n_fds = n_fds;
	for (i = 0; i < n_fds; i++)
		call->fds[i] = fds[i];
	set_reply_error(&call->err, r);
	if (call->shutdown && call->err.code != ERR_NONE)
		k->ending = false;
	if (lost)
		err_set(&call->err, ERR_RESOURCE_EXHAUSTED,
		    "descriptors of the keeper's reply did not arrive");
	keeper_pipes_keep(k, call);
	finish(call);
}

static Coracle__Launch__Reply *
unpack_body(int *fds, size_t n_fds, uint32_t index)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct err err;

	if (n_fds == PARCEL_CUT || index > n_fds || parcel_memfd_read(fds[index - 1], &b, &err) < 0)
		return NULL;
	return coracle__launch__reply__unpack(NULL, b.len, (const uint8_t *)b.data);
}

/* One message; -1: there is none, or no connection any more. */
static int
read_one(struct keeper *k, bool *ret_gone)
{
	Coracle__Launch__Reply *r;
	int fds[PARCEL_FDS];
	size_t n_fds = 0;
	ssize_t n = parcel_recv(k->fd, message, sizeof(message), fds, &n_fds);

	if (n <= 0) {
		*ret_gone = n == 0 || errno != EAGAIN;
		return -1;
	}
	r = coracle__launch__reply__unpack(NULL, (size_t)n, message);
	if (r != NULL && r->body_fd != 0) {
		Coracle__Launch__Reply *whole = unpack_body(fds, n_fds, r->body_fd);

		coracle__launch__reply__free_unpacked(r, NULL);
		parcel_close_fds(fds, n_fds == PARCEL_CUT ? 0 : n_fds);
		n_fds = 0;
		r = whole;
	}
	if (r == NULL) {
		parcel_close_fds(fds, n_fds == PARCEL_CUT ? 0 : n_fds);
		*ret_gone = true;
		return -1;
	}
	handle_reply(k, r, fds, n_fds);
	return 0;
}

int
keeper_read(struct keeper *k)
{
	bool gone = false;
	int i;

	for (i = 0; i < MESSAGES_PER_TURN && k->fd >= 0; i++)
		if (read_one(k, &gone) < 0)
			break;
	return gone ? -1 : 0;
}

static void
on_readable(struct ev_loop *l, ev_io *w, int events)
{
	struct keeper *k = container_of(w, struct keeper, w_read);
	bool answered = k->answers;

	(void)l;
	(void)events;
	if (keeper_read(k) == 0)
		return;
	keeper_drop(k, ERR_UNAVAILABLE, "the keeper has gone");
	if (k->ending)
		return;
	if (answered && k->hooks.on_lost != NULL)
		k->hooks.on_lost(k);
	keeper_renew(k);
}

/* ---- the connection ---- */

void
keeper_use_take(struct keeper *k, int fd)
{
	k->fd = fd;
	ev_io_init(&k->w_read, on_readable, fd, EV_READ);
	ev_io_init(&k->w_write, on_writable, fd, EV_WRITE);
	ev_io_start(loop, &k->w_read);
}

void
keeper_drop(struct keeper *k, enum err_code code, const char *why)
{
	struct keeper_call *call;

	if (k->fd < 0)
		return;
	ev_io_stop(loop, &k->w_read);
	ev_io_stop(loop, &k->w_write);
	fd_closep(&k->fd);
	k->answers = false;
	k->pid = 0;
	while (!STAILQ_EMPTY(&k->unsent))
		drop_unsent(k);
	while ((call = TAILQ_FIRST(&k->calls)) != NULL) {
		err_set(&call->err, code, "%s", why);
		finish(call);
	}
}

int
keeper_hello(struct keeper *k, void (*done)(struct keeper_call *), struct err *err)
{
	Coracle__Launch__Hello hello = CORACLE__LAUNCH__HELLO__INIT;
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;

	hello.version = (char *)PACKAGE_VERSION;
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_HELLO;
	req.hello = &hello;
	/* A reply to a connection of before must not be taken for one of this. */
	if (getrandom(&k->next_serial, sizeof(k->next_serial), 0) != sizeof(k->next_serial))
		return err_errno(err, "getrandom");
	k->next_serial |= 1; /* 0 is an event */
	return start(k, &k->hello, &req, NULL, 0, NULL, done, err);
}

void
keeper_note_hello(struct keeper *k)
{
	k->answers = true;
	k->pid = k->hello.reply->keeper_pid;
	free(k->version);
	k->version = xstrdup(k->hello.reply->version);
	keeper_call_release(&k->hello);
}

void
keeper_set_hooks(struct keeper *k, const struct keeper_hooks *hooks, void *owner)
{
	k->hooks = *hooks;
	k->owner = owner;
}

void *
keeper_owner(const struct keeper *k)
{
	return k->owner;
}

pid_t
keeper_pid(const struct keeper *k)
{
	return k->pid;
}

const char *
keeper_version(const struct keeper *k)
{
	return k->pid == 0 || k->version == NULL ? "" : k->version;
}
