/* SPDX-License-Identifier: Apache-2.0
 *
 * The counters of a cgroup: see cgroup_stats.h.
 */
#include "exec/cgroup_stats.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/cgroup.h"
#include "exec/cgroup_impl.h"

/* Room for the largest file, and the directories opened so far. */
struct reader {
	const char *path;
	struct cgroup_stats *stats;
	char *text;
	int dirs[CGROUP_N_CONTROLLERS];
};

/* -1 with errno ENOENT when there is no such controller or cgroup. */
static int
dir_of(struct reader *r, enum cgroup_controller c)
{
	struct err ignored;

	if (r->dirs[c] < 0)
		r->dirs[c] = cgroup_controller_dir(c, r->path, &ignored);
	if (r->dirs[c] < 0)
		errno = ENOENT;
	return r->dirs[c];
}

static bool
read_text(struct reader *r, int dir, const char *file)
{
	return dir >= 0 && cgroup_file_read(dir, file, r->text, CGROUP_FILE_MAX) >= 0;
}

static uint64_t
value_of(const char *text, const char *key)
{
	uint64_t value = 0;

	(void)cgroup_keyed_u64(text, key, &value);
	return value;
}

static uint64_t
u64_of(int dir, const char *file)
{
	uint64_t value = 0;

	if (dir >= 0)
		(void)cgroup_file_u64(dir, file, &value);
	return value;
}

/* ---- cpu ----------------------------------------------------------------------------------- */

static void
read_v2_cpu(struct reader *r)
{
	struct cgroup_stats *s = r->stats;

	if (!read_text(r, dir_of(r, CGROUP_CPU), "cpu.stat"))
		return;
	s->cpu_ns = value_of(r->text, "usage_usec") * 1000;
	s->cpu_user_ns = value_of(r->text, "user_usec") * 1000;
	s->cpu_system_ns = value_of(r->text, "system_usec") * 1000;
	s->cfs_periods = value_of(r->text, "nr_periods");
	s->cfs_throttled = value_of(r->text, "nr_throttled");
	s->cfs_throttled_ns = value_of(r->text, "throttled_usec") * 1000;
	s->have |= CGROUP_HAVE_CPU;
}

static void
read_v1_cpu(struct reader *r, bool all)
{
	struct cgroup_stats *s = r->stats;
	int dir = dir_of(r, CGROUP_CPUACCT);
	uint64_t tick_ns = (uint64_t)NS_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK);

	if (dir < 0 || cgroup_file_u64(dir, "cpuacct.usage", &s->cpu_ns) < 0)
		return;
	s->have |= CGROUP_HAVE_CPU;
	if (!all)
		return;
	if (cgroup_file_u64(dir, "cpuacct.usage_user", &s->cpu_user_ns) == 0) {
		s->cpu_system_ns = u64_of(dir, "cpuacct.usage_sys");
	} else if (read_text(r, dir, "cpuacct.stat")) {
		s->cpu_user_ns = value_of(r->text, "user") * tick_ns;
		s->cpu_system_ns = value_of(r->text, "system") * tick_ns;
	}
	if (read_text(r, dir_of(r, CGROUP_CPU), "cpu.stat")) {
		s->cfs_periods = value_of(r->text, "nr_periods");
		s->cfs_throttled = value_of(r->text, "nr_throttled");
		s->cfs_throttled_ns = value_of(r->text, "throttled_time");
	}
}

/* ---- memory -------------------------------------------------------------------------------- */

