/* SPDX-License-Identifier: Apache-2.0
 *
 * The image store: identity, references, removal, use by containers, restarts, the layer of
 * implicit directories, and a kill at every statement of a commit.
 */
#include "tap.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/xattr.h>

#include "images.h"

#include "image/config.h"

#define REPO "registry.example/app"

static void
layer_tar(struct buf *tar, const char *name, const char *data)
{
	buf_truncate(tar, 0);
	tar_add(tar, .name = name, .data = data);
	tar_end(tar);
}

static const char *
lower(const char *id)
{
	static struct buf b;

	buf_truncate(&b, 0);
	image_lower_names(store, image_store_by_id(store, id), &b);
	return b.data;
}

/* What ListImages would say of one image. */
static const char *
refs(const char *ref)
{
	static struct buf b;
	const struct image *img = image_store_find(store, ref);

	buf_truncate(&b, 0);
	buf_addstr(&b, img == NULL ? "none" : "");
	for (size_t i = 0; img != NULL && i < img->n_tags; i++)
		buf_addf(&b, "%s ", img->tags[i]);
	for (size_t i = 0; img != NULL && i < img->n_digests; i++)
		buf_addf(&b, "%s ", img->digests[i]);
	return b.data;
}

static bool
finds(const char *ref, const char *id)
{
	const struct image *img = image_store_find(store, ref);

	return img != NULL && strcmp(img->id, id) == 0;
}

static unsigned
n_images(void)
{
	unsigned n = 0;

	for (struct image *img = NULL; (img = image_store_next(store, img)) != NULL;)
		n++;
	return n;
}

static void
drop_all(void)
{
	struct image *img;

	while ((img = image_store_next(store, NULL)) != NULL)
		if (image_store_remove(store, img->id, &err) < 0)
			die("remove");
}

static void
test_identity(void)
{
	struct buf tars[2] = {BUF_INIT, BUF_INIT};
	static const char digest[] =
	    REPO "@sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
	char part[32];
	const char *id;
	struct image *img;
	struct image_fs_info info;
	uint64_t generation = image_store_generation(store);

	layer_tar(&tars[0], "a", "1");
	layer_tar(&tars[1], "b", "2");
	id = add_image("one", tars, 2, REPO ":1", digest);
	ok(id != NULL, "committed: %s", err.msg);
	img = image_store_by_id(store, id);
	ok(img->size > 8192 && !img->pinned && img->n_layers == 2, "size and layers");
	is_int(img->spec_len, 3, "the spec is kept");
	is_str(img->config->env[0], "MARK=one", "the config is parsed");
	is_str(lower(id), "2:1", "the layers for overlayfs, uppermost first");
	ok(image_store_generation(store) > generation, "the generation grows");
	ok(finds(id, id), "by id");
	ok(finds(id + 7, id), "by its digits");
	ok(finds(REPO ":1", id), "by tag");
	ok(finds(digest, id), "by digest reference");
	snprintf(part, sizeof(part), "%.*s", 12, id + 7);
	ok(finds(part, id), "by the first digits");
	snprintf(part, sizeof(part), "%.*s", 20, id);
	ok(finds(part, id), "by sha256: and the first digits");
	ok(!finds("sha256:", id) && !finds("", id), "by no digits at all: not");
	ok(image_store_find(store, REPO) == NULL, "another tag: not");

	add_image("one", tars, 2, REPO ":2", NULL);
	add_image("one", tars, 2, "other.example/app:x", NULL);
	add_image("one", tars, 2, REPO ":1", NULL);
	is_int(n_images(), 1, "more tags are one image");
	is_str(refs(id),
	    REPO ":1 " REPO ":2 other.example/app:x "
	         "registry.example/app@sha256:00112233445566778899aabbccddeeff001122334455"
	         "66778899aabbccddeeff ",
	    "in order of arrival");
	store_reopen();
	image_store_settle(store);
	is_str(refs(id),
	    REPO ":1 " REPO ":2 other.example/app:x "
	         "registry.example/app@sha256:00112233445566778899aabbccddeeff001122334455"
	         "66778899aabbccddeeff ",
	    "after a restart too");
	img = image_store_by_id(store, id);
	is_int(img->spec_len, 3, "with the spec");
	image_store_fs_info(store, &info);
	is_int(info.bytes,
	    strtoll(scratch_sh("du -sc --block-size=1 root/layers/[0-9]* | tail -1"), NULL, 10),
	    "ImageFsInfo's bytes are what du says");
	is_int(info.inodes, strtoll(scratch_sh("find root/layers/[0-9]* | wc -l"), NULL, 10),
	    "inodes too");
	is_str(info.mountpoint, in_scratch("root/layers"), "mountpoint");
	for (int i = 0; i < 2; i++)
		buf_release(&tars[i]);
}

