/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP on the loop, against a small server on loopback that a child process plays: answers, pauses,
 * refusals, broken and silent servers, proxies, and URLs.
 */
#include "loop/fetch.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macros.h"
#include "base/xalloc.h"
#include "tap.h"

enum { BIG = 3000000 };

static char base[64];

/* ---- the server ---------------------------------------------------------------------------- */

static void
say(int fd, const char *s)
{
	if (write(fd, s, strlen(s)) < 0)
		_exit(0);
}

static void
say_big(int fd)
{
	char block[10000], head[80];

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BIG);
	say(fd, head);
	for (int at = 0; at < BIG; at += (int)sizeof(block)) {
		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = (char)((at + (int)i) % 251);
		for (size_t done = 0; done < sizeof(block);) {
			ssize_t n = write(fd, block + done, sizeof(block) - done);

			if (n < 0)
				_exit(0);
			done += (size_t)n;
		}
	}
}

static void
answer(int fd, const char *request)
{
	char head[100];

	if (strstr(request, " /hello ") != NULL) {
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  one "
		        "\r\nx-a:two\r\nEmpty:\r\n\r\n");
		if (strncmp(request, "HEAD", 4) != 0)
			say(fd, "hello");
	} else if (strstr(request, " /missing ") != NULL) {
		say(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone");
	} else if (strstr(request, "/echo ") != NULL) {
		snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
		    strlen(request));
		say(fd, head);
		say(fd, request);
	} else if (strstr(request, " /continue ") != NULL) {
		say(fd, "HTTP/1.1 103 Early Hints\r\nX-A: early\r\n\r\n"
		        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: late\r\n\r\n"
		        "3\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n");
	} else if (strstr(request, " /redirect ") != NULL) {
		say(fd, "HTTP/1.1 302 Found\r\nLocation: /hello\r\nContent-Length: 0\r\n\r\n");
	} else if (strstr(request, " /drop ") != NULL) {
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789");
		_exit(0);
	} else if (strstr(request, " /close ") != NULL) {
		_exit(0);
	} else if (strstr(request, " /garbage ") != NULL) {
		say(fd, "SSH-2.0-OpenSSH_9.2\r\n");
		_exit(0);
	} else if (strstr(request, " /silent ") != NULL) {
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789");
		sleep(60);
	} else if (strstr(request, " /big ") != NULL) {
		say_big(fd);
	} else if (strstr(request, " /headers ") != NULL) {
		say(fd, "HTTP/1.1 200 OK\r\n");
		for (int i = 0; i < 2000; i++)
			say(fd, "X-Filler: 0123456789012345678901234567890123456789\r\n");
		say(fd, "\r\n");
	}
}

static void
serve_one(int fd)
{
	char request[4096];
	size_t n = 0;

	for (;;) {
		ssize_t got = read(fd, request + n, sizeof(request) - 1 - n);
		char *end;
		size_t length = 0;

		if (got <= 0)
			_exit(0);
		n += (size_t)got;
		request[n] = '\0';
		end = strstr(request, "\r\n\r\n");
		if (end == NULL)
			continue;
		if (strstr(request, "Content-Length: ") != NULL)
			length = strtoul(strstr(request, "Content-Length: ") + 16, NULL, 10);
		if (n < (size_t)(end + 4 - request) + length)
			continue;
		answer(fd, request);
		n = 0;
	}
}

static pid_t
serve(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	pid_t pid;

	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 50) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		exit(1);
	snprintf(base, sizeof(base), "http://127.0.0.1:%d", ntohs(a.sin_port));
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGCHLD, SIG_IGN);
		for (;;) {
			int c = accept(fd, NULL, NULL);

			if (fork() == 0) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				close(fd);
				serve_one(c);
			}
			close(c);
		}
	}
	close(fd);
	return pid;
}

/* ---- the client ---------------------------------------------------------------------------- */

struct probe {
	struct fetch fetch;
	struct buf body;
	int done;
	bool pause_always, refuse_head, refuse_body;
	int pauses;
	size_t chunk_max;
};

static int
on_head(struct fetch *f)
{
	struct probe *p = container_of(f, struct probe, fetch);

	return p->refuse_head ? err_set(&f->err, ERR_OUT_OF_RANGE, "no, thank you") : 0;
}

static enum fetch_take
on_body(struct fetch *f, const char *s, size_t n)
{
	struct probe *p = container_of(f, struct probe, fetch);

	if (p->refuse_body)
		return err_set(&f->err, ERR_OUT_OF_RANGE, "enough"), FETCH_ABORT;
	if (p->pause_always && p->pauses++ % 2 == 0)
		return FETCH_PAUSE;
	p->chunk_max = MAX(p->chunk_max, n);
	buf_add(&p->body, s, n);
	return FETCH_TAKEN;
}

