/* SPDX-License-Identifier: Apache-2.0
 *
 * Faults of coracle.yaml and their lines. See config_where.h.
 *
 * cyaml's log of a fault is its words, "Backtrace:", and then from the inside out "in mapping field
 * 'port' (line: 2, column: 9)" or "in sequence entry '0' (…)".
 */
#include "config_where.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"

enum { DEPTH_MAX = 6 };

static const char *
next_line(const char *line)
{
	const char *nl = strchr(line, '\n');

	return nl != NULL ? nl + 1 : line + strlen(line);
}

static size_t
indent_of(const char *line)
{
	return strspn(line, " ");
}

static bool
is_blank(const char *line)
{
	line += strspn(line, " \t");
	return *line == '\n' || *line == '\0' || *line == '#';
}

/* `key:` or `"key":` at p. */
static bool
is_key(const char *p, const char *key, size_t n)
{
	bool quoted = *p == '"' || *p == '\'';

	p += quoted;
	if (strncmp(p, key, n) != 0)
		return false;
	p += n + (quoted && (p[n] == '"' || p[n] == '\''));
	return p[strspn(p, " \t")] == ':';
}

struct cursor {
	const char *line;
	size_t number, indent; /* of the key that was found */
	bool in_item;          /* its first key stands behind the dash */
};

/* From the line after the cursor, below its indent: the key, or the nth item of its sequence. */
static bool
descend(struct cursor *c, const char *key, size_t n, long item, bool top)
{
	size_t number = c->number, child = SIZE_MAX;
	const char *line = top || c->in_item ? c->line : next_line(c->line);

	if (!top && !c->in_item)
		number++;
	for (; *line != '\0'; line = next_line(line), number++) {
		size_t indent = indent_of(line);
		bool dash =
		    line[indent] == '-' && (line[indent + 1] == ' ' || line[indent + 1] == '\n');

		if (is_blank(line) || str_starts(line, "---"))
			continue;
		if (c->in_item && line == c->line && dash)
			indent += 1 + strspn(line + indent + 1, " ");
		else if (!top && indent < c->indent + (item < 0 || !dash))
			return false; /* a sequence may stand at its key's own indent */
		if (child == SIZE_MAX)
			child = indent;
		if (indent != child)
			continue;
		if (item >= 0 ? dash && item-- == 0 : is_key(line + indent, key, n)) {
			*c = (struct cursor){line, number, indent, key == NULL};
			return true;
		}
	}
	return false;
}

size_t
config_line_of(const char *text, const char *key)
{
	struct cursor c = {.line = text, .number = 1};
	bool found = false;

	while (*key != '\0') {
		size_t n = strcspn(key, ".[");

		if (n > 0 && !descend(&c, key, n, -1, !found))
			break;
		found = found || n > 0;
		key += n;
		if (*key == '[') {
			char *end;
			long item = strtol(key + 1, &end, 10);

			if (*end != ']' || item < 0 || !descend(&c, NULL, 0, item, false))
				break;
			key = end + 1;
		}
		key += *key == '.';
	}
	return found ? c.number : 0;
}

int
config_error_at(struct err *err, const char *path, const char *text)
{
	cleanup_free char *key = xstrndup(err->msg, strcspn(err->msg, ": "));
	size_t line = config_line_of(text, key);

	if (line == 0)
		return err_wrap(err, "%s", path);
	return err_wrap(err, "%s:%zu", path, line);
}

struct trace_line {
	char name[64]; /* "port" or "[0]"; "" for what has none */
	size_t line;
};

static bool
parse_trace_line(const char *s, struct trace_line *ret)
{
	const char *in, *quote, *line = strstr(s, "(line: ");
	const char *end = next_line(s);

	*ret = (struct trace_line){0};
	if (line == NULL || line >= end)
		return false;
	ret->line = strtoul(line + strlen("(line: "), NULL, 10);
	in = strstr(s, "in ");
	quote = in != NULL ? strchr(in, '\'') : NULL;
	if (quote != NULL && quote < line)
		snprintf(
		    ret->name, sizeof(ret->name), "%.*s", (int)strcspn(quote + 1, "'"), quote + 1);
	if (in != NULL && str_starts(in, "in sequence")) /* counted from 1 there */
		snprintf(ret->name, sizeof(ret->name), "[%ld]",
		    MAX(strtol(quote != NULL ? quote + 1 : "1", NULL, 10), 1) - 1);
	return true;
}

/* The trace goes from the inside out, the key from the outside in. */
static void
join_key(struct buf *out, const struct trace_line *lines, size_t n)
{
	while (n-- > 0)
		if (lines[n].name[0] != '\0')
			buf_addf(out, "%s%s", out->len == 0 || lines[n].name[0] == '[' ? "" : ".",
			    lines[n].name);
}

int
config_error_of_log(struct err *err, const char *path, const char *text, const char *log)
{
	static const char unknown[] = "Unexpected key: ";
	const char *p = str_starts(log, "Load: ") ? log + strlen("Load: ") : log;
	cleanup_free char *words = xstrndup(p, strcspn(p, "\n"));
	const char *what = words;
	struct trace_line lines[DEPTH_MAX];
	cleanup_buf struct buf key = BUF_INIT;
	size_t n = 0, line;

	while (*(p = next_line(p)) != '\0' && n < DEPTH_MAX)
		n += parse_trace_line(p, &lines[n]);
	if (n > 0 && str_starts(what, "Missing ")) /* what is innermost is the field before it */
		lines[0].name[0] = '\0';
	join_key(&key, lines, n);
	line = n > 0 ? lines[0].line : 0;
	if (str_starts(what, unknown)) {
		buf_addf(&key, "%s%s", key.len > 0 ? "." : "", what + strlen(unknown));
		buf_addch(&key, '\0');
		key.len--;
		what = "unknown key";
		line = MAX(config_line_of(text, key.data), line);
	}
	if (line == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: %s", path, what);
	return err_set(err, ERR_INVALID_ARGUMENT, "%s:%zu: %.*s%s%s", path, line, (int)key.len,
	    STR_OR_EMPTY(key.data), key.len > 0 ? ": " : "", what);
}

size_t
config_second_document(const char *text)
{
	bool content = false;
	size_t number = 1;

	for (const char *line = text; *line != '\0'; line = next_line(line), number++) {
		bool mark =
		    str_starts(line, "---") && (isspace((unsigned char)line[3]) || line[3] == '\0');

		if (mark && content)
			return number;
		/* a first "---" begins the first document */
		content = content || mark || (!is_blank(line) && line[0] != '%');
	}
	return 0;
}
