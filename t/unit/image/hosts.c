/* SPDX-License-Identifier: Apache-2.0
 *
 * hosts.toml: what becomes of it, which directory is read, and what is refused.
 */
#include "image/hosts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "tap.h"

/* "https://a/v2 pr o either;…": scheme, authority, path; pull, resolve; origin; either; insecure.
 */
static char *
show(const struct registry_hosts *h)
{
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < h->n; i++) {
		const struct registry_host *x = &h->list[i];

		buf_addf(&b, "%s%s://%s%s %s%s%s%s%s", i > 0 ? ";" : "",
		    x->https ? "https" : "http", x->authority, x->path,
		    x->caps & HOST_PULL ? "p" : "", x->caps & HOST_RESOLVE ? "r" : "",
		    x->is_origin ? "o" : "", x->either ? "e" : "", x->tls.insecure ? "i" : "");
		if (x->dial_timeout_ms > 0)
			buf_addf(&b, " %lldms", (long long)x->dial_timeout_ms);
		for (size_t k = 0; k < x->n_headers; k++)
			buf_addf(&b, " {%s}", x->headers[k]);
	}
	return buf_detach(&b);
}

static const struct good {
	const char *domain, *toml, *want;
} goods[] = {
    {"q.io", "", "https://q.io/v2 pro"},
    {"docker.io", "", "https://registry-1.docker.io/v2 pro"},
    {"localhost", "", "https://localhost/v2 proi"},
    {"localhost:443", "", "https://localhost:443/v2 proi"},
    {"localhost:80", "", "http://localhost:80/v2 proi"},
    {"localhost:5000", "", "http://localhost:5000/v2 proei"},
    {"127.3.2.1:5000", "", "http://127.3.2.1:5000/v2 proei"},
    {"[::1]:5000", "", "http://[::1]:5000/v2 proei"},
    {"128.0.0.1:5000", "", "https://128.0.0.1:5000/v2 pro"},
    {"q.io:5000", "server = 'https://m.example'", "https://m.example/v2 pro"},
    {"q.io", "server = 'm.example:5'", "https://m.example:5/v2 pro"},
    {"q.io", "server = 'http://m.example:5'", "http://m.example:5/v2 pro"},
    {"q.io", "skip_verify = true\n[host.'https://m/']\n[host.'http://n:80/x/']",
        "https://m/v2 pr;http://n:80/x/v2 pr;https://q.io/v2 proi"},
    {"q.io", "[host.'http://n:5']\nskip_verify=true", "https://n:5/v2 prei;https://q.io/v2 pro"},
    {"q.io", "[host.'http://n:80']\nskip_verify=true", "http://n:80/v2 pri;https://q.io/v2 pro"},
    {"q.io", "[host.'http://n']\nskip_verify=false", "https://n/v2 pre;https://q.io/v2 pro"},
    {"q.io", "[host.'https://m/v2']\n[host.'https://n/a/v2/']",
        "https://m/v2 pr;https://n/a/v2 pr;https://q.io/v2 pro"},
    {"q.io", "[host.'https://m/p']\noverride_path=true\n[host.'https://n']\noverride_path=true",
        "https://m/p pr;https://n pr;https://q.io/v2 pro"},
    {"q.io",
        "[host.z]\ncapabilities=['pull']\n[host.a]\ncapabilities=['resolve','Push','referrers']\n["
        "host.m]\ncapabilities=[]",
        "https://z/v2 p;https://a/v2 r;https://m/v2 pr;https://q.io/v2 pro"},
    {"q.io", "dial_timeout='1m1.5s'\n[host.m]\ndial_timeout='200ms'",
        "https://m/v2 pr 200ms;https://q.io/v2 pro 61500ms"},
    {"q.io", "[header]\nA='b'\nX-Y=['1','2']\n[host.m.header]\nAuthorization='Basic x'",
        "https://m/v2 pr {Authorization: Basic x};https://q.io/v2 pro {A: b} {X-Y: 1} {X-Y: 2}"},
    {"q.io", "capabilities=['pull']", "https://q.io/v2 pro"},
    {"q.io", "server='https://q.io'\ncapabilities=['pull']", "https://q.io/v2 po"},
    {"localhost:5", "server='http://localhost:5'", "http://localhost:5/v2 pro"},
};

