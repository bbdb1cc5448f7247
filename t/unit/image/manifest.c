/* SPDX-License-Identifier: Apache-2.0
 *
 * Manifests and indexes: good ones, hostile ones, and the choice of a platform.
 */
#include "image/manifest.h"

#include "base/buf.h"
#include "tap.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define D "sha256:" HEX64
#define CONFIG "{\"mediaType\":\"" MEDIA_OCI_CONFIG "\",\"digest\":\"" D "\",\"size\":7}"
#define LAYER "{\"mediaType\":\"" MEDIA_OCI_LAYER_GZIP "\",\"digest\":\"" D "\",\"size\":12}"
#define IMAGE(more) "{\"schemaVersion\":2,\"config\":" CONFIG ",\"layers\":[" LAYER "]" more "}"
#define ENTRY(type, os, arch, variant)                                                             \
	"{\"mediaType\":\"" type "\",\"digest\":\"" D "\",\"size\":5,\"platform\":{\"os\":\"" os   \
	"\",\"architecture\":\"" arch "\",\"variant\":\"" variant "\"}}"
#define INDEX(list) "{\"schemaVersion\":2,\"manifests\":[" list "]}"
#define E(os, arch, variant) ENTRY(MEDIA_OCI_MANIFEST, os, arch, variant)

static const struct bad {
	const char *what, *doc, *media_type;
	enum err_code code;
} bads[] = {
    {"empty", "", MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"not JSON", "hello", MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"HTML", "<html></html>", "text/html", ERR_INVALID_ARGUMENT},
    {"a list", "[]", MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"an empty object", "{}", MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"trailing bytes", IMAGE("") "x", MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"a key twice", IMAGE(",\"layers\":[]"), MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"a key in other case", IMAGE(",\"Layers\":[]"), MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"image and index at once", IMAGE(",\"manifests\":[]"), MEDIA_OCI_MANIFEST,
        ERR_INVALID_ARGUMENT},
    {"the same as an index", IMAGE(",\"manifests\":[]"), MEDIA_OCI_INDEX, ERR_INVALID_ARGUMENT},
    {"the same in disguise", IMAGE(",\"MANIFESTS\":[]"), MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"an index with layers", "{\"schemaVersion\":2,\"manifests\":[],\"layers\":[]}",
        MEDIA_OCI_INDEX, ERR_INVALID_ARGUMENT},
    {"an image announced as index", IMAGE(""), MEDIA_OCI_INDEX, ERR_INVALID_ARGUMENT},
    {"an index announced as image", INDEX(""), MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"mediaType against Content-Type", IMAGE(",\"mediaType\":\"" MEDIA_DOCKER_MANIFEST "\""),
        MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"no type at all", IMAGE(""), NULL, ERR_INVALID_ARGUMENT},
    {"only a generic type", IMAGE(""), "application/json", ERR_INVALID_ARGUMENT},
    {"an unknown type", IMAGE(""), "text/html", ERR_UNIMPLEMENTED},
    {"an unknown mediaType", IMAGE(",\"mediaType\":\"x/y\""), NULL, ERR_UNIMPLEMENTED},
    {"schema 1", "{\"schemaVersion\":1,\"fsLayers\":[]}",
        "application/vnd.docker.distribution.manifest.v1+prettyjws", ERR_UNIMPLEMENTED},
    {"schema 1 in disguise", IMAGE(",\"fsLayers\":[]"), MEDIA_OCI_MANIFEST, ERR_UNIMPLEMENTED},
    {"schemaVersion 3", "{\"schemaVersion\":3,\"config\":" CONFIG ",\"layers\":[]}",
        MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"schemaVersion as text", "{\"schemaVersion\":\"2\",\"config\":" CONFIG ",\"layers\":[]}",
        MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"no config", "{\"schemaVersion\":2,\"layers\":[]}", MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"no layers", "{\"schemaVersion\":2,\"config\":" CONFIG "}", MEDIA_OCI_MANIFEST,
        ERR_INVALID_ARGUMENT},
    {"layers as object", "{\"schemaVersion\":2,\"config\":" CONFIG ",\"layers\":{}}",
        MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"a layer that is a number", "{\"schemaVersion\":2,\"config\":" CONFIG ",\"layers\":[1]}",
        MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"a digest that is a path",
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG
        "\",\"digest\":\"sha256:../../x\",\"size\":1},\"layers\":[]}",
        MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"a digest of an unknown algorithm",
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG
        "\",\"digest\":\"md5:0123\",\"size\":1},\"layers\":[]}",
        MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"no digest",
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG
        "\",\"size\":1},\"layers\":[]}",
        MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"no size",
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG "\",\"digest\":\"" D
        "\"},\"layers\":[]}",
        MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"a negative size",
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG "\",\"digest\":\"" D
        "\",\"size\":-1},\"layers\":[]}",
        MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"a size of fractions",
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG "\",\"digest\":\"" D
        "\",\"size\":1.5},\"layers\":[]}",
        MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"a size beyond reason",
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG "\",\"digest\":\"" D
        "\",\"size\":9223372036854775807},\"layers\":[]}",
        MEDIA_OCI_MANIFEST, ERR_RESOURCE_EXHAUSTED},
    {"a size that overflows",
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG "\",\"digest\":\"" D
        "\",\"size\":92233720368547758070},\"layers\":[]}",
        MEDIA_OCI_MANIFEST, ERR_INVALID_ARGUMENT},
    {"a NUL in a key", "{\"schemaVersion\":2,\"a\\u0000b\":1}", MEDIA_OCI_MANIFEST,
        ERR_INVALID_ARGUMENT},
    {"broken UTF-8", "{\"schemaVersion\":2,\"a\":\"\xff\"}", MEDIA_OCI_MANIFEST,
        ERR_INVALID_ARGUMENT},
    {"an index without manifests", "{\"schemaVersion\":2,\"manifests\":null}", MEDIA_OCI_INDEX,
        ERR_INVALID_ARGUMENT},
    {"a platform that is a list",
        INDEX("{\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"digest\":\"" D
              "\",\"size\":1,\"platform\":[]}"),
        MEDIA_OCI_INDEX, ERR_INVALID_ARGUMENT},
    {"a platform longer than any",
        INDEX(E("linux", "a0123456789012345678901234567890123456789", "")), MEDIA_OCI_INDEX,
        ERR_INVALID_ARGUMENT},
};

