/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper's end of a process's stdin: the writing end of its pipe, or its terminal.
 */
#ifndef EXEC_KEEPER_INPUT_H
#define EXEC_KEEPER_INPUT_H

#include <stddef.h>
#include <sys/types.h>

#include "exec/keeper/reactor.h"

struct proc;

struct input {
	struct proc *proc;
	int fd; /* owned, non-blocking */
	struct reactor_source src;
};

struct input *input_new_take(struct proc *p, int fd);
void input_free(struct input *in); /* NULL is fine */

/* As write(2): -1 with EAGAIN when it is full, and then attachments_input_ready(proc) follows once
 * it has room; any other error: nobody reads it any more. */
ssize_t input_write(struct input *in, const char *data, size_t n);

/* For good: the process sees the end of its input, and the client is told. Does nothing for a
 * terminal, nor when it is closed. */
void input_close(struct proc *p);

#endif
