/* SPDX-License-Identifier: Apache-2.0
 *
 * Directory watch: see cni_watch.h. After every change all watches are made anew, since a path may
 * lead somewhere else now.
 */
#include "net/cni_watch.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"

enum {
	SETTLE_MS = 50, /* editors and installers change a file in several steps */
	POLL_MS = 5000,
	SUBDIRS_MAX = 64
};

#define CONTENT                                                                                    \
	(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_ATTRIB |        \
	    IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define ENTRIES                                                                                    \
	(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF |     \
	    IN_ONLYDIR)

static void open_watches(struct cni_watch *w);

static void
close_watches(struct cni_watch *w)
{
	if (w->fd < 0)
		return;
	ev_io_stop(loop, &w->w);
	fd_closep(&w->fd);
}

static void
on_settled(struct loop_timer *t)
{
	struct cni_watch *w = container_of(t, struct cni_watch, settle);

	open_watches(w);
	w->changed(w);
}

/* Is a name of interest in one of the directories above ours? Events there are filtered by it, or
 * /etc would wake us all day. */
static bool
on_path(const struct cni_watch *w, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = strstr(w->dir, name); p != NULL; p = strstr(p + 1, name))
		if (p > w->dir && p[-1] == '/' && (p[n] == '/' || p[n] == '\0'))
			return true;
	return false;
}

static void
on_events(struct ev_loop *l, ev_io *io, int events)
{
	struct cni_watch *w = container_of(io, struct cni_watch, w);
	char in[4096] __attribute__((aligned(8)));
	bool changed = false;
	ssize_t n;

	(void)l;
	(void)events;
	while ((n = read(w->fd, in, sizeof(in))) > 0) {
		for (char *p = in; p < in + n;) {
			const struct inotify_event *e = (const struct inotify_event *)p;

			changed |= e->len == 0 || e->wd > w->last_above || on_path(w, e->name);
			p += sizeof(*e) + e->len;
		}
	}
	if (changed)
		timer_start(&w->settle, SETTLE_MS, on_settled);
}

/* The time of the last change to the directory or one of its files. */
static struct timespec
latest_change(const char *dir)
{
	struct timespec latest = {0};
	DIR *d = opendir(dir);
	struct dirent *e;
	struct stat st;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (strcmp(e->d_name, "..") != 0 && fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
		    (st.st_ctim.tv_sec > latest.tv_sec || (st.st_ctim.tv_sec == latest.tv_sec &&
		                                              st.st_ctim.tv_nsec > latest.tv_nsec)))
			latest = st.st_ctim;
	if (d != NULL)
		closedir(d);
	return latest;
}

static void
on_poll(struct loop_timer *t)
{
	struct cni_watch *w = container_of(t, struct cni_watch, poll);
	struct timespec now = latest_change(w->dir);

	timer_start(&w->poll, POLL_MS, on_poll);
	if (now.tv_sec == w->seen.tv_sec && now.tv_nsec == w->seen.tv_nsec)
		return;
	w->seen = now;
	w->changed(w);
}

static void
watch_above(struct cni_watch *w)
{
	cleanup_free char *path = xstrdup(w->dir);

	for (char *slash = strrchr(path, '/'); slash != NULL; slash = strrchr(path, '/')) {
		int wd;

		slash[slash == path ? 1 : 0] = '\0';
		wd = inotify_add_watch(w->fd, path, ENTRIES);
		w->last_above = MAX(w->last_above, wd);
		if (slash == path)
			break;
	}
}

static void
watch_subdirs(struct cni_watch *w)
{
	DIR *d = opendir(w->dir);
	struct dirent *e;
	int n = 0;

	while (d != NULL && (e = readdir(d)) != NULL && n < SUBDIRS_MAX) {
		cleanup_free char *path = NULL;

		if (e->d_name[0] == '.' || (e->d_type != DT_DIR && e->d_type != DT_LNK))
			continue;
		path = xasprintf("%s/%s", w->dir, e->d_name);
		n += inotify_add_watch(w->fd, path, CONTENT) >= 0;
	}
	if (d != NULL)
		closedir(d);
}

static void
open_watches(struct cni_watch *w)
{
	close_watches(w);
	w->last_above = 0;
	w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->fd >= 0) {
		watch_above(w);
		if (inotify_add_watch(w->fd, w->dir, CONTENT) < 0 && errno == ENOSPC)
			fd_closep(&w->fd);
	}
	if (w->fd < 0) {
		w->seen = latest_change(w->dir);
		timer_start(&w->poll, POLL_MS, on_poll);
		return;
	}
	timer_stop(&w->poll);
	watch_subdirs(w);
	ev_io_init(&w->w, on_events, w->fd, EV_READ);
	ev_io_start(loop, &w->w);
}

void
cni_watch_start(struct cni_watch *w, const char *dir, void (*changed)(struct cni_watch *))
{
	*w = (struct cni_watch){.changed = changed, .dir = xstrdup(dir), .fd = -1};
	open_watches(w);
}

void
cni_watch_stop(struct cni_watch *w)
{
	if (w->dir == NULL)
		return;
	close_watches(w);
	timer_stop(&w->settle);
	timer_stop(&w->poll);
	free(w->dir);
	w->dir = NULL;
}

bool
cni_watch_take(struct cni_watch *w)
{
	if (w->fd >= 0)
		on_events(loop, &w->w, 0);
	if (!w->settle.armed)
		return false;
	timer_stop(&w->settle);
	open_watches(w);
	return true;
}
