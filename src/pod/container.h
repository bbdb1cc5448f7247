/* SPDX-License-Identifier: Apache-2.0
 *
 * A container: struct container, one row, one state.
 *
 *	CREATING ──▶ CREATED ──▶ STARTING ──▶ RUNNING ──▶ EXITED ──▶ (row deleted)
 *	    │            │           └────────────────────▲ │
 *	    └────────────┴─────────────────▶ (row deleted) ◀┘
 *
 * STARTING is in memory only: after a crash the keeper tells whether the process runs. The CRI sees
 * CREATING not at all, and STARTING as CREATED. Only container_set_state() changes the state: it
 * checks the transition, writes the row and emits the event.
 */
#ifndef POD_CONTAINER_H
#define POD_CONTAINER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/id.h"
#include "exec/user.h"
#include "loop/loop.h"
#include "loop/op.h"
#include "pod/stats.h"
#include "proto/cri.pb-c.h"

struct sandbox;
struct container;

enum container_state {
	CONTAINER_CREATING,
	CONTAINER_CREATED,
	CONTAINER_STARTING,
	CONTAINER_RUNNING,
	CONTAINER_EXITED
};

/* Someone who waits for the end of a container's process; called once, from the loop. */
struct exit_waiter {
	void (*exited)(struct exit_waiter *);
	TAILQ_ENTRY(exit_waiter) entry;
	bool waiting;
};

struct container {
	char id[ID_SIZE];
	char *name; /* name_attempt_<sandbox id>: unique among live containers */
	struct sandbox *sb;
	enum container_state state;
	bool removing;
	struct arena arena;
	const Runtime__V1__CreateContainerRequest *request;
	const Runtime__V1__ContainerConfig *config;
	char *image_id;  /* "sha256:…" */
	bool image_used; /* declared to the image store */
	char *image_ref; /* what ContainerStatus.image_ref shows */
	int64_t created_at, started_at, finished_at; /* wall clock, ns */
	int exit_code;
	char *reason, *message;
	Runtime__V1__LinuxContainerResources *resources; /* in force; of the default allocator */
	struct user user;
	int stop_signal; /* a number, resolved from request and image */
	char *log_path;  /* absolute; NULL: no log */

	/* The process, while there is one. */
	bool kept; /* recovery: the keeper has it, and will tell its exit */
	pid_t pid;
	int pidfd;
	int tty_fd;   /* master side of its terminal; -1: none */
	int oom_fd;  /* counts OOM kills in its cgroup */
	int root_fd; /* detached root mount, from creation to start; -1 when not mounted */

	bool exit_pending; /* it ended before its start was through: exit is dealt with then */
	int exit_status;   /* as of waitpid(2), with exit_pending */
	int64_t exit_at;

	/* Stopping. */
	bool stop_sent;       /* the stop signal goes out once */
	int64_t kill_at_ms;   /* loop_now_ms() scale; 0: no kill is due */
	struct loop_timer kill_timer;
	TAILQ_HEAD(, exit_waiter) exit_waiters;

	struct stats_target stats;
	struct op_queue queue;
	struct op *create_op; /* CreateContainer in flight: repeated requests join it */
	TAILQ_ENTRY(container) in_sandbox;
	TAILQ_ENTRY(container) all;
};

TAILQ_HEAD(container_list, container);

/* A new container in CREATING, listed and in the indexes, without a row. The request is copied,
 * without its sandbox_config. */
struct container *container_new(struct sandbox *sb,
    const Runtime__V1__CreateContainerRequest *request);
struct container *container_load(struct sandbox *sb, const char *id, const void *packed, size_t n,
    struct err *err);
void container_free(struct container *c); /* unlists it; NULL is fine */

int container_insert(struct container *c, struct err *err);
int container_delete(struct container *c, struct err *err);
/* Writes state, times, exit code, reason, message, resources and detail as they are in c. STARTING
 * writes nothing. */
int container_set_state(struct container *c, enum container_state state, struct err *err);
/* Lay res over the resources in force (what it leaves empty stays), durably. */
int container_merge_resources(struct container *c, const Runtime__V1__LinuxContainerResources *res,
    struct err *err);

/* By id or unique prefix: NOT_FOUND, or INVALID_ARGUMENT when several match. */
struct container *container_find(const char *id, struct err *err);
struct container *container_named(const char *name);
char *container_name(const Runtime__V1__ContainerMetadata *m, const char *sandbox_id);

Runtime__V1__ContainerState container_cri_state(const struct container *c);

void container_wait_exit(struct container *c, struct exit_waiter *w,
    void (*exited)(struct exit_waiter *));
void container_unwait_exit(struct container *c, struct exit_waiter *w);

/* <root>/containers/<id>/<file>, and <state>/containers/<id>/<file>; the caller frees. */
char *container_root_path(const struct container *c, const char *file);
char *container_state_path(const struct container *c, const char *file);

#endif
