/* SPDX-License-Identifier: Apache-2.0
 *
 * Ingest of layers through the real worker: the ways bytes arrive, what is refused, aborts, kills,
 * waiting, and that nothing stays behind.
 */
#include "tap.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>

#include "scratch.h"
#include "tars.h"

#include "base/fd.h"
#include "image/layer.h"
#include "image/store.h"
#include "loop/loop.h"
#include "loop/op.h"
#include "store/db.h"

static struct db *db;
static struct image_store *store;
static struct err err;

struct feed {
	struct layer_ingest in;
	struct layer_desc desc;
	char digest[DIGEST_SIZE], diff_id[DIGEST_SIZE];
	const char *p;
	size_t n, chunk;
	bool done, ended;
};

static void
on_done(struct layer_ingest *in)
{
	container_of(in, struct feed, in)->done = true;
}

static void
feed_init(struct feed *f, const struct buf *tar, const struct buf *packed)
{
	*f = (struct feed){.p = packed->data, .n = packed->len, .chunk = SIZE_MAX};
	digest_of(packed->data, packed->len, f->digest);
	digest_of(tar->data, tar->len, f->diff_id);
	f->desc = (struct layer_desc){f->digest, "test", (int64_t)packed->len, f->diff_id};
}

static void
turn(void)
{
	ev_run(loop, EVRUN_ONCE);
	op_run_ready();
}

/* Write what there is; then wait for the end. */
static void
feed_run(struct feed *f)
{
	while (!f->done) {
		while (f->n > 0 && f->in.fd >= 0) {
			ssize_t w = write(f->in.fd, f->p, MIN(f->n, f->chunk));

			if (w < 0 && errno == EAGAIN)
				break;
			if (w < 0) { /* EPIPE */
				f->n = 0;
				break;
			}
			f->p += w;
			f->n -= (size_t)w;
		}
		if (f->n == 0 && !f->ended) {
			f->ended = true;
			layer_ingest_end(&f->in);
		}
		if (f->n > 0) {
			loop_once();
			usleep(1000);
		} else {
			turn();
		}
	}
}

static enum err_code
ingest(struct feed *f)
{
	if (layer_ingest_start(&f->in, store, &f->desc, on_done, &err) < 0) {
		diag("start: %s", err.msg);
		return err.code;
	}
	feed_run(f);
	if (f->in.err.code != ERR_NONE)
		diag("%s", f->in.err.msg);
	return f->in.err.code;
}

static unsigned
count(const char *dir)
{
	char *cmd = xasprintf("ls -A root/%s | grep -vx empty | wc -l", dir);
	unsigned n = (unsigned)strtoul(scratch_sh(cmd), NULL, 10);

	free(cmd);
	return n;
}

static void
wait_trash(void)
{
	for (int i = 0; i < 500 && count("trash") > 0; i++) {
		loop_once();
		usleep(10000);
	}
}

static void
reopen(void)
{
	if (store != NULL)
		image_store_close(store);
	store = image_store_open(db, in_scratch("root"), &err);
	if (store == NULL) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
	image_store_settle(store);
}

static void
sample(struct buf *tar, const char *mark)
{
	char *big = xmalloc(300000);

	for (int i = 0; i < 300000; i++)
		big[i] = (char)(i * 7 + i / 251);
	tar_add(tar, .name = "etc/");
	tar_add(tar, .name = "etc/mark", .data = mark);
	tar_add(tar, .name = "etc/big", .data = big, .n = 300000, .mode = 0600, .uid = 7, .gid = 8);
	tar_end(tar);
	free(big);
}

