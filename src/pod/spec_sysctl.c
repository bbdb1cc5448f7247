/* SPDX-License-Identifier: Apache-2.0
 *
 * Sysctls of a pod. Only those that belong to a namespace of the pod: anything else would be the
 * node's (CVE-2022-0811). What the kubelet lets through is not trusted to be that.
 */
#include <stdlib.h>

#include "base/macros.h"
#include "base/str.h"
#include "pod/spec_impl.h"

enum { KEY_MAX = 200, VALUE_MAX = 1024 };

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* Per IPC namespace: ipc/ipc_sysctl.c and ipc/mq_sysctl.c of the kernel. */
static const char *const ipc_keys[] = {"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni",
    "kernel.msg_next_id", "kernel.sem", "kernel.sem_next_id", "kernel.shmall", "kernel.shmmax",
    "kernel.shmmni", "kernel.shm_next_id", "kernel.shm_rmid_forced"};

/* The default of an unprivileged container: to listen on any port and to ping without a capability,
 * as all runtimes set it. */
static const struct {
	const char *key, *value;
	bool needs_all_gids; /* of the mapped ids only, EINVAL otherwise */
} net_defaults[] = {
    {"net.ipv4.ip_unprivileged_port_start", "0",            false},
    {"net.ipv4.ping_group_range",           "0 2147483647", true },
};

/* "net/ipv4/conf/eth0.1/forwarding" names the same file as with the two separators exchanged. */
static void
to_dots(const char *key, char out[static KEY_MAX + 1])
{
	const char *first = strpbrk(key, "./");
	bool slashes = first != NULL && *first == '/';
	size_t i;

	for (i = 0; key[i] != '\0' && i < KEY_MAX; i++) {
		out[i] = key[i];
		if (slashes && (key[i] == '/' || key[i] == '.'))
			out[i] = key[i] == '/' ? '.' : '/';
	}
	out[i] = '\0';
}

static bool
is_ipc(const char *key)
{
	if (str_starts(key, "fs.mqueue."))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(ipc_keys); i++)
		if (strcmp(key, ipc_keys[i]) == 0)
			return true;
	return false;
}

static int
check_sysctl(
    const char *key, const char *value, const Runtime__V1__NamespaceOption *ns, struct err *err)
{
	char dotted[KEY_MAX + 1];

	if (strlen(key) > KEY_MAX || !str_only(key, LETTERS DIGITS "_-./") ||
	    strstr(key, "..") != NULL || strstr(key, "//") != NULL || strstr(key, "./") != NULL ||
	    strstr(key, "/.") != NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "sysctls: \"%.200s\" is no key", key);
	if (strlen(value) > VALUE_MAX ||
	    (*value != '\0' && !str_only(value, LETTERS DIGITS " \t_-.,:/")))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "sysctls: %s: the value has characters that no sysctl needs", key);
	to_dots(key, dotted);
	if (str_starts(dotted, "net.")) {
		if (ns->network == RUNTIME__V1__NAMESPACE_MODE__POD)
			return 0;
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "sysctls: %s would be the node's: the pod has no network of its own", key);
	}
	if (is_ipc(dotted)) {
		if (ns->ipc == RUNTIME__V1__NAMESPACE_MODE__POD)
			return 0;
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "sysctls: %s would be the node's: the pod has no IPC namespace of its own",
		    key);
	}
	return err_set(
	    err, ERR_INVALID_ARGUMENT, "sysctls: %s belongs to no namespace of a pod", key);
}

static const Runtime__V1__NamespaceOption *
options_of(const Runtime__V1__PodSandboxConfig *pod)
{
	static const Runtime__V1__ContainerConfig none = RUNTIME__V1__CONTAINER_CONFIG__INIT;

	return spec_namespaces(&none, pod);
}

int
spec_check_sysctls(const Runtime__V1__PodSandboxConfig *pod, struct err *err)
{
	const Runtime__V1__LinuxPodSandboxConfig *l = pod->linux;

	for (size_t i = 0; l != NULL && i < l->n_sysctls; i++)
		if (check_sysctl(STR_OR_EMPTY(l->sysctls[i]->key),
		        STR_OR_EMPTY(l->sysctls[i]->value), options_of(pod), err) < 0)
			return -1;
	return 0;
}

static bool
asked_for(const Runtime__V1__LinuxPodSandboxConfig *l, const char *key)
{
	char dotted[KEY_MAX + 1];

	for (size_t i = 0; l != NULL && i < l->n_sysctls; i++) {
		to_dots(l->sysctls[i]->key, dotted);
		if (strcmp(dotted, key) == 0)
			return true;
	}
	return false;
}

static void
add_sysctl(struct arena *a, Coracle__Launch__Plan *plan, const char *key, const char *value)
{
	Coracle__Launch__Sysctl *s = arena_new(a, Coracle__Launch__Sysctl);

	coracle__launch__sysctl__init(s);
	s->key = arena_strdup(a, key);
	s->value = arena_strdup(a, value);
	SPEC_PUSH(a, plan->sysctls, plan->n_sysctls, s);
}

int
spec_add_sysctls(struct arena *a, Coracle__Launch__Plan *plan,
    const Runtime__V1__PodSandboxConfig *pod, struct err *err)
{
	const Runtime__V1__LinuxPodSandboxConfig *l = pod->linux;
	bool own_net = options_of(pod)->network == RUNTIME__V1__NAMESPACE_MODE__POD;

	if (spec_check_sysctls(pod, err) < 0)
		return -1;
	for (size_t i = 0; own_net && i < ARRAY_SIZE(net_defaults); i++)
		if (!(net_defaults[i].needs_all_gids && spec_has_userns(pod, NULL)) &&
		    !asked_for(l, net_defaults[i].key))
			add_sysctl(a, plan, net_defaults[i].key, net_defaults[i].value);
	for (size_t i = 0; l != NULL && i < l->n_sysctls; i++)
		add_sysctl(a, plan, l->sysctls[i]->key, l->sysctls[i]->value);
	return 0;
}