static void
on_done(struct fetch *f)
{
	container_of(f, struct probe, fetch)->done++;
	loop_stop();
}

static void
on_late(struct loop_timer *t)
{
	(void)t;
	loop_stop();
}

static void
spin(int64_t ms)
{
	struct loop_timer t = {0};

	timer_start(&t, ms, on_late);
	loop_run();
	timer_stop(&t);
}

static int
start(struct probe *p, const struct fetch_spec *spec)
{
	struct err err;

	p->fetch.on_head = on_head;
	p->fetch.on_body = on_body;
	if (fetch_start(&p->fetch, spec, on_done, &err) == 0)
		return 0;
	diag("%s", err.msg);
	return -1;
}

/* Run to the end, with what the test has set in *p. */
static void
get(struct probe *p, const char *path, const struct fetch_spec *more)
{
	cleanup_free char *url = xasprintf("%s%s", base, path);
	struct fetch_spec spec = more != NULL ? *more : (struct fetch_spec){0};

	spec.url = url;
	if (spec.method == NULL)
		spec.method = "GET";
	if (start(p, &spec) < 0)
		return;
	ok(p->done == 0, "%s: nothing happens inside of the start", path);
	spin(20000);
	is_int(p->done, 1, "done once");
}

static void
end(struct probe *p)
{
	fetch_release(&p->fetch);
	buf_release(&p->body);
	*p = (struct probe){0};
}

static void
test_answers(void)
{
	static const char *const headers[] = {"X-Mine: yes", NULL};
	struct probe p = {0};

	get(&p, "/hello", NULL);
	is_int(p.fetch.status, 200, "status");
	is_int(p.fetch.length, 5, "length");
	is_str(p.body.data, "hello", "body");
	is_str(fetch_header(&p.fetch, "X-a", 0), "one", "a header");
	is_str(fetch_header(&p.fetch, "x-A", 1), "two", "its second");
	is_str(fetch_header(&p.fetch, "x-A", 2), NULL, "no third");
	is_str(fetch_header(&p.fetch, "empty", 0), "", "an empty one");
	is_str(fetch_header(&p.fetch, "X", 0), NULL, "no part of a name");
	end(&p);
	get(&p, "/hello", &(struct fetch_spec){.method = "HEAD"});
	ok(p.fetch.status == 200 && p.fetch.length == 5 && p.body.len == 0, "HEAD");
	end(&p);
	get(&p, "/missing", NULL);
	ok(p.fetch.status == 404 && p.fetch.failure == FETCH_OK && p.body.len == 4,
	    "404 is an answer like another");
	end(&p);
	get(&p, "/redirect", NULL);
	ok(p.fetch.status == 302, "a redirect is not followed");
	is_str(fetch_header(&p.fetch, "Location", 0), "/hello", "its target");
	end(&p);
	get(&p, "/continue", NULL);
	is_str(fetch_header(&p.fetch, "X-A", 0), "late", "the headers of the last answer count");
	is_str(fetch_header(&p.fetch, "X-Trailer", 0), NULL, "trailers do not");
	ok(p.fetch.length == -1 && p.body.len == 3, "chunked");
	end(&p);
	get(&p, "/echo",
	    &(struct fetch_spec){
	        .method = "POST", .body = "a=b", .body_len = 3, .headers = headers});
	ok(strncmp(p.body.data, "POST /echo HTTP/1.1\r\n", 21) == 0 &&
	        strstr(p.body.data, "X-Mine: yes\r\n") != NULL &&
	        strstr(p.body.data, "\r\n\r\na=b") != NULL &&
	        strstr(p.body.data, "Expect") == NULL &&
	        strstr(p.body.data, "User-Agent: coracle/") != NULL,
	    "POST");
	end(&p);
}

static void
test_refusals(void)
{
	struct probe p = {.refuse_head = true};

	get(&p, "/hello", NULL);
	ok(p.fetch.failure == FETCH_REFUSED && p.fetch.err.code == ERR_OUT_OF_RANGE &&
	        p.body.len == 0,
	    "on_head refuses");
	end(&p);
	p.refuse_body = true;
	get(&p, "/big", NULL);
	ok(p.fetch.failure == FETCH_REFUSED && p.fetch.err.code == ERR_OUT_OF_RANGE,
	    "on_body refuses");
	end(&p);
	get(&p, "/headers", NULL);
	ok(p.fetch.err.code == ERR_UNAVAILABLE && strstr(p.fetch.err.msg, "too long") != NULL,
	    "100 kB of headers are refused");
	end(&p);
}

