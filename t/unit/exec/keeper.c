/* SPDX-License-Identifier: Apache-2.0
 *
 * A keeper as coracled uses it: launches, logs, exits and their records, rotation, errors, messages
 * that are none, many processes, memory.
 */
#include "keeper_box.h"

#include <dirent.h>
#include <poll.h>
#include <sys/un.h>

#include "exec/keeper/parcel.h"

static void
test_launch(struct box *b)
{
	struct keeper_call call;
	int pidfd, i, running;

	ok(box_start(b, &call,
	       &(struct box_launch){.id = "one",
	           .script = "echo out; echo err >&2; printf tail; exit 3",
	           .log = "logs/one/0.log"}),
	    "launched: %s", call.err.msg);
	ok(call.reply != NULL && call.reply->pid > 0, "its pid");
	pidfd = call.reply == NULL ? -1 : keeper_call_take_fd(&call, call.reply->pid_fd);
	ok(pidfd >= 0, "its pidfd");
	is_int(keeper_call_take_fd(&call, call.reply->tty_fd), -1, "no terminal");
	keeper_call_release(&call);
	close(pidfd);

	ok(box_wait_exit(b, "one"), "its end is told");
	i = box_exit_of(b, "one");
	ok(i >= 0 && WIFEXITED(b->exits[i].status) && WEXITSTATUS(b->exits[i].status) == 3,
	    "status 3");
	ok(i >= 0 && b->exits[i].had_record, "the record was there before");
	/* Two pipes: their order to each other is nobody's promise. */
	char *log = box_log(b, "logs/one/0.log");
	ok(log != NULL && strstr(log, "stdout F out\n") != NULL, "stdout");
	ok(log != NULL && strstr(log, "stderr F err\n") != NULL, "stderr");
	ok(log != NULL && strstr(log, "stdout P tail\n") != NULL, "the tail has tag P");
	is_int(log == NULL ? 0 : strlen(log), 40, "and no more");
	free(log);
	is_int(box_list(b, &running), 1, "listed after its end");
	is_int(running, 0, "as ended");
	ok(box_forget(b, "one"), "forgotten");
	is_int(box_list(b, &running), 0, "not listed any more");
	ok(access(box_path(b, "exits/one"), F_OK) < 0, "its record is gone");
	ok(access(box_path(b, "io/one"), F_OK) < 0, "and its pipes");
	ok(box_forget(b, "one"), "to forget once more is no error");

	ok(box_run(b, &(struct box_launch){.id = "sig", .script = "kill -SEGV $$"}) > 0,
	    "launched");
	ok(box_wait_exit(b, "sig"), "ended");
	i = box_exit_of(b, "sig");
	ok(i >= 0 && WIFSIGNALED(b->exits[i].status) && WTERMSIG(b->exits[i].status) == SIGSEGV,
	    "by a signal");
}

static void
test_streams(struct box *b)
{
	int out[2];
	char text[64] = "";
	ssize_t n;

	ok(pipe2(out, O_CLOEXEC) == 0, "pipe");
	ok(box_run(b,
	       &(struct box_launch){
	           .id = "given",
	           .script = "cat; echo to-given; echo x >&2",
	           .no_io = true,
	           .fds = {0, out[1], 0}
        }) > 0,
	    "descriptors of its own");
	close(out[1]);
	ok(box_wait_exit(b, "given"), "ended");
	n = read(out[0], text, sizeof(text) - 1);
	ok(n > 0, "read");
	is_str(text, "to-given\n", "stdout went there, stdin and stderr were /dev/null");
	close(out[0]);

	ok(box_run(b,
	       &(struct box_launch){.id = "re",
	           .script =
	               "echo a > /proc/self/fd/1; echo b >> /proc/self/fd/2; ls -l /proc/self/fd",
	           .log = "re.log"}) > 0,
	    "launched");
	ok(box_wait_exit(b, "re"), "ended");
	char *log = box_log(b, "re.log");
	ok(log != NULL && strstr(log, "stdout F a\n") && strstr(log, "stderr F b\n"),
	    "its streams can be opened again");
	ok(log != NULL && strstr(log, "keeper.") == NULL && strstr(log, "exits") == NULL,
	    "no descriptor of the keeper in it");
	free(log);
}

