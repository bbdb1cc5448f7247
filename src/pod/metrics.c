/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics of pods and containers: see metrics.h.
 *
 * Each source adds what it has to the list of its pod or container: the cgroup, the links, the
 * writable layer, /proc, the limits.
 */
#include "pod/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/cgroup.h"
#include "pod/metrics_impl.h"
#include "pod/node.h"
#include "pod/stats.h"

enum {
	MAX_PROCESSES = 4096,    /* of a container: more are not counted */
	SCRAPE_PROCESSES = 4096, /* looked at in /proc, in one answer */
	SCRAPE_SOCKETS = 16384,  /* descriptors looked at, in one answer */
	FIRST_METRICS = 96       /* room in a new list */
};
#define EXTRA(...) ((const char *const[]){__VA_ARGS__})

/* The generated structs are not const-correct; nothing is written through what is lent to them. */
static char *
lend(const char *s)
{
	return (char *)(uintptr_t)s;
}

void
metric_add(struct metric_list *l, enum metric kind, uint64_t value, const char *const *extra)
{
	size_t n_extra = metric_n_extra(kind);
	Runtime__V1__Metric *m = arena_new(l->arena, Runtime__V1__Metric);

	if (l->n == l->cap) {
		Runtime__V1__Metric **more;

		l->cap = MAX(2 * l->cap, FIRST_METRICS);
		more = arena_array(l->arena, Runtime__V1__Metric *, l->cap);
		if (l->n > 0)
			memcpy(more, l->metrics, l->n * sizeof(*more));
		l->metrics = more;
	}
	runtime__v1__metric__init(m);
	m->name = lend(metric_kinds[kind].name);
	m->timestamp = l->wall_ns;
	m->metric_type = metric_kinds[kind].type;
	m->label_values = arena_array(l->arena, char *, METRIC_BASE_LABELS + n_extra);
	for (size_t i = 0; i < METRIC_BASE_LABELS; i++)
		m->label_values[m->n_label_values++] = lend(l->base[i]);
	for (size_t i = 0; i < n_extra; i++)
		m->label_values[m->n_label_values++] = lend(extra[i]);
	m->value = arena_new(l->arena, Runtime__V1__UInt64Value);
	runtime__v1__uint64_value__init(m->value);
	m->value->value = value;
	l->metrics[l->n++] = m;
}

static void
add(struct metric_list *l, enum metric kind, uint64_t value)
{
	assert(metric_n_extra(kind) == 0);
	metric_add(l, kind, value, NULL);
}

/* ---- cgroups ------------------------------------------------------------------------------- */

static void
add_cpu(struct metric_list *l, const struct cgroup_stats *s)
{
	metric_add(l, METRIC_CPU_USAGE_SECONDS, s->cpu_ns / NS_PER_SEC, EXTRA("total"));
	add(l, METRIC_CPU_USER_SECONDS, s->cpu_user_ns / NS_PER_SEC);
	add(l, METRIC_CPU_SYSTEM_SECONDS, s->cpu_system_ns / NS_PER_SEC);
	add(l, METRIC_CPU_CFS_PERIODS, s->cfs_periods);
	add(l, METRIC_CPU_CFS_THROTTLED_PERIODS, s->cfs_throttled);
	add(l, METRIC_CPU_CFS_THROTTLED_SECONDS, s->cfs_throttled_ns / NS_PER_SEC);
}

/* The counts of faults always have the cgroups below in them, and a container rarely has any. */
static void
add_memory(struct metric_list *l, const struct cgroup_stats *s)
{
	static const char *const scopes[] = {"container", "hierarchy"};

	add(l, METRIC_MEMORY_USAGE, s->memory_usage);
	add(l, METRIC_MEMORY_WORKING_SET, s->memory_working_set);
	add(l, METRIC_MEMORY_RSS, s->memory_rss);
	add(l, METRIC_MEMORY_CACHE, s->memory_cache);
	add(l, METRIC_MEMORY_MAPPED_FILE, s->memory_mapped_file);
	add(l, METRIC_MEMORY_KERNEL, s->memory_kernel);
	add(l, METRIC_MEMORY_FAILCNT, s->memory_failures);
	add(l, METRIC_OOM_EVENTS, s->oom_kills);
	if (s->memory_peak > 0)
		add(l, METRIC_MEMORY_MAX_USAGE, s->memory_peak);
	if (s->have & CGROUP_HAVE_SWAP)
		add(l, METRIC_MEMORY_SWAP, s->swap_usage);
	for (size_t i = 0; i < ARRAY_SIZE(scopes); i++) {
		metric_add(l, METRIC_MEMORY_FAILURES, s->page_faults, EXTRA("pgfault", scopes[i]));
		metric_add(l, METRIC_MEMORY_FAILURES, s->major_page_faults,
		    EXTRA("pgmajfault", scopes[i]));
	}
}

