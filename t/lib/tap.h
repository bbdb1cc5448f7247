/* SPDX-License-Identifier: Apache-2.0
 *
 * A unit test is a program that prints TAP: call ok() and friends, and end main() with
 * `return tap_done();`. Failures print where and what.
 */
#ifndef TAP_H
#define TAP_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count, tap_failed;

static inline bool __attribute__((format(printf, 4, 5)))
tap_check(bool pass, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	printf("%sok %d - ", pass ? "" : "not ", ++tap_count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	if (!pass) {
		tap_failed++;
		printf("# failed at %s:%d\n", file, line);
	}
	fflush(stdout);
	return pass;
}

static inline bool
tap_same_str(const char *got, const char *want, const char *file, int line, const char *what)
{
	bool pass = got == want || (got != NULL && want != NULL && strcmp(got, want) == 0);

	tap_check(pass, file, line, "%s", what);
	if (!pass)
		printf("#  got: %s\n# want: %s\n", got ? got : "(null)", want ? want : "(null)");
	return pass;
}

static inline bool
tap_same_int(long long got, long long want, const char *file, int line, const char *what)
{
	bool pass = got == want;

	tap_check(pass, file, line, "%s", what);
	if (!pass)
		printf("#  got: %lld\n# want: %lld\n", got, want);
	return pass;
}

#define ok(cond, ...) tap_check((cond), __FILE__, __LINE__, __VA_ARGS__)
#define is_str(got, want, what) tap_same_str((got), (want), __FILE__, __LINE__, (what))
#define is_int(got, want, what)                                                                    \
	tap_same_int((long long)(got), (long long)(want), __FILE__, __LINE__, (what))
#define diag(...) (printf("# " __VA_ARGS__), printf("\n"))
#define skip_all(why)                                                                              \
	do {                                                                                       \
		printf("1..0 # SKIP %s\n", (why));                                                 \
		exit(0);                                                                           \
	} while (0)

static inline int
tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed != 0;
}

#endif