static void
test_short_names(void)
{
	struct buf tar = BUF_INIT;
	const char *id;

	layer_tar(&tar, "short", "1");
	id = add_image("short", &tar, 1, "docker.io/library/cafe:latest", NULL);
	ok(finds("cafe", id), "a short name is normalised");
	ok(finds("docker.io/library/cafe", id) && finds("cafe:latest", id), "in all its forms");
	ok(!finds("cafe:1", id), "another tag is not it");
	buf_release(&tar);
}

static void
test_move_tag(void)
{
	struct buf tar = BUF_INIT;
	const char *a, *b;

	layer_tar(&tar, "t", "1");
	a = add_image("ta", &tar, 1, "r.example/t:1",
	    "r.example/t@sha256:"
	    "1111111111111111111111111111111111111111111111111111111111111111");
	b = add_image("tb", &tar, 1, "r.example/t:1", NULL);
	ok(finds("r.example/t:1", b), "a tag moves to the image pulled last");
	is_str(refs(a),
	    "r.example/t@sha256:1111111111111111111111111111111111111111111111111111111111"
	    "111111 ",
	    "the other one keeps its digest");
	store_reopen();
	image_store_settle(store);
	ok(finds("r.example/t:1", b) && !finds("r.example/t:1", a), "after a restart too");
	buf_release(&tar);
}

static void
test_pinned(void)
{
	struct buf tar = BUF_INIT;
	const char *globs[] = {"*/pause:*", "exact.example/x:1"};
	const char *a, *b;

	layer_tar(&tar, "p", "1");
	image_store_set_pinned(store, globs, 2);
	a = add_image("pa", &tar, 1, "r.example/k8s/pause:3.9", NULL);
	b = add_image("pb", &tar, 1, "exact.example/x:2", NULL);
	ok(image_store_by_id(store, a)->pinned && !image_store_by_id(store, b)->pinned, "pinned");
	add_image("pb", &tar, 1, "exact.example/x:1", NULL);
	ok(image_store_by_id(store, b)->pinned, "by a later tag");
	image_store_set_pinned(store, NULL, 0);
	ok(!image_store_by_id(store, a)->pinned, "until the list changes");
	buf_release(&tar);
}

static void
test_remove(void)
{
	struct buf tars[2] = {BUF_INIT, BUF_INIT};
	const char *a, *b;

	drop_all();
	wait_trash();
	is_int(count_in("layers"), 0, "all removed: no layer is left");
	layer_tar(&tars[0], "shared", "1");
	layer_tar(&tars[1], "own", "1");
	a = add_image("ra", tars, 2, "r.example/a:1", NULL);
	add_image("ra", tars, 2, "r.example/a:2", NULL);
	b = add_image("rb", tars, 1, "r.example/b:1", NULL);
	is_int(image_store_remove(store, "r.example/a:2", &err), 0, "remove by a tag");
	ok(!finds("r.example/a:1", a) && image_store_by_id(store, a) == NULL, "takes all tags");
	is_int(image_store_remove(store, "r.example/a:2", &err), 0, "again");
	is_int(image_store_remove(store, a, &err), 0, "and by id");
	is_int(image_store_remove(store, "no such thing!", &err), 0, "and what cannot be");
	wait_trash();
	is_int(count_in("layers"), 1, "the shared layer stays");
	is_str(scratch_sh("cat root/layers/*/shared"), "1", "whole");
	ok(image_store_by_id(store, b) != NULL, "with the other image");
	drop_all();
	buf_release(&tars[0]);
	buf_release(&tars[1]);
}

