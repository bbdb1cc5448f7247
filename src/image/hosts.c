/* SPDX-License-Identifier: Apache-2.0
 *
 * Hosts of a registry: see hosts.h. The meaning of every key is that of containerd's docs/hosts.md;
 * certificates are read by host_certs.c.
 */
#include "image/hosts.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/host_certs.h"
#include "image/toml.h"

enum { HOSTS_MAX = 64, HEADERS_MAX = 64, AUTHORITY_MAX = 300, PATH_LEN_MAX = 1024 };

static int
refuse(struct err *err, const char *what, const char *key, const char *why)
{
	return err_set(err, ERR_FAILED_PRECONDITION, "%s: %s: %s", what, key, why);
}

const char *
registry_default_authority(const char *domain)
{
	return strcmp(domain, "docker.io") == 0 ? "registry-1.docker.io" : domain;
}

/* "host:port" → the length of the host and the port, "" when there is none. */
static const char *
split_port(const char *authority, size_t *ret_host_len)
{
	const char *bracket = strrchr(authority, ']');
	const char *colon = strchr(bracket != NULL ? bracket : authority, ':');

	*ret_host_len = colon != NULL ? (size_t)(colon - authority) : strlen(authority);
	return colon != NULL ? colon + 1 : "";
}

bool
registry_is_localhost(const char *authority)
{
	cleanup_free char *host = NULL;
	struct in_addr v4;
	size_t n;

	split_port(authority, &n);
	host = xstrndup(authority, n);
	return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
	       (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}

/* What is not configured: the registry named by the reference. On the machine itself the port tells
 * http from https only when it is 80 or 443 (or none), and nothing is gained by verifying. */
static void
set_default(struct registry_host *h, const char *domain)
{
	const char *port;
	size_t n;

	h->authority = xstrdup(registry_default_authority(domain));
	h->path = xstrdup("/v2");
	h->https = true;
	h->is_origin = true;
	h->caps = HOST_PULL | HOST_RESOLVE;
	if (!registry_is_localhost(h->authority))
		return;
	port = split_port(h->authority, &n);
	h->https = *port == '\0' || strcmp(port, "443") == 0;
	h->either = !h->https && strcmp(port, "80") != 0;
	h->tls.insecure = true;
}

static bool
authority_valid(const char *s)
{
	size_t n;
	const char *port = split_port(s, &n);
	const char *allowed =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_[]:";
	uint32_t v;

	if (n == 0 || strlen(s) > AUTHORITY_MAX || !str_only(s, allowed))
		return false;
	return *port == '\0' ? s[n] == '\0' : str_u32(port, 65535, &v) == 0;
}

/* Only what passes through a request line unharmed, and nothing that climbs. */
static bool
path_valid(const char *s)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/%+@:=,!$&'()*;";

	return strlen(s) <= PATH_LEN_MAX && (*s == '\0' || str_only(s, allowed)) &&
	       strstr(s, "/../") == NULL && !str_ends(s, "/..") && strstr(s, "//") == NULL;
}

/* "[scheme://]authority[/path]" of a mirror or server. The API root is <path>/v2, unless the path
 * ends so already or override_path takes it as it is. */
static int
parse_url(
    struct registry_host *h, const char *url, bool override_path, const char *what, struct err *err)
{
	const char *s = url;
	size_t n;

	h->https = true;
	if (str_starts(s, "https://"))
		s += 8;
	else if (str_starts(s, "http://"))
		s += 7, h->https = false;
	else if (strstr(s, "://") != NULL)
		return refuse(err, what, url, "neither http nor https");
	n = strcspn(s, "/");
	h->authority = xstrndup(s, n);
	if (!authority_valid(h->authority))
		return refuse(
		    err, what, url, "not a host, perhaps with a port, perhaps with a path");
	s += n;
	n = strlen(s);
	while (n > 0 && s[n - 1] == '/')
		n--;
	h->path = xstrndup(s, n);
	if (!path_valid(h->path))
		return refuse(err, what, url, "the path is malformed");
	if (!str_ends(h->path, "/v2") && !override_path) {
		char *bare = h->path;

		h->path = xasprintf("%s/v2", bare);
		free(bare);
	}
	return 0;
}

