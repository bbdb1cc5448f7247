/* SPDX-License-Identifier: Apache-2.0
 *
 * coracle.yaml: the schema, the defaults, the checks. See pod/config.h and coracle.yaml(5).
 */
#include "config_where.h"
#include "pod/config.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "net/ipaddr.h"

enum { SECONDS_MAX = 86400, PIDS_MAX = 4194304 /* the kernel's, on 64 bits */ };

/* The document as cyaml loads it: every key optional, NULL or the given value. */
struct raw_rlimit {
	char *name;
	char *soft, *hard;
};

struct raw_network {
	char *mode;
	char *subnet4, *subnet6, *bridge;
	char *mtu;
	char *cni_conf_dir, *cni_cache_dir;
	char **cni_bin_dirs;
	uint32_t cni_bin_dirs_count;
	char *cni_max_networks;
	char *cni_native;
	char *plugin_timeout;
};

struct raw_images {
	char **certs_dirs;
	uint32_t certs_dirs_count;
	char *downloads_per_image, *downloads_per_node;
	char *progress_timeout;
	char **pinned;
	uint32_t pinned_count;
	char *preload_dir;
};

struct raw_containers {
	char *cgroup_driver;
	char *pids_limit;
	struct raw_rlimit *rlimits;
	uint32_t rlimits_count;
	char *log_max_line;
	char *seccomp_profile;
	char *device_ownership_from_security_context;
	char *privileged_without_host_devices;
};

struct raw_streaming {
	char *address;
	char *port;
	char *tls_cert, *tls_key;
};

struct raw {
	char *root, *state, *listen, *instance, *keeper;
	char *log_level, *trace;
	char *events;
	char *stats_period;
	struct raw_containers *containers;
	struct raw_network *network;
	struct raw_images *images;
	struct raw_streaming *streaming;
};

#define STR(key, type, member)                                                                     \
	CYAML_FIELD_STRING_PTR(                                                                    \
	    key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, 1, 4096)
/* Read as words and taken by take_bool() and take_number(): to cyaml every word but a few is true,
 * and "10s" is 10. */
#define BOOL(key, type, member) STR(key, type, member)
#define INT(key, type, member) STR(key, type, member)
#define LIST(key, type, member, entry)                                                             \
	CYAML_FIELD_SEQUENCE(                                                                      \
	    key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, entry, 0, 256)

static const cyaml_schema_value_t string_entry = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, 4096)};

static const cyaml_schema_field_t rlimit_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct raw_rlimit, name, 1, 32),
    CYAML_FIELD_STRING_PTR("soft", CYAML_FLAG_POINTER, struct raw_rlimit, soft, 1, 32),
    CYAML_FIELD_STRING_PTR("hard", CYAML_FLAG_POINTER, struct raw_rlimit, hard, 1, 32),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t rlimit_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_rlimit, rlimit_fields)};

