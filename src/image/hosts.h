/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the images of a registry come from: the registry itself, or the mirrors and settings that
 * containerd's certs.d/<host>/hosts.toml gives for it. Read anew for each pull, so that a change
 * needs no restart.
 *
 * Directories are tried as containerd does: "host_port_", "host:port", "_default". A directory
 * without hosts.toml may hold certificates as Docker names them: *.crt, and *.cert with *.key.
 * Other than containerd, a file that does not parse, and a key that is not known, are errors and
 * never passed over: a mirror that is silently not used is worse.
 */
#ifndef IMAGE_HOSTS_H
#define IMAGE_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "loop/fetch.h"

enum { HOST_PULL = 1 << 0, HOST_RESOLVE = 1 << 1 };

struct registry_host {
	char *authority; /* "host[:port]", as in a URL */
	char *path;      /* of the API, "/v2"; no slash at its end */
	bool https;
	bool either;    /* it may turn out to speak the other of http and https: see registry.c */
	bool is_origin; /* the registry that the reference names, not a mirror of it */
	unsigned caps;
	int64_t dial_timeout_ms; /* 0: the default */
	char **headers;          /* "Name: value", NULL-terminated */
	size_t n_headers;
	struct fetch_tls tls; /* its memory belongs to this struct */
};

struct registry_hosts {
	struct registry_host *list; /* in the order to try; the origin, or its stand-in, last */
	size_t n;
};

/* dirs: directories with one entry per registry, separated by ':'; NULL or "": none. domain: of the
 * reference. FAILED_PRECONDITION naming file and line when what is there cannot be used. */
int registry_hosts_load(const char *dirs, const char *domain, struct registry_hosts *ret,
    struct err *err) __attribute__((warn_unused_result));

/* The same from the text of a hosts.toml in the directory dir, "what" in errors. */
int registry_hosts_parse(const char *text, size_t n, const char *what, const char *dir,
    const char *domain, struct registry_hosts *ret, struct err *err)
    __attribute__((warn_unused_result));

void registry_hosts_release(struct registry_hosts *h); /* a zeroed one is fine */

/* The host and port that serve the images of a domain, when nothing is configured:
 * "registry-1.docker.io" for "docker.io". */
const char *registry_default_authority(const char *domain);

/* Is it the machine itself: "localhost", 127.0.0.0/8 or [::1], whatever the port? */
bool registry_is_localhost(const char *authority);

#endif
