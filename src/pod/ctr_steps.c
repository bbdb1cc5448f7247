/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps of a container's life: see ctr_steps.h.
 */
#include "pod/ctr_steps.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/cgroup.h"
#include "exec/cgroup_systemd.h"
#include "image/store.h"
#include "pod/config.h"
#include "pod/ctr_root.h"
#include "pod/ctr_stop.h"
#include "pod/keeping.h"
#include "pod/node.h"
#include "pod/plan.h"
#include "pod/sandbox.h"

#define CTR(o) container_of(o, struct ctr_op, op)

enum { BUSY_MS = 10, GIVE_UP_MS = 60 * 1000, REMOVE_TREE_MS = 10 * 60 * 1000 };

static op_fn take_turn, insert_row, delete_row, use_image, unuse_image, make_dirs, remove_dirs,
    make_cgroup, remove_cgroup, renew_cgroup, mount_root, unmount_root, check_plan, mark_created,
    may_start, launch, unlaunch, mark_running, kill_it, forget_it;

static const struct op_step create_steps[] = {
    {"take turn",      take_turn,    NULL         },
    {"insert row",     insert_row,   delete_row   },
    {"use image",      use_image,    unuse_image  },
    {"make files",     make_dirs,    remove_dirs  },
    {"create cgroup",  make_cgroup,  remove_cgroup},
    {"mount root",     mount_root,   unmount_root },
    {"resolve user",   ctr_resolve_user, NULL     },
    {"check the plan", check_plan,   NULL         },
    {"mark created",   mark_created, NULL         },
    {NULL,             NULL,         NULL         },
};

static const struct op_step start_steps[] = {
    {"take turn",    take_turn,    NULL    },
    {"check state",  may_start,    NULL    },
    {"mount root",   mount_root,   NULL    },
    {"renew cgroup", renew_cgroup, NULL    },
    {"launch",       launch,       unlaunch},
    {"mark running", mark_running, NULL    },
    {NULL,           NULL,         NULL    },
};

static const struct op_step remove_steps[] = {
    {"take turn",     take_turn,     NULL},
    {"kill",          kill_it,       NULL},
    {"remove cgroup", remove_cgroup, NULL},
    {"unmount root",  unmount_root,  NULL},
    {"forget",        forget_it,     NULL},
    {"remove files",  remove_dirs,   NULL},
    {"leave image",   unuse_image,   NULL},
    {"delete row",    delete_row,    NULL},
    {NULL,            NULL,          NULL},
};

static enum op_ret
take_turn(struct op *op, struct err *err)
{
	(void)err;
	return op_queue_enter(op);
}

static enum op_ret
insert_row(struct op *op, struct err *err)
{
	return container_insert(CTR(op)->c, err) < 0 ? OP_FAIL : OP_NEXT;
}

static enum op_ret
delete_row(struct op *op, struct err *err)
{
	return container_delete(CTR(op)->c, err) < 0 ? OP_FAIL : OP_NEXT;
}

static enum op_ret
use_image(struct op *op, struct err *err)
{
	struct container *c = CTR(op)->c;

	if (image_store_use(node.images, c->image_id, err) < 0)
		return OP_FAIL;
	c->image_used = true;
	return OP_NEXT;
}

static enum op_ret
unuse_image(struct op *op, struct err *err)
{
	struct container *c = CTR(op)->c;

	(void)err;
	if (c->image_used)
		image_store_unuse(node.images, c->image_id);
	c->image_used = false;
	return OP_NEXT;
}

static enum op_ret
make_dirs(struct op *op, struct err *err)
{
	return ctr_dirs_make(CTR(op)->c, err) < 0 ? OP_FAIL : OP_NEXT;
}

static int
remove_tree(const void *arg, int out, struct err *err)
{
	(void)out;
	return fd_remove_tree(AT_FDCWD, arg, err);
}

