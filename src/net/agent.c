/* SPDX-License-Identifier: Apache-2.0
 *
 * The network agent: see agent.h. Both directions of the socket pair carry frames: two 32-bit
 * numbers (length, sequence number) and JSON text. The daemon's side never blocks; the agent's
 * always does.
 */
#include "net/agent.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "loop/loop.h"
#include "loop/worker.h"

enum { FRAME_MAX = 16 << 20, RESTART_MS = 1000, READ_SIZE = 65536 };

struct frame_head {
	uint32_t len, seq;
};

struct agent {
	const struct agent_method *methods;
	char *lock_path;
	int64_t timeout_ms;
	int fd; /* our end; -1: no process */
	struct worker worker;
	bool alive; /* the worker has not been reaped */
	bool closing;
	struct buf in, out;
	ev_io w_in, w_out;
	struct loop_timer deadline, restart;
	int64_t started_ms;
	uint32_t seq;
	unsigned n_jobs;
	TAILQ_HEAD(job_list, agent_job) jobs; /* oldest first: those sent, then those not */
};

/* ---- the process ---------------------------------------------------------------------------- */

struct agent_arg {
	const struct agent_method *methods;
	const char *lock_path;
	int fd;
};

static int
read_full(int fd, void *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t got = read(fd, (char *)p + at, n - at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -1;
		at += (size_t)got;
	}
	return 0;
}

struct request {
	uint32_t seq;
	json_t *json;
};

/* The next frame; -1 at the end of the daemon. */
static int
next_request(int fd, struct request *r)
{
	cleanup_free char *text = NULL;
	struct frame_head head;

	if (read_full(fd, &head, sizeof(head)) < 0)
		return -1;
	text = xmalloc(head.len);
	if (read_full(fd, text, head.len) < 0)
		return -1;
	*r = (struct request){
	    .seq = head.seq, .json = json_loadb(text, head.len, JSON_REJECT_DUPLICATES, NULL)};
	return 0;
}

static int
answer(int fd, uint32_t seq, json_t *reply, const struct err *err)
{
	struct frame_head head = {.seq = seq};
	cleanup_free char *text = NULL;
	json_t *frame;

	if (err->code == ERR_NONE)
		frame = json_pack("{s:O*}", "reply", reply);
	else
		frame = json_pack("{s:i,s:s}", "code", (int)err->code, "msg", err->msg);
	if (frame == NULL) /* a message that is no UTF-8 cannot be packed */
		frame =
		    json_pack("{s:i,s:s}", "code", (int)ERR_INTERNAL, "msg", "unprintable error");
	text = json_dumps(frame, JSON_COMPACT);
	json_decref(frame);
	head.len = (uint32_t)strlen(text);
	return fd_write_all(fd, &head, sizeof(head)) < 0 || fd_write_all(fd, text, head.len) < 0
	           ? -1
	           : 0;
}

static const struct agent_method *
find_method(const struct agent_method *m, const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "job"));

	while (m->name != NULL && (name == NULL || strcmp(m->name, name) != 0))
		m++;
	return m->name != NULL ? m : NULL;
}

static int
do_one(int fd, const struct agent_method *m, struct request *r)
{
	struct err err = {0};
	json_t *reply = NULL;
	int ret;

	if (m == NULL)
		err_set(&err, ERR_INTERNAL, "the network agent does not know that job");
	else if (m->run(r->json, &reply, &err) == 0)
		err = (struct err){0};
	ret = answer(fd, r->seq, reply, &err);
	json_decref(reply);
	json_decref(r->json);
	return ret;
}

/* r and all of its kind that wait behind it. What comes next and is of another kind is *ret_next.
 */
static int
do_many(int fd, const struct agent_method *table, const struct agent_method *m, struct request *r,
    struct request *ret_next)
{
	struct request list[AGENT_MANY_MAX] = {*r};
	json_t *json[AGENT_MANY_MAX] = {r->json};
	struct err errs[AGENT_MANY_MAX];
	struct pollfd more = {.fd = fd, .events = POLLIN};
	size_t n = 1;
	int ret = 0;

	memset(errs, 0, sizeof(errs));
	while (n < AGENT_MANY_MAX && poll(&more, 1, 0) > 0) {
		if (next_request(fd, ret_next) < 0)
			break; /* the end is seen again by the next read */
		if (find_method(table, ret_next->json) != m)
			break;
		list[n] = *ret_next;
		json[n++] = ret_next->json;
		*ret_next = (struct request){0};
	}
	m->many(json, n, errs);
	for (size_t i = 0; i < n; i++) {
		if (ret == 0)
			ret = answer(fd, list[i].seq, NULL, &errs[i]);
		json_decref(list[i].json);
	}
	return ret;
}