static int
parse_capabilities(struct registry_host *h, const json_t *v, const char *what, struct err *err)
{
	if (!json_is_array(v))
		return refuse(err, what, "capabilities", "not an array");
	h->caps = 0;
	for (size_t i = 0; i < json_array_size(v); i++) {
		const char *s = STR_OR_EMPTY(json_string_value(json_array_get(v, i)));

		if (strcasecmp(s, "pull") == 0)
			h->caps |= HOST_PULL;
		else if (strcasecmp(s, "resolve") == 0)
			h->caps |= HOST_RESOLVE;
		else if (strcasecmp(s, "push") != 0 && strcasecmp(s, "referrers") != 0)
			return refuse(err, what, "capabilities",
			    "something other than pull, resolve, push and referrers");
	}
	if (json_array_size(v) == 0)
		h->caps = HOST_PULL | HOST_RESOLVE;
	return 0;
}

static int
add_header(
    struct registry_host *h, const char *name, const char *value, const char *what, struct err *err)
{
	/* token of RFC 9110 5.6.2; and not what belongs to the transfer itself */
	static const char token[] = "!#$%&'*+-.^_`|~0123456789"
	                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	static const char *const ours[] = {"Host", "Range", "If-Range", "Content-Length",
	    "Transfer-Encoding", "Connection", "Accept", "Accept-Encoding"};

	if (!str_only(name, token))
		return refuse(err, what, "header", "a malformed name");
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (strcasecmp(name, ours[i]) == 0)
			return refuse(err, what, name, "this header cannot be set");
	for (const char *p = STR_OR_EMPTY(value); *p != '\0'; p++)
		if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f)
			return refuse(err, what, name, "a control character in the value");
	if (value == NULL)
		return refuse(err, what, name, "neither a string nor an array of strings");
	if (h->n_headers == HEADERS_MAX)
		return refuse(err, what, "header", "too many");
	h->headers = xrealloc(h->headers, (h->n_headers + 2) * sizeof(*h->headers));
	h->headers[h->n_headers++] = xasprintf("%s: %s", name, value);
	h->headers[h->n_headers] = NULL;
	return 0;
}

static int
parse_headers(struct registry_host *h, const json_t *v, const char *what, struct err *err)
{
	const char *name;
	json_t *value;

	if (!json_is_object(v))
		return refuse(err, what, "header", "not a table");
	json_object_foreach ((json_t *)v, name, value) {
		if (!json_is_array(value)) {
			if (add_header(h, name, json_string_value(value), what, err) < 0)
				return -1;
			continue;
		}
		for (size_t i = 0; i < json_array_size(value); i++)
			if (add_header(h, name, json_string_value(json_array_get(value, i)), what,
			        err) < 0)
				return -1;
	}
	return 0;
}

static const struct unit {
	const char *unit;
	double ms;
} units[] = {
    {"ms", 1     }, /* before "m" */
    {"h",  3600e3},
    {"m",  60e3  },
    {"s",  1e3   },
    {"us", 1e-3  },
    {"ns", 1e-6  },
};

/* A duration as Go writes it: "1m30s", "1.5s", "500ms". */
static int
parse_duration(const char *s, int64_t *ret_ms)
{
	double total = 0;

	if (str_empty(s))
		return -1;
	while (*s != '\0') {
		char number[24];
		size_t n = strspn(s, "0123456789."), i;

		if (n == 0 || n >= sizeof(number))
			return -1;
		memcpy(number, s, n);
		number[n] = '\0';
		if (strchr(number, '.') != strrchr(number, '.') || strcmp(number, ".") == 0)
			return -1;
		s += n;
		for (i = 0; i < ARRAY_SIZE(units) && !str_starts(s, units[i].unit); i++)
			;
		if (i == ARRAY_SIZE(units))
			return -1;
		total += strtod(number, NULL) * units[i].ms;
		s += strlen(units[i].unit);
	}
	if (!(total >= 1 && total <= 24 * 3600e3))
		return -1;
	*ret_ms = (int64_t)total;
	return 0;
}

