/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery: see recover.h.
 */
#include "pod/recover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/cgroup.h"
#include "image/store.h"
#include "net/net.h"
#include "pod/config.h"
#include "pod/ctr_steps.h"
#include "pod/ctr_stop.h"
#include "pod/keeping.h"
#include "pod/node.h"
#include "pod/pod_steps.h"
#include "store/db.h"

static void
load_sandbox(sqlite3_stmt *st)
{
	struct sandbox *sb;
	struct err err;
	const void *packed;
	size_t n;

	packed = db_blob(st, 4, &n);
	sb = sandbox_load(db_text(st, 0), packed, n, &err);
	if (sb == NULL) {
		log_err("%s: its row is left alone", err.msg);
		return;
	}
	sb->state = (enum sandbox_state)sqlite3_column_int(st, 1);
	sb->created_at = sqlite3_column_int64(st, 2);
	if (sb->state == SANDBOX_READY && sandbox_named(sb->name) == NULL)
		index_put(&node.sandbox_by_name, sb->name, sb);
	if (sqlite3_column_type(st, 5) != SQLITE_NULL) {
		const char *json = db_text(st, 5);

		if (net_reserve(node.net, sb->id, json, &sb->network, &err) < 0)
			log_warn("sandbox %.12s: network: %s", sb->id, err.msg);
		free(sb->network.json);
		sb->network.json = xstrdup(json);
	}
	if (strcmp(db_text(st, 3), node.boot_id) != 0 && sb->state == SANDBOX_READY &&
	    sandbox_set_state(sb, SANDBOX_NOTREADY, &err) < 0)
		log_err("sandbox %.12s: %s", sb->id, err.msg);
}

static int
load_sandboxes(struct err *err)
{
	sqlite3_stmt *st = db_stmt(node.db,
	    "SELECT id, state, created_at, boot_id, request, network FROM sandbox "
	    "ORDER BY created_at");
	int ret;

	while ((ret = db_next(node.db, st, err)) == 1)
		load_sandbox(st);
	return ret;
}

/* The twin of detail_of() in pod/container.c. */
static void
load_detail(struct container *c, const char *text)
{
	json_t *o = json_loads(text, 0, NULL), *groups = json_object_get(o, "groups"), *g;
	const char *ref = json_string_value(json_object_get(o, "image_ref"));
	const char *home = json_string_value(json_object_get(o, "home"));
	const char *name = json_string_value(json_object_get(o, "user"));
	size_t i;

	if (o == NULL)
		return;
	c->user.uid = (uint32_t)json_integer_value(json_object_get(o, "uid"));
	c->user.gid = (uint32_t)json_integer_value(json_object_get(o, "gid"));
	c->user.home = xstrdup(home);
	c->user.name = xstrdup(name);
	c->user.groups = xcalloc(json_array_size(groups) + 1, sizeof(*c->user.groups));
	json_array_foreach(groups, i, g)
		c->user.groups[c->user.n_groups++] = (uint32_t)json_integer_value(g);
	c->stop_signal = (int)json_integer_value(json_object_get(o, "stop_signal"));
	c->pid = (pid_t)json_integer_value(json_object_get(o, "pid"));
	if (ref != NULL) {
		free(c->image_ref);
		c->image_ref = xstrdup(ref);
	}
	json_decref(o);
}

static void
replace(char **s, const char *by)
{
	free(*s);
	*s = xstrdup(by);
}

static void
load_container(sqlite3_stmt *st)
{
	struct sandbox *sb = index_get(&node.sandbox_by_id, db_text(st, 1));
	struct container *c;
	const void *packed, *resources;
	struct err err;
	size_t n;

	if (sb == NULL) {
		log_err("container %.12s has no sandbox: its row is left alone", db_text(st, 0));
		return;
	}
	packed = db_blob(st, 10, &n);
	c = container_load(sb, db_text(st, 0), packed, n, &err);
	if (c == NULL) {
		log_err("%s: its row is left alone", err.msg);
		return;
	}
	c->state = (enum container_state)sqlite3_column_int(st, 2);
	c->created_at = sqlite3_column_int64(st, 3);
	c->started_at = sqlite3_column_int64(st, 4);
	c->finished_at = sqlite3_column_int64(st, 5);
	c->exit_code = sqlite3_column_int(st, 6);
	replace(&c->reason, db_text(st, 7));
	replace(&c->message, db_text(st, 8));
	replace(&c->image_id, db_text(st, 9));
	replace(&c->image_ref, db_text(st, 9));
	resources = db_blob(st, 11, &n);
	if (n > 0)
		c->resources = runtime__v1__linux_container_resources__unpack(NULL, n, resources);
	load_detail(c, db_text(st, 12));
	if (c->state != CONTAINER_CREATING && c->state != CONTAINER_EXITED &&
	    container_named(c->name) == NULL)
		index_put(&node.container_by_name, c->name, c);
	if (image_store_use(node.images, c->image_id, &err) == 0)
		c->image_used = true;
	else if (c->state != CONTAINER_EXITED)
		log_warn("container %.12s: %s", c->id, err.msg);
}

