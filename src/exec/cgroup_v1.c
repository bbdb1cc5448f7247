/* SPDX-License-Identifier: Apache-2.0
 *
 * The limits of the CRI as writes to cgroup v1 (Documentation/admin-guide/cgroup-v1).
 */
#include <inttypes.h>

#include "base/str.h"
#include "exec/cgroup_impl.h"

/* The kernel checks quota/period against the parent's and the children's at each write. Without a
 * quota in between, neither order of the two can meet a ratio that was never asked for. */
static int
cpu_changes(
    struct cgroup_changes *ch, const Runtime__V1__LinuxContainerResources *res, struct err *err)
{
	int64_t quota = res->cpu_quota;
	char now[32];
	int dir;

	if (res->cpu_shares > 0 &&
	    cgroup_change(ch, CGROUP_CPU, "cpu.shares", err, "%" PRId64, res->cpu_shares) < 0)
		return -1;
	if (res->cpu_period > 0) {
		dir = cgroup_changes_dir(ch, CGROUP_CPU, err);
		if (dir < 0)
			return -1;
		if (quota == 0) {
			uint64_t value;

			if (cgroup_file_u64(dir, "cpu.cfs_quota_us", &value) == 0)
				quota = value == UINT64_MAX ? -1 : (int64_t)value;
		}
		if ((cgroup_file_read(dir, "cpu.cfs_period_us", now, sizeof(now)) < 0 ||
		        strtoll(now, NULL, 10) != res->cpu_period) &&
		    (cgroup_change(ch, CGROUP_CPU, "cpu.cfs_quota_us", err, "-1") < 0 ||
		        cgroup_change(ch, CGROUP_CPU, "cpu.cfs_period_us", err, "%" PRId64,
		            res->cpu_period) < 0))
			return -1;
	}
	if (quota == 0)
		return 0;
	return cgroup_change(ch, CGROUP_CPU, "cpu.cfs_quota_us", err, "%" PRId64, quota);
}

/* memory+swap is never below memory, not even between two writes: raised before it, lowered after.
 */
static int
memory_changes(
    struct cgroup_changes *ch, const Runtime__V1__LinuxContainerResources *res, struct err *err)
{
	static const char mem[] = "memory.limit_in_bytes", memsw[] = "memory.memsw.limit_in_bytes";
	int64_t limit = res->memory_limit_in_bytes, swap = res->memory_swap_limit_in_bytes;
	uint64_t now;
	bool raise;
	int dir;

	if (limit == 0 && swap == 0)
		return 0;
	dir = cgroup_changes_dir(ch, CGROUP_MEMORY, err);
	if (dir < 0 ||
	    cgroup_check_usage(ch, limit, "memory.usage_in_bytes", "total_inactive_file", err) < 0)
		return -1;
	if (cgroup_file_u64(dir, memsw, &now) < 0)
		swap = 0; /* the kernel does not count swap */
	else if (swap == 0)
		swap = limit;
	raise = swap == -1 || (swap > 0 && (uint64_t)swap > now);
	if (swap != 0 && raise &&
	    cgroup_change(ch, CGROUP_MEMORY, memsw, err, "%" PRId64, swap) < 0)
		return -1;
	if (limit != 0 && cgroup_change(ch, CGROUP_MEMORY, mem, err, "%" PRId64, limit) < 0)
		return -1;
	if (swap != 0 && !raise &&
	    cgroup_change(ch, CGROUP_MEMORY, memsw, err, "%" PRId64, swap) < 0)
		return -1;
	return 0;
}

static int
hugepage_changes(
    struct cgroup_changes *ch, const Runtime__V1__LinuxContainerResources *res, struct err *err)
{
	for (size_t i = 0; i < res->n_hugepage_limits && cgroup_has(CGROUP_HUGETLB); i++) {
		const Runtime__V1__HugepageLimit *l = res->hugepage_limits[i];
		char file[64];

		snprintf(file, sizeof(file), "hugetlb.%s.limit_in_bytes", l->page_size);
		if (cgroup_change(ch, CGROUP_HUGETLB, file, err, "%" PRIu64,
		        l->limit > INT64_MAX ? (uint64_t)INT64_MAX : l->limit) < 0)
			return -1;
	}
	return 0;
}

int
cgroup_v1_changes(
    struct cgroup_changes *ch, const Runtime__V1__LinuxContainerResources *res, struct err *err)
{
	if (!str_empty(res->cpuset_cpus) &&
	    cgroup_change(ch, CGROUP_CPUSET, "cpuset.cpus", err, "%s", res->cpuset_cpus) < 0)
		return -1;
	if (!str_empty(res->cpuset_mems) &&
	    cgroup_change(ch, CGROUP_CPUSET, "cpuset.mems", err, "%s", res->cpuset_mems) < 0)
		return -1;
	if (cpu_changes(ch, res, err) < 0 || hugepage_changes(ch, res, err) < 0)
		return -1;
	return memory_changes(ch, res, err);
}
