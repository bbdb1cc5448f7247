/* SPDX-License-Identifier: Apache-2.0
 *
 * The pod layer's use of the keeper: exits go to the container, exec or pod they belong to, and a
 * new keeper gets every running container to adopt.
 */
#ifndef POD_KEEPING_H
#define POD_KEEPING_H

#include <stdbool.h>

#include "base/err.h"
#include "proto/launch.pb-c.h"

/* Connects or starts the keeper and sets the hooks: node.keeper. */
int keeping_open(struct err *err);
void keeping_close(void);

/* Drop the keeper's record of an ended process. Not waited for: recovery repeats it. */
void keeping_forget(const char *id);
void keeping_kill(const char *id, int sig, bool tree);
void keeping_resize(const char *id, unsigned width, unsigned height); /* its terminal, if any */

/* What the keeper has at start, for the recovery; blocks for a moment. The caller frees it with
 * coracle__launch__reply__free_unpacked(). */
Coracle__Launch__Reply *keeping_list(struct err *err);

/* Hand a running container to a keeper that does not know it. */
struct container;
void keeping_adopt(struct container *c);

/* Get the descriptors of a running container that a keeper to come will need (pipes, terminal). */
void keeping_refresh(struct container *c);

/* Ids of the keeper's other processes: "<sandbox id>.ns", "<sandbox id>.holder". */
#define KEEPING_NS ".ns"
#define KEEPING_HOLDER ".holder"

#endif
