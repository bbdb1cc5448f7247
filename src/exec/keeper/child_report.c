/* SPDX-License-Identifier: Apache-2.0
 *
 * What the child of a launch tells the keeper: fixed-size packets on a socket that execve closes.
 * Plain write(2) wherever no descriptor goes along: it has to pass a container's system call
 * filter.
 */
#include "exec/keeper/child.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void
fill(struct launch_ctx *c, struct launch_msg *m, enum launch_msg_type type)
{
	memset(m, 0, sizeof(*m));
	m->type = type;
	snprintf(m->step, sizeof(m->step), "%s", c->step);
}

static void
put(struct launch_ctx *c, const struct launch_msg *m)
{
	while (write(c->status_fd, m, sizeof(*m)) < 0 && errno == EINTR)
		;
}

void
child_fail(struct launch_ctx *c, int errnum, const char *fmt, ...)
{
	struct launch_msg m;
	va_list ap;

	fill(c, &m, LAUNCH_MSG_FAIL);
	m.errnum = errnum;
	va_start(ap, fmt);
	vsnprintf(m.text, sizeof(m.text), fmt, ap);
	va_end(ap);
	put(c, &m);
	_exit(127);
}

void
child_fail_plain(struct launch_ctx *c, int errnum, const char *fmt, ...)
{
	struct launch_msg m;
	va_list ap;

	fill(c, &m, LAUNCH_MSG_FAIL);
	m.errnum = errnum;
	m.plain = 1;
	va_start(ap, fmt);
	vsnprintf(m.text, sizeof(m.text), fmt, ap);
	va_end(ap);
	put(c, &m);
	_exit(127);
}

void
child_note(struct launch_ctx *c, const char *fmt, ...)
{
	struct launch_msg m;
	va_list ap;

	fill(c, &m, LAUNCH_MSG_NOTE);
	va_start(ap, fmt);
	vsnprintf(m.text, sizeof(m.text), fmt, ap);
	va_end(ap);
	put(c, &m);
}

void
child_send_last(struct launch_ctx *c)
{
	struct launch_msg m;

	fill(c, &m, LAUNCH_MSG_LAST);
	put(c, &m);
}

void
child_send_fd(struct launch_ctx *c, enum launch_msg_type type, pid_t pid, int fd)
{
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct launch_msg m;
	struct iovec iov = {&m, sizeof(m)};
	struct msghdr msg = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control)};
	struct cmsghdr *h = CMSG_FIRSTHDR(&msg);

	fill(c, &m, type);
	m.pid = pid;
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	while (sendmsg(c->status_fd, &msg, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			child_fail(c, errno, "send a descriptor to the keeper");
}
