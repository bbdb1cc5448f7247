/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits of a cgroup: the checks that need no kernel, and the transaction that writes them. What
 * is written in which order is told by cgroup_v1.c and cgroup_v2.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/cgroup.h"
#include "exec/cgroup_impl.h"
#include "exec/cgroup_systemd.h"

/* ---- checks -------------------------------------------------------------------------------- */

/* "0-3,7": what the kernel's bitmap parser takes of it (it also knows "all" and strides, which no
 * kubelet sends). */
static int
check_cpu_list(const char *field, const char *list, struct err *err)
{
	cleanup_free char *copy = xstrdup(list);
	char *save = NULL;

	if (str_empty(list))
		return 0;
	if (strlen(list) >= 4000 || *list == ',' || str_ends(list, ",") ||
	    strstr(list, ",,") != NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s '%s' is no list", field, list);
	for (char *w = strtok_r(copy, ",", &save); w != NULL; w = strtok_r(NULL, ",", &save)) {
		char *dash = strchr(w, '-');
		uint32_t from, to;

		if (dash != NULL)
			*dash = '\0';
		if (str_u32(w, 65535, &from) < 0 ||
		    (dash != NULL && (str_u32(dash + 1, 65535, &to) < 0 || to < from)))
			return err_set(err, ERR_INVALID_ARGUMENT, "%s '%s' is no list of numbers",
			    field, list);
	}
	return 0;
}

static int
check_page_size(const char *size, struct err *err)
{
	size_t digits = strspn(size, "0123456789");

	if (digits == 0 || digits > 8 ||
	    (strcmp(size + digits, "KB") != 0 && strcmp(size + digits, "MB") != 0 &&
	        strcmp(size + digits, "GB") != 0))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "hugepage size '%s' is not like 2MB or 1GB", size);
	return 0;
}

/* A raw file of the cgroup. Of those of the core, which move and kill processes, only the limits.
 */
static int
check_unified(const char *key, const char *value, struct err *err)
{
	if (strchr(key, '/') != NULL || strstr(key, "..") != NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "unified key '%s' is a path", key);
	if (strchr(key, '.') == NULL || *key == '.' || strlen(key) > 128)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "unified key '%s' is no controller's", key);
	if (str_starts(key, "cgroup.") && !str_starts(key, "cgroup.max."))
		return err_set(err, ERR_INVALID_ARGUMENT, "unified key '%s' is no limit", key);
	if (*value == '\0' || strlen(value) > 4096)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "unified key '%s' has no usable value", key);
	return 0;
}

int
cgroup_check_resources(const Runtime__V1__LinuxContainerResources *res, struct err *err)
{
	if (res->cpu_shares < 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "cpu_shares %" PRId64 " is negative",
		    res->cpu_shares);
	if (res->cpu_period != 0 && (res->cpu_period < 1000 || res->cpu_period > 1000000))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "cpu_period %" PRId64 " is not 1000 … 1000000 us", res->cpu_period);
	if (res->cpu_quota < -1 || (res->cpu_quota > 0 && res->cpu_quota < 1000))
		return err_set(err, ERR_INVALID_ARGUMENT, "cpu_quota %" PRId64 " is below 1000 us",
		    res->cpu_quota);
	if (res->memory_limit_in_bytes < -1)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "memory_limit_in_bytes %" PRId64 " is negative", res->memory_limit_in_bytes);
	if (res->memory_swap_limit_in_bytes < -1)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "memory_swap_limit_in_bytes %" PRId64 " is negative",
		    res->memory_swap_limit_in_bytes);
	if (res->memory_swap_limit_in_bytes > 0 && res->memory_limit_in_bytes == -1)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "memory_swap_limit_in_bytes without a memory limit");
	if (res->memory_swap_limit_in_bytes > 0 &&
	    res->memory_swap_limit_in_bytes < res->memory_limit_in_bytes)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "memory_swap_limit_in_bytes %" PRId64 " is below the memory limit %" PRId64,
		    res->memory_swap_limit_in_bytes, res->memory_limit_in_bytes);
	if (check_cpu_list("cpuset_cpus", res->cpuset_cpus, err) < 0 ||
	    check_cpu_list("cpuset_mems", res->cpuset_mems, err) < 0)
		return -1;
	for (size_t i = 0; i < res->n_hugepage_limits; i++)
		if (check_page_size(res->hugepage_limits[i]->page_size, err) < 0)
			return -1;
	if (res->n_unified > 0 && cgroups.info.layout != CGROUP_V2)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "unified resources need cgroup v2, and this host has v1");
	for (size_t i = 0; i < res->n_unified; i++)
		if (check_unified(res->unified[i]->key, res->unified[i]->value, err) < 0)
			return -1;
	return 0;
}

