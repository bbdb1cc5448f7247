/* SPDX-License-Identifier: Apache-2.0
 *
 * An image store of the test's own, below the scratch directory, and images put into it.
 */
#ifndef IMAGES_H
#define IMAGES_H

#include <errno.h>
#include <inttypes.h>

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

static inline void
turn(void)
{
	ev_run(loop, op_any_ready() ? EVRUN_NOWAIT : EVRUN_ONCE);
	op_run_ready();
}

static inline void
die(const char *what)
{
	printf("Bail out! %s: %s\n", what, err.msg);
	exit(1);
}

static inline void
store_reopen(void)
{
	image_store_close(store);
	store = image_store_open(db, in_scratch("root"), &err);
	if (store == NULL)
		die("open the store");
}

struct test_ingest {
	struct layer_ingest in;
	bool done;
};

static inline void
on_test_ingested(struct layer_ingest *in)
{
	container_of(in, struct test_ingest, in)->done = true;
}

/* A layer from a tar: its number, held; the diff id to diff_id. */
static inline int64_t
add_layer(const struct buf *tar, char diff_id[static DIGEST_SIZE])
{
	struct test_ingest t = {0};
	struct layer_desc d = {diff_id, "test", (int64_t)tar->len, diff_id};
	size_t at = 0;
	int64_t num;

	digest_of(tar->data, tar->len, diff_id);
	if (layer_lookup(store, diff_id, &num) == LAYER_PRESENT) {
		layer_hold(store, num);
		return num;
	}
	if (layer_ingest_start(&t.in, store, &d, on_test_ingested, &err) < 0)
		die("start an ingest");
	while (at < tar->len && t.in.fd >= 0) {
		ssize_t w = write(t.in.fd, tar->data + at, tar->len - at);

		if (w > 0)
			at += (size_t)w;
		else if (errno != EAGAIN)
			break;
		else
			usleep(1000);
	}
	layer_ingest_end(&t.in);
	while (!t.done)
		turn();
	if (t.in.err.code != ERR_NONE) {
		err = t.in.err;
		die("ingest a layer");
	}
	return t.in.num;
}

struct test_commit {
	struct op op;
	struct image_commit c;
	bool done;
};

static inline void
on_test_committed(struct op *op)
{
	container_of(op, struct test_commit, op)->done = true;
}

static inline enum op_ret
do_commit(struct op *op, struct err *e)
{
	struct test_commit *t = container_of(op, struct test_commit, op);

	return image_commit_start(&t->c, store, op, e) < 0 ? OP_FAIL : OP_WAIT;
}

static const struct op_step commit_steps[] = {
    {"commit", do_commit, NULL},
    {NULL,     NULL,      NULL}
};

/* A config for the layers; the mark makes it another image. */
static inline void
make_config(struct buf *out, const char *mark, char (*diff_ids)[DIGEST_SIZE], size_t n)
{
	buf_addf(out,
	    "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Env\":[\"MARK=%s\"]},"
	    "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[",
	    mark);
	for (size_t i = 0; i < n; i++)
		buf_addf(out, "%s\"%s\"", i > 0 ? "," : "", diff_ids[i]);
	buf_addstr(out, "]}}");
}

/* Commit with up to one tag and digest reference (NULL: none): the id, in a static buffer, or NULL
 * with err. The layers are released. */
static inline const char *
add_image(const char *mark, const struct buf *tars, size_t n, const char *tag, const char *digest)
{
	static char ids[8][72];
	static unsigned at;
	char(*diff_ids)[DIGEST_SIZE] = xcalloc(n + 1, DIGEST_SIZE);
	int64_t *nums = xcalloc(n + 1, sizeof(*nums));
	struct buf config = BUF_INIT;
	struct test_commit t = {
	    .c = {.manifest = "{}", .manifest_len = 2}
        };
	const char *id = NULL;

	for (size_t i = 0; i < n; i++)
		nums[i] = add_layer(&tars[i], diff_ids[i]);
	make_config(&config, mark, diff_ids, n);
	t.c.config = config.data;
	t.c.config_len = config.len;
	t.c.tags = &tag;
	t.c.n_tags = tag != NULL;
	t.c.digests = &digest;
	t.c.n_digests = digest != NULL;
	t.c.layers = nums;
	t.c.n_layers = n;
	t.c.spec = mark;
	t.c.spec_len = strlen(mark);
	op_start(&t.op, "Commit", mark, commit_steps, on_test_committed);
	while (!t.done)
		turn();
	for (size_t i = 0; i < n; i++)
		layer_release(store, nums[i]);
	err = t.op.err;
	if (t.op.err.code == ERR_NONE) {
		id = ids[at % 8];
		memcpy(ids[at++ % 8], t.c.id, sizeof(ids[0]));
	}
	buf_release(&config);
	free(diff_ids);
	free(nums);
	return id;
}

static inline unsigned
count_in(const char *dir)
{
	char *cmd = xasprintf("ls -A root/%s | grep -vx empty | wc -l", dir);
	unsigned n = (unsigned)strtoul(scratch_sh(cmd), NULL, 10);

	free(cmd);
	return n;
}

static inline void
wait_trash(void)
{
	for (int i = 0; i < 1000 && count_in("trash") > 0; i++) {
		loop_once();
		usleep(5000);
	}
}

#endif
