/* SPDX-License-Identifier: Apache-2.0
 *
 * Mounts of a container: the defaults, what the request puts in their place, and their order. A
 * path comes after the one above it, whoever asked for it.
 */
#include <sched.h>
#include <sys/mount.h>

#include "base/macros.h"
#include "base/str.h"
#include "image/config.h"
#include "pod/spec_impl.h"

enum { MAX_MOUNTS = 8192, TTY_GID = 5 };

#define NOSUID ((uint64_t)MOUNT_ATTR_NOSUID)
#define NODEV ((uint64_t)MOUNT_ATTR_NODEV)
#define NOEXEC ((uint64_t)MOUNT_ATTR_NOEXEC)
#define RDONLY ((uint64_t)MOUNT_ATTR_RDONLY)
#define SAFE (NOSUID | NODEV | NOEXEC)

static Coracle__Launch__Mount *
add_mount(struct spec_builder *b, Coracle__Launch__Mount__Kind kind, const char *target)
{
	Coracle__Launch__Mount *m = arena_new(b->a, Coracle__Launch__Mount);

	coracle__launch__mount__init(m);
	m->kind = kind;
	m->target = arena_strdup(b->a, target);
	SPEC_PUSH(b->a, b->plan->mounts, b->plan->n_mounts, m);
	return m;
}

static Coracle__Launch__Mount *
add_bind(struct spec_builder *b, const char *source, const char *target)
{
	Coracle__Launch__Mount *m = add_mount(b, CORACLE__LAUNCH__MOUNT__KIND__BIND, target);

	m->source = arena_strdup(b->a, source);
	m->recursive = true;
	m->propagation = MS_PRIVATE;
	return m;
}

static void
add_option(struct spec_builder *b, Coracle__Launch__Mount *m, const char *option)
{
	SPEC_PUSH(b->a, m->options, m->n_options, arena_strdup(b->a, option));
}

/* ---- the request's ------------------------------------------------------------------------- */

/* The request's mount on exactly this path, or (below) on a directory above it. */
static bool
is_taken(const struct spec_builder *b, const char *path, char *const *taken, bool above)
{
	for (size_t i = 0; i < b->in->config->n_mounts; i++) {
		size_t n = strlen(taken[i]);

		if (strcmp(taken[i], path) == 0 ||
		    (above && strncmp(taken[i], path, n) == 0 && path[n] == '/'))
			return true;
	}
	return false;
}

static int
set_mount_options(
    Coracle__Launch__Mount *m, const Runtime__V1__Mount *cri, size_t i, struct err *err)
{
	static const struct {
		const char *name;
		uint64_t attr;
	} known[] = {
	    {"noexec", NOEXEC},
            {"nodev",  NODEV },
            {"nosuid", NOSUID}
        };

	for (size_t k = 0; k < cri->n_mount_options; k++) {
		uint64_t attr = 0;

		for (size_t j = 0; j < ARRAY_SIZE(known); j++)
			if (strcmp(cri->mount_options[k], known[j].name) == 0)
				attr = known[j].attr;
		if (attr == 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "mounts[%zu].mount_options: \"%.32s\" is not supported", i,
			    cri->mount_options[k]);
		m->attr_set |= attr;
	}
	return 0;
}

/* The kubelet gives each mount the maps of its pod; other ones would need a user namespace more. */
static int
set_idmap(struct spec_builder *b, Coracle__Launch__Mount *m, const Runtime__V1__Mount *cri,
    size_t i, struct err *err)
{
	const Runtime__V1__UserNamespace *pod = b->maps;
	bool same;

	if (cri->n_uidmappings == 0 && cri->n_gidmappings == 0)
		return 0;
	same = b->userns && cri->n_uidmappings == pod->n_uids && cri->n_gidmappings == pod->n_gids;
	for (size_t k = 0; same && k < cri->n_uidmappings; k++)
		same = cri->uidmappings[k]->host_id == pod->uids[k]->host_id &&
		       cri->uidmappings[k]->container_id == pod->uids[k]->container_id &&
		       cri->uidmappings[k]->length == pod->uids[k]->length;
	for (size_t k = 0; same && k < cri->n_gidmappings; k++)
		same = cri->gidmappings[k]->host_id == pod->gids[k]->host_id &&
		       cri->gidmappings[k]->container_id == pod->gids[k]->container_id &&
		       cri->gidmappings[k]->length == pod->gids[k]->length;
	if (!same)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "mounts[%zu].uidMappings: not those of the pod's user namespace", i);
	m->idmap_userns_fd = spec_fd(b, b->in->user_ns);
	return 0;
}