int
cgroup_check_usage(struct cgroup_changes *ch, int64_t limit, const char *usage_file,
    const char *inactive_key, struct err *err)
{
	cleanup_free char *stat = xmalloc(CGROUP_FILE_MAX);
	int dir = cgroup_changes_dir(ch, CGROUP_MEMORY, err);
	uint64_t usage, inactive = 0;

	if (dir < 0)
		return -1;
	if (limit <= 0 || cgroup_file_u64(dir, usage_file, &usage) < 0 || usage <= (uint64_t)limit)
		return 0;
	if (cgroup_file_read(dir, "memory.stat", stat, CGROUP_FILE_MAX) >= 0)
		(void)cgroup_keyed_u64(stat, inactive_key, &inactive);
	usage -= MIN(inactive, usage);
	if (usage > (uint64_t)limit)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "memory limit %" PRId64 " is below the %" PRIu64 " bytes in use", limit, usage);
	return 0;
}

/* ---- CPU weight ---------------------------------------------------------------------------- */

/* https://github.com/opencontainers/cgroups/pull/20: 2 gives 1, 1024 gives 100, 262144 gives 10000,
 * and in between it follows a parabola in log2, not a straight line. */
uint64_t
cgroup_weight_of_shares(uint64_t shares)
{
	double l;

	if (shares == 0)
		return 0;
	if (shares <= 2)
		return 1;
	if (shares >= 262144)
		return 10000;
	l = log2((double)shares);
	/* the last bit of pow() must not make 101 of 100 */
	return (uint64_t)ceil(pow(10, (l * l + 125 * l) / 612.0 - 7.0 / 34.0) - 1e-9);
}

