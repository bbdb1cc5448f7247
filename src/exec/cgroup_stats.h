/* SPDX-License-Identifier: Apache-2.0
 *
 * The counters of a cgroup, in the units of the CRI, the same from v1 and v2.
 */
#ifndef EXEC_CGROUP_STATS_H
#define EXEC_CGROUP_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum cgroup_have {
	CGROUP_HAVE_CPU = 1 << 0,
	CGROUP_HAVE_MEMORY = 1 << 1,
	CGROUP_HAVE_SWAP = 1 << 2,
	CGROUP_HAVE_PIDS = 1 << 3,
	CGROUP_HAVE_IO = 1 << 4,
	CGROUP_HAVE_CPU_PSI = 1 << 5,
	CGROUP_HAVE_MEMORY_PSI = 1 << 6,
	CGROUP_HAVE_IO_PSI = 1 << 7
};

struct cgroup_psi_line {
	double avg10, avg60, avg300; /* percent */
	uint64_t total_us;
};
struct cgroup_psi {
	struct cgroup_psi_line some, full;
};

struct cgroup_io {
	uint32_t major, minor;
	uint64_t read_bytes, write_bytes, reads, writes;
};
struct cgroup_hugetlb {
	char size[16]; /* "2MB", "1GB" */
	uint64_t usage, max_usage;
};
enum { CGROUP_MAX_IO = 16, CGROUP_MAX_HUGETLB = 6 };

/* Sizes in bytes, limits UINT64_MAX when there is none. */
struct cgroup_stats {
	unsigned have;   /* enum cgroup_have: the groups below that are filled */
	int64_t wall_ns; /* clock_wall_ns() of the reading */
	int64_t mono_ns; /* clock_mono_ns() of the reading */

	uint64_t cpu_ns, cpu_user_ns, cpu_system_ns;
	uint64_t cfs_periods, cfs_throttled, cfs_throttled_ns;

	uint64_t memory_usage, memory_limit, memory_peak; /* peak 0: the kernel does not tell */
	uint64_t memory_working_set;                      /* usage - inactive_file, not below 0 */
	uint64_t memory_rss, memory_cache, memory_mapped_file, memory_kernel;
	uint64_t page_faults, major_page_faults;
	uint64_t memory_failures; /* times the limit was hit */
	uint64_t oom_kills;
	uint64_t memory_low; /* what reclaim leaves it, as far as it can; with CGROUP_STATS_ALL */

	uint64_t swap_usage, swap_limit; /* swap alone, without memory */

	uint64_t pids, pids_limit; /* threads, as the controller counts */

	struct cgroup_io io[CGROUP_MAX_IO];
	size_t n_io;
	struct cgroup_hugetlb hugetlb[CGROUP_MAX_HUGETLB];
	size_t n_hugetlb;

	struct cgroup_psi cpu_psi, memory_psi, io_psi;
};

enum cgroup_stats_what {
	CGROUP_STATS_CPU_ONLY = 1, /* for the sampler: one file */
	CGROUP_STATS_CRI = 2,      /* what the stats calls of the CRI report */
	CGROUP_STATS_ALL = 3       /* io, hugetlb and pids as well, for the metrics */
};

/* NOT_FOUND when the cgroup is gone. A controller this host lacks leaves its part out. */
int cgroup_stats(const char *parent, const char *id, enum cgroup_stats_what what,
    struct cgroup_stats *ret, struct err *err) __attribute__((warn_unused_result));

#endif
