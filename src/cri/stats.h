/* SPDX-License-Identifier: Apache-2.0
 *
 * Stats of containers and pods as messages, with their attributes.
 */
#ifndef CRI_STATS_H
#define CRI_STATS_H

#include "base/err.h"
#include "proto/cri.pb-c.h"

struct arena;
struct container;
struct sandbox;

Runtime__V1__ContainerStats *container_stats_message(struct container *c, struct arena *a);
Runtime__V1__PodSandboxStats *sandbox_stats_message(struct sandbox *sb, struct arena *a);

#endif
