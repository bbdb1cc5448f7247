/* SPDX-License-Identifier: Apache-2.0
 *
 * Random ids and hex: see id.h.
 */
#include "base/id.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void
hex_encode(const void *p, size_t n, char *out)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < n; i++) {
		*out++ = "0123456789abcdef"[b[i] >> 4];
		*out++ = "0123456789abcdef"[b[i] & 15];
	}
	*out = '\0';
}

int
hex_decode(const char *s, void *out, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char *b = out;

	if (strlen(s) != 2 * n)
		return -1;
	for (size_t i = 0; i < n; i++) {
		const char *hi = strchr(digits, s[2 * i]), *lo = strchr(digits, s[2 * i + 1]);

		if (hi == NULL || lo == NULL)
			return -1;
		b[i] = (unsigned char)((hi - digits) << 4 | (lo - digits));
	}
	return 0;
}

void
id_new(char out[static ID_SIZE])
{
	unsigned char raw[ID_LEN / 2];

	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		abort();
	hex_encode(raw, sizeof(raw), out);
}

bool
id_valid(const char *s)
{
	return strlen(s) == ID_LEN && strspn(s, "0123456789abcdef") == ID_LEN;
}
