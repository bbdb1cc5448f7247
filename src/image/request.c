/* SPDX-License-Identifier: Apache-2.0
 *
 * One request: see request.h. The path of a request that meets no trouble is registry_request_start
 * → send_now → … → on_done → finish; what comes in between is taken by request_body.c. Every
 * trouble ends in one of four turns: send again at once (a redirect, an authorization, the other of
 * http and https), again_later (a pause), leave (this host has failed: the next), or finish with an
 * error.
 */
#include "image/request.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/manifest.h"

enum { HOPS_MAX = 5 };

/* A retry that got this much further does not count as one in a row. */
#define FURTHER (UINT64_C(1) << 20)

static const char accept[] = "Accept: " MEDIA_OCI_INDEX ", " MEDIA_DOCKER_LIST
                             ", " MEDIA_OCI_MANIFEST ", " MEDIA_DOCKER_MANIFEST ", */*;q=0.1";

static void send_now(struct registry_request *q);
static void on_done(struct fetch *f);

static void
finish(struct registry_request *q)
{
	fetch_release(&q->fetch);
	buf_release(&q->problem);
	free(q->url);
	q->url = NULL;
	q->host = q->peer != NULL ? (unsigned)(q->peer - q->registry->peers) : q->first_host;
	if (q->err.code != ERR_NONE)
		buf_release(&q->body);
	q->done(q);
}

static unsigned
needed_caps(const struct registry_request *q)
{
	return q->kind == REGISTRY_MANIFEST && !digest_valid(q->what) ? HOST_PULL | HOST_RESOLVE
	                                                              : HOST_PULL;
}

static struct registry_peer *
able_peer(const struct registry_request *q, size_t from)
{
	unsigned caps = needed_caps(q);

	for (size_t i = from; i < q->registry->hosts.n; i++)
		if ((q->registry->hosts.list[i].caps & caps) == caps)
			return &q->registry->peers[i];
	return NULL;
}

static struct registry_peer *
next_peer(const struct registry_request *q)
{
	return able_peer(q, (size_t)(q->peer - q->registry->peers) + 1);
}

static const char *
kind_name(const struct registry_request *q)
{
	return q->kind == REGISTRY_BLOB ? "blob" : "manifest";
}

/* Remember the error if it says more than what another host said before. The origin has the last
 * word on what its repositories hold. */
static void
remember(struct registry_request *q, const struct err *err, enum registry_weight weight)
{
	struct err e = *err;

	if (str_starts(e.msg, "RegistryUnavailable")) { /* that word stays in front */
		snprintf(e.msg, sizeof(e.msg), "RegistryUnavailable: %s %.140s from %s%.300s",
		    kind_name(q), q->what, q->peer->host->authority,
		    err->msg + strlen("RegistryUnavailable"));
	} else {
		err_wrap(&e, "%s %.140s from %s", kind_name(q), q->what, q->peer->host->authority);
	}
	trace(TRACE_IMAGE, "%s", e.msg);
	if (q->err.code == ERR_NONE || weight > q->weight ||
	    (q->peer->host->is_origin && weight >= REGISTRY_ABSENT)) {
		q->err = e;
		q->weight = weight;
	}
}

/* The first URL on a host. */
static void
enter_host(struct registry_request *q, struct registry_peer *peer)
{
	q->peer = peer;
	q->hops = q->tries = 0;
	q->at_home = true;
	q->authorized_once = false;
	free(q->url);
	q->url = NULL;
}

/* This host has failed. */
static void
leave(struct registry_request *q, const struct err *err, enum registry_weight weight)
{
	struct registry_peer *next = next_peer(q);

	remember(q, err, weight);
	if (next == NULL) {
		finish(q);
		return;
	}
	enter_host(q, next);
	send_now(q);
}

static void
on_pause(struct loop_timer *t)
{
	send_now(container_of(t, struct registry_request, pause));
}

static void
go_home(struct registry_request *q)
{
	free(q->url);
	q->url = NULL;
	q->hops = 0;
	q->at_home = true;
}

/* After a pause, from the host's own URL again. Another host is better than a pause, unless what we
 * have of a blob came from this one. */
