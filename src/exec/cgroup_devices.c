/* SPDX-License-Identifier: Apache-2.0
 *
 * Which devices a cgroup's processes may make and open: by v1's devices controller where there is
 * one, else by a program of type BPF_PROG_TYPE_CGROUP_DEVICE, written here instruction by
 * instruction and attached to the v2 cgroup (Documentation/bpf/prog_cgroup_*, linux/bpf.h).
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/cgroup.h"
#include "exec/cgroup_impl.h"

/* Names are how ours is found again among what systemd or an administrator attached. */
static const char program_name[] = "coracle_dev";

enum {
	MAX_RULES = 1024,
	MAJOR_MAX = 0xfff, /* MINORBITS is 20, and a dev_t has 32 (linux/kdev_t.h) */
	MINOR_MAX = 0xfffff
};

const struct cgroup_device cgroup_default_devices[] = {
    {'c', -1,  -1, CGROUP_DEV_MKNOD},
    {'b', -1,  -1, CGROUP_DEV_MKNOD},
    {'c', 1,   3,  CGROUP_DEV_ALL  }, /* null */
    {'c', 1,   5,  CGROUP_DEV_ALL  }, /* zero */
    {'c', 1,   7,  CGROUP_DEV_ALL  }, /* full */
    {'c', 1,   8,  CGROUP_DEV_ALL  }, /* random */
    {'c', 1,   9,  CGROUP_DEV_ALL  }, /* urandom */
    {'c', 5,   0,  CGROUP_DEV_ALL  }, /* tty */
    {'c', 5,   1,  CGROUP_DEV_ALL  }, /* console */
    {'c', 5,   2,  CGROUP_DEV_ALL  }, /* ptmx */
    {'c', 136, -1, CGROUP_DEV_ALL  }, /* pts */
};
const size_t cgroup_n_default_devices = ARRAY_SIZE(cgroup_default_devices);

static int
check_rule(const struct cgroup_device *r, struct err *err)
{
	if (r->type != 'a' && r->type != 'b' && r->type != 'c')
		return err_set(err, ERR_INVALID_ARGUMENT, "device type '%c'", r->type);
	if (r->major < -1 || r->major > MAJOR_MAX || r->minor < -1 || r->minor > MINOR_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "device number %" PRId64 ":%" PRId64,
		    r->major, r->minor);
	if (r->access == 0 || r->access & ~(unsigned)CGROUP_DEV_ALL)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "access %u of device %" PRId64 ":%" PRId64, r->access, r->major, r->minor);
	return 0;
}

/* One open asks for reading and writing at once, so rules for the same device are one rule. */
static struct cgroup_device *
merge_rules(const struct cgroup_device *rules, size_t n, size_t *ret_n, struct err *err)
{
	struct cgroup_device *merged = xcalloc(MAX(n, 1), sizeof(*merged));
	size_t used = 0, j;

	for (size_t i = 0; i < n; i++) {
		const struct cgroup_device *r = &rules[i];

		if (check_rule(r, err) < 0) {
			free(merged);
			return NULL;
		}
		for (j = 0; j < used; j++)
			if (merged[j].type == r->type && merged[j].major == r->major &&
			    merged[j].minor == r->minor)
				break;
		if (j == used)
			merged[used++] = *r;
		merged[j].access |= r->access;
	}
	*ret_n = used;
	return merged;
}

static bool
allows_all(const struct cgroup_device *r)
{
	return r->type == 'a' && r->major == -1 && r->minor == -1 && r->access == CGROUP_DEV_ALL;
}

/* ---- v1 ------------------------------------------------------------------------------------ */

static int
write_v1_rule(int dir, const struct cgroup_device *r)
{
	const char one_type[2] = {r->type, '\0'};
	char major[32] = "*", minor[32] = "*", rule[96];

	if (allows_all(r))
		return cgroup_file_write(dir, "devices.allow", "a");
	if (r->major >= 0)
		snprintf(major, sizeof(major), "%" PRId64, r->major);
	if (r->minor >= 0)
		snprintf(minor, sizeof(minor), "%" PRId64, r->minor);
	/* "a" would be all devices, whatever follows (security/device_cgroup.c) */
	for (const char *type = r->type == 'a' ? "bc" : one_type; *type != '\0'; type++) {
		snprintf(rule, sizeof(rule), "%c %s:%s %s%s%s", *type, major, minor,
		    r->access & CGROUP_DEV_READ ? "r" : "", r->access & CGROUP_DEV_WRITE ? "w" : "",
		    r->access & CGROUP_DEV_MKNOD ? "m" : "");
		if (cgroup_file_write(dir, "devices.allow", rule) < 0)
			return -1;
	}
	return 0;
}

