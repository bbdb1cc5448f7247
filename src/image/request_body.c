/* SPDX-License-Identifier: Apache-2.0
 *
 * What comes back on a request: headers that must fit what was asked for, then the body, collected
 * or streamed, or the error document of the registry. See request.h.
 */
#include <string.h>

#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/document.h"
#include "image/request.h"

enum { PROBLEM_MAX = 16 << 10 };

static int
wrong(struct registry_request *q, enum err_code code, const char *why)
{
	return err_set(&q->fetch.err, code, "%s", why);
}

/* "bytes 5-9/10": it must begin where we stopped. */
static int
check_range(struct registry_request *q)
{
	const char *s = fetch_header(&q->fetch, "Content-Range", 0);
	cleanup_free char *first = NULL;
	uint64_t from;

	if (s == NULL || !str_starts(s, "bytes "))
		return wrong(q, ERR_DATA_LOSS, "a partial answer without Content-Range");
	s += strlen("bytes ");
	first = xstrndup(s, strcspn(s, "-"));
	if (str_u64(first, 10, UINT64_MAX, &from) < 0 || from != q->got)
		return wrong(q, ERR_DATA_LOSS, "not the range that was asked for");
	return 0;
}

static int
check_length(struct registry_request *q)
{
	uint64_t length = (uint64_t)q->fetch.length;

	if (q->fetch.length < 0)
		return 0;
	if (q->fetch.status == 206)
		length += q->got;
	if (q->size != SIZE_UNKNOWN && length != q->size)
		return err_set(&q->fetch.err, ERR_DATA_LOSS,
		    "it has %llu bytes, its descriptor says %llu", (unsigned long long)length,
		    (unsigned long long)q->size);
	if (q->max > 0 && length > q->max)
		return err_set(&q->fetch.err, ERR_RESOURCE_EXHAUSTED,
		    "it has %llu bytes, the limit is %llu", (unsigned long long)length,
		    (unsigned long long)q->max);
	return 0;
}

static void
take_headers(struct registry_request *q)
{
	const char *type = fetch_header(&q->fetch, "Content-Type", 0);
	const char *digest = fetch_header(&q->fetch, "Docker-Content-Digest", 0);

	snprintf(q->content_type, sizeof(q->content_type), "%s", STR_OR_EMPTY(type));
	snprintf(q->digest, sizeof(q->digest), "%s", digest_valid(digest) ? digest : "");
	q->length = q->fetch.length;
}

int
request_on_head(struct fetch *f)
{
	struct registry_request *q = container_of(f, struct registry_request, fetch);

	if (f->status != 200 && f->status != 206)
		return 0;
	q->authorized_once = false;
	take_headers(q);
	if (q->head)
		return 0;
	if (f->status == 206 &&
	    (q->got == 0 ? wrong(q, ERR_DATA_LOSS, "a partial answer, not asked for")
	                 : check_range(q)) < 0)
		return -1;
	if (check_length(q) < 0)
		return -1;
	if (f->status == 200)
		q->skip = q->got;
	q->deliver = true;
	return 0;
}

static enum fetch_take
collect(struct registry_request *q, const char *p, size_t n)
{
	if (q->body.len + n > q->max) {
		err_set(&q->fetch.err, ERR_RESOURCE_EXHAUSTED, "it is larger than %llu bytes",
		    (unsigned long long)q->max);
		return FETCH_ABORT;
	}
	buf_add(&q->body, p, n);
	q->got += n;
	return FETCH_TAKEN;
}

static enum fetch_take
stream(struct registry_request *q, const char *p, size_t n)
{
	enum fetch_take take;

	if (q->got + n > q->size) {
		err_set(&q->fetch.err, ERR_DATA_LOSS,
		    "it is longer than the %llu bytes its descriptor says",
		    (unsigned long long)q->size);
		return FETCH_ABORT;
	}
	take = q->on_body(q, p, n);
	if (take == FETCH_TAKEN)
		q->got += n;
	if (take == FETCH_ABORT) {
		q->ours = true;
		q->fetch.err = q->err;
	}
	return take;
}

enum fetch_take
request_on_body(struct fetch *f, const char *p, size_t n)
{
	struct registry_request *q = container_of(f, struct registry_request, fetch);
	size_t drop = (size_t)MIN(q->skip, n);
	enum fetch_take take;

	if (!q->deliver) {
		buf_add(&q->problem, p, MIN(n, PROBLEM_MAX - q->problem.len));
		return FETCH_TAKEN;
	}
	if (drop == n) {
		q->skip -= n;
		return FETCH_TAKEN;
	}
	take = q->max > 0 ? collect(q, p + drop, n - drop) : stream(q, p + drop, n - drop);
	if (take == FETCH_TAKEN) /* after a pause the same bytes come again */
		q->skip = 0;
	return take;
}

void
request_explain(const struct registry_request *q, char *out, size_t size)
{
	struct err ignored;
	json_t *doc, *list = NULL;
	const char *text = NULL;

	out[0] = '\0';
	if (!q->at_home || q->problem.len == 0)
		return;
	doc = document_parse(q->problem.data, q->problem.len, PROBLEM_MAX, "error", &ignored);
	if (doc == NULL)
		return;
	if (document_array(doc, "errors", "error", &list, &ignored) == 0 && list != NULL &&
	    json_is_object(json_array_get(list, 0)) &&
	    document_string(
	        json_array_get(list, 0), "message", "error", PROBLEM_MAX, &text, &ignored) == 0 &&
	    !str_empty(text)) {
		snprintf(out, size, ": %s", text);
		for (char *p = out; *p != '\0'; p++)
			if ((unsigned char)*p < ' ' || *p >= 0x7f || *p < 0)
				*p = '?';
	}
	json_decref(doc);
}
