/* SPDX-License-Identifier: Apache-2.0
 *
 * Sorted index in one array: see index.h. A node has thousands of objects, not millions: moving the
 * tail of the array is cheaper than a tree's cache misses.
 */
#include "pod/index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/xalloc.h"

/* Where key is, or would be. */
static size_t
position(const struct index *ix, const char *key)
{
	size_t lo = 0, hi = ix->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(ix->entries[mid].key, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void
index_release(struct index *ix)
{
	free(ix->entries);
	*ix = (struct index){0};
}

void
index_put(struct index *ix, const char *key, void *value)
{
	size_t at = position(ix, key);

	assert(at == ix->n || strcmp(ix->entries[at].key, key) != 0);
	if (ix->n == ix->cap) {
		ix->cap = ix->cap > 0 ? ix->cap * 2 : 64;
		ix->entries = xrealloc(ix->entries, ix->cap * sizeof(*ix->entries));
	}
	memmove(ix->entries + at + 1, ix->entries + at, (ix->n - at) * sizeof(*ix->entries));
	ix->entries[at] = (struct index_entry){key, value};
	ix->n++;
}

void *
index_get(const struct index *ix, const char *key)
{
	size_t at = position(ix, key);

	if (at == ix->n || strcmp(ix->entries[at].key, key) != 0)
		return NULL;
	return ix->entries[at].value;
}

void
index_remove(struct index *ix, const char *key)
{
	size_t at = position(ix, key);

	if (at == ix->n || strcmp(ix->entries[at].key, key) != 0)
		return;
	ix->n--;
	memmove(ix->entries + at, ix->entries + at + 1, (ix->n - at) * sizeof(*ix->entries));
}

void *
index_prefix(const struct index *ix, const char *prefix, bool *ret_many)
{
	size_t at = position(ix, prefix);

	*ret_many = false;
	if (at == ix->n || *prefix == '\0' || !str_starts(ix->entries[at].key, prefix))
		return NULL;
	if (strcmp(ix->entries[at].key, prefix) != 0 && at + 1 < ix->n &&
	    str_starts(ix->entries[at + 1].key, prefix)) {
		*ret_many = true;
		return NULL;
	}
	return ix->entries[at].value;
}
