/* SPDX-License-Identifier: Apache-2.0
 *
 * Profiles in JSON: the format of the OCI runtime specification (config-linux.md, Seccomp) and
 * Docker's additions to it: archMap, a single "name", "includes" and "excludes", errno by name.
 * Keys that neither has are passed over, as every other reader of these files does.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/buf.h"
#include "base/macros.h"
#include "base/str.h"
#include "exec/caps.h"
#include "exec/seccomp_filter.h"

/* One reading; `at` is the key we are at, for messages. */
struct reader {
	struct filter *f;
	const char *file;
	uint64_t caps;
	char at[160];
};

static int __attribute__((format(printf, 3, 4)))
bad(const struct reader *r, struct err *err, const char *fmt, ...)
{
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_set(
	    err, ERR_INVALID_ARGUMENT, "seccomp profile %s: %s: %s", r->file, r->at, what);
}

static void __attribute__((format(printf, 2, 3))) at(struct reader *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->at, sizeof(r->at), fmt, ap);
	va_end(ap);
}

/* ---- names --------------------------------------------------------------------------------- */

struct named {
	const char *name;
	uint32_t value;
};

static const struct named actions[] = {
    {"SCMP_ACT_KILL",         SCMP_ACT_KILL_THREAD },
    {"SCMP_ACT_KILL_THREAD",  SCMP_ACT_KILL_THREAD },
    {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
    {"SCMP_ACT_TRAP",         SCMP_ACT_TRAP        },
    {"SCMP_ACT_ERRNO",        SCMP_ACT_ERRNO(0)    },
    {"SCMP_ACT_TRACE",        SCMP_ACT_TRACE(0)    },
    {"SCMP_ACT_ALLOW",        SCMP_ACT_ALLOW       },
    {"SCMP_ACT_LOG",          SCMP_ACT_LOG         },
};

static const struct named operators[] = {
    {"SCMP_CMP_NE",        SCMP_CMP_NE       },
    {"SCMP_CMP_LT",        SCMP_CMP_LT       },
    {"SCMP_CMP_LE",        SCMP_CMP_LE       },
    {"SCMP_CMP_EQ",        SCMP_CMP_EQ       },
    {"SCMP_CMP_GE",        SCMP_CMP_GE       },
    {"SCMP_CMP_GT",        SCMP_CMP_GT       },
    {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
};

static const struct named flags[] = {
    {"SECCOMP_FILTER_FLAG_TSYNC",      0                             }, /* there is one thread */
    {"SECCOMP_FILTER_FLAG_LOG",        SECCOMP_FILTER_FLAG_LOG       },
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
};

/* The names in "architectures", and those that "arches" uses for the same. */
static const struct {
	const char *name, *short_name;
	uint32_t token;
} archs[] = {
    {"SCMP_ARCH_X86",         "x86",         SCMP_ARCH_X86        },
    {"SCMP_ARCH_X86",         "386",         SCMP_ARCH_X86        },
    {"SCMP_ARCH_X86_64",      "amd64",       SCMP_ARCH_X86_64     },
    {"SCMP_ARCH_X32",         "x32",         SCMP_ARCH_X32        },
    {"SCMP_ARCH_ARM",         "arm",         SCMP_ARCH_ARM        },
    {"SCMP_ARCH_AARCH64",     "arm64",       SCMP_ARCH_AARCH64    },
    {"SCMP_ARCH_MIPS",        "mips",        SCMP_ARCH_MIPS       },
    {"SCMP_ARCH_MIPS64",      "mips64",      SCMP_ARCH_MIPS64     },
    {"SCMP_ARCH_MIPS64N32",   "mips64n32",   SCMP_ARCH_MIPS64N32  },
    {"SCMP_ARCH_MIPSEL",      "mipsel",      SCMP_ARCH_MIPSEL     },
    {"SCMP_ARCH_MIPSEL64",    "mipsel64",    SCMP_ARCH_MIPSEL64   },
    {"SCMP_ARCH_MIPSEL64N32", "mipsel64n32", SCMP_ARCH_MIPSEL64N32},
    {"SCMP_ARCH_PARISC",      "parisc",      SCMP_ARCH_PARISC     },
    {"SCMP_ARCH_PARISC64",    "parisc64",    SCMP_ARCH_PARISC64   },
    {"SCMP_ARCH_PPC",         "ppc",         SCMP_ARCH_PPC        },
    {"SCMP_ARCH_PPC64",       "ppc64",       SCMP_ARCH_PPC64      },
    {"SCMP_ARCH_PPC64LE",     "ppc64le",     SCMP_ARCH_PPC64LE    },
    {"SCMP_ARCH_RISCV64",     "riscv64",     SCMP_ARCH_RISCV64    },
    {"SCMP_ARCH_S390",        "s390",        SCMP_ARCH_S390       },
    {"SCMP_ARCH_S390X",       "s390x",       SCMP_ARCH_S390X      },
};

/* Real architectures that this libseccomp may not know, and that are never ours. */
static const char *const foreign_archs[] = {
    "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB"};

static const struct named errnos[] = {
    {"EPERM",           EPERM          },
    {"ENOENT",          ENOENT         },
    {"EIO",             EIO            },
    {"EAGAIN",          EAGAIN         },
    {"ENOMEM",          ENOMEM         },
    {"EACCES",          EACCES         },
    {"EBUSY",           EBUSY          },
    {"EEXIST",          EEXIST         },
    {"ENODEV",          ENODEV         },
    {"EINVAL",          EINVAL         },
    {"ENFILE",          ENFILE         },
    {"EMFILE",          EMFILE         },
    {"ENOTTY",          ENOTTY         },
    {"EROFS",           EROFS          },
    {"ENOSYS",          ENOSYS         },
    {"EOPNOTSUPP",      EOPNOTSUPP     },
    {"EPROTONOSUPPORT", EPROTONOSUPPORT},
    {"EAFNOSUPPORT",    EAFNOSUPPORT   },
};

static const struct named *
lookup(const struct named *table, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

/* ---- values -------------------------------------------------------------------------------- */

/* NULL for a missing key and for null. */
static json_t *
member(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	return value == NULL || json_is_null(value) ? NULL : value;
}

static int
get_array(struct reader *r, const json_t *object, const char *path, const char *key, json_t **ret,
    struct err *err)
{
	*ret = member(object, key);
	if (*ret != NULL && !json_is_array(*ret)) {
		at(r, "%s%s", path, key);
		return bad(r, err, "an array is wanted");
	}
	return 0;
}

static int
get_string(struct reader *r, const json_t *value, const char **ret, struct err *err)
{
	if (!json_is_string(value))
		return bad(r, err, "a string is wanted");
	if (strlen(json_string_value(value)) != json_string_length(value))
		return bad(r, err, "the string has a NUL in it");
	*ret = json_string_value(value);
	return 0;
}

/* Also a string of digits: what quote_big_numbers() makes of numbers above INT64_MAX. */
static int
get_u64(struct reader *r, const json_t *value, uint64_t max, uint64_t *ret, struct err *err)
{
	if (json_is_integer(value) && json_integer_value(value) >= 0 &&
	    (uint64_t)json_integer_value(value) <= max) {
		*ret = (uint64_t)json_integer_value(value);
		return 0;
	}
	if (json_is_string(value) && json_string_length(value) >= 19 &&
	    str_u64(json_string_value(value), 10, max, ret) == 0)
		return 0;
	return bad(r, err, "a number from 0 to %" PRIu64 " is wanted", max);
}

/* An action, and the errno that comes with it as a number or by name. */
static int
get_action(struct reader *r, const json_t *object, const char *path, const char *key,
    const char *ret_key, const char *name_key, uint32_t *ret, struct err *err)
{
	const json_t *number = member(object, ret_key), *name = member(object, name_key);
	const struct named *action, *named;
	uint64_t value = EPERM;
	const char *s;

	at(r, "%s%s", path, key);
	if (member(object, key) == NULL)
		return bad(r, err, "it is missing");
	if (get_string(r, member(object, key), &s, err) < 0)
		return -1;
	if (strcmp(s, "SCMP_ACT_NOTIFY") == 0)
		return bad(r, err, "SCMP_ACT_NOTIFY is not supported (it needs a listener)");
	action = lookup(actions, ARRAY_SIZE(actions), s);
	if (action == NULL)
		return bad(r, err, "unknown action '%.60s'", s);
	if (name != NULL) {
		at(r, "%s%s", path, name_key);
		if (get_string(r, name, &s, err) < 0)
			return -1;
		named = lookup(errnos, ARRAY_SIZE(errnos), s);
		if (named == NULL && *s != '\0' && number == NULL)
			return bad(r, err, "unknown errno '%.60s'", s);
		if (named != NULL)
			value = named->value;
	}
	if (number != NULL) { /* the specification's key wins over the other */
		at(r, "%s%s", path, ret_key);
		if (get_u64(r, number, 4095, &value, err) < 0)
			return -1;
		if (action->value != SCMP_ACT_ERRNO(0) && action->value != SCMP_ACT_TRACE(0))
			return bad(r, err, "%s takes no errno", action->name);
	}
	*ret = action->value;
	if (action->value == SCMP_ACT_ERRNO(0))
		*ret = SCMP_ACT_ERRNO((uint32_t)value);
	else if (action->value == SCMP_ACT_TRACE(0))
		*ret = SCMP_ACT_TRACE((uint32_t)value);
	return 0;
}

static int
get_arch(struct reader *r, const json_t *value, uint32_t *ret, struct err *err)
{
	const char *s;

	if (get_string(r, value, &s, err) < 0)
		return -1;
	*ret = 0;
	for (size_t i = 0; i < ARRAY_SIZE(archs); i++)
		if (strcmp(archs[i].name, s) == 0) {
			*ret = archs[i].token;
			return 0;
		}
	for (size_t i = 0; i < ARRAY_SIZE(foreign_archs); i++)
		if (strcmp(foreign_archs[i], s) == 0)
			return 0;
	return bad(r, err, "unknown architecture '%.60s'", s);
}

/* ---- architectures and flags --------------------------------------------------------------- */

static int
read_arch_list(struct reader *r, const json_t *list, const char *path, struct err *err)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		uint32_t token;

		at(r, "%s[%zu]", path, i);
		if (get_arch(r, json_array_get(list, i), &token, err) < 0)
			return -1;
		if (token != 0 && filter_add_arch(r->f, token, err) < 0)
			return err_wrap(err, "seccomp profile %s: %s", r->file, r->at);
	}
	return 0;
}

/* Of an archMap only the entry of the machine's own architecture counts. */
static int
read_arch_map(struct reader *r, const json_t *map, struct err *err)
{
	for (size_t i = 0; i < json_array_size(map); i++) {
		const json_t *entry = json_array_get(map, i);
		char path[64];
		uint32_t token;
		json_t *subs;

		at(r, "archMap[%zu]", i);
		if (!json_is_object(entry))
			return bad(r, err, "an object is wanted");
		at(r, "archMap[%zu].architecture", i);
		if (get_arch(r, json_object_get(entry, "architecture"), &token, err) < 0)
			return -1;
		snprintf(path, sizeof(path), "archMap[%zu].", i);
		if (get_array(r, entry, path, "subArchitectures", &subs, err) < 0)
			return -1;
		snprintf(path, sizeof(path), "archMap[%zu].subArchitectures", i);
		if (token == seccomp_arch_native() && read_arch_list(r, subs, path, err) < 0)
			return -1;
	}
	return 0;
}

static int
read_flags(struct reader *r, const json_t *list, struct err *err)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const struct named *flag;
		const char *s;

		at(r, "flags[%zu]", i);
		if (get_string(r, json_array_get(list, i), &s, err) < 0)
			return -1;
		flag = lookup(flags, ARRAY_SIZE(flags), s);
		if (flag == NULL)
			return bad(r, err, "unknown flag '%.60s'", s);
		r->f->flags |= flag->value;
	}
	return 0;
}

