/* SPDX-License-Identifier: Apache-2.0
 *
 * A function in a forked process: for work that may block or that parses hostile bytes. The
 * function gets a pipe to write its result to; its return value is the exit status. The parent gets
 * the result as bytes. The worker keeps only the fds it is told to, dies with the daemon
 * (PR_SET_PDEATHSIG), and is killed at its deadline.
 */
#ifndef LOOP_WORKER_H
#define LOOP_WORKER_H

#include "loop/child.h"

/* Runs in the child. Write the result to fd out; return 0, or fill *err and return -1: the error
 * then becomes the parent's. The child has no loop and must not return into the parent's code. */
typedef int worker_fn(const void *arg, int out, struct err *err);

struct worker {
	struct child child; /* child.out holds the result in done() */
	void (*done)(struct worker *);
	struct op *op;
	struct err err; /* valid in done(); code ERR_NONE on success */
};

struct worker_spec {
	worker_fn *fn;
	const void *arg;    /* read in the child: a fork has its own copy */
	size_t max_output;  /* limit of the result */
	int64_t timeout_ms; /* 0: none */
	const char *what;   /* for error messages and the process title: "unpack" */
	const int *keep_fds; /* the only fds that stay open in the child besides 0-2, same numbers */
	size_t n_keep;
};

int worker_start(struct worker *w, const struct worker_spec *spec, void (*done)(struct worker *),
    struct err *err) __attribute__((warn_unused_result));

/* As worker_start, but ends the wait of an op; the worker's error becomes the op's. */
int worker_start_op(struct worker *w, const struct worker_spec *spec, struct op *op, struct err *err)
    __attribute__((warn_unused_result));

#endif
