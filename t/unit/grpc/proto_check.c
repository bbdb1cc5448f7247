/* SPDX-License-Identifier: Apache-2.0
 *
 * The pass over a message's bytes before protobuf-c unpacks them.
 */
#include "grpc/proto_check.h"

#include "base/arena.h"
#include "base/macros.h"
#include "t/echo.pb-c.h"
#include "tap.h"

static const ProtobufCMessageDescriptor *const rq = &coracle__test__echo_request__descriptor;

static void
refused(const char *bytes, size_t n, enum err_code code, const char *message)
{
	struct err err = {.code = ERR_NONE};
	size_t cost = 77;
	int r = proto_check(rq, bytes, n, &cost, &err);

	ok(r == -1 && err.code == code && cost == 77, "refused");
	is_str(err.msg, message, message);
}

#define REFUSED(bytes, code, message) refused(bytes, sizeof(bytes) - 1, code, message)
#define BAD "error unmarshalling request: "

static void
test_refused(void)
{
	REFUSED("\x0a", ERR_INTERNAL, BAD "payload is cut short or of no known type");
	REFUSED("\x0a\x02x", ERR_INTERNAL, BAD "payload is cut short or of no known type");
	REFUSED("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", ERR_INTERNAL,
	    BAD "payload is cut short or of no known type");
	REFUSED("\x10", ERR_INTERNAL, BAD "reply_size is cut short or of no known type");
	REFUSED("\x10\x80", ERR_INTERNAL, BAD "reply_size is cut short or of no known type");
	REFUSED("\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", ERR_INTERNAL,
	    BAD "reply_size is cut short or of no known type");
	REFUSED(
	    "\x15\x01\x02\x03", ERR_INTERNAL, BAD "reply_size is cut short or of no known type");
	REFUSED("\x11\x01\x02\x03\x04\x05\x06\x07", ERR_INTERNAL,
	    BAD "reply_size is cut short or of no known type");
	REFUSED("\x13\x14", ERR_INTERNAL, BAD "reply_size is cut short or of no known type");
	REFUSED("\x17", ERR_INTERNAL, BAD "reply_size is cut short or of no known type");
	REFUSED("\x02\x00", ERR_INTERNAL, BAD "EchoRequest has a broken tag");
	REFUSED("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", ERR_INTERNAL,
	    BAD "EchoRequest has a broken tag");
	REFUSED("\xf8\xff\xff\xff\xff\x01\x00", ERR_INTERNAL, BAD "EchoRequest has a broken tag");
	REFUSED("\x1a\x01\xff", ERR_INVALID_ARGUMENT, BAD "text contains invalid UTF-8");
	REFUSED("\x1a\x02\xc0\x80", ERR_INVALID_ARGUMENT, BAD "text contains invalid UTF-8");
	REFUSED("\x1a\x01\x00", ERR_INVALID_ARGUMENT, BAD "text contains a NUL byte");
	REFUSED("\x1a\x01\xff\x1a\x01z", ERR_INVALID_ARGUMENT, BAD "text contains invalid UTF-8");
	REFUSED(
	    "\x22\x03\x0a\x01\xff", ERR_INVALID_ARGUMENT, BAD "labels.key contains invalid UTF-8");
	REFUSED("\x22\x06\x0a\x01k\x12\x01\xfe", ERR_INVALID_ARGUMENT,
	    BAD "labels.value contains invalid UTF-8");
	REFUSED("\x2a\x09\x12\x07\x12\x05\x0a\x03\x0a\x01\xff", ERR_INVALID_ARGUMENT,
	    BAD "nested.deeper.deeper.label.key contains invalid UTF-8");
	REFUSED(
	    "\x2a\x02\x0a\x05", ERR_INTERNAL, BAD "nested.label is cut short or of no known type");
}

static void
test_depth(int depth, bool fits)
{
	char bytes[512], *at = bytes + sizeof(bytes);
	size_t n = 0, cost;
	struct err err;

	for (int i = 0; i < depth; i++) {
		size_t before = n;

		if (before >= 128)
			*--at = (char)(before >> 7);
		*--at = (char)(before >= 128 ? (before & 127) | 128 : before);
		*--at = i == depth - 1 ? 0x2a : 0x12;
		n = (size_t)(bytes + sizeof(bytes) - at);
	}
	ok((proto_check(rq, at, n, &cost, &err) == 0) == fits, "messages %d deep", depth);
}

/* What unpacking takes is never more than the bound, and the bound is not wild. */
static void
test_cost(const char *what, const char *bytes, size_t n)
{
	struct arena a;
	struct err err;
	size_t cost = 0;

	arena_init(&a);
	ok(proto_check(rq, bytes, n, &cost, &err) == 0, "%s: well-formed", what);
	ok(protobuf_c_message_unpack(rq, &a.alloc, n, (const uint8_t *)bytes) != NULL,
	    "... unpacks");
	ok(a.total <= cost + 16384, "... in %zu bytes, %zu foreseen", a.total, cost);
	arena_release(&a);
}

static void
test_costs(void)
{
	enum { N = 4096 };
	char many[2 * N], labels[6 * N], unknown[3 * N], big[N];

	for (size_t i = 0; i < N; i++) {
		memcpy(many + 2 * i, "\x32\x00", 2);
		memcpy(labels + 6 * i, "\x22\x04\x0a\x00\x12\x00", 6);
		memcpy(unknown + 3 * i, "\xf8\x07\x01", 3);
	}
	memset(big, 'x', sizeof(big));
	memcpy(big, "\x1a\xfd\x1f", 3);
	test_cost("nothing", "", 0);
	test_cost("4096 empty messages", many, sizeof(many));
	test_cost("4096 labels", labels, sizeof(labels));
	test_cost("4096 unknown fields", unknown, sizeof(unknown));
	test_cost("a long string", big, sizeof(big));
	test_cost("the same field twice", "\x1a\x01x\x1a\x01y\x2a\x00\x2a\x02\x0a\x00", 12);
}

int
main(void)
{
	test_refused();
	test_depth(100, true);
	test_depth(101, false);
	test_costs();
	return tap_done();
}
