/* SPDX-License-Identifier: Apache-2.0
 *
 * Port-forward: connections to a pod's own loopback, 127.0.0.1 and then ::1. A pod on the host's
 * network has the host's.
 */
#ifndef POD_FORWARD_SESSION_H
#define POD_FORWARD_SESSION_H

#include "proto/cri.pb-c.h"
#include "stream/server.h"

struct sandbox;

int forward_session_offer(const struct sandbox *sb, const Runtime__V1__PortForwardRequest *r,
    char url[static STREAM_URL_SIZE], struct err *err) __attribute__((warn_unused_result));

#endif
