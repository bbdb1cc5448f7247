/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper's side of keeper.sock: see front.h.
 */
#include "exec/keeper/front.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper/parcel.h"
#include "exec/keeper/reactor.h"

enum { MESSAGES_PER_TURN = 16, BACKLOG = 16 };

struct queued {
	STAILQ_ENTRY(queued) entry;
	size_t len, n_fds;
	int *fds; /* owned */
	uint8_t data[];
};

static struct reactor_source listener = {.fd = -1}, client = {.fd = -1};
static int listen_fd = -1, client_fd = -1, spare_fd = -1;
static char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
static STAILQ_HEAD(, queued) queue = STAILQ_HEAD_INITIALIZER(queue);
static size_t queue_bytes;
static unsigned epoch;
static bool paused;
static char *notes[FRONT_NOTES_MAX];
static size_t n_notes;
static front_fn *on_message;
static void (*on_client_gone)(void);
static uint8_t message[PARCEL_MAX];

static void on_client(struct reactor_source *src, uint32_t events);

unsigned
front_epoch(void)
{
	return epoch;
}

int
front_listen_fd(void)
{
	return listen_fd;
}

int
front_client_fd(void)
{
	return client_fd;
}

static void
watch_client(void)
{
	reactor_mod(&client, (paused ? 0 : EPOLLIN) | (STAILQ_EMPTY(&queue) ? 0 : EPOLLOUT));
}

static void
drop_first(void)
{
	struct queued *q = STAILQ_FIRST(&queue);

	STAILQ_REMOVE_HEAD(&queue, entry);
	queue_bytes -= q->len;
	parcel_close_fds(q->fds, q->n_fds);
	free(q->fds);
	free(q);
}

static void
drop_client(void)
{
	if (client_fd < 0)
		return;
	reactor_del(&client);
	fd_closep(&client_fd);
	while (!STAILQ_EMPTY(&queue))
		drop_first();
	epoch++;
	on_client_gone();
}

static void
set_client_take(int fd)
{
	if (reactor_add(&client, fd, EPOLLIN, on_client) < 0) {
		close(fd);
		return;
	}
	client_fd = fd;
	epoch++;
	watch_client();
}

/* coracled must get in even when there is no descriptor left: one is kept in reserve for it. */
static int
accept_one(int from)
{
	int fd = accept4(from, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0 && (errno == EMFILE || errno == ENFILE) && spare_fd >= 0) {
		fd_closep(&spare_fd);
		fd = accept4(from, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	}
	return fd;
}

static void
on_connect(struct reactor_source *src, uint32_t events)
{
	int fd = accept_one(src->fd);
	struct ucred cred;
	socklen_t len = sizeof(cred);

	(void)events;
	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.uid != 0) {
		close(fd);
		return;
	}
	drop_client();
	set_client_take(fd);
	if (spare_fd < 0) /* the one before may have left room */
		spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void
front_flush(void)
{
	struct queued *q;

	while (client_fd >= 0 && (q = STAILQ_FIRST(&queue)) != NULL) {
		if (parcel_send(client_fd, q->data, q->len, q->fds, q->n_fds) < 0) {
			if (errno != EAGAIN)
				drop_client();
			break;
		}
		drop_first();
	}
	watch_client();
}

static void
read_messages(void)
{
	int fds[PARCEL_FDS];
	int i;

	for (i = 0; i < MESSAGES_PER_TURN && client_fd >= 0 && !paused; i++) {
		size_t n_fds = 0;
		ssize_t n = parcel_recv(client_fd, message, sizeof(message), fds, &n_fds);

		if (n > 0) {
			on_message(message, (size_t)n, fds, n_fds);
			parcel_close_fds(fds, n_fds == PARCEL_CUT ? 0 : n_fds);
		} else if (n < 0 && errno == EAGAIN) {
			return;
		} else {
			drop_client();
		}
	}
}

static void
on_client(struct reactor_source *src, uint32_t events)
{
	(void)src;
	if ((events & EPOLLOUT) != 0)
		front_flush();
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !paused)
		read_messages();
	else if ((events & (EPOLLHUP | EPOLLERR)) != 0)
		drop_client();
}

static int
start(front_fn *message_fn, void (*gone_fn)(void), struct err *err)
{
	on_message = message_fn;
	on_client_gone = gone_fn;
	spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (reactor_add(&listener, listen_fd, EPOLLIN, on_connect) < 0)
		return err_errno(err, "watch keeper.sock");
	return 0;
}

int
front_open(const char *state_dir, front_fn *message_fn, void (*gone_fn)(void), struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	cleanup_close int fd = -1;
	mode_t mask;
	int bound;

	if (snprintf(socket_path, sizeof(socket_path), "%s/keeper.sock", state_dir) >=
	    (int)sizeof(socket_path))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "state directory %s: too long a path for a socket", state_dir);
	memcpy(addr.sun_path, socket_path, sizeof(addr.sun_path));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, "socket");
	unlink(socket_path);
	mask = umask(0177);
	bound = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (bound < 0 || listen(fd, BACKLOG) < 0)
		return err_errno(err, "listen on %s", socket_path);
	listen_fd = take_fd(fd);
	return start(message_fn, gone_fn, err);
}

