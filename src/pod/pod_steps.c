/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps of a sandbox's life: see pod_steps.h.
 */
#include "pod/pod_steps.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/cgroup.h"
#include "pod/config.h"
#include "pod/ctr_steps.h"
#include "pod/keeping.h"
#include "pod/node.h"
#include "pod/plan.h"
#include "pod/pod_files.h"

#define POD(o) container_of(o, struct pod_op, op)

static const char *const ns_files[] = {"ns/net", "ns/ipc", "ns/uts", "ns/user"};

static op_fn take_turn, insert_row, delete_row, make_files, remove_files, mount_shm, unmount_shm,
    make_namespaces, remove_namespaces, start_holder, kill_holder, attach_network, detach_network,
    mark_ready, mark_notready, kill_containers, remove_containers, remove_cgroup, mark_released;

static const struct op_step run_steps[] = {
    {"take turn",         take_turn,       NULL             },
    {"insert row",        insert_row,      delete_row       },
    {"make files",        make_files,      remove_files     },
    {"mount shm",         mount_shm,       unmount_shm      },
    {"create namespaces", make_namespaces, remove_namespaces},
    {"attach network",    attach_network,  detach_network   },
    {"start holder",      start_holder,    kill_holder      },
    {"mark ready",        mark_ready,      NULL             },
    {NULL,                NULL,            NULL             },
};

static const struct op_step stop_steps[] = {
    {"take turn",         take_turn,         NULL},
    {"mark not ready",    mark_notready,     NULL},
    {"kill containers",   kill_containers,   NULL},
    {"kill holder",       kill_holder,       NULL},
    {"detach network",    detach_network,    NULL},
    {"remove namespaces", remove_namespaces, NULL},
    {"unmount shm",       unmount_shm,       NULL},
    {"mark released",     mark_released,     NULL},
    {NULL,                NULL,              NULL},
};

static const struct op_step remove_steps[] = {
    {"take turn",         take_turn,         NULL},
    {"mark not ready",    mark_notready,     NULL},
    {"kill containers",   kill_containers,   NULL},
    {"kill holder",       kill_holder,       NULL},
    {"detach network",    detach_network,    NULL},
    {"remove namespaces", remove_namespaces, NULL},
    {"unmount shm",       unmount_shm,       NULL},
    {"mark released",     mark_released,     NULL},
    {"remove containers", remove_containers, NULL},
    {"remove cgroup",     remove_cgroup,     NULL},
    {"remove files",      remove_files,      NULL},
    {"delete row",        delete_row,        NULL},
    {NULL,                NULL,              NULL},
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
	return sandbox_insert(POD(op)->sb, err) < 0 ? OP_FAIL : OP_NEXT;
}

static enum op_ret
delete_row(struct op *op, struct err *err)
{
	struct pod_op *p = POD(op);

	if (sandbox_delete(p->sb, err) < 0)
		return OP_FAIL;
	p->sb->removing = true;
	return OP_NEXT;
}

static enum op_ret
make_files(struct op *op, struct err *err)
{
	return pod_files_make(POD(op)->sb, err) < 0 ? OP_FAIL : OP_NEXT;
}

static enum op_ret
remove_files(struct op *op, struct err *err)
{
	return pod_files_remove(POD(op)->sb, err) < 0 ? OP_FAIL : OP_NEXT;
}

/* The pod's /dev/shm: one for all its containers (64 MiB, as the peers have it). */
static enum op_ret
mount_shm(struct op *op, struct err *err)
{
	struct sandbox *sb = POD(op)->sb;
	cleanup_free char *path = sandbox_path(sb, "shm");

	if (sandbox_host_ipc(sb))
		return OP_NEXT;
	if (mount("shm", path, "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k") <
	    0) {
		err_errno(err, "mount %s", path);
		return OP_FAIL;
	}
	return OP_NEXT;
}

static int
detach_mount(const struct sandbox *sb, const char *file, struct err *err)
{
	cleanup_free char *path = sandbox_path(sb, file);

	/* Mounted twice after a retry that was cut off: take all of them. */
	while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		continue;
	if (errno != EINVAL && errno != ENOENT)
		return err_errno(err, "unmount %s", path);
	return 0;
}

static enum op_ret
unmount_shm(struct op *op, struct err *err)
{
	return detach_mount(POD(op)->sb, "shm", err) < 0 ? OP_FAIL : OP_NEXT;
}

