/* SPDX-License-Identifier: Apache-2.0
 *
 * A keeper that has run out of something: of room for logs, of descriptors, of time for everybody
 * beside one that floods.
 */
#include "keeper_box.h"

#include <sys/mount.h>
#include <sys/resource.h>

static bool
attach_to(struct box *b, const char *id, int fd)
{
	struct keeper_call call;
	bool done;
	BOX_REQUEST(req, ATTACH, attach, (Coracle__Launch__Attach)CORACLE__LAUNCH__ATTACH__INIT);

	attach_msg.id = (char *)id;
	attach_msg.stdin_fd = 1;
	done = box_call(b, &call, &req, &fd, 1);
	keeper_call_release(&call);
	return done;
}

/* The log's file system is full, then has room again. */
static void
test_full_disk(struct box *b)
{
	const char *dir = box_path(b, "small");
	int pair[2], i, torn = 0;
	char *log, *at;

	mkdir(dir, 0700);
	if (mount("coracle-keeper-test", dir, "tmpfs", MS_NOSUID | MS_NODEV, "size=256k") < 0) {
		diag("no tmpfs: %s", strerror(errno));
		return;
	}
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
	ok(box_run(b, &(struct box_launch){.id = "full",
	                  .in = true,
	                  .log = "small/0.log",
	                  .script = "seq -f 'first %020.0f' 1 20000; read x; "
	                            "seq -f 'last %020.0f' 1 100"}) > 0,
	    "launched");
	ok(attach_to(b, "full", pair[1]), "attached");
	ok(box_until(strstr(b->note, "No space left") != NULL), "a full disk is told: %s", b->note);
	box_sleep(500);
	ok(truncate(box_path(b, "small/0.log"), 0) == 0, "room again");
	ok(write(pair[0], "go\n", 3) == 3, "the process goes on");
	ok(box_wait_exit(b, "full"), "and was not held up");
	log = box_log(b, "small/0.log");
	ok(log != NULL, "no record of its log is torn");
	for (i = 0, at = log; at != NULL && *at != '\0'; at = strchr(at, '\n') + 1) {
		torn += strncmp(at, "stdout F ", 9) != 0;
		i += strncmp(at, "stdout F last", 13) == 0;
	}
	is_int(torn, 0, "nor of another kind");
	is_int(i, 100, "what came when there was room is there");
	ok(strstr(b->note, "works again") != NULL, "which is told as well: %s", b->note);
	free(log);
	close(pair[0]);
	close(pair[1]);
	box_forget(b, "full");
	umount2(box_path(b, "small"), MNT_DETACH);
}

static void
test_descriptors(struct box *b)
{
	struct rlimit few = {24, 0}, was;
	struct keeper_call call;
	char id[32];
	int i, running;

	prlimit(b->pid, RLIMIT_NOFILE, NULL, &was);
	few.rlim_max = was.rlim_max;
	prlimit(b->pid, RLIMIT_NOFILE, &few, NULL);
	for (i = 0; i < 20; i++) {
		bool done;

		snprintf(id, sizeof(id), "fd%d", i);
		done =
		    box_start(b, &call, &(struct box_launch){.id = id, .script = "exec sleep 600"});
		if (!done)
			diag("launch %d: %s", i, call.err.msg);
		keeper_call_release(&call);
		if (!done)
			break;
	}
	ok(i > 0 && i < 20, "out of descriptors, a launch fails");
	ok(box_list(b, &running) >= 0 && running == i, "and nothing else does");
	keeper_close(b->k);
	ok(box_connect(b), "coracled can still come");
	ok(box_list(b, &running) >= 0 && running == i, "and be answered");
	prlimit(b->pid, RLIMIT_NOFILE, &was, NULL);
	ok(box_run(b, &(struct box_launch){.id = "more", .script = "exec sleep 600"}) > 0,
	    "with more of them, launches work");
	while (i-- > 0) {
		snprintf(id, sizeof(id), "fd%d", i);
		box_kill(b, id, SIGKILL, false);
		box_forget(b, id);
	}
	box_kill(b, "more", SIGKILL, false);
	/* Those that are launched have the limits the keeper was started with, not its own. */
	ok(box_run(b, &(struct box_launch){.id = "ul", .script = "ulimit -Sn", .log = "ul.log"}) >
	        0,
	    "launched");
	ok(box_wait_exit(b, "ul"), "ended");
	struct rlimit own;
	char want[64];
	getrlimit(RLIMIT_NOFILE, &own);
	snprintf(want, sizeof(want), "stdout F %llu\n", (unsigned long long)own.rlim_cur);
	box_log_is(b, "ul.log", want, "a soft limit of descriptors that is not the keeper's");
}

/* One floods, another one says something now and then: how late that is logged. */
static void
test_flood(struct box *b)
{
	int64_t start = clock_mono_ns();
	struct stat st;
	double worst = 0;
	char *log, *at;
	int n = 0;

	ok(box_run(
	       b, &(struct box_launch){.id = "flood",
	              .log = "flood.log",
	              .script = "exec timeout 1 yes 0123456789012345678901234567890123456789"}) > 0,
	    "one floods");
	ok(box_run(b,
	       &(struct box_launch){.id = "calm",
	           .log = "calm.log",
	           .script = "for i in 1 2 3 4 5 6 7 8 9; do date +%s.%N; sleep 0.05; done"}) > 0,
	    "one is calm");
	ok(box_wait_exit(b, "calm") && box_wait_exit(b, "flood"), "both end");
	stat(box_path(b, "flood.log"), &st);
	diag("%.0f MB/s of log", (double)st.st_size * 1e3 / (double)(clock_mono_ns() - start));
	/* Fractions of a second of the record and of its content: their distance is the delay. */
	log = box_read(b, "calm.log");
	for (at = log; *at != '\0'; at = strchr(at, '\n') + 1, n++) {
		double logged = strtod(at + 19, NULL), said = strtod(strchr(at + 41, '.'), NULL);

		worst = MAX(worst, logged < said ? logged - said + 1 : logged - said);
	}
	free(log);
	is_int(n, 9, "all of the calm one's lines");
	diag("the latest after %.1f ms", worst * 1e3);
	ok(worst < 0.9, "in time");
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
	test_full_disk(&b);
	test_descriptors(&b);
	test_flood(&b);
	ok(box_end(&b), "the keeper ends when it is asked to");
	return tap_done();
}
