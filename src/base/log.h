/* SPDX-License-Identifier: Apache-2.0
 *
 * The log: one line per event to stderr, with a journald priority prefix ("<4>") when stderr is
 * the journal, else with the time. Libraries do not log; they return errors. Level and trace mask
 * change at run time.
 *
 *	log_info("sandbox %s ready", id);
 *	trace(TRACE_OP, "%s: step %s", op->name, step);      // formatted only when that bit is on
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum trace_bit {
	TRACE_OP = 1 << 0,
	TRACE_H2 = 1 << 1,
	TRACE_GRPC = 1 << 2,
	TRACE_CHILD = 1 << 3,
	TRACE_KEEPER = 1 << 4,
	TRACE_IMAGE = 1 << 5,
	TRACE_NET = 1 << 6,
	TRACE_STORE = 1 << 7,
	TRACE_STREAM = 1 << 8,
	TRACE_POD = 1 << 9
};

extern enum log_level log_threshold;
extern unsigned trace_mask;

void log_init(void); /* looks once at JOURNAL_STREAM */
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_at(level, ...)                                                                         \
	do {                                                                                       \
		if ((level) <= log_threshold)                                                      \
			log_line((level), __VA_ARGS__);                                            \
	} while (0)
#define log_err(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* The last few hundred traced events are kept in a ring, and printed by trace_dump() on abort. */
void trace_event(enum trace_bit bit, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void trace_dump(int fd);
#define trace(bit, ...)                                                                            \
	do {                                                                                       \
		if (trace_mask & (bit))                                                            \
			trace_event((bit), __VA_ARGS__);                                           \
	} while (0)

/* "op,h2,child" or "all" or "none" to a mask; false when a name is unknown. */
bool trace_parse(const char *names, unsigned *ret_mask);
/* "error", "warn", "info", "debug"; false when unknown. */
bool log_level_parse(const char *name, enum log_level *ret);
const char *log_level_name(enum log_level level);

#endif
