/* SPDX-License-Identifier: Apache-2.0
 *
 * Launching processes end to end: what a program finds of its process attributes, terminals, exec
 * into a container, and failures by step.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>

#include "box.h"

static void
test_basics(void)
{
	struct box b;
	uint32_t gids[] = {1000, 50000};

	box_init(&b, "echo $$ $FOO; hostname; pwd; ls /proc/self/fd | tr '\\n' ' '; cat <&0");
	box_env(&b, "FOO=a b");
	b.plan.hostname = (char *)"boxed";
	b.plan.cwd = (char *)"/made/here";
	box_says(&b, "1 a b\nboxed\n/made/here\n0 1 2 3 ",
	    "PID 1, environment, host name, made directory, no descriptor but its own");

	box_init(&b, "exit 7");
	ok(box_run(&b) && WIFEXITED(b.status) && WEXITSTATUS(b.status) == 7, "exit status");
	box_init(&b, "kill -9 $$; sleep 5");
	b.plan.clone_flags &= ~(uint64_t)CLONE_NEWPID;
	ok(box_run(&b) && WIFSIGNALED(b.status) && WTERMSIG(b.status) == 9, "death by signal");

	box_init(&b, "id -u; id -g; id -G; umask; touch /tmp/own; echo x > /dev/stdout");
	b.plan.uid = 1000;
	b.plan.gid = 1000;
	b.plan.groups = gids;
	b.plan.n_groups = 2;
	b.plan.umask = 077;
	box_says(&b, "1000\n1000\n1000 50000\n0077\nx\n", "user, groups, umask, own stdout");

	box_init(&b, "echo $0 $1");
	b.argv[b.plan.n_argv++] = (char *)"zero";
	b.argv[b.plan.n_argv++] = (char *)"one";
	box_says(&b, "zero one\n", "arguments");
}

/* Allows everything, but mkdir: ERRNO(EPERM). */
static const struct sock_filter no_mkdir[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

static void
test_privileges(void)
{
	static const char status[] = "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status | tr -s "
	                             "'\\t\\n' ' '; mkdir /tmp/d 2>/dev/null || echo no; rmdir "
	                             "/tmp/d 2>/dev/null; true";
	struct box b;

	box_init(&b, status);
	box_says(&b,
	    "CapInh: 0000000000000000 CapPrm: 00000000000000a3 CapEff: 00000000000000a3 "
	    "CapBnd: 00000000000000a3 CapAmb: 0000000000000000 NoNewPrivs: 0 Seccomp: 0 ",
	    "capabilities of root");
	for (int nnp = 0; nnp < 2; nnp++) {
		char want[300];

		snprintf(want, sizeof(want),
		    "CapInh: 0000000000000000 CapPrm: 00000000000000a3 CapEff: 00000000000000a3 "
		    "CapBnd: 00000000000000a3 CapAmb: 0000000000000000 NoNewPrivs: %d Seccomp: 2 "
		    "no\n",
		    nnp);
		box_init(&b, status);
		b.plan.no_new_privs = nnp;
		b.plan.seccomp.data = (uint8_t *)(uintptr_t)no_mkdir;
		b.plan.seccomp.len = sizeof(no_mkdir);
		box_says(&b, want, nnp ? "filter with no_new_privs" : "filter without");
	}
	box_init(&b, status);
	b.plan.uid = 1000;
	b.plan.seccomp.data = (uint8_t *)(uintptr_t)no_mkdir;
	b.plan.seccomp.len = sizeof(no_mkdir);
	box_says(&b,
	    "CapInh: 0000000000000000 CapPrm: 0000000000000000 CapEff: 0000000000000000 "
	    "CapBnd: 00000000000000a3 CapAmb: 0000000000000000 NoNewPrivs: 0 Seccomp: 2 no\n",
	    "a user has none, and the filter got in all the same");
	box_init(&b, status);
	b.plan.uid = 1000;
	b.caps.inheritable = b.caps.ambient = UINT64_C(1) << CAP_KILL;
	box_says(&b,
	    "CapInh: 0000000000000020 CapPrm: 0000000000000020 CapEff: 0000000000000020 "
	    "CapBnd: 00000000000000a3 CapAmb: 0000000000000020 NoNewPrivs: 0 Seccomp: 0 ",
	    "ambient capabilities reach a user");
	box_init(&b, status);
	b.plan.caps = NULL;
	box_says(&b,
	    "CapInh: 0000000000000000 CapPrm: 0000000000000000 CapEff: 0000000000000000 "
	    "CapBnd: 0000000000000000 CapAmb: 0000000000000000 NoNewPrivs: 0 Seccomp: 0 ",
	    "no capabilities at all");
}

static void
test_limits(void)
{
	Coracle__Launch__Rlimit lim = CORACLE__LAUNCH__RLIMIT__INIT, *lims[] = {&lim};
	struct box b;

	box_init(&b, "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj");
	lim.resource = RLIMIT_NOFILE;
	lim.soft = 100;
	lim.hard = 200;
	b.plan.rlimits = lims;
	b.plan.n_rlimits = 1;
	b.plan.set_oom_score_adj = true;
	b.plan.oom_score_adj = 500;
	box_says(&b, "100\n200\n500\n", "resource limits, oom_score_adj");

	box_init(&b, "true");
	b.plan.set_oom_score_adj = true;
	b.plan.oom_score_adj = -900;
	ok(box_run(&b), "a score that may not be lowered is tolerated");
	diag("note: %s", b.child.note);
}

static void
read_terminal(struct box *b)
{
	size_t n = 0;
	ssize_t r;

	while ((r = read(b->child.tty_master, b->out + n, sizeof(b->out) - 1 - n)) > 0)
		n += (size_t)r;
	b->out[n] = '\0';
	close(b->child.tty_master);
	close(b->out_fd);
	waitpid(b->child.pid, &b->status, 0);
	close(b->child.pidfd);
}

static void
test_terminal(void)
{
	struct box b, e;

	box_init(&b, "tty; stty size; stat -c %u:%a /dev/pts/0; test -c /dev/console && echo "
	             "console; echo hi > /dev/console; exec 3</dev/tty && echo ctty");
	b.plan.tty = true;
	b.plan.tty_width = 77;
	b.plan.tty_height = 33;
	b.plan.uid = 1000;
	ok(box_start(&b) && b.child.tty_master >= 0, "a terminal comes back");
	diag("%s", b.fail.text);
	read_terminal(&b);
	is_str(b.out, "/dev/pts/0\r\n33 77\r\n1000:620\r\nconsole\r\nhi\r\nctty\r\n",
	    "the terminal is the console, of the size asked for, and controls");
	box_release(&b);

	box_init(&b, "sleep 100");
	ok(box_start(&b), "container for exec with a terminal");
	box_exec(&e, &b, "tty; exec 3</dev/tty && echo ctty");
	e.plan.tty = true;
	if (ok(box_start(&e) && e.child.tty_master >= 0, "a terminal for exec"))
		read_terminal(&e);
	else
		diag("%s: %s", e.fail.step, e.fail.text);
	is_str(e.out, "/dev/pts/0\r\nctty\r\n", "it works");
	kill(b.child.pid, SIGKILL);
	box_wait(&b);
	box_release(&b);
}

static void
test_exec(void)
{
	struct timespec t0, t1;
	struct box b, e;
	enum { RUNS = 50 };

	box_init(&b, "echo up > /tmp/up; sleep 100");
	b.plan.hostname = (char *)"inner";
	ok(box_start(&b), "a container to execute in");
	box_exec(&e, &b,
	    "[ $(ls /proc | grep -c '^[0-9]') -lt 8 ] && echo few; "
	    "until [ -s /tmp/up ]; do usleep 1000; done; cat /tmp/up; hostname; "
	    "grep CapBnd /proc/self/status | cut -f2; ls /proc/self/fd | tr '\\n' ' '");
	box_says(&e, "few\nup\ninner\n00000000000000a3\n0 1 2 3 ", "exec sees the container");
	box_exec(&e, &b, "exit 3");
	ok(box_run(&e) && WEXITSTATUS(e.status) == 3, "exit status of exec");
	box_exec(&e, &b, "true");
	e.plan.cwd = (char *)"/nowhere";
	box_refused(&e, "working directory", "/nowhere: No such file", "exec makes no directory");
	box_exec(&e, &b, "true");
	box_argv(&e, "nonesuch", NULL);
	box_refused(
	    &e, "exec", "\"nonesuch\": executable file not found in $PATH", "no such command");
	for (int fd = 3; fd < 20; fd++) {
		char cwd[32];

		snprintf(cwd, sizeof(cwd), "/proc/self/fd/%d", fd);
		box_exec(&e, &b, "pwd");
		e.plan.cwd = cwd;
		if (box_run(&e))
			ok(false, "exec entered %s: %s", cwd, e.out);
	}
	ok(true, "no way out by descriptors");

	clock_gettime(CLOCK_MONOTONIC, &t0);
	for (int i = 0; i < RUNS; i++) {
		box_exec(&e, &b, "");
		box_argv(&e, "/bin/true", NULL);
		if (!box_run(&e) || e.status != 0)
			ok(false, "exec %d", i);
	}
	clock_gettime(CLOCK_MONOTONIC, &t1);
	diag("exec of /bin/true: %ld us",
	    ((t1.tv_sec - t0.tv_sec) * 1000000 + (t1.tv_nsec - t0.tv_nsec) / 1000) / RUNS);

	kill(b.child.pid, SIGKILL);
	while (waitpid(b.child.pid, &b.status, 0) < 0 && errno == EINTR)
		;
	box_exec(&e, &b, "true");
	ok(!box_run(&e), "no exec in a dead container");
	diag("%s: %s", e.fail.step, e.fail.text);
	close(b.child.pidfd);
	close(b.out_fd);
	box_release(&b);
}

static void
test_failures(void)
{
	struct launch_stdio io = {-1, -1, -1};
	enum launch_state state;
	struct box b;

	box_init(&b, "");
	box_argv(&b, "/bin/nonesuch", NULL);
	box_refused(&b, "exec", "exec \"/bin/nonesuch\": No such file", "no such file");
	box_init(&b, "");
	box_argv(&b, "/etc/motd", NULL);
	box_refused(&b, "exec", "exec \"/etc/motd\": Permission denied", "not executable");
	box_init(&b, "");
	box_argv(&b, "motd", NULL);
	b.env[0] = (ProtobufCBinaryData){9, (uint8_t *)(uintptr_t) "PATH=/etc"};
	box_refused(&b, "exec", "exec \"motd\": Permission denied", "not executable in PATH");
	box_sh("echo no > %s/bin/garbage; chmod 755 %s/bin/garbage", box_root, box_root);
	box_init(&b, "");
	box_argv(&b, "garbage", NULL);
	box_refused(&b, "exec", "Exec format error", "no program");
	box_sh(
	    "cp %s/bin/busybox %s/root/true; chmod 700 %s/root/true", box_root, box_root, box_root);
	box_init(&b, "");
	box_argv(&b, "/root/true", NULL);
	b.plan.uid = 1000;
	b.plan.seccomp.data = (uint8_t *)(uintptr_t)no_mkdir;
	b.plan.seccomp.len = sizeof(no_mkdir);
	box_refused(&b, "exec", "Permission denied", "a program is looked up as its user");
	box_init(&b, "true");
	b.plan.n_argv = 0;
	box_refused(&b, "plan", "no command specified", "no command");
	box_init(&b, "true");
	b.plan.root_fd = 9;
	box_refused(&b, "plan", "root_fd", "descriptor out of range");
	box_init(&b, "true");
	b.plan.clone_flags |= CLONE_NEWUSER;
	box_refused(&b, "plan", "clone_flags", "user namespaces are joined");
	box_init(&b, "true");
	b.plan.cwd = (char *)"relative";
	box_refused(&b, "plan", "cwd", "relative working directory");
	box_init(&b, "true");
	b.plan.seccomp.data = (uint8_t *)(uintptr_t)no_mkdir;
	b.plan.seccomp.len = 7;
	box_refused(&b, "plan", "seccomp", "half a filter");
	box_init(&b, "true");
	close(b.fds[0]);
	b.fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	box_refused(&b, "root", "attach the root", "a root that is no mount");

	box_init(&b, "sleep 100");
	ok(launch_clone(&b.plan, b.fds, b.n_fds, &io, &b.child, &b.fail) == 0, "clone");
	kill(b.child.pid, SIGKILL);
	waitpid(b.child.pid, &b.status, 0);
	state = launch_status(&b.child, &b.fail);
	ok(state != LAUNCH_PENDING && b.child.status_fd == -1, "killed in the middle: %s",
	    state == LAUNCH_FAILED ? b.fail.text : "it was faster");
	close(b.child.pidfd);
	box_release(&b);
}

static int
count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1000; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

int
main(int argc, char **argv)
{
	struct box b;
	int before;

	launch_holder_main(argc, argv);
	box_setup();
	box_init(&b, "true"); /* opens what is opened once */
	ok(box_run(&b), "true");
	diag("%s: %s", b.fail.step, b.fail.text);
	before = count_fds();
	test_basics();
	test_privileges();
	test_limits();
	test_terminal();
	test_exec();
	test_failures();
	is_int(count_fds(), before, "no descriptor is left over");
	is_int(waitpid(-1, NULL, WNOHANG), -1, "no child is left over");
	return tap_done();
}