static enum op_ret
launch(struct pod_op *p, const char *suffix, struct plan *plan, struct err *err)
{
	Coracle__Launch__Request req = CORACLE__LAUNCH__REQUEST__INIT;
	Coracle__Launch__Launch m = CORACLE__LAUNCH__LAUNCH__INIT;

	m.id = arena_printf(&p->arena, "%s%s", p->sb->id, suffix);
	m.plan = plan->message;
	req.what_case = CORACLE__LAUNCH__REQUEST__WHAT_LAUNCH;
	req.launch = &m;
	keeper_call_release(&p->keeper);
	if (keeper_call_op(node.keeper, &p->keeper, &req, plan->fds, plan->n_fds, &p->op, err) < 0)
		return OP_FAIL;
	return OP_WAIT;
}

static enum op_ret
make_namespaces(struct op *op, struct err *err)
{
	struct pod_op *p = POD(op);
	struct plan plan = PLAN_INIT;
	enum op_ret ret = OP_NEXT;

	if (plan_namespaces(p->sb, &p->arena, &plan, err) < 0)
		ret = OP_FAIL;
	else if (plan.message != NULL)
		ret = launch(p, KEEPING_NS, &plan, err);
	plan_release(&plan);
	return ret;
}

static enum op_ret
remove_namespaces(struct op *op, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(ns_files); i++)
		if (detach_mount(POD(op)->sb, ns_files[i], err) < 0)
			return OP_FAIL;
	return OP_NEXT;
}

static enum op_ret
start_holder(struct op *op, struct err *err)
{
	struct pod_op *p = POD(op);
	struct plan plan = PLAN_INIT;
	enum op_ret ret;

	if (!sandbox_shares_pid(p->sb))
		return OP_NEXT;
	if (p->keeper.reply != NULL && p->keeper.reply->pid > 0 && p->sb->holder_pid == -1) {
		p->sb->holder_pid = p->keeper.reply->pid;
		p->sb->holder_pidfd = keeper_call_take_fd(&p->keeper, p->keeper.reply->pid_fd);
		return OP_NEXT;
	}
	if (plan_holder(p->sb, &p->arena, &plan, err) < 0)
		return OP_FAIL;
	ret = launch(p, KEEPING_HOLDER, &plan, err);
	plan_release(&plan);
	if (ret == OP_WAIT) {
		p->sb->holder_pid = -1; /* launched, not yet known */
		ret = OP_AGAIN;
	}
	return ret;
}

/* Its death ends every process of the namespace. */
static enum op_ret
kill_holder(struct op *op, struct err *err)
{
	struct sandbox *sb = POD(op)->sb;

	(void)err;
	if (sb->holder_pid == 0)
		return OP_NEXT;
	if (sb->holder_pidfd >= 0) {
		syscall(SYS_pidfd_send_signal, sb->holder_pidfd, SIGKILL, NULL, 0);
	} else {
		cleanup_free char *id = xasprintf("%s%s", sb->id, KEEPING_HOLDER);

		keeping_kill(id, SIGKILL, false);
	}
	sb->holder_pid = 0;
	fd_closep(&sb->holder_pidfd);
	return OP_NEXT;
}

struct net_pod *
pod_net_pod(const struct sandbox *sb, struct arena *a)
{
	const Runtime__V1__PodSandboxConfig *c = sb->config;
	struct net_pod *n = arena_new(a, struct net_pod);
	struct net_port *ports = arena_array(a, struct net_port, c->n_port_mappings);
	struct net_kv *notes = arena_array(a, struct net_kv, c->n_annotations);

	for (size_t i = 0; i < c->n_port_mappings; i++) {
		const Runtime__V1__PortMapping *m = c->port_mappings[i];

		ports[i] = (struct net_port){
		    .proto = m->protocol == RUNTIME__V1__PROTOCOL__UDP    ? NET_UDP
		             : m->protocol == RUNTIME__V1__PROTOCOL__SCTP ? NET_SCTP
		                                                           : NET_TCP,
		    .container_port = (uint16_t)m->container_port,
		    .host_port = (uint16_t)m->host_port,
		    .host_ip = m->host_ip};
	}
	for (size_t i = 0; i < c->n_annotations; i++)
		notes[i] = (struct net_kv){c->annotations[i]->key, c->annotations[i]->value};
	*n = (struct net_pod){.id = sb->id, .name = c->metadata->name,
	    .ns = c->metadata->namespace_, .uid = c->metadata->uid,
	    .cgroup_parent = sb->cgroup_parent, .handler = sb->request->runtime_handler,
	    .ports = ports, .n_ports = c->n_port_mappings, .annotations = notes,
	    .n_annotations = c->n_annotations};
	n->netns_path =
	    arena_printf(a, "%s/sandboxes/%s/ns/net", node.config->state, sb->id);
	if (c->dns_config != NULL) {
		n->dns_servers = (const char *const *)c->dns_config->servers;
		n->n_dns_servers = c->dns_config->n_servers;
		n->dns_searches = (const char *const *)c->dns_config->searches;
		n->n_dns_searches = c->dns_config->n_searches;
		n->dns_options = (const char *const *)c->dns_config->options;
		n->n_dns_options = c->dns_config->n_options;
	}
	return n;
}

