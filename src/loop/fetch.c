/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP on the loop: see fetch.h. libcurl names the sockets and the time-out it wants watched
 * (on_socket_wanted, on_timeout_wanted); libev tells it when something happened (drive); finished
 * requests are then collected in one place (collect), so that done() never runs inside libcurl.
 * When nothing has been fetched for a while, the connections and the parsed CA store go.
 */
#include "loop/fetch.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"

enum { IDLE_MS = 30000, CONNECTIONS_KEPT = 8, READ_SIZE = 64 << 10 };

struct watch {
	ev_io w;
};

static CURLM *multi;
static ev_timer w_timeout;
static unsigned running;
static struct loop_timer idle;

static void
on_idle(struct loop_timer *t)
{
	(void)t;
	if (running == 0)
		fetch_shutdown();
}

static void
finish(struct fetch *f)
{
	curl_multi_remove_handle(multi, f->easy);
	curl_easy_cleanup(f->easy);
	curl_slist_free_all(f->slist);
	f->easy = NULL;
	f->slist = NULL;
	timer_stop(&f->stall);
	assert(running > 0);
	if (--running == 0)
		timer_start(&idle, IDLE_MS, on_idle);
}

static enum fetch_failure
classify(CURLcode rc, const struct fetch *f)
{
	switch (rc) {
	case CURLE_OK:
		return FETCH_OK;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_OPERATION_TIMEDOUT:
		return FETCH_DIAL;
	case CURLE_SSL_CONNECT_ERROR:
		/* OpenSSL's words for an answer that is no TLS record */
		return strstr(f->detail, "wrong version number") != NULL ||
		               strstr(f->detail, "packet length too long") != NULL ||
		               strstr(f->detail, "http request") != NULL
		           ? FETCH_NOT_TLS
		           : FETCH_DIAL;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CERTPROBLEM:
		return FETCH_CERT;
	default:
		return FETCH_BROKEN;
	}
}

static void
complete(struct fetch *f, CURLcode rc)
{
	const char *why = f->detail[0] != '\0' ? f->detail : curl_easy_strerror(rc);

	if (f->err.code != ERR_NONE) {
		f->failure = FETCH_REFUSED;
	} else if (rc != CURLE_OK) {
		f->failure = classify(rc, f);
		err_set(&f->err, ERR_UNAVAILABLE, "%s", why);
	}
	finish(f);
	f->done(f);
}

static void
collect(void)
{
	CURLMsg *msg;
	int left;

	while (multi != NULL && (msg = curl_multi_info_read(multi, &left)) != NULL) {
		struct fetch *f;
		CURLcode rc = msg->data.result;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&f);
		complete(f, rc);
	}
}

static void
drive(curl_socket_t fd, int what)
{
	int n;

	curl_multi_socket_action(multi, fd, what, &n);
	collect();
}

static void
on_socket(struct ev_loop *l, ev_io *w, int revents)
{
	(void)l;
	drive(w->fd, (revents & EV_READ ? CURL_CSELECT_IN : 0) |
	                 (revents & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void
on_timeout(struct ev_loop *l, ev_timer *w, int revents)
{
	(void)l;
	(void)w;
	(void)revents;
	drive(CURL_SOCKET_TIMEOUT, 0);
}

static int
on_socket_wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *sock)
{
	struct watch *watch = sock;
	int events = (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0);

	(void)easy;
	(void)arg;
	if (watch != NULL)
		ev_io_stop(loop, &watch->w);
	if (what == CURL_POLL_REMOVE) {
		free(watch);
		curl_multi_assign(multi, fd, NULL);
		return 0;
	}
	if (watch == NULL) {
		watch = xcalloc(1, sizeof(*watch));
		curl_multi_assign(multi, fd, watch);
	}
	ev_io_init(&watch->w, on_socket, fd, events);
	ev_io_start(loop, &watch->w);
	return 0;
}

static int
on_timeout_wanted(CURLM *m, long ms, void *arg)
{
	(void)m;
	(void)arg;
	ev_timer_stop(loop, &w_timeout);
	if (ms >= 0) {
		ev_timer_init(&w_timeout, on_timeout, (double)ms / 1000, 0);
		ev_timer_start(loop, &w_timeout);
	}
	return 0;
}

static void
begin(void)
{
	timer_stop(&idle);
	if (multi != NULL)
		return;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || (multi = curl_multi_init()) == NULL)
		abort(); /* out of memory */
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket_wanted);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timeout_wanted);
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT);
	ev_timer_init(&w_timeout, on_timeout, 0, 0);
}

