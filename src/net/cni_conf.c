/* SPDX-License-Identifier: Apache-2.0
 *
 * CNI configuration files: see cni_conf.h. What is accepted follows libcni's behaviour.
 */
#include "net/cni_conf.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"

enum { FILES_MAX = 256, PLUGINS_MAX = 64, NAME_MAX_ = 200 };

const char *
cni_str(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s != NULL ? s : "";
}

static bool
name_chars(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && strchr("._-", s[i]) == NULL)
			return false;
	return n > 0 && n <= NAME_MAX_;
}

bool
cni_name_valid(const char *s)
{
	return name_chars(s) && isalnum((unsigned char)s[0]);
}

bool
cni_type_valid(const char *s)
{
	return name_chars(s) && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

bool
cni_ifname_valid(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (!isgraph((unsigned char)s[i]) || s[i] == '/' || s[i] == ':')
			return false;
	return n > 0 && n <= 15 && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

static bool
version_parse(const char *s, unsigned part[3])
{
	char text[32], *rest = text;

	part[0] = part[1] = part[2] = 0;
	if (strlen(s) >= sizeof(text))
		return false;
	snprintf(text, sizeof(text), "%s", s);
	for (int i = 0; i < 3; i++) {
		char *one = strsep(&rest, ".");

		if (one == NULL || str_u32(one, 1000, &part[i]) < 0)
			return false;
	}
	return rest == NULL;
}

bool
cni_version_valid(const char *s)
{
	unsigned part[3];

	return version_parse(s, part);
}

int
cni_version_cmp(const char *a, const char *b)
{
	unsigned pa[3], pb[3];
	bool va = version_parse(a, pa), vb = version_parse(b, pb);

	if (!va || !vb)
		return va - vb;
	for (int i = 0; i < 3; i++)
		if (pa[i] != pb[i])
			return pa[i] < pb[i] ? -1 : 1;
	return 0;
}

/* ---- one configuration ---------------------------------------------------------------------- */

static int
invalid(struct err *err, const char *what)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "%s", what);
}

/* libcni takes true and "true". */
static int
read_bool(const json_t *o, const char *key, bool *ret, struct err *err)
{
	const json_t *v = json_object_get(o, key);
	const char *s = json_string_value(v);

	*ret = json_is_true(v) || (s != NULL && strcasecmp(s, "true") == 0);
	if (v == NULL || json_is_boolean(v) || *ret || (s != NULL && strcasecmp(s, "false") == 0))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT, "'%s' is neither true nor false", key);
}

/* The newest version of cniVersion and cniVersions that we know. */
static int
pick_version(const json_t *o, const char **ret, struct err *err)
{
	const json_t *v = json_object_get(o, "cniVersion"),
	             *list = json_object_get(o, "cniVersions");
	const char *best = json_string_value(v);

	if (v != NULL && (best == NULL || (*best != '\0' && !cni_version_valid(best))))
		return invalid(err, "'cniVersion' is no version");
	if (list != NULL && !json_is_array(list))
		return invalid(err, "'cniVersions' is no list");
	if (str_empty(best))
		best = NULL;
	if (best != NULL && list != NULL && cni_version_cmp(best, CNI_VERSION_MAX) > 0)
		best = NULL;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *one = json_string_value(json_array_get(list, i));

		if (one == NULL || !cni_version_valid(one))
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "entry %zu of 'cniVersions' is no version", i);
		if (cni_version_cmp(one, CNI_VERSION_MAX) <= 0 &&
		    (best == NULL || cni_version_cmp(one, best) > 0))
			best = one;
	}
	if (best != NULL && cni_version_cmp(best, CNI_VERSION_MAX) > 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "version %s of the CNI specification is newer than %s", best, CNI_VERSION_MAX);
	*ret = best != NULL ? best : "0.1.0";
	return 0;
}

static int
check_plugin(const json_t *conf, struct err *err)
{
	const json_t *caps = json_object_get(conf, "capabilities"), *v, *ipam;
	const char *type = cni_str(conf, "type"), *key;

	if (!json_is_object(conf))
		return invalid(err, "is no object");
	if (*type == '\0')
		return invalid(err, "has no 'type'");
	if (!cni_type_valid(type))
		return err_set(err, ERR_INVALID_ARGUMENT, "type '%.64s' is no plain name", type);
	if (caps != NULL && !json_is_object(caps))
		return invalid(err, "'capabilities' is no object");
	json_object_foreach ((json_t *)caps, key, v)
		if (!json_is_boolean(v))
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "capability '%.64s' is neither true nor false", key);
	ipam = json_object_get(conf, "ipam");
	if (ipam != NULL && !json_is_null(ipam) && !json_is_object(ipam))
		return invalid(err, "'ipam' is no object");
	type = cni_str(ipam, "type");
	if (*type != '\0' && !cni_type_valid(type))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "ipam type '%.64s' is no plain name", type);
	return 0;
}

