/* SPDX-License-Identifier: Apache-2.0
 *
 * cgroups on whatever layout this kernel has: names, life and death.
 */
#include "cglab.h"

static const char id2[] = "ffff456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/* ---- names --------------------------------------------------------------------------------- */

static void
test_paths(void)
{
	static const struct {
		const char *parent, *id, *want;
	} t[] = {
	    {"/a/b", "x", "/a/b/x"}, {"/a//b/./", "x", "/a/b/x"}, {"/a", NULL, "/a"},
	    {"/", "x", "/x"}, {"/", NULL, "/"}, {"a", "x", NULL}, {"/a/../b", "x", NULL},
	    {"/a", "", NULL}, {"/a", "..", NULL}, {"/a", "b/c", NULL}, {"/a\nb", "x", NULL},
	    {"/a", "x\ny", NULL}, {"/..", NULL, NULL},
	};
	static const struct {
		const char *parent, *id, *want;
	} s[] = {
	    {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice", "x",
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/"
		"coracle-x.scope"},
	    {"kubepods-burstable.slice", NULL, "/kubepods.slice/kubepods-burstable.slice"},
	    {"/test.slice", "x", "/test.slice/coracle-x.scope"}, {"/test", "x", NULL},
	    {"-.slice", "x", "/coracle-x.scope"}, {".slice", "x", NULL}, {"a--b.slice", "x", NULL},
	    {"-a.slice", "x", NULL}, {"a-.slice", "x", NULL}, {"/../a.slice", "x", NULL},
	};
	char *path, want[128];

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		path = cgroup_path(t[i].parent, t[i].id, &err);
		is_str(path, t[i].want, t[i].want != NULL ? t[i].want : "a bad name is refused");
		free(path);
	}
	snprintf(want, sizeof(want), "%s/x", top);
	path = cgroup_path("", "x", &err);
	is_str(path, want, "no parent: the instance");
	free(path);
	refused(cgroup_kill("/", NULL, &err), ERR_INVALID_ARGUMENT, "the root is not killed");
	ok(strstr(err.msg, "root") != NULL, "and said so");
	cgroups.info.driver = CGROUP_DRIVER_SYSTEMD;
	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		path = cgroup_path(s[i].parent, s[i].id, &err);
		is_str(path, s[i].want, s[i].want != NULL ? s[i].want : "no slice");
		free(path);
	}
	cgroups.info.driver = CGROUP_DRIVER_CGROUPFS;
	refused(cgroup_init("a/b", CGROUP_DRIVER_CGROUPFS, &err), ERR_INVALID_ARGUMENT,
	    "an instance is one component");
	good(cgroup_init(top + 1, CGROUP_DRIVER_CGROUPFS, &err), "start again");
}

/* ---- life ---------------------------------------------------------------------------------- */

static void
test_life(void)
{
	pid_t *pids = NULL, child, other;
	size_t n = 0;
	int status;
	bool frozen = false;

	good(cgroup_create(pod, id, &err), "create");
	good(cgroup_create(pod, id, &err), "create again");
	ok(cgroup_exists(pod, id), "it exists");
	ok(!cgroup_exists(pod, id2), "another does not");
	is_int(cgroup_populated(pod, id, &err), 0, "nobody in it");
	child = spawn(pod, id, do_sleep);
	other = spawn(pod, id, do_sleep);
	ok(child > 0 && other > 0, "two processes in it");
	is_int(cgroup_populated(pod, id, &err), 1, "somebody in it");
	is_int(cgroup_populated(pod, NULL, &err), 1, "and below the pod");
	usleep(20000); /* on v1 they move themselves */
	good(cgroup_pids(pod, id, 100, &pids, &n, &err), "list");
	ok(n == 2 && pids[0] + pids[1] == child + other, "both are listed");
	free(pids);
	good(cgroup_pids(pod, NULL, 1, &pids, &n, &err), "list one, from the pod");
	is_int(n, 1, "just one");
	free(pids);
	is_int(cgroup_remove(pod, id, &err), 0, "not removed while they live");
	if (cgroups.v2 >= 0 || cgroup_has(CGROUP_FREEZER)) {
		good(cgroup_freeze(pod, id, true, &err), "freeze");
		for (int i = 0; i < 1000 && !frozen; i++) {
			frozen = cgroup_frozen(pod, id, &err) == 1;
			usleep(1000);
		}
		ok(frozen, "frozen");
		good(cgroup_freeze(pod, id, false, &err), "thaw");
		good(cgroup_freeze(pod, id, true, &err), "freeze again");
	}
	good(cgroup_kill(pod, id, &err), "kill the frozen");
	status = wait_status(child);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "one is dead");
	status = wait_status(other);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the other is dead");
	ok(removed_soon(pod, id, NULL), "then it goes");
	ok(!cgroup_exists(pod, id), "gone");
	is_int(cgroup_remove(pod, id, &err), 1, "remove again");
	good(cgroup_kill(pod, id, &err), "kill what is gone");
	is_int(cgroup_populated(pod, id, &err), 0, "nobody in what is gone");
	refused(cgroup_pids(pod, id, 1, &pids, &n, &err), ERR_NOT_FOUND, "no pids of what is gone");
	refused(cgroup_open(pod, id, &(struct cgroup_fds){0}, &err), ERR_NOT_FOUND, "nor fds");
}

