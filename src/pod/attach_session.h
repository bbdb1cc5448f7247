/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients attached to a container's process: the keeper copies its output to sockets of theirs, and
 * feeds it what they send. How long a slow one is waited for is the keeper's business.
 */
#ifndef POD_ATTACH_SESSION_H
#define POD_ATTACH_SESSION_H

#include "proto/cri.pb-c.h"
#include "stream/server.h"

struct container;

int attach_session_offer(const struct container *c, const Runtime__V1__AttachRequest *r,
    char url[static STREAM_URL_SIZE], struct err *err) __attribute__((warn_unused_result));

#endif
