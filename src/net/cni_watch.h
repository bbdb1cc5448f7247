/* SPDX-License-Identifier: Apache-2.0
 *
 * Watching a directory that may not exist yet, may go, come back or be replaced: struct cni_watch.
 * The directory, its subdirectories and the directories on the way to it are watched by inotify;
 * where that is not to be had, its time stamps are looked at every few seconds.
 */
#ifndef NET_CNI_WATCH_H
#define NET_CNI_WATCH_H

#include <stdbool.h>
#include <time.h>

#include "loop/loop.h"

struct cni_watch {
	void (*changed)(struct cni_watch *); /* from the loop, a moment after the last change */
	/* private */
	char *dir;
	int fd;
	int last_above; /* watch number: up to here directories on the way, then content */
	ev_io w;
	struct loop_timer settle, poll;
	struct timespec seen;
};

/* dir is absolute. Starts watching; what is there already is no change. */
void cni_watch_start(struct cni_watch *w, const char *dir, void (*changed)(struct cni_watch *));
void cni_watch_stop(struct cni_watch *w); /* fine on a zeroed one */

/* A change was seen and not reported yet: true once, and changed() is not called for it. */
bool cni_watch_take(struct cni_watch *w);

#endif
