/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper's side of keeper.sock: one client at a time, of user 0; a newer connection replaces an
 * older one. Replies that do not fit the socket wait in a queue; a client that lets it grow beyond
 * FRONT_QUEUE_MAX loses its connection, and finds everything by List when it comes again.
 */
#ifndef EXEC_KEEPER_FRONT_H
#define EXEC_KEEPER_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/launch.pb-c.h"

enum { FRONT_QUEUE_MAX = 1 << 20, FRONT_NOTES_MAX = 64 };

/* Called with each message; the descriptors are the callee's, which stores -1 for those it keeps
 * and need not close the others. n_fds is PARCEL_CUT when some were lost. */
typedef void front_fn(const void *data, size_t len, int *fds, size_t n_fds);

/* Bind <state>/keeper.sock (0600; one that a dead keeper left is replaced) and listen. state_dir
 * has to leave room for the name in a sockaddr_un. on_client_gone may be called from within
 * front_send(). */
int front_open(
    const char *state_dir, front_fn *on_message, void (*on_client_gone)(void), struct err *err);
/* As front_open, with the descriptors of the image before; client_fd -1: none. */
int front_restore(int listen_fd, int client_fd, front_fn *on_message, void (*on_client_gone)(void),
    struct err *err);

/* Send or queue; both borrowed. Without a client it is dropped. */
void front_send(Coracle__Launch__Reply *reply, const int *fds, size_t n_fds);

/* An answer without content: done (NULL), or that error. */
void front_answer(uint64_t serial, const struct err *err);

/* For people: sent as a note, or kept for the next client. */
void front_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Move what is kept into reply->notes: a Hello's answer. Freed by front_free_notes(). */
void front_take_notes(Coracle__Launch__Reply *reply);
void front_free_notes(Coracle__Launch__Reply *reply);

/* Another number after each connection and disconnection. */
unsigned front_epoch(void);

void front_pause(bool pause); /* no message is read meanwhile */
void front_flush(void);       /* try once to send what is queued */
void front_remove(void);      /* unlink the socket: the keeper ends */

/* For an upgrade: the descriptors and the queue. data and fds are borrowed. */
int front_listen_fd(void);
int front_client_fd(void);
void front_each_queued(
    void (*each)(const void *data, size_t len, const int *fds, size_t n_fds, void *arg), void *arg);
/* Queue a message as it is; takes the descriptors. */
void front_requeue_take(const void *data, size_t len, const int *fds, size_t n_fds);

#endif
