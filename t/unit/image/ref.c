/* SPDX-License-Identifier: Apache-2.0
 *
 * Image references and digests: what is accepted, as what, and what is refused.
 */
#include "image/ref.h"

#include "base/xalloc.h"
#include "image/digest.h"
#include "tap.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SHA256 "sha256:" HEX64
#define SHA512 "sha512:" HEX64 HEX64

static const struct good {
	const char *in, *name, *tag, *digest, *string;
} goods[] = {
    {"busybox", "docker.io/library/busybox", "latest", NULL, "docker.io/library/busybox:latest"},
    {"busybox:1.36", "docker.io/library/busybox", "1.36", NULL, "docker.io/library/busybox:1.36"},
    {"user/app", "docker.io/user/app", "latest", NULL, "docker.io/user/app:latest"},
    {"docker.io/busybox", "docker.io/library/busybox", "latest", NULL,
        "docker.io/library/busybox:latest"},
    {"index.docker.io/a/b:c", "docker.io/a/b", "c", NULL, "docker.io/a/b:c"},
    {"localhost/x", "localhost/x", "latest", NULL, "localhost/x:latest"},
    {"localhost:5000/x", "localhost:5000/x", "latest", NULL, "localhost:5000/x:latest"},
    {"localhost:5000", "docker.io/library/localhost", "5000", NULL,
        "docker.io/library/localhost:5000"},
    {"registry.example:5000/a/b/c:T_1.-x", "registry.example:5000/a/b/c", "T_1.-x", NULL,
        "registry.example:5000/a/b/c:T_1.-x"},
    {"127.0.0.1:80/x", "127.0.0.1:80/x", "latest", NULL, "127.0.0.1:80/x:latest"},
    {"[::1]:5000/x:y", "[::1]:5000/x", "y", NULL, "[::1]:5000/x:y"},
    {"[fe80::1]/x", "[fe80::1]/x", "latest", NULL, "[fe80::1]/x:latest"},
    {"Upper/x", "Upper/x", "latest", NULL, "Upper/x:latest"},
    {"q.io/x@" SHA256, "q.io/x", NULL, SHA256, "q.io/x@" SHA256},
    {"q.io/x:t@" SHA256, "q.io/x", "t", SHA256, "q.io/x@" SHA256},
    {"q.io/x@" SHA512, "q.io/x", NULL, SHA512, "q.io/x@" SHA512},
    {"q.io/a.b_c__d-e---f", "q.io/a.b_c__d-e---f", "latest", NULL, "q.io/a.b_c__d-e---f:latest"},
    {"q.io/" HEX64, "q.io/" HEX64, "latest", NULL, "q.io/" HEX64 ":latest"},
};

static const char *const bads[] = {"", ":tag", "@" SHA256, "Busybox", "a/B", "/x", "x/", "a//b",
    "a/../b", "../x", ".x/y", "a..b", "a___b", "a/-b", "a/b-", "a/b.", "_a", "x:", "x:.t", "x:-t",
    "x: t", "x:a/b:", "x y", "x\n", "x\ty", "x@", "x@sha256:", "x@sha256:../../etc", "x@md5:0123",
    "x@sha256:0123", "x@SHA256:" HEX64, "x@" SHA256 "0", "x@" SHA256 "@" SHA256,
    "x@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef", HEX64,
    HEX64 ":latest", "http://q.io/x", "q.io:/x", "q.io:port/x", "q.io:99999999999/x",
    "q.io:65536/x", "-q.io/x", "q-.io/x", "q..io/x", "[::1/x", "[]/x", "::1/x", "[::1]5000/x",
    "user@q.io/x", "x?y", "x#y", "x%2fy", "q.io/\xc3\xa9", "docker.io/", "q.io/x:\xff"};

static void
test_good(void)
{
	for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
		const struct good *g = &goods[i];
		struct image_ref ref;
		struct err err;
		char *s;

		if (!ok(image_ref_parse(g->in, &ref, &err) == 0, "'%s' is a reference", g->in)) {
			diag("%s", err.msg);
			continue;
		}
		s = image_ref_string(&ref);
		is_str(ref.name, g->name, "name");
		is_str(ref.tag, g->tag, "tag");
		is_str(ref.digest, g->digest, "digest");
		is_str(s, g->string, "string");
		free(s);
		image_ref_release(&ref);
	}
}

