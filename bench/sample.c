/* SPDX-License-Identifier: Apache-2.0
 *
 * Latencies and their percentiles; CPU time and memory of process trees from /proc (proc(5)).
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "bench/bench.h"

enum { COMM_MAX = 15, PROC_FILE_MAX = 64 * 1024 };

void
series_add(struct series *s, int64_t ns)
{
	if (s->n == s->cap) {
		s->cap = MAX(2 * s->cap, 256);
		s->ns = xrealloc(s->ns, s->cap * sizeof(*s->ns));
	}
	s->ns[s->n++] = ns;
}

static int
compare_ns(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

void
series_sort(struct series *s)
{
	if (s->n > 0)
		qsort(s->ns, s->n, sizeof(*s->ns), compare_ns);
}

int64_t
series_percentile(const struct series *s, double percent)
{
	double rank = ceil(percent / 100 * (double)s->n);

	if (s->n == 0)
		return 0;
	return s->ns[rank < 1 ? 0 : MIN((size_t)rank, s->n) - 1];
}

int
procs_parse(struct procs *p, const char *list, struct err *err)
{
	while (*list != '\0') {
		size_t n = strcspn(list, ",");
		cleanup_free char *item = xstrndup(list, n);
		uint32_t pid;

		list += n + (list[n] == ',');
		if (item[0] == '@' && item[1] != '\0' && strlen(item + 1) <= COMM_MAX) {
			p->names = xrealloc(p->names, (p->n_names + 1) * sizeof(*p->names));
			p->names[p->n_names++] = xstrdup(item + 1);
		} else if (str_u32(item, INT_MAX, &pid) == 0 && pid > 0) {
			p->pids = xrealloc(p->pids, (p->n_pids + 1) * sizeof(*p->pids));
			p->pids[p->n_pids++] = (long)pid;
		} else {
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "\"%s\" is neither a pid nor @ and a name of 1 to 15 characters", item);
		}
	}
	return 0;
}

void
procs_release(struct procs *p)
{
	for (size_t i = 0; i < p->n_names; i++)
		free(p->names[i]);
	free(p->names);
	free(p->pids);
	*p = (struct procs){0};
}

bool
procs_given(const struct procs *p)
{
	return p->n_pids + p->n_names > 0;
}

struct proc {
	long pid, parent;
	char comm[COMM_MAX + 1];
	int64_t own_us, children_us; /* in ticks of the clock */
	ino_t pidns;
	bool member;
};

struct proc_list {
	struct proc *procs;
	size_t n;
};

static int64_t
ticks_us(unsigned long long ticks)
{
	return (int64_t)ticks * 1000000 / sysconf(_SC_CLK_TCK);
}

/* The name may hold anything, blanks and parentheses too: what follows begins at the last ')'. */
static bool
parse_stat(char *text, struct proc *ret)
{
	char *open = strchr(text, '('), *close = strrchr(text, ')');
	unsigned long long t[4];
	char state;
	long parent;

	if (open == NULL || close == NULL || close < open ||
	    sscanf(close + 1, " %c %ld %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu",
	        &state, &parent, &t[0], &t[1], &t[2], &t[3]) != 6)
		return false;
	*close = '\0';
	snprintf(ret->comm, sizeof(ret->comm), "%s", open + 1);
	ret->parent = parent;
	ret->own_us = ticks_us(t[0] + t[1]);
	ret->children_us = ticks_us(t[2] + t[3]);
	return true;
}

