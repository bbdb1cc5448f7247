/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the keeper and the pods: see keeping.h.
 */
#include "pod/keeping.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/keeper.h"
#include "loop/loop.h"
#include "pod/config.h"
#include "pod/ctr_stop.h"
#include "pod/exec_session.h"
#include "pod/exec_sync.h"
#include "pod/node.h"
#include "pod/pod_steps.h"

/* A request whose answer nobody waits for. */
struct errand {
	struct keeper_call call;
	char what[32];
	char id[ID_SIZE + 16];
	bool with_log; /* adopt */
};

static void
on_errand_done(struct keeper_call *call)
{
	struct errand *e = container_of(call, struct errand, call);

	if (call->err.code != ERR_NONE && call->err.code != ERR_NOT_FOUND &&
	    call->err.code != ERR_CANCELLED)
		log_warn("keeper: %s %.20s: %s", e->what, e->id, call->err.msg);
	keeper_call_release(call);
	free(e);
}

static void
run_errand(const char *what, const char *id, Coracle__Launch__Request *req, const int *fds, size_t n,
    void (*done)(struct keeper_call *), bool with_log)
{
	struct errand *e = xcalloc(1, sizeof(*e));
	struct err err;

	e->with_log = with_log;
	snprintf(e->what, sizeof(e->what), "%s", what);
	snprintf(e->id, sizeof(e->id), "%s", id);
	if (keeper_call_start(node.keeper, &e->call, req, fds, n, done, &err) < 0) {
		log_warn("keeper: %s %.20s: %s", what, id, err.msg);
		free(e);
	}
}

void
keeping_forget(const char *id)
{
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	Coracle__Launch__Forget m = CORACLE__LAUNCH__FORGET__INIT;

	m.id = (char *)(uintptr_t)id;
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_FORGET;
	req.forget = &m;
	run_errand("forget", id, &req, NULL, 0, on_errand_done, false);
}

void
keeping_kill(const char *id, int sig, bool tree)
{
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	Coracle__Launch__Kill m = CORACLE__LAUNCH__KILL__INIT;

	m.id = (char *)(uintptr_t)id;
	m.signal = sig;
	m.tree = tree;
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_KILL;
	req.kill = &m;
	run_errand("kill", id, &req, NULL, 0, on_errand_done, false);
}

void
keeping_resize(const char *id, unsigned width, unsigned height)
{
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	Coracle__Launch__Resize m = CORACLE__LAUNCH__RESIZE__INIT;

	m.id = (char *)(uintptr_t)id;
	m.width = width;
	m.height = height;
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_RESIZE;
	req.resize = &m;
	run_errand("resize", id, &req, NULL, 0, on_errand_done, false);
}

static void adopt(struct container *c, bool with_log);

/* A log that cannot be opened (its disk is full, a link took its place) must not cost the container
 * its keeper: then it is adopted without. */
static void
on_adopted(struct keeper_call *call)
{
	struct errand *e = container_of(call, struct errand, call);
	struct container *c = index_get(&node.container_by_id, e->id);
	enum err_code code = call->err.code;
	bool again = code != ERR_NONE && code != ERR_UNAVAILABLE && code != ERR_CANCELLED &&
	             code != ERR_ALREADY_EXISTS && e->with_log && c != NULL &&
	             c->state == CONTAINER_RUNNING;

	on_errand_done(call);
	if (again)
		adopt(c, false);
}

static void
adopt(struct container *c, bool with_log)
{
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	Coracle__Launch__Adopt m = CORACLE__LAUNCH__ADOPT__INIT;
	cleanup_free char *io_dir = container_state_path(c, "");
	int fds[2];
	size_t n = 0;

	m.id = c->id;
	m.pid = c->pid;
	fds[n++] = c->pidfd;
	m.pid_fd = (uint32_t)n;
	if (c->tty_fd >= 0) {
		fds[n++] = c->tty_fd;
		m.tty_fd = (uint32_t)n;
	}
	m.log_path = with_log ? c->log_path : NULL;
	m.io_dir = io_dir;
	m.stdin = c->config->stdin;
	m.stdin_once = c->config->stdin_once;
	m.log_max_line = node.config->log_max_line;
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_ADOPT;
	req.adopt = &m;
	run_errand("adopt", c->id, &req, fds, n, on_adopted, with_log);
}

