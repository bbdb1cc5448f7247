/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding the directory that an archive entry belongs to, inside the tree that is being unpacked.
 * Symbolic links in the middle of a path are followed as if the tree were the whole file system;
 * missing directories are made and noted as implicit; the directory that the last entry went to
 * stays open, since the next one mostly goes there too. While a directory is open its times are
 * kept, and put back when it is left: so that what happens inside it does not change them.
 */
#ifndef IMAGE_WALK_H
#define IMAGE_WALK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"
#include "image/pathset.h"

struct walk {
	int root;                /* the tree; borrowed */
	struct pathset implicit; /* directories made for want of an entry; "" is the root */
	struct pathset opaque;   /* directories that hide what lies below */
	uint64_t bytes, inodes;  /* what the tree takes; the root counts */
	struct timespec mtime;   /* for the directories made here */

	/* the directory of the present entry */
	int dir;     /* -1: none */
	char *path;  /* its name from the root, free of links; "" is the root itself */
	bool setgid; /* what is made in it gets its group */
	/* private */
	char *asked; /* the name by which it was found */
	struct timespec times[2];
	uint64_t dir_bytes;
};

void walk_init(struct walk *w, int root); /* the root is implicit until it is removed from there */
void walk_release(struct walk *w);

/*
 * Open the directory named `parent` (cleaned: no empty, "." or ".." component, no leading slash;
 * "": the root) as w->dir. INVALID_ARGUMENT when a component is no directory, a link leads in
 * circles, or the resolved name is longer than PATH_MAX.
 */
int walk_enter(struct walk *w, const char *parent, struct err *err)
    __attribute__((warn_unused_result));

/* Put the times back and close w->dir. To be called before a directory is changed by name. */
int walk_leave(struct walk *w, struct err *err) __attribute__((warn_unused_result));

/* As walk_enter, without making anything and without changing w->dir: an fd, or -1 (NOT_FOUND when
 * a component is missing). For the targets of hard links. */
int walk_find(struct walk *w, const char *parent, struct err *err);

/* Remove the entry, a directory with all that is in it, and take it off the account. A missing one
 * is fine. */
int walk_remove(struct walk *w, const char *name, struct err *err)
    __attribute__((warn_unused_result));

/* The name from the root of an entry of w->dir, on the heap. */
char *walk_name(const struct walk *w, const char *name);

bool walk_is_whiteout(const struct stat *st);

#endif
