/* SPDX-License-Identifier: Apache-2.0
 *
 * Control groups of containers: create, limit, watch, kill, remove; on cgroup v2, on v1, and on
 * hybrid hosts, where the controllers are v1 and the v2 hierarchy only groups processes.
 *
 * A cgroup is named by (parent, id) alone, so nothing about it is ever stored. parent is the CRI's
 * cgroup_parent (NULL or "": "/<instance>"), id the container's; a NULL id means the parent itself.
 * Everything that this module makes carries the extended attribute trusted.coracle=<instance>,
 * which is how it is told from what the kubelet or an administrator made.
 *
 * Life cycle: cgroup_create, cgroup_set_devices, cgroup_apply, cgroup_open for the launch;
 * cgroup_apply and cgroup_stats while it runs; cgroup_kill, cgroup_remove until it says 1,
 * cgroup_remove_parent when the pod goes. Nothing blocks.
 *
 * With the systemd driver the manager makes and removes the scope (exec/cgroup_systemd.h); all the
 * other calls work on it the same.
 */
#ifndef EXEC_CGROUP_H
#define EXEC_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "proto/cri.pb-c.h"

enum cgroup_layout { CGROUP_V2, CGROUP_V1, CGROUP_HYBRID };
enum cgroup_driver { CGROUP_DRIVER_CGROUPFS, CGROUP_DRIVER_SYSTEMD };
enum cgroup_devices { CGROUP_DEVICES_NONE, CGROUP_DEVICES_V1, CGROUP_DEVICES_BPF };

enum cgroup_controller {
	CGROUP_CPU,
	CGROUP_CPUACCT, /* on v2 a part of cpu */
	CGROUP_CPUSET,
	CGROUP_MEMORY,
	CGROUP_PIDS,
	CGROUP_IO, /* v1: blkio */
	CGROUP_HUGETLB,
	CGROUP_DEVICES, /* v1 only */
	CGROUP_FREEZER, /* v1 only */
	CGROUP_N_CONTROLLERS
};

struct cgroup_info {
	enum cgroup_layout layout;
	enum cgroup_driver driver;
	unsigned controllers;        /* 1 << enum cgroup_controller: those this module can use */
	enum cgroup_devices devices; /* NONE: a device policy cannot be enforced on this host */
	bool swap;                   /* memory+swap can be limited */
	bool kill;                   /* cgroup.kill exists */
	bool psi;                    /* pressure stall information exists */
	const char *instance;
};

/* Once, at start: find the hierarchies in /proc/self/mountinfo and what they can do. instance is
 * one path component. Fails when there is no usable hierarchy; a missing controller is no error. */
int cgroup_init(const char *instance, enum cgroup_driver driver, struct err *err);
void cgroup_fini(void); /* closes the hierarchies; cgroups stay */
const struct cgroup_info *cgroup_info(void);
const char *cgroup_controller_name(enum cgroup_controller c); /* v2 names: "io", not "blkio" */

/* The path below a hierarchy's root, as /proc/<pid>/cgroup shows it: "/kubepods/pod1/<id>". The
 * caller frees. INVALID_ARGUMENT when parent is not absolute, has "..", or (systemd) is no slice.
 */
char *cgroup_path(const char *parent, const char *id, struct err *err);

/* Make it, and the parents that are missing, in every hierarchy; controllers are enabled from the
 * root down to the parent, v1 cpusets inherit. An existing one is fine (create is retried). On
 * failure nothing is left behind that was not there before. With the systemd driver it only tells
 * whether it is there. */
int cgroup_create(const char *parent, const char *id, struct err *err)
    __attribute__((warn_unused_result));
bool cgroup_exists(const char *parent, const char *id); /* in any hierarchy */
/* A parent that exists and that this module made, wherever it exists. */
bool cgroup_parent_is_ours(const char *parent);

/* What a clone needs to be born in the cgroup. */
enum { CGROUP_MAX_HIERARCHIES = 16 };
struct cgroup_fds {
	int dir;                           /* v2 directory for CLONE_INTO_CGROUP; -1 on pure v1 */
	int procs[CGROUP_MAX_HIERARCHIES]; /* cgroup.procs of the v1 hierarchies, write-only */
	size_t n_procs;
};
#define CGROUP_FDS_INIT                                                                            \
	{                                                                                          \
		.dir = -1                                                                          \
	}
int cgroup_open(const char *parent, const char *id, struct cgroup_fds *ret, struct err *err)
    __attribute__((warn_unused_result));
void cgroup_fds_release(struct cgroup_fds *fds); /* fine on CGROUP_FDS_INIT, and twice */

