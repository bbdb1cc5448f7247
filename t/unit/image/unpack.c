/* SPDX-License-Identifier: Apache-2.0
 *
 * Extraction of tars, good ones and hostile ones, in this process, into directories of its own.
 * After each, the account must be what du and find say, and nothing beside the directory may have
 * changed.
 */
#include "tap.h"

#include <errno.h>
#include <sys/xattr.h>

#include "scratch.h"
#include "tars.h"

#include "base/fd.h"
#include "image/extract.h"

static struct err err;
static unsigned n_runs;
static char canary[256];

/* One extraction into scratch/<n>. */
struct run {
	struct extract x;
	const struct buf *tar;
	size_t at, chunk;
	char dir[32];
	int ret;
};

static ssize_t
on_read(struct extract *x, const void **ret, struct err *e)
{
	struct run *r = container_of(x, struct run, x);
	size_t n = MIN(r->chunk, r->tar->len - r->at);

	(void)e;
	*ret = r->tar->data + r->at;
	r->at += n;
	return (ssize_t)n;
}

static const char *
sh_in(const struct run *r, const char *cmd)
{
	char *full = xasprintf("cd %s && %s", r->dir, cmd);
	const char *line = scratch_sh(full);

	free(full);
	return line;
}

static void
snapshot(char *out, size_t n)
{
	snprintf(out, n, "%s", scratch_sh("ls -lR --time-style=full-iso beside | md5sum"));
}

