/* SPDX-License-Identifier: Apache-2.0
 *
 * A keeper of its own for a test: a state directory, the client, launches of plain host processes,
 * and waiting for things with a deadline. What it started is ended by box_end().
 */
#ifndef KEEPER_BOX_H
#define KEEPER_BOX_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper.h"
#include "loop/loop.h"
#include "tap.h"

enum { BOX_EXITS = 1024, BOX_WAIT_MS = 20000 };

struct box {
	char dir[64];
	char program[512];
	struct keeper *k;
	pid_t pid; /* of the keeper */
	struct {
		char id[80];
		int32_t status;
		bool unknown, had_record;
	} exits[BOX_EXITS];
	size_t n_exits;
	int lost, renewed;
	char note[512];
};

static inline const char *
box_path(const struct box *b, const char *rest)
{
	static char paths[8][256];
	static unsigned at;
	char *p = paths[at++ % ARRAY_SIZE(paths)];

	snprintf(p, sizeof(paths[0]), "%s/%s", b->dir, rest);
	return p;
}

static void
box_on_exit(struct keeper *k, const Coracle__Launch__Exit *e)
{
	struct box *b = keeper_owner(k);
	char name[160];

	if (b->n_exits == BOX_EXITS)
		return;
	snprintf(name, sizeof(name), "exits/%s", e->id);
	snprintf(b->exits[b->n_exits].id, sizeof(b->exits[0].id), "%s", e->id);
	b->exits[b->n_exits].status = e->status;
	b->exits[b->n_exits].unknown = e->unknown;
	b->exits[b->n_exits].had_record = access(box_path(b, name), F_OK) == 0;
	b->n_exits++;
}

static void
box_on_lost(struct keeper *k)
{
	((struct box *)keeper_owner(k))->lost++;
}

static void
box_on_renewed(struct keeper *k)
{
	struct box *b = keeper_owner(k);

	b->renewed++;
	b->pid = keeper_pid(k);
}

static void
box_on_note(struct keeper *k, const char *text)
{
	struct box *b = keeper_owner(k);

	snprintf(b->note, sizeof(b->note), "%s", text);
}

static inline bool
box_connect(struct box *b)
{
	static const struct keeper_hooks hooks = {.on_exit = box_on_exit,
	    .on_lost = box_on_lost,
	    .on_renewed = box_on_renewed,
	    .on_note = box_on_note};
	struct keeper_config config = {.program = b->program, .state_dir = b->dir};
	struct err err;

	b->k = keeper_open(&config, &err);
	if (b->k == NULL) {
		diag("keeper_open: %s", err.msg);
		return false;
	}
	keeper_set_hooks(b->k, &hooks, b);
	b->pid = keeper_pid(b->k);
	return true;
}

/* A directory, and the program; no keeper yet. */
static inline bool
box_prepare(struct box *b)
{
	const char *builddir = getenv("builddir");

	memset(b, 0, sizeof(*b));
	snprintf(b->dir, sizeof(b->dir), "/tmp/coracle-keeper-test.XXXXXX");
	if (mkdtemp(b->dir) == NULL)
		return false;
	if (builddir == NULL)
		return realpath("coracle-keeper", b->program) != NULL;
	snprintf(b->program, sizeof(b->program), "%s/coracle-keeper", builddir);
	return true;
}

static inline bool
box_begin(struct box *b)
{
	return box_prepare(b) && box_connect(b);
}

static struct loop_timer box_tick;

/* In a forked child that wants a loop of its own. */
static inline void
box_forked(void)
{
	memset(&box_tick, 0, sizeof(box_tick));
	loop_init();
}

static void
box_on_tick(struct loop_timer *t)
{
	(void)t;
}

/* Turns of the loop until cond holds; false after BOX_WAIT_MS. */
#define box_until(cond)                                                                            \
	({                                                                                         \
		int64_t end_ = clock_mono_ns() + BOX_WAIT_MS * NS_PER_MS;                          \
		bool holds_;                                                                       \
		while (!(holds_ = (cond)) && clock_mono_ns() < end_) {                             \
			timer_start(&box_tick, 10, box_on_tick);                                   \
			ev_run(loop, EVRUN_ONCE);                                                  \
		}                                                                                  \
		holds_;                                                                            \
	})

static inline void
box_sleep(int ms)
{
	int64_t until = clock_mono_ns() + ms * NS_PER_MS;

	box_until(clock_mono_ns() >= until);
}

/* ---- calls ---- */

static void
box_on_call(struct keeper_call *call)
{
	(void)call;
}

