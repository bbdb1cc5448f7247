/* SPDX-License-Identifier: Apache-2.0
 *
 * The unpack worker: the compressed bytes of one layer in, a directory out, in one pass and with
 * nothing stored in between: hash, decompress, hash again, extract (image/extract.h). It is
 * confined (image/confine.h) to the directory, with the capabilities that extraction needs: chown,
 * override of permissions, mknod, file capabilities. What needs CAP_SYS_ADMIN, the mark of opaque
 * directories, is done afterwards by a second worker that sees a list of names and no archive.
 *
 * Memory: 0.8 MB of buffers and decoder state for gzip; for zstd additionally the window of the
 * frame, mostly 8 MiB or less and never more than 128 MiB.
 */
#ifndef IMAGE_UNPACK_H
#define IMAGE_UNPACK_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "image/digest.h"

enum {
	UNPACK_OUTPUT_MAX = 9 << 20, /* a result: two full path sets and the figures */
	UNPACK_MEMORY = 192 << 20    /* the worker's limit: the largest zstd window and some */
};

struct unpack_job {
	int in;           /* a pipe, or a file (at >= 0), or the directory below which path is */
	const char *path; /* NULL: in itself */
	int64_t at;       /* offset in the file; -1: a pipe */
	int dir;          /* becomes the worker's root; empty */
	int64_t size;     /* of the compressed bytes; -1: up to the end */
	char digest[DIGEST_SIZE];  /* what they must be; "": not known */
	char diff_id[DIGEST_SIZE]; /* the same of the tar */
};

struct unpack_result {
	char digest[DIGEST_SIZE]; /* what they are */
	char diff_id[DIGEST_SIZE];
	uint64_t size, bytes, inodes, entries, xattrs_lost;
	struct buf implicit, opaque; /* paths, each with a NUL, in order */
};

/* The worker's function (loop/worker.h); arg is a struct unpack_job. DATA_LOSS when digest or size
 * are wrong; else what image/extract.h says. Everything is on disk when it succeeds. */
int unpack_worker(const void *arg, int out, struct err *err);

/* Read what the worker wrote. It comes from a process that may have been taken over: INTERNAL when
 * it is not well-formed. */
int unpack_parse(const struct buf *out, struct unpack_result *ret, struct err *err)
    __attribute__((warn_unused_result));
void unpack_result_release(struct unpack_result *r);

/* The second worker: marks the directories as opaque, and has that on disk. Writes the bytes that
 * the marks take, as a uint64_t. */
struct unpack_seal {
	int dir;
	const char *opaque; /* paths, each with a NUL */
	size_t n;
};
int unpack_seal_worker(const void *arg, int out, struct err *err);

#endif
