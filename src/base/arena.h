/* SPDX-License-Identifier: Apache-2.0
 *
 * An arena: memory that lives as long as one call (or one other short-lived thing) and is never
 * freed singly. arena_release() gives everything back at once. `alloc` lets protobuf-c unpack into
 * it. Allocation aborts when out of memory.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *blocks; /* the newest first */
	char *at, *end;             /* free room in the newest */
	size_t total;               /* bytes taken from malloc */
	ProtobufCAllocator alloc;   /* valid after arena_init; its free() does nothing */
};

void arena_init(struct arena *a);
void arena_release(struct arena *a); /* the arena stays usable */
void *arena_alloc(struct arena *a, size_t size); /* 16-byte aligned, not zeroed */
void *arena_zalloc(struct arena *a, size_t size);
char *arena_strdup(struct arena *a, const char *s);
void *arena_memdup(struct arena *a, const void *p, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define arena_new(a, type) ((type *)arena_zalloc((a), sizeof(type)))
#define arena_array(a, type, n) ((type *)arena_zalloc((a), sizeof(type) * (n)))

#endif
