/* SPDX-License-Identifier: Apache-2.0
 *
 * Native CNI plugins: the table of them and the agent's job. See cni_native.h.
 */
#include "net/cni_native.h"

#include <string.h>

#include "base/macros.h"
#include "net/cni_conf.h"
#include "net/cni_result.h"
#include "net/native.h"

static const struct native_plugin *const plugins[] = {
    &native_bridge, &native_hostlocal, &native_loopback, &native_portmap};

static const struct native_plugin *
find(const char *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(plugins); i++)
		if (strcmp(plugins[i]->type, type) == 0)
			return plugins[i];
	return NULL;
}

/* Members that the runtime or the specification puts into every configuration. */
static bool
is_common(const char *key)
{
	static const char *const common[] = {"name", "cniVersion", "type", "capabilities",
	    "runtimeConfig", "prevResult", "dns", "args", "cni.dev/attachments",
	    "cni.dev/valid-attachments"};

	for (size_t i = 0; i < ARRAY_SIZE(common); i++)
		if (strcmp(key, common[i]) == 0)
			return true;
	return false;
}

bool
cni_native_has(const char *type, const json_t *conf)
{
	const struct native_plugin *p = find(type);
	const json_t *v;
	const char *key;

	if (p == NULL || cni_version_cmp(cni_str(conf, "cniVersion"), CNI_VERSION_MAX) > 0)
		return false;
	json_object_foreach ((json_t *)conf, key, v) {
		const char *const *k = p->members;

		while (*k != NULL && strcmp(*k, key) != 0)
			k++;
		if (*k == NULL && !is_common(key))
			return false;
	}
	return p->knows == NULL || p->knows(conf);
}

int
native_prev_result(const struct native_call *c, json_t **ret, struct err *err)
{
	const json_t *prev = json_object_get(c->conf, "prevResult");

	*ret = NULL;
	if (prev == NULL)
		return 0;
	*ret = cni_result_import(prev, err);
	return *ret != NULL ? 0 : err_wrap(err, "prevResult");
}

int
native_export_take(
    const struct native_call *c, json_t *result_take, json_t **ret_result, struct err *err)
{
	*ret_result = cni_result_export(result_take, cni_str(c->conf, "cniVersion"), err);
	json_decref(result_take);
	return *ret_result != NULL ? 0 : -1;
}

json_t *
cni_native_request(const char *type, json_t *conf, const struct cni_params *params)
{
	json_t *dirs = json_array();

	for (size_t i = 0; i < params->n_bin_dirs; i++)
		json_array_append_new(dirs, json_string(params->bin_dirs[i]));
	return json_pack("{s:s,s:s,s:O,s:s,s:s,s:s,s:s,s:s,s:o}", "job", "cni", "type", type,
	    "conf", conf, "command", params->command, "containerID",
	    params->container_id != NULL ? params->container_id : "", "netns",
	    params->netns != NULL ? params->netns : "", "ifname",
	    params->ifname != NULL ? params->ifname : "", "args",
	    params->args != NULL ? params->args : "", "dirs", dirs);
}

int
job_cni_native(json_t *request, json_t **ret_reply, struct err *err)
{
	const char *type = cni_str(request, "type"), *command = cni_str(request, "command");
	const struct native_plugin *p = find(type);
	struct native_call call = {.conf = json_object_get(request, "conf"),
	    .command = command,
	    .container_id = cni_str(request, "containerID"),
	    .netns = cni_str(request, "netns"),
	    .ifname = cni_str(request, "ifname"),
	    .args = cni_str(request, "args")};
	int ret;

	if (p == NULL)
		return err_set(err, ERR_UNIMPLEMENTED, "no native plugin %s", type);
	if (strcmp(command, "ADD") == 0)
		ret = p->add(&call, ret_reply, err);
	else if (strcmp(command, "DEL") == 0)
		ret = p->del(&call, err);
	else if (strcmp(command, "CHECK") == 0)
		ret = p->check(&call, err);
	else if (strcmp(command, "GC") == 0 && p->gc != NULL)
		ret = p->gc(&call, err);
	else
		ret = 0; /* STATUS: what runs in this process is there */
	return ret < 0 && err->code != ERR_UNIMPLEMENTED
	           ? err_wrap(err, "plugin %s %s", type, command)
	           : ret;
}
