/* SPDX-License-Identifier: Apache-2.0
 *
 * WWW-Authenticate: see auth.h. RFC 9110 11.6.1: a list of challenges, each a scheme and either
 * parameters, separated by the same commas as the challenges, or one token68.
 *
 *	Bearer realm="https://auth.example/token",service="registry", Basic realm="x"
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/auth.h"

static const char token_chars[] =
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

static int
malformed(struct err *err, const char *why)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "WWW-Authenticate: %s", why);
}

/* token or quoted-string */
static int
parse_param_value(const char **at, struct buf *out, struct err *err)
{
	const char *p = *at;

	buf_truncate(out, 0);
	buf_addstr(out, "");
	if (*p != '"') {
		size_t n = strspn(p, token_chars);

		if (n == 0)
			return malformed(err, "a parameter without a value");
		buf_add(out, p, n);
		*at = p + n;
		return 0;
	}
	for (p++; *p != '"'; p++) {
		if (*p == '\\')
			p++;
		if (*p == '\0')
			return malformed(err, "a quoted string without its end");
		if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f)
			return malformed(err, "a control character");
		buf_addch(out, *p);
	}
	*at = p + 1;
	return 0;
}

static int
keep(struct challenge *c, const char *name, size_t n, const struct buf *value, struct err *err)
{
	static const char *const names[] = {"realm", "service", "scope"};
	char **const to[] = {&c->realm, &c->service, &c->scope};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strlen(names[i]) != n || strncasecmp(names[i], name, n) != 0)
			continue;
		if (*to[i] != NULL)
			return malformed(err, "a parameter twice");
		*to[i] = xstrdup(value->data);
	}
	return 0;
}

/* "name = value", when that is what comes next and not another scheme; 1, 0 or -1. */
static int
parse_param(const char **at, struct challenge *c, struct buf *value, struct err *err)
{
	const char *name = *at, *p;
	size_t n = strspn(name, token_chars);

	p = name + n;
	p += strspn(p, " \t");
	if (n == 0 || *p != '=')
		return 0;
	p++;
	p += strspn(p, " \t");
	if (parse_param_value(&p, value, err) < 0 || keep(c, name, n, value, err) < 0)
		return -1;
	*at = p;
	return 1;
}

static void
skip_list(const char **at)
{
	*at += strspn(*at, " \t,");
}

/* token68 in place of parameters, as Negotiate has it: skipped. */
static void
skip_token68(const char **at)
{
	const char *end = *at + strspn(*at, "-._~+/0123456789abcdefghijklmnopqrstuvwxyz"
	                                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ");

	if (end == *at)
		return;
	end += strspn(end, "=");
	end += strspn(end, " \t");
	if (*end == ',' || *end == '\0')
		*at = end;
}

static int
parse_params(const char **at, struct challenge *c, struct buf *value, struct err *err)
{
	int rc;

	for (;;) {
		const char *before = *at;

		skip_list(at);
		rc = parse_param(at, c, value, err);
		if (rc < 0)
			return -1;
		if (rc == 0)
			return 0;
		if (**at != '\0' && strchr(" \t,", **at) == NULL)
			return malformed(err, "garbage after a parameter");
		if (*at == before)
			return 0;
	}
}

static void
prefer(struct challenge *best, struct challenge *c)
{
	if (c->scheme > best->scheme) {
		challenge_release(best);
		*best = *c;
	} else {
		challenge_release(c);
	}
}

int
challenge_parse(const char *value, struct challenge *ret, struct err *err)
{
	const char *p = value;
	struct buf scratch = BUF_INIT;
	int rc = 0;

	if (strlen(value) > CHALLENGE_MAX)
		return malformed(err, "too long");
	for (skip_list(&p); *p != '\0' && rc == 0; skip_list(&p)) {
		struct challenge c = {0};
		size_t n = strspn(p, token_chars);

		if (n == 0 || (p[n] != '\0' && strchr(" \t,", p[n]) == NULL)) {
			rc = malformed(err, "a scheme is expected");
			break;
		}
		if (n == 6 && strncasecmp(p, "Bearer", n) == 0)
			c.scheme = CHALLENGE_BEARER;
		else if (n == 5 && strncasecmp(p, "Basic", n) == 0)
			c.scheme = CHALLENGE_BASIC;
		p += n;
		if (*p == ' ' || *p == '\t') {
			p += strspn(p, " \t");
			skip_token68(&p);
			rc = parse_params(&p, &c, &scratch, err);
		}
		if (rc < 0)
			challenge_release(&c);
		else
			prefer(ret, &c);
	}
	buf_release(&scratch);
	return rc;
}

void
challenge_release(struct challenge *c)
{
	free(c->realm);
	free(c->service);
	free(c->scope);
	*c = (struct challenge){0};
}