static void
test_bad(void)
{
	char *huge = xmalloc(10001), name[260];
	struct image_ref ref;
	struct err err;

	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		bool refused = image_ref_parse(bads[i], &ref, &err) < 0;

		ok(refused && err.code == ERR_INVALID_ARGUMENT, "bad reference %zu is refused", i);
		if (!refused) {
			diag("accepted: %s", bads[i]);
			image_ref_release(&ref);
		}
	}
	memset(huge, 'a', 10000);
	huge[10000] = '\0';
	ok(image_ref_parse(huge, &ref, &err) < 0, "10000 bytes are refused");
	free(huge);
	memset(name, 'a', sizeof(name));
	memcpy(name, "q.io/", 5);
	name[255] = '\0';
	ok(image_ref_parse(name, &ref, &err) == 0, "a name of 255 bytes is taken");
	image_ref_release(&ref);
	name[255] = 'a';
	name[256] = '\0';
	ok(image_ref_parse(name, &ref, &err) < 0, "a name of 256 bytes is refused");
	ok(image_ref_parse(NULL, &ref, &err) < 0, "no string is refused");
}

static void
test_parts(void)
{
	struct image_ref ref;
	struct err err;
	char *s;

	if (image_ref_parse("[::1]:5000/a/b:t", &ref, &err) < 0)
		return (void)ok(false, "parse");
	is_str(ref.domain, "[::1]:5000", "domain");
	is_str(ref.path, "a/b", "path");
	s = image_ref_tag(&ref);
	is_str(s, "[::1]:5000/a/b:t", "image_ref_tag");
	free(s);
	s = image_ref_repo_digest(&ref, SHA256);
	is_str(s, "[::1]:5000/a/b@" SHA256, "image_ref_repo_digest");
	free(s);
	image_ref_release(&ref);
	ok(image_ref_parse("a:t@" SHA256, &ref, &err) == 0, "tag and digest");
	ok(image_ref_tag(&ref) == NULL, "a digest leaves no tag to be stored");
	image_ref_release(&ref);
	ok(image_id_like(SHA256) && image_id_like(HEX64) && image_id_like("abc"), "ids");
	ok(!image_id_like("ab") && !image_id_like("") && !image_id_like("xyz") &&
	        !image_id_like(HEX64 "0") && !image_id_like("sha512:abc") && !image_id_like("ABC"),
	    "no ids");
}

static void
test_digest(void)
{
	char out[DIGEST_SIZE];
	struct digest d = DIGEST_INIT;
	struct err err;

	digest_of("abc", 3, out);
	is_str(out, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	    "SHA-256 of abc (FIPS 180-2)");
	ok(digest_begin(&d, "sha512:anything", &err) == 0, "begin like a sha512 digest");
	digest_update(&d, "a", 1);
	digest_update(&d, "bc", 2);
	digest_end(&d, out);
	is_str(out,
	    "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
	    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	    "SHA-512 of abc");
	ok(digest_check("abc", 3, out, "x", &err) == 0, "digest_check agrees");
	ok(digest_check("abd", 3, out, "x", &err) < 0 && err.code == ERR_DATA_LOSS,
	    "and disagrees");
	ok(digest_begin(&d, "md5", &err) < 0 && digest_begin(&d, "", &err) < 0 &&
	        digest_begin(&d, "sha25", &err) < 0 && digest_begin(&d, "sha2566", &err) < 0,
	    "unknown algorithms");
	ok(!digest_valid(NULL) && !digest_valid("") && !digest_valid("sha256") &&
	        !digest_valid(HEX64) && !digest_valid(SHA256 "\n") &&
	        !digest_valid("sha512:" HEX64),
	    "invalid digests");
}

int
main(void)
{
	test_good();
	test_bad();
	test_parts();
	test_digest();
	return tap_done();
}
