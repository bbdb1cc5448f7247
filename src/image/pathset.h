/* SPDX-License-Identifier: Apache-2.0
 *
 * A set of paths relative to the root of a layer ("usr/bin"; the root is ""), bounded in bytes. The
 * unpack worker keeps in it the few directories that need a second look: the implicit and the
 * opaque ones.
 */
#ifndef IMAGE_PATHSET_H
#define IMAGE_PATHSET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum { PATHSET_MAX = 4 << 20 }; /* bytes of all paths with their NULs */

struct pathset {
	char **slots;   /* open addressing; NULL: free */
	size_t cap;     /* a power of two, or 0 */
	size_t n, gone; /* paths; slots whose path was removed */
	size_t bytes;
};

/* 0, or -1 when the set would be larger than PATHSET_MAX. Adding again is fine. */
int pathset_add(struct pathset *s, const char *path) __attribute__((warn_unused_result));
bool pathset_has(const struct pathset *s, const char *path);
void pathset_remove(struct pathset *s, const char *path);
void pathset_remove_below(struct pathset *s, const char *path); /* path itself, and what is in it */
void pathset_release(struct pathset *s);

/* All paths in the order of strcmp, each with its NUL, appended to out. */
void pathset_dump(const struct pathset *s, struct buf *out);

#endif
