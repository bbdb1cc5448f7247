/* SPDX-License-Identifier: Apache-2.0
 *
 * Credentials, and the token requests made of them: see auth.h. Challenges are parsed in
 * challenge.c. https://distribution.github.io/distribution/spec/auth/token/ and …/oauth/
 */
#include "image/auth.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/document.h"
#include "image/hosts.h"

enum { SECRET_MAX = 64 << 10, REALM_MAX = 4096 };

static int
bad(struct err *err, const char *field, const char *why)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "auth: %s: %s", field, why);
}

static void
wipe(char *s)
{
	if (s != NULL)
		explicit_bzero(s, strlen(s));
	free(s);
}

void
credential_release(struct credential *c)
{
	wipe(c->username);
	wipe(c->secret);
	free(c->server);
	*c = (struct credential){0};
}

static bool
visible(const char *s)
{
	for (; *s != '\0'; s++)
		if (*s <= ' ' || *s >= 0x7f)
			return false;
	return true;
}

/* "user:password" in base64, with or without its padding; docker pads the text itself with NULs. */
static int
decode_auth(const char *auth, struct credential *c, struct err *err)
{
	size_t n = strcspn(auth, "="), padded = (n + 3) / 4 * 4;
	cleanup_free char *in = NULL;
	char *out, *colon;
	int got;

	if (strlen(auth) - n > 2 || auth[n + strspn(auth + n, "=")] != '\0' || n % 4 == 1)
		return bad(err, "auth", "not base64");
	in = xmalloc(padded + 1);
	memset(in, '=', padded);
	memcpy(in, auth, n);
	out = xcalloc(1, padded / 4 * 3 + 1);
	got = EVP_DecodeBlock((unsigned char *)out, (unsigned char *)in, (int)padded);
	explicit_bzero(in, padded);
	colon = got < 0 ? NULL : memchr(out, ':', (size_t)got);
	if (colon == NULL || strlen(out) <= (size_t)(colon - out)) {
		explicit_bzero(out, padded / 4 * 3);
		free(out);
		return bad(
		    err, "auth", got < 0 ? "not base64" : "no ':' between user and password");
	}
	*colon++ = '\0';
	c->kind = CREDENTIAL_BASIC;
	c->secret = xstrdup(colon);
	c->username = xstrdup(out);
	explicit_bzero(out, padded / 4 * 3);
	free(out);
	return 0;
}

/* "https://host[:port]/v1/", or the host alone. */
static int
parse_server(const char *s, struct credential *c, struct err *err)
{
	const char *colons = strstr(s, "://");

	if (colons != NULL)
		s = colons + 3;
	c->server = xstrndup(s, strcspn(s, "/"));
	if (*c->server == '\0' || !visible(c->server) || strchr(c->server, '@') != NULL)
		return bad(err, "server_address", "not the address of a registry");
	return 0;
}

static int
choose(const struct pull_auth *a, struct credential *c, struct err *err)
{
	const char *const all[] = {a->username, a->password, a->auth, a->server_address,
	    a->identity_token, a->registry_token};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (strlen(STR_OR_EMPTY(all[i])) > SECRET_MAX)
			return bad(err, "a field", "too long");
	if (!str_empty(a->registry_token)) {
		if (!visible(a->registry_token))
			return bad(err, "registry_token", "has blanks or control characters");
		c->kind = CREDENTIAL_TOKEN;
		c->secret = xstrdup(a->registry_token);
	} else if (!str_empty(a->username)) {
		if (strchr(a->username, ':') != NULL)
			return bad(err, "username", "has a ':'");
		c->kind = CREDENTIAL_BASIC;
		c->username = xstrdup(a->username);
		c->secret = xstrdup(STR_OR_EMPTY(a->password));
	} else if (!str_empty(a->identity_token)) {
		c->kind = CREDENTIAL_IDENTITY;
		c->secret = xstrdup(a->identity_token);
	} else if (!str_empty(a->auth) && decode_auth(a->auth, c, err) < 0) {
		return -1;
	}
	if (c->kind == CREDENTIAL_NONE || str_empty(a->server_address))
		return 0;
	return parse_server(a->server_address, c, err);
}