static const char *const bads[] = {"server = 1", "server = 'ftp://x'", "server = 'https://'",
    "server = 'https://u@h'", "server = 'https://u:p@h'", "server = 'https://h:x'",
    "server = 'https://h:65536'", "server = 'https://h/a b'", "server = 'https://h/?a'",
    "server = 'https://h/#a'", "server='https://h/../x'", "server = 'https://h/..'",
    "server = 'https://h//x'", "server = \"https://h\\r\\nX: y\"", "host = 1", "[host]\nx = 1",
    "unknown = 1", "skip_verfy = true", "[host.m]\nserver = 'x'", "[host.m]\nrewrite = 1",
    "skip_verify = 'true'", "override_path = 1", "capabilities = 'pull'",
    "[host.m]\ncapabilities = 'pull'", "[host.m]\ncapabilities = ['pul']",
    "[host.m]\ncapabilities = [1]", "dial_timeout = 5", "dial_timeout = '5'", "dial_timeout = ''",
    "dial_timeout = '-1s'", "dial_timeout = '0s'", "dial_timeout = '1.2.3s'", "dial_timeout = '.s'",
    "dial_timeout = '1d'", "dial_timeout = '999999h'", "header = 1", "[header]\n'a b' = 'x'",
    "[header]\n'' = 'x'", "[header]\n'a:' = 'x'", "[header]\na = 1", "[header]\na = [1]",
    "[header]\na = \"x\\r\\nEvil: y\"", "[header]\na = \"x\\ny\"", "[header]\nHost = 'x'",
    "[header]\nrange = 'x'", "[header]\ntransfer-encoding = 'chunked'", "ca = 1", "ca = []",
    "ca = [1]", "ca = '/nonexistent/x'", "ca = '/dev/null'", "ca = 'hosts.toml'", "client = 1",
    "client = []", "client = ['a','b']", "client = [['a']]", "client = [['a','b','c']]",
    "client = [[1,2]]", "client = '/nonexistent/x'", "[host.'a b']", "[host.'']",
    "[host.'https://m.']\n[host.'https://m.']", "not toml"};

static void
test_text(const char *dir)
{
	for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
		struct registry_hosts h = {0};
		struct err err = {0};
		int rc = registry_hosts_parse(
		    goods[i].toml, strlen(goods[i].toml), "f", dir, goods[i].domain, &h, &err);
		char *got = rc == 0 ? show(&h) : NULL;

		if (goods[i].toml[0] == '\0' && rc == 0) {
			struct registry_hosts d = {0};
			char *def = NULL;

			if (registry_hosts_load(NULL, goods[i].domain, &d, &err) == 0)
				def = show(&d);
			is_str(def, goods[i].want, "without any file");
			free(def);
			registry_hosts_release(&d);
		}
		is_str(got, goods[i].want, goods[i].domain);
		if (rc < 0)
			diag("%s", err.msg);
		free(got);
		registry_hosts_release(&h);
	}
	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		struct registry_hosts h = {0};
		struct err err = {0};
		int rc = registry_hosts_parse(bads[i], strlen(bads[i]), "f", dir, "q.io", &h, &err);

		ok(rc < 0 && err.code == ERR_FAILED_PRECONDITION, "bad hosts.toml %zu: %s", i,
		    rc < 0 ? err.msg : bads[i]);
		registry_hosts_release(&h);
	}
}

static void
put(const char *dir, const char *name, const char *text)
{
	char path[4096];
	char *slash;
	struct err err;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	slash = strrchr(path, '/');
	*slash = '\0';
	mkdir(path, 0755);
	*slash = '/';
	if (fd_write_file(AT_FDCWD, path, text, strlen(text), 0644, false, &err) < 0)
		diag("%s", err.msg);
}