static const cyaml_schema_field_t network_fields[] = {
    STR("mode", struct raw_network, mode),
    CYAML_FIELD_STRING_PTR("subnet4", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_network,
        subnet4, 0, 64),
    CYAML_FIELD_STRING_PTR("subnet6", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_network,
        subnet6, 0, 64),
    STR("bridge", struct raw_network, bridge),
    INT("mtu", struct raw_network, mtu),
    STR("cni_conf_dir", struct raw_network, cni_conf_dir),
    STR("cni_cache_dir", struct raw_network, cni_cache_dir),
    LIST("cni_bin_dirs", struct raw_network, cni_bin_dirs, &string_entry),
    INT("cni_max_networks", struct raw_network, cni_max_networks),
    BOOL("cni_native", struct raw_network, cni_native),
    INT("plugin_timeout", struct raw_network, plugin_timeout),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t images_fields[] = {
    LIST("certs_dirs", struct raw_images, certs_dirs, &string_entry),
    INT("downloads_per_image", struct raw_images, downloads_per_image),
    INT("downloads_per_node", struct raw_images, downloads_per_node),
    INT("progress_timeout", struct raw_images, progress_timeout),
    LIST("pinned", struct raw_images, pinned, &string_entry),
    STR("preload_dir", struct raw_images, preload_dir),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t containers_fields[] = {
    STR("cgroup_driver", struct raw_containers, cgroup_driver),
    INT("pids_limit", struct raw_containers, pids_limit),
    LIST("rlimits", struct raw_containers, rlimits, &rlimit_entry),
    INT("log_max_line", struct raw_containers, log_max_line),
    STR("seccomp_profile", struct raw_containers, seccomp_profile),
    BOOL("device_ownership_from_security_context", struct raw_containers,
        device_ownership_from_security_context),
    BOOL("privileged_without_host_devices", struct raw_containers,
        privileged_without_host_devices),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t streaming_fields[] = {
    STR("address", struct raw_streaming, address),
    INT("port", struct raw_streaming, port),
    STR("tls_cert", struct raw_streaming, tls_cert),
    STR("tls_key", struct raw_streaming, tls_key),
    CYAML_FIELD_END,
};

#define SECTION(key, member, fields)                                                               \
	CYAML_FIELD_MAPPING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, member, \
	    fields)

static const cyaml_schema_field_t top_fields[] = {
    STR("root", struct raw, root),
    STR("state", struct raw, state),
    STR("listen", struct raw, listen),
    STR("instance", struct raw, instance),
    STR("keeper", struct raw, keeper),
    STR("log_level", struct raw, log_level),
    STR("trace", struct raw, trace),
    BOOL("events", struct raw, events),
    INT("stats_period", struct raw, stats_period),
    SECTION("containers", containers, containers_fields),
    SECTION("network", network, network_fields),
    SECTION("images", images, images_fields),
    SECTION("streaming", streaming, streaming_fields),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t top_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, top_fields)};

/* What cyaml says of an error, for config_error_of_log(). */
static void __attribute__((format(printf, 3, 0)))
collect_log(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
	struct buf *b = ctx;
	char line[256];

	if (level < CYAML_LOG_ERROR || b->len > 2000)
		return;
	vsnprintf(line, sizeof(line), fmt, args);
	line[strcspn(line, "\n")] = '\0';
	buf_addf(b, "%s\n", line);
}

static void
take_string(char **to, char **from)
{
	if (*from == NULL)
		return;
	free(*to);
	*to = take_ptr(*from);
}

static void
take_list(char ***to, size_t *ret_n, char ***from, uint32_t *n)
{
	if (*from == NULL)
		return;
	for (size_t i = 0; i < *ret_n; i++)
		free((*to)[i]);
	free(*to);
	*to = take_ptr(*from);
	*ret_n = *n;
	*n = 0;
}

static int
take_bool(bool *to, const char *key, const char *word, struct err *err)
{
	if (word == NULL)
		return 0;
	if (strcmp(word, "true") != 0 && strcmp(word, "false") != 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: \"%s\" is neither true nor false", key,
		    word);
	*to = strcmp(word, "true") == 0;
	return 0;
}

/* The whole word in decimal. NULL is fine: what is there stays. */
static int
take_number(int64_t *to, const char *key, const char *word, int64_t min, int64_t max, struct err *err)
{
	uint64_t n;

	if (word == NULL)
		return 0;
	if (strcmp(word, "-1") == 0 && min == -1) {
		*to = -1;
		return 0;
	}
	if (str_u64(word, 10, (uint64_t)max, &n) < 0 || (int64_t)n < min)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: \"%s\" is not %s%lld to %lld", key, word,
		    min == -1 ? "-1 or " : "", (long long)MAX(min, 0), (long long)max);
	*to = (int64_t)n;
	return 0;
}

static int
check_path(const char *key, const char *value, struct err *err)
{
	if (value == NULL || value[0] == '/')
		return 0;
	return err_set(
	    err, ERR_INVALID_ARGUMENT, "%s: \"%s\" is not an absolute path", key, value);
}

