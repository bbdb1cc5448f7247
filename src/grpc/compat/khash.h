/* SPDX-License-Identifier: Apache-2.0
 *
 * libh2o's http2_internal.h names a hash table of another header, which no package ships. Only the
 * names in its declarations have to exist: nothing that uses the table is called here, and the
 * codec keeps its streams in a table of its own.
 */
#ifndef COMPAT_KHASH_H
#define COMPAT_KHASH_H

#include <stddef.h>

typedef size_t khiter_t;

#define khash_t(name) kh_##name##_t
#define KHASH_MAP_INIT_INT64(name, type)                                                           \
	typedef struct {                                                                           \
		type none;                                                                         \
	} kh_##name##_t;
#define kh_get(name, table, key) ((void)(table), (void)(key), (khiter_t)0)
#define kh_end(table) ((void)(table), (khiter_t)0)
#define kh_val(table, iter) ((void)(iter), (table)->none)

#endif