static void
test_pause(void)
{
	cleanup_free char *url = xasprintf("%s/big", base);
	struct fetch_spec spec = {.method = "GET", .url = url, .stall_timeout_ms = 300};
	struct probe p = {.pause_always = true};
	bool right = true;

	if (start(&p, &spec) < 0)
		return;
	spin(800);
	ok(p.done == 0 && p.body.len == 0 && p.pauses == 1,
	    "paused: nothing comes, and that is no stall");
	for (int i = 0; i < 2000 && p.done == 0; i++) {
		fetch_unpause(&p.fetch);
		spin(2);
	}
	ok(p.done == 1 && p.fetch.failure == FETCH_OK, "done");
	is_int(p.body.len, BIG, "all of it came");
	is_int(p.fetch.taken, BIG, "and was counted");
	ok(p.pauses > 50, "in %d pieces, each refused once", p.pauses);
	for (size_t i = 0; i < p.body.len; i++)
		right = right && p.body.data[i] == (char)(i % 251);
	ok(right, "each byte once and in order");
	diag("largest piece: %zu", p.chunk_max);
	end(&p);
	p.pause_always = true;
	if (start(&p, &spec) < 0)
		return;
	spin(100);
	p.refuse_body = true;
	fetch_unpause(&p.fetch);
	ok(p.done == 0, "a refusal while resuming is not reported from inside");
	spin(5000);
	ok(p.done == 1 && p.fetch.failure == FETCH_REFUSED && p.fetch.err.code == ERR_OUT_OF_RANGE,
	    "but soon");
	end(&p);
}

static void
test_failures(void)
{
	struct fetch_spec quick = {.stall_timeout_ms = 200}, dead = {.method = "GET"};
	struct fetch_tls tls = {0};
	struct probe p = {0};
	cleanup_free char *https = xasprintf("https%s/hello", base + 4);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char url[64];
	struct err err;

	get(&p, "/drop", NULL);
	ok(p.fetch.failure == FETCH_BROKEN && p.fetch.err.code == ERR_UNAVAILABLE &&
	        p.fetch.taken == 10,
	    "a body that breaks off: %s", p.fetch.err.msg);
	end(&p);
	get(&p, "/close", NULL);
	ok(p.fetch.failure == FETCH_BROKEN && p.fetch.status == 0, "no answer: %s",
	    p.fetch.err.msg);
	end(&p);
	get(&p, "/garbage", NULL);
	ok(p.fetch.failure == FETCH_BROKEN, "not HTTP: %s", p.fetch.err.msg);
	end(&p);
	get(&p, "/silent", &quick);
	ok(p.fetch.failure == FETCH_STALLED && p.fetch.taken == 10, "silence: %s", p.fetch.err.msg);
	end(&p);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		exit(1);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", ntohs(a.sin_port)); /* nobody listens */
	dead.url = url;
	if (start(&p, &dead) == 0)
		spin(5000);
	ok(p.done == 1 && p.fetch.failure == FETCH_DIAL, "nobody there: %s", p.fetch.err.msg);
	end(&p);
	if (listen(fd, 0) < 0)
		exit(1);
	snprintf(url, sizeof(url), "https://127.0.0.1:%d/", ntohs(a.sin_port)); /* nobody accepts */
	dead.dial_timeout_ms = 200;
	if (start(&p, &dead) == 0)
		spin(5000);
	ok(p.done == 1 && p.fetch.failure == FETCH_DIAL, "no handshake in time: %s",
	    p.fetch.err.msg);
	end(&p);
	close(fd);
	dead = (struct fetch_spec){.method = "GET", .url = "http://no.such.host.invalid/"};
	if (start(&p, &dead) == 0)
		spin(20000);
	ok(p.done == 1 && p.fetch.failure == FETCH_DIAL, "no such name: %s", p.fetch.err.msg);
	end(&p);
	tls.ca = "garbage";
	tls.ca_len = 7;
	dead =
	    (struct fetch_spec){.method = "GET", .url = https, .tls = &tls, .dial_timeout_ms = 500};
	if (start(&p, &dead) == 0)
		spin(5000);
	ok(p.done == 1 && p.fetch.failure == FETCH_CERT, "a CA that is none: %s", p.fetch.err.msg);
	end(&p);
	dead = (struct fetch_spec){.method = "GET", .url = "file:///etc/passwd"};
	ok(fetch_start(&p.fetch, &dead, on_done, &err) < 0 && err.code == ERR_INVALID_ARGUMENT,
	    "file:");
	dead.url = "http://u:p@127.0.0.1/";
	ok(fetch_start(&p.fetch, &dead, on_done, &err) < 0 ||
	        (spin(1000), p.done == 1 && p.fetch.failure != FETCH_OK),
	    "a user name in the URL is refused");
	end(&p);
}

