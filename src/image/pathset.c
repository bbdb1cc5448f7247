/* SPDX-License-Identifier: Apache-2.0
 *
 * A set of paths: see pathset.h.
 */
#include "image/pathset.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

static char gone[1]; /* stands for a removed path */

static size_t
hash(const char *path)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */

	for (; *path != '\0'; path++)
		h = (h ^ (unsigned char)*path) * UINT64_C(1099511628211);
	return (size_t)(h ^ h >> 32);
}

static char **
find(const struct pathset *s, const char *path)
{
	if (s->n == 0)
		return NULL;
	for (size_t i = hash(path);; i++) {
		char **slot = &s->slots[i & (s->cap - 1)];

		if (*slot == NULL)
			return NULL;
		if (*slot != gone && strcmp(*slot, path) == 0)
			return slot;
	}
}

static void
place(struct pathset *s, char *path)
{
	size_t i = hash(path);

	while (s->slots[i & (s->cap - 1)] != NULL)
		i++;
	s->slots[i & (s->cap - 1)] = path;
}

/* Keep a quarter of the slots free, so that find() ends soon. */
static void
make_room(struct pathset *s)
{
	struct pathset old = *s;

	if ((s->n + s->gone + 1) * 4 <= s->cap * 3)
		return;
	while ((s->n + 1) * 2 > s->cap)
		s->cap = s->cap == 0 ? 64 : s->cap * 2;
	s->slots = xcalloc(s->cap, sizeof(*s->slots));
	s->gone = 0;
	for (size_t i = 0; i < old.cap; i++)
		if (old.slots[i] != NULL && old.slots[i] != gone)
			place(s, old.slots[i]);
	free(old.slots);
}

int
pathset_add(struct pathset *s, const char *path)
{
	size_t len = strlen(path) + 1;

	if (find(s, path) != NULL)
		return 0;
	if (s->bytes + len > PATHSET_MAX)
		return -1;
	make_room(s);
	place(s, xmemdup(path, len));
	s->n++;
	s->bytes += len;
	return 0;
}

bool
pathset_has(const struct pathset *s, const char *path)
{
	return find(s, path) != NULL;
}

static void
remove_slot(struct pathset *s, char **slot)
{
	s->bytes -= strlen(*slot) + 1;
	free(*slot);
	*slot = gone;
	s->n--;
	s->gone++;
}

void
pathset_remove(struct pathset *s, const char *path)
{
	char **slot = find(s, path);

	if (slot != NULL)
		remove_slot(s, slot);
}

void
pathset_remove_below(struct pathset *s, const char *path)
{
	size_t len = strlen(path);

	for (size_t i = 0; s->n > 0 && i < s->cap; i++)
		if (s->slots[i] != NULL && s->slots[i] != gone &&
		    (len == 0 || (strncmp(s->slots[i], path, len) == 0 &&
		                     (s->slots[i][len] == '\0' || s->slots[i][len] == '/'))))
			remove_slot(s, &s->slots[i]);
}

void
pathset_release(struct pathset *s)
{
	for (size_t i = 0; i < s->cap; i++)
		if (s->slots[i] != gone)
			free(s->slots[i]);
	free(s->slots);
	*s = (struct pathset){0};
}

static int
compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void
pathset_dump(const struct pathset *s, struct buf *out)
{
	char **all = xcalloc(s->n + 1, sizeof(*all));
	size_t n = 0;

	for (size_t i = 0; i < s->cap; i++)
		if (s->slots[i] != NULL && s->slots[i] != gone)
			all[n++] = s->slots[i];
	qsort(all, n, sizeof(*all), compare);
	for (size_t i = 0; i < n; i++)
		buf_add(out, all[i], strlen(all[i]) + 1);
	free(all);
}
