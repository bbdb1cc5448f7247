/* SPDX-License-Identifier: Apache-2.0
 *
 * Import and export of archives: every form, in every order of members; damaged and hostile ones;
 * and that what is exported can be imported again, to the same files.
 */
#include "tap.h"

#include "images.h"

#include "image/archive.h"
#include "image/config.h"

/* ---- running an import or an export ------------------------------------------------------- */

struct test_import {
	struct op op;
	struct image_import imp;
	struct image_import_options o;
	bool done;
};

static void
on_imported(struct op *op)
{
	container_of(op, struct test_import, op)->done = true;
}

static enum op_ret
run_import(struct op *op, struct err *e)
{
	struct test_import *t = container_of(op, struct test_import, op);

	return image_import_start(&t->imp, store, &t->o, op, e) < 0 ? OP_FAIL : OP_WAIT;
}

static const struct op_step import_steps[] = {
    {"import", run_import, NULL},
    {NULL,     NULL,       NULL}
};

static enum err_code
import_fd(struct test_import *t, int fd)
{
	t->o.fd = fd;
	t->done = false;
	t->imp = (struct image_import){0};
	op_start(&t->op, "Test", "import", import_steps, on_imported);
	while (!t->done)
		turn();
	err = t->op.err;
	return err.code;
}