static struct manifest *
parse(const char *doc, const char *media_type, struct err *err)
{
	return manifest_parse(doc, strlen(doc), media_type, err);
}

static void
test_bad(void)
{
	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		struct err err = {0};
		struct manifest *m = parse(bads[i].doc, bads[i].media_type, &err);

		ok(m == NULL && err.code == bads[i].code, "%s: refused", bads[i].what);
		if (m != NULL || err.code != bads[i].code)
			diag("%s: %s", err_name(err.code), err.msg);
		manifest_free(m);
	}
}

static void
check_refused(struct buf *b, enum err_code code, const char *what)
{
	struct err err = {0};
	struct manifest *m = manifest_parse(b->data, b->len, MEDIA_OCI_MANIFEST, &err);

	ok(m == NULL && err.code == code, "%s: refused", what);
	if (m == NULL)
		diag("%s", err.msg);
	manifest_free(m);
	buf_release(b);
}

static void
test_bombs(void)
{
	struct buf b = BUF_INIT;

	for (int i = 0; i < 100000; i++)
		buf_addch(&b, '[');
	check_refused(&b, ERR_RESOURCE_EXHAUSTED, "100000 levels");
	buf_addstr(&b, "{\"a\":[0");
	for (int i = 0; i < 2000000; i++)
		buf_addstr(&b, ",0");
	buf_addstr(&b, "]}");
	check_refused(&b, ERR_RESOURCE_EXHAUSTED, "two million values");
	buf_addstr(&b, "{\"schemaVersion\":2,\"config\":" CONFIG ",\"layers\":[" LAYER);
	for (int i = 0; i < MANIFEST_LAYERS_MAX; i++)
		buf_addstr(&b, "," LAYER);
	buf_addstr(&b, "]}");
	check_refused(&b, ERR_RESOURCE_EXHAUSTED, "501 layers");
	buf_addstr(&b, "{\"a\":\"");
	for (int i = 0; i < MANIFEST_MAX / 16; i++)
		buf_addstr(&b, "0123456789abcdef");
	buf_addstr(&b, "\"}");
	check_refused(&b, ERR_RESOURCE_EXHAUSTED, "more than 4 MiB");
	buf_addstr(&b, "\"");
	check_refused(&b, ERR_INVALID_ARGUMENT, "a quote alone");
	buf_addstr(&b, "{\"a\\");
	check_refused(&b, ERR_INVALID_ARGUMENT, "a backslash at the end");
}