int
front_restore(int saved_listen_fd, int saved_client_fd, front_fn *message_fn, void (*gone_fn)(void),
    struct err *err)
{
	struct sockaddr_un addr;
	socklen_t len = sizeof(addr);

	listen_fd = saved_listen_fd;
	if (getsockname(listen_fd, (struct sockaddr *)&addr, &len) < 0)
		return err_errno(err, "name of keeper.sock");
	memcpy(socket_path, addr.sun_path, sizeof(socket_path));
	if (start(message_fn, gone_fn, err) < 0)
		return -1;
	if (saved_client_fd >= 0)
		set_client_take(saved_client_fd);
	return 0;
}

void
front_remove(void)
{
	front_flush();
	unlink(socket_path);
}

void
front_pause(bool pause)
{
	paused = pause;
	watch_client();
}

/* ---- sending ---- */

void
front_requeue_take(const void *data, size_t len, const int *fds, size_t n_fds)
{
	struct queued *q = xmalloc(sizeof(*q) + len);

	memcpy(q->data, data, len);
	q->len = len;
	q->fds = xmemdup(fds, sizeof(*fds) * n_fds);
	q->n_fds = n_fds;
	STAILQ_INSERT_TAIL(&queue, q, entry);
	queue_bytes += len;
	watch_client();
}

static void
queue_message(const void *data, size_t len, const int *fds, size_t n_fds)
{
	int own[PARCEL_FDS];
	size_t i;

	if (queue_bytes + len > FRONT_QUEUE_MAX) {
		drop_client();
		return;
	}
	for (i = 0; i < n_fds; i++) {
		own[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (own[i] < 0) {
			parcel_close_fds(own, i);
			drop_client();
			return;
		}
	}
	front_requeue_take(data, len, own, n_fds);
}

static void
send_packed(const void *data, size_t len, const int *fds, size_t n_fds)
{
	if (STAILQ_EMPTY(&queue)) {
		if (parcel_send(client_fd, data, len, fds, n_fds) == 0)
			return;
		if (errno != EAGAIN && errno != ENOBUFS) {
			drop_client();
			return;
		}
	}
	queue_message(data, len, fds, n_fds);
}

/* A Reply that is too long for a message: the same serial, and all of it in a memfd. */
static void
send_long(const Coracle__Launch__Reply *reply, const void *data, size_t len)
{
	Coracle__Launch__Reply brief;
	uint8_t packed[64];
	int fd = parcel_memfd("keeper-reply", data, len);

	coracle__launch__reply__init(&brief);
	brief.serial = reply->serial;
	brief.body_fd = fd < 0 ? 0 : 1;
	brief.code = fd < 0 ? ERR_RESOURCE_EXHAUSTED : ERR_NONE;
	send_packed(packed, coracle__launch__reply__pack(&brief, packed), &fd, fd < 0 ? 0 : 1);
	fd_closep(&fd);
}

void
front_send(Coracle__Launch__Reply *reply, const int *fds, size_t n_fds)
{
	cleanup_free uint8_t *large = NULL;
	uint8_t small[1024], *data = small;
	size_t len;

	if (client_fd < 0)
		return;
	len = coracle__launch__reply__get_packed_size(reply);
	if (len > sizeof(small))
		data = large = xmalloc(len);
	coracle__launch__reply__pack(reply, data);
	if (len > PARCEL_MAX)
		send_long(reply, data, len);
	else
		send_packed(data, len, fds, n_fds);
}

void
front_answer(uint64_t serial, const struct err *err)
{
	Coracle__Launch__Reply reply;

	coracle__launch__reply__init(&reply);
	reply.serial = serial;
	if (err != NULL) {
		reply.code = (int32_t)err->code;
		reply.error = (char *)err->msg;
	}
	front_send(&reply, NULL, 0);
}

void
front_each_queued(
    void (*each)(const void *data, size_t len, const int *fds, size_t n_fds, void *arg), void *arg)
{
	struct queued *q;

	STAILQ_FOREACH(q, &queue, entry)
	each(q->data, q->len, q->fds, q->n_fds, arg);
}

/* ---- notes ---- */

void
front_note(const char *fmt, ...)
{
	Coracle__Launch__Reply event;
	cleanup_free char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	if (client_fd >= 0) {
		coracle__launch__reply__init(&event);
		event.n_notes = 1;
		event.notes = &text;
		front_send(&event, NULL, 0);
	} else if (n_notes < FRONT_NOTES_MAX) {
		notes[n_notes++] = take_ptr(text);
	}
}

void
front_take_notes(Coracle__Launch__Reply *reply)
{
	reply->n_notes = n_notes;
	reply->notes = xmemdup(notes, sizeof(*notes) * n_notes);
	n_notes = 0;
}

void
front_free_notes(Coracle__Launch__Reply *reply)
{
	size_t i;

	for (i = 0; i < reply->n_notes; i++)
		free(reply->notes[i]);
	free(reply->notes);
	reply->notes = NULL;
	reply->n_notes = 0;
}
