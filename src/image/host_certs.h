/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificates of a registry host, from the keys "ca" and "client" of hosts.toml or from a
 * directory as Docker lays it out, read into memory and checked while an error can still name the
 * file.
 */
#ifndef IMAGE_HOST_CERTS_H
#define IMAGE_HOST_CERTS_H

#include <jansson.h>

#include "base/err.h"

struct registry_host;

/* v: a file name or an array of them, relative to dir. FAILED_PRECONDITION. */
int host_certs_ca(struct registry_host *h, const json_t *v, const char *dir, const char *what,
    struct err *err) __attribute__((warn_unused_result));

/* v: "file" with certificate and key, ["file"], or [["cert", "key"]]. One pair: libcurl shows a
 * server no choice of certificates. */
int host_certs_client(struct registry_host *h, const json_t *v, const char *dir, const char *what,
    struct err *err) __attribute__((warn_unused_result));

/* *.crt are trusted, *.cert with its *.key is shown. */
int host_certs_docker_dir(struct registry_host *h, const char *dir, struct err *err)
    __attribute__((warn_unused_result));

#endif
