/* SPDX-License-Identifier: Apache-2.0
 *
 * Image references: see ref.h. The grammar is reference.go's of github.com/distribution/reference:
 *
 *	reference  := name [":" tag] ["@" digest]
 *	name       := [domain "/"] component *("/" component)
 *	domain     := host [":" port];  host := label *("." label) | "[" IPv6 "]"
 *	label      := alphanumerics, with '-' inside
 *	component  := [a-z0-9]+ *(("." | "_" | "__" | "-"+) [a-z0-9]+)
 *	tag        := [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
 */
#include "image/ref.h"

#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/digest.h"

enum { NAME_MAX_LEN = 255, TAG_MAX_LEN = 128, REF_MAX_LEN = 4096 };

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* The part of the reference that is wrong, cut to a length that fits a message. */
static int
refuse(struct err *err, const char *s, const char *why)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "image reference '%.200s': %s", s, why);
}

static bool
label_valid(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strchr(LOWER UPPER DIGITS "-", s[i]) == NULL)
			return false;
	return n > 0 && s[0] != '-' && s[n - 1] != '-';
}

static bool
host_valid(const char *s, size_t n)
{
	const char *end = s + n;

	if (n >= 2 && s[0] == '[') {
		if (s[n - 1] != ']' || n < 4)
			return false;
		for (s++; s < end - 1; s++)
			if (strchr("0123456789abcdefABCDEF:", *s) == NULL)
				return false;
		return true;
	}
	for (;;) {
		const char *dot = memchr(s, '.', (size_t)(end - s));

		if (!label_valid(s, (size_t)((dot != NULL ? dot : end) - s)))
			return false;
		if (dot == NULL)
			return true;
		s = dot + 1;
	}
}

static bool
domain_valid(const char *s)
{
	const char *bracket = strrchr(s, ']'), *colon;
	uint32_t port;

	colon = strchr(bracket != NULL ? bracket : s, ':');
	if (colon == NULL)
		return host_valid(s, strlen(s));
	return host_valid(s, (size_t)(colon - s)) && str_u32(colon + 1, 65535, &port) == 0;
}

/* One component: runs of [a-z0-9] joined by '.', '_', '__' or any number of '-'. */
static bool
component_valid(const char *s, size_t n)
{
	const char *end = s + n;

	for (;;) {
		size_t run = 0, sep;

		while (s + run < end && strchr(LOWER DIGITS, s[run]) != NULL)
			run++;
		if (run == 0)
			return false;
		s += run;
		if (s == end)
			return true;
		if (*s == '-')
			for (sep = 1; s + sep < end && s[sep] == '-';)
				sep++;
		else if (*s == '_')
			sep = s + 1 < end && s[1] == '_' ? 2 : 1;
		else if (*s == '.')
			sep = 1;
		else
			return false;
		s += sep;
	}
}

static bool
path_valid(const char *s)
{
	for (;;) {
		size_t n = strcspn(s, "/");

		if (!component_valid(s, n))
			return false;
		if (s[n] == '\0')
			return true;
		s += n + 1;
	}
}

static bool
tag_valid(const char *s)
{
	return *s != '.' && *s != '-' && strlen(s) <= TAG_MAX_LEN &&
	       str_only(s, LOWER UPPER DIGITS "_.-");
}

static bool
has_upper(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] >= 'A' && s[i] <= 'Z')
			return true;
	return false;
}

/* Is what precedes the first '/' a host? By its looks, as docker has always guessed it. */
static bool
looks_like_domain(const char *s, size_t n)
{
	return memchr(s, '.', n) != NULL || memchr(s, ':', n) != NULL ||
	       (n == 9 && memcmp(s, "localhost", 9) == 0) || has_upper(s, n);
}

static void
split_domain(const char *name, struct image_ref *ref)
{
	const char *slash = strchr(name, '/');
	const char *rest = name;

	if (slash != NULL && looks_like_domain(name, (size_t)(slash - name))) {
		ref->domain = xstrndup(name, (size_t)(slash - name));
		rest = slash + 1;
	} else {
		ref->domain = xstrdup("docker.io");
	}
	if (strcmp(ref->domain, "index.docker.io") == 0) {
		free(ref->domain);
		ref->domain = xstrdup("docker.io");
	}
	if (strcmp(ref->domain, "docker.io") == 0 && strchr(rest, '/') == NULL)
		ref->path = xasprintf("library/%s", rest);
	else
		ref->path = xstrdup(rest);
	ref->name = xasprintf("%s/%s", ref->domain, ref->path);
}

static int
check_name(const struct image_ref *ref, const char *s, struct err *err)
{
	if (!domain_valid(ref->domain))
		return refuse(err, s, "the registry's host name is malformed");
	if (has_upper(ref->path, strlen(ref->path)))
		return refuse(err, s, "a repository name must be lower case");
	if (!path_valid(ref->path))
		return refuse(err, s, "the repository name is malformed");
	if (strlen(ref->name) > NAME_MAX_LEN)
		return refuse(err, s, "the name is longer than 255 bytes");
	return 0;
}

int
image_ref_parse(const char *s, struct image_ref *ret, struct err *err)
{
	struct image_ref ref = {0};
	cleanup_free char *name = NULL;
	char *at, *colon;
	int rc = 0;

	if (str_empty(s))
		return err_set(err, ERR_INVALID_ARGUMENT, "image reference is empty");
	if (strlen(s) > REF_MAX_LEN)
		return refuse(err, s, "too long");
	name = xstrdup(s);
	at = strchr(name, '@');
	if (at != NULL) {
		*at++ = '\0';
		if (!digest_valid(at))
			return refuse(
			    err, s, "the digest is neither sha256 nor sha512 in lower-case hex");
		ref.digest = xstrdup(at);
	}
	colon = strrchr(name, ':');
	if (colon != NULL && strchr(colon, '/') == NULL) {
		*colon++ = '\0';
		ref.tag = xstrdup(colon);
	} else if (ref.digest == NULL) {
		ref.tag = xstrdup("latest");
	}
	split_domain(name, &ref);
	if (ref.tag != NULL && !tag_valid(ref.tag))
		rc = refuse(err, s, "the tag is malformed");
	else if (id_valid(name))
		rc = refuse(err, s, "64 hex digits are an image's id, not a name");
	else
		rc = check_name(&ref, s, err);
	if (rc < 0)
		image_ref_release(&ref);
	else
		*ret = ref;
	return rc;
}

void
image_ref_release(struct image_ref *ref)
{
	free(ref->name);
	free(ref->domain);
	free(ref->path);
	free(ref->tag);
	free(ref->digest);
	*ref = (struct image_ref){0};
}

char *
image_ref_string(const struct image_ref *ref)
{
	if (ref->digest != NULL)
		return image_ref_repo_digest(ref, ref->digest);
	return image_ref_tag(ref);
}

char *
image_ref_tag(const struct image_ref *ref)
{
	if (ref->digest != NULL || ref->tag == NULL)
		return NULL;
	return xasprintf("%s:%s", ref->name, ref->tag);
}

char *
image_ref_repo_digest(const struct image_ref *ref, const char *digest)
{
	return xasprintf("%s@%s", ref->name, digest);
}

bool
image_id_like(const char *s)
{
	size_t n;

	if (str_starts(s, "sha256:"))
		s += 7;
	n = strspn(s, "0123456789abcdef");
	return n >= 3 && n <= ID_LEN && s[n] == '\0';
}
