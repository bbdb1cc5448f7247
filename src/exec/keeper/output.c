/* SPDX-License-Identifier: Apache-2.0
 *
 * From a process's pipe or terminal to its log and its clients: see output.h.
 */
#include "exec/keeper/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper/attachment.h"
#include "exec/keeper/crilog.h"
#include "exec/keeper/front.h"
#include "exec/keeper/journal.h"
#include "exec/keeper/proc.h"

enum {
	PORTION = 64 * 1024, /* looked at in one turn; what a pipe holds by default */
	WRITES_PER_TURN = 4, /* of records: a flood of empty lines is 40 times as long in the log */
	DRAIN_MAX = 16 << 20, /* of a terminal that something still writes to */
};

/* One portion is in hand at a time, whoever's it is. */
static char window[PORTION];
static char *records;
static size_t records_cap;
static int scratch[2] = {-1, -1};

static void on_task(struct reactor_task *task);

void
output_reserve_line(size_t max_line)
{
	size_t want = MAX(max_line + CRILOG_OVERHEAD, (size_t)PORTION);

	if (want > records_cap) {
		records = xrealloc(records, want);
		records_cap = want;
	}
}

static void
on_readable(struct reactor_source *src, uint32_t events)
{
	struct output *o = container_of(src, struct output, src);

	(void)events;
	reactor_task_queue(&o->task, on_task);
}

struct output *
output_new_take(struct proc *p, int fd, bool is_stderr, bool terminal)
{
	struct output *o;

	if (scratch[0] < 0 && pipe2(scratch, O_CLOEXEC | O_NONBLOCK) < 0) {
		fd_closep(&fd);
		return NULL;
	}
	o = xcalloc(1, sizeof(*o));
	o->proc = p;
	o->fd = fd;
	o->is_stderr = is_stderr;
	o->terminal = terminal;
	output_reserve_line(p->max_line);
	/* Edges, since an unfinished line stays in the pipe. */
	if (fd_set_nonblock(fd, true) < 0 ||
	    reactor_add(&o->src, fd, EPOLLIN | EPOLLET, on_readable) < 0) {
		output_free(o);
		return NULL;
	}
	return o;
}

void
output_free(struct output *o)
{
	if (o == NULL)
		return;
	reactor_del(&o->src);
	reactor_task_cancel(&o->task);
	fd_closep(&o->fd);
	free(o->carry);
	free(o);
}

void
output_hold(struct output *o)
{
	o->holds++;
}

void
output_release(struct output *o)
{
	if (--o->holds == 0)
		reactor_task_queue(&o->task, on_task);
}

static void
report(const struct crilog *log, enum crilog_result result, uint64_t dropped)
{
	if (result == CRILOG_FIRST_FAILURE)
		front_note("log %s: %s: output is dropped until it works again", log->path,
		    strerror(errno));
	else if (result == CRILOG_RECOVERED)
		front_note("log %s works again; %llu lines were dropped", log->path,
		    (unsigned long long)dropped);
}

/* Take n bytes off the pipe, which are those at `at` already. The process has its pipes read-write
 * and may have read some itself: then there is nothing to be had, and nothing to be done. */
static void
take(struct output *o, char *at, size_t n, char *last)
{
	size_t done = 0;

	/* Once, but for a process that has made its pipe one of packets (O_DIRECT). */
	while (done < n) {
		struct iovec iov[2];
		ssize_t got;

		iov[0] = (struct iovec){.iov_base = at + done, .iov_len = n - 1 - done};
		iov[1] = (struct iovec){.iov_base = last, .iov_len = 1};
		got = readv(o->fd, iov, 2);
		if (got > 0)
			done += (size_t)got;
		else if (got == 0 || errno != EINTR)
			break;
	}
	o->seen -= MIN(o->seen, n);
}

/* Log the pieces at the front of data, and take them off the pipe when that is where they still
 * are. Returns how many bytes that was. */
static size_t
log_pieces(struct output *o, char *data, size_t len, bool in_pipe, bool final)
{
	struct crilog_style style = {
	    o->is_stderr ? "stderr" : "stdout", o->proc->max_line, o->terminal};
	struct crilog *log = &o->proc->log;
	size_t at = 0;
	int writes;

	if (log->fd < 0) { /* no log is wanted */
		if (in_pipe)
			take(o, data, len, &data[len - 1]);
		return len;
	}
	for (writes = 0; at < len && (final || writes < WRITES_PER_TURN); writes++) {
		enum crilog_result result;
		size_t n, out, count;
		uint64_t dropped;

		n = crilog_format(
		    &style, final, data + at, len - at, records, records_cap, &out, &count);
		if (n == 0)
			break;
		if (in_pipe)
			journal_begin(o->proc->id, o->is_stderr, n, data[at + n - 1], log->fd, out);
		result = crilog_write(log, records, out, count, &dropped);
		report(log, result, dropped);
		if (in_pipe) {
			journal_written();
			take(o, data + at, n, journal_last_byte());
			journal_end();
		}
		at += n;
	}
	return at;
}

