/* SPDX-License-Identifier: Apache-2.0
 *
 * A box is a launch plan in the making and the directory of a tiny image (busybox) to run it on:
 * for the unit tests of the launch. box_init() gives a plan that works; tests change what they are
 * about, box_run() launches it and waits for its end.
 */
#ifndef BOX_H
#define BOX_H

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macros.h"
#include "exec/keeper/launch.h"
#include "tap.h"

enum { BOX_MAX = 32 };

struct box {
	Coracle__Launch__Plan plan;
	Coracle__Launch__Mount mounts[BOX_MAX], *mount_ptrs[BOX_MAX];
	Coracle__Launch__Device devices[BOX_MAX], *device_ptrs[BOX_MAX];
	Coracle__Launch__Symlink links[BOX_MAX], *link_ptrs[BOX_MAX];
	Coracle__Launch__JoinNamespace joins[BOX_MAX], *join_ptrs[BOX_MAX];
	Coracle__Launch__Capabilities caps;
	char *argv[BOX_MAX];
	ProtobufCBinaryData env[BOX_MAX];
	char *masked[BOX_MAX], *readonly[BOX_MAX];
	int fds[BOX_MAX];
	size_t n_fds;
	struct launch_child child;
	struct launch_failure fail;
	char out[16384]; /* stdout and stderr of the process */
	int status;      /* of waitpid; -1 when the launch failed */
	int out_fd;
};

static char box_root[256]; /* the image: a directory that box_setup made */
static char box_dir[256];  /* where roots are attached, and room for other things */

