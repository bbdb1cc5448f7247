/* SPDX-License-Identifier: Apache-2.0
 *
 * Scopes of the service manager: see cgroup_systemd.h, org.freedesktop.systemd1(5) and
 * systemd.resource-control(5).
 *
 * StartTransientUnit() answers with a job; the scope is there when JobRemoved tells that the job is
 * done. The two may come in any order of their effects, so the unit's name is what they are matched
 * by.
 */
#include "exec/cgroup_systemd.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/cgroup.h"
#include "exec/cgroup_impl.h"
#include "loop/loop.h"
#include "loop/op.h"
#include "loop/worker.h"

static const char manager_name[] = "org.freedesktop.systemd1";
static const char manager_path[] = "/org/freedesktop/systemd1";
static const char manager_interface[] = "org.freedesktop.systemd1.Manager";

enum { JOB_TIMEOUT_MS = 30000, MESSAGES_PER_TURN = 64, SET_MAX = 8192 };

/* One scope with a placeholder in it, or on its way. */
struct scope {
	char *id, *unit;
	struct op *op;         /* waits for the job; NULL: nobody does */
	struct worker holder;  /* the placeholder */
	bool holder_runs;
	bool unwanted;         /* freed as soon as the placeholder has gone */
	sd_bus_slot *slot;     /* of the call, until it is answered */
	struct loop_timer deadline;
	LIST_ENTRY(scope) all;
};

static struct {
	sd_bus *bus;
	ev_io w_bus;
	struct loop_timer timer;
	bool watching, direct;
	LIST_HEAD(, scope) scopes;
} manager;

static void disconnect(const char *why);
static worker_fn hold_place;

/* ---- scopes -------------------------------------------------------------------------------- */

static struct scope *
find_unit(const char *unit)
{
	struct scope *s;

	LIST_FOREACH(s, &manager.scopes, all)
		if (strcmp(s->unit, unit) == 0 && !s->unwanted)
			return s;
	return NULL;
}

static char *
unit_name(const char *id)
{
	return xasprintf("coracle-%s.scope", id);
}

static void
free_scope(struct scope *s)
{
	timer_stop(&s->deadline);
	LIST_REMOVE(s, all);
	sd_bus_slot_unref(s->slot);
	free(s->id);
	free(s->unit);
	free(s);
}

static void
end_wait(struct scope *s, const struct err *why)
{
	struct op *op = take_ptr(s->op);

	timer_stop(&s->deadline);
	if (op != NULL)
		op_resume(op, why);
}

/* Let the placeholder go; the object follows when it has. */
static void
drop(struct scope *s)
{
	s->unwanted = true;
	timer_stop(&s->deadline);
	if (s->holder_runs)
		child_kill(&s->holder.child, SIGKILL);
	else
		free_scope(s);
}

static void __attribute__((format(printf, 2, 3)))
fail(struct scope *s, const char *fmt, ...)
{
	struct err err;
	va_list ap;

	va_start(ap, fmt);
	err_setv(&err, ERR_INTERNAL, fmt, ap);
	va_end(ap);
	end_wait(s, &err);
	drop(s);
}

static void
on_holder_gone(struct worker *w)
{
	struct scope *s = container_of(w, struct scope, holder);

	child_release(&w->child);
	s->holder_runs = false;
	if (!s->unwanted)
		fail(s, "scope %s: its placeholder died", s->unit);
	else
		free_scope(s);
}

/* Only to be there. It dies with coracled, and by SIGKILL. */
static int
hold_place(const void *arg, int out, struct err *err)
{
	(void)arg;
	(void)out;
	(void)err;
	while (pause() < 0)
		;
	return 0;
}

static void
on_deadline(struct loop_timer *t)
{
	struct scope *s = container_of(t, struct scope, deadline);

	fail(s, "scope %s: systemd did not make it in %d s", s->unit, JOB_TIMEOUT_MS / 1000);
}

/* ---- the bus on the loop ------------------------------------------------------------------- */

static void on_bus_timer(struct loop_timer *t);

