/* SPDX-License-Identifier: Apache-2.0
 *
 * An import in progress: what archive_import.c (the steps) and import_choose.c (which images there
 * are, and what they are called) share.
 */
#ifndef IMAGE_IMPORT_JOB_H
#define IMAGE_IMPORT_JOB_H

#include "image/archive.h"
#include "image/layer.h"
#include "image/scan.h"
#include "image/store.h"
#include "loop/op.h"

enum { IMPORT_IMAGES_MAX = 1000 };

struct import_layer {
	char *diff_id;
	char *digest; /* of the bytes as they are in the archive; NULL: not known */
	int64_t size;
	const struct scan_member *member; /* NULL: not in the archive */
	int64_t num;                      /* held; 0: not yet there */
	bool busy, done;
	struct import_job *job;
	struct layer_ingest ingest;
	struct layer_wait wait;
};

struct import_image {
	const void *manifest, *config; /* in the scan's text */
	size_t manifest_len, config_len;
	struct image_config *parsed;
	size_t *layers; /* indices into the job's layers */
	char **tags, **digests;
	size_t n_tags, n_digests;
};

struct import_job {
	struct op op;
	struct op *waiter;
	struct image_import *imp;
	struct image_store *store;
	int fd, spool, empty;
	bool is_dir, all_platforms;
	struct platform platform;
	char *base_name;
	struct worker worker;
	struct scan_job scan_job;
	struct scan scan;
	struct import_image *images;
	size_t n_images;
	struct import_layer *layers; /* one per diff id */
	size_t n_layers, n_busy;
	struct err layer_err;
	size_t committed;
	struct image_commit commit;
	int64_t *nums;
};

/* Fills images and layers from the scan. */
int import_choose(struct import_job *job, struct err *err) __attribute__((warn_unused_result));
void import_image_release(struct import_image *img);

#endif
