/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that share an op: see join.h.
 */
#include "cri/join.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "base/xalloc.h"
#include "grpc/server.h"
#include "loop/loop.h"
#include "loop/op.h"

struct caller {
	struct grpc_call *call;
	struct join *join;
	TAILQ_ENTRY(caller) entry;
};

struct join {
	struct op *op;
	TAILQ_HEAD(, caller) callers;
	TAILQ_ENTRY(join) entry;
};

static TAILQ_HEAD(, join) joins = TAILQ_HEAD_INITIALIZER(joins);

struct join *
join_new(struct op *op)
{
	struct join *j = xcalloc(1, sizeof(*j));

	j->op = op;
	TAILQ_INIT(&j->callers);
	TAILQ_INSERT_TAIL(&joins, j, entry);
	return j;
}

struct join *
join_find(const struct op *op)
{
	struct join *j;

	if (op->phase != OP_RUNNING || op->err.code != ERR_NONE)
		return NULL;
	TAILQ_FOREACH(j, &joins, entry)
		if (j->op == op)
			break;
	return j;
}

static void
on_gone(struct grpc_call *call)
{
	struct caller *c = call->owner;
	struct join *j = c->join;
	bool late = call->deadline_ms != 0 && loop_now_ms() >= call->deadline_ms;
	const char *why = late ? "deadline passed" : "client went away";
	struct err err;

	err_set(&err, late ? ERR_DEADLINE_EXCEEDED : ERR_CANCELLED, "%s during '%s'", why,
	    op_step_name(j->op));
	TAILQ_REMOVE(&j->callers, c, entry);
	free(c);
	grpc_fail(call, &err);
	if (TAILQ_EMPTY(&j->callers))
		op_cancel(j->op, err.code, why);
}

void
join_add(struct join *j, struct grpc_call *call)
{
	struct caller *c = xcalloc(1, sizeof(*c));

	c->call = call;
	c->join = j;
	call->owner = c;
	call->on_gone = on_gone;
	TAILQ_INSERT_TAIL(&j->callers, c, entry);
}

void
join_end(struct join *j, const ProtobufCMessage *response, const struct err *err)
{
	struct caller *c;

	while ((c = TAILQ_FIRST(&j->callers)) != NULL) {
		TAILQ_REMOVE(&j->callers, c, entry);
		c->call->on_gone = NULL;
		if (err != NULL)
			grpc_fail(c->call, err);
		else
			grpc_reply(c->call, response);
		free(c);
	}
	TAILQ_REMOVE(&joins, j, entry);
	free(j);
}
