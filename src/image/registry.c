/* SPDX-License-Identifier: Apache-2.0
 *
 * The conversation's state, and the requests for tokens: see registry.h. Requests that meet a
 * challenge side by side wait for one token (registry_authorize); it is asked for anew, by GET and
 * then by POST where a server knows only that, until there is an answer (on_token).
 */
#include "image/registry.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/request.h"

static void on_token(struct fetch *f);

struct registry *
registry_new(const struct image_ref *ref, struct credential *cred,
    const struct registry_options *options, struct err *err)
{
	struct registry *r = xcalloc(1, sizeof(*r));

	if (registry_hosts_load(options->certs_dirs, ref->domain, &r->hosts, err) < 0) {
		free(r);
		return NULL;
	}
	r->domain = xstrdup(ref->domain);
	r->repository = xstrdup(ref->path);
	r->cred = *cred;
	*cred = (struct credential){0};
	r->stall_timeout_ms =
	    options->stall_timeout_ms > 0 ? options->stall_timeout_ms : REGISTRY_STALL_MS;
	r->retry_ms = options->retry_ms > 0 ? options->retry_ms : REGISTRY_RETRY_MS;
	r->peers = xcalloc(r->hosts.n, sizeof(*r->peers));
	for (size_t i = 0; i < r->hosts.n; i++) {
		struct registry_peer *peer = &r->peers[i];

		peer->registry = r;
		peer->host = &r->hosts.list[i];
		TAILQ_INIT(&peer->waiting);
		if (r->cred.kind == CREDENTIAL_TOKEN &&
		    credential_applies(&r->cred, peer->host, r->domain))
			peer->authorization = xasprintf("Authorization: Bearer %s", r->cred.secret);
	}
	return r;
}

static void
forget(char **line)
{
	if (*line != NULL)
		explicit_bzero(*line, strlen(*line));
	free(*line);
	*line = NULL;
}

void
registry_free(struct registry *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->hosts.n; i++) {
		struct registry_peer *peer = &r->peers[i];

		fetch_release(&peer->fetch);
		timer_stop(&peer->pause);
		challenge_release(&peer->challenge);
		buf_release(&peer->body);
		forget(&peer->authorization);
	}
	free(r->peers);
	registry_hosts_release(&r->hosts);
	credential_release(&r->cred);
	free(r->domain);
	free(r->repository);
	free(r);
}

void
registry_unavailable(struct err *err)
{
	err_wrap(err, "RegistryUnavailable");
	err->code = ERR_UNKNOWN;
}

int64_t
registry_pause_ms(const struct registry *r, unsigned n)
{
	int64_t ms = r->retry_ms << MIN(n - 1, 6u);

	return ms + clock_mono_ns() / 1000 % (ms / 4 + 1);
}