static void
test_lines(struct box *b)
{
	char *log;
	struct stat st;

	ok(box_run(b, &(struct box_launch){.id = "lines",
	                  .max_line = 16,
	                  .script = "printf 'half '; sleep 0.3; echo line; printf '%040d\\n' 7;"
	                            "printf '\\001\\000\\377\\n'; printf 'a\\r\\n'",
	                  .log = "lines.log"}) > 0,
	    "launched");
	ok(box_wait_exit(b, "lines"), "ended");
	log = box_read(b, "lines.log");
	ok(memmem(log, 4096, "stdout F half line\n", 19) != NULL, "a line of two writes is one");
	free(log);
	ok(stat(box_path(b, "lines.log"), &st) == 0 && st.st_size == 6 * 41 + 9 + 40 + 3 + 2,
	    "splitting and bytes of any value");

	/* 70000 bytes without a newline are more than the pipe holds. */
	ok(box_run(
	       b, &(struct box_launch){.id = "long",
	              .max_line = 100000,
	              .script = "head -c 70000 /dev/zero | tr '\\0' x; sleep 0.2; echo; echo end",
	              .log = "long.log"}) > 0,
	    "launched");
	ok(box_wait_exit(b, "long"), "a line longer than the pipe does not block it");
	ok(stat(box_path(b, "long.log"), &st) == 0 && st.st_size == 40 + 70000 + 1 + 40 + 3 + 1,
	    "and is whole");

	/* Each splice takes a buffer of the pipe, however short: it is full with 16 bytes. */
	ok(box_run(b, &(struct box_launch){.id = "slots",
	                  .script = "python3 -c \"\nimport os\nfor i in range(64):\n"
	                            " r, w = os.pipe(); os.write(w, b'y'); os.splice(r, 1, 1)\n"
	                            " os.close(r); os.close(w)\nos.write(1, b'\\\\n')\"",
	                  .log = "slots.log"}) > 0,
	    "launched");
	ok(box_wait_exit(b, "slots"), "a pipe full of small buffers does not block it");
	log = box_log(b, "slots.log");
	/* Where python has no os.splice the log is empty, and this proves nothing. */
	ok(log != NULL && (strlen(log) == 9 + 64 + 1 || strlen(log) == 0 || strstr(log, "Error")),
	    "and its line is whole");
	free(log);
}

static bool
reopen(struct box *b, const char *id, const char *name, struct keeper_call *call)
{
	BOX_REQUEST(req, REOPEN_LOG, reopen_log,
	    (Coracle__Launch__ReopenLog)CORACLE__LAUNCH__REOPEN_LOG__INIT);

	reopen_log_msg.id = (char *)id;
	reopen_log_msg.log_path = (char *)box_path(b, name);
	return box_call(b, call, &req, NULL, 0);
}

