/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing tars: see tarout.h.
 */
#include "image/tarout.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"

enum { BLOCK = 512, BUFFER = 256 << 10 };

/* POSIX.1-2017, pax, "ustar Interchange Format" */
struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8];
	char typeflag, linkname[100], magic[6], version[2], uname[32], gname[32];
	char devmajor[8], devminor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct ustar) == BLOCK, "a block");

void
tarout_init(struct tarout *t, int fd)
{
	*t = (struct tarout){.fd = fd, .hash = DIGEST_INIT};
}

void
tarout_release(struct tarout *t)
{
	buf_release(&t->buf);
	digest_release(&t->hash);
}

int
tarout_flush(struct tarout *t, struct err *err)
{
	if (fd_write_all(t->fd, t->buf.data, t->buf.len) < 0)
		return err_errno(err, "write the archive");
	buf_truncate(&t->buf, 0);
	return 0;
}

int
tarout_write(struct tarout *t, const void *p, size_t n, struct err *err)
{
	if (t->hashing)
		digest_update(&t->hash, p, n);
	t->at += n;
	if (t->buf.len + n > BUFFER && tarout_flush(t, err) < 0)
		return -1;
	if (n < BUFFER) {
		buf_add(&t->buf, p, n);
		return 0;
	}
	return fd_write_all(t->fd, p, n) < 0 ? err_errno(err, "write the archive") : 0;
}

int
tarout_pad(struct tarout *t, uint64_t size, struct err *err)
{
	static const char zeros[BLOCK];

	return tarout_write(t, zeros, (BLOCK - size % BLOCK) % BLOCK, err);
}

int
tarout_end(struct tarout *t, struct err *err)
{
	static const char zeros[2 * BLOCK];

	return tarout_write(t, zeros, sizeof(zeros), err);
}

/* digits octal digits and a NUL; false when v needs more. */
static bool
octal(char *at, int digits, uint64_t v)
{
	for (int i = digits; i-- > 0; v >>= 3)
		at[i] = (char)('0' + (v & 7));
	at[digits] = '\0';
	return v == 0;
}

static void
record(struct buf *pax, const char *key, const void *value, size_t n)
{
	/* "<length> <key>=<value>\n", and the length counts its own digits */
	size_t rest = strlen(key) + n + 3, digits = 1;
	char text[24];

	while ((size_t)snprintf(text, sizeof(text), "%zu", rest + digits) > digits)
		digits++;
	buf_addf(pax, "%s %s=", text, key);
	buf_add(pax, value, n);
	buf_addch(pax, '\n');
}

static void
record_text(struct buf *pax, const char *key, const char *value)
{
	record(pax, key, value, strlen(value));
}

static void
record_number(struct buf *pax, const char *key, uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	record_text(pax, key, text);
}

static void
record_time(struct buf *pax, const char *key, const struct timespec *ts)
{
	bool minus = ts->tv_sec < 0;
	/* before 1970 the seconds count down and the nanoseconds up */
	int64_t sec = minus && ts->tv_nsec > 0 ? ts->tv_sec + 1 : ts->tv_sec;
	long nsec = minus && ts->tv_nsec > 0 ? 1000000000 - ts->tv_nsec : ts->tv_nsec;
	char text[48];
	int len;

	len = snprintf(text, sizeof(text), "%s%lld.%09ld", minus ? "-" : "",
	    (long long)(minus ? -sec : sec), nsec);
	while (text[len - 1] == '0')
		text[--len] = '\0';
	if (text[len - 1] == '.')
		text[--len] = '\0';
	record_text(pax, key, text);
}

