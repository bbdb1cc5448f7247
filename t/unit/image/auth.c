/* SPDX-License-Identifier: Apache-2.0
 *
 * Credentials, challenges and the token requests made of them, with hostile registries in mind.
 */
#include "image/auth.h"

#include "base/buf.h"
#include "base/xalloc.h"
#include "image/hosts.h"
#include "tap.h"

static const struct cred_case {
	const char *what;
	struct pull_auth auth;
	int kind; /* -1: refused */
	const char *user, *secret;
} creds[] = {
    {"nothing", {0}, CREDENTIAL_NONE, NULL, NULL},
    {"user and password", {.username = "u", .password = "p:q"}, CREDENTIAL_BASIC, "u", "p:q"},
    {"user alone", {.username = "u"}, CREDENTIAL_BASIC, "u", ""},
    {"a password alone", {.password = "p"}, CREDENTIAL_NONE, NULL, NULL},
    {"auth", {.auth = "dXNlcjpwYTpzcw=="}, CREDENTIAL_BASIC, "user", "pa:ss"},
    {"auth without padding", {.auth = "dXNlcjpwYTpzcw"}, CREDENTIAL_BASIC, "user", "pa:ss"},
    {"auth padded with NUL", {.auth = "dTpwAAA="}, CREDENTIAL_BASIC, "u", "p"},
    {"auth that is no base64", {.auth = "dXN*cg=="}, -1, NULL, NULL},
    {"auth of a wrong length", {.auth = "dXNlc"}, -1, NULL, NULL},
    {"auth with = inside", {.auth = "dX=NlcjpwYXNz"}, -1, NULL, NULL},
    {"auth of too many =", {.auth = "dXNlcjpwYXNz==="}, -1, NULL, NULL},
    {"auth without colon", {.auth = "dXNlcg=="}, -1, NULL, NULL},
    {"auth with the colon after a NUL", {.auth = "dQA6cA=="}, -1, NULL, NULL},
    {"auth that is only =", {.auth = "="}, -1, NULL, NULL},
    {"identity token", {.identity_token = "t"}, CREDENTIAL_IDENTITY, NULL, "t"},
    {"registry token", {.registry_token = "r", .username = "u"}, CREDENTIAL_TOKEN, NULL, "r"},
    {"registry token with CRLF", {.registry_token = "r\r\nX: y"}, -1, NULL, NULL},
    {"user before identity token", {.username = "u", .identity_token = "t"}, CREDENTIAL_BASIC, "u",
        ""},
    {"user with a colon", {.username = "u:v"}, -1, NULL, NULL},
    {"server without a host", {.username = "u", .server_address = "https:///v1"}, -1, NULL, NULL},
    {"server with a user", {.username = "u", .server_address = "x@y"}, -1, NULL, NULL},
};

static void
test_credentials(void)
{
	struct pull_auth a = {.username = "u", .password = "p"}, b = {.username = "up"};
	char one[DIGEST_SIZE], two[DIGEST_SIZE];
	struct credential c;
	struct err err;
	char *basic, *big = xmalloc(100001);

	for (size_t i = 0; i < sizeof(creds) / sizeof(creds[0]); i++) {
		int rc = credential_parse(&creds[i].auth, &c, &err);

		if (rc < 0) {
			ok(creds[i].kind < 0 && err.code == ERR_INVALID_ARGUMENT, "%s: %s",
			    creds[i].what, err.msg);
			continue;
		}
		is_int(c.kind, creds[i].kind, creds[i].what);
		is_str(c.username, creds[i].user, "user");
		is_str(c.secret, creds[i].secret, "secret");
		credential_release(&c);
	}
	ok(credential_parse(NULL, &c, &err) == 0 && c.kind == CREDENTIAL_NONE, "no AuthConfig");
	if (credential_parse(&a, &c, &err) < 0)
		return (void)ok(false, "parse");
	basic = credential_basic(&c);
	is_str(basic, "Basic dTpw", "credential_basic");
	free(basic);
	credential_key(&c, one);
	credential_release(&c);
	if (credential_parse(&b, &c, &err) < 0)
		return (void)ok(false, "parse");
	credential_key(&c, two);
	credential_release(&c);
	ok(strcmp(one, two) != 0, "other credentials have other keys");
	memset(big, 'a', 100000);
	big[100000] = '\0';
	a.password = big;
	ok(credential_parse(&a, &c, &err) < 0, "a password of 100000 bytes is refused");
	free(big);
}