static void
test_kinds(void)
{
	static const char *const names[] = {"plain", "gzip", "gzip of two members", "zstd",
	    "zstd of two frames", "one byte at a time"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct buf tar = BUF_INIT, packed = BUF_INIT;
		struct feed f;
		char *path;

		sample(&tar, names[i]);
		if (i == 0)
			buf_add(&packed, tar.data, tar.len);
		else if (i == 1 || i == 5)
			gzip_buf(tar.data, tar.len, 6, &packed);
		else if (i == 3)
			zstd_buf(tar.data, tar.len, 3, &packed);
		else {
			void (*pack)(const void *, size_t, int, struct buf *) =
			    i == 2 ? gzip_buf : zstd_buf;

			pack(tar.data, 1000, 1, &packed);
			pack(tar.data + 1000, tar.len - 1000, 5, &packed);
		}
		feed_init(&f, &tar, &packed);
		if (i == 5)
			f.chunk = 1;
		ok(ingest(&f) == ERR_NONE, "%s: ingested", names[i]);
		path = xasprintf("cat root/layers/%" PRId64 "/etc/mark", f.in.num);
		is_str(scratch_sh(path), names[i], "content is there");
		free(path);
		path = xasprintf(
		    "stat -c %%a:%%u:%%g:%%s:%%Y root/layers/%" PRId64 "/etc/big", f.in.num);
		is_str(scratch_sh(path), "600:7:8:300000:1600000000", "attributes are there");
		free(path);
		path =
		    xasprintf("du -s --block-size=1 root/layers/%" PRId64 " | cut -f1", f.in.num);
		is_int(f.in.bytes, strtoll(scratch_sh(path), NULL, 10), "bytes as du counts them");
		free(path);
		is_int(f.in.inodes, 4, "inodes");
		layer_release(store, f.in.num);
		buf_release(&tar);
		buf_release(&packed);
	}
	is_int(count("ingest"), 0, "nothing is left in ingest");
}

static void
test_refused(void)
{
	struct buf tar = BUF_INIT, packed = BUF_INIT, other = BUF_INIT;
	unsigned layers = count("layers");
	struct feed f;
	struct image_fs_info before, after;

	image_store_fs_info(store, &before);
	sample(&tar, "refused");
	gzip_buf(tar.data, tar.len, 6, &packed);

	feed_init(&f, &tar, &packed);
	packed.data[packed.len / 2] ^= 1;
	is_int(ingest(&f), ERR_DATA_LOSS, "a flipped bit is a wrong digest");
	ok(strstr(f.in.err.msg, "digest is ") != NULL, "which the message says");
	packed.data[packed.len / 2] ^= 1;

	feed_init(&f, &tar, &packed);
	f.n -= 10;
	is_int(ingest(&f), ERR_DATA_LOSS, "a short body");

	feed_init(&f, &tar, &packed);
	f.desc.size--;
	is_int(ingest(&f), ERR_DATA_LOSS, "a body longer than announced");

	feed_init(&f, &tar, &packed);
	f.desc.size++;
	is_int(ingest(&f), ERR_DATA_LOSS, "a body shorter than announced");

	feed_init(&f, &tar, &packed);
	f.diff_id[10] = f.diff_id[10] == 'a' ? 'b' : 'a';
	is_int(ingest(&f), ERR_DATA_LOSS, "a wrong diff id");
	ok(strstr(f.in.err.msg, "config says") != NULL, "named as such: %s", f.in.err.msg);

	feed_init(&f, &tar, &packed);
	f.desc.digest = "sha256:../../etc/passwd";
	is_int(ingest(&f), ERR_INVALID_ARGUMENT, "a digest that is a path");
	f.desc.digest = f.digest;
	f.desc.diff_id = "md5:0123";
	is_int(ingest(&f), ERR_INVALID_ARGUMENT, "an unknown algorithm");

	buf_addstr(&other, "this is no tar at all, and longer than a block of tar is: ");
	while (other.len < 5000)
		buf_addch(&other, 'x');
	feed_init(&f, &other, &other);
	is_int(ingest(&f), ERR_INVALID_ARGUMENT, "no tar");
	buf_truncate(&other, 0);
	buf_add(&other, "BZh91AY&SY and so on", 20);
	feed_init(&f, &other, &other);
	is_int(ingest(&f), ERR_INVALID_ARGUMENT, "bzip2");
	ok(strstr(f.in.err.msg, "bzip2") != NULL, "named: %s", f.in.err.msg);

	is_int(count("layers"), layers, "no layer came of it");
	is_int(count("ingest"), 0, "nothing is left in ingest");
	wait_trash();
	is_int(count("trash"), 0, "nor in trash");
	image_store_fs_info(store, &after);
	ok(before.bytes == after.bytes && before.inodes == after.inodes,
	    "the account is as before");
	buf_release(&tar);
	buf_release(&packed);
	buf_release(&other);
}

