/* SPDX-License-Identifier: Apache-2.0
 *
 * A sorted index from a string to an object, for look-ups by id, by a prefix of it, and by name.
 * Keys are borrowed: they live in the object.
 */
#ifndef POD_INDEX_H
#define POD_INDEX_H

#include <stdbool.h>
#include <stddef.h>

struct index_entry {
	const char *key;
	void *value;
};

struct index {
	struct index_entry *entries; /* in the order of the keys */
	size_t n, cap;
};

void index_release(struct index *ix); /* not the objects */
void index_put(struct index *ix, const char *key, void *value); /* the key is not in it yet */
void *index_get(const struct index *ix, const char *key);       /* NULL: none */
void index_remove(struct index *ix, const char *key);           /* a missing key is fine */

/* The one object whose key begins with prefix; NULL when there is none or (*ret_many) several. An
 * exact match wins. */
void *index_prefix(const struct index *ix, const char *prefix, bool *ret_many);

#endif
