/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC's own small encodings on top of HTTP/2: the message prefix, grpc-timeout, the
 * percent-encoded grpc-message, content types
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
 */
#ifndef GRPC_WIRE_H
#define GRPC_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WIRE_PREFIX = 5, WIRE_TIMEOUT_MAX = 16 };

/* The prefix of a message: a compressed flag and the length. */
void wire_put_prefix(uint8_t out[static WIRE_PREFIX], size_t n);
size_t wire_length(const uint8_t prefix[static WIRE_PREFIX]);

/* "100m" and the like to milliseconds, rounded up; -1 when s is no timeout. */
int wire_parse_timeout(const char *s, int64_t *ret_ms);
/* Milliseconds to at most eight digits and a unit. */
void wire_format_timeout(int64_t ms, char out[static WIRE_TIMEOUT_MAX]);

/* Encode s for grpc-message into out (cut where size ends, never inside an escape). */
void wire_percent_encode(const char *s, char *out, size_t size);
/* The reverse; what is no escape, and an escaped NUL, stays as it is. */
void wire_percent_decode(const char *s, char *out, size_t size);

/* "application/grpc", alone or followed by '+' or ';'. */
bool wire_is_grpc(const char *content_type);

#endif
