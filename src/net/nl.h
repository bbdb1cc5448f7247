/* SPDX-License-Identifier: Apache-2.0
 *
 * A netlink socket and its dialogue: struct nl. Messages are collected with nl_message() and
 * libmnl's mnl_attr_put*(), then sent in one go by nl_talk(), which waits for every answer: to be
 * used where blocking is allowed (net/agent.h).
 */
#ifndef NET_NL_H
#define NET_NL_H

#include <libmnl/libmnl.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { NL_BATCH_SIZE = 16384, NL_TEXT_SIZE = 160 };

struct nl {
	struct mnl_socket *sock;
	uint32_t seq;
	size_t used;             /* of batch */
	unsigned n_messages;     /* in batch */
	char text[NL_TEXT_SIZE]; /* the kernel's words on the last failure, or "" */
	char batch[NL_BATCH_SIZE] __attribute__((aligned(8)));
};

/* bus: NETLINK_ROUTE, NETLINK_NETFILTER. netns_fd: the socket is made in that network namespace,
 * and the thread is back in its own afterwards; -1: the present one. */
int nl_open(struct nl *nl, int bus, int netns_fd, struct err *err);
void nl_close(struct nl *nl); /* fine on a zeroed one */

/* Append a message with an extra header of extra_size zeroed bytes, returned in *ret_extra. Flags
 * NLM_F_REQUEST and, but for dumps, NLM_F_ACK are added. Aborts when the batch is full (a caller
 * puts a handful of bounded messages into one). */
struct nlmsghdr *nl_message(
    struct nl *nl, uint16_t type, uint16_t flags, size_t extra_size, void *ret_extra);

/* Send what was collected, and wait. each: called for every message that is no acknowledgement (may
 * be NULL), returns MNL_CB_OK or MNL_CB_ERROR with errno. 0, or -1 with errno and nl->text of the
 * first failure; the messages after a failed one are carried out all the same. */
int nl_talk(struct nl *nl, mnl_cb_t each, void *arg);

/* err_errno() plus the kernel's words. */
int nl_error(const struct nl *nl, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