static enum err_code
import_buf(struct test_import *t, const struct buf *b)
{
	int fd = open(in_scratch("archive.tar"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	enum err_code code;

	if (fd < 0 || fd_write_all(fd, b->data, b->len) < 0)
		die("write an archive");
	code = import_fd(t, fd);
	close(fd);
	return code;
}

/* ---- making archives ---------------------------------------------------------------------- */

/* A set of blobs, written in any order. */
struct blobs {
	struct {
		char name[256];
		struct buf data;
	} list[40];
	size_t n;
};

static struct buf *
blob_named(struct blobs *b, const char *name)
{
	snprintf(b->list[b->n].name, sizeof(b->list[0].name), "%s", name);
	return &b->list[b->n++].data;
}

/* Adds it under its digest, which goes to digest. */
static void
blob(struct blobs *b, const void *p, size_t n, char digest[static DIGEST_SIZE])
{
	char name[256];

	digest_of(p, n, digest);
	snprintf(name, sizeof(name), "blobs/sha256/%s", digest + 7);
	buf_add(blob_named(b, name), p, n);
}

static void
blobs_release(struct blobs *b)
{
	for (size_t i = 0; i < b->n; i++)
		buf_release(&b->list[i].data);
	b->n = 0;
}

static void
blobs_tar(const struct blobs *b, bool reverse, struct buf *tar)
{
	buf_truncate(tar, 0);
	for (size_t i = 0; i < b->n; i++) {
		size_t at = reverse ? b->n - 1 - i : i;

		tar_add(tar, .name = b->list[at].name, .data = b->list[at].data.data,
		    .n = b->list[at].data.len);
	}
	tar_end(tar);
}

static void
blobs_dir(const struct blobs *b, const char *dir)
{
	for (size_t i = 0; i < b->n; i++) {
		char *path = xasprintf("%s/%s", dir, b->list[i].name);
		char *parent = xasprintf("mkdir -p $(dirname %s)", path);

		scratch_sh(parent);
		if (fd_write_file(AT_FDCWD, in_scratch(path), b->list[i].data.data,
		        b->list[i].data.len, 0644, false, &err) < 0)
			die("write a blob");
		free(path);
		free(parent);
	}
}

static void
layer_of(const char *name, const char *data, struct buf *tar)
{
	buf_truncate(tar, 0);
	tar_add(tar, .name = "dir/", .mode = 0750);
	tar_add(tar, .name = name, .data = data);
	tar_end(tar);
}

/* A manifest with two layers, the first of them gzip: its descriptor's JSON, without annotations
 * and braces, to desc. */
static void
add_manifest(struct blobs *b, const char *mark, const char *arch, struct buf *desc,
    char config_digest[static DIGEST_SIZE])
{
	struct buf tar = BUF_INIT, packed = BUF_INIT, text = BUF_INIT;
	char diff_ids[2][DIGEST_SIZE], digests[2][DIGEST_SIZE], digest[DIGEST_SIZE];
	size_t sizes[2], config_size;

	layer_of("dir/first", mark, &tar);
	gzip_buf(tar.data, tar.len, 6, &packed);
	digest_of(tar.data, tar.len, diff_ids[0]);
	digest_of(packed.data, packed.len, digests[0]);
	sizes[0] = packed.len;
	blob(b, packed.data, packed.len, digests[0]);
	layer_of("dir/own", mark, &tar);
	digest_of(tar.data, tar.len, diff_ids[1]);
	sizes[1] = tar.len;
	blob(b, tar.data, tar.len, digests[1]);
	make_config(&text, mark, diff_ids, 2);
	config_size = text.len;
	blob(b, text.data, text.len, config_digest);
	buf_truncate(&text, 0);
	buf_addf(&text,
	    "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"config\":{"
	    "\"mediaType\":\"" MEDIA_OCI_CONFIG "\",\"digest\":\"%s\",\"size\":%zu},"
	    "\"layers\":[{\"mediaType\":\"" MEDIA_OCI_LAYER_GZIP "\",\"digest\":\"%s\","
	    "\"size\":%zu},{\"mediaType\":\"" MEDIA_OCI_LAYER
	    "\",\"digest\":\"%s\",\"size\":%zu}]}",
	    config_digest, config_size, digests[0], sizes[0], digests[1], sizes[1]);
	blob(b, text.data, text.len, digest);
	buf_truncate(desc, 0);
	buf_addf(desc, "\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"digest\":\"%s\",\"size\":%zu",
	    digest, text.len);
	if (arch != NULL)
		buf_addf(desc, ",\"platform\":{\"os\":\"linux\",\"architecture\":\"%s\"}", arch);
	buf_release(&tar);
	buf_release(&packed);
	buf_release(&text);
}

static void
add_index(struct blobs *b, const char *manifests)
{
	buf_addstr(blob_named(b, "oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}");
	buf_addf(
	    blob_named(b, "index.json"), "{\"schemaVersion\":2,\"manifests\":[%s]}", manifests);
}

static const char *
host_arch(void)
{
	static struct platform p;

	platform_host(&p);
	return p.arch;
}

static const char *
other_arch(void)
{
	return strcmp(host_arch(), "s390x") == 0 ? "riscv64" : "s390x";
}

/* ---- looking -------------------------------------------------------------------------------- */

static const char *
tags_of(const char *id)
{
	static struct buf b;
	const struct image *img = image_store_by_id(store, id);

	buf_truncate(&b, 0);
	buf_addstr(&b, img == NULL ? "none" : "");
	for (size_t i = 0; img != NULL && i < img->n_tags; i++)
		buf_addf(&b, "%s ", img->tags[i]);
	return b.data;
}

static void
drop_all(void)
{
	struct image *img;

	while ((img = image_store_next(store, NULL)) != NULL)
		if (image_store_remove(store, img->id, &err) < 0)
			die("remove");
}

static const char *
content(const char *id, const char *file)
{
	const struct image *img = image_store_by_id(store, id);
	char *cmd;
	const char *line = "no image";

	if (img != NULL) {
		cmd = xasprintf(
		    "cat root/layers/%" PRId64 "/%s", img->layers[img->n_layers - 1], file);
		line = scratch_sh(cmd);
		free(cmd);
	}
	return line;
}

/* ---- OCI layouts -------------------------------------------------------------------------- */

static void
test_oci(void)
{
	struct test_import t = {0};
	struct blobs b = {0};
	struct buf desc = BUF_INIT, tar = BUF_INIT, packed = BUF_INIT;
	char id[DIGEST_SIZE], *index;
	int fd, pair[2];
	pid_t pid;

	add_manifest(&b, "oci", NULL, &desc, id);
	index = xasprintf("{%s,\"annotations\":{\"io.containerd.image.name\":\"r.example/a:1\","
	                  "\"org.opencontainers.image.ref.name\":\"1\"}}",
	    desc.data);
	add_index(&b, index);
	for (int reverse = 0; reverse < 2; reverse++) {
		blobs_tar(&b, reverse, &tar);
		is_int(import_buf(&t, &tar), ERR_NONE,
		    reverse ? "a layout, index first" : "a layout, index last");
		ok(t.imp.n_images == 1 && strcmp(t.imp.images[0].id, id) == 0, "gives the image");
		is_str(tags_of(id), "r.example/a:1 ", "with its tag");
		ok(image_store_find(store, id)->n_digests == 1, "and its digest");
		is_str(content(id, "dir/own"), "oci", "and its files");
		image_import_release(&t.imp);
		drop_all();
	}

	blobs_dir(&b, "layout");
	fd = open(in_scratch("layout"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	is_int(import_fd(&t, fd), ERR_NONE, "a layout that is a directory");
	close(fd);
	is_str(content(id, "dir/own"), "oci", "with its files");
	image_import_release(&t.imp);
	drop_all();

	if (pipe2(pair, O_CLOEXEC) < 0)
		die("pipe");
	pid = fork();
	if (pid == 0)
		_exit(fd_write_all(pair[1], tar.data, tar.len) < 0);
	close(pair[1]);
	is_int(import_fd(&t, pair[0]), ERR_NONE, "a layout from a pipe");
	close(pair[0]);
	waitpid(pid, NULL, 0);
	is_str(content(id, "dir/own"), "oci", "with its files");
	image_import_release(&t.imp);
	drop_all();

	gzip_buf(tar.data, tar.len, 6, &packed);
	is_int(import_buf(&t, &packed), ERR_NONE, "a layout compressed as a whole");
	is_str(content(id, "dir/own"), "oci", "with its files");
	image_import_release(&t.imp);
	is_int(import_buf(&t, &tar), ERR_NONE, "again, when all is there");
	is_int(t.imp.n_images, 1, "reports it");
	image_import_release(&t.imp);
	drop_all();
	free(index);
	blobs_release(&b);
	buf_release(&desc);
	buf_release(&tar);
	buf_release(&packed);
}

static void
test_names(void)
{
	static const struct {
		const char *annotations, *base, *want, *what;
	} cases[] = {
	    {"",	                                                        NULL,               "",                       "no name"          },
	    {"",	                                                        "r.example/base:2", "r.example/base:2 ",      "a base name"      },
	    {"\"org.opencontainers.image.ref.name\":\"v1\"",                    NULL,               "",                       "a tag alone"      },
	    {"\"org.opencontainers.image.ref.name\":\"v1\"",                    "r.example/base",   "r.example/base:v1 ",
             "a tag and a base name"	                                                                                                     },
	    {"\"org.opencontainers.image.ref.name\":\"docker.io/library/x:3\"", "r.example/base",
             "docker.io/library/x:3 ",	                                                                                "a whole name"     },
	    {"\"org.opencontainers.image.ref.name\":\"x:3\"",                   NULL,               "docker.io/library/x:3 ",
             "a short name"	                                                                                                              },
	    {"\"io.containerd.image.name\":\"r.example/c:4\","
	     "\"org.opencontainers.image.ref.name\":\"4\"",        NULL,               "r.example/c:4 ",         "containerd's name"},
	    {"\"io.containerd.image.name\":\"BAD//\"",                          NULL,               "",                       "a bad name"       },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct test_import t = {.o = {.base_name = cases[i].base}};
		struct blobs b = {0};
		struct buf desc = BUF_INIT, tar = BUF_INIT;
		char id[DIGEST_SIZE], *index;

		add_manifest(&b, "names", NULL, &desc, id);
		index = xasprintf("{%s,\"annotations\":{%s}}", desc.data, cases[i].annotations);
		add_index(&b, index);
		blobs_tar(&b, false, &tar);
		is_int(import_buf(&t, &tar), ERR_NONE, cases[i].what);
		is_str(tags_of(id), cases[i].want, "the tags");
		image_import_release(&t.imp);
		drop_all();
		free(index);
		blobs_release(&b);
		buf_release(&desc);
		buf_release(&tar);
	}
}

static void
test_platforms(void)
{
	struct test_import t = {.o = {.base_name = "r.example/p:1"}};
	struct blobs b = {0};
	struct buf mine = BUF_INIT, other = BUF_INIT, tar = BUF_INIT;
	char my_id[DIGEST_SIZE], other_id[DIGEST_SIZE], digest[DIGEST_SIZE], *text, *index;

	add_manifest(&b, "other", other_arch(), &other, other_id);
	add_manifest(&b, "mine", host_arch(), &mine, my_id);
	text =
	    xasprintf("{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_INDEX "\",\"manifests\":["
	              "{%s},{%s}]}",
	        other.data, mine.data);
	blob(&b, text, strlen(text), digest);
	index = xasprintf("{\"mediaType\":\"" MEDIA_OCI_INDEX "\",\"digest\":\"%s\",\"size\":%zu}",
	    digest, strlen(text));
	add_index(&b, index);
	blobs_tar(&b, false, &tar);
	is_int(import_buf(&t, &tar), ERR_NONE, "an index of two platforms");
	ok(t.imp.n_images == 1 && strcmp(t.imp.images[0].id, my_id) == 0, "gives this machine's");
	is_str(tags_of(my_id), "r.example/p:1 ", "with the tag");
	image_import_release(&t.imp);
	drop_all();
	t.o.all_platforms = true;
	is_int(import_buf(&t, &tar), ERR_NONE, "all platforms");
	is_int(t.imp.n_images, 2, "give both");
	is_str(tags_of(my_id), "r.example/p:1 ", "the tag goes to this machine's");
	is_str(tags_of(other_id), "", "and not to the other");
	image_import_release(&t.imp);
	drop_all();
	free(index);
	free(text);

	/* only the other one */
	t.o.all_platforms = false;
	b.n -= 2;
	buf_release(&b.list[b.n].data);
	buf_release(&b.list[b.n + 1].data);
	index = xasprintf("{%s}", other.data);
	add_index(&b, index);
	blobs_tar(&b, false, &tar);
	is_int(import_buf(&t, &tar), ERR_NOT_FOUND, "an image for another platform only");
	diag("%s", err.msg);
	image_import_release(&t.imp);
	free(index);
	blobs_release(&b);
	buf_release(&mine);
	buf_release(&other);
	buf_release(&tar);
}

static void
make_layout(struct blobs *b, const char *mark, struct buf *tar)
{
	struct buf desc = BUF_INIT;
	char id[DIGEST_SIZE], *index;

	add_manifest(b, mark, NULL, &desc, id);
	index = xasprintf("{%s}", desc.data);
	add_index(b, index);
	blobs_tar(b, false, tar);
	free(index);
	buf_release(&desc);
}

static void
test_damaged(void)
{
	struct blobs b = {0};
	struct buf tar = BUF_INIT, whole = BUF_INIT;
	struct test_import t = {0};
	unsigned passed = 0;

	for (size_t i = 0; i < 4; i++) {
		char mark[32];

		/* Layers that were whole stay for the next try: each time other ones. */
		snprintf(mark, sizeof(mark), "flipped %zu", i);
		make_layout(&b, mark, &tar);
		b.list[i].data.data[b.list[i].data.len / 2] ^= 1;
		blobs_tar(&b, false, &tar);
		ok(import_buf(&t, &tar) != ERR_NONE, "a flipped bit in %s: %s", b.list[i].name,
		    err.msg);
		image_import_release(&t.imp);
		blobs_release(&b);
		snprintf(mark, sizeof(mark), "missing %zu", i);
		make_layout(&b, mark, &tar);
		snprintf(b.list[i].name, sizeof(b.list[i].name), "elsewhere");
		blobs_tar(&b, false, &tar);
		is_int(import_buf(&t, &tar), ERR_NOT_FOUND, "it is missing");
		diag("%s", err.msg);
		image_import_release(&t.imp);
		blobs_release(&b);
	}
	make_layout(&b, "cut short", &whole);
	for (size_t n = 100; n < whole.len - 1024; n += 777) {
		buf_truncate(&tar, 0);
		buf_add(&tar, whole.data, n);
		passed += import_buf(&t, &tar) == ERR_NONE;
		image_import_release(&t.imp);
	}
	is_int(passed, 0, "an archive cut short anywhere");
	buf_truncate(&tar, 0);
	tar_add(&tar, .name = "../index.json", .data = "{}");
	tar_end(&tar);
	is_int(import_buf(&t, &tar), ERR_INVALID_ARGUMENT, "a name with ..");
	image_import_release(&t.imp);
	buf_truncate(&tar, 0);
	tar_add(&tar, .name = "index.json", .type = '2', .link = "/etc/passwd");
	tar_add(&tar, .name = "manifest.json", .type = '2', .link = "manifest.json");
	tar_end(&tar);
	is_int(import_buf(&t, &tar), ERR_INVALID_ARGUMENT, "links to nothing and in circles");
	image_import_release(&t.imp);
	buf_truncate(&tar, 0);
	buf_addstr(&tar, "PK\x03\x04 is no tar ............................................");
	is_int(import_buf(&t, &tar), ERR_INVALID_ARGUMENT, "no tar");
	image_import_release(&t.imp);
	buf_truncate(&tar, 0);
	is_int(import_buf(&t, &tar), ERR_INVALID_ARGUMENT, "an empty file");
	image_import_release(&t.imp);
	ok(image_store_next(store, NULL) == NULL, "no image came of all that");
	blobs_release(&b);
	buf_release(&whole);
	buf_release(&tar);
}

/* ---- docker-archives ---------------------------------------------------------------------- */

static void
test_docker(void)
{
	struct test_import t = {0};
	struct blobs b = {0};
	struct buf layer[2] = {BUF_INIT, BUF_INIT}, tar = BUF_INIT, config = BUF_INIT;
	char diff_ids[2][DIGEST_SIZE], id[DIGEST_SIZE], id2[DIGEST_SIZE];

	layer_of("dir/a", "1", &layer[0]);
	layer_of("dir/own", "docker", &layer[1]);
	for (int i = 0; i < 2; i++)
		digest_of(layer[i].data, layer[i].len, diff_ids[i]);
	make_config(&config, "docker", diff_ids, 2);
	digest_of(config.data, config.len, id);
	buf_add(blob_named(&b, "aaa/layer.tar"), layer[0].data, layer[0].len);
	buf_add(blob_named(&b, "config.json"), config.data, config.len);
	buf_truncate(&config, 0);
	make_config(&config, "docker2", diff_ids, 1);
	digest_of(config.data, config.len, id2);
	buf_add(blob_named(&b, "config2.json"), config.data, config.len);
	buf_addstr(blob_named(&b, "manifest.json"),
	    "[{\"Config\":\"config.json\",\"RepoTags\":[\"r.example/d:1\",\"short:2\"],"
	    "\"Layers\":[\"aaa/layer.tar\",\"bbb/layer.tar\"]},"
	    "{\"Config\":\"config2.json\",\"RepoTags\":null,\"Layers\":[\"ccc/layer.tar\"]}]");
	buf_add(blob_named(&b, "bbb/layer.tar"), layer[1].data, layer[1].len);
	for (int reverse = 0; reverse < 2; reverse++) {
		blobs_tar(&b, reverse, &tar);
		buf_truncate(&tar, tar.len - 1024);
		/* old versions of docker save write a layer once, and links to it */
		tar_add(&tar, .name = "ccc/layer.tar", .type = '2', .link = "../aaa/layer.tar");
		tar_end(&tar);
		is_int(import_buf(&t, &tar), ERR_NONE, "a docker-archive of two images");
		is_int(t.imp.n_images, 2, "gives both");
		is_str(tags_of(id), "r.example/d:1 docker.io/library/short:2 ", "with their tags");
		is_str(tags_of(id2), "", "and without");
		is_str(content(id, "dir/own"), "docker", "and files");
		image_import_release(&t.imp);
		drop_all();
	}
	t.o.base_name = "r.example/base:1";
	is_int(import_buf(&t, &tar), ERR_NONE, "with a base name");
	is_str(tags_of(id2), "r.example/base:1 ", "for the one without");
	image_import_release(&t.imp);
	drop_all();
	t.o.base_name = "not a name";
	is_int(import_buf(&t, &tar), ERR_INVALID_ARGUMENT, "a bad base name");
	image_import_release(&t.imp);
	t.o.base_name = NULL;
	b.list[0].data.data[1024] ^= 1; /* the content of a file */
	blobs_tar(&b, false, &tar);
	is_int(import_buf(&t, &tar), ERR_DATA_LOSS, "a layer that is not its diff id's");
	image_import_release(&t.imp);
	for (int i = 0; i < 2; i++)
		buf_release(&layer[i]);
	blobs_release(&b);
	buf_release(&tar);
	buf_release(&config);
}

/* ---- cancelling --------------------------------------------------------------------------- */

static void
test_cancel(void)
{
	struct blobs b = {0};
	struct buf desc = BUF_INIT, tar = BUF_INIT;
	char id[DIGEST_SIZE], *index;
	unsigned cancelled = 0, finished = 0;

	add_manifest(&b, "cancel", NULL, &desc, id);
	index = xasprintf("{%s}", desc.data);
	add_index(&b, index);
	blobs_tar(&b, false, &tar);
	if (fd_write_file(
	        AT_FDCWD, in_scratch("cancel.tar"), tar.data, tar.len, 0600, false, &err) < 0)
		die("write");
	for (int turns = 0; turns < 40 && finished < 3; turns++) {
		struct test_import t = {0};
		int fd = open(in_scratch("cancel.tar"), O_RDONLY | O_CLOEXEC);

		t.o.fd = fd;
		op_start(&t.op, "Test", "import", import_steps, on_imported);
		op_run_ready();
		for (int i = 0; i < turns && !t.done; i++)
			turn();
		op_cancel(&t.op, ERR_CANCELLED, "test");
		while (!t.done)
			turn();
		cancelled += t.op.err.code == ERR_CANCELLED;
		finished += t.op.err.code == ERR_NONE;
		image_import_release(&t.imp);
		close(fd);
		drop_all();
	}
	ok(cancelled > 3 && finished == 3, "cancelled at %u turns, then finished", cancelled);
	is_int(count_in("ingest"), 0, "nothing is left in ingest");
	free(index);
	blobs_release(&b);
	buf_release(&desc);
	buf_release(&tar);
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
	test_oci();
	test_names();
	test_platforms();
	test_damaged();
	test_docker();
	test_cancel();
	wait_trash();
	is_int(count_in("trash"), 0, "the trash is empty");
	image_store_close(store);
	db_close(db);
	return tap_done();
}
