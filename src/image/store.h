/* SPDX-License-Identifier: Apache-2.0
 *
 * The image store: which images there are, under which names, and the layers they consist of. All
 * of it is in memory, so that ListImages and ImageStatus touch no disk; the rows in the database
 *are written in the transaction that makes a change.
 *
 *	<root>/layers/<num>   one layer each, named shortly because an overlay mount lists them all
 *	<root>/ingest/<n>     layers being unpacked; removed at start
 *	<root>/trash/<n>      what is being deleted, by a worker; removed at start
 *
 * Rules of identity (critest image_manager and image_id specs): the id is the digest of the config;
 * an image has tags ("name:tag") and digest references ("name@digest") in the order they came; any
 * reference finds it; removing it by any reference removes it whole; pulling a tag again moves the
 * tag and leaves the image that had it without.
 *
 * Life cycle: image_store_open() before any request is served; the containers that exist declare
 * their images with image_store_use(); image_store_settle(); later image_store_close().
 */
#ifndef IMAGE_STORE_H
#define IMAGE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "base/err.h"
#include "loop/loop.h"
#include "loop/worker.h"

struct db;
struct image_config; /* image/config.h */
struct image_store;
struct op;

struct image {
	char *id;    /* "sha256:<64 hex digits>" */
	char **tags; /* in order of arrival */
	size_t n_tags;
	char **digests; /* the same */
	size_t n_digests;
	uint64_t size;      /* bytes on disk of its layers, and its manifest and config; never 0 */
	int64_t created_at; /* when it came here: wall clock, ns */
	struct image_config *config;
	int64_t *layers; /* numbers, the lowest first */
	size_t n_layers;
	bool pinned;
	void *spec; /* ImageSpec of the last pull, protobuf bytes; NULL when there is none */
	size_t spec_len;
	unsigned uses; /* containers and image volumes that need its layers */
	bool detached; /* removed while in use: found by image_store_use() only */
	TAILQ_ENTRY(image) entry;
};

/* root: an absolute path, created when missing. Loads the rows and makes disk and rows agree:
 * directories without a row go, and so does an image a layer directory of which is missing. */
struct image_store *image_store_open(struct db *db, const char *root, struct err *err);

/* Every container has declared its use: removed images that none uses go. */
void image_store_settle(struct image_store *st);

/* No ingest, commit or wait may be running. Waits for the deleting worker to be killed. */
void image_store_close(struct image_store *st);

/* References that match one of the shell patterns are pinned (kubelet's image GC leaves them). The
 * strings are copied; may be called again. */
void image_store_set_pinned(struct image_store *st, const char *const *globs, size_t n);

/* Grows with every change of what List or Status would say. */
uint64_t image_store_generation(const struct image_store *st);

/*
 * Find by id, by a tag or digest reference as people write it (normalised here: "busybox" is
 * docker.io/library/busybox:latest), or by the first digits of the id as image_id_like() has it,
 * when they fit one image only. NULL when there is none. The pointer is valid until the image is
 * removed: keep the id, not the pointer, across turns of the loop.
 */
struct image *image_store_find(const struct image_store *st, const char *ref);
struct image *image_store_by_id(const struct image_store *st, const char *id);

/* All of them, oldest first: image_store_next(st, NULL) is the first. */
struct image *image_store_next(const struct image_store *st, const struct image *prev);

/* The manifest and the config as they came, appended to the bufs (NULL: not wanted). Reads the
 * database: not for List or Status. */
int image_store_blobs(struct image_store *st, const struct image *img, struct buf *ret_manifest,
    struct buf *ret_config, struct err *err);

/*
 * Commit: the image becomes visible with its references in one transaction. Embedded in the
 * caller's struct; what it points to is borrowed until the op resumes. An image that is there
 * already gets the new references and the new spec.
 */
struct image_commit {
	/* filled by the caller */
	const void *manifest; /* bytes of the manifest chosen for this platform */
	size_t manifest_len;
	const void *config; /* bytes of the config; the id is their SHA-256 */
	size_t config_len;
	const char *const *tags; /* normalised "name:tag" */
	size_t n_tags;
	const char *const *digests; /* normalised "name@digest" */
	size_t n_digests;
	const int64_t
	    *layers; /* held by the caller, the lowest first; one per diff id of the config */
	size_t n_layers;
	const void *spec; /* ImageSpec, protobuf bytes; NULL: none */
	size_t spec_len;
	/* valid when the op resumes without error */
	char id[72];
	/* private */
	struct image_store *store;
	struct op *op;
	struct worker worker;
	struct loop_timer later;
	struct commit_job *job;
	struct image_config *parsed;
};

/* Ends the wait of op, once, never from inside the call. The config must parse and its diff ids
 * must be those of the layers (INVALID_ARGUMENT). */
int image_commit_start(struct image_commit *c, struct image_store *st, struct op *op,
    struct err *err) __attribute__((warn_unused_result));

/*
 * Remove the image that ref finds, with all its references: when this returns it is in no list and
 * no status. A missing one is no error. Its layers go when no image and no container needs them, in
 * a worker.
 */
int image_store_remove(struct image_store *st, const char *ref, struct err *err);

/* A container, or an image volume, needs the layers of the image with this id, removed or not.
 * NOT_FOUND when they are not there. Counted; each use is ended by one unuse. Uses are not stored:
 * they are declared again after a start. */
int image_store_use(struct image_store *st, const char *id, struct err *err);
void image_store_unuse(struct image_store *st, const char *id);
/* As image_store_by_id, but finds a removed image that is in use as well. */
struct image *image_store_by_id_in_use(const struct image_store *st, const char *id);

/*
 * The layers for overlayfs, uppermost first, "12:9:7", relative to the layers directory. An image
 * without layers gives the name of an empty directory, so that the mount has a lower one.
 */
void image_lower_names(const struct image_store *st, const struct image *img, struct buf *out);
int image_store_layers_fd(const struct image_store *st); /* owned by the store */

/* ImageFsInfo. Bytes and inodes are the sums over all layers, counted while they were unpacked. */
struct image_fs_info {
	const char *mountpoint; /* <root>/layers; owned by the store */
	uint64_t bytes;
	uint64_t inodes;
	int64_t timestamp; /* wall clock, ns */
};
void image_store_fs_info(const struct image_store *st, struct image_fs_info *ret);

#endif