/* ---- conditions of a rule ------------------------------------------------------------------ */

/* "4.8" against the running kernel. */
static int
kernel_is_at_least(struct reader *r, const json_t *value, bool *ret, struct err *err)
{
	unsigned want_major, want_minor, major = 0, minor = 0;
	struct utsname uts;
	const char *s;
	char rest;

	if (get_string(r, value, &s, err) < 0)
		return -1;
	if (sscanf(s, "%4u.%4u%c", &want_major, &want_minor, &rest) != 2 || *s < '0' || *s > '9')
		return bad(r, err, "'%.60s' is not like 4.8", s);
	if (uname(&uts) < 0 || sscanf(uts.release, "%u.%u", &major, &minor) != 2)
		return bad(r, err, "the kernel's release is unknown");
	*ret = major > want_major || (major == want_major && minor >= want_minor);
	return 0;
}

/* How many of the list hold: capabilities we have, or names of this machine's architecture. */
static int
count_held(struct reader *r, const json_t *list, const char *path, bool is_caps, size_t *ret,
    struct err *err)
{
	size_t held = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s;

		at(r, "%s[%zu]", path, i);
		if (get_string(r, json_array_get(list, i), &s, err) < 0)
			return -1;
		if (is_caps) {
			int number = caps_number(s);

			if (number >= 0 && r->caps & UINT64_C(1) << number)
				held++;
			continue;
		}
		for (size_t k = 0; k < ARRAY_SIZE(archs); k++)
			if (archs[k].token == seccomp_arch_native() &&
			    strcmp(archs[k].short_name, s) == 0)
				held++;
	}
	*ret = held;
	return 0;
}

