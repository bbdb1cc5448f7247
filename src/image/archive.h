/* SPDX-License-Identifier: Apache-2.0
 *
 * Images from archives and into archives, for nodes without a registry.
 *
 * Import reads OCI image layouts (a directory or a tar) and docker-archives (`docker save`, old and
 * new), with one or many images, plain or compressed as a whole. The archive is as hostile as a
 * registry: a confined worker lists it (image/scan.h), every blob is checked against its digest and
 * every layer against its diff id, by the unpack worker of a pull.
 *
 * No copy: a tar that is a regular file is listed first, by headers only, and then the unpack
 * workers read each layer from its place in the file, several at a time, so the order of its
 * members does not matter. Only what cannot be read twice is spooled to an unnamed file on the
 * store's disk: a pipe, and an archive that is compressed as a whole. (Unpacking straight from a
 * pipe would need the manifest to come before the layers, and hardly a writer of archives does
 * that.)
 *
 * Export writes an OCI layout tar, which docker load understands as well, or a docker-archive.
 * Layers are not kept as they came, so they are made anew from their directories, uncompressed, in
 * a fixed order and form: the same layer gives the same bytes on every node. Those are not the
 * bytes that were pulled; where the digest of a layer is another one than the image's config has,
 * the exported config has the new one, and with it the exported image another id
 * (image_exported.id). Exporting what was imported from such an archive changes nothing more.
 */
#ifndef IMAGE_ARCHIVE_H
#define IMAGE_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/manifest.h"

struct image_store;
struct import_job;
struct export_job;
struct op;

struct image_imported {
	char *id;
	char **tags; /* those it got by this import */
	size_t n_tags;
};

struct image_import_options {
	int fd; /* the archive: a file, a directory or a pipe, open for reading; duplicated */
	const char
	    *base_name;     /* "registry.example/app": for images that bring only a tag; or NULL */
	bool all_platforms; /* of an index, all images and not only this machine's. Those that are
	                     * not for this machine get no tags */
	const struct platform *platform; /* NULL: this machine's */
};

struct image_import {
	/* valid when the op resumes without error, until image_import_release() */
	struct image_imported *images;
	size_t n_images;
	/* private */
	struct import_job *job;
};

/* Ends the wait of op, once. The images that were made before an error stay. INVALID_ARGUMENT: not
 * an archive of images, or a bad one; NOT_FOUND: it has no image for this machine; DATA_LOSS:
 * damaged. */
int image_import_start(struct image_import *imp, struct image_store *st,
    const struct image_import_options *o, struct op *op, struct err *err)
    __attribute__((warn_unused_result));
void image_import_release(struct image_import *imp); /* after the op was resumed; zeroed is fine */

struct image_exported {
	char *id; /* what the image is called where the archive is imported */
};

enum image_format { IMAGE_FORMAT_OCI, IMAGE_FORMAT_DOCKER };

struct image_export_options {
	int fd; /* a new, empty regular file, open for reading and writing; duplicated */
	const char *const *refs; /* the images, by anything that image_store_find() takes; a tag
	                          * exports that tag, anything else all tags of the image */
	size_t n_refs;
	enum image_format format;
};

struct image_export {
	/* valid when the op resumes without error, until image_export_release() */
	uint64_t bytes;
	struct image_exported *images; /* one per ref, in order */
	size_t n_images;
	/* private */
	struct export_job *job;
};

/* Ends the wait of op, once; the file is on disk then. NOT_FOUND: no such image. After an error the
 * file is of no use: the caller removes it. */
int image_export_start(struct image_export *exp, struct image_store *st,
    const struct image_export_options *o, struct op *op, struct err *err)
    __attribute__((warn_unused_result));
void image_export_release(struct image_export *exp);

#endif