/* A process that has left the v2 cgroup, or whose fork races with the kill. */
static int
do_fork_storm(void)
{
	for (int i = 0; i < 20; i++)
		if (fork() == 0)
			for (int k = 0; k < 50; k++) {
				if (fork() > 0)
					_exit(0);
				usleep(500);
			}
	return do_sleep();
}

static void
test_storm(void)
{
	pid_t child;
	bool gone = false;

	good(cgroup_create(pod, id, &err), "create");
	child = spawn(pod, id, do_fork_storm);
	usleep(10000);
	for (int i = 0; i < 500 && !gone; i++) {
		cgroup_kill(pod, id, &err);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		gone = cgroup_remove(pod, id, &err) == 1;
		usleep(1000);
	}
	ok(child > 0 && gone, "a forking crowd is killed and removed");
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static void
test_stray(void)
{
	struct cgroup_fds fds = CGROUP_FDS_INIT;
	bool gone = false;
	pid_t child;

	if (cgroups.info.layout != CGROUP_HYBRID)
		return;
	good(cgroup_create(pod, id, &err), "create");
	good(cgroup_open(pod, id, &fds, &err), "open");
	fflush(stdout);
	child = fork();
	if (child == 0) {
		(void)!write(fds.procs[0], "0", 1);
		do_sleep();
	}
	usleep(20000);
	cgroup_fds_release(&fds);
	is_int(cgroup_populated(pod, id, &err), 0, "v2 does not see it");
	is_int(cgroup_remove(pod, id, &err), 0, "v1 holds it");
	for (int i = 0; i < 500 && !gone; i++) {
		good(cgroup_kill(pod, id, &err), "kill");
		usleep(5000);
		waitpid(child, NULL, WNOHANG);
		gone = cgroup_remove(pod, id, &err) == 1;
	}
	ok(gone, "found in v1 and killed");
}

static void
nest(const char *below, const char *prefix, int levels, int wide)
{
	for (size_t i = 0; i < cgroups.n_h; i++) {
		int at = cgroup_dir(&cgroups.h[i], below, &err);
		char name[32];

		for (int w = 0; w < wide; w++) {
			snprintf(name, sizeof(name), "%s%d", prefix, w);
			mkdirat(at, name, 0755);
		}
		for (int l = 0; l < levels; l++) {
			int next;

			snprintf(name, sizeof(name), "%s%d", prefix, wide / 2);
			mkdirat(at, name, 0755);
			next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			close(at);
			at = next;
		}
		close(at);
	}
}

static void
test_nested(void)
{
	char *path = cgroup_path(pod, id, &err);
	int calls;
	pid_t child;
	char deep[192];

	good(cgroup_create(pod, id, &err), "create");
	nest(path, "n", 40, 30);
	ok(removed_soon(pod, id, &calls), "40 levels and 30 siblings go");
	ok(calls <= 2, "at once");
	good(cgroup_create(pod, id, &err), "create");
	nest(path, "n", 700, 1);
	ok(removed_soon(pod, id, &calls), "700 levels go");
	ok(calls > 1, "but not in one call");
	good(cgroup_create(pod, id, &err), "create");
	nest(path, "n", 1, 3);
	snprintf(deep, sizeof(deep), "%s/%s", pod, id);
	good(cgroup_create(deep, "n1", &err), "one that takes processes"); /* v1: cpuset */
	child = spawn(deep, "n1", do_sleep);
	ok(child > 0, "a process below it");
	usleep(20000);
	is_int(cgroup_populated(pod, id, &err), 1, "it counts");
	is_int(cgroup_remove(pod, id, &err), 0, "and keeps it");
	good(cgroup_kill(pod, id, &err), "kill");
	wait_status(child);
	ok(removed_soon(pod, id, NULL), "gone");
	free(path);
}

static int foreach_seen;
static void
on_leaf(const char *parent, const char *name, void *arg)
{
	(void)arg;
	if (strcmp(parent, pod) == 0 && (strcmp(name, id) == 0 || strcmp(name, id2) == 0))
		foreach_seen++;
	else
		foreach_seen = 1000;
}

static void
test_parents(void)
{
	char *path;
	int dir;

	good(cgroup_create(pod, id, &err), "create one");
	good(cgroup_create(pod, id2, &err), "create another");
	path = cgroup_path(pod, id, &err);
	nest(path, id2, 2, 1);
	free(path);
	foreach_seen = 0;
	good(cgroup_foreach(on_leaf, NULL, &err), "look for ours");
	is_int(foreach_seen, 2, "each is found once, and not what is below it");
	good(cgroup_remove_parent(pod, &err), "remove the parent");
	ok(cgroup_exists(pod, NULL), "which is not empty");
	ok(removed_soon(pod, id, NULL) && removed_soon(pod, id2, NULL), "remove both");
	good(cgroup_remove_parent(pod, &err), "remove the parent");
	ok(!cgroup_exists(pod, NULL) && !cgroup_exists(top, NULL), "all of ours is gone");
	good(cgroup_remove_parent(pod, &err), "and again");
	/* one that is not ours in the middle */
	for (size_t i = 0; i < cgroups.n_h; i++)
		ok(mkdirat(cgroups.h[i].fd, top + 1, 0755) == 0, "%s: a foreign parent",
		    cgroups.h[i].name);
	good(cgroup_create(pod, id, &err), "create below it");
	ok(removed_soon(pod, id, NULL), "remove");
	good(cgroup_remove_parent(pod, &err), "remove the parents");
	ok(!cgroup_exists(pod, NULL), "ours is gone");
	ok(cgroup_exists(top, NULL), "the foreign one stays");
	for (size_t i = 0; i < cgroups.n_h; i++)
		ok(unlinkat(cgroups.h[i].fd, top + 1, AT_REMOVEDIR) == 0, "%s: and is empty",
		    cgroups.h[i].name);
	/* a creation that fails half way: no room below the parent in the last hierarchy */
	if (cgroups.v2 < 0)
		return;
	good(cgroup_create(top, "x", &err), "create");
	dir = cgroup_dir(&cgroups.h[cgroups.v2], top, &err);
	ok(cgroup_file_write(dir, "cgroup.max.descendants", "1") == 0, "no more below it");
	close(dir);
	refused(cgroup_create(pod, id, &err), ERR_INTERNAL, "create fails");
	ok(strstr(err.msg, pod) != NULL, "and tells where: %s", err.msg);
	ok(!cgroup_exists(pod, NULL), "and leaves nothing");
	ok(removed_soon(top, "x", NULL), "remove");
	good(cgroup_remove_parent(top, &err), "remove the parent");
}

int
main(void)
{
	size_t fds = cglab_open("cgroup");

	test_paths();
	test_life();
	test_storm();
	test_stray();
	test_nested();
	test_parents();
	cglab_close(fds);
	return tap_done();
}
