/* SPDX-License-Identifier: Apache-2.0
 *
 * System call filters: which profile, and those compiled before. See seccomp.h.
 */
#include "exec/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "exec/seccomp_filter.h"

enum { CACHE_MAX = 64, PROFILE_MAX = 4 << 20 };

/* A file is the same as long as its inode, size and times are. */
struct entry {
	char *path; /* NULL: the default profile */
	struct stat st;
	uint64_t caps;
	struct buf bpf;
	uint32_t flags;
	uint64_t used; /* by the clock below; 0: the entry is free */
};

static struct entry cache[CACHE_MAX];
static uint64_t cache_clock;
static struct buf uncached; /* of seccomp_compile_json() */

static void
entry_release(struct entry *e)
{
	free(e->path);
	buf_release(&e->bpf);
	*e = (struct entry){0};
}

static bool
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static struct entry *
find(const char *path, const struct stat *st, uint64_t caps)
{
	for (size_t i = 0; i < CACHE_MAX; i++) {
		struct entry *e = &cache[i];

		if (e->used == 0 || e->caps != caps || (e->path == NULL) != (path == NULL))
			continue;
		if (path == NULL || (strcmp(e->path, path) == 0 && same_file(&e->st, st)))
			return e;
	}
	return NULL;
}

/* A free entry, made by dropping the one that was not used for longest. */
static struct entry *
claim(void)
{
	struct entry *oldest = &cache[0];

	for (size_t i = 1; i < CACHE_MAX; i++)
		if (cache[i].used < oldest->used)
			oldest = &cache[i];
	entry_release(oldest);
	return oldest;
}

static void
give(struct entry *e, struct seccomp_prog *ret)
{
	e->used = ++cache_clock;
	*ret = (struct seccomp_prog){.bpf = e->bpf.data, .len = e->bpf.len, .flags = e->flags};
}

int
seccomp_default(uint64_t caps, struct seccomp_prog *ret, struct err *err)
{
	struct entry *e = find(NULL, NULL, caps);
	struct filter f = {0};
	int rc;

	if (e == NULL) {
		e = claim();
		rc = filter_of_default(&f, caps, err);
		if (rc == 0)
			rc = filter_export(&f, &e->bpf, err);
		filter_release(&f);
		if (rc < 0) {
			entry_release(e);
			return err_wrap(err, "default seccomp profile");
		}
		e->caps = caps;
	}
	give(e, ret);
	return 0;
}

static int
compile(const char *name, const char *json, size_t len, uint64_t caps, struct buf *bpf,
    uint32_t *ret_flags, struct err *err)
{
	struct filter f = {0};
	int rc = filter_of_json(&f, name, json, len, caps, err);

	if (rc == 0 && (rc = filter_export(&f, bpf, err)) < 0)
		err_wrap(err, "seccomp profile %s", name);
	*ret_flags = f.flags;
	filter_release(&f);
	return rc;
}

int
seccomp_compile_json(const char *name, const char *json, size_t len, uint64_t caps,
    struct seccomp_prog *ret, struct err *err)
{
	uint32_t flags;

	buf_release(&uncached);
	if (compile(name, json, len, caps, &uncached, &flags, err) < 0) {
		buf_release(&uncached);
		return -1;
	}
	*ret = (struct seccomp_prog){.bpf = uncached.data, .len = uncached.len, .flags = flags};
	return 0;
}

/* The kubelet's directory of profiles is the administrator's: links are followed, but nothing that
 * would block is opened. */
static int
seccomp_file(const char *path, uint64_t caps, struct seccomp_prog *ret, struct err *err)
{
	cleanup_close int fd = -1;
	cleanup_buf struct buf text = BUF_INIT;
	struct entry *e;
	struct stat st;

	if (*path != '/')
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "seccomp profile '%s' is no absolute path", path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return err_set(err, ERR_NOT_FOUND, "there is no seccomp profile %s", path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(err, "open the seccomp profile %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "seccomp profile %s is no regular file", path);
	e = find(path, &st, caps);
	if (e == NULL) {
		uint32_t flags;

		if (fd_read_all(fd, PROFILE_MAX, &text, err) < 0)
			return err_wrap(err, "seccomp profile %s", path);
		e = claim();
		if (compile(path, text.data, text.len, caps, &e->bpf, &flags, err) < 0) {
			entry_release(e);
			return -1;
		}
		e->path = xstrdup(path);
		e->st = st;
		e->caps = caps;
		e->flags = flags;
	}
	give(e, ret);
	return 0;
}

/* https://kubernetes.io/docs/reference/node/seccomp/ has both forms. */
int
seccomp_resolve(const Runtime__V1__SecurityProfile *profile, const char *deprecated,
    bool privileged, uint64_t caps, struct seccomp_prog *ret, struct err *err)
{
	static const struct seccomp_prog none;

	if (privileged || (profile == NULL && str_empty(deprecated))) {
		*ret = none;
		return 0;
	}
	if (profile != NULL) {
		switch (profile->profile_type) {
		case RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault:
			return seccomp_default(caps, ret, err);
		case RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Unconfined:
			*ret = none;
			return 0;
		case RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost:
			return seccomp_file(profile->localhost_ref, caps, ret, err);
		default:
			return err_set(err, ERR_INVALID_ARGUMENT, "seccomp profile type %d",
			    (int)profile->profile_type);
		}
	}
	if (strcmp(deprecated, "unconfined") == 0) {
		*ret = none;
		return 0;
	}
	if (strcmp(deprecated, "runtime/default") == 0 || strcmp(deprecated, "docker/default") == 0)
		return seccomp_default(caps, ret, err);
	if (str_starts(deprecated, "localhost/"))
		return seccomp_file(deprecated + strlen("localhost/"), caps, ret, err);
	return err_set(err, ERR_INVALID_ARGUMENT, "seccomp_profile_path '%s'", deprecated);
}

void
seccomp_fini(void)
{
	for (size_t i = 0; i < CACHE_MAX; i++)
		entry_release(&cache[i]);
	buf_release(&uncached);
}
