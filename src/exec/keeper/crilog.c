/* SPDX-License-Identifier: Apache-2.0
 *
 * The CRI log format and its file: see crilog.h.
 */
#include "exec/keeper/crilog.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"

/* "2026-11-24T06:34:41." is made once per second, the fraction once per record. */
static size_t
put_time(char *out)
{
	enum { SECONDS = 20, FRACTION = 9 };
	static int64_t cached_second = -1;
	static char cached[CLOCK_RFC3339_MAX];
	int64_t now = clock_wall_ns();
	int64_t rest = now % NS_PER_SEC;
	int i;

	if (now / NS_PER_SEC != cached_second) {
		clock_rfc3339(now, cached);
		cached_second = now / NS_PER_SEC;
	}
	memcpy(out, cached, SECONDS);
	for (i = FRACTION - 1; i >= 0; i--, rest /= 10)
		out[SECONDS + i] = (char)('0' + rest % 10);
	out[SECONDS + FRACTION] = 'Z';
	return SECONDS + FRACTION + 1;
}

static size_t
put_record(const struct crilog_style *style, char tag, const char *content, size_t n, char *out)
{
	size_t stream_len = strlen(style->stream);
	size_t at = put_time(out);

	out[at++] = ' ';
	memcpy(out + at, style->stream, stream_len);
	at += stream_len;
	out[at++] = ' ';
	out[at++] = tag;
	out[at++] = ' ';
	memcpy(out + at, content, n);
	at += n;
	out[at++] = '\n';
	return at;
}

size_t
crilog_format(const struct crilog_style *style, bool final, const char *data, size_t len, char *out,
    size_t cap, size_t *ret_out, size_t *ret_records)
{
	size_t at = 0, used = 0, records = 0;

	while (at < len) {
		const char *line = data + at;
		size_t left = len - at, content, taken;
		const char *newline = memchr(line, '\n', MIN(left, style->max_line + 1));
		char tag = 'P';

		if (newline != NULL) {
			content = (size_t)(newline - line);
			taken = content + 1;
			tag = 'F';
			if (style->terminal && content > 0 && line[content - 1] == '\r')
				content--;
		} else if (left > style->max_line) {
			content = taken = style->max_line;
		} else if (final) {
			content = taken = left;
		} else {
			break;
		}
		if (content + CRILOG_OVERHEAD > cap - used)
			break;
		used += put_record(style, tag, line, content, out + used);
		at += taken;
		records++;
	}
	*ret_out = used;
	if (ret_records != NULL)
		*ret_records = records;
	return at;
}

int
crilog_check_path(const char *path, struct err *err)
{
	const char *at = path, *slash;

	if (path[0] != '/' || path[strlen(path) - 1] == '/')
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "log path \"%s\" is not an absolute file name", path);
	for (; at != NULL; at = slash == NULL ? NULL : slash + 1) {
		size_t n = (slash = strchr(at, '/')) != NULL ? (size_t)(slash - at) : strlen(at);

		if (n == 2 && at[0] == '.' && at[1] == '.')
			return err_set(
			    err, ERR_INVALID_ARGUMENT, "log path \"%s\" contains \"..\"", path);
	}
	return 0;
}

int
crilog_open(struct crilog *log, const char *path, struct err *err)
{
	enum {
		FLAGS =
		    O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC
	};
	cleanup_close int fd = -1;
	struct stat st;

	if (crilog_check_path(path, err) < 0)
		return -1;
	fd = open(path, FLAGS, 0640);
	if (fd < 0 && errno == ENOENT) {
		cleanup_free char *dir = xstrndup(path, (size_t)(strrchr(path, '/') - path));

		if (*dir != '\0' && fd_mkdir_p(AT_FDCWD, dir, 0755, err) < 0)
			return err_wrap(err, "directory of the log");
		fd = open(path, FLAGS, 0640);
	}
	if (fd < 0)
		return err_errno(err, "open log %s", path);
	if (fstat(fd, &st) < 0)
		return err_errno(err, "stat log %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INTERNAL, "log %s is not a regular file", path);
	/* The umask of whoever started the keeper has no say in it. */
	if ((st.st_mode & 07777) != 0640 && st.st_size == 0)
		fchmod(fd, 0640);
	crilog_close(log);
	log->path = xstrdup(path);
	log->fd = take_fd(fd);
	return 0;
}

void
crilog_close(struct crilog *log)
{
	fd_closep(&log->fd);
	free(take_ptr(log->path));
}

/* The end of the last whole record in out[0..len), and how many end there. */
static size_t
whole_records(const char *out, size_t len, size_t *ret_records)
{
	const char *newline;
	size_t at = 0, n = 0;

	while ((newline = memchr(out + at, '\n', len - at)) != NULL) {
		at = (size_t)(newline - out) + 1;
		n++;
	}
	*ret_records = n;
	return at;
}

enum crilog_result
crilog_write(struct crilog *log, const char *out, size_t len, size_t records, uint64_t *ret_dropped)
{
	size_t done = 0, kept_records, kept;
	int why = 0;

	if (log->fd < 0)
		return CRILOG_OK;
	while (done < len) {
		ssize_t n = write(log->fd, out + done, len - done);

		if (n > 0) {
			done += (size_t)n;
		} else if (n == 0 || errno != EINTR) {
			why = n == 0 ? EIO : errno;
			break;
		}
	}
	if (done == len) {
		if (!log->failing)
			return CRILOG_OK;
		log->failing = false;
		*ret_dropped = log->dropped;
		log->dropped = 0;
		return CRILOG_RECOVERED;
	}
	/* Only the keeper appends here, so what it wrote last is the end of the file. */
	kept = whole_records(out, done, &kept_records);
	if (kept < done) {
		off_t end = lseek(log->fd, 0, SEEK_END);

		if (end >= (off_t)(done - kept) &&
		    ftruncate(log->fd, end - (off_t)(done - kept)) < 0)
			why = errno;
	}
	log->dropped += records - kept_records;
	errno = why;
	if (log->failing)
		return CRILOG_FAILED;
	log->failing = true;
	return CRILOG_FIRST_FAILURE;
}