static void
check_load(const char *dirs, const char *domain, const char *want, const char *what)
{
	struct registry_hosts h = {0};
	struct err err = {0};
	char *got = registry_hosts_load(dirs, domain, &h, &err) == 0 ? show(&h) : xstrdup(err.msg);

	ok(strstr(got, want) != NULL, "%s: %s", what, got);
	free(got);
	registry_hosts_release(&h);
}

static void
test_dirs(const char *dir)
{
	char dirs[4200];

	snprintf(dirs, sizeof(dirs), "/nonexistent:%s::%s", dir, dir);
	check_load(dirs, "q.io:5000", "https://q.io:5000/v2 pro", "no directory");
	put(dir, "_default/hosts.toml", "server = 'https://default'");
	check_load(dirs, "q.io:5000", "https://default/v2 pro", "_default");
	put(dir, "q.io:5000/hosts.toml", "server = 'https://colon'");
	check_load(dirs, "q.io:5000", "https://colon/v2 pro", "host:port");
	put(dir, "q.io_5000_/hosts.toml", "server = 'https://flat'");
	check_load(dirs, "q.io:5000", "https://flat/v2 pro", "host_port_");
	check_load(dirs, "q.io", "https://default/v2 pro", "another port");
	put(dir, "[::1]_5_/hosts.toml", "server = 'https://six'");
	check_load(dirs, "[::1]:5", "https://six/v2 pro", "an IPv6 address");
	put(dir, "r.io/hosts.toml", "server = ");
	check_load(dirs, "r.io", "r.io/hosts.toml:1: ", "a file that does not parse");
	put(dir, "s.io/other", "");
	check_load(dirs, "s.io", "https://s.io/v2 pro", "a directory without hosts.toml");
	put(dir, "t.io/x.crt", "nothing");
	check_load(dirs, "t.io", "x.crt: no certificate in PEM", "an empty certificate");
}

static void
test_certs(const char *dir)
{
	char command[4096], dirs[4096];
	struct registry_hosts h = {0};
	struct err err = {0};

	snprintf(dirs, sizeof(dirs), "%s", dir);
	put(dir, "c.io/hosts.toml", "ca = 'ca.pem'\nclient = [['ca.pem', 'key.pem']]");
	snprintf(command, sizeof(command),
	    "cd %s/c.io && openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout key.pem "
	    "-out ca.pem "
	    "-days 2 2>/dev/null && mkdir ../d.io && cp ca.pem ../d.io/a.crt && cp ca.pem "
	    "../d.io/b.cert && "
	    "cp key.pem ../d.io/b.key",
	    dir);
	if (!ok(system(command) == 0, "certificates are made"))
		return;
	if (ok(registry_hosts_load(dirs, "c.io", &h, &err) == 0, "certificates of hosts.toml %s",
	        err.msg)) {
		ok(h.list[0].tls.ca_len > 100 && h.list[0].tls.cert_len > 100 &&
		        h.list[0].tls.key_len > 100 &&
		        strstr(h.list[0].tls.key, "PRIVATE KEY") != NULL,
		    "are read");
		registry_hosts_release(&h);
	}
	if (ok(registry_hosts_load(dirs, "d.io", &h, &err) == 0, "Docker's layout %s", err.msg)) {
		ok(h.list[0].tls.ca_len > 100 && h.list[0].tls.cert_len > 100 &&
		        h.list[0].tls.key_len > 100,
		    "is read");
		registry_hosts_release(&h);
	}
	put(dir, "c.io/hosts.toml", "client = 'ca.pem'");
	check_load(dirs, "c.io", "no private key", "a certificate without its key");
	put(dir, "c.io/hosts.toml", "ca = ['ca.pem', 'key.pem']");
	check_load(dirs, "c.io", "key.pem: no certificate", "a key in place of a certificate");
}

int
main(void)
{
	char dir[] = "/tmp/coracle-hosts-XXXXXX";
	struct err err;

	if (mkdtemp(dir) == NULL)
		return 1;
	put(dir, "hosts.toml", "x");
	test_text(dir);
	test_dirs(dir);
	test_certs(dir);
	if (fd_remove_tree(AT_FDCWD, dir, &err) < 0)
		diag("%s", err.msg);
	return tap_done();
}