static void
test_use(void)
{
	struct buf tar = BUF_INIT;
	const char *a;

	layer_tar(&tar, "used", "1");
	a = add_image("ua", &tar, 1, "r.example/u:1", NULL);
	is_int(image_store_use(store, a, &err), 0, "a container uses it");
	is_int(image_store_use(store, a, &err), 0, "and another");
	is_int(image_store_remove(store, "r.example/u:1", &err), 0, "removing succeeds");
	ok(image_store_by_id(store, a) == NULL && n_images() == 0, "it is gone from the lists");
	is_str(scratch_sh("cat root/layers/*/used"), "1", "its layer is not");
	store_reopen();
	ok(image_store_by_id(store, a) == NULL, "gone after a restart as well");
	is_int(image_store_use(store, a, &err), 0, "but there for the container that has it");
	image_store_settle(store);
	is_str(scratch_sh("cat root/layers/*/used"), "1", "with its layer");
	ok(image_store_by_id_in_use(store, a) != NULL, "found for it");
	is_str(add_image("ua", &tar, 1, "r.example/u:2", NULL), a, "pulled again");
	is_str(refs(a), "r.example/u:2 ", "it is back, with its new tag only");
	image_store_remove(store, a, &err);
	image_store_unuse(store, a);
	wait_trash();
	ok(image_store_by_id_in_use(store, a) == NULL && count_in("layers") == 0,
	    "removed and unused: it goes");
	ok(image_store_use(store, a, &err) < 0 && err.code == ERR_NOT_FOUND,
	    "no use of it any more");

	a = add_image("ub", &tar, 1, "r.example/u:1", NULL);
	image_store_use(store, a, &err);
	image_store_remove(store, a, &err);
	store_reopen();
	image_store_settle(store);
	wait_trash();
	is_int(count_in("layers"), 0, "a removed image that nobody claims goes at the start");
	buf_release(&tar);
}

static void
test_lost(void)
{
	struct buf tars[2] = {BUF_INIT, BUF_INIT};
	const char *a, *b;

	layer_tar(&tars[0], "la", "1");
	layer_tar(&tars[1], "lb", "1");
	a = add_image("la", &tars[0], 1, "r.example/l:1", NULL);
	b = add_image("lb", tars, 2, "r.example/l:2", NULL);
	scratch_sh("rm -r root/layers/$(basename $(dirname root/layers/*/lb))");
	store_reopen();
	image_store_settle(store);
	ok(image_store_by_id(store, a) != NULL, "an image with its layers stays");
	ok(image_store_by_id(store, b) == NULL, "one that lost a layer is reported absent");
	is_str(add_image("lb", tars, 2, "r.example/l:2", NULL), b, "and can be pulled again");
	store_reopen();
	image_store_settle(store);
	ok(image_store_by_id(store, b) != NULL, "to stay");
	drop_all();
	buf_release(&tars[0]);
	buf_release(&tars[1]);
}