static void
test_applies(void)
{
	static const struct {
		const char *server, *authority, *domain;
		bool origin, want;
	} cases[] = {
	    {NULL, "q.io", "q.io", true, true},
	    {NULL, "mirror", "q.io", false, true},
	    {"q.io", "q.io", "q.io", true, true},
	    {"https://q.io/v2/", "q.io", "q.io", true, true},
	    {"q.io", "mirror", "q.io", false, false},
	    {"mirror", "mirror", "q.io", false, true},
	    {"other.io", "q.io", "q.io", true, false},
	    {"q.io:5000", "q.io", "q.io", true, false},
	    {"q.io", "proxy", "q.io", true, true},
	    {"https://index.docker.io/v1/", "registry-1.docker.io", "docker.io", true, true},
	    {"docker.io", "registry-1.docker.io", "docker.io", true, true},
	    {"docker.io", "mirror", "docker.io", false, false},
	    {"docker.io", "q.io", "q.io", true, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct registry_host h = {
		    .authority = (char *)cases[i].authority, .is_origin = cases[i].origin};
		struct pull_auth a = {.username = "u", .server_address = cases[i].server};
		struct credential c;
		struct err err;

		if (!ok(credential_parse(&a, &c, &err) == 0, "parse"))
			continue;
		is_int(credential_applies(&c, &h, cases[i].domain), cases[i].want,
		    cases[i].server != NULL ? cases[i].server : "any");
		credential_release(&c);
	}
}

static const struct challenge_case {
	const char *value;
	int scheme; /* -1: malformed */
	const char *realm, *service, *scope;
} challenges[] = {
    {"", CHALLENGE_NONE, NULL, NULL, NULL},
    {"Basic", CHALLENGE_BASIC, NULL, NULL, NULL},
    {"basic realm=\"x\"", CHALLENGE_BASIC, "x", NULL, NULL},
    {"Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x:pull\"", CHALLENGE_BEARER,
        "https://a/t", "s", "repository:x:pull"},
    {"BEARER  Realm = \"a\" , SERVICE=s", CHALLENGE_BEARER, "a", "s", NULL},
    {"Bearer realm=\"a\\\"b\\\\c\"", CHALLENGE_BEARER, "a\"b\\c", NULL, NULL},
    {"Bearer realm=\"\"", CHALLENGE_BEARER, "", NULL, NULL},
    {"Basic realm=\"b\", Bearer realm=\"a\"", CHALLENGE_BEARER, "a", NULL, NULL},
    {"Bearer realm=\"a\", Basic realm=\"b\"", CHALLENGE_BEARER, "a", NULL, NULL},
    {"Bearer realm=\"a\", Bearer realm=\"b\"", CHALLENGE_BEARER, "a", NULL, NULL},
    {"Negotiate, Basic realm=b", CHALLENGE_BASIC, "b", NULL, NULL},
    {"Negotiate YWJj/+==, Basic realm=b", CHALLENGE_BASIC, "b", NULL, NULL},
    {"Negotiate", CHALLENGE_NONE, NULL, NULL, NULL},
    {",, ,Basic,,", CHALLENGE_BASIC, NULL, NULL, NULL},
    {"Bearer realm=\"a\",,,service=\"s\"", CHALLENGE_BEARER, "a", "s", NULL},
    {"Bearer realm=\"a\",error=\"invalid_token\"", CHALLENGE_BEARER, "a", NULL, NULL},
    {"Bearer realm=\"a\",realm=\"b\"", -1, NULL, NULL, NULL},
    {"Bearer realm=\"a", -1, NULL, NULL, NULL},
    {"Bearer realm=\"a\\", -1, NULL, NULL, NULL},
    {"Bearer realm=", CHALLENGE_BEARER, NULL, NULL, NULL}, /* a token68 by its looks */
    {"Bearer realm=,x=y", CHALLENGE_BEARER, NULL, NULL, NULL},
    {"Bearer x=y, realm=", -1, NULL, NULL, NULL},
    {"Bearer realm=\"a\"b", -1, NULL, NULL, NULL},
    {"Bearer realm=\"a\001\"", -1, NULL, NULL, NULL},
    {"\"quoted\"", -1, NULL, NULL, NULL},
    {"=", -1, NULL, NULL, NULL},
    {"Bearer/x", -1, NULL, NULL, NULL},
};

static void
test_challenges(void)
{
	struct buf b = BUF_INIT;
	struct challenge c = {0};
	struct err err;

	for (size_t i = 0; i < sizeof(challenges) / sizeof(challenges[0]); i++) {
		const struct challenge_case *t = &challenges[i];

		c = (struct challenge){0};
		if (challenge_parse(t->value, &c, &err) < 0) {
			ok(t->scheme < 0, "[%s]: %s", t->value, err.msg);
		} else {
			is_int(c.scheme, t->scheme, t->value);
			is_str(c.realm, t->realm, "realm");
			is_str(c.service, t->service, "service");
			is_str(c.scope, t->scope, "scope");
		}
		challenge_release(&c);
	}
	for (int i = 0; i < 3000; i++)
		buf_addstr(&b, "Basic,");
	ok(challenge_parse(b.data, &c, &err) < 0, "18000 bytes are refused");
	buf_release(&b);
}

static const struct token_case {
	const char *realm, *service, *scope;
	bool https; /* the registry */
	const char *authority;
	const char *url; /* NULL: refused */
} tokens[] = {
    {"https://a/t", "s", NULL, true, "q.io",
        "https://a/t?service=s&scope=repository%3Alib%2Fx%3Apull"},
    {"https://a/t?k=v", "s p&c", NULL, true, "q.io",
        "https://a/t?k=v&service=s%20p%26c&scope=repository%3Alib%2Fx%3Apull"},
    {"https://a/t", NULL, "repository:lib/x:pull,push", true, "q.io",
        "https://a/t?scope=repository%3Alib%2Fx%3Apull"},
    {"https://a/t", NULL, "repository:proxy/lib/x:pull", true, "q.io",
        "https://a/t?scope=repository%3Aproxy%2Flib%2Fx%3Apull"},
    {"https://a/t", NULL, "registry:catalog:* repository:lib/x:pull", true, "q.io",
        "https://a/t?scope=repository%3Alib%2Fx%3Apull"},
    {"https://a/t", NULL, "repository:victim/secret:pull", true, "q.io",
        "https://a/t?scope=repository%3Alib%2Fx%3Apull"},
    {"https://a/t", NULL, "repository:evillib/x:pull", true, "q.io",
        "https://a/t?scope=repository%3Alib%2Fx%3Apull"},
    {"https://a/t", NULL, "repository:lib/x:delete", true, "q.io",
        "https://a/t?scope=repository%3Alib%2Fx%3Apull"},
    {"http://a/t", NULL, NULL, true, "q.io", NULL},
    {"http://a/t", NULL, NULL, false, "q.io", "http://a/t?scope=repository%3Alib%2Fx%3Apull"},
    {"http://a/t", NULL, NULL, true, "localhost:5000",
        "http://a/t?scope=repository%3Alib%2Fx%3Apull"},
    {"ftp://a/t", NULL, NULL, false, "q.io", NULL},
    {"file:///etc/passwd", NULL, NULL, false, "q.io", NULL},
    {"a/t", NULL, NULL, true, "q.io", NULL},
    {"", NULL, NULL, true, "q.io", NULL},
    {NULL, NULL, NULL, true, "q.io", NULL},
    {"https://", NULL, NULL, true, "q.io", NULL},
    {"https://u:p@a/t", NULL, NULL, true, "q.io", NULL},
    {"https://a/t#x", NULL, NULL, true, "q.io", NULL},
    {"https://a/t\r\nX: y", NULL, NULL, true, "q.io", NULL},
    {"https://a/ t", NULL, NULL, true, "q.io", NULL},
};

static void
test_tokens(void)
{
	struct challenge c = {
	    .scheme = CHALLENGE_BEARER, .realm = (char *)"https://a/t", .service = (char *)"s"};
	struct credential basic = {CREDENTIAL_BASIC, (char *)"u&", (char *)"p=", NULL};
	struct credential identity = {CREDENTIAL_IDENTITY, NULL, (char *)"i+", NULL};
	struct registry_host h = {.authority = (char *)"q.io", .https = true};
	struct token_request r;
	struct err err;

	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		struct challenge t = {CHALLENGE_BEARER, (char *)tokens[i].realm,
		    (char *)tokens[i].service, (char *)tokens[i].scope};
		struct registry_host at = {
		    .authority = (char *)tokens[i].authority, .https = tokens[i].https};

		if (token_request_build(&t, &at, "lib/x", NULL, false, &r, &err) < 0) {
			ok(tokens[i].url == NULL && err.code == ERR_PERMISSION_DENIED,
			    "case %zu: %s", i, err.msg);
			continue;
		}
		is_str(r.url, tokens[i].url, tokens[i].realm);
		ok(r.authorization == NULL && r.body == NULL && strcmp(r.method, "GET") == 0,
		    "anonymous");
		token_request_release(&r);
	}
	ok(token_request_build(&c, &h, "x", &basic, false, &r, &err) == 0, "with a password");
	is_str(r.authorization, "Authorization: Basic dSY6cD0=", "by GET");
	token_request_release(&r);
	ok(token_request_build(&c, &h, "x", &basic, true, &r, &err) == 0, "with a password");
	is_str(r.body,
	    "grant_type=password&username=u%26&password=p%3D&service=s&client_id=coracle&scope="
	    "repository%3Ax%3Apull",
	    "by POST");
	is_str(r.url, "https://a/t", "nothing secret is in the URL");
	token_request_release(&r);
	ok(token_request_build(&c, &h, "x", &identity, false, &r, &err) == 0,
	    "with an identity token");
	is_str(r.body,
	    "grant_type=refresh_token&refresh_token=i%2B&service=s&client_id=coracle&scope="
	    "repository%3Ax%3Apull",
	    "by POST");
	ok(r.authorization == NULL, "without Authorization");
	token_request_release(&r);
}

