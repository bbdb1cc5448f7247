/* SPDX-License-Identifier: Apache-2.0
 *
 * Usage of containers and pods: see stats.h.
 *
 * Targets stand in one list, the one sampled longest ago first. A tick of the sampler takes from
 * its head; the pace of the ticks follows from how many there are.
 */
#include "pod/stats.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "loop/loop.h"
#include "loop/worker.h"
#include "pod/stats_impl.h"

enum {
	MIN_TICK_MS = 100,
	WALK_SOON_MS = 1000, /* from a target's start to the first walk */
	WALK_TIMEOUT_MS = 300000,
	WALK_TARGETS = 4096,  /* in one worker */
	WALK_NOW_INODES = 200 /* of a tree that is walked in between */
};
static const int64_t min_window_ns = NS_PER_SEC; /* of a rate: less would be noise */

/* What a walk is given, and what it says of each. */
struct walk_target {
	uint64_t serial;
	char *path;
};
struct walk_result {
	uint64_t serial, bytes, inodes;
};

static struct {
	TAILQ_HEAD(, stats_target) targets;
	size_t n;
	uint64_t serial;
	int64_t sample_ms, upper_ms;
	struct loop_timer tick, walk_timer;
	struct worker walk;
	struct walk_target *walking; /* while the worker runs */
	size_t n_walking;
	bool started;
} stats;

static worker_fn walk_worker;

static const char *
cgroup_id(const struct stats_target *t)
{
	return t->is_pod ? NULL : t->id;
}

/* ---- sampling ------------------------------------------------------------------------------ */

static void
keep_cpu(struct stats_target *t, const struct cgroup_stats *s)
{
	if (!(s->have & CGROUP_HAVE_CPU) ||
	    (t->new_mono_ns != 0 && s->mono_ns - t->new_mono_ns < min_window_ns))
		return;
	t->old_cpu_ns = t->new_cpu_ns;
	t->old_mono_ns = t->new_mono_ns;
	t->new_cpu_ns = s->cpu_ns;
	t->new_mono_ns = s->mono_ns;
}

static void
read_links(struct stats_target *t)
{
	struct stats_link links[STATS_MAX_LINKS];
	struct err ignored;
	int n;

	if (t->netns == NULL)
		return;
	n = stats_read_links(t->netns, links, STATS_MAX_LINKS, &ignored);
	if (n < 0)
		return;
	memcpy(t->links, links, (size_t)n * sizeof(*links));
	t->n_links = (size_t)n;
	t->links_wall_ns = clock_wall_ns();
	t->links_mono_ns = clock_mono_ns();
}

static void
sample(struct stats_target *t)
{
	struct cgroup_stats s;
	struct err ignored;

	t->sampled_ms = loop_now_ms();
	if (cgroup_stats(t->cgroup_parent, cgroup_id(t), CGROUP_STATS_CPU_ONLY, &s, &ignored) == 0)
		keep_cpu(t, &s);
	read_links(t);
}

static int64_t
tick_ms(void)
{
	return MAX(stats.sample_ms / (int64_t)MAX(stats.n, 1), MIN_TICK_MS);
}

static void
on_tick(struct loop_timer *timer)
{
	int64_t now = loop_now_ms(), pace = tick_ms();
	size_t most = (size_t)((int64_t)stats.n * pace / stats.sample_ms) + 1;
	struct stats_target *t;

	while (most-- > 0 && (t = TAILQ_FIRST(&stats.targets)) != NULL &&
	       now - t->sampled_ms >= stats.sample_ms - pace) {
		sample(t);
		TAILQ_REMOVE(&stats.targets, t, all);
		TAILQ_INSERT_TAIL(&stats.targets, t, all);
	}
	if (stats.n > 0)
		timer_start(timer, pace, on_tick);
}

/* ---- writable layers ----------------------------------------------------------------------- */

