/* SPDX-License-Identifier: Apache-2.0
 *
 * libcni's result cache: see cni_cache.h.
 */
#include "net/cni_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "net/cni_conf.h"

enum { FILE_MAX = 4 << 20 };

static char *
file_path(const char *dir, const struct cni_attachment *a)
{
	return xasprintf("%s/results/%s-%s-%s", dir, a->network, a->container_id, a->ifname);
}

static json_t *
base64(const char *text)
{
	size_t n = strlen(text);
	cleanup_free unsigned char *out = xmalloc(4 * ((n + 2) / 3) + 1);

	EVP_EncodeBlock(out, (const unsigned char *)text, (int)n);
	return json_string((const char *)out);
}

int
cni_cache_write(const char *dir, const struct cni_attachment *a, const char *config,
    const char *netns, const json_t *args, const json_t *caps, const json_t *result,
    struct err *err)
{
	cleanup_free char *path = file_path(dir, a), *results = xasprintf("%s/results", dir);
	cleanup_free char *text = NULL;
	json_t *o;

	o = json_pack("{s:s,s:s,s:o,s:s,s:s}", "kind", "cniCacheV1", "containerId", a->container_id,
	    "config", base64(config), "ifName", a->ifname, "networkName", a->network);
	if (*netns != '\0')
		json_object_set_new(o, "netns", json_string(netns));
	if (json_array_size(args) > 0)
		json_object_set(o, "cniArgs", (json_t *)args);
	if (json_object_size(caps) > 0)
		json_object_set(o, "capabilityArgs", (json_t *)caps);
	json_object_set(o, "result", (json_t *)result);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (fd_mkdir_p(AT_FDCWD, results, 0700, err) < 0)
		return -1;
	return fd_write_file(AT_FDCWD, path, text, strlen(text), 0600, false, err);
}

static json_t *
read_file(int dirfd, const char *path)
{
	cleanup_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	cleanup_buf struct buf text = BUF_INIT;
	struct err ignored = {0};
	json_t *o;

	if (fd < 0 || fd_read_all(fd, FILE_MAX, &text, &ignored) < 0 || text.len == 0)
		return NULL;
	o = json_loadb(text.data, text.len, 0, NULL);
	if (strcmp(cni_str(o, "kind"), "cniCacheV1") == 0)
		return o;
	json_decref(o);
	return NULL;
}

json_t *
cni_cache_result(const char *dir, const struct cni_attachment *a)
{
	cleanup_free char *path = file_path(dir, a);
	json_t *o = read_file(AT_FDCWD, path), *result;

	result = json_incref(json_object_get(o, "result"));
	json_decref(o);
	return result;
}

void
cni_cache_remove(const char *dir, const struct cni_attachment *a)
{
	cleanup_free char *path = file_path(dir, a);

	unlink(path);
}

json_t *
cni_cache_list(const char *dir, const char *network)
{
	cleanup_free char *results = xasprintf("%s/results", dir);
	size_t n = strlen(network);
	json_t *list = json_array();
	DIR *d = opendir(results);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL) {
		json_t *o;

		if (strncmp(e->d_name, network, n) != 0 || e->d_name[n] != '-')
			continue;
		o = read_file(dirfd(d), e->d_name);
		if (strcmp(cni_str(o, "networkName"), network) == 0 &&
		    cni_name_valid(cni_str(o, "containerId")) &&
		    cni_ifname_valid(cni_str(o, "ifName")))
			json_array_append_new(
			    list, json_pack("{s:s,s:s}", "containerID", cni_str(o, "containerId"),
			              "ifname", cni_str(o, "ifName")));
		json_decref(o);
	}
	if (d != NULL)
		closedir(d);
	return list;
}
