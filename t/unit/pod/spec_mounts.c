/* SPDX-License-Identifier: Apache-2.0
 *
 * Mounts, paths and devices of launch plans.
 */
#include "spec_rig.h"

/* ---- mounts -------------------------------------------------------------------------------- */

static void
test_default_mounts(void)
{
	static const char *const order[] = {"/proc", "/dev", "/sys", "/dev/pts", "/dev/mqueue",
	    "/dev/shm", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/sys/fs/cgroup"};
	struct spec_cgroup_dir dirs[] = {
	    {"memory",      "/cg/memory/x"},
            {"cpu,cpuacct", "/cg/cpu/x"   }
        };
	char *volumes[] = {text("/data"), text("vol/../x"), text("/etc/hosts/deep")};
	struct rig r;

	rig_init(&r);
	ok(make(&r) && r.spec.plan->n_mounts == ARRAY_SIZE(order), "default mounts");
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		is_str(r.spec.plan->mounts[i]->target, order[i], "in this order");
	is_int(mount_at(&r, "/proc")->attr_set,
	    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, "/proc");
	is_str(mount_at(&r, "/dev/pts")->options[2], "gid=5", "terminals belong to tty");
	is_str(mount_at(&r, "/sys/fs/cgroup")->fs_type, "cgroup2", "cgroup");
	ok(mount_at(&r, "/sys/fs/cgroup")->attr_set & MOUNT_ATTR_RDONLY, "read-only");
	is_str(mount_at(&r, "/dev/shm")->source, "/run/x/shm", "the pod's shared memory");
	ok((mount_at(&r, "/etc/hosts")->attr_set & MOUNT_ATTR_RDONLY) == 0, "hosts is writable");
	arena_release(&r.arena);

	rig_init(&r);
	r.sc.readonly_rootfs = true;
	r.in.cgroup_dirs = dirs;
	r.in.n_cgroup_dirs = 2;
	r.image.volumes = volumes;
	r.image.n_volumes = 3;
	ok(make(&r) && r.spec.plan->root_readonly, "read-only root");
	ok(mount_at(&r, "/etc/hosts")->attr_set & MOUNT_ATTR_RDONLY, "and the pod's files");
	is_str(mount_at(&r, "/sys/fs/cgroup")->fs_type, "tmpfs", "v1 hierarchies");
	is_str(mount_at(&r, "/sys/fs/cgroup/cpu,cpuacct")->source, "/cg/cpu/x", "each is bound");
	is_str(r.spec.plan->symlinks[1]->path, "/sys/fs/cgroup/cpuacct", "with its other name");
	is_str(r.spec.plan->readonly_paths[0], "/sys/fs/cgroup", "read-only at last");
	ok((r.spec.plan->clone_flags & CLONE_NEWCGROUP) == 0, "no cgroup namespace");
	is_str(r.spec.plan->directories[1], "/x", "volumes of the image are directories");
	arena_release(&r.arena);
}

static void
cri_mount(struct rig *r, int i, const char *source, const char *target)
{
	r->mounts[i].host_path = text(source);
	r->mounts[i].container_path = text(target);
	r->config.n_mounts = (size_t)i + 1;
}

static void
test_cri_mounts(void)
{
	char *options[] = {text("noexec"), text("nodev")}, *odd[] = {text("dev")};
	const Coracle__Launch__Mount *m;
	struct rig r;

	rig_init(&r);
	cri_mount(&r, 0, "/h/a/b/", "/vol/sub");
	cri_mount(&r, 1, "/h//hosts", "/etc/hosts");
	cri_mount(&r, 2, "/h/vol", "/vol/");
	cri_mount(&r, 3, "/h/log", "/dev/termination-log");
	r.mounts[0].readonly = true;
	r.mounts[1].propagation = RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER;
	r.mounts[2].propagation = RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL;
	r.mounts[3].mount_options = options;
	r.mounts[3].n_mount_options = 2;
	ok(make(&r), "mounts of the request");
	m = mount_at(&r, "/vol/sub");
	ok(m->kind == CORACLE__LAUNCH__MOUNT__KIND__BIND && m->attr_set == MOUNT_ATTR_RDONLY &&
	        !m->attr_recursive && m->recursive && m->propagation == MS_PRIVATE &&
	        m->create_source,
	    "a read-only one");
	is_str(m->source, "/h/a/b", "its source");
	is_str(mount_at(&r, "/etc/hosts")->source, "/h/hosts", "in the place of a default");
	is_int(mount_at(&r, "/etc/hosts")->propagation, MS_SLAVE, "from the host");
	is_int(mount_at(&r, "/vol")->propagation, MS_SHARED, "both ways");
	is_int(r.spec.plan->root_propagation, MS_SHARED, "and so the root");
	is_int(mount_at(&r, "/dev/termination-log")->attr_set, MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV,
	    "options");
	for (size_t i = 0, seen = 0; i < r.spec.plan->n_mounts; i++) {
		if (strcmp(r.spec.plan->mounts[i]->target, "/vol") == 0)
			seen = 1;
		if (strcmp(r.spec.plan->mounts[i]->target, "/vol/sub") == 0)
			ok(seen, "the one above comes first");
	}
	is_int(r.spec.plan->n_mounts, 13, "no default is left under it");
	arena_release(&r.arena);

	rig_init(&r);
	cri_mount(&r, 0, "/dev", "/dev");
	cri_mount(&r, 1, "/sys", "/sys");
	cri_mount(&r, 2, "/proc", "/proc");
	ok(make(&r) && r.spec.plan->n_mounts == 6 && r.spec.plan->n_devices == 0 &&
	        r.spec.plan->n_symlinks == 0,
	    "the host's /dev, /sys, /proc: nothing of ours in them");
	arena_release(&r.arena);

	rig_init(&r);
	cri_mount(&r, 0, "/a", "/a");
	r.mounts[0].readonly = r.mounts[0].recursive_read_only = true;
	ok(make(&r) && mount_at(&r, "/a")->attr_recursive, "recursively read-only");
	arena_release(&r.arena);
	for (int i = 0; i < 3; i++) {
		rig_init(&r);
		cri_mount(&r, 0, "/a", "/a");
		r.mounts[0].readonly = i > 0;
		r.mounts[0].recursive_read_only = true;
		r.mounts[0].propagation = (Runtime__V1__MountPropagation)i;
		refused(&r, "RROUnsupported");
	}

	rig_init(&r);
	userns_on(&r);
	cri_mount(&r, 0, "/a", "/a");
	r.mounts[0].uidmappings = r.mounts[0].gidmappings = r.maps;
	r.mounts[0].n_uidmappings = r.mounts[0].n_gidmappings = 1;
	ok(make(&r) && fd_of(&r, mount_at(&r, "/a")->idmap_userns_fd) == USER_FD, "mapped owners");
	arena_release(&r.arena);
	rig_init(&r);
	cri_mount(&r, 0, "/a", "/a");
	r.mounts[0].uidmappings = r.maps;
	r.mounts[0].n_uidmappings = 1;
	refused(&r, "mounts[0].uidMappings");

	rig_init(&r);
	cri_mount(&r, 0, "/a", "/a");
	r.mounts[0].mount_options = odd;
	r.mounts[0].n_mount_options = 1;
	refused(&r, "mounts[0].mount_options: \"dev\"");
	rig_init(&r);
	cri_mount(&r, 0, "/a", "rel");
	refused(&r, "mounts[0].container_path");
	rig_init(&r);
	cri_mount(&r, 0, "/a", "/b/..");
	refused(&r, "mounts[0].container_path: the root");
	rig_init(&r);
	cri_mount(&r, 0, "a", "/a");
	refused(&r, "mounts[0].host_path");
}

static void
image_mount(struct rig *r, const char *sub, bool readonly)
{
	rig_init(r);
	cri_mount(r, 0, "", "/img");
	r->mount_image.image = text("sha256:1");
	r->mounts[0].image = &r->mount_image;
	r->mounts[0].image_sub_path = text(sub);
	r->mounts[0].readonly = readonly;
	r->image_fds[0] = IMAGE_FD;
}

static void
test_image_mounts(void)
{
	struct rig r;

	image_mount(&r, "a/b", true);
	ok(make(&r) && fd_of(&r, mount_at(&r, "/img")->source_fd) == IMAGE_FD,
	    "an image as volume");
	is_str(mount_at(&r, "/img")->sub_path, "a/b", "part of it");
	is_int(mount_at(&r, "/img")->attr_set, MOUNT_ATTR_RDONLY, "read-only, but executable");
	arena_release(&r.arena);
	image_mount(&r, "", false);
	refused(&r, "mounts[0].readonly");
	image_mount(&r, "../x", true);
	refused(&r, "mounts[0].image_sub_path");
	image_mount(&r, "/x", true);
	refused(&r, "mounts[0].image_sub_path");
	image_mount(&r, "a/../../x", true);
	refused(&r, "mounts[0].image_sub_path");
}

/* ---- paths and devices --------------------------------------------------------------------- */

static void
test_paths_and_devices(void)
{
	char *masked[] = {text("/proc/kcore"), text("/proc//keys/")}, *rel[] = {text("proc/x")};
	struct rig r;
	bool found = false;

	rig_init(&r);
	r.sc.masked_paths = r.sc.readonly_paths = masked;
	r.sc.n_masked_paths = 2;
	r.sc.n_readonly_paths = 1;
	ok(make(&r) && r.spec.plan->n_masked_paths == 2 && r.spec.plan->n_readonly_paths == 1,
	    "masked and read-only paths");
	is_str(r.spec.plan->masked_paths[1], "/proc/keys", "clean");
	is_int(r.spec.plan->n_devices, 6, "six devices");
	is_int(r.spec.plan->n_symlinks, 5, "five links");
	is_int(r.spec.n_devices, cgroup_n_default_devices, "default rules");
	arena_release(&r.arena);
	rig_init(&r);
	r.sc.masked_paths = rel;
	r.sc.n_masked_paths = 1;
	refused(&r, "security_context.masked_paths[0]");

	rig_init(&r);
	r.config.n_devices = 1;
	r.device.host_path = text("/dev/null");
	r.device.container_path = text("/dev/x/nil");
	r.device.permissions = text("rw");
	r.defaults.device_ownership = true;
	ok(make(&r) && r.spec.plan->n_devices == 7, "a device of the host");
	is_str(r.spec.plan->devices[6]->path, "/dev/x/nil", "by its new name");
	ok(r.spec.plan->devices[6]->major == 1 && r.spec.plan->devices[6]->minor == 3 &&
	        r.spec.plan->devices[6]->uid == 7,
	    "the same node, owned by the user");
	for (size_t i = 0; i < r.spec.n_devices; i++)
		found =
		    found || (r.spec.devices[i].major == 1 && r.spec.devices[i].minor == 3 &&
		                 r.spec.devices[i].access == (CGROUP_DEV_READ | CGROUP_DEV_WRITE));
	ok(found, "and its rule");
	arena_release(&r.arena);

	rig_init(&r);
	r.config.n_devices = 1;
	r.device.host_path = text("/dev");
	r.device.container_path = text("/hostdev");
	ok(make(&r) && r.spec.plan->n_devices > 10, "a directory of devices");
	arena_release(&r.arena);

	rig_init(&r);
	r.config.n_devices = 1;
	r.device.host_path = text("/dev/null");
	r.device.permissions = text("rx");
	refused(&r, "devices[0].permissions");
	rig_init(&r);
	r.config.n_devices = 1;
	r.device.host_path = text("/etc/passwd");
	refused(&r, "neither a device nor a directory");
	rig_init(&r);
	r.config.n_devices = 1;
	r.device.host_path = text("/dev/nonesuch");
	refused(&r, "devices[0].host_path: /dev/nonesuch: No such file");
}

int
main(void)
{
	test_default_mounts();
	test_cri_mounts();
	test_image_mounts();
	test_paths_and_devices();
	return tap_done();
}
