/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of net/ share and its users do not see: struct net, and a call in flight.
 */
#ifndef NET_INTERNAL_H
#define NET_INTERNAL_H

#include <net/if.h>

#include "base/macros.h"
#include "loop/loop.h"
#include "net/agent.h"
#include "net/ipam.h"
#include "net/lease.h"
#include "net/net.h"

enum { NET_TABLE_SIZE = 64, NET_JOB_TIMEOUT_MS = 30000 };

struct cni;

struct net {
	enum net_mode mode;
	char *instance, *state_dir;
	char table[NET_TABLE_SIZE];
	struct agent *agent;
	struct leases leases;
	bool recovered; /* the leases are all that there are: what the table has besides may go */
	/* NET_BUILTIN */
	char bridge[IFNAMSIZ];
	int mtu;
	struct ipam pools[2]; /* IPv4, IPv6; unused: net.family 0 */
	enum { SETUP_RUNNING, SETUP_FAILED, SETUP_DONE } setup_state;
	struct err setup_err;
	struct agent_job setup_job;
	bool setup_queued;
	struct loop_timer again;
	/* NET_CNI */
	struct cni *cni;
};

/* A call that waits. The op's step comes back to it; what the answer brought is here. */
struct net_task {
	enum task_kind { TASK_ATTACH, TASK_DETACH, TASK_CHECK, TASK_GC } kind;
	enum { TASK_WAITING, TASK_ANSWERED, TASK_FAILED } state;
	struct net *net;
	struct op *op;
	struct agent_job job;
	struct lease *lease;
	json_t *request; /* of an attach, to try it a second time; else NULL */
	/* NET_CNI */
	struct cni_walk *walk;
	json_t *record;
	json_t *orphans; /* of a collection: ids of pods that nobody knows */
	size_t at;
	bool rules_done;
};

/* The call's task of this kind when it was answered; else NULL, and what was there is freed. */
struct net_task *task_resumed(struct net_call *c, enum task_kind kind);
struct net_task *task_new(struct net_call *c, enum task_kind kind, struct net *net, struct op *op);
void task_free(struct net_call *c);

/* Give the agent a job of the task's: the op is resumed with its outcome. */
void task_submit_take(struct net_task *t, json_t *request);

/* "udp" and "ips" of a job: what of connection tracking goes with the lease's ports. */
void task_add_flush(json_t *request, const struct lease *lease, bool gone);

/* The nft text of the whole table. Freed by the caller. */
char *net_rules_text(struct net *net);

/* net/builtin.c */
int builtin_open(struct net *net, const struct net_config *config, struct err *err);
void builtin_close(struct net *net);
int builtin_set_subnets(struct net *net, const struct ipnet *nets, size_t n, struct err *err);
enum op_ret builtin_attach(
    struct net_call *c, struct net *net, const struct net_pod *pod, struct op *op, struct err *err);
enum op_ret builtin_detach(
    struct net_call *c, struct net *net, const struct net_pod *pod, struct op *op, struct err *err);
enum op_ret builtin_gc(struct net_call *c, struct net *net, const char *const *live, size_t n,
    struct op *op, struct err *err);
int builtin_reserve(struct net *net, struct lease *lease, struct err *err);
void builtin_drop_lease(struct net *net, struct lease *lease);
bool builtin_ready(struct net *net, char *msg, size_t n);
void builtin_info(struct net *net, json_t *out);
int builtin_bridge_name(
    const struct net_config *config, char out[static IFNAMSIZ], struct err *err);

#endif