uint64_t
cgroup_shares_of_weight(uint64_t weight)
{
	uint64_t low = 2, high = 262144; /* low always has a weight that is not above */

	if (weight == 0)
		return 0;
	while (low < high) {
		uint64_t middle = low + (high - low + 1) / 2;

		if (cgroup_weight_of_shares(middle) <= weight)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

/* ---- the transaction ----------------------------------------------------------------------- */

int
cgroup_changes_dir(struct cgroup_changes *ch, enum cgroup_controller c, struct err *err)
{
	if (ch->dirs[c] < 0)
		ch->dirs[c] = cgroup_controller_dir(c, ch->path, err);
	return ch->dirs[c];
}

int
cgroup_change(struct cgroup_changes *ch, enum cgroup_controller c, const char *file,
    struct err *err, const char *fmt, ...)
{
	int dir = cgroup_changes_dir(ch, c, err);
	char value[4096]; /* check_cpu_list() has bounded the longest */
	va_list ap;

	if (dir < 0)
		return -1;
	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	return cgroup_change_raw(ch, dir, file, value);
}

int
cgroup_change_raw(struct cgroup_changes *ch, int dir, const char *file, const char *value)
{
	ch->list = xrealloc(ch->list, (ch->n + 1) * sizeof(*ch->list));
	ch->list[ch->n++] =
	    (struct cgroup_change){.dir = dir, .file = xstrdup(file), .value = xstrdup(value)};
	return 0;
}

static void
release(struct cgroup_changes *ch)
{
	for (size_t i = 0; i < ch->n; i++) {
		free(ch->list[i].file);
		free(ch->list[i].value);
		free(ch->list[i].old);
	}
	free(ch->list);
	for (int c = 0; c < CGROUP_N_CONTROLLERS; c++)
		fd_closep(&ch->dirs[c]);
}

/* Files of one value, and those with a line per device (io.max), which take a line per write, and
 * in which a device that had no line gets its defaults back. */
static void
take_back(struct cgroup_changes *ch)
{
	for (size_t i = ch->n; i-- > 0;) {
		struct cgroup_change *c = &ch->list[i];
		char *save = NULL;

		if (!c->done)
			continue;
		if (strcmp(c->file, "io.max") == 0) {
			char reset[96];

			snprintf(reset, sizeof(reset), "%.*s rbps=max wbps=max riops=max wiops=max",
			    (int)MIN(strcspn(c->value, " "), 24), c->value);
			(void)cgroup_file_write(c->dir, c->file, reset);
		} else if (*c->old == '\0') {
			(void)cgroup_file_write(c->dir, c->file, "\n");
		}
		for (char *line = strtok_r(c->old, "\n", &save); line != NULL;
		     line = strtok_r(NULL, "\n", &save))
			(void)cgroup_file_write(c->dir, c->file, line);
	}
}

static int
write_one(struct cgroup_changes *ch, struct cgroup_change *c, char *old, struct err *err)
{
	enum err_code code = ERR_INTERNAL;

	if (cgroup_file_read(c->dir, c->file, old, CGROUP_FILE_MAX) < 0) {
		if (errno == ENOENT)
			return err_set(err, ERR_FAILED_PRECONDITION,
			    "the cgroup %s has no %s: its controller is not enabled there",
			    ch->path, c->file);
		*old = '\0';
	}
	if (strcmp(old, c->value) == 0)
		return 0;
	c->old = xstrdup(old);
	if (cgroup_file_write(c->dir, c->file, c->value) == 0) {
		c->done = true;
		return 0;
	}
	if (errno == EINVAL || errno == ERANGE || errno == EOPNOTSUPP)
		code = ERR_INVALID_ARGUMENT;
	else if (errno == EBUSY || errno == ENOSPC || errno == EACCES)
		code = ERR_FAILED_PRECONDITION;
	return err_set(err, code, "write '%s' to %s of the cgroup %s: %s", c->value, c->file,
	    ch->path, strerror(errno));
}

static int
write_all(struct cgroup_changes *ch, struct err *err)
{
	cleanup_free char *old = xmalloc(CGROUP_FILE_MAX);

	for (size_t i = 0; i < ch->n; i++)
		if (write_one(ch, &ch->list[i], old, err) < 0) {
			take_back(ch);
			return -1;
		}
	return 0;
}

static int
begin(struct cgroup_changes *ch, char *path)
{
	*ch = (struct cgroup_changes){.path = path};
	for (int c = 0; c < CGROUP_N_CONTROLLERS; c++)
		ch->dirs[c] = -1;
	return path != NULL ? 0 : -1;
}

int
cgroup_apply(const char *parent, const char *id, const Runtime__V1__LinuxContainerResources *res,
    struct err *err)
{
	cleanup_free char *path = cgroup_path_below_root(parent, id, err);
	struct cgroup_changes ch;
	int ret;

	if (begin(&ch, path) < 0 || cgroup_check_resources(res, err) < 0)
		return -1;
	ret = cgroups.info.layout == CGROUP_V2 ? cgroup_v2_changes(&ch, res, err)
	                                       : cgroup_v1_changes(&ch, res, err);
	if (ret == 0)
		ret = write_all(&ch, err);
	release(&ch);
	if (ret == 0 && id != NULL && cgroups.info.driver == CGROUP_DRIVER_SYSTEMD)
		cgroup_scope_limit(id, res);
	return ret;
}

int
cgroup_set_pids_max(const char *parent, const char *id, int64_t max, struct err *err)
{
	cleanup_free char *path = cgroup_path_below_root(parent, id, err);
	struct cgroup_changes ch;
	int ret;

	if (begin(&ch, path) < 0)
		return -1;
	if (max < -1 || max == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "pids limit %" PRId64, max);
	ret = max == -1 ? cgroup_change(&ch, CGROUP_PIDS, "pids.max", err, "max")
	                : cgroup_change(&ch, CGROUP_PIDS, "pids.max", err, "%" PRId64, max);
	if (ret == 0)
		ret = write_all(&ch, err);
	release(&ch);
	return ret;
}

/* ---- reading back -------------------------------------------------------------------------- */

/* The kernel rounds to pages, and a weight stands for several shares: what was asked for is told
 * again as long as the kernel's value is what it became. */
static void
read_memory(int dir, const char *file, int64_t *field)
{
	int64_t page = sysconf(_SC_PAGESIZE);
	uint64_t value;

	if (cgroup_file_u64(dir, file, &value) < 0)
		return;
	if (value == UINT64_MAX)
		*field = 0;
	else if (*field <= 0 || (uint64_t)(*field / page * page) != value)
		*field = (int64_t)value;
}

static void
read_v2_cpu(int dir, Runtime__V1__LinuxContainerResources *res)
{
	uint64_t weight;
	int64_t period;
	char text[64], quota[32];

	if (cgroup_file_u64(dir, "cpu.weight", &weight) == 0 &&
	    cgroup_weight_of_shares((uint64_t)res->cpu_shares) != weight)
		res->cpu_shares = (int64_t)cgroup_shares_of_weight(weight);
	if (cgroup_file_read(dir, "cpu.max", text, sizeof(text)) >= 0 &&
	    sscanf(text, "%31s %" SCNd64, quota, &period) == 2) {
		uint64_t value = 0;

		res->cpu_period = period;
		res->cpu_quota = -1;
		if (str_u64(quota, 10, INT64_MAX, &value) == 0)
			res->cpu_quota = (int64_t)value;
	}
}

static void
read_v1_cpu(int dir, Runtime__V1__LinuxContainerResources *res)
{
	uint64_t value;

	if (cgroup_file_u64(dir, "cpu.shares", &value) == 0)
		res->cpu_shares = (int64_t)value;
	if (cgroup_file_u64(dir, "cpu.cfs_period_us", &value) == 0)
		res->cpu_period = (int64_t)value;
	if (cgroup_file_u64(dir, "cpu.cfs_quota_us", &value) == 0)
		res->cpu_quota = value == UINT64_MAX ? -1 : (int64_t)value;
}

static void
read_v2_memory(int dir, Runtime__V1__LinuxContainerResources *res)
{
	int64_t swap = res->memory_swap_limit_in_bytes - res->memory_limit_in_bytes;
	uint64_t value;

	/* v2 counts swap alone */
	read_memory(dir, "memory.max", &res->memory_limit_in_bytes);
	if (cgroup_file_u64(dir, "memory.swap.max", &value) < 0)
		return;
	if (value == UINT64_MAX || res->memory_limit_in_bytes == 0) {
		res->memory_swap_limit_in_bytes = 0;
		return;
	}
	if (value == 0)
		swap = 0;
	else
		read_memory(dir, "memory.swap.max", &swap);
	res->memory_swap_limit_in_bytes = res->memory_limit_in_bytes + swap;
}

/* A cpuset that nobody asked for is what the parents have, and is not told. */
static void
read_cpuset(int dir, const char *file, struct arena *arena, char **field)
{
	char text[4096];

	if (**field != '\0' && cgroup_file_read(dir, file, text, sizeof(text)) >= 0 &&
	    strcmp(text, *field) != 0)
		*field = arena_strdup(arena, text);
}

int
cgroup_read_resources(const char *parent, const char *id, struct arena *arena,
    Runtime__V1__LinuxContainerResources *res, struct err *err)
{
	cleanup_free char *path = cgroup_path(parent, id, err);
	static const enum cgroup_controller read_from[] = {
	    CGROUP_CPU, CGROUP_MEMORY, CGROUP_CPUSET};

	if (path == NULL)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(read_from); i++) {
		enum cgroup_controller c = read_from[i];
		cleanup_close int dir = -1;

		if (!cgroup_has(c))
			continue;
		dir = cgroup_controller_dir(c, path, err);
		if (dir < 0)
			return -1;
		if (c == CGROUP_CPU && cgroup_on_v2(c)) {
			read_v2_cpu(dir, res);
		} else if (c == CGROUP_CPU) {
			read_v1_cpu(dir, res);
		} else if (c == CGROUP_MEMORY && cgroup_on_v2(c)) {
			read_v2_memory(dir, res);
		} else if (c == CGROUP_MEMORY) {
			read_memory(dir, "memory.limit_in_bytes", &res->memory_limit_in_bytes);
			read_memory(
			    dir, "memory.memsw.limit_in_bytes", &res->memory_swap_limit_in_bytes);
		} else {
			read_cpuset(dir, "cpuset.cpus", arena, &res->cpuset_cpus);
			read_cpuset(dir, "cpuset.mems", arena, &res->cpuset_mems);
		}
	}
	return 0;
}