/* "includes": every capability, one of the architectures, the kernel; "excludes": any of them. */
static int
read_filter(struct reader *r, const json_t *rule, const char *path, bool includes, bool *applies,
    struct err *err)
{
	const char *key = includes ? "includes" : "excludes";
	const json_t *filter = member(rule, key);
	json_t *caps, *arches;
	size_t n;
	bool newer = false;
	char sub[80], list[96];

	if (filter == NULL)
		return 0;
	at(r, "%s%s", path, key);
	if (!json_is_object(filter))
		return bad(r, err, "an object is wanted");
	snprintf(sub, sizeof(sub), "%s%s.", path, key);
	if (get_array(r, filter, sub, "caps", &caps, err) < 0 ||
	    get_array(r, filter, sub, "arches", &arches, err) < 0)
		return -1;
	snprintf(list, sizeof(list), "%scaps", sub);
	if (count_held(r, caps, list, true, &n, err) < 0)
		return -1;
	if (includes ? n < json_array_size(caps) : n > 0)
		*applies = false;
	snprintf(list, sizeof(list), "%sarches", sub);
	if (count_held(r, arches, list, false, &n, err) < 0)
		return -1;
	if (includes ? json_array_size(arches) > 0 && n == 0 : n > 0)
		*applies = false;
	if (member(filter, "minKernel") == NULL ||
	    (json_is_string(member(filter, "minKernel")) &&
	        json_string_length(member(filter, "minKernel")) == 0))
		return 0;
	at(r, "%sminKernel", sub);
	if (kernel_is_at_least(r, member(filter, "minKernel"), &newer, err) < 0)
		return -1;
	if (newer != includes)
		*applies = false;
	return 0;
}

