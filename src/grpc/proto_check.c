/* SPDX-License-Identifier: Apache-2.0
 *
 * One pass over a message's bytes beside its descriptor: see proto_check.h.
 */
#include "grpc/proto_check.h"

#include <stdbool.h>
#include <string.h>

#include "base/str.h"

enum {
	MAX_DEPTH = 100,     /* as protobuf's own */
	FIELD_COST = 2 * 48, /* what unpacking notes of every field that it meets */
	ROUND_COST = 16      /* an arena rounds up */
};

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct check {
	const char *path[MAX_DEPTH];
	size_t depth;
	size_t cost;
	struct err *err;
};

struct range {
	const uint8_t *p, *end;
};

static int
complain(struct check *k, enum err_code code, const char *field, const char *what)
{
	char path[256] = "";
	size_t at = 0;

	for (size_t i = 0; i < k->depth && at < sizeof(path); i++)
		at += (size_t)snprintf(path + at, sizeof(path) - at, "%s.", k->path[i]);
	return err_set(k->err, code, "error unmarshalling request: %s%s %s", path, field, what);
}

static bool
varint(struct range *r, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; r->p < r->end && shift < 70; shift += 7) {
		uint8_t b = *r->p++;

		v |= (uint64_t)(b & 127) << (shift < 64 ? shift : 63);
		if ((b & 128) == 0) {
			*ret = v;
			return true;
		}
	}
	return false;
}

/* Step over one value; *ret_body is what a length-delimited one holds. */
static bool
value(struct range *r, unsigned type, struct range *ret_body)
{
	uint64_t n = 0;

	*ret_body = (struct range){r->p, r->p};
	switch (type) {
	case VARINT:
		return varint(r, &n);
	case FIXED64:
		n = 8;
		break;
	case FIXED32:
		n = 4;
		break;
	case BYTES:
		if (!varint(r, &n))
			return false;
		break;
	default: /* groups: gone since proto2 */
		return false;
	}
	if (n > (size_t)(r->end - r->p))
		return false;
	*ret_body = (struct range){r->p, r->p + n};
	r->p += n;
	return true;
}

static int
check_string(struct check *k, const char *name, struct range body)
{
	size_t n = (size_t)(body.end - body.p);

	if (memchr(body.p, 0, n) != NULL)
		return complain(k, ERR_INVALID_ARGUMENT, name, "contains a NUL byte");
	if (!str_utf8((const char *)body.p, n))
		return complain(k, ERR_INVALID_ARGUMENT, name, "contains invalid UTF-8");
	return 0;
}

static int
check_message(struct check *k, const ProtobufCMessageDescriptor *d, struct range r)
{
	k->cost += d->sizeof_message + ROUND_COST;
	while (r.p < r.end) {
		const ProtobufCFieldDescriptor *f;
		struct range body;
		uint64_t tag;

		if (!varint(&r, &tag) || tag >> 3 == 0 || tag >> 3 > (1u << 29) - 1)
			return complain(k, ERR_INTERNAL, d->short_name, "has a broken tag");
		f = protobuf_c_message_descriptor_get_field(d, (unsigned)(tag >> 3));
		if (!value(&r, tag & 7, &body))
			return complain(k, ERR_INTERNAL, f != NULL ? f->name : d->short_name,
			    "is cut short or of no known type");
		k->cost += FIELD_COST + ROUND_COST + (size_t)(body.end - body.p) + 1;
		if (f == NULL || (tag & 7) != BYTES)
			continue;
		if (f->type == PROTOBUF_C_TYPE_STRING) {
			if (check_string(k, f->name, body) < 0)
				return -1;
		} else if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
			if (k->depth == MAX_DEPTH)
				return complain(k, ERR_INTERNAL, f->name, "is nested too deep");
			k->path[k->depth++] = f->name;
			if (check_message(k, f->descriptor, body) < 0)
				return -1;
			k->depth--;
		} else if (f->type != PROTOBUF_C_TYPE_BYTES) {
			k->cost += 8 * (size_t)(body.end - body.p); /* packed */
		}
	}
	return 0;
}

int
proto_check(
    const ProtobufCMessageDescriptor *d, const void *p, size_t n, size_t *ret_cost, struct err *err)
{
	struct check k = {.err = err};
	struct range r = {p, (const uint8_t *)p + n};

	if (check_message(&k, d, r) < 0)
		return -1;
	*ret_cost = k.cost;
	return 0;
}
