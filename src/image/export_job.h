/* SPDX-License-Identifier: Apache-2.0
 *
 * An export in progress: what archive_export.c (the daemon's side) and export_worker.c share.
 */
#ifndef IMAGE_EXPORT_JOB_H
#define IMAGE_EXPORT_JOB_H

#include "image/archive.h"
#include "image/store.h"

struct export_layer {
	int64_t num;
	struct buf implicit; /* paths, each with a NUL */
};

struct export_image {
	char *id; /* in the store; in use while the export runs */
	struct buf config;
	char **tags;
	size_t n_tags;
	size_t *layers; /* indices */
	size_t n_layers;
};

struct export_job {
	struct op *waiter;
	struct image_export *exp;
	struct image_store *store;
	int fd, layers_fd;
	enum image_format format;
	struct worker worker;
	struct export_layer *layers; /* each once */
	size_t n_layers;
	struct export_image *images;
	size_t n_images;
};

/* Worker function; arg is a struct export_job. Writes a struct export_head, and for each image the
 * id it has in the archive, with its NUL. */
struct export_head {
	uint64_t bytes;
};
int export_worker(const void *arg, int out, struct err *err);

#endif
