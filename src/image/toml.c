/* SPDX-License-Identifier: Apache-2.0
 *
 * A subset of TOML: see toml.h. https://toml.io/en/v1.0.0. A recursive descent over the text, which
 * ends in a NUL that the parser never steps over.
 */
#include "image/toml.h"

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"

struct toml {
	const char *p; /* the next byte */
	const char *what;
	unsigned line, depth;
	json_t *root, *table; /* table: where the present keys go */
	json_t *closed;       /* set of tables that may not be opened again, by path */
	struct err *err;
};

static int fail(struct toml *t, const char *fmt, ...) printf_like(2, 3);

static int
fail(struct toml *t, const char *fmt, ...)
{
	char why[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	err_set(t->err, ERR_INVALID_ARGUMENT, "%s:%u: %s", t->what, t->line, why);
	return -1;
}

static void
skip_blanks(struct toml *t)
{
	while (*t->p == ' ' || *t->p == '\t')
		t->p++;
}

/* Blanks, a comment, and the end of the line or of the text. */
static int
skip_line_end(struct toml *t)
{
	skip_blanks(t);
	if (*t->p == '#')
		while (*t->p != '\n' && *t->p != '\0') {
			if ((unsigned char)*t->p < ' ' && *t->p != '\t' && *t->p != '\r')
				return fail(t, "a control character in a comment");
			t->p++;
		}
	if (t->p[0] == '\r' && t->p[1] == '\n')
		t->p++;
	if (*t->p == '\n') {
		t->p++;
		t->line++;
		return 0;
	}
	return *t->p == '\0' ? 0 : fail(t, "unexpected '%.1s' at the end of the line", t->p);
}

/* Between the elements of an array: lines may end anywhere. */
static int
skip_space(struct toml *t)
{
	for (;;) {
		skip_blanks(t);
		if (*t->p != '#' && *t->p != '\n' && *t->p != '\r')
			return 0;
		if (skip_line_end(t) < 0)
			return -1;
	}
}

static int
parse_unicode(struct toml *t, unsigned digits, struct buf *out)
{
	char hex[9] = "";
	uint64_t c;

	for (unsigned i = 0; i < digits && t->p[i] != '\0'; i++)
		hex[i] = t->p[i];
	if (strlen(hex) != digits || str_u64(hex, 16, 0x10ffff, &c) < 0 || c == 0 ||
	    (c >= 0xd800 && c <= 0xdfff))
		return fail(t, "an escape that is no character");
	t->p += digits;
	if (c < 0x80) {
		buf_addch(out, (char)c);
	} else if (c < 0x800) {
		buf_addch(out, (char)(0xc0 | c >> 6));
		buf_addch(out, (char)(0x80 | (c & 0x3f)));
	} else if (c < 0x10000) {
		buf_addch(out, (char)(0xe0 | c >> 12));
		buf_addch(out, (char)(0x80 | (c >> 6 & 0x3f)));
		buf_addch(out, (char)(0x80 | (c & 0x3f)));
	} else {
		buf_addch(out, (char)(0xf0 | c >> 18));
		buf_addch(out, (char)(0x80 | (c >> 12 & 0x3f)));
		buf_addch(out, (char)(0x80 | (c >> 6 & 0x3f)));
		buf_addch(out, (char)(0x80 | (c & 0x3f)));
	}
	return 0;
}

static int
parse_escape(struct toml *t, struct buf *out)
{
	static const char names[] = "btnfr\"\\", bytes[] = "\b\t\n\f\r\"\\";
	const char *at;
	char c = *t->p;

	if (c != '\0')
		t->p++;
	if (c == 'u' || c == 'U')
		return parse_unicode(t, c == 'u' ? 4 : 8, out);
	at = c != '\0' ? strchr(names, c) : NULL;
	if (at == NULL)
		return fail(t, "unknown escape in a string");
	buf_addch(out, bytes[at - names]);
	return 0;
}

/* A string of one line, "basic" or 'literal', without its quotes. */
static int
parse_quoted(struct toml *t, struct buf *out)
{
	char quote = *t->p++;

	if (t->p[0] == quote && t->p[1] == quote)
		return fail(t, "strings of several lines are not supported");
	buf_addstr(out, "");
	for (;;) {
		char c = *t->p;

		if (c == quote) {
			t->p++;
			break;
		}
		if (c == '\0' || c == '\n' || c == '\r')
			return fail(t, "a string without its closing quote");
		if (((unsigned char)c < ' ' && c != '\t') || c == 0x7f)
			return fail(t, "a control character in a string");
		t->p++;
		if (c == '\\' && quote == '"') {
			if (parse_escape(t, out) < 0)
				return -1;
		} else {
			buf_addch(out, c);
		}
	}
	return 0;
}

static bool
is_bare(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-';
}

/* One part of a key. */
static int
parse_simple_key(struct toml *t, struct buf *out)
{
	buf_truncate(out, 0);
	if (*t->p == '"' || *t->p == '\'')
		return parse_quoted(t, out);
	if (!is_bare(*t->p))
		return fail(t, "a key is expected");
	while (is_bare(*t->p))
		buf_addch(out, *t->p++);
	return 0;
}

/* Step into the member of that name, an object made on the way if need be. */
static json_t *
descend(struct toml *t, json_t *obj, const char *key)
{
	json_t *next = json_object_get(obj, key);

	if (next == NULL) {
		next = json_object();
		if (json_object_set_new(obj, key, next) < 0)
			return fail(t, "a key that is not UTF-8"), NULL;
	}
	if (!json_is_object(next))
		return fail(t, "\"%s\" is a value already, not a table", key), NULL;
	return next;
}

/* A dotted key: all parts but the last are tables below *obj, which becomes the innermost; the last
 * part is left in *out. path, when not NULL, collects all parts. */
static int
parse_key(struct toml *t, json_t **obj, struct buf *out, struct buf *path)
{
	for (unsigned depth = 0;; depth++) {
		if (depth == TOML_DEPTH_MAX)
			return fail(t, "a key of more than %d parts", TOML_DEPTH_MAX);
		skip_blanks(t);
		if (parse_simple_key(t, out) < 0)
			return -1;
		if (path != NULL) {
			buf_add(path, out->data, out->len);
			buf_addch(path, '\n');
		}
		skip_blanks(t);
		if (*t->p != '.')
			return 0;
		t->p++;
		*obj = descend(t, *obj, out->data);
		if (*obj == NULL)
			return -1;
	}
}

static json_t *parse_value(struct toml *t);
static int parse_pair(struct toml *t, json_t *table);

static json_t *
parse_array(struct toml *t)
{
	json_t *list = json_array(), *v;

	t->p++;
	for (;;) {
		if (skip_space(t) < 0)
			break;
		if (*t->p == ']') {
			t->p++;
			return list;
		}
		v = parse_value(t);
		if (v == NULL)
			break;
		json_array_append_new(list, v);
		if (skip_space(t) < 0)
			break;
		if (*t->p == ',') {
			t->p++;
		} else if (*t->p != ']') {
			fail(t, "',' or ']' is expected in an array");
			break;
		}
	}
	json_decref(list);
	return NULL;
}

static json_t *
parse_inline_table(struct toml *t)
{
	json_t *table = json_object();

	t->p++;
	skip_blanks(t);
	if (*t->p == '}') {
		t->p++;
		return table;
	}
	while (parse_pair(t, table) == 0) {
		skip_blanks(t);
		if (*t->p == '}') {
			t->p++;
			return table;
		}
		if (*t->p != ',') {
			fail(t, "',' or '}' is expected in an inline table");
			break;
		}
		t->p++;
	}
	json_decref(table);
	return NULL;
}

static json_t *
parse_string(struct toml *t)
{
	struct buf s = BUF_INIT;
	json_t *v = NULL;

	if (parse_quoted(t, &s) == 0) {
		v = json_stringn(s.data, s.len);
		if (v == NULL)
			fail(t, "a string that is not UTF-8");
	}
	buf_release(&s);
	return v;
}

static json_t *
parse_word(struct toml *t)
{
	size_t n = strcspn(t->p, " \t\r\n,]}#");
	char word[32];
	uint64_t i;

	if (n < sizeof(word)) {
		memcpy(word, t->p, n);
		word[n] = '\0';
		t->p += n;
		if (strcmp(word, "true") == 0)
			return json_true();
		if (strcmp(word, "false") == 0)
			return json_false();
		if (str_u64(word, 10, INT64_MAX, &i) == 0 && (word[0] != '0' || n == 1))
			return json_integer((json_int_t)i);
	}
	fail(t, "neither a string nor a boolean, a whole number, an array or a table");
	return NULL;
}

static json_t *
parse_value(struct toml *t)
{
	json_t *v;

	if (t->depth == TOML_DEPTH_MAX) {
		fail(t, "nested deeper than %d levels", TOML_DEPTH_MAX);
		return NULL;
	}
	t->depth++;
	switch (*t->p) {
	case '"':
	case '\'':
		v = parse_string(t);
		break;
	case '[':
		v = parse_array(t);
		break;
	case '{':
		v = parse_inline_table(t);
		break;
	default:
		v = parse_word(t);
	}
	t->depth--;
	return v;
}

static int
parse_pair(struct toml *t, json_t *table)
{
	struct buf key = BUF_INIT;
	json_t *v;
	int rc = -1;

	if (parse_key(t, &table, &key, NULL) < 0)
		goto out;
	if (*t->p != '=') {
		fail(t, "'=' is expected after a key");
		goto out;
	}
	t->p++;
	skip_blanks(t);
	if (json_object_get(table, key.data) != NULL) {
		fail(t, "\"%s\" is given twice", key.data);
		goto out;
	}
	v = parse_value(t);
	if (v == NULL)
		goto out;
	if (json_object_set_new(table, key.data, v) < 0)
		fail(t, "a key that is not UTF-8");
	else
		rc = 0;
out:
	buf_release(&key);
	return rc;
}

/* "[a.b]": its keys follow. Opening one twice is an error, except as the parent of another. */
static int
parse_header(struct toml *t)
{
	struct buf key = BUF_INIT, path = BUF_INIT;
	json_t *table = t->root;
	int rc = -1;

	t->p++;
	if (*t->p == '[') {
		fail(t, "arrays of tables are not supported");
		goto out;
	}
	if (parse_key(t, &table, &key, &path) < 0)
		goto out;
	if (*t->p != ']') {
		fail(t, "']' is expected after the name of a table");
		goto out;
	}
	t->p++;
	table = descend(t, table, key.data);
	if (table == NULL)
		goto out;
	if (json_object_get(t->closed, path.data) != NULL) {
		fail(t, "the table \"%s\" is given twice", key.data);
		goto out;
	}
	if (json_object_set_new(t->closed, path.data, json_true()) < 0) {
		fail(t, "a key that is not UTF-8");
		goto out;
	}
	t->table = table;
	rc = 0;
out:
	buf_release(&key);
	buf_release(&path);
	return rc;
}

static int
parse_document(struct toml *t)
{
	while (*t->p != '\0') {
		skip_blanks(t);
		if (*t->p == '[') {
			if (parse_header(t) < 0)
				return -1;
		} else if (*t->p != '#' && *t->p != '\n' && *t->p != '\r' && *t->p != '\0') {
			if (parse_pair(t, t->table) < 0)
				return -1;
		}
		if (skip_line_end(t) < 0)
			return -1;
	}
	return 0;
}

json_t *
toml_parse(const char *text, size_t n, const char *what, struct err *err)
{
	cleanup_free char *copy = NULL;
	struct toml t = {.what = what, .line = 1, .err = err};
	int rc;

	if (n > TOML_MAX) {
		err_set(err, ERR_RESOURCE_EXHAUSTED, "%s: longer than %d bytes", what, TOML_MAX);
		return NULL;
	}
	if (n > 0 && (memchr(text, '\0', n) != NULL || !str_utf8(text, n))) {
		err_set(err, ERR_INVALID_ARGUMENT, "%s: not UTF-8 text", what);
		return NULL;
	}
	copy = n > 0 ? xstrndup(text, n) : xstrdup("");
	t.p = copy;
	t.root = t.table = json_object();
	t.closed = json_object();
	rc = parse_document(&t);
	json_decref(t.closed);
	if (rc < 0) {
		json_decref(t.root);
		return NULL;
	}
	return t.root;
}
