/* SPDX-License-Identifier: Apache-2.0
 *
 * Credentials and challenges of registries: what the CRI's AuthConfig means, what a
 * WWW-Authenticate header asks for (RFC 9110 11.6.1), and the token requests of the distribution
 * project's authentication specification. Nothing here does I/O. A registry is not trusted with
 * more than its own credential: the realm it names must be https (unless the registry is plain
 * http, or this machine), and no scope but pulling from the one repository is ever asked for.
 */
#ifndef IMAGE_AUTH_H
#define IMAGE_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/digest.h"

struct registry_host;

/* AuthConfig of the CRI. NULL and "" are the same. */
struct pull_auth {
	const char *username, *password;
	const char *auth; /* base64 of "username:password" */
	const char *server_address;
	const char *identity_token; /* an OAuth 2 refresh token */
	const char *registry_token; /* sent to the registry as it is */
};

enum credential_kind { CREDENTIAL_NONE, CREDENTIAL_BASIC, CREDENTIAL_IDENTITY, CREDENTIAL_TOKEN };

struct credential {
	enum credential_kind kind;
	char *username;
	char *secret; /* password or token; wiped when released */
	char *server; /* the only host that may see it, "host[:port]"; NULL: any host of the pull */
};

/* INVALID_ARGUMENT when a field is malformed; the message never has the secret. auth may be NULL.
 * First of: registry token, username and password, identity token, auth. */
int credential_parse(const struct pull_auth *auth, struct credential *ret, struct err *err)
    __attribute__((warn_unused_result));
void credential_release(struct credential *c); /* a zeroed one is fine */

/* May the host see it, when images of the domain are pulled? */
bool credential_applies(
    const struct credential *c, const struct registry_host *host, const char *domain);

/* Equal for equal credentials, and tells nothing about them. */
void credential_key(const struct credential *c, char out[static DIGEST_SIZE]);

/* On the heap: the value of an Authorization header, "Basic …". */
char *credential_basic(const struct credential *c);

enum challenge_scheme { CHALLENGE_NONE, CHALLENGE_BASIC, CHALLENGE_BEARER };

struct challenge {
	enum challenge_scheme scheme;
	char *realm, *service, *scope; /* of bearer; NULL when absent */
};

/* Take in one WWW-Authenticate value, which may hold several challenges; call it for each header.
 * The strongest scheme stays (the first bearer, else basic). INVALID_ARGUMENT when malformed. */
int challenge_parse(const char *value, struct challenge *c, struct err *err)
    __attribute__((warn_unused_result));
void challenge_release(struct challenge *c);

struct token_request {
	const char *method; /* "GET" or "POST" */
	char *url;
	char *authorization; /* header line; NULL: none */
	char *body;          /* of a POST, application/x-www-form-urlencoded */
};

/* The request that answers a bearer challenge of the host. cred: NULL for an anonymous token.
 * by_post: passwords go by POST, for servers that know no GET. PERMISSION_DENIED when the realm
 * must not be asked. */
int token_request_build(const struct challenge *c, const struct registry_host *host,
    const char *repository, const struct credential *cred, bool by_post, struct token_request *ret,
    struct err *err) __attribute__((warn_unused_result));
void token_request_release(struct token_request *r);

/* The answer's token, on the heap. UNKNOWN when there is none, or one no header can carry. */
char *token_response_parse(const char *body, size_t n, struct err *err);

enum { CHALLENGE_MAX = 8192, TOKEN_MAX = 32 << 10, TOKEN_RESPONSE_MAX = 128 << 10 };

#endif
