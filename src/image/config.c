/* SPDX-License-Identifier: Apache-2.0
 *
 * Configurations of images: see config.h. Format: OCI image spec 1.1, config.md, of which Docker's
 * is a superset.
 */
#include "image/config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/digest.h"
#include "image/document.h"

enum { TEXT_MAX = 4096, ENTRY_MAX = 1 << 20 };

static int
take_text(const json_t *obj, const char *key, const char *what, char **ret, struct err *err)
{
	const char *s;

	if (document_string(obj, key, what, TEXT_MAX, &s, err) < 0)
		return -1;
	*ret = xstrdup(STR_OR_EMPTY(s));
	return 0;
}

static int
take_list(const json_t *obj, const char *key, const char *what, char ***ret, size_t *ret_n,
    struct err *err)
{
	json_t *list;
	size_t n;

	if (document_array(obj, key, what, &list, err) < 0)
		return -1;
	n = json_array_size(list); /* 0 for NULL */
	*ret = xcalloc(n + 1, sizeof(**ret));
	for (size_t i = 0; i < n; i++) {
		json_t *v = json_array_get(list, i);

		if (!json_is_string(v) || json_string_length(v) > ENTRY_MAX)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "%s: %s[%zu] is not a string of at most %d bytes", what, key, i,
			    ENTRY_MAX);
		(*ret)[i] = xstrdup(json_string_value(v));
		*ret_n = i + 1;
	}
	return 0;
}

static int
take_volumes(struct image_config *c, const json_t *obj, struct err *err)
{
	const char *key;
	json_t *set, *v;

	if (document_object(obj, "Volumes", "image config", &set, err) < 0)
		return -1;
	c->volumes = xcalloc(json_object_size(set) + 1, sizeof(*c->volumes));
	json_object_foreach (set, key, v) {
		if (strlen(key) > TEXT_MAX)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "image config: a volume's path is longer than %d bytes", TEXT_MAX);
		c->volumes[c->n_volumes++] = xstrdup(key);
	}
	return 0;
}

static int
take_labels(struct image_config *c, const json_t *obj, struct err *err)
{
	const char *key;
	json_t *set, *v;

	if (document_object(obj, "Labels", "image config", &set, err) < 0)
		return -1;
	c->labels = xcalloc(json_object_size(set) + 1, sizeof(*c->labels));
	json_object_foreach (set, key, v) {
		if (!json_is_string(v))
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "image config: label '%.100s' is not a string", key);
		c->labels[c->n_labels++] =
		    (struct image_label){xstrdup(key), xstrdup(json_string_value(v))};
	}
	return 0;
}

static int
check_env(const struct image_config *c, struct err *err)
{
	for (size_t i = 0; i < c->n_env; i++)
		if (c->env[i][0] == '=')
			return err_set(
			    err, ERR_INVALID_ARGUMENT, "image config: Env[%zu] has no name", i);
	return 0;
}

static int
parse_process(struct image_config *c, const json_t *doc, struct err *err)
{
	static const char what[] = "image config";
	json_t *empty = json_object(), *obj = NULL;
	int rc = -1;

	if (document_object(doc, "config", what, &obj, err) < 0)
		goto out;
	if (obj == NULL)
		obj = empty;
	if (take_text(obj, "User", what, &c->user, err) < 0 ||
	    take_text(obj, "WorkingDir", what, &c->working_dir, err) < 0 ||
	    take_text(obj, "StopSignal", what, &c->stop_signal, err) < 0 ||
	    take_list(obj, "Env", what, &c->env, &c->n_env, err) < 0 ||
	    take_list(obj, "Entrypoint", what, &c->entrypoint, &c->n_entrypoint, err) < 0 ||
	    take_list(obj, "Cmd", what, &c->cmd, &c->n_cmd, err) < 0 ||
	    take_volumes(c, obj, err) < 0 || take_labels(c, obj, err) < 0 || check_env(c, err) < 0)
		goto out;
	rc = 0;
out:
	json_decref(empty);
	return rc;
}

