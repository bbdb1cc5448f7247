/* SPDX-License-Identifier: Apache-2.0
 *
 * Wall clock and monotonic clock: see clock.h.
 */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t
read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

int64_t
clock_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

int64_t
clock_mono_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

size_t
clock_rfc3339(int64_t wall_ns, char out[static CLOCK_RFC3339_MAX])
{
	time_t sec = (time_t)(wall_ns / NS_PER_SEC);
	long frac = (long)(wall_ns % NS_PER_SEC);
	struct tm tm;

	if (frac < 0) {
		frac += NS_PER_SEC;
		sec--;
	}
	gmtime_r(&sec, &tm);
	return (size_t)snprintf(out, CLOCK_RFC3339_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ",
	    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, frac);
}
