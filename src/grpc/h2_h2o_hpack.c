/* SPDX-License-Identifier: Apache-2.0
 *
 * Header blocks on libh2o's HPACK decoder. The library parses requests only, and a whole block at
 * once into memory. Here each field is handed to it alone: so a block never costs more memory than
 * H2_MAX_HEADER_LIST allows whatever it decompresses to, the table stays in step when one field is
 * refused, and responses can be read although the library knows no :status.
 */
#include "grpc/h2_h2o.h"

#include <string.h>

enum {
	INDEX_STATUS = 8, /* static table, RFC 7541 appendix A */
	INDEX_STATUS_LAST = 14,
	INDEX_DYNAMIC = 62,
	MAX_STATUS_FIELD = 16
};

/* A prefixed integer (RFC 7541 5.1) of at most four more bytes, as the library reads them. */
static bool
read_int(const uint8_t **p, const uint8_t *end, unsigned bits, uint32_t *ret)
{
	uint32_t max = (1u << bits) - 1, v;

	if (*p == end)
		return false;
	v = *(*p)++ & max;
	if (v == max) {
		for (unsigned shift = 0;; shift += 7) {
			uint8_t b;

			if (*p == end || shift > 21)
				return false;
			b = *(*p)++;
			v += (uint32_t)(b & 127) << shift;
			if ((b & 128) == 0)
				break;
		}
	}
	*ret = v;
	return true;
}

static bool
skip_string(const uint8_t **p, const uint8_t *end)
{
	uint32_t n;

	if (!read_int(p, end, 7, &n) || n > (size_t)(end - *p))
		return false;
	*p += n;
	return true;
}

struct field {
	const uint8_t *start, *end; /* table size updates, if any, and the field */
	const uint8_t *at;          /* the field without them */
	const uint8_t *value;       /* of a literal */
	uint32_t index;             /* of the field or of its name; 0: a literal name */
	bool literal;
};

static bool
scan_field(const uint8_t *p, const uint8_t *end, struct field *f)
{
	uint32_t size;
	unsigned bits;

	*f = (struct field){.start = p};
	while (p < end && (*p & 0xe0) == 0x20)
		if (!read_int(&p, end, 5, &size))
			return false;
	if (p == end)
		return false;
	f->at = p;
	if (*p >= 0x80) {
		if (!read_int(&p, end, 7, &f->index) || f->index == 0)
			return false;
	} else {
		f->literal = true;
		bits = *p >= 0x40 ? 6 : 4;
		if (!read_int(&p, end, bits, &f->index) || (f->index == 0 && !skip_string(&p, end)))
			return false;
		f->value = p;
		if (!skip_string(&p, end))
			return false;
	}
	f->end = p;
	return true;
}

/* The library's decoder works on its request object; this one serves every connection. */
static h2o_req_t scratch;

static int
decode(struct h2o_conn *c, const uint8_t *p, size_t n, size_t *ret_length, const char **ret_why)
{
	int pseudo = 0;

	scratch.headers.size = 0;
	scratch.input.method = scratch.input.path = scratch.input.authority = (h2o_iovec_t){0};
	scratch.input.scheme = NULL;
	*ret_why = NULL;
	return h2o_hpack_parse_headers(
	    &scratch, &c->table, p, n, &pseudo, ret_length, NULL, ret_why);
}

static void
forget(void)
{
	h2o_mem_clear_pool(&scratch.pool);
	memset(&scratch.headers, 0, sizeof(scratch.headers));
}

static const h2o_hpack_header_table_entry_t *
dynamic_entry(struct h2o_conn *c, uint32_t index)
{
	if (index < INDEX_DYNAMIC || index - INDEX_DYNAMIC >= c->table.num_entries)
		return NULL;
	return h2o_hpack_header_table_get(&c->table, index - INDEX_DYNAMIC);
}

static bool
is_status(struct h2o_conn *c, const struct field *f)
{
	static const char name[] = ":status";
	const h2o_hpack_header_table_entry_t *e = dynamic_entry(c, f->index);
	uint8_t packed[sizeof(name) + 8];
	const uint8_t *p = f->at + 1;
	size_t n;

	if (f->index > 0)
		return (f->index >= INDEX_STATUS && f->index <= INDEX_STATUS_LAST) ||
		       (e != NULL &&
		           h2o_memis(e->name->base, e->name->len, name, sizeof(name) - 1));
	if (f->value - p == sizeof(name) && p[0] == sizeof(name) - 1 &&
	    memcmp(p + 1, name, sizeof(name) - 1) == 0)
		return true;
	n = h2o_hpack_encode_string(packed, name, sizeof(name) - 1);
	return (size_t)(f->value - p) == n && memcmp(p, packed, n) == 0;
}

/* The library refuses :status after it has done what the field does to the table. Its value is read
 * before that, under a name that it takes. */
