/* SPDX-License-Identifier: Apache-2.0
 *
 * A conversation with a registry about one repository under one credential: the hosts to try and
 * what each has been told so far. Tokens live here and die with it, so nothing that one credential
 * was granted is ever used for another.
 *
 *	reg = registry_new(&ref, &cred, &options, err);
 *	… requests (image/request.h), one after the other or side by side …
 *	registry_free(reg);
 */
#ifndef IMAGE_REGISTRY_H
#define IMAGE_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "base/err.h"
#include "image/auth.h"
#include "image/hosts.h"
#include "image/ref.h"
#include "loop/fetch.h"
#include "loop/loop.h"

struct registry_request;

struct registry_options {
	const char *certs_dirs;   /* directories of hosts.toml, separated by ':'; NULL: none */
	int64_t stall_timeout_ms; /* without a byte; 0: REGISTRY_STALL_MS */
	int64_t retry_ms;         /* the first pause, doubled each time; 0: REGISTRY_RETRY_MS */
};

enum {
	REGISTRY_STALL_MS = 5 * 60 * 1000,
	REGISTRY_RETRY_MS = 500,
	REGISTRY_IMPATIENT_MS = 60 * 1000, /* in place of the former where there is another way */
	REGISTRY_TRIES = 4,                /* in a row without getting further */
	REGISTRY_PAUSE_MAX_MS = 60 * 1000  /* the longest Retry-After that is waited for */
};

/* One host, and how we stand with it. */
struct registry_peer {
	struct registry *registry;
	struct registry_host *host;
	bool contacted;      /* it has answered: what it speaks is known */
	char *authorization; /* header line; NULL: none yet */
	unsigned generation; /* how often that has changed */
	/* the request for a token, when it runs */
	bool asking;
	struct challenge challenge;
	struct fetch fetch;
	struct buf body;
	struct loop_timer pause;
	unsigned tries;
	bool by_post;
	TAILQ_HEAD(, registry_request) waiting;
};

struct registry {
	char *domain, *repository;
	struct credential cred;
	struct registry_hosts hosts;
	struct registry_peer *peers; /* one per host */
	int64_t stall_timeout_ms, retry_ms;
};

/* cred is moved into it on success. FAILED_PRECONDITION when the hosts' configuration is unusable.
 */
struct registry *registry_new(const struct image_ref *ref, struct credential *cred,
    const struct registry_options *options, struct err *err);

/* No request may be running. NULL is fine. */
void registry_free(struct registry *r);

/* How much an error says: what is kept when several hosts fail. */
enum registry_weight { REGISTRY_SILENT, REGISTRY_ABSENT, REGISTRY_ANSWERED };

/*
 * For request.c. Answer the challenge (moved): 1 when the peer's authorization is there at once; 0
 * when q->authorized() will be called later, with an error (and its weight) or NULL; -1 when it
 * cannot be answered.
 */
int registry_authorize(struct registry_peer *peer, struct registry_request *q,
    struct challenge *challenge, struct err *err) __attribute__((warn_unused_result));
void registry_unwait(struct registry_peer *peer, struct registry_request *q);

/* "RegistryUnavailable: …" with code UNKNOWN: the only form in which the kubelet recognises it. */
void registry_unavailable(struct err *err);

/* How long to pause before try n (1, 2, …); a bit more for each caller. */
int64_t registry_pause_ms(const struct registry *r, unsigned n);

/* Is the line "Name: value" a header of that name? */
bool registry_header_is(const char *line, const char *name);

/* Milliseconds that a Retry-After header asks for; -1: none, or malformed. */
int64_t registry_retry_after_ms(const struct fetch *f);

#endif
