/* SPDX-License-Identifier: Apache-2.0
 *
 * Capabilities: see caps.h.
 */
#include "exec/caps.h"

#include <linux/capability.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>

#include "base/macros.h"

#define BIT(n) (UINT64_C(1) << (n))

/* In the order of their numbers (linux/capability.h). */
static const char *const names[] = {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT",
    "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD",
    "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ",
    "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"};

_Static_assert(ARRAY_SIZE(names) == CAP_CHECKPOINT_RESTORE + 1, "a name for each capability");

const uint64_t caps_default =
    BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FSETID) | BIT(CAP_FOWNER) | BIT(CAP_MKNOD) |
    BIT(CAP_NET_RAW) | BIT(CAP_SETGID) | BIT(CAP_SETUID) | BIT(CAP_SETFCAP) | BIT(CAP_SETPCAP) |
    BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_SYS_CHROOT) | BIT(CAP_KILL) | BIT(CAP_AUDIT_WRITE);

uint64_t
caps_available(void)
{
	static uint64_t mask;
	uint64_t found = 0;

	if (mask != 0)
		return mask;
	/* the first EINVAL is beyond the kernel's last one; one without a name here counts as well
	 */
	for (int n = 0; n < 64; n++) {
		int in = prctl(PR_CAPBSET_READ, n, 0, 0, 0);

		if (in < 0)
			break;
		if (in == 1)
			found |= BIT(n);
	}
	mask = found;
	return mask;
}

int
caps_number(const char *name)
{
	if (strncasecmp(name, "CAP_", 4) == 0)
		name += 4;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcasecmp(names[i] + 4, name) == 0)
			return (int)i;
	return -1;
}

const char *
caps_name(int number)
{
	return number >= 0 && (size_t)number < ARRAY_SIZE(names) ? names[number] : NULL;
}

static bool
is_all(const char *name)
{
	return strcasecmp(name, "ALL") == 0 || strcasecmp(name, "CAP_ALL") == 0;
}

static int
collect(const char *const *list, size_t n, const char *what, uint64_t *ret, bool *ret_all,
    struct err *err)
{
	*ret = 0;
	for (size_t i = 0; i < n; i++) {
		int cap = caps_number(list[i]);

		if (ret_all != NULL && is_all(list[i]))
			*ret_all = true;
		else if (cap >= 0)
			*ret |= BIT(cap);
		else
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "%s: no capability is called \"%.64s\"", what, list[i]);
	}
	return 0;
}

int
caps_of_names(const char *const *list, size_t n, const char *what, uint64_t *ret, struct err *err)
{
	uint64_t mask;

	if (collect(list, n, what, &mask, NULL, err) < 0)
		return -1;
	*ret = mask;
	return 0;
}

int
caps_resolve(const char *const *add, size_t n_add, const char *const *drop, size_t n_drop,
    uint64_t start, uint64_t available, uint64_t *ret, struct err *err)
{
	bool all_added = false, all_dropped = false;
	uint64_t added, dropped, mask = start;

	if (collect(add, n_add, "add_capabilities", &added, &all_added, err) < 0 ||
	    collect(drop, n_drop, "drop_capabilities", &dropped, &all_dropped, err) < 0)
		return -1;
	if (all_added)
		mask = UINT64_MAX;
	if (all_dropped)
		mask = 0;
	*ret = (mask | added) & ~dropped & available;
	return 0;
}
