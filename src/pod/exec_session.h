/* SPDX-License-Identifier: Apache-2.0
 *
 * Commands in running containers for the clients of Exec: launched by the keeper like those of
 * ExecSync, their streams given to the streaming server. The command is killed with its children
 * when its client goes.
 */
#ifndef POD_EXEC_SESSION_H
#define POD_EXEC_SESSION_H

#include <stdbool.h>

#include "proto/cri.pb-c.h"
#include "stream/server.h"

struct container;

/* The URL for one client; the request is copied. RESOURCE_EXHAUSTED when too many wait for theirs.
 */
int exec_session_offer(const struct container *c, const Runtime__V1__ExecRequest *r,
    char url[static STREAM_URL_SIZE], struct err *err) __attribute__((warn_unused_result));

/* From the keeper: true when the id is that of such a command. */
bool exec_session_exited(const char *id, int status);

/* The keeper died: exits of its commands will not be told, so they are killed and their clients hear
 * of it. */
void exec_sessions_lost(void);

#endif
