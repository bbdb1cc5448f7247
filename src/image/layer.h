/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers: the unpacked trees that images are made of, one directory <root>/layers/<num> each, and
 * the ingest that makes one from the compressed bytes of a registry or an archive.
 *
 * A layer is identified by its diff id (the digest of its tar), so equal layers of different images
 * are one directory, and layers can be unpacked in any order and side by side. A tar may hold
 * "usr/bin/x" and no entry for "usr/"; the attributes of such an implicit directory then belong to
 * whatever lies below in a particular image. They do not make the layer depend on its parents here:
 * the layer's row lists its implicit directories, and an image in which the attributes differ from
 * the defaults gets one small layer of its own on top, which holds nothing but these directories
 * with the attributes they must have (image/dirs.h). Overlayfs takes the attributes of a merged
 * directory from the uppermost layer.
 *
 * Happy path of an ingest: layer_ingest_start() makes <root>/ingest/<n>, forks the unpack worker
 * (image/unpack.h) on it and hands out the write end of its pipe; the caller writes the bytes as
 * they come and calls layer_ingest_end(); the worker checks size, digest and diff id, has
 * everything on disk and exits; then one rename and one row make the layer visible, and done() is
 * called. A kill at any instant leaves at most a directory without a row, which image_store_open()
 * removes.
 */
#ifndef IMAGE_LAYER_H
#define IMAGE_LAYER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"
#include "loop/worker.h"

struct image_store;

struct layer_desc {
	const char *digest; /* of the compressed bytes, "sha256:…" or "sha512:…"; NULL: not known,
	                     * the diff id vouches for them */
	const char *media_type; /* for messages; the compression is recognised by its magic */
	int64_t size;           /* compressed bytes; -1: unknown */
	const char *diff_id;    /* digest of the uncompressed tar */
};

/* Where a layer is. */
enum layer_presence {
	LAYER_ABSENT,
	LAYER_IN_FLIGHT, /* somebody ingests it: layer_wait_start() */
	LAYER_PRESENT    /* *ret_num is set; layer_hold() it at once */
};
enum layer_presence layer_lookup(
    const struct image_store *st, const char *diff_id, int64_t *ret_num);

/*
 * Holds keep a layer that no image has yet. A layer without image and hold stays for
 * LAYER_ORPHAN_MS, so that a pull that is tried again finds it, and is then removed.
 */
enum { LAYER_ORPHAN_MS = 10 * 60 * 1000 };
void layer_hold(struct image_store *st, int64_t num);
void layer_release(struct image_store *st, int64_t num);

struct layer_ingest {
	int fd; /* write the compressed bytes here: a non-blocking pipe. EPIPE: the worker is done
	         * with them, done() will tell why. The process ignores SIGPIPE. -1 after the end */
	/* valid in done() */
	struct err err; /* DATA_LOSS: wrong digest or size; INVALID_ARGUMENT: a bad archive;
	                 * RESOURCE_EXHAUSTED: disk or limits; CANCELLED: aborted */
	int64_t num;    /* when err.code is ERR_NONE: the layer, held once for the caller */
	uint64_t bytes; /* what it takes on disk */
	uint64_t inodes;
	uint64_t xattrs_lost; /* file capabilities that this file system could not store */
	/* private */
	struct image_store *store;
	void (*done)(struct layer_ingest *);
	struct worker worker;
	struct ingest_job *job;
	char *diff_id;
	char dir[24]; /* below <root>/ingest */
	bool aborted;
	TAILQ_ENTRY(layer_ingest) entry;
};

/*
 * Start one. The strings of d are copied. Only for a layer that layer_lookup() calls absent
 * (ALREADY_EXISTS otherwise). Fails at once, or calls done() exactly once, from the loop.
 */
int layer_ingest_start(struct layer_ingest *in, struct image_store *st, const struct layer_desc *d,
    void (*done)(struct layer_ingest *), struct err *err) __attribute__((warn_unused_result));

/* As above, but the worker reads the bytes itself: from offset `at` of the file `fd`, or, when path
 * is not NULL, from that file below the directory `fd`. fd is borrowed until the call returns. */
struct layer_source {
	int fd;
	const char *path;
	int64_t at;
};
int layer_ingest_start_file(struct layer_ingest *in, struct image_store *st,
    const struct layer_desc *d, const struct layer_source *src, void (*done)(struct layer_ingest *),
    struct err *err) __attribute__((warn_unused_result));

/* All bytes are written. done() follows. */
void layer_ingest_end(struct layer_ingest *in);

/* Give up. done() follows with CANCELLED and nothing is left behind. Fine after layer_ingest_end();
 * not after done(). */
void layer_ingest_abort(struct layer_ingest *in);

/*
 * Waiting for a layer that another ingest brings. done() is called once, from the loop: with num
 * held for the caller, or with the error of that ingest (then look again: the caller may be the one
 * to ingest it now).
 */
struct layer_wait {
	struct err err;
	int64_t num;
	/* private */
	struct image_store *store;
	void (*done)(struct layer_wait *);
	char *diff_id; /* NULL: over */
	bool told;
	TAILQ_ENTRY(layer_wait) entry;
};
void layer_wait_start(struct layer_wait *w, struct image_store *st, const char *diff_id,
    void (*done)(struct layer_wait *));
void layer_wait_cancel(struct layer_wait *w); /* done() is not called; fine after done() */

#endif