static void
again_later(
    struct registry_request *q, int64_t told_ms, const struct err *err, enum registry_weight weight)
{
	int64_t ms;

	if (q->got >= q->got_before + FURTHER)
		q->tries = 0;
	q->got_before = q->got;
	if (++q->tries >= REGISTRY_TRIES || told_ms > REGISTRY_PAUSE_MAX_MS ||
	    (q->got == 0 && next_peer(q) != NULL)) {
		leave(q, err, weight);
		return;
	}
	ms = registry_pause_ms(q->registry, q->tries);
	trace(TRACE_IMAGE, "%s %s: try %u after %lld ms: %s", kind_name(q), q->what, q->tries,
	    (long long)MAX(ms, told_ms), err->msg);
	go_home(q);
	timer_start(&q->pause, MAX(ms, told_ms), on_pause);
}

static char *
home_url(const struct registry_request *q)
{
	const struct registry_host *h = q->peer->host;
	const char *domain = q->registry->domain;
	bool mirror = strcmp(h->authority, registry_default_authority(domain)) != 0;

	return xasprintf("%s://%s%s/%s/%s/%s%s%s", h->https ? "https" : "http", h->authority,
	    h->path, q->registry->repository, q->kind == REGISTRY_BLOB ? "blobs" : "manifests",
	    q->what, mirror ? "?ns=" : "", mirror ? domain : "");
}

/* What goes along. Outside the host's own URLs: neither its credential nor its headers nor our
 * certificate (CVE-2020-15157). */
static void
fill_headers(struct registry_request *q, const char **list, char *range, size_t range_size)
{
	const struct registry_host *h = q->peer->host;
	size_t n = 0;

	if (q->kind == REGISTRY_MANIFEST)
		list[n++] = accept;
	if (q->got > 0) {
		snprintf(range, range_size, "Range: bytes=%llu-", (unsigned long long)q->got);
		list[n++] = range;
		q->pieced = true;
	}
	if (q->at_home && q->peer->authorization != NULL)
		list[n++] = q->peer->authorization;
	for (size_t i = 0; q->at_home && i < h->n_headers; i++)
		if (q->peer->authorization == NULL ||
		    !registry_header_is(h->headers[i], "Authorization"))
			list[n++] = h->headers[i];
	list[n] = NULL;
}

static void
send_now(struct registry_request *q)
{
	const struct registry_host *h = q->peer->host;
	const char **headers = xcalloc(h->n_headers + 4, sizeof(*headers));
	struct fetch_spec spec = {
	    .method = q->head ? "HEAD" : "GET",
	    .headers = headers,
	    .tls = &q->elsewhere,
	    .dial_timeout_ms = h->dial_timeout_ms,
	    .stall_timeout_ms = q->registry->stall_timeout_ms,
	};
	char range[48];
	struct err err;
	int rc;

	if ((q->max > 0 || q->head) && next_peer(q) != NULL) /* a mute mirror: the next may talk */
		spec.stall_timeout_ms = MIN(spec.stall_timeout_ms, REGISTRY_IMPATIENT_MS);
	if (q->url == NULL)
		q->url = home_url(q);
	if (q->max > 0) {
		buf_truncate(&q->body, 0);
		q->got = 0;
	}
	q->elsewhere = h->tls;
	if (!q->at_home)
		q->elsewhere.cert = q->elsewhere.key = NULL;
	fill_headers(q, headers, range, sizeof(range));
	buf_truncate(&q->problem, 0);
	q->generation = q->peer->generation;
	q->skip = 0;
	q->deliver = q->complete = q->ours = false;
	q->fetch.on_head = request_on_head;
	q->fetch.on_body = request_on_body;
	spec.url = q->url;
	rc = fetch_start(&q->fetch, &spec, on_done, &err);
	free(headers);
	if (rc < 0)
		leave(q, &err, REGISTRY_ANSWERED);
}

