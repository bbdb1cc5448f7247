/* SPDX-License-Identifier: Apache-2.0
 *
 * Header blocks by libh2o's decoder, field by field: the examples of RFC 7541 appendix C, responses
 * (which the library cannot read by itself), and blocks that are broken or too large.
 */
#include "grpc/h2_h2o.h"

#include "base/id.h"
#include "tap.h"

static struct h2o_conn c;
static struct head h;

static void
table(size_t size)
{
	h2o_hpack_dispose_header_table(&c.table);
	memset(&c.table, 0, sizeof(c.table));
	c.table.hpack_capacity = c.table.hpack_max_capacity = size;
}

/* The hex digits of a block, blanks between; of its exact size, and the byte that may be read. */
static int
parse(enum head_kind kind, const char *hex)
{
	char digits[2048];
	size_t n = 0;
	uint8_t *bytes;
	int r;

	for (; *hex != '\0'; hex++)
		if (*hex != ' ')
			digits[n++] = *hex;
	digits[n] = '\0';
	n /= 2;
	bytes = malloc(n + 1);
	if (hex_decode(digits, bytes, n) < 0)
		abort();
	bytes[n] = 0;
	head_begin(&h, kind);
	r = hpack_parse(&c, &h, bytes, n);
	head_end(&h, true);
	free(bytes);
	return r;
}

static void
request(const char *hex, const char *scheme, const char *path, size_t table_size, const char *what)
{
	ok(parse(HEAD_REQUEST, hex) == 0 && h.malformed == NULL, "%s: %s", what,
	    h.malformed != NULL ? h.malformed : "well-formed");
	is_str(h.pub.value[H2_METHOD], "GET", ":method");
	is_str(h.pub.value[H2_SCHEME], scheme, ":scheme");
	is_str(h.pub.value[H2_PATH], path, ":path");
	is_str(h.pub.value[H2_AUTHORITY], "www.example.com", ":authority");
	is_int((long long)c.table.hpack_size, (long long)table_size, "size of the table");
}

static void
response(const char *hex, const char *status, size_t table_size, const char *what)
{
	int r = parse(HEAD_RESPONSE, hex);

	ok(r == 0 && h.malformed == NULL, "%s: %d %s", what, r,
	    h.malformed != NULL ? h.malformed : "well-formed");
	is_str(h.pub.value[H2_STATUS], status, ":status");
	is_int((long long)c.table.hpack_size, (long long)table_size, "size of the table");
}

static void
test_rfc(void)
{
	table(4096);
	request("828684410f7777772e6578616d706c652e636f6d", "http", "/", 57, "C.3.1");
	request("828684be58086e6f2d6361636865", "http", "/", 110, "C.3.2");
	request("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", "https",
	    "/index.html", 164, "C.3.3");
	table(4096);
	request("828684418cf1e3c2e5f23a6ba0ab90f4ff", "http", "/", 57, "C.4.1");
	request("828684be5886a8eb10649cbf", "http", "/", 110, "C.4.2");
	request("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", "https", "/index.html", 164,
	    "C.4.3");
	table(256);
	response(
	    "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120"
	    "474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
	    "302", 222, "C.5.1");
	response("4803333037c1c0bf", "307", 222, "C.5.2: the table evicts");
	response(
	    "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738"
	    "666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d3336"
	    "3030"
	    "3b2076657273696f6e3d31",
	    "200", 215, "C.5.3");
	table(256);
	response("488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad1"
	         "71863c7"
	         "8f0b97c8e9ae82ae43d3",
	    "302", 222, "C.6.1");
	response("4883640effc1c0bf", "307", 222, "C.6.2");
	response("88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e"
	         "6c7b335"
	         "dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
	    "200", 215, "C.6.3");
}

static void
test_statuses(void)
{
	uint8_t packed[32];
	char hex[96];
	size_t n;

	table(4096);
	is_int(parse(HEAD_RESPONSE, "00073a73746174757303343034"), 0, "a literal name");
	is_str(h.pub.value[H2_STATUS], "404", "its value");
	n = h2o_hpack_encode_string(packed, ":status", 7);
	memcpy(hex, "40", 2);
	hex_encode(packed, n, hex + 2);
	memcpy(hex + 2 + 2 * n, "03343034", 9);
	is_int(parse(HEAD_RESPONSE, hex), 0, "a name in Huffman code, into the table");
	is_str(h.pub.value[H2_STATUS], "404", "its value");
	is_int((long long)c.table.num_entries, 1, "the entry");
	is_int(parse(HEAD_RESPONSE, "be"), 0, "the entry by its index");
	is_str(h.pub.value[H2_STATUS], "404", "its value");
	is_int(parse(HEAD_RESPONSE, "7e03353030"), 0, "its name by the index, another value");
	is_str(h.pub.value[H2_STATUS], "500", "that value");
	is_int(parse(HEAD_RESPONSE, "bf"), 0, "the first entry moved on");
	is_str(h.pub.value[H2_STATUS], "404", "its value");
	is_int(parse(HEAD_RESPONSE, "89"), 0, "204 of the static table");
	is_str(h.pub.value[H2_STATUS], "204", "its value");
	ok(parse(HEAD_RESPONSE, "8888") == 0 && h.malformed != NULL, "two: %s", h.malformed);
	ok(parse(HEAD_RESPONSE, "0f1000") == 0 && h.malformed != NULL, "none: %s", h.malformed);
	ok(parse(HEAD_RESPONSE, "0814 3132333435363738393031323334353637383930") == 0 &&
	        h.malformed != NULL,
	    "a very long one: %s", h.malformed);
	ok(parse(HEAD_TRAILERS, "88") == 0 && h.malformed != NULL, "in trailers: %s", h.malformed);
	ok(parse(HEAD_RESPONSE, "8884") == 0 && h.malformed != NULL, "a :path in a response: %s",
	    h.malformed);
}