static void
run_chunked(struct run *r, const struct buf *tar, size_t chunk, uint64_t max_bytes)
{
	char now[256];
	int root;

	*r = (struct run){.tar = tar, .chunk = chunk};
	r->x.read = on_read;
	r->x.max_bytes = max_bytes;
	snprintf(r->dir, sizeof(r->dir), "%u", ++n_runs);
	mkdir(in_scratch(r->dir), 0755);
	root = open(in_scratch(r->dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = (struct err){0};
	r->ret = extract_run(&r->x, root, &err);
	if (r->ret == 0) {
		uint64_t bytes = strtoull(sh_in(r, "du -s --block-size=1 ."), NULL, 10);
		uint64_t inodes =
		    strtoull(sh_in(r, "find . -printf '%i\\n' | sort -u | wc -l"), NULL, 10);

		if (bytes != r->x.walk.bytes || inodes != r->x.walk.inodes)
			ok(false, "run %u: account of %llu bytes, %llu inodes; du has %llu, %llu",
			    n_runs, (unsigned long long)r->x.walk.bytes,
			    (unsigned long long)r->x.walk.inodes, (unsigned long long)bytes,
			    (unsigned long long)inodes);
	}
	snapshot(now, sizeof(now));
	if (strcmp(now, canary) != 0)
		ok(false, "run %u changed something outside", n_runs);
	close(root);
}

static void
run_end(struct run *r)
{
	extract_release(&r->x);
}

static void
run(struct run *r, struct buf *tar)
{
	tar_end(tar);
	run_chunked(r, tar, SIZE_MAX, 0);
	buf_truncate(tar, 0);
}

/* The tar is refused, with this code and these words. */
static void
refused(struct buf *tar, enum err_code code, const char *words, const char *what)
{
	struct run r;

	run(&r, tar);
	ok(r.ret < 0 && err.code == code && strstr(err.msg, words) != NULL, "%s: %s", what,
	    r.ret < 0 ? err.msg : "not refused");
	run_end(&r);
}

static const char *
paths(const struct pathset *s)
{
	static char text[2][512];
	static unsigned at;
	char *out = text[at++ % 2];
	struct buf b = BUF_INIT;

	pathset_dump(s, &b);
	for (size_t i = 0; i < b.len; i++)
		if (b.data[i] == '\0')
			b.data[i] = ' ';
	snprintf(out, sizeof(text[0]), "%s", b.len > 0 ? b.data : "");
	buf_release(&b);
	return out;
}

static void
test_names(void)
{
	struct buf tar = BUF_INIT;
	struct run r;

	tar_add(&tar, .name = "./", .mode = 0751, .uid = 3);
	tar_add(&tar, .name = "/abs", .data = "1");
	tar_add(&tar, .name = "./dot/", .mode = 0700);
	tar_add(&tar, .name = "dot//.//x", .data = "2");
	tar_add(&tar, .name = "///three/./y", .data = "3");
	run(&r, &tar);
	ok(r.ret == 0, "odd names are cleaned");
	is_str(sh_in(&r, "find . -printf '%P:%y ' | tr ' ' '\\n' | sort | tr '\\n' ' '"),
	    ":d abs:f dot/x:f dot:d three/y:f three:d ", "to these");
	is_str(sh_in(&r, "stat -c %a:%u ."), "751:3", "the root has its entry's attributes");
	is_str(paths(&r.x.walk.implicit), "three ", "implicit directories are noted");
	is_int(r.x.entries, 5, "entries");
	run_end(&r);

	tar_add(&tar, .name = "../x", .data = "1");
	refused(&tar, ERR_INVALID_ARGUMENT, "bad name", "../x");
	tar_add(&tar, .name = "a/../../beside/x", .data = "1");
	refused(&tar, ERR_INVALID_ARGUMENT, "bad name", "a/../../beside/x");
	tar_add(&tar, .name = "a/..", .type = '5');
	refused(&tar, ERR_INVALID_ARGUMENT, "bad name", "a/..");
	tar_add(&tar, .name = "/..", .type = '2', .link = "x");
	refused(&tar, ERR_INVALID_ARGUMENT, "bad name", "/..");
	tar_add(&tar, .name = "", .data = "1");
	refused(&tar, ERR_INVALID_ARGUMENT, "root is no directory", "an empty name");
	tar_add(&tar, .name = ".", .type = '2', .link = "/etc");
	refused(&tar, ERR_INVALID_ARGUMENT, "root is no directory", "a link as the root");
	tar_add(&tar, .name = "f", .data = "1");
	tar_add(&tar, .name = "f/x", .data = "1");
	refused(&tar, ERR_INVALID_ARGUMENT, "not a directory", "below a file");
	buf_release(&tar);
}

static void
test_links(void)
{
	struct buf tar = BUF_INIT;
	struct run r;
	char *outside = xasprintf("%s/beside", scratch_dir);

	tar_add(&tar, .name = "abs", .type = '2', .link = "/etc");
	tar_add(&tar, .name = "abs/file", .data = "1");
	tar_add(&tar, .name = "out", .type = '2', .link = "../beside");
	tar_add(&tar, .name = "out/file", .data = "2");
	tar_add(&tar, .name = "deep/down/", .mode = 0755);
	tar_add(&tar, .name = "deep/down/up", .type = '2', .link = "../../../../..");
	tar_add(&tar, .name = "deep/down/up/file", .data = "3");
	tar_add(&tar, .name = "full", .type = '2', .link = outside);
	tar_add(&tar, .name = "full/secret", .data = "4");
	run(&r, &tar);
	ok(r.ret == 0, "links in the middle of names: %s", err.msg);
	is_str(sh_in(&r, "cat etc/file beside/file file .$(readlink full)/secret"), "1234",
	    "are followed inside the tree");
	run_end(&r);

	tar_add(&tar, .name = "lib", .type = '2', .link = "usr/lib");
	tar_add(&tar, .name = "usr/lib/", .mode = 0711);
	tar_add(&tar, .name = "lib/a", .data = "1");
	tar_add(&tar, .name = "lib", .type = '2', .link = "usr/lib32");
	tar_add(&tar, .name = "lib/b", .data = "2");
	run(&r, &tar);
	is_str(sh_in(&r, "cat usr/lib/a usr/lib32/b"), "12", "a link may change under way");
	is_str(paths(&r.x.walk.implicit), " usr usr/lib32 ", "implicit ones by their true names");
	run_end(&r);

	tar_add(&tar, .name = "d/", .mode = 0755);
	tar_add(&tar, .name = "d/x", .data = "1");
	tar_add(&tar, .name = "d", .type = '2', .link = outside);
	tar_add(&tar, .name = "d/secret", .data = "2");
	run(&r, &tar);
	ok(r.ret == 0, "a directory replaced by a link: %s", err.msg);
	ok(*sh_in(&r, "ls -d d/x 2>/dev/null") == '\0', "loses what was in it");
	run_end(&r);

	tar_add(&tar, .name = "x", .type = '2', .link = outside);
	tar_add(&tar, .name = "x", .type = '5', .mode = 0700);
	tar_add(&tar, .name = "y", .type = '2', .link = outside);
	tar_add(&tar, .name = "y", .data = "through?");
	tar_add(&tar, .name = "z", .type = '2', .link = outside);
	tar_add(&tar, .name = "z", .type = '6');
	run(&r, &tar);
	is_str(sh_in(&r, "stat -c %F x y z | tr '\\n' ,"), "directory,regular file,fifo,",
	    "the last component is not followed but replaced");
	run_end(&r);

	tar_add(&tar, .name = "a", .type = '2', .link = "b");
	tar_add(&tar, .name = "b", .type = '2', .link = "a");
	tar_add(&tar, .name = "a/x", .data = "1");
	refused(&tar, ERR_INVALID_ARGUMENT, "too many symbolic links", "a circle");
	tar_add(&tar, .name = "a", .type = '2', .link = "");
	refused(&tar, ERR_INVALID_ARGUMENT, "without a target", "an empty target");
	buf_release(&tar);
	free(outside);
}

static void
test_hardlinks(void)
{
	struct buf tar = BUF_INIT;
	struct run r;

	tar_add(&tar, .name = "a", .data = "1");
	tar_add(&tar, .name = "b", .type = '1', .link = "/a");
	tar_add(&tar, .name = "d/c", .type = '1', .link = "./b");
	tar_add(&tar, .name = "b", .type = '1', .link = "b"); /* itself */
	tar_add(&tar, .name = "s", .type = '2', .link = "/etc/passwd");
	tar_add(&tar, .name = "t", .type = '1', .link = "s");
	tar_add(&tar, .name = "l", .type = '2', .link = "d");
	tar_add(&tar, .name = "e", .type = '1', .link = "l/c");
	run(&r, &tar);
	ok(r.ret == 0, "hard links: %s", err.msg);
	is_str(sh_in(&r, "stat -c %h:%F a e t | tr '\\n' ,"),
	    "4:regular file,4:regular file,2:symbolic link,", "link what they should");
	run_end(&r);

	tar_add(&tar, .name = "a", .data = "1");
	tar_add(&tar, .name = "b", .data = "2");
	tar_add(&tar, .name = "a", .type = '1', .link = "b");
	run(&r, &tar);
	is_str(sh_in(&r, "cat a; stat -c :%h a"), "2:2", "a hard link replaces a file");
	run_end(&r);

	tar_add(&tar, .name = "x", .type = '1', .link = "../../../../../../../etc/shadow");
	refused(&tar, ERR_INVALID_ARGUMENT, "bad name", "to ../../etc/shadow");
	tar_add(&tar, .name = "x", .type = '1', .link = "/etc/shadow");
	refused(&tar, ERR_NOT_FOUND, "etc", "to /etc/shadow");
	tar_add(&tar, .name = "e", .type = '2', .link = "/etc");
	tar_add(&tar, .name = "x", .type = '1', .link = "e/shadow");
	refused(&tar, ERR_NOT_FOUND, "etc", "to /etc/shadow by a link");
	tar_add(&tar, .name = "e", .type = '2', .link = "../beside");
	tar_add(&tar, .name = "x", .type = '1', .link = "e/secret");
	refused(&tar, ERR_NOT_FOUND, "beside", "to a file outside by a link");
	tar_add(&tar, .name = "d/", .mode = 0755);
	tar_add(&tar, .name = "x", .type = '1', .link = "d");
	refused(&tar, ERR_INVALID_ARGUMENT, "the directory", "to a directory");
	tar_add(&tar, .name = ".wh.w");
	tar_add(&tar, .name = "x", .type = '1', .link = "w");
	refused(&tar, ERR_INVALID_ARGUMENT, "does not have", "to what was removed");
	tar_add(&tar, .name = "x", .type = '1', .link = "x");
	refused(&tar, ERR_INVALID_ARGUMENT, "does not have", "to itself, which is not there");
	tar_add(&tar, .name = "x/y", .data = "1");
	tar_add(&tar, .name = "x", .type = '1', .link = "x/y");
	refused(&tar, ERR_INTERNAL, "hard link", "in the place of the directory of its target");
	buf_release(&tar);
}

static void
test_whiteouts(void)
{
	struct buf tar = BUF_INIT;
	struct run r;

	tar_add(&tar, .name = "etc/.wh.gone");
	tar_add(&tar, .name = "etc/kept", .data = "1");
	tar_add(&tar, .name = "etc/.wh.kept");
	tar_add(&tar, .name = "opq/.wh..wh..opq");
	tar_add(&tar, .name = "opq/x", .data = "1");
	tar_add(&tar, .name = ".wh.new");
	tar_add(&tar, .name = "new/", .mode = 0700);
	tar_add(&tar, .name = ".wh.deep");
	tar_add(&tar, .name = "deep/x", .data = "1");
	tar_add(&tar, .name = "late/", .mode = 0700);
	tar_add(&tar, .name = "late/x", .data = "1");
	tar_add(&tar, .name = ".wh.late");
	tar_add(&tar, .name = ".wh.file");
	tar_add(&tar, .name = "file", .data = "1");
	tar_add(&tar, .name = ".wh..wh.plnk/", .mode = 0700);
	tar_add(&tar, .name = ".wh..wh.plnk/123.4", .data = "1");
	tar_add(&tar, .name = ".wh..wh.aufs", .data = "1");
	run(&r, &tar);
	ok(r.ret == 0, "whiteouts: %s", err.msg);
	is_str(sh_in(&r, "stat -c '%F %t:%T' etc/gone"), "character special file 0:0",
	    "are devices 0:0");
	is_str(sh_in(&r, "cat etc/kept file deep/x late/x"), "1111", "do not hide their own layer");
	is_str(paths(&r.x.walk.opaque), "deep late new opq ", "opaque directories are noted");
	is_str(paths(&r.x.walk.implicit), " etc opq ", "and the implicit ones");
	is_str(sh_in(&r, "find . -name '.wh*' | wc -l"), "0", "aufs's files are left out");
	run_end(&r);

	tar_add(&tar, .name = ".wh..wh..opq");
	tar_add(&tar, .name = "x", .data = "1");
	run(&r, &tar);
	ok(pathset_has(&r.x.walk.opaque, ""), "the root may be opaque");
	run_end(&r);

	tar_add(&tar, .name = "a/.wh.");
	refused(&tar, ERR_INVALID_ARGUMENT, "whiteout of a bad name", ".wh.");
	tar_add(&tar, .name = "a/.wh..");
	refused(&tar, ERR_INVALID_ARGUMENT, "whiteout of a bad name", ".wh..");
	tar_add(&tar, .name = "a/.wh...");
	refused(&tar, ERR_INVALID_ARGUMENT, "whiteout of a bad name", ".wh...");
	tar_add(&tar, .name = ".wh.d/x", .data = "1");
	refused(&tar, ERR_INVALID_ARGUMENT, "below a whiteout", "below a whiteout");
	tar_add(&tar, .name = "out", .type = '2', .link = "../beside");
	tar_add(&tar, .name = "out/.wh.secret");
	run(&r, &tar);
	ok(r.ret == 0 && *sh_in(&r, "ls -d beside/secret") != '\0',
	    "a whiteout through a link stays in the tree");
	run_end(&r);
	buf_release(&tar);
}

static void
test_replace(void)
{
	struct buf tar = BUF_INIT;
	struct run r;
	char name[600];

	tar_add(&tar, .name = "f", .data = "1", .mode = 0600);
	tar_add(&tar, .name = "f", .data = "22", .mode = 0640);
	tar_add(&tar, .name = "d/", .mode = 0700, .uid = 5);
	tar_add(&tar, .name = "d/x", .data = "1");
	tar_add(&tar, .name = "d/", .mode = 0711);
	tar_add(&tar, .name = "g/", .mode = 0700);
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "g/%0*d/%d", i, 0, i);
		tar_add(&tar, .name = name, .data = "content");
	}
	tar_add(&tar, .name = "g/other", .type = '1', .link = "f");
	tar_add(&tar, .name = "g", .data = "now a file");
	tar_add(&tar, .name = "h", .data = "1");
	tar_add(&tar, .name = "h/", .mode = 0755);
	tar_add(&tar, .name = "h/i", .data = "1");
	tar_add(&tar, .name = "late/x", .data = "1");
	tar_add(&tar, .name = "late/", .mode = 0701);
	run(&r, &tar);
	ok(r.ret == 0, "later entries replace earlier ones: %s", err.msg);
	is_str(sh_in(&r, "stat -c %a:%s:%h f"), "640:2:1", "a file");
	is_str(sh_in(&r, "stat -c %a:%u d; cat d/x"), "711:0", "a directory merges");
	is_str(sh_in(&r, "cat g h/i"), "now a file1", "kinds may change");
	is_str(
	    paths(&r.x.walk.implicit), " ", "what was replaced, or got its entry, is not implicit");
	run_end(&r);
	buf_release(&tar);
}

