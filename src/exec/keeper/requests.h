/* SPDX-License-Identifier: Apache-2.0
 *
 * What coracled can ask the keeper for: one handler per request.
 */
#ifndef EXEC_KEEPER_REQUESTS_H
#define EXEC_KEEPER_REQUESTS_H

#include <stddef.h>

/* The two callbacks of the front. */
void requests_on_message(const void *data, size_t len, int *fds, size_t n_fds);
void requests_on_client_gone(void);

void requests_end_if_unused(void); /* stop the reactor when no process is left */

#endif
