/* SPDX-License-Identifier: Apache-2.0
 *
 * CNI network configurations, read from a directory: *.conflist, and *.conf and *.json with a
 *single plugin, in the order of their names. A network is a JSON object of our own making,
 *
 *	{name, cniVersion, disableCheck, disableGC, plugins: [configuration…], file, text}
 *
 * never changed once made, shared by reference count, and as good in a pod's record. Types and
 *names in it are checked (CVE-2021-20206): they are safe as parts of file names.
 */
#ifndef NET_CNI_CONF_H
#define NET_CNI_CONF_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define CNI_VERSION_MAX "1.1.0" /* of the specification, that we know */

enum { CNI_CONF_MAX = 1 << 20 }; /* bytes of one file */

/* A letter or digit, then those and '_', '.', '-': names of networks, ids of containers. */
bool cni_name_valid(const char *s);
/* Letters, digits, '.', '_' and '-', but not "." and "..": types of plugins. */
bool cni_type_valid(const char *s);
bool cni_ifname_valid(const char *s);

/* -1, 0, 1; versions are "1.0.0", "0.4.0"…; one that is none counts as lowest. */
int cni_version_cmp(const char *a, const char *b);
bool cni_version_valid(const char *s);

/* One configuration. is_list: of a .conflist file. dir: where "<dir>/<name>/<file>.conf" adds
 * plugins to a list that does not forbid it; NULL: nowhere. INVALID_ARGUMENT says what is wrong and
 * where. */
json_t *cni_conf_parse(
    const char *text, size_t len, bool is_list, const char *file, const char *dir, struct err *err);

/* All of a directory. A missing one is an empty one. Fills *ret_networks (array of networks) and
 * *ret_faults (array of {file, fault}); -1 when the directory cannot be read. */
int cni_conf_load(const char *dir, json_t **ret_networks, json_t **ret_faults, struct err *err);

const char *cni_str(const json_t *object, const char *key); /* a string member, or "" */

#endif
