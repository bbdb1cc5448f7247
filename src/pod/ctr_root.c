/* SPDX-License-Identifier: Apache-2.0
 *
 * Disk, root and user of a container: see ctr_root.h.
 */
#include "pod/ctr_root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/cgroup.h"
#include "exec/rootfs.h"
#include "image/config.h"
#include "image/store.h"
#include "pod/config.h"
#include "pod/container.h"
#include "pod/ctr_steps.h"
#include "pod/node.h"
#include "pod/plan.h"
#include "pod/sandbox.h"
#include "pod/spec.h"

enum { SMALL_ENTRIES = 16 };

struct root_call {
	struct buf names;
	const char *lowers[ROOTFS_MAX_LOWERS];
	struct rootfs_spec spec;
	char *layers_dir, *dir;
};

static void
root_call_release(struct root_call *r)
{
	buf_release(&r->names);
	free(r->layers_dir);
	free(r->dir);
	fd_closep(&r->spec.idmap_userns_fd);
}

static int
describe_root(const struct container *c, struct root_call *r, struct err *err)
{
	const struct image *img = image_store_by_id_in_use(node.images, c->image_id);
	cleanup_free char *userns = sandbox_path(c->sb, "ns/user");

	*r = (struct root_call){.spec = {.idmap_userns_fd = -1}};
	if (img == NULL)
		return err_set(err, ERR_NOT_FOUND, "image %s is gone", c->image_id);
	image_lower_names(node.images, img, &r->names);
	r->layers_dir = xasprintf("%s/layers", node.config->root);
	r->dir = container_root_path(c, "");
	r->spec.layers_dir = r->layers_dir;
	r->spec.lowers = r->lowers;
	r->spec.dir = r->dir;
	if (spec_has_userns(c->sb->config, NULL)) {
		r->spec.idmap_userns_fd = open(userns, O_RDONLY | O_CLOEXEC);
		if (r->spec.idmap_userns_fd < 0)
			return err_errno(err, "open %s", userns);
	}
	return rootfs_split_lowers(r->names.data, r->lowers, &r->spec.n_lowers, err);
}

/* The host's id of the container's root. */
static uint32_t
mapped_root(Runtime__V1__IDMapping *const *maps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (maps[i]->container_id == 0)
			return maps[i]->host_id;
	return 0;
}

int
ctr_dirs_make(const struct container *c, struct err *err)
{
	cleanup_free char *state = container_state_path(c, "");
	cleanup_free char *mount_point = container_state_path(c, "root");
	const Runtime__V1__UserNamespace *ns = NULL;
	uint32_t uid = 0, gid = 0;
	struct root_call r;
	int ret;

	if (fd_mkdir_p(AT_FDCWD, mount_point, 0700, err) < 0)
		return -1;
	/* Its directory is passed through by the container's own user on the way to the pipes. */
	if (chmod(state, 0711) < 0)
		return err_errno(err, "chmod %s", state);
	if (spec_has_userns(c->sb->config, &ns)) {
		uid = mapped_root(ns->uids, ns->n_uids);
		gid = mapped_root(ns->gids, ns->n_gids);
	}
	ret = describe_root(c, &r, err);
	if (ret == 0)
		ret = rootfs_create(&r.spec, uid, gid, err);
	root_call_release(&r);
	return ret;
}

bool
ctr_root_is_small(const struct container *c)
{
	cleanup_free char *upper = container_root_path(c, "upper");
	struct dirent *ent;
	bool small = true;
	int n = 0;
	DIR *dir = opendir(upper);

	if (dir == NULL)
		return small;
	while (small && (ent = readdir(dir)) != NULL)
		/* A directory may hold anything. */
		small = ++n <= SMALL_ENTRIES && (ent->d_type != DT_DIR || ent->d_name[0] == '.');
	closedir(dir);
	return small;
}

int
ctr_root_mount(struct container *c, struct err *err)
{
	struct root_call r;
	int fd = -1;

	if (c->root_fd >= 0)
		return 0;
	if (describe_root(c, &r, err) == 0)
		fd = rootfs_mount(&r.spec, err);
	root_call_release(&r);
	if (fd < 0)
		return -1;
	c->root_fd = fd;
	return 0;
}

enum op_ret
ctr_resolve_user(struct op *op, struct err *err)
{
	struct container *c = container_of(op, struct ctr_op, op)->c;
	const struct image *img = image_store_by_id_in_use(node.images, c->image_id);
	const Runtime__V1__LinuxContainerConfig *l = c->config->linux;
	const Runtime__V1__LinuxContainerSecurityContext *sc =
	    l != NULL ? l->security_context : NULL;
	struct user_request req = {.image_user = img != NULL ? img->config->user : NULL};

	if (sc != NULL) {
		req.run_as_username = sc->run_as_username;
		req.has_uid = sc->run_as_user != NULL;
		req.uid = sc->run_as_user != NULL ? sc->run_as_user->value : 0;
		req.has_gid = sc->run_as_group != NULL;
		req.gid = sc->run_as_group != NULL ? sc->run_as_group->value : 0;
		req.supplemental = sc->supplemental_groups;
		req.n_supplemental = sc->n_supplemental_groups;
		req.strict = sc->supplemental_groups_policy ==
		             RUNTIME__V1__SUPPLEMENTAL_GROUPS_POLICY__Strict;
	}
	user_release(&c->user);
	return user_resolve(c->root_fd, &req, &c->user, err) < 0 ? OP_FAIL : OP_NEXT;
}
