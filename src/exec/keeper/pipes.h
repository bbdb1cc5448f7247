/* SPDX-License-Identifier: Apache-2.0
 *
 * The named pipes of a process: <io_dir>/stdin, stdout, stderr.
 *
 * stdout and stderr are opened read-write by the process, so that it always has a reader: without a
 * keeper it blocks when they are full, and never gets SIGPIPE. stdin it opens for reading only, so
 * that there is an end of it. The pipes are 0666 in a directory of mode 0700: only who was given
 * them reaches them, and a process that is not root can still open its /dev/stdout again.
 */
#ifndef EXEC_KEEPER_PIPES_H
#define EXEC_KEEPER_PIPES_H

#include <stdbool.h>

#include "base/err.h"

struct pipes {
	int child[3]; /* stdin, stdout, stderr as the process gets them */
	int ours[3];  /* non-blocking; stdin: the writing end, the others read-write */
};

/* -1 everywhere: for cleanup, and for what is to be left out. */
#define PIPES_INIT                                                                                 \
	{                                                                                          \
		{-1, -1, -1},                                                                      \
		{                                                                                  \
			-1, -1, -1                                                                 \
		}                                                                                  \
	}
#define cleanup_pipes __attribute__((cleanup(pipes_closep)))
void pipes_closep(struct pipes *p);

/* Make them (what is there of that name is replaced) and open both sides; stdin when asked for. The
 * directory is made when missing. */
int pipes_make(const char *io_dir, bool with_stdin, struct pipes *ret, struct err *err);

/* Open our side of one that exists: 0 stdin, 1 stdout, 2 stderr. -1 with *err filled; a stdin that
 * nobody reads any more is an error. */
int pipes_reopen(const char *io_dir, int which, struct err *err);

/* Unlink them, and the directory when that leaves it empty. NULL and "" are fine. */
void pipes_remove(const char *io_dir);

#endif
