/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules for header blocks.
 */
#include "grpc/h2_head.h"

#include "tap.h"

static struct head h;

/* "name=value|name=value" to a block; the reason that it is malformed, or NULL. */
static const char *
block(enum head_kind kind, const char *text, bool end)
{
	char copy[512], *at = copy, *field;

	snprintf(copy, sizeof(copy), "%s", text);
	head_begin(&h, kind);
	while ((field = strsep(&at, "|")) != NULL && *field != '\0') {
		char *value = strchr(field, '=');

		head_field(&h, field, (size_t)(value - field), value + 1, strlen(value + 1));
	}
	head_end(&h, end);
	return h.malformed;
}

#define PSEUDO ":method=POST|:scheme=http|:path=/a/b|"

static void
test_good(void)
{
	is_str(block(HEAD_REQUEST,
	           PSEUDO ":authority=x y/z|te=trailers|content-type=a|grpc-timeout=1S|"
	                  "grpc-timeout=2S|content-length=12|content-length=12|x-other=y",
	           false),
	    NULL, "a request");
	is_str(h.pub.value[H2_METHOD], "POST", "method");
	is_str(h.pub.value[H2_PATH], "/a/b", "path");
	is_str(h.pub.value[H2_AUTHORITY], "x y/z", "any authority");
	is_str(h.pub.value[H2_GRPC_TIMEOUT], "1S", "of several values the first");
	is_str(h.pub.value[H2_STATUS], NULL, "no status");
	is_int(h.content_length, 12, "content-length");
	ok(!h.pub.end && !h.pub.too_large, "neither ended nor too large");
	is_str(block(HEAD_RESPONSE, ":status=200|content-type=x", true), NULL, "a response");
	ok(h.pub.end, "ended");
	is_str(h.pub.value[H2_STATUS], "200", "status");
	is_str(h.pub.value[H2_METHOD], NULL, "nothing is left of the block before");
	is_str(block(HEAD_TRAILERS, "grpc-status=5|grpc-message=", true), NULL, "trailers");
	is_str(h.pub.value[H2_GRPC_MESSAGE], "", "an empty value");
}

static void
test_bad(void)
{
	static const struct {
		enum head_kind kind;
		const char *text;
	} cases[] = {
	    {HEAD_REQUEST,  ""	                                  },
	    {HEAD_REQUEST,  ":method=POST|:scheme=http"                 },
	    {HEAD_REQUEST,  ":method=POST|:scheme=http|:path="          },
	    {HEAD_REQUEST,  PSEUDO ":method=POST"                       },
	    {HEAD_REQUEST,  PSEUDO ":authority=a|:authority=b"          },
	    {HEAD_REQUEST,  PSEUDO ":status=200"                        },
	    {HEAD_REQUEST,  PSEUDO ":protocol=x"                        },
	    {HEAD_REQUEST,  "te=trailers|" PSEUDO                       },
	    {HEAD_REQUEST,  PSEUDO "te=gzip"                            },
	    {HEAD_REQUEST,  PSEUDO "connection=close"                   },
	    {HEAD_REQUEST,  PSEUDO "keep-alive=1"                       },
	    {HEAD_REQUEST,  PSEUDO "proxy-connection=1"                 },
	    {HEAD_REQUEST,  PSEUDO "transfer-encoding=chunked"          },
	    {HEAD_REQUEST,  PSEUDO "upgrade=h2c"                        },
	    {HEAD_REQUEST,  PSEUDO "content-length=x"                   },
	    {HEAD_REQUEST,  PSEUDO "content-length="                    },
	    {HEAD_REQUEST,  PSEUDO "content-length=1|content-length=2"  },
	    {HEAD_REQUEST,  PSEUDO "content-length=99999999999999999999"},
	    {HEAD_REQUEST,  PSEUDO "=value"                             },
	    {HEAD_RESPONSE, "content-type=x"                            },
	    {HEAD_RESPONSE, ":status=200|:status=200"                   },
	    {HEAD_RESPONSE, ":status=200|:path=/"                       },
	    {HEAD_TRAILERS, ":status=200"                               },
	    {HEAD_TRAILERS, "x=y|:path=/"                               },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *why = block(cases[i].kind, cases[i].text, false);

		ok(why != NULL, "%s: %s", cases[i].text, why);
	}
	ok(block(HEAD_REQUEST, PSEUDO "content-length=1", true) != NULL, "a length without a body");
}

static void
test_size(void)
{
	static char value[H2_MAX_HEADER_LIST];

	memset(value, 'v', sizeof(value));
	head_begin(&h, HEAD_TRAILERS);
	head_field(&h, "x", 1, value, H2_MAX_HEADER_LIST - 33);
	ok(!h.pub.too_large, "64 KiB with the 32 bytes per field fit");
	head_field(&h, "", 0, "", 0);
	ok(h.pub.too_large, "one more field does not");
	head_begin(&h, HEAD_TRAILERS);
	for (int i = 0; i < 2000; i++)
		head_field(&h, "user-agent", 10, value, 100);
	ok(h.pub.too_large && h.text.len < 1000, "a repeated field is kept once");
	head_end(&h, true);
	is_int((long long)h.pub.list_size, 2000 * 142, "but counted every time");
}

int
main(void)
{
	test_good();
	test_bad();
	test_size();
	head_release(&h);
	return tap_done();
}
