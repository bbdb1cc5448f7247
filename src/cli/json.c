/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages and JSON: see json.h.
 */
#include "cli/json.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "base/xalloc.h"

#define MEMBER(type, m, offset) ((type *)(void *)((char *)(m) + (offset)))

/* "log_path" for "logPath" and for itself. */
static bool
same_name(const char *field, const char *key)
{
	for (; *field != '\0'; field++, key++) {
		if (*field == '_' && *key != '_') {
			field++;
			if (tolower((unsigned char)*field) != tolower((unsigned char)*key))
				return false;
			continue;
		}
		if (tolower((unsigned char)*field) != tolower((unsigned char)*key))
			return false;
	}
	return *key == '\0';
}

static const ProtobufCFieldDescriptor *
find_field(const ProtobufCMessageDescriptor *d, const char *key)
{
	for (unsigned i = 0; i < d->n_fields; i++)
		if (same_name(d->fields[i].name, key))
			return &d->fields[i];
	return NULL;
}

static size_t
element_size(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 4;
	}
}

static int
wrong(const ProtobufCFieldDescriptor *f, const char *want, struct err *err)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "%s: must be %s", f->name, want);
}

static int
set_enum(const ProtobufCFieldDescriptor *f, const json_t *v, int *to, struct err *err)
{
	const ProtobufCEnumDescriptor *e = f->descriptor;

	if (json_is_integer(v)) {
		*to = (int)json_integer_value(v);
		return 0;
	}
	for (unsigned i = 0; json_is_string(v) && i < e->n_values; i++)
		if (strcasecmp(e->values[i].name, json_string_value(v)) == 0) {
			*to = e->values[i].value;
			return 0;
		}
	return wrong(f, "a number or a name of its enum", err);
}

static int
set_value(const ProtobufCFieldDescriptor *f, const json_t *v, void *to, struct err *err)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		if (!json_is_string(v))
			return wrong(f, "a string", err);
		*(char **)to = xstrdup(json_string_value(v));
		return 0;
	case PROTOBUF_C_TYPE_BYTES: {
		ProtobufCBinaryData *b = to;

		if (!json_is_string(v))
			return wrong(f, "a string", err);
		b->len = json_string_length(v);
		b->data = xmemdup(json_string_value(v), b->len);
		return 0;
	}
	case PROTOBUF_C_TYPE_BOOL:
		if (!json_is_boolean(v))
			return wrong(f, "true or false", err);
		*(protobuf_c_boolean *)to = json_is_true(v);
		return 0;
	case PROTOBUF_C_TYPE_ENUM:
		return set_enum(f, v, to, err);
	case PROTOBUF_C_TYPE_DOUBLE:
		if (!json_is_number(v))
			return wrong(f, "a number", err);
		*(double *)to = json_number_value(v);
		return 0;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_UINT64:
		if (!json_is_integer(v))
			return wrong(f, "an integer", err);
		*(int64_t *)to = json_integer_value(v);
		return 0;
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_UINT32:
		if (!json_is_integer(v) || json_integer_value(v) < INT32_MIN ||
		    json_integer_value(v) > UINT32_MAX)
			return wrong(f, "an integer of 32 bits", err);
		*(int32_t *)to = (int32_t)json_integer_value(v);
		return 0;
	case PROTOBUF_C_TYPE_MESSAGE:
		*(ProtobufCMessage **)to = json_to_message(v, f->descriptor, err);
		return *(ProtobufCMessage **)to != NULL ? 0 : err_wrap(err, "%s", f->name);
	default:
		return wrong(f, "left out", err);
	}
}

/* {"a": "b"} for a map's entries. */
static ProtobufCMessage *
map_entry(const ProtobufCMessageDescriptor *d, const char *key, const json_t *value, struct err *err)
{
	json_t *o = json_pack("{s:s, s:O}", "key", key, "value", value);
	ProtobufCMessage *m = json_to_message(o, d, err);

	json_decref(o);
	return m;
}

static int
set_map(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const json_t *v, struct err *err)
{
	ProtobufCMessage **list = xcalloc(json_object_size(v) + 1, sizeof(*list));
	size_t *n = MEMBER(size_t, m, f->quantifier_offset);
	const char *key;
	json_t *value;

	*MEMBER(void *, m, f->offset) = list;
	json_object_foreach((json_t *)(uintptr_t)v, key, value) {
		list[*n] = map_entry(f->descriptor, key, value, err);
		if (list[*n] == NULL)
			return err_wrap(err, "%s", f->name);
		++*n;
	}
	return 0;
}