static void
test_sha512(void)
{
	struct buf tar = BUF_INIT;
	struct digest d = DIGEST_INIT;
	struct feed f;

	sample(&tar, "sha512");
	feed_init(&f, &tar, &tar);
	if (digest_begin(&d, "sha512", &err) < 0)
		exit(1);
	digest_update(&d, tar.data, tar.len);
	digest_end(&d, f.digest);
	memcpy(f.diff_id, f.digest, sizeof(f.diff_id));
	is_int(ingest(&f), ERR_NONE, "sha512 digests");
	layer_release(store, f.in.num);
	buf_release(&tar);
}

static void
test_empty(void)
{
	struct buf tar = BUF_INIT;
	struct feed f;

	tar_end(&tar);
	feed_init(&f, &tar, &tar);
	is_int(ingest(&f), ERR_NONE, "a tar without entries");
	is_int(f.in.inodes, 1, "is one directory");
	layer_release(store, f.in.num);
	buf_truncate(&tar, 0);
	feed_init(&f, &tar, &tar);
	is_int(ingest(&f), ERR_NONE, "no bytes at all");
	layer_release(store, f.in.num);
	buf_release(&tar);
}

struct waiter {
	struct layer_wait w;
	int calls;
};

static void
on_waited(struct layer_wait *w)
{
	container_of(w, struct waiter, w)->calls++;
}

static void
test_wait(void)
{
	struct buf tar = BUF_INIT;
	struct waiter a = {0}, b = {0}, c = {0};
	struct feed f, g;
	int64_t num;

	sample(&tar, "wait");
	feed_init(&f, &tar, &tar);
	feed_init(&g, &tar, &tar);
	is_int(layer_lookup(store, f.diff_id, &num), LAYER_ABSENT, "absent at first");
	if (layer_ingest_start(&f.in, store, &f.desc, on_done, &err) < 0)
		exit(1);
	is_int(layer_lookup(store, f.diff_id, &num), LAYER_IN_FLIGHT, "then in flight");
	is_int(ingest(&g), ERR_ALREADY_EXISTS, "a second ingest is refused");
	layer_wait_start(&a.w, store, f.diff_id, on_waited);
	layer_wait_start(&b.w, store, f.diff_id, on_waited);
	layer_wait_start(&c.w, store, f.diff_id, on_waited);
	layer_wait_cancel(&b.w);
	feed_run(&f);
	is_int(f.in.err.code, ERR_NONE, "ingested");
	is_int(layer_lookup(store, f.diff_id, &num), LAYER_PRESENT, "then present");
	ok(a.calls == 1 && b.calls == 0 && c.calls == 1,
	    "waiters heard once, the cancelled one not");
	ok(a.w.num == num && a.w.err.code == ERR_NONE, "of the layer");
	for (int i = 0; i < 3; i++)
		layer_release(store, num);

	buf_truncate(&tar, 0);
	sample(&tar, "wait 2");
	feed_init(&f, &tar, &tar);
	a.calls = 0;
	if (layer_ingest_start(&f.in, store, &f.desc, on_done, &err) < 0)
		exit(1);
	layer_wait_start(&a.w, store, f.diff_id, on_waited);
	layer_ingest_abort(&f.in);
	while (!f.done)
		turn();
	is_int(f.in.err.code, ERR_CANCELLED, "an aborted ingest is cancelled");
	ok(a.calls == 1 && a.w.err.code == ERR_CANCELLED, "and its waiter hears so");
	is_int(layer_lookup(store, f.diff_id, &num), LAYER_ABSENT, "the layer is absent");
	buf_release(&tar);
}

/* The unpack worker dies in the middle. */
static void
test_killed(void)
{
	struct buf tar = BUF_INIT;
	unsigned layers = count("layers");
	struct feed f;

	sample(&tar, "killed");
	feed_init(&f, &tar, &tar);
	if (layer_ingest_start(&f.in, store, &f.desc, on_done, &err) < 0)
		exit(1);
	if (write(f.in.fd, f.p, 200000) < 0)
		perror("write");
	usleep(100000);
	is_int(count("ingest"), 1, "half a layer is there");
	kill(f.in.worker.child.pid, SIGKILL);
	while (!f.done)
		turn();
	ok(f.in.err.code != ERR_NONE && strstr(f.in.err.msg, "signal 9") != NULL, "killed: %s",
	    f.in.err.msg);
	is_int(count("ingest"), 0, "nothing is left in ingest");
	is_int(count("layers"), layers, "no layer came of it");
	wait_trash();
	is_int(count("trash"), 0, "nor in trash");
	feed_init(&f, &tar, &tar);
	is_int(ingest(&f), ERR_NONE, "the next try succeeds");
	layer_release(store, f.in.num);
	buf_release(&tar);
}

