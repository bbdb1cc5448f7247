/* SPDX-License-Identifier: Apache-2.0
 *
 * Streaming decompression: see inflate.h. Input is read into one buffer; a decoder works from it
 * into another, plain bytes are handed out where they were read. gzip is ISA-L's where it was found
 * (some three times as fast), else zlib's.
 */
#include "image/inflate.h"

#include <stdlib.h>
#include <string.h>
#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#else
#include <zlib.h>
#endif
#include <zstd.h>

#include "base/macros.h"
#include "base/xalloc.h"

enum {
	MAGIC_LEN = 6,       /* the longest of them: xz */
	ZSTD_WINDOW_LOG = 27 /* 128 MiB: the most that `zstd --long` makes by default */
};

#ifdef HAVE_ISAL
struct inflate_gzip {
	struct inflate_state s;
};

static void
gzip_start(struct inflate_gzip *g)
{
	isal_inflate_init(&g->s);
	g->s.crc_flag = ISAL_GZIP;
}

static void
gzip_end(struct inflate_gzip *g)
{
	(void)g;
}

/* Work on what is there. 1: the member has ended; 0: not yet; -1. */
static int
gzip_step(
    struct inflate_gzip *g, char **in, size_t *n_in, char **out, size_t *n_out, struct err *err)
{
	int ret;

	g->s.next_in = (uint8_t *)*in;
	g->s.avail_in = (uint32_t)*n_in;
	g->s.next_out = (uint8_t *)*out;
	g->s.avail_out = (uint32_t)*n_out;
	ret = isal_inflate(&g->s);
	if (ret < 0 || ret == ISAL_NEED_DICT)
		return err_set(err, ERR_INVALID_ARGUMENT, "gzip: %s",
		    ret == ISAL_INCORRECT_CHECKSUM ? "wrong checksum"
		    : ret == ISAL_INVALID_WRAPPER  ? "bad header"
		                                   : "damaged data");
	*in = (char *)g->s.next_in;
	*n_in = g->s.avail_in;
	*out = (char *)g->s.next_out;
	*n_out = g->s.avail_out;
	return g->s.block_state == ISAL_BLOCK_FINISH;
}
#else
struct inflate_gzip {
	z_stream s;
	bool live;
};

static void
gzip_end(struct inflate_gzip *g)
{
	if (g->live)
		inflateEnd(&g->s);
	g->live = false;
}

static void
gzip_start(struct inflate_gzip *g)
{
	gzip_end(g);
	g->s = (z_stream){0};
	if (inflateInit2(&g->s, 15 + 16) != Z_OK)
		abort(); /* out of memory, or a zlib of another version */
	g->live = true;
}

static int
gzip_step(
    struct inflate_gzip *g, char **in, size_t *n_in, char **out, size_t *n_out, struct err *err)
{
	int ret;

	g->s.next_in = (unsigned char *)*in;
	g->s.avail_in = (unsigned)*n_in;
	g->s.next_out = (unsigned char *)*out;
	g->s.avail_out = (unsigned)*n_out;
	ret = inflate(&g->s, Z_NO_FLUSH);
	if (ret != Z_OK && ret != Z_STREAM_END && ret != Z_BUF_ERROR)
		return err_set(err, ERR_INVALID_ARGUMENT, "gzip: %s",
		    g->s.msg != NULL ? g->s.msg : "damaged data");
	*in = (char *)g->s.next_in;
	*n_in = g->s.avail_in;
	*out = (char *)g->s.next_out;
	*n_out = g->s.avail_out;
	return ret == Z_STREAM_END;
}
#endif

void
inflate_init(
    struct inflate *z, ssize_t (*read)(struct inflate *z, void *p, size_t n, struct err *err))
{
	*z = (struct inflate){.read = read, .in = xmalloc(INFLATE_BUF)};
}

void
inflate_release(struct inflate *z)
{
	if (z->gzip != NULL)
		gzip_end(z->gzip);
	free(z->gzip);
	ZSTD_freeDCtx(z->zstd);
	free(z->in);
	free(z->out);
	*z = (struct inflate){0};
}

/* Bring more input into the buffer: 1, 0 at the end, -1. */
static int
fill(struct inflate *z, struct err *err)
{
	ssize_t n;

	if (z->in_end)
		return 0;
	if (z->in_at == z->in_len)
		z->in_at = z->in_len = 0;
	n = z->read(z, z->in + z->in_len, INFLATE_BUF - z->in_len, err);
	if (n < 0)
		return -1;
	if (n == 0)
		z->in_end = true;
	z->in_len += (size_t)n;
	return n > 0;
}

