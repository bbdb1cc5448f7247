/* SPDX-License-Identifier: Apache-2.0
 *
 * Request heads: see http1.h.
 */
#include "stream/http1.h"

#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "base/str.h"

/* token, RFC 9110 5.6.2 */
static bool
is_token(const char *s)
{
	return str_only(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
	                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
}

size_t
http1_head_length(const char *p, size_t n)
{
	const char *end = n >= 4 ? memmem(p, n, "\r\n\r\n", 4) : NULL;

	return end != NULL ? (size_t)(end - p) + 4 : 0;
}

static int
bad(int *ret_status, int status, struct err *err, const char *what)
{
	*ret_status = status;
	return err_set(err, ERR_INVALID_ARGUMENT, "%s", what);
}

static int
parse_request_line(char *line, struct http1_request *r, int *ret_status, struct err *err)
{
	char *target = strchr(line, ' '), *version, *query;

	if (target == NULL)
		return bad(ret_status, 400, err, "malformed request line");
	*target++ = '\0';
	version = strchr(target, ' ');
	if (version == NULL)
		return bad(ret_status, 400, err, "malformed request line");
	*version++ = '\0';
	if (!is_token(line))
		return bad(ret_status, 400, err, "malformed method");
	if (strcmp(version, "HTTP/1.1") != 0)
		return bad(ret_status, strncmp(version, "HTTP/", 5) == 0 ? 505 : 400, err,
		    "only HTTP/1.1 is spoken here");
	if (target[0] != '/')
		return bad(ret_status, 400, err, "malformed request target");
	for (const char *p = target; *p != '\0'; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
			return bad(ret_status, 400, err, "malformed request target");
	query = strchr(target, '?');
	if (query != NULL)
		*query++ = '\0';
	r->method = line;
	r->path = target;
	r->query = query != NULL ? query : "";
	return 0;
}

static int
parse_field(char *line, struct http1_request *r, int *ret_status, struct err *err)
{
	char *value = strchr(line, ':'), *end;

	if (r->n_fields == HTTP1_FIELDS_MAX)
		return bad(ret_status, 431, err, "too many header fields");
	/* A line that begins with a blank was a continuation once (obs-fold): no token begins so.
	 */
	if (value == NULL)
		return bad(ret_status, 400, err, "malformed header field");
	*value++ = '\0';
	if (!is_token(line))
		return bad(ret_status, 400, err, "malformed header field name");
	value += strspn(value, " \t");
	end = value + strlen(value);
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	for (const char *p = value; *p != '\0'; p++)
		if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f)
			return bad(ret_status, 400, err, "malformed header field value");
	r->fields[r->n_fields++] = (struct http1_field){line, value};
	return 0;
}

int
http1_parse(char *p, size_t n, struct http1_request *ret, int *ret_status, struct err *err)
{
	size_t length = http1_head_length(p, n);
	const char *host, *body;
	char *line = p, *end;
	bool first = true;

	memset(ret, 0, sizeof(*ret));
	if (length == 0)
		return bad(ret_status, 400, err, "incomplete request");
	if (memchr(p, '\0', length) != NULL)
		return bad(ret_status, 400, err, "NUL in the request");
	ret->length = length;
	p[length - 2] = '\0';
	for (; *line != '\0'; line = end + 2) {
		end = strstr(line, "\r\n");
		if (end == NULL)
			return bad(ret_status, 400, err, "malformed line");
		*end = '\0';
		if (strpbrk(line, "\r\n") != NULL)
			return bad(ret_status, 400, err, "bare CR or LF");
		if ((first ? parse_request_line(line, ret, ret_status, err)
		           : parse_field(line, ret, ret_status, err)) < 0)
			return -1;
		first = false;
	}
	if (first)
		return bad(ret_status, 400, err, "malformed request line");
	host = http1_field(ret, "host", 0);
	if (host == NULL || http1_field(ret, "host", 1) != NULL)
		return bad(ret_status, 400, err, "one Host is needed");
	body = http1_field(ret, "content-length", 0);
	if (http1_field(ret, "transfer-encoding", 0) != NULL ||
	    (body != NULL &&
	        (strcmp(body, "0") != 0 || http1_field(ret, "content-length", 1) != NULL)))
		return bad(ret_status, 400, err, "a request body has no place here");
	return 0;
}

const char *
http1_field(const struct http1_request *r, const char *name, size_t i)
{
	for (size_t k = 0; k < r->n_fields; k++)
		if (strcasecmp(r->fields[k].name, name) == 0 && i-- == 0)
			return r->fields[k].value;
	return NULL;
}

bool
http1_element(const struct http1_request *r, const char *name, size_t i, char *out, size_t size)
{
	const char *value;

	for (size_t k = 0; (value = http1_field(r, name, k)) != NULL; k++) {
		while (*value != '\0') {
			size_t n = strcspn(value, ","), skip = strspn(value, " \t");
			const char *next = value[n] == ',' ? value + n + 1 : value + n;

			skip = MIN(skip, n);
			value += skip;
			n -= skip;
			while (n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'))
				n--;
			if (n > 0 && i-- == 0) {
				if (n >= size)
					return false;
				memcpy(out, value, n);
				out[n] = '\0';
				return true;
			}
			value = next;
		}
	}
	return false;
}

bool
http1_has_token(const struct http1_request *r, const char *name, const char *token)
{
	char element[64];

	for (size_t i = 0;
	     i < HTTP1_FIELDS_MAX && http1_element(r, name, i, element, sizeof(element)); i++)
		if (strcasecmp(element, token) == 0)
			return true;
	return false;
}

const char *
http1_reason(int status)
{
	switch (status) {
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 408:
		return "Request Timeout";
	case 426:
		return "Upgrade Required";
	case 431:
		return "Request Header Fields Too Large";
	case 503:
		return "Service Unavailable";
	case 505:
		return "HTTP Version Not Supported";
	}
	return "Internal Server Error";
}

void
http1_answer(struct buf *out, int status, const char *text)
{
	buf_addf(out,
	    "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
	    "X-Content-Type-Options: nosniff\r\nContent-Length: %zu\r\nConnection: close\r\n",
	    status, http1_reason(status), strlen(text) + 1);
	if (status == 405)
		buf_addstr(out, "Allow: GET, POST\r\n");
	if (status == 426)
		buf_addstr(out, "Upgrade: SPDY/3.1, websocket\r\nSec-WebSocket-Version: 13\r\n");
	buf_addf(out, "\r\n%s\n", text);
}