static void
test_rotation(struct box *b)
{
	struct keeper_call call;
	struct stat before, after;
	char *all, *at;
	int n, i;

	ok(box_run(b, &(struct box_launch){.id = "rot",
	                  .log = "rot.log",
	                  .script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done"}) >
	        0,
	    "launched");
	ok(box_until(stat(box_path(b, "rot.log"), &before) == 0 && before.st_size > 10000),
	    "it writes");
	rename(box_path(b, "rot.log"), box_path(b, "rot.log.1"));
	ok(reopen(b, "rot", "rot.log", &call), "reopened: %s", call.err.msg);
	ok(access(box_path(b, "rot.log"), F_OK) == 0, "the new file is there at once");
	keeper_call_release(&call);
	stat(box_path(b, "rot.log.1"), &before);
	symlink("/etc/passwd", box_path(b, "link.log"));
	ok(!reopen(b, "rot", "link.log", &call) && strstr(call.err.msg, "symbolic") != NULL,
	    "not to a link: %s", call.err.msg);
	keeper_call_release(&call);
	ok(box_wait_exit(b, "rot"), "ended");
	stat(box_path(b, "rot.log.1"), &after);
	is_int(after.st_size, before.st_size, "the old file got nothing more");
	all = box_log(b, "rot.log.1");
	at = box_log(b, "rot.log");
	all = xrealloc(all, strlen(all) + strlen(at) + 1);
	memcpy(all + strlen(all), at, strlen(at) + 1);
	free(at);
	for (n = 0, i = 0, at = all; *at != '\0'; i++, at = strchr(at, '\n') + 1)
		n += strtol(at + 9, NULL, 10) == i;
	ok(n == 20000 && i == 20000, "all lines are in one of them, once, in order");
	free(all);
	ok(!reopen(b, "rot", "never.log", &call), "not after its end: %s", call.err.msg);
	is_int(call.err.code, ERR_FAILED_PRECONDITION, "which is a failed precondition");
	ok(access(box_path(b, "never.log"), F_OK) < 0, "and makes no file");
	keeper_call_release(&call);
}

static void
test_errors(struct box *b)
{
	struct keeper_call call;
	struct box_launch l = {.id = "bad", .script = "true", .log = "bad.log"};
	int running, had = box_list(b, &running);
	Coracle__Launch__Plan plan = CORACLE__LAUNCH__PLAN__INIT;
	char *argv[] = {(char *)"/no/such/program"};
	BOX_REQUEST(req, LAUNCH, launch, (Coracle__Launch__Launch)CORACLE__LAUNCH__LAUNCH__INIT);

	plan.kind = CORACLE__LAUNCH__PLAN__KIND__EXEC;
	plan.argv = argv;
	plan.n_argv = 1;
	launch_msg.id = (char *)"bad";
	launch_msg.plan = &plan;
	launch_msg.io_dir = (char *)box_path(b, "io/bad");
	launch_msg.log_path = (char *)"";
	ok(!box_call(b, &call, &req, NULL, 0), "no such program: %s", call.err.msg);
	ok(call.reply != NULL && call.reply->error_number == ENOENT, "with its errno");
	ok(strstr(call.err.msg, "No such file") != NULL && strstr(call.err.msg, ": ") != NULL,
	    "step and text");
	keeper_call_release(&call);
	ok(access(box_path(b, "io/bad"), F_OK) < 0, "its pipes are gone");

	l.id = "../x";
	ok(!box_start(b, &call, &l), "an id that is a path: %s", call.err.msg);
	is_int(call.err.code, ERR_INVALID_ARGUMENT, "is invalid");
	keeper_call_release(&call);
	l.id = "bad";
	l.log = "../../x/../y.log";
	ok(!box_start(b, &call, &l), "a log elsewhere: %s", call.err.msg);
	keeper_call_release(&call);
	is_int(box_list(b, &running), had, "nothing of them is left");

	ok(box_run(b, &(struct box_launch){.id = "twice", .script = "exec sleep 60"}) > 0,
	    "launched");
	l = (struct box_launch){.id = "twice", .script = "true"};
	ok(!box_start(b, &call, &l), "the same id again: %s", call.err.msg);
	is_int(call.err.code, ERR_ALREADY_EXISTS, "exists");
	keeper_call_release(&call);
	ok(!box_forget(b, "twice"), "what runs is not forgotten");
	ok(box_kill(b, "twice", SIGTERM, false), "killed");
	ok(box_exit_of(b, "twice") >= 0, "a Kill that waits is answered after the event");
	ok(box_kill(b, "twice", SIGKILL, true), "to kill once more is no error");
	ok(box_kill(b, "nobody", SIGKILL, false), "nor to kill nobody");
}

/* What no decent client sends. */
static void
test_malformed(struct box *b)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	uint8_t bytes[4096];
	unsigned seed = 12345;
	int i, fd, running, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	keeper_close(b->k);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/keeper.sock", b->dir);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ok(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0, "connected by hand");
	for (i = 0; i < 3000; i++) {
		size_t n = 1 + rand_r(&seed) % (i % 2 == 0 ? 40 : sizeof(bytes)), k;
		int fds[3] = {null, null, null};
		struct pollfd p = {.fd = fd, .events = POLLIN};
		char reply[4096];

		for (k = 0; k < n; k++)
			bytes[k] = (uint8_t)rand_r(&seed);
		/* Half of them begin as a request would: a serial, then one of the kinds. */
		if (i % 2 == 0) {
			bytes[0] = 0x08;
			bytes[1] = 0x05;
			if (n > 4) {
				unsigned tag = (10 + rand_r(&seed) % 13) << 3 | 2;

				bytes[2] = (uint8_t)(tag | 0x80);
				bytes[3] = (uint8_t)(tag >> 7);
				bytes[4] = (uint8_t)(n - 5);
			}
		}
		/* Shutdown and Upgrade are requests like any other, and rightly done. */
		if (n > 3 && (bytes[2] | bytes[3] << 8) == (0xaa | 0x01 << 8))
			continue;
		k = rand_r(&seed) % 4;
		while (parcel_send(fd, bytes, n, fds, k) < 0 && errno == EAGAIN) {
			struct pollfd out = {.fd = fd, .events = POLLOUT};

			poll(&out, 1, 100);
		}
		while (poll(&p, 1, 0) > 0 && recv(fd, reply, sizeof(reply), MSG_DONTWAIT) > 0)
			;
	}
	ok(send(fd, bytes, 1, MSG_NOSIGNAL) == 1, "3000 messages of noise were read");
	close(fd);
	close(null);
	ok(box_connect(b), "and the keeper still answers");
	ok(box_list(b, &running) >= 0, "List");
	is_int(running, 0, "nothing was launched");
}

static long
smaps(pid_t pid, const char *what)
{
	char path[64], line[256];
	long kb = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, what, strlen(what)) == 0)
			kb += strtol(line + strlen(what), NULL, 10);
	if (f != NULL)
		fclose(f);
	return kb;
}

