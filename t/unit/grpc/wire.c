/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC's small encodings.
 */
#include "grpc/wire.h"

#include "tap.h"

static void
test_prefix(void)
{
	static const size_t lengths[] = {0, 1, 255, 256, 65536, 16777216, UINT32_MAX};
	uint8_t p[WIRE_PREFIX];

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		wire_put_prefix(p, lengths[i]);
		ok(p[0] == 0 && wire_length(p) == lengths[i], "length %zu", lengths[i]);
	}
}

static void
test_timeout(void)
{
	static const struct {
		const char *text;
		int64_t ms; /* -1: none */
	} cases[] = {
	    {"1H",         3600000                    },
	    {"1M",         60000                      },
	    {"10S",        10000                      },
	    {"100m",       100	                },
	    {"1500u",      2	                  },
	    {"1000u",      1	                  },
	    {"1u",         1	                  },
	    {"1n",         1	                  },
	    {"1000000n",   1	                  },
	    {"1000001n",   2	                  },
	    {"0m",         0	                  },
	    {"0n",         0	                  },
	    {"00000001S",  1000                       },
	    {"99999999H",  INT64_C(99999999) * 3600000},
	    {"",           -1	                 },
	    {"1",          -1	                 },
	    {"m",          -1	                 },
	    {"1s",         -1	                 },
	    {"1h",         -1	                 },
	    {"-1m",        -1	                 },
	    {"+1m",        -1	                 },
	    {" 1m",        -1	                 },
	    {"1 m",        -1	                 },
	    {"1mm",        -1	                 },
	    {"100000000m", -1                         },
	    {"1.5S",       -1	                 },
	    {"0x1m",       -1	                 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t ms = -1;
		int r = wire_parse_timeout(cases[i].text, &ms);

		ok((r == 0) == (cases[i].ms >= 0) && ms == cases[i].ms, "'%s' is %lld ms",
		    cases[i].text, (long long)cases[i].ms);
	}
	for (int64_t ms = 1; ms < INT64_MAX / 50; ms *= 37) {
		char text[WIRE_TIMEOUT_MAX];
		int64_t back = -1;

		wire_format_timeout(ms, text);
		ok(wire_parse_timeout(text, &back) == 0 && back <= ms &&
		        (back > ms - ms / 1000 - 3600000 || strcmp(text, "99999999H") == 0),
		    "%lld ms there and back as %s", (long long)ms, text);
	}
}

static void
test_percent(void)
{
	static const struct {
		const char *plain, *encoded;
	} cases[] = {
	    {"",	               ""	              },
	    {"plain text, 1 + 1 = 2~", "plain text, 1 + 1 = 2~"},
	    {"50%",	            "50%25"                 },
	    {"caf\xc3\xa9",            "caf%C3%A9"             },
	    {"a\nb\tc",                "a%0Ab%09c"             },
	    {"\x7f\x01",               "%7F%01"                },
	    {"%41",	            "%2541"                 },
	};
	char out[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		wire_percent_encode(cases[i].plain, out, sizeof(out));
		is_str(out, cases[i].encoded, "encoded");
		wire_percent_decode(cases[i].encoded, out, sizeof(out));
		is_str(out, cases[i].plain, "... and decoded");
	}
	wire_percent_encode("ab\nc", out, 5);
	is_str(out, "ab", "an escape is not cut");
	wire_percent_encode("ab\nc", out, 6);
	is_str(out, "ab%0A", "it fits");
	wire_percent_encode("abc", out, 1);
	is_str(out, "", "no room");
	wire_percent_decode("%", out, sizeof(out));
	is_str(out, "%", "a lone sign");
	wire_percent_decode("%4", out, sizeof(out));
	is_str(out, "%4", "half an escape");
	wire_percent_decode("%zz%61", out, sizeof(out));
	is_str(out, "%zza", "no hex digits");
	wire_percent_decode("a%00b", out, sizeof(out));
	is_str(out, "a%00b", "an escaped NUL stays escaped");
	wire_percent_decode("%e2%9C%93", out, sizeof(out));
	is_str(out, "\xe2\x9c\x93", "digits of either case");
	wire_percent_decode("abcdef", out, 4);
	is_str(out, "abc", "decoding is cut at the room there is");
}

int
main(void)
{
	test_prefix();
	test_timeout();
	test_percent();
	ok(wire_is_grpc("application/grpc") && wire_is_grpc("application/grpc+proto") &&
	        wire_is_grpc("application/grpc;charset=x"),
	    "content types that are gRPC's");
	ok(!wire_is_grpc(NULL) && !wire_is_grpc("") && !wire_is_grpc("application/grpcx") &&
	        !wire_is_grpc("application/grp") && !wire_is_grpc("text/plain"),
	    "and that are not");
	return tap_done();
}
