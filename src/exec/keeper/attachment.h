/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients attached to a process: what it writes is copied to their sockets, what they send goes to
 * its stdin.
 *
 * Back-pressure is bounded. A client that is slower than the process slows it down, as long as it
 * takes something at all; one that takes nothing for STALL_MS while its queue is full, or cannot
 * get rid of it in FULL_MS, is detached, which it sees as the end of its streams. Input is read
 * only when the process has taken what came before.
 *
 * When the process ends, its clients get what is queued, for a while, and then the end.
 */
#ifndef EXEC_KEEPER_ATTACHMENT_H
#define EXEC_KEEPER_ATTACHMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"
#include "exec/keeper/reactor.h"

enum {
	ATTACHMENT_QUEUE_FULL = 64 * 1024, /* the process is held from here on */
	ATTACHMENT_QUEUE_LOW = 16 * 1024,  /* and goes on from here */
	ATTACHMENT_STALL_MS = 250,
	ATTACHMENT_FULL_MS = 5000,
	ATTACHMENT_LINGER_MS = 10000, /* after the end of the process */
	ATTACHMENT_MAX = 64           /* of one process */
};

struct attachment;
struct proc;

struct sink {
	struct attachment *owner;
	int fd; /* owned; -1: none */
	struct reactor_source src;
	char *queue;
	size_t len, cap;
	bool holding; /* an output of the process waits for it */
	int64_t progress_ms, full_since_ms;
};

struct attachment {
	struct proc *proc; /* NULL: detached, lingers until its queues are empty */
	struct sink out[2];
	int in_fd; /* owned; -1: none, or ended */
	struct reactor_source in_src;
	char *in_queue; /* read, not yet taken by the process */
	size_t in_len;
	bool in_blocked; /* the process has to take something first */
	bool in_hangup;  /* the peer has closed it altogether, see input_ended() */
	unsigned epoch;  /* of the connection it came by */
	struct reactor_timer timer, in_timer;
	LIST_ENTRY(attachment) entry;
};

/* Takes the descriptors over, also when it fails; -1: not that stream. */
int attachment_new_take(struct proc *p, int in_fd, int out_fd, int err_fd, struct err *err);
void attachment_free(struct attachment *a);

/* Put back what an earlier image of the keeper had queued. */
void attachment_restore(struct attachment *a, const void *in, size_t in_len, const void *out,
    size_t out_len, const void *err_out, size_t err_len);

void attachments_output(struct proc *p, bool is_stderr, const char *data, size_t n);
void attachments_input_ready(struct proc *p);
void attachments_finish(struct proc *p); /* the process has ended */
bool attachments_lingering(void);        /* some wait for what their ended process wrote */

#endif
