/* SPDX-License-Identifier: Apache-2.0
 *
 * The metrics there are: see metrics.h. Names, types and label keys are cAdvisor's, whose users'
 * queries and dashboards are to go on working; its documentation is docs/storage/prometheus.md.
 */
#include "pod/metrics_impl.h"

#include "base/arena.h"

const char *const metric_base_labels[METRIC_BASE_LABELS] = {
    "container", "id", "image", "name", "namespace", "pod"};

#define COUNTER RUNTIME__V1__METRIC_TYPE__COUNTER
#define GAUGE RUNTIME__V1__METRIC_TYPE__GAUGE

/* clang-format off */
const struct metric_kind metric_kinds[N_METRICS] = {
    [METRIC_BLKIO_DEVICE_USAGE] = {"container_blkio_device_usage_total",
	"Bytes moved to and from a block device, by operation.",
	COUNTER, {"device", "major", "minor", "operation"}},
    [METRIC_CPU_CFS_PERIODS] = {"container_cpu_cfs_periods_total",
	"Periods in which the CPU quota was in force.", COUNTER, {0}},
    [METRIC_CPU_CFS_THROTTLED_PERIODS] = {"container_cpu_cfs_throttled_periods_total",
	"Periods in which the CPU quota was used up.", COUNTER, {0}},
    [METRIC_CPU_CFS_THROTTLED_SECONDS] = {"container_cpu_cfs_throttled_seconds_total",
	"Time spent waiting for the next period after the CPU quota was used up.", COUNTER, {0}},
    [METRIC_CPU_SYSTEM_SECONDS] = {"container_cpu_system_seconds_total",
	"CPU time in the kernel.", COUNTER, {0}},
    [METRIC_CPU_USAGE_SECONDS] = {"container_cpu_usage_seconds_total",
	"CPU time, of all processors together.", COUNTER, {"cpu"}},
    [METRIC_CPU_USER_SECONDS] = {"container_cpu_user_seconds_total",
	"CPU time in programs.", COUNTER, {0}},
    [METRIC_FILE_DESCRIPTORS] = {"container_file_descriptors",
	"Open file descriptors of all processes.", GAUGE, {0}},
    [METRIC_FS_INODES_FREE] = {"container_fs_inodes_free",
	"Free inodes of the file system with the writable layer.", GAUGE, {"device"}},
    [METRIC_FS_INODES_TOTAL] = {"container_fs_inodes_total",
	"Inodes of the file system with the writable layer.", GAUGE, {"device"}},
    [METRIC_FS_LIMIT_BYTES] = {"container_fs_limit_bytes",
	"Size of the file system with the writable layer.", GAUGE, {"device"}},
    [METRIC_FS_READS_BYTES] = {"container_fs_reads_bytes_total",
	"Bytes read from a block device.", COUNTER, {"device"}},
    [METRIC_FS_READS] = {"container_fs_reads_total",
	"Read operations on a block device.", COUNTER, {"device"}},
    [METRIC_FS_USAGE_BYTES] = {"container_fs_usage_bytes",
	"Bytes in use by the writable layer.", GAUGE, {"device"}},
    [METRIC_FS_WRITES_BYTES] = {"container_fs_writes_bytes_total",
	"Bytes written to a block device.", COUNTER, {"device"}},
    [METRIC_FS_WRITES] = {"container_fs_writes_total",
	"Write operations on a block device.", COUNTER, {"device"}},
    [METRIC_HUGETLB_MAX_USAGE] = {"container_hugetlb_max_usage_bytes",
	"Most bytes of huge pages that were in use at once.", GAUGE, {"pagesize"}},
    [METRIC_HUGETLB_USAGE] = {"container_hugetlb_usage_bytes",
	"Bytes of huge pages in use.", GAUGE, {"pagesize"}},
    [METRIC_LAST_SEEN] = {"container_last_seen",
	"Time of this reading, in seconds since 1970.", GAUGE, {0}},
    [METRIC_MEMORY_CACHE] = {"container_memory_cache",
	"Bytes of the page cache.", GAUGE, {0}},
    [METRIC_MEMORY_FAILCNT] = {"container_memory_failcnt",
	"Times the memory limit was hit.", COUNTER, {0}},
    [METRIC_MEMORY_FAILURES] = {"container_memory_failures_total",
	"Page faults, by their kind and by whether cgroups below are counted in.",
	COUNTER, {"failure_type", "scope"}},
    [METRIC_MEMORY_KERNEL] = {"container_memory_kernel_usage",
	"Bytes of memory that the kernel uses on behalf of the processes.", GAUGE, {0}},
    [METRIC_MEMORY_MAPPED_FILE] = {"container_memory_mapped_file",
	"Bytes of mapped files.", GAUGE, {0}},
    [METRIC_MEMORY_MAX_USAGE] = {"container_memory_max_usage_bytes",
	"Most bytes of memory that were in use at once.", GAUGE, {0}},
    [METRIC_MEMORY_RSS] = {"container_memory_rss",
	"Bytes of memory that belongs to no file.", GAUGE, {0}},
    [METRIC_MEMORY_SWAP] = {"container_memory_swap",
	"Bytes of swap space in use.", GAUGE, {0}},
    [METRIC_MEMORY_USAGE] = {"container_memory_usage_bytes",
	"Bytes of memory in use, with the page cache.", GAUGE, {0}},
    [METRIC_MEMORY_WORKING_SET] = {"container_memory_working_set_bytes",
	"Bytes of memory in use, without file pages that were not used lately.", GAUGE, {0}},
    [METRIC_NETWORK_RX_BYTES] = {"container_network_receive_bytes_total",
	"Bytes received.", COUNTER, {"interface"}},
    [METRIC_NETWORK_RX_ERRORS] = {"container_network_receive_errors_total",
	"Receive errors.", COUNTER, {"interface"}},
    [METRIC_NETWORK_RX_DROPPED] = {"container_network_receive_packets_dropped_total",
	"Packets dropped on their way in.", COUNTER, {"interface"}},
    [METRIC_NETWORK_RX_PACKETS] = {"container_network_receive_packets_total",
	"Packets received.", COUNTER, {"interface"}},
    [METRIC_NETWORK_TX_BYTES] = {"container_network_transmit_bytes_total",
	"Bytes sent.", COUNTER, {"interface"}},
    [METRIC_NETWORK_TX_ERRORS] = {"container_network_transmit_errors_total",
	"Send errors.", COUNTER, {"interface"}},
    [METRIC_NETWORK_TX_DROPPED] = {"container_network_transmit_packets_dropped_total",
	"Packets dropped on their way out.", COUNTER, {"interface"}},
    [METRIC_NETWORK_TX_PACKETS] = {"container_network_transmit_packets_total",
	"Packets sent.", COUNTER, {"interface"}},
    [METRIC_OOM_EVENTS] = {"container_oom_events_total",
	"Processes killed because memory ran out.", COUNTER, {0}},
    [METRIC_PRESSURE_CPU_STALLED] = {"container_pressure_cpu_stalled_seconds_total",
	"Time in which no process could go on for want of a processor.", COUNTER, {0}},
    [METRIC_PRESSURE_CPU_WAITING] = {"container_pressure_cpu_waiting_seconds_total",
	"Time in which some process waited for a processor.", COUNTER, {0}},
    [METRIC_PRESSURE_IO_STALLED] = {"container_pressure_io_stalled_seconds_total",
	"Time in which no process could go on for waiting for a device.", COUNTER, {0}},
    [METRIC_PRESSURE_IO_WAITING] = {"container_pressure_io_waiting_seconds_total",
	"Time in which some process waited for a device.", COUNTER, {0}},
    [METRIC_PRESSURE_MEMORY_STALLED] = {"container_pressure_memory_stalled_seconds_total",
	"Time in which no process could go on for want of memory.", COUNTER, {0}},
    [METRIC_PRESSURE_MEMORY_WAITING] = {"container_pressure_memory_waiting_seconds_total",
	"Time in which some process waited for memory.", COUNTER, {0}},
    [METRIC_PROCESSES] = {"container_processes",
	"Processes.", GAUGE, {0}},
    [METRIC_SOCKETS] = {"container_sockets",
	"File descriptors that are sockets, of all processes.", GAUGE, {0}},
    [METRIC_SPEC_CPU_PERIOD] = {"container_spec_cpu_period",
	"Period of the CPU quota, in microseconds.", GAUGE, {0}},
    [METRIC_SPEC_CPU_QUOTA] = {"container_spec_cpu_quota",
	"CPU time allowed in each period, in microseconds.", GAUGE, {0}},
    [METRIC_SPEC_CPU_SHARES] = {"container_spec_cpu_shares",
	"Share of the CPU time in relation to the others'.", GAUGE, {0}},
    [METRIC_SPEC_MEMORY_LIMIT] = {"container_spec_memory_limit_bytes",
	"Memory limit; 0: none.", GAUGE, {0}},
    [METRIC_SPEC_MEMORY_RESERVATION] = {"container_spec_memory_reservation_limit_bytes",
	"Memory that is kept as long as others have more to spare; 0: none.", GAUGE, {0}},
    [METRIC_SPEC_MEMORY_SWAP_LIMIT] = {"container_spec_memory_swap_limit_bytes",
	"Limit of memory and swap space together; 0: none.", GAUGE, {0}},
    [METRIC_START_TIME] = {"container_start_time_seconds",
	"Time of the start, in seconds since 1970.", GAUGE, {0}},
    [METRIC_THREADS] = {"container_threads",
	"Threads of all processes.", GAUGE, {0}},
    [METRIC_THREADS_MAX] = {"container_threads_max",
	"Most threads there may be; 0: no limit.", GAUGE, {0}},
    [METRIC_ULIMITS_SOFT] = {"container_ulimits_soft",
	"Soft resource limits of the first process.", GAUGE, {"ulimit"}},
};
/* clang-format on */

size_t
metric_n_extra(enum metric m)
{
	size_t n = 0;

	while (metric_kinds[m].extra[n] != NULL)
		n++;
	return n;
}

size_t
metrics_descriptors(struct arena *a, Runtime__V1__MetricDescriptor ***ret)
{
	*ret = arena_array(a, Runtime__V1__MetricDescriptor *, N_METRICS);
	for (size_t i = 0; i < N_METRICS; i++) {
		const struct metric_kind *k = &metric_kinds[i];
		Runtime__V1__MetricDescriptor *d = arena_new(a, Runtime__V1__MetricDescriptor);

		runtime__v1__metric_descriptor__init(d);
		d->name = arena_strdup(a, k->name);
		d->help = arena_strdup(a, k->help);
		d->label_keys = arena_array(a, char *, METRIC_BASE_LABELS + METRIC_MAX_EXTRA);
		for (size_t j = 0; j < METRIC_BASE_LABELS; j++)
			d->label_keys[d->n_label_keys++] = arena_strdup(a, metric_base_labels[j]);
		for (size_t j = 0; k->extra[j] != NULL; j++)
			d->label_keys[d->n_label_keys++] = arena_strdup(a, k->extra[j]);
		(*ret)[i] = d;
	}
	return N_METRICS;
}