static int
count_fds(pid_t pid)
{
	char path[64];
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (d != NULL && readdir(d) != NULL)
		n++;
	if (d != NULL)
		closedir(d);
	return n;
}

static void
test_many(struct box *b)
{
	enum { MANY = 200 };
	static struct keeper_call calls[MANY];
	int i, running, launched = 0, right = 0, had = box_list(b, &running), fds;
	int64_t start = clock_mono_ns();
	long before, with;
	char id[32], log[32], script[64];

	fds = count_fds(b->pid);
	before = smaps(b->pid, "Private_Clean:") + smaps(b->pid, "Private_Dirty:");
	for (i = 0; i < MANY; i++) {
		snprintf(id, sizeof(id), "many-%d", i);
		snprintf(log, sizeof(log), "many/%d.log", i);
		snprintf(script, sizeof(script), "echo %d; exec sleep 600", i);
		launched += box_start(
		    b, &calls[i], &(struct box_launch){.id = id, .script = script, .log = log});
		keeper_call_release(&calls[i]);
	}
	is_int(launched, MANY, "200 processes launched");
	diag("%lld us each, one after the other",
	    (long long)(clock_mono_ns() - start) / 1000 / MANY);
	is_int(box_list(b, &running), had + MANY, "all are listed");
	is_int(running, MANY, "as running");
	with = smaps(b->pid, "Private_Clean:") + smaps(b->pid, "Private_Dirty:");
	diag("private memory of the keeper: %ld kB, %ld kB with 200 processes", before, with);
#ifndef SANITIZED
	ok(with > 0 && with < 1024, "below 1 MB of private memory");
#endif
	for (i = 0; i < MANY; i++) {
		char want[32], *got;

		snprintf(id, sizeof(id), "many-%d", i);
		snprintf(log, sizeof(log), "many/%d.log", i);
		snprintf(want, sizeof(want), "stdout F %d\n", i);
		box_kill(b, id, SIGKILL, false);
		got = box_log(b, log);
		right += got != NULL && strcmp(got, want) == 0;
		free(got);
		box_forget(b, id);
	}
	is_int(right, MANY, "each has its own log");
	is_int(box_list(b, &running), had, "all forgotten");
	is_int(count_fds(b->pid), fds, "no descriptor is left in the keeper");
}

/* A List that is longer than a message. */
static void
test_long_reply(struct box *b)
{
	enum { MANY = 600 };
	char id[120];
	int i, running, n;

	for (i = 0; i < MANY; i++) {
		snprintf(id, sizeof(id), "%0100d", i);
		if (box_run(b, &(struct box_launch){.id = id, .script = "exit 0", .no_io = true}) ==
		    0)
			break;
	}
	is_int(i, MANY, "600 more");
	snprintf(id, sizeof(id), "%0100d", MANY - 1);
	ok(box_until((n = box_list(b, &running)) >= MANY && running == 0), "all in one List");
	for (i = 0; i < MANY; i++) {
		snprintf(id, sizeof(id), "%0100d", i);
		box_forget(b, id);
	}
}

static void
test_protection(struct box *b)
{
	char path[64], text[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)b->pid);
	n = readlink(path, text, sizeof(text) - 1);
	text[MAX(n, 0)] = '\0';
	ok(strstr(text, "memfd:coracle-keeper") != NULL, "runs from a memfd: %s", text);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ok(fd < 0 && (errno == ETXTBSY || errno == EPERM), "which cannot be written while it runs");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ok((fcntl(fd, F_GET_SEALS) & (F_SEAL_WRITE | F_SEAL_SEAL)) == (F_SEAL_WRITE | F_SEAL_SEAL),
	    "nor ever");
	close(fd);
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)b->pid);
	ok(getsid(b->pid) != getsid(0), "a session of its own");
	struct stat st;
	ok(stat(box_path(b, "keeper.sock"), &st) == 0 && (st.st_mode & 0777) == 0600,
	    "socket 0600");
	ok(stat(box_path(b, "exits"), &st) == 0 && (st.st_mode & 0777) == 0700, "records 0700");
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
	test_protection(&b);
	test_launch(&b);
	test_streams(&b);
	test_lines(&b);
	test_rotation(&b);
	test_errors(&b);
	test_malformed(&b);
	test_many(&b);
	test_long_reply(&b);
	ok(box_end(&b), "the keeper ends when it is asked to");
	return tap_done();
}