static int
set_v1(const char *path, const struct cgroup_device *rules, size_t n, struct err *err)
{
	cleanup_close int dir = cgroup_controller_dir(CGROUP_DEVICES, path, err);

	if (dir < 0)
		return -1;
	if (cgroup_file_write(dir, "devices.deny", "a") < 0)
		return err_errno(err, "write devices.deny of the cgroup %s", path);
	for (size_t i = 0; i < n; i++)
		if (write_v1_rule(dir, &rules[i]) < 0)
			return err_errno(err,
			    "write %c %" PRId64 ":%" PRId64 " to devices.allow of the cgroup %s",
			    rules[i].type, rules[i].major, rules[i].minor, path);
	return 0;
}

/* ---- v2 ------------------------------------------------------------------------------------ */

static int
bpf(int cmd, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static struct bpf_insn
insn(uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	return (struct bpf_insn){
	    .code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm};
}

enum { PROLOGUE = 6, TEST = 3, RULE_MAX = 4 * TEST + 2, EPILOGUE = 2 }; /* instructions */

/* Load what is asked for: r2 = type, r3 = access, r4 = major, r5 = minor. */
static size_t
emit_prologue(struct bpf_insn *p)
{
	size_t n = 0, packed = offsetof(struct bpf_cgroup_dev_ctx, access_type);

	p[n++] = insn(BPF_LDX | BPF_MEM | BPF_W, 3, 1, (int16_t)packed, 0);
	p[n++] = insn(BPF_ALU | BPF_MOV | BPF_X, 2, 3, 0, 0);
	p[n++] = insn(BPF_ALU | BPF_AND | BPF_K, 2, 0, 0, 0xffff);
	p[n++] = insn(BPF_ALU | BPF_RSH | BPF_K, 3, 0, 0, 16);
	p[n++] = insn(BPF_LDX | BPF_MEM | BPF_W, 4, 1,
	    (int16_t)offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	p[n++] = insn(BPF_LDX | BPF_MEM | BPF_W, 5, 1,
	    (int16_t)offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
	return n;
}

/* Go on only when (reg op imm) is 0. The copy is compared, not the register itself: otherwise the
 * verifier learns a value on one of the two ways and walks all that follows again for each, which
 * is too much for it beyond some hundred rules. */
static size_t
emit_test(struct bpf_insn *p, uint8_t reg, uint8_t op, uint32_t imm)
{
	p[0] = insn(BPF_ALU | BPF_MOV | BPF_X, 0, reg, 0, 0);
	p[1] = insn((uint8_t)(BPF_ALU | op | BPF_K), 0, 0, 0, (int32_t)imm);
	p[2] = insn(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 0, 0); /* to where is filled in later */
	return TEST;
}

/* Return 1 when the rule matches, else fall through to the next. */
static size_t
emit_rule(struct bpf_insn *p, const struct cgroup_device *r)
{
	size_t n = 0, tests;

	if (r->type != 'a')
		n += emit_test(
		    p + n, 2, BPF_XOR, r->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	if (r->major >= 0)
		n += emit_test(p + n, 4, BPF_XOR, (uint32_t)r->major);
	if (r->minor >= 0)
		n += emit_test(p + n, 5, BPF_XOR, (uint32_t)r->minor);
	if (r->access != CGROUP_DEV_ALL) /* CGROUP_DEV_* are BPF_DEVCG_ACC_* */
		n += emit_test(p + n, 3, BPF_AND, ~r->access);
	tests = n;
	p[n++] = insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1);
	p[n++] = insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	assert(n <= RULE_MAX);
	for (size_t jump = TEST - 1; jump < tests; jump += TEST)
		p[jump].off = (int16_t)(n - jump - 1);
	return n;
}

static int
load_program(const struct cgroup_device *rules, size_t n_rules, struct err *err)
{
	cleanup_free struct bpf_insn *p =
	    xcalloc(PROLOGUE + RULE_MAX * n_rules + EPILOGUE, sizeof(*p));
	union bpf_attr attr;
	size_t n = emit_prologue(p);
	bool all = false;
	int fd;

	/* the verifier refuses what cannot be reached */
	for (size_t i = 0; i < n_rules && !all; i++) {
		n += emit_rule(p + n, &rules[i]);
		all = allows_all(&rules[i]);
	}
	if (!all) {
		p[n++] = insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
		p[n++] = insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	}
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.expected_attach_type = BPF_CGROUP_DEVICE;
	attr.insns = (uintptr_t)p;
	attr.insn_cnt = (uint32_t)n;
	attr.license = (uintptr_t) "Apache-2.0";
	memcpy(attr.prog_name, program_name, sizeof(program_name));
	do
		fd = bpf(BPF_PROG_LOAD, &attr);
	while (fd < 0 && errno == EAGAIN);
	return fd < 0 ? err_errno(err, "load the device policy of %zu rules", n_rules) : fd;
}

/* An fd of the program of ours that is attached to the cgroup; -1 when there is none. */
static int
find_program(int dir)
{
	uint32_t ids[64];
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.query.target_fd = (uint32_t)dir;
	attr.query.attach_type = BPF_CGROUP_DEVICE;
	attr.query.prog_ids = (uintptr_t)ids;
	attr.query.prog_cnt = ARRAY_SIZE(ids);
	if (bpf(BPF_PROG_QUERY, &attr) < 0)
		return -1;
	for (uint32_t i = 0, n = attr.query.prog_cnt; i < n; i++) {
		cleanup_close int fd = -1;
		struct bpf_prog_info info;

		memset(&attr, 0, sizeof(attr));
		attr.prog_id = ids[i];
		fd = bpf(BPF_PROG_GET_FD_BY_ID, &attr);
		if (fd < 0)
			continue;
		memset(&attr, 0, sizeof(attr));
		memset(&info, 0, sizeof(info));
		attr.info.bpf_fd = (uint32_t)fd;
		attr.info.info_len = sizeof(info);
		attr.info.info = (uintptr_t)&info;
		if (bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) == 0 && strcmp(info.name, program_name) == 0)
			return take_fd(fd);
	}
	return -1;
}

/* In one step where there is one already: at no time is nothing, or less, enforced. */
static int
attach_program(int dir, int program)
{
	cleanup_close int old = find_program(dir);
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)dir;
	attr.attach_bpf_fd = (uint32_t)program;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	if (old >= 0) {
		attr.attach_flags |= BPF_F_REPLACE;
		attr.replace_bpf_fd = (uint32_t)old;
	}
	return bpf(BPF_PROG_ATTACH, &attr);
}

static int
set_v2(const char *path, const struct cgroup_device *rules, size_t n, struct err *err)
{
	cleanup_close int dir = cgroup_dir(&cgroups.h[cgroups.v2], path, err);
	cleanup_close int program = -1;

	if (dir < 0)
		return -1;
	program = load_program(rules, n, err);
	if (program < 0)
		return -1;
	if (attach_program(dir, program) < 0)
		return err_errno(err, "attach the device policy to the cgroup %s", path);
	return 0;
}

enum cgroup_devices
cgroup_devices_detect(int probe_fd)
{
	cleanup_close int program = -1;
	struct err ignored;

	if (cgroup_has(CGROUP_DEVICES))
		return CGROUP_DEVICES_V1;
	if (probe_fd < 0)
		return CGROUP_DEVICES_NONE;
	program = load_program(NULL, 0, &ignored);
	if (program < 0 || attach_program(probe_fd, program) < 0)
		return CGROUP_DEVICES_NONE;
	return CGROUP_DEVICES_BPF;
}

int
cgroup_set_devices(const char *parent, const char *id, const struct cgroup_device *rules, size_t n,
    struct err *err)
{
	cleanup_free char *path = cgroup_path_below_root(parent, id, err);
	cleanup_free struct cgroup_device *merged = NULL;
	size_t n_merged = 0;

	if (path == NULL)
		return -1;
	if (n > MAX_RULES)
		return err_set(
		    err, ERR_RESOURCE_EXHAUSTED, "%zu device rules, the limit is %d", n, MAX_RULES);
	merged = merge_rules(rules, n, &n_merged, err);
	if (merged == NULL)
		return -1;
	if (cgroups.info.devices == CGROUP_DEVICES_NONE)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "this host cannot restrict devices (no devices controller, no BPF for "
		    "cgroups)");
	return cgroups.info.devices == CGROUP_DEVICES_V1 ? set_v1(path, merged, n_merged, err)
	                                                 : set_v2(path, merged, n_merged, err);
}