static int
add_plugin(json_t *plugins, json_t *conf, struct err *err)
{
	size_t n = json_array_size(plugins);

	if (n >= PLUGINS_MAX)
		return invalid(err, "too many plugins");
	if (check_plugin(conf, err) < 0)
		return err_wrap(err, "plugin %zu", n);
	return json_array_append(plugins, conf);
}

static int read_text(int dirfd, const char *name, struct buf *out, struct err *err);
static int list_files(
    int dirfd, const char *const *suffixes, char **names, size_t *ret_n, struct err *err);
static json_t *load_json(const char *text, size_t len, struct err *err);

static int
add_plugin_file(int dirfd, const char *name, json_t *plugins, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT;
	json_t *conf;
	int ret;

	if (read_text(dirfd, name, &text, err) < 0)
		return -1;
	conf = load_json(text.data, text.len, err);
	if (conf == NULL)
		return -1;
	ret = add_plugin(plugins, conf, err);
	json_decref(conf);
	return ret;
}

/* <dir>/<network>/<file>.conf: a plugin each. */
static int
add_directory_plugins(const char *dir, const char *network, json_t *plugins, struct err *err)
{
	static const char *const suffixes[] = {".conf", NULL};
	cleanup_close int top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), sub = -1;
	char *names[FILES_MAX];
	size_t n = 0;
	int ret = 0;

	if (top < 0)
		return 0;
	sub = openat(top, network, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sub < 0)
		return 0;
	if (list_files(sub, suffixes, names, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (ret == 0 && add_plugin_file(sub, names[i], plugins, err) < 0)
			ret = err_wrap(err, "%s/%s", network, names[i]);
		free(names[i]);
	}
	return ret;
}

static int
collect_plugins(const json_t *o, bool is_list, const char *name, const char *dir, json_t *plugins,
    struct err *err)
{
	const json_t *list = json_object_get(o, "plugins");
	bool inlined_only;

	if (!is_list)
		return add_plugin(plugins, (json_t *)o, err);
	if (read_bool(o, "loadOnlyInlinedPlugins", &inlined_only, err) < 0)
		return -1;
	if (list == NULL && inlined_only)
		return invalid(err, "'loadOnlyInlinedPlugins' is true and there are no 'plugins'");
	if (list != NULL && (!json_is_array(list) || json_array_size(list) == 0))
		return invalid(err, "'plugins' is no list, or an empty one");
	for (size_t i = 0; i < json_array_size(list); i++)
		if (add_plugin(plugins, json_array_get(list, i), err) < 0)
			return -1;
	if (!inlined_only && dir != NULL && add_directory_plugins(dir, name, plugins, err) < 0)
		return -1;
	return json_array_size(plugins) > 0 ? 0 : invalid(err, "there are no plugins");
}

static json_t *
load_json(const char *text, size_t len, struct err *err)
{
	json_error_t why;
	json_t *o = json_loadb(text != NULL ? text : "", len, 0, &why);

	if (o == NULL) {
		err_set(err, ERR_INVALID_ARGUMENT, "line %d: %s", why.line, why.text);
		return NULL;
	}
	if (json_is_object(o))
		return o;
	json_decref(o);
	err_set(err, ERR_INVALID_ARGUMENT, "is no JSON object");
	return NULL;
}

static int
parse_network(const json_t *o, bool is_list, const char *dir, json_t *plugins,
    const char **ret_version, bool *no_check, bool *no_gc, struct err *err)
{
	const char *name = cni_str(o, "name");

	/* Somebody's list in a .conf file, or a plugin in a .conflist file: say so. */
	if (!is_list && json_object_get(o, "type") == NULL && json_object_get(o, "plugins") != NULL)
		return invalid(err, "is a list of plugins, and not named *.conflist");
	if (*name == '\0')
		return invalid(err, "has no 'name'");
	if (!cni_name_valid(name))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "name '%.64s' is not of letters, digits, '_', '.', '-'", name);
	return pick_version(o, ret_version, err) < 0 ||
	               read_bool(o, "disableCheck", no_check, err) < 0 ||
	               read_bool(o, "disableGC", no_gc, err) < 0
	           ? -1
	           : collect_plugins(o, is_list, name, dir, plugins, err);
}