static int
parse_bool(const json_t *v, const char *key, bool *ret, const char *what, struct err *err)
{
	if (v != NULL && !json_is_boolean(v))
		return refuse(err, what, key, "neither true nor false");
	*ret = json_is_true(v);
	return 0;
}

static int
check_keys(const json_t *table, bool is_root, const char *what, struct err *err)
{
	static const char *const known[] = {"capabilities", "ca", "client", "skip_verify", "header",
	    "override_path", "dial_timeout", "server", "host"};
	size_t n = is_root ? ARRAY_SIZE(known) : ARRAY_SIZE(known) - 2;
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)table, key, v) {
		size_t i = 0;

		while (i < n && strcmp(key, known[i]) != 0)
			i++;
		if (i == n)
			return refuse(err, what, key, "unknown key");
	}
	return 0;
}

/* One table of the file. url NULL: the registry itself, with the table's settings. */
static int
parse_host(struct registry_host *h, const char *url, const json_t *table, const char *what,
    const char *dir, const char *domain, struct err *err)
{
	const json_t *v;
	bool override_path = false, skip_verify = false;
	size_t n;

	if (parse_bool(json_object_get(table, "override_path"), "override_path", &override_path,
	        what, err) < 0 ||
	    parse_bool(
	        json_object_get(table, "skip_verify"), "skip_verify", &skip_verify, what, err) < 0)
		return -1;
	if (url == NULL)
		set_default(h, domain);
	else if (parse_url(h, url, override_path, what, err) < 0)
		return -1;
	if ((v = json_object_get(table, "capabilities")) != NULL &&
	    parse_capabilities(h, v, what, err) < 0)
		return -1;
	if (v == NULL || url == NULL) /* the registry itself has them all */
		h->caps = HOST_PULL | HOST_RESOLVE;
	if ((v = json_object_get(table, "skip_verify")) != NULL)
		h->tls.insecure = skip_verify;
	if ((v = json_object_get(table, "ca")) != NULL && host_certs_ca(h, v, dir, what, err) < 0)
		return -1;
	if ((v = json_object_get(table, "client")) != NULL &&
	    host_certs_client(h, v, dir, what, err) < 0)
		return -1;
	if ((v = json_object_get(table, "header")) != NULL && parse_headers(h, v, what, err) < 0)
		return -1;
	if ((v = json_object_get(table, "dial_timeout")) != NULL &&
	    parse_duration(json_string_value(v), &h->dial_timeout_ms) < 0)
		return refuse(err, what, "dial_timeout", "not a duration such as \"30s\"");
	/* http with settings for TLS: https is meant where the server speaks it */
	if (url != NULL && !h->https && strcmp(split_port(h->authority, &n), "80") != 0 &&
	    (h->tls.ca != NULL || h->tls.cert != NULL ||
	        json_object_get(table, "skip_verify") != NULL)) {
		h->https = true;
		h->either = true;
	}
	return 0;
}

static int
parse_tables(struct registry_hosts *h, const json_t *doc, const char *what, const char *dir,
    const char *domain, struct err *err)
{
	const json_t *hosts = json_object_get(doc, "host"),
	             *server = json_object_get(doc, "server");
	const char *url;
	json_t *table;

	if (check_keys(doc, true, what, err) < 0)
		return -1;
	if (hosts != NULL && !json_is_object(hosts))
		return refuse(err, what, "host", "not a table");
	if (server != NULL && !json_is_string(server))
		return refuse(err, what, "server", "not a string");
	if (json_object_size(hosts) > HOSTS_MAX)
		return refuse(err, what, "host", "more than 64");
	h->list = xcalloc(json_object_size(hosts) + 1, sizeof(*h->list));
	json_object_foreach ((json_t *)hosts, url, table) {
		if (!json_is_object(table))
			return refuse(err, what, url, "not a table");
		if (check_keys(table, false, what, err) < 0 ||
		    parse_host(&h->list[h->n++], url, table, what, dir, domain, err) < 0)
			return -1;
	}
	url =
	    server != NULL && *json_string_value(server) != '\0' ? json_string_value(server) : NULL;
	if (parse_host(&h->list[h->n++], url, doc, what, dir, domain, err) < 0)
		return -1;
	h->list[h->n - 1].is_origin = true;
	return 0;
}

