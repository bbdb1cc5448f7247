/* SPDX-License-Identifier: Apache-2.0
 *
 * Ids of sandboxes and containers: 32 random bytes as 64 lower-case hex digits.
 */
#ifndef BASE_ID_H
#define BASE_ID_H

#include <stdbool.h>
#include <stddef.h>

enum { ID_LEN = 64, ID_SIZE = ID_LEN + 1 };

void id_new(char out[static ID_SIZE]);
bool id_valid(const char *s); /* exactly 64 lower-case hex digits */

void hex_encode(const void *p, size_t n, char *out); /* 2n digits and a NUL */
/* n bytes from 2n lower-case digits; -1 when s is anything else. */
int hex_decode(const char *s, void *out, size_t n);

#endif
