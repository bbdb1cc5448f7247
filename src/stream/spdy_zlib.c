/* SPDX-License-Identifier: Apache-2.0
 *
 * Header blocks: see spdy_zlib.h.
 */
#include "stream/spdy_zlib.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "base/xalloc.h"

/* The dictionary, 2.6.10.1: words, each behind its length in 32 bits, and then plain text. */
static const char *const words[] = {
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
};
static const char tail[] =
    "1001012012022052063003023033043053063074024054064074084094104114124134144154164175025"
    "04505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Requ"
    "est401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Impleme"
    "nted503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 "
    "Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif"
    ",application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-ag"
    "e=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

enum { DICTIONARY_SIZE = 1423 };

static const Bytef *
dictionary(void)
{
	static Bytef bytes[DICTIONARY_SIZE];
	size_t at = 0;

	if (bytes[3] != 0)
		return bytes;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		size_t n = strlen(words[i]);

		bytes[at + 3] = (Bytef)n;
		memcpy(bytes + at + 4, words[i], n);
		at += 4 + n;
	}
	memcpy(bytes + at, tail, sizeof(tail) - 1);
	return bytes;
}

static uint32_t
get32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void
add32(struct buf *b, uint32_t v)
{
	const unsigned char p[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16),
	    (unsigned char)(v >> 8), (unsigned char)v};

	buf_add(b, p, sizeof(p));
}

static int
inflate_block(struct spdy_zlib *z, const void *p, size_t n, struct buf *out, struct err *err)
{
	if (!z->in_open) {
		if (inflateInit(&z->in) != Z_OK)
			abort();
		z->in_open = true;
	}
	z->in.next_in = (Bytef *)(uintptr_t)p;
	z->in.avail_in = (uInt)n;
	buf_reserve(out, SPDY_BLOCK_MAX + 1);
	for (;;) {
		int r;

		z->in.next_out = (Bytef *)out->data + out->len;
		z->in.avail_out = (uInt)(SPDY_BLOCK_MAX + 1 - out->len);
		r = inflate(&z->in, Z_SYNC_FLUSH);
		buf_grew(out, SPDY_BLOCK_MAX + 1 - out->len - z->in.avail_out);
		if (r == Z_NEED_DICT) {
			if (inflateSetDictionary(&z->in, dictionary(), DICTIONARY_SIZE) != Z_OK)
				return err_set(err, ERR_INVALID_ARGUMENT,
				    "header block with another dictionary");
			continue;
		}
		if (out->len > SPDY_BLOCK_MAX)
			return err_set(err, ERR_RESOURCE_EXHAUSTED,
			    "header block of more than %d bytes", SPDY_BLOCK_MAX);
		if (r != Z_OK && (r != Z_BUF_ERROR || z->in.avail_in > 0))
			return err_set(err, ERR_INVALID_ARGUMENT, "header block: %s",
			    z->in.msg != NULL ? z->in.msg : "the zlib stream ended");
		if (z->in.avail_in == 0)
			return 0;
	}
}

/* A string behind its length, NUL-terminated in place: over the length of what follows it, which
 * has been read before. */
static char *
string(unsigned char *p, size_t len, size_t *at, size_t *ret_n)
{
	size_t n;
	char *s;

	if (len - *at < 4)
		return NULL;
	n = get32(p + *at);
	*at += 4;
	if (n > len - *at)
		return NULL;
	/* Moved over its length, there is room for the NUL. */
	s = (char *)p + *at - 4;
	memmove(s, p + *at, n);
	s[n] = '\0';
	*at += n;
	*ret_n = n;
	return s;
}

static int
parse_block(struct buf *b, struct spdy_headers *ret, struct err *err)
{
	unsigned char *p = (unsigned char *)b->data;
	size_t at = 4, count, n;

	if (b->len < 4)
		return err_set(err, ERR_INVALID_ARGUMENT, "header block is cut short");
	count = get32(p);
	if (count > SPDY_HEADERS_MAX)
		return err_set(
		    err, ERR_RESOURCE_EXHAUSTED, "more than %d headers", SPDY_HEADERS_MAX);
	for (size_t i = 0; i < count; i++) {
		char *name = string(p, b->len, &at, &n), *value;

		if (name == NULL || n == 0 || strlen(name) != n)
			return err_set(err, ERR_INVALID_ARGUMENT, "malformed header name");
		value = string(p, b->len, &at, &n);
		if (value == NULL)
			return err_set(err, ERR_INVALID_ARGUMENT, "malformed header value");
		ret->h[i] = (struct spdy_header){name, value};
	}
	if (at != b->len)
		return err_set(err, ERR_INVALID_ARGUMENT, "bytes after the last header");
	ret->n = count;
	return 0;
}

int
spdy_unpack(struct spdy_zlib *z, const void *p, size_t n, struct spdy_headers *ret, struct err *err)
{
	cleanup_buf struct buf b = BUF_INIT;

	ret->n = 0;
	if (inflate_block(z, p, n, &b, err) < 0 || parse_block(&b, ret, err) < 0)
		return -1;
	ret->bytes = buf_detach(&b);
	return 0;
}

void
spdy_headers_release(struct spdy_headers *h)
{
	free(take_ptr(h->bytes));
	h->n = 0;
}

const char *
spdy_header(const struct spdy_headers *h, const char *name)
{
	for (size_t i = 0; i < h->n; i++)
		if (strcasecmp(h->h[i].name, name) == 0)
			return h->h[i].value;
	return NULL;
}

void
spdy_pack(struct spdy_zlib *z, const struct spdy_header *h, size_t n, struct buf *out)
{
	cleanup_buf struct buf b = BUF_INIT;
	size_t room;

	add32(&b, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		add32(&b, (uint32_t)strlen(h[i].name));
		buf_addstr(&b, h[i].name);
		add32(&b, (uint32_t)strlen(h[i].value));
		buf_addstr(&b, h[i].value);
	}
	if (!z->out_open) {
		/* A window of 4 KiB and the least memory: a few small blocks are all we send. */
		if (deflateInit2(&z->out, Z_BEST_SPEED, Z_DEFLATED, 12, 1, Z_DEFAULT_STRATEGY) !=
		        Z_OK ||
		    deflateSetDictionary(&z->out, dictionary(), DICTIONARY_SIZE) != Z_OK)
			abort();
		z->out_open = true;
	}
	/* A flush adds a few bytes to what deflateBound() promises. */
	room = deflateBound(&z->out, b.len) + 64;
	z->out.next_in = (Bytef *)b.data;
	z->out.avail_in = (uInt)b.len;
	z->out.next_out = (Bytef *)buf_reserve(out, room);
	z->out.avail_out = (uInt)room;
	if (deflate(&z->out, Z_SYNC_FLUSH) != Z_OK || z->out.avail_in != 0)
		abort();
	buf_grew(out, room - z->out.avail_out);
}

void
spdy_zlib_release(struct spdy_zlib *z)
{
	if (z->in_open)
		inflateEnd(&z->in);
	if (z->out_open)
		deflateEnd(&z->out);
	z->in_open = z->out_open = false;
}