static void
test_bad(void)
{
	struct test_commit t = {
	    .c = {.config = "{}", .config_len = 2}
        };
	char diff_id[DIGEST_SIZE];
	struct buf tar = BUF_INIT, config = BUF_INIT;
	char wrong[1][DIGEST_SIZE] = {
	    "sha256:2222222222222222222222222222222222222222222222222222222222222222"};
	int64_t num;

	layer_tar(&tar, "bad", "1");
	num = add_layer(&tar, diff_id);
	t.c.layers = &num;
	t.c.n_layers = 1;
	ok(image_commit_start(&t.c, store, &t.op, &err) < 0 && err.code == ERR_INVALID_ARGUMENT,
	    "another number of layers than diff ids: %s", err.msg);
	make_config(&config, "bad", wrong, 1);
	t.c.config = config.data;
	t.c.config_len = config.len;
	ok(image_commit_start(&t.c, store, &t.op, &err) < 0 && err.code == ERR_INVALID_ARGUMENT,
	    "other layers than the diff ids': %s", err.msg);
	t.c.config = "not json";
	t.c.config_len = 8;
	ok(image_commit_start(&t.c, store, &t.op, &err) < 0, "no config: %s", err.msg);
	layer_release(store, num);
	buf_release(&tar);
	buf_release(&config);
	ok(add_image("no layers", NULL, 0, "r.example/none:1", NULL) != NULL,
	    "an image without layers");
	is_str(
	    lower(image_store_find(store, "r.example/none:1")->id), "empty", "mounts an empty one");
	drop_all();
}

/* The attributes of a directory in the merged image. */
static const char *
merged_stat(const char *id, const char *path)
{
	char *cmd =
	    xasprintf("mkdir -p m && cd root/layers && "
	              "unshare -m sh -c 'mount -t overlay -o ro,lowerdir=%s none ../../m 2>&1 && "
	              "stat -c %%a:%%u:%%g:%%Y ../../m/%s 2>&1'",
	        strchr(lower(id), ':') != NULL ? lower(id) : "empty", path);
	const char *line = scratch_sh(cmd);

	free(cmd);
	return line;
}

