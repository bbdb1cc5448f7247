/* SPDX-License-Identifier: Apache-2.0
 *
 * Sandboxes and containers as the CRI's messages. The messages come from the arena and borrow their
 * strings from the objects: pack them before the loop turns.
 */
#ifndef POD_STATUS_H
#define POD_STATUS_H

#include "proto/cri.pb-c.h"

struct arena;
struct container;
struct sandbox;

Runtime__V1__PodSandbox *status_sandbox_item(const struct sandbox *sb, struct arena *a);
Runtime__V1__PodSandboxStatus *status_sandbox(const struct sandbox *sb, struct arena *a);
Runtime__V1__Container *status_container_item(const struct container *c, struct arena *a);
Runtime__V1__ContainerStatus *status_container(const struct container *c, struct arena *a);

/* The statuses of all of a pod's containers that are listed, for events and PodSandboxStatus. */
size_t status_containers_of(const struct sandbox *sb, struct arena *a,
    Runtime__V1__ContainerStatus ***ret);

/* The "info" of verbose answers: one JSON object each, in the arena. */
const char *status_sandbox_info(const struct sandbox *sb, struct arena *a);
const char *status_container_info(const struct container *c, struct arena *a);

#endif
