/* SPDX-License-Identifier: Apache-2.0
 *
 * SIGKILL for a process and everything below it.
 */
#ifndef EXEC_KEEPER_KILLTREE_H
#define EXEC_KEEPER_KILLTREE_H

#include <sys/types.h>

/*
 * Each process is stopped before its children are looked up, so that it can neither start nor reap
 * any meanwhile, and is killed when they are dead: the pid of a child that a stopped parent has not
 * reaped belongs to nobody else. Signals go by pidfd. Then the root's process group gets it, for
 * those whose parent had gone before. Takes some 0.1 ms per process, and a few ms for one that does
 * not stop at once.
 *
 * The root is a child of the caller that has not been reaped (held_pidfd -1), or the process of
 * that pidfd.
 */
void killtree(pid_t root, int held_pidfd);

/* Children of a process, as found in /proc: *ret is the caller's to free. Returns how many; those
 * of a process that is not stopped may be incomplete. */
size_t killtree_children(pid_t pid, pid_t **ret);

#endif
