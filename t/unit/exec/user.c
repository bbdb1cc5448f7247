/* SPDX-License-Identifier: Apache-2.0
 *
 * Users of an image: who wins, what numbers are refused, and what hostile files do not achieve.
 */
#include "exec/user.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "tap.h"

static struct err err;

static const char passwd_text[] =
    "# comment:x:1:1::/c:\n"
    "+:x:0:0:::\n"
    "root:x:0:0:root:/root:/bin/sh\n"
    "\n"
    "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
    "app:x:1000:1001:App,,,:/home/app:/bin/bash\n"
    "app:x:7:7:the second is not looked at:/no:/no\n"
    "short:x:5:6\n"
    "minus:x:-1:5::/m:\n"
    "wrap:x:4294967296:5::/m:\n"
    "big:x:2147483648:5::/m:\n"
    "max:x:2147483647:2147483647::/m:\n"
    "badgid:x:50:4294967297::/m:\n"
    "hex:x:0x0:5::/m:\n"
    "plus:x:+5:5::/m:\n"
    "space:x: 5:5::/m:\n"
    "relhome:x:60:60::home:\n"
    "ctlhome:x:61:61::/a\rb:\n"
    "nohome:x:62:62::\n"
    "1000x:x:70:70::/x:\n"
    "42:x:0:0::/fake-root:\n"
    "broken\n"
    ":x:80:80::/:\n"
    "last:x:90:91::/last:/bin/sh"; /* no newline */

static const char group_text[] =
    "root:x:0:\n"
    "app:x:1001:\n"
    "audio:x:29:app,daemon\n"
    "video:x:44:daemon\n"
    "wheel:x:10:xapp,app\n"
    "self:x:1001:app\n"
    "late:x:50000:daemon,app\n"
    "prefix:x:51:apple,ap\n"
    "badnum:x:4294967296:\n"
    "badmember:x:99999999999:last\n"
    "# hash:x:1:app\n"
    "end:x:77:app";

static struct user_file passwd = {passwd_text, sizeof(passwd_text) - 1};
static struct user_file group = {group_text, sizeof(group_text) - 1};

/* "uid gid groups… home" */
static const char *
show(int rc, struct user *u)
{
	static char out[256];
	size_t n = 0;

	if (rc < 0)
		return err.code == ERR_INVALID_ARGUMENT ? "invalid" : err.msg;
	n += (size_t)snprintf(out, sizeof(out), "%u:%u ", u->uid, u->gid);
	for (size_t i = 0; i < u->n_groups; i++)
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%u", i > 0 ? "," : "",
		    u->groups[i]);
	snprintf(out + n, sizeof(out) - n, " %s %s", u->home, u->name != NULL ? u->name : "-");
	user_release(u);
	user_release(u);
	return out;
}