static enum op_ret
attach_network(struct op *op, struct err *err)
{
	struct pod_op *p = POD(op);
	enum op_ret ret;

	if (sandbox_host_network(p->sb))
		return OP_NEXT;
	if (p->net_pod == NULL)
		p->net_pod = pod_net_pod(p->sb, &p->arena);
	ret = net_attach(&p->net, node.net, p->net_pod, op, err);
	/* Durable before anything is built on it: a crash after this knows what to give back. */
	if (ret == OP_NEXT && sandbox_set_network(p->sb, &p->net.result, err) < 0)
		return OP_FAIL;
	return ret;
}

static enum op_ret
detach_network(struct op *op, struct err *err)
{
	struct pod_op *p = POD(op);
	struct net_result none = {0};
	enum op_ret ret;

	if (sandbox_host_network(p->sb) || p->sb->released)
		return OP_NEXT;
	if (p->net_pod == NULL)
		p->net_pod = pod_net_pod(p->sb, &p->arena);
	if (access(p->net_pod->netns_path, F_OK) < 0)
		p->net_pod->netns_path = NULL;
	ret = net_detach(&p->net, node.net, p->net_pod, p->sb->network.json, op, err);
	if (ret == OP_NEXT && p->sb->network.json != NULL &&
	    sandbox_set_network(p->sb, &none, err) < 0)
		return OP_FAIL;
	return ret;
}

void
sandbox_watch(struct sandbox *sb)
{
	sb->stats = (struct stats_target){
	    .id = sb->id, .cgroup_parent = sb->cgroup_parent, .is_pod = true};
	if (!sandbox_host_network(sb))
		sb->stats.netns = arena_printf(&sb->arena, "%s/sandboxes/%s/ns/net",
		    node.config->state, sb->id);
	stats_watch(&sb->stats);
}

static enum op_ret
mark_ready(struct op *op, struct err *err)
{
	struct sandbox *sb = POD(op)->sb;

	if (sandbox_set_state(sb, SANDBOX_READY, err) < 0)
		return OP_FAIL;
	sandbox_watch(sb);
	return OP_NEXT;
}

static enum op_ret
mark_notready(struct op *op, struct err *err)
{
	struct sandbox *sb = POD(op)->sb;

	stats_unwatch(&sb->stats);
	if (sb->state == SANDBOX_NOTREADY)
		return OP_NEXT;
	return sandbox_set_state(sb, SANDBOX_NOTREADY, err) < 0 ? OP_FAIL : OP_NEXT;
}

static void
on_stopped(struct stop_op *s)
{
	struct pod_op *p = s->owner;

	if (--p->n_stopping == 0)
		op_resume(&p->op, NULL);
}

/* All at once; a start in flight is waited for and killed too. */
static enum op_ret
kill_containers(struct op *op, struct err *err)
{
	struct pod_op *p = POD(op);
	struct container *c;
	size_t n = 0;

	(void)err;
	TAILQ_FOREACH(c, &p->sb->containers, in_sandbox)
		if (c->state == CONTAINER_RUNNING || c->state == CONTAINER_STARTING)
			n++;
	if (n == 0)
		return OP_NEXT;
	free(p->stops);
	p->stops = xcalloc(n, sizeof(*p->stops));
	p->n_stopping = (unsigned)n;
	n = 0;
	TAILQ_FOREACH(c, &p->sb->containers, in_sandbox)
		if (c->state == CONTAINER_RUNNING || c->state == CONTAINER_STARTING) {
			container_stop_start(&p->stops[n], op->name, c, 0, on_stopped);
			p->stops[n++].owner = p;
		}
	return OP_AGAIN;
}

static void
on_container_removed(struct ctr_op *o)
{
	struct pod_op *p = o->owner;
	struct err err = o->op.err;

	ctr_op_free(o);
	p->removing = NULL;
	/* ABORTED: a call of its own removed it, or its creation failed, while this one waited. */
	op_resume(&p->op, err.code != ERR_ABORTED ? &err : NULL);
}

static enum op_ret
remove_containers(struct op *op, struct err *err)
{
	struct pod_op *p = POD(op);
	struct container *c = TAILQ_FIRST(&p->sb->containers);

	(void)err;
	if (c == NULL)
		return OP_NEXT;
	p->removing = ctr_remove_start(c, on_container_removed, p);
	return OP_AGAIN;
}

