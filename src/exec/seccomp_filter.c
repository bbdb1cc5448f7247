/* SPDX-License-Identifier: Apache-2.0
 *
 * A filter on its way through libseccomp: see seccomp_filter.h.
 */
#include "exec/seccomp_filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"

enum {
	X32_BIT = 0x40000000,
	HIGHEST_NUMBER =
	    1024 /* no architecture's table reaches so far, but for offsets like ARM's */
};

static int
failed(struct err *err, int rc, const char *what)
{
	return err_set(err, ERR_INTERNAL, "libseccomp: %s: %s", what, strerror(-rc));
}

int
filter_init(struct filter *f, uint32_t default_action, struct err *err)
{
	*f = (struct filter){.default_action = default_action};
	f->ctx = seccomp_init(default_action);
	if (f->ctx == NULL)
		return err_set(err, ERR_INTERNAL, "libseccomp: no filter with this default action");
	/* a tree of comparisons, not a list: 22 steps per call of the default profile, not 227 */
	(void)seccomp_attr_set(f->ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	f->archs[0].token = seccomp_arch_native();
	f->archs[0].last = -1;
	f->n_archs = 1;
	return 0;
}

void
filter_release(struct filter *f)
{
	if (f->ctx != NULL)
		seccomp_release(f->ctx);
	f->ctx = NULL;
}

int
filter_add_arch(struct filter *f, uint32_t token, struct err *err)
{
	int rc;

	for (size_t i = 0; i < f->n_archs; i++)
		if (f->archs[i].token == token)
			return 0;
	rc = seccomp_arch_add(f->ctx, token);
	if (rc == -EDOM)
		return 0;
	if (rc < 0)
		return failed(err, rc, "add an architecture");
	if (f->n_archs == FILTER_MAX_ARCHS)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "more than %d architectures", FILTER_MAX_ARCHS);
	f->archs[f->n_archs].token = token;
	f->archs[f->n_archs++].last = -1;
	return 0;
}

void
filter_mention(struct filter *f, const char *name)
{
	for (size_t i = 0; i < f->n_archs; i++) {
		int nr = seccomp_syscall_resolve_name_arch(f->archs[i].token, name);

		if (nr > f->archs[i].last)
			f->archs[i].last = nr;
	}
}

void
filter_mention_all(struct filter *f)
{
	for (size_t i = 0; i < f->n_archs; i++)
		for (int nr = HIGHEST_NUMBER; nr > f->archs[i].last; nr--) {
			char *name = seccomp_syscall_resolve_num_arch(f->archs[i].token, nr);

			if (name != NULL)
				f->archs[i].last = nr;
			free(name);
		}
}

int
filter_add_rule(struct filter *f, const char *name, uint32_t action,
    const struct scmp_arg_cmp *args, unsigned n_args, struct err *err)
{
	int nr = seccomp_syscall_resolve_name(name), rc;

	filter_mention(f, name);
	if (nr == __NR_SCMP_ERROR || action == f->default_action)
		return 0;
	rc = seccomp_rule_add_array(f->ctx, action, nr, n_args, args);
	if (rc == -EEXIST)
		return 0;
	if (rc < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "libseccomp takes no such rule for %s: %s", name, strerror(-rc));
	return 0;
}

/* ---- numbers from the future --------------------------------------------------------------- */

static void
emit(struct buf *out, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
	struct sock_filter insn = {.code = code, .jt = jt, .jf = jf, .k = k};

	buf_add(out, &insn, sizeof(insn));
}

/* In front of libseccomp's program, which begins by loading the architecture itself. */
static void
emit_enosys(const struct filter *f, struct buf *out)
{
	for (size_t i = 0; i < f->n_archs; i++) {
		bool x86_64 = f->archs[i].token == SCMP_ARCH_X86_64;

		/* x32 shares its token with x86-64, and its numbers are marked by a bit */
		if (f->archs[i].last < 0 || f->archs[i].token == SCMP_ARCH_X32)
			continue;
		emit(out, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
		emit(out, BPF_JMP | BPF_JEQ | BPF_K, f->archs[i].token, 0, x86_64 ? 4 : 3);
		emit(out, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
		if (x86_64)
			emit(out, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 2, 0);
		emit(out, BPF_JMP | BPF_JGT | BPF_K, (uint32_t)f->archs[i].last, 0, 1);
		emit(out, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS, 0, 0);
	}
}

int
filter_export(struct filter *f, struct buf *ret, struct err *err)
{
	cleanup_close int fd = memfd_create("seccomp", MFD_CLOEXEC);
	size_t start = ret->len, len;
	int rc;

	if (fd < 0)
		return err_errno(err, "memfd_create");
	rc = seccomp_export_bpf(f->ctx, fd);
	if (rc < 0)
		return failed(err, rc, "compile the filter");
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_errno(err, "read the compiled filter");
	if ((f->default_action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO &&
	    f->default_action != SCMP_ACT_ERRNO(ENOSYS))
		emit_enosys(f, ret);
	if (fd_read_all(fd, 1 << 20, ret, err) < 0)
		return err_wrap(err, "read the compiled filter");
	len = ret->len - start;
	if (len == 0 || len % sizeof(struct sock_filter) != 0 ||
	    len > BPF_MAXINSNS * sizeof(struct sock_filter))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "the filter is %zu instructions long, the kernel takes %d",
		    len / sizeof(struct sock_filter), BPF_MAXINSNS);
	return 0;
}
