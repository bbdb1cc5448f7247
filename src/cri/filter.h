/* SPDX-License-Identifier: Apache-2.0
 *
 * The filters of the List calls: an id or the beginning of one, a state, labels (all must be equal).
 * A NULL filter matches everything that is listed.
 */
#ifndef CRI_FILTER_H
#define CRI_FILTER_H

#include <stdbool.h>

#include "proto/cri.pb-c.h"

struct container;
struct sandbox;

bool filter_sandbox(const Runtime__V1__PodSandboxFilter *f, const struct sandbox *sb);
bool filter_container(const Runtime__V1__ContainerFilter *f, const struct container *c);
bool filter_container_stats(const Runtime__V1__ContainerStatsFilter *f, const struct container *c);
bool filter_sandbox_stats(const Runtime__V1__PodSandboxStatsFilter *f, const struct sandbox *sb);

#endif