static int
parse_rootfs(struct image_config *c, const json_t *doc, struct err *err)
{
	static const char what[] = "image config: rootfs";
	const char *type;
	json_t *rootfs;

	if (document_object(doc, "rootfs", "image config", &rootfs, err) < 0)
		return -1;
	if (rootfs == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "image config: no rootfs");
	if (document_string(rootfs, "type", what, TEXT_MAX, &type, err) < 0)
		return -1;
	if (type == NULL || strcmp(type, "layers") != 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: the type is not \"layers\"", what);
	if (take_list(rootfs, "diff_ids", what, &c->diff_ids, &c->n_diff_ids, err) < 0)
		return -1;
	if (c->n_diff_ids > MANIFEST_LAYERS_MAX)
		return err_set(err, ERR_RESOURCE_EXHAUSTED, "%s: %zu layers, the limit is %d", what,
		    c->n_diff_ids, MANIFEST_LAYERS_MAX);
	for (size_t i = 0; i < c->n_diff_ids; i++)
		if (!digest_valid(c->diff_ids[i]))
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "%s: diff_ids[%zu] '%.100s' is not a valid digest", what, i,
			    c->diff_ids[i]);
	return 0;
}

static int
parse_identity(struct image_config *c, const json_t *doc, struct err *err)
{
	static const char what[] = "image config";
	struct platform *p = &c->platform;
	const char *os, *arch, *variant;

	if (document_string(doc, "os", what, sizeof(p->os) - 1, &os, err) < 0 ||
	    document_string(doc, "architecture", what, sizeof(p->arch) - 1, &arch, err) < 0 ||
	    document_string(doc, "variant", what, sizeof(p->variant) - 1, &variant, err) < 0)
		return -1;
	snprintf(p->os, sizeof(p->os), "%s", STR_OR_EMPTY(os));
	snprintf(p->arch, sizeof(p->arch), "%s", STR_OR_EMPTY(arch));
	snprintf(p->variant, sizeof(p->variant), "%s", STR_OR_EMPTY(variant));
	platform_normalise(p);
	return take_text(doc, "created", what, &c->created, err);
}

struct image_config *
image_config_parse(const void *p, size_t n, struct err *err)
{
	json_t *doc = document_parse(p, n, IMAGE_CONFIG_MAX, "image config", err);
	struct image_config *c;
	int rc;

	if (doc == NULL)
		return NULL;
	c = xcalloc(1, sizeof(*c));
	rc = parse_identity(c, doc, err) < 0 || parse_process(c, doc, err) < 0 ||
	     parse_rootfs(c, doc, err) < 0;
	json_decref(doc);
	if (rc) {
		image_config_free(c);
		return NULL;
	}
	return c;
}

static void
list_free(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

void
image_config_free(struct image_config *c)
{
	if (c == NULL)
		return;
	free(c->user);
	free(c->working_dir);
	free(c->stop_signal);
	free(c->created);
	list_free(c->env, c->n_env);
	list_free(c->entrypoint, c->n_entrypoint);
	list_free(c->cmd, c->n_cmd);
	list_free(c->volumes, c->n_volumes);
	list_free(c->diff_ids, c->n_diff_ids);
	for (size_t i = 0; i < c->n_labels; i++) {
		free(c->labels[i].key);
		free(c->labels[i].value);
	}
	free(c->labels);
	free(c);
}

int
image_config_uid(const struct image_config *c, int64_t *ret_uid, char **ret_name, struct err *err)
{
	size_t n = strcspn(c->user, ":");
	cleanup_free char *name = xstrndup(c->user, n);
	uint64_t uid;

	if (n == 0 || name[strspn(name, "0123456789")] != '\0') {
		*ret_name = take_ptr(name);
		return 0;
	}
	if (str_u64(name, 10, INT32_MAX, &uid) < 0)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "image config: user id %.40s is out of range", name);
	*ret_uid = (int64_t)uid;
	return 1;
}
