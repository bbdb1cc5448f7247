/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON documents from registries and archives. A parsed value takes up to a hundred times the bytes
 * it was written in, so size, depth and number of values are checked on the text first; then keys
 * that come twice are refused, also when they differ only in case, since readers that ignore case
 * would see another document than we do.
 */
#ifndef IMAGE_DOCUMENT_H
#define IMAGE_DOCUMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { DOCUMENT_DEPTH_MAX = 32, DOCUMENT_VALUES_MAX = 100000 };

/* The document, an object, to be json_decref()ed. `what` names it in errors: INVALID_ARGUMENT with
 * line and column, RESOURCE_EXHAUSTED beyond max bytes or the limits above. */
json_t *document_parse(const void *p, size_t n, size_t max, const char *what, struct err *err);

/* Members of an object. Absent or null reads as NULL, an empty list, or 0; another type, or text
 * longer than max, is INVALID_ARGUMENT naming `what` and the key. Borrowed from the document. */
int document_string(const json_t *obj, const char *key, const char *what, size_t max,
    const char **ret, struct err *err) __attribute__((warn_unused_result));
int document_object(const json_t *obj, const char *key, const char *what, json_t **ret,
    struct err *err) __attribute__((warn_unused_result));
int document_array(const json_t *obj, const char *key, const char *what, json_t **ret,
    struct err *err) __attribute__((warn_unused_result));
/* A whole number of 0 or more. */
int document_u64(const json_t *obj, const char *key, const char *what, uint64_t *ret,
    struct err *err) __attribute__((warn_unused_result));

#endif