void
fetch_shutdown(void)
{
	assert(running == 0);
	timer_stop(&idle);
	if (multi == NULL)
		return;
	curl_multi_cleanup(multi);
	ev_timer_stop(loop, &w_timeout);
	multi = NULL;
}

/* Header lines as they come, the status line of each block first. A block of 1xx is followed by
 * another; what comes after the body are trailers. */
static size_t
on_header(char *p, size_t size, size_t n, void *arg)
{
	struct fetch *f = arg;
	size_t len = n *= size;
	long status = 0;

	f->seen_ms = loop_now_ms();
	if (f->head_done)
		return n;
	while (len > 0 && (p[len - 1] == '\r' || p[len - 1] == '\n'))
		len--;
	if (len > 0) {
		while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t'))
			len--;
		if (len >= 5 && memcmp(p, "HTTP/", 5) == 0)
			buf_truncate(&f->headers, 0);
		if (f->headers.len + len + 1 > FETCH_HEADERS_MAX || memchr(p, '\0', len) != NULL) {
			err_set(&f->err, ERR_UNAVAILABLE, "the headers of the answer are %s",
			    memchr(p, '\0', len) != NULL ? "malformed" : "too long");
			return 0;
		}
		buf_add(&f->headers, p, len);
		buf_addch(&f->headers, '\0');
		return n;
	}
	curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200 && status != 101)
		return n;
	f->head_done = true;
	f->status = (int)status;
	curl_easy_getinfo(f->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &f->length);
	if (f->on_head != NULL && f->on_head(f) < 0) {
		assert(f->err.code != ERR_NONE);
		return 0;
	}
	return n;
}

static size_t
on_write(char *p, size_t size, size_t n, void *arg)
{
	struct fetch *f = arg;

	n *= size;
	f->seen_ms = loop_now_ms();
	if (f->on_body != NULL)
		switch (f->on_body(f, p, n)) {
		case FETCH_PAUSE:
			f->paused = true;
			return CURL_WRITEFUNC_PAUSE;
		case FETCH_ABORT:
			assert(f->err.code != ERR_NONE);
			return n == 1 ? 0 : 1;
		case FETCH_TAKEN:
			break;
		}
	f->taken += n;
	return n;
}

static void
on_stall(struct loop_timer *t)
{
	struct fetch *f = container_of(t, struct fetch, stall);
	int64_t quiet = f->paused ? 0 : loop_now_ms() - f->seen_ms;

	if (quiet < f->stall_ms) {
		timer_start(t, f->stall_ms - quiet, on_stall);
		return;
	}
	err_set(&f->err, ERR_UNAVAILABLE, "nothing came for %lld ms", (long long)f->stall_ms);
	finish(f);
	f->failure = FETCH_STALLED;
	f->done(f);
}

/* The sockets of libcurl must not be inherited by children. */
static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	(void)arg;
	(void)purpose;
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static const char *
env_either(const char *upper, const char *lower)
{
	const char *s = getenv(lower);

	return !str_empty(s) ? s : STR_OR_EMPTY(getenv(upper));
}

static void
set_proxy(CURL *easy, const char *url)
{
	const char *proxy = str_starts(url, "https:") ? env_either("HTTPS_PROXY", "https_proxy")
	                                              : env_either("HTTP_PROXY", "http_proxy");

	curl_easy_setopt(easy, CURLOPT_PROXY, fetch_url_is_loopback(url) ? "" : proxy);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, env_either("NO_PROXY", "no_proxy"));
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

static void
set_blob(CURL *easy, CURLoption option, const char *p, size_t n)
{
	struct curl_blob blob = {(void *)p, n, CURL_BLOB_NOCOPY};

	if (p != NULL)
		curl_easy_setopt(easy, option, &blob);
}

