/* SPDX-License-Identifier: Apache-2.0
 *
 * What a native CNI plugin is to cni_native.c. All of it runs in the agent's process and may block.
 */
#ifndef NET_NATIVE_H
#define NET_NATIVE_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

struct native_call {
	json_t *conf; /* with name, cniVersion, prevResult, runtimeConfig */
	const char *command, *container_id, *netns, *ifname, *args;
};

/* The functions fail with UNIMPLEMENTED, before they did anything, to leave the call to the real
 * plugin. */
struct native_plugin {
	const char *type;
	const char *const *members;        /* of a configuration, that it knows; NULL-terminated */
	bool (*knows)(const json_t *conf); /* their values; NULL: all */
	int (*add)(const struct native_call *c, json_t **ret_result, struct err *err);
	int (*del)(const struct native_call *c, struct err *err);
	int (*check)(const struct native_call *c, struct err *err);
	int (*gc)(const struct native_call *c, struct err *err); /* may be NULL */
};

extern const struct native_plugin native_loopback, native_bridge, native_hostlocal, native_portmap;

/* The member prevResult in the form of 1.1.0; *ret is NULL when there is none. */
int native_prev_result(const struct native_call *c, json_t **ret, struct err *err);

/* The result in the form of the configuration's version; consumes it. */
int native_export_take(
    const struct native_call *c, json_t *result_take, json_t **ret_result, struct err *err);

#endif
