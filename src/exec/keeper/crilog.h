/* SPDX-License-Identifier: Apache-2.0
 *
 * The log of a container in the CRI's format:
 *
 *	2026-11-24T06:34:41.123456789Z stdout F a whole line
 *	2026-11-24T06:34:41.123456789Z stdout P the first max_line bytes of a longer one
 *
 * Bytes pass through as they are. Of a terminal's output the carriage return before a newline is
 * dropped, since it was the terminal (ONLCR) that put it there. What was not ended by a newline
 *when the process ended is written with tag P.
 */
#ifndef EXEC_KEEPER_CRILOG_H
#define EXEC_KEEPER_CRILOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
	CRILOG_DEFAULT_LINE = 16384, /* as containerd's max_container_log_line_size */
	CRILOG_LONGEST_LINE = 1 << 20,
	CRILOG_OVERHEAD = 64 /* a record is its content and at most this */
};

struct crilog_style {
	const char *stream; /* "stdout" or "stderr" */
	size_t max_line;    /* bytes of content in one record */
	bool terminal;
};

/*
 * Turn the pieces at the front of data[0..len) into records at out[0..cap): a piece is a line with
 * its newline, or max_line bytes of a longer one; with `final`, also what is left at the end.
 * Returns how many bytes of data they took; *ret_out is how many bytes of out are filled,
 * *ret_records (may be NULL) how many records that is. It stops at the first piece that is not
 * complete yet or does not fit; cap >= max_line + CRILOG_OVERHEAD lets every piece fit an empty
 * out.
 */
size_t crilog_format(const struct crilog_style *style, bool final, const char *data, size_t len,
    char *out, size_t cap, size_t *ret_out, size_t *ret_records);

/* The file. Zero-initialise with fd -1; without a path nothing is written, and nothing is lost. */
struct crilog {
	char *path;
	int fd;
	bool failing;     /* the last write failed, and that was said */
	uint64_t dropped; /* records since then */
};

/* Opens (creates, 0640, and makes its directory, 0755) the file at path and lets go of the one
 * before; a failure leaves everything as it was. A symbolic link, or what is not a regular file, is
 * refused. */
int crilog_open(struct crilog *log, const char *path, struct err *err);
void crilog_close(struct crilog *log);

/* The path is absolute, without "..", and a name of a file. */
int crilog_check_path(const char *path, struct err *err);

enum crilog_result { CRILOG_OK, CRILOG_FAILED, CRILOG_FIRST_FAILURE, CRILOG_RECOVERED };

/* Append whole records with one write(2). What the disk does not take is cut off the file again, to
 * the end of the last whole record, and counted in log->dropped; *ret_dropped says how many had
 * been dropped when it works again. FIRST_FAILURE and RECOVERED want to be told to somebody; errno
 * is set for the former. */
enum crilog_result crilog_write(
    struct crilog *log, const char *out, size_t len, size_t records, uint64_t *ret_dropped);

#endif
