/* SPDX-License-Identifier: Apache-2.0
 *
 * Where in coracle.yaml a fault is, so that errors read "<file>:<line>: <key>: <what is wrong>".
 */
#ifndef CONFIG_WHERE_H
#define CONFIG_WHERE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* The line of a key ("containers.rlimits[2].soft"), or of the nearest key around it that is there;
 * 0: none. Knows block style, and of flow style the line where it begins. */
size_t config_line_of(const char *text, const char *key);

/* Put file and line in front of "<key>: …". Returns -1. */
int config_error_at(struct err *err, const char *path, const char *text);

/* The same from what cyaml logged, lines separated by '\n'. Returns -1. */
int config_error_of_log(struct err *err, const char *path, const char *text, const char *log);

/* The line of the second document's "---", 0 when there is one document at most. */
size_t config_second_document(const char *text);

#endif