static void
redirect(struct registry_request *q)
{
	const char *location = fetch_header(&q->fetch, "Location", 0);
	cleanup_free char *to = NULL;
	cleanup_free char *home = home_url(q);
	struct err err;

	to = location != NULL ? fetch_url_join(q->url, location) : NULL;
	if (to == NULL || ++q->hops > HOPS_MAX) {
		err_set(&err, ERR_UNKNOWN, "%s",
		    to == NULL ? "a redirect that leads nowhere" : "too many redirects");
		leave(q, &err, REGISTRY_ANSWERED);
		return;
	}
	if (str_starts(q->url, "https://") && !str_starts(to, "https://")) {
		err_set(&err, ERR_PERMISSION_DENIED, "a redirect from https to plain http");
		leave(q, &err, REGISTRY_ANSWERED);
		return;
	}
	q->at_home = fetch_url_same_origin(to, home);
	free(q->url);
	q->url = take_ptr(to);
	send_now(q);
}

static void
denied(struct registry_request *q, enum err_code code, const char *why)
{
	char text[220];
	struct err err;

	request_explain(q, text, sizeof(text));
	err_set(&err, code, "%s%s", why, text);
	leave(q, &err, REGISTRY_ANSWERED);
}

static void
on_authorized(struct registry_request *q, const struct err *err, enum registry_weight weight)
{
	if (err != NULL)
		leave(q, err, weight);
	else
		send_now(q);
}

static void
unauthorized(struct registry_request *q)
{
	struct challenge challenge = {0};
	const char *value;
	struct err err;
	int rc = 0;

	if (!q->at_home)
		return denied(q, ERR_UNAUTHENTICATED, "the target of a redirect asks for a login");
	if (q->generation < q->peer->generation) /* renewed while this one was under way */
		return send_now(q);
	if (q->authorized_once)
		return denied(q, ERR_UNAUTHENTICATED, "pull access denied");
	for (unsigned i = 0;
	     rc == 0 && i < 8 && (value = fetch_header(&q->fetch, "WWW-Authenticate", i)) != NULL;
	     i++)
		rc = challenge_parse(value, &challenge, &err);
	q->authorized_once = true;
	q->authorized = on_authorized;
	if (rc == 0)
		rc = registry_authorize(q->peer, q, &challenge, &err);
	challenge_release(&challenge);
	if (rc < 0) {
		if (err.code == ERR_INVALID_ARGUMENT)
			err.code = ERR_UNAUTHENTICATED;
		leave(q, &err, REGISTRY_ANSWERED);
	} else if (rc == 1) {
		go_home(q);
		send_now(q);
	}
}

/* Whole and, when asked for by digest, what it should be? */
static void
succeed(struct registry_request *q)
{
	struct err err;

	if (q->size != SIZE_UNKNOWN && !q->head && q->got != q->size) {
		err_set(&err, ERR_DATA_LOSS, "it ended after %llu of %llu bytes",
		    (unsigned long long)q->got, (unsigned long long)q->size);
		again_later(q, 0, &err, REGISTRY_ANSWERED);
		return;
	}
	if (q->max > 0 && digest_valid(q->what) &&
	    digest_check(q->body.len > 0 ? q->body.data : "", q->body.len, q->what, "the content",
	        &err) < 0) {
		leave(q, &err, REGISTRY_ANSWERED);
		return;
	}
	q->err = (struct err){0}; /* of the hosts that failed before */
	finish(q);
}

static void
server_error(struct registry_request *q)
{
	char text[220];
	struct err err;

	request_explain(q, text, sizeof(text));
	err_set(&err, ERR_UNKNOWN, "HTTP %d%s", q->fetch.status, text);
	registry_unavailable(&err);
	again_later(q, registry_retry_after_ms(&q->fetch), &err, REGISTRY_SILENT);
}

static void
rate_limited(struct registry_request *q)
{
	int64_t told = registry_retry_after_ms(&q->fetch);
	char text[220];
	struct err err;

	request_explain(q, text, sizeof(text));
	err_set(&err, ERR_RESOURCE_EXHAUSTED, "HTTP 429: the rate limit is reached%s", text);
	again_later(q, told, &err, REGISTRY_ANSWERED);
}

