/* SPDX-License-Identifier: Apache-2.0
 *
 * Which cgroup hierarchies this host has, and what they can do: cgroup_init().
 *
 * Where a controller lives is looked up per controller (cgroups.of[]), so the three layouts need no
 * cases of their own: pure v2 has one hierarchy for all, v1 one for each, and a hybrid host has one
 * more that has no controllers but kills, freezes and counts pressure.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/cgroup_impl.h"

struct cgroup_state cgroups = {.v2 = -1};

static const struct {
	const char *v1, *v2;
} controller_names[CGROUP_N_CONTROLLERS] = {
    [CGROUP_CPU] = {"cpu",     "cpu"    },
    [CGROUP_CPUACCT] = {"cpuacct", NULL     },
    [CGROUP_CPUSET] = {"cpuset",  "cpuset" },
    [CGROUP_MEMORY] = {"memory",  "memory" },
    [CGROUP_PIDS] = {"pids",    "pids"   },
    [CGROUP_IO] = {"blkio",   "io"     },
    [CGROUP_HUGETLB] = {"hugetlb", "hugetlb"},
    [CGROUP_DEVICES] = {"devices", NULL     },
    [CGROUP_FREEZER] = {"freezer", NULL     },
};

const char *
cgroup_controller_name(enum cgroup_controller c)
{
	return controller_names[c].v2 != NULL ? controller_names[c].v2 : controller_names[c].v1;
}

const struct cgroup_info *
cgroup_info(void)
{
	return &cgroups.info;
}

/* ---- finding the hierarchies --------------------------------------------------------------- */

unsigned
cgroup_parse_controllers(const char *list, const char *separators, bool v2)
{
	cleanup_free char *copy = xstrdup(list);
	char *save = NULL;
	unsigned mask = 0;

	for (char *w = strtok_r(copy, separators, &save); w != NULL;
	     w = strtok_r(NULL, separators, &save))
		for (int c = 0; c < CGROUP_N_CONTROLLERS; c++) {
			const char *name = v2 ? controller_names[c].v2 : controller_names[c].v1;

			if (name != NULL && strcmp(w, name) == 0)
				mask |= 1u << c;
		}
	return mask;
}

/* mountinfo writes blank, tab, newline and backslash as \ooo (proc(5)). */
static void
unescape_octal(char *s)
{
	char *to = s;

	for (; *s != '\0'; s++, to++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to = *s;
		}
	}
	*to = '\0';
}

static void
name_hierarchy(struct cgroup_hierarchy *h, const char *options)
{
	size_t used = 0;
	const char *named = strstr(options, "name=");

	if (h->v2) {
		snprintf(h->name, sizeof(h->name), "unified");
	} else if (h->controllers == 0) {
		snprintf(h->name, sizeof(h->name), "%.*s", (int)strcspn(named + 5, ","), named + 5);
	} else {
		for (int c = 0; c < CGROUP_N_CONTROLLERS; c++)
			if (h->controllers & 1u << c && used < sizeof(h->name))
				used += (size_t)snprintf(h->name + used, sizeof(h->name) - used,
				    "%s%s", used > 0 ? "," : "", controller_names[c].v1);
	}
}

/* Take one mount of type cgroup or cgroup2 in, unless its hierarchy is known already (bind mounts)
 * or has nothing for us (net_cls, perf_event…). */
static void
add_hierarchy(const char *mount_point, bool v2, const char *options)
{
	struct cgroup_hierarchy *h = &cgroups.h[cgroups.n_h];
	cleanup_close int fd = -1;
	char available[512];
	struct statfs fs;

	if (cgroups.n_h == CGROUP_MAX_HIERARCHIES || (v2 && cgroups.v2 >= 0))
		return;
	*h = (struct cgroup_hierarchy){.fd = -1, .v2 = v2};
	if (!v2) {
		h->controllers = cgroup_parse_controllers(options, ",", false);
		/* systemd's own tree: so that nothing of ours stays in the daemon's unit */
		if (h->controllers == 0 && strstr(options, "name=systemd") == NULL)
			return;
		for (size_t i = 0; i < cgroups.n_h; i++)
			if (!cgroups.h[i].v2 && cgroups.h[i].controllers == h->controllers)
				return;
	}
	fd = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* something else may be mounted over it */
	if (fd < 0 || fstatfs(fd, &fs) < 0 ||
	    fs.f_type != (v2 ? CGROUP2_SUPER_MAGIC : CGROUP_SUPER_MAGIC))
		return;
	if (v2) {
		if (cgroup_file_read(fd, "cgroup.controllers", available, sizeof(available)) < 0)
			return;
		h->controllers = cgroup_parse_controllers(available, " ", true);
		cgroups.v2 = (int)cgroups.n_h;
	}
	name_hierarchy(h, options);
	h->fd = take_fd(fd);
	cgroups.n_h++;
}

