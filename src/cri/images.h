/* SPDX-License-Identifier: Apache-2.0
 *
 * What the methods of the image service share: the puller, and images as messages.
 */
#ifndef CRI_IMAGES_H
#define CRI_IMAGES_H

#include "base/err.h"
#include "proto/cri.pb-c.h"

struct arena;
struct config;
struct image;
struct puller;

extern struct puller *images_puller;

int cri_images_init(const struct config *config, struct err *err);
void cri_images_fini(void); /* the image store too */

/* From the arena; strings are borrowed from the image. */
Runtime__V1__Image *image_message(const struct image *img, struct arena *a);

#endif