static int
agent_main(const void *arg, int result, struct err *err)
{
	const struct agent_arg *a = arg;
	struct request r = {0}, next = {0};
	int lock, ret = 0;

	(void)result;
	lock = open(a->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return err_errno(err, "lock %s", a->lock_path);
	while (ret == 0 && (next.json != NULL || next_request(a->fd, &next) == 0)) {
		const struct agent_method *m;

		r = next;
		next = (struct request){0};
		m = find_method(a->methods, r.json);
		if (m != NULL && m->many != NULL)
			ret = do_many(a->fd, a->methods, m, &r, &next);
		else
			ret = do_one(a->fd, m, &r);
	}
	return 0;
}

/* ---- the daemon's side ---------------------------------------------------------------------- */

static void pump(struct agent *a);
static void on_restart(struct loop_timer *t);

static void
finish_job(struct agent *a, struct agent_job *job, json_t *reply, const struct err *err)
{
	TAILQ_REMOVE(&a->jobs, job, entry);
	a->n_jobs--;
	json_decref(job->request);
	job->request = NULL;
	job->reply = reply;
	job->err = err != NULL ? *err : (struct err){0};
	job->done(job);
	json_decref(reply);
}

/* Stop talking to the process; it ends by itself when it sees the socket closed. */
static void
hang_up(struct agent *a)
{
	if (a->fd < 0)
		return;
	ev_io_stop(loop, &a->w_in);
	ev_io_stop(loop, &a->w_out);
	timer_stop(&a->deadline);
	shutdown(a->fd, SHUT_RDWR); /* whoever else may have inherited it */
	fd_closep(&a->fd);
	buf_truncate(&a->in, 0);
	buf_truncate(&a->out, 0);
}

static void
fail_sent(struct agent *a, const char *why)
{
	struct err err = {0};
	struct agent_job *job;

	err_set(&err, ERR_UNAVAILABLE, "network agent %s", why);
	while ((job = TAILQ_FIRST(&a->jobs)) != NULL && job->sent)
		finish_job(a, job, NULL, &err);
}

static void
on_deadline(struct loop_timer *t)
{
	struct agent *a = container_of(t, struct agent, deadline);

	log_err(
	    "network agent: a job takes more than %lld ms, killing it", (long long)a->timeout_ms);
	child_kill(&a->worker.child, SIGKILL); /* on_worker_done() does the rest */
}

/* The clock runs for the oldest job: the process has it in hand. */
static void
arm_deadline(struct agent *a)
{
	struct agent_job *job = TAILQ_FIRST(&a->jobs);

	if (job != NULL && job->sent)
		timer_start(&a->deadline, a->timeout_ms, on_deadline);
	else
		timer_stop(&a->deadline);
}

static int
take_answer(struct agent *a, uint32_t seq, const char *text, size_t len)
{
	struct agent_job *job = TAILQ_FIRST(&a->jobs);
	json_t *answer_ = json_loadb(text, len, 0, NULL), *code;
	struct err err = {0};

	/* One that was withdrawn while the process had it has no job any more. */
	if (job == NULL || !job->sent || job->seq != seq) {
		json_decref(answer_);
		return 0;
	}
	code = json_object_get(answer_, "code");
	if (!json_is_object(answer_))
		err_set(&err, ERR_INTERNAL, "network agent answered with something else");
	else if (code != NULL)
		err_set(&err, (enum err_code)json_integer_value(code), "%s",
		    json_string_value(json_object_get(answer_, "msg")));
	finish_job(a, job, json_incref(json_object_get(answer_, "reply")), &err);
	json_decref(answer_);
	return 0;
}

static void
on_readable(struct ev_loop *l, ev_io *w, int events)
{
	struct agent *a = container_of(w, struct agent, w_in);
	ssize_t n = read(a->fd, buf_reserve(&a->in, READ_SIZE), READ_SIZE);
	struct frame_head head;

	(void)l;
	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		hang_up(a); /* its end is reported by on_worker_done() */
		return;
	}
	buf_grew(&a->in, (size_t)n);
	while (a->in.len >= sizeof(head)) {
		memcpy(&head, a->in.data, sizeof(head));
		if (a->in.len < sizeof(head) + head.len)
			break;
		take_answer(a, head.seq, a->in.data + sizeof(head), head.len);
		if (a->fd < 0)
			return;
		buf_consume(&a->in, sizeof(head) + head.len);
	}
	arm_deadline(a);
}

