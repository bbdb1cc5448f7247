/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP requests on the loop: libcurl's multi interface driven by libev. One struct fetch is one
 * request and one answer, whatever its status; redirects, authorization and retries belong to the
 * caller (image/registry.h). HTTP/1.1 only: a paused transfer then stops the sender by TCP itself,
 * where an HTTP/2 connection would buffer for its neighbours.
 *
 * Embedded: struct fetch in its owner, zero-initialised. fetch_start() fails at once without a
 * callback, or calls done() exactly once, from the loop, unless fetch_release() comes first. From
 * within on_head() and on_body() no function of this header may be called but fetch_header().
 *
 * Proxies come from the environment: HTTPS_PROXY, HTTP_PROXY, NO_PROXY and their lower-case twins;
 * loopback addresses are never proxied.
 */
#ifndef LOOP_FETCH_H
#define LOOP_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "loop/loop.h"

/* PEM, borrowed until the fetch is over. */
struct fetch_tls {
	const char *ca; /* trusted besides the system's; NULL: none */
	size_t ca_len;
	const char *cert; /* of the client; NULL: none */
	size_t cert_len;
	const char *key;
	size_t key_len;
	bool insecure; /* do not verify the server */
};

struct fetch_spec {
	const char *method;         /* "GET", "HEAD", "POST" */
	const char *url;            /* http or https */
	const char *const *headers; /* "Name: value", NULL-terminated; NULL: none */
	const void *body;           /* of a POST */
	size_t body_len;
	const struct fetch_tls *tls; /* NULL: the system's trust, no client certificate */
	int64_t dial_timeout_ms;     /* name, connection and handshake; 0: FETCH_DIAL_MS */
	int64_t stall_timeout_ms;    /* without any byte while not paused; 0: none */
};

enum { FETCH_DIAL_MS = 30000, FETCH_HEADERS_MAX = 64 << 10 };

enum fetch_failure {
	FETCH_OK,
	FETCH_DIAL,    /* no name, no connection, no handshake in time */
	FETCH_NOT_TLS, /* the server does not speak TLS */
	FETCH_CERT,    /* it is not who it should be; or our own certificate is no good */
	FETCH_BROKEN,  /* the connection went away, or was no HTTP */
	FETCH_STALLED, /* nothing came for stall_timeout_ms */
	FETCH_REFUSED  /* on_head or on_body said no: err is theirs */
};

enum fetch_take { FETCH_ABORT = -1, FETCH_TAKEN, FETCH_PAUSE };

struct fetch {
	/* set before the start, may be NULL */
	/* Status and headers are there; -1 with f->err filled: give up. */
	int (*on_head)(struct fetch *);
	/* FETCH_PAUSE: take nothing until fetch_unpause(), then these bytes are offered again. */
	enum fetch_take (*on_body)(struct fetch *, const char *p, size_t n);
	/* valid in done() */
	struct err err; /* UNAVAILABLE: the transport failed; ERR_NONE: an answer of any status */
	enum fetch_failure failure;
	int status;     /* of HTTP; 0: no answer */
	int64_t length; /* Content-Length, or -1 */
	uint64_t taken; /* bytes of the body that on_body took */
	/* private */
	void (*done)(struct fetch *);
	void *easy;         /* CURL */
	void *slist;        /* struct curl_slist */
	struct buf headers; /* "Name: value\0" each */
	char *detail;       /* curl's error buffer */
	struct loop_timer stall;
	int64_t stall_ms, seen_ms; /* when a byte last came */
	bool head_done, paused;
};

int fetch_start(struct fetch *f, const struct fetch_spec *spec, void (*done)(struct fetch *),
    struct err *err) __attribute__((warn_unused_result));

/* Go on after FETCH_PAUSE. May call on_body() at once. Fine when it is not paused. */
void fetch_unpause(struct fetch *f);

/* End the request if it still runs, without done(), and free what the struct holds. */
void fetch_release(struct fetch *f);

/* The nth header of that name (0: the first) without the blanks around its value; NULL: no more. */
const char *fetch_header(const struct fetch *f, const char *name, unsigned nth);

/* Scheme, host and port are equal, defaults counted in. */
bool fetch_url_same_origin(const char *a, const char *b);
/* "localhost", 127.0.0.0/8 or [::1]. */
bool fetch_url_is_loopback(const char *url);
/* Where a Location leads that came from base: an http or https URL without a fragment, on the heap.
 * NULL when it leads nowhere, or holds a user name. */
char *fetch_url_join(const char *base, const char *location);

/* Close idle connections and free what is shared. No fetch may be running. */
void fetch_shutdown(void);

#endif
