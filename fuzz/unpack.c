/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a layer: decompressed, extracted into a directory, checked, made a tar again,
 * extracted again. Nothing may appear beside the directory; the account must be right; the second
 * tar must be the first one's equal.
 *
 * The first byte of the input says what is done with it: 1: the rest is the compressed layer as it
 * is; else it is a tar, the checksums of which are put right first, since no mutation would find
 * them.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "fuzz.h"
#include "image/extract.h"
#include "image/inflate.h"
#include "image/retar.h"

enum { MAX_BYTES = 4 << 20 };

static char top[64];
static int top_fd = -1;

struct input {
	struct extract x;
	struct inflate z;
	const char *p;
	size_t n;
};

static ssize_t
on_packed(struct inflate *z, void *p, size_t n, struct err *err)
{
	struct input *in = container_of(z, struct input, z);

	(void)err;
	n = MIN(n, MIN(in->n, (size_t)4096));
	memcpy(p, in->p, n);
	in->p += n;
	in->n -= n;
	return (ssize_t)n;
}

static ssize_t
on_plain(struct extract *x, const void **ret, struct err *err)
{
	return inflate_next(&container_of(x, struct input, x)->z, ret, err);
}

static double inodes, blocks;
static uint64_t apparent;

static int
count(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	double links = flag == FTW_D ? 1 : (double)st->st_nlink;

	(void)path;
	(void)at;
	inodes += 1 / links;
	blocks += (double)st->st_blocks / links;
	apparent += S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
	return 0;
}

static int delete (const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st;
	(void)at;
	must((flag == FTW_DP ? rmdir(path) : unlink(path)) == 0);
	return 0;
}

static void
clean_up(void)
{
	if (top[0] != '\0')
		nftw(top, delete, 16, FTW_PHYS | FTW_DEPTH);
}

static void
begin(void)
{
	if (top[0] != '\0')
		return;
	extract_prepare();
	snprintf(top, sizeof(top), "/dev/shm/coracle-fuzz-XXXXXX");
	must(mkdtemp(top) != NULL);
	top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(top_fd >= 0);
	atexit(clean_up);
}

/* Only the directory itself is below the top. */
static void
check_beside(void)
{
	int fd = openat(top_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(fd);
	struct dirent *ent;
	unsigned n = 0;

	must(dir != NULL);
	while ((ent = readdir(dir)) != NULL) {
		must(strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0 ||
		     strcmp(ent->d_name, "root") == 0);
		n++;
	}
	must(n == 3);
	closedir(dir);
}

/* Extract; 0 with the set of implicit directories in the extract, which the caller releases. */
static int
extract(struct input *in, const char *p, size_t n, struct err *err)
{
	int root, ret;

	*in = (struct input){.p = p, .n = n};
	must(mkdirat(top_fd, "root", 0755) == 0);
	root = openat(top_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(root >= 0);
	inflate_init(&in->z, on_packed);
	in->x.read = on_plain;
	in->x.max_bytes = MAX_BYTES;
	ret = extract_run(&in->x, root, err);
	must(ret == 0 || (err->code != ERR_NONE && err->msg[0] != '\0'));
	close(root);
	inflate_release(&in->z);
	check_beside();
	return ret;
}

static void
empty_root(void)
{
	char path[80];

	snprintf(path, sizeof(path), "%s/root", top);
	must(nftw(path, delete, 16, FTW_PHYS | FTW_DEPTH) == 0);
}

static void
check_account(const struct walk *w)
{
	char path[80];

	snprintf(path, sizeof(path), "%s/root", top);
	inodes = blocks = 0;
	apparent = 0;
	must(nftw(path, count, 16, FTW_PHYS) == 0);
	must((uint64_t)(inodes + 0.5) == w->inodes);
	must((uint64_t)(blocks * 512 + 0.5) == w->bytes);
}

static void
make_tar(const struct walk *w, struct buf *out)
{
	int file = memfd_create("tar", MFD_CLOEXEC);
	struct tarout t;
	struct err err = {0};

	must(file >= 0);
	tarout_init(&t, file);
	must(retar_take(&t, openat(top_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
	         &w->implicit, &err) == 0);
	must(tarout_flush(&t, &err) == 0);
	tarout_release(&t);
	must(lseek(file, 0, SEEK_SET) == 0);
	must(fd_read_all(file, (size_t)1 << 30, out, &err) == 0);
	close(file);
}

static void
fix_checksums(char *tar, size_t n)
{
	for (size_t at = 0; at + 512 <= n; at += 512) {
		char *h = tar + at;
		unsigned sum = 0;

		if (memcmp(h + 257, "ustar", 5) != 0)
			continue;
		memset(h + 148, ' ', 8);
		for (int i = 0; i < 512; i++)
			sum += (unsigned char)h[i];
		snprintf(h + 148, 8, "%06o", sum);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf first = BUF_INIT, second = BUF_INIT;
	struct input in;
	struct err err = {0};
	char *copy;

	if (size < 1)
		return 0;
	begin();
	copy = xmemdup(data + 1, size - 1);
	if (data[0] != 1)
		fix_checksums(copy, size - 1);
	if (extract(&in, copy, size - 1, &err) == 0) {
		check_account(&in.x.walk);
		if (apparent < MAX_BYTES) {
			make_tar(&in.x.walk, &first);
			extract_release(&in.x);
			empty_root();
			/* A device 0:0 of a long name has no whiteout that fits a name. */
			if (extract(&in, first.data, first.len, &err) == 0) {
				make_tar(&in.x.walk, &second);
				must(first.len == second.len &&
				     memcmp(first.data, second.data, first.len) == 0);
			} else {
				must(strstr(err.msg, "too long") != NULL ||
				     strstr(err.msg, "Pathname") != NULL);
			}
		}
	}
	extract_release(&in.x);
	empty_root();
	buf_release(&first);
	buf_release(&second);
	free(copy);
	return 0;
}
