/* SPDX-License-Identifier: Apache-2.0
 *
 * What makes the log exact when the keeper is killed: output stays in the container's pipe until
 *its records are in the log, and one page of shared memory (<state>/keeper.journal) tells the next
 * keeper which of the two steps the batch in flight had come to.
 *
 *	journal_begin     what is about to be appended, and how many bytes of the pipe that stands
 *for write(2)          of the records journal_written   (or dropped, when the disk refused them)
 *	readv(2)          of those bytes; the last one lands in journal_last_byte(), where its
 *complement was: a pipe is read in order, so that byte tells whether the read has happened
 *	journal_end
 *
 * A batch found there at start is kept until its process is adopted, by name.
 */
#ifndef EXEC_KEEPER_JOURNAL_H
#define EXEC_KEEPER_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Maps the file, which it makes when missing, and sets aside the batch that a killed keeper left.
 * On failure the keeper works all the same, with memory of its own. */
int journal_open(int state_dirfd, struct err *err);
void journal_close(void);

/* `last` is the last of the in_len bytes; out_len bytes are about to be appended to log_fd (-1:
 * none). */
void journal_begin(
    const char *id, bool is_stderr, size_t in_len, char last, int log_fd, size_t out_len);
void journal_written(void);
char *journal_last_byte(void);
void journal_end(void);

/* What was in flight for this output. The log is put right (a half-written batch is cut off), and
 * the return value is how many bytes at the head of the pipe are in the log already. `log_fd` is
 * the log as reopened, or -1. The entry is forgotten. */
size_t journal_recover(const char *id, bool is_stderr, int log_fd);

#endif