/* Send, and wait for the answer; the caller releases the call. True when the answer is no error. */
static inline bool
box_call(struct box *b, struct keeper_call *call, Coracle__Launch__Request *req, const int *fds,
    size_t n_fds)
{
	struct err err;

	memset(call, 0, sizeof(*call));
	if (keeper_call_start(b->k, call, req, fds, n_fds, box_on_call, &err) < 0) {
		call->err = err;
		return false;
	}
	if (!box_until(call->keeper == NULL))
		err_set(&call->err, ERR_DEADLINE_EXCEEDED, "no answer");
	return call->err.code == ERR_NONE;
}

/* BOX_REQUEST(req, KILL, kill, Kill, kill_): declares both messages, initialised and joined. */
#define BOX_REQUEST(req, UPPER, field, type_init)                                                  \
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;                             \
	__typeof__(*req.field) field##_msg = type_init;                                            \
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_##UPPER;                                    \
	req.field = &field##_msg

/* A process of the host: sh -c script, with pipes of the keeper unless told otherwise. */
struct box_launch {
	const char *id, *script, *log; /* log: a name in the directory, or NULL */
	bool tty, in, in_once, no_io, kill_with_client;
	uint64_t max_line;
	uint32_t timeout_ms;
	int fds[3]; /* for no_io: 0 is none */
};

