/* SPDX-License-Identifier: Apache-2.0
 *
 * Children and workers: exit statuses, captured output and its limit, input, deadlines, process
 * groups, descriptors, and output that a grandchild keeps open.
 */
#include "loop/child.h"

#include <fcntl.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "loop/loop.h"
#include "loop/worker.h"
#include "tap.h"

static int pending;

static void
on_done(struct child *c)
{
	(void)c;
	pending--;
}

static void
run(struct child *c, struct child_spec spec, const char *script)
{
	const char *argv[] = {"sh", "-c", script, NULL};
	struct err err;

	spec.path = "/bin/sh";
	spec.argv = argv;
	if (child_spawn(c, &spec, on_done, &err) < 0) {
		diag("%s", err.msg);
		exit(1);
	}
	pending++;
	while (pending > 0)
		ev_run(loop, EVRUN_ONCE);
}

static int
open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void
children(void)
{
	struct child c;
	struct child_spec spec = {.max_output = 1000};
	struct err err;
	int64_t start;
	char big[200000];

	run(&c, spec, "echo out; echo err >&2; exit 3");
	is_int(WEXITSTATUS(c.status), 3, "exit status");
	is_str(c.out.data, "out\n", "stdout is captured");
	is_str(c.err_out.data, "err\n", "stderr is captured");
	child_error(&c, "plugin", &err);
	is_str(err.msg, "plugin exit status 3: err", "the error has the first line of stderr");
	child_release(&c);

	run(&c, spec, "head -c 100000 /dev/zero");
	is_int(c.out.len, 1000, "output beyond the limit is dropped");
	is_int(c.status, 0, "and the child is not disturbed by it");
	child_release(&c);

	memset(big, 'x', sizeof(big));
	spec.input = big;
	spec.input_len = sizeof(big);
	run(&c, spec, "wc -c");
	is_str(c.out.data, "200000\n", "all input arrives");
	child_release(&c);
	run(&c, spec, "exec <&-; exit 0");
	is_int(c.status, 0, "input that nobody reads is no error");
	child_release(&c);

	spec = (struct child_spec){.max_output = 1000, .timeout_ms = 100};
	start = clock_mono_ns();
	run(&c, spec, "sleep 100 & sleep 100");
	ok(c.timed_out && WIFSIGNALED(c.status), "killed at its deadline");
	ok(clock_mono_ns() - start < 5 * NS_PER_SEC, "with its whole process group");
	child_error(&c, "plugin", &err);
	is_int(err.code, ERR_DEADLINE_EXCEEDED, "a deadline has its own code");
	child_release(&c);

	spec = (struct child_spec){.max_output = 1000};
	start = clock_mono_ns();
	run(&c, spec, "setsid sleep 3 & echo started");
	is_str(c.out.data, "started\n", "output before the exit is kept");
	ok(clock_mono_ns() - start < 2 * NS_PER_SEC, "a grandchild with the pipe does not hold us");
	child_release(&c);

	ok(child_spawn(&c,
	       &(struct child_spec){.path = "/no/such", .argv = (const char *[]){"x", NULL}},
	       on_done, &err) < 0,
	    "a missing program fails at once");
	ok(strstr(err.msg, "/no/such: No such file") != NULL, "naming it: %s", err.msg);
}

static void
descriptors(void)
{
	int a = open("/etc/passwd", O_RDONLY | O_CLOEXEC), b = open("/etc/group", O_RDONLY | O_CLOEXEC);
	int keep[2] = {b, a};
	struct child_spec spec = {.max_output = 1000, .keep_fds = keep, .n_keep = 2};
	struct child c;

	run(&c, spec,
	    "readlink /proc/self/fd/3 /proc/self/fd/4; for i in 0 1 2 3 4 5 6 7 8 9; do"
	    " [ -e /proc/$$/fd/$i ] && printf '%s ' $i; done; true");
	is_str(c.out.data, "/etc/group\n/etc/passwd\n0 1 2 3 4 ", "exactly the fds given, in order");
	child_release(&c);
	close(a);
	close(b);
}

static int
answer(const void *arg, int out, struct err *err)
{
	const char *what = arg;

	if (strcmp(what, "fail") == 0)
		return err_set(err, ERR_DATA_LOSS, "bad layer");
	if (strcmp(what, "crash") == 0)
		abort();
	return fd_write_all(out, what, strlen(what));
}

static void
on_worker(struct worker *w)
{
	(void)w;
	pending--;
}

static void
work(struct worker *w, const char *arg)
{
	struct worker_spec spec = {.fn = answer, .arg = arg, .max_output = 100, .what = "test"};
	struct err err;

	if (worker_start(w, &spec, on_worker, &err) < 0)
		exit(1);
	pending++;
	while (pending > 0)
		ev_run(loop, EVRUN_ONCE);
}

static void
workers(void)
{
	struct worker w;

	work(&w, "forty-two");
	is_str(w.child.out.data, "forty-two", "a worker's result");
	is_int(w.err.code, ERR_NONE, "without an error");
	child_release(&w.child);
	work(&w, "fail");
	is_int(w.err.code, ERR_DATA_LOSS, "a worker's error keeps its code");
	is_str(w.err.msg, "bad layer", "and its message");
	child_release(&w.child);
	work(&w, "crash");
	is_int(w.err.code, ERR_INTERNAL, "a crashed worker is an error");
	ok(strstr(w.err.msg, "killed by signal 6") != NULL, "that names the signal");
	child_release(&w.child);
}

int
main(void)
{
	int before;

	loop_init();
	before = open_fds();
	children();
	descriptors();
	workers();
	is_int(open_fds(), before, "no descriptor is left open");
	ok(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "no child is left");
	return tap_done();
}
