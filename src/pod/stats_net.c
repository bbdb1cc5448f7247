/* SPDX-License-Identifier: Apache-2.0
 *
 * Network counters of a pod: see stats_impl.h.
 *
 * /proc/net/dev has the 64-bit counters and is read under RCU, while a netlink dump of the links
 * waits for the lock that every coming and going of a network namespace holds. An opened file keeps
 * the namespace that it was opened in.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "pod/stats_impl.h"

enum { DEV_MAX = 1 << 20 };

/* "  eth0: bytes packets errs drop fifo frame compressed multicast  bytes packets errs drop …" */
static bool
parse_line(const char *line, struct stats_link *ret)
{
	const char *colon = strrchr(line, ':'); /* an alias has one in its name */
	size_t n;

	while (*line == ' ')
		line++;
	if (colon == NULL || colon <= line || (n = (size_t)(colon - line)) >= sizeof(ret->name))
		return false;
	*ret = (struct stats_link){0};
	memcpy(ret->name, line, n);
	return sscanf(colon + 1,
	           "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %*u %*u %*u %*u %" SCNu64
	           " %" SCNu64 " %" SCNu64 " %" SCNu64,
	           &ret->rx_bytes, &ret->rx_packets, &ret->rx_errors, &ret->rx_dropped,
	           &ret->tx_bytes, &ret->tx_packets, &ret->tx_errors, &ret->tx_dropped) == 8;
}

/* There and back: nothing else may happen in between, and staying there is no option. */
static int
open_dev_in(int netns, struct err *err)
{
	cleanup_close int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int fd, saved, rc;

	if (own < 0)
		return err_errno(err, "open our network namespace");
	if (setns(netns, CLONE_NEWNET) < 0)
		return err_errno(err, "enter the network namespace");
	fd = open("/proc/thread-self/net/dev", O_RDONLY | O_CLOEXEC);
	saved = errno;
	rc = setns(own, CLONE_NEWNET);
	assert(rc == 0);
	errno = saved;
	return fd < 0 ? err_errno(err, "open net/dev") : fd;
}

int
stats_read_links(const char *netns, struct stats_link *ret, size_t max, struct err *err)
{
	cleanup_close int ns = open(netns, O_RDONLY | O_CLOEXEC);
	cleanup_close int fd = -1;
	cleanup_buf struct buf text = BUF_INIT;
	char *save = NULL;
	size_t n = 0;

	if (ns < 0)
		return err_errno(err, "open %s", netns);
	fd = open_dev_in(ns, err);
	if (fd < 0 || fd_read_all(fd, DEV_MAX, &text, err) < 0)
		return err_wrap(err, "network counters of %s", netns);
	for (char *line = strtok_r(text.data, "\n", &save); line != NULL && n < max;
	     line = strtok_r(NULL, "\n", &save))
		if (parse_line(line, &ret[n]) && strcmp(ret[n].name, "lo") != 0)
			n++;
	return (int)n;
}