static void
test_implicit(void)
{
	struct buf tars[5] = {BUF_INIT, BUF_INIT, BUF_INIT, BUF_INIT, BUF_INIT};
	unsigned before = count_in("layers"); /* one that no image has, of the test before */
	struct image *img;
	const char *a, *b, *c;

	tar_add(&tars[0], .name = "./", .mode = 0750, .gid = 9);
	tar_add(&tars[0], .name = "tmp/", .mode = 01777, .mtime = 1000000001);
	tar_add(&tars[0], .name = "var/", .mode = 0711, .mtime = 1000000002);
	tar_add(
	    &tars[0], .name = "var/lib/", .mode = 0700, .uid = 33, .gid = 34, .mtime = 1000000003);
	tar_add(&tars[0], .name = "gone/", .mode = 0700, .mtime = 1000000004);
	tar_add(&tars[0], .name = "opq/sub/", .mode = 0700, .mtime = 1000000005);
	tar_add(&tars[0], .name = "lib", .type = '2', .link = "usr/lib");
	tar_end(&tars[0]);
	tar_add(&tars[1], .name = "tmp/x", .data = "1");
	tar_add(&tars[1], .name = "var/lib/db/y", .data = "1", .mtime = 1500000000);
	tar_add(&tars[1], .name = ".wh.gone");
	tar_add(&tars[1], .name = "lib/libx.so", .data = "1");
	tar_add(&tars[1], .name = "opq/.wh..wh..opq");
	tar_end(&tars[1]);
	tar_add(&tars[2], .name = "gone/new", .data = "1", .mtime = 1600000001);
	tar_add(&tars[2], .name = "opq/sub/new", .data = "1", .mtime = 1600000002);
	tar_end(&tars[2]);
	tar_add(&tars[3], .name = "usr/bin/tool", .data = "1");
	tar_end(&tars[3]);
	tar_add(&tars[4], .name = "tmp/", .mode = 01770);
	tar_add(&tars[4], .name = "var/", .mode = 0711);
	tar_add(&tars[4], .name = "var/lib/", .mode = 0705);
	tar_add(&tars[4], .name = "./", .mode = 0755);
	tar_end(&tars[4]);

	a = add_image("ia", tars, 3, "r.example/i:1", NULL);
	ok(a != NULL, "committed: %s", err.msg);
	img = image_store_by_id(store, a);
	is_int(img->n_layers, 4, "an image with implicit directories gets a layer more");
	is_str(merged_stat(a, ""), "750:0:9:1600000000", "the root");
	is_str(merged_stat(a, "tmp"), "1777:0:0:1000000001", "/tmp keeps its mode and time");
	is_str(merged_stat(a, "tmp/x"), "644:0:0:1600000000", "with what came into it");
	is_str(merged_stat(a, "var"), "711:0:0:1000000002", "a parent");
	is_str(merged_stat(a, "var/lib"), "700:33:34:1000000003", "and its child");
	is_str(merged_stat(a, "var/lib/db"), "755:0:0:1500000000", "a new one has the defaults");
	is_str(merged_stat(a, "gone"), "755:0:0:1600000001", "nothing from beyond a whiteout");
	is_str(merged_stat(a, "opq/sub"), "755:0:0:1600000002", "nor from below an opaque one");
	is_str(merged_stat(a, "lib/libx.so"), "644:0:0:1600000000", "a directory hides a link");

	b = add_image("ib", tars, 3, "r.example/i:2", NULL);
	ok(image_store_by_id(store, b)->layers[3] == img->layers[3], "equal layers share it");
	c = add_image("ic", &tars[2], 2, "r.example/i:3", NULL);
	is_int(image_store_by_id(store, c)->n_layers, 2, "where nothing differs there is none");
	store_reopen();
	image_store_settle(store);
	is_str(merged_stat(a, "var/lib"), "700:33:34:1000000003", "after a restart as before");
	{
		struct buf all[4] = {tars[0], tars[1], tars[2], tars[4]};

		c = add_image("id", all, 4, "r.example/i:4", NULL);
		is_str(merged_stat(c, "tmp"), "1770:0:0:1600000000", "an entry above decides");
		is_str(merged_stat(c, "var/lib"), "705:0:0:1600000000", "for each");
	}
	drop_all();
	wait_trash();
	is_int(count_in("layers"), before, "the layers of directories go with their images");
	for (int i = 0; i < 5; i++)
		buf_release(&tars[i]);
}

static void
test_opaque(void)
{
	struct buf tars[2] = {BUF_INIT, BUF_INIT};
	const char *a;

	tar_add(&tars[0], .name = "d/", .mode = 0755);
	tar_add(&tars[0], .name = "d/below", .data = "1");
	tar_add(&tars[0], .name = "e/", .mode = 0755);
	tar_add(&tars[0], .name = "e/below", .data = "1");
	tar_end(&tars[0]);
	tar_add(&tars[1], .name = "d/.wh..wh..opq");
	tar_add(&tars[1], .name = "d/new", .data = "1");
	tar_add(&tars[1], .name = "e/.wh.below");
	tar_end(&tars[1]);
	a = add_image("oa", tars, 2, "r.example/o:1", NULL);
	is_str(merged_stat(a, "d/below"),
	    "stat: cannot statx '../../m/d/below': No such file or directory",
	    "an opaque directory hides what is below");
	is_str(merged_stat(a, "e/below"),
	    "stat: cannot statx '../../m/e/below': No such file or directory", "a whiteout does");
	is_str(merged_stat(a, "d/new"), "644:0:0:1600000000", "what is in it is there");
	buf_truncate(&tars[1], 0);
	tar_add(&tars[1], .name = ".wh..wh..opq");
	tar_add(&tars[1], .name = "only", .data = "1");
	tar_end(&tars[1]);
	a = add_image("ob", tars, 2, "r.example/o:2", NULL);
	ok(strchr(lower(a), ':') == NULL, "an opaque root ends the list of layers: %s", lower(a));
	store_reopen();
	image_store_settle(store);
	ok(strchr(lower(a), ':') == NULL, "after a restart too");
	drop_all();
	buf_release(&tars[0]);
	buf_release(&tars[1]);
}