/* In the child: one record per directory, as it is done with it. */
static int
walk_worker(const void *arg, int out, struct err *err)
{
	(void)arg;
	if (nice(10) < 0)
		errno = 0;
	/* IOPRIO_WHO_PROCESS, IOPRIO_CLASS_IDLE: only what nobody else wants of the disk */
	(void)syscall(SYS_ioprio_set, 1, 0, 3 << 13);
	for (size_t i = 0; i < stats.n_walking; i++) {
		struct walk_result r = {.serial = stats.walking[i].serial};

		if (stats_tree_usage(stats.walking[i].path, &r.bytes, &r.inodes, err) < 0)
			r.inodes = 0; /* it has gone meanwhile */
		if (fd_write_all(out, &r, sizeof(r)) < 0)
			return err_errno(err, "write");
	}
	return 0;
}

static void
forget_walk(void)
{
	for (size_t i = 0; i < stats.n_walking; i++)
		free(stats.walking[i].path);
	free(stats.walking);
	stats.walking = NULL;
	stats.n_walking = 0;
}

static struct stats_target *
find_serial(uint64_t serial)
{
	struct stats_target *t;

	TAILQ_FOREACH (t, &stats.targets, all)
		if (t->serial == serial)
			return t;
	return NULL;
}

static void
on_walked(struct worker *w)
{
	size_t n = w->child.out.len / sizeof(struct walk_result);
	struct stats_target *t;

	for (size_t i = 0; i < n; i++) {
		struct walk_result r;

		memcpy(&r, w->child.out.data + i * sizeof(r), sizeof(r));
		t = find_serial(r.serial);
		if (t == NULL)
			continue;
		t->upper_mono_ns = clock_mono_ns();
		if (r.inodes == 0)
			continue;
		t->upper_bytes = r.bytes;
		t->upper_inodes = r.inodes;
		t->upper_wall_ns = clock_wall_ns();
	}
	/* one too large to be walked in time comes last next time, with what is known of it */
	if (n < stats.n_walking && (t = find_serial(stats.walking[n].serial)) != NULL)
		t->upper_mono_ns = clock_mono_ns();
	if (w->err.code != ERR_NONE)
		trace(TRACE_POD, "walk of writable layers: %s", w->err.msg);
	child_release(&w->child);
	forget_walk();
}

/* Those whose last walk is long ago, or that never had one. */
static size_t
collect_due(int64_t now_ns)
{
	struct stats_target *t;

	stats.walking = xcalloc(MIN(stats.n, WALK_TARGETS), sizeof(*stats.walking));
	TAILQ_FOREACH (t, &stats.targets, all) {
		if (t->upper == NULL || stats.n_walking == WALK_TARGETS ||
		    (t->upper_mono_ns != 0 &&
		        now_ns - t->upper_mono_ns < stats.upper_ms * NS_PER_MS))
			continue;
		stats.walking[stats.n_walking++] =
		    (struct walk_target){.serial = t->serial, .path = xstrdup(t->upper)};
	}
	return stats.n_walking;
}

static void
on_walk_timer(struct loop_timer *timer)
{
	struct worker_spec spec = {.fn = walk_worker,
	    .max_output = WALK_TARGETS * sizeof(struct walk_result),
	    .timeout_ms = WALK_TIMEOUT_MS,
	    .what = "stats-walk"};
	struct err err;

	if (stats.n == 0)
		return;
	timer_start(timer, MAX(stats.upper_ms / 4, WALK_SOON_MS), on_walk_timer);
	if (stats.walking != NULL)
		return;
	if (collect_due(clock_mono_ns()) == 0) {
		forget_walk();
		return;
	}
	if (worker_start(&stats.walk, &spec, on_walked, &err) < 0) {
		trace(TRACE_POD, "walk of writable layers: %s", err.msg);
		forget_walk();
	}
}

/* ---- targets ------------------------------------------------------------------------------- */

