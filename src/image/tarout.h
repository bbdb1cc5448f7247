/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing tars: ustar headers, and pax records (POSIX.1-2001) for what does not fit into them. The
 * same calls give the same bytes everywhere: no names of users, no access times, no padding to
 * blocks.
 *
 * One output file can hold a tar within a tar: tarout_open_blob() begins a member of unknown name
 * and length, whose bytes are hashed as they come; tarout_close_blob() puts its header in.
 */
#ifndef IMAGE_TAROUT_H
#define IMAGE_TAROUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/buf.h"
#include "base/err.h"
#include "image/digest.h"

struct tarout {
	int fd;      /* seekable; borrowed */
	uint64_t at; /* bytes written, with what is still in buf */
	struct buf buf;
	/* the blob being written */
	uint64_t blob_at; /* of its header; 0 with hashing false: none */
	bool hashing;
	struct digest hash;
};

struct tarout_xattr {
	const char *name;
	const void *value;
	size_t n;
};

struct tarout_entry {
	const char *name; /* directories with a slash at the end */
	char type; /* '0' file, '1' hard link, '2' symbolic link, '3' '4' devices, '5' directory,
	            * '6' fifo */
	mode_t mode;
	uid_t uid;
	gid_t gid;
	uint64_t size; /* of a file: that many bytes follow by tarout_write(), then tarout_pad() */
	struct timespec mtime;
	const char *link;
	unsigned major, minor;
	const struct tarout_xattr *xattrs; /* in order */
	size_t n_xattrs;
};

void tarout_init(struct tarout *t, int fd);
void tarout_release(struct tarout *t);

int tarout_header(struct tarout *t, const struct tarout_entry *e, struct err *err)
    __attribute__((warn_unused_result));
int tarout_write(struct tarout *t, const void *p, size_t n, struct err *err)
    __attribute__((warn_unused_result));
int tarout_pad(struct tarout *t, uint64_t size, struct err *err) /* after `size` bytes of content */
    __attribute__((warn_unused_result));
int tarout_end(struct tarout *t, struct err *err) /* the two empty blocks */
    __attribute__((warn_unused_result));
int tarout_flush(struct tarout *t, struct err *err) __attribute__((warn_unused_result));

/* A whole small file. */
int tarout_file(struct tarout *t, const char *name, const void *p, size_t n, struct err *err)
    __attribute__((warn_unused_result));

/* Room for a header; what is written until tarout_close_blob() is the content. */
int tarout_open_blob(struct tarout *t, struct err *err) __attribute__((warn_unused_result));
/* The sha256 of the content and its size. The name is printf'ed with the 64 hex digits:
 * "blobs/sha256/%s"; at most 100 bytes. */
int tarout_close_blob(struct tarout *t, const char *name_format, char digest[static DIGEST_SIZE],
    uint64_t *ret_size, struct err *err) __attribute__((warn_unused_result));

#endif
