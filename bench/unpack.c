/* SPDX-License-Identifier: Apache-2.0
 *
 * unpack ROOT LAYER...: ingests layer files (plain, gzip or zstd) into the image store below ROOT,
 * the lowest first, and makes an image of them. Prints per layer its number, bytes of tar and on
 * disk, time, throughput and the peak resident memory of its worker; at the end the image's lower
 * directories. For measurements, and for the scripts that compare with other programs.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "image/digest.h"
#include "image/inflate.h"
#include "image/layer.h"
#include "image/store.h"
#include "loop/loop.h"
#include "loop/op.h"
#include "store/db.h"

static struct err err;

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "unpack: %s: %s\n", what, err.msg);
	exit(1);
}

struct file {
	struct inflate z;
	struct digest digest;
	int fd;
	int64_t packed, plain;
};

static ssize_t
on_read(struct inflate *z, void *p, size_t n, struct err *e)
{
	struct file *f = container_of(z, struct file, z);
	ssize_t got = read(f->fd, p, n);

	if (got < 0)
		return err_errno(e, "read");
	digest_update(&f->digest, p, (size_t)got);
	f->packed += got;
	return got;
}

/* Digest, diff id and sizes, beforehand, so that the ingest is measured alone. */
static void
examine(const char *path, struct file *f, char digest[static DIGEST_SIZE],
    char diff_id[static DIGEST_SIZE])
{
	struct digest plain = DIGEST_INIT;
	const void *p;
	ssize_t n;

	*f = (struct file){.fd = open(path, O_RDONLY | O_CLOEXEC)};
	if (f->fd < 0 || digest_begin(&f->digest, "sha256", &err) < 0 ||
	    digest_begin(&plain, "sha256", &err) < 0)
		die(path);
	inflate_init(&f->z, on_read);
	while ((n = inflate_next(&f->z, &p, &err)) > 0) {
		digest_update(&plain, p, (size_t)n);
		f->plain += n;
	}
	if (n < 0)
		die(path);
	inflate_release(&f->z);
	digest_end(&f->digest, digest);
	digest_end(&plain, diff_id);
}

struct ingest {
	struct layer_ingest in;
	bool done;
};

static void
on_ingested(struct layer_ingest *in)
{
	container_of(in, struct ingest, in)->done = true;
}

static double
seconds(const struct timeval *tv)
{
	return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

static int64_t
ingest(struct image_store *st, const char *path, char diff_id[static DIGEST_SIZE])
{
	char digest[DIGEST_SIZE];
	struct ingest t = {0};
	struct layer_desc d = {digest, path, 0, diff_id};
	struct layer_source src = {.at = 0};
	struct rusage usage;
	struct file f;
	int64_t start, num;
	double s;

	examine(path, &f, digest, diff_id);
	if (layer_lookup(st, diff_id, &num) == LAYER_PRESENT) {
		layer_hold(st, num);
		return num;
	}
	d.size = f.packed;
	src.fd = f.fd;
	start = clock_mono_ns();
	if (layer_ingest_start_file(&t.in, st, &d, &src, on_ingested, &err) < 0)
		die(path);
	while (!t.done)
		ev_run(loop, EVRUN_ONCE);
	s = (double)(clock_mono_ns() - start) / 1e9;
	err = t.in.err;
	if (err.code != ERR_NONE)
		die(path);
	getrusage(RUSAGE_CHILDREN, &usage);
	printf("layer %" PRId64 ": %" PRId64 " bytes of tar, %" PRIu64 " on disk, %" PRIu64
	       " inodes, %.3f s, %.0f MB/s, cpu %.2f s user %.2f s system, %ld kB\n",
	    t.in.num, f.plain, t.in.bytes, t.in.inodes, s, (double)f.plain / s / 1e6,
	    seconds(&usage.ru_utime), seconds(&usage.ru_stime), usage.ru_maxrss);
	close(f.fd);
	return t.in.num;
}

struct commit {
	struct op op;
	struct image_commit c;
	struct image_store *st;
	bool done;
};

static void
on_done(struct op *op)
{
	container_of(op, struct commit, op)->done = true;
}

static enum op_ret
run_commit(struct op *op, struct err *e)
{
	struct commit *t = container_of(op, struct commit, op);

	return image_commit_start(&t->c, t->st, op, e) < 0 ? OP_FAIL : OP_WAIT;
}

static const struct op_step steps[] = {
    {"commit", run_commit, NULL},
    {NULL,     NULL,       NULL}
};

int
main(int argc, char **argv)
{
	struct commit t = {
	    .c = {.manifest = "{}", .manifest_len = 2}
        };
	struct buf config = BUF_INIT, lower = BUF_INIT;
	struct db *db;
	const char *tag = "bench.example/image:1";
	int64_t *nums = xcalloc((size_t)argc, sizeof(*nums));
	char *path;

	if (argc < 2) {
		fprintf(stderr, "usage: unpack ROOT LAYER...\n");
		return 2;
	}
	loop_init();
	mkdir(argv[1], 0700);
	path = xasprintf("%s/coracle.db", argv[1]);
	db = db_open(path, &err);
	if (db == NULL || (t.st = image_store_open(db, argv[1], &err)) == NULL)
		die(argv[1]);
	image_store_settle(t.st);
	buf_addstr(&config, "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[");
	for (int i = 2; i < argc; i++) {
		char diff_id[DIGEST_SIZE];

		nums[t.c.n_layers++] = ingest(t.st, argv[i], diff_id);
		buf_addf(&config, "%s\"%s\"", i > 2 ? "," : "", diff_id);
	}
	buf_addstr(&config, "]}}");
	t.c.config = config.data;
	t.c.config_len = config.len;
	t.c.layers = nums;
	t.c.tags = &tag;
	t.c.n_tags = 1;
	op_start(&t.op, "Commit", "bench", steps, on_done);
	while (!t.done) {
		op_run_ready();
		ev_run(loop, t.done ? EVRUN_NOWAIT : EVRUN_ONCE);
	}
	err = t.op.err;
	if (err.code != ERR_NONE)
		die("commit");
	image_lower_names(t.st, image_store_by_id(t.st, t.c.id), &lower);
	printf("lower %s\n", lower.data);
	image_store_close(t.st);
	db_close(db);
	buf_release(&config);
	buf_release(&lower);
	free(nums);
	free(path);
	return 0;
}
