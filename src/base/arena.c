/* SPDX-License-Identifier: Apache-2.0
 *
 * Bump allocator in blocks: see arena.h. Small blocks come in one size; a large request gets a
 * block of its own behind the current one, so that the free room of that is not lost.
 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/xalloc.h"

enum { BLOCK_SIZE = 4096 - 32, ALIGN = 16 };

struct arena_block {
	struct arena_block *next;
	alignas(ALIGN) char data[];
};

static void *
pb_alloc(void *a, size_t size)
{
	return arena_alloc(a, size);
}

static void
pb_free(void *a, void *p)
{
	(void)a;
	(void)p;
}

void
arena_init(struct arena *a)
{
	*a = (struct arena){.alloc = {pb_alloc, pb_free, a}};
}

void
arena_release(struct arena *a)
{
	struct arena_block *b, *next;

	for (b = a->blocks; b != NULL; b = next) {
		next = b->next;
		free(b);
	}
	arena_init(a);
}

static struct arena_block *
block_new(struct arena *a, size_t size)
{
	struct arena_block *b = xmalloc(sizeof(*b) + size);

	a->total += sizeof(*b) + size;
	return b;
}

void *
arena_alloc(struct arena *a, size_t size)
{
	struct arena_block *b;
	void *p;

	if (size > SIZE_MAX / 2)
		abort();
	size = (MAX(size, (size_t)1) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	if (size <= (size_t)(a->end - a->at)) {
		p = a->at;
		a->at += size;
		return p;
	}
	if (size > BLOCK_SIZE / 4) {
		b = block_new(a, size);
		if (a->blocks != NULL) {
			b->next = a->blocks->next;
			a->blocks->next = b;
		} else {
			b->next = NULL;
			a->blocks = b;
		}
		return b->data;
	}
	b = block_new(a, BLOCK_SIZE);
	b->next = a->blocks;
	a->blocks = b;
	a->at = b->data + size;
	a->end = b->data + BLOCK_SIZE;
	return b->data;
}

void *
arena_zalloc(struct arena *a, size_t size)
{
	return memset(arena_alloc(a, size), 0, size);
}

void *
arena_memdup(struct arena *a, const void *p, size_t n)
{
	void *copy = arena_alloc(a, n);

	if (n > 0)
		memcpy(copy, p, n);
	return copy;
}

char *
arena_strdup(struct arena *a, const char *s)
{
	return arena_memdup(a, s, strlen(s) + 1);
}

char *
arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	s = arena_alloc(a, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(s, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return s;
}