static int
check_subnet(const char *key, const char *value, int family, struct err *err)
{
	struct ipnet net;

	if (str_empty(value) || (ipnet_parse(value, &net) && net.addr.family == family))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT, "%s: \"%s\" is no IPv%d subnet", key, value,
	    family == AF_INET ? 4 : 6);
}

static int
rlimit_number(const char *name)
{
	static const struct {
		const char *name;
		int number;
	} known[] = {{"as", RLIMIT_AS}, {"core", RLIMIT_CORE}, {"cpu", RLIMIT_CPU},
	    {"data", RLIMIT_DATA}, {"fsize", RLIMIT_FSIZE}, {"locks", RLIMIT_LOCKS},
	    {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
	    {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC}, {"rss", RLIMIT_RSS},
	    {"rtprio", RLIMIT_RTPRIO}, {"rttime", RLIMIT_RTTIME},
	    {"sigpending", RLIMIT_SIGPENDING}, {"stack", RLIMIT_STACK}};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcasecmp(known[i].name, name) == 0)
			return known[i].number;
	return -1;
}

/* -1: none. */
static int
apply_rlimits(struct config *c, const struct raw_containers *r, struct err *err)
{
	free(c->rlimits);
	c->rlimits = xcalloc(r->rlimits_count + 1, sizeof(*c->rlimits));
	c->n_rlimits = 0;
	for (uint32_t i = 0; i < r->rlimits_count; i++) {
		const struct raw_rlimit *l = &r->rlimits[i];
		int number = rlimit_number(l->name);
		int64_t soft = -1, hard = -1;
		char key[64];

		if (number < 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "containers.rlimits[%u].name: \"%s\" is no limit", i, l->name);
		snprintf(key, sizeof(key), "containers.rlimits[%u].soft", i);
		if (take_number(&soft, key, l->soft, -1, INT64_MAX, err) < 0)
			return -1;
		snprintf(key, sizeof(key), "containers.rlimits[%u].hard", i);
		if (take_number(&hard, key, l->hard, -1, INT64_MAX, err) < 0)
			return -1;
		/* as unsigned numbers, -1 is RLIM_INFINITY */
		if ((uint64_t)soft > (uint64_t)hard)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "containers.rlimits[%u].soft: %s is over the hard limit %s", i, l->soft,
			    l->hard);
		c->rlimits[c->n_rlimits++] =
		    (struct config_rlimit){number, (uint64_t)soft, (uint64_t)hard};
	}
	return 0;
}

static int
apply_containers(struct config *c, struct raw_containers *r, struct err *err)
{
	int64_t line = (int64_t)c->log_max_line;

	if (r->cgroup_driver != NULL) {
		if (strcmp(r->cgroup_driver, "cgroupfs") == 0)
			c->cgroup_driver = CGROUP_DRIVER_CGROUPFS;
		else if (strcmp(r->cgroup_driver, "systemd") == 0)
			c->cgroup_driver = CGROUP_DRIVER_SYSTEMD;
		else
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "containers.cgroup_driver: \"%s\" is neither cgroupfs nor systemd",
			    r->cgroup_driver);
	}
	if (take_number(&c->pids_limit, "containers.pids_limit", r->pids_limit, -1, PIDS_MAX, err) < 0)
		return -1;
	if (c->pids_limit == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "containers.pids_limit: \"0\" lets no process in; -1 is no limit");
	if (take_number(&line, "containers.log_max_line", r->log_max_line, 64, 1024 * 1024, err) < 0)
		return -1;
	c->log_max_line = (uint64_t)line;
	if (take_bool(&c->device_ownership_from_security_context,
	        "containers.device_ownership_from_security_context",
	        r->device_ownership_from_security_context, err) < 0 ||
	    take_bool(&c->privileged_without_host_devices,
	        "containers.privileged_without_host_devices", r->privileged_without_host_devices,
	        err) < 0 ||
	    check_path("containers.seccomp_profile", r->seccomp_profile, err) < 0)
		return -1;
	take_string(&c->seccomp_profile, &r->seccomp_profile);
	return apply_rlimits(c, r, err);
}