static int
set_propagation(struct spec_builder *b, Coracle__Launch__Mount *m, const Runtime__V1__Mount *cri,
    size_t i, struct err *err)
{
	switch (cri->propagation) {
	case RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE:
		m->propagation = MS_PRIVATE;
		break;
	case RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER:
		m->propagation = MS_SLAVE;
		if (b->plan->root_propagation != MS_SHARED)
			b->plan->root_propagation = MS_SLAVE;
		break;
	case RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL:
		m->propagation = MS_SHARED;
		b->plan->root_propagation = MS_SHARED;
		break;
	default:
		return err_set(err, ERR_INVALID_ARGUMENT, "mounts[%zu].propagation: %d", i,
		    (int)cri->propagation);
	}
	if (cri->recursive_read_only &&
	    (!cri->readonly ||
	        cri->propagation != RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "RROUnsupported: mounts[%zu].recursive_read_only: needs readonly and private "
		    "propagation",
		    i);
	return 0;
}

static int
add_image_mount(struct spec_builder *b, const Runtime__V1__Mount *cri, size_t i, const char *target,
    struct err *err)
{
	const char *sub = STR_OR_EMPTY(cri->image_sub_path);
	Coracle__Launch__Mount *m;
	char *clean;

	if (!cri->readonly)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "ImageVolumeMountFailed: mounts[%zu].readonly: an image is mounted read-only",
		    i);
	if (!str_empty(cri->host_path))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "mounts[%zu].host_path: given together with an image", i);
	if (!b->check_only && (b->in->image_fds == NULL || b->in->image_fds[i] < 0))
		return err_set(err, ERR_INTERNAL, "mounts[%zu].image: not mounted", i);
	m = add_mount(b, CORACLE__LAUNCH__MOUNT__KIND__DETACHED, target);
	m->source_fd = spec_fd(b, b->check_only ? 0 : b->in->image_fds[i]);
	m->attr_set = RDONLY;
	m->propagation = MS_PRIVATE;
	if (*sub != '\0') {
		clean = spec_clean_path(b->a, arena_printf(b->a, "/%s", sub));
		if (*sub == '/' || clean == NULL || strcmp(clean + 1, sub) != 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "ImageVolumeMountFailed: mounts[%zu].image_sub_path: \"%.200s\" is not "
			    "a "
			    "plain relative path",
			    i, sub);
		m->sub_path = clean + 1;
	}
	return set_mount_options(m, cri, i, err);
}

static int
add_cri_mount(struct spec_builder *b, const Runtime__V1__Mount *cri, size_t i, const char *target,
    struct err *err)
{
	Coracle__Launch__Mount *m;
	char *source;

	if (strcmp(target, "/") == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "mounts[%zu].container_path: the root cannot be mounted on", i);
	if (cri->image != NULL && !str_empty(cri->image->image))
		return add_image_mount(b, cri, i, target, err);
	if (!str_empty(cri->image_sub_path))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "mounts[%zu].image_sub_path: given without an image", i);
	source = spec_clean_path(b->a, STR_OR_EMPTY(cri->host_path));
	if (source == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "mounts[%zu].host_path: \"%.200s\" is not an absolute path", i,
		    STR_OR_EMPTY(cri->host_path));
	m = add_bind(b, source, target);
	m->create_source = true; /* as every runtime does, though the CRI calls it an error */
	if (set_propagation(b, m, cri, i, err) < 0 || set_mount_options(m, cri, i, err) < 0 ||
	    set_idmap(b, m, cri, i, err) < 0)
		return -1;
	if (cri->readonly)
		m->attr_set |= RDONLY;
	m->attr_recursive = cri->recursive_read_only;
	return 0;
}

/* ---- the defaults -------------------------------------------------------------------------- */

