/* SPDX-License-Identifier: Apache-2.0
 *
 * Mounts, devices and masks of a launch, and images and configurations that try to get out.
 */
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "box.h"

#define BIND CORACLE__LAUNCH__MOUNT__KIND__BIND
#define DETACHED CORACLE__LAUNCH__MOUNT__KIND__DETACHED
#define FILESYSTEM CORACLE__LAUNCH__MOUNT__KIND__FILESYSTEM

static char vol[300]; /* a directory of the host with a file and a mount in it */

static const char *
in_dir(const char *name)
{
	static char paths[4][400];
	static int at;

	at = (at + 1) % 4;
	snprintf(paths[at], sizeof(paths[at]), "%s/%s", box_dir, name);
	return paths[at];
}

static void
make_volume(void)
{
	snprintf(vol, sizeof(vol), "%s/vol", box_dir);
	box_sh("mkdir -p %s/sub && mount -t tmpfs vol %s && mount --make-private %s && "
	       "echo data > %s/file && mkdir %s/sub && mount -t tmpfs sub %s/sub && "
	       "mount --make-private %s/sub && echo deep > %s/sub/deep",
	    vol, vol, vol, vol, vol, vol, vol, vol);
}

static void
test_binds(void)
{
	Coracle__Launch__Mount *m;
	char path[400];
	struct box b;

	box_init(
	    &b, "cat /mnt/v/file /mnt/v/sub/deep; echo w > /mnt/v/new && rm /mnt/v/new && echo ok");
	box_mount(&b, BIND, vol, "/mnt/v")->recursive = true;
	box_says(&b, "data\ndeep\nok\n", "a directory with what is mounted in it");

	box_init(&b, "cat /mnt/v/file; ls /mnt/v/sub; touch /mnt/v/x 2>&1; touch /mnt/v/sub/y && "
	             "echo open");
	m = box_mount(&b, BIND, vol, "/mnt/v");
	m->attr_set = MOUNT_ATTR_RDONLY;
	m->recursive = true;
	box_says(&b, "data\ndeep\ntouch: /mnt/v/x: Read-only file system\nopen\n",
	    "read-only, but not what is mounted in it");
	unlink(in_dir("vol/sub/y"));

	box_init(&b, "touch /mnt/v/x 2>&1; touch /mnt/v/sub/y 2>&1");
	m = box_mount(&b, BIND, vol, "/mnt/v");
	m->attr_set = MOUNT_ATTR_RDONLY;
	m->recursive = m->attr_recursive = true;
	ok(box_run(&b) && strstr(b.out, "x: Read-only") != NULL &&
	        strstr(b.out, "y: Read-only") != NULL,
	    "recursively read-only");

	box_init(&b, "cat /etc/f /etc/motd; cp /bin/busybox /mnt/busybox; /mnt/busybox true 2>&1");
	snprintf(path, sizeof(path), "%s/file", vol);
	box_mount(&b, BIND, path, "/etc/f");
	box_mount(&b, BIND, path, "/etc/motd")->attr_set = MOUNT_ATTR_RDONLY;
	box_mount(&b, BIND, vol, "/mnt")->attr_set = MOUNT_ATTR_NOEXEC;
	ok(box_run(&b) && strncmp(b.out, "data\ndata\n", 10) == 0 &&
	        strstr(b.out, "Permission denied") != NULL,
	    "files, on missing and existing ones; noexec");
	unlink(in_dir("vol/busybox"));

	box_init(&b, "ls -d /mnt/v");
	m = box_mount(&b, BIND, in_dir("made/by/us"), "/mnt/v");
	m->create_source = true;
	box_says(&b, "/mnt/v\n", "a missing source is made");
	box_init(&b, "true");
	box_mount(&b, BIND, in_dir("nonesuch"), "/mnt/v");
	box_refused(&b, "mount sources", "nonesuch: No such file", "or not");
	box_init(&b, "ls /mnt/none 2>&1 | wc -l");
	box_mount(&b, BIND, in_dir("nonesuch"), "/mnt/none")->optional = true;
	box_says(&b, "1\n", "or skipped");
	box_init(&b, "true");
	box_mount(&b, BIND, vol, "/etc/motd");
	box_refused(&b, "mount", "is no directory, and what", "a directory on a file");

	box_init(&b, "cat /mnt/part");
	m = box_mount(&b, BIND, vol, "/mnt/part");
	m->sub_path = (char *)"../../../file";
	box_says(&b, "data\n", "a part of a source, which has no way up");
	box_sh("mkdir -p %s && ln -sfn %s %s", in_dir("real"), in_dir("real"), in_dir("link"));
	box_sh("echo via > %s", in_dir("real/f"));
	box_init(&b, "cat /mnt/v/f");
	box_mount(&b, BIND, in_dir("link"), "/mnt/v");
	box_says(&b, "via\n", "a link of the host is followed");
}