/* What the connection waits for changes with every message. */
static void
rearm(void)
{
	int events = sd_bus_get_events(manager.bus);
	struct timespec now;
	uint64_t due;
	int64_t now_us;

	ev_io_stop(loop, &manager.w_bus);
	ev_io_set(&manager.w_bus, sd_bus_get_fd(manager.bus),
	    (events & POLLIN ? EV_READ : 0) | (events & POLLOUT ? EV_WRITE : 0));
	ev_io_start(loop, &manager.w_bus);
	timer_stop(&manager.timer);
	if (sd_bus_get_timeout(manager.bus, &due) < 0 || due == UINT64_MAX)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	now_us = now.tv_sec * 1000000 + now.tv_nsec / 1000;
	timer_start(&manager.timer, due > (uint64_t)now_us ? ((int64_t)due - now_us) / 1000 + 1 : 0,
	    on_bus_timer);
}

static void
process(void)
{
	int n = 0, rc;

	do
		rc = sd_bus_process(manager.bus, NULL);
	while (rc > 0 && ++n < MESSAGES_PER_TURN);
	if (rc < 0)
		disconnect(strerror(-rc));
	else
		rearm();
}

static void
on_bus(struct ev_loop *l, ev_io *w, int revents)
{
	(void)l;
	(void)w;
	(void)revents;
	process();
}

static void
on_bus_timer(struct loop_timer *t)
{
	(void)t;
	process();
}

static void
disconnect(const char *why)
{
	struct scope *s, *next;

	if (manager.bus == NULL)
		return;
	ev_io_stop(loop, &manager.w_bus);
	timer_stop(&manager.timer);
	LIST_FOREACH(s, &manager.scopes, all)
		s->slot = sd_bus_slot_unref(s->slot);
	manager.bus = sd_bus_close_unref(manager.bus);
	for (s = LIST_FIRST(&manager.scopes); s != NULL; s = next) {
		next = LIST_NEXT(s, all);
		if (s->op != NULL)
			fail(s, "scope %s: the connection to systemd is lost: %s", s->unit, why);
	}
}

/* JobRemoved(id, job, unit, result) */
static int
on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *unit, *result;
	struct scope *s;

	(void)userdata;
	(void)error;
	if (sd_bus_message_read(m, "uoss", NULL, NULL, &unit, &result) < 0)
		return 0;
	s = find_unit(unit);
	if (s == NULL || s->op == NULL)
		return 0;
	if (strcmp(result, "done") == 0)
		end_wait(s, NULL);
	else
		fail(s, "scope %s: systemd says its job is %s", unit, result);
	return 0;
}

static int
connect_bus(int fd, struct err *err)
{
	int rc;

	if (fd < 0) {
		rc = sd_bus_open_system(&manager.bus);
	} else {
		rc = sd_bus_new(&manager.bus);
		if (rc >= 0 && (rc = sd_bus_set_fd(manager.bus, fd, fd)) >= 0)
			rc = sd_bus_start(manager.bus);
	}
	if (rc >= 0)
		rc = sd_bus_match_signal_async(manager.bus, NULL, fd < 0 ? manager_name : NULL,
		    manager_path, manager_interface, "JobRemoved", on_job_removed, NULL, NULL);
	/* without it the manager spares itself the signals */
	if (rc >= 0)
		rc = sd_bus_call_method_async(manager.bus, NULL, manager_name, manager_path,
		    manager_interface, "Subscribe", NULL, NULL, NULL);
	if (rc < 0) {
		manager.bus = sd_bus_close_unref(manager.bus);
		errno = -rc;
		return err_errno(err, "connect to systemd over D-Bus");
	}
	ev_init(&manager.w_bus, on_bus);
	rearm();
	return 0;
}

int
cgroup_systemd_open(int fd, struct err *err)
{
	if (cgroups.info.layout != CGROUP_V2 && fd < 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "the systemd cgroup driver needs cgroup v2, and this host has v1 controllers");
	cgroup_systemd_close();
	manager.direct = fd >= 0;
	return connect_bus(fd, err);
}

void
cgroup_systemd_close(void)
{
	struct scope *s, *next;

	disconnect("closed");
	for (s = LIST_FIRST(&manager.scopes); s != NULL; s = next) {
		next = LIST_NEXT(s, all);
		if (!s->unwanted)
			drop(s);
	}
}

/* ---- requests ------------------------------------------------------------------------------ */