static void
test_release(void)
{
	cleanup_free char *url = xasprintf("%s/big", base);
	cleanup_free char *silent = xasprintf("%s/silent", base);
	struct fetch_spec spec = {.method = "GET", .url = url};
	struct probe p[20] = {0};

	for (int i = 0; i < 20; i++) {
		spec.url = i % 2 == 0 ? url : silent;
		p[i].pause_always = i % 4 == 0;
		if (start(&p[i], &spec) < 0)
			return;
	}
	spin(50);
	for (int i = 0; i < 20; i++)
		end(&p[i]);
	spin(50);
	ok(true, "twenty fetches released in the midst of things");
	spec.url = "http://no.such.host.invalid/";
	if (start(&p[0], &spec) == 0)
		end(&p[0]);
	if (start(&p[0], &spec) == 0)
		spin(1);
	end(&p[0]);
	ok(true, "and while the name is looked up");
	get(&p[0], "/hello", NULL);
	is_int(p[0].fetch.status, 200, "the next one works");
	end(&p[0]);
}

static void
test_proxy(void)
{
	struct fetch_spec spec = {.method = "GET", .url = "http://registry.example/echo"};
	struct probe p = {0};

	setenv("http_proxy", base, 1);
	if (start(&p, &spec) == 0)
		spin(5000);
	ok(p.done == 1 && p.body.data != NULL &&
	        strncmp(p.body.data, "GET http://registry.example/echo HTTP/1.1", 41) == 0,
	    "through the proxy");
	end(&p);
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	get(&p, "/hello", NULL);
	is_int(p.fetch.status, 200, "loopback is never proxied");
	end(&p);
	setenv("http_proxy", base, 1);
	setenv("no_proxy", "registry.example", 1);
	spec.dial_timeout_ms = 2000;
	if (start(&p, &spec) == 0)
		spin(5000);
	ok(p.fetch.status == 0 && p.fetch.failure == FETCH_DIAL, "no_proxy");
	end(&p);
	unsetenv("http_proxy");
	unsetenv("no_proxy");
}

static void
test_urls(void)
{
	static const struct {
		const char *base, *location, *want;
	} joins[] = {
	    {"https://a/x/y", "/z", "https://a/z"},
	    {"https://a/x/y", "z?q#f", "https://a/x/z?q"},
	    {"https://a/x", "//b/c", "https://b/c"},
	    {"https://a/x", "http://b/c", "http://b/c"},
	    {"https://a/x", "https://u:p@b/c", NULL},
	    {"https://a/x", "ftp://b/c", NULL},
	    {"https://a/x", "file:///etc/passwd", NULL},
	    {"https://a/x", "https://b/c?sig=a%2Fb&x=1", "https://b/c?sig=a%2Fb&x=1"},
	    {"https://a/x", "https://b:99999/", NULL},
	};
	static const struct {
		const char *a, *b;
		bool same;
	} origins[] = {
	    {"https://a/x", "https://A:443/y", true},
	    {"https://a/", "http://a/", false},
	    {"https://a/", "https://b/", false},
	    {"https://a:5/", "https://a:6/", false},
	    {"https://a/", "https://a.evil/", false},
	    {"https://a/", "https://a@evil/", false},
	    {"http://[::1]:5/x", "http://[::1]:5/", true},
	    {"x", "x", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(joins); i++) {
		cleanup_free char *got = fetch_url_join(joins[i].base, joins[i].location);

		is_str(got, joins[i].want, joins[i].location);
	}
	for (size_t i = 0; i < ARRAY_SIZE(origins); i++)
		is_int(fetch_url_same_origin(origins[i].a, origins[i].b), origins[i].same,
		    origins[i].b);
	ok(fetch_url_is_loopback("http://localhost:5/") &&
	        fetch_url_is_loopback("https://127.9.9.9/x") &&
	        fetch_url_is_loopback("http://[::1]/") &&
	        !fetch_url_is_loopback("http://127.evil/") &&
	        !fetch_url_is_loopback("http://localhost.evil/") && !fetch_url_is_loopback("junk"),
	    "loopback");
}

int
main(void)
{
	static const char *const env[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",
	    "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"};
	pid_t server = serve();

	for (size_t i = 0; i < ARRAY_SIZE(env); i++)
		unsetenv(env[i]);
	loop_init();
	test_urls();
	test_answers();
	test_refusals();
	test_pause();
	test_failures();
	test_release();
	test_proxy();
	fetch_shutdown();
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	return tap_done();
}
