/* SPDX-License-Identifier: Apache-2.0
 *
 * Network namespaces: see netns.h.
 */
#include "net/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"

int
netns_open(const char *path, bool *ret_gone, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool missing = fd < 0 && (errno == ENOENT || errno == ENOTDIR);

	if (ret_gone != NULL)
		*ret_gone = missing;
	if (fd < 0)
		return err_errno(err, "open network namespace %s", path);
	if (ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET)
		return fd;
	close(fd);
	if (ret_gone != NULL)
		*ret_gone = true;
	return err_set(err, ERR_INVALID_ARGUMENT, "%s is no network namespace", path);
}

int
netns_run(int fd, int (*fn)(void *arg, struct err *err), void *arg, struct err *err)
{
	cleanup_close int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int ret, saved;

	if (own < 0)
		return err_errno(err, "open /proc/self/ns/net");
	if (setns(fd, CLONE_NEWNET) < 0)
		return err_errno(err, "enter the network namespace");
	ret = fn(arg, err);
	saved = errno;
	if (setns(own, CLONE_NEWNET) < 0)
		abort(); /* nothing that this process does now would be where it belongs */
	errno = saved;
	return ret;
}
