/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients attached to a keeper's processes: output, input and its end, slow and stalled clients,
 * terminals, and what is left when they go.
 */
#include "keeper_box.h"

#include <dirent.h>
#include <poll.h>
#include <sys/ioctl.h>

/* Our ends of what was attached; -1: not that stream. */
struct ends {
	int in, out, err;
};

static bool
attach(struct box *b, const char *id, bool in, bool out, bool err, struct ends *ret)
{
	struct keeper_call call;
	int pairs[3][2], fds[3], i;
	const bool want[3] = {in, out, err};
	int *const ours[3] = {&ret->in, &ret->out, &ret->err};
	size_t n = 0;
	bool done;
	BOX_REQUEST(req, ATTACH, attach, (Coracle__Launch__Attach)CORACLE__LAUNCH__ATTACH__INIT);
	uint32_t *const index[3] = {
	    &attach_msg.stdin_fd, &attach_msg.stdout_fd, &attach_msg.stderr_fd};

	attach_msg.id = (char *)id;
	for (i = 0; i < 3; i++) {
		*ours[i] = -1;
		if (!want[i])
			continue;
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]) < 0)
			return false;
		*ours[i] = pairs[i][0];
		fds[n++] = pairs[i][1];
		*index[i] = (uint32_t)n;
	}
	done = box_call(b, &call, &req, fds, n);
	if (!done)
		diag("attach: %s", call.err.msg);
	keeper_call_release(&call);
	while (n > 0)
		close(fds[--n]);
	return done;
}

static void
detach(struct ends *e)
{
	fd_closep(&e->in);
	fd_closep(&e->out);
	fd_closep(&e->err);
}

/* Up to n bytes, until the end or the time is over; a NUL behind them. The loop runs meanwhile:
 * that a stdin is closed takes coracled as well. */
static size_t
read_until(int fd, char *to, size_t n, int ms)
{
	int64_t end = clock_mono_ns() + ms * NS_PER_MS;
	size_t got = 0;

	fd_set_nonblock(fd, true);
	while (got < n && clock_mono_ns() < end) {
		ssize_t r = read(fd, to + got, n - got);

		if (r > 0)
			got += (size_t)r;
		else if (r < 0 && errno == EAGAIN)
			box_sleep(1);
		else
			break;
	}
	to[got] = '\0';
	return got;
}

static bool
at_end(int fd)
{
	ssize_t n = -1;
	char c;

	fd_set_nonblock(fd, true);
	box_until((n = read(fd, &c, 1)) >= 0 || errno != EAGAIN);
	return n == 0;
}

static bool
says(int fd, const char *want)
{
	char got[4096];

	read_until(fd, got, strlen(want), BOX_WAIT_MS);
	if (strcmp(got, want) == 0)
		return true;
	diag("got \"%s\"", got);
	return false;
}