static void
test_responses(void)
{
	static const struct {
		const char *body, *token;
	} cases[] = {
	    {"{\"token\":\"t\"}", "t"},
	    {"{\"access_token\":\"a\"}", "a"},
	    {"{\"token\":\"t\",\"access_token\":\"a\",\"expires_in\":300}", "a"},
	    {"{\"token\":\"t\",\"access_token\":\"\"}", "t"},
	    {"{}", NULL},
	    {"", NULL},
	    {"[]", NULL},
	    {"{\"token\":1}", NULL},
	    {"{\"token\":\"a b\"}", NULL},
	    {"{\"token\":\"a\\r\\nX: y\"}", NULL},
	    {"{\"token\":\"a\\u00e9\"}", NULL},
	};
	struct buf b = BUF_INIT;
	struct err err;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *t = token_response_parse(cases[i].body, strlen(cases[i].body), &err);

		is_str(t, cases[i].token, cases[i].body);
		free(t);
	}
	buf_addstr(&b, "{\"token\":\"");
	for (int i = 0; i <= TOKEN_MAX; i++)
		buf_addch(&b, 'a');
	buf_addstr(&b, "\"}");
	ok(token_response_parse(b.data, b.len, &err) == NULL, "a token beyond the limit: %s",
	    err.msg);
	buf_release(&b);
}

int
main(void)
{
	test_credentials();
	test_applies();
	test_challenges();
	test_tokens();
	test_responses();
	return tap_done();
}