static void
test_broken(void)
{
	static const char *const blocks[] = {"80", "be", "ff", "ffff", "ffffffffff7f", "40", "4001",
	    "400161", "40016105", "0001617f", "00", "0f", "000161ffffffffff7f", "20", "3f",
	    "3fe120", "8220", "823f81", "000161 81ff"};

	table(4096);
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		ok(parse(HEAD_REQUEST, blocks[i]) != 0, "%s is broken", blocks[i]);
	ok(parse(HEAD_REQUEST, "000141 0162") != 0, "an upper-case name");
	is_int((long long)c.table.num_entries, 0, "nothing of it is in the table");
	is_int(parse(HEAD_REQUEST, "203fe11f82868401 0161"), 0, "two table sizes at the beginning");
	ok(h.malformed == NULL, "are well-formed");
	ok(parse(HEAD_REQUEST, "82868400000161") == 0 && h.malformed != NULL, "an empty name: %s",
	    h.malformed);
	ok(parse(HEAD_REQUEST, "828684 000378207900") == 0 && h.malformed != NULL,
	    "a blank in a name: %s", h.malformed);
	ok(parse(HEAD_REQUEST, "828684 00017803610a62") == 0 && h.malformed != NULL,
	    "LF in a value: %s", h.malformed);
	ok(parse(HEAD_REQUEST, "828684 400a636f6e6e656374696f6e0161") == 0 && h.malformed != NULL,
	    "connection: %s", h.malformed);
	is_int((long long)c.table.num_entries, 1, "but that is in the table");
	is_int(parse(HEAD_REQUEST, "828684 0f170161 660162"), 0, "host is taken and dropped");
}

/* A dynamic entry of 4000 bytes, named 1000 times. */
static void
test_bomb(void)
{
	size_t n = 3 + 4 + 4000, at;
	uint8_t *p = calloc(1, n + 1001);

	table(4096);
	memcpy(p, "\x40\x01x\x7f\xa1\x1e", 6);
	memset(p + 6, 'y', 4000);
	at = 6 + 4000;
	memset(p + at, 0xbe, 1000);
	at += 1000;
	head_begin(&h, HEAD_REQUEST);
	is_int(hpack_parse(&c, &h, p, at), 0, "a bomb is taken apart");
	ok(h.pub.too_large, "and is too large");
	is_int((long long)h.pub.list_size, 1001 * 4033, "as much as it would have been");
	free(p);
}

static void
test_write(void)
{
	static const struct h2_field fields[] = {
	    {H2_STATUS,       "200"             },
	    {H2_CONTENT_TYPE, "application/grpc"},
	    {H2_GRPC_STATUS,  "13"              },
	    {H2_GRPC_MESSAGE, "x"               },
	};
	static const struct h2_field rq[] = {
	    {H2_METHOD,       "POST"     },
	    {H2_SCHEME,       "http"     },
	    {H2_PATH,         "/a/b"     },
	    {H2_AUTHORITY,    "localhost"},
	    {H2_TE,           "trailers" },
	    {H2_USER_AGENT,   "x"        },
	    {H2_GRPC_TIMEOUT, "1S"       },
	};
	struct buf b = BUF_INIT;
	char long_value[5000];

	table(4096);
	hpack_write(&b, fields, 4);
	head_begin(&h, HEAD_RESPONSE);
	is_int(hpack_parse(&c, &h, (uint8_t *)b.data, b.len), 0, "what is written is read");
	head_end(&h, false);
	for (size_t i = 0; i < 4; i++)
		is_str(h.pub.value[fields[i].name], fields[i].value, head_name(fields[i].name));
	is_int((long long)c.table.num_entries, 0, "nothing is indexed");
	buf_truncate(&b, 0);
	hpack_write(&b, rq, 7);
	head_begin(&h, HEAD_REQUEST);
	is_int(hpack_parse(&c, &h, (uint8_t *)b.data, b.len), 0, "a request");
	head_end(&h, false);
	for (size_t i = 0; i < 7; i++)
		is_str(h.pub.value[rq[i].name], rq[i].value, head_name(rq[i].name));
	for (size_t n = 120; n < sizeof(long_value); n = n * 2 - 113) {
		struct h2_field f = {H2_GRPC_MESSAGE, long_value};

		memset(long_value, 'm', n);
		long_value[n] = '\0';
		buf_truncate(&b, 0);
		hpack_write(&b, &f, 1);
		head_begin(&h, HEAD_TRAILERS);
		ok(hpack_parse(&c, &h, (uint8_t *)b.data, b.len) == 0, "a value of %zu bytes", n);
		head_end(&h, true);
		ok(strcmp(h.pub.value[H2_GRPC_MESSAGE], long_value) == 0, "... comes back");
	}
	buf_release(&b);
}

int
main(void)
{
	test_rfc();
	test_statuses();
	test_broken();
	test_bomb();
	test_write();
	h2o_hpack_dispose_header_table(&c.table);
	head_release(&h);
	return tap_done();
}