static void
read_v2_memory(struct reader *r)
{
	struct cgroup_stats *s = r->stats;
	int dir = dir_of(r, CGROUP_MEMORY);
	uint64_t inactive;

	if (dir < 0 || cgroup_file_u64(dir, "memory.current", &s->memory_usage) < 0)
		return;
	s->have |= CGROUP_HAVE_MEMORY;
	if (cgroup_file_u64(dir, "memory.max", &s->memory_limit) < 0)
		s->memory_limit = UINT64_MAX;
	s->memory_peak = u64_of(dir, "memory.peak");
	if (read_text(r, dir, "memory.stat")) {
		inactive = value_of(r->text, "inactive_file");
		s->memory_working_set = s->memory_usage - MIN(inactive, s->memory_usage);
		s->memory_rss = value_of(r->text, "anon");
		s->memory_cache = value_of(r->text, "file");
		s->memory_mapped_file = value_of(r->text, "file_mapped");
		if (!cgroup_keyed_u64(r->text, "kernel", &s->memory_kernel)) /* before 5.18 */
			s->memory_kernel = value_of(r->text, "kernel_stack") +
			                   value_of(r->text, "slab") + value_of(r->text, "percpu");
		s->page_faults = value_of(r->text, "pgfault");
		s->major_page_faults = value_of(r->text, "pgmajfault");
	}
	if (read_text(r, dir, "memory.events")) {
		s->memory_failures = value_of(r->text, "max");
		s->oom_kills = value_of(r->text, "oom_kill");
	}
	if (cgroup_file_u64(dir, "memory.swap.current", &s->swap_usage) == 0 &&
	    cgroup_file_u64(dir, "memory.swap.max", &s->swap_limit) == 0)
		s->have |= CGROUP_HAVE_SWAP;
}

static void
read_v1_memory(struct reader *r)
{
	struct cgroup_stats *s = r->stats;
	int dir = dir_of(r, CGROUP_MEMORY);
	uint64_t inactive, both, both_limit;

	if (dir < 0 || cgroup_file_u64(dir, "memory.usage_in_bytes", &s->memory_usage) < 0)
		return;
	s->have |= CGROUP_HAVE_MEMORY;
	if (cgroup_file_u64(dir, "memory.limit_in_bytes", &s->memory_limit) < 0)
		s->memory_limit = UINT64_MAX;
	s->memory_peak = u64_of(dir, "memory.max_usage_in_bytes");
	s->memory_kernel = u64_of(dir, "memory.kmem.usage_in_bytes");
	s->memory_failures = u64_of(dir, "memory.failcnt");
	if (read_text(r, dir, "memory.stat")) { /* "total_": with what is below it, as on v2 */
		inactive = value_of(r->text, "total_inactive_file");
		s->memory_working_set = s->memory_usage - MIN(inactive, s->memory_usage);
		s->memory_rss = value_of(r->text, "total_rss");
		s->memory_cache = value_of(r->text, "total_cache");
		s->memory_mapped_file = value_of(r->text, "total_mapped_file");
		s->page_faults = value_of(r->text, "total_pgfault");
		s->major_page_faults = value_of(r->text, "total_pgmajfault");
	}
	if (read_text(r, dir, "memory.oom_control"))
		s->oom_kills = value_of(r->text, "oom_kill");
	if (cgroup_file_u64(dir, "memory.memsw.usage_in_bytes", &both) == 0 &&
	    cgroup_file_u64(dir, "memory.memsw.limit_in_bytes", &both_limit) == 0) {
		s->swap_usage = both - MIN(s->memory_usage, both);
		s->swap_limit = both_limit == UINT64_MAX || s->memory_limit == UINT64_MAX
		                    ? UINT64_MAX
		                    : both_limit - MIN(s->memory_limit, both_limit);
		s->have |= CGROUP_HAVE_SWAP;
	}
}

/* v1's soft limit is unlimited by default, which stands for no protection, like 0 on v2. */
static void
read_memory_low(struct reader *r)
{
	int dir = dir_of(r, CGROUP_MEMORY);
	bool v2 = cgroup_on_v2(CGROUP_MEMORY);
	uint64_t low = u64_of(dir, v2 ? "memory.low" : "memory.soft_limit_in_bytes");

	r->stats->memory_low = !v2 && low == UINT64_MAX ? 0 : low;
}

/* ---- io ------------------------------------------------------------------------------------ */