static void
test_attributes(void)
{
	struct buf tar = BUF_INIT, pax = BUF_INIT;
	struct run r;

	tar_add(&tar, .name = "su", .data = "x", .mode = 04755, .uid = 1000, .gid = 1001);
	tar_add(&tar, .name = "su0", .data = "x", .mode = 06711);
	tar_add(&tar, .name = "tmp/", .mode = 01777, .mtime = 1000000000);
	tar_add(&tar, .name = "sg/", .mode = 02775, .gid = 50, .mtime = 1100000000);
	tar_add(&tar, .name = "sg/f", .data = "x");
	tar_add(&tar, .name = "sg/d/", .mode = 0755);
	tar_add(&tar, .name = "sg/l", .type = '2', .link = "f");
	tar_add(&tar, .name = "sg/im/f", .data = "x");
	tar_add(&tar, .name = "tmp/x", .data = "x", .mode = 0);
	tar_add(&tar, .name = "l", .type = '2', .link = "nowhere", .uid = 5, .gid = 6, .mtime = 77);
	tar_add(&tar, .name = "tmp/y", .data = "x");
	run(&r, &tar);
	is_str(sh_in(&r, "stat -c %a:%u:%g su su0 | tr '\\n' ' '"), "4755:1000:1001 6711:0:0 ",
	    "set-user-id bits survive");
	is_str(sh_in(&r, "stat -c %a:%u:%g sg sg/f sg/d sg/im | tr '\\n' ' '"),
	    "2775:0:50 644:0:0 755:0:0 755:0:0 ", "a set-group-id directory passes nothing on");
	is_str(sh_in(&r, "stat -c %g sg/l"), "0", "to links neither");
	is_str(sh_in(&r, "stat -c %a:%Y tmp"), "1777:1000000000", "a directory's time and mode");
	is_str(sh_in(&r, "stat -c %Y sg"), "1100000000", "stay after what came into it");
	is_str(sh_in(&r, "stat -c %u:%g:%Y l"), "5:6:77", "a link's own attributes");
	run_end(&r);

	pax_record(&pax, "mtime", "1234567890.123456789", 20);
	pax_record(&pax, "atime", "1111111111.5", 12);
	pax_record(&pax, "uid", "100000", 6);
	pax_record(&pax, "SCHILY.xattr.user.note", "a\0b", 3);
	pax_record(&pax, "SCHILY.xattr.security.capability",
	    "\x01\0\0\x02\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	pax_record(&pax, "SCHILY.xattr.trusted.overlay.redirect", "/etc", 4);
	pax_record(&pax, "SCHILY.xattr.trusted.overlay.opaque", "y", 1);
	pax_record(&pax, "SCHILY.xattr.user.overlay.opaque", "y", 1);
	pax_record(&pax, "SCHILY.xattr.security.selinux", "x", 1);
	pax_record(&pax, "SCHILY.xattr.system.posix_acl_access", "x", 1);
	pax_record(&pax, "SCHILY.acl.access", "nonsense", 8);
	tar_add(&tar, .name = "f", .data = "x", .pax = pax.data, .n_pax = pax.len);
	tar_add(&tar, .name = "d/", .pax = pax.data, .n_pax = pax.len);
	run(&r, &tar);
	ok(r.ret == 0, "pax records: %s", err.msg);
	is_str(sh_in(&r, "stat -c '%u %.9Y' f"), "100000 1234567890.123456789", "owner and time");
	is_str(
	    sh_in(&r, "stat -c '%u %.9Y' d"), "100000 1234567890.123456789", "of a directory too");
	is_str(sh_in(&r, "stat -c %.2X f"), "1111111111.50", "access time");
	for (int i = 0; i < 2; i++) {
		char *name = xasprintf("%s/%s", r.dir, i == 0 ? "f" : "d");
		char list[1024], value[64];
		ssize_t n = listxattr(in_scratch(name), list, sizeof(list));
		bool only = true;

		for (char *p = list; n > 0 && p < list + n; p += strlen(p) + 1)
			only = only && (strcmp(p, "user.note") == 0 ||
			                   strcmp(p, "security.capability") == 0);
		ok(n > 0 && only, "only allowed attributes are kept");
		is_int(getxattr(in_scratch(name), "user.note", value, sizeof(value)), 3,
		    "zero bytes in a value");
		is_int(getxattr(in_scratch(name), "security.capability", value, sizeof(value)), 20,
		    "capabilities");
		free(name);
	}
	run_end(&r);
	buf_truncate(&pax, 0);
	for (int i = 0; i < EXTRACT_XATTRS_MAX + 1; i++) {
		char key[64];

		snprintf(key, sizeof(key), "SCHILY.xattr.user.k%d", i);
		pax_record(&pax, key, "v", 1);
	}
	tar_add(&tar, .name = "f", .data = "x", .pax = pax.data, .n_pax = pax.len);
	refused(&tar, ERR_RESOURCE_EXHAUSTED, "extended attributes", "too many attributes");
	buf_release(&pax);
	buf_release(&tar);
}

static void
test_special(void)
{
	struct buf tar = BUF_INIT;
	struct run r;

	tar_add(&tar, .name = "c", .type = '3', .major = 5, .minor = 300, .mode = 0620, .gid = 5);
	tar_add(&tar, .name = "b", .type = '4', .major = 300, .minor = 1, .mode = 0600);
	tar_add(&tar, .name = "p", .type = '6', .mode = 0644);
	tar_add(&tar, .name = "unknown", .type = 'Z', .data = "x");
	tar_add(&tar, .name = "cont", .type = '7', .data = "y");
	run(&r, &tar);
	ok(r.ret == 0, "special files: %s", err.msg);
	is_str(sh_in(&r, "stat -c '%F %t:%T %a:%g' c b p | tr '\\n' ,"),
	    "character special file 5:12c 620:5,block special file 12c:1 600:0,fifo 0:0 644:0,",
	    "are what they were");
	is_str(sh_in(&r, "cat unknown cont"), "xy", "unknown types are regular files");
	run_end(&r);
	buf_release(&tar);
}

static void
test_long_names(void)
{
	struct buf tar = BUF_INIT, pax = BUF_INIT, name = BUF_INIT;
	static const char weird[] = "n\xc3\xa9\xe2\x82\xac \n\t'\"\\*";
	static const char latin[] = "latin-\xe9-\xff";
	char gnu[200];
	struct run r;

	memset(gnu, 'L', sizeof(gnu));

	for (int i = 0; i < 12; i++)
		buf_addf(&name, "%0*d/", 200, i);
	buf_addstr(&name, "file");
	pax_record(&pax, "path", name.data, name.len);
	tar_add(&tar, .name = "short", .data = "1", .pax = pax.data);
	buf_truncate(&pax, 0);
	pax_record(&pax, "path", weird, strlen(weird));
	pax_record(&pax, "linkpath", latin, strlen(latin));
	pax_record(&pax, "uname", latin, strlen(latin));
	tar_add(&tar, .name = "x", .type = '2', .link = "y", .pax = pax.data);
	buf_truncate(&pax, 0);
	pax_record(&pax, "path", latin, strlen(latin));
	tar_add(&tar, .name = "z", .data = "2", .pax = pax.data);
	tar_add(&tar, .name = "raw-\xe9", .data = "3");
	tar_add(&tar, .name = "././@LongLink", .type = 'L', .data = gnu, .n = 200);
	tar_add(&tar, .name = "cut", .data = "4");
	tar_add(&tar, .name = "old", .data = "5", .raw_magic = 1);
	run(&r, &tar);
	ok(r.ret == 0, "long and strange names: %s", err.msg);
	is_str(sh_in(&r, "find . -name file | wc -c"), "2419", "pax path");
	{
		char *path = xasprintf("%s/%s", r.dir, weird);
		char target[64] = "";

		if (readlink(in_scratch(path), target, sizeof(target) - 1) < 0)
			target[0] = '\0';
		is_str(target, latin, "names are bytes");
		free(path);
		path = xasprintf("%s/%s", r.dir, latin);
		is_int(access(in_scratch(path), F_OK), 0, "in pax paths");
		free(path);
		path = xasprintf("%s/raw-\xe9", r.dir);
		is_int(access(in_scratch(path), F_OK), 0, "in headers");
		free(path);
	}
	is_str(sh_in(&r, "cat LLLL* old"), "45", "a GNU long name, an old header");
	run_end(&r);

	buf_truncate(&name, 0);
	for (int i = 0; i < 30; i++)
		buf_addf(&name, "%0*d/", 200, i);
	buf_truncate(&pax, 0);
	pax_record(&pax, "path", name.data, name.len);
	tar_add(&tar, .name = "short", .data = "1", .pax = pax.data);
	refused(&tar, ERR_INVALID_ARGUMENT, "bad name", "a path beyond PATH_MAX");
	buf_truncate(&name, 0);
	for (int i = 0; i < 300; i++)
		buf_addch(&name, 'n');
	buf_truncate(&pax, 0);
	pax_record(&pax, "path", name.data, name.len);
	tar_add(&tar, .name = "short", .data = "1", .pax = pax.data);
	refused(&tar, ERR_INVALID_ARGUMENT, "too long", "a name beyond NAME_MAX");

	/* Deeper and deeper by links, each entry by a short name. */
	buf_truncate(&name, 0);
	for (int i = 0; i < 17; i++)
		buf_addf(&name, "%0*d/", 100, i);
	for (int i = 0; i < 3; i++) {
		buf_truncate(&pax, 0);
		{
			char *path =
			    xasprintf("%s%s%s", i > 0 ? "l" : "", i > 0 ? "/" : "", name.data);

			pax_record(&pax, "path", path, strlen(path));
			tar_add(&tar, .name = "d", .type = '5', .pax = pax.data);
			buf_truncate(&pax, 0);
			pax_record(&pax, "linkpath", path, strlen(path));
			tar_add(&tar, .name = "l", .type = '2', .link = "d", .pax = pax.data);
			free(path);
		}
	}
	run(&r, &tar);
	ok(r.ret < 0, "no depth beyond PATH_MAX by links: %s", err.msg);
	run_end(&r);
	buf_release(&name);
	buf_release(&pax);
	buf_release(&tar);
}

static void
test_damaged(void)
{
	struct buf tar = BUF_INIT, pax = BUF_INIT;
	struct run r;

	tar_add(&tar, .name = "a", .data = "0123456789");
	buf_truncate(&tar, 512 + 5);
	run_chunked(&r, &tar, SIZE_MAX, 0);
	ok(r.ret < 0 && err.code == ERR_INVALID_ARGUMENT, "cut short inside a file: %s", err.msg);
	run_end(&r);
	buf_truncate(&tar, 400);
	run_chunked(&r, &tar, SIZE_MAX, 0);
	ok(r.ret < 0 && err.code == ERR_INVALID_ARGUMENT, "cut short inside a header: %s", err.msg);
	run_end(&r);
	buf_truncate(&tar, 0);

	tar_add(&tar, .name = "a", .data = "1");
	run_chunked(&r, &tar, SIZE_MAX, 0);
	ok(r.ret == 0, "without the end mark");
	run_end(&r);
	tar_end(&tar);
	buf_add(&tar, "garbage garbage", 15);
	run_chunked(&r, &tar, 7, 0);
	ok(r.ret == 0 && r.at == tar.len, "bytes beyond the end are read and ignored");
	run_end(&r);
	buf_truncate(&tar, 0);

	tar_add(&tar, .name = "ok", .data = "1");
	tar_add(&tar, .name = "a", .data = "1");
	tar.data[1024 + 3] ^= 4;
	refused(&tar, ERR_INVALID_ARGUMENT, "tar", "a wrong checksum");
	tar_add(&tar, .name = "a", .size = "77777777777 ");
	refused(&tar, ERR_INVALID_ARGUMENT, "a", "8 GiB that are not there");
	tar_add(&tar, .name = "a", .size = "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
	refused(&tar, ERR_INVALID_ARGUMENT, "overflow", "8 EiB");
	tar_add(&tar, .name = "a", .size = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0");
	refused(&tar, ERR_INVALID_ARGUMENT, "negative", "a negative size");
	pax_record(&pax, "size", "9223372036854775807", 19);
	tar_add(&tar, .name = "a", .data = "1", .pax = pax.data);
	refused(&tar, ERR_INVALID_ARGUMENT, "overflow", "a huge size in pax");
	buf_truncate(&pax, 0);
	pax_record(&pax, "size", "1125899906842624", 16);
	tar_add(&tar, .name = "a", .data = "1", .pax = pax.data);
	refused(&tar, ERR_RESOURCE_EXHAUSTED, "whole file system", "more than there is disk");
	tar_add(&tar, .name = "a", .data = "1", .pax = "999999999 path=x\n");
	refused(&tar, ERR_INVALID_ARGUMENT, "pax", "a pax record longer than its header");
	tar_add(&tar, .name = "a", .data = "1", .pax = "nonsense\n");
	refused(&tar, ERR_INVALID_ARGUMENT, "pax", "no pax record at all");
	buf_truncate(&pax, 0);
	pax_record(&pax, "uid", "4294967296", 10);
	tar_add(&tar, .name = "a", .data = "1", .pax = pax.data);
	refused(&tar, ERR_INVALID_ARGUMENT, "bad owner", "a user id beyond 32 bits");
	buf_truncate(&pax, 0);
	pax_record(&pax, "uid", "4294967295", 10);
	tar_add(&tar, .name = "a", .data = "1", .pax = pax.data);
	refused(&tar, ERR_INVALID_ARGUMENT, "bad owner", "user id -1");

	buf_truncate(&pax, 0);
	for (int i = 0; i < (2 << 20); i++)
		buf_addch(&pax, 'x');
	tar_add(&tar, .name = "a", .data = "1", .pax = pax.data);
	refused(&tar, ERR_INVALID_ARGUMENT, "tar", "pax records of 2 MiB");

	tar_add(&tar, .name = "a", .data = pax.data, .n = 100000);
	tar_end(&tar);
	run_chunked(&r, &tar, 511, 99999);
	ok(r.ret < 0 && err.code == ERR_RESOURCE_EXHAUSTED, "a limit of bytes: %s", err.msg);
	run_end(&r);
	buf_release(&pax);
	buf_release(&tar);
}

/* Sparse files as GNU tar writes them, in each of its formats. */
static void
test_sparse(void)
{
	static const char *const formats[] = {"gnu", "posix --sparse-version=0.0",
	    "posix --sparse-version=0.1", "posix --sparse-version=1.0"};
	struct buf tar = BUF_INIT;
	struct run r;

	scratch_sh("mkdir -p sparse && truncate -s 20M sparse/f && "
	           "for i in 0 3 7 19; do echo $i | dd of=sparse/f bs=1M seek=$i conv=notrunc; "
	           "done 2>/dev/null && "
	           "truncate -s 1M sparse/hole");
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		char *cmd =
		    xasprintf("tar -cSf sparse.tar --format=%s -C sparse f hole", formats[i]);
		char want[128];

		scratch_sh(cmd);
		free(cmd);
		buf_truncate(&tar, 0);
		if (fd_read_file(AT_FDCWD, in_scratch("sparse.tar"), 1 << 24, &tar, &err) < 0)
			exit(1);
		run_chunked(&r, &tar, 1000, 0);
		ok(r.ret == 0, "%s: %s", formats[i], err.msg);
		snprintf(want, sizeof(want), "%s", scratch_sh("cat sparse/f sparse/hole | md5sum"));
		is_str(sh_in(&r, "cat f hole | md5sum"), want, "content");
		ok(r.x.walk.bytes < 200000, "holes stay holes");
		run_end(&r);
	}
	buf_release(&tar);

	/* Maps that make no sense. */
	{
		struct buf pax = BUF_INIT;
		static const char block[1024] = "1\n90\n20\n";

		pax_record(&pax, "GNU.sparse.major", "1", 1);
		pax_record(&pax, "GNU.sparse.minor", "0", 1);
		pax_record(&pax, "GNU.sparse.realsize", "100", 3);
		tar_add(&tar, .name = "f", .data = block, .n = sizeof(block), .pax = pax.data);
		tar_add(&tar, .name = "g", .data = "x");
		run(&r, &tar);
		ok(r.ret < 0, "a map beyond the size: %s", err.msg);
		run_end(&r);
		tar_add(&tar, .name = "f", .data = "99999999999999999999\n", .pax = pax.data);
		run(&r, &tar);
		ok(r.ret < 0, "a map of too many: %s", err.msg);
		run_end(&r);
		buf_release(&pax);
	}
	buf_release(&tar);
}

/* Many entries: bounded memory, and the pace of it. */
static void
test_many(void)
{
	enum { MANY = 30000 };
	struct buf tar = BUF_INIT;
	struct run r;
	char name[64];

	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "%03d/%05d", i / 100, i);
		tar_add(&tar, .name = name);
	}
	run(&r, &tar);
	ok(r.ret == 0, "%d entries: %s", MANY, err.msg);
	is_int(r.x.walk.inodes, MANY + MANY / 100 + 1, "inodes");
	run_end(&r);
	/* Implicit directories are bounded. */
	buf_truncate(&tar, 0);
	for (int i = 0; i < PATHSET_MAX / 200 + 200; i++) {
		char *path = xasprintf("d%0*d/%d/f", 90, i / 1000, i);

		tar_add(&tar, .name = path);
		free(path);
	}
	run(&r, &tar);
	ok(r.ret == 0, "fewer implicit directories than the limit: %s", err.msg);
	run_end(&r);
	buf_release(&tar);
}

