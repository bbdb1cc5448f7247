/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper's end of a process's stdin: see input.h.
 */
#include "exec/keeper/input.h"

#include <errno.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper/attachment.h"
#include "exec/keeper/front.h"
#include "exec/keeper/proc.h"

struct input *
input_new_take(struct proc *p, int fd)
{
	struct input *in = xcalloc(1, sizeof(*in));

	in->proc = p;
	in->fd = fd;
	fd_set_nonblock(fd, true);
	return in;
}

void
input_free(struct input *in)
{
	if (in == NULL)
		return;
	reactor_del(&in->src);
	fd_closep(&in->fd);
	free(in);
}

static void
on_writable(struct reactor_source *src, uint32_t events)
{
	struct input *in = container_of(src, struct input, src);

	(void)events;
	reactor_del(&in->src);
	attachments_input_ready(in->proc);
}

ssize_t
input_write(struct input *in, const char *data, size_t n)
{
	ssize_t done;

	do
		done = write(in->fd, data, n);
	while (done < 0 && errno == EINTR);
	if (done < 0 && errno == EAGAIN && !in->src.registered &&
	    reactor_add(&in->src, in->fd, EPOLLOUT, on_writable) < 0)
		errno = EIO;
	return done;
}

void
input_close(struct proc *p)
{
	Coracle__Launch__Reply event;

	if (p->in == NULL || p->tty)
		return;
	input_free(take_ptr(p->in));
	coracle__launch__reply__init(&event);
	event.stdin_closed = p->id;
	front_send(&event, NULL, 0);
}