static inline bool
box_start(struct box *b, struct keeper_call *call, const struct box_launch *l)
{
	Coracle__Launch__Plan plan = CORACLE__LAUNCH__PLAN__INIT;
	char *argv[] = {(char *)"/bin/sh", (char *)"-c", (char *)l->script};
	ProtobufCBinaryData env = {
	    .data = (uint8_t *)(uintptr_t) "PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
	char io[64];
	int fds[3];
	size_t n = 0;
	BOX_REQUEST(req, LAUNCH, launch, (Coracle__Launch__Launch)CORACLE__LAUNCH__LAUNCH__INIT);

	env.len = strlen((char *)env.data);
	plan.kind = CORACLE__LAUNCH__PLAN__KIND__EXEC;
	plan.n_argv = 3;
	plan.argv = argv;
	plan.n_env = 1;
	plan.env = &env;
	plan.cwd = (char *)"/";
	plan.tty = l->tty;
	plan.stdin = l->in;
	plan.stdin_once = l->in_once;
	plan.tty_width = 80;
	plan.tty_height = 24;
	if (l->fds[0] > 0) {
		fds[n++] = l->fds[0];
		plan.stdin_fd = (uint32_t)n;
	}
	if (l->fds[1] > 0) {
		fds[n++] = l->fds[1];
		plan.stdout_fd = (uint32_t)n;
	}
	if (l->fds[2] > 0) {
		fds[n++] = l->fds[2];
		plan.stderr_fd = (uint32_t)n;
	}
	snprintf(io, sizeof(io), "io/%s", l->id);
	launch_msg.id = (char *)l->id;
	launch_msg.plan = &plan;
	launch_msg.log_path = l->log == NULL ? (char *)"" : (char *)box_path(b, l->log);
	launch_msg.io_dir = l->no_io ? (char *)"" : (char *)box_path(b, io);
	launch_msg.kill_with_client = l->kill_with_client;
	launch_msg.log_max_line = l->max_line;
	launch_msg.timeout_ms = l->timeout_ms;
	return box_call(b, call, &req, fds, n);
}

/* As box_start for who wants no more than the pid; 0 when it failed. */
static inline pid_t
box_run(struct box *b, const struct box_launch *l)
{
	struct keeper_call call;
	pid_t pid = 0;

	if (box_start(b, &call, l))
		pid = call.reply->pid;
	else
		diag("launch %s: %s", l->id, call.err.msg);
	keeper_call_release(&call);
	return pid;
}

static inline bool
box_kill(struct box *b, const char *id, int sig, bool tree)
{
	struct keeper_call call;
	bool done;
	BOX_REQUEST(req, KILL, kill, (Coracle__Launch__Kill)CORACLE__LAUNCH__KILL__INIT);

	kill_msg.id = (char *)id;
	kill_msg.signal = sig;
	kill_msg.tree = tree;
	kill_msg.wait = true;
	done = box_call(b, &call, &req, NULL, 0);
	keeper_call_release(&call);
	return done;
}

static inline bool
box_forget(struct box *b, const char *id)
{
	struct keeper_call call;
	bool done;
	BOX_REQUEST(req, FORGET, forget, (Coracle__Launch__Forget)CORACLE__LAUNCH__FORGET__INIT);

	forget_msg.id = (char *)id;
	done = box_call(b, &call, &req, NULL, 0);
	keeper_call_release(&call);
	return done;
}

/* How many processes it knows, running ones in *ret_running; -1 when it does not say. */
static inline int
box_list(struct box *b, int *ret_running)
{
	struct keeper_call call;
	int n = -1;
	size_t i;
	BOX_REQUEST(req, LIST, list, (Coracle__Launch__List)CORACLE__LAUNCH__LIST__INIT);

	*ret_running = 0;
	if (box_call(b, &call, &req, NULL, 0)) {
		n = (int)call.reply->n_processes;
		for (i = 0; i < call.reply->n_processes; i++)
			*ret_running += call.reply->processes[i]->exit == NULL;
	}
	keeper_call_release(&call);
	return n;
}

/* Index into b->exits, or -1. */
static inline int
box_exit_of(const struct box *b, const char *id)
{
	size_t i;

	for (i = 0; i < b->n_exits; i++)
		if (strcmp(b->exits[i].id, id) == 0)
			return (int)i;
	return -1;
}

static inline bool
box_wait_exit(struct box *b, const char *id)
{
	return box_until(box_exit_of(b, id) >= 0);
}

/* ---- files ---- */

/* The whole file, "" when there is none; the caller frees. */
static inline char *
box_read(const struct box *b, const char *name)
{
	struct buf buf = BUF_INIT;
	struct err err;

	buf_addstr(&buf, "");
	if (fd_read_file(AT_FDCWD, box_path(b, name), 256 << 20, &buf, &err) < 0)
		diag("%s: %s", name, err.msg);
	return buf_detach(&buf);
}

/* The content of a log without times: "stdout F text\n…"; the caller frees. NULL when a line is not
 * as the CRI wants it. */
static inline char *
box_log(const struct box *b, const char *name)
{
	char *text = box_read(b, name), *at = text, *to = text;

	while (*at != '\0') {
		char *end = strchr(at, '\n'), *space = strchr(at, ' ');

		if (end == NULL || space == NULL || space - at != 30 || at[29] != 'Z' ||
		    at[19] != '.') {
			free(text);
			return NULL;
		}
		memmove(to, space + 1, (size_t)(end - space));
		to += end - space;
		at = end + 1;
	}
	*to = '\0';
	return text;
}

static inline void
box_log_is(const struct box *b, const char *name, const char *want, const char *what)
{
	char *got = box_log(b, name);

	is_str(got, want, what);
	free(got);
}

static inline bool
box_write(const struct box *b, const char *name, const char *text)
{
	struct err err;

	return fd_write_file(AT_FDCWD, box_path(b, name), text, strlen(text), 0600, false, &err) ==
	       0;
}

/* ---- the end ---- */

/* Gone, or a zombie that its reaper has not come to yet. */
static inline bool
box_dead(pid_t pid)
{
	char path[64], text[512] = "";
	const char *at;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	at = strrchr(text, ')');
	return at == NULL || at[2] == 'Z' || at[2] == 'X';
}

/* Kills what still runs, asks the keeper to end, and removes the directory. True when the keeper
 * did. */
static inline bool
box_end(struct box *b)
{
	struct keeper_call call;
	struct err err;
	size_t i;
	bool ended = false;
	BOX_REQUEST(list_req, LIST, list, (Coracle__Launch__List)CORACLE__LAUNCH__LIST__INIT);
	BOX_REQUEST(end_req, SHUTDOWN, shutdown,
	    (Coracle__Launch__Shutdown)CORACLE__LAUNCH__SHUTDOWN__INIT);

	if (box_call(b, &call, &list_req, NULL, 0))
		for (i = 0; i < call.reply->n_processes; i++)
			if (call.reply->processes[i]->exit == NULL)
				box_kill(b, call.reply->processes[i]->id, SIGKILL, true);
	keeper_call_release(&call);
	if (box_call(b, &call, &end_req, NULL, 0))
		ended = true;
	else
		diag("shutdown: %s", call.err.msg);
	keeper_call_release(&call);
	/* The loop sees it go, and starts no other. */
	ended = ended && box_until(box_dead(b->pid));
	box_sleep(50);
	ended = ended && access(box_path(b, "keeper.sock"), F_OK) < 0;
	keeper_close(b->k);
	if (!ended && b->pid > 0)
		kill(b->pid, SIGKILL);
	fd_remove_tree(AT_FDCWD, b->dir, &err);
	return ended;
}

#endif
