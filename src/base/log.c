/* SPDX-License-Identifier: Apache-2.0
 *
 * Log lines and the trace ring: see log.h.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/macros.h"

enum { RING_SIZE = 256, RING_TEXT = 120 };

enum log_level log_threshold = LOG_LEVEL_INFO;
unsigned trace_mask;

static bool journal;
static char ring[RING_SIZE][RING_TEXT];
static unsigned ring_at;

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const char *const bit_names[] = {"op", "h2", "grpc", "child", "keeper", "image", "net", "store",
    "stream", "pod"};

void
log_init(void)
{
	journal = getenv("JOURNAL_STREAM") != NULL;
}

static void
emit(const char *label, int priority, const char *text)
{
	char now[CLOCK_RFC3339_MAX], line[2304];
	int n;

	if (journal) {
		n = snprintf(line, sizeof(line), "<%d>%s\n", priority, text);
	} else {
		clock_rfc3339(clock_wall_ns(), now);
		n = snprintf(line, sizeof(line), "%s %s %s\n", now, label, text);
	}
	if (n >= (int)sizeof(line)) {
		n = sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	/* Nobody is left to tell when stderr is broken. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

void
log_line(enum log_level level, const char *fmt, ...)
{
	static const int priority[] = {3, 4, 6, 7};
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
	emit(level_names[level], priority[level], text);
}

void
trace_event(enum trace_bit bit, const char *fmt, ...)
{
	char *slot = ring[ring_at++ % RING_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(slot, RING_TEXT, fmt, ap);
	va_end(ap);
	emit(bit_names[__builtin_ctz(bit)], 7, slot);
}

void
trace_dump(int fd)
{
	for (unsigned i = 0; i < RING_SIZE; i++) {
		const char *slot = ring[(ring_at + i) % RING_SIZE];

		if (*slot != '\0')
			dprintf(fd, "%s\n", slot);
	}
}

bool
trace_parse(const char *names, unsigned *ret_mask)
{
	unsigned mask = 0;

	while (*names != '\0') {
		size_t n = strcspn(names, ","), i;

		for (i = 0; i < ARRAY_SIZE(bit_names); i++)
			if (strlen(bit_names[i]) == n && memcmp(bit_names[i], names, n) == 0)
				break;
		if (i < ARRAY_SIZE(bit_names))
			mask |= 1u << i;
		else if (n == 3 && memcmp(names, "all", 3) == 0)
			mask = ~0u;
		else if (!(n == 4 && memcmp(names, "none", 4) == 0))
			return false;
		names += n;
		if (*names == ',')
			names++;
	}
	*ret_mask = mask;
	return true;
}

bool
log_level_parse(const char *name, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++)
		if (strcmp(level_names[i], name) == 0) {
			*ret = (enum log_level)i;
			return true;
		}
	return false;
}

const char *
log_level_name(enum log_level level)
{
	return level_names[level];
}