/* What a container wrote may be large: another process deletes it. */
static enum op_ret
remove_dirs(struct op *op, struct err *err)
{
	struct ctr_op *o = CTR(op);
	cleanup_free char *state = container_state_path(o->c, "");
	struct worker_spec spec = {
	    .fn = remove_tree, .what = "remove", .timeout_ms = REMOVE_TREE_MS};

	if (o->tree != NULL) {
		child_release(&o->worker.child);
		free(take_ptr(o->tree));
		return OP_NEXT;
	}
	if (fd_remove_tree(AT_FDCWD, state, err) < 0)
		return OP_FAIL;
	o->tree = container_root_path(o->c, "");
	if (access(o->tree, F_OK) < 0 && errno == ENOENT) {
		free(take_ptr(o->tree));
		return OP_NEXT;
	}
	if (ctr_root_is_small(o->c)) {
		int ret = fd_remove_tree(AT_FDCWD, o->tree, err);

		free(take_ptr(o->tree));
		return ret < 0 ? OP_FAIL : OP_NEXT;
	}
	spec.arg = o->tree;
	if (worker_start_op(&o->worker, &spec, op, err) < 0) {
		free(take_ptr(o->tree));
		return OP_FAIL;
	}
	return OP_AGAIN;
}

static enum op_ret
make_cgroup(struct op *op, struct err *err)
{
	struct container *c = CTR(op)->c;
	const Runtime__V1__LinuxContainerConfig *l = c->config->linux;
	const char *parent = c->sb->cgroup_parent;

	if (cgroup_info()->driver == CGROUP_DRIVER_SYSTEMD && !CTR(op)->scope_asked &&
	    !cgroup_exists(parent, c->id)) {
		CTR(op)->scope_asked = true;
		if (cgroup_scope_start(parent, c->id, l != NULL ? l->resources : NULL, op, err) < 0)
			return OP_FAIL;
		return OP_AGAIN;
	}
	if (cgroup_create(parent, c->id, err) < 0 ||
	    (node.config->pids_limit > 0 &&
	        cgroup_set_pids_max(parent, c->id, node.config->pids_limit, err) < 0) ||
	    (l != NULL && l->resources != NULL &&
	        cgroup_apply(parent, c->id, l->resources, err) < 0))
		return OP_FAIL;
	return OP_NEXT;
}

static void
on_try_again(struct loop_timer *t)
{
	op_resume(&container_of(t, struct ctr_op, timer)->op, NULL);
}

static enum op_ret
remove_cgroup(struct op *op, struct err *err)
{
	struct ctr_op *o = CTR(op);
	int gone;

	cgroup_scope_settle(o->c->id);
	gone = cgroup_remove(o->c->sb->cgroup_parent, o->c->id, err);

	if (gone < 0)
		return OP_FAIL;
	if (gone > 0)
		return OP_NEXT;
	if (o->give_up_ms == 0)
		o->give_up_ms = loop_now_ms() + GIVE_UP_MS;
	if (loop_now_ms() > o->give_up_ms) {
		err_set(err, ERR_DEADLINE_EXCEEDED,
		    "processes of container %.12s do not die: its cgroup is still in use",
		    o->c->id);
		return OP_FAIL;
	}
	if (cgroup_kill(o->c->sb->cgroup_parent, o->c->id, err) < 0)
		return OP_FAIL;
	timer_start(&o->timer, BUSY_MS, on_try_again);
	return OP_AGAIN;
}

static enum op_ret
mount_root(struct op *op, struct err *err)
{
	return ctr_root_mount(CTR(op)->c, err) < 0 ? OP_FAIL : OP_NEXT;
}

static enum op_ret
unmount_root(struct op *op, struct err *err)
{
	(void)err;
	fd_closep(&CTR(op)->c->root_fd);
	return OP_NEXT;
}

/* What the request alone can get wrong is told now, not when the container is started. */
static enum op_ret
check_plan(struct op *op, struct err *err)
{
	struct ctr_op *o = CTR(op);
	struct plan plan = PLAN_INIT;
	int ret = plan_container(o->c, &o->arena, &plan, err);

	/* Without the means there is no policy: told once, at start. */
	if (ret == 0 && cgroup_info()->devices != CGROUP_DEVICES_NONE)
		ret = cgroup_set_devices(o->c->sb->cgroup_parent, o->c->id, plan.devices,
		    plan.n_devices, err);
	plan_release(&plan);
	return ret < 0 ? OP_FAIL : OP_NEXT;
}

/* A scope lasts as long as its placeholder, and that as long as coracled: between the creation and
 * the start of a container it may have been restarted. */
