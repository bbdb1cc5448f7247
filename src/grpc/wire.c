/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC's encodings: see wire.h.
 */
#include "grpc/wire.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

void
wire_put_prefix(uint8_t out[static WIRE_PREFIX], size_t n)
{
	out[0] = 0;
	out[1] = (uint8_t)(n >> 24);
	out[2] = (uint8_t)(n >> 16);
	out[3] = (uint8_t)(n >> 8);
	out[4] = (uint8_t)n;
}

size_t
wire_length(const uint8_t p[static WIRE_PREFIX])
{
	return (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
}

int
wire_parse_timeout(const char *s, int64_t *ret_ms)
{
	/* Eight digits of hours are 3.6e17 µs: no overflow below. */
	static const struct {
		char unit;
		int64_t us;
	} units[] = {
	    {'H', INT64_C(3600000000)},
	    {'M', 60000000           },
	    {'S', 1000000            },
	    {'m', 1000               },
	    {'u', 1                  },
	};
	int64_t n = 0;
	size_t digits = 0;

	for (; *s >= '0' && *s <= '9' && digits < 8; s++, digits++)
		n = n * 10 + (*s - '0');
	if (digits == 0 || s[0] == '\0' || s[1] != '\0')
		return -1;
	if (*s == 'n') {
		*ret_ms = (n + 999999) / 1000000;
		return 0;
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (units[i].unit == *s) {
			*ret_ms = (n * units[i].us + 999) / 1000;
			return 0;
		}
	return -1;
}

void
wire_format_timeout(int64_t ms, char out[static WIRE_TIMEOUT_MAX])
{
	const int64_t max = 99999999;

	if (ms < 0)
		ms = 0;
	if (ms <= max)
		snprintf(out, WIRE_TIMEOUT_MAX, "%dm", (int)ms);
	else if (ms / 1000 <= max)
		snprintf(out, WIRE_TIMEOUT_MAX, "%dS", (int)(ms / 1000));
	else if (ms / 3600000 <= max)
		snprintf(out, WIRE_TIMEOUT_MAX, "%dH", (int)(ms / 3600000));
	else
		snprintf(out, WIRE_TIMEOUT_MAX, "%dH", (int)max);
}

void
wire_percent_encode(const char *s, char *out, size_t size)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t at = 0;

	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;
		bool plain = c >= 0x20 && c <= 0x7e && c != '%';

		if (at + (plain ? 1 : 3) >= size)
			break;
		if (plain) {
			out[at++] = (char)c;
			continue;
		}
		out[at++] = '%';
		out[at++] = digits[c >> 4];
		out[at++] = digits[c & 15];
	}
	out[at] = '\0';
}

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

void
wire_percent_decode(const char *s, char *out, size_t size)
{
	size_t at = 0;

	while (*s != '\0' && at + 1 < size) {
		if (s[0] == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0 && hex(s[1]) + hex(s[2]) > 0) {
			out[at++] = (char)(hex(s[1]) << 4 | hex(s[2]));
			s += 3;
		} else {
			out[at++] = *s++;
		}
	}
	out[at] = '\0';
}

bool
wire_is_grpc(const char *type)
{
	static const char grpc[] = "application/grpc";

	if (type == NULL || !str_starts(type, grpc))
		return false;
	type += sizeof(grpc) - 1;
	return *type == '\0' || *type == '+' || *type == ';';
}
