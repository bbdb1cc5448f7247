/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls in flight: how an op's step waits for a job of the agent's. See internal.h.
 */
#include "net/internal.h"

#include <stdlib.h>

#include "base/xalloc.h"
#include "net/cni_walk.h"
#include "net/rules.h"

void
task_free(struct net_call *c)
{
	struct net_task *t = take_ptr(c->task);

	if (t == NULL)
		return;
	cni_walk_free(t->walk);
	json_decref(t->request);
	json_decref(t->record);
	json_decref(t->orphans);
	free(t);
}

struct net_task *
task_resumed(struct net_call *c, enum task_kind kind)
{
	if (c->task != NULL && c->task->kind == kind && c->task->state == TASK_ANSWERED)
		return c->task;
	task_free(c);
	return NULL;
}

struct net_task *
task_new(struct net_call *c, enum task_kind kind, struct net *net, struct op *op)
{
	struct net_task *t = xcalloc(1, sizeof(*t));

	t->kind = kind;
	t->net = net;
	t->op = op;
	c->task = t;
	return t;
}

static void
on_answer(struct agent_job *job)
{
	struct net_task *t = container_of(job, struct net_task, job);

	t->state = job->err.code == ERR_NONE ? TASK_ANSWERED : TASK_FAILED;
	op_resume(t->op, &job->err);
}

void
task_submit_take(struct net_task *t, json_t *request)
{
	t->state = TASK_WAITING;
	agent_submit_take(t->net->agent, &t->job, request, on_answer);
}

void
task_add_flush(json_t *request, const struct lease *lease, bool gone)
{
	json_t *udp = json_array();
	bool any = false;

	for (size_t i = 0; i < lease->n_ports; i++) {
		if (lease->ports[i].proto != NET_UDP)
			continue;
		any = true;
		json_array_append_new(udp, json_integer(lease->ports[i].host_port));
	}
	json_object_set_new(request, "udp", udp);
	if (gone && any)
		json_object_set_new(request, "ips", lease_ips_json(lease));
}

char *
net_rules_text(struct net *net)
{
	struct rules_spec spec = {
	    .table = net->table, .bridge = net->mode == NET_BUILTIN ? net->bridge : NULL};
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < 2; i++)
		spec.subnets[i] = net->pools[i].net;
	rules_table(&spec, &text);
	if (net->recovered)
		rules_ports(net->table, &net->leases, &text);
	return buf_detach(&text);
}
