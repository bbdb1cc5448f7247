/* SPDX-License-Identifier: Apache-2.0
 *
 * Launch: from a request to a running process, or to an answer that says which step failed and why.
 * Nothing blocks: what the child says is read as it comes, and at its deadline it is killed.
 */
#ifndef EXEC_KEEPER_START_H
#define EXEC_KEEPER_START_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "exec/keeper/launch.h"
#include "exec/keeper/reactor.h"
#include "proto/launch.pb-c.h"

enum { START_TIMEOUT_MS = 60000 };

/* What the keeper was started with, before it made itself exempt: for plans that do not say. */
struct start_inherited {
	struct rlimit nofile;
	int oom_score_adj;
};
extern struct start_inherited start_inherited;

struct proc;

struct launching {
	struct proc *proc;
	uint64_t serial; /* of the request that waits for it */
	struct launch_child child;
	struct reactor_source status;
	struct reactor_timer deadline;
	bool wants_stdin;
	bool abandoned; /* whoever asked for it is gone: it is killed, and leaves no record */
};

/* Answers at once when it fails at once, else later. The descriptors stay the caller's. */
void start_request(uint64_t serial, Coracle__Launch__Launch *l, int *fds, size_t n_fds);

/* Read what the child of a PROC_LAUNCHING has said; answers when that was the last word. *p may be
 * gone afterwards, and its pid another one. */
void start_progress(struct proc *p);

/* The child is dead (and reaped) and never said how far it came: answers, and frees p. */
void start_died(struct proc *p);

/* Nobody will ever hear how this launch ends: it shall not have happened. */
void start_abandon(struct proc *p);

void start_drop(struct proc *p); /* part of proc_drop_io() */
unsigned start_in_flight(void);

/* The descriptors of a running process, as Launch and Open answer them; freed by the callee. */
void start_answer_fds(struct proc *p, uint64_t serial, const char *note);

#endif
