/* SPDX-License-Identifier: Apache-2.0
 *
 * Root file systems: one layer and a hundred, read-only ones, and mapped owners.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "exec/rootfs.h"
#include "tap.h"

static char base[64], layers[96];

static void
cleanup(void)
{
	struct err err;

	if (base[0] != '\0' && fd_remove_tree(AT_FDCWD, base, &err) < 0)
		diag("%s", err.msg);
}

static void
put(int dirfd, const char *name, const char *text)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || fd_write_all(fd, text, strlen(text)) < 0)
		diag("cannot write %s", name);
	close(fd);
}

static const char *
get(int dirfd, const char *name)
{
	static char text[64];
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return "(missing)";
	text[n] = '\0';
	return text;
}

/* Layers "0".."99"; each has "which" and a file of its own, "0" is the lowest. */
static void
make_layers(void)
{
	for (int i = 0; i < 100; i++) {
		char name[128], text[16];
		int fd;

		snprintf(name, sizeof(name), "%s/%d", layers, i);
		mkdir(name, 0755);
		fd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		snprintf(text, sizeof(text), "%d", i);
		put(fd, "which", text);
		snprintf(name, sizeof(name), "only-%d", i);
		put(fd, name, text);
		mkdirat(fd, "dir", 0755);
		close(fd);
	}
}

static void
check_layers(size_t n)
{
	static char numbers[100][24];
	const char *lowers[100];
	char dir[128], name[32], what[64];
	struct rootfs_spec spec = {
	    .layers_dir = layers, .lowers = lowers, .n_lowers = n, .idmap_userns_fd = -1};
	struct err err = {0};
	struct stat st;
	int fd;

	for (size_t i = 0; i < n; i++) {
		snprintf(numbers[i], sizeof(numbers[i]), "%zu", n - 1 - i);
		lowers[i] = numbers[i];
	}
	snprintf(dir, sizeof(dir), "%s/containers/c%zu", base, n);
	spec.dir = dir;
	ok(rootfs_create(&spec, 0, 0, &err) == 0, "%zu layers: create", n);
	ok(rootfs_create(&spec, 0, 0, &err) == 0, "%zu layers: create again", n);
	fd = rootfs_mount(&spec, &err);
	if (!ok(fd >= 0, "%zu layers: mount", n)) {
		diag("%s", err.msg);
		return;
	}
	snprintf(what, sizeof(what), "%zu", n - 1);
	is_str(get(fd, "which"), what, "the top layer wins");
	snprintf(name, sizeof(name), "only-%zu", n - 1);
	is_str(get(fd, name), what, "the top layer is there");
	is_str(get(fd, "only-0"), "0", "so is the lowest");
	put(fd, "which", "mine");
	is_str(get(fd, "which"), "mine", "written");
	ok(renameat(fd, "dir", fd, "moved") < 0, "a directory of a layer is not redirected");
	ok(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0755, "mode of the root");
	close(fd);
	fd = rootfs_mount(&spec, &err);
	is_str(get(fd, "which"), "mine", "and still there in the next mount");
	close(fd);

	spec.dir = NULL;
	fd = rootfs_mount(&spec, &err);
	if (!ok(fd >= 0, "%zu layers: read-only", n))
		diag("%s", err.msg);
	is_str(get(fd, "only-0"), "0", "content");
	ok(mkdirat(fd, "new", 0755) < 0, "nothing can be written");
	close(fd);
	ok(rootfs_remove(dir, &err) == 0 && access(dir, F_OK) < 0, "remove");
	ok(rootfs_remove(dir, &err) == 0, "remove again");
}

/* A user namespace with 0 … 999 as 100000 … of the host, by a child that lives until the pipe ends.
 */
