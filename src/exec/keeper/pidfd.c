/* SPDX-License-Identifier: Apache-2.0
 *
 * Processes by descriptor: see pidfd.h.
 */
#include "exec/keeper/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* linux/pidfd.h of 6.15. */
struct get_info {
	uint64_t mask;
	uint64_t cgroupid;
	uint32_t pid, tgid, ppid;
	uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_code;
};
_Static_assert(sizeof(struct get_info) == 64, "PIDFD_INFO_SIZE_VER0");
#define GET_INFO _IOWR(0xFF, 11, struct get_info)
#define INFO_EXIT (UINT64_C(1) << 3)

int
pidfd_open_(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

int
pidfd_signal(int pidfd, int sig)
{
	return (int)syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
}

pid_t
pidfd_pid(int pidfd)
{
	char path[64], text[512];
	cleanup_close int fd = -1;
	const char *line;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	line = strstr(text, "\nPid:");
	if (line == NULL)
		return -1;
	n = strtol(line + 5, NULL, 10);
	return n > 0 ? (pid_t)n : -1;
}

/* Without it, /proc/<pid>/stat says 0 for the exit code of another user's process. */
static bool
may_read_exit_code(void)
{
	struct __user_cap_header_struct hdr = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {{0}};

	return syscall(SYS_capget, &hdr, caps) == 0 &&
	       (caps[0].effective & (1U << CAP_SYS_PTRACE)) != 0;
}

/* State and exit_code, fields 3 and 52 of proc_pid_stat(5); the name before them may hold anything.
 */
static bool
zombie_status(pid_t pid, int32_t *ret_status)
{
	char path[64], text[2048];
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
	if (at == NULL || at[1] != ' ' || at[2] != 'Z')
		return false;
	at = strrchr(text, ' ');
	*ret_status = (int32_t)strtol(at + 1, NULL, 10);
	return true;
}

enum pidfd_exit
pidfd_exit_status(int pidfd, pid_t pid, int32_t *ret_status)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	struct get_info info = {.mask = INFO_EXIT};
	int32_t status;

	if (poll(&p, 1, 0) <= 0 || (p.revents & (POLLIN | POLLHUP)) == 0)
		return PIDFD_RUNNING;
	/* A zombie is there until it is reaped: that it still is afterwards means that it was read.
	 */
	if (may_read_exit_code() && zombie_status(pid, &status) && pidfd_signal(pidfd, 0) == 0) {
		*ret_status = status;
		return PIDFD_EXITED;
	}
	if (ioctl(pidfd, GET_INFO, &info) == 0 && (info.mask & INFO_EXIT) != 0) {
		*ret_status = info.exit_code;
		return PIDFD_EXITED;
	}
	return PIDFD_LOST;
}
