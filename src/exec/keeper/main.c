/* SPDX-License-Identifier: Apache-2.0
 *
 * coracle-keeper: one per node, parent of every container. coracled starts it, talks to it over
 * <state>/keeper.sock, and may come and go; the keeper stays.
 *
 *	coracle-keeper --state DIR [--ready FD] [--restore FD]
 *
 * Reading order: requests.c (what it is asked), start.c (a launch), output.c (logs), attachment.c,
 * proc.c (the end of a process), adopt.c, upgrade.c, front.c, reactor.c. launch.h is the other part
 * of the program: it turns a plan into a process.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "exec/keeper/front.h"
#include "exec/keeper/journal.h"
#include "exec/keeper/launch.h"
#include "exec/keeper/proc.h"
#include "exec/keeper/reactor.h"
#include "exec/keeper/reaper.h"
#include "exec/keeper/requests.h"
#include "exec/keeper/start.h"
#include "exec/keeper/upgrade.h"

enum { OOM_SCORE_ADJ = -999, FD_MAX = 1 << 20 };

struct options {
	const char *state_dir;
	int ready_fd, restore_fd; /* -1: none */
};

static const char usage[] =
    "usage: coracle-keeper --state DIR [--ready FD] [--restore FD]\n"
    "The keeper of containers of coracled, which starts it. Not to be run by hand.\n";

static int
parse_fd(const char *text, struct err *err)
{
	uint32_t fd;

	if (str_u32(text, FD_MAX, &fd) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "\"%s\" is no file descriptor", text);
	return (int)fd;
}

static int
parse_options(int argc, char **argv, struct options *o, struct err *err)
{
	static const struct option longs[] = {
	    {"state",   required_argument, NULL, 's'},
	    {"ready",   required_argument, NULL, 'r'},
	    {"restore", required_argument, NULL, 'R'},
	    {"version", no_argument,       NULL, 'V'},
	    {"help",    no_argument,       NULL, 'h'},
	    {NULL,      0,                 NULL, 0  },
	};
	int c;

	*o = (struct options){.ready_fd = -1, .restore_fd = -1};
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->state_dir = optarg;
			break;
		case 'r':
			if ((o->ready_fd = parse_fd(optarg, err)) < 0)
				return -1;
			break;
		case 'R':
			if ((o->restore_fd = parse_fd(optarg, err)) < 0)
				return -1;
			break;
		case 'V':
			printf("coracle-keeper %s\n", PACKAGE_VERSION);
			exit(0);
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			return err_set(err, ERR_INVALID_ARGUMENT, "unknown option");
		}
	}
	if (optind != argc || o->state_dir == NULL || o->state_dir[0] != '/')
		return err_set(err, ERR_INVALID_ARGUMENT, "--state needs an absolute path");
	return 0;
}

/* The program on the disk is never what runs, so nobody who gets at a running one gets at it
 * (CVE-2019-5736). Returns when this is the sealed copy already. */
static int
run_sealed_copy(char **argv, struct err *err)
{
	cleanup_close int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), copy = -1;
	if (self < 0)
		return err_errno(err, "open /proc/self/exe");
	if (upgrade_is_sealed(self))
		return 0;
	copy = upgrade_seal_program(self, err);
	if (copy < 0)
		return -1;
	syscall(SYS_execveat, copy, "", argv, environ, AT_EMPTY_PATH);
	return err_errno(err, "execute the sealed copy");
}

static void
close_strangers(const struct options *o)
{
	unsigned ready = o->ready_fd < 3 ? 2 : (unsigned)o->ready_fd;

	if (o->restore_fd >= 0)
		return;
	if (ready > 3)
		syscall(SYS_close_range, 3U, ready - 1, 0U);
	syscall(SYS_close_range, ready + 1, ~0U, 0U);
	if (o->ready_fd >= 0)
		fcntl(o->ready_fd, F_SETFD, FD_CLOEXEC);
}