void
stats_init(const struct stats_conf *conf)
{
	TAILQ_INIT(&stats.targets);
	stats.n = 0;
	stats.sample_ms = conf != NULL && conf->sample_ms > 0 ? conf->sample_ms : 10000;
	stats.upper_ms = conf != NULL && conf->upper_ms > 0 ? conf->upper_ms : 60000;
	stats.started = true;
}

void
stats_fini(void)
{
	struct stats_target *t;

	if (!stats.started)
		return;
	while ((t = TAILQ_FIRST(&stats.targets)) != NULL)
		stats_unwatch(t);
	if (stats.walking != NULL)
		child_kill(&stats.walk.child, SIGKILL); /* reaped by init when the loop is over */
	stats.started = false;
}

void
stats_watch(struct stats_target *t)
{
	if (t->watched)
		return;
	t->watched = true;
	t->serial = ++stats.serial;
	t->old_mono_ns = t->new_mono_ns = 0;
	t->links_mono_ns = t->upper_mono_ns = t->upper_wall_ns = 0;
	t->n_links = 0;
	stats.n++;
	sample(t);
	TAILQ_INSERT_TAIL(&stats.targets, t, all);
	timer_start(&stats.tick, tick_ms(), on_tick);
	if (t->upper != NULL)
		timer_start(&stats.walk_timer, WALK_SOON_MS, on_walk_timer);
}

void
stats_unwatch(struct stats_target *t)
{
	if (!t->watched)
		return;
	t->watched = false;
	TAILQ_REMOVE(&stats.targets, t, all);
	stats.n--;
	if (stats.n == 0) {
		timer_stop(&stats.tick);
		timer_stop(&stats.walk_timer);
	}
}

int
stats_read(struct stats_target *t, struct cgroup_stats *ret, struct err *err)
{
	return cgroup_stats(t->cgroup_parent, cgroup_id(t), CGROUP_STATS_ALL, ret, err);
}

/* The sampler's reading, or one of now when it is behind. */
const struct stats_link *
stats_links(struct stats_target *t, size_t *ret_n)
{
	if (t->netns != NULL && (t->links_mono_ns == 0 || clock_mono_ns() - t->links_mono_ns >
	                                                      2 * stats.sample_ms * NS_PER_MS))
		read_links(t);
	*ret_n = t->n_links;
	return t->links;
}

bool
stats_upper(struct stats_target *t, uint64_t *ret_bytes, uint64_t *ret_inodes)
{
	struct err ignored;

	if (t->upper == NULL)
		return false;
	if (t->upper_wall_ns == 0) {
		if (stats_tree_usage_max(t->upper, WALK_NOW_INODES, &t->upper_bytes,
			&t->upper_inodes, &ignored) < 0)
			return false;
		t->upper_wall_ns = clock_wall_ns();
	}
	*ret_bytes = t->upper_bytes;
	*ret_inodes = t->upper_inodes;
	return true;
}

/* ---- messages ------------------------------------------------------------------------------ */

static Runtime__V1__UInt64Value *
u64(struct arena *a, uint64_t value)
{
	Runtime__V1__UInt64Value *v = arena_new(a, Runtime__V1__UInt64Value);

	runtime__v1__uint64_value__init(v);
	v->value = value;
	return v;
}

/* The totals are microseconds, as the kernel has them and the kubelet hands them on. */
static Runtime__V1__PsiData *
psi_data(struct arena *a, const struct cgroup_psi_line *line)
{
	Runtime__V1__PsiData *d = arena_new(a, Runtime__V1__PsiData);

	runtime__v1__psi_data__init(d);
	d->total = line->total_us;
	d->avg10 = line->avg10;
	d->avg60 = line->avg60;
	d->avg300 = line->avg300;
	return d;
}

static Runtime__V1__PsiStats *
psi_stats(struct arena *a, const struct cgroup_psi *psi)
{
	Runtime__V1__PsiStats *p = arena_new(a, Runtime__V1__PsiStats);

	runtime__v1__psi_stats__init(p);
	p->full = psi_data(a, &psi->full);
	p->some = psi_data(a, &psi->some);
	return p;
}