static int
load_containers(struct err *err)
{
	sqlite3_stmt *st = db_stmt(node.db,
	    "SELECT id, sandbox_id, state, created_at, started_at, finished_at, exit_code, reason, "
	    "message, image_id, request, resources, detail FROM container ORDER BY created_at");
	int ret;

	while ((ret = db_next(node.db, st, err)) == 1)
		load_container(st);
	return ret;
}

/* The process must be in the container's cgroup: a pid alone may be anybody's by now. */
static int
open_process(const struct container *c, pid_t pid)
{
	cleanup_free pid_t *pids = NULL;
	size_t n = 0;
	struct err err;
	int fd;

	if (pid <= 0)
		return -1;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0 || cgroup_pids(c->sb->cgroup_parent, c->id, 65536, &pids, &n, &err) < 0)
		n = 0;
	for (size_t i = 0; i < n; i++)
		if (pids[i] == pid)
			return fd;
	fd_closep(&fd);
	return -1;
}

static void
resume_running(struct container *c, pid_t pid, int pidfd)
{
	struct err err;

	c->pid = pid;
	c->pidfd = pidfd;
	c->oom_fd = cgroup_oom_open(c->sb->cgroup_parent, c->id, &err);
	if (c->state == CONTAINER_CREATED) {
		/* Launched, and then we died before the row said so. */
		c->started_at = clock_wall_ns();
		c->state = CONTAINER_STARTING;
		if (container_set_state(c, CONTAINER_RUNNING, &err) < 0)
			log_err("container %.12s: %s", c->id, err.msg);
	}
	container_watch(c);
}

static void
record_exit(struct container *c, const Coracle__Launch__Exit *e)
{
	struct err err;

	if (c->state == CONTAINER_CREATED) {
		c->started_at = e->finished_at;
		c->state = CONTAINER_STARTING;
		if (container_set_state(c, CONTAINER_RUNNING, &err) < 0)
			log_err("container %.12s: %s", c->id, err.msg);
	}
	c->oom_fd = cgroup_oom_open(c->sb->cgroup_parent, c->id, &err);
	container_exited(c, e->status, e->finished_at, e->unknown);
}

static void
match_holder(const Coracle__Launch__Process *p)
{
	char id[ID_SIZE];
	struct sandbox *sb;

	snprintf(id, sizeof(id), "%.64s", p->id);
	sb = index_get(&node.sandbox_by_id, id);
	if (p->exit != NULL || sb == NULL) {
		if (p->exit == NULL)
			keeping_kill(p->id, SIGKILL, false);
		keeping_forget(p->id);
		return;
	}
	sb->holder_pid = p->pid;
	sb->holder_pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
}

static void
match_process(const Coracle__Launch__Process *p)
{
	struct container *c = index_get(&node.container_by_id, p->id);

	if (str_ends(p->id, KEEPING_HOLDER)) {
		match_holder(p);
	} else if (c != NULL && p->exit != NULL) {
		record_exit(c, p->exit);
		keeping_forget(p->id);
	} else if (c != NULL && (c->state == CONTAINER_CREATED || c->state == CONTAINER_RUNNING)) {
		/* It may be dying: without a pidfd it stays running until the keeper tells its exit. */
		c->kept = true;
		resume_running(c, p->pid, (int)syscall(SYS_pidfd_open, p->pid, 0));
		keeping_refresh(c);
	} else {
		if (p->exit == NULL)
			keeping_kill(p->id, SIGKILL, true);
		keeping_forget(p->id);
	}
}

/* RUNNING by its row, unknown to the keeper: the keeper is new. */
static void
find_lost(void)
{
	struct container *c;

	TAILQ_FOREACH(c, &node.containers, all) {
		int pidfd;

		if (c->state != CONTAINER_RUNNING || c->kept)
			continue;
		pidfd = open_process(c, c->pid);
		if (pidfd >= 0) {
			resume_running(c, c->pid, pidfd);
			keeping_adopt(c);
		} else {
			container_exited(c, 0, clock_wall_ns(), true);
		}
	}
}

static int
match_processes(struct err *err)
{
	Coracle__Launch__Reply *list = keeping_list(err);
	struct sandbox *sb;
	struct err ignored;

	if (list == NULL)
		return -1;
	for (size_t i = 0; i < list->n_processes; i++)
		match_process(list->processes[i]);
	coracle__launch__reply__free_unpacked(list, NULL);
	find_lost();
	TAILQ_FOREACH(sb, &node.sandboxes, all) {
		if (sb->state != SANDBOX_READY)
			continue;
		if (sandbox_shares_pid(sb) && sb->holder_pid == 0) {
			log_warn("sandbox %.12s: the holder of its PID namespace is gone", sb->id);
			if (sandbox_set_state(sb, SANDBOX_NOTREADY, &ignored) < 0)
				log_err("sandbox %.12s: %s", sb->id, ignored.msg);
		} else {
			sandbox_watch(sb);
		}
	}
	return 0;
}

