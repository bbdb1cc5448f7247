/* SPDX-License-Identifier: Apache-2.0
 *
 * Processes by descriptor: what of pidfd_open(2) and its kin glibc 2.36 has no name for.
 */
#ifndef EXEC_KEEPER_PIDFD_H
#define EXEC_KEEPER_PIDFD_H

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

int pidfd_open_(pid_t pid);           /* CLOEXEC; -1 with errno */
int pidfd_signal(int pidfd, int sig); /* 0 probes */

/* The process a pidfd stands for, or -1: it has been reaped, is not in our PID namespace, or this
 * is no pidfd. */
pid_t pidfd_pid(int pidfd);

enum pidfd_exit {
	PIDFD_RUNNING,
	PIDFD_EXITED, /* *ret_status is as of waitpid(2) */
	PIDFD_LOST    /* it has ended, and the kernel does not tell how */
};

/* How the process of somebody else's ended: from PIDFD_GET_INFO once it is reaped (Linux 6.15),
 * from /proc while it is not. pid: what pidfd_pid() was. */
enum pidfd_exit pidfd_exit_status(int pidfd, pid_t pid, int32_t *ret_status);

#endif