static void
on_writable(struct ev_loop *l, ev_io *w, int events)
{
	struct agent *a = container_of(w, struct agent, w_out);
	ssize_t n = send(a->fd, a->out.data, a->out.len, MSG_NOSIGNAL);

	(void)l;
	(void)events;
	if (n > 0)
		buf_consume(&a->out, (size_t)n);
	else if (errno != EAGAIN && errno != EINTR)
		buf_truncate(&a->out, 0); /* the reading side sees the end as well */
	if (a->out.len == 0)
		ev_io_stop(loop, w);
}

static void
on_worker_done(struct worker *w)
{
	struct agent *a = container_of(w, struct agent, worker);
	int64_t age = loop_now_ms() - a->started_ms;
	char why[256] = "ended";

	if (w->err.code != ERR_NONE)
		snprintf(why, sizeof(why), "ended: %.200s", w->err.msg);
	a->alive = false;
	child_release(&w->child);
	hang_up(a);
	if (a->closing) {
		agent_free(a);
		return;
	}
	fail_sent(a, why);
	timer_start(&a->restart, age > RESTART_MS ? 0 : RESTART_MS, on_restart);
}

static int
start_process(struct agent *a, struct err *err)
{
	struct agent_arg arg = {.methods = a->methods, .lock_path = a->lock_path};
	int pair[2];
	struct worker_spec spec = {
	    .fn = agent_main, .arg = &arg, .what = "coracle-net", .keep_fds = &arg.fd, .n_keep = 1};
	int ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(err, "socketpair for the network agent");
	arg.fd = pair[1];
	ret = worker_start(&a->worker, &spec, on_worker_done, err);
	close(pair[1]);
	if (ret < 0) {
		close(pair[0]);
		return -1;
	}
	a->fd = pair[0];
	a->alive = true;
	a->started_ms = loop_now_ms();
	fd_set_nonblock(a->fd, true);
	ev_io_init(&a->w_in, on_readable, a->fd, EV_READ);
	ev_io_init(&a->w_out, on_writable, a->fd, EV_WRITE);
	ev_io_start(loop, &a->w_in);
	return 0;
}

static void
on_restart(struct loop_timer *t)
{
	struct agent *a = container_of(t, struct agent, restart);
	struct err err = {0};

	if (start_process(a, &err) < 0) {
		log_err("%s", err.msg);
		timer_start(&a->restart, RESTART_MS, on_restart);
		return;
	}
	pump(a);
}

static void
send_job(struct agent *a, struct agent_job *job)
{
	cleanup_free char *text = json_dumps(job->request, JSON_COMPACT);
	struct frame_head head = {.seq = job->seq};

	assert(text != NULL);
	head.len = (uint32_t)strlen(text);
	buf_add(&a->out, &head, sizeof(head));
	buf_add(&a->out, text, head.len);
	job->sent = true;
	ev_io_start(loop, &a->w_out);
}

static void
pump(struct agent *a)
{
	struct agent_job *job;

	if (a->fd < 0)
		return;
	TAILQ_FOREACH (job, &a->jobs, entry)
		if (!job->sent)
			send_job(a, job);
	if (!a->deadline.armed)
		arm_deadline(a);
}

void
agent_submit_take(
    struct agent *a, struct agent_job *job, json_t *request, void (*done)(struct agent_job *))
{
	assert(request != NULL);
	*job = (struct agent_job){.done = done, .request = request, .seq = ++a->seq};
	TAILQ_INSERT_TAIL(&a->jobs, job, entry);
	a->n_jobs++;
	pump(a);
}

bool
agent_withdraw(struct agent *a, struct agent_job *job)
{
	TAILQ_REMOVE(&a->jobs, job, entry);
	a->n_jobs--;
	json_decref(job->request);
	job->request = NULL;
	return !job->sent;
}

unsigned
agent_backlog(const struct agent *a)
{
	return a->n_jobs;
}

struct agent *
agent_new(
    const struct agent_method *methods, const char *lock_path, int64_t timeout_ms, struct err *err)
{
	struct agent *a = xcalloc(1, sizeof(*a));

	a->methods = methods;
	a->lock_path = xstrdup(lock_path);
	a->timeout_ms = timeout_ms;
	a->fd = -1;
	TAILQ_INIT(&a->jobs);
	if (start_process(a, err) < 0) {
		agent_free(a);
		return NULL;
	}
	return a;
}

void
agent_free(struct agent *a)
{
	struct agent_job *job;

	if (a == NULL)
		return;
	while ((job = TAILQ_FIRST(&a->jobs)) != NULL)
		agent_withdraw(a, job);
	hang_up(a);
	timer_stop(&a->restart);
	a->closing = true;
	if (a->alive)
		return; /* on_worker_done() comes back */
	buf_release(&a->in);
	buf_release(&a->out);
	free(a->lock_path);
	free(a);
}
