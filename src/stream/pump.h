/* SPDX-License-Identifier: Apache-2.0
 *
 * Between a channel and local descriptors: the client's bytes go to one, what comes from the other
 * goes to the client. Each direction has its own end, and neither buffers more than a bounded
 * amount.
 *
 * Embedded; zero-initialise; pump_start() once; pump_stop() at any time, and at the end.
 */
#ifndef STREAM_PUMP_H
#define STREAM_PUMP_H

#include "base/buf.h"
#include "loop/loop.h"
#include "stream/channel.h"

struct pump {
	struct channel *ch; /* NULL: the client's side is gone */
	int in_fd;          /* owned; to the process; -1: none, or done */
	int out_fd;         /* owned; from the process; -1: none, or done */
	bool half_close;    /* sockets: the end of the client's input is a shutdown of in_fd */
	bool hold_open;     /* terminals: the end of the client's input closes nothing */
	bool out_failed;    /* it ended by this error of read(2), in out_errno */
	int out_errno;
	void (*out_done)(
	    struct pump *); /* out_fd has ended and all went to the channel; may be NULL */
	void (*in_done)(struct pump *); /* in_fd was closed or half-closed; may be NULL */
	void (*gone)(struct pump *);    /* the client reset the channel; may be NULL */
	/* private */
	ev_io in_w, out_r;
	struct buf queue;
	bool draining, started, kept;
	int kept_fd; /* in_fd after its half was closed: a full close says something else */
};

/* Non-blocking descriptors, taken over; -1: not that direction. ch NULL: what comes is dropped. */
void pump_start_take(struct pump *p, struct channel *ch, int in_fd, int out_fd);
/* Who writes has ended: what out_fd has now is all. */
void pump_drain(struct pump *p);
void pump_stop(struct pump *p);

#endif
