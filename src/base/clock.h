/* SPDX-License-Identifier: Apache-2.0
 *
 * Time: nanoseconds of the wall clock and of the monotonic one, and how the CRI writes them.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define NS_PER_SEC INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

int64_t clock_wall_ns(void);
int64_t clock_mono_ns(void);

enum { CLOCK_RFC3339_MAX = 40 };
/* RFC 3339 in UTC with nine fraction digits, "2026-11-24T06:34:41.000000000Z"; returns its length. */
size_t clock_rfc3339(int64_t wall_ns, char out[static CLOCK_RFC3339_MAX]);

#endif
