/* SPDX-License-Identifier: Apache-2.0
 *
 * The child side of a launch from its first instruction: the order of things, by kind of plan.
 */
#include "exec/keeper/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Ignored signals would stay ignored through execve. */
static void
reset_signals(void)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};

	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &dfl, NULL);
}

/* A missing working directory is made, as every runtime does. */
static void
make_cwd(struct launch_ctx *c)
{
	int fd;

	if (!child_has(c->plan->cwd))
		return;
	c->step = "working directory";
	fd = child_open_in_root(c, c->plan->cwd, O_PATH);
	if (fd < 0 && errno == ENOENT)
		fd = child_make_path(c, c->plan->cwd, true);
	if (fd >= 0) /* else it is entered, and refused, later */
		close(fd);
}

void
child_run(struct launch_ctx *c)
{
	const Coracle__Launch__Plan *plan = c->plan;

	c->step = "start";
	reset_signals();
	umask(0);
	/* nobody in a namespace that is entered shall look into this copy of the keeper
	 * (CVE-2019-5736); execve lifts it */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		child_fail(c, errno, "PR_SET_DUMPABLE");
	if (plan->kind == CORACLE__LAUNCH__PLAN__KIND__NAMESPACES)
		child_namespaces(c);

	child_cgroup(c);
	child_oom_score_adj(c);
	if (plan->kind != CORACLE__LAUNCH__PLAN__KIND__HOLDER && !plan->tty)
		child_own_stdio(c);
	if (plan->kind == CORACLE__LAUNCH__PLAN__KIND__CONTAINER)
		child_open_sources(c);
	child_join(c);
	if (setsid() < 0)
		child_fail(c, errno, "setsid");
	if (plan->kind == CORACLE__LAUNCH__PLAN__KIND__HOLDER)
		child_holder(c);

	if (plan->kind == CORACLE__LAUNCH__PLAN__KIND__CONTAINER) {
		child_configure_namespaces(c);
		child_attach_root(c);
		child_mounts(c);
		child_devices(c);
		child_terminal(c);
		child_masks(c);
		make_cwd(c);
		child_pivot(c);
	} else {
		child_terminal(c);
	}
	child_exec(c);
}
