/* SPDX-License-Identifier: Apache-2.0
 *
 * Records of pods on CNI networks, and the notes on disk about them: see cni_internal.h.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "net/cni_conf.h"
#include "net/cni_internal.h"

enum { INTENT_MAX = 16 << 20 };

char *
cni_intent_path(const struct cni *cni, const char *pod_id)
{
	return xasprintf("%s/%s", cni->intent_dir, pod_id);
}

int
cni_intent_write(const struct cni *cni, const char *pod_id, const json_t *record, struct err *err)
{
	cleanup_free char *path = cni_intent_path(cni, pod_id),
	                  *text = json_dumps(record, JSON_COMPACT);

	return fd_write_file(AT_FDCWD, path, text, strlen(text), 0600, false, err);
}

/* What a record must be for the walk to be safe with it: the names in it become parts of paths. */
static bool
record_valid(const json_t *record)
{
	const json_t *list = json_object_get(record, "attachments"), *a, *conf;
	size_t i, k;

	if (!json_is_array(list) || !json_is_array(json_object_get(record, "args")))
		return false;
	json_array_foreach (list, i, a) {
		const json_t *network = json_object_get(a, "network");

		if (!cni_name_valid(cni_str(network, "name")) ||
		    !cni_version_valid(cni_str(network, "cniVersion")) ||
		    !cni_ifname_valid(cni_str(a, "ifname")) ||
		    !json_is_array(json_object_get(network, "plugins")))
			return false;
		json_array_foreach (json_object_get(network, "plugins"), k, conf)
			if (!cni_type_valid(cni_str(conf, "type")))
				return false;
	}
	json_array_foreach (json_object_get(record, "args"), i, a)
		if (!json_is_string(json_array_get(a, 0)) || !json_is_string(json_array_get(a, 1)))
			return false;
	return true;
}

json_t *
cni_record_check(json_t *record)
{
	if (record_valid(record))
		return record;
	json_decref(record);
	return NULL;
}

json_t *
cni_intent_read(const struct cni *cni, const char *pod_id)
{
	cleanup_free char *path = cni_intent_path(cni, pod_id);
	cleanup_buf struct buf text = BUF_INIT;
	struct err ignored = {0};

	if (access(path, F_OK) < 0 ||
	    fd_read_file(AT_FDCWD, path, INTENT_MAX, &text, &ignored) < 0 || text.len == 0)
		return NULL;
	return cni_record_check(json_loadb(text.data, text.len, 0, NULL));
}

bool
cni_maps_ports(const json_t *record)
{
	const json_t *attachments = json_object_get(record, "attachments"), *a, *conf;
	size_t i, k;

	json_array_foreach (attachments, i, a)
		json_array_foreach (
		    json_object_get(json_object_get(a, "network"), "plugins"), k, conf)
			if (json_is_true(json_object_get(
			        json_object_get(conf, "capabilities"), "portMappings")))
				return true;
	return false;
}

static bool
is_namespace(const char *path)
{
	struct statfs fs;

	return !str_empty(path) && statfs(path, &fs) == 0 && fs.f_type == NSFS_MAGIC;
}

/* A path that is no namespace any more would confuse plugins. */
const char *
cni_pod_netns(const struct net_pod *pod, const json_t *record)
{
	const char *noted = cni_str(record, "netns");

	if (is_namespace(pod->netns_path))
		return pod->netns_path;
	return str_empty(pod->netns_path) && is_namespace(noted) ? noted : "";
}

struct cni_walk *
cni_pod_walk(const struct cni *cni, enum cni_command command, const struct net_pod *pod,
    const json_t *record)
{
	struct cni_walk_spec spec = cni->base;

	spec.command = command;
	spec.attachments = json_object_get(record, "attachments");
	spec.args = json_object_get(record, "args");
	spec.container_id = pod->id;
	spec.netns = cni_pod_netns(pod, record);
	return cni_walk_new(&spec);
}