static inline void box_sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void
box_sh(const char *fmt, ...)
{
	char cmd[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	if (system(cmd) != 0)
		diag("failed: %s", cmd);
}

static inline void
box_cleanup(void)
{
	if (box_dir[0] != '\0')
		box_sh("for m in $(awk '{print $5}' /proc/self/mountinfo | grep '^%s/' | tac); do "
		       "umount -l $m; done; rm -rf --one-file-system %s",
		    box_dir, box_dir);
}

/* Make the image; skips the whole program where it cannot run. */
static inline void
box_setup(void)
{
	snprintf(box_dir, sizeof(box_dir), "/tmp/launch-test-XXXXXX");
	if (geteuid() != 0)
		skip_all("needs root");
	if (access("/bin/busybox", X_OK) != 0)
		skip_all("needs /bin/busybox");
	if (mkdtemp(box_dir) == NULL) {
		box_dir[0] = '\0';
		skip_all("no temporary directory");
	}
	chmod(box_dir, 0755);
	atexit(box_cleanup);
	snprintf(box_root, sizeof(box_root), "%.200s/image", box_dir);
	box_sh("mkdir -p %s %s/root && cd %s && mkdir bin proc dev sys tmp etc root && "
	       "chmod 1777 tmp && cp /bin/busybox bin/ && bin/busybox --install -s bin && "
	       "for f in bin/*; do [ -L $f ] && ln -sf busybox $f; done; "
	       "echo hello > etc/motd && mkdir -p usr/share && cp etc/motd usr/share/",
	    box_root, box_dir, box_root);
}

static inline uint32_t
box_fd(struct box *b, int fd)
{
	b->fds[b->n_fds++] = fd;
	return (uint32_t)b->n_fds;
}

static inline Coracle__Launch__Mount *
box_mount(struct box *b, int kind, const char *source_or_type, const char *target)
{
	size_t n = b->plan.n_mounts++;
	Coracle__Launch__Mount *m = &b->mounts[n];

	coracle__launch__mount__init(m);
	m->kind = kind;
	m->target = (char *)(uintptr_t)target;
	if (kind == CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM)
		m->fs_type = (char *)(uintptr_t)source_or_type;
	else
		m->source = (char *)(uintptr_t)source_or_type;
	b->mount_ptrs[n] = m;
	return m;
}

static inline Coracle__Launch__Device *
box_device(struct box *b, const char *path, uint32_t mode, uint32_t major, uint32_t minor)
{
	size_t n = b->plan.n_devices++;
	Coracle__Launch__Device *d = &b->devices[n];

	coracle__launch__device__init(d);
	d->path = (char *)(uintptr_t)path;
	d->mode = mode;
	d->major = major;
	d->minor = minor;
	b->device_ptrs[n] = d;
	return d;
}

static inline void
box_link(struct box *b, const char *path, const char *target)
{
	size_t n = b->plan.n_symlinks++;

	coracle__launch__symlink__init(&b->links[n]);
	b->links[n].path = (char *)(uintptr_t)path;
	b->links[n].target = (char *)(uintptr_t)target;
	b->link_ptrs[n] = &b->links[n];
}

static inline void
box_join(struct box *b, uint32_t type, uint32_t fd_index)
{
	size_t n = b->plan.n_join++;

	coracle__launch__join_namespace__init(&b->joins[n]);
	b->joins[n].type = type;
	b->joins[n].ns_fd = fd_index;
	b->join_ptrs[n] = &b->joins[n];
}

static inline void
box_env(struct box *b, const char *text)
{
	b->env[b->plan.n_env++] =
	    (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

/* Arguments up to a NULL. */
static inline void
box_argv(struct box *b, ...)
{
	const char *arg;
	va_list ap;

	b->plan.n_argv = 0;
	va_start(ap, b);
	while ((arg = va_arg(ap, const char *)) != NULL)
		b->argv[b->plan.n_argv++] = (char *)(uintptr_t)arg;
	va_end(ap);
}

static inline void
box_common(struct box *b, int kind)
{
	memset(b, 0, sizeof(*b));
	coracle__launch__plan__init(&b->plan);
	coracle__launch__capabilities__init(&b->caps);
	b->plan.kind = kind;
	b->plan.mounts = b->mount_ptrs;
	b->plan.devices = b->device_ptrs;
	b->plan.symlinks = b->link_ptrs;
	b->plan.join = b->join_ptrs;
	b->plan.argv = b->argv;
	b->plan.env = b->env;
	b->plan.masked_paths = b->masked;
	b->plan.readonly_paths = b->readonly;
	b->plan.umask = 022;
	b->plan.caps = &b->caps;
	b->caps.bounding = b->caps.permitted = b->caps.effective =
	    UINT64_C(1) << CAP_CHOWN | UINT64_C(1) << CAP_DAC_OVERRIDE | UINT64_C(1) << CAP_SETUID |
	    UINT64_C(1) << CAP_KILL;
	box_env(b, "PATH=/bin");
}

/* A container: all namespaces but the network's are new, the default mounts and devices. */
static inline void
box_init(struct box *b, const char *script)
{
	static char *dev_opts[] = {(char *)"mode=755", (char *)"size=65536k"};
	static char *pts_opts[] = {(char *)"ptmxmode=0666", (char *)"mode=0620", (char *)"gid=5"};
	const uint64_t safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	static char root_dir[300];
	Coracle__Launch__Mount *m;

	box_common(b, CORACLE__LAUNCH__PLAN__KIND__CONTAINER);
	b->plan.clone_flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
	b->plan.root_fd =
	    box_fd(b, open_tree(AT_FDCWD, box_root, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
	snprintf(root_dir, sizeof(root_dir), "%s/root", box_dir);
	b->plan.root_dir = root_dir;
	box_mount(b, CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM, "proc", "/proc")->attr_set = safe;
	m = box_mount(b, CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM, "tmpfs", "/dev");
	m->attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME;
	m->options = dev_opts;
	m->n_options = 2;
	m = box_mount(b, CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM, "devpts", "/dev/pts");
	m->attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
	m->options = pts_opts;
	m->n_options = 3;
	box_mount(b, CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM, "sysfs", "/sys")->attr_set =
	    safe | MOUNT_ATTR_RDONLY;
	box_device(b, "/dev/null", S_IFCHR | 0666, 1, 3);
	box_device(b, "/dev/zero", S_IFCHR | 0666, 1, 5);
	box_device(b, "/dev/tty", S_IFCHR | 0666, 5, 0);
	box_link(b, "/dev/stdout", "/proc/self/fd/1");
	box_argv(b, "sh", "-c", script, NULL);
}

/* One more process in the container of another box. */
static inline void
box_exec(struct box *b, const struct box *in, const char *script)
{
	uint32_t pidfd;

	box_common(b, CORACLE__LAUNCH__PLAN__KIND__EXEC);
	pidfd = box_fd(b, in->child.pidfd);
	box_join(b, CLONE_NEWPID, pidfd);
	box_join(b, CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET, pidfd);
	box_argv(b, "sh", "-c", script, NULL);
}

/* Launch; true when the process runs. Its output comes from b->out_fd. */
static inline bool
box_start(struct box *b)
{
	struct launch_stdio io = {-1, -1, -1};
	enum launch_state state;
	int p[2];

	b->status = -1;
	b->out_fd = -1;
	b->out[0] = '\0';
	if (pipe2(p, O_CLOEXEC) < 0)
		return false;
	io.out = io.err = p[1];
	if (launch_clone(&b->plan, b->fds, b->n_fds, &io, &b->child, &b->fail) < 0) {
		close(p[0]);
		close(p[1]);
		b->child.pid = 0;
		return false;
	}
	close(p[1]);
	while ((state = launch_status(&b->child, &b->fail)) == LAUNCH_PENDING) {
		struct pollfd pfd = {.fd = b->child.status_fd, .events = POLLIN};

		poll(&pfd, 1, 10000);
	}
	b->out_fd = p[0];
	if (state == LAUNCH_RUNNING)
		return true;
	waitpid(b->child.pid, NULL, 0);
	close(b->child.pidfd);
	close(p[0]);
	b->child.pid = 0;
	return false;
}

/* Read what it says until it ends; b->status is that of waitpid. */
static inline void
box_wait(struct box *b)
{
	size_t n = 0;
	ssize_t r;

	while ((r = read(b->out_fd, b->out + n, sizeof(b->out) - 1 - n)) > 0)
		n += (size_t)r;
	b->out[n] = '\0';
	close(b->out_fd);
	while (waitpid(b->child.pid, &b->status, 0) < 0 && errno == EINTR)
		;
	close(b->child.pidfd);
}

static inline void
box_release(struct box *b)
{
	if (b->plan.kind == CORACLE__LAUNCH__PLAN__KIND__EXEC)
		return; /* its descriptor is the container's */
	for (size_t i = 0; i < b->n_fds; i++)
		close(b->fds[i]);
}

static inline bool
box_run(struct box *b)
{
	bool started = box_start(b);

	if (started)
		box_wait(b);
	box_release(b);
	return started;
}

/* Launch, and it has to end with exit status 0 and exactly this output. */
static inline void
box_says(struct box *b, const char *want, const char *what)
{
	if (!box_run(b)) {
		ok(false, "%s", what);
		diag("%s: %s", b->fail.step, b->fail.text);
		return;
	}
	is_str(b->out, want, what);
	if (b->status != 0)
		ok(false, "%s: wait status %#x", what, (unsigned)b->status);
}

/* Launch, and it has to fail in this step with this in its text. */
static inline void
box_refused(struct box *b, const char *step, const char *text, const char *what)
{
	bool started = box_run(b);

	ok(!started && strcmp(b->fail.step, step) == 0 && strstr(b->fail.text, text) != NULL, "%s",
	    what);
	diag("%s: %s", started ? "started" : b->fail.step, started ? b->out : b->fail.text);
}

#endif
