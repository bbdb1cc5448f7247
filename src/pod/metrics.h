/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics of pods and containers under the names that cAdvisor gave them, for the kubelet's
 * /metrics/cadvisor.
 *
 * A table has each metric once: name, help, type and label keys. The keys are the same six for all
 * (container, id, image, name, namespace, pod), then those of the metric. The values of a metric
 * are counted by its row, so that they match what ListMetricDescriptors told the client at its
 * start. A metric whose source this host or this moment lacks is left out; nothing is made up.
 *
 * Values are whole numbers, as the CRI has them: seconds of CPU time are full seconds.
 */
#ifndef POD_METRICS_H
#define POD_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/cri.pb-c.h"

struct arena;
struct sandbox;

/* All that this program can report, in the order of the table; memory of the arena. */
size_t metrics_descriptors(struct arena *a, Runtime__V1__MetricDescriptor ***ret);

/* One answer: what its pods share, and how much it may still look at in /proc. */
struct metrics_scrape {
	struct arena *arena;
	size_t processes_left, sockets_left; /* process directories, descriptors to be read */
	bool has_fs;
	const char *fs_device;
	uint64_t fs_bytes, fs_inodes, fs_inodes_free;
};
/* layers: the directory whose file system has the writable layers */
void metrics_scrape_init(struct metrics_scrape *s, const char *layers, struct arena *a);

/* Of a ready sandbox and its running containers. Reads a bounded number of small files: it does not
 * wait, and never fails. */
Runtime__V1__PodSandboxMetrics *metrics_sandbox(struct metrics_scrape *s, struct sandbox *sb);

#endif
