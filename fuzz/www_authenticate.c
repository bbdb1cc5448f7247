/* SPDX-License-Identifier: Apache-2.0
 *
 * Any text as WWW-Authenticate of an https registry, and as a token server's answer: the credential
 * goes over https or not at all, and no header can be smuggled.
 */
#include <string.h>

#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "fuzz.h"
#include "image/auth.h"
#include "image/hosts.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* no URL that passes has a '|', so that the secret cannot be the input's */
	struct credential cred = {CREDENTIAL_BASIC, (char *)"user", (char *)"sec|ret", NULL};
	struct registry_host host = {.authority = (char *)"q.io", .https = true};
	cleanup_free char *value = xcalloc(1, size + 1), *token = NULL;
	struct challenge c = {0};
	struct token_request r;
	struct err err = {0};

	memcpy(value, data, size);
	if (challenge_parse(value, &c, &err) == 0 && c.scheme == CHALLENGE_BEARER &&
	    token_request_build(&c, &host, "lib/x", &cred, size % 2 == 1, &r, &err) == 0) {
		must(str_starts(r.url, "https://") && strstr(r.url, "sec|ret") == NULL);
		for (const char *p = r.url; *p != '\0'; p++)
			must(*p > ' ' && *p < 0x7f);
		must(size % 2 == 1 || strstr(r.url, "lib%2Fx%3Apull") != NULL);
		token_request_release(&r);
	}
	challenge_release(&c);
	token = token_response_parse((const char *)data, size, &err);
	for (const char *p = STR_OR_EMPTY(token); *p != '\0'; p++)
		must(*p > ' ' && *p < 0x7f);
	return 0;
}