const char *
metrics_device_name(struct arena *a, uint32_t major, uint32_t minor)
{
	char path[64], target[512];
	const char *slash;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/dev/block/%" PRIu32 ":%" PRIu32, major, minor);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return arena_printf(a, "%" PRIu32 ":%" PRIu32, major, minor);
	target[n] = '\0';
	slash = strrchr(target, '/');
	return arena_printf(a, "/dev/%s", slash != NULL ? slash + 1 : target);
}

static void
add_io(struct metric_list *l, const struct cgroup_stats *s)
{
	for (size_t i = 0; i < s->n_io; i++) {
		const struct cgroup_io *io = &s->io[i];
		const char *device = metrics_device_name(l->arena, io->major, io->minor);
		const char *major = arena_printf(l->arena, "%" PRIu32, io->major);
		const char *minor = arena_printf(l->arena, "%" PRIu32, io->minor);

		metric_add(l, METRIC_BLKIO_DEVICE_USAGE, io->read_bytes,
		    EXTRA(device, major, minor, "Read"));
		metric_add(l, METRIC_BLKIO_DEVICE_USAGE, io->write_bytes,
		    EXTRA(device, major, minor, "Write"));
		metric_add(l, METRIC_FS_READS_BYTES, io->read_bytes, EXTRA(device));
		metric_add(l, METRIC_FS_READS, io->reads, EXTRA(device));
		metric_add(l, METRIC_FS_WRITES_BYTES, io->write_bytes, EXTRA(device));
		metric_add(l, METRIC_FS_WRITES, io->writes, EXTRA(device));
	}
}

static void
add_pressure(
    struct metric_list *l, const struct cgroup_psi *p, enum metric stalled, enum metric waiting)
{
	add(l, stalled, p->full.total_us / 1000000);
	add(l, waiting, p->some.total_us / 1000000);
}

void
metrics_add_cgroup(struct metric_list *l, const struct cgroup_stats *s)
{
	l->wall_ns = s->wall_ns;
	if (s->have & CGROUP_HAVE_CPU)
		add_cpu(l, s);
	if (s->have & CGROUP_HAVE_MEMORY)
		add_memory(l, s);
	if (s->have & CGROUP_HAVE_IO)
		add_io(l, s);
	for (size_t i = 0; i < s->n_hugetlb; i++) {
		const char *size = arena_strdup(l->arena, s->hugetlb[i].size);

		metric_add(l, METRIC_HUGETLB_USAGE, s->hugetlb[i].usage, EXTRA(size));
		metric_add(l, METRIC_HUGETLB_MAX_USAGE, s->hugetlb[i].max_usage, EXTRA(size));
	}
	if (s->have & CGROUP_HAVE_PIDS) {
		add(l, METRIC_THREADS, s->pids);
		add(l, METRIC_THREADS_MAX, s->pids_limit != UINT64_MAX ? s->pids_limit : 0);
	}
	if (s->have & CGROUP_HAVE_CPU_PSI)
		add_pressure(
		    l, &s->cpu_psi, METRIC_PRESSURE_CPU_STALLED, METRIC_PRESSURE_CPU_WAITING);
	if (s->have & CGROUP_HAVE_MEMORY_PSI)
		add_pressure(l, &s->memory_psi, METRIC_PRESSURE_MEMORY_STALLED,
		    METRIC_PRESSURE_MEMORY_WAITING);
	if (s->have & CGROUP_HAVE_IO_PSI)
		add_pressure(l, &s->io_psi, METRIC_PRESSURE_IO_STALLED, METRIC_PRESSURE_IO_WAITING);
}

void
metrics_add_spec(struct metric_list *l, const Runtime__V1__LinuxContainerResources *res,
    const struct cgroup_stats *s)
{
	if (s->have & CGROUP_HAVE_CPU) {
		if (res->cpu_period > 0)
			add(l, METRIC_SPEC_CPU_PERIOD, (uint64_t)res->cpu_period);
		if (res->cpu_quota > 0)
			add(l, METRIC_SPEC_CPU_QUOTA, (uint64_t)res->cpu_quota);
		if (res->cpu_shares > 0)
			add(l, METRIC_SPEC_CPU_SHARES, (uint64_t)res->cpu_shares);
	}
	if (s->have & CGROUP_HAVE_MEMORY) {
		add(l, METRIC_SPEC_MEMORY_LIMIT, (uint64_t)MAX(res->memory_limit_in_bytes, 0));
		add(l, METRIC_SPEC_MEMORY_RESERVATION, s->memory_low);
	}
	if (s->have & CGROUP_HAVE_SWAP)
		add(l, METRIC_SPEC_MEMORY_SWAP_LIMIT,
		    (uint64_t)MAX(res->memory_swap_limit_in_bytes, 0));
}

