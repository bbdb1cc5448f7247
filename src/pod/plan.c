/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds what pod/spec.h makes plans of: see plan.h.
 */
#include "pod/plan.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/caps.h"
#include "exec/rootfs.h"
#include "exec/seccomp.h"
#include "image/store.h"
#include "pod/config.h"
#include "pod/container.h"
#include "pod/node.h"
#include "pod/sandbox.h"
#include "pod/spec.h"

static void
opened(struct plan *p, int fd)
{
	p->open = xrealloc(p->open, (p->n_open + 1) * sizeof(*p->open));
	p->open[p->n_open++] = fd;
}

void
plan_release(struct plan *p)
{
	cgroup_fds_release(&p->cgroup);
	for (size_t i = 0; i < p->n_open; i++)
		close(p->open[i]);
	free(p->open);
	*p = (struct plan){.cgroup = CGROUP_FDS_INIT};
}

static void
set_defaults(struct spec_defaults *d, struct arena *a)
{
	const struct config *conf = node.config;
	Coracle__Launch__Rlimit *limits = arena_array(a, Coracle__Launch__Rlimit, conf->n_rlimits);

	*d = (struct spec_defaults){.caps_available = caps_available(),
	    .caps_default = caps_default,
	    .rlimits = limits,
	    .n_rlimits = conf->n_rlimits,
	    .device_ownership = conf->device_ownership_from_security_context,
	    .privileged_without_host_devices = conf->privileged_without_host_devices};
	for (size_t i = 0; i < conf->n_rlimits; i++) {
		coracle__launch__rlimit__init(&limits[i]);
		limits[i].resource = (uint32_t)conf->rlimits[i].resource;
		limits[i].soft = conf->rlimits[i].soft;
		limits[i].hard = conf->rlimits[i].hard;
	}
}

static int
open_pin(struct plan *p, const struct sandbox *sb, const char *file, int *ret, struct err *err)
{
	cleanup_free char *path = sandbox_path(sb, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, "open %s", path);
	opened(p, fd);
	*ret = fd;
	return 0;
}

/* The PID namespace to join: the holder's, or that of the target container. */
static int
find_pid_namespace(const struct container *c, int *ret, struct err *err)
{
	const Runtime__V1__NamespaceOption *ns = spec_namespaces(c->config, c->sb->config);
	struct container *target;

	if (ns != NULL && ns->pid == RUNTIME__V1__NAMESPACE_MODE__TARGET) {
		target = container_find(ns->target_id, err);
		if (target == NULL)
			return err_wrap(err, "target_id");
		if (target->sb != c->sb || target->state != CONTAINER_RUNNING)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "target container %.12s does not run in this sandbox", target->id);
		*ret = target->pidfd;
		return 0;
	}
	*ret = c->sb->holder_pidfd;
	return 0;
}

static int
resolve_seccomp(const struct container *c, const struct spec_defaults *d, struct arena *a,
    struct seccomp_prog *ret, struct err *err)
{
	const Runtime__V1__LinuxContainerConfig *l = c->config->linux;
	const Runtime__V1__LinuxContainerSecurityContext *sc =
	    l != NULL ? l->security_context : NULL;
	const Runtime__V1__SecurityProfile *profile = sc != NULL ? sc->seccomp : NULL;
	Runtime__V1__SecurityProfile ours = RUNTIME__V1__SECURITY_PROFILE__INIT;
	uint64_t caps;

	/* The node's own idea of what is the default. */
	ours.profile_type = RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
	ours.localhost_ref = node.config->seccomp_profile;
	if (profile != NULL && node.config->seccomp_profile != NULL &&
	    profile->profile_type == RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault)
		profile = &ours;
	*ret = (struct seccomp_prog){0};
	if (spec_capabilities(c->config, d, &caps, err) < 0 ||
	    seccomp_resolve(profile,
	        sc != NULL ? sc->seccomp_profile_path : NULL, spec_privileged(c->config), caps, ret,
	        err) < 0)
		return -1;
	if (ret->bpf != NULL) /* borrowed until the next profile is compiled */
		ret->bpf = arena_memdup(a, ret->bpf, ret->len);
	return 0;
}

/* Each image mount's root: a read-only overlay of its layers. */
static int
open_images(struct plan *p, const struct container *c, struct arena *a, const int **ret,
    struct err *err)
{
	int *fds = arena_array(a, int, c->config->n_mounts + 1);

	for (size_t i = 0; i < c->config->n_mounts; i++) {
		const Runtime__V1__ImageSpec *spec = c->config->mounts[i]->image;
		const char *lowers[ROOTFS_MAX_LOWERS];
		cleanup_free char *layers = xasprintf("%s/layers", node.config->root);
		struct rootfs_spec root = {.layers_dir = layers, .lowers = lowers,
		    .idmap_userns_fd = -1};
		cleanup_buf struct buf names = BUF_INIT;
		const struct image *img;

		fds[i] = -1;
		if (spec == NULL || str_empty(spec->image))
			continue;
		img = image_store_find(node.images, spec->image);
		if (img == NULL)
			return err_set(err, ERR_NOT_FOUND,
			    "ImageVolumeMountFailed: no image \"%.256s\" on this node", spec->image);
		image_lower_names(node.images, img, &names);
		if (rootfs_split_lowers(names.data, lowers, &root.n_lowers, err) < 0 ||
		    (fds[i] = rootfs_mount(&root, err)) < 0)
			return err_wrap(err, "ImageVolumeMountFailed: %s", spec->image);
		opened(p, fds[i]);
	}
	*ret = fds;
	return 0;
}

static char *
pod_file(const struct sandbox *sb, struct arena *a, const char *file)
{
	return arena_printf(a, "%s/sandboxes/%s/%s", node.config->state, sb->id, file);
}

