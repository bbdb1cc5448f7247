/* SPDX-License-Identifier: Apache-2.0
 *
 * Usage of containers and pods, as the CRI's stats messages want it.
 *
 * A running container, and every pod, has a struct stats_target embedded and watched. A sampler
 * visits each target once per interval, a few per tick, so that its cost per tick is bounded: it
 * keeps the CPU reading that usage_nano_cores is computed from, and the network counters. A forked
 * worker of low priority measures the writable layers. What a request does itself is to read a
 * handful of cgroup files: nothing here walks a tree or waits while a call is being answered.
 */
#ifndef POD_STATS_H
#define POD_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"
#include "exec/cgroup_stats.h"
#include "proto/cri.pb-c.h"

struct arena;

enum { STATS_MAX_LINKS = 16 };
struct stats_link {
	char name[16];
	uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped;
	uint64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
};

struct stats_target {
	/* Set before stats_watch(), not changed and kept alive until stats_unwatch(). */
	const char *id;            /* of the container or the pod */
	const char *cgroup_parent; /* NULL: the instance's default */
	bool is_pod;               /* the cgroup is cgroup_parent itself; there is a network */
	const char *upper;         /* the writable layer's directory; NULL: none */
	const char *upper_fs;      /* a directory of its filesystem, told as fs_id.mountpoint */
	const char *netns;         /* pinned namespace; NULL: the host's, which is not reported */

	/* private */
	TAILQ_ENTRY(stats_target) all;
	bool watched;
	uint64_t old_cpu_ns, new_cpu_ns;  /* the two last readings of the CPU time, old first */
	int64_t old_mono_ns, new_mono_ns; /* 0: none yet */
	struct stats_link links[STATS_MAX_LINKS];
	size_t n_links;
	int64_t links_wall_ns, links_mono_ns;
	uint64_t upper_bytes, upper_inodes;
	int64_t upper_wall_ns, upper_mono_ns; /* 0: not measured yet */
	int64_t sampled_ms;                   /* loop_now_ms() scale */
	uint64_t serial;
};

struct stats_conf {
	int64_t sample_ms; /* each target once in this time; 0: 10 s */
	int64_t upper_ms;  /* each writable layer at most once in this time; 0: 60 s */
};

/* conf may be NULL. Starts the sampler on the loop; the worker starts with the first target. */
void stats_init(const struct stats_conf *conf);
void stats_fini(void); /* forgets all targets */

/* From the start of the container or the pod (or its recovery) to its end. */
void stats_watch(struct stats_target *t);
void stats_unwatch(struct stats_target *t); /* fine on one that is not watched */

/* Fill cpu, memory, swap, io and writable_layer of an initialised message with memory of the arena;
 * attributes are the caller's. When the cgroup is gone only writable_layer is filled, and 0 is
 * returned all the same: a stopped container has no usage. */
int stats_fill_container(
    struct stats_target *t, struct arena *arena, Runtime__V1__ContainerStats *ret, struct err *err);

/* Fill cpu, memory, network, process and io; containers and attributes are the caller's. */
int stats_fill_pod(struct stats_target *t, struct arena *arena,
    Runtime__V1__LinuxPodSandboxStats *ret, struct err *err);

/* The counters themselves, for the metrics. The links are borrowed until the next turn of the
 * loop; *ret_n is 0 on the host's network. */
int stats_read(struct stats_target *t, struct cgroup_stats *ret, struct err *err);
const struct stats_link *stats_links(struct stats_target *t, size_t *ret_n);
/* The writable layer as it was last measured, at t->upper_wall_ns. One that never was is measured
 * now when it is small, as a new one is; false: there is none, or nothing is known of it. */
bool stats_upper(struct stats_target *t, uint64_t *ret_bytes, uint64_t *ret_inodes);

#endif
