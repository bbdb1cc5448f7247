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

/* ---- export ------------------------------------------------------------------------------- */

struct test_export {
	struct op op;
	struct image_export exp;
	struct image_export_options o;
	bool done;
};

static void
on_exported(struct op *op)
{
	container_of(op, struct test_export, op)->done = true;
}

static enum op_ret
run_export(struct op *op, struct err *e)
{
	struct test_export *t = container_of(op, struct test_export, op);

	return image_export_start(&t->exp, store, &t->o, op, e) < 0 ? OP_FAIL : OP_WAIT;
}

static const struct op_step export_steps[] = {
    {"export", run_export, NULL},
    {NULL,     NULL,       NULL}
};

/* Into a file of the scratch directory. */
static enum err_code
export_to(struct test_export *t, const char *file, enum image_format format,
    const char *const *refs, size_t n)
{
	int fd = open(in_scratch(file), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	t->o = (struct image_export_options){fd, refs, n, format};
	t->done = false;
	op_start(&t->op, "Test", "export", export_steps, on_exported);
	while (!t->done)
		turn();
	close(fd);
	err = t->op.err;
	return err.code;
}

static enum err_code
import_file(struct test_import *t, const char *file)
{
	int fd = open(in_scratch(file), O_RDONLY | O_CLOEXEC);
	enum err_code code = import_fd(t, fd);

	close(fd);
	return code;
}

/* Everything that a layer can have. */
static void
rich_tar(struct buf *tar)
{
	struct buf pax = BUF_INIT, name = BUF_INIT;

	for (int i = 0; i < 8; i++)
		buf_addf(&name, "%0*d/", 60, i);
	buf_addstr(&name, "file");
	tar_add(tar, .name = "etc/", .mode = 0751, .uid = 3, .gid = 4, .mtime = 1234567);
	tar_add(tar, .name = "etc/su", .data = "x", .mode = 04755, .uid = 70000, .gid = 3000000);
	tar_add(tar, .name = "etc/hard", .type = '1', .link = "etc/su");
	tar_add(tar, .name = "etc/sym", .type = '2', .link = "../somewhere", .uid = 7, .mtime = 99);
	tar_add(tar, .name = "etc/.wh.gone");
	tar_add(tar, .name = "opq/.wh..wh..opq");
	tar_add(tar, .name = "opq/in", .data = "in");
	tar_add(tar, .name = "implicit/deep/er", .data = "y");
	tar_add(tar, .name = "dev/", .mode = 0755);
	tar_add(tar, .name = "dev/c", .type = '3', .major = 5, .minor = 1, .mode = 0620);
	tar_add(tar, .name = "dev/b", .type = '4', .major = 7, .minor = 260, .mode = 0600);
	tar_add(tar, .name = "dev/p", .type = '6', .mode = 0644);
	tar_add(tar, .name = "empty/", .mode = 01777);
	pax_record(&pax, "path", name.data, name.len);
	pax_record(&pax, "mtime", "1500000000.25", 13);
	pax_record(&pax, "SCHILY.xattr.user.b", "2\0b", 3);
	pax_record(&pax, "SCHILY.xattr.user.a", "1", 1);
	pax_record(&pax, "SCHILY.xattr.security.capability",
	    "\x01\0\0\x02\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	tar_add(tar, .name = "long", .data = "long", .pax = pax.data, .n_pax = pax.len);
	buf_truncate(&pax, 0);
	pax_record(&pax, "linkpath", name.data, name.len);
	pax_record(&pax, "path", "l\xe9nk", 4);
	pax_record(&pax, "mtime", "-5", 2);
	tar_add(tar, .name = "x", .type = '2', .link = "y", .pax = pax.data);
	buf_truncate(&pax, 0);
	pax_record(&pax, "size", "700000", 6);
	{
		char *big = xmalloc(700000);

		for (int i = 0; i < 700000; i++)
			big[i] = (char)(i * 31 + i / 7);
		tar_add(tar, .name = "big", .data = big, .n = 700000);
		free(big);
	}
	tar_end(tar);
	buf_release(&pax);
	buf_release(&name);
}

/* What is in a layer, with all attributes, as one line; the whole is in fp.<n>. */
static const char *
fingerprint(int64_t num)
{
	static const char script[] =
	    "import hashlib, os, sys\n"
	    "out = []\n"
	    "def show(p):\n"
	    "    s = os.lstat(p)\n"
	    "    d = b''\n"
	    "    if s.st_mode >> 12 == 8: d = hashlib.md5(open(p, 'rb').read()).hexdigest()\n"
	    "    if s.st_mode >> 12 == 10: d = os.readlink(p)\n"
	    "    size = 0 if s.st_mode >> 12 == 4 else s.st_size\n"
	    "    x = [(a, os.getxattr(p, a, follow_symlinks=False))\n"
	    "         for a in sorted(os.listxattr(p, follow_symlinks=False))]\n"
	    "    out.append(repr((p, oct(s.st_mode), s.st_uid, s.st_gid, s.st_mtime_ns, "
	    "s.st_rdev,\n"
	    "        s.st_nlink if s.st_mode >> 12 != 4 else 0, size, d, x)))\n"
	    "for r, ds, fs in os.walk(b'.'):\n"
	    "    for n in ds + fs: show(os.path.join(r, n))\n"
	    "text = '\\n'.join(sorted(out))\n"
	    "open(sys.argv[1], 'w').write(text)\n"
	    "print(hashlib.md5(text.encode()).hexdigest())\n";
	static unsigned n;
	char *cmd = xasprintf(
	    "cd root/layers/%" PRId64 " && python3 ../../../fp.py ../../../fp.%u 2>&1", num, n++);
	const char *line;

	if (fd_write_file(
	        AT_FDCWD, in_scratch("fp.py"), script, strlen(script), 0600, false, &err) < 0)
		die("write a script");
	line = scratch_sh(cmd);
	free(cmd);
	return line;
}

static void
test_export(void)
{
	static const char *const formats[] = {"oci.tar", "docker.tar"};
	struct buf tars[2] = {BUF_INIT, BUF_INIT};
	struct test_export x = {0};
	struct test_import t = {0};
	const char *refs[2] = {"r.example/x:1", "r.example/x:2"};
	char want[2][128], id[72];
	const char *first;

	tar_add(&tars[0], .name = "implicit/deep/", .mode = 0700, .uid = 9);
	tar_add(&tars[0], .name = "base", .data = "base");
	tar_end(&tars[0]);
	rich_tar(&tars[1]);
	first = add_image("export", tars, 2, refs[0], NULL);
	add_image("export2", tars, 1, refs[1], NULL);
	is_int(image_store_by_id(store, first)->n_layers, 3, "an image with implicit directories");
	for (int i = 0; i < 2; i++)
		snprintf(want[i], sizeof(want[0]), "%s",
		    fingerprint(image_store_by_id(store, first)->layers[i]));
	for (int format = 0; format < 2; format++) {
		is_int(export_to(&x, formats[format], (enum image_format)format, refs, 2), ERR_NONE,
		    formats[format]);
		is_int(x.exp.bytes,
		    strtoll(
		        scratch_sh(format == 0 ? "stat -c %s oci.tar" : "stat -c %s docker.tar"),
		        NULL, 10),
		    "the size");
		image_export_release(&x.exp);
	}
	is_int(export_to(&x, "again.tar", IMAGE_FORMAT_OCI, refs, 2), ERR_NONE, "again");
	is_str(scratch_sh("cmp oci.tar again.tar && echo same"), "same", "gives the same bytes");
	snprintf(id, sizeof(id), "%s", x.exp.images[0].id);
	image_export_release(&x.exp);
	is_str(
	    scratch_sh("tar tf oci.tar >/dev/null && tar tf docker.tar > /dev/null && echo good"),
	    "good", "which GNU tar reads");

	for (int format = 0; format < 2; format++) {
		struct image *img;

		drop_all();
		/* layers of before must not help */
		image_store_close(take_ptr(store));
		scratch_sh("rm -rf root");
		db_close(db);
		db = db_open(":memory:", &err);
		store_reopen();
		image_store_settle(store);
		is_int(import_file(&t, formats[format]), ERR_NONE, "imported again");
		is_int(t.imp.n_images, 2, "both images");
		is_str(t.imp.images[0].id, id, "with the id that the export told");
		is_str(t.imp.images[0].tags[0], refs[0], "and the tag");
		img = image_store_find(store, refs[0]);
		is_int(img->n_layers, 3, "the implicit directories are implicit again");
		for (int i = 0; i < 2; i++)
			is_str(fingerprint(img->layers[i]), want[i], "every file and attribute");
		image_import_release(&t.imp);
		is_int(export_to(&x, "third.tar", (enum image_format)format, refs, 2), ERR_NONE,
		    "exported once more");
		is_str(scratch_sh(format == 0 ? "cmp oci.tar third.tar && echo same"
		                              : "cmp docker.tar third.tar && echo same"),
		    "same", "it does not change any more");
		is_str(x.exp.images[0].id, id, "nor does the id");
		image_export_release(&x.exp);
	}
	refs[1] = "no.example/image:1";
	is_int(
	    export_to(&x, "none.tar", IMAGE_FORMAT_OCI, refs, 2), ERR_NOT_FOUND, "no such image");
	is_int(image_store_by_id(store, id)->uses, 0, "no use is left");
	is_int(export_to(&x, "none.tar", IMAGE_FORMAT_OCI, refs, 0), ERR_INVALID_ARGUMENT, "none");
	drop_all();
	buf_release(&tars[0]);
	buf_release(&tars[1]);
}

/* Skopeo reads what we write, and we read what skopeo makes of it. */
static void
test_skopeo(void)
{
	static const struct {
		const char *cmd, *file;
	} copies[] = {
	    {"skopeo --insecure-policy copy -q oci-archive:s.tar "
	     "docker-archive:sk1.tar:r.example/s:9",	                "sk1.tar"},
	    {"skopeo --insecure-policy copy -q docker-archive:sd.tar "
	     "oci-archive:sk2.tar:r.example/s:9",	                   "sk2.tar"},
	    {"skopeo --insecure-policy copy -q oci-archive:s.tar oci:sk3:r.example/s:9", "sk3"    },
	};
	struct buf tar = BUF_INIT;
	struct test_export x = {0};
	const char *refs[1] = {"r.example/s:1"};
	char want[128];

	if (*scratch_sh("command -v skopeo") == '\0') {
		ok(true, "# SKIP no skopeo");
		return;
	}
	rich_tar(&tar);
	snprintf(want, sizeof(want), "%s",
	    fingerprint(
	        image_store_by_id(store, add_image("skopeo", &tar, 1, refs[0], NULL))->layers[0]));
	is_int(export_to(&x, "s.tar", IMAGE_FORMAT_OCI, refs, 1), ERR_NONE, "export");
	image_export_release(&x.exp);
	is_int(export_to(&x, "sd.tar", IMAGE_FORMAT_DOCKER, refs, 1), ERR_NONE, "export");
	image_export_release(&x.exp);
	drop_all();
	for (size_t i = 0; i < ARRAY_SIZE(copies); i++) {
		struct test_import t = {0};
		const struct image *img;
		char *cmd = xasprintf("%s 2>&1", copies[i].cmd);

		is_str(scratch_sh(cmd), "", copies[i].cmd);
		is_int(import_file(&t, copies[i].file), ERR_NONE, "its copy is imported");
		img = image_store_find(store, "r.example/s:9");
		is_str(img != NULL ? fingerprint(img->layers[0]) : "none", want, "with all files");
		image_import_release(&t.imp);
		drop_all();
		free(cmd);
	}
	buf_release(&tar);
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
	test_export();
	test_skopeo();
	test_cancel();
	wait_trash();
	is_int(count_in("trash"), 0, "the trash is empty");
	image_store_close(store);
	db_close(db);
	return tap_done();
}