/* was: the limits as they were asked for; NULL: none. The kernel's are reported. */
static void
read_cgroup(struct metric_list *l, struct stats_target *t,
    const Runtime__V1__LinuxContainerResources *was, bool *ret_threads)
{
	Runtime__V1__LinuxContainerResources res = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
	struct cgroup_stats s;
	struct err ignored;

	*ret_threads = false;
	if (stats_read(t, &s, &ignored) < 0)
		return; /* it has just gone */
	metrics_add_cgroup(l, &s);
	*ret_threads = (s.have & CGROUP_HAVE_PIDS) != 0;
	if (was != NULL)
		res = *was;
	if (cgroup_read_resources(
	        t->cgroup_parent, t->is_pod ? NULL : t->id, l->arena, &res, &ignored) == 0)
		metrics_add_spec(l, &res, &s);
}

/* ---- the other sources --------------------------------------------------------------------- */

void
metrics_add_links(struct metric_list *l, const struct stats_link *links, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct stats_link *k = &links[i];
		const char *name = arena_strdup(l->arena, k->name);

		metric_add(l, METRIC_NETWORK_RX_BYTES, k->rx_bytes, EXTRA(name));
		metric_add(l, METRIC_NETWORK_RX_ERRORS, k->rx_errors, EXTRA(name));
		metric_add(l, METRIC_NETWORK_RX_DROPPED, k->rx_dropped, EXTRA(name));
		metric_add(l, METRIC_NETWORK_RX_PACKETS, k->rx_packets, EXTRA(name));
		metric_add(l, METRIC_NETWORK_TX_BYTES, k->tx_bytes, EXTRA(name));
		metric_add(l, METRIC_NETWORK_TX_ERRORS, k->tx_errors, EXTRA(name));
		metric_add(l, METRIC_NETWORK_TX_DROPPED, k->tx_dropped, EXTRA(name));
		metric_add(l, METRIC_NETWORK_TX_PACKETS, k->tx_packets, EXTRA(name));
	}
}

static void
add_fs(struct metric_list *l, const struct metrics_scrape *s, struct stats_target *t)
{
	uint64_t bytes, inodes;

	if (!s->has_fs)
		return;
	metric_add(l, METRIC_FS_LIMIT_BYTES, s->fs_bytes, EXTRA(s->fs_device));
	metric_add(l, METRIC_FS_INODES_TOTAL, s->fs_inodes, EXTRA(s->fs_device));
	metric_add(l, METRIC_FS_INODES_FREE, s->fs_inodes_free, EXTRA(s->fs_device));
	if (!stats_upper(t, &bytes, &inodes))
		return;
	l->wall_ns = t->upper_wall_ns;
	metric_add(l, METRIC_FS_USAGE_BYTES, bytes, EXTRA(s->fs_device));
}

static void
add_processes(
    struct metric_list *l, struct metrics_scrape *s, const struct container *c, bool has_threads)
{
	cleanup_free pid_t *pids = NULL;
	struct process_counts counts;
	struct err ignored;
	uint64_t limit;
	size_t n;

	if (metrics_open_files_limit(c->pid, &limit))
		metric_add(l, METRIC_ULIMITS_SOFT, limit, EXTRA("max_open_files"));
	if (cgroup_pids(c->sb->cgroup_parent, c->id, MAX_PROCESSES, &pids, &n, &ignored) < 0 ||
	    n == MAX_PROCESSES)
		return;
	add(l, METRIC_PROCESSES, n);
	metrics_count(pids, n, &s->processes_left, &s->sockets_left, &counts);
	if (counts.has_fds) {
		add(l, METRIC_FILE_DESCRIPTORS, counts.fds);
		if (!has_threads)
			add(l, METRIC_THREADS, counts.threads);
	}
	if (counts.has_sockets)
		add(l, METRIC_SOCKETS, counts.sockets);
}

/* ---- pods and containers ------------------------------------------------------------------- */

