/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of metrics: the table, a list of metrics in the making, and each source of values.
 */
#ifndef POD_METRICS_IMPL_H
#define POD_METRICS_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "exec/cgroup_stats.h"
#include "pod/metrics.h"

struct stats_link;

enum metric {
	METRIC_BLKIO_DEVICE_USAGE,
	METRIC_CPU_CFS_PERIODS,
	METRIC_CPU_CFS_THROTTLED_PERIODS,
	METRIC_CPU_CFS_THROTTLED_SECONDS,
	METRIC_CPU_SYSTEM_SECONDS,
	METRIC_CPU_USAGE_SECONDS,
	METRIC_CPU_USER_SECONDS,
	METRIC_FILE_DESCRIPTORS,
	METRIC_FS_INODES_FREE,
	METRIC_FS_INODES_TOTAL,
	METRIC_FS_LIMIT_BYTES,
	METRIC_FS_READS_BYTES,
	METRIC_FS_READS,
	METRIC_FS_USAGE_BYTES,
	METRIC_FS_WRITES_BYTES,
	METRIC_FS_WRITES,
	METRIC_HUGETLB_MAX_USAGE,
	METRIC_HUGETLB_USAGE,
	METRIC_LAST_SEEN,
	METRIC_MEMORY_CACHE,
	METRIC_MEMORY_FAILCNT,
	METRIC_MEMORY_FAILURES,
	METRIC_MEMORY_KERNEL,
	METRIC_MEMORY_MAPPED_FILE,
	METRIC_MEMORY_MAX_USAGE,
	METRIC_MEMORY_RSS,
	METRIC_MEMORY_SWAP,
	METRIC_MEMORY_USAGE,
	METRIC_MEMORY_WORKING_SET,
	METRIC_NETWORK_RX_BYTES,
	METRIC_NETWORK_RX_ERRORS,
	METRIC_NETWORK_RX_DROPPED,
	METRIC_NETWORK_RX_PACKETS,
	METRIC_NETWORK_TX_BYTES,
	METRIC_NETWORK_TX_ERRORS,
	METRIC_NETWORK_TX_DROPPED,
	METRIC_NETWORK_TX_PACKETS,
	METRIC_OOM_EVENTS,
	METRIC_PRESSURE_CPU_STALLED,
	METRIC_PRESSURE_CPU_WAITING,
	METRIC_PRESSURE_IO_STALLED,
	METRIC_PRESSURE_IO_WAITING,
	METRIC_PRESSURE_MEMORY_STALLED,
	METRIC_PRESSURE_MEMORY_WAITING,
	METRIC_PROCESSES,
	METRIC_SOCKETS,
	METRIC_SPEC_CPU_PERIOD,
	METRIC_SPEC_CPU_QUOTA,
	METRIC_SPEC_CPU_SHARES,
	METRIC_SPEC_MEMORY_LIMIT,
	METRIC_SPEC_MEMORY_RESERVATION,
	METRIC_SPEC_MEMORY_SWAP_LIMIT,
	METRIC_START_TIME,
	METRIC_THREADS,
	METRIC_THREADS_MAX,
	METRIC_ULIMITS_SOFT,
	N_METRICS
};

enum { METRIC_BASE_LABELS = 6, METRIC_MAX_EXTRA = 4 };
extern const char *const metric_base_labels[METRIC_BASE_LABELS];

struct metric_kind {
	const char *name, *help;
	Runtime__V1__MetricType type;
	const char *extra[METRIC_MAX_EXTRA + 1]; /* label keys after the base, NULL at the end */
};
extern const struct metric_kind metric_kinds[N_METRICS];
size_t metric_n_extra(enum metric m);

/* The metrics of one cgroup (a pod's or a container's), in the making. Zero but for the arena and
 * the base values. */
struct metric_list {
	struct arena *arena;
	const char *base[METRIC_BASE_LABELS]; /* values, in the order of metric_base_labels */
	int64_t wall_ns;                      /* timestamp of what is added */
	Runtime__V1__Metric **metrics;
	size_t n, cap;
};

/* extra has as many values as the metric has keys after the base; may be NULL when it has none. The
 * strings are borrowed for the life of the arena. */
void metric_add(struct metric_list *l, enum metric m, uint64_t value, const char *const *extra);

void metrics_add_cgroup(struct metric_list *l, const struct cgroup_stats *s);
void metrics_add_links(struct metric_list *l, const struct stats_link *links, size_t n);
/* Limits; zero: none is set. */
void metrics_add_spec(struct metric_list *l, const Runtime__V1__LinuxContainerResources *res,
    const struct cgroup_stats *s);

/* "/dev/sda", or "8:0" for what is no block device of this kernel. */
const char *metrics_device_name(struct arena *a, uint32_t major, uint32_t minor);

struct process_counts {
	bool has_fds, has_sockets; /* all of them could be counted within the bounds */
	uint64_t threads, fds, sockets;
};
/* Looks into /proc; a process that has gone counts as none. *processes_left and *sockets_left go
 * down by what was looked at. */
void metrics_count(const pid_t *pids, size_t n, size_t *processes_left, size_t *sockets_left,
    struct process_counts *ret);
/* The soft limit of open files of a process; false: it is gone, or there is none. */
bool metrics_open_files_limit(pid_t pid, uint64_t *ret);

#endif