static int
read_oom_score_adj(void)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct err err;

	if (fd_read_file(AT_FDCWD, "/proc/self/oom_score_adj", 64, &b, &err) < 0 || b.len == 0)
		return 0;
	return (int)strtol(b.data, NULL, 10);
}

static void
become_exempt(bool first_image)
{
	struct rlimit nofile;
	cleanup_close int fd = -1;
	char text[16];

	if (first_image) {
		getrlimit(RLIMIT_NOFILE, &start_inherited.nofile);
		start_inherited.oom_score_adj = read_oom_score_adj();
		snprintf(text, sizeof(text), "%d", OOM_SCORE_ADJ);
		fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, text, strlen(text)) < 0)
			front_note("the keeper's oom_score_adj stays %d: %s",
			    start_inherited.oom_score_adj, strerror(errno));
	}
	/* Five descriptors per container. */
	if (getrlimit(RLIMIT_NOFILE, &nofile) == 0) {
		nofile.rlim_cur = nofile.rlim_max;
		setrlimit(RLIMIT_NOFILE, &nofile);
	}
}

static void
be_a_keeper(void)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	umask(022);
	prctl(PR_SET_NAME, "coracle-keeper", 0, 0, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	/* Memory goes back as soon as a burst is over. */
	mallopt(M_TRIM_THRESHOLD, 64 * 1024);
	mallopt(M_MMAP_THRESHOLD, 64 * 1024);
	if (chdir("/") < 0)
		front_note("chdir /: %s", strerror(errno));
}

/* A POSIX lock: children do not inherit it, and an exec keeps it. The descriptor stays open. */
static int
lock(int state_dirfd, const char *state_dir, struct err *err)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	cleanup_close int fd =
	    openat(state_dirfd, "keeper.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_errno(err, "open keeper.lock");
	if (fcntl(fd, F_SETLK, &l) < 0) {
		fcntl(fd, F_GETLK, &l);
		return err_set(err, ERR_ALREADY_EXISTS, "process %d is the keeper of %s",
		    (int)l.l_pid, state_dir);
	}
	return take_fd(fd);
}

static int
set_up(const struct options *o, struct err *err)
{
	cleanup_close int dir = open(o->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err soft;

	if (dir < 0)
		return err_errno(err, "open %s", o->state_dir);
	if (reactor_init(err) < 0)
		return -1;
	become_exempt(o->restore_fd < 0);
	if (o->restore_fd < 0) {
		int fd = lock(dir, o->state_dir, err);

		if (fd < 0)
			return -1;
		upgrade_set_context(o->state_dir, fd);
	}
	if (journal_open(dir, &soft) < 0)
		front_note("%s: lines may be logged twice when the keeper is killed", soft.msg);
	if (o->restore_fd >= 0
	        ? upgrade_restore(o->restore_fd, o->state_dir, err) < 0
	        : front_open(o->state_dir, requests_on_message, requests_on_client_gone, err) < 0)
		return -1;
	if (proc_open_records(dir, err) < 0)
		return -1;
	return reaper_open(err);
}

static void
tell(int ready_fd, const char *text)
{
	ssize_t n = write(ready_fd < 0 ? STDERR_FILENO : ready_fd, text, strlen(text));

	(void)n; /* whoever waited for it has gone */
}

static void
leave_terminal(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC), i;

	for (i = 0; fd >= 0 && i <= 2; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

int
main(int argc, char **argv)
{
	struct options o;
	struct err err;

	launch_holder_main(argc, argv);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (parse_options(argc, argv, &o, &err) < 0) {
		fprintf(stderr, "coracle-keeper: %s\n%s", err.msg, usage);
		return 2;
	}
	if (run_sealed_copy(argv, &err) < 0) {
		tell(o.ready_fd, err.msg);
		return 1;
	}
	close_strangers(&o);
	be_a_keeper();
	if (set_up(&o, &err) < 0) {
		tell(o.ready_fd, err.msg);
		return 1;
	}
	if (o.ready_fd >= 0) {
		tell(o.ready_fd, "ready");
		fd_closep(&o.ready_fd);
	}
	leave_terminal();
	reactor_run();
	return 0;
}
