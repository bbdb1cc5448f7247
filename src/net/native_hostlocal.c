/* SPDX-License-Identifier: Apache-2.0
 *
 * The plugin "host-local" by itself, for networks that name it as a plugin of their own.
 */
#include <stdlib.h>

#include "base/macros.h"
#include "base/xalloc.h"
#include "net/hostlocal.h"
#include "net/native.h"

static int
add(const struct native_call *c, json_t **ret_result, struct err *err)
{
	json_t *result = hostlocal_add(c, err);

	return result != NULL ? native_export_take(c, result, ret_result, err) : -1;
}

static int
with_conf(const struct native_call *c,
    int (*fn)(const struct hostlocal_conf *, const char *, const char *, struct err *),
    struct err *err)
{
	cleanup_free struct hostlocal_conf *conf = xmalloc(sizeof(*conf));

	return hostlocal_load(c->conf, conf, err) < 0 ? -1
	                                              : fn(conf, c->container_id, c->ifname, err);
}

static int
del(const struct native_call *c, struct err *err)
{
	return with_conf(c, hostlocal_put, err);
}

static int
check(const struct native_call *c, struct err *err)
{
	return with_conf(c, hostlocal_check, err);
}

static const char *const members[] = {"ipam", NULL};

const struct native_plugin native_hostlocal = {.type = "host-local",
    .members = members,
    .knows = hostlocal_knows,
    .add = add,
    .del = del,
    .check = check};
