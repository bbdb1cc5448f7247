/* SPDX-License-Identifier: Apache-2.0
 *
 * Executes a launch plan: clones the process, which then does everything the plan says and ends in
 * execve. Part of the keeper: links libc and the protobuf-c runtime, nothing else.
 *
 * Life cycle: launch_clone() validates the plan, clones and returns at once; the caller polls
 * `status_fd` for input and calls launch_status() each time, until it says LAUNCH_RUNNING or
 * LAUNCH_FAILED. The process is a child of the caller either way and is reaped by the caller.
 * While it is still launching it can be killed like any other (a source of a bind mount may hang).
 *
 *	launch_clone → LAUNCH_PENDING … → LAUNCH_RUNNING     the program is running (or, for
 *NAMESPACES, │                                everything is pinned and it exits with 0)
 *	                    └──────────→ LAUNCH_FAILED       *fail says where; the process exits
 *with 127
 *
 * When the process' death and input on status_fd are seen together, launch_status() comes first.
 *
 * The child side is in child_*.c; it never allocates memory and reads only the plan.
 */
#ifndef EXEC_KEEPER_LAUNCH_H
#define EXEC_KEEPER_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/launch.pb-c.h"

/* The child's ends; duplicated, never closed here. -1: the host's /dev/null. Not used when
 * plan->tty is set: then a terminal is made inside the container. */
struct launch_stdio {
	int in, out, err;
};

struct launch_failure {
	char step[48];  /* "mount", "devices", "capabilities"… */
	int32_t errnum; /* 0 when the kernel was not asked */
	char text[256]; /* complete, for people: "/proc in the root is a symbolic link" */
};

enum launch_state { LAUNCH_FAILED = -1, LAUNCH_PENDING, LAUNCH_RUNNING };

struct launch_child {
	pid_t pid;      /* as the caller sees it */
	int pidfd;      /* the caller's to close */
	int status_fd;  /* polled for input; launch_status() closes it and stores -1 at the end */
	int tty_master; /* -1, or the terminal's master side: arrives before LAUNCH_RUNNING; the
	                   caller takes it */
	char note[128]; /* "" or what had to be degraded */
	bool past_last; /* private */
};

/*
 * Clone and start the child. plan and fds are only read, and not needed any more on return; an
 * index of the plan outside of fds is an error, as is everything else in the plan that makes no
 * sense. Returns 0 with *ret filled, or -1 with *fail filled and nothing left behind.
 */
int launch_clone(const Coracle__Launch__Plan *plan, const int *fds, size_t n_fds,
    const struct launch_stdio *io, struct launch_child *ret, struct launch_failure *fail)
    __attribute__((warn_unused_result));

/*
 * Take what the child has to say; never blocks. c->pid and c->pidfd may be replaced by it: a
 * process that enters a user namespace and makes a PID namespace in it has to be cloned once more,
 * and its first incarnation ends (with 0) and is reaped here. *fail is filled for LAUNCH_FAILED
 * only.
 */
enum launch_state launch_status(struct launch_child *c, struct launch_failure *fail)
    __attribute__((warn_unused_result));

/*
 * The first thing in the keeper's main(): does not return when this process is to be the PID 1 of a
 * pod's shared PID namespace (a HOLDER plan executes the running program once more, as
 * "coracle-holder"). It reaps, holds nothing of the host, and ends at SIGTERM.
 */
void launch_holder_main(int argc, char **argv);

#endif
