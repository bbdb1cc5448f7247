/* SPDX-License-Identifier: Apache-2.0
 *
 * What dies, and what must not: trees of processes, clients, keepers under load, and keepers that
 * replace themselves.
 */
#include "keeper_box.h"

#include <dirent.h>
#include <poll.h>

/* ---- trees ---- */

/* How many processes have this text in their command line. */
static int
count_named(const char *text)
{
	DIR *d = opendir("/proc");
	struct dirent *ent;
	int n = 0;

	while ((ent = readdir(d)) != NULL) {
		char path[300], cmd[4096];
		ssize_t got;
		int fd;

		if (ent->d_name[0] < '0' || ent->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/cmdline", ent->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		got = fd < 0 ? -1 : read(fd, cmd, sizeof(cmd));
		if (got > 0 && memmem(cmd, (size_t)got, text, strlen(text)) != NULL)
			n++;
		fd_closep(&fd);
	}
	closedir(d);
	return n;
}

static void
test_tree(struct box *b)
{
	char script[512], tag[64];

	snprintf(tag, sizeof(tag), "100%d", (int)getpid());
	snprintf(script, sizeof(script),
	    "sleep %s & (sh -c 'sleep %s & sleep %s') & setsid sleep %s & (sleep %s &) ; wait", tag,
	    tag, tag, tag, tag);
	ok(box_run(b, &(struct box_launch){.id = "tree", .script = script}) > 0, "launched");
	/* Five sleeps, and the two shells and the sh -c that have the number in their argument. */
	ok(box_until(count_named(tag) >= 7), "a tree of processes");
	ok(box_kill(b, "tree", SIGKILL, true), "killed");
	ok(box_until(count_named(tag) == 0), "all of it");

	snprintf(script, sizeof(script), "while :; do sleep %s & done", tag);
	ok(box_run(b, &(struct box_launch){.id = "bomb", .script = script}) > 0, "launched");
	ok(box_until(count_named(tag) > 20), "one that forks without end");
	ok(box_kill(b, "bomb", SIGKILL, true), "killed");
	ok(box_until(count_named(tag) == 0), "all of it");
}

/* ---- clients ---- */

static void
test_client_goes(struct box *b)
{
	pid_t stays, goes;
	int running;

	goes = box_run(b, &(struct box_launch){.id = "goes",
	                      .script = "sleep 600 & wait",
	                      .no_io = true,
	                      .kill_with_client = true});
	stays = box_run(b, &(struct box_launch){.id = "stays", .script = "exec sleep 600"});
	ok(goes > 0 && stays > 0, "launched");
	keeper_close(b->k);
	ok(box_until(box_dead(goes)), "what was to be killed with its client is");
	ok(!box_dead(stays), "the other one is not");
	ok(box_connect(b), "connected again");
	ok(box_list(b, &running) >= 2 && running == 1, "both are listed");
	ok(box_kill(b, "stays", SIGKILL, false) && box_wait_exit(b, "stays"), "its end is told");
}

/* A coracled that is killed in the middle of many launches. */
static void
test_client_killed(struct box *b)
{
	struct keeper_call call;
	size_t i, n;
	int round, running, status = 0;
	pid_t keeper = b->pid;
	BOX_REQUEST(req, LIST, list, (Coracle__Launch__List)CORACLE__LAUNCH__LIST__INIT);

	for (round = 0; round < 5; round++) {
		pid_t pid;

		keeper_close(b->k);
		pid = fork();
		if (pid == 0) {
			box_forked();
			if (!box_connect(b))
				_exit(1);
			for (i = 0;; i++) {
				char id[32];

				snprintf(id, sizeof(id), "k%d-%zu", round, i);
				if (box_run(b, &(struct box_launch){
				                   .id = id, .script = "exec sleep 600"}) == 0)
					_exit(1);
			}
		}
		usleep(50000 + (unsigned)round * 7000);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		if (!box_connect(b) || b->pid != keeper || !WIFSIGNALED(status))
			break;
	}
	is_int(round, 5, "a client is killed five times while it launches");
	ok(box_until(box_call(b, &call, &req, NULL, 0)), "List");
	n = call.reply == NULL ? 0 : call.reply->n_processes;
	diag("%zu processes were launched", n);
	ok(n > 0, "there are some");
	for (i = 0; i < n; i++) {
		const Coracle__Launch__Process *p = call.reply->processes[i];

		if (p->exit == NULL && (box_dead(p->pid) || !box_kill(b, p->id, SIGKILL, false)))
			break;
		box_forget(b, p->id);
	}
	is_int(i, n, "each is what it is said to be, and can be killed and forgotten");
	keeper_call_release(&call);
	is_int(box_list(b, &running), 0, "none is left");
}

/* The child hangs on a cgroup.procs that never takes its pid. */
static void
test_hung_launch(struct box *b)
{
	struct keeper_call call;
	Coracle__Launch__Plan plan = CORACLE__LAUNCH__PLAN__INIT;
	char *argv[] = {(char *)"/bin/true"}, block[65536] = "";
	uint32_t procs = 1;
	int fds[2], running;
	BOX_REQUEST(req, LAUNCH, launch, (Coracle__Launch__Launch)CORACLE__LAUNCH__LAUNCH__INIT);

	ok(pipe2(fds, O_CLOEXEC) == 0 && write(fds[1], block, sizeof(block)) == sizeof(block),
	    "pipe");
	plan.kind = CORACLE__LAUNCH__PLAN__KIND__EXEC;
	plan.argv = argv;
	plan.n_argv = 1;
	plan.cgroup_procs_fd = &procs;
	plan.n_cgroup_procs_fd = 1;
	launch_msg.id = (char *)"hung";
	launch_msg.plan = &plan;
	launch_msg.log_path = launch_msg.io_dir = (char *)"";
	launch_msg.timeout_ms = 300;
	ok(!box_call(b, &call, &req, &fds[1], 1), "a launch that hangs fails: %s", call.err.msg);
	is_int(call.err.code, ERR_DEADLINE_EXCEEDED, "at its deadline");
	keeper_call_release(&call);

	launch_msg.timeout_ms = 0;
	struct err err;
	ok(keeper_call_start(b->k, &call, &req, &fds[1], 1, box_on_call, &err) == 0, "once more");
	box_sleep(100);
	ok(box_kill(b, "hung", SIGKILL, false), "killed meanwhile");
	ok(box_until(call.keeper == NULL) && call.err.code == ERR_ABORTED, "the launch fails: %s",
	    call.err.msg);
	keeper_call_release(&call);
	box_list(b, &running);
	is_int(running, 0, "nothing is left of it");
	close(fds[0]);
	close(fds[1]);
}

/* ---- keepers ---- */

struct kept {
	const char *id, *log;
	pid_t pid;
	int pidfd, tty;
};

static bool
keep(struct box *b, struct kept *k, const struct box_launch *l)
{
	struct keeper_call call;
	bool done = box_start(b, &call, l);

	*k = (struct kept){.id = l->id, .log = l->log, .pidfd = -1, .tty = -1};
	if (done) {
		k->pid = call.reply->pid;
		k->pidfd = keeper_call_take_fd(&call, call.reply->pid_fd);
		k->tty = keeper_call_take_fd(&call, call.reply->tty_fd);
	} else {
		diag("launch: %s", call.err.msg);
	}
	keeper_call_release(&call);
	return done;
}

static bool
adopt(struct box *b, const struct kept *k, pid_t pid, char *why, size_t size)
{
	struct keeper_call call;
	char io[64];
	int fds[2] = {k->pidfd, k->tty};
	bool done;
	BOX_REQUEST(req, ADOPT, adopt, (Coracle__Launch__Adopt)CORACLE__LAUNCH__ADOPT__INIT);

	snprintf(io, sizeof(io), "io/%s", k->id);
	adopt_msg.id = (char *)k->id;
	adopt_msg.pid = pid;
	adopt_msg.pid_fd = 1;
	adopt_msg.tty_fd = k->tty >= 0 ? 2 : 0;
	adopt_msg.log_path = (char *)box_path(b, k->log);
	adopt_msg.io_dir = (char *)box_path(b, io);
	done = box_call(b, &call, &req, fds, k->tty >= 0 ? 2 : 1);
	snprintf(why, size, "%s", call.err.msg);
	keeper_call_release(&call);
	return done;
}

static bool
kill_keeper(struct box *b)
{
	int renewed = b->renewed, lost = b->lost;
	pid_t was = b->pid;

	kill(b->pid, SIGKILL);
	return box_until(b->renewed > renewed) && b->lost == lost + 1 && b->pid != was;
}

/* A writer that floods its log with numbers until it is told to stop (or the disk has seen enough),
 * whatever the speed of the machine. */
static void
writer_script(const struct box *b, char *script, size_t size)
{
	snprintf(script, size,
	    "seq 0 3999999 & while [ ! -e %s ] && kill -0 $! 2>/dev/null; do sleep 0.05; done; "
	    "kill $! 2>/dev/null; wait; exit 7",
	    box_path(b, "stop"));
}

static bool
writer_stop(struct box *b, const char *id)
{
	bool ended = box_write(b, "stop", "") && box_wait_exit(b, id);

	unlink(box_path(b, "stop"));
	return ended;
}

/* Lines 0, 1, … each once and in order, and perhaps the beginning of another one; how many. -1 when
 * they are not. */
static int
right_lines(const struct box *b, const char *log)
{
	char *text = box_log(b, log), *at;
	int n = 0;

	for (at = text; at != NULL && *at != '\0'; at = strchr(at, '\n') + 1) {
		bool last = strncmp(at, "stdout P ", 9) == 0 && strchr(at, '\n')[1] == '\0';

		if (last)
			break;
		if (strncmp(at, "stdout F ", 9) != 0 || strtol(at + 9, NULL, 10) != n) {
			diag("line %d is \"%.40s\"", n, at);
			n = -1;
			break;
		}
		n++;
	}
	free(text);
	return n;
}

static void
test_keeper_killed(struct box *b)
{
	enum { KILLS = 8 };
	struct kept k, quiet, dying;
	char why[512] = "", script[512], spy[256];
	int i, exit_at, lines;

	writer_script(b, script, sizeof(script));
	ok(keep(b, &quiet,
	       &(struct box_launch){
	           .id = "quiet", .log = "quiet.log", .script = "printf 'half '; exec sleep 600"}),
	    "launched");
	snprintf(spy, sizeof(spy),
	    "while grep -q ') [RSD] ' /proc/%d/stat 2>/dev/null; do sleep 0.01; done; "
	    "echo last words; exit 9",
	    (int)b->pid);
	ok(keep(b, &dying, &(struct box_launch){.id = "dying", .log = "dying.log", .script = spy}),
	    "one that ends as soon as its keeper has");
	ok(keep(b, &k, &(struct box_launch){.id = "kept", .log = "kept.log", .script = script}),
	    "and one that writes without end");
	for (i = 0; i < KILLS; i++) {
		usleep(3000 + (unsigned)(i * 1777) % 9000);
		if (!kill_keeper(b))
			break;
		if (i == 0) {
			/* The keeper of now was not there when this one spoke, or is just coming.
			 */
			ok(box_until(box_dead(dying.pid)), "it did");
			ok(adopt(b, &dying, dying.pid, why, sizeof(why)),
			    "adopted after its end: %s", why);
			ok(box_wait_exit(b, "dying"), "its end is told");
			box_log_is(b, "dying.log", "stdout F last words\n",
			    "and its last words are logged");
			ok(!adopt(b, &k, quiet.pid, why, sizeof(why)), "a pid of another: %s", why);
		}
		if (!adopt(b, &k, k.pid, why, sizeof(why)) ||
		    !adopt(b, &quiet, quiet.pid, why, sizeof(why)))
			break;
	}
	is_int(i, KILLS, "a keeper is killed 8 times, and its processes adopted");
	if (i != KILLS)
		diag("%s, %s", why, b->note);
	ok(writer_stop(b, "kept"), "the writer ends");
	exit_at = box_exit_of(b, "kept");
	if (exit_at >= 0 && !b->exits[exit_at].unknown)
		ok(WEXITSTATUS(b->exits[exit_at].status) == 7, "with the status it had");
	else
		ok(exit_at >= 0 && b->exits[exit_at].status == 255 << 8,
		    "this kernel does not tell its status");
	lines = right_lines(b, "kept.log");
	ok(lines > 1000, "no line of %d is lost, and none is there twice", lines);
	exit_at = box_exit_of(b, "dying");
	ok(exit_at >= 0 &&
	        (b->exits[exit_at].unknown || WEXITSTATUS(b->exits[exit_at].status) == 9),
	    "status of the one that ended without a keeper");
	ok(box_kill(b, "quiet", SIGTERM, false), "an adopted process is killed");
	ok(box_wait_exit(b, "quiet"), "its end is told");
	box_log_is(b, "quiet.log", "stdout P half \n", "the unfinished line was kept");
	close(k.pidfd);
	close(quiet.pidfd);
	close(dying.pidfd);
}

/* What is adopted keeps its input and its terminal. */
static void
test_adopt_streams(struct box *b)
{
	struct kept in, tty;
	char why[512];

	ok(keep(b, &in,
	       &(struct box_launch){
	           .id = "in", .in = true, .log = "in.log", .script = "cat; echo ended"}),
	    "one that reads");
	ok(keep(b, &tty,
	       &(struct box_launch){.id = "tty",
	           .tty = true,
	           .log = "tty.log",
	           .script = "echo before; sleep 2; echo after; exit 4"}),
	    "one with a terminal");
	box_sleep(200);
	ok(kill_keeper(b), "the keeper dies");
	ok(adopt(b, &in, in.pid, why, sizeof(why)), "adopted: %s", why);
	ok(adopt(b, &tty, tty.pid, why, sizeof(why)), "adopted: %s", why);
	ok(box_exit_of(b, "in") < 0, "its input has not ended");
	BOX_REQUEST(req, CLOSE_STDIN, close_stdin,
	    (Coracle__Launch__CloseStdin)CORACLE__LAUNCH__CLOSE_STDIN__INIT);
	struct keeper_call call;
	close_stdin_msg.id = (char *)"in";
	ok(box_call(b, &call, &req, NULL, 0), "until it is closed");
	keeper_call_release(&call);
	ok(box_wait_exit(b, "in") && box_wait_exit(b, "tty"), "both end");
	box_log_is(b, "in.log", "stdout F ended\n", "log of the one");
	box_log_is(b, "tty.log", "stdout F before\nstdout F after\n", "log of the other");
	close(in.pidfd);
	close(tty.pidfd);
	close(tty.tty);
}

static bool
upgrade(struct box *b, int program, char *why, size_t size)
{
	struct keeper_call call;
	bool done;
	BOX_REQUEST(
	    req, UPGRADE, upgrade, (Coracle__Launch__Upgrade)CORACLE__LAUNCH__UPGRADE__INIT);

	upgrade_msg.program_fd = 1;
	done = box_call(b, &call, &req, &program, 1);
	snprintf(why, size, "%s", call.err.msg);
	keeper_call_release(&call);
	return done;
}

static void
test_upgrade(struct box *b)
{
	enum { UPGRADES = 10 };
	struct kept k;
	char why[512] = "", script[512], got[200000];
	int i, lines, program = open(b->program, O_RDONLY | O_CLOEXEC), running, pair[2],
	              lost = b->lost;
	int junk = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	pid_t was = b->pid;
	struct keeper_call call;
	BOX_REQUEST(req, ATTACH, attach, (Coracle__Launch__Attach)CORACLE__LAUNCH__ATTACH__INIT);

	writer_script(b, script, sizeof(script));
	ok(keep(b, &k, &(struct box_launch){.id = "up", .log = "up.log", .script = script}),
	    "launched");
	ok(box_run(
	       b, &(struct box_launch){.id = "att",
	              .log = "att.log",
	              .script = "read x; i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; "
	                        "sleep 1; printf tail",
	              .in = true}) > 0,
	    "one more");
	ok(box_run(b, &(struct box_launch){.id = "ltty",
	                  .log = "ltty.log",
	                  .tty = true,
	                  .script = "printf half; sleep 2; echo ' line'"}) > 0,
	    "and one with a terminal");
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
	attach_msg.id = (char *)"att";
	attach_msg.stdin_fd = attach_msg.stdout_fd = 1;
	ok(box_call(b, &call, &req, &pair[1], 1), "attached: %s", call.err.msg);
	keeper_call_release(&call);
	close(pair[1]);
	ok(write(pair[0], "go\n", 3) == 3, "by one socket for both ways");
	ok(!upgrade(b, junk, why, sizeof(why)), "not to what is no program: %s", why);
	ok(box_list(b, &running) >= 3, "the keeper goes on after that");
	for (i = 0; i < UPGRADES; i++) {
		if (!upgrade(b, program, why, sizeof(why)))
			break;
		usleep(5000);
	}
	is_int(i, UPGRADES, "upgraded ten times");
	if (i < UPGRADES)
		diag("%s", why);
	is_int(b->lost, lost, "the connection held");
	is_int(box_list(b, &running) >= 3, 1, "all are listed");
	ok(writer_stop(b, "up"), "the writer ends");
	ok(box_exit_of(b, "up") >= 0 && !b->exits[box_exit_of(b, "up")].unknown &&
	        WEXITSTATUS(b->exits[box_exit_of(b, "up")].status) == 7,
	    "with its status");
	lines = right_lines(b, "up.log");
	ok(lines > 1000, "each line of %d is there once", lines);
	ok(box_wait_exit(b, "att") && box_wait_exit(b, "ltty"), "the others end");
	box_log_is(
	    b, "ltty.log", "stdout F half line\n", "a terminal's unfinished line went along");
	while (n < sizeof(got) - 1) {
		ssize_t r = read(pair[0], got + n, sizeof(got) - 1 - n);

		if (r <= 0)
			break;
		n += (size_t)r;
	}
	got[n] = '\0';
	ok(n > 4 && strcmp(got + n - 4, "tail") == 0, "the attached client got all to the end");
	ok(n > 20 && strstr(got, "\n1998\n1999\ntail") != NULL, "each byte once");
	is_int(keeper_pid(b->k), was, "all in the same process");
	close(program);
	close(junk);
	close(pair[0]);
	close(k.pidfd);
}

/* A coracled of today finds the keeper of another day: a program whose version reads otherwise. */
static void
test_versions(struct box *b)
{
	struct buf program = BUF_INIT;
	struct box old;
	struct err err;
	pid_t pid, sleeper;
	char *at, old_program[128];

	if (!ok(fd_read_file(AT_FDCWD, b->program, 64 << 20, &program, &err) == 0, "program read"))
		return;
	for (at = program.data; at < program.data + program.len - sizeof(PACKAGE_VERSION); at++)
		if (memcmp(at, PACKAGE_VERSION, sizeof(PACKAGE_VERSION)) == 0)
			at[0] = '9';
	box_prepare(&old);
	snprintf(old_program, sizeof(old_program), "%s", box_path(&old, "old-keeper"));
	ok(fd_write_file(AT_FDCWD, old_program, program.data, program.len, 0700, false, &err) == 0,
	    "a program of another version");
	buf_release(&program);
	pid = fork();
	if (pid == 0) {
		execl(old_program, "coracle-keeper", "--state", old.dir, (char *)NULL);
		_exit(99);
	}
	ok(box_until(access(box_path(&old, "keeper.sock"), F_OK) == 0), "runs");
	/* the socket is there a moment before anybody listens on it */
	if (!ok(box_until(box_connect(&old)), "and is found"))
		return;
	is_str(keeper_version(old.k), PACKAGE_VERSION, "upgraded");
	is_int(old.pid, pid, "in the same process");
	sleeper = box_run(&old, &(struct box_launch){.id = "s", .script = "exec sleep 600"});
	keeper_close(old.k);
	ok(box_connect(&old), "connected again");
	ok(old.pid == pid && !box_dead(sleeper), "nothing has happened to what it keeps");
	ok(box_end(&old), "ended");
	waitpid(pid, NULL, WNOHANG);
}

/* Records of ended processes outlive the keeper that wrote them. */
static void
test_records(struct box *b)
{
	struct keeper_call call;
	size_t i;
	bool found = false;
	BOX_REQUEST(req, LIST, list, (Coracle__Launch__List)CORACLE__LAUNCH__LIST__INIT);

	ok(box_run(b, &(struct box_launch){.id = "rec", .script = "exit 42"}) > 0, "launched");
	ok(box_wait_exit(b, "rec"), "ended");
	box_write(b, "exits/torn.tmp~", "x");
	box_write(b, "exits/broken", "\377\377");
	ok(kill_keeper(b), "the keeper dies");
	ok(box_call(b, &call, &req, NULL, 0), "List");
	for (i = 0; call.reply != NULL && i < call.reply->n_processes; i++) {
		const Coracle__Launch__Process *p = call.reply->processes[i];

		if (strcmp(p->id, "rec") == 0)
			found = p->exit != NULL && WEXITSTATUS(p->exit->status) == 42 &&
			        p->exit->finished_at > 0;
	}
	ok(found, "the next one knows how it ended");
	keeper_call_release(&call);
	ok(access(box_path(b, "exits/torn.tmp~"), F_OK) < 0, "half a record is removed");
	ok(access(box_path(b, "exits/broken"), F_OK) < 0, "and a broken one");
	ok(box_forget(b, "rec") && access(box_path(b, "exits/rec"), F_OK) < 0, "forgotten");
}

/* Two keepers of one directory. */
static void
test_lock(struct box *b)
{
	int out[2], running;
	char text[512] = "";
	pid_t pid;

	ok(pipe(out) == 0, "pipe");
	pid = fork();
	if (pid == 0) {
		dup2(out[1], 2);
		execl(b->program, "coracle-keeper", "--state", b->dir, (char *)NULL);
		_exit(99);
	}
	close(out[1]);
	ok(read(out[0], text, sizeof(text) - 1) > 0 && strstr(text, "is the keeper of") != NULL,
	    "a second keeper is refused: %s", text);
	waitpid(pid, NULL, 0);
	close(out[0]);
	ok(box_list(b, &running) >= 0, "the first goes on");
}

int
main(void)
{
	struct box b;

	if (geteuid() != 0)
		skip_all("needs root");
	loop_init();
	if (!box_begin(&b))
		return 1;
	test_tree(&b);
	test_client_goes(&b);
	test_client_killed(&b);
	test_hung_launch(&b);
	test_lock(&b);
	test_keeper_killed(&b);
	test_adopt_streams(&b);
	test_upgrade(&b);
	test_records(&b);
	test_versions(&b);
	ok(box_end(&b), "the keeper ends when it is asked to");
	return tap_done();
}
