/* SPDX-License-Identifier: Apache-2.0
 *
 * Content digests: see digest.h.
 */
#include "image/digest.h"

#include <openssl/evp.h>
#include <string.h>

#include "base/id.h"
#include "base/macros.h"

static const struct algorithm {
	const char *name;
	size_t bytes;
	const EVP_MD *(*md)(void);
} algorithms[] = {
    {"sha256", 32, EVP_sha256},
    {"sha512", 64, EVP_sha512},
};

/* By its name, or by a digest that begins with it and ':'. */
static const struct algorithm *
algorithm_find(const char *s)
{
	size_t n = strcspn(s, ":");

	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++)
		if (n == strlen(algorithms[i].name) && memcmp(s, algorithms[i].name, n) == 0)
			return &algorithms[i];
	return NULL;
}

bool
digest_valid(const char *s)
{
	const struct algorithm *a = s != NULL ? algorithm_find(s) : NULL;
	const char *hex;

	if (a == NULL || (hex = strchr(s, ':')) == NULL)
		return false;
	hex++;
	return strspn(hex, "0123456789abcdef") == 2 * a->bytes && hex[2 * a->bytes] == '\0';
}

int
digest_begin(struct digest *d, const char *like, struct err *err)
{
	const struct algorithm *a = algorithm_find(like);

	if (a == NULL)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "digest '%.80s': unknown algorithm", like);
	d->ctx = EVP_MD_CTX_new();
	if (d->ctx == NULL || EVP_DigestInit_ex(d->ctx, a->md(), NULL) != 1)
		abort(); /* out of memory, or a libcrypto without SHA-2 */
	d->algorithm = a->name;
	return 0;
}

void
digest_update(struct digest *d, const void *p, size_t n)
{
	if (EVP_DigestUpdate(d->ctx, p, n) != 1)
		abort();
}

void
digest_end(struct digest *d, char out[static DIGEST_SIZE])
{
	unsigned char raw[EVP_MAX_MD_SIZE];
	unsigned n;
	int used;

	if (EVP_DigestFinal_ex(d->ctx, raw, &n) != 1)
		abort();
	used = snprintf(out, DIGEST_SIZE, "%s:", d->algorithm);
	hex_encode(raw, n, out + used);
	digest_release(d);
}

void
digest_release(struct digest *d)
{
	EVP_MD_CTX_free(d->ctx);
	*d = (struct digest)DIGEST_INIT;
}

void
digest_of(const void *p, size_t n, char out[static DIGEST_SIZE])
{
	struct digest d = DIGEST_INIT;
	struct err err;

	if (digest_begin(&d, "sha256", &err) < 0)
		abort();
	digest_update(&d, p, n);
	digest_end(&d, out);
}

int
digest_check(const void *p, size_t n, const char *want, const char *what, struct err *err)
{
	struct digest d = DIGEST_INIT;
	char got[DIGEST_SIZE];

	if (digest_begin(&d, want, err) < 0)
		return -1;
	digest_update(&d, p, n);
	digest_end(&d, got);
	if (strcmp(got, want) != 0)
		return err_set(err, ERR_DATA_LOSS, "%s: digest is %s, not %s", what, got, want);
	return 0;
}
