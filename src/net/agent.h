/* SPDX-License-Identifier: Apache-2.0
 *
 * The network agent: one small process of the daemon's that talks to netlink, nftables and the
 * files of native plugins, because each of them may wait (a link's deletion holds the kernel's lock
 * for tens of milliseconds). Jobs are JSON objects, carried out in order, answered in order.
 *
 * struct agent lives as long as the network; a dead agent process is started again, the jobs it had
 * fail with UNAVAILABLE, those it had not been given wait for the next. It ends with the daemon.
 */
#ifndef NET_AGENT_H
#define NET_AGENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"

struct agent;

/* Carried out in the agent's process, may block. Fills *ret_reply (or leaves it NULL) or fails. */
typedef int agent_fn(json_t *request, json_t **ret_reply, struct err *err);

/* As above for several requests at once that came one after the other: errs[i] is the outcome of
 * requests[i], zeroed before; there are no replies. */
typedef void agent_many_fn(json_t *const *requests, size_t n, struct err *errs);

struct agent_method {
	const char *name; /* value of the request's member "job"; NULL ends the table */
	agent_fn *run;
	agent_many_fn *many; /* instead of run, where jobs are cheaper together; or NULL */
};

enum { AGENT_MANY_MAX = 64 };

/* Embedded; zero-initialise. */
struct agent_job {
	void (*done)(struct agent_job *); /* from the loop, once */
	json_t *reply;                    /* in done(): borrowed, NULL when there is none */
	struct err err;                   /* in done() */
	/* private */
	json_t *request;
	uint32_t seq;
	bool sent;
	TAILQ_ENTRY(agent_job) entry;
};

/* timeout_ms: of one job; the process is killed at it. lock_path: a file that the process holds
 * locked, so that a successor of the daemon's waits for the last job of the one before. */
struct agent *agent_new(
    const struct agent_method *methods, const char *lock_path, int64_t timeout_ms, struct err *err);

/* Jobs in flight are finished by the process but not reported. */
void agent_free(struct agent *a);

/* Give it a job; the request is consumed. done() is never called from inside. */
void agent_submit_take(
    struct agent *a, struct agent_job *job, json_t *request, void (*done)(struct agent_job *));

/* Forget a job: done() is not called. The process may carry it out all the same, when true is
 * returned surely not. */
bool agent_withdraw(struct agent *a, struct agent_job *job);

unsigned agent_backlog(const struct agent *a); /* jobs not yet answered */

#endif