/* One child does a commit and is killed at its nth statement; the next opening must find the image
 * whole or not at all, and no directory or row too many. */
static int kill_after;

static int
on_trace(unsigned mask, void *ctx, void *p, void *x)
{
	(void)mask;
	(void)ctx;
	(void)p;
	(void)x;
	if (kill_after > 0 && --kill_after == 0)
		kill(getpid(), SIGKILL);
	return 0;
}

/* SQLite calls it for every connection. */
static int
on_connection(sqlite3 *sql, char **msg, const struct sqlite3_api_routines *api)
{
	(void)msg;
	(void)api;
	return sqlite3_trace_v2(sql, SQLITE_TRACE_STMT | SQLITE_TRACE_PROFILE, on_trace, NULL);
}

static bool
commit_and_die(const struct buf *tars, int n)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		loop_init();
		sqlite3_auto_extension((void (*)(void))on_connection);
		db = db_open(in_scratch("kill.db"), &err);
		if (db == NULL)
			_exit(3);
		store = image_store_open(db, in_scratch("root"), &err);
		if (store == NULL)
			_exit(4);
		image_store_settle(store);
		kill_after = n;
		_exit(add_image("killed", tars, 2, "r.example/k:1", NULL) != NULL ? 0 : 5);
	}
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		ok(false, "child %d: exit status %d", n, WEXITSTATUS(status));
	return WIFSIGNALED(status);
}

static void
test_kill(void)
{
	struct buf tars[2] = {BUF_INIT, BUF_INIT};
	unsigned whole = 0, absent = 0, bad = 0;
	int n;

	tar_add(&tars[0], .name = "d/", .mode = 0700);
	tar_end(&tars[0]);
	tar_add(&tars[1], .name = "d/x", .data = "1");
	tar_end(&tars[1]);
	image_store_close(take_ptr(store));
	db_close(db);
	for (n = 1; n < 200; n++) {
		bool killed = commit_and_die(tars, n);
		const char *id;

		db = db_open(in_scratch("kill.db"), &err);
		if (db == NULL)
			die("open the database");
		store = image_store_open(db, in_scratch("root"), &err);
		if (store == NULL)
			die("open the store");
		image_store_settle(store);
		if (image_store_find(store, "r.example/k:1") != NULL) {
			id = image_store_find(store, "r.example/k:1")->id;
			whole++;
			bad += strcmp(merged_stat(id, "d"), "700:0:0:1600000000") != 0;
			bad += count_in("layers") != 3;
		} else {
			absent++;
			bad += n_images() != 0;
		}
		bad += count_in("ingest") != 0;
		drop_all();
		/* what a killed pull left: layers without image, which the next pull would use */
		image_store_close(take_ptr(store));
		db_close(db);
		scratch_sh("rm -rf root kill.db*");
		if (!killed)
			break;
	}
	ok(n > 10 && n < 200, "killed at %d points", n - 1);
	ok(absent > 5 && whole > 0, "%u times absent, %u times whole", absent, whole);
	is_int(bad, 0, "never anything in between");
	db = db_open(":memory:", &err);
	buf_release(&tars[0]);
	buf_release(&tars[1]);
}

int
main(void)
{
	if (geteuid() != 0)
		skip_all("needs root");
	scratch_make();
	atexit(scratch_remove);
	setenv("LC_ALL", "C", 1);
	loop_init();
	db = db_open(":memory:", &err);
	store_reopen();
	image_store_settle(store);
	test_identity();
	test_short_names();
	test_move_tag();
	test_pinned();
	test_remove();
	test_use();
	test_lost();
	test_bad();
	test_implicit();
	test_opaque();
	test_kill();
	image_store_close(store);
	db_close(db);
	return tap_done();
}
