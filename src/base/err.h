/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors are values. The codes are gRPC's status numbers, so that nothing is mapped at the edge
 * (https://grpc.io/docs/guides/status-codes/).
 *
 * A failing function fills *err, leaves its outputs untouched and returns -1 (or NULL):
 *
 *	return err_set(err, ERR_NOT_FOUND, "no sandbox %s", id);
 *	return err_errno(err, "open %s", path);
 *	return err_wrap(err, "create cgroup");        // "create cgroup: <what it said before>"
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

enum err_code {
	ERR_NONE = 0,
	ERR_CANCELLED = 1,
	ERR_UNKNOWN = 2,
	ERR_INVALID_ARGUMENT = 3,
	ERR_DEADLINE_EXCEEDED = 4,
	ERR_NOT_FOUND = 5,
	ERR_ALREADY_EXISTS = 6,
	ERR_PERMISSION_DENIED = 7,
	ERR_RESOURCE_EXHAUSTED = 8,
	ERR_FAILED_PRECONDITION = 9,
	ERR_ABORTED = 10,
	ERR_OUT_OF_RANGE = 11,
	ERR_UNIMPLEMENTED = 12,
	ERR_INTERNAL = 13,
	ERR_UNAVAILABLE = 14,
	ERR_DATA_LOSS = 15,
	ERR_UNAUTHENTICATED = 16
};

struct err {
	enum err_code code;
	char msg[512];
};

/* Fill *err; returns -1. A message too long for it is cut at its end. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int err_setv(struct err *err, enum err_code code, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

/* As err_set, with ": <strerror(errno)>" appended and the code that suits errno (ENOSPC and EDQUOT:
 * RESOURCE_EXHAUSTED; else INTERNAL). Returns -1. */
int err_errno(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Put "<what>: " in front of the message; the code stays. Returns -1. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "NOT_FOUND" for 5; "CODE_<n>" is never returned: an unknown code reads "UNKNOWN". */
const char *err_name(enum err_code code);

#endif
