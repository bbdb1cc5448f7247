/* SPDX-License-Identifier: Apache-2.0
 *
 * Platforms: names as Go spells them, and which image runs where. See manifest.h. The equivalences
 * are those of github.com/containerd/platforms.
 */
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "base/str.h"
#include "image/manifest.h"

/* Fixed-size strings that are known to fit. */
static void
put(char *to, size_t size, const char *s)
{
	snprintf(to, size, "%s", s);
}

static const struct alias {
	const char *name, *arch, *variant; /* variant NULL: as written */
} aliases[] = {
    {"x86_64",  "amd64", NULL},
    {"x86-64",  "amd64", NULL},
    {"aarch64", "arm64", NULL},
    {"armhf",   "arm",   "v7"},
    {"armel",   "arm",   "v6"},
    {"i386",    "386",   NULL},
    {"i686",    "386",   NULL},
};

static void
lower(char *s)
{
	for (; *s != '\0'; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s += 'a' - 'A';
}

/* The variant that an architecture has when none is named; 0: it has no numbered ones. */
static int
first_level(const char *arch)
{
	if (strcmp(arch, "amd64") == 0)
		return 1;
	if (strcmp(arch, "arm") == 0)
		return 7;
	if (strcmp(arch, "arm64") == 0)
		return 8;
	return 0;
}

/* "v7" → 7, "v8.1" → 8, "" → the first of the architecture; -1 for what has no number. */
static int
level(const struct platform *p)
{
	const char *s = p->variant;

	if (*s == '\0')
		return first_level(p->arch);
	if (s[0] == 'v')
		s++;
	return s[0] >= '0' && s[0] <= '9' && (s[1] == '\0' || s[1] == '.') ? s[0] - '0' : -1;
}

void
platform_normalise(struct platform *p)
{
	lower(p->os);
	lower(p->arch);
	lower(p->variant);
	for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
		if (strcmp(p->arch, aliases[i].name) == 0) {
			put(p->arch, sizeof(p->arch), aliases[i].arch);
			if (aliases[i].variant != NULL && p->variant[0] == '\0')
				put(p->variant, sizeof(p->variant), aliases[i].variant);
			break;
		}
	if (p->variant[0] >= '1' && p->variant[0] <= '9' && p->variant[1] == '\0') {
		p->variant[2] = '\0';
		p->variant[1] = p->variant[0];
		p->variant[0] = 'v';
	}
	if (p->variant[0] == 'v' && p->variant[1] == '0' + first_level(p->arch) &&
	    p->variant[2] == '\0')
		p->variant[0] = '\0';
}

void
platform_host(struct platform *ret)
{
	*ret = (struct platform){.os = "linux"};
#if defined(__x86_64__)
	put(ret->arch, sizeof(ret->arch), "amd64");
#elif defined(__i386__)
	put(ret->arch, sizeof(ret->arch), "386");
#elif defined(__aarch64__)
	put(ret->arch, sizeof(ret->arch), "arm64");
#elif defined(__arm__)
	put(ret->arch, sizeof(ret->arch), "arm");
	snprintf(ret->variant, sizeof(ret->variant), "v%d", __ARM_ARCH);
#elif defined(__riscv) && __riscv_xlen == 64
	put(ret->arch, sizeof(ret->arch), "riscv64");
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
	put(ret->arch, sizeof(ret->arch), "ppc64le");
#elif defined(__s390x__)
	put(ret->arch, sizeof(ret->arch), "s390x");
#elif defined(__loongarch64)
	put(ret->arch, sizeof(ret->arch), "loong64");
#elif defined(__mips64) && defined(__MIPSEL__)
	put(ret->arch, sizeof(ret->arch), "mips64le");
#else
#error "name this architecture as Go does"
#endif
	platform_normalise(ret);
}

void
platform_format(const struct platform *p, char *out, size_t n)
{
	snprintf(out, n, "%s/%s%s%s", p->os[0] != '\0' ? p->os : "unknown",
	    p->arch[0] != '\0' ? p->arch : "unknown", p->variant[0] != '\0' ? "/" : "", p->variant);
}

static int
bad_platform(struct err *err, const char *s)
{
	return err_set(err, ERR_INVALID_ARGUMENT,
	    "platform '%.80s': not of the form os/architecture[/variant]", s);
}

int
platform_parse(const char *s, struct platform *ret, struct err *err)
{
	struct platform p;
	const char *part = s;
	char *to[3];
	size_t size[3] = {sizeof(p.os), sizeof(p.arch), sizeof(p.variant)};

	platform_host(&p);
	if (str_empty(s)) {
		*ret = p;
		return 0;
	}
	to[0] = p.os;
	to[1] = p.arch;
	to[2] = p.variant;
	p.variant[0] = '\0';
	for (size_t i = strchr(s, '/') == NULL ? 1 : 0;; i++) {
		size_t n = strcspn(part, "/");

		if (i == 3 || n == 0 || n >= size[i])
			return bad_platform(err, s);
		memcpy(to[i], part, n);
		to[i][n] = '\0';
		if (!str_only(
		        to[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"))
			return bad_platform(err, s);
		if (part[n] == '\0')
			break;
		part += n + 1;
	}
	platform_normalise(&p);
	*ret = p;
	return 0;
}

int
platform_match(const struct platform *want, const struct platform *have)
{
	int w = level(want), h = level(have), base = 0;

	if (strcmp(want->os, have->os) != 0)
		return -1;
	if (strcmp(want->arch, have->arch) == 0) {
		if (strcmp(want->variant, have->variant) == 0)
			return 0;
	} else if (strcmp(want->arch, "arm64") == 0 && strcmp(have->arch, "arm") == 0) {
		base = 10; /* 32 bit on 64 */
		w = 8;
	} else if (strcmp(want->arch, "amd64") == 0 && strcmp(have->arch, "386") == 0) {
		return 10;
	} else {
		return -1;
	}
	if (first_level(want->arch) == 0) /* no order among its variants: a plain one runs */
		return have->variant[0] == '\0' ? 1 : -1;
	return w < 0 || h < 0 || h > w ? -1 : base + w - h;
}
