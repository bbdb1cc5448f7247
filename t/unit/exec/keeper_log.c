/* SPDX-License-Identifier: Apache-2.0
 *
 * The CRI log format and its file: tags, splitting, terminals, bytes of every value, what is left
 * at the end, files that are refused, a disk that is full.
 */
#include "exec/keeper/crilog.h"

#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "tap.h"

static char out[4 << 20];

/* The records without their times, or NULL when one is odd. */
static const char *
strip(size_t n)
{
	static char text[4 << 20];
	size_t at = 0, to = 0;

	while (at < n) {
		const char *end = memchr(out + at, '\n', n - at);

		if (end == NULL || end - (out + at) < 31 || out[at + 29] != 'Z' ||
		    out[at + 30] != ' ')
			return NULL;
		memcpy(text + to, out + at + 31, (size_t)(end - (out + at)) - 30);
		to += (size_t)(end - (out + at)) - 30;
		at = (size_t)(end - out) + 1;
	}
	text[to] = '\0';
	return text;
}

static size_t
format(const struct crilog_style *s, bool final, const char *data, size_t len, size_t *ret_out)
{
	return crilog_format(s, final, data, len, out, sizeof(out), ret_out, NULL);
}

static void
test_format(void)
{
	struct crilog_style s = {.stream = "stdout", .max_line = 8}, tty = s, err = s;
	size_t n;
	regex_t time;

	tty.terminal = true;
	err.stream = "stderr";
	is_int(format(&s, false, "ab\ncd", 5, &n), 3, "an unfinished line is left alone");
	is_str(strip(n), "stdout F ab\n", "and the finished one is there");
	out[n] = '\0';
	regcomp(&time,
	    "^20[0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
	    "\\.[0-9]{9}Z stdout F ab\n$",
	    REG_EXTENDED | REG_NOSUB);
	is_int(regexec(&time, out, 0, NULL, 0), 0, "with a time of nine fraction digits");
	regfree(&time);

	is_int(format(&s, true, "ab\ncd", 5, &n), 5, "at the end all is taken");
	is_str(strip(n), "stdout F ab\nstdout P cd\n", "the tail with tag P");
	is_int(format(&s, true, "", 0, &n), 0, "no output");
	is_int(n, 0, "gives no record");
	is_int(format(&err, false, "\n\n", 2, &n), 2, "empty lines");
	is_str(strip(n), "stderr F \nstderr F \n", "are records without content");

	is_int(format(&s, false, "12345678\n", 9, &n), 9, "a line of just the limit");
	is_str(strip(n), "stdout F 12345678\n", "is whole");
	is_int(format(&s, false, "12345678", 8, &n), 0, "the limit without its newline waits");
	is_int(format(&s, false, "123456789", 9, &n), 8, "one byte more does not");
	is_str(strip(n), "stdout P 12345678\n", "and its first part has tag P");
	is_int(format(&s, false, "12345678abcdefgh9\n", 18, &n), 18, "three parts");
	is_str(strip(n), "stdout P 12345678\nstdout P abcdefgh\nstdout F 9\n", "P, P and F");
	is_int(format(&s, true, "12345678abc", 11, &n), 11, "a long tail");
	is_str(strip(n), "stdout P 12345678\nstdout P abc\n", "is split as well");

	is_int(format(&s, false, "ab\r\n", 4, &n), 4, "a program's carriage return");
	is_str(strip(n), "stdout F ab\r\n", "is its own");
	is_int(format(&tty, false, "ab\r\n\r\nc\rd\r\r\n", 12, &n), 12, "a terminal's");
	is_str(strip(n), "stdout F ab\nstdout F \nstdout F c\rd\r\n", "goes, one per line");

	is_int(crilog_format(&s, false, "ab\ncd\n", 6, out, 3 + CRILOG_OVERHEAD + 10, &n, NULL), 3,
	    "a record that does not fit waits");
	is_str(strip(n), "stdout F ab\n", "behind those that do");
}

static void
test_binary(void)
{
	struct crilog_style s = {.stream = "stdout", .max_line = CRILOG_DEFAULT_LINE};
	enum { LEN = 300000 };
	char *data = xmalloc(LEN), *back = xmalloc(LEN);
	size_t n, records, at = 0, to = 0, used;
	int i;

	for (i = 0; i < LEN; i++)
		data[i] = (char)(((unsigned)i * 7919u + (unsigned)i / 251u) % 256u);
	used = crilog_format(&s, true, data, LEN, out, sizeof(out), &n, &records);
	is_int(used, LEN, "bytes of every value are taken");
	while (at < n) {
		const char *end = memchr(out + at, '\n', n - at);
		size_t content = (size_t)(end - (out + at)) - 40;

		memcpy(back + to, out + at + 40, content);
		to += content;
		if (out[at + 38] == 'F')
			back[to++] = '\n';
		at = (size_t)(end - out) + 1;
		records--;
	}
	ok(to == LEN && memcmp(data, back, LEN) == 0, "and come back as they were");
	is_int(records, 0, "the records are counted");
	free(data);
	free(back);
}