static void
on_container_undone(struct ctr_op *o)
{
	ctr_op_free(o);
}

static void
on_sandbox_undone(struct pod_op *p)
{
	pod_op_free(p);
}

static void
undo_intents(void)
{
	struct sandbox *sb;
	struct container *c;
	struct err err;

	TAILQ_FOREACH(c, &node.containers, all)
		if (c->state == CONTAINER_CREATING && c->sb->state != SANDBOX_CREATING)
			ctr_remove_start(c, on_container_undone, NULL);
	TAILQ_FOREACH(sb, &node.sandboxes, all)
		if (sb->state == SANDBOX_CREATING) {
			/* If the network cannot be given back now, the kubelet sees it and retries. */
			if (sandbox_set_state(sb, SANDBOX_NOTREADY, &err) < 0)
				log_err("sandbox %.12s: %s", sb->id, err.msg);
			pod_remove_start(sb, on_sandbox_undone, NULL);
		}
}

static void
remove_leftover(const char *dir, const char *id, bool mounts)
{
	static const char *const points[] = {"ns/net", "ns/ipc", "ns/uts", "ns/user", "shm"};
	cleanup_free char *path = xasprintf("%s/%s", dir, id);
	struct err err;

	for (size_t i = 0; mounts && i < ARRAY_SIZE(points); i++) {
		cleanup_free char *point = xasprintf("%s/%s", path, points[i]);

		while (umount2(point, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
			continue;
	}
	log_info("recovery: %s belongs to nobody and is removed", path);
	if (fd_remove_tree(AT_FDCWD, path, &err) < 0)
		log_warn("recovery: %s", err.msg);
}

static void
sweep(const char *base, const char *sub, const struct index *owners, bool mounts)
{
	cleanup_free char *path = xasprintf("%s/%s", base, sub);
	DIR *dir = opendir(path);
	struct dirent *ent;

	if (dir == NULL)
		return;
	while ((ent = readdir(dir)) != NULL)
		if (id_valid(ent->d_name) && index_get(owners, ent->d_name) == NULL)
			remove_leftover(path, ent->d_name, mounts);
	closedir(dir);
}

static void
on_cgroup(const char *parent, const char *id, void *arg)
{
	struct err err;

	(void)arg;
	if (index_get(&node.container_by_id, id) != NULL)
		return;
	log_info("recovery: cgroup %s/%s belongs to nobody and is removed", parent, id);
	if (cgroup_kill(parent, id, &err) < 0 || cgroup_remove(parent, id, &err) < 0)
		log_warn("recovery: %s", err.msg);
}

struct gc_op {
	struct op op;
	struct net_call net;
	const char **ids;
	size_t n;
};

static enum op_ret
collect_network(struct op *op, struct err *err)
{
	struct gc_op *g = container_of(op, struct gc_op, op);

	return net_gc(&g->net, node.net, g->ids, g->n, op, err);
}

static const struct op_step gc_steps[] = {
    {"release what no pod owns", collect_network, NULL},
    {NULL,                       NULL,            NULL},
};

static void
on_gc_done(struct op *op)
{
	struct gc_op *g = container_of(op, struct gc_op, op);

	net_call_release(&g->net);
	for (size_t i = 0; i < g->n; i++)
		free((char *)(uintptr_t)g->ids[i]);
	free(g->ids);
	free(g);
}

static void
start_network_gc(void)
{
	struct gc_op *g = xcalloc(1, sizeof(*g));
	struct sandbox *sb;

	g->ids = xcalloc(node.sandbox_by_id.n + 1, sizeof(*g->ids));
	TAILQ_FOREACH(sb, &node.sandboxes, all)
		g->ids[g->n++] = xstrdup(sb->id);
	op_start(&g->op, "network GC", "", gc_steps, on_gc_done);
}

int
recover(struct err *err)
{
	int64_t start = clock_mono_ns();
	struct err ignored;

	if (load_sandboxes(err) < 0 || load_containers(err) < 0)
		return err_wrap(err, "recovery");
	image_store_settle(node.images);
	if (match_processes(err) < 0)
		return err_wrap(err, "recovery");
	sweep(node.config->state, "sandboxes", &node.sandbox_by_id, true);
	sweep(node.config->state, "containers", &node.container_by_id, false);
	sweep(node.config->root, "containers", &node.container_by_id, false);
	if (cgroup_foreach(on_cgroup, NULL, &ignored) < 0)
		log_warn("recovery: %s", ignored.msg);
	start_network_gc();
	undo_intents();
	pod_release_init();
	log_info("recovered %zu sandboxes and %zu containers in %lld ms", node.sandbox_by_id.n,
	    node.container_by_id.n, (long long)((clock_mono_ns() - start) / NS_PER_MS));
	return 0;
}
