/* SPDX-License-Identifier: Apache-2.0
 *
 * The limits of the CRI as writes to cgroup v2 (Documentation/admin-guide/cgroup-v2.rst).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "exec/cgroup_impl.h"

static int
cpu_changes(
    struct cgroup_changes *ch, const Runtime__V1__LinuxContainerResources *res, struct err *err)
{
	char now[64] = "", quota[32] = "max", period[32] = "100000";
	int dir;

	if (res->cpu_shares > 0 && cgroup_change(ch, CGROUP_CPU, "cpu.weight", err, "%" PRIu64,
	                               cgroup_weight_of_shares((uint64_t)res->cpu_shares)) < 0)
		return -1;
	if (res->cpu_quota == 0 && res->cpu_period == 0)
		return 0;
	dir = cgroup_changes_dir(ch, CGROUP_CPU, err);
	if (dir < 0)
		return -1;
	if (cgroup_file_read(dir, "cpu.max", now, sizeof(now)) >= 0)
		sscanf(now, "%31s %31s", quota, period);
	if (res->cpu_quota != 0)
		snprintf(
		    quota, sizeof(quota), res->cpu_quota < 0 ? "max" : "%" PRId64, res->cpu_quota);
	if (res->cpu_period != 0)
		snprintf(period, sizeof(period), "%" PRId64, res->cpu_period);
	return cgroup_change(ch, CGROUP_CPU, "cpu.max", err, "%s %s", quota, period);
}

/* The CRI's swap limit is memory and swap together, memory.swap.max is swap alone. */
static int
memory_changes(
    struct cgroup_changes *ch, const Runtime__V1__LinuxContainerResources *res, struct err *err)
{
	int64_t limit = res->memory_limit_in_bytes, swap = res->memory_swap_limit_in_bytes;
	uint64_t now = UINT64_MAX;
	int dir;

	if (limit == 0 && swap == 0)
		return 0;
	dir = cgroup_changes_dir(ch, CGROUP_MEMORY, err);
	if (dir < 0 || cgroup_check_usage(ch, limit, "memory.current", "inactive_file", err) < 0)
		return -1;
	if (swap == 0)
		swap = limit;
	if (limit == -1 && cgroup_change(ch, CGROUP_MEMORY, "memory.max", err, "max") < 0)
		return -1;
	if (limit > 0 && cgroup_change(ch, CGROUP_MEMORY, "memory.max", err, "%" PRId64, limit) < 0)
		return -1;
	if (!cgroup_file_exists(dir, "memory.swap.max"))
		return 0; /* the kernel does not count swap */
	if (swap == -1)
		return cgroup_change(ch, CGROUP_MEMORY, "memory.swap.max", err, "max");
	if (limit == 0) {
		if (cgroup_file_u64(dir, "memory.max", &now) < 0 || now == UINT64_MAX)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "memory_swap_limit_in_bytes without a memory limit");
		if (now > (uint64_t)swap)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "memory_swap_limit_in_bytes %" PRId64
			    " is below the memory limit %" PRIu64,
			    swap, now);
		limit = (int64_t)now;
	}
	return cgroup_change(ch, CGROUP_MEMORY, "memory.swap.max", err, "%" PRId64, swap - limit);
}

/* What is mapped, and what is reserved for mapping: without the second a process is killed by
 * SIGBUS where mmap(2) should have failed. */
static int
hugepage_changes(
    struct cgroup_changes *ch, const Runtime__V1__LinuxContainerResources *res, struct err *err)
{
	static const char *const kinds[] = {"max", "rsvd.max"};

	if (res->n_hugepage_limits == 0 || !cgroup_has(CGROUP_HUGETLB))
		return 0;
	for (size_t i = 0; i < 2 * res->n_hugepage_limits; i++) {
		const Runtime__V1__HugepageLimit *l = res->hugepage_limits[i / 2];
		char file[64];
		int dir = cgroup_changes_dir(ch, CGROUP_HUGETLB, err);

		if (dir < 0)
			return -1;
		snprintf(file, sizeof(file), "hugetlb.%s.%s", l->page_size, kinds[i % 2]);
		if (i % 2 == 1 && !cgroup_file_exists(dir, file))
			continue;
		if (cgroup_change(ch, CGROUP_HUGETLB, file, err, "%" PRIu64, l->limit) < 0)
			return -1;
	}
	return 0;
}

/* The controller of "memory.high" is memory; core files are in every cgroup. */
static int
unified_change(struct cgroup_changes *ch, const char *key, const char *value, struct err *err)
{
	size_t n = strcspn(key, ".");
	int dir;

	for (int c = 0; c < CGROUP_N_CONTROLLERS; c++) {
		const char *name = cgroup_controller_name((enum cgroup_controller)c);

		if (strlen(name) != n || strncmp(key, name, n) != 0 || c == CGROUP_CPUACCT)
			continue;
		dir = cgroup_changes_dir(ch, (enum cgroup_controller)c, err);
		return dir < 0 ? -1 : cgroup_change_raw(ch, dir, key, value);
	}
	/* a controller we do not know (rdma, misc): its files are in the same directory */
	for (int c = 0; c < CGROUP_N_CONTROLLERS; c++)
		if (cgroup_has((enum cgroup_controller)c)) {
			dir = cgroup_changes_dir(ch, (enum cgroup_controller)c, err);
			return dir < 0 ? -1 : cgroup_change_raw(ch, dir, key, value);
		}
	return err_set(err, ERR_FAILED_PRECONDITION, "this host has no controller for %s", key);
}

int
cgroup_v2_changes(
    struct cgroup_changes *ch, const Runtime__V1__LinuxContainerResources *res, struct err *err)
{
	if (!str_empty(res->cpuset_cpus) &&
	    cgroup_change(ch, CGROUP_CPUSET, "cpuset.cpus", err, "%s", res->cpuset_cpus) < 0)
		return -1;
	if (!str_empty(res->cpuset_mems) &&
	    cgroup_change(ch, CGROUP_CPUSET, "cpuset.mems", err, "%s", res->cpuset_mems) < 0)
		return -1;
	if (cpu_changes(ch, res, err) < 0 || hugepage_changes(ch, res, err) < 0 ||
	    memory_changes(ch, res, err) < 0)
		return -1;
	for (size_t i = 0; i < res->n_unified; i++) /* last, so that they win */
		if (unified_change(ch, res->unified[i]->key, res->unified[i]->value, err) < 0)
			return -1;
	return 0;
}
