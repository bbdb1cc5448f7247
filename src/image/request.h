/* SPDX-License-Identifier: Apache-2.0
 *
 * One request for a manifest or a blob, from the first host that gives it: mirrors in their order,
 * authorization, redirects, pauses and retries, resumption of what broke off. The answer is either
 * collected (manifests, configs: whole, bounded, and verified when asked for by digest) or streamed
 * (layers: each byte once and in order, whichever hosts it came from; verified by who takes it).
 *
 * Embedded; zero-initialise, fill in, start. Errors: UNKNOWN "RegistryUnavailable: …" when no host
 * could be talked to, NOT_FOUND, UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED (rate
 * limit, or too large), DATA_LOSS (not what its digest or size says), FAILED_PRECONDITION
 * (configuration). They name the host.
 */
#ifndef IMAGE_REQUEST_H
#define IMAGE_REQUEST_H

#include "image/registry.h"

enum registry_kind { REGISTRY_MANIFEST, REGISTRY_BLOB };

#define SIZE_UNKNOWN UINT64_MAX

struct registry_request {
	/* filled by the caller */
	enum registry_kind kind;
	bool head;        /* only the headers */
	const char *what; /* tag or digest; borrowed */
	uint64_t size;    /* as its descriptor says, or SIZE_UNKNOWN */
	uint64_t max;     /* collect up to so many bytes into body; 0: stream them to on_body */
	enum fetch_take (*on_body)(struct registry_request *, const char *p, size_t n);
	unsigned first_host; /* start with this one of registry->hosts */
	/* valid in done() */
	struct err err;
	struct buf body;          /* of a collected answer; the caller's to release */
	char content_type[256];   /* "" when there was none */
	char digest[DIGEST_SIZE]; /* Docker-Content-Digest when it is valid, else "" */
	int64_t length;           /* Content-Length of the answer to HEAD, or -1 */
	unsigned host;            /* the one that gave it */
	bool pieced;              /* streamed from more than one answer */
	bool no_head;             /* the server does not know HEAD: err is set too */
	/* valid at any time */
	uint64_t got; /* bytes of the body delivered */
	/* private */
	struct registry *registry;
	struct registry_peer *peer;
	void (*done)(struct registry_request *);
	void (*authorized)(struct registry_request *, const struct err *, enum registry_weight);
	struct fetch fetch;
	struct loop_timer pause;
	char *url;
	struct fetch_tls elsewhere; /* for a redirect's target: without our certificate */
	struct buf problem;         /* the body of an error answer */
	uint64_t skip;              /* bytes to drop: the server did not honour the range */
	uint64_t got_before;        /* at the last failure */
	unsigned hops, tries, generation;
	bool at_home; /* the URL is the host's own, not a redirect's target */
	bool authorized_once, waiting, ours, deliver, complete;
	enum registry_weight weight;
	TAILQ_ENTRY(registry_request) entry;
};

/* Fails at once (no host may be asked), or calls done() exactly once, from the loop. From on_body
 * nothing of this header may be called; FETCH_ABORT there needs q->err filled, which done() gets.
 */
int registry_request_start(struct registry_request *q, struct registry *r,
    void (*done)(struct registry_request *), struct err *err) __attribute__((warn_unused_result));

void registry_request_unpause(struct registry_request *q);

/* End it without done(). Fine after done(). The body is released too. */
void registry_request_stop(struct registry_request *q);

/* request_body.c, for request.c: of the fetch, and what the registry's own error document says,
 * made fit for a message (": …", or ""). */
int request_on_head(struct fetch *f);
enum fetch_take request_on_body(struct fetch *f, const char *p, size_t n);
void request_explain(const struct registry_request *q, char *out, size_t size);

#endif
