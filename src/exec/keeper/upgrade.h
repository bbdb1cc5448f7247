/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper replaces its program by another one and goes on: the same process, with its children,
 * its descriptors and its client. What is in memory is left in a memfd (launch.proto, Saved) whose
 * number the new image gets as --restore; descriptors stay open under their numbers.
 */
#ifndef EXEC_KEEPER_UPGRADE_H
#define EXEC_KEEPER_UPGRADE_H

#include <stdint.h>

#include "base/err.h"

enum { UPGRADE_FORMAT = 1 };

/* Takes program_fd. The exec waits until no launch is in flight (for 5 s, and no request is read
 * meanwhile), and the answer comes from the new image. An exec that fails is answered by the old
 * one, which goes on. */
int upgrade_request(uint64_t serial, int program_fd, struct err *err);
void upgrade_when_idle(void); /* no launch is in flight any more */

/* In the new image: take everything over from that memfd; answers the request. A part that cannot
 * be taken over is noted, and what it owned is closed. */
int upgrade_restore(int saved_fd, const char *state_dir, struct err *err);

/* A sealed memfd with the program of that descriptor, ready for fexecve(3). */
int upgrade_seal_program(int program_fd, struct err *err);

/* Whether it is one already. */
int upgrade_is_sealed(int fd);

/* For the exec: the argument of the running keeper (kept as it is), and the descriptor of its lock.
 */
void upgrade_set_context(const char *state_dir, int lock_fd);

#endif
