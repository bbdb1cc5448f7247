/* SPDX-License-Identifier: Apache-2.0
 *
 * Decompression: kinds, members and frames at every boundary of the input, damage at every byte.
 */
#include "tap.h"

#include "tars.h"

#include "image/inflate.h"

static struct err err;

struct source {
	struct inflate z;
	const char *p;
	size_t n, chunk;
};

static ssize_t
on_read(struct inflate *z, void *p, size_t n, struct err *e)
{
	struct source *s = container_of(z, struct source, z);

	(void)e;
	n = MIN(n, MIN(s->n, s->chunk));
	memcpy(p, s->p, n);
	s->p += n;
	s->n -= n;
	return (ssize_t)n;
}

/* All of it; false with err. */
static bool
inflate_all(const void *p, size_t n, size_t chunk, struct buf *out)
{
	struct source s = {.p = p, .n = n, .chunk = chunk};
	const void *run;
	ssize_t got;

	buf_truncate(out, 0);
	err = (struct err){0};
	inflate_init(&s.z, on_read);
	while ((got = inflate_next(&s.z, &run, &err)) > 0)
		buf_add(out, run, (size_t)got);
	inflate_release(&s.z);
	return got == 0;
}

static bool
same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static void
make_text(struct buf *b, size_t n)
{
	uint32_t x = 12345;

	while (b->len < n) {
		x = x * 1103515245 + 12345;
		if ((x >> 16) % 3 == 0)
			buf_addf(b, "line %u of text\n", x % 100);
		else
			buf_addch(b, (char)(x >> 24));
	}
}

static void
test_good(void)
{
	struct buf text = BUF_INIT, packed = BUF_INIT, out = BUF_INIT;
	bool pass = true;

	make_text(&text, 1000000);
	ok(inflate_all(text.data, text.len, SIZE_MAX, &out) && same(&text, &out), "plain");
	ok(inflate_all("", 0, 1, &out) && out.len == 0, "nothing at all");
	ok(inflate_all("\x1f", 1, 1, &out) && out.len == 1, "half a magic is plain");
	for (int level = 0; level <= 9; level += 3) {
		buf_truncate(&packed, 0);
		gzip_buf(text.data, text.len, level, &packed);
		ok(inflate_all(packed.data, packed.len, SIZE_MAX, &out) && same(&text, &out),
		    "gzip level %d", level);
		buf_truncate(&packed, 0);
		zstd_buf(text.data, text.len, 1 + level * 2, &packed);
		ok(inflate_all(packed.data, packed.len, SIZE_MAX, &out) && same(&text, &out),
		    "zstd level %d", 1 + level * 2);
	}
	/* Three small members: every chunk size puts the boundaries elsewhere. */
	buf_truncate(&text, 0);
	buf_addstr(&text, "one two three");
	for (int kind = 0; kind < 2; kind++) {
		void (*pack)(const void *, size_t, int, struct buf *) =
		    kind == 0 ? gzip_buf : zstd_buf;

		buf_truncate(&packed, 0);
		pack("one ", 4, 1, &packed);
		pack("", 0, 1, &packed);
		pack("two ", 4, 9, &packed);
		if (kind == 1) /* a skippable frame in between */
			buf_add(&packed, "\x50\x2a\x4d\x18\x03\x00\x00\x00xyz", 11);
		pack("three", 5, 1, &packed);
		pass = true;
		for (size_t chunk = 1; chunk <= packed.len; chunk++)
			pass = pass && inflate_all(packed.data, packed.len, chunk, &out) &&
			       same(&text, &out);
		ok(pass, "%s members in chunks of every size", kind == 0 ? "gzip" : "zstd");
		pass = true;
		for (size_t n = 7; n < packed.len; n++)
			if (inflate_all(packed.data, n, SIZE_MAX, &out))
				pass = pass && out.len < text.len; /* between members */
			else
				pass = pass && strstr(err.msg, "cut short") != NULL;
		ok(pass, "cut short at every byte");
		buf_addstr(&packed, "garbage");
		ok(!inflate_all(packed.data, packed.len, SIZE_MAX, &out), "followed by garbage: %s",
		    err.msg);
	}
	buf_truncate(&packed, 0);
	buf_add(&packed, "\x50\x2a\x4d\x18\x03\x00\x00\x00xyz", 11);
	zstd_buf("one two three", 13, 1, &packed);
	ok(inflate_all(packed.data, packed.len, 1, &out) && same(&text, &out),
	    "a skippable frame at the start");
	buf_release(&text);
	buf_release(&packed);
	buf_release(&out);
}

static void
test_bad(void)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *words;
	} bad[] = {
	    {"BZh91AY&SY",	                                                       10, "bzip2"    },
	    {"\xfd"
	     "7zXZ\0\0\0",	                                          8,  "xz"       },
	    {"\x04\x22\x4d\x18\x60",	                                             5,  "lz4"      },
	    {"\x1f\x8b\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00",                         12, "gzip"     },
	    {"\x1f\x8b",	                                                         2,  "cut short"},
	    {"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff\xff\xff\xff",                 14, "gzip"     },
	    {"\x28\xb5\x2f\xfd\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 18,
             "zstd"	                                                                             },
 /* a frame that wants a window of 2 GiB: descriptor 0, window byte exponent 21 */
	    {"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00",                                     9,  "zstd"     },
	};
	struct buf text = BUF_INIT, packed = BUF_INIT, out = BUF_INIT;
	unsigned silent = 0;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(!inflate_all(bad[i].bytes, bad[i].n, SIZE_MAX, &out) &&
		        err.code == ERR_INVALID_ARGUMENT && strstr(err.msg, bad[i].words) != NULL,
		    "refused: %s", err.msg);
	make_text(&text, 3000);
	gzip_buf(text.data, text.len, 6, &packed);
	for (size_t i = 10; i < packed.len; i++) { /* the header's time and OS are not covered */
		packed.data[i] ^= 0x10;
		/* The bits that fill the last byte of deflate data mean nothing. */
		silent +=
		    inflate_all(packed.data, packed.len, SIZE_MAX, &out) && !same(&out, &text);
		packed.data[i] ^= 0x10;
	}
	is_int(silent, 0, "a flipped bit of gzip never passes");
	buf_release(&text);
	buf_release(&packed);
	buf_release(&out);
}

int
main(void)
{
	test_good();
	test_bad();
	return tap_done();
}