int
credential_parse(const struct pull_auth *auth, struct credential *ret, struct err *err)
{
	struct credential c = {0};

	if (auth != NULL && choose(auth, &c, err) < 0) {
		credential_release(&c);
		return -1;
	}
	*ret = c;
	return 0;
}

static bool
is_docker_hub(const char *authority)
{
	return strcmp(authority, "docker.io") == 0 || strcmp(authority, "index.docker.io") == 0 ||
	       strcmp(authority, "registry-1.docker.io") == 0;
}

bool
credential_applies(const struct credential *c, const struct registry_host *host, const char *domain)
{
	if (c->kind == CREDENTIAL_NONE)
		return false;
	if (c->server == NULL || strcmp(c->server, host->authority) == 0)
		return true;
	if (is_docker_hub(c->server) && is_docker_hub(host->authority))
		return true;
	/* configured in place of the registry that the credential is for */
	return host->is_origin && (strcmp(c->server, domain) == 0 ||
	                              (is_docker_hub(c->server) && is_docker_hub(domain)));
}

void
credential_key(const struct credential *c, char out[static DIGEST_SIZE])
{
	struct digest d = DIGEST_INIT;
	const char *const parts[] = {c->username, c->secret, c->server};
	unsigned char kind = (unsigned char)c->kind;
	struct err err;

	if (digest_begin(&d, "sha256", &err) < 0)
		abort();
	digest_update(&d, &kind, 1);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) /* with the NUL: no two lists run together */
		digest_update(&d, STR_OR_EMPTY(parts[i]), strlen(STR_OR_EMPTY(parts[i])) + 1);
	digest_end(&d, out);
}

char *
credential_basic(const struct credential *c)
{
	char *plain = xasprintf("%s:%s", c->username, c->secret);
	size_t n = strlen(plain);
	char *value = xmalloc(6 + (n + 2) / 3 * 4 + 1);

	memcpy(value, "Basic ", 6);
	EVP_EncodeBlock((unsigned char *)value + 6, (unsigned char *)plain, (int)n);
	wipe(plain);
	return value;
}

/* The realm as a URL we are ready to send something to. */
static int
check_realm(const char *realm, const struct registry_host *host, struct err *err)
{
	cleanup_free char *authority = NULL;
	const char *s;

	if (str_empty(realm))
		return err_set(err, ERR_PERMISSION_DENIED, "the challenge names no realm");
	if (strlen(realm) > REALM_MAX || !visible(realm) || strpbrk(realm, "#\\\"<>{}|^`") != NULL)
		return err_set(err, ERR_PERMISSION_DENIED, "the challenge's realm is malformed");
	if (!str_starts(realm, "https://") && !str_starts(realm, "http://"))
		return err_set(
		    err, ERR_PERMISSION_DENIED, "the challenge's realm is no URL of https");
	if (str_starts(realm, "http://") && host->https && !registry_is_localhost(host->authority))
		return err_set(err, ERR_PERMISSION_DENIED,
		    "the challenge of an https registry names a realm of plain http, '%.200s'",
		    realm);
	s = strstr(realm, "://") + 3;
	authority = xstrndup(s, strcspn(s, "/?"));
	if (*authority == '\0' || strchr(authority, '@') != NULL || strchr(authority, '%') != NULL)
		return err_set(err, ERR_PERMISSION_DENIED, "the challenge's realm is malformed");
	return 0;
}

/* The name in "repository:<name>:<actions>" when it is the repository, perhaps below a prefix that
 * a mirror has put before it, and pulling is among the actions. */
static char *
scope_name(const char *scope, size_t len, const char *repository)
{
	cleanup_free char *s = xstrndup(scope, len);
	size_t n, want = strlen(repository);
	char *name, *actions;

	if (!str_starts(s, "repository:"))
		return NULL;
	name = s + strlen("repository:");
	actions = strrchr(name, ':');
	if (actions == NULL)
		return NULL;
	*actions++ = '\0';
	n = strlen(name);
	if (n > 500 || !visible(name) || strstr(actions, "pull") == NULL)
		return NULL;
	if (strcmp(name, repository) == 0 ||
	    (n > want && name[n - want - 1] == '/' && strcmp(name + n - want, repository) == 0))
		return xstrdup(name);
	return NULL;
}