static void
test_file(const char *dir)
{
	struct crilog log = {.fd = -1};
	struct stat st;
	struct err err;
	uint64_t dropped;
	char path[256], other[256];
	struct buf b = BUF_INIT;

	snprintf(path, sizeof(path), "%s/pod/ctr/0.log", dir);
	umask(077);
	ok(crilog_open(&log, path, &err) == 0, "opened, directories made");
	ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0640, "mode 0640 whatever the umask");
	ok((fcntl(log.fd, F_GETFD) & FD_CLOEXEC) && (fcntl(log.fd, F_GETFL) & O_APPEND),
	    "close-on-exec, append");
	is_int(crilog_write(&log, "one\n", 4, 1, &dropped), CRILOG_OK, "written");
	snprintf(other, sizeof(other), "%s/pod/ctr/0.log.old", dir);
	rename(path, other);
	ok(crilog_open(&log, path, &err) == 0 && access(path, F_OK) == 0, "reopened: a new file");
	crilog_write(&log, "two\n", 4, 1, &dropped);
	ok(fd_read_file(AT_FDCWD, other, 100, &b, &err) == 0 && strcmp(b.data, "one\n") == 0,
	    "the old one gets nothing more");

	unlink(path);
	symlink(other, path);
	ok(crilog_open(&log, path, &err) < 0 &&
	        strstr(err.msg, "Too many levels of symbolic links"),
	    "a symbolic link is refused: %s", err.msg);
	ok(log.fd >= 0, "and the log goes on in the old file");
	unlink(path);
	mkfifo(path, 0600);
	ok(crilog_open(&log, path, &err) < 0, "a fifo is refused: %s", err.msg);
	unlink(path);
	mkdir(path, 0700);
	ok(crilog_open(&log, path, &err) < 0, "a directory is refused: %s", err.msg);
	ok(crilog_open(&log, "pod/0.log", &err) < 0, "a relative path is refused: %s", err.msg);
	ok(crilog_open(&log, "/tmp/../etc/x.log", &err) < 0, "\"..\" is refused: %s", err.msg);
	ok(crilog_open(&log, "/tmp/", &err) < 0, "a directory's name is refused: %s", err.msg);
	crilog_close(&log);
	crilog_close(&log);
	ok(log.fd == -1, "closed twice");
	buf_release(&b);
}

/* RLIMIT_FSIZE stands for the full disk: write(2) takes a part, then nothing. */
static void
test_full(const char *dir)
{
	struct crilog log = {.fd = -1};
	struct rlimit was, limit;
	struct err err;
	uint64_t dropped = 0;
	struct buf b = BUF_INIT;
	char path[256];

	snprintf(path, sizeof(path), "%s/full.log", dir);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &was);
	limit = was;
	limit.rlim_cur = 10;
	ok(crilog_open(&log, path, &err) == 0, "opened");
	setrlimit(RLIMIT_FSIZE, &limit);
	is_int(crilog_write(&log, "aaa\nbbb\nccc\nddd\n", 16, 4, &dropped), CRILOG_FIRST_FAILURE,
	    "a disk that takes the half of a batch");
	is_int(errno, EFBIG, "says why");
	is_int(log.dropped, 2, "what it did not take is counted");
	is_int(crilog_write(&log, "eee\n", 4, 1, &dropped), CRILOG_FAILED, "said once");
	setrlimit(RLIMIT_FSIZE, &was);
	is_int(
	    crilog_write(&log, "fff\n", 4, 1, &dropped), CRILOG_RECOVERED, "until it works again");
	is_int(dropped, 3, "and how many lines are missing");
	is_int(crilog_write(&log, "ggg\n", 4, 1, &dropped), CRILOG_OK, "as before");
	ok(fd_read_file(AT_FDCWD, path, 100, &b, &err) == 0, "read");
	is_str(b.data, "aaa\nbbb\nfff\nggg\n", "no record is torn");
	buf_release(&b);
	crilog_close(&log);
}

int
main(void)
{
	char dir[] = "/tmp/coracle-log-test.XXXXXX";
	struct err err;

	if (mkdtemp(dir) == NULL)
		return 1;
	test_format();
	test_binary();
	test_file(dir);
	test_full(dir);
	fd_remove_tree(AT_FDCWD, dir, &err);
	return tap_done();
}
