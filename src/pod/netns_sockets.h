/* SPDX-License-Identifier: Apache-2.0
 *
 * Sockets made inside a pod's network namespace by a small process that has entered it, since the
 * daemon itself never does. A socket belongs to its namespace for good; all else is done here.
 */
#ifndef POD_NETNS_SOCKETS_H
#define POD_NETNS_SOCKETS_H

#include "base/err.h"

struct netns_sockets;

/* Embedded; zero-initialise. */
struct netns_socket {
	void (*done)(struct netns_socket *, int fd, const struct err *err); /* fd -1: err */
};

/* path: of the namespace. */
struct netns_sockets *netns_sockets_open(const char *path, struct err *err);
/* A non-blocking TCP socket of the family. done() comes once, from the loop. */
int netns_socket_ask(struct netns_sockets *n, struct netns_socket *s, int family,
    void (*done)(struct netns_socket *, int fd, const struct err *err), struct err *err)
    __attribute__((warn_unused_result));
/* No done() comes any more. */
void netns_socket_withdraw(struct netns_sockets *n, struct netns_socket *s);
/* NULL is fine. What was asked for has been withdrawn before. */
void netns_sockets_close(struct netns_sockets *n);

#endif