static void
answered(struct registry_request *q)
{
	int status = q->fetch.status;
	char text[220];
	struct err err;

	if (q->at_home) {
		q->peer->contacted = true;
		q->peer->host->either = false;
	}
	if (status == 200 || status == 206) {
		succeed(q);
	} else if (status == 301 || status == 302 || status == 303 || status == 307 ||
	           status == 308) {
		redirect(q);
	} else if (status == 401) {
		unauthorized(q);
	} else if (status == 403) {
		denied(q, ERR_PERMISSION_DENIED, "HTTP 403");
	} else if (status == 404) {
		request_explain(q, text, sizeof(text));
		err_set(&err, ERR_NOT_FOUND, "not found%s", text);
		leave(q, &err, REGISTRY_ABSENT);
	} else if (status == 429) {
		rate_limited(q);
	} else if (status == 408 || (status >= 500 && status != 501)) {
		server_error(q);
	} else {
		q->no_head = q->head && (status == 405 || status == 501 || status == 400);
		request_explain(q, text, sizeof(text));
		err_set(&err, ERR_UNKNOWN, "HTTP %d%s", status, text);
		leave(q, &err, REGISTRY_ANSWERED);
	}
}

/* Nothing is known of the host yet, and it did not understand us: the other of http and https? */
static bool
other_scheme(struct registry_request *q)
{
	struct registry_host *h = q->peer->host;
	const struct fetch *f = &q->fetch;

	if (!h->either || !q->at_home || q->peer->contacted)
		return false;
	if (h->https ? f->failure != FETCH_NOT_TLS
	             : !(f->failure == FETCH_BROKEN && f->status == 0) &&
	                   !(f->failure == FETCH_OK && f->status == 400))
		return false;
	h->https = !h->https;
	h->either = false;
	go_home(q);
	return true;
}

static void
failed(struct registry_request *q)
{
	struct err err = q->fetch.err;
	bool again = q->fetch.failure == FETCH_BROKEN ||
	             (q->fetch.failure == FETCH_DIAL && (q->peer->contacted || q->got > 0));

	if (q->ours) {
		q->err = err;
		finish(q);
	} else if (q->fetch.failure == FETCH_REFUSED) {
		if (err.code == ERR_UNAVAILABLE) /* headers beyond all measure */
			err.code = ERR_UNKNOWN;
		leave(q, &err, REGISTRY_ANSWERED);
	} else if (q->deliver && q->max == 0 && q->got == q->size) {
		succeed(q); /* it broke off after the last byte */
	} else if (again) {
		registry_unavailable(&err);
		again_later(q, 0, &err, REGISTRY_SILENT);
	} else {
		registry_unavailable(&err);
		leave(q, &err, REGISTRY_SILENT);
	}
}

static void
on_done(struct fetch *f)
{
	struct registry_request *q = container_of(f, struct registry_request, fetch);

	if (other_scheme(q))
		send_now(q);
	else if (f->failure == FETCH_OK)
		answered(q);
	else
		failed(q);
}

int
registry_request_start(struct registry_request *q, struct registry *r,
    void (*done)(struct registry_request *), struct err *err)
{
	struct registry_peer *peer;

	assert(q->max > 0 || q->head || (q->on_body != NULL && q->size != SIZE_UNKNOWN));
	q->registry = r;
	peer = able_peer(q, q->first_host);
	if (peer == NULL)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s %.140s: no host of %s may be asked for it", kind_name(q), q->what,
		    r->domain);
	q->done = done;
	q->err = (struct err){0};
	q->weight = REGISTRY_SILENT;
	q->got = q->got_before = 0;
	q->no_head = q->pieced = false;
	q->length = -1;
	q->content_type[0] = q->digest[0] = '\0';
	enter_host(q, peer);
	timer_start(&q->pause, 0, on_pause); /* all that follows is asynchronous */
	return 0;
}

void
registry_request_unpause(struct registry_request *q)
{
	fetch_unpause(&q->fetch);
}

void
registry_request_stop(struct registry_request *q)
{
	timer_stop(&q->pause);
	if (q->peer != NULL)
		registry_unwait(q->peer, q);
	fetch_release(&q->fetch);
	buf_release(&q->problem);
	buf_release(&q->body);
	free(q->url);
	q->url = NULL;
}
