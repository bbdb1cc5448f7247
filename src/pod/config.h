/* SPDX-License-Identifier: Apache-2.0
 *
 * What coracled was told: options and coracle.yaml, with every default filled in. Read once at
 * start; a reload replaces only what is marked live.
 */
#ifndef POD_CONFIG_H
#define POD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exec/cgroup.h"
#include "net/net.h"

struct config_rlimit {
	int resource; /* RLIMIT_* */
	uint64_t soft, hard;
};

struct config {
	/* Where things are. */
	char *root;     /* persistent data: /var/lib/coracle */
	char *state;    /* volatile state: /run/coracle */
	char *listen;   /* path of the CRI socket, without unix:// */
	char *instance; /* names cgroups, bridges, tables: "coracle" */
	char *keeper;   /* program */

	/* Containers. */
	enum cgroup_driver cgroup_driver;
	int64_t pids_limit;       /* per container; -1: none */
	struct config_rlimit *rlimits;
	size_t n_rlimits;
	uint64_t log_max_line;    /* bytes of content per log line */
	char *seccomp_profile;    /* file used for RuntimeDefault; NULL: built in */
	bool device_ownership_from_security_context;
	bool privileged_without_host_devices;

	/* Network. */
	struct net_config net;

	/* Images. */
	char **certs_dirs;        /* directories of <host>/hosts.toml, in order */
	size_t n_certs_dirs;
	unsigned pull_per_image;  /* parallel downloads of one image */
	unsigned pull_per_node;
	int64_t pull_progress_timeout_ms; /* no byte for so long: give up */
	char **pinned_images;     /* globs */
	size_t n_pinned_images;
	char *preload_dir;        /* archives loaded at start; NULL: none */

	/* Streaming. */
	char *stream_address;     /* "127.0.0.1" */
	uint16_t stream_port;     /* 0: any */
	char *stream_tls_cert, *stream_tls_key; /* NULL: plain HTTP */

	/* Operation; live. */
	char *log_level;
	char *trace;
	bool enable_events;
	int64_t stats_period_ms;
};

/* Defaults, then the file (NULL: none; a missing file is an error only when it was named), checked:
 * an unknown key or a bad value is an INVALID_ARGUMENT that names file, line and key. *ret is
 * released with config_release() in either case. */
int config_load(struct config *ret, const char *path, bool must_exist, struct err *err)
    __attribute__((warn_unused_result));
void config_release(struct config *c);

/* The dump of `coracled --print-config`: every key with its value in force, as YAML. */
struct buf;
void config_print(const struct config *c, struct buf *out);

#endif