int64_t
registry_retry_after_ms(const struct fetch *f)
{
	const char *s = fetch_header(f, "Retry-After", 0), *end;
	struct tm tm = {0};
	uint64_t seconds;
	int64_t ms;

	if (s == NULL)
		return -1;
	if (str_u64(s, 10, 1000000, &seconds) == 0)
		return (int64_t)seconds * 1000;
	end = strptime(s, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	if (end == NULL || *end != '\0')
		return -1;
	ms = (int64_t)timegm(&tm) * 1000 - clock_wall_ns() / NS_PER_MS;
	return MAX(ms, 0);
}

/* Wake who waits. The callbacks may start requests and wait again, but not free the registry. */
static void
settle(struct registry_peer *peer, const struct err *err, enum registry_weight weight)
{
	struct registry_request *q;

	peer->asking = false;
	fetch_release(&peer->fetch);
	buf_release(&peer->body);
	while ((q = TAILQ_FIRST(&peer->waiting)) != NULL) {
		TAILQ_REMOVE(&peer->waiting, q, entry);
		q->waiting = false;
		q->authorized(q, err, weight);
	}
}

static void
settle_error(struct registry_peer *peer, struct err *err, enum registry_weight weight)
{
	err_wrap(err, "token");
	settle(peer, err, weight);
}

bool
registry_header_is(const char *line, const char *name)
{
	size_t n = strlen(name);

	return strncasecmp(line, name, n) == 0 && line[n] == ':';
}

static int
on_token_head(struct fetch *f)
{
	return f->length > TOKEN_RESPONSE_MAX
	           ? err_set(&f->err, ERR_UNKNOWN, "the answer is too long")
	           : 0;
}

static enum fetch_take
on_token_body(struct fetch *f, const char *p, size_t n)
{
	struct registry_peer *peer = container_of(f, struct registry_peer, fetch);

	if (peer->body.len + n > TOKEN_RESPONSE_MAX)
		return err_set(&f->err, ERR_UNKNOWN, "the answer is too long"), FETCH_ABORT;
	buf_add(&peer->body, p, n);
	return FETCH_TAKEN;
}

/* To the realm on the registry's own host goes what the registry gets. Elsewhere neither its
 * headers nor our certificate go, and no credential without the server being verified. */
static void
fill_ask(const struct registry_peer *peer, const struct token_request *t, bool known,
    const char **headers, struct fetch_tls *tls)
{
	const struct registry_host *h = peer->host;
	cleanup_free char *home = xasprintf("%s://%s/", h->https ? "https" : "http", h->authority);
	size_t n = 0;

	*tls = h->tls;
	if (t->authorization != NULL)
		headers[n++] = t->authorization;
	if (t->body != NULL)
		headers[n++] = "Content-Type: application/x-www-form-urlencoded";
	if (fetch_url_same_origin(home, t->url)) {
		for (size_t i = 0; i < h->n_headers; i++)
			if (t->authorization == NULL ||
			    !registry_header_is(h->headers[i], "Authorization"))
				headers[n++] = h->headers[i];
	} else {
		tls->cert = tls->key = NULL;
		tls->insecure = tls->insecure && !known;
	}
	headers[n] = NULL;
}

static int
ask(struct registry_peer *peer, struct err *err)
{
	struct registry *r = peer->registry;
	const struct credential *cred =
	    credential_applies(&r->cred, peer->host, r->domain) ? &r->cred : NULL;
	const char **headers;
	struct token_request t;
	struct fetch_tls tls;
	struct fetch_spec spec;
	int rc;

	if (token_request_build(
	        &peer->challenge, peer->host, r->repository, cred, peer->by_post, &t, err) < 0)
		return -1;
	headers = xcalloc(peer->host->n_headers + 3, sizeof(*headers));
	fill_ask(peer, &t, cred != NULL, headers, &tls);
	spec = (struct fetch_spec){
	    .method = t.method,
	    .url = t.url,
	    .headers = headers,
	    .body = t.body,
	    .body_len = strlen(STR_OR_EMPTY(t.body)),
	    .tls = &tls,
	    .dial_timeout_ms = peer->host->dial_timeout_ms,
	    .stall_timeout_ms = MIN(r->stall_timeout_ms, REGISTRY_IMPATIENT_MS),
	};
	buf_truncate(&peer->body, 0);
	peer->fetch.on_head = on_token_head;
	peer->fetch.on_body = on_token_body;
	rc = fetch_start(&peer->fetch, &spec, on_token, err);
	free(headers);
	token_request_release(&t);
	return rc;
}

static void
on_token_pause(struct loop_timer *t)
{
	struct registry_peer *peer = container_of(t, struct registry_peer, pause);
	struct err err;

	if (ask(peer, &err) < 0)
		settle_error(peer, &err, REGISTRY_ANSWERED);
}

static void
take_token(struct registry_peer *peer)
{
	struct err err;
	char *token = token_response_parse(peer->body.data, peer->body.len, &err);

	if (token == NULL) {
		settle_error(peer, &err, REGISTRY_ANSWERED);
		return;
	}
	forget(&peer->authorization);
	peer->authorization = xasprintf("Authorization: Bearer %s", token);
	peer->generation++;
	explicit_bzero(token, strlen(token));
	free(token);
	settle(peer, NULL, REGISTRY_SILENT);
}

/* Is it worth asking again after a while? */
static bool
token_again(struct registry_peer *peer)
{
	const struct fetch *f = &peer->fetch;
	int64_t wait = registry_pause_ms(peer->registry, peer->tries + 1), told;

	if (f->failure != FETCH_BROKEN &&
	    !(f->failure == FETCH_OK && (f->status == 429 || f->status == 408 || f->status >= 500)))
		return false;
	told = f->failure == FETCH_OK ? registry_retry_after_ms(f) : -1;
	if (++peer->tries >= REGISTRY_TRIES || told > REGISTRY_PAUSE_MAX_MS)
		return false;
	timer_start(&peer->pause, MAX(wait, told), on_token_pause);
	return true;
}

static void
on_token(struct fetch *f)
{
	struct registry_peer *peer = container_of(f, struct registry_peer, fetch);
	struct registry *r = peer->registry;
	bool known =
	    r->cred.kind == CREDENTIAL_BASIC && credential_applies(&r->cred, peer->host, r->domain);
	struct err err;

	if (f->failure == FETCH_OK && f->status == 200) {
		take_token(peer);
	} else if (f->failure == FETCH_OK && (f->status == 404 || f->status == 405) && known &&
	           !peer->by_post) {
		peer->by_post = true;
		on_token_pause(&peer->pause);
	} else if (token_again(peer)) {
		return;
	} else if (f->failure == FETCH_REFUSED) {
		err = f->err;
		settle_error(peer, &err, REGISTRY_ANSWERED);
	} else if (f->failure != FETCH_OK) {
		err = f->err;
		registry_unavailable(&err);
		settle(peer, &err, REGISTRY_SILENT);
	} else if (f->status >= 500) {
		err_set(&err, ERR_UNKNOWN, "the token server answers HTTP %d", f->status);
		registry_unavailable(&err);
		settle(peer, &err, REGISTRY_SILENT);
	} else if (f->status == 429) {
		err_set(&err, ERR_RESOURCE_EXHAUSTED, "the token server's rate limit is reached");
		settle(peer, &err, REGISTRY_ANSWERED);
	} else {
		err_set(&err, f->status == 403 ? ERR_PERMISSION_DENIED : ERR_UNAUTHENTICATED,
		    "the token server answers HTTP %d%s", f->status,
		    f->status == 401 || f->status == 403 || f->status == 400
		        ? ": the credentials are refused, or the repository does not exist"
		        : "");
		settle(peer, &err, REGISTRY_ANSWERED);
	}
}

static int
no_login(struct err *err)
{
	return err_set(err, ERR_UNAUTHENTICATED,
	    "pull access denied: the repository does not exist or needs a login");
}

int
registry_authorize(struct registry_peer *peer, struct registry_request *q,
    struct challenge *challenge, struct err *err)
{
	struct registry *r = peer->registry;
	bool applies = credential_applies(&r->cred, peer->host, r->domain);

	if (challenge->scheme == CHALLENGE_BASIC) {
		char *basic;

		if (!applies || r->cred.kind != CREDENTIAL_BASIC)
			return no_login(err);
		basic = credential_basic(&r->cred);
		forget(&peer->authorization);
		peer->authorization = xasprintf("Authorization: %s", basic);
		peer->generation++;
		forget(&basic);
		return 1;
	}
	if (challenge->scheme != CHALLENGE_BEARER)
		return err_set(err, ERR_UNAUTHENTICATED,
		    "the registry asks for a kind of login that is not supported");
	if (applies && r->cred.kind == CREDENTIAL_TOKEN)
		return err_set(err, ERR_UNAUTHENTICATED, "the registry token is refused");
	if (!peer->asking) {
		challenge_release(&peer->challenge);
		peer->challenge = *challenge;
		*challenge = (struct challenge){0};
		peer->tries = 0;
		if (ask(peer, err) < 0)
			return -1;
		peer->asking = true;
	}
	TAILQ_INSERT_TAIL(&peer->waiting, q, entry);
	q->waiting = true;
	return 0;
}

void
registry_unwait(struct registry_peer *peer, struct registry_request *q)
{
	if (q->waiting)
		TAILQ_REMOVE(&peer->waiting, q, entry);
	q->waiting = false;
}