static char *
choose_scope(const struct challenge *c, const char *repository)
{
	for (const char *s = STR_OR_EMPTY(c->scope); *s != '\0';) {
		size_t n = strcspn(s, " ");
		cleanup_free char *name = scope_name(s, n, repository);

		if (name != NULL)
			return xasprintf("repository:%s:pull", name);
		s += n + strspn(s + n, " ");
	}
	return xasprintf("repository:%s:pull", repository);
}

/* "&name=value", percent-encoded; without the '&' at the start. */
static void
add_field(struct buf *b, const char *name, const char *value)
{
	static const char plain[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

	if (b->len > 0 && b->data[b->len - 1] != '?' && b->data[b->len - 1] != '&')
		buf_addch(b, '&');
	buf_addf(b, "%s=", name);
	for (const char *p = value; *p != '\0'; p++)
		if (strchr(plain, *p) != NULL)
			buf_addch(b, *p);
		else
			buf_addf(b, "%%%02X", (unsigned char)*p);
}

static void
build_post(const struct challenge *c, const char *scope, const struct credential *cred,
    struct token_request *r)
{
	struct buf b = BUF_INIT;

	if (cred->kind == CREDENTIAL_IDENTITY) {
		add_field(&b, "grant_type", "refresh_token");
		add_field(&b, "refresh_token", cred->secret);
	} else {
		add_field(&b, "grant_type", "password");
		add_field(&b, "username", cred->username);
		add_field(&b, "password", cred->secret);
	}
	add_field(&b, "service", STR_OR_EMPTY(c->service));
	add_field(&b, "client_id", PACKAGE_NAME);
	add_field(&b, "scope", scope);
	r->method = "POST";
	r->url = xstrdup(c->realm);
	r->body = buf_detach(&b);
}

static void
build_get(const struct challenge *c, const char *scope, const struct credential *cred,
    struct token_request *r)
{
	struct buf b = BUF_INIT;

	buf_addstr(&b, c->realm);
	if (strchr(c->realm, '?') == NULL)
		buf_addch(&b, '?');
	if (!str_empty(c->service))
		add_field(&b, "service", c->service);
	add_field(&b, "scope", scope);
	r->method = "GET";
	r->url = buf_detach(&b);
	if (cred != NULL) {
		char *basic = credential_basic(cred);

		r->authorization = xasprintf("Authorization: %s", basic);
		wipe(basic);
	}
}

int
token_request_build(const struct challenge *c, const struct registry_host *host,
    const char *repository, const struct credential *cred, bool by_post, struct token_request *ret,
    struct err *err)
{
	cleanup_free char *scope = NULL;

	if (check_realm(c->realm, host, err) < 0)
		return -1;
	*ret = (struct token_request){0};
	scope = choose_scope(c, repository);
	if (cred != NULL && (cred->kind == CREDENTIAL_IDENTITY || by_post))
		build_post(c, scope, cred, ret);
	else
		build_get(c, scope, cred, ret);
	return 0;
}

void
token_request_release(struct token_request *r)
{
	free(r->url);
	wipe(r->authorization);
	wipe(r->body);
	*r = (struct token_request){0};
}

char *
token_response_parse(const char *body, size_t n, struct err *err)
{
	json_t *doc = document_parse(body, n, TOKEN_RESPONSE_MAX, "token response", err);
	const char *token = NULL, *access_token = NULL;
	char *ret = NULL;

	if (doc == NULL)
		goto out;
	if (document_string(doc, "token", "token response", TOKEN_MAX, &token, err) < 0 ||
	    document_string(doc, "access_token", "token response", TOKEN_MAX, &access_token, err) <
	        0)
		goto out;
	if (!str_empty(access_token))
		token = access_token;
	if (str_empty(token))
		err_set(err, ERR_UNKNOWN, "token response: no token");
	else if (!visible(token))
		err_set(
		    err, ERR_UNKNOWN, "token response: a token with blanks or control characters");
	else
		ret = xstrdup(token);
out:
	json_decref(doc);
	if (ret == NULL)
		err->code = ERR_UNKNOWN;
	return ret;
}