json_t *
cni_conf_parse(
    const char *text, size_t len, bool is_list, const char *file, const char *dir, struct err *err)
{
	json_t *o = load_json(text, len, err), *plugins, *network = NULL;
	bool no_check = false, no_gc = false;
	const char *version = NULL;

	if (o == NULL)
		return NULL;
	plugins = json_array();
	if (parse_network(o, is_list, dir, plugins, &version, &no_check, &no_gc, err) == 0) {
		network = json_pack("{s:s,s:s,s:b,s:b,s:O,s:s,s:s%}", "name", cni_str(o, "name"),
		    "cniVersion", version, "disableCheck", no_check, "disableGC", no_gc, "plugins",
		    plugins, "file", file, "text", text, len);
		if (network == NULL)
			err_set(err, ERR_INVALID_ARGUMENT, "is no UTF-8");
	}
	json_decref(plugins);
	json_decref(o);
	return network;
}

/* ---- a directory ---------------------------------------------------------------------------- */

/* Regular files only, opened so that a pipe or a device cannot hang us. */
static int
read_text(int dirfd, const char *name, struct buf *out, struct err *err)
{
	cleanup_close int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(err, "open");
	if (!S_ISREG(st.st_mode))
		return invalid(err, "is no regular file");
	return fd_read_all(fd, CNI_CONF_MAX, out, err);
}

static bool
has_suffix(const char *name, const char *const *suffixes)
{
	for (; *suffixes != NULL; suffixes++)
		if (str_ends(name, *suffixes))
			return true;
	return false;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted; the caller frees the names. */
static int
list_files(int dirfd, const char *const *suffixes, char **names, size_t *ret_n, struct err *err)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *d;
	size_t n = 0;

	if (dir == NULL) {
		fd_closep(&fd);
		return err_errno(err, "read directory");
	}
	while ((d = readdir(dir)) != NULL && n < FILES_MAX)
		if (d->d_type != DT_DIR && has_suffix(d->d_name, suffixes))
			names[n++] = xstrdup(d->d_name);
	closedir(dir);
	qsort(names, n, sizeof(names[0]), compare_names);
	*ret_n = n;
	return 0;
}

static json_t *
load_file(int dirfd, const char *dir, const char *name, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);
	cleanup_buf struct buf text = BUF_INIT;

	if (read_text(dirfd, name, &text, err) < 0)
		return NULL;
	return cni_conf_parse(text.data, text.len, str_ends(name, ".conflist"), path, dir, err);
}

static bool
name_used(const json_t *networks, const json_t *network, struct err *err)
{
	for (size_t i = 0; i < json_array_size(networks); i++) {
		const json_t *other = json_array_get(networks, i);

		if (strcmp(cni_str(other, "name"), cni_str(network, "name")) != 0)
			continue;
		err_set(err, ERR_ALREADY_EXISTS, "network '%.64s' is defined by %s already",
		    cni_str(network, "name"), cni_str(other, "file"));
		return true;
	}
	return false;
}

int
cni_conf_load(const char *dir, json_t **ret_networks, json_t **ret_faults, struct err *err)
{
	static const char *const suffixes[] = {".conf", ".conflist", ".json", NULL};
	cleanup_close int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char *names[FILES_MAX];
	size_t n = 0;

	if (dirfd < 0 && errno != ENOENT)
		return err_errno(err, "open %s", dir);
	if (dirfd >= 0 && list_files(dirfd, suffixes, names, &n, err) < 0)
		return err_wrap(err, "%s", dir);
	*ret_networks = json_array();
	*ret_faults = json_array();
	for (size_t i = 0; i < n; i++) {
		struct err fault = {0};
		json_t *network = load_file(dirfd, dir, names[i], &fault);

		if (network == NULL || name_used(*ret_networks, network, &fault))
			json_array_append_new(*ret_faults,
			    json_pack("{s:o,s:o}", "file", json_sprintf("%s/%s", dir, names[i]),
			        "fault", json_string(fault.msg)));
		else
			json_array_append(*ret_networks, network);
		json_decref(network);
		free(names[i]);
	}
	return 0;
}
