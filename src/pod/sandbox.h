/* SPDX-License-Identifier: Apache-2.0
 *
 * A pod sandbox: struct sandbox, one row, one state.
 *
 *	CREATING ──▶ READY ──▶ NOTREADY ──▶ (row deleted)
 *	    └──────────────────────┴──────────▲
 *
 * A row in CREATING is an intent: its resources may exist or not. The undo halves that clean up a
 * failed RunPodSandbox are the steps of StopPodSandbox and what recovery runs at start, so NOTREADY
 * means "no longer to be used", and `released` that nothing outside the database is left of it.
 *
 * Only sandbox_set_state() changes the state: it checks the transition, writes the row and emits the
 * event. One op at a time works on a sandbox, by its queue.
 */
#ifndef POD_SANDBOX_H
#define POD_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/id.h"
#include "loop/op.h"
#include "net/net.h"
#include "pod/stats.h"
#include "proto/cri.pb-c.h"

struct container;

enum sandbox_state { SANDBOX_CREATING, SANDBOX_READY, SANDBOX_NOTREADY };

struct sandbox {
	char id[ID_SIZE];
	char *name; /* name_namespace_uid_attempt */
	enum sandbox_state state;
	bool removing;        /* no longer listed: RemovePodSandbox is past its point of no return */
	bool released;        /* namespaces, network, mounts, cgroup: all gone */
	int64_t created_at;   /* wall clock, ns */
	struct arena arena;   /* holds request, which holds config */
	const Runtime__V1__RunPodSandboxRequest *request;
	const Runtime__V1__PodSandboxConfig *config;
	void *packed;         /* the request's bytes, as in the row */
	size_t packed_len;
	/* The newest, of the default allocator; NULL: as in the config. */
	Runtime__V1__LinuxContainerResources *overhead, *resources;
	struct net_result network; /* json NULL: not attached */
	char *cgroup_parent;  /* of its containers */
	pid_t holder_pid;     /* PID 1 of a shared PID namespace; 0: none */
	int holder_pidfd;
	struct stats_target stats;
	struct op_queue queue;
	struct op *run_op;    /* RunPodSandbox in flight: repeated requests join it */
	TAILQ_HEAD(, container) containers; /* in the order of their creation */
	TAILQ_ENTRY(sandbox) all;
};

TAILQ_HEAD(sandbox_list, sandbox);

/* A new sandbox in CREATING, listed and in the indexes, with no row yet (sandbox_insert). The
 * request is packed and copied. */
struct sandbox *sandbox_new(const Runtime__V1__RunPodSandboxRequest *request);
/* The same from a row, for the recovery; INTERNAL when its bytes do not parse. */
struct sandbox *sandbox_load(const char *id, const void *packed, size_t n, struct err *err);
void sandbox_free(struct sandbox *sb); /* unlists it; it has no containers; NULL is fine */

int sandbox_insert(struct sandbox *sb, struct err *err);
int sandbox_delete(struct sandbox *sb, struct err *err);
/* State and network record in one write. */
int sandbox_set_state(struct sandbox *sb, enum sandbox_state state, struct err *err);
/* The network record alone; json NULL: detached. The result is taken over. */
int sandbox_set_network(struct sandbox *sb, struct net_result *result, struct err *err);
/* What UpdatePodSandboxResources told, into the row; one that is NULL stays as it is. */
int sandbox_set_resources(struct sandbox *sb, const Runtime__V1__LinuxContainerResources *overhead,
    const Runtime__V1__LinuxContainerResources *resources, struct err *err);
/* The newest; NULL: never told. */
const Runtime__V1__LinuxContainerResources *sandbox_overhead(const struct sandbox *sb);
const Runtime__V1__LinuxContainerResources *sandbox_resources(const struct sandbox *sb);

/* By id or unique prefix: NOT_FOUND, or INVALID_ARGUMENT when several match. */
struct sandbox *sandbox_find(const char *id, struct err *err);
/* The newest with that name that is CREATING or READY; NULL: none. */
struct sandbox *sandbox_named(const char *name);
char *sandbox_name(const Runtime__V1__PodSandboxMetadata *m); /* the caller frees */

bool sandbox_host_network(const struct sandbox *sb);
bool sandbox_host_ipc(const struct sandbox *sb);
bool sandbox_shares_pid(const struct sandbox *sb); /* NamespaceMode POD for pid */
bool sandbox_privileged(const struct sandbox *sb);
/* The name the pod has for itself: its hostname, or the node's. Borrowed. */
const char *sandbox_hostname(const struct sandbox *sb);

/* Paths below the state directory; the caller frees. file: "ns/net", "shm", "hosts"… */
char *sandbox_path(const struct sandbox *sb, const char *file);

#endif
