/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules for header blocks: see h2_head.h. The codec has checked the characters of names and
 * values before.
 */
#include "grpc/h2_head.h"

#include <string.h>

#include "base/macros.h"
#include "base/str.h"

enum { FIELD_OVERHEAD = 32 }; /* RFC 9113 6.5.2 */

static const struct {
	const char *name;
	size_t len;
} names[H2_N_NAMES] = {
#define NAME(id, s) [id] = {s, sizeof(s) - 1}
    NAME(H2_STATUS, ":status"),
    NAME(H2_METHOD, ":method"),
    NAME(H2_PATH, ":path"),
    NAME(H2_SCHEME, ":scheme"),
    NAME(H2_AUTHORITY, ":authority"),
    NAME(H2_CONTENT_TYPE, "content-type"),
    NAME(H2_TE, "te"),
    NAME(H2_GRPC_TIMEOUT, "grpc-timeout"),
    NAME(H2_GRPC_ENCODING, "grpc-encoding"),
    NAME(H2_GRPC_ACCEPT_ENCODING, "grpc-accept-encoding"),
    NAME(H2_GRPC_STATUS, "grpc-status"),
    NAME(H2_GRPC_MESSAGE, "grpc-message"),
    NAME(H2_TRACEPARENT, "traceparent"),
    NAME(H2_ALLOW, "allow"),
    NAME(H2_USER_AGENT, "user-agent"),
#undef NAME
};

/* Fields that speak of an HTTP/1 connection (RFC 9113 8.2.2). */
static const char *const connection_fields[] = {
    "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"};

const char *
head_name(enum h2_name name)
{
	return names[name].name;
}

void
head_begin(struct head *h, enum head_kind kind)
{
	struct buf text = h->text;

	*h = (struct head){.kind = kind, .content_length = -1, .text = text};
	if (text.data != NULL)
		buf_truncate(&h->text, 0);
}

void
head_release(struct head *h)
{
	buf_release(&h->text);
}

static bool
is(const char *name, size_t len, const char *s)
{
	return strlen(s) == len && memcmp(name, s, len) == 0;
}

static void
malformed(struct head *h, const char *why)
{
	if (h->malformed == NULL)
		h->malformed = why;
}

static void
keep(struct head *h, enum h2_name id, const char *value, size_t len)
{
	if (h->offset[id] != 0) {
		if (id <= H2_AUTHORITY)
			malformed(h, "a pseudo-header twice");
		return;
	}
	if (h->pub.too_large)
		return;
	h->offset[id] = h->text.len + 1;
	buf_add(&h->text, value, len);
	buf_addch(&h->text, '\0');
}

static void
pseudo_field(struct head *h, const char *name, size_t len, const char *value, size_t value_len)
{
	enum h2_name first = h->kind == HEAD_RESPONSE ? H2_STATUS : H2_METHOD;
	enum h2_name last = h->kind == HEAD_RESPONSE ? H2_STATUS : H2_AUTHORITY;

	if (h->regular || h->kind == HEAD_TRAILERS) {
		malformed(h, "a pseudo-header after other fields");
		return;
	}
	for (enum h2_name id = first; id <= last; id++)
		if (names[id].len == len && memcmp(name, names[id].name, len) == 0) {
			keep(h, id, value, value_len);
			return;
		}
	malformed(h, "an unknown pseudo-header");
}

static void
content_length(struct head *h, const char *value, size_t len)
{
	char digits[20];
	uint64_t n;

	if (len >= sizeof(digits)) {
		malformed(h, "content-length is no number");
		return;
	}
	memcpy(digits, value, len);
	digits[len] = '\0';
	if (str_u64(digits, 10, INT64_MAX, &n) < 0 ||
	    (h->content_length >= 0 && h->content_length != (int64_t)n)) {
		malformed(h, "content-length is no number, or two");
		return;
	}
	h->content_length = (int64_t)n;
}

void
head_field(struct head *h, const char *name, size_t len, const char *value, size_t value_len)
{
	h->pub.list_size += len + value_len + FIELD_OVERHEAD;
	if (h->pub.list_size > H2_MAX_HEADER_LIST)
		h->pub.too_large = true;
	if (len == 0) {
		malformed(h, "a field without a name");
		return;
	}
	if (name[0] == ':') {
		pseudo_field(h, name, len, value, value_len);
		return;
	}
	h->regular = true;
	for (enum h2_name id = H2_CONTENT_TYPE; id < H2_N_NAMES; id++)
		if (names[id].len == len && memcmp(name, names[id].name, len) == 0) {
			if (id == H2_TE && !is(value, value_len, "trailers"))
				malformed(h, "te is not trailers");
			keep(h, id, value, value_len);
			return;
		}
	if (is(name, len, "content-length")) {
		content_length(h, value, value_len);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(connection_fields); i++)
		if (is(name, len, connection_fields[i])) {
			malformed(h, "a field of the connection");
			return;
		}
}

void
head_end(struct head *h, bool end_stream)
{
	static const enum h2_name needed[] = {H2_METHOD, H2_SCHEME, H2_PATH};

	for (size_t i = 0; i < H2_N_NAMES; i++)
		if (h->offset[i] != 0)
			h->pub.value[i] = h->text.data + h->offset[i] - 1;
	h->pub.end = end_stream;
	if (h->pub.too_large)
		return;
	if (h->kind == HEAD_REQUEST) {
		for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
			if (h->pub.value[needed[i]] == NULL || *h->pub.value[needed[i]] == '\0')
				malformed(h, "a request without method, scheme or path");
	} else if (h->kind == HEAD_RESPONSE && h->pub.value[H2_STATUS] == NULL) {
		malformed(h, "a response without status");
	}
	if (h->kind == HEAD_REQUEST && end_stream && h->content_length > 0)
		malformed(h, "content-length without a body");
}
