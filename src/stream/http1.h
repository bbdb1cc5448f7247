/* SPDX-License-Identifier: Apache-2.0
 *
 * The little of HTTP/1.1 that an upgrade needs (RFC 9112): one request head, without a body.
 * Strict: whatever two parsers could read differently is refused.
 */
#ifndef STREAM_HTTP1_H
#define STREAM_HTTP1_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum { HTTP1_HEAD_MAX = 16 * 1024, HTTP1_FIELDS_MAX = 100 };

struct http1_request {
	const char *method, *path,
	    *query; /* the path as it was sent; query "" when there is none */
	struct http1_field {
		const char *name, *value; /* blanks around the value are gone */
	} fields[HTTP1_FIELDS_MAX];
	size_t n_fields;
	size_t length; /* of the head, with the empty line */
};

/* Where the head in p[0..n) ends, 0 when it is not complete. */
size_t http1_head_length(const char *p, size_t n);

/* Parses the head p[0..n) in place: NULs are written, and the request points into it. -1:
 * *ret_status is the answer (400, 405, 505…). */
int http1_parse(char *p, size_t n, struct http1_request *ret, int *ret_status, struct err *err)
    __attribute__((warn_unused_result));

/* The i'th value of that name, case-insensitive; NULL: there is none. */
const char *http1_field(const struct http1_request *r, const char *name, size_t i);

/* Whether a comma-separated list (all fields of the name) has the token, case-insensitive. */
bool http1_has_token(const struct http1_request *r, const char *name, const char *token);

/* The i'th element of that list, copied without blanks; false when there is none or it is too long.
 */
bool http1_element(
    const struct http1_request *r, const char *name, size_t i, char *out, size_t size);

/* A complete answer with a line of text, closing the connection. */
void http1_answer(struct buf *out, int status, const char *text);
const char *http1_reason(int status);

#endif