void
metrics_scrape_init(struct metrics_scrape *s, const char *layers, struct arena *a)
{
	struct statvfs fs;
	struct stat st;

	*s = (struct metrics_scrape){
	    .arena = a, .processes_left = SCRAPE_PROCESSES, .sockets_left = SCRAPE_SOCKETS};
	if (statvfs(layers, &fs) < 0 || stat(layers, &st) < 0)
		return;
	s->has_fs = true;
	s->fs_device = metrics_device_name(a, major(st.st_dev), minor(st.st_dev));
	s->fs_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
	s->fs_inodes = fs.f_files;
	s->fs_inodes_free = fs.f_ffree;
}

static void
init_list(struct metric_list *l, struct arena *a, const struct sandbox *sb)
{
	*l = (struct metric_list){.arena = a, .wall_ns = clock_wall_ns()};
	for (size_t i = 0; i < METRIC_BASE_LABELS; i++)
		l->base[i] = "";
	l->base[4] = sb->config->metadata->namespace_;
	l->base[5] = sb->config->metadata->name;
}

/* The cgroup's path, as cAdvisor has it for the id. */
static const char *
path_label(struct arena *a, const char *parent, const char *id)
{
	struct err ignored;
	cleanup_free char *path = cgroup_path(parent, id, &ignored);

	return path != NULL ? arena_strdup(a, path) : "";
}

static void
add_times(struct metric_list *l, int64_t started_at)
{
	l->wall_ns = clock_wall_ns();
	add(l, METRIC_LAST_SEEN, (uint64_t)(l->wall_ns / NS_PER_SEC));
	add(l, METRIC_START_TIME, (uint64_t)(started_at / NS_PER_SEC));
}

static Runtime__V1__ContainerMetrics *
container_metrics(struct metrics_scrape *s, struct container *c)
{
	Runtime__V1__ContainerMetrics *m = arena_new(s->arena, Runtime__V1__ContainerMetrics);
	const Runtime__V1__LinuxContainerConfig *lc = c->config->linux;
	const Runtime__V1__ImageSpec *image = c->config->image;
	struct metric_list l;
	bool has_threads;

	runtime__v1__container_metrics__init(m);
	m->container_id = c->id;
	init_list(&l, s->arena, c->sb);
	l.base[0] = c->config->metadata->name;
	l.base[1] = path_label(s->arena, c->sb->cgroup_parent, c->id);
	l.base[2] =
	    str_empty(image->user_specified_image) ? image->image : image->user_specified_image;
	l.base[3] = c->id;
	read_cgroup(&l, &c->stats,
	    c->resources != NULL ? c->resources
	    : lc != NULL         ? lc->resources
	                         : NULL,
	    &has_threads);
	add_times(&l, c->started_at);
	add_processes(&l, s, c, has_threads);
	add_fs(&l, s, &c->stats);
	m->metrics = l.metrics;
	m->n_metrics = l.n;
	return m;
}

static void
pod_metrics(struct metrics_scrape *s, struct sandbox *sb, Runtime__V1__PodSandboxMetrics *m)
{
	const struct stats_link *links;
	struct metric_list l;
	bool has_threads;
	size_t n;

	init_list(&l, s->arena, sb);
	l.base[1] = path_label(s->arena, sb->cgroup_parent, NULL);
	l.base[3] = sb->id;
	read_cgroup(&l, &sb->stats, NULL, &has_threads);
	add_times(&l, sb->created_at);
	links = stats_links(&sb->stats, &n);
	l.wall_ns = sb->stats.links_wall_ns;
	metrics_add_links(&l, links, n);
	m->metrics = l.metrics;
	m->n_metrics = l.n;
}

Runtime__V1__PodSandboxMetrics *
metrics_sandbox(struct metrics_scrape *s, struct sandbox *sb)
{
	Runtime__V1__PodSandboxMetrics *m = arena_new(s->arena, Runtime__V1__PodSandboxMetrics);
	struct container *c;
	size_t n = 0;

	runtime__v1__pod_sandbox_metrics__init(m);
	m->pod_sandbox_id = sb->id;
	pod_metrics(s, sb, m);
	TAILQ_FOREACH (c, &sb->containers, in_sandbox)
		n++;
	m->container_metrics = arena_array(s->arena, Runtime__V1__ContainerMetrics *, n);
	TAILQ_FOREACH (c, &sb->containers, in_sandbox)
		if (c->state == CONTAINER_RUNNING)
			m->container_metrics[m->n_container_metrics++] = container_metrics(s, c);
	return m;
}