static void
add_proc(struct spec_builder *b)
{
	Coracle__Launch__Mount *m;

	/* the host's PID namespace belongs to the host's user namespace: a new procfs of it is
	 * refused to anyone else */
	if (b->userns && b->pid == RUNTIME__V1__NAMESPACE_MODE__NODE) {
		add_bind(b, "/proc", "/proc")->attr_set = SAFE;
		return;
	}
	m = add_mount(b, CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM, "/proc");
	m->fs_type = arena_strdup(b->a, "proc");
	m->attr_set = SAFE;
}

static void
add_dev(struct spec_builder *b, char *const *taken)
{
	const struct spec_input *in = b->in;
	Coracle__Launch__Mount *m = add_mount(b, CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM, "/dev");

	m->fs_type = arena_strdup(b->a, "tmpfs");
	m->attr_set = NOSUID | MOUNT_ATTR_STRICTATIME;
	add_option(b, m, "mode=755");
	add_option(b, m, "size=65536k");
	if (!is_taken(b, "/dev/pts", taken, false)) {
		m = add_mount(b, CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM, "/dev/pts");
		m->fs_type = arena_strdup(b->a, "devpts");
		m->attr_set = NOSUID | NOEXEC;
		add_option(b, m, "ptmxmode=0666");
		add_option(b, m, "mode=0620");
		if (!b->userns || spec_id_mapped(b->maps->gids, b->maps->n_gids, TTY_GID))
			add_option(b, m, "gid=5");
	}
	if (!is_taken(b, "/dev/mqueue", taken, false)) {
		if (b->userns && b->ipc == RUNTIME__V1__NAMESPACE_MODE__NODE) {
			m = add_bind(b, "/dev/mqueue", "/dev/mqueue");
			m->attr_set = SAFE;
			m->optional = true; /* few hosts have it mounted */
		} else {
			m = add_mount(b, CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM, "/dev/mqueue");
			m->fs_type = arena_strdup(b->a, "mqueue");
			m->attr_set = SAFE;
			m->optional = true;
		}
	}
	if (is_taken(b, "/dev/shm", taken, false))
		return;
	if (b->ipc == RUNTIME__V1__NAMESPACE_MODE__CONTAINER) {
		m = add_mount(b, CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM, "/dev/shm");
		m->fs_type = arena_strdup(b->a, "tmpfs");
		m->attr_set = SAFE;
		add_option(b, m, "mode=1777");
		add_option(b, m, "size=67108864");
	} else if (b->ipc == RUNTIME__V1__NAMESPACE_MODE__NODE) {
		add_bind(b, "/dev/shm", "/dev/shm")->attr_set = SAFE;
	} else if (in->shm != NULL) {
		add_bind(b, in->shm, "/dev/shm");
	}
}

static void
add_cgroups(struct spec_builder *b)
{
	const struct spec_input *in = b->in;
	uint64_t ro = b->privileged || in->defaults->cgroup_writable ? 0 : RDONLY;
	Coracle__Launch__Mount *m;

	/* without its own cgroup namespace, a new mount would set the options of the host's one */
	if (b->privileged && in->n_cgroup_dirs == 0) {
		add_bind(b, "/sys/fs/cgroup", "/sys/fs/cgroup")->attr_set = SAFE;
		return;
	}
	m = add_mount(b, CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM, "/sys/fs/cgroup");
	m->attr_set = SAFE;
	if (in->n_cgroup_dirs == 0) {
		m->fs_type = arena_strdup(b->a, "cgroup2");
		m->attr_set |= ro;
		return;
	}
	m->fs_type = arena_strdup(b->a, "tmpfs");
	add_option(b, m, "mode=755");
	for (size_t i = 0; i < in->n_cgroup_dirs; i++) {
		const char *name = in->cgroup_dirs[i].name;
		char *target = arena_printf(b->a, "/sys/fs/cgroup/%s", name);

		add_bind(b, in->cgroup_dirs[i].path, target)->attr_set = SAFE | ro;
		/* "cpu,cpuacct" is looked for as "cpu" and as "cpuacct" */
		for (const char *p = name; strchr(name, ',') != NULL && *p != '\0';) {
			Coracle__Launch__Symlink *l = arena_new(b->a, Coracle__Launch__Symlink);
			size_t n = strcspn(p, ",");

			coracle__launch__symlink__init(l);
			l->path = arena_printf(b->a, "/sys/fs/cgroup/%.*s", (int)n, p);
			l->target = arena_strdup(b->a, name);
			SPEC_PUSH(b->a, b->plan->symlinks, b->plan->n_symlinks, l);
			p += n + (p[n] == ',');
		}
	}
	if (ro != 0) /* once its directories are there */
		SPEC_PUSH(b->a, b->plan->readonly_paths, b->plan->n_readonly_paths,
		    arena_strdup(b->a, "/sys/fs/cgroup"));
}