/* A list of CPUs as the manager wants it: a bit array. */
static int
append_set(sd_bus_message *m, const char *property, const char *list)
{
	cleanup_free char *copy = xstrdup(list);
	uint8_t bits[SET_MAX] = {0};
	size_t used = 0;
	char *save = NULL;
	int rc;

	for (char *w = strtok_r(copy, ",", &save); w != NULL; w = strtok_r(NULL, ",", &save)) {
		char *dash = strchr(w, '-');
		uint32_t from, to;

		if (dash != NULL)
			*dash = '\0';
		if (str_u32(w, 8 * SET_MAX - 1, &from) < 0)
			return -EINVAL;
		to = from;
		if (dash != NULL && str_u32(dash + 1, 8 * SET_MAX - 1, &to) < 0)
			return -EINVAL;
		for (; from <= to; from++)
			bits[from / 8] |= (uint8_t)(1u << from % 8);
		used = MAX(used, to / 8 + 1);
	}
	if ((rc = sd_bus_message_open_container(m, 'r', "sv")) < 0 ||
	    (rc = sd_bus_message_append(m, "s", property)) < 0 ||
	    (rc = sd_bus_message_open_container(m, 'v', "ay")) < 0 ||
	    (rc = sd_bus_message_append_array(m, 'y', bits, used)) < 0 ||
	    (rc = sd_bus_message_close_container(m)) < 0)
		return rc;
	return sd_bus_message_close_container(m);
}

static int
append_u64(sd_bus_message *m, const char *property, uint64_t value)
{
	return sd_bus_message_append(m, "(sv)", property, "t", value);
}

/* What systemd.resource-control(5) has of it. "infinity" is UINT64_MAX. */
static int
append_limits(sd_bus_message *m, const Runtime__V1__LinuxContainerResources *res)
{
	int64_t period = res->cpu_period > 0 ? res->cpu_period : 100000, swap;
	int rc = 0;

	if (res->cpu_shares > 0)
		rc = append_u64(m, "CPUWeight", cgroup_weight_of_shares((uint64_t)res->cpu_shares));
	if (rc >= 0 && res->cpu_period > 0)
		rc = append_u64(m, "CPUQuotaPeriodUSec", (uint64_t)res->cpu_period);
	if (rc >= 0 && res->cpu_quota < 0)
		rc = append_u64(m, "CPUQuotaPerSecUSec", UINT64_MAX);
	/* it counts in steps of 10 ms per second, and rounds up */
	if (rc >= 0 && res->cpu_quota > 0)
		rc = append_u64(m, "CPUQuotaPerSecUSec",
		    ((uint64_t)res->cpu_quota * 1000000 / (uint64_t)period + 9999) / 10000 * 10000);
	if (rc >= 0 && res->memory_limit_in_bytes != 0)
		rc = append_u64(m, "MemoryMax",
		    res->memory_limit_in_bytes < 0 ? UINT64_MAX
						   : (uint64_t)res->memory_limit_in_bytes);
	if (rc >= 0 && cgroups.info.swap && res->memory_limit_in_bytes > 0) {
		swap = res->memory_swap_limit_in_bytes;
		rc = append_u64(m, "MemorySwapMax",
		    swap < 0    ? UINT64_MAX
		    : swap == 0 ? 0
				: (uint64_t)(swap - MIN(swap, res->memory_limit_in_bytes)));
	}
	if (rc >= 0 && !str_empty(res->cpuset_cpus))
		rc = append_set(m, "AllowedCPUs", res->cpuset_cpus);
	if (rc >= 0 && !str_empty(res->cpuset_mems))
		rc = append_set(m, "AllowedMemoryNodes", res->cpuset_mems);
	return rc;
}

static int
append_scope(sd_bus_message *m, const struct scope *s, const char *slice,
    const Runtime__V1__LinuxContainerResources *res)
{
	cleanup_free char *description = xasprintf("container %s", s->id);
	int rc;

	if ((rc = sd_bus_message_append(m, "ss", s->unit, "fail")) < 0 ||
	    (rc = sd_bus_message_open_container(m, 'a', "(sv)")) < 0 ||
	    (rc = sd_bus_message_append(m, "(sv)(sv)(sv)(sv)(sv)(sv)", "Description", "s",
		 description, "Slice", "s", slice, "Delegate", "b", 1, "DefaultDependencies", "b", 0,
		 "CollectMode", "s", "inactive-or-failed", "PIDs", "au", 1,
		 (uint32_t)s->holder.child.pid)) < 0 ||
	    (rc = sd_bus_message_append(m, "(sv)(sv)(sv)(sv)", "CPUAccounting", "b", 1,
		 "MemoryAccounting", "b", 1, "IOAccounting", "b", 1, "TasksAccounting", "b", 1)) < 0)
		return rc;
	if (res != NULL && (rc = append_limits(m, res)) < 0)
		return rc;
	if ((rc = sd_bus_message_close_container(m)) < 0)
		return rc;
	return sd_bus_message_append(m, "a(sa(sv))", 0); /* no auxiliary units */
}