static struct cgroup_io *
io_of(struct cgroup_stats *s, uint32_t major, uint32_t minor)
{
	for (size_t i = 0; i < s->n_io; i++)
		if (s->io[i].major == major && s->io[i].minor == minor)
			return &s->io[i];
	if (s->n_io == CGROUP_MAX_IO)
		return NULL;
	s->io[s->n_io] = (struct cgroup_io){.major = major, .minor = minor};
	return &s->io[s->n_io++];
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0" */
static void
read_v2_io(struct reader *r)
{
	char *save = NULL;

	if (!read_text(r, dir_of(r, CGROUP_IO), "io.stat"))
		return;
	r->stats->have |= CGROUP_HAVE_IO;
	for (char *line = strtok_r(r->text, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		uint32_t major, minor;
		uint64_t v[4];
		struct cgroup_io *io;

		if (sscanf(line,
		        "%" SCNu32 ":%" SCNu32 " rbytes=%" SCNu64 " wbytes=%" SCNu64
		        " rios=%" SCNu64 " wios=%" SCNu64,
		        &major, &minor, &v[0], &v[1], &v[2], &v[3]) != 6)
			continue; /* a device without traffic */
		io = io_of(r->stats, major, minor);
		if (io != NULL) {
			io->read_bytes = v[0];
			io->write_bytes = v[1];
			io->reads = v[2];
			io->writes = v[3];
		}
	}
}

/* "8:0 Read 123", "8:0 Write 45", …, "Total 168" */
static void
read_v1_io_file(struct reader *r, const char *file, bool bytes)
{
	char *save = NULL;

	if (!read_text(r, dir_of(r, CGROUP_IO), file))
		return;
	r->stats->have |= CGROUP_HAVE_IO;
	for (char *line = strtok_r(r->text, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		uint32_t major, minor;
		char kind[16];
		uint64_t value;
		struct cgroup_io *io;

		if (sscanf(line, "%" SCNu32 ":%" SCNu32 " %15s %" SCNu64, &major, &minor, kind,
		        &value) != 4)
			continue;
		io = io_of(r->stats, major, minor);
		if (io != NULL && strcmp(kind, "Read") == 0)
			*(bytes ? &io->read_bytes : &io->reads) = value;
		else if (io != NULL && strcmp(kind, "Write") == 0)
			*(bytes ? &io->write_bytes : &io->writes) = value;
	}
}

static void
read_v1_io(struct reader *r)
{
	read_v1_io_file(r, "blkio.throttle.io_service_bytes_recursive", true);
	read_v1_io_file(r, "blkio.throttle.io_serviced_recursive", false);
}

/* ---- the rest ------------------------------------------------------------------------------ */

static void
read_pids(struct reader *r)
{
	int dir = dir_of(r, CGROUP_PIDS);

	if (dir < 0 || cgroup_file_u64(dir, "pids.current", &r->stats->pids) < 0)
		return;
	if (cgroup_file_u64(dir, "pids.max", &r->stats->pids_limit) < 0)
		r->stats->pids_limit = UINT64_MAX;
	r->stats->have |= CGROUP_HAVE_PIDS;
}

/* One per page size, found by the names of the files. */
static void
read_hugetlb(struct reader *r)
{
	bool v2 = cgroup_on_v2(CGROUP_HUGETLB);
	const char *tail = v2 ? ".current" : ".usage_in_bytes";
	struct cgroup_stats *s = r->stats;
	int dir = dir_of(r, CGROUP_HUGETLB), fd;
	struct dirent *ent;
	DIR *d;

	if (dir < 0 || (fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return;
	d = fdopendir(fd);
	if (d == NULL) {
		close(fd);
		return;
	}
	while ((ent = readdir(d)) != NULL && s->n_hugetlb < CGROUP_MAX_HUGETLB) {
		struct cgroup_hugetlb *h = &s->hugetlb[s->n_hugetlb];
		const char *size = ent->d_name + strlen("hugetlb.");
		char file[64];

		if (!str_starts(ent->d_name, "hugetlb.") || !str_ends(size, tail) ||
		    strstr(size, "rsvd") != NULL || strlen(size) - strlen(tail) >= sizeof(h->size))
			continue;
		snprintf(
		    h->size, sizeof(h->size), "%.*s", (int)(strlen(size) - strlen(tail)), size);
		h->usage = u64_of(dir, ent->d_name);
		h->max_usage = h->usage;
		snprintf(file, sizeof(file), "hugetlb.%s.max_usage_in_bytes", h->size);
		if (!v2)
			(void)cgroup_file_u64(dir, file, &h->max_usage);
		s->n_hugetlb++;
	}
	closedir(d);
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", and the same for "full". */
static bool
read_psi(struct reader *r, int dir, const char *file, struct cgroup_psi *ret)
{
	char *save = NULL;

	if (!read_text(r, dir, file))
		return false;
	*ret = (struct cgroup_psi){0};
	for (char *line = strtok_r(r->text, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		struct cgroup_psi_line l;
		char kind[8];

		if (sscanf(line, "%7s avg10=%lf avg60=%lf avg300=%lf total=%" SCNu64, kind,
		        &l.avg10, &l.avg60, &l.avg300, &l.total_us) != 5)
			continue;
		if (strcmp(kind, "some") == 0)
			ret->some = l;
		else if (strcmp(kind, "full") == 0)
			ret->full = l;
	}
	return true;
}

/* Pressure is counted in the v2 hierarchy whatever controllers it has, so hybrid hosts have it. */
static void
read_pressure(struct reader *r)
{
	struct cgroup_stats *s = r->stats;
	cleanup_close int dir = -1;
	struct err ignored;

	if (!cgroups.info.psi)
		return;
	dir = cgroup_dir(&cgroups.h[cgroups.v2], r->path, &ignored);
	if (read_psi(r, dir, "cpu.pressure", &s->cpu_psi))
		s->have |= CGROUP_HAVE_CPU_PSI;
	if (read_psi(r, dir, "memory.pressure", &s->memory_psi))
		s->have |= CGROUP_HAVE_MEMORY_PSI;
	if (read_psi(r, dir, "io.pressure", &s->io_psi))
		s->have |= CGROUP_HAVE_IO_PSI;
}

int
cgroup_stats(const char *parent, const char *id, enum cgroup_stats_what what,
    struct cgroup_stats *ret, struct err *err)
{
	cleanup_free char *path = cgroup_path(parent, id, err);
	cleanup_free char *text = NULL;
	struct reader r = {.path = path, .stats = ret};

	if (path == NULL)
		return -1;
	if (!cgroup_exists(parent, id))
		return err_set(err, ERR_NOT_FOUND, "no cgroup %s", path);
	r.text = text = xmalloc(CGROUP_FILE_MAX);
	for (int c = 0; c < CGROUP_N_CONTROLLERS; c++)
		r.dirs[c] = -1;
	*ret = (struct cgroup_stats){.wall_ns = clock_wall_ns(), .mono_ns = clock_mono_ns()};
	if (cgroup_on_v2(CGROUP_CPU))
		read_v2_cpu(&r);
	else
		read_v1_cpu(&r, what == CGROUP_STATS_ALL);
	if (what >= CGROUP_STATS_CRI) {
		if (cgroup_on_v2(CGROUP_MEMORY))
			read_v2_memory(&r);
		else
			read_v1_memory(&r);
		read_pids(&r);
		read_pressure(&r);
	}
	if (what >= CGROUP_STATS_ALL) {
		if (cgroup_on_v2(CGROUP_IO))
			read_v2_io(&r);
		else
			read_v1_io(&r);
		read_hugetlb(&r);
		read_memory_low(&r);
	}
	for (int c = 0; c < CGROUP_N_CONTROLLERS; c++)
		fd_closep(&r.dirs[c]);
	return 0;
}
