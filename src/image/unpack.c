/* SPDX-License-Identifier: Apache-2.0
 *
 * The unpack worker: see unpack.h. struct unpack chains the parts: extract pulls from inflate,
 * which pulls from the input; both ends are hashed on the way.
 */
#include "image/unpack.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "image/confine.h"
#include "image/extract.h"
#include "image/inflate.h"

struct unpack {
	const struct unpack_job *job;
	int in;
	int64_t at; /* as in the job */
	uint64_t size;
	struct digest packed, plain;
	struct inflate inflate;
	struct extract extract;
};

/* How the fixed part of a result travels; the two path lists follow. */
struct wire {
	char magic[8];
	char digest[DIGEST_SIZE];
	char diff_id[DIGEST_SIZE];
	uint64_t size, bytes, inodes, entries, xattrs_lost, n_implicit, n_opaque;
};
static const char magic[8] = "unpack1";

static ssize_t
on_packed(struct inflate *z, void *p, size_t n, struct err *err)
{
	struct unpack *u = container_of(z, struct unpack, inflate);
	ssize_t got;

	if (u->at >= 0 && u->job->size >= 0)
		n = MIN(n, (size_t)(u->job->size - (int64_t)u->size));
	do
		got = n == 0       ? 0
		      : u->at >= 0 ? pread(u->in, p, n, u->at + (int64_t)u->size)
		                   : read(u->in, p, n);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_errno(err, "read the layer");
	digest_update(&u->packed, p, (size_t)got);
	u->size += (uint64_t)got;
	if (u->job->size >= 0 && u->size > (uint64_t)u->job->size)
		return err_set(err, ERR_DATA_LOSS, "longer than the %lld bytes announced",
		    (long long)u->job->size);
	return got;
}

static ssize_t
on_plain(struct extract *x, const void **ret, struct err *err)
{
	struct unpack *u = container_of(x, struct unpack, extract);
	ssize_t n = inflate_next(&u->inflate, ret, err);

	if (n > 0)
		digest_update(&u->plain, *ret, (size_t)n);
	return n;
}

/* After a failure: was it the bytes' fault? Reads on to the end to know, so that a damaged download
 * is not taken for a damaged image. */
static int
blame(struct unpack *u, struct err *err)
{
	char got[DIGEST_SIZE], rest[16384];
	struct err ignored = {0};
	ssize_t n;

	if (err->code != ERR_INVALID_ARGUMENT || u->job->digest[0] == '\0')
		return -1;
	while ((n = on_packed(&u->inflate, rest, sizeof(rest), &ignored)) > 0)
		continue;
	digest_end(&u->packed, got);
	if (n < 0 || strcmp(got, u->job->digest) != 0) {
		struct err cause = *err;

		return err_set(err, ERR_DATA_LOSS, "digest is %s, not %s (%.200s)", got,
		    u->job->digest, cause.msg);
	}
	return -1;
}

static int
verify(struct unpack *u, struct wire *w, struct err *err)
{
	const struct unpack_job *job = u->job;

	digest_end(&u->packed, w->digest);
	digest_end(&u->plain, w->diff_id);
	if (job->size >= 0 && u->size != (uint64_t)job->size)
		return err_set(err, ERR_DATA_LOSS, "%llu bytes of the %lld announced",
		    (unsigned long long)u->size, (long long)job->size);
	if (job->digest[0] != '\0' && strcmp(job->digest, w->digest) != 0)
		return err_set(err, ERR_DATA_LOSS, "digest is %s, not %s", w->digest, job->digest);
	if (job->diff_id[0] != '\0' && strcmp(job->diff_id, w->diff_id) != 0)
		return err_set(err, ERR_DATA_LOSS,
		    "the uncompressed layer is %s, but the image's config says %s", w->diff_id,
		    job->diff_id);
	return 0;
}

static int
send_result(struct unpack *u, struct wire *w, int out, struct err *err)
{
	const struct walk *walk = &u->extract.walk;
	cleanup_buf struct buf lists = BUF_INIT;

	memcpy(w->magic, magic, sizeof(magic));
	w->size = u->size;
	w->bytes = walk->bytes;
	w->inodes = walk->inodes;
	w->entries = u->extract.entries;
	w->xattrs_lost = u->extract.xattrs_lost;
	pathset_dump(&walk->implicit, &lists);
	w->n_implicit = lists.len;
	pathset_dump(&walk->opaque, &lists);
	w->n_opaque = lists.len - w->n_implicit;
	if (fd_write_all(out, w, sizeof(*w)) < 0 || fd_write_all(out, lists.data, lists.len) < 0)
		return err_errno(err, "report the result");
	return 0;
}

