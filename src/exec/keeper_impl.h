/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the keeper's client share: exec/keeper.c (connection and calls), keeper_run.c
 * (starting a keeper and finding it again), keeper_pipes.c (pipes kept for a keeper to come).
 */
#ifndef EXEC_KEEPER_IMPL_H
#define EXEC_KEEPER_IMPL_H

#include <ev.h>

#include "base/buf.h"
#include "exec/keeper.h"
#include "loop/loop.h"

enum { KEEPER_PIPES = 3 };

/* stdin, stdout and stderr of one process. */
struct keeper_pipes {
	char *id;
	int fds[KEEPER_PIPES]; /* -1: none */
	TAILQ_ENTRY(keeper_pipes) entry;
};

struct keeper_unsent;

struct keeper {
	char *program, *state_dir, *cgroup;
	struct keeper_hooks hooks;
	void *owner;
	int fd;       /* of the connection; -1: none */
	bool answers; /* its Hello came back */
	bool ending;  /* it was asked to end: it is not replaced */
	pid_t pid;
	char *version;
	uint64_t next_serial;
	ev_io w_read, w_write;
	TAILQ_HEAD(, keeper_call) calls;
	STAILQ_HEAD(, keeper_unsent) unsent;
	size_t unsent_bytes;
	TAILQ_HEAD(, keeper_pipes) pipes;
	/* Starting another one. */
	struct keeper_call hello;
	int ready_fd; /* of a keeper that is starting; -1: none is */
	struct buf ready_text;
	ev_io w_ready;
	struct loop_timer timer;
};

/* ---- keeper.c ---- */

/* Use this connection; keeper_drop() ends it, and every call on it with this error. */
void keeper_use_take(struct keeper *k, int fd);
void keeper_drop(struct keeper *k, enum err_code code, const char *why);
/* Send a Hello; done as for any call, with k->hello. */
int keeper_hello(struct keeper *k, void (*done)(struct keeper_call *), struct err *err);
/* What its reply says of the keeper. */
void keeper_note_hello(struct keeper *k);
/* Read and handle what has come; -1: the connection has ended. */
int keeper_read(struct keeper *k);

/* ---- keeper_run.c ---- */

/* The connection was lost: connect again or start another, until one answers. */
void keeper_renew(struct keeper *k);
void keeper_stop_renewing(struct keeper *k);

/* ---- keeper_pipes.c ---- */

/* Keep the pipes that came with a reply; they are taken out of the call. */
void keeper_pipes_keep(struct keeper *k, struct keeper_call *call);
void keeper_pipes_drop(struct keeper *k, const char *id);
void keeper_pipes_drop_stdin(struct keeper *k, const char *id);
void keeper_pipes_drop_all(struct keeper *k);
/* Name them in an Adopt: fds has room for KEEPER_PIPES more; returns the new n_fds. */
size_t keeper_pipes_add(struct keeper *k, Coracle__Launch__Adopt *adopt, int *fds, size_t n_fds);

#endif