/* "36 35 98:0 /root /mount/point options optional… - type source super-options" (proc(5)). */
static void
parse_mount(char *line)
{
	char *fields[6], *save = NULL, *tail = strstr(line, " - ");
	char type[16], super_options[512];

	if (tail == NULL || sscanf(tail, " - %15s %*s %511s", type, super_options) != 2)
		return;
	if (strcmp(type, "cgroup") != 0 && strcmp(type, "cgroup2") != 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		fields[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
		if (fields[i] == NULL)
			return;
	}
	unescape_octal(fields[4]);
	add_hierarchy(fields[4], strcmp(type, "cgroup2") == 0, super_options);
}

static int
find_hierarchies(struct err *err)
{
	cleanup_buf struct buf mounts = BUF_INIT;
	char *save = NULL;

	if (fd_read_file(AT_FDCWD, "/proc/self/mountinfo", 16 << 20, &mounts, err) < 0)
		return -1;
	for (char *line = strtok_r(mounts.data, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save))
		parse_mount(line);
	return 0;
}

static void
assign_controllers(void)
{
	struct cgroup_info *info = &cgroups.info;
	unsigned on_v1 = 0;

	for (int c = 0; c < CGROUP_N_CONTROLLERS; c++)
		cgroups.of[c] = -1;
	for (size_t i = 0; i < cgroups.n_h; i++) {
		if (cgroups.h[i].v2)
			continue;
		on_v1 |= cgroups.h[i].controllers;
		for (int c = 0; c < CGROUP_N_CONTROLLERS; c++)
			if (cgroups.h[i].controllers & 1u << c)
				cgroups.of[c] = (int)i;
	}
	info->layout = cgroups.v2 < 0 ? CGROUP_V1 : on_v1 != 0 ? CGROUP_HYBRID : CGROUP_V2;
	if (info->layout == CGROUP_V2) {
		struct cgroup_hierarchy *h = &cgroups.h[cgroups.v2];

		if (h->controllers & 1u << CGROUP_CPU)
			h->controllers |= 1u << CGROUP_CPUACCT;
		for (int c = 0; c < CGROUP_N_CONTROLLERS; c++)
			if (h->controllers & 1u << c)
				cgroups.of[c] = cgroups.v2;
	} else if (info->layout == CGROUP_HYBRID) {
		/* what v1 left to v2 there (hugetlb, say) is not worth touching the host's root */
		cgroups.h[cgroups.v2].controllers = 0;
	}
	for (int c = 0; c < CGROUP_N_CONTROLLERS; c++)
		if (cgroups.of[c] >= 0)
			info->controllers |= 1u << c;
}

/* cgroup.kill and memory.swap.max are not in a root: look at them in a cgroup made for the purpose.
 */
static int
probe_v2(struct err *err)
{
	struct cgroup_hierarchy *h = &cgroups.h[cgroups.v2];
	cleanup_free char *name = xasprintf("%s-probe", cgroups.instance);
	cleanup_close int fd = -1;
	struct stat st;

	cgroup_enable_controllers(h, h->fd);
	if (mkdirat(h->fd, name, 0755) < 0 && errno != EEXIST)
		return err_errno(err, "make the cgroup %s", name);
	fd = openat(h->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_errno(err, "open the cgroup %s", name);
	cgroups.info.kill = fstatat(fd, "cgroup.kill", &st, 0) == 0;
	cgroups.info.psi = fstatat(fd, "cpu.pressure", &st, 0) == 0;
	if (cgroup_on_v2(CGROUP_MEMORY))
		cgroups.info.swap = fstatat(fd, "memory.swap.max", &st, 0) == 0;
	cgroups.info.devices = cgroup_devices_detect(fd);
	unlinkat(h->fd, name, AT_REMOVEDIR);
	return 0;
}

int
cgroup_init(const char *instance, enum cgroup_driver driver, struct err *err)
{
	struct stat st;

	cgroup_fini();
	if (!cgroup_name_valid(instance))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "instance '%s' is no cgroup name", instance);
	cgroups.instance = xstrdup(instance);
	cgroups.info.instance = cgroups.instance;
	cgroups.info.driver = driver;
	if (find_hierarchies(err) < 0)
		return err_wrap(err, "find the cgroup hierarchies");
	if (cgroups.n_h == 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "no cgroup hierarchy is mounted (mount -t cgroup2 none /sys/fs/cgroup)");
	assign_controllers();
	if (cgroups.v2 >= 0) {
		if (probe_v2(err) < 0)
			return err_wrap(err, "probe cgroup v2");
	} else {
		cgroups.info.devices = cgroup_devices_detect(-1);
	}
	if (cgroup_has(CGROUP_MEMORY) && !cgroup_on_v2(CGROUP_MEMORY))
		cgroups.info.swap = fstatat(cgroups.h[cgroups.of[CGROUP_MEMORY]].fd,
		                        "memory.memsw.limit_in_bytes", &st, 0) == 0;
	return 0;
}

void
cgroup_fini(void)
{
	for (size_t i = 0; i < cgroups.n_h; i++)
		fd_closep(&cgroups.h[i].fd);
	free(cgroups.instance);
	cgroups = (struct cgroup_state){.v2 = -1};
	for (int c = 0; c < CGROUP_N_CONTROLLERS; c++)
		cgroups.of[c] = -1;
}
