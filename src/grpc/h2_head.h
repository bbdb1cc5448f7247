/* SPDX-License-Identifier: Apache-2.0
 *
 * Header blocks, the half that no codec knows: what makes one well-formed (RFC 9113 8.2 and 8.3),
 * how large it is, and which of its fields someone reads.
 *
 * head_begin(), head_field() for each decoded field in order, head_end(). Values that are kept live
 * in the head's own memory until head_release().
 */
#ifndef GRPC_H2_HEAD_H
#define GRPC_H2_HEAD_H

#include "grpc/h2.h"

enum head_kind { HEAD_REQUEST, HEAD_RESPONSE, HEAD_TRAILERS };

struct head {
	struct h2_head pub;
	enum head_kind kind;
	const char *malformed;  /* NULL, or what is wrong: a stream error PROTOCOL_ERROR */
	int64_t content_length; /* -1: none */
	bool regular;           /* a field that is no pseudo-header came: none may follow */
	struct buf text;
	size_t offset[H2_N_NAMES]; /* into text, plus one; 0: absent */
};

void head_begin(struct head *h, enum head_kind kind);
void head_field(
    struct head *h, const char *name, size_t name_len, const char *value, size_t value_len);
/* Checks what must be there; fills pub.value. */
void head_end(struct head *h, bool end_stream);
void head_release(struct head *h);

/* The field's name on the wire. */
const char *head_name(enum h2_name name);

#endif