/* A process that ends while it is being looked at is left out. */
static void
read_proc(struct proc_list *l, int proc_fd, const char *name)
{
	cleanup_free char *stat_path = xasprintf("%s/stat", name),
	                  *ns = xasprintf("%s/ns/pid", name);
	cleanup_buf struct buf text = BUF_INIT;
	struct proc p = {0};
	struct stat st;
	struct err err;
	uint32_t pid;

	if (str_u32(name, INT_MAX, &pid) < 0 ||
	    fd_read_file(proc_fd, stat_path, PROC_FILE_MAX, &text, &err) < 0)
		return;
	buf_addch(&text, '\0');
	if (!parse_stat(text.data, &p))
		return;
	p.pid = (long)pid;
	p.pidns = fstatat(proc_fd, ns, &st, 0) == 0 ? st.st_ino : 0;
	l->procs = xrealloc(l->procs, (l->n + 1) * sizeof(*l->procs));
	l->procs[l->n++] = p;
}

static struct proc *
find(const struct proc_list *l, long pid)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->procs[i].pid == pid)
			return &l->procs[i];
	return NULL;
}

static bool
is_named(const struct procs *p, const struct proc *q)
{
	for (size_t i = 0; i < p->n_pids; i++)
		if (p->pids[i] == q->pid)
			return true;
	for (size_t i = 0; i < p->n_names; i++)
		if (strcmp(p->names[i], q->comm) == 0)
			return true;
	return false;
}

static void
mark_members(const struct procs *p, struct proc_list *l)
{
	bool more = true;

	for (size_t i = 0; i < l->n; i++)
		l->procs[i].member = is_named(p, &l->procs[i]);
	while (more) {
		more = false;
		for (size_t i = 0; i < l->n; i++) {
			struct proc *q = &l->procs[i], *parent = find(l, q->parent);

			if (q->member || parent == NULL || !parent->member ||
			    parent->pidns != q->pidns)
				continue;
			q->member = more = true;
		}
	}
}

/* To the nanosecond where the kernel has it: a tick is longer than most calls. 0 where not. */
static int64_t
scheduled_us(int proc_fd, long pid)
{
	cleanup_free char *path = xasprintf("%ld/task", pid);
	int fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *tasks = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *d;
	int64_t sum = 0;

	while (tasks != NULL && (d = readdir(tasks)) != NULL) {
		cleanup_free char *file = xasprintf("%s/schedstat", d->d_name);
		cleanup_buf struct buf text = BUF_INIT;
		long long ns;
		struct err err;

		if (!isdigit((unsigned char)d->d_name[0]) ||
		    fd_read_file(dirfd(tasks), file, PROC_FILE_MAX, &text, &err) < 0)
			continue;
		buf_addch(&text, '\0');
		if (sscanf(text.data, "%lld", &ns) == 1)
			sum += ns;
	}
	if (tasks != NULL)
		closedir(tasks);
	return sum / 1000;
}

static int64_t
pss_of(int proc_fd, long pid)
{
	cleanup_free char *path = xasprintf("%ld/smaps_rollup", pid);
	cleanup_buf struct buf text = BUF_INIT;
	const char *line;
	struct err err;
	long long kb = 0;

	if (fd_read_file(proc_fd, path, PROC_FILE_MAX, &text, &err) < 0)
		return 0;
	buf_addch(&text, '\0');
	line = strstr(text.data, "\nPss:");
	if (line == NULL || sscanf(line, " Pss: %lld", &kb) != 1)
		return 0;
	return kb * 1024;
}

struct usage
procs_usage(const struct procs *p)
{
	struct proc_list l = {0};
	struct usage u = {0};
	cleanup_close int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(dup(fd)) : NULL;
	struct dirent *d;

	while (dir != NULL && (d = readdir(dir)) != NULL)
		if (isdigit((unsigned char)d->d_name[0]))
			read_proc(&l, fd, d->d_name);
	if (dir != NULL)
		closedir(dir);
	mark_members(p, &l);
	for (size_t i = 0; i < l.n; i++)
		if (l.procs[i].member) {
			/* threads that ended are in the ticks only */
			u.cpu_us += l.procs[i].children_us +
			            MAX(l.procs[i].own_us, scheduled_us(fd, l.procs[i].pid));
			u.pss += pss_of(fd, l.procs[i].pid);
			u.n++;
		}
	free(l.procs);
	return u;
}