/* From a file, at an offset, and by name. */
static void
test_file(void)
{
	struct buf tar = BUF_INIT, file = BUF_INIT;
	struct layer_source src = {.at = 777};
	struct feed f;

	sample(&tar, "file");
	for (int i = 0; i < 777; i++)
		buf_addch(&file, 'x');
	gzip_buf(tar.data, tar.len, 1, &file);
	if (fd_write_file(AT_FDCWD, in_scratch("blob"), file.data, file.len, 0600, false, &err) < 0)
		exit(1);
	buf_consume(&file, 777);
	feed_init(&f, &tar, &file);
	src.fd = open(in_scratch("blob"), O_RDONLY | O_CLOEXEC);
	if (layer_ingest_start_file(&f.in, store, &f.desc, &src, on_done, &err) < 0)
		exit(1);
	close(src.fd);
	while (!f.done)
		turn();
	is_int(f.in.err.code, ERR_NONE, "from a file at an offset");
	layer_release(store, f.in.num);

	buf_truncate(&tar, 0);
	sample(&tar, "named");
	mkdir(in_scratch("layout"), 0755);
	if (fd_write_file(AT_FDCWD, in_scratch("layout/b"), tar.data, tar.len, 0600, false, &err) <
	    0)
		exit(1);
	if (symlink("../blob", in_scratch("layout/out")) < 0)
		exit(1);
	feed_init(&f, &tar, &tar);
	src.fd = open(in_scratch("layout"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	src.at = 0;
	src.path = "out";
	if (layer_ingest_start_file(&f.in, store, &f.desc, &src, on_done, &err) < 0)
		exit(1);
	while (!f.done)
		turn();
	ok(f.in.err.code != ERR_NONE, "a link out of the layout is refused: %s", f.in.err.msg);
	feed_init(&f, &tar, &tar);
	src.path = "b";
	if (layer_ingest_start_file(&f.in, store, &f.desc, &src, on_done, &err) < 0)
		exit(1);
	while (!f.done)
		turn();
	is_int(f.in.err.code, ERR_NONE, "from a file of a directory");
	layer_release(store, f.in.num);
	close(src.fd);
	buf_release(&tar);
	buf_release(&file);
}

/* Layers that no image has: they stay for a while, over a restart too, then they go. */
static void
test_orphans(void)
{
	unsigned n = count("layers");

	ok(n > 5, "%u layers without image", n);
	image_store_close(take_ptr(store)); /* its timers run by the real clock */
	loop_virtual_clock();
	reopen();
	is_int(count("layers"), n, "are there after a restart");
	loop_advance(LAYER_ORPHAN_MS - 1000);
	is_int(count("layers"), n, "and for some time");
	loop_advance(3000);
	is_int(count("layers"), 0, "then they go");
}

/* What a crash leaves. */
static void
test_reopen(void)
{
	image_store_close(store);
	store = NULL;
	mkdir(in_scratch("root/ingest/5"), 0755);
	mkdir(in_scratch("root/ingest/5/x"), 0755);
	mkdir(in_scratch("root/layers/999"), 0755);
	mkdir(in_scratch("root/trash/7"), 0755);
	reopen();
	wait_trash();
	is_int(count("ingest"), 0, "a restart clears ingest");
	is_int(count("layers"), 0, "and layers without a row");
	is_int(count("trash"), 0, "and trash");
	is_str(scratch_sh("stat -c %a root/layers root/ingest root/trash | sort -u"), "700",
	    "the directories are for root alone");
}

int
main(void)
{
	if (geteuid() != 0)
		skip_all("needs root");
	scratch_make_in("/tmp"); /* a disk's account of blocks */
	atexit(scratch_remove);
	loop_init();
	db = db_open(":memory:", &err);
	reopen();
	test_kinds();
	test_refused();
	test_sha512();
	test_empty();
	test_wait();
	test_killed();
	test_file();
	test_orphans();
	test_reopen();
	image_store_close(store);
	db_close(db);
	return tap_done();
}