void
keeping_adopt(struct container *c)
{
	adopt(c, c->log_path != NULL);
}

static void
on_refreshed(struct keeper_call *call)
{
	struct errand *e = container_of(call, struct errand, call);
	struct container *c = index_get(&node.container_by_id, e->id);

	if (call->err.code == ERR_NONE && c != NULL && c->state == CONTAINER_RUNNING) {
		if (c->tty_fd < 0)
			c->tty_fd = keeper_call_take_fd(call, call->reply->tty_fd);
	}
	on_errand_done(call);
}

void
keeping_refresh(struct container *c)
{
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	Coracle__Launch__Open m = CORACLE__LAUNCH__OPEN__INIT;
	struct errand *e;
	struct err err;

	e = xcalloc(1, sizeof(*e));
	snprintf(e->what, sizeof(e->what), "open");
	snprintf(e->id, sizeof(e->id), "%s", c->id);
	m.id = c->id;
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_OPEN;
	req.open = &m;
	if (keeper_call_start(node.keeper, &e->call, &req, NULL, 0, on_refreshed, &err) < 0) {
		log_warn("keeper: open %.12s: %s", c->id, err.msg);
		free(e);
	}
}

static void
on_exit_event(struct keeper *k, const Coracle__Launch__Exit *e)
{
	struct container *c;

	(void)k;
	if (exec_sync_exited(e->id, e->status) || exec_session_exited(e->id, e->status)) {
		keeping_forget(e->id);
		return;
	}
	c = index_get(&node.container_by_id, e->id);
	if (c != NULL)
		container_exited(c, e->status, e->finished_at, e->unknown);
	else if (str_ends(e->id, KEEPING_HOLDER))
		sandbox_holder_exited(e->id);
	else
		keeping_forget(e->id);
}

static void
on_lost(struct keeper *k)
{
	(void)k;
	log_warn("the keeper died; containers run on, a new one takes over");
	exec_sessions_lost();
}

static void
on_renewed(struct keeper *k)
{
	struct container *c;

	log_info("keeper %d took over", (int)keeper_pid(k));
	TAILQ_FOREACH(c, &node.containers, all)
		if (c->state == CONTAINER_RUNNING)
			keeping_adopt(c);
}

static void
on_note(struct keeper *k, const char *text)
{
	(void)k;
	log_warn("keeper: %s", text);
}

int
keeping_open(struct err *err)
{
	static const struct keeper_hooks hooks = {.on_exit = on_exit_event,
	    .on_lost = on_lost,
	    .on_renewed = on_renewed,
	    .on_note = on_note};
	struct keeper_config config = {
	    .program = node.config->keeper, .state_dir = node.config->state};

	node.keeper = keeper_open(&config, err);
	if (node.keeper == NULL)
		return err_wrap(err, "keeper");
	keeper_set_hooks(node.keeper, &hooks, NULL);
	return 0;
}

void
keeping_close(void)
{
	keeper_close(node.keeper);
	node.keeper = NULL;
}

struct listing {
	struct keeper_call call;
	bool done;
};

static void
on_listed(struct keeper_call *call)
{
	container_of(call, struct listing, call)->done = true;
}

Coracle__Launch__Reply *
keeping_list(struct err *err)
{
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	Coracle__Launch__List m = CORACLE__LAUNCH__LIST__INIT;
	struct listing l = {.done = false};
	Coracle__Launch__Reply *reply;

	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_LIST;
	req.list = &m;
	if (keeper_call_start(node.keeper, &l.call, &req, NULL, 0, on_listed, err) < 0)
		return NULL;
	while (!l.done)
		ev_run(loop, EVRUN_ONCE);
	if (l.call.err.code != ERR_NONE) {
		*err = l.call.err;
		keeper_call_release(&l.call);
		return NULL;
	}
	reply = take_ptr(l.call.reply);
	keeper_call_release(&l.call);
	return reply;
}