static void
test_image_user(void)
{
	static const struct {
		const char *spec, *want;
	} t[] = {
	    {NULL, "0:0 0 /root root"},
	    {"", "0:0 0 /root root"},
	    {"root", "0:0 0 /root root"},
	    {"app", "1000:1001 1001,10,29,77,50000 /home/app app"},
	    {"1000", "1000:1001 1001,10,29,77,50000 /home/app app"},
	    {"1000:5", "1000:5 5,10,29,77,1001,50000 /home/app app"},
	    {"app:audio", "1000:29 29,10,77,1001,50000 /home/app app"},
	    {"app:29", "1000:29 29,10,77,1001,50000 /home/app app"},
	    {"app:", "1000:1001 1001,10,29,77,50000 /home/app app"},
	    {"4711", "4711:0 0 / -"},
	    {"4711:4712", "4711:4712 4712 / -"},
	    {"4711:audio", "4711:29 29 / -"},
	    {"short", "5:6 6 / short"},
	    {"last", "invalid"}, /* one of its groups overflows */
	    {"max", "2147483647:2147483647 2147483647 /m max"},
	    {"2147483647", "2147483647:2147483647 2147483647 /m max"},
	    {"relhome", "60:60 60 / relhome"},
	    {"ctlhome", "61:61 61 / ctlhome"},
	    {"nohome", "62:62 62 / nohome"},
	    {"42", "42:0 0 / -"}, /* a number, not the name in the file */
	    {"1000x", "70:70 70 /x 1000x"}, /* a name, not a number */
	    {"000", "0:0 0 /root root"},
	    {"2147483648", "invalid"},
	    {"4294967295", "invalid"},
	    {"4294967296", "invalid"},
	    {"18446744073709551616", "invalid"},
	    {"-1", "invalid"},
	    {"+5", "invalid"},
	    {"0x0", "invalid"},
	    {"5x", "invalid"},
	    {" 5", "invalid"},
	    {"5 ", "invalid"},
	    {"1000:4294967296", "invalid"},
	    {"1000:-1", "invalid"},
	    {"1000:nosuch", "invalid"},
	    {"1000:badnum", "invalid"},
	    {"nosuch", "invalid"},
	    {"#", "invalid"},
	    {"+", "invalid"},
	    {"broken", "invalid"},
	    {"minus", "invalid"},
	    {"wrap", "invalid"},
	    {"big", "invalid"},
	    {"badgid", "invalid"},
	    {"hex", "invalid"},
	    {"plus", "invalid"},
	    {"space", "invalid"},
	    {":5", "invalid"},
	    {":", "invalid"},
	    {"1:2:3", "invalid"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct user_request req = {.image_user = t[i].spec};
		struct user u;

		is_str(show(user_resolve_in(&passwd, &group, &req, &u, &err), &u), t[i].want,
		    t[i].spec != NULL ? t[i].spec : "none");
	}
}

static void
test_request(void)
{
	static const int64_t groups[] = {60000, 29, 3, 60000}, negative[] = {-1},
			     large[] = {INT64_C(2147483648)};
	static const struct {
		struct user_request req;
		const char *want, *what;
	} t[] = {
	    {{.run_as_username = "app", .has_uid = true, .uid = 5, .image_user = "daemon"},
		"1000:1001 1001,10,29,77,50000 /home/app app", "a name wins"},
	    {{.has_uid = true, .uid = 1, .image_user = "app:audio"},
		"1:1 1,29,44,50000 /usr/sbin daemon", "a number wins over the image, group and all"},
	    {{.has_uid = true, .uid = 1000, .has_gid = true, .gid = 9},
		"1000:9 9,10,29,77,1001,50000 /home/app app", "a group with it"},
	    {{.run_as_username = "app", .has_gid = true, .gid = 9},
		"1000:9 9,10,29,77,1001,50000 /home/app app", "a group with a name"},
	    {{.run_as_username = "1000"}, "1000:1001 1001,10,29,77,50000 /home/app app",
		"a name that is a number"},
	    {{.has_gid = true, .gid = 9, .image_user = "app"}, "invalid", "a group alone"},
	    {{.run_as_username = "", .has_gid = true, .gid = 9}, "invalid", "an empty name is none"},
	    {{.run_as_username = "nosuch"}, "invalid", "an unknown name"},
	    {{.run_as_username = "app:audio"}, "invalid", "a name with a group"},
	    {{.has_uid = true, .uid = -1}, "invalid", "a negative number"},
	    {{.has_uid = true, .uid = INT64_C(2147483648)}, "invalid", "a large number"},
	    {{.has_uid = true, .uid = INT64_C(4294967296)}, "invalid", "one that would wrap to 0"},
	    {{.has_uid = true, .uid = 1, .has_gid = true, .gid = INT64_C(4294967296)}, "invalid",
		"such a group"},
	    {{.run_as_username = "app", .has_uid = true, .uid = -1}, "invalid",
		"also where another field wins"},
	    {{.has_uid = true, .uid = 1000, .supplemental = groups, .n_supplemental = 4},
		"1000:1001 1001,3,10,29,77,50000,60000 /home/app app", "merge"},
	    {{.has_uid = true,
		 .uid = 1000,
		 .supplemental = groups,
		 .n_supplemental = 4,
		 .strict = true},
		"1000:1001 1001,3,29,60000 /home/app app", "strict"},
	    {{.has_uid = true, .uid = 1000, .strict = true}, "1000:1001 1001 /home/app app",
		"strict, and nothing given"},
	    {{.supplemental = negative, .n_supplemental = 1}, "invalid", "a negative group"},
	    {{.supplemental = large, .n_supplemental = 1}, "invalid", "a large group"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct user u;

		is_str(show(user_resolve_in(&passwd, &group, &t[i].req, &u, &err), &u), t[i].want,
		    t[i].what);
	}
}

static void
test_messages(void)
{
	struct user_request req = {.has_gid = true};
	struct user u;

	ok(user_resolve_in(&passwd, &group, &req, &u, &err) < 0 &&
		strstr(err.msg, "run_as_group without run_as_user") != NULL,
	    "group alone: %s", err.msg);
	req = (struct user_request){.image_user = "nosuch"};
	ok(user_resolve_in(&passwd, &group, &req, &u, &err) < 0 && strstr(err.msg, "nosuch") != NULL &&
		strstr(err.msg, "/etc/passwd") != NULL,
	    "unknown: %s", err.msg);
	req.image_user = "wrap";
	ok(user_resolve_in(&passwd, &group, &req, &u, &err) < 0 && strstr(err.msg, "wrap") != NULL,
	    "overflow: %s", err.msg);
}

static void
test_odd_files(void)
{
	static const char nuls[] = "a\0b:x:1:1::/:\napp\0:x:0:0::/:\napp:x:5:5::/h\0x:\n";
	struct user_file odd = {nuls, sizeof(nuls) - 1}, none = {NULL, 0}, newline = {"\n", 1},
			 colons = {":::::::::", 9};
	struct user_request req = {.image_user = "app"};
	int64_t *many = calloc(65537, sizeof(*many));
	struct buf members = BUF_INIT;
	struct user u;

	is_str(show(user_resolve_in(&odd, &none, &req, &u, &err), &u), "5:5 5 / app",
	    "a NUL ends nothing");
	is_str(show(user_resolve_in(&newline, &colons, &req, &u, &err), &u), "invalid", "empty lines");
	req = (struct user_request){.has_uid = true, .uid = 3, .supplemental = many,
	    .n_supplemental = 65536};
	for (int i = 0; i < 65537; i++)
		many[i] = i;
	is_int(user_resolve_in(&none, &none, &req, &u, &err), 0, "65536 groups");
	is_int(u.n_groups, 65536, "are taken");
	user_release(&u);
	req.n_supplemental = 65537;
	is_str(show(user_resolve_in(&none, &none, &req, &u, &err), &u), "invalid", "one more is not");
	for (int i = 0; i < 200000; i++)
		buf_addf(&members, "g:x:%d:u\n", i);
	odd = (struct user_file){"u:x:1:1:::", 10};
	req = (struct user_request){.image_user = "u"};
	is_str(show(user_resolve_in(&odd, &(struct user_file){members.data, members.len}, &req, &u, &err),
		   &u),
	    "invalid", "200000 memberships");
	buf_release(&members);
	free(many);
}

/* ---- inside a directory -------------------------------------------------------------------- */

static char root[] = "/tmp/t-user-XXXXXX";
static int root_fd;

static const char *
inside(const char *spec)
{
	struct user_request req = {.image_user = spec};
	struct user u;
	int rc;

	alarm(20); /* a wait would be for ever */
	rc = user_resolve(root_fd, &req, &u, &err);
	alarm(0);
	return show(rc, &u);
}

static void
clear(void)
{
	fd_remove_tree(root_fd, "etc", &err);
}

static void
test_hostile(void)
{
	char outside[64];
	int fd;

	is_str(inside("7"), "7:0 0 / -", "no /etc at all");
	is_str(inside("root"), "invalid", "nobody by name");
	mkdirat(root_fd, "etc", 0755);
	fd_write_file(root_fd, "etc/passwd", passwd_text, strlen(passwd_text), 0600, false, &err);
	fd_write_file(root_fd, "etc/group", group_text, strlen(group_text), 0600, false, &err);
	is_str(inside("app"), "1000:1001 1001,10,29,77,50000 /home/app app", "plain files");

	/* links, absolute ones too, stay inside */
	clear();
	mkdirat(root_fd, "etc", 0755);
	mkdirat(root_fd, "other", 0755);
	fd_write_file(root_fd, "other/passwd", "in:x:3:3::/in:\n", 15, 0600, false, &err);
	ok(symlinkat("/other/passwd", root_fd, "etc/passwd") == 0, "an absolute link");
	is_str(inside("in"), "3:3 3 /in in", "leads to the image's own");
	unlinkat(root_fd, "etc/passwd", 0);
	ok(symlinkat("../../../../../../other/passwd", root_fd, "etc/passwd") == 0, "a climbing link");
	is_str(inside("in"), "3:3 3 /in in", "does not leave either");
	unlinkat(root_fd, "etc/passwd", 0);
	snprintf(outside, sizeof(outside), "%s-outside", root);
	fd_write_file(AT_FDCWD, outside, "out:x:0:0::/:\n", 14, 0600, false, &err);
	ok(symlinkat(outside, root_fd, "etc/passwd") == 0, "a link to the host");
	is_str(inside("out"), "invalid", "finds nothing");
	unlink(outside);
	unlinkat(root_fd, "etc/passwd", 0);
	ok(symlinkat("/proc/self/fd/0", root_fd, "etc/passwd") == 0, "a link to /proc");
	is_str(inside("4"), "4:0 0 / -", "finds nothing");
	unlinkat(root_fd, "etc/passwd", 0);
	ok(symlinkat("passwd", root_fd, "etc/passwd") == 0, "a link to itself");
	is_str(inside("4"), "invalid", "is refused");
	ok(strstr(err.msg, "links") != NULL, "  %s", err.msg);
	clear();
	ok(symlinkat("/", root_fd, "etc") == 0, "/etc is a link to /");
	fd_write_file(root_fd, "passwd", "top:x:8:8::/:\n", 14, 0600, false, &err);
	is_str(inside("top"), "8:8 8 / top", "of the image");
	unlinkat(root_fd, "etc", 0);

	/* what is no file */
	mkdirat(root_fd, "etc", 0755);
	ok(mkfifoat(root_fd, "etc/passwd", 0600) == 0, "a FIFO");
	is_str(inside("4"), "invalid", "is not waited for");
	ok(strstr(err.msg, "regular") != NULL, "  %s", err.msg);
	unlinkat(root_fd, "etc/passwd", 0);
	ok(mkfifoat(root_fd, "etc/group", 0600) == 0, "a FIFO for a group file");
	is_str(inside("4"), "invalid", "is not waited for");
	unlinkat(root_fd, "etc/group", 0);
	mkdirat(root_fd, "etc/passwd", 0755);
	is_str(inside("4"), "invalid", "a directory");
	unlinkat(root_fd, "etc/passwd", AT_REMOVEDIR);
	if (mknodat(root_fd, "etc/passwd", S_IFCHR | 0600, makedev(1, 5)) == 0) {
		is_str(inside("4"), "invalid", "/dev/zero");
		unlinkat(root_fd, "etc/passwd", 0);
	}
	fd = openat(root_fd, "etc/passwd", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ok(fd >= 0 && ftruncate(fd, INT64_C(10) << 30) == 0, "10 GiB of nothing");
	close(fd);
	is_str(inside("4"), "invalid", "are not read");
	ok(strstr(err.msg, "bytes") != NULL, "  %s", err.msg);
	clear();
}

static void
test_of_image(void)
{
	static const struct {
		const char *spec;
		bool has_uid;
		int64_t uid;
		const char *username;
	} t[] = {
	    {NULL, false, 0, NULL}, {"", false, 0, NULL}, {"1002", true, 1002, NULL},
	    {"1003:22", true, 1003, NULL}, {"www-data", false, 0, "www-data"},
	    {"www-data:www-data", false, 0, "www-data"}, {"0", true, 0, NULL},
	    {":5", false, 0, NULL}, {"1000x", false, 0, "1000x"}, {"-1", false, 0, "-1"},
	};
	static const char *const bad[] = {"2147483648", "4294967296", "4294967296:0"};
	struct user_of_image u;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		is_int(user_of_image(t[i].spec, &u, &err), 0, t[i].spec != NULL ? t[i].spec : "none");
		ok(u.has_uid == t[i].has_uid && u.uid == t[i].uid, "  number");
		is_str(u.username, t[i].username, "  name");
		free(u.username);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(user_of_image(bad[i], &u, &err) < 0 && err.code == ERR_INVALID_ARGUMENT, "%s: %s",
		    bad[i], err.msg);
}

int
main(void)
{
	test_image_user();
	test_request();
	test_messages();
	test_odd_files();
	test_of_image();
	if (fd_openat2(AT_FDCWD, "/", O_PATH, 0, 0) < 0 && errno == ENOSYS) {
		diag("no openat2(2) here (valgrind lacks it): no files");
		return tap_done();
	}
	if (mkdtemp(root) == NULL)
		return 1;
	root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	test_hostile();
	close(root_fd);
	fd_remove_tree(AT_FDCWD, root, &err);
	return tap_done();
}