static int
status_field(struct h2o_conn *c, struct head *head, const struct field *f)
{
	static const char fixed[][4] = {"200", "204", "206", "304", "400", "404", "500"};
	const h2o_hpack_header_table_entry_t *e = dynamic_entry(c, f->index);
	uint8_t renamed[2 + 1 + MAX_STATUS_FIELD + 1] = {0x00, 1, 'x'};
	const char *why;
	size_t length;
	int r;

	if (!f->literal && e == NULL) {
		head_field(head, ":status", 7, fixed[f->index - INDEX_STATUS], 3);
	} else if (!f->literal) {
		head_field(head, ":status", 7, e->value->base, e->value->len);
	} else if (f->end - f->value > MAX_STATUS_FIELD) {
		head->malformed = "a status that is no number";
	} else {
		memcpy(renamed + 3, f->value, (size_t)(f->end - f->value));
		r = decode(c, renamed, 3 + (size_t)(f->end - f->value), &length, &why);
		if (r != 0 && r != H2O_HTTP2_ERROR_INVALID_HEADER_CHAR)
			return r;
		head_field(head, ":status", 7, scratch.headers.entries[0].value.base,
		    scratch.headers.entries[0].value.len);
	}
	r = decode(c, f->start, (size_t)(f->end - f->start), &length, &why);
	return r == H2O_HTTP2_ERROR_PROTOCOL && why == NULL ? 0 : r;
}

static void
take_field(struct head *head, const struct field *f, size_t length)
{
	char number[24];

	if (scratch.input.method.base != NULL)
		head_field(head, ":method", 7, scratch.input.method.base, scratch.input.method.len);
	else if (scratch.input.path.base != NULL)
		head_field(head, ":path", 5, scratch.input.path.base, scratch.input.path.len);
	else if (scratch.input.authority.base != NULL)
		head_field(head, ":authority", 10, scratch.input.authority.base,
		    scratch.input.authority.len);
	else if (scratch.input.scheme != NULL)
		head_field(head, ":scheme", 7, scratch.input.scheme->name.base,
		    scratch.input.scheme->name.len);
	else if (scratch.headers.size == 1)
		head_field(head, scratch.headers.entries[0].name->base,
		    scratch.headers.entries[0].name->len, scratch.headers.entries[0].value.base,
		    scratch.headers.entries[0].value.len);
	else if (length != SIZE_MAX)
		head_field(head, "content-length", 14, number,
		    (size_t)snprintf(number, sizeof(number), "%zu", length));
	else /* the library drops it; its size is that of its encoding, or more */
		head_field(head, "host", 4, "", (size_t)(f->end - f->at));
}

int
hpack_parse(struct h2o_conn *c, struct head *head, const uint8_t *p, size_t n)
{
	const uint8_t *end = p + n;
	int result = 0;

	h2o_mem_init_pool(&scratch.pool);
	while (p < end && result == 0) {
		struct field f;
		size_t length;
		const char *why;
		int r;

		if (!scan_field(p, end, &f) || (p > end - n && f.at != f.start)) {
			result = H2O_HTTP2_ERROR_COMPRESSION;
			break;
		}
		p = f.end;
		if (head->kind == HEAD_RESPONSE && is_status(c, &f)) {
			result = status_field(c, head, &f);
			continue;
		}
		r = decode(c, f.start, (size_t)(f.end - f.start), &length, &why);
		if (r == H2O_HTTP2_ERROR_PROTOCOL && why == NULL)
			head->malformed = "a field that HTTP/2 forbids";
		else if (r != 0 && r != H2O_HTTP2_ERROR_INVALID_HEADER_CHAR)
			result = r;
		else
			take_field(head, &f, length);
		if (r == H2O_HTTP2_ERROR_INVALID_HEADER_CHAR)
			head->malformed = "a character that HTTP/2 forbids";
		if (head->pub.too_large)
			forget();
	}
	forget();
	return result;
}

static void
write_int(struct buf *b, uint8_t first, unsigned bits, size_t v)
{
	size_t max = (1u << bits) - 1;

	if (v < max) {
		buf_addch(b, (char)(first | v));
		return;
	}
	buf_addch(b, (char)(first | max));
	for (v -= max; v >= 128; v >>= 7)
		buf_addch(b, (char)(v | 128));
	buf_addch(b, (char)v);
}

static void
write_string(struct buf *b, const char *s)
{
	size_t n = strlen(s);

	write_int(b, 0, 7, n);
	buf_add(b, s, n);
}

void
hpack_write(struct buf *b, const struct h2_field *fields, size_t n)
{
	/* Names of the static table; 0: spelt out. */
	static const uint8_t index[H2_N_NAMES] = {[H2_STATUS] = INDEX_STATUS,
	    [H2_METHOD] = 2,
	    [H2_PATH] = 4,
	    [H2_SCHEME] = 6,
	    [H2_AUTHORITY] = 1,
	    [H2_CONTENT_TYPE] = 31,
	    [H2_ALLOW] = 22,
	    [H2_USER_AGENT] = 58};

	for (; n > 0; n--, fields++) {
		if (fields->name == H2_STATUS && strcmp(fields->value, "200") == 0) {
			buf_addch(b, (char)(0x80 | INDEX_STATUS));
			continue;
		}
		if (index[fields->name] != 0) {
			write_int(b, 0, 4, index[fields->name]);
		} else {
			buf_addch(b, 0);
			write_string(b, head_name(fields->name));
		}
		write_string(b, fields->value);
	}
}
