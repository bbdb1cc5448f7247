/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernel settings: see sysctl.h.
 */
#include "net/sysctl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

static int
read_value(const char *file, char *out, size_t size)
{
	cleanup_close int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, out, size - 1);
	if (n < 0)
		return -1;
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return 0;
}

int
sysctl_set(const char *path, const char *value, struct err *err)
{
	cleanup_close int fd = -1;
	char file[256], now[64];

	snprintf(file, sizeof(file), "/proc/sys/%s", path);
	if (read_value(file, now, sizeof(now)) == 0 && strcmp(now, value) == 0)
		return 0;
	fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		return err_errno(err, "set sysctl %s to %s", path, value);
	return 0;
}

int
sysctl_forward4(struct err *err)
{
	return sysctl_set("net/ipv4/ip_forward", "1", err);
}

int
sysctl_forward6(struct err *err)
{
	static const char all[] = "net/ipv6/conf/all/forwarding";
	struct dirent *d;
	char now[16];
	DIR *dir;

	if (read_value("/proc/sys/net/ipv6/conf/all/forwarding", now, sizeof(now)) == 0 &&
	    strcmp(now, "1") == 0)
		return 0;
	dir = opendir("/proc/sys/net/ipv6/conf");
	if (dir == NULL)
		return err_errno(err, "open /proc/sys/net/ipv6/conf");
	while ((d = readdir(dir)) != NULL) {
		struct err ignored = {0}; /* an interface may go while we look */
		char path[300], file[320];

		snprintf(path, sizeof(path), "net/ipv6/conf/%s/accept_ra", d->d_name);
		snprintf(file, sizeof(file), "/proc/sys/%s", path);
		if (d->d_name[0] != '.' && read_value(file, now, sizeof(now)) == 0 &&
		    strcmp(now, "1") == 0)
			(void)sysctl_set(path, "2", &ignored);
	}
	closedir(dir);
	return sysctl_set(all, "1", err);
}
