/* SPDX-License-Identifier: Apache-2.0
 *
 * The named pipes of a process: see pipes.h.
 */
#include "exec/keeper/pipes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"

enum { STDIN, STDOUT, STDERR };
enum { PIPE_FLAGS = O_CLOEXEC | O_NOFOLLOW | O_NOCTTY };

static const char *const names[] = {"stdin", "stdout", "stderr"};

void
pipes_closep(struct pipes *p)
{
	int i;

	for (i = 0; i < 3; i++) {
		fd_closep(&p->child[i]);
		fd_closep(&p->ours[i]);
	}
}

static int
open_dir(const char *io_dir, struct err *err)
{
	int fd = open(io_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, "open %s", io_dir);
	return fd;
}

/* An open pipe, or -1: whatever else has taken its name is refused. */
static int
open_fifo(int dirfd, int which, int flags)
{
	cleanup_close int fd = openat(dirfd, names[which], PIPE_FLAGS | flags);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode))
		return -1;
	return take_fd(fd);
}

static int
make_one(int dirfd, int which, struct pipes *p)
{
	unlinkat(dirfd, names[which], 0);
	if (mkfifoat(dirfd, names[which], 0600) < 0 || fchmodat(dirfd, names[which], 0666, 0) < 0)
		return -1;
	if (which == STDIN) {
		/* A writer needs a reader first; the process's own end is opened with a writer
		 * there, so that it does not block here and is blocking later. */
		cleanup_close int first = open_fifo(dirfd, which, O_RDONLY | O_NONBLOCK);

		if (first < 0)
			return -1;

		p->ours[which] = open_fifo(dirfd, which, O_WRONLY | O_NONBLOCK);
		p->child[which] = p->ours[which] < 0 ? -1 : open_fifo(dirfd, which, O_RDONLY);
	} else {
		p->ours[which] = open_fifo(dirfd, which, O_RDWR | O_NONBLOCK);
		p->child[which] = p->ours[which] < 0 ? -1 : open_fifo(dirfd, which, O_RDWR);
	}
	return p->child[which] < 0 ? -1 : 0;
}

int
pipes_make(const char *io_dir, bool with_stdin, struct pipes *ret, struct err *err)
{
	cleanup_pipes struct pipes p = PIPES_INIT;
	cleanup_close int dirfd = -1;
	int i;

	if (fd_mkdir_p(AT_FDCWD, io_dir, 0700, err) < 0 || (dirfd = open_dir(io_dir, err)) < 0)
		return -1;
	for (i = with_stdin ? STDIN : STDOUT; i <= STDERR; i++)
		if (make_one(dirfd, i, &p) < 0)
			return err_errno(err, "make pipe %s/%s", io_dir, names[i]);
	for (i = 0; i < 3; i++) {
		ret->child[i] = take_fd(p.child[i]);
		ret->ours[i] = take_fd(p.ours[i]);
	}
	return 0;
}

int
pipes_reopen(const char *io_dir, int which, struct err *err)
{
	cleanup_close int dirfd = open_dir(io_dir, err);
	int fd;

	if (dirfd < 0)
		return -1;
	fd = open_fifo(dirfd, which, (which == STDIN ? O_WRONLY : O_RDWR) | O_NONBLOCK);
	if (fd < 0)
		return err_errno(err, "open pipe %s/%s", io_dir, names[which]);
	return fd;
}

void
pipes_remove(const char *io_dir)
{
	cleanup_close int dirfd = -1;
	int i;

	if (io_dir == NULL || *io_dir == '\0')
		return;
	dirfd = open(io_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return;
	for (i = 0; i < 3; i++)
		unlinkat(dirfd, names[i], 0);
	rmdir(io_dir);
}
