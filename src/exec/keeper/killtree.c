/* SPDX-License-Identifier: Apache-2.0
 *
 * SIGKILL for a tree of processes: see killtree.h.
 */
#include "exec/keeper/killtree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper/pidfd.h"

enum {
	DEPTH_MAX = 512,        /* of a tree; what is deeper dies as orphans of their container */
	CHILDREN_MAX = 1 << 20, /* bytes of a list of them */
	STOP_TRIES = 20,
	STOP_WAIT_NS = 100000
};

struct pids {
	pid_t *at;
	size_t n, cap;
};

static void
add(struct pids *p, long pid)
{
	if (pid <= 0)
		return;
	if (p->n == p->cap) {
		p->cap = MAX(2 * p->cap, (size_t)16);
		p->at = xrealloc(p->at, p->cap * sizeof(*p->at));
	}
	p->at[p->n++] = (pid_t)pid;
}

/* State and parent of a process, fields 3 and 4 of proc_pid_stat(5). */
static bool
read_stat(pid_t pid, char *ret_state, pid_t *ret_parent)
{
	char path[64], text[1024];
	cleanup_close int fd = -1;
	const char *at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	at = strrchr(text, ')');
	if (at == NULL || strlen(at) < 4)
		return false;
	*ret_state = at[2];
	*ret_parent = (pid_t)strtol(at + 3, NULL, 10);
	return true;
}

/* A kernel without CONFIG_PROC_CHILDREN. */
static void
scan_all(pid_t parent, struct pids *ret)
{
	DIR *dir = opendir("/proc");
	struct dirent *ent;

	while (dir != NULL && (ent = readdir(dir)) != NULL) {
		long pid = strtol(ent->d_name, NULL, 10);
		pid_t its_parent;
		char state;

		if (pid > 0 && read_stat((pid_t)pid, &state, &its_parent) && its_parent == parent)
			add(ret, pid);
	}
	if (dir != NULL)
		closedir(dir);
}

static bool
read_list(int task_dir, const char *tid, struct pids *ret)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct err err;
	char path[300], *at, *end;

	snprintf(path, sizeof(path), "%s/children", tid);
	if (faccessat(task_dir, path, F_OK, 0) < 0)
		return false;
	if (fd_read_file(task_dir, path, CHILDREN_MAX, &b, &err) < 0 || b.len == 0)
		return true;
	for (at = b.data;; at = end) {
		long pid = strtol(at, &end, 10);

		if (end == at)
			return true;
		add(ret, pid);
	}
}

size_t
killtree_children(pid_t pid, pid_t **ret)
{
	struct pids found = {0};
	struct dirent *ent;
	bool listed = false;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir != NULL && (ent = readdir(dir)) != NULL)
		if (ent->d_name[0] != '.')
			listed = read_list(dirfd(dir), ent->d_name, &found) || listed;
	if (dir != NULL) {
		closedir(dir);
		if (!listed)
			scan_all(pid, &found);
	}
	*ret = found.at;
	return found.n;
}

/* A fork that is under way ends before it stops. One that waits for its vfork child never does, and
 * one that is dead needs no more. */
static void
wait_stopped(pid_t pid)
{
	struct timespec nap = {.tv_nsec = STOP_WAIT_NS};
	pid_t parent;
	char state;
	int i;

	for (i = 0; i < STOP_TRIES; i++) {
		if (!read_stat(pid, &state, &parent) || strchr("TtZX", state) != NULL)
			return;
		nanosleep(&nap, NULL);
	}
}

static void
kill_below(pid_t pid, int pidfd, int depth)
{
	cleanup_free pid_t *children = NULL;
	size_t n, i;

	if (pidfd_signal(pidfd, SIGSTOP) < 0)
		return;
	wait_stopped(pid);
	n = depth < DEPTH_MAX ? killtree_children(pid, &children) : 0;
	for (i = 0; i < n; i++) {
		cleanup_close int child = pidfd_open_(children[i]);
		pid_t parent;
		char state;

		/* The pidfd was there before the check, and is alive after it: they are one
		 * process. */
		if (child >= 0 && read_stat(children[i], &state, &parent) && parent == pid &&
		    pidfd_signal(child, 0) == 0)
			kill_below(children[i], child, depth + 1);
	}
	pidfd_signal(pidfd, SIGKILL);
}

void
killtree(pid_t root, int held_pidfd)
{
	cleanup_close int pidfd = pidfd_open_(root);
	bool leads = getpgid(root) == root;

	/* That it is alive after the pidfd was opened means that the pid is still its own. */
	if (pidfd < 0 || (held_pidfd >= 0 && pidfd_signal(held_pidfd, 0) < 0))
		return;
	kill_below(root, pidfd, 0);
	/* The pid is not reused as long as the root is not reaped, nor as the id of a group. */
	if (leads)
		kill(-root, SIGKILL);
}