static void
add_sys(struct spec_builder *b, char *const *taken)
{
	uint64_t ro = b->privileged ? 0 : RDONLY;
	Coracle__Launch__Mount *m;

	/* the host's network belongs to the host's user namespace, as with /proc */
	if (b->userns && b->network == RUNTIME__V1__NAMESPACE_MODE__NODE) {
		m = add_bind(b, "/sys", "/sys");
		m->attr_set = SAFE | RDONLY;
		m->attr_recursive = true;
	} else {
		m = add_mount(b, CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM, "/sys");
		m->fs_type = arena_strdup(b->a, "sysfs");
		m->attr_set = SAFE | ro;
	}
	if (!is_taken(b, "/sys/fs/cgroup", taken, true))
		add_cgroups(b);
}

static void
add_pod_files(struct spec_builder *b, char *const *taken)
{
	const struct {
		const char *source, *target;
	} files[] = {
	    {b->in->hostname_file, "/etc/hostname"   },
            {b->in->hosts,         "/etc/hosts"      },
	    {b->in->resolv_conf,   "/etc/resolv.conf"}
        };

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (files[i].source == NULL || is_taken(b, files[i].target, taken, false))
			continue;
		add_bind(b, files[i].source, files[i].target)->attr_set =
		    b->plan->root_readonly ? RDONLY : 0;
	}
}

/* ---- all of them --------------------------------------------------------------------------- */

static size_t
depth(const char *path)
{
	size_t n = 0;

	for (; *path != '\0'; path++)
		n += *path == '/';
	return n;
}

/* Stable: of two on one path the later is on top. */
static void
sort_by_depth(Coracle__Launch__Mount **mounts, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		Coracle__Launch__Mount *m = mounts[i];
		size_t k = i;

		for (; k > 0 && depth(mounts[k - 1]->target) > depth(m->target); k--)
			mounts[k] = mounts[k - 1];
		mounts[k] = m;
	}
}

static int
add_image_volumes(struct spec_builder *b, char *const *taken, struct err *err)
{
	const struct image_config *image = b->in->image;

	for (size_t i = 0; image != NULL && i < image->n_volumes; i++) {
		const char *v = image->volumes[i];
		char *path = spec_clean_path(b->a, *v == '/' ? v : arena_printf(b->a, "/%s", v));

		if (path == NULL)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "the image's Volumes: \"%.200s\" is no path", v);
		if (strcmp(path, "/") != 0 && !is_taken(b, path, taken, true))
			SPEC_PUSH(b->a, b->plan->directories, b->plan->n_directories, path);
	}
	return 0;
}

int
spec_add_mounts(struct spec_builder *b, struct err *err)
{
	const Runtime__V1__ContainerConfig *config = b->in->config;
	char **taken = arena_array(b->a, char *, config->n_mounts + 1);

	if (config->n_mounts > MAX_MOUNTS)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "mounts: %zu are too many", config->n_mounts);
	for (size_t i = 0; i < config->n_mounts; i++) {
		taken[i] = spec_clean_path(b->a, STR_OR_EMPTY(config->mounts[i]->container_path));
		if (taken[i] == NULL)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "mounts[%zu].container_path: \"%.200s\" is not an absolute path", i,
			    STR_OR_EMPTY(config->mounts[i]->container_path));
	}
	b->no_dev = is_taken(b, "/dev", taken, false);
	if (!is_taken(b, "/proc", taken, false))
		add_proc(b);
	if (!b->no_dev)
		add_dev(b, taken);
	if (!is_taken(b, "/sys", taken, false))
		add_sys(b, taken);
	add_pod_files(b, taken);
	for (size_t i = 0; i < config->n_mounts; i++)
		if (add_cri_mount(b, config->mounts[i], i, taken[i], err) < 0)
			return -1;
	sort_by_depth(b->plan->mounts, b->plan->n_mounts);
	if (!b->in->defaults->image_volumes_ignore && add_image_volumes(b, taken, err) < 0)
		return -1;
	return 0;
}