static int
open_input(struct unpack *u, struct err *err)
{
	const struct unpack_job *job = u->job;
	struct stat st;

	u->in = job->in;
	u->at = job->at;
	if (job->path == NULL)
		return 0;
	u->in = fd_openat2(job->in, job->path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0,
	    RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
	if (u->in < 0)
		return err_errno(err, "open %s", job->path);
	close(job->in); /* through a directory of the host one could leave the confinement */
	if (fstat(u->in, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s is no regular file", job->path);
	return 0;
}

static int
run(struct unpack *u, int out, struct err *err)
{
	const struct unpack_job *job = u->job;
	struct confine_spec spec = {.rootfd = job->dir,
	    .caps = UINT64_C(1) << CAP_CHOWN | UINT64_C(1) << CAP_DAC_OVERRIDE |
	            UINT64_C(1) << CAP_FOWNER | UINT64_C(1) << CAP_FSETID |
	            UINT64_C(1) << CAP_MKNOD | UINT64_C(1) << CAP_SETFCAP,
	    .memory = UNPACK_MEMORY};
	cleanup_close int root = -1;
	struct wire w = {0};

	if (digest_begin(&u->packed, job->digest[0] != '\0' ? job->digest : "sha256", err) < 0 ||
	    digest_begin(&u->plain, job->diff_id[0] != '\0' ? job->diff_id : "sha256", err) < 0 ||
	    open_input(u, err) < 0)
		return -1;
	extract_prepare();
	if (confine_enter(&spec, err) < 0)
		return -1;
	root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_errno(err, "open the layer's directory");
	u->extract.read = on_plain;
	if (extract_run(&u->extract, root, err) < 0)
		return blame(u, err);
	if (verify(u, &w, err) < 0)
		return -1;
	if (syncfs(root) < 0)
		return err_errno(err, "syncfs");
	return send_result(u, &w, out, err);
}

int
unpack_worker(const void *arg, int out, struct err *err)
{
	struct unpack u = {.job = arg, .packed = DIGEST_INIT, .plain = DIGEST_INIT};
	int ret;

	inflate_init(&u.inflate, on_packed);
	ret = run(&u, out, err);
	if (ret < 0)
		confine_printable(err);
	extract_release(&u.extract);
	inflate_release(&u.inflate);
	digest_release(&u.packed);
	digest_release(&u.plain);
	return ret;
}

/* Paths as extract makes them, each with its NUL: relative, no empty, "." or ".." component. */
static bool
paths_valid(const char *p, size_t n)
{
	char clean[4096];

	if (n > 0 && p[n - 1] != '\0')
		return false;
	for (const char *end = p + n; p < end; p += strlen(p) + 1)
		if (strlen(p) >= sizeof(clean) || !extract_clean_name(p, clean) ||
		    strcmp(p, clean) != 0)
			return false;
	return true;
}

int
unpack_parse(const struct buf *out, struct unpack_result *ret, struct err *err)
{
	struct unpack_result r = {.implicit = BUF_INIT, .opaque = BUF_INIT};
	const char *lists = out->data + sizeof(struct wire);
	struct wire w;

	if (out->len < sizeof(w))
		return err_set(err, ERR_INTERNAL, "the unpack worker's result is cut short");
	memcpy(&w, out->data, sizeof(w));
	if (memcmp(w.magic, magic, sizeof(magic)) != 0 || w.n_implicit > PATHSET_MAX ||
	    w.n_opaque > PATHSET_MAX || sizeof(w) + w.n_implicit + w.n_opaque != out->len ||
	    memchr(w.digest, '\0', DIGEST_SIZE) == NULL || !digest_valid(w.digest) ||
	    memchr(w.diff_id, '\0', DIGEST_SIZE) == NULL || !digest_valid(w.diff_id) ||
	    w.bytes > INT64_MAX || w.inodes > INT64_MAX || !paths_valid(lists, w.n_implicit) ||
	    !paths_valid(lists + w.n_implicit, w.n_opaque))
		return err_set(err, ERR_INTERNAL, "the unpack worker's result is malformed");
	memcpy(r.digest, w.digest, sizeof(r.digest));
	memcpy(r.diff_id, w.diff_id, sizeof(r.diff_id));
	r.size = w.size;
	r.bytes = w.bytes;
	r.inodes = w.inodes;
	r.entries = w.entries;
	r.xattrs_lost = w.xattrs_lost;
	buf_add(&r.implicit, lists, w.n_implicit);
	buf_add(&r.opaque, lists + w.n_implicit, w.n_opaque);
	*ret = r;
	return 0;
}

void
unpack_result_release(struct unpack_result *r)
{
	buf_release(&r->implicit);
	buf_release(&r->opaque);
}

int
unpack_seal_worker(const void *arg, int out, struct err *err)
{
	const struct unpack_seal *seal = arg;
	uint64_t bytes = 0;
	struct stat before, after;

	for (const char *p = seal->opaque; p < seal->opaque + seal->n; p += strlen(p) + 1) {
		cleanup_close int fd =
		    *p == '\0' ? openat(seal->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
		               : fd_openat2(seal->dir, p, O_RDONLY | O_DIRECTORY, 0,
		                     RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);

		if (fd < 0 || fstat(fd, &before) < 0)
			return err_errno(err, "open %s", p);
		if (fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
			return err_errno(err, "mark %s as opaque", p);
		if (fstat(fd, &after) == 0)
			bytes += (uint64_t)(after.st_blocks - before.st_blocks) * 512;
	}
	if (syncfs(seal->dir) < 0)
		return err_errno(err, "syncfs");
	if (fd_write_all(out, &bytes, sizeof(bytes)) < 0)
		return err_errno(err, "report the result");
	return 0;
}