/* Nanoseconds of CPU per second since the last reading that is old enough to compare with. */
static bool
nano_cores(const struct stats_target *t, const struct cgroup_stats *s, uint64_t *ret)
{
	uint64_t since = t->new_cpu_ns;
	int64_t then = t->new_mono_ns;

	if (then == 0 || s->mono_ns - then < min_window_ns) {
		since = t->old_cpu_ns;
		then = t->old_mono_ns;
	}
	if (then == 0 || s->mono_ns - then < min_window_ns || s->cpu_ns < since)
		return false;
	*ret = (uint64_t)((double)(s->cpu_ns - since) * (double)NS_PER_SEC /
	                  (double)(s->mono_ns - then));
	return true;
}

static Runtime__V1__CpuUsage *
cpu_usage(struct stats_target *t, struct arena *a, const struct cgroup_stats *s)
{
	Runtime__V1__CpuUsage *c = arena_new(a, Runtime__V1__CpuUsage);
	uint64_t rate;

	runtime__v1__cpu_usage__init(c);
	c->timestamp = s->wall_ns;
	c->usage_core_nano_seconds = u64(a, s->cpu_ns);
	if (nano_cores(t, s, &rate))
		c->usage_nano_cores = u64(a, rate);
	if (s->have & CGROUP_HAVE_CPU_PSI)
		c->psi = psi_stats(a, &s->cpu_psi);
	keep_cpu(t, s);
	return c;
}

static Runtime__V1__MemoryUsage *
memory_usage(struct arena *a, const struct cgroup_stats *s)
{
	Runtime__V1__MemoryUsage *m = arena_new(a, Runtime__V1__MemoryUsage);

	runtime__v1__memory_usage__init(m);
	m->timestamp = s->wall_ns;
	m->working_set_bytes = u64(a, s->memory_working_set);
	if (s->memory_limit != UINT64_MAX)
		m->available_bytes =
		    u64(a, s->memory_limit - MIN(s->memory_working_set, s->memory_limit));
	m->usage_bytes = u64(a, s->memory_usage);
	m->rss_bytes = u64(a, s->memory_rss);
	m->page_faults = u64(a, s->page_faults);
	m->major_page_faults = u64(a, s->major_page_faults);
	if (s->have & CGROUP_HAVE_MEMORY_PSI)
		m->psi = psi_stats(a, &s->memory_psi);
	return m;
}

static Runtime__V1__SwapUsage *
swap_usage(struct arena *a, const struct cgroup_stats *s)
{
	Runtime__V1__SwapUsage *w = arena_new(a, Runtime__V1__SwapUsage);

	runtime__v1__swap_usage__init(w);
	w->timestamp = s->wall_ns;
	w->swap_usage_bytes = u64(a, s->swap_usage);
	if (s->swap_limit != UINT64_MAX)
		w->swap_available_bytes = u64(a, s->swap_limit - MIN(s->swap_usage, s->swap_limit));
	return w;
}

static Runtime__V1__IoUsage *
io_usage(struct arena *a, const struct cgroup_stats *s)
{
	Runtime__V1__IoUsage *io = arena_new(a, Runtime__V1__IoUsage);

	runtime__v1__io_usage__init(io);
	io->timestamp = s->wall_ns;
	io->psi = psi_stats(a, &s->io_psi);
	return io;
}

static Runtime__V1__FilesystemUsage *
upper_usage(struct arena *a, const struct stats_target *t)
{
	Runtime__V1__FilesystemUsage *f = arena_new(a, Runtime__V1__FilesystemUsage);
	Runtime__V1__FilesystemIdentifier *id = arena_new(a, Runtime__V1__FilesystemIdentifier);

	runtime__v1__filesystem_usage__init(f);
	runtime__v1__filesystem_identifier__init(id);
	id->mountpoint = arena_strdup(a, t->upper_fs != NULL ? t->upper_fs : t->upper);
	f->timestamp = t->upper_wall_ns;
	f->fs_id = id;
	f->used_bytes = u64(a, t->upper_bytes);
	f->inodes_used = u64(a, t->upper_inodes);
	return f;
}

