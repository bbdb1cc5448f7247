/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages with file descriptors over a SOCK_SEQPACKET socket, and sealed memfds for bodies that
 * are too long for one. Used on both sides of keeper.sock.
 */
#ifndef EXEC_KEEPER_PARCEL_H
#define EXEC_KEEPER_PARCEL_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct buf;

enum {
	PARCEL_MAX = 64 * 1024,            /* bytes of a message; longer ones go by memfd */
	PARCEL_FDS = 253,                  /* SCM_MAX_FD */
	PARCEL_CUT = PARCEL_FDS + 1,       /* instead of a number of descriptors */
	PARCEL_BODY_MAX = 16 * 1024 * 1024 /* bytes of a memfd that is accepted */
};

/* Receive one message of at most cap bytes, and up to PARCEL_FDS descriptors (CLOEXEC, the
 * caller's). Returns its length; 0: the peer has gone; -1 with errno as of recvmsg(2). *ret_n_fds
 * is PARCEL_CUT when a part of the message or of its descriptors was lost (no room, or this process
 * may not have any more): then none is kept. */
ssize_t parcel_recv(int sock, void *buf, size_t cap, int fds[static PARCEL_FDS], size_t *ret_n_fds);

/* Send one message; nothing is sent in part. 0, or -1 with errno. Does not raise SIGPIPE. */
int parcel_send(int sock, const void *p, size_t n, const int *fds, size_t n_fds);

/* A memfd with these bytes, sealed against every change; -1 with errno. */
int parcel_memfd(const char *name, const void *p, size_t n);

/* Append the bytes of a memfd that is sealed against writing and shrinking; anything else is
 * INVALID_ARGUMENT, and so is one longer than PARCEL_BODY_MAX. */
int parcel_memfd_read(int fd, struct buf *b, struct err *err);

void parcel_close_fds(int *fds, size_t n_fds); /* those that are not -1; stores -1 */

#endif