static int
on_started(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct scope *s = userdata;

	(void)error;
	if (sd_bus_message_is_method_error(m, NULL) && !s->unwanted)
		fail(s, "scope %s: systemd: %s", s->unit, sd_bus_message_get_error(m)->message);
	return 0;
}

static void
stop_waiting(struct op *op)
{
	/* what was asked for cannot be taken back; the undo removes what comes of it */
	end_wait(op->leaf, NULL);
}

/* "/a.slice/a-b.slice" is made by its last name alone. */
static char *
slice_of(const char *parent, struct err *err)
{
	cleanup_free char *path = cgroup_path(parent, NULL, err);

	if (path == NULL)
		return NULL;
	if (strcmp(path, "/") == 0)
		return xstrdup("-.slice");
	return xstrdup(strrchr(path, '/') + 1);
}

static int
send_start(struct scope *s, const char *slice, const Runtime__V1__LinuxContainerResources *res)
{
	sd_bus_message *m = NULL;
	int rc = sd_bus_message_new_method_call(manager.bus, &m, manager_name, manager_path,
	    manager_interface, "StartTransientUnit");

	if (rc >= 0)
		rc = append_scope(m, s, slice, res);
	if (rc >= 0)
		rc = sd_bus_call_async(manager.bus, &s->slot, m, on_started, s, 0);
	sd_bus_message_unref(m);
	if (rc >= 0)
		rearm();
	return rc;
}

int
cgroup_scope_start(const char *parent, const char *id,
    const Runtime__V1__LinuxContainerResources *res, struct op *op, struct err *err)
{
	struct worker_spec spec = {.fn = hold_place, .what = "coracle-place"};
	cleanup_free char *slice = slice_of(parent, err);
	struct scope *s;
	int rc;

	if (slice == NULL)
		return -1;
	if (!cgroup_name_valid(id))
		return err_set(err, ERR_INVALID_ARGUMENT, "'%s' is no name of a cgroup", id);
	if (manager.bus == NULL) {
		if (manager.direct)
			return err_set(err, ERR_UNAVAILABLE, "no connection to systemd");
		if (connect_bus(-1, err) < 0)
			return -1;
	}
	cgroup_scope_settle(id); /* of an earlier try */
	s = xcalloc(1, sizeof(*s));
	if (worker_start(&s->holder, &spec, on_holder_gone, err) < 0) {
		free(s);
		return err_wrap(err, "placeholder of a scope");
	}
	s->holder_runs = true;
	s->id = xstrdup(id);
	s->unit = unit_name(id);
	LIST_INSERT_HEAD(&manager.scopes, s, all);
	rc = send_start(s, slice, res);
	if (rc < 0) {
		errno = -rc;
		err_errno(err, "ask systemd for the scope %s", s->unit);
		drop(s);
		return -1;
	}
	s->op = op;
	op->stop = stop_waiting;
	op->leaf = s;
	timer_start(&s->deadline, JOB_TIMEOUT_MS, on_deadline);
	return 0;
}

void
cgroup_scope_settle(const char *id)
{
	cleanup_free char *unit = unit_name(id);
	struct scope *s = find_unit(unit);

	if (s != NULL && s->op == NULL)
		drop(s);
}

void
cgroup_scope_limit(const char *id, const Runtime__V1__LinuxContainerResources *res)
{
	cleanup_free char *unit = unit_name(id);
	sd_bus_message *m = NULL;
	int rc;

	if (manager.bus == NULL)
		return;
	rc = sd_bus_message_new_method_call(manager.bus, &m, manager_name, manager_path,
	    manager_interface, "SetUnitProperties");
	if (rc >= 0 && (rc = sd_bus_message_append(m, "sb", unit, 1)) >= 0 &&
	    (rc = sd_bus_message_open_container(m, 'a', "(sv)")) >= 0 &&
	    (rc = append_limits(m, res)) >= 0 && (rc = sd_bus_message_close_container(m)) >= 0 &&
	    (rc = sd_bus_message_set_expect_reply(m, 0)) >= 0)
		rc = sd_bus_send(manager.bus, m, NULL);
	sd_bus_message_unref(m);
	if (rc < 0)
		trace(TRACE_POD, "limits of %s: %s", unit, strerror(-rc));
	else
		rearm();
}