static bool
send_text(int fd, const char *text)
{
	return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

static void
test_output(struct box *b)
{
	struct ends one, two;

	ok(box_run(b, &(struct box_launch){.id = "o",
	                  .in = true,
	                  .log = "o.log",
	                  .script = "while read x; do printf \"$x\"; echo \"e$x\" >&2; done"}) > 0,
	    "launched");
	ok(attach(b, "o", true, true, true, &one), "attached");
	ok(attach(b, "o", false, true, false, &two), "and once more, to stdout only");
	ok(send_text(one.in, "a\n"), "sent");
	ok(says(one.out, "a"), "output comes back before its line is finished");
	ok(says(one.err, "ea\n"), "stderr too");
	ok(says(two.out, "a"), "to both");
	ok(send_text(one.in, "b\nc\n") && says(one.out, "bc") && says(two.out, "bc"),
	    "and each byte once");
	detach(&two);
	ok(send_text(one.in, "d\n") && says(one.out, "d"), "one goes, the other stays");
	shutdown(one.in, SHUT_WR);
	ok(at_end(one.out), "the end of the input detaches");
	detach(&one);
	ok(attach(b, "o", true, true, false, &one), "attached again");
	ok(send_text(one.in, "z\n") && says(one.out, "z"), "the process has not noticed");
	ok(box_kill(b, "o", SIGKILL, true), "killed");
	ok(at_end(one.out), "its end is the client's");
	detach(&one);
	char *log = box_log(b, "o.log");
	ok(log != NULL && strstr(log, "stdout P abcdz\n") != NULL,
	    "the log has the unfinished line once");
	free(log);
	ok(!attach(b, "o", false, true, false, &one), "not after its end");
	detach(&one);
}

static void
test_once(struct box *b)
{
	struct ends one, two;
	struct keeper_call call;
	BOX_REQUEST(close_req, CLOSE_STDIN, close_stdin,
	    (Coracle__Launch__CloseStdin)CORACLE__LAUNCH__CLOSE_STDIN__INIT);

	ok(box_run(b, &(struct box_launch){.id = "once",
	                  .in = true,
	                  .in_once = true,
	                  .log = "once.log",
	                  .script = "cat; sleep 0.3; echo; echo bye"}) > 0,
	    "launched");
	ok(attach(b, "once", true, true, true, &one), "attached");
	ok(attach(b, "once", true, true, false, &two), "by two");
	ok(send_text(one.in, "echo -n hello") && says(one.out, "echo -n hello"), "echoed");
	ok(says(two.out, "echo -n hello"), "to both");
	shutdown(one.in, SHUT_WR);
	ok(says(one.out, "\nbye\n"), "the end of the input is the process's, the output goes on");
	ok(at_end(one.out) && at_end(one.err), "to its end");
	ok(says(two.out, "\nbye\n") && at_end(two.out), "for the other as well");
	detach(&one);
	detach(&two);
	ok(box_wait_exit(b, "once"), "ended");
	box_log_is(b, "once.log", "stdout F echo -n hello\nstdout F bye\n", "logged");

	ok(box_run(b,
	       &(struct box_launch){.id = "gone", .in = true, .in_once = true, .script = "cat"}) >
	        0,
	    "launched");
	ok(attach(b, "gone", true, true, false, &one), "attached");
	detach(&one);
	ok(box_wait_exit(b, "gone"), "a client that vanishes ends the input too");

	ok(box_run(b, &(struct box_launch){.id = "cl", .in = true, .script = "cat"}) > 0,
	    "launched");
	close_stdin_msg.id = (char *)"cl";
	ok(box_call(b, &call, &close_req, NULL, 0), "CloseStdin");
	keeper_call_release(&call);
	ok(box_wait_exit(b, "cl"), "ends the process");
}

/* Input comes as fast as it is taken, and all of it arrives. */
static void
test_much_input(struct box *b)
{
	enum { BYTES = 1000000 };
	struct ends e;
	char *data = xcalloc(1, BYTES), got[64];
	size_t sent = 0;
	int64_t end = clock_mono_ns() + BOX_WAIT_MS * NS_PER_MS;

	ok(box_run(b,
	       &(struct box_launch){
	           .id = "much", .in = true, .in_once = true, .script = "sleep 0.5; wc -c"}) > 0,
	    "launched");
	ok(attach(b, "much", true, true, false, &e), "attached");
	while (sent < BYTES && clock_mono_ns() < end) {
		ssize_t n = send(e.in, data + sent, BYTES - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		else
			box_sleep(1);
	}
	shutdown(e.in, SHUT_WR);
	read_until(e.out, got, sizeof(got) - 1, BOX_WAIT_MS);
	is_int(strtol(got, NULL, 10), BYTES, "1 MB of input came through");
	detach(&e);
	free(data);
	ok(box_wait_exit(b, "much"), "ended");
}

/* 200000 lines of 30 bytes are far more than sockets and queues hold. */
static const char flood[] = "read x; i=0; seq -f 'line %022.0f ' 200000; echo end";

static void
test_stalled(struct box *b)
{
	struct ends stalled, feeder;
	int64_t start;
	char *log, *at;
	int n = 0;

	ok(box_run(b,
	       &(struct box_launch){.id = "st", .in = true, .script = flood, .log = "st.log"}) > 0,
	    "launched");
	ok(attach(b, "st", false, true, false, &stalled), "a client that never reads");
	ok(attach(b, "st", true, false, false, &feeder), "and one that feeds it");
	start = clock_mono_ns();
	ok(send_text(feeder.in, "go\n"), "off");
	ok(box_wait_exit(b, "st"), "the process is not held up");
	ok(clock_mono_ns() - start < 10 * NS_PER_SEC, "for long: %lld ms",
	    (long long)((clock_mono_ns() - start) / NS_PER_MS));
	ok(strstr(b->note, "does not read") != NULL, "the client is told of: %s", b->note);
	log = box_log(b, "st.log");
	for (at = log; at != NULL && *at != '\0'; at = strchr(at, '\n') + 1)
		n++;
	is_int(n, 200001, "the log is whole");
	free(log);
	detach(&stalled);
	detach(&feeder);
}

static void
test_slow(struct box *b)
{
	enum { BYTES = 200000 * 29 + 4 };
	struct ends e;
	char *data = xmalloc(BYTES + 2);
	size_t got = 0;
	ssize_t n = 1;

	ok(box_run(b, &(struct box_launch){.id = "sl", .in = true, .script = flood}) > 0,
	    "launched");
	ok(attach(b, "sl", true, true, false, &e), "a client that is slow");
	ok(send_text(e.in, "go\n"), "off");
	while (n > 0 && got <= BYTES) {
		struct pollfd p = {.fd = e.out, .events = POLLIN};

		usleep(2000);
		if (poll(&p, 1, BOX_WAIT_MS) <= 0)
			break;
		n = read(e.out, data + got, MIN((size_t)BYTES + 1 - got, (size_t)40000));
		got += n > 0 ? (size_t)n : 0;
	}
	is_int(got, BYTES, "gets all of it");
	ok(got == BYTES && memcmp(data + BYTES - 4, "end\n", 4) == 0, "to the last line");
	free(data);
	detach(&e);
	ok(box_wait_exit(b, "sl"), "ended");
}

static void
test_terminal(struct box *b)
{
	struct keeper_call call;
	struct ends e;
	char got[512];
	int fd;
	BOX_REQUEST(
	    size_req, RESIZE, resize, (Coracle__Launch__Resize)CORACLE__LAUNCH__RESIZE__INIT);

	ok(box_start(b, &call,
	       &(struct box_launch){.id = "tty",
	           .tty = true,
	           .in = true,
	           .log = "tty.log",
	           .script =
	               "stty -echo; stty size; read x; stty size; echo \"<$x>\"; printf prompt; "
	               "read y; exit 5"}),
	    "launched: %s", call.err.msg);
	fd = call.reply == NULL ? -1 : keeper_call_take_fd(&call, call.reply->tty_fd);
	ok(fd >= 0, "the terminal's master comes along");
	keeper_call_release(&call);
	ok(attach(b, "tty", true, true, false, &e), "attached");
	ok(box_until(access(box_path(b, "tty.log"), F_OK) == 0 && ({
		char *log = box_log(b, "tty.log");
		bool there = log != NULL && strcmp(log, "stdout F 24 80\n") == 0;
		free(log);
		there;
	})),
	    "its size is the plan's, and a terminal's line ends are no part of the log");
	resize_msg.id = (char *)"tty";
	resize_msg.width = 132;
	resize_msg.height = 50;
	ok(box_call(b, &call, &size_req, NULL, 0), "resized");
	keeper_call_release(&call);
	ok(send_text(e.in, "words\n"), "typed");
	read_until(e.out, got, sizeof(got) - 1, 500);
	ok(strstr(got, "50 132\r\n<words>\r\nprompt") != NULL, "seen as it is");
	shutdown(e.in, SHUT_WR);
	ok(at_end(e.out), "the end of the input detaches from a terminal");
	detach(&e);
	ok(attach(b, "tty", true, true, false, &e) && send_text(e.in, "\n"), "attached again");
	ok(box_wait_exit(b, "tty"), "ended");
	is_int(WEXITSTATUS(b->exits[box_exit_of(b, "tty")].status), 5, "status");
	box_log_is(b, "tty.log",
	    "stdout F 24 80\nstdout F 50 132\nstdout F <words>\nstdout P prompt\n", "logged");
	detach(&e);
	fd_closep(&fd);

	ok(box_start(b, &call,
	       &(struct box_launch){
	           .id = "etty", .tty = true, .no_io = true, .script = "read x; echo \"got $x\""}),
	    "a terminal that the caller reads: %s", call.err.msg);
	fd = call.reply == NULL ? -1 : keeper_call_take_fd(&call, call.reply->tty_fd);
	keeper_call_release(&call);
	resize_msg.id = (char *)"etty";
	ok(box_call(b, &call, &size_req, NULL, 0), "resized");
	keeper_call_release(&call);
	ok(write(fd, "me\n", 3) == 3, "typed");
	box_wait_exit(b, "etty");
	read_until(fd, got, sizeof(got) - 1, 300);
	ok(strstr(got, "got me\r\n") != NULL, "the keeper has not read it");
	close(fd);
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
test_abort(struct box *b)
{
	struct ends e;
	int i, fds;

	ok(box_run(b, &(struct box_launch){.id = "ab", .in = true, .script = "exec sleep 600"}) > 0,
	    "launched");
	fds = count_fds(b->pid);
	for (i = 0; i < 500; i++) {
		if (!attach(b, "ab", i % 2 == 0, true, true, &e))
			break;
		detach(&e);
	}
	is_int(i, 500, "attached and gone 500 times");
	ok(box_until(count_fds(b->pid) <= fds), "nothing is left of it");
}

/* Processes that close their streams while somebody types. */
static void
test_deaf(struct box *b)
{
	struct ends e;
	int i, running;

	ok(box_run(
	       b, &(struct box_launch){.id = "deaf",
	              .in = true,
	              .script = "exec 0<&-; read x < /proc/$PPID/stat; sleep 0.3; echo alive"}) > 0,
	    "launched");
	ok(attach(b, "deaf", true, true, false, &e), "attached");
	box_sleep(100);
	ok(send_text(e.in, "words for nobody\n"), "typed");
	ok(says(e.out, "alive\n") && box_wait_exit(b, "deaf"), "its output is still there");
	detach(&e);

	ok(box_run(
	       b, &(struct box_launch){.id = "hup",
	              .in = true,
	              .tty = true,
	              .log = "hup.log",
	              .script = "trap '' HUP; echo on; t=$(tty); exec 0<&- 1>&- 2>&-; sleep 0.3; "
	                        "echo back > $t; sleep 0.3"}) > 0,
	    "launched");
	ok(attach(b, "hup", true, true, false, &e), "attached");
	box_sleep(100);
	for (i = 0; i < 200; i++)
		if (send(e.in, "0123456789012345678901234567890123456789\n", 41,
		        MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
	ok(box_list(b, &running) > 0, "a terminal that nobody has open does not busy the keeper");
	ok(box_wait_exit(b, "hup"), "ended");
	char *log = box_log(b, "hup.log");
	ok(log != NULL && strstr(log, "F on\n") && strstr(log, "back\n"),
	    "what is written when it is opened again is read");
	free(log);
	detach(&e);
}

/* coracled is killed: its sockets close, all at once, and no process notices. */
static void
test_crash(struct box *b)
{
	struct ends e;
	struct keeper_call call;

	ok(box_run(b,
	       &(struct box_launch){.id = "cr", .in = true, .in_once = true, .script = "cat"}) > 0,
	    "launched");
	ok(attach(b, "cr", true, true, false, &e), "attached");
	detach(&e);
	keeper_close(b->k);
	usleep(500000);
	ok(box_connect(b), "connected again");
	ok(attach(b, "cr", true, true, false, &e), "it runs");
	ok(send_text(e.in, "x\n") && says(e.out, "x\n"), "and its input is still open");
	shutdown(e.in, SHUT_WR);
	ok(box_wait_exit(b, "cr"), "until it ends");
	detach(&e);
	BOX_REQUEST(req, OPEN, open, (Coracle__Launch__Open)CORACLE__LAUNCH__OPEN__INIT);
	open_msg.id = (char *)"ab";
	ok(box_call(b, &call, &req, NULL, 0), "a running process is opened");
	int fd = call.reply == NULL ? -1 : keeper_call_take_fd(&call, call.reply->pid_fd);
	ok(fd >= 0 && syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0, "for its pidfd");
	keeper_call_release(&call);
	close(fd);
	ok(box_wait_exit(b, "ab"), "ended");
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
	test_output(&b);
	test_once(&b);
	test_much_input(&b);
	test_stalled(&b);
	test_slow(&b);
	test_terminal(&b);
	test_deaf(&b);
	test_abort(&b);
	test_crash(&b);
	ok(box_end(&b), "the keeper ends when it is asked to");
	return tap_done();
}
