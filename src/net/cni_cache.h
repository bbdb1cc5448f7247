/* SPDX-License-Identifier: Apache-2.0
 *
 * The cache of CNI results, in the format and place of libcni ("cniCacheV1"), so that other tools
 * can read it: <dir>/results/<network>-<container>-<interface>.
 */
#ifndef NET_CNI_CACHE_H
#define NET_CNI_CACHE_H

#include <jansson.h>

#include "base/err.h"

struct cni_attachment {
	const char *network, *container_id, *ifname; /* all checked: parts of the file's name */
};

/* config: the text of the network's configuration; args: array of [key, value]; caps: the
 * capability arguments; result: in the form of the configuration's version. */
int cni_cache_write(const char *dir, const struct cni_attachment *a, const char *config,
    const char *netns, const json_t *args, const json_t *caps, const json_t *result,
    struct err *err);

/* The member "result", or NULL when there is none (no file, another format). */
json_t *cni_cache_result(const char *dir, const struct cni_attachment *a);

void cni_cache_remove(const char *dir, const struct cni_attachment *a);

/* All attachments of a network: an array of {containerID, ifname}. */
json_t *cni_cache_list(const char *dir, const char *network);

#endif
