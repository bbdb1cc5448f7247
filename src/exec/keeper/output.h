/* SPDX-License-Identifier: Apache-2.0
 *
 * One output of a process, stdout, stderr or its terminal, on its way to attached clients and into
 * the log.
 *
 * Of a pipe the bytes are looked at first (tee(2)), logged, and only then taken out, as whole
 * records, so that a killed keeper loses none (exec/keeper/journal.h) and an unfinished line costs
 * no memory here: it waits in the pipe. Only a line that the pipe cannot hold, and a terminal's
 * output, is carried in memory.
 *
 * A turn handles one portion of at most 64 KB of one output; who has more waits for its next turn.
 */
#ifndef EXEC_KEEPER_OUTPUT_H
#define EXEC_KEEPER_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "exec/keeper/reactor.h"

struct proc;

struct output {
	struct proc *proc;
	int fd; /* owned, non-blocking */
	bool is_stderr, terminal;
	unsigned holds; /* clients that are too full: nothing is read meanwhile */
	char *carry;    /* taken from fd, not logged yet */
	size_t carry_len, carry_cap;
	size_t seen; /* bytes at the head of the pipe that clients have had */
	struct reactor_source src;
	struct reactor_task task;
};

/* Takes fd over, also when it fails. NULL with errno when it cannot be watched. */
struct output *output_new_take(struct proc *p, int fd, bool is_stderr, bool terminal);
void output_free(struct output *o); /* what was not logged is lost; NULL is fine */

/* Attached clients stop and go; holds are counted. */
void output_hold(struct output *o);
void output_release(struct output *o);

/* The process has ended: log what is in there now, however much more its descendants write, and an
 * unfinished line at its end. */
void output_drain(struct output *o);

/* After a keeper was killed: take what is in the log already off the pipe. */
void output_recover(struct output *o);

/* Rooms for a record of this many bytes of content. */
void output_reserve_line(size_t max_line);

#endif