static void
test_detached(void)
{
	Coracle__Launch__Mount *m;
	struct box b;

	for (int part = 0; part < 2; part++) {
		box_init(&b, part ? "cat /mnt/i/f; ls /mnt/i; touch /mnt/i/x 2>/dev/null || echo ro"
		                  : "cat /mnt/i/real/f; touch /mnt/i/x 2>/dev/null || echo ro");
		m = box_mount(&b, DETACHED, NULL, "/mnt/i");
		m->source_fd =
		    box_fd(&b, open_tree(AT_FDCWD, box_dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
		m->attr_set = MOUNT_ATTR_RDONLY;
		m->sub_path = part ? (char *)"real" : NULL;
		box_says(&b, part ? "via\nf\nro\n" : "via\nro\n",
		    part ? "part of a detached mount" : "a detached mount");
	}
	box_init(&b, "true");
	m = box_mount(&b, DETACHED, NULL, "/mnt/i");
	m->source_fd =
	    box_fd(&b, open_tree(AT_FDCWD, box_dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
	m->sub_path = (char *)"nonesuch";
	box_refused(&b, "mount", "nonesuch in the source of /mnt/i: No such file",
	    "a part that is not there");
}

/* Links of the image, as targets: inside it, whatever they say. */
static void
test_targets(void)
{
	struct box b;

	box_sh("cd %s && ln -sfn /run var-run && mkdir -p var && ln -sfn ../run var/run && "
	       "ln -sfn /../../../../tmp/launch-escape esc && ln -sfn loop1 loop2 && "
	       "ln -sfn loop2 loop1 && ln -sfn a/b/../c dots && ln -sfn /etc/motd flink && "
	       "ln -sfn /proc/self/root magic",
	    box_root);
	box_init(&b, "ls -d /run/secrets/x; ls /run/secrets/x/file; readlink /var/run");
	box_mount(&b, BIND, vol, "/var/run/secrets/x");
	box_says(&b, "/run/secrets/x\n/run/secrets/x/file\n../run\n",
	    "a link that dangles leads to a directory that is made");
	box_init(&b, "cat /tmp/launch-escape/d/file");
	box_mount(&b, BIND, vol, "/esc/d");
	box_says(&b, "data\n", "a link out of the image stays in it");
	ok(access("/tmp/launch-escape", F_OK) < 0, "and nothing is made on the host");
	box_init(&b, "cat /a/c/x/file");
	box_mount(&b, BIND, vol, "/dots/x");
	box_says(&b, "data\n", "a link through what is not there yet");
	box_init(&b, "true");
	box_mount(&b, BIND, vol, "/loop1/x");
	box_refused(&b, "mount", "Too many levels", "links in a circle");
	box_init(&b, "cat /etc/motd");
	box_mount(&b, BIND, in_dir("vol/file"), "/flink");
	box_says(&b, "data\n", "a link to a file");
	box_init(&b, "true");
	box_mount(&b, BIND, vol, "/etc/motd/x");
	box_refused(&b, "mount", "Not a directory", "below a file");
	box_init(&b, "true");
	box_mount(&b, BIND, vol, "/proc/self/root/x");
	box_refused(&b, "mount", "Too many levels", "magic links are not followed");
}

static void
test_proc_is_safe(void)
{
	struct box b;

	box_init(&b, "true");
	box_mount(&b, BIND, vol, "/proc/self/attr");
	box_refused(&b, "mount", "inside /proc", "over /proc/self/attr");
	box_init(&b, "true");
	box_mount(&b, BIND, in_dir("vol/file"), "/proc/sys/kernel/core_pattern");
	box_refused(&b, "mount", "inside /proc", "over a sysctl");
	box_init(&b, "cat /proc/meminfo");
	box_mount(&b, BIND, in_dir("vol/file"), "/proc/meminfo");
	box_says(&b, "data\n", "over /proc/meminfo");
	box_init(&b, "true");
	b.plan.n_mounts = 0;
	box_mount(&b, BIND, vol, "/proc");
	b.plan.n_devices = b.plan.n_symlinks = 0;
	box_refused(&b, "mount", "only a procfs", "a fake /proc");
	box_init(&b, "ls /proc 2>/dev/null | grep -c '^1$'");
	box_mount(&b, BIND, "/proc", "/proc")->recursive = true;
	box_says(&b, "1\n", "the host's /proc on /proc");

	box_sh("cd %s && mv proc proc.real && mkdir fake && ln -s fake proc", box_root);
	box_init(&b, "true");
	box_refused(&b, "mount", "/proc in the root is a symbolic link", "/proc is a link");
	box_sh("cd %s && rm proc && touch proc", box_root);
	box_init(&b, "true");
	box_refused(&b, "mount", "/proc in the root is not a directory", "/proc is a file");
	box_sh("cd %s && rm proc && mv proc.real proc && mv dev dev.real && "
	       "ln -s ../../../../../../../../tmp/launch-escape dev",
	    box_root);
	box_init(&b, "true");
	box_refused(&b, "mount", "/dev in the root is a symbolic link", "/dev is a link");
	box_sh(
	    "cd %s && rm -r dev; rm -rf tmp/launch-escape; mv dev.real dev && mv sys sys.real && "
	    "ln -s /etc sys",
	    box_root);
	box_init(&b, "true");
	box_refused(&b, "mount", "/sys in the root is a symbolic link", "/sys is a link");
	box_sh("cd %s && rm sys && mv sys.real sys", box_root);
	ok(access("/tmp/launch-escape", F_OK) < 0, "nothing is made on the host");
}

static void
test_masks(void)
{
	char *masked[] = {(char *)"/proc/cpuinfo", (char *)"/sys/firmware", (char *)"/bin/prog",
	    (char *)"/usr/share", (char *)"/nonesuch/at/all", (char *)"/etc/motd/x"};
	char *ro[] = {(char *)"/proc/sys", (char *)"/tmp", (char *)"/nonesuch"};
	struct box b;

	box_sh("cp %s/bin/busybox %s/bin/prog", box_root, box_root);
	box_init(&b, "head -c 4 /proc/cpuinfo | wc -c; find /sys/firmware /usr/share | wc -l; "
	             "prog true 2>&1; echo x > /usr/share/f; echo x > /bin/prog; cat /bin/prog; "
	             "echo 8192 > /proc/sys/kernel/msgmax; touch /tmp/x; mount -t tmpfs x /tmp; "
	             "umount /proc/sys; umount /bin/prog; echo done");
	b.plan.masked_paths = masked;
	b.plan.n_masked_paths = ARRAY_SIZE(masked);
	b.plan.readonly_paths = ro;
	b.plan.n_readonly_paths = ARRAY_SIZE(ro);
	ok(box_run(&b), "masked and read-only paths");
	ok(strncmp(b.out, "0\n2\n", 4) == 0, "a file and two directories are empty");
	ok(strstr(b.out, "prog: Permission denied") != NULL, "a masked program cannot be executed");
	ok(strstr(b.out, "/usr/share/f: Read-only") != NULL, "nothing is put in");
	ok(strstr(b.out, "msgmax: Read-only") != NULL, "/proc/sys");
	ok(strstr(b.out, "/tmp/x: Read-only") != NULL, "/tmp");

	/* the image's /dev/null is not what masks (CVE-2025-31133) */
	box_sh("cd %s && ln -s /proc/sysrq-trigger dev/null && echo evil > tmp/evil", box_root);
	box_init(&b, "cat /proc/keys; echo x > /proc/keys; ls -l /dev/null | wc -l; "
	             "stat -c %F:%t:%T /proc/keys");
	for (size_t i = 0; i < b.plan.n_mounts; i++)
		if (strcmp(b.mounts[i].target, "/dev") == 0)
			b.mounts[i].target = (char *)"/dev2";
	for (size_t i = 0; i < b.plan.n_mounts; i++)
		if (strcmp(b.mounts[i].target, "/dev/pts") == 0)
			b.mounts[i].target = (char *)"/dev2/pts";
	b.plan.n_devices = b.plan.n_symlinks = 0;
	b.masked[0] = (char *)"/proc/keys";
	b.plan.n_masked_paths = 1;
	box_says(&b, "1\ncharacter special file:1:3\n", "a mask is the host's null device");
	box_init(&b, "true");
	b.plan.n_mounts = 1;
	b.plan.n_symlinks = 0;
	box_refused(&b, "devices", "/dev/null exists and is not the device",
	    "a link in the place of a device");
	box_sh("rm -f %s/dev/null %s/dev/zero %s/dev/tty", box_root, box_root, box_root);
}

static void
test_devices(void)
{
	Coracle__Launch__Device *d;
	struct box b;

	box_init(&b,
	    "stat -c '%t:%T %a %u:%g' /dev/deep/er/nil; echo x > /dev/deep/er/nil && echo w; "
	    "stat -c %t:%T /dev/bound; echo x > /dev/bound && echo w; readlink /dev/stdout");
	d = box_device(&b, "/dev/deep/er/nil", S_IFCHR | 0640, 1, 3);
	d->uid = 12;
	d->gid = 34;
	d = box_device(&b, "/dev/bound", S_IFCHR | 0666, 1, 3);
	d->bind_source = (char *)"/dev/null";
	box_says(&b, "1:3 640 12:34\nw\n1:3\nw\n/proc/self/fd/1\n", "made and bound");
	box_init(&b, "true");
	d = box_device(&b, "/dev/bound", S_IFCHR | 0666, 1, 5);
	d->bind_source = (char *)"/dev/null";
	box_refused(&b, "mount sources", "/dev/null is not the device c 1:5", "another device");
	box_init(&b, "true");
	d = box_device(&b, "/dev/bound", S_IFBLK | 0666, 1, 3);
	d->bind_source = (char *)"/dev/null";
	box_refused(&b, "mount sources", "is not the device b 1:3", "another type");
}

static void
test_root(void)
{
	char *dirs[] = {(char *)"/data/vol", (char *)"/etc/motd/x"};
	struct box b;

	box_init(&b,
	    "touch /x 2>&1; touch /dev/shm-file && echo dev; ls -d /data/vol; ls / | grep -c "
	    "launch-test; cat /proc/self/mountinfo | wc -l");
	b.plan.root_readonly = true;
	b.plan.directories = dirs;
	b.plan.n_directories = 1;
	box_says(&b, "touch: /x: Read-only file system\ndev\n/data/vol\n0\n5\n",
	    "a read-only root, and no mount of the host");
	box_init(&b, "true");
	b.plan.directories = dirs;
	b.plan.n_directories = 2;
	box_refused(&b, "directories", "Not a directory", "a volume below a file");

	for (int fd = 3; fd < 24; fd++) {
		char cwd[32];

		snprintf(cwd, sizeof(cwd), "/proc/self/fd/%d", fd);
		box_init(&b, "pwd");
		b.plan.cwd = cwd;
		if (box_run(&b))
			ok(false, "a container entered %s: %s", cwd, b.out);
	}
	ok(true, "no way out by descriptors");
	box_init(&b, "true");
	b.plan.cwd = (char *)"/etc/motd";
	box_refused(&b, "working directory", "Not a directory", "a file as working directory");
	box_sh("ln -sfn /proc/self/cwd %s/sly", box_root);
	box_init(&b, "pwd");
	b.plan.cwd = (char *)"/sly";
	box_refused(&b, "working directory", "/sly", "nor by a magic link");

	box_init(&b, "true");
	b.mounts[1].options = (char *[]){(char *)"size=never"};
	b.mounts[1].n_options = 1;
	box_refused(&b, "mount", "size", "a filesystem's option");
	box_init(&b, "echo on");
	box_mount(&b, FILESYSTEM, "nonesuchfs", "/mnt")->optional = true;
	box_says(&b, "on\n", "an optional filesystem that is unknown");
	box_init(&b, "echo on");
	box_mount(&b, FILESYSTEM, "nonesuchfs", "/mnt");
	box_refused(&b, "mount", "nonesuchfs", "one that is not optional");
}

static void
test_propagation(void)
{
	Coracle__Launch__Mount *m;
	struct box b;

	box_init(&b, "true");
	m = box_mount(&b, BIND, vol, "/mnt/v");
	m->propagation = MS_SLAVE;
	box_refused(&b, "mount sources", "not on a shared or slave mount", "nothing can arrive");
	box_init(&b, "true");
	m = box_mount(&b, BIND, vol, "/mnt/v");
	m->propagation = MS_SHARED;
	box_refused(&b, "mount sources", "not on a shared mount", "nothing can leave");

	box_sh("mount --make-shared %s", vol);
	for (int shared = 0; shared < 2; shared++) {
		box_init(&b,
		    "mkdir -p /mnt/v/in && mount -t tmpfs in /mnt/v/in && touch /mnt/v/in/f; "
		    "touch /mnt/v/ready; until [ -e /mnt/v/out/g ] || [ -e /mnt/v/stop ]; do "
		    "usleep 10000; done; ls /mnt/v/out");
		b.caps.bounding = b.caps.permitted = b.caps.effective = UINT64_MAX;
		m = box_mount(&b, BIND, vol, "/mnt/v");
		m->propagation = shared ? MS_SHARED : MS_SLAVE;
		m->recursive = true;
		b.plan.root_propagation = m->propagation;
		ok(box_start(&b), "%s", shared ? "both ways" : "from the host");
		for (int i = 0; i < 200 && access(in_dir("vol/ready"), F_OK) < 0; i++)
			usleep(10000);
		ok((access(in_dir("vol/in/f"), F_OK) == 0) == shared, "a mount %s",
		    shared ? "leaves" : "does not leave");
		box_sh("mkdir -p %s/out && mount -t tmpfs out %s/out && touch %s/out/g", vol, vol,
		    vol);
		box_wait(&b);
		is_str(b.out, "g\n", "a mount of the host arrives");
		box_release(&b);
		box_sh("umount %s/out; umount %s/in 2>/dev/null; rm -f %s/ready", vol, vol, vol);
	}
	box_sh("mount --make-private %s", vol);
}

/* Another container exchanges a directory and a link all the time, where we make and mount
 * (CVE-2021-30465, CVE-2024-45310). */
static void
test_race(void)
{
	enum { ROUNDS = 150 };
	int stray = 0, refused = 0;
	pid_t pid;

	box_sh("mkdir -p %s/race && cd %s/race && mkdir dir && ln -s "
	       "/../../../../../../tmp/launch-escape link",
	    vol, vol);
	pid = fork();
	if (pid == 0) {
		if (chdir(in_dir("vol/race")) < 0)
			_exit(1);
		for (;;)
			syscall(SYS_renameat2, AT_FDCWD, "dir", AT_FDCWD, "link", 2 /* EXCHANGE */);
	}
	for (int i = 0; i < ROUNDS; i++) {
		struct box b;

		box_init(&b, "");
		box_argv(&b, "/bin/true", NULL);
		box_mount(&b, BIND, vol, "/mnt/v");
		box_mount(&b, BIND, in_dir("real"), "/mnt/v/race/dir/new/deep");
		refused += !box_run(&b);
		stray += access("/tmp/launch-escape", F_OK) == 0;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	is_int(stray, 0, "nothing of a race reaches the host");
	diag("%d of %d launches were refused", refused, ROUNDS);
}

/* Other tests have theirs. */
static long
count_mounts(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "r");
	char line[1024];
	long n = 0;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, box_dir) != NULL;
	if (f != NULL)
		fclose(f);
	return n;
}

int
main(int argc, char **argv)
{
	long before;

	launch_holder_main(argc, argv);
	box_setup();
	make_volume();
	before = count_mounts();
	test_binds();
	test_detached();
	test_targets();
	test_proc_is_safe();
	test_masks();
	test_devices();
	test_root();
	test_propagation();
	test_race();
	is_int(count_mounts(), before, "no mount is left over");
	is_int(waitpid(-1, NULL, WNOHANG), -1, "no child is left over");
	return tap_done();
}
