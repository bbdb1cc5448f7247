/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages with descriptors: see parcel.h.
 */
#include "exec/keeper/parcel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

union control {
	char bytes[CMSG_SPACE(sizeof(int) * PARCEL_FDS)];
	struct cmsghdr align;
};

void
parcel_close_fds(int *fds, size_t n_fds)
{
	size_t i;

	for (i = 0; i < n_fds; i++)
		fd_closep(&fds[i]);
}

static size_t
take_fds(struct msghdr *msg, int *fds)
{
	struct cmsghdr *c;
	size_t n = 0;

	for (c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		size_t here;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		here = MIN((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), PARCEL_FDS - n);
		memcpy(fds + n, CMSG_DATA(c), here * sizeof(int));
		n += here;
	}
	return n;
}

ssize_t
parcel_recv(int sock, void *buf, size_t cap, int fds[static PARCEL_FDS], size_t *ret_n_fds)
{
	union control control;
	struct iovec iov = {.iov_base = buf, .iov_len = cap};
	struct msghdr msg = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = sizeof(control.bytes)};
	size_t n_fds;
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -1;
	n_fds = take_fds(&msg, fds);
	if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		parcel_close_fds(fds, n_fds);
		n_fds = PARCEL_CUT;
	}
	*ret_n_fds = n_fds;
	return n;
}

int
parcel_send(int sock, const void *p, size_t n, const int *fds, size_t n_fds)
{
	union control control;
	struct iovec iov = {.iov_base = (void *)p, .iov_len = n};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t sent;

	if (n_fds > PARCEL_FDS || n > PARCEL_MAX) {
		errno = EMSGSIZE;
		return -1;
	}
	if (n_fds > 0) {
		struct cmsghdr *c;

		memset(&control, 0, CMSG_SPACE(sizeof(int) * n_fds));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	do
		sent = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -1 : 0;
}

int
parcel_memfd(const char *name, const void *p, size_t n)
{
	cleanup_close int fd = -1;

	/* Since Linux 6.3; vm.memfd_noexec=2 accepts no other kind. */
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || fd_write_all(fd, p, n) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return -1;
	return take_fd(fd);
}

int
parcel_memfd_read(int fd, struct buf *b, struct err *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	off_t at = 0;

	if (seals < 0 || (seals & (F_SEAL_WRITE | F_SEAL_SHRINK)) != (F_SEAL_WRITE | F_SEAL_SHRINK))
		return err_set(err, ERR_INVALID_ARGUMENT, "body is not a sealed memfd");
	if (fstat(fd, &st) < 0)
		return err_errno(err, "stat of a memfd");
	if (st.st_size > PARCEL_BODY_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "body of %lld bytes; at most %d",
		    (long long)st.st_size, PARCEL_BODY_MAX);
	while (at < st.st_size) {
		size_t want = (size_t)(st.st_size - at);
		ssize_t n = pread(fd, buf_reserve(b, want), want, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(err, "read of a memfd");
		buf_grew(b, (size_t)n);
		at += n;
	}
	return 0;
}