static void
test_image(void)
{
	struct err err;
	struct manifest *m = parse(IMAGE(",\"annotations\":null,\"subject\":{}"),
	    MEDIA_OCI_MANIFEST "; charset=utf-8", &err);
	static const char *const typed = IMAGE(",\"mediaType\":\"" MEDIA_DOCKER_MANIFEST "\"");

	if (!ok(m != NULL, "an OCI manifest, its type with a parameter"))
		return;
	ok(!m->is_index && m->n_layers == 1 && m->n_entries == 0, "an image of one layer");
	is_str(m->media_type, MEDIA_OCI_MANIFEST, "type");
	is_str(m->config.digest, D, "config digest");
	is_int(m->config.size, 7, "config size");
	is_int(m->layers[0].size, 12, "layer size");
	ok(manifest_check_image(m, &err) == 0, "can be unpacked");
	manifest_free(m);
	m = parse(typed, NULL, &err);
	ok(m != NULL, "it says itself what it is");
	manifest_free(m);
	m = parse(typed, "application/octet-stream", &err);
	ok(m != NULL, "the same behind a generic Content-Type");
	manifest_free(m);
	m = parse(
	    "{\"schemaVersion\":2,\"config\":" CONFIG ",\"layers\":[]}", MEDIA_OCI_MANIFEST, &err);
	ok(m != NULL && m->n_layers == 0, "an image without layers");
	manifest_free(m);
}

static void
test_check_image(void)
{
	static const struct {
		const char *config, *layer, *says;
	} kinds[] = {
	    {"application/vnd.oci.empty.v1+json", MEDIA_OCI_LAYER, "artifact"},
	    {"application/vnd.cncf.helm.config.v1+json", MEDIA_OCI_LAYER, "artifact"},
	    {MEDIA_OCI_CONFIG, MEDIA_OCI_LAYER_GZIP "+encrypted", "encrypted"},
	    {MEDIA_DOCKER_CONFIG, "text/plain", "text/plain"},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct buf b = BUF_INIT;
		struct manifest *m;
		struct err err;

		buf_addf(&b,
		    "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"%s\",\"digest\":\"" D
		    "\",\"size\":1},\"layers\":[{\"mediaType\":\"%s\",\"digest\":\"" D
		    "\",\"size\":1}]}",
		    kinds[i].config, kinds[i].layer);
		m = parse(b.data, MEDIA_OCI_MANIFEST, &err);
		if (ok(m != NULL, "manifest of %s parses", kinds[i].config))
			ok(manifest_check_image(m, &err) < 0 && err.code == ERR_UNIMPLEMENTED &&
			        strstr(err.msg, kinds[i].says) != NULL,
			    "but is no image: %s", err.msg);
		manifest_free(m);
		buf_release(&b);
	}
}