static void
test_pathset(void)
{
	struct pathset s = {0};
	char path[128];
	int i;

	for (i = 0; i < 5000; i++) {
		snprintf(path, sizeof(path), "a/%d/b", i);
		if (pathset_add(&s, path) < 0)
			break;
		if (i % 3 == 0)
			pathset_remove(&s, path);
	}
	is_int(s.n, 5000 - 1667, "a set after removals");
	ok(pathset_has(&s, "a/1/b") && !pathset_has(&s, "a/3/b") && !pathset_has(&s, "a/1"), "has");
	pathset_remove_below(&s, "a/1");
	is_int(s.n, 5000 - 1667 - 1, "removed below a path, not beside it");
	pathset_remove_below(&s, "a");
	is_int(s.n, 0, "removed below");
	is_int(s.bytes, 0, "bytes");
	memset(path, 'x', sizeof(path));
	for (i = 0; i < 100000; i++) {
		snprintf(path, sizeof(path), "%0100d", i);
		if (pathset_add(&s, path) < 0)
			break;
	}
	is_int(i, PATHSET_MAX / 101, "it is bounded");
	pathset_release(&s);
}

int
main(void)
{
	if (geteuid() != 0)
		skip_all("needs root");
	scratch_make_in("/tmp"); /* a disk's account of blocks */
	atexit(scratch_remove);
	extract_prepare();
	setenv("LC_ALL", "C", 1);
	scratch_sh("umask 022; mkdir -p beside && echo secret > beside/secret");
	snapshot(canary, sizeof(canary));
	test_pathset();
	test_names();
	test_links();
	test_hardlinks();
	test_whiteouts();
	test_replace();
	test_attributes();
	test_special();
	test_long_names();
	test_damaged();
	test_sparse();
	test_many();
	return tap_done();
}
