/* SPDX-License-Identifier: Apache-2.0
 *
 * What /proc tells of the processes of a container, within bounds: see metrics_impl.h.
 *
 * Since Linux 6.2 the size of /proc/<pid>/fd is the number of descriptors; before, they are counted
 * one by one, like the sockets among them, which only their links tell.
 */
#include "pod/metrics_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"

static bool
is_gone(void)
{
	return errno == ENOENT || errno == ESRCH;
}

static bool
is_socket(int dir, const char *name)
{
	char target[16];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return false;
	target[n] = '\0';
	return str_starts(target, "socket:");
}

/* Takes the directory. False when there is more than may be looked at. */
static bool
count_each(int fd, size_t *left, uint64_t *fds, uint64_t *sockets)
{
	DIR *d = fdopendir(fd);
	struct dirent *ent;
	bool all = true;

	if (d == NULL) {
		close(fd);
		return false;
	}
	while ((ent = readdir(d)) != NULL) {
		if (*ent->d_name == '.')
			continue;
		if (*left == 0) {
			all = false;
			break;
		}
		(*left)--;
		(*fds)++;
		if (is_socket(dirfd(d), ent->d_name))
			(*sockets)++;
	}
	closedir(d);
	return all;
}

static void
count_process(pid_t pid, size_t *sockets_left, struct process_counts *ret)
{
	uint64_t fds = 0, sockets = 0;
	char path[32];
	struct stat st;
	bool told, all;
	int dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	if (stat(path, &st) == 0 && st.st_nlink > 2)
		ret->threads += st.st_nlink - 2; /* a link for each thread, "." and ".." */
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) < 0) {
		if (!is_gone())
			ret->has_fds = ret->has_sockets = false;
		fd_closep(&dir);
		return;
	}
	told = st.st_size > 0;
	if (told)
		ret->fds += (uint64_t)st.st_size;
	if (!ret->has_sockets && told) {
		close(dir);
		return;
	}
	all = count_each(dir, sockets_left, &fds, &sockets);
	if (!told)
		ret->fds += fds;
	ret->sockets += sockets;
	ret->has_fds = ret->has_fds && (told || all);
	ret->has_sockets = ret->has_sockets && all;
}

void
metrics_count(const pid_t *pids, size_t n, size_t *processes_left, size_t *sockets_left,
    struct process_counts *ret)
{
	*ret = (struct process_counts){.has_fds = true, .has_sockets = true};
	if (n > *processes_left) {
		ret->has_fds = ret->has_sockets = false;
		return;
	}
	*processes_left -= n;
	for (size_t i = 0; i < n && ret->has_fds; i++)
		count_process(pids[i], sockets_left, ret);
}

/* prlimit(2) would need a privilege that /proc does not ask for. */
bool
metrics_open_files_limit(pid_t pid, uint64_t *ret)
{
	static const char key[] = "Max open files";
	cleanup_buf struct buf text = BUF_INIT;
	char path[40], number[24], *line;
	struct err ignored;

	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	if (pid <= 0 || fd_read_file(AT_FDCWD, path, 16384, &text, &ignored) < 0 || text.len == 0)
		return false;
	line = strstr(text.data, key);
	if (line == NULL || sscanf(line + sizeof(key) - 1, " %23s", number) != 1)
		return false;
	return str_u64(number, 10, UINT64_MAX, ret) == 0; /* "unlimited" is no number */
}
