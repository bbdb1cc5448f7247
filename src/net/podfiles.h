/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of a pod that tell it its name and its name servers: the content of resolv.conf, hosts
 * and hostname. Pure functions; the caller writes the files and mounts them.
 */
#ifndef NET_PODFILES_H
#define NET_PODFILES_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/* A DNSConfig of the CRI; every list may be empty. */
struct podfiles_dns {
	const char *const *servers, *const *searches, *const *options;
	size_t n_servers, n_searches, n_options;
};

/* resolv.conf, appended. dns NULL: the host's file as it is (host, of host_len bytes); else exactly
 * the lines of dns, so that three empty lists give an empty file. INVALID_ARGUMENT names an entry
 * that would break the file's lines. */
int podfiles_resolv_conf(const struct podfiles_dns *dns, const char *host, size_t host_len,
    struct buf *out, struct err *err) __attribute__((warn_unused_result));

/* hosts, appended: the host's file as it is; without one (host NULL) the loopback names, and the
 * pod's addresses with its hostname. */
void podfiles_hosts(const char *host, size_t host_len, const char *hostname, const char *const *ips,
    size_t n_ips, struct buf *out);

/* hostname, appended: the pod's name for itself and a newline. INVALID_ARGUMENT when it is longer
 * than 64 bytes or has characters that no host name has. */
int podfiles_hostname(const char *hostname, struct buf *out, struct err *err)
    __attribute__((warn_unused_result));

#endif
