/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the cgroup module share: the hierarchies found at start, and reading and
 * writing the small files in them relative to a directory's fd.
 */
#ifndef EXEC_CGROUP_IMPL_H
#define EXEC_CGROUP_IMPL_H

#include "exec/cgroup.h"

struct cgroup_hierarchy {
	int fd; /* its root directory */
	bool v2;
	unsigned controllers; /* those bound to it that we use, 1 << enum cgroup_controller */
	char name[40];        /* "memory", "cpu,cpuacct", "systemd", "unified": for messages */
};

struct cgroup_state {
	struct cgroup_info info;
	char *instance;
	struct cgroup_hierarchy h[CGROUP_MAX_HIERARCHIES];
	size_t n_h;
	int v2;                       /* index in h, or -1 */
	int of[CGROUP_N_CONTROLLERS]; /* index in h of a controller's hierarchy, or -1 */
};
extern struct cgroup_state cgroups;

enum { CGROUP_FILE_MAX = 64 * 1024 }; /* more than any single file we read in full */

/* Mark of what this module made, and the values: "<instance>" on a parent, "<instance>:leaf". */
#define CGROUP_MARK "trusted.coracle"
enum cgroup_mark { CGROUP_FOREIGN, CGROUP_OUR_PARENT, CGROUP_OUR_LEAF };
enum cgroup_mark cgroup_mark_of(int dir);

bool cgroup_name_valid(const char *name); /* one component of a path */

/* "a,b,c" or "a b c": the mask of the controllers we know. */
unsigned cgroup_parse_controllers(const char *list, const char *separators, bool v2);

/* v2: let the children of this directory have the controllers we use, as far as they are to be
 * had: a limit whose controller is missing then fails by name when it is applied. */
void cgroup_enable_controllers(const struct cgroup_hierarchy *h, int dir);

/* Open a cgroup's directory in one hierarchy; NOT_FOUND when it is not there. */
int cgroup_dir(const struct cgroup_hierarchy *h, const char *path, struct err *err);
/* The same in the hierarchy of a controller; FAILED_PRECONDITION when this host lacks it. */
int cgroup_controller_dir(enum cgroup_controller c, const char *path, struct err *err);
static inline bool
cgroup_has(enum cgroup_controller c)
{
	return cgroups.of[c] >= 0;
}
static inline bool
cgroup_on_v2(enum cgroup_controller c)
{
	return cgroups.of[c] >= 0 && cgroups.of[c] == cgroups.v2;
}
/* cgroup_path(), and refuses the root of the hierarchy: for whatever changes something. */
char *cgroup_path_below_root(const char *parent, const char *id, struct err *err);

/* Read a file into buf, NUL-terminated, without its last newline. Its length, or -1 with errno. */
int cgroup_file_read(int dir, const char *file, char *buf, size_t size);
int cgroup_file_write(int dir, const char *file, const char *value); /* 0, or -1 with errno */
/* A file of one number; "max" and what v1 says for it are UINT64_MAX. 0, or -1 with errno. */
int cgroup_file_u64(int dir, const char *file, uint64_t *ret);
/* The number after "key " at the start of a line. */
bool cgroup_keyed_u64(const char *text, const char *key, uint64_t *ret);

/* cgroup_tree.c: calls each() for the directory and everything below it, top down; a name that
 * vanishes meanwhile is skipped. each() returning non-zero ends the walk with that value. */
typedef int cgroup_each_dir(int dir, void *arg);
int cgroup_walk(int dir, cgroup_each_dir *each, void *arg);

/*
 * A transaction of writes: cgroup_v1.c and cgroup_v2.c fill it, cgroup_apply.c performs it.
 */
struct cgroup_change {
	int dir; /* borrowed from dirs[] */
	char *file, *value;
	char *old; /* what it was, for taking it back */
	bool done;
};
struct cgroup_changes {
	const char *path;
	int dirs[CGROUP_N_CONTROLLERS]; /* -1: not opened yet */
	struct cgroup_change *list;
	size_t n;
};
/* The directory of a controller, opened once. */
int cgroup_changes_dir(struct cgroup_changes *ch, enum cgroup_controller c, struct err *err);
int cgroup_change(struct cgroup_changes *ch, enum cgroup_controller c, const char *file,
    struct err *err, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
int cgroup_change_raw(struct cgroup_changes *ch, int dir, const char *file, const char *value);
bool cgroup_file_exists(int dir, const char *file);
/* Refuse a memory limit below what the cgroup cannot give back. */
int cgroup_check_usage(struct cgroup_changes *ch, int64_t limit, const char *usage_file,
    const char *inactive_key, struct err *err);

int cgroup_v1_changes(
    struct cgroup_changes *ch, const Runtime__V1__LinuxContainerResources *res, struct err *err);
int cgroup_v2_changes(
    struct cgroup_changes *ch, const Runtime__V1__LinuxContainerResources *res, struct err *err);

/* cgroup_devices.c: what this host can enforce; probe_fd is a v2 cgroup, or -1. */
enum cgroup_devices cgroup_devices_detect(int probe_fd);

#endif