static int
make_userns(pid_t *ret_pid)
{
	char path[64];
	int fd;

	*ret_pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (*ret_pid == 0)
		for (;;)
			pause();
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", (int)*ret_pid,
		    i == 0 ? "uid_map" : "gid_map");
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, "0 100000 1000\n", 14) < 0)
			diag("cannot write %s", path);
		close(fd);
	}
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)*ret_pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void
check_idmap(size_t n)
{
	const char *lowers[] = {"2", "1", "0"};
	char dir[128];
	struct rootfs_spec spec = {
	    .layers_dir = layers, .lowers = lowers, .n_lowers = n, .dir = dir};
	struct err err = {0};
	struct stat st;
	pid_t pid;
	int fd;

	snprintf(dir, sizeof(dir), "%s/containers/mapped%zu-%d", base, n, rootfs_old_kernel);
	spec.idmap_userns_fd = make_userns(&pid);
	ok(rootfs_create(&spec, 100000, 100000, &err) == 0, "mapped: create");
	fd = rootfs_mount(&spec, &err);
	if (ok(fd >= 0, "mapped: mount")) {
		ok(fstat(fd, &st) == 0 && st.st_uid == 100000 && st.st_gid == 100000,
		    "the root belongs to the namespace's root");
		ok(fstatat(fd, "which", &st, 0) == 0 && st.st_uid == 100000, "and so do files");
		ok(fchownat(fd, "which", 100005, 100006, 0) == 0, "chown copies up");
		ok(fstatat(fd, "which", &st, 0) == 0 && st.st_uid == 100005 && st.st_gid == 100006,
		    "and holds");
		close(fd);
	} else {
		diag("%s", err.msg);
	}
	spec.dir = NULL;
	fd = rootfs_mount(&spec, &err);
	ok(fd >= 0 && fstatat(fd, "which", &st, 0) == 0 && st.st_uid == 100000,
	    "mapped, read-only");
	close(fd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(spec.idmap_userns_fd);
}

static void
check_refusals(void)
{
	const char *lowers[] = {"nonesuch", "0"}, *split[ROOTFS_MAX_LOWERS];
	struct rootfs_spec spec = {
	    .layers_dir = layers, .lowers = lowers, .n_lowers = 0, .idmap_userns_fd = -1};
	char names[] = "12:9:7", many[2 * ROOTFS_MAX_LOWERS + 8];
	struct err err = {0};
	size_t n = 0;

	ok(rootfs_mount(&spec, &err) < 0 && err.code == ERR_FAILED_PRECONDITION, "no layer");
	spec.n_lowers = 2;
	ok(rootfs_mount(&spec, &err) < 0, "a layer that is not there: %s", err.msg);
	spec.n_lowers = 1;
	ok(rootfs_mount(&spec, &err) < 0, "a single one: %s", err.msg);
	ok(rootfs_split_lowers(names, split, &n, &err) == 0 && n == 3 &&
	        strcmp(split[0], "12") == 0 && strcmp(split[2], "7") == 0,
	    "names split");
	for (size_t i = 0; i < sizeof(many) - 1; i++)
		many[i] = i % 2 ? ':' : '1';
	many[sizeof(many) - 1] = '\0';
	ok(rootfs_split_lowers(many, split, &n, &err) < 0, "too many: %s", err.msg);
}

int
main(void)
{
	snprintf(base, sizeof(base), "/tmp/rootfs-test-XXXXXX");
	if (geteuid() != 0)
		skip_all("needs root");
	if (mkdtemp(base) == NULL)
		skip_all("no temporary directory");
	atexit(cleanup);
	snprintf(layers, sizeof(layers), "%s/layers", base);
	mkdir(layers, 0700);
	make_layers();
	for (int old = 0; old < 2; old++) {
		rootfs_old_kernel = old;
		diag("by %s", old ? "a child" : "descriptors");
		check_layers(1);
		check_layers(2);
		check_layers(100);
		if (rootfs_can_idmap(layers)) {
			check_idmap(1);
			check_idmap(3);
		} else {
			diag("owners cannot be mapped here");
		}
	}
	check_refusals();
	return tap_done();
}