static enum op_ret
renew_cgroup(struct op *op, struct err *err)
{
	struct container *c = CTR(op)->c;
	enum op_ret ret;

	if (cgroup_info()->driver != CGROUP_DRIVER_SYSTEMD ||
	    (!CTR(op)->scope_asked && cgroup_exists(c->sb->cgroup_parent, c->id)))
		return OP_NEXT;
	ret = make_cgroup(op, err);
	return ret == OP_NEXT ? check_plan(op, err) : ret;
}

static enum op_ret
mark_created(struct op *op, struct err *err)
{
	return container_set_state(CTR(op)->c, CONTAINER_CREATED, err) < 0 ? OP_FAIL : OP_NEXT;
}

static enum op_ret
may_start(struct op *op, struct err *err)
{
	struct container *c = CTR(op)->c;

	if (c->state != CONTAINER_CREATED) {
		err_set(err, ERR_FAILED_PRECONDITION, "container %.12s is not in the state created",
		    c->id);
		return OP_FAIL;
	}
	if (c->sb->state != SANDBOX_READY) {
		err_set(err, ERR_FAILED_PRECONDITION, "sandbox %.12s is not ready", c->sb->id);
		return OP_FAIL;
	}
	return container_set_state(c, CONTAINER_STARTING, err) < 0 ? OP_FAIL : OP_NEXT;
}

static enum op_ret
launch(struct op *op, struct err *err)
{
	struct ctr_op *o = CTR(op);
	struct container *c = o->c;
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	Coracle__Launch__Launch m = CORACLE__LAUNCH__LAUNCH__INIT;
	struct plan plan = PLAN_INIT;
	enum op_ret ret = OP_FAIL;
	struct err ignored;

	if (c->oom_fd < 0)
		c->oom_fd = cgroup_oom_open(c->sb->cgroup_parent, c->id, &ignored);
	if (plan_container(c, &o->arena, &plan, err) == 0) {
		m.id = c->id;
		m.plan = plan.message;
		m.log_path = c->log_path != NULL ? c->log_path : (char *)(uintptr_t)"";
		m.log_max_line = node.config->log_max_line;
		m.io_dir = container_state_path(c, "");
		req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_LAUNCH;
		req.launch = &m;
		if (keeper_call_op(node.keeper, &o->keeper, &req, plan.fds, plan.n_fds, op, err) ==
		    0)
			ret = OP_WAIT;
		free(m.io_dir);
	}
	plan_release(&plan);
	return ret;
}

/* Waits for its end, so that what follows finds nobody in the cgroup. */
static enum op_ret
unlaunch(struct op *op, struct err *err)
{
	struct ctr_op *o = CTR(op);
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	Coracle__Launch__Kill m = CORACLE__LAUNCH__KILL__INIT;

	m.id = o->c->id;
	m.signal = SIGKILL;
	m.tree = true;
	m.wait = true;
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_KILL;
	req.kill = &m;
	keeper_call_release(&o->keeper);
	if (keeper_call_op(node.keeper, &o->keeper, &req, NULL, 0, op, err) < 0)
		return OP_FAIL;
	return OP_WAIT;
}

void
container_watch(struct container *c)
{
	c->stats = (struct stats_target){.id = c->id, .cgroup_parent = c->sb->cgroup_parent};
	c->stats.upper = arena_printf(&c->arena, "%s/containers/%s/upper", node.config->root, c->id);
	c->stats.upper_fs = node.config->root;
	stats_watch(&c->stats);
}

static enum op_ret
mark_running(struct op *op, struct err *err)
{
	struct ctr_op *o = CTR(op);
	struct container *c = o->c;

	c->pid = o->keeper.reply->pid;
	c->pidfd = keeper_call_take_fd(&o->keeper, o->keeper.reply->pid_fd);
	c->tty_fd = keeper_call_take_fd(&o->keeper, o->keeper.reply->tty_fd);
	c->started_at = clock_wall_ns();
	fd_closep(&c->root_fd); /* the container's own mount namespace has it now */
	cgroup_scope_settle(c->id);
	if (container_set_state(c, CONTAINER_RUNNING, err) < 0)
		return OP_FAIL;
	container_watch(c);
	return OP_NEXT;
}

static void
on_exited(struct exit_waiter *w)
{
	op_resume(&container_of(w, struct ctr_op, waiter)->op, NULL);
}

