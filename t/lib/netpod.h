/* SPDX-License-Identifier: Apache-2.0
 *
 * Pods for network tests, on netlab.h: struct tpod walks a table of one step that attaches (and
 * detaches when it fails), as the sandbox operations do.
 */
#ifndef NETPOD_H
#define NETPOD_H

#include "base/clock.h"
#include "base/macros.h"
#include "net/net.h"
#include "netlab.h"

struct tpod {
	struct op op;
	struct net *net;
	struct net_pod pod;
	struct net_call call;
	char id[80], netns[128];
	char *json; /* of the attach */
	bool done;
	struct err err, undo_err;
	const char *const *live; /* for gc */
	size_t n_live;
	int64_t took_us;
};

static inline enum op_ret
tpod_attach(struct op *op, struct err *err)
{
	struct tpod *p = container_of(op, struct tpod, op);

	return net_attach(&p->call, p->net, &p->pod, op, err);
}

static inline enum op_ret
tpod_detach(struct op *op, struct err *err)
{
	struct tpod *p = container_of(op, struct tpod, op);

	return net_detach(&p->call, p->net, &p->pod, p->json, op, err);
}

static inline enum op_ret
tpod_check(struct op *op, struct err *err)
{
	struct tpod *p = container_of(op, struct tpod, op);

	return net_check(&p->call, p->net, &p->pod, p->json, op, err);
}

static inline enum op_ret
tpod_gc(struct op *op, struct err *err)
{
	struct tpod *p = container_of(op, struct tpod, op);

	return net_gc(&p->call, p->net, p->live, p->n_live, op, err);
}

static inline void
tpod_on_done(struct op *op)
{
	struct tpod *p = container_of(op, struct tpod, op);

	p->done = true;
	p->err = op->err;
	p->undo_err = op->undo_err;
}

static const struct op_step tpod_attach_steps[] = {
    {"attach network", tpod_attach, tpod_detach},
    {NULL,             NULL,        NULL       }
};
static const struct op_step tpod_detach_steps[] = {
    {"detach network", tpod_detach, NULL},
    {NULL,             NULL,        NULL}
};
static const struct op_step tpod_check_steps[] __attribute__((unused)) = {
    {"check network", tpod_check, NULL},
    {NULL,            NULL,       NULL}
};
static const struct op_step tpod_gc_steps[] = {
    {"collect", tpod_gc, NULL},
    {NULL,      NULL,    NULL}
};

/* n makes the id; with a namespace unless netns is false. */
static inline void
tpod_init(struct tpod *p, struct net *net, unsigned n, bool netns)
{
	char name[32];

	memset(p, 0, sizeof(*p));
	p->net = net;
	snprintf(p->id, sizeof(p->id), "%08xabcd%052x", n, n);
	snprintf(name, sizeof(name), "pod%u", n);
	if (netns)
		lab_netns(name, p->netns);
	p->pod = (struct net_pod){.id = p->id,
	    .name = "web",
	    .ns = "default",
	    .uid = "uid-1",
	    .netns_path = netns ? p->netns : NULL};
}

static inline void
tpod_start(struct tpod *p, const struct op_step *steps)
{
	p->done = false;
	p->took_us = -clock_mono_ns() / 1000;
	op_start(&p->op, "Test", p->id, steps, tpod_on_done);
}

static inline bool
tpod_finish(struct tpod *p)
{
	if (!lab_wait(&p->done, 20000))
		return false;
	p->took_us += clock_mono_ns() / 1000;
	if (p->err.code == ERR_NONE && p->op.steps == tpod_attach_steps) {
		free(p->json);
		p->json = p->call.result.json;
		p->call.result.json = NULL;
	}
	return p->err.code == ERR_NONE;
}

static inline bool
tpod_run(struct tpod *p, const struct op_step *steps)
{
	tpod_start(p, steps);
	return tpod_finish(p);
}

static inline bool
tpod_up(struct tpod *p)
{
	return tpod_run(p, tpod_attach_steps);
}

static inline bool
tpod_down(struct tpod *p)
{
	return tpod_run(p, tpod_detach_steps);
}

static inline void
tpod_release(struct tpod *p)
{
	if (p->netns[0] != '\0')
		lab_netns_remove(p->netns);
	net_call_release(&p->call);
	free(p->json);
	p->json = NULL;
}

static inline bool
net_wait_ready(struct net *net)
{
	const char *reason;
	char msg[256];

	for (int i = 0; i < 300 && !net_ready(net, &reason, msg, sizeof(msg)); i++) {
		bool never = false;

		lab_wait(&never, 10);
	}
	return net_ready(net, &reason, msg, sizeof(msg));
}

#endif
