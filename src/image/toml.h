/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of TOML 1.0 that hosts.toml files are written in: comments, tables, bare, quoted and
 * dotted keys, one-line strings of both kinds, whole numbers, booleans, arrays, inline tables. What
 * else TOML has (arrays of tables, multi-line strings, floats, dates) is refused by name, never
 * skipped.
 */
#ifndef IMAGE_TOML_H
#define IMAGE_TOML_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

enum { TOML_MAX = 1 << 20, TOML_DEPTH_MAX = 16 };

/* The document as a JSON object whose members have the order of the text; to be json_decref()ed.
 * INVALID_ARGUMENT "<what>:<line>: <why>". */
json_t *toml_parse(const char *text, size_t n, const char *what, struct err *err);

#endif
