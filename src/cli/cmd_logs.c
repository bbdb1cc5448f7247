/* SPDX-License-Identifier: Apache-2.0
 *
 * logs: reads the container's log file, as `kubectl logs` does, and follows it over its rotations.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "cli/cli.h"
#include "proto/cri.pb-c.h"

enum { POLL_MS = 100 };

struct reader {
	char *path;
	int fd;
	struct buf pending; /* the beginning of a line */
	bool timestamps;
};

static Runtime__V1__ContainerStatusResponse *
status(const char *id, struct err *err)
{
	Runtime__V1__ContainerStatusRequest req = RUNTIME__V1__CONTAINER_STATUS_REQUEST__INIT;

	req.container_id = (char *)(uintptr_t)id;
	return (void *)cli_runtime("ContainerStatus", &req,
	    &runtime__v1__container_status_response__descriptor, cli_timeout_ms, err);
}

/* "<time> stdout F text": the text to the stream it came from; P lines have no end. */
static void
print_line(const struct reader *r, const char *line, size_t n)
{
	const char *end = line + n, *stream = memchr(line, ' ', n), *tag, *text;
	FILE *f = stdout;

	tag = stream != NULL ? memchr(stream + 1, ' ', (size_t)(end - stream - 1)) : NULL;
	text = tag != NULL ? memchr(tag + 1, ' ', (size_t)(end - tag - 1)) : NULL;
	if (text == NULL) {
		fprintf(stdout, "%.*s\n", (int)n, line);
		return;
	}
	if (str_starts(stream + 1, "stderr"))
		f = stderr;
	if (r->timestamps)
		fwrite(line, 1, (size_t)(stream - line) + 1, f);
	fwrite(text + 1, 1, (size_t)(end - text - 1), f);
	if (tag[1] != 'P')
		fputc('\n', f);
	fflush(f);
}

static bool
read_more(struct reader *r)
{
	char chunk[65536];
	ssize_t n = r->fd >= 0 ? read(r->fd, chunk, sizeof(chunk)) : 0;
	char *nl;

	if (n <= 0)
		return false;
	buf_add(&r->pending, chunk, (size_t)n);
	while (r->pending.len > 0 && (nl = memchr(r->pending.data, '\n', r->pending.len)) != NULL) {
		print_line(r, r->pending.data, (size_t)(nl - r->pending.data));
		buf_consume(&r->pending, (size_t)(nl - r->pending.data) + 1);
	}
	return true;
}

/* The kubelet renames the log and a new file appears under the old name. */
static void
reopen_if_rotated(struct reader *r)
{
	struct stat there, ours;
	int fd;

	if (stat(r->path, &there) < 0 || (r->fd >= 0 && fstat(r->fd, &ours) == 0 &&
	                                     there.st_ino == ours.st_ino && there.st_dev == ours.st_dev))
		return;
	fd = open(r->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	fd_closep(&r->fd);
	r->fd = fd;
}

/* Leave the file where its last n lines begin. */
static void
seek_tail(struct reader *r, uint32_t n)
{
	off_t at = lseek(r->fd, 0, SEEK_END), lines = 0;
	char chunk[4096];

	while (at > 0) {
		size_t want = (size_t)MIN(at, (off_t)sizeof(chunk));
		ssize_t got = pread(r->fd, chunk, want, at - (off_t)want);

		if (got <= 0)
			break;
		for (ssize_t i = got - 1; i >= 0; i--)
			if (chunk[i] == '\n' && lines++ == (off_t)n) {
				lseek(r->fd, at - (off_t)want + i + 1, SEEK_SET);
				return;
			}
		at -= (off_t)want;
	}
	lseek(r->fd, 0, SEEK_SET);
}

static int
show(struct reader *r, const char *id, bool follow, int64_t tail)
{
	const struct timespec pause = {0, POLL_MS * 1000000L};
	bool running = follow;
	struct err err;

	r->fd = open(r->path, O_RDONLY | O_CLOEXEC);
	if (r->fd < 0 && (errno != ENOENT || !follow)) {
		fprintf(stderr, "coracle: open %s: %s\n", r->path, strerror(errno));
		return 1;
	}
	if (tail >= 0 && r->fd >= 0)
		seek_tail(r, (uint32_t)tail);
	for (;;) {
		while (read_more(r))
			continue;
		if (!running)
			return 0;
		Runtime__V1__ContainerStatusResponse *m = status(id, &err);

		/* Read once more after the end was seen: nothing comes after that. */
		running = m != NULL && m->status->state == RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
		cli_free(m);
		reopen_if_rotated(r);
		if (running)
			nanosleep(&pause, NULL);
	}
}

int
cmd_logs(int argc, char **argv)
{
	static const struct option options[] = {{"follow", no_argument, NULL, 'f'},
	    {"tail", required_argument, NULL, 'n'}, {"timestamps", no_argument, NULL, 't'},
	    {NULL, 0, NULL, 0}};
	Runtime__V1__ContainerStatusResponse *m;
	struct reader r = {.fd = -1};
	bool follow = false;
	int64_t tail = -1;
	uint32_t n;
	struct err err;
	int c, ret;

	while ((c = getopt_long(argc, argv, "+fn:t", options, NULL)) != -1) {
		if (c == 'f') {
			follow = true;
		} else if (c == 't') {
			r.timestamps = true;
		} else if (c == 'n' && str_u32(optarg, INT32_MAX, &n) == 0) {
			tail = n;
		} else {
			return cli_usage("logs [--follow] [--tail N] [--timestamps] CONTAINER");
		}
	}
	if (optind + 1 != argc)
		return cli_usage("logs [--follow] [--tail N] [--timestamps] CONTAINER");
	m = status(argv[optind], &err);
	if (m == NULL)
		return cli_fail(&err);
	if (m->status == NULL || str_empty(m->status->log_path)) {
		cli_free(m);
		return cli_usage("container %s has no log", argv[optind]);
	}
	r.path = xstrdup(m->status->log_path);
	cli_free(m);
	ret = show(&r, argv[optind], follow, tail);
	buf_release(&r.pending);
	fd_closep(&r.fd);
	free(r.path);
	return ret;
}