/*
 * Limits. Validated as a whole before anything is written; a write that fails takes back those
 * before it, and the error names the file and the value. Zero and empty fields mean "leave it"; -1
 * for quota, memory and swap means "no limit". A memory limit without a swap limit allows no swap.
 * A limit whose controller this host lacks is FAILED_PRECONDITION, except hugepages, and swap where
 * the kernel does not count it, which are skipped; so is a memory limit below what is in use and
 * cannot be given back.
 */
int cgroup_apply(const char *parent, const char *id,
    const Runtime__V1__LinuxContainerResources *res, struct err *err)
    __attribute__((warn_unused_result));

/* The part of it that needs no cgroup: what is wrong with the numbers themselves. */
int cgroup_check_resources(const Runtime__V1__LinuxContainerResources *res, struct err *err)
    __attribute__((warn_unused_result));

/* The pids limit, which the CRI has no field for: -1 "max". */
int cgroup_set_pids_max(const char *parent, const char *id, int64_t max, struct err *err)
    __attribute__((warn_unused_result));

/* What the kernel has now, for ContainerStatus.resources. res holds what was applied last, or
 * zeros: a field keeps its value where the kernel's is what it became (shares by weight, bytes by
 * pages), else it is replaced, strings by memory of the arena. What the host lacks stays as it is.
 * Unlimited reads as 0 for memory and swap and as -1 for the quota. oom_score_adj, hugepages and
 * unified are not touched. */
struct arena;
int cgroup_read_resources(const char *parent, const char *id, struct arena *arena,
    Runtime__V1__LinuxContainerResources *res, struct err *err);

/* cpu.weight of v2 for the shares of v1, and back (the largest shares of that weight: 1 gives 2,
 * 100 gives 1024). 0 gives 0. */
uint64_t cgroup_weight_of_shares(uint64_t shares);
uint64_t cgroup_shares_of_weight(uint64_t weight);

/* Devices: all is denied that no rule allows. major or minor -1: any. */
struct cgroup_device {
	char type; /* 'c', 'b', or 'a' for both */
	int64_t major, minor;
	unsigned access; /* CGROUP_DEV_* */
};
enum { CGROUP_DEV_MKNOD = 1, CGROUP_DEV_READ = 2, CGROUP_DEV_WRITE = 4, CGROUP_DEV_ALL = 7 };

/* mknod of everything and use of null, zero, full, random, urandom, tty, ptmx and pts. */
extern const struct cgroup_device cgroup_default_devices[];
extern const size_t cgroup_n_default_devices;

/* Replace the policy by: allow these. FAILED_PRECONDITION when the host cannot (info->devices). */
int cgroup_set_devices(const char *parent, const char *id, const struct cgroup_device *rules,
    size_t n, struct err *err) __attribute__((warn_unused_result));

/* SIGKILL for everything in it and below it. Returns once the signals are sent; a missing cgroup is
 * fine. */
int cgroup_kill(const char *parent, const char *id, struct err *err);

/* Stop or continue everything in it; cgroup_frozen: 1 once all are stopped, else 0, -1 on error. */
int cgroup_freeze(const char *parent, const char *id, bool freeze, struct err *err);
int cgroup_frozen(const char *parent, const char *id, struct err *err);

/* 1 when a process lives in it or below it, 0 when none does or it is gone, -1 on error. */
int cgroup_populated(const char *parent, const char *id, struct err *err);

/* The processes in it and below it, at most max of them; the caller frees. */
int cgroup_pids(
    const char *parent, const char *id, size_t max, pid_t **ret, size_t *ret_n, struct err *err);

/* Remove it and what its processes left below it. 1: gone. 0: a process is still there, or there
 * was too much for one go: call again (and cgroup_kill as well, when that goes on). -1: error. */
int cgroup_remove(const char *parent, const char *id, struct err *err);

/* Remove the parent, and its parents, as far up as they are empty and ours. Never an error that it
 * is not. */
int cgroup_remove_parent(const char *parent, struct err *err);

/* Each container cgroup of this instance that exists (its name is an id), for the recovery. */
int cgroup_foreach(
    void (*each)(const char *parent, const char *id, void *arg), void *arg, struct err *err);

/* An fd that tells the OOM kills in the cgroup itself, as long as it is not removed. Open it before
 * the start, read it before an exit is published. FAILED_PRECONDITION without memory controller. */
int cgroup_oom_open(const char *parent, const char *id, struct err *err);
int cgroup_oom_kills(int fd, uint64_t *ret, struct err *err);

#endif