/* Fields that fit go into the header, others into pax records. */
static void
fill(const struct tarout_entry *e, struct ustar *h, struct buf *pax)
{
	memcpy(h->magic, "ustar", 6);
	memcpy(h->version, "00", 2);
	h->typeflag = e->type;
	if (strlen(e->name) > sizeof(h->name))
		record_text(pax, "path", e->name);
	memcpy(h->name, e->name, MIN(strlen(e->name), sizeof(h->name)));
	if (e->link != NULL) {
		if (strlen(e->link) > sizeof(h->linkname))
			record_text(pax, "linkpath", e->link);
		memcpy(h->linkname, e->link, MIN(strlen(e->link), sizeof(h->linkname)));
	}
	octal(h->mode, 7, e->mode & 07777);
	if (!octal(h->uid, 7, e->uid))
		record_number(pax, "uid", e->uid);
	if (!octal(h->gid, 7, e->gid))
		record_number(pax, "gid", e->gid);
	if (!octal(h->size, 11, e->size))
		record_number(pax, "size", e->size);
	if (e->mtime.tv_sec < 0 || e->mtime.tv_nsec != 0 ||
	    !octal(h->mtime, 11, (uint64_t)e->mtime.tv_sec)) {
		octal(h->mtime, 11, e->mtime.tv_sec < 0 ? 0 : (uint64_t)e->mtime.tv_sec);
		record_time(pax, "mtime", &e->mtime);
	}
	if (!octal(h->devmajor, 7, e->major) || !octal(h->devminor, 7, e->minor)) {
		record_number(pax, "SCHILY.devmajor", e->major);
		record_number(pax, "SCHILY.devminor", e->minor);
	}
	for (size_t i = 0; i < e->n_xattrs; i++) {
		char key[300];

		snprintf(key, sizeof(key), "SCHILY.xattr.%s", e->xattrs[i].name);
		record(pax, key, e->xattrs[i].value, e->xattrs[i].n);
	}
}

static void
sum_up(struct ustar *h)
{
	const unsigned char *p = (const unsigned char *)h;
	unsigned sum = 0;

	memset(h->chksum, ' ', sizeof(h->chksum));
	for (size_t i = 0; i < sizeof(*h); i++)
		sum += p[i];
	octal(h->chksum, 6, sum);
}

int
tarout_header(struct tarout *t, const struct tarout_entry *e, struct err *err)
{
	cleanup_buf struct buf pax = BUF_INIT;
	struct ustar h = {0};

	fill(e, &h, &pax);
	if (pax.len > 0) {
		const struct tarout_entry x = {
		    .name = "pax", .type = 'x', .mode = 0644, .size = pax.len};
		struct ustar xh = {0};
		struct buf none = BUF_INIT;

		fill(&x, &xh, &none);
		sum_up(&xh);
		if (tarout_write(t, &xh, sizeof(xh), err) < 0 ||
		    tarout_write(t, pax.data, pax.len, err) < 0 || tarout_pad(t, pax.len, err) < 0)
			return -1;
	}
	sum_up(&h);
	return tarout_write(t, &h, sizeof(h), err);
}

int
tarout_file(struct tarout *t, const char *name, const void *p, size_t n, struct err *err)
{
	const struct tarout_entry e = {.name = name, .type = '0', .mode = 0644, .size = n};

	return tarout_header(t, &e, err) < 0 || tarout_write(t, p, n, err) < 0 ||
	               tarout_pad(t, n, err) < 0
	           ? -1
	           : 0;
}

int
tarout_open_blob(struct tarout *t, struct err *err)
{
	static const char room[BLOCK];

	assert(!t->hashing);
	t->blob_at = t->at;
	if (tarout_write(t, room, sizeof(room), err) < 0 ||
	    digest_begin(&t->hash, "sha256", err) < 0)
		return -1;
	t->hashing = true;
	return 0;
}

int
tarout_close_blob(struct tarout *t, const char *name_format, char digest[static DIGEST_SIZE],
    uint64_t *ret_size, struct err *err)
{
	uint64_t size = t->at - t->blob_at - BLOCK;
	char name[128];
	struct tarout_entry e = {.name = name, .type = '0', .mode = 0644, .size = size};
	struct buf pax = BUF_INIT;
	struct ustar h = {0};
	ssize_t n;

	digest_end(&t->hash, digest);
	t->hashing = false;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(name, sizeof(name), name_format, digest + strlen("sha256:"));
#pragma GCC diagnostic pop
	fill(&e, &h, &pax);
	/* 8 GiB and more: there was no room for a pax record, but GNU's base-256 numbers are read
	 * by all (GNU tar manual, "Extensions"). */
	if (size >> 33 != 0) {
		h.size[0] = (char)0x80;
		memset(h.size + 1, 0, 3);
		for (int i = 11; i >= 4; i--, size >>= 8)
			h.size[i] = (char)(size & 0xff);
		size = e.size;
	}
	buf_release(&pax);
	sum_up(&h);
	if (tarout_pad(t, size, err) < 0 || tarout_flush(t, err) < 0)
		return -1;
	do
		n = pwrite(t->fd, &h, sizeof(h), (off_t)t->blob_at);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(h))
		return err_errno(err, "write the archive");
	*ret_size = size;
	return 0;
}
