/* SPDX-License-Identifier: Apache-2.0
 *
 * Lifecycle events for GetContainerEvents: ordered, each with the statuses of its pod and of the
 * pod's containers. A subscriber has a bounded queue of small entries; statuses are filled in when
 * an entry is sent, so that a slow client costs no more than the queue. One that falls behind gets
 * the present replayed, instead of losing events silently. A new subscriber starts with a replay.
 */
#ifndef POD_EVENTS_H
#define POD_EVENTS_H

#include "proto/cri.pb-c.h"

struct container;
struct grpc_call;
struct sandbox;

void events_sandbox(struct sandbox *sb, Runtime__V1__ContainerEventType type);
void events_container(struct container *c, Runtime__V1__ContainerEventType type);

/* Owns the call from here on, until its client goes or events_close_all(). */
void events_subscribe(struct grpc_call *call);
void events_close_all(void); /* at shutdown: every stream ends with status OK */

#endif
