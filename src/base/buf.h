/* SPDX-License-Identifier: Apache-2.0
 *
 * A growable run of bytes: struct buf. Zero-initialise it (or buf_init), append, consume from the
 * front, buf_release at the end. `data[len]` is always a NUL once anything was appended, so that a
 * text buffer can be read as a string.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
	char *data;
	size_t len; /* bytes in use */
	size_t cap;
};

#define BUF_INIT {NULL, 0, 0}
#define cleanup_buf __attribute__((cleanup(buf_release)))

void buf_init(struct buf *b);
void buf_release(struct buf *b); /* frees the bytes; the buf is empty and reusable */

/* Make room for n more bytes and return where they go; then buf_grew(b, n) counts them in. */
char *buf_reserve(struct buf *b, size_t n);
void buf_grew(struct buf *b, size_t n);

void buf_add(struct buf *b, const void *p, size_t n);
void buf_addstr(struct buf *b, const char *s);
void buf_addch(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void buf_consume(struct buf *b, size_t n); /* drop n bytes from the front */
void buf_truncate(struct buf *b, size_t len);
char *buf_detach(struct buf *b); /* the caller frees; the buf is empty afterwards */

#endif