/* ---- rules --------------------------------------------------------------------------------- */

static int
read_arg(struct reader *r, const json_t *arg, const char *path, struct scmp_arg_cmp *ret,
    struct err *err)
{
	uint64_t index, value = 0, second = 0;
	const struct named *op;
	const char *s;

	at(r, "%s", path);
	if (!json_is_object(arg))
		return bad(r, err, "an object is wanted");
	at(r, "%s.index", path);
	if (get_u64(r, json_object_get(arg, "index"), 5, &index, err) < 0)
		return -1;
	at(r, "%s.value", path);
	if (member(arg, "value") != NULL &&
	    get_u64(r, member(arg, "value"), UINT64_MAX, &value, err) < 0)
		return -1;
	at(r, "%s.valueTwo", path);
	if (member(arg, "valueTwo") != NULL &&
	    get_u64(r, member(arg, "valueTwo"), UINT64_MAX, &second, err) < 0)
		return -1;
	at(r, "%s.op", path);
	if (get_string(r, json_object_get(arg, "op"), &s, err) < 0)
		return -1;
	op = lookup(operators, ARRAY_SIZE(operators), s);
	if (op == NULL)
		return bad(r, err, "unknown operator '%.60s'", s);
	/* for SCMP_CMP_MASKED_EQ the mask, then what is wanted under it; the second is no other's
	 */
	*ret = (struct scmp_arg_cmp){.arg = (unsigned)index, .op = op->value, .datum_a = value};
	if (op->value == SCMP_CMP_MASKED_EQ)
		ret->datum_b = second;
	return 0;
}