static void
set_pod_files(const struct container *c, struct arena *a, struct spec_input *in)
{
	in->shm = sandbox_host_ipc(c->sb) ? "/dev/shm" : pod_file(c->sb, a, "shm");
	in->resolv_conf = pod_file(c->sb, a, "resolv.conf");
	in->hosts = pod_file(c->sb, a, "hosts");
	in->hostname_file = pod_file(c->sb, a, "hostname");
}

static int
gather(struct plan *p, struct container *c, struct arena *a, struct spec_defaults *d,
    struct seccomp_prog *prog, struct spec_input *in, struct err *err)
{
	const struct sandbox *sb = c->sb;
	const struct image *img = image_store_by_id_in_use(node.images, c->image_id);

	set_defaults(d, a);
	*in = (struct spec_input){.config = c->config,
	    .pod = sb->config,
	    .image = img != NULL ? img->config : NULL,
	    .user = &c->user,
	    .defaults = d,
	    .hostname = sandbox_hostname(sb),
	    .net_ns = -1, .ipc_ns = -1, .uts_ns = -1, .user_ns = -1, .pid_ns = -1,
	    .root_fd = c->root_fd,
	    .root_dir = arena_printf(a, "%s/containers/%s/root", node.config->state, c->id),
	    .cgroup = &p->cgroup,
	    .seccomp = prog};
	if ((!sandbox_host_network(sb) && open_pin(p, sb, "ns/net", &in->net_ns, err) < 0) ||
	    (!sandbox_host_ipc(sb) && open_pin(p, sb, "ns/ipc", &in->ipc_ns, err) < 0) ||
	    (!sandbox_host_network(sb) && open_pin(p, sb, "ns/uts", &in->uts_ns, err) < 0) ||
	    (spec_has_userns(sb->config, NULL) &&
	        open_pin(p, sb, "ns/user", &in->user_ns, err) < 0) ||
	    find_pid_namespace(c, &in->pid_ns, err) < 0 ||
	    cgroup_open(sb->cgroup_parent, c->id, &p->cgroup, err) < 0 ||
	    open_images(p, c, a, &in->image_fds, err) < 0)
		return -1;
	set_pod_files(c, a, in);
	return resolve_seccomp(c, d, a, prog, err);
}

static void
take_spec(struct plan *ret, const struct spec *s)
{
	ret->message = s->plan;
	ret->fds = s->fds;
	ret->n_fds = s->n_fds;
}

int
plan_container(struct container *c, struct arena *a, struct plan *ret, struct err *err)
{
	struct spec_defaults d;
	struct seccomp_prog prog;
	struct spec_input in;
	struct spec s;

	ret->cgroup = (struct cgroup_fds)CGROUP_FDS_INIT;
	if (gather(ret, c, a, &d, &prog, &in, err) < 0 || spec_container(&in, a, &s, err) < 0)
		return -1;
	take_spec(ret, &s);
	ret->devices = s.devices;
	ret->n_devices = s.n_devices;
	return 0;
}

int
plan_exec(struct container *c, char *const *argv, size_t n_argv, bool tty, int in_fd, int out_fd,
    int err_fd, struct arena *a, struct plan *ret, struct err *err)
{
	const struct image *img = image_store_by_id_in_use(node.images, c->image_id);
	struct spec_defaults d;
	struct seccomp_prog prog;
	struct spec_input in = {.config = c->config, .pod = c->sb->config,
	    .image = img != NULL ? img->config : NULL, .user = &c->user, .defaults = &d,
	    .hostname = sandbox_hostname(c->sb), .cgroup = &ret->cgroup, .seccomp = &prog,
	    .net_ns = -1, .ipc_ns = -1, .uts_ns = -1, .user_ns = -1, .pid_ns = -1, .root_fd = -1};
	struct spec_exec_input x = {.in = &in, .pidfd = c->pidfd, .cmd = argv, .n_cmd = n_argv,
	    .tty = tty, .in_fd = in_fd, .out_fd = out_fd, .err_fd = err_fd};
	struct spec s;

	ret->cgroup = (struct cgroup_fds)CGROUP_FDS_INIT;
	set_defaults(&d, a);
	if (cgroup_open(c->sb->cgroup_parent, c->id, &ret->cgroup, err) < 0 ||
	    resolve_seccomp(c, &d, a, &prog, err) < 0 || spec_exec(&x, a, &s, err) < 0)
		return -1;
	take_spec(ret, &s);
	return 0;
}

int
plan_namespaces(struct sandbox *sb, struct arena *a, struct plan *ret, struct err *err)
{
	struct spec_pod_input in = {.pod = sb->config,
	    .hostname = sandbox_hostname(sb),
	    .net_path = pod_file(sb, a, "ns/net"),
	    .ipc_path = pod_file(sb, a, "ns/ipc"),
	    .uts_path = pod_file(sb, a, "ns/uts"),
	    .user_path = pod_file(sb, a, "ns/user")};
	struct spec s;

	if (spec_pod_namespaces(&in, a, &s, err) < 0)
		return -1;
	take_spec(ret, &s);
	return 0;
}

int
plan_holder(struct sandbox *sb, struct arena *a, struct plan *ret, struct err *err)
{
	int user_ns = -1;
	struct spec s;

	ret->cgroup = (struct cgroup_fds)CGROUP_FDS_INIT;
	if ((spec_has_userns(sb->config, NULL) &&
	        open_pin(ret, sb, "ns/user", &user_ns, err) < 0) ||
	    spec_holder(sb->config, user_ns, NULL, a, &s, err) < 0)
		return -1;
	take_spec(ret, &s);
	return 0;
}