int
registry_hosts_parse(const char *text, size_t n, const char *what, const char *dir,
    const char *domain, struct registry_hosts *ret, struct err *err)
{
	struct registry_hosts h = {0};
	json_t *doc = toml_parse(text, n, what, err);
	int rc;

	if (doc == NULL) {
		err->code = ERR_FAILED_PRECONDITION;
		return -1;
	}
	rc = parse_tables(&h, doc, what, dir, domain, err);
	json_decref(doc);
	if (rc < 0)
		registry_hosts_release(&h);
	else
		*ret = h;
	return rc;
}

/* A directory that there is for the registry. */
static int
load_dir(const char *dir, const char *domain, struct registry_hosts *ret, struct err *err)
{
	cleanup_free char *file = xasprintf("%s/hosts.toml", dir);
	struct registry_hosts h = {0};
	struct buf text = BUF_INIT;
	int rc;

	if (access(file, F_OK) < 0) {
		if (errno != ENOENT)
			return err_errno(err, "%s", file);
		h.list = xcalloc(1, sizeof(*h.list));
		h.n = 1;
		set_default(&h.list[0], domain);
		rc = host_certs_docker_dir(&h.list[0], dir, err);
		if (rc < 0)
			registry_hosts_release(&h);
		else
			*ret = h;
		return rc;
	}
	rc = fd_read_file(AT_FDCWD, file, TOML_MAX, &text, err);
	if (rc == 0)
		rc = registry_hosts_parse(text.data, text.len, file, dir, domain, ret, err);
	buf_release(&text);
	return rc;
}

/* 1 loaded, 0 there is no such directory. */
static int
try_dir(const char *root, size_t root_len, const char *name, const char *domain,
    struct registry_hosts *ret, struct err *err)
{
	cleanup_free char *dir = xasprintf("%.*s/%s", (int)root_len, root, name);

	if (access(dir, F_OK) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_errno(err, "%s", dir);
	return load_dir(dir, domain, ret, err) < 0 ? -1 : 1;
}

static int
try_root(const char *root, size_t root_len, const char *domain, struct registry_hosts *ret,
    struct err *err)
{
	cleanup_free char *flat = NULL;
	size_t n;
	const char *port = split_port(domain, &n);
	int rc = 0;

	if (*port != '\0') {
		flat = xasprintf("%.*s_%s_", (int)n, domain, port);
		rc = try_dir(root, root_len, flat, domain, ret, err);
	}
	if (rc == 0)
		rc = try_dir(root, root_len, domain, domain, ret, err);
	if (rc == 0)
		rc = try_dir(root, root_len, "_default", domain, ret, err);
	return rc;
}

int
registry_hosts_load(
    const char *dirs, const char *domain, struct registry_hosts *ret, struct err *err)
{
	for (const char *s = STR_OR_EMPTY(dirs); *s != '\0';) {
		size_t n = strcspn(s, ":");
		int rc = n > 0 ? try_root(s, n, domain, ret, err) : 0;

		if (rc != 0)
			return rc < 0 ? -1 : 0;
		s += n + (s[n] == ':');
	}
	*ret = (struct registry_hosts){.list = xcalloc(1, sizeof(*ret->list)), .n = 1};
	set_default(&ret->list[0], domain);
	return 0;
}

void
registry_hosts_release(struct registry_hosts *h)
{
	for (size_t i = 0; i < h->n; i++) {
		struct registry_host *host = &h->list[i];

		free(host->authority);
		free(host->path);
		for (size_t k = 0; k < host->n_headers; k++)
			free(host->headers[k]);
		free(host->headers);
		free((char *)host->tls.ca);
		free((char *)host->tls.cert);
		free((char *)host->tls.key);
	}
	free(h->list);
	*h = (struct registry_hosts){0};
}