static int
read_args(struct reader *r, const json_t *list, const char *path, struct scmp_arg_cmp *ret,
    unsigned *ret_n, bool *ret_alternatives, struct err *err)
{
	unsigned seen = 0;

	*ret_n = 0;
	*ret_alternatives = false;
	for (size_t i = 0; i < json_array_size(list); i++) {
		char sub[128];

		snprintf(sub, sizeof(sub), "%sargs[%zu]", path, i);
		if (i == FILTER_MAX_ARGS) {
			at(r, "%s", sub);
			return bad(r, err, "there are no more than %d", FILTER_MAX_ARGS);
		}
		if (read_arg(r, json_array_get(list, i), sub, &ret[i], err) < 0)
			return -1;
		*ret_alternatives |= (seen & 1u << ret[i].arg) != 0;
		seen |= 1u << ret[i].arg;
		++*ret_n;
	}
	return 0;
}

/* Conditions are joined by "and"; but when one argument is named twice they are alternatives, as
 * libseccomp cannot join them, and as Docker has always read it. */
static int
add_rule(struct reader *r, const char *name, uint32_t action, const struct scmp_arg_cmp *args,
    unsigned n_args, bool alternatives, struct err *err)
{
	for (unsigned i = 0; alternatives && i < n_args; i++)
		if (filter_add_rule(r->f, name, action, &args[i], 1, err) < 0)
			return err_wrap(err, "seccomp profile %s: %s", r->file, r->at);
	if (!alternatives && filter_add_rule(r->f, name, action, args, n_args, err) < 0)
		return err_wrap(err, "seccomp profile %s: %s", r->file, r->at);
	return 0;
}

