/* SPDX-License-Identifier: Apache-2.0
 *
 * Hostile JSON, bounded: see document.h.
 */
#include "image/document.h"

#include <string.h>
#include <strings.h>

#include "base/str.h"

/* One pass over the text: brackets nest no deeper than the limit, and values, counted by what
 * separates them, are no more than the limit. It need not understand more: jansson does. */
static int
check_bounds(const char *s, size_t n, const char *what, struct err *err)
{
	unsigned depth = 0, values = 1;
	bool quoted = false;

	for (size_t i = 0; i < n; i++) {
		if (quoted) {
			if (s[i] == '\\')
				i++;
			else if (s[i] == '"')
				quoted = false;
			continue;
		}
		switch (s[i]) {
		case '"':
			quoted = true;
			break;
		case '{':
		case '[':
			values++;
			if (++depth > DOCUMENT_DEPTH_MAX)
				return err_set(err, ERR_RESOURCE_EXHAUSTED,
				    "%s: nested deeper than %d levels", what, DOCUMENT_DEPTH_MAX);
			break;
		case '}':
		case ']':
			if (depth > 0)
				depth--;
			break;
		case ',':
			values++;
			break;
		default:
			break;
		}
		if (values > DOCUMENT_VALUES_MAX)
			return err_set(err, ERR_RESOURCE_EXHAUSTED, "%s: more than %d values", what,
			    DOCUMENT_VALUES_MAX);
	}
	return 0;
}

json_t *
document_parse(const void *p, size_t n, size_t max, const char *what, struct err *err)
{
	json_error_t e;
	json_t *doc;

	if (n > max) {
		err_set(
		    err, ERR_RESOURCE_EXHAUSTED, "%s: %zu bytes, the limit is %zu", what, n, max);
		return NULL;
	}
	if (check_bounds(p, n, what, err) < 0)
		return NULL;
	doc = json_loadb(p, n, JSON_REJECT_DUPLICATES, &e);
	if (doc == NULL) {
		err_set(err, ERR_INVALID_ARGUMENT, "%s: line %d column %d: %.200s", what, e.line,
		    e.column, e.text);
		return NULL;
	}
	if (!json_is_object(doc)) {
		err_set(err, ERR_INVALID_ARGUMENT, "%s: not a JSON object", what);
		json_decref(doc);
		return NULL;
	}
	return doc;
}

/* The member, or NULL when it is absent or null. -1 when there is one whose name differs in case
 * only. */
static int
member(const json_t *obj, const char *key, const char *what, json_t **ret, struct err *err)
{
	json_t *v, *found = NULL;
	const char *k;

	json_object_foreach ((json_t *)obj, k, v) {
		if (strcasecmp(k, key) != 0)
			continue;
		if (strcmp(k, key) != 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "%s: key \"%s\" is ambiguous beside \"%s\"", what, k, key);
		found = v;
	}
	*ret = json_is_null(found) ? NULL : found;
	return 0;
}

static int
wrong_type(const char *what, const char *key, const char *type, struct err *err)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "%s: \"%s\" is not %s", what, key, type);
}

int
document_string(const json_t *obj, const char *key, const char *what, size_t max, const char **ret,
    struct err *err)
{
	json_t *v;

	if (member(obj, key, what, &v, err) < 0)
		return -1;
	if (v != NULL && !json_is_string(v))
		return wrong_type(what, key, "a string", err);
	if (v != NULL && json_string_length(v) > max)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: \"%s\" is longer than %zu bytes",
		    what, key, max);
	*ret = v != NULL ? json_string_value(v) : NULL;
	return 0;
}

int
document_object(const json_t *obj, const char *key, const char *what, json_t **ret, struct err *err)
{
	json_t *v;

	if (member(obj, key, what, &v, err) < 0)
		return -1;
	if (v != NULL && !json_is_object(v))
		return wrong_type(what, key, "an object", err);
	*ret = v;
	return 0;
}

int
document_array(const json_t *obj, const char *key, const char *what, json_t **ret, struct err *err)
{
	json_t *v;

	if (member(obj, key, what, &v, err) < 0)
		return -1;
	if (v != NULL && !json_is_array(v))
		return wrong_type(what, key, "a list", err);
	*ret = v;
	return 0;
}

int
document_u64(const json_t *obj, const char *key, const char *what, uint64_t *ret, struct err *err)
{
	json_t *v;

	if (member(obj, key, what, &v, err) < 0)
		return -1;
	if (v != NULL && (!json_is_integer(v) || json_integer_value(v) < 0))
		return wrong_type(what, key, "a whole number of 0 or more", err);
	*ret = v != NULL ? (uint64_t)json_integer_value(v) : 0;
	return 0;
}