static int
apply_network(struct config *c, struct raw_network *r, struct err *err)
{
	struct net_config *n = &c->net;
	int64_t mtu = n->mtu, max = n->cni_max_networks, timeout = n->plugin_timeout_ms / 1000;

	if (r->mode != NULL) {
		if (strcmp(r->mode, "cni") == 0)
			n->mode = NET_CNI;
		else if (strcmp(r->mode, "builtin") == 0)
			n->mode = NET_BUILTIN;
		else
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "network.mode: \"%s\" is neither cni nor builtin", r->mode);
	}
	if (r->cni_bin_dirs_count > NET_CNI_BIN_DIRS)
		return err_set(err, ERR_INVALID_ARGUMENT, "network.cni_bin_dirs: more than %d",
		    NET_CNI_BIN_DIRS);
	if (take_number(&mtu, "network.mtu", r->mtu, 68, 65535, err) < 0 ||
	    take_number(&max, "network.cni_max_networks", r->cni_max_networks, -1, 64, err) < 0 ||
	    take_number(&timeout, "network.plugin_timeout", r->plugin_timeout, 1, SECONDS_MAX, err) <
	        0 ||
	    check_subnet("network.subnet4", r->subnet4, AF_INET, err) < 0 ||
	    check_subnet("network.subnet6", r->subnet6, AF_INET6, err) < 0 ||
	    check_path("network.cni_conf_dir", r->cni_conf_dir, err) < 0 ||
	    check_path("network.cni_cache_dir", r->cni_cache_dir, err) < 0 ||
	    take_bool(&n->cni_native, "network.cni_native", r->cni_native, err) < 0)
		return -1;
	n->subnet4 = take_ptr(r->subnet4);
	n->subnet6 = take_ptr(r->subnet6);
	n->bridge = take_ptr(r->bridge);
	n->cni_conf_dir = take_ptr(r->cni_conf_dir);
	n->cni_cache_dir = take_ptr(r->cni_cache_dir);
	for (uint32_t i = 0; i < r->cni_bin_dirs_count; i++)
		n->cni_bin_dirs[i] = take_ptr(r->cni_bin_dirs[i]);
	n->mtu = (int)mtu;
	n->cni_max_networks = (int)max;
	n->plugin_timeout_ms = timeout * 1000;
	return 0;
}

static int
apply_images(struct config *c, struct raw_images *r, struct err *err)
{
	int64_t per_image = c->pull_per_image, per_node = c->pull_per_node;
	int64_t timeout = c->pull_progress_timeout_ms / 1000;

	if (take_number(&per_image, "images.downloads_per_image", r->downloads_per_image, 1, 64, err) <
	        0 ||
	    take_number(&per_node, "images.downloads_per_node", r->downloads_per_node, 1, 256, err) <
	        0 ||
	    take_number(&timeout, "images.progress_timeout", r->progress_timeout, 1, SECONDS_MAX,
	        err) < 0 ||
	    check_path("images.preload_dir", r->preload_dir, err) < 0)
		return -1;
	take_list(&c->certs_dirs, &c->n_certs_dirs, &r->certs_dirs, &r->certs_dirs_count);
	take_list(&c->pinned_images, &c->n_pinned_images, &r->pinned, &r->pinned_count);
	take_string(&c->preload_dir, &r->preload_dir);
	c->pull_per_image = (unsigned)per_image;
	c->pull_per_node = (unsigned)per_node;
	c->pull_progress_timeout_ms = timeout * 1000;
	return 0;
}