static int
recognise(struct inflate *z, struct err *err)
{
	static const struct {
		const char *magic;
		size_t n;
		enum inflate_kind kind;
		const char *refused;
	} kinds[] = {
	    {"\x1f\x8b",            2, INFLATE_GZIP,    NULL   },
	    {"\x28\xb5\x2f\xfd",    4, INFLATE_ZSTD,    NULL   },
	    {"BZh",                 3, INFLATE_UNKNOWN, "bzip2"},
	    {"\xfd"
	     "7zXZ\0", 6, INFLATE_UNKNOWN, "xz"   },
	    {"\x04\x22\x4d\x18",    4, INFLATE_UNKNOWN, "lz4"  },
	};
	int ret;

	while (z->in_len < MAGIC_LEN && (ret = fill(z, err)) != 0)
		if (ret < 0)
			return -1;
	z->kind = INFLATE_PLAIN;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (z->in_len < kinds[i].n || memcmp(z->in, kinds[i].magic, kinds[i].n) != 0)
			continue;
		z->kind = kinds[i].kind;
		if (kinds[i].refused != NULL)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "compressed with %s; layers are plain, gzip or zstd", kinds[i].refused);
	}
	/* A zstd stream may begin with skippable frames: 0x184d2a5? (RFC 8878 3.1.2). */
	if (z->in_len >= 4 && (z->in[0] & 0xf0) == 0x50 &&
	    memcmp(z->in + 1, "\x2a\x4d\x18", 3) == 0)
		z->kind = INFLATE_ZSTD;
	if (z->kind == INFLATE_GZIP) {
		z->gzip = xcalloc(1, sizeof(*z->gzip));
		gzip_start(z->gzip);
	}
	if (z->kind == INFLATE_ZSTD) {
		z->zstd = ZSTD_createDCtx();
		if (z->zstd == NULL || ZSTD_isError(ZSTD_DCtx_setParameter(
		                           z->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG)))
			abort(); /* out of memory */
	}
	if (z->kind != INFLATE_PLAIN)
		z->out = xmalloc(INFLATE_BUF);
	return 0;
}

static int
zstd_step(struct inflate *z, char **in, size_t *n_in, char **out, size_t *n_out, struct err *err)
{
	ZSTD_inBuffer src = {*in, *n_in, 0};
	ZSTD_outBuffer dst = {*out, *n_out, 0};
	size_t ret = ZSTD_decompressStream(z->zstd, &dst, &src);

	if (ZSTD_isError(ret))
		return err_set(err, ERR_INVALID_ARGUMENT, "zstd: %s", ZSTD_getErrorName(ret));
	*in += src.pos;
	*n_in -= src.pos;
	*out += dst.pos;
	*n_out -= dst.pos;
	return ret == 0;
}

static ssize_t
next_plain(struct inflate *z, const void **ret, struct err *err)
{
	ssize_t n;

	if (z->in_at == z->in_len && fill(z, err) < 0)
		return -1;
	*ret = z->in + z->in_at;
	n = (ssize_t)(z->in_len - z->in_at);
	z->in_at = z->in_len;
	return n;
}

ssize_t
inflate_next(struct inflate *z, const void **ret, struct err *err)
{
	char *out;
	size_t room = INFLATE_BUF;

	if (z->kind == INFLATE_UNKNOWN && recognise(z, err) < 0)
		return -1;
	if (z->kind == INFLATE_PLAIN)
		return next_plain(z, ret, err);
	out = z->out;
	while (room > 0) {
		char *in = z->in + z->in_at;
		size_t n_in = z->in_len - z->in_at, n_was = n_in, room_was = room;
		int ended;

		if (!z->in_stream && n_in == 0) { /* between members: the end, or another */
			int more = fill(z, err);

			if (more < 0)
				return -1;
			if (more == 0)
				break;
			continue;
		}
		if (!z->in_stream && z->kind == INFLATE_GZIP)
			gzip_start(z->gzip);
		z->in_stream = true;
		ended = z->kind == INFLATE_GZIP ? gzip_step(z->gzip, &in, &n_in, &out, &room, err)
		                                : zstd_step(z, &in, &n_in, &out, &room, err);
		if (ended < 0)
			return -1;
		z->in_at = z->in_len - n_in;
		if (ended)
			z->in_stream = false;
		else if (room == room_was && n_in == n_was) { /* it needs input to go on */
			int more = n_in == 0 ? fill(z, err) : 0;

			if (more < 0)
				return -1;
			if (more == 0)
				return err_set(err, ERR_INVALID_ARGUMENT, "%s: %s",
				    z->kind == INFLATE_GZIP ? "gzip" : "zstd",
				    n_in == 0 ? "cut short" : "damaged data");
		}
	}
	*ret = z->out;
	return (ssize_t)(INFLATE_BUF - room);
}