static const struct choice {
	const char *want;
	const char *index; /* entries are told apart by their position */
	int at;            /* -1: none fits */
} choices[] = {
    {"linux/amd64", INDEX(E("linux", "arm64", "") "," E("linux", "amd64", "")), 1},
    {"linux/amd64", INDEX(E("windows", "amd64", "") "," E("linux", "x86_64", "")), 1},
    {"linux/amd64", INDEX(E("linux", "amd64", "v3") "," E("linux", "amd64", "v1")), 1},
    {"linux/amd64", INDEX(E("linux", "amd64", "v3")), -1},
    {"linux/amd64/v3",
        INDEX(E("linux", "amd64", "") "," E("linux", "amd64", "v2") "," E("linux", "amd64", "v4")),
        1},
    {"linux/amd64", INDEX(E("linux", "386", "") "," E("linux", "amd64", "")), 1},
    {"linux/amd64", INDEX(E("linux", "386", "")), 0},
    {"linux/amd64", INDEX(E("linux", "amd64", "") "," E("linux", "amd64", "")), 0},
    {"linux/amd64", INDEX(E("unknown", "unknown", "") "," E("linux", "amd64", "")), 1},
    {"linux/amd64", INDEX(E("unknown", "unknown", "")), -1},
    {"linux/amd64", INDEX(""), -1},
    {"linux/arm/v7", INDEX(E("linux", "arm", "v5") "," E("linux", "arm", "v6")), 1},
    {"linux/arm/v6", INDEX(E("linux", "arm", "v7") "," E("linux", "arm", "v5")), 1},
    {"linux/arm/v7", INDEX(E("linux", "arm", "v6") "," E("linux", "arm", "")), 1},
    {"linux/arm64", INDEX(E("linux", "arm", "v7") "," E("linux", "arm64", "v8")), 1},
    {"linux/arm64", INDEX(E("linux", "arm", "v6") "," E("linux", "arm", "v7")), 1},
    {"linux/aarch64", INDEX(E("linux", "arm64", "v9") "," E("linux", "arm64", "")), 1},
    {"linux/riscv64", INDEX(E("linux", "riscv64", "")), 0},
    {"linux/amd64",
        INDEX("{\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"digest\":\"" D "\",\"size\":1}"), 0},
    {"linux/amd64",
        INDEX("{\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"digest\":\"" D
              "\",\"size\":1}," E("linux", "amd64", "")),
        1},
    {"linux/amd64", INDEX(ENTRY("text/plain", "linux", "amd64", "")), -1},
    {"linux/amd64", INDEX(ENTRY(MEDIA_OCI_INDEX, "linux", "amd64", "")), 0},
};

static void
test_choose(void)
{
	for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
		const struct manifest_entry *e;
		struct platform want;
		struct manifest *m;
		struct err err;

		m = parse(choices[i].index, MEDIA_OCI_INDEX, &err);
		if (!ok(m != NULL && platform_parse(choices[i].want, &want, &err) == 0, "index %zu",
		        i))
			continue;
		e = manifest_choose(m, &want, &err);
		is_int(e != NULL ? e - m->entries : -1, choices[i].at, choices[i].want);
		if (e == NULL)
			ok(err.code == ERR_NOT_FOUND && strstr(err.msg, choices[i].want) != NULL,
			    "%s", err.msg);
		manifest_free(m);
	}
}

static void
test_platform(void)
{
	static const char *const bad[] = {"/", "linux/", "/amd64", "linux//v7", "a/b/c/d",
	    "linux/a b", "linux/0123456789012345678901234567890123", "linux/arm/v7890123456789012"};
	struct platform p;
	struct err err;
	char text[100];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(platform_parse(bad[i], &p, &err) < 0, "'%s' is no platform", bad[i]);
	ok(platform_parse("", &p, &err) == 0 && strcmp(p.os, "linux") == 0 && p.arch[0] != '\0',
	    "the machine's own");
	ok(platform_parse("armhf", &p, &err) == 0, "an architecture alone");
	platform_format(&p, text, sizeof(text));
	is_str(text, "linux/arm", "armhf");
	ok(platform_parse("linux/arm/6", &p, &err) == 0, "a variant without v");
	platform_format(&p, text, sizeof(text));
	is_str(text, "linux/arm/v6", "arm v6");
}

int
main(void)
{
	test_bad();
	test_bombs();
	test_image();
	test_check_image();
	test_choose();
	test_platform();
	return tap_done();
}
