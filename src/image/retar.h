/* SPDX-License-Identifier: Apache-2.0
 *
 * A layer's directory back to a tar, deterministically: entries in the order of their names' bytes,
 * a directory before what is in it; whiteouts and opaque marks as the image spec has them; the
 * attributes that extraction keeps, and no others; nothing for implicit directories, so that they
 * are implicit again where it is unpacked.
 */
#ifndef IMAGE_RETAR_H
#define IMAGE_RETAR_H

#include "base/err.h"
#include "image/pathset.h"
#include "image/tarout.h"

/* dirfd: the layer's directory, consumed. */
int retar_take(struct tarout *t, int dirfd, const struct pathset *implicit, struct err *err)
    __attribute__((warn_unused_result));

#endif