static void
set_tls(CURL *easy, const struct fetch_tls *tls)
{
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (tls == NULL)
		return;
	set_blob(easy, CURLOPT_CAINFO_BLOB, tls->ca, tls->ca_len); /* the CA path stays trusted */
	set_blob(easy, CURLOPT_SSLCERT_BLOB, tls->cert, tls->cert_len);
	set_blob(easy, CURLOPT_SSLKEY_BLOB, tls->key, tls->key_len);
	if (tls->insecure) {
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
}

static void
set_request(struct fetch *f, const struct fetch_spec *spec)
{
	CURL *easy = f->easy;

	for (const char *const *h = spec->headers; h != NULL && *h != NULL; h++)
		f->slist = curl_slist_append(f->slist, *h);
	if (strcmp(spec->method, "HEAD") == 0) {
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	} else if (strcmp(spec->method, "POST") == 0) {
		f->slist = curl_slist_append(f->slist, "Expect:");
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)spec->body_len);
		curl_easy_setopt(
		    easy, CURLOPT_COPYPOSTFIELDS, spec->body_len > 0 ? spec->body : "");
	}
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, (struct curl_slist *)f->slist);
}

static void
set_behaviour(struct fetch *f, const struct fetch_spec *spec)
{
	CURL *easy = f->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, f);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, f->detail);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* Without this, giving up while the name is looked up waits for the resolver. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, PACKAGE_NAME "/" PACKAGE_VERSION);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)READ_SIZE);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
	    (long)(spec->dial_timeout_ms > 0 ? spec->dial_timeout_ms : FETCH_DIAL_MS));
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, f);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, f);
}

int
fetch_start(
    struct fetch *f, const struct fetch_spec *spec, void (*done)(struct fetch *), struct err *err)
{
	CURLcode rc;

	assert(f->easy == NULL);
	if (!str_starts(spec->url, "http://") && !str_starts(spec->url, "https://"))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "not an http or https URL: '%.200s'", spec->url);
	begin();
	fetch_release(f);
	f->easy = curl_easy_init();
	if (f->easy == NULL)
		abort(); /* out of memory */
	f->err = (struct err){0};
	f->failure = FETCH_OK;
	f->status = 0;
	f->length = -1;
	f->taken = 0;
	f->head_done = f->paused = false;
	f->done = done;
	f->detail = xcalloc(1, CURL_ERROR_SIZE);
	f->stall_ms = spec->stall_timeout_ms;
	f->seen_ms = loop_now_ms();
	set_behaviour(f, spec);
	set_request(f, spec);
	set_tls(f->easy, spec->tls);
	set_proxy(f->easy, spec->url);
	rc = curl_easy_setopt(f->easy, CURLOPT_URL, spec->url);
	running++;
	if (rc != CURLE_OK || curl_multi_add_handle(multi, f->easy) != CURLM_OK) {
		fetch_release(f);
		return err_set(err, ERR_INVALID_ARGUMENT, "cannot request '%.200s'", spec->url);
	}
	if (f->stall_ms > 0)
		timer_start(&f->stall, f->stall_ms, on_stall);
	return 0;
}

static void
on_refused(struct loop_timer *t)
{
	complete(container_of(t, struct fetch, stall), CURLE_WRITE_ERROR);
}

void
fetch_unpause(struct fetch *f)
{
	if (f->easy == NULL || !f->paused)
		return;
	f->paused = false;
	f->seen_ms = loop_now_ms();
	/* What was held back is offered here; a refusal ends the request, but not on this stack. */
	if (curl_easy_pause(f->easy, CURLPAUSE_CONT) != CURLE_OK)
		timer_start(&f->stall, 0, on_refused);
}

void
fetch_release(struct fetch *f)
{
	if (f->easy != NULL)
		finish(f);
	buf_release(&f->headers);
	free(f->detail);
	f->detail = NULL;
}

const char *
fetch_header(const struct fetch *f, const char *name, unsigned nth)
{
	size_t n = strlen(name);
	const char *p = f->headers.data, *end = p + f->headers.len;

	for (; p < end; p += strlen(p) + 1)
		if (strncasecmp(p, name, n) == 0 && p[n] == ':' && nth-- == 0) {
			p += n + 1;
			return p + strspn(p, " \t");
		}
	return NULL;
}
