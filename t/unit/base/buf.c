/* SPDX-License-Identifier: Apache-2.0
 *
 * base/: buffers, arenas, errors, strings, numbers, time, files.
 */
#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/log.h"
#include "base/str.h"
#include "tap.h"

static void
buffers(void)
{
	struct buf b = BUF_INIT;
	char *s;

	buf_addf(&b, "%d-%s", 7, "x");
	buf_addch(&b, '!');
	is_str(b.data, "7-x!", "text is appended");
	buf_consume(&b, 2);
	is_str(b.data, "x!", "and consumed from the front");
	for (int i = 0; i < 10000; i++)
		buf_addch(&b, 'y');
	is_int(b.len, 10002, "it grows");
	buf_truncate(&b, 1);
	s = buf_detach(&b);
	is_str(s, "x", "and hands its bytes over");
	free(s);
	buf_release(&b);
}

static void
arenas(void)
{
	struct arena a;
	char *first, *big;
	bool aligned = true;

	arena_init(&a);
	first = arena_strdup(&a, "first");
	big = arena_zalloc(&a, 100000);
	for (int i = 0; i < 5000; i++) {
		char *p = arena_alloc(&a, (size_t)i % 97);

		aligned = aligned && (uintptr_t)p % 16 == 0;
		memset(p, 0xaa, (size_t)i % 97);
	}
	ok(aligned, "16-byte aligned");
	is_str(first, "first", "nothing is overwritten");
	ok(big[0] == 0 && big[99999] == 0, "not by the small ones either");
	is_str(arena_printf(&a, "%s/%d", "a", 1), "a/1", "formats");
	arena_release(&a);
	is_int(a.total, 0, "and is empty after its release");
}

static void
errors(void)
{
	struct err err;

	errno = ENOSPC;
	err_errno(&err, "write %s", "x");
	is_int(err.code, ERR_RESOURCE_EXHAUSTED, "a full disk has its code");
	err_wrap(&err, "create row");
	is_str(err.msg, "create row: write x: No space left on device", "context goes in front");
	for (int i = 0; i < 100; i++)
		err_wrap(&err, "again and again");
	is_int(strlen(err.msg), sizeof(err.msg) - 1, "and is bounded");
	is_str(err_name(ERR_DEADLINE_EXCEEDED), "DEADLINE_EXCEEDED", "names");
	is_str(err_name((enum err_code)99), "UNKNOWN", "of unknown codes too");
}

static void
strings(void)
{
	static const char *const bad[] = {"", "+5", "-1", " 1", "1 ", "0x10", "1000x", "4294967296",
	    "99999999999999999999999"};
	uint32_t v = 7;
	unsigned mask;
	enum log_level level;
	bool refused = true;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		refused = refused && str_u32(bad[i], UINT32_MAX, &v) < 0 && v == 7;
	ok(refused, "numbers are strict");
	ok(str_u32("4294967295", UINT32_MAX, &v) == 0 && v == UINT32_MAX, "up to the maximum");
	ok(str_utf8("gr\xc3\xbc\xc3\x9f", 6) && str_utf8("\xf0\x9f\x9b\xb6", 4), "UTF-8");
	ok(!str_utf8("\xc0\xaf", 2) && !str_utf8("\xed\xa0\x80", 3) && !str_utf8("\xe2\x82", 2) &&
		!str_utf8("\xf4\x90\x80\x80", 4),
	    "overlong, surrogate, short and too large are refused");
	ok(str_only("abc", "abcd") && !str_only("", "a") && !str_only("abx", "ab"), "alphabets");
	ok(trace_parse("op,h2", &mask) && mask == (TRACE_OP | TRACE_H2), "trace masks");
	ok(!trace_parse("op,nonsense", &mask), "with known names only");
	ok(log_level_parse("debug", &level) && level == LOG_LEVEL_DEBUG &&
		!log_level_parse("loud", &level),
	    "log levels");
}

static void
time_and_ids(void)
{
	char at[CLOCK_RFC3339_MAX], id[ID_SIZE], raw[4];

	is_int(clock_rfc3339(INT64_C(1732430081000000042), at), 30, "the length of a time");
	is_str(at, "2024-11-24T06:34:41.000000042Z", "RFC 3339 with nanoseconds");
	id_new(id);
	ok(id_valid(id), "new ids are valid");
	id[3] = 'G';
	ok(!id_valid(id) && !id_valid("abc"), "others are not");
	ok(hex_decode("00ff10a5", raw, 4) == 0 && (unsigned char)raw[3] == 0xa5, "hex");
	ok(hex_decode("00FF10A5", raw, 4) < 0 && hex_decode("00", raw, 4) < 0, "strictly");
}

static void
files(void)
{
	char dir[] = "/tmp/coracle-t-XXXXXX";
	struct buf b = BUF_INIT;
	struct err err;
	struct stat st;
	int fd;

	if (mkdtemp(dir) == NULL)
		exit(1);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ok(fd_mkdir_p(fd, "a/b/c", 0700, &err) == 0 && fd_mkdir_p(fd, "a/b/c", 0700, &err) == 0,
	    "mkdir -p, twice");
	ok(fd_write_file(fd, "a/b/f", "hello", 5, 0600, true, &err) == 0, "a file is written");
	ok(fd_write_file(fd, "a/b/f", "HELLO", 5, 0640, false, &err) == 0, "and replaced");
	ok(fstatat(fd, "a/b/f", &st, 0) == 0 && (st.st_mode & 07777) == 0640, "with its mode");
	ok(fd_read_file(fd, "a/b/f", 5, &b, &err) == 0 && strcmp(b.data, "HELLO") == 0, "and read");
	ok(fd_read_file(fd, "a/b/f", 4, &b, &err) < 0 && err.code == ERR_OUT_OF_RANGE,
	    "up to a limit");
	ok(fd_mkdir_p(fd, "a/b/f", 0700, &err) < 0, "a file is no directory");
	if (symlinkat("/etc", fd, "a/link") < 0)
		exit(1);
	ok(fd_remove_tree(fd, "a", &err) == 0 && faccessat(fd, "a", F_OK, 0) < 0,
	    "a tree is removed");
	ok(access("/etc/passwd", F_OK) == 0, "and what its links point to is not");
	ok(fd_remove_tree(fd, "a", &err) == 0, "a missing one is fine");
	close(fd);
	rmdir(dir);
	buf_release(&b);
}

int
main(void)
{
	buffers();
	arenas();
	errors();
	strings();
	time_and_ids();
	files();
	return tap_done();
}