static int
apply_streaming(struct config *c, struct raw_streaming *r, struct err *err)
{
	int64_t port = c->stream_port;

	take_string(&c->stream_address, &r->address);
	take_string(&c->stream_tls_cert, &r->tls_cert);
	take_string(&c->stream_tls_key, &r->tls_key);
	if (take_number(&port, "streaming.port", r->port, 0, 65535, err) < 0)
		return -1;
	c->stream_port = (uint16_t)port;
	if ((c->stream_tls_cert == NULL) != (c->stream_tls_key == NULL))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "streaming.%s: tls_cert and tls_key go together",
		    c->stream_tls_cert != NULL ? "tls_cert" : "tls_key");
	return 0;
}

static int
check_top(const struct raw *r, struct err *err)
{
	enum log_level level;
	unsigned mask;

	if (check_path("root", r->root, err) < 0 || check_path("state", r->state, err) < 0 ||
	    check_path("listen", r->listen, err) < 0 ||
	    check_path("keeper", r->keeper, err) < 0)
		return -1;
	if (r->instance != NULL && (strlen(r->instance) > 32 ||
	                               !str_only(r->instance, "abcdefghijklmnopqrstuvwxyz0123456789-")))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "instance: \"%s\" is not 1 to 32 of a-z, 0-9 and -", r->instance);
	if (r->log_level != NULL && !log_level_parse(r->log_level, &level))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "log_level: \"%s\" is none of error, warn, info, debug", r->log_level);
	if (r->trace != NULL && !trace_parse(r->trace, &mask))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "trace: \"%s\" has an unknown name", r->trace);
	return 0;
}

static int
apply(struct config *c, struct raw *r, struct err *err)
{
	int64_t period = c->stats_period_ms / 1000;

	if (r->listen != NULL && str_starts(r->listen, "unix://"))
		memmove(r->listen, r->listen + 7, strlen(r->listen + 7) + 1);
	if (check_top(r, err) < 0 || take_bool(&c->enable_events, "events", r->events, err) < 0 ||
	    take_number(&period, "stats_period", r->stats_period, 1, SECONDS_MAX, err) < 0)
		return -1;
	take_string(&c->root, &r->root);
	take_string(&c->state, &r->state);
	take_string(&c->listen, &r->listen);
	take_string(&c->instance, &r->instance);
	take_string(&c->keeper, &r->keeper);
	take_string(&c->log_level, &r->log_level);
	take_string(&c->trace, &r->trace);
	c->stats_period_ms = period * 1000;
	if ((r->containers != NULL && apply_containers(c, r->containers, err) < 0) ||
	    (r->network != NULL && apply_network(c, r->network, err) < 0) ||
	    (r->images != NULL && apply_images(c, r->images, err) < 0) ||
	    (r->streaming != NULL && apply_streaming(c, r->streaming, err) < 0))
		return -1;
	return 0;
}

static void
set_defaults(struct config *c)
{
	*c = (struct config){.root = xstrdup("/var/lib/coracle"),
	    .state = xstrdup("/run/coracle"),
	    .listen = xstrdup("/run/coracle/coracle.sock"),
	    .instance = xstrdup("coracle"),
	    .keeper = xstrdup(PKGLIBEXECDIR "/coracle-keeper"),
	    .cgroup_driver = CGROUP_DRIVER_CGROUPFS,
	    .pids_limit = -1,
	    .log_max_line = 16384,
	    .net = {.mode = NET_CNI},
	    .pull_per_image = 3,
	    .pull_per_node = 8,
	    .pull_progress_timeout_ms = 5 * 60 * 1000,
	    .stream_address = xstrdup("127.0.0.1"),
	    .log_level = xstrdup("info"),
	    .trace = xstrdup("none"),
	    .enable_events = true,
	    .stats_period_ms = 10 * 1000};
	c->certs_dirs = xcalloc(2, sizeof(char *));
	c->certs_dirs[c->n_certs_dirs++] = xstrdup("/etc/coracle/certs.d");
	c->certs_dirs[c->n_certs_dirs++] = xstrdup("/etc/containerd/certs.d");
}

