/* SPDX-License-Identifier: Apache-2.0
 *
 * The subset of TOML: each document as the JSON it must become, or the line its error must name.
 */
#include "image/toml.h"

#include "base/buf.h"
#include "tap.h"

static const struct good {
	const char *toml, *json;
} goods[] = {
    {"", "{}"},
    {"\n\n# comment\n  # another\r\n", "{}"},
    {"a = 1", "{\"a\":1}"},
    {"a = true\nb = false # yes\n", "{\"a\":true,\"b\":false}"},
    {"a='C:\\x'\nb=\"tab\\there \\u00e9 \\U0001F600 \\\"q\\\"\"",
        "{\"a\":\"C:\\\\x\",\"b\":\"tab\\there \xc3\xa9 \xf0\x9f\x98\x80 \\\"q\\\"\"}"},
    {"a=''\nb=\"\"", "{\"a\":\"\",\"b\":\"\"}"},
    {"a = [ 1, 2,\n # x\n 3 ,]\n", "{\"a\":[1,2,3]}"},
    {"a = [[\"x\",\"y\"],[]]", "{\"a\":[[\"x\",\"y\"],[]]}"},
    {"a = { b = 1, \"c d\" = 'x', e.f = 2 }", "{\"a\":{\"b\":1,\"c d\":\"x\",\"e\":{\"f\":2}}}"},
    {"a={}", "{\"a\":{}}"},
    {"a.b.c = 1\na.b.d = 2", "{\"a\":{\"b\":{\"c\":1,\"d\":2}}}"},
    {"server = 'x'\n[host.\"https://m:5\"]\n  capabilities = [\"pull\"]\n  "
     "[host.\"https://m:5\".header]\n"
     "    x-y = [\"1\", \"2\"]\n[host.'http://n']\n",
        "{\"server\":\"x\",\"host\":{\"https://"
        "m:5\":{\"capabilities\":[\"pull\"],\"header\":{\"x-y\":[\"1\",\"2\"]}},"
        "\"http://n\":{}}}"},
    {"[a.b]\nx=1\n[a]\ny=2\n", "{\"a\":{\"b\":{\"x\":1},\"y\":2}}"},
    {"[ a . b ] # c\n 1 = 2", "{\"a\":{\"b\":{\"1\":2}}}"},
    {"z=1\na=2\nm=3", "{\"z\":1,\"a\":2,\"m\":3}"},
};

static const struct bad {
	const char *toml;
	unsigned line;
} bads[] = {
    {"a", 1},
    {"a =", 1},
    {"= 1", 1},
    {"a = 1 b = 2", 1},
    {"\n\na = 'x\n'", 3},
    {"a = \"x", 1},
    {"a = 1\na = 2", 2},
    {"[a]\n[a]", 2},
    {"a = 1\n[a]", 2},
    {"[a]\nb=1\n[a.b]", 3},
    {"[[a]]", 1},
    {"[a", 1},
    {"[]", 1},
    {"[a]]", 1},
    {"[a] x", 1},
    {"a = '''x'''", 1},
    {"a = \"\"\"x\"\"\"", 1},
    {"a = 1.5", 1},
    {"a = 1979-05-27", 1},
    {"a = +1", 1},
    {"a = -1", 1},
    {"a = 01", 1},
    {"a = 0x1", 1},
    {"a = nan", 1},
    {"a = True", 1},
    {"a = yes", 1},
    {"a = [1 2]", 1},
    {"a = [1", 1},
    {"a = [,]", 1},
    {"a = {b=1", 1},
    {"a = {b=1,}", 1},
    {"a = {\nb=1}", 1},
    {"a = \"\\x\"", 1},
    {"a = \"\\ud800\"", 1},
    {"a = \"\\u12\"", 1},
    {"a = \"\\U00110000\"", 1},
    {"a = \"\\u0000\"", 1},
    {"a = \"x\001\"", 1},
    {"# x\001", 1},
    {"a b = 1", 1},
    {"a..b = 1", 1},
    {".a = 1", 1},
    {"a. = 1", 1},
    {"a\r= 1", 1},
    {"a = 99999999999999999999", 1},
    {"\xc3\xa9 = 1", 1},
    {"a = \"\\", 1},
    {"[\"a", 1},
    {"a = {", 1},
};

static void
check_good(const struct good *g)
{
	struct err err = {0};
	json_t *doc = toml_parse(g->toml, strlen(g->toml), "f", &err);
	char *json;

	if (!ok(doc != NULL, "document %td", g - goods)) {
		diag("%s", err.msg);
		return;
	}
	json = json_dumps(doc, JSON_COMPACT);
	is_str(json, g->json, "is what it says");
	free(json);
	json_decref(doc);
}

static void
check_bad(const struct bad *b)
{
	char where[20];
	struct err err;
	json_t *doc = toml_parse(b->toml, strlen(b->toml), "f", &err);

	snprintf(where, sizeof(where), "f:%u: ", b->line);
	ok(doc == NULL && err.code == ERR_INVALID_ARGUMENT &&
	        strncmp(err.msg, where, strlen(where)) == 0,
	    "bad document %td: %s", b - bads, doc == NULL ? err.msg : "accepted");
	json_decref(doc);
}

int
main(void)
{
	struct buf b = BUF_INIT;
	struct err err;

	for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++)
		check_good(&goods[i]);
	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++)
		check_bad(&bads[i]);
	buf_addstr(&b, "a=");
	for (int i = 0; i < 100000; i++)
		buf_addch(&b, '[');
	ok(toml_parse(b.data, b.len, "f", &err) == NULL, "100000 brackets: %s", err.msg);
	buf_truncate(&b, 0);
	for (int i = 0; i < 100000; i++)
		buf_addstr(&b, "a.");
	ok(toml_parse(b.data, b.len, "f", &err) == NULL, "a key of 100000 parts: %s", err.msg);
	ok(toml_parse("a\0=1", 4, "f", &err) == NULL, "a NUL: %s", err.msg);
	ok(toml_parse("a='\xff'", 5, "f", &err) == NULL, "not UTF-8: %s", err.msg);
	ok(toml_parse(b.data, TOML_MAX + 1, "f", &err) == NULL &&
	        err.code == ERR_RESOURCE_EXHAUSTED,
	    "more than a MiB");
	buf_release(&b);
	return tap_done();
}