static int
read_rule(struct reader *r, const json_t *rule, size_t index, struct err *err)
{
	struct scmp_arg_cmp args[FILTER_MAX_ARGS];
	bool applies = true, alternatives;
	json_t *names, *arg_list;
	const json_t *single;
	unsigned n_args;
	uint32_t action;
	const char *s;
	char path[48];

	snprintf(path, sizeof(path), "syscalls[%zu].", index);
	at(r, "syscalls[%zu]", index);
	if (!json_is_object(rule))
		return bad(r, err, "an object is wanted");
	if (get_action(r, rule, path, "action", "errnoRet", "errno", &action, err) < 0 ||
	    get_array(r, rule, path, "args", &arg_list, err) < 0 ||
	    read_args(r, arg_list, path, args, &n_args, &alternatives, err) < 0 ||
	    read_filter(r, rule, path, true, &applies, err) < 0 ||
	    read_filter(r, rule, path, false, &applies, err) < 0 ||
	    get_array(r, rule, path, "names", &names, err) < 0)
		return -1;
	single = member(rule, "name");
	at(r, "%sname", path);
	if (single != NULL && json_array_size(names) > 0)
		return bad(r, err, "both name and names are given");
	if (single == NULL && json_array_size(names) == 0)
		return bad(r, err, "neither name nor names is given");
	for (size_t i = 0; i < (single != NULL ? 1 : json_array_size(names)); i++) {
		if (single == NULL)
			at(r, "%snames[%zu]", path, i);
		if (get_string(r, single != NULL ? single : json_array_get(names, i), &s, err) < 0)
			return -1;
		if (*s == '\0')
			return bad(r, err, "the name is empty");
		if (!applies)
			filter_mention(r->f, s);
		else if (add_rule(r, s, action, args, n_args, alternatives, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- the document -------------------------------------------------------------------------- */

/* jansson's integers are signed; JSON's are not: a mask of 18446744073709551615 becomes a string,
 * which get_u64() takes. Only digits outside of strings are touched, and no line moves. */
static void
quote_big_numbers(const char *json, size_t len, struct buf *out)
{
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		size_t n = 0;

		if (in_string && json[i] == '\\' && i + 1 < len) {
			buf_add(out, json + i++, 2);
			continue;
		}
		if (json[i] == '"')
			in_string = !in_string;
		while (!in_string && i + n < len && json[i + n] >= '0' && json[i + n] <= '9')
			n++;
		/* whole numbers only: no sign before, no fraction or exponent after */
		if (n == 0) {
			buf_addch(out, json[i]);
		} else if (n < 19 || (i > 0 && strchr("-+.eE", json[i - 1]) != NULL) ||
		           (i + n < len && strchr(".eE", json[i + n]) != NULL)) {
			buf_add(out, json + i, n);
			i += n - 1;
		} else {
			buf_addf(out, "\"%.*s\"", (int)MIN(n, 4096), json + i);
			i += n - 1;
		}
	}
}

static int
read_document(struct reader *r, const json_t *root, struct err *err)
{
	json_t *architectures, *map, *flag_list, *syscalls;
	uint32_t action;

	at(r, "the document");
	if (!json_is_object(root))
		return bad(r, err, "an object is wanted");
	if (get_action(
	        r, root, "", "defaultAction", "defaultErrnoRet", "defaultErrno", &action, err) < 0)
		return -1;
	at(r, "listenerPath");
	if (member(root, "listenerPath") != NULL &&
	    !(json_is_string(member(root, "listenerPath")) &&
	        json_string_length(member(root, "listenerPath")) == 0))
		return bad(r, err, "a listener is not supported");
	if (get_array(r, root, "", "architectures", &architectures, err) < 0 ||
	    get_array(r, root, "", "archMap", &map, err) < 0 ||
	    get_array(r, root, "", "flags", &flag_list, err) < 0 ||
	    get_array(r, root, "", "syscalls", &syscalls, err) < 0)
		return -1;
	at(r, "archMap");
	if (json_array_size(architectures) > 0 && json_array_size(map) > 0)
		return bad(r, err, "both architectures and archMap are given");
	if (filter_init(r->f, action, err) < 0 ||
	    read_arch_list(r, architectures, "architectures", err) < 0 ||
	    read_arch_map(r, map, err) < 0 || read_flags(r, flag_list, err) < 0)
		return -1;
	for (size_t i = 0; i < json_array_size(syscalls); i++)
		if (read_rule(r, json_array_get(syscalls, i), i, err) < 0)
			return -1;
	filter_mention_all(r->f);
	return 0;
}

int
filter_of_json(struct filter *f, const char *name, const char *json, size_t len, uint64_t caps,
    struct err *err)
{
	struct reader r = {.f = f, .file = name, .caps = caps};
	cleanup_buf struct buf text = BUF_INIT;
	json_error_t where;
	json_t *root;
	int ret;

	quote_big_numbers(json, len, &text);
	root = json_loadb(text.len > 0 ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &where);
	if (root == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "seccomp profile %s: line %d: %s", name,
		    where.line, where.text);
	ret = read_document(&r, root, err);
	json_decref(root);
	return ret;
}
