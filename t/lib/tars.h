/* SPDX-License-Identifier: Apache-2.0
 *
 * Tars made by hand, so that tests can make bad ones: ustar headers, pax records where asked for.
 *
 *	struct buf tar = BUF_INIT;
 *	tar_add(&tar, .name = "etc/passwd", .data = "root:…");
 *	tar_add(&tar, .name = "bin", .type = '2', .link = "usr/bin");
 *	tar_end(&tar);
 */
#ifndef TARS_H
#define TARS_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "image/digest.h"

struct tar_item {
	const char *name;
	char type;     /* 0: '0', or '5' when the name ends in a slash */
	unsigned mode; /* 0: 0644, or 0755 */
	unsigned uid, gid;
	long mtime; /* 0: 1600000000 */
	const char *link;
	const char *data;
	size_t n;        /* 0: strlen(data) */
	const char *pax; /* records with their lengths, pax_record() */
	size_t n_pax;
	const char *size; /* raw size field instead of the true one */
	unsigned major, minor;
	int raw_magic; /* 1: no ustar magic (old tar) */
};

/* Digits and a NUL. Only the low digits of a number too large. */
static inline void
tar_octal(char *at, int digits, uint64_t v)
{
	for (int i = digits; i-- > 0; v >>= 3)
		at[i] = (char)('0' + (v & 7));
	at[digits] = '\0';
}

static inline void
tar_header(struct buf *tar, const struct tar_item *it, char type, uint64_t size)
{
	char h[512] = {0};
	unsigned sum = 0;
	bool dir = type == '5';

	snprintf(h, 101, "%s", it->name);
	tar_octal(h + 100, 7, it->mode != 0 ? it->mode : dir ? 0755u : 0644u);
	tar_octal(h + 108, 7, it->uid);
	tar_octal(h + 116, 7, it->gid);
	tar_octal(h + 124, 11, size);
	if (it->size != NULL)
		memcpy(h + 124, it->size, 12);
	tar_octal(h + 136, 11, (uint64_t)(it->mtime != 0 ? it->mtime : 1600000000l));
	h[156] = type;
	if (it->link != NULL)
		memcpy(h + 157, it->link, MIN(strlen(it->link), (size_t)100));
	if (!it->raw_magic)
		memcpy(h + 257, "ustar\00000", 8);
	tar_octal(h + 329, 7, it->major);
	tar_octal(h + 337, 7, it->minor);
	memset(h + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += (unsigned char)h[i];
	tar_octal(h + 148, 6, sum);
	buf_add(tar, h, 512);
}

static inline void
tar_pad(struct buf *tar)
{
	static const char zeros[512];

	buf_add(tar, zeros, (512 - tar->len % 512) % 512);
}

static inline void
tar_add_item(struct buf *tar, const struct tar_item *it)
{
	size_t n = it->n != 0 ? it->n : it->data != NULL ? strlen(it->data) : 0;
	size_t len = strlen(it->name);
	char type = it->type != 0 ? it->type : len > 0 && it->name[len - 1] == '/' ? '5' : '0';

	if (it->pax != NULL) {
		size_t n_pax = it->n_pax != 0 ? it->n_pax : strlen(it->pax);
		struct tar_item x = {.name = "pax"};

		tar_header(tar, &x, 'x', n_pax);
		buf_add(tar, it->pax, n_pax);
		tar_pad(tar);
	}
	tar_header(tar, it, type, n);
	if (n > 0)
		buf_add(tar, it->data, n);
	tar_pad(tar);
}
#define tar_add(tar, ...) tar_add_item((tar), &(const struct tar_item){__VA_ARGS__})

static inline void
tar_end(struct buf *tar)
{
	static const char zeros[1024];

	buf_add(tar, zeros, sizeof(zeros));
}

/* Append "<length> key=value\n". */
static inline void
pax_record(struct buf *pax, const char *key, const void *value, size_t n)
{
	size_t len = strlen(key) + n + 3, digits = 1;
	char head[16];

	while ((size_t)snprintf(head, sizeof(head), "%zu", len + digits) > digits)
		digits++;
	buf_addf(pax, "%zu %s=", len + digits, key);
	buf_add(pax, value, n);
	buf_addch(pax, '\n');
}

static inline void
gzip_buf(const void *p, size_t n, int level, struct buf *out)
{
	z_stream s = {0};

	if (deflateInit2(&s, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		abort();
	s.next_in = (unsigned char *)p;
	s.avail_in = (unsigned)n;
	buf_reserve(out, deflateBound(&s, n) + 64);
	s.next_out = (unsigned char *)out->data + out->len;
	s.avail_out = (unsigned)(out->cap - out->len - 1);
	if (deflate(&s, Z_FINISH) != Z_STREAM_END)
		abort();
	buf_grew(out, s.total_out);
	deflateEnd(&s);
}

static inline void
zstd_buf(const void *p, size_t n, int level, struct buf *out)
{
	size_t max = ZSTD_compressBound(n), got;

	buf_reserve(out, max);
	got = ZSTD_compress(out->data + out->len, max, p, n, level);
	if (ZSTD_isError(got))
		abort();
	buf_grew(out, got);
}

#endif
