/* SPDX-License-Identifier: Apache-2.0
 *
 * Strings: strict number parsers (the whole string or an error, no sign, no blanks) and small tests.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STR_OR_EMPTY(s) ((s) != NULL ? (s) : "")

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
bool str_empty(const char *s); /* NULL or "" */

/* 0, or -1 when s is not wholly digits of the base, is empty, or is more than max. */
int str_u64(const char *s, int base, uint64_t max, uint64_t *ret);
int str_u32(const char *s, uint32_t max, uint32_t *ret);

/* s[0..n) is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool str_utf8(const char *s, size_t n);

/* Only the bytes of `allowed`, and at least one. */
bool str_only(const char *s, const char *allowed);

#endif