int
config_load(struct config *ret, const char *path, bool must_exist, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT, log = BUF_INIT;
	cyaml_config_t conf = {.log_fn = collect_log,
	    .log_ctx = &log,
	    .log_level = CYAML_LOG_ERROR,
	    .mem_fn = cyaml_mem};
	struct raw *raw = NULL;
	cyaml_err_t got;
	int n;

	set_defaults(ret);
	if (path == NULL || (!must_exist && access(path, F_OK) < 0 && errno == ENOENT))
		return 0;
	if (fd_read_file(AT_FDCWD, path, 1024 * 1024, &text, err) < 0)
		return -1;
	buf_addch(&text, '\0');
	got = cyaml_load_data(
	    (const uint8_t *)text.data, text.len - 1, &conf, &top_schema, (cyaml_data_t **)&raw, NULL);
	buf_addch(&log, '\0');
	if (got != CYAML_OK) {
		if (log.len > 1)
			return config_error_of_log(err, path, text.data, log.data);
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: %s", path, cyaml_strerror(got));
	}
	if (config_second_document(text.data) > 0)
		n = err_set(err, ERR_INVALID_ARGUMENT, "%s:%zu: a second document", path,
		    config_second_document(text.data));
	else if (raw == NULL) /* an empty document */
		n = 0;
	else if ((n = apply(ret, raw, err)) < 0)
		config_error_at(err, path, text.data);
	if (raw != NULL)
		cyaml_free(&conf, &top_schema, raw, 0);
	return n;
}

static void
free_list(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

void
config_release(struct config *c)
{
	const char *const *net[] = {&c->net.subnet4, &c->net.subnet6, &c->net.bridge,
	    &c->net.cni_conf_dir, &c->net.cni_cache_dir};
	char *const own[] = {c->root, c->state, c->listen, c->instance, c->keeper,
	    c->seccomp_profile, c->preload_dir, c->stream_address, c->stream_tls_cert,
	    c->stream_tls_key, c->log_level, c->trace};

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		free(own[i]);
	for (size_t i = 0; i < ARRAY_SIZE(net); i++)
		free((char *)(uintptr_t)*net[i]);
	for (size_t i = 0; i < NET_CNI_BIN_DIRS; i++)
		free((char *)(uintptr_t)c->net.cni_bin_dirs[i]);
	free_list(c->certs_dirs, c->n_certs_dirs);
	free_list(c->pinned_images, c->n_pinned_images);
	free(c->rlimits);
	*c = (struct config){0};
}

void
config_print(const struct config *c, struct buf *out)
{
	buf_addf(out, "root: %s\nstate: %s\nlisten: %s\ninstance: %s\nkeeper: %s\n", c->root,
	    c->state, c->listen, c->instance, c->keeper);
	buf_addf(out, "log_level: %s\ntrace: %s\nevents: %s\nstats_period: %lld\n", c->log_level,
	    c->trace, c->enable_events ? "true" : "false", (long long)c->stats_period_ms / 1000);
	buf_addf(out, "containers:\n  cgroup_driver: %s\n  pids_limit: %lld\n  log_max_line: %llu\n",
	    c->cgroup_driver == CGROUP_DRIVER_SYSTEMD ? "systemd" : "cgroupfs",
	    (long long)c->pids_limit, (unsigned long long)c->log_max_line);
	buf_addf(out, "network:\n  mode: %s\n  cni_native: %s\n",
	    c->net.mode == NET_BUILTIN ? "builtin" : "cni", c->net.cni_native ? "true" : "false");
	buf_addf(out,
	    "images:\n  downloads_per_image: %u\n  downloads_per_node: %u\n"
	    "  progress_timeout: %lld\n  certs_dirs:\n",
	    c->pull_per_image, c->pull_per_node, (long long)c->pull_progress_timeout_ms / 1000);
	for (size_t i = 0; i < c->n_certs_dirs; i++)
		buf_addf(out, "    - %s\n", c->certs_dirs[i]);
	buf_addf(out, "streaming:\n  address: %s\n  port: %u\n", c->stream_address,
	    c->stream_port);
}