int
stats_fill_container(
    struct stats_target *t, struct arena *arena, Runtime__V1__ContainerStats *ret, struct err *err)
{
	struct cgroup_stats s;

	if (t->upper != NULL && t->upper_wall_ns != 0)
		ret->writable_layer = upper_usage(arena, t);
	if (cgroup_stats(t->cgroup_parent, cgroup_id(t), CGROUP_STATS_CRI, &s, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (s.have & CGROUP_HAVE_CPU)
		ret->cpu = cpu_usage(t, arena, &s);
	if (s.have & CGROUP_HAVE_MEMORY)
		ret->memory = memory_usage(arena, &s);
	if (s.have & CGROUP_HAVE_SWAP)
		ret->swap = swap_usage(arena, &s);
	if (s.have & CGROUP_HAVE_IO_PSI)
		ret->io = io_usage(arena, &s);
	return 0;
}

static Runtime__V1__NetworkInterfaceUsage *
interface_usage(struct arena *a, const struct stats_link *l)
{
	Runtime__V1__NetworkInterfaceUsage *i = arena_new(a, Runtime__V1__NetworkInterfaceUsage);

	runtime__v1__network_interface_usage__init(i);
	i->name = arena_strdup(a, l->name);
	i->rx_bytes = u64(a, l->rx_bytes);
	i->rx_errors = u64(a, l->rx_errors);
	i->tx_bytes = u64(a, l->tx_bytes);
	i->tx_errors = u64(a, l->tx_errors);
	return i;
}

/* The default interface is what CNI calls eth0, or the first there is; the list has the others. */
static Runtime__V1__NetworkUsage *
network_usage(struct arena *a, struct stats_target *t)
{
	Runtime__V1__NetworkUsage *u;
	const struct stats_link *links;
	size_t n, main_link = 0;

	links = stats_links(t, &n);
	if (n == 0)
		return NULL;
	u = arena_new(a, Runtime__V1__NetworkUsage);
	runtime__v1__network_usage__init(u);
	u->timestamp = t->links_wall_ns;
	for (size_t i = 0; i < n; i++)
		if (strcmp(links[i].name, "eth0") == 0)
			main_link = i;
	u->default_interface = interface_usage(a, &links[main_link]);
	u->interfaces = arena_array(a, Runtime__V1__NetworkInterfaceUsage *, n);
	for (size_t i = 0; i < n; i++)
		if (i != main_link)
			u->interfaces[u->n_interfaces++] = interface_usage(a, &links[i]);
	return u;
}

int
stats_fill_pod(struct stats_target *t, struct arena *arena, Runtime__V1__LinuxPodSandboxStats *ret,
    struct err *err)
{
	struct cgroup_stats s;

	ret->network = network_usage(arena, t);
	if (cgroup_stats(t->cgroup_parent, cgroup_id(t), CGROUP_STATS_CRI, &s, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (s.have & CGROUP_HAVE_CPU)
		ret->cpu = cpu_usage(t, arena, &s);
	if (s.have & CGROUP_HAVE_MEMORY)
		ret->memory = memory_usage(arena, &s);
	if (s.have & CGROUP_HAVE_PIDS) {
		ret->process = arena_new(arena, Runtime__V1__ProcessUsage);
		runtime__v1__process_usage__init(ret->process);
		ret->process->timestamp = s.wall_ns;
		ret->process->process_count = u64(arena, s.pids);
	}
	if (s.have & CGROUP_HAVE_IO_PSI)
		ret->io = io_usage(arena, &s);
	return 0;
}
