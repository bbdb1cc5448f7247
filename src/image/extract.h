/* SPDX-License-Identifier: Apache-2.0
 *
 * A layer's tar to a directory, in one pass, as overlayfs wants it: ".wh.x" becomes a character
 * device 0:0 named x, ".wh..wh..opq" marks its directory as opaque. Runs in the confined worker,
 * with the layer's directory as "/"; it is safe without the confinement too, since every name is
 * resolved from the root's descriptor and no link is ever followed out of it.
 *
 * Names lose leading slashes; ".." components are refused. A link in the middle of a name is
 * followed inside the tree, the last component never is. A later entry replaces an earlier one of
 * the same name; directories merge. Extended attributes: security.capability and user.* are kept,
 * except user.overlay.*; all others are dropped, above all trusted.overlay.* (redirects).
 * Owners, modes and times are kept, times of directories as well.
 */
#ifndef IMAGE_EXTRACT_H
#define IMAGE_EXTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "image/walk.h"

enum {
	EXTRACT_ENTRIES_MAX = 5000000,
	EXTRACT_XATTRS_MAX = 64 /* of one entry */
};

struct extract {
	/* The next run of the tar's bytes, valid until the next call: length, 0 at the end, -1. */
	ssize_t (*read)(struct extract *x, const void **ret, struct err *err);
	uint64_t max_bytes; /* of file contents; 0: only the disk is a limit */
	/* results */
	struct walk walk; /* implicit and opaque directories, bytes and inodes */
	uint64_t entries;
	uint64_t xattrs_lost; /* allowed ones that this file system does not store */
	/* private */
	struct archive *archive;
	struct archive_entry *entry;
	uint64_t written, unchecked;
	const void *first;
	ssize_t n_first;
	struct err *err;
	bool failed;
	bool at_end, unpadded; /* no more bytes; and the last file's padding was among them */
};

/* Loads what libarchive and the C library load lazily. Before the confinement; sets LC_CTYPE, since
 * names in pax headers are UTF-8, and umask 0. */
void extract_prepare(void);

/* root: the empty directory to fill; borrowed. Reads to the end of the input, beyond the end of the
 * archive too. INVALID_ARGUMENT: a bad archive, naming the entry; RESOURCE_EXHAUSTED: no room, or
 * more than the limits; or what read() said. extract_release() in any case. */
int extract_run(struct extract *x, int root, struct err *err) __attribute__((warn_unused_result));
void extract_release(struct extract *x);

/* "a//b/./c/" to "a/b/c"; false when there is a ".." or it is too long for out[PATH_MAX]. */
bool extract_clean_name(const char *name, char *out);

#endif
