/* SPDX-License-Identifier: Apache-2.0
 *
 * From bytes to a request whose ids, paths and descriptor numbers can be used as they are. Knows no
 * socket and no process: this is what the fuzzer drives.
 */
#ifndef EXEC_KEEPER_DECODE_H
#define EXEC_KEEPER_DECODE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/launch.pb-c.h"

/* n_fds is PARCEL_CUT when some were lost: that is RESOURCE_EXHAUSTED. Every *_fd of the request is
 * at most n_fds; ids are file names; a Launch has a plan or a plan_fd. NULL with INVALID_ARGUMENT
 * (UNIMPLEMENTED for a request of a newer coracled) naming what and where; *ret_serial is set as
 * far as it could be read, else 0. The caller frees with coracle__launch__request__free_unpacked().
 */
Coracle__Launch__Request *decode_request(
    const void *data, size_t len, size_t n_fds, uint64_t *ret_serial, struct err *err);

/* Read the plan that came as a memfd into launch->plan, which is checked like one that came inside.
 */
int decode_plan_body(Coracle__Launch__Launch *launch, int fd, size_t n_fds, struct err *err);

#endif
