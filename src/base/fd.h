/* SPDX-License-Identifier: Apache-2.0
 *
 * File descriptors: owned by a cleanup attribute or by a named struct, -1 when empty, CLOEXEC from
 * birth; small files read and written whole.
 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct buf;

/* Yields the fd and leaves -1 behind. */
#define take_fd(fd)                                                                                \
	({                                                                                         \
		int taken_ = (fd);                                                                 \
		(fd) = -1;                                                                         \
		taken_;                                                                            \
	})
#define cleanup_close __attribute__((cleanup(fd_closep)))

void fd_closep(int *fd); /* closes unless -1, and stores -1; errno is kept */

/* Read a whole file of at most max bytes into *b (appended). A longer one is an error (OUT_OF_RANGE
 * naming the limit). Only regular files and /proc-like ones; O_NOFOLLOW is the caller's flag. */
int fd_read_file(int dirfd, const char *path, size_t max, struct buf *b, struct err *err);
int fd_read_all(int fd, size_t max, struct buf *b, struct err *err);

/* write(2) until everything is out; EINTR is retried. 0 or -1 with errno. */
int fd_write_all(int fd, const void *p, size_t n);

/* Replace a file so that a crash leaves the old or the new content: temporary name in the same
 * directory, fsync when durable, rename. */
int fd_write_file(int dirfd, const char *path, const void *p, size_t n, mode_t mode, bool durable,
    struct err *err);

/* mkdir -p below dirfd, mode for the directories it makes. An existing directory is fine. */
int fd_mkdir_p(int dirfd, const char *path, mode_t mode, struct err *err);

/* rm -r of the entry; a missing one is fine. Never crosses a symbolic link or a mount point
 * (EXDEV-like error naming it). */
int fd_remove_tree(int dirfd, const char *path, struct err *err);

int fd_set_nonblock(int fd, bool on);

/* openat2(2) with the given resolve flags, O_CLOEXEC added; -1 with errno. */
int fd_openat2(int dirfd, const char *path, int flags, mode_t mode, unsigned long long resolve);

#endif