/* What is at the head of the pipe, without taking it: at most n bytes into window; 0 when empty. */
static size_t
look(struct output *o, size_t n)
{
	ssize_t copied = tee(o->fd, scratch[1], MIN(n, (size_t)PORTION), SPLICE_F_NONBLOCK);
	size_t got = 0;

	while (copied > 0 && got < (size_t)copied) {
		ssize_t r = read(scratch[0], window + got, (size_t)copied - got);

		if (r <= 0)
			break;
		got += (size_t)r;
	}
	return got;
}

static void
show_clients(struct output *o, const char *data, size_t n)
{
	if (n > 0)
		attachments_output(o->proc, o->is_stderr, data, n);
}

static void
carry_add(struct output *o, const char *data, size_t n)
{
	if (o->carry_len + n > o->carry_cap) {
		o->carry_cap = MAX(o->carry_len + n, o->carry_cap * 2);
		o->carry = xrealloc(o->carry, o->carry_cap);
	}
	memcpy(o->carry + o->carry_len, data, n);
	o->carry_len += n;
}

static size_t
carry_log(struct output *o, bool final)
{
	size_t used = log_pieces(o, o->carry, o->carry_len, false, final);

	o->carry_len -= used;
	memmove(o->carry, o->carry + used, o->carry_len);
	if (o->carry_len == 0) {
		free(take_ptr(o->carry));
		o->carry_cap = 0;
	}
	return used;
}

/* The pipe cannot take the end of the unfinished line of n bytes that it holds: it is full, be it
 * of bytes or of small buffers, or there is more than a look at it reaches. */
static bool
is_stuck(const struct output *o, size_t n)
{
	struct pollfd p = {.fd = o->fd, .events = POLLOUT};
	int in_there = 0;

	return (ioctl(o->fd, FIONREAD, &in_there) == 0 && (size_t)in_there > n) ||
	       (poll(&p, 1, 0) >= 0 && (p.revents & POLLOUT) == 0);
}

static void
take_to_carry(struct output *o, size_t n)
{
	carry_add(o, window, n);
	take(o, window, n, &window[n - 1]);
}

/* One portion that goes through memory; true when there may be more. */
static bool
pump_carry(struct output *o)
{
	size_t used = o->carry_len > 0 ? carry_log(o, false) : 0;
	ssize_t n;

	if (used > 0)
		return true;
	n = read(o->fd, window, PORTION);
	if (n <= 0) /* a terminal that nobody has open: EIO, until somebody opens it again */
		return n < 0 && errno == EINTR;
	show_clients(o, window, (size_t)n);
	carry_add(o, window, (size_t)n);
	carry_log(o, false);
	return true;
}

static bool
pump_pipe(struct output *o)
{
	size_t n = look(o, PORTION);

	if (n == 0)
		return false;
	if (n > o->seen) {
		show_clients(o, window + o->seen, n - o->seen);
		o->seen = n;
	}
	if (log_pieces(o, window, n, true, false) > 0)
		return true;
	if (!is_stuck(o, n))
		return false;
	take_to_carry(o, n);
	return true;
}

static void
on_task(struct reactor_task *task)
{
	struct output *o = container_of(task, struct output, task);

	if (o->holds > 0)
		return;
	if (o->terminal || o->carry_len > 0 ? pump_carry(o) : pump_pipe(o))
		reactor_task_queue(&o->task, on_task);
}

static void
drain_carry(struct output *o, size_t left)
{
	while (left > 0) {
		ssize_t n = read(o->fd, window, MIN(left, (size_t)PORTION));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		left -= (size_t)n;
		show_clients(
		    o, window + MIN(o->seen, (size_t)n), (size_t)n - MIN(o->seen, (size_t)n));
		o->seen -= MIN(o->seen, (size_t)n);
		carry_add(o, window, (size_t)n);
		while (carry_log(o, false) > 0 && o->carry_len > 0)
			;
	}
	if (o->carry_len > 0)
		carry_log(o, true);
}

void
output_drain(struct output *o)
{
	int in_there = 0;
	size_t left;

	if (o->terminal) {
		drain_carry(o, DRAIN_MAX);
		return;
	}
	if (ioctl(o->fd, FIONREAD, &in_there) < 0)
		in_there = 0;
	left = (size_t)in_there;
	while (left > 0 && o->carry_len == 0) {
		size_t n = look(o, left), used;

		if (n == 0)
			return;
		if (n > o->seen) {
			show_clients(o, window + o->seen, n - o->seen);
			o->seen = n;
		}
		used = log_pieces(o, window, n, true, n == left);
		if (used == 0) {
			take_to_carry(o, n);
			used = n;
		}
		left -= used;
	}
	drain_carry(o, left);
}

void
output_recover(struct output *o)
{
	size_t left = journal_recover(o->proc->id, o->is_stderr, o->proc->log.fd);

	while (left > 0) {
		ssize_t n = read(o->fd, window, MIN(left, (size_t)PORTION));

		if (n <= 0 && errno != EINTR)
			break;
		left -= MIN(left, (size_t)MAX(n, 0));
	}
	reactor_task_queue(&o->task, on_task);
}
