/* SPDX-License-Identifier: Apache-2.0
 *
 * Scopes, asked of a manager of our own at the other end of a socket: it makes the cgroup as the
 * real one does, or fails in all the ways that one can.
 */
#include "exec/cgroup_systemd.h"

#include <poll.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

#include "cglab.h"
#include "loop/loop.h"
#include "loop/op.h"

enum behaviour { MAKE_IT, REFUSE, FAIL_JOB, JOB_FIRST, SAY_NOTHING, HANG_UP };

static struct {
	sd_bus *bus;
	enum behaviour behaviour;
	int n_started, n_set, n_subscribed;
	char unit[128], slice[64], seen[1024]; /* the last request; seen: "name=value " */
	uint32_t pid;
	bool hang_up;
} fake;

/* ---- the manager --------------------------------------------------------------------------- */

static void
make_scope(void)
{
	struct cgroup_hierarchy *h = &cgroups.h[cgroups.v2];
	char path[256], pid[16];
	int dir;

	snprintf(path, sizeof(path), "%s/%s", fake.slice, fake.unit);
	if (fd_mkdir_p(h->fd, fake.slice, 0755, &err) < 0)
		diag("%s", err.msg);
	dir = openat(h->fd, fake.slice, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cgroup_enable_controllers(h, dir);
	close(dir);
	if (fd_mkdir_p(h->fd, path, 0755, &err) < 0)
		diag("%s", err.msg);
	dir = openat(h->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(pid, sizeof(pid), "%u", fake.pid);
	ok(dir >= 0 && cgroup_file_write(dir, "cgroup.procs", pid) == 0,
	    "the placeholder can be moved");
	close(dir);
}

static void
read_value(sd_bus_message *m, const char *name, const char *type)
{
	size_t used = strlen(fake.seen);
	const char *s;
	const void *bytes;
	uint64_t t;
	uint32_t u;
	size_t n;
	int b;

	sd_bus_message_enter_container(m, 'v', type);
	if (strcmp(type, "s") == 0) {
		sd_bus_message_read(m, "s", &s);
		snprintf(fake.seen + used, sizeof(fake.seen) - used, "%s=%s ", name, s);
		if (strcmp(name, "Slice") == 0)
			snprintf(fake.slice, sizeof(fake.slice), "%s", s);
	} else if (strcmp(type, "b") == 0) {
		sd_bus_message_read(m, "b", &b);
		snprintf(fake.seen + used, sizeof(fake.seen) - used, "%s=%d ", name, b);
	} else if (strcmp(type, "t") == 0) {
		sd_bus_message_read(m, "t", &t);
		snprintf(fake.seen + used, sizeof(fake.seen) - used, "%s=%" PRIu64 " ", name, t);
	} else if (strcmp(type, "au") == 0) {
		sd_bus_message_read(m, "au", 1, &u);
		fake.pid = u;
	} else if (strcmp(type, "ay") == 0) {
		sd_bus_message_read_array(m, 'y', &bytes, &n);
		snprintf(fake.seen + used, sizeof(fake.seen) - used, "%s=%zu:%02x ", name, n,
		    n > 0 ? ((const uint8_t *)bytes)[n - 1] : 0u);
	} else {
		sd_bus_message_skip(m, type);
	}
	sd_bus_message_exit_container(m);
}

static void
read_properties(sd_bus_message *m)
{
	const char *name, *type;

	fake.seen[0] = '\0';
	ok(sd_bus_message_enter_container(m, 'a', "(sv)") > 0, "it has properties");
	while (sd_bus_message_enter_container(m, 'r', "sv") > 0) {
		sd_bus_message_read(m, "s", &name);
		sd_bus_message_peek_type(m, NULL, &type);
		read_value(m, name, type);
		sd_bus_message_exit_container(m);
	}
	sd_bus_message_exit_container(m);
}

static void
say_job(const char *unit, const char *result)
{
	sd_bus_emit_signal(fake.bus, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
	    "JobRemoved", "uoss", 7u, "/org/freedesktop/systemd1/job/7", unit, result);
}

static int
on_start(sd_bus_message *m)
{
	const char *unit, *mode;

	sd_bus_message_read(m, "ss", &unit, &mode);
	snprintf(fake.unit, sizeof(fake.unit), "%s", unit);
	is_str(mode, "fail", "a second scope of the name would be an error");
	read_properties(m);
	fake.n_started++;
	switch (fake.behaviour) {
	case REFUSE:
		return sd_bus_reply_method_errorf(m, "org.freedesktop.systemd1.UnitExists",
		    "Unit %s already exists.", unit);
	case SAY_NOTHING:
		return 1;
	case HANG_UP:
		fake.hang_up = true;
		return 1;
	case FAIL_JOB:
		sd_bus_reply_method_return(m, "o", "/org/freedesktop/systemd1/job/7");
		say_job("other.scope", "done");
		say_job(unit, "failed");
		return 1;
	case JOB_FIRST:
		make_scope();
		say_job(unit, "done");
		return sd_bus_reply_method_return(m, "o", "/org/freedesktop/systemd1/job/7");
	default:
		make_scope();
		sd_bus_reply_method_return(m, "o", "/org/freedesktop/systemd1/job/7");
		say_job(unit, "done");
		return 1;
	}
}

static int
on_call(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *unit;
	int runtime;

	(void)userdata;
	(void)error;
	if (sd_bus_message_is_method_call(m, NULL, "StartTransientUnit"))
		return on_start(m);
	if (sd_bus_message_is_method_call(m, NULL, "Subscribe")) {
		fake.n_subscribed++;
		return sd_bus_reply_method_return(m, "");
	}
	if (sd_bus_message_is_method_call(m, NULL, "SetUnitProperties")) {
		sd_bus_message_read(m, "sb", &unit, &runtime);
		snprintf(fake.unit, sizeof(fake.unit), "%s", unit);
		is_int(runtime, 1, "limits that do not outlive the machine");
		read_properties(m);
		fake.n_set++;
		return 1;
	}
	return 0;
}

static void
manager_open(void)
{
	sd_id128_t server = {{1}};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		exit(1);
	sd_bus_new(&fake.bus);
	sd_bus_set_fd(fake.bus, pair[1], pair[1]);
	sd_bus_set_server(fake.bus, 1, server);
	sd_bus_set_anonymous(fake.bus, 1);
	sd_bus_start(fake.bus);
	sd_bus_add_filter(fake.bus, NULL, on_call, NULL);
	good(cgroup_systemd_open(pair[0], &err), "connect");
}

static void
turn(void)
{
	for (int i = 0; i < 20 && fake.bus != NULL; i++) {
		int rc = sd_bus_process(fake.bus, NULL);

		if (rc < 0 || fake.hang_up)
			fake.bus = sd_bus_close_unref(fake.bus);
		fake.hang_up = false;
		if (rc <= 0)
			break;
	}
	loop_once();
	usleep(500);
}

/* ---- operations ---------------------------------------------------------------------------- */

static const Runtime__V1__LinuxContainerResources *limits;
static int n_done, undone;

static enum op_ret
ask(struct op *op, struct err *e)
{
	return cgroup_scope_start(pod, id, limits, op, e) < 0 ? OP_FAIL : OP_WAIT;
}

static enum op_ret
undo(struct op *op, struct err *e)
{
	(void)op;
	(void)e;
	cgroup_scope_settle(id);
	undone++;
	return OP_NEXT;
}

static const struct op_step steps[] = {{"scope", ask, undo}, {NULL, NULL, NULL}};

static void
on_done(struct op *op)
{
	(void)op;
	n_done++;
}

static struct op op;

static void
begin(enum behaviour b)
{
	fake.behaviour = b;
	n_done = undone = 0;
	memset(&op, 0, sizeof(op));
	op_start(&op, "Test", id, steps, on_done);
}

static void
finish(void)
{
	for (int i = 0; i < 4000 && n_done == 0; i++)
		turn();
	is_int(n_done, 1, "it ends");
}

static bool
gone_soon(pid_t pid)
{
	for (int i = 0; i < 4000; i++) {
		if (kill(pid, 0) < 0 && errno == ESRCH)
			return true;
		turn();
	}
	return false;
}

static void
clean_up(void)
{
	struct cgroup_hierarchy *h = &cgroups.h[cgroups.v2];
	char path[256];

	cgroup_scope_settle(id);
	ok(gone_soon((pid_t)fake.pid), "the placeholder goes");
	ok(removed_soon(pod, id, NULL), "the cgroup goes");
	snprintf(path, sizeof(path), "%s", fake.slice);
	unlinkat(h->fd, path, AT_REMOVEDIR);
}

/* ---- tests --------------------------------------------------------------------------------- */

static void
test_made(void)
{
	Runtime__V1__LinuxContainerResources res = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
	char unit[96];

	snprintf(unit, sizeof(unit), "coracle-%s.scope", id);
	begin(MAKE_IT);
	finish();
	is_int(op.err.code, ERR_NONE, "without an error");
	is_str(fake.unit, unit, "the unit's name");
	is_str(fake.slice, top + 1, "the slice's");
	ok(strstr(fake.seen, "Delegate=1 ") != NULL && strstr(fake.seen, "DefaultDependencies=0 ") &&
		strstr(fake.seen, "CollectMode=inactive-or-failed ") != NULL,
	    "properties: %s", fake.seen);
	ok(strstr(fake.seen, "MemoryMax") == NULL, "no limit that was not asked for");
	ok(fake.n_subscribed == 1, "subscribed to the signals");
	ok(cgroup_exists(pod, id), "it exists");
	is_int(cgroup_populated(pod, id, &err), 1, "the placeholder keeps it");
	good(cgroup_create(pod, id, &err), "create has nothing to do");
	res.cpu_shares = 1024;
	res.cpu_quota = -1;
	res.memory_limit_in_bytes = -1;
	if (cgroups.info.layout == CGROUP_V2)
		good(cgroup_apply(pod, id, &res, &err), "limits");
	else
		cgroup_scope_limit(id, &res);
	for (int i = 0; i < 100 && fake.n_set == 0; i++)
		turn();
	is_int(fake.n_set, 1, "the manager is told");
	is_str(fake.seen,
	    "CPUWeight=100 CPUQuotaPerSecUSec=18446744073709551615 MemoryMax=18446744073709551615 ",
	    "what it is told");
	is_str(fake.unit, unit, "of this unit");
	clean_up();
}

static void
test_limits(void)
{
	Runtime__V1__LinuxContainerResources res = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;

	res.cpu_shares = 2;
	res.cpu_period = 50000;
	res.cpu_quota = 12345;
	res.memory_limit_in_bytes = 1 << 20;
	res.memory_swap_limit_in_bytes = 3 << 20;
	res.cpuset_cpus = "0-3,9";
	res.cpuset_mems = "0";
	limits = &res;
	begin(JOB_FIRST);
	finish();
	limits = NULL;
	is_int(op.err.code, ERR_NONE, "the signal may come first");
	ok(strstr(fake.seen, "CPUWeight=1 CPUQuotaPeriodUSec=50000 CPUQuotaPerSecUSec=250000 "
			     "MemoryMax=1048576 ") != NULL,
	    "limits: %s", fake.seen);
	ok(!cgroups.info.swap || strstr(fake.seen, "MemorySwapMax=2097152 ") != NULL, "swap alone");
	ok(strstr(fake.seen, "AllowedCPUs=2:02 AllowedMemoryNodes=1:01 ") != NULL, "sets as bits");
	clean_up();
}

static void
test_failures(void)
{
	static const struct {
		enum behaviour behaviour;
		const char *word;
	} t[] = {{REFUSE, "already exists"}, {FAIL_JOB, "failed"}};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		begin(t[i].behaviour);
		finish();
		ok(op.err.code != ERR_NONE && strstr(op.err.msg, t[i].word) != NULL, "%s", op.err.msg);
		is_int(undone, 1, "undone");
		ok(gone_soon((pid_t)fake.pid), "no placeholder is left");
	}
	begin(SAY_NOTHING);
	for (int i = 0, n = fake.n_started; i < 1000 && fake.n_started == n; i++)
		turn();
	op_cancel(&op, ERR_CANCELLED, "client went away");
	finish();
	is_int(op.err.code, ERR_CANCELLED, "a wait can be cancelled");
	ok(gone_soon((pid_t)fake.pid), "no placeholder is left");

	begin(SAY_NOTHING);
	for (int i = 0, n = fake.n_started; i < 1000 && fake.n_started == n; i++)
		turn();
	kill((pid_t)fake.pid, SIGKILL);
	finish();
	ok(strstr(op.err.msg, "placeholder died") != NULL, "%s", op.err.msg);

	begin(HANG_UP);
	finish();
	ok(strstr(op.err.msg, "onnection") != NULL, "%s", op.err.msg);
	ok(gone_soon((pid_t)fake.pid), "no placeholder is left");
	refused(cgroup_scope_start(pod, id, NULL, &op, &err), ERR_UNAVAILABLE, "nobody to ask");
	refused(cgroup_scope_start("/no-slice", id, NULL, &op, &err), ERR_INVALID_ARGUMENT, "no slice");
	refused(cgroup_scope_start(pod, "a/b", NULL, &op, &err), ERR_INVALID_ARGUMENT, "no name");
	cgroup_scope_settle("nobody");
}

static void
test_close(void)
{
	manager_open();
	begin(SAY_NOTHING);
	for (int i = 0, n = fake.n_started; i < 1000 && fake.n_started == n; i++)
		turn();
	cgroup_systemd_close();
	finish();
	ok(strstr(op.err.msg, "closed") != NULL, "%s", op.err.msg);
	ok(gone_soon((pid_t)fake.pid), "no placeholder is left");
	cgroup_systemd_close();
}

int
main(void)
{
	size_t fds;

	loop_init();
	cglab_open("scope");
	snprintf(top, sizeof(top), "/tscope%d.slice", (int)getpid());
	snprintf(pod, sizeof(pod), "%s", top);
	if (cgroups.v2 < 0)
		skip_all("needs a cgroup2 hierarchy");
	cgroups.info.driver = CGROUP_DRIVER_SYSTEMD;
	if (cgroups.info.layout != CGROUP_V2)
		refused(cgroup_systemd_open(-1, &err), ERR_FAILED_PRECONDITION, "not with v1");
	fds = count_fds();
	manager_open();
	test_made();
	test_limits();
	test_failures();
	test_close();
	fake.bus = sd_bus_close_unref(fake.bus);
	is_int(count_fds(), fds, "no fd leaked");
	cgroup_fini();
	return tap_done();
}
