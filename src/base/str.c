/* SPDX-License-Identifier: Apache-2.0
 *
 * String tests and strict number parsers: see str.h.
 */
#include "base/str.h"

#include <string.h>

bool
str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool
str_ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

bool
str_empty(const char *s)
{
	return s == NULL || *s == '\0';
}

static int
digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 10;
	return 99;
}

int
str_u64(const char *s, int base, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (str_empty(s))
		return -1;
	for (; *s != '\0'; s++) {
		int d = digit(*s);

		if (d >= base || __builtin_mul_overflow(v, (uint64_t)base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)d, &v) || v > max)
			return -1;
	}
	*ret = v;
	return 0;
}

int
str_u32(const char *s, uint32_t max, uint32_t *ret)
{
	uint64_t v;

	if (str_u64(s, 10, max, &v) < 0)
		return -1;
	*ret = (uint32_t)v;
	return 0;
}

bool
str_utf8(const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s, *end = p + n;

	while (p < end) {
		uint32_t c = *p++, min;
		int more;

		if (c < 0x80)
			continue;
		if (c >= 0xc2 && c <= 0xdf)
			more = 1, min = 0x80, c &= 0x1f;
		else if (c >= 0xe0 && c <= 0xef)
			more = 2, min = 0x800, c &= 0x0f;
		else if (c >= 0xf0 && c <= 0xf4)
			more = 3, min = 0x10000, c &= 0x07;
		else
			return false;
		if (end - p < more)
			return false;
		for (; more > 0; more--, p++) {
			if ((*p & 0xc0) != 0x80)
				return false;
			c = c << 6 | (*p & 0x3f);
		}
		if (c < min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
			return false;
	}
	return true;
}

bool
str_only(const char *s, const char *allowed)
{
	return *s != '\0' && s[strspn(s, allowed)] == '\0';
}
