/* SPDX-License-Identifier: Apache-2.0
 *
 * What extract.c (the archive) and entries.c (one entry of it, made) share.
 */
#ifndef IMAGE_EXTRACT_PRIVATE_H
#define IMAGE_EXTRACT_PRIVATE_H

#include <sys/types.h>

#include "image/extract.h"

/* The present entry. */
struct item {
	const char *name; /* in the walk's directory */
	mode_t type, perm;
	uid_t uid;
	gid_t gid;
	int64_t size;
	struct timespec times[2];
	bool owned; /* its owner is not what the kernel gives it by itself */
};

/* Cut off the last component: returns it, and leaves the parent ("": the root) in path, which has
 * one byte of room. */
char *extract_split(char *path);

/* Fill *err from libarchive's error. -1. */
int extract_failure(struct extract *x, struct err *err);

/* entries.c */
int entry_make(struct extract *x, const struct item *it, struct err *err);
int entry_make_whiteout(
    struct extract *x, const struct item *it, const char *name, struct err *err);
int entry_mark_opaque(struct extract *x, const char *path, struct err *err);
int entry_set_root(struct extract *x, const struct item *it, struct err *err);

/* Is there room for n more bytes? Asks the file system now and then; at once after
 * entry_spend_now(). */
int entry_spend(struct extract *x, uint64_t n, struct err *err);
void entry_spend_now(struct extract *x);

#endif
