/* SPDX-License-Identifier: Apache-2.0
 *
 * Reaping children: see reaper.h.
 */
#include "exec/keeper/reaper.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macros.h"
#include "exec/keeper/proc.h"
#include "exec/keeper/reactor.h"
#include "exec/keeper/requests.h"
#include "exec/keeper/start.h"

enum { REAPED_PER_TURN = 32 };

static struct reactor_source signals = {.fd = -1};
static struct reactor_task more;

/* One that is still being launched tells first how far it came, and may turn out to have been
 * replaced: its launch then goes on with another pid. */
static void
reap_one(pid_t pid)
{
	struct proc *p = proc_by_pid(pid);
	int status;

	if (p != NULL && p->state == PROC_LAUNCHING) {
		start_progress(p);
		p = proc_by_pid(pid);
	}
	if (waitpid(pid, &status, WNOHANG) != pid || p == NULL)
		return;
	if (p->state == PROC_LAUNCHING)
		start_died(p);
	else
		proc_end(p, status, false);
}

static void
reap(struct reactor_task *task)
{
	int i;

	for (i = 0; i < REAPED_PER_TURN; i++) {
		siginfo_t info = {0};

		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
			return;
		reap_one(info.si_pid);
	}
	reactor_task_queue(task, reap);
}

static void
on_signal(struct reactor_source *src, uint32_t events)
{
	struct signalfd_siginfo info;

	(void)events;
	while (read(src->fd, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo == SIGTERM)
			requests_end_if_unused();
	reactor_task_queue(&more, reap);
}

int
reaper_open(struct err *err)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0 || reactor_add(&signals, fd, EPOLLIN, on_signal) < 0)
		return err_errno(err, "signalfd");
	reactor_task_queue(&more, reap);
	return 0;
}
