/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificates of a registry host: see host_certs.h.
 */
#include "image/host_certs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/hosts.h"

enum { CERT_FILE_MAX = 1 << 20, CERT_FILES_MAX = 64 };

static int
unusable(struct err *err, const char *file, const char *why)
{
	ERR_clear_error();
	return err_set(err, ERR_FAILED_PRECONDITION, "%s: %s", file, why);
}

static int
no_password(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)arg;
	return -1;
}

static bool
has_certificate(const struct buf *b)
{
	BIO *bio = BIO_new_mem_buf(b->data, (int)b->len);
	X509 *x = PEM_read_bio_X509_AUX(bio, NULL, no_password, NULL);
	bool yes = x != NULL;

	X509_free(x);
	BIO_free(bio);
	return yes;
}

static bool
has_key(const struct buf *b)
{
	BIO *bio = BIO_new_mem_buf(b->data, (int)b->len);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	bool yes = key != NULL;

	EVP_PKEY_free(key);
	BIO_free(bio);
	return yes;
}

/* The file appended to *b. */
static int
read_pem(const char *dir, const char *name, bool (*good)(const struct buf *), const char *why,
    struct buf *b, struct err *err)
{
	cleanup_free char *path = name[0] == '/' ? xstrdup(name) : xasprintf("%s/%s", dir, name);
	struct buf file = BUF_INIT;
	int rc = fd_read_file(AT_FDCWD, path, CERT_FILE_MAX, &file, err);

	if (rc < 0)
		err->code = ERR_FAILED_PRECONDITION;
	else if (file.len == 0 || !good(&file))
		rc = unusable(err, path, why);
	else
		buf_add(b, file.data, file.len);
	if (rc == 0)
		buf_addch(b, '\n');
	buf_release(&file);
	return rc;
}

static int
read_ca(const char *dir, const char *name, struct buf *b, struct err *err)
{
	return read_pem(dir, name, has_certificate, "no certificate in PEM", b, err);
}

static void
take_blob(struct buf *b, const char **ret, size_t *ret_len)
{
	*ret_len = b->len;
	*ret = buf_detach(b);
}

int
host_certs_ca(
    struct registry_host *h, const json_t *v, const char *dir, const char *what, struct err *err)
{
	struct buf b = BUF_INIT;
	int rc = 0;

	if (json_is_string(v)) {
		rc = read_ca(dir, json_string_value(v), &b, err);
	} else {
		if (!json_is_array(v) || json_array_size(v) == 0 ||
		    json_array_size(v) > CERT_FILES_MAX)
			return unusable(err, what, "ca: neither a file name nor an array of them");
		for (size_t i = 0; i < json_array_size(v) && rc == 0; i++) {
			const char *name = json_string_value(json_array_get(v, i));

			rc = name != NULL ? read_ca(dir, name, &b, err)
			                  : unusable(err, what, "ca: not all elements are strings");
		}
	}
	if (rc == 0)
		take_blob(&b, &h->tls.ca, &h->tls.ca_len);
	buf_release(&b);
	return rc;
}

/* key NULL or "": in the same file. */
static int
read_pair(
    struct registry_host *h, const char *dir, const char *cert, const char *key, struct err *err)
{
	struct buf c = BUF_INIT, k = BUF_INIT;
	int rc = read_pem(dir, cert, has_certificate, "no certificate in PEM", &c, err);

	if (rc == 0)
		rc = read_pem(dir, str_empty(key) ? cert : key, has_key,
		    "no private key without a password in PEM", &k, err);
	if (rc == 0) {
		take_blob(&c, &h->tls.cert, &h->tls.cert_len);
		take_blob(&k, &h->tls.key, &h->tls.key_len);
	}
	buf_release(&c);
	buf_release(&k);
	return rc;
}

int
host_certs_client(
    struct registry_host *h, const json_t *v, const char *dir, const char *what, struct err *err)
{
	const char *cert, *key = NULL;

	if (json_is_array(v)) {
		if (json_array_size(v) != 1)
			return unusable(err, what, "client: one certificate is supported");
		v = json_array_get(v, 0);
	}
	if (json_is_array(v)) {
		if (json_array_size(v) != 2 || !json_is_string(json_array_get(v, 1)))
			return unusable(err, what, "client: not a pair of file names");
		key = json_string_value(json_array_get(v, 1));
		v = json_array_get(v, 0);
	}
	cert = json_string_value(v);
	if (cert == NULL)
		return unusable(err, what, "client: not a file name");
	return read_pair(h, dir, cert, key, err);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, so that the result does not depend on the file system. */
static int
list_dir(const char *dir, char **names, size_t max, size_t *ret_n, struct err *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	*ret_n = 0;
	if (d == NULL)
		return err_errno(err, "%s", dir);
	while ((e = readdir(d)) != NULL) {
		if (!str_ends(e->d_name, ".crt") && !str_ends(e->d_name, ".cert"))
			continue;
		if (*ret_n == max) {
			closedir(d);
			return unusable(err, dir, "too many certificates");
		}
		names[(*ret_n)++] = xstrdup(e->d_name);
	}
	closedir(d);
	qsort(names, *ret_n, sizeof(*names), by_name);
	return 0;
}

static int
read_docker_client(struct registry_host *h, const char *dir, const char *cert, struct err *err)
{
	cleanup_free char *key = xasprintf("%.*s.key", (int)strlen(cert) - 5, cert);
	cleanup_free char *path = xasprintf("%s/%s", dir, key);

	if (h->tls.cert != NULL)
		return unusable(err, dir, "more than one *.cert: one is supported");
	return read_pair(h, dir, cert, access(path, F_OK) == 0 ? key : NULL, err);
}

int
host_certs_docker_dir(struct registry_host *h, const char *dir, struct err *err)
{
	char *names[CERT_FILES_MAX];
	struct buf ca = BUF_INIT;
	size_t n;
	int rc = list_dir(dir, names, ARRAY_SIZE(names), &n, err);

	for (size_t i = 0; i < n; i++) {
		if (rc == 0 && str_ends(names[i], ".crt"))
			rc = read_ca(dir, names[i], &ca, err);
		else if (rc == 0)
			rc = read_docker_client(h, dir, names[i], err);
		free(names[i]);
	}
	if (rc == 0 && ca.len > 0) {
		take_blob(&ca, &h->tls.ca, &h->tls.ca_len);
		h->tls.insecure = false; /* on the machine itself too: somebody took the trouble */
	}
	buf_release(&ca);
	return rc;
}
