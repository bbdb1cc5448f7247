/* SPDX-License-Identifier: Apache-2.0
 *
 * ImageFsInfo: what the layers take, and what the writable layers take.
 */
#include "cri/methods.h"

#include "base/arena.h"
#include "base/clock.h"
#include "image/store.h"
#include "pod/config.h"
#include "pod/node.h"

static Runtime__V1__FilesystemUsage *
usage(struct arena *a, const char *mountpoint, uint64_t bytes, uint64_t inodes, int64_t at)
{
	Runtime__V1__FilesystemUsage *m = arena_alloc(a, sizeof(*m));

	runtime__v1__filesystem_usage__init(m);
	m->timestamp = at;
	m->fs_id = arena_alloc(a, sizeof(*m->fs_id));
	runtime__v1__filesystem_identifier__init(m->fs_id);
	m->fs_id->mountpoint = LEND(mountpoint);
	m->used_bytes = arena_alloc(a, sizeof(*m->used_bytes));
	runtime__v1__uint64_value__init(m->used_bytes);
	m->used_bytes->value = bytes;
	m->inodes_used = arena_alloc(a, sizeof(*m->inodes_used));
	runtime__v1__uint64_value__init(m->inodes_used);
	m->inodes_used->value = inodes;
	return m;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	Runtime__V1__ImageFsInfoResponse m = RUNTIME__V1__IMAGE_FS_INFO_RESPONSE__INIT;
	Runtime__V1__FilesystemUsage *images[1], *containers[1];
	uint64_t bytes = 0, inodes = 0;
	struct image_fs_info info;
	struct container *c;

	(void)request;
	image_store_fs_info(node.images, &info);
	TAILQ_FOREACH(c, &node.containers, all) {
		bytes += c->stats.upper_bytes;
		inodes += c->stats.upper_inodes;
	}
	images[0] = usage(&call->arena, node.config->root, info.bytes, info.inodes, info.timestamp);
	containers[0] = usage(&call->arena, node.config->root, bytes, inodes, clock_wall_ns());
	m.n_image_filesystems = 1;
	m.image_filesystems = images;
	m.n_container_filesystems = 1;
	m.container_filesystems = containers;
	grpc_reply(call, &m.base);
}

const struct grpc_method cri_image_fs_info = {
    "ImageFsInfo", &runtime__v1__image_fs_info_request__descriptor, handle, 0};