/* Only what is ours and empty goes; a pod's cgroup that the kubelet made stays. */
static enum op_ret
remove_cgroup(struct op *op, struct err *err)
{
	return cgroup_remove_parent(POD(op)->sb->cgroup_parent, err) < 0 ? OP_FAIL : OP_NEXT;
}

static enum op_ret
mark_released(struct op *op, struct err *err)
{
	(void)err;
	POD(op)->sb->released = true;
	return OP_NEXT;
}

static void
free_sandbox(struct pod_op *p)
{
	struct err gone;

	err_set(&gone, ERR_ABORTED, "sandbox %.12s was removed", p->sb->id);
	op_queue_close(&p->sb->queue, &gone);
	sandbox_free(take_ptr(p->sb));
}

static void
on_run_done(struct op *op)
{
	struct pod_op *p = POD(op);
	struct err err;

	p->sb->run_op = NULL;
	if (op->err.code != ERR_NONE && op->undo_err.code == ERR_NONE) {
		free_sandbox(p);
	} else if (op->err.code != ERR_NONE) {
		/* What is left is listed, not ready, so that StopPodSandbox can retry. */
		if (sandbox_set_state(p->sb, SANDBOX_NOTREADY, &err) < 0)
			log_err("sandbox %.12s: %s", p->sb->id, err.msg);
	}
	op_queue_leave(op);
	p->done(p);
}

static void
on_stop_done(struct op *op)
{
	struct pod_op *p = POD(op);

	op_queue_leave(op);
	p->done(p);
}

static void
on_remove_done(struct op *op)
{
	struct pod_op *p = POD(op);

	if (op->err.code == ERR_NONE)
		free_sandbox(p);
	op_queue_leave(op);
	p->done(p);
}

static struct pod_op *
start(struct sandbox *sb, const char *name, const struct op_step *steps, void (*on_done)(struct op *),
    void (*done)(struct pod_op *), void *owner)
{
	struct pod_op *p = xcalloc(1, sizeof(*p));

	p->sb = sb;
	p->done = done;
	p->owner = owner;
	arena_init(&p->arena);
	op_start(&p->op, name, sb->id, steps, on_done);
	op_queue_join(&sb->queue, &p->op);
	return p;
}

struct pod_op *
pod_run_start(struct sandbox *sb, void (*done)(struct pod_op *), void *owner)
{
	struct pod_op *p = start(sb, "RunPodSandbox", run_steps, on_run_done, done, owner);

	sb->run_op = &p->op;
	return p;
}

struct pod_op *
pod_stop_start(struct sandbox *sb, void (*done)(struct pod_op *), void *owner)
{
	return start(sb, "StopPodSandbox", stop_steps, on_stop_done, done, owner);
}

struct pod_op *
pod_remove_start(struct sandbox *sb, void (*done)(struct pod_op *), void *owner)
{
	return start(sb, "RemovePodSandbox", remove_steps, on_remove_done, done, owner);
}

void
pod_op_free(struct pod_op *p)
{
	net_call_release(&p->net);
	keeper_call_release(&p->keeper);
	arena_release(&p->arena);
	free(p->stops);
	free(p);
}

void
sandbox_holder_exited(const char *holder_id)
{
	char id[ID_SIZE];
	struct sandbox *sb;
	struct err err;

	snprintf(id, sizeof(id), "%.64s", holder_id);
	sb = index_get(&node.sandbox_by_id, id);
	keeping_forget(holder_id);
	if (sb == NULL || sb->holder_pid == 0)
		return; /* killed by us */
	log_warn("sandbox %.12s: the holder of its PID namespace died", id);
	sb->holder_pid = 0;
	fd_closep(&sb->holder_pidfd);
	if (sb->state == SANDBOX_READY && sandbox_set_state(sb, SANDBOX_NOTREADY, &err) < 0)
		log_err("sandbox %.12s: %s", id, err.msg);
}

enum { RELEASE_MS = 5000 };
static struct loop_timer release_timer;

static void
on_released(struct pod_op *p)
{
	pod_op_free(p);
}

static void
on_release_due(struct loop_timer *t)
{
	struct sandbox *sb;

	TAILQ_FOREACH(sb, &node.sandboxes, all)
		if (sb->state == SANDBOX_NOTREADY && !sb->released && sb->queue.holder == NULL)
			pod_stop_start(sb, on_released, NULL);
	timer_start(t, RELEASE_MS, on_release_due);
}

void
pod_release_init(void)
{
	timer_start(&release_timer, 0, on_release_due);
}