static enum op_ret
kill_it(struct op *op, struct err *err)
{
	struct ctr_op *o = CTR(op);

	(void)err;
	if (o->c->state != CONTAINER_RUNNING)
		return OP_NEXT;
	container_kill(o->c);
	container_wait_exit(o->c, &o->waiter, on_exited);
	return OP_AGAIN;
}

static enum op_ret
forget_it(struct op *op, struct err *err)
{
	struct container *c = CTR(op)->c;

	(void)err;
	c->removing = true; /* from here on it is not listed */
	return OP_NEXT;
}

static void
free_container(struct ctr_op *o)
{
	struct err gone;

	err_set(&gone, ERR_ABORTED, "container %.12s was removed", o->c->id);
	op_queue_close(&o->c->queue, &gone);
	container_free(take_ptr(o->c));
}

static void
on_create_done(struct op *op)
{
	struct ctr_op *o = CTR(op);
	struct err err;

	o->c->create_op = NULL;
	if (op->err.code != ERR_NONE && op->undo_err.code == ERR_NONE) {
		free_container(o);
	} else if (op->err.code != ERR_NONE) {
		/* Listed as created, so that RemoveContainer can retry the clean-up. */
		if (o->c->state == CONTAINER_CREATING &&
		    container_set_state(o->c, CONTAINER_CREATED, &err) < 0)
			log_err("container %.12s: %s", o->c->id, err.msg);
	}
	op_queue_leave(op);
	o->done(o);
}

/* A start that failed is an exit: the kubelet reads the reason from the container's status. */
static void
record_failure(struct container *c, const struct err *why)
{
	struct err err;

	if (c->started_at == 0)
		c->started_at = c->created_at;
	c->finished_at = clock_wall_ns();
	c->exit_code = 128;
	free(c->reason);
	free(c->message);
	c->reason = xstrdup("StartError");
	c->message = xstrdup(why->msg);
	c->pid = 0;
	fd_closep(&c->pidfd);
	fd_closep(&c->tty_fd);
	fd_closep(&c->root_fd);
	fd_closep(&c->oom_fd);
	keeping_forget(c->id);
	if (container_set_state(c, CONTAINER_EXITED, &err) < 0)
		log_err("container %.12s: %s", c->id, err.msg);
}

static void
on_start_done(struct op *op)
{
	struct ctr_op *o = CTR(op);
	struct container *c = o->c;

	if (op->queue != NULL && op->err.code != ERR_NONE && c->state == CONTAINER_STARTING)
		record_failure(c, &op->err);
	else if (op->queue != NULL && c->state == CONTAINER_RUNNING && c->exit_pending)
		container_exited(c, c->exit_status, c->exit_at, false);
	op_queue_leave(op);
	o->done(o);
}

static void
on_remove_done(struct op *op)
{
	struct ctr_op *o = CTR(op);

	if (op->err.code == ERR_NONE)
		free_container(o);
	else if (op->queue != NULL)
		o->c->removing = false; /* found again, so that it can be tried again */
	op_queue_leave(op);
	o->done(o);
}

static struct ctr_op *
start(struct container *c, const char *name, const struct op_step *steps,
    void (*on_done)(struct op *), void (*done)(struct ctr_op *), void *owner)
{
	struct ctr_op *o = xcalloc(1, sizeof(*o));

	o->c = c;
	o->done = done;
	o->owner = owner;
	arena_init(&o->arena);
	op_start(&o->op, name, c->id, steps, on_done);
	op_queue_join(&c->queue, &o->op);
	return o;
}

struct ctr_op *
ctr_create_start(struct container *c, void (*done)(struct ctr_op *), void *owner)
{
	struct ctr_op *o = start(c, "CreateContainer", create_steps, on_create_done, done, owner);

	c->create_op = &o->op;
	return o;
}

struct ctr_op *
ctr_start_start(struct container *c, void (*done)(struct ctr_op *), void *owner)
{
	return start(c, "StartContainer", start_steps, on_start_done, done, owner);
}

struct ctr_op *
ctr_remove_start(struct container *c, void (*done)(struct ctr_op *), void *owner)
{
	return start(c, "RemoveContainer", remove_steps, on_remove_done, done, owner);
}

void
ctr_op_free(struct ctr_op *o)
{
	timer_stop(&o->timer);
	keeper_call_release(&o->keeper);
	arena_release(&o->arena);
	free(o->tree);
	free(o);
}