static int
set_list(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const json_t *v, struct err *err)
{
	size_t size = element_size(f), *n = MEMBER(size_t, m, f->quantifier_offset);
	char *list;

	if (f->type == PROTOBUF_C_TYPE_MESSAGE && json_is_object(v))
		return set_map(m, f, v, err);
	if (!json_is_array(v))
		return wrong(f, "a list", err);
	list = xcalloc(json_array_size(v) + 1, size);
	*MEMBER(void *, m, f->offset) = list;
	for (size_t i = 0; i < json_array_size(v); i++) {
		if (set_value(f, json_array_get(v, i), list + i * size, err) < 0)
			return -1;
		++*n;
	}
	return 0;
}

ProtobufCMessage *
json_to_message(const json_t *o, const ProtobufCMessageDescriptor *d, struct err *err)
{
	ProtobufCMessage *m;
	const char *key;
	json_t *v;

	if (!json_is_object(o)) {
		err_set(err, ERR_INVALID_ARGUMENT, "must be an object");
		return NULL;
	}
	m = xcalloc(1, d->sizeof_message);
	protobuf_c_message_init(d, m);
	json_object_foreach((json_t *)(uintptr_t)o, key, v) {
		const ProtobufCFieldDescriptor *f = find_field(d, key);
		int ret = 0;

		if (f == NULL)
			ret = err_set(err, ERR_INVALID_ARGUMENT, "%s: no such key in %s", key,
			    d->short_name);
		else if (!json_is_null(v) && f->label == PROTOBUF_C_LABEL_REPEATED)
			ret = set_list(m, f, v, err);
		else if (!json_is_null(v))
			ret = set_value(f, v, MEMBER(void, m, f->offset), err);
		if (ret < 0) {
			protobuf_c_message_free_unpacked(m, NULL);
			return NULL;
		}
	}
	return m;
}

ProtobufCMessage *
json_read_message(const char *path, const ProtobufCMessageDescriptor *d, struct err *err)
{
	json_error_t fault;
	json_t *o = strcmp(path, "-") == 0 ? json_loadf(stdin, 0, &fault)
	                                   : json_load_file(path, 0, &fault);
	ProtobufCMessage *m = NULL;

	if (o == NULL) {
		err_set(err, ERR_INVALID_ARGUMENT, "%s:%d: %s", path, fault.line, fault.text);
		return NULL;
	}
	m = json_to_message(o, d, err);
	if (m == NULL)
		err_wrap(err, "%s", path);
	json_decref(o);
	return m;
}

static json_t *
text(const char *s, size_t n)
{
	return str_utf8(s, n) ? json_stringn(s, n) : json_string("(binary)");
}

static json_t *
value_of(const ProtobufCFieldDescriptor *f, const void *at)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		return text(*(char *const *)at, strlen(*(char *const *)at));
	case PROTOBUF_C_TYPE_BYTES: {
		const ProtobufCBinaryData *b = at;

		return text((const char *)b->data, b->len);
	}
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)at);
	case PROTOBUF_C_TYPE_ENUM: {
		const ProtobufCEnumValue *e =
		    protobuf_c_enum_descriptor_get_value(f->descriptor, *(const int *)at);

		return e != NULL ? json_string(e->name) : json_integer(*(const int *)at);
	}
	case PROTOBUF_C_TYPE_DOUBLE:
		return json_real(*(const double *)at);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_UINT64:
		return json_integer(*(const int64_t *)at);
	case PROTOBUF_C_TYPE_UINT32:
		return json_integer(*(const uint32_t *)at);
	case PROTOBUF_C_TYPE_INT32:
		return json_integer(*(const int32_t *)at);
	case PROTOBUF_C_TYPE_MESSAGE:
		return json_of_message(*(ProtobufCMessage *const *)at);
	default:
		return json_null();
	}
}

static bool
is_map(const ProtobufCFieldDescriptor *f)
{
	const ProtobufCMessageDescriptor *d = f->descriptor;

	return f->type == PROTOBUF_C_TYPE_MESSAGE && d->n_fields == 2 && str_ends(d->name, "Entry") &&
	       strcmp(d->fields[0].name, "key") == 0;
}

static json_t *
list_of(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	size_t n = *MEMBER(size_t, m, f->quantifier_offset), size = element_size(f);
	const char *list = *MEMBER(char *, m, f->offset);
	bool map = is_map(f);
	json_t *out = map ? json_object() : json_array();

	for (size_t i = 0; i < n; i++) {
		json_t *v = value_of(f, list + i * size);

		if (map) {
			json_object_set(out, json_string_value(json_object_get(v, "key")),
			    json_object_get(v, "value"));
			json_decref(v);
		} else {
			json_array_append_new(out, v);
		}
	}
	return out;
}

json_t *
json_of_message(const ProtobufCMessage *m)
{
	json_t *o = json_object();

	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];

		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			json_object_set_new(o, f->name, list_of(m, f));
		else if (f->type != PROTOBUF_C_TYPE_MESSAGE ||
		         *MEMBER(void *, m, f->offset) != NULL)
			json_object_set_new(o, f->name, value_of(f, MEMBER(void, m, f->offset)));
	}
	return o;
}
