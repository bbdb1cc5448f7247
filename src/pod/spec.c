/* SPDX-License-Identifier: Apache-2.0
 *
 * Specs: see spec.h. Here are the plans as a whole, their namespaces, and what is asked of a pod;
 * mounts, devices and the process have files of their own.
 */
#include "pod/spec.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>

#include "base/macros.h"
#include "base/str.h"
#include "pod/spec_impl.h"

enum { HOLDER_OOM_SCORE_ADJ = -998, HOSTNAME_MAX = 64 };

/* ---- what a config says -------------------------------------------------------------------- */

const Runtime__V1__LinuxContainerSecurityContext *
spec_security(const Runtime__V1__ContainerConfig *config)
{
	static const Runtime__V1__LinuxContainerSecurityContext none =
	    RUNTIME__V1__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;

	if (config->linux == NULL || config->linux->security_context == NULL)
		return &none;
	return config->linux->security_context;
}

static const Runtime__V1__NamespaceOption *
pod_namespaces(const Runtime__V1__PodSandboxConfig *pod)
{
	static const Runtime__V1__NamespaceOption none = RUNTIME__V1__NAMESPACE_OPTION__INIT;

	if (pod->linux == NULL || pod->linux->security_context == NULL ||
	    pod->linux->security_context->namespace_options == NULL)
		return &none;
	return pod->linux->security_context->namespace_options;
}

const Runtime__V1__NamespaceOption *
spec_namespaces(
    const Runtime__V1__ContainerConfig *config, const Runtime__V1__PodSandboxConfig *pod)
{
	const Runtime__V1__NamespaceOption *own = spec_security(config)->namespace_options;

	return own != NULL ? own : pod_namespaces(pod);
}

bool
spec_privileged(const Runtime__V1__ContainerConfig *config)
{
	return spec_security(config)->privileged;
}

bool
spec_has_userns(const Runtime__V1__PodSandboxConfig *pod, const Runtime__V1__UserNamespace **ret)
{
	const Runtime__V1__UserNamespace *u = pod_namespaces(pod)->userns_options;

	if (u == NULL || u->mode != RUNTIME__V1__NAMESPACE_MODE__POD)
		return false;
	if (ret != NULL)
		*ret = u;
	return true;
}

bool
spec_id_mapped(Runtime__V1__IDMapping *const *maps, size_t n, uint32_t id)
{
	for (size_t i = 0; i < n; i++)
		if (id >= maps[i]->container_id && id - maps[i]->container_id < maps[i]->length)
			return true;
	return false;
}

/* ---- pieces of plans ----------------------------------------------------------------------- */

uint32_t
spec_fd(struct spec_builder *b, int fd)
{
	if (fd < 0)
		return 0;
	for (size_t i = 0; i < b->out->n_fds; i++)
		if (b->out->fds[i] == fd)
			return (uint32_t)i + 1;
	SPEC_PUSH(b->a, b->out->fds, b->out->n_fds, fd);
	return (uint32_t)b->out->n_fds;
}

void
spec_join(struct spec_builder *b, uint32_t type, int fd)
{
	Coracle__Launch__JoinNamespace *j = arena_new(b->a, Coracle__Launch__JoinNamespace);

	coracle__launch__join_namespace__init(j);
	j->type = type;
	j->ns_fd = spec_fd(b, fd);
	SPEC_PUSH(b->a, b->plan->join, b->plan->n_join, j);
}

void
spec_cgroup(struct spec_builder *b, const struct cgroup_fds *cgroup)
{
	if (cgroup == NULL)
		return;
	b->plan->cgroup_fd = spec_fd(b, cgroup->dir);
	for (size_t i = 0; i < cgroup->n_procs; i++)
		SPEC_PUSH(b->a, b->plan->cgroup_procs_fd, b->plan->n_cgroup_procs_fd,
		    spec_fd(b, cgroup->procs[i]));
}

char *
spec_clean_path(struct arena *a, const char *path)
{
	size_t n = strlen(path), len = 0;
	char *out;

	if (path[0] != '/' || n >= PATH_MAX)
		return NULL;
	out = arena_alloc(a, n + 2);
	for (const char *p = path; *p != '\0';) {
		size_t part = strcspn(p, "/");

		if (part == 2 && p[0] == '.' && p[1] == '.') {
			while (len > 0 && out[--len] != '/')
				;
		} else if (part > 0 && !(part == 1 && p[0] == '.')) {
			out[len++] = '/';
			memcpy(out + len, p, part);
			len += part;
		}
		p += part;
		while (*p == '/')
			p++;
	}
	if (len == 0)
		out[len++] = '/';
	out[len] = '\0';
	return out;
}

static Coracle__Launch__IdMap **
copy_map(struct arena *a, Runtime__V1__IDMapping *const *maps, size_t n)
{
	Coracle__Launch__IdMap **out = arena_array(a, Coracle__Launch__IdMap *, n);

	for (size_t i = 0; i < n; i++) {
		out[i] = arena_new(a, Coracle__Launch__IdMap);
		coracle__launch__id_map__init(out[i]);
		out[i]->container_id = maps[i]->container_id;
		out[i]->host_id = maps[i]->host_id;
		out[i]->length = maps[i]->length;
	}
	return out;
}

static void
set_maps(struct arena *a, Coracle__Launch__Plan *plan, const Runtime__V1__UserNamespace *u)
{
	plan->uid_map = copy_map(a, u->uids, u->n_uids);
	plan->n_uid_map = u->n_uids;
	plan->gid_map = copy_map(a, u->gids, u->n_gids);
	plan->n_gid_map = u->n_gids;
}

static Coracle__Launch__Plan *
new_plan(struct arena *a, Coracle__Launch__Plan__Kind kind)
{
	Coracle__Launch__Plan *plan = arena_new(a, Coracle__Launch__Plan);

	coracle__launch__plan__init(plan);
	plan->kind = kind;
	return plan;
}

static void
builder_init(struct spec_builder *b, const struct spec_input *in, struct arena *a, struct spec *out,
    Coracle__Launch__Plan__Kind kind)
{
	*out = (struct spec){.plan = new_plan(a, kind)};
	*b = (struct spec_builder){.in = in,
	    .a = a,
	    .plan = out->plan,
	    .out = out,
	    .privileged = spec_privileged(in->config)};
	b->userns = spec_has_userns(in->pod, &b->maps);
	b->network = pod_namespaces(in->pod)->network;
	b->ipc = pod_namespaces(in->pod)->ipc;
	b->pid = spec_namespaces(in->config, in->pod)->pid;
}

/* ---- checks -------------------------------------------------------------------------------- */

static int
check_map(const char *what, Runtime__V1__IDMapping *const *maps, size_t n, struct err *err)
{
	if (n != 1)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "userns_options.%s: exactly one mapping is supported, not %zu", what, n);
	if (maps[0]->length == 0 ||
	    (uint64_t)maps[0]->container_id + maps[0]->length > UINT32_MAX ||
	    (uint64_t)maps[0]->host_id + maps[0]->length > UINT32_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "userns_options.%s: length %u", what,
		    maps[0]->length);
	if (maps[0]->container_id != 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "userns_options.%s: id 0 of the container is not mapped", what);
	return 0;
}

static int
check_userns(const Runtime__V1__NamespaceOption *ns, struct err *err)
{
	const Runtime__V1__UserNamespace *u = ns->userns_options;

	if (u == NULL || u->mode == RUNTIME__V1__NAMESPACE_MODE__NODE)
		return 0;
	if (u->mode != RUNTIME__V1__NAMESPACE_MODE__POD)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "userns_options.mode: %d is not supported, only POD and NODE are",
		    (int)u->mode);
	if (check_map("uids", u->uids, u->n_uids, err) < 0 ||
	    check_map("gids", u->gids, u->n_gids, err) < 0)
		return -1;
	return 0;
}

static bool
one_of(Runtime__V1__NamespaceMode mode, unsigned modes)
{
	return (unsigned)mode < 4 && (modes & 1U << mode) != 0;
}

#define POD (1U << RUNTIME__V1__NAMESPACE_MODE__POD)
#define CONTAINER (1U << RUNTIME__V1__NAMESPACE_MODE__CONTAINER)
#define NODE (1U << RUNTIME__V1__NAMESPACE_MODE__NODE)
#define TARGET (1U << RUNTIME__V1__NAMESPACE_MODE__TARGET)

static int
check_modes(const Runtime__V1__NamespaceOption *ns, bool of_pod, struct err *err)
{
	if (!one_of(ns->network, POD | NODE))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "namespace_options.network: mode %d is not supported", (int)ns->network);
	if (!one_of(ns->ipc, POD | CONTAINER | NODE))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "namespace_options.ipc: mode %d is not supported", (int)ns->ipc);
	if (!one_of(ns->pid, POD | CONTAINER | NODE | (of_pod ? 0 : TARGET)))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "namespace_options.pid: mode %d is not supported", (int)ns->pid);
	if (ns->pid == RUNTIME__V1__NAMESPACE_MODE__TARGET && str_empty(ns->target_id))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "namespace_options.target_id: empty, with pid mode TARGET");
	return check_userns(ns, err);
}

int
spec_check_pod(const Runtime__V1__PodSandboxConfig *pod, struct err *err)
{
	const char *host = STR_OR_EMPTY(pod->hostname);

	if (strlen(host) > HOSTNAME_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "hostname: longer than %d", HOSTNAME_MAX);
	for (const char *p = host; *p != '\0'; p++)
		if (*p <= ' ' || *p == 0x7f || *p == '/')
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "hostname: a character that does not belong in one");
	if (check_modes(pod_namespaces(pod), true, err) < 0)
		return -1;
	return spec_check_sysctls(pod, err);
}

static int
same_maps(const char *what, Runtime__V1__IDMapping *const *x, size_t n_x,
    Runtime__V1__IDMapping *const *y, size_t n_y, struct err *err)
{
	bool same = n_x == n_y;

	for (size_t i = 0; same && i < n_x; i++)
		same = x[i]->container_id == y[i]->container_id && x[i]->host_id == y[i]->host_id &&
		       x[i]->length == y[i]->length;
	if (!same)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "userns_options.%s: not those of the pod", what);
	return 0;
}

static int
check_container_namespaces(const struct spec_input *in, struct err *err)
{
	const Runtime__V1__NamespaceOption *ns = spec_namespaces(in->config, in->pod);
	const Runtime__V1__NamespaceOption *of_pod = pod_namespaces(in->pod);
	const Runtime__V1__UserNamespace *own = ns->userns_options, *pods = NULL;

	if (check_modes(ns, false, err) < 0)
		return -1;
	if (own == NULL || ns == of_pod)
		return 0;
	if (spec_has_userns(in->pod, &pods) != (own->mode == RUNTIME__V1__NAMESPACE_MODE__POD))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "userns_options.mode: not that of the pod");
	if (pods != NULL &&
	    (same_maps("uids", own->uids, own->n_uids, pods->uids, pods->n_uids, err) < 0 ||
	        same_maps("gids", own->gids, own->n_gids, pods->gids, pods->n_gids, err) < 0))
		return -1;
	return 0;
}

static int
check_privileged(const struct spec_input *in, struct err *err)
{
	const Runtime__V1__LinuxPodSandboxConfig *l = in->pod->linux;

	if (!spec_privileged(in->config))
		return 0;
	if (l == NULL || l->security_context == NULL || !l->security_context->privileged)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "security_context.privileged: the pod is not privileged");
	return 0;
}

/* ---- a container --------------------------------------------------------------------------- */

static int
join_pods(struct spec_builder *b, uint32_t type, int fd, const char *name, struct err *err)
{
	if (fd < 0)
		return err_set(err, ERR_INTERNAL, "the pod has no %s namespace to join", name);
	spec_join(b, type, fd);
	return 0;
}

static int
add_namespaces(struct spec_builder *b, struct err *err)
{
	const struct spec_input *in = b->in;
	uint64_t flags = CLONE_NEWNS;

	if (b->network == RUNTIME__V1__NAMESPACE_MODE__POD &&
	    (join_pods(b, CLONE_NEWNET, in->net_ns, "network", err) < 0 ||
	        join_pods(b, CLONE_NEWUTS, in->uts_ns, "UTS", err) < 0))
		return -1;
	if (b->ipc == RUNTIME__V1__NAMESPACE_MODE__POD &&
	    join_pods(b, CLONE_NEWIPC, in->ipc_ns, "IPC", err) < 0)
		return -1;
	if (b->ipc == RUNTIME__V1__NAMESPACE_MODE__CONTAINER)
		flags |= CLONE_NEWIPC;
	if ((b->pid == RUNTIME__V1__NAMESPACE_MODE__POD ||
	        b->pid == RUNTIME__V1__NAMESPACE_MODE__TARGET) &&
	    join_pods(b, CLONE_NEWPID, in->pid_ns, "PID", err) < 0)
		return -1;
	if (b->pid == RUNTIME__V1__NAMESPACE_MODE__CONTAINER)
		flags |= CLONE_NEWPID;
	/* with v1 hierarchies the mounts show the container's own part; what /proc/self/cgroup says
	 * has been the host's path ever since, and programs rely on it */
	if (!b->privileged && in->n_cgroup_dirs == 0)
		flags |= CLONE_NEWCGROUP;
	if (b->userns) {
		if (join_pods(b, CLONE_NEWUSER, in->user_ns, "user", err) < 0)
			return -1;
		set_maps(b->a, b->plan, b->maps);
	}
	b->plan->clone_flags = flags;
	return 0;
}

static int
add_path_list(struct spec_builder *b, const char *field, char *const *from, size_t n_from,
    char ***ret, size_t *ret_n, struct err *err)
{
	for (size_t i = 0; i < n_from; i++) {
		char *path = spec_clean_path(b->a, from[i]);

		if (path == NULL || strcmp(path, "/") == 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "security_context.%s[%zu]: \"%.200s\" is not an absolute path", field,
			    i, from[i]);
		SPEC_PUSH(b->a, *ret, *ret_n, path);
	}
	return 0;
}

static int
add_root(struct spec_builder *b, struct err *err)
{
	const Runtime__V1__LinuxContainerSecurityContext *sc = spec_security(b->in->config);
	Coracle__Launch__Plan *plan = b->plan;

	plan->root_fd = spec_fd(b, b->in->root_fd);
	plan->root_dir = arena_strdup(b->a, b->in->root_dir);
	plan->root_readonly = sc->readonly_rootfs;
	if (b->privileged)
		return 0;
	if (add_path_list(b, "masked_paths", sc->masked_paths, sc->n_masked_paths,
	        &plan->masked_paths, &plan->n_masked_paths, err) < 0 ||
	    add_path_list(b, "readonly_paths", sc->readonly_paths, sc->n_readonly_paths,
	        &plan->readonly_paths, &plan->n_readonly_paths, err) < 0)
		return -1;
	return 0;
}

static int
build_container(struct spec_builder *b, struct err *err)
{
	const struct spec_input *in = b->in;

	if (check_container_namespaces(in, err) < 0 || check_privileged(in, err) < 0 ||
	    add_namespaces(b, err) < 0 || add_root(b, err) < 0)
		return -1;
	spec_cgroup(b, in->cgroup);
	if (spec_add_mounts(b, err) < 0 || spec_add_devices(b, err) < 0 ||
	    spec_add_process(b, in->config->tty, err) < 0)
		return -1;
	if (!b->check_only && spec_add_argv(b, err) < 0)
		return -1;
	b->plan->tty = in->config->tty;
	b->plan->stdin = in->config->stdin;
	b->plan->stdin_once = in->config->stdin_once;
	return 0;
}

int
spec_container(const struct spec_input *in, struct arena *a, struct spec *ret, struct err *err)
{
	struct spec_builder b;
	struct spec out;

	builder_init(&b, in, a, &out, CORACLE__LAUNCH__PLAN__KIND__CONTAINER);
	if (build_container(&b, err) < 0)
		return -1;
	*ret = out;
	return 0;
}

int
spec_check_container(const Runtime__V1__ContainerConfig *config,
    const Runtime__V1__PodSandboxConfig *pod, struct err *err)
{
	static const struct user root;
	static const struct spec_defaults defaults = {.caps_available = UINT64_MAX};
	struct spec_input in = {.config = config,
	    .pod = pod,
	    .user = &root,
	    .defaults = &defaults,
	    .hostname = "",
	    .root_dir = "/"};
	struct spec_builder b;
	struct arena a;
	struct spec out;
	int ret;

	arena_init(&a);
	builder_init(&b, &in, &a, &out, CORACLE__LAUNCH__PLAN__KIND__CONTAINER);
	b.check_only = true;
	ret = build_container(&b, err);
	arena_release(&a);
	return ret;
}

/* ---- one more process ---------------------------------------------------------------------- */

int
spec_exec(const struct spec_exec_input *ex, struct arena *a, struct spec *ret, struct err *err)
{
	uint32_t others =
	    CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
	struct spec_builder b;
	struct spec out;

	builder_init(&b, ex->in, a, &out, CORACLE__LAUNCH__PLAN__KIND__EXEC);
	if (ex->n_cmd == 0 || str_empty(ex->cmd[0]))
		return err_set(err, ERR_INVALID_ARGUMENT, "cmd: no command specified");
	if (b.userns) {
		others |= CLONE_NEWUSER;
		set_maps(a, b.plan, b.maps);
	}
	/* entering a namespace one is in already costs nothing, so there is no need to know which
	 * the container shares with the host (except for the user namespace, which refuses) */
	spec_join(&b, CLONE_NEWPID, ex->pidfd);
	spec_join(&b, others, ex->pidfd);
	spec_cgroup(&b, ex->in->cgroup);
	if (spec_add_process(&b, ex->tty, err) < 0)
		return -1;
	for (size_t i = 0; i < ex->n_cmd; i++)
		SPEC_PUSH(a, b.plan->argv, b.plan->n_argv, arena_strdup(a, ex->cmd[i]));
	b.plan->tty = ex->tty;
	if (!ex->tty) {
		b.plan->stdin_fd = spec_fd(&b, ex->in_fd);
		b.plan->stdout_fd = spec_fd(&b, ex->out_fd);
		b.plan->stderr_fd = spec_fd(&b, ex->err_fd);
	}
	*ret = out;
	return 0;
}

/* ---- pods ---------------------------------------------------------------------------------- */

static void
add_pin(struct arena *a, Coracle__Launch__Plan *plan, uint32_t type, const char *path)
{
	Coracle__Launch__Pin *p = arena_new(a, Coracle__Launch__Pin);

	coracle__launch__pin__init(p);
	p->type = type;
	p->path = arena_strdup(a, path);
	plan->clone_flags |= type;
	SPEC_PUSH(a, plan->pins, plan->n_pins, p);
}

int
spec_pod_namespaces(
    const struct spec_pod_input *in, struct arena *a, struct spec *ret, struct err *err)
{
	const Runtime__V1__NamespaceOption *ns = pod_namespaces(in->pod);
	Coracle__Launch__Plan *plan = new_plan(a, CORACLE__LAUNCH__PLAN__KIND__NAMESPACES);
	const Runtime__V1__UserNamespace *maps;

	if (spec_check_pod(in->pod, err) < 0)
		return -1;
	if (ns->network == RUNTIME__V1__NAMESPACE_MODE__POD) {
		add_pin(a, plan, CLONE_NEWNET, in->net_path);
		add_pin(a, plan, CLONE_NEWUTS, in->uts_path);
		plan->hostname = arena_strdup(a, in->hostname);
		plan->loopback_up = true;
	}
	if (ns->ipc == RUNTIME__V1__NAMESPACE_MODE__POD)
		add_pin(a, plan, CLONE_NEWIPC, in->ipc_path);
	if (spec_has_userns(in->pod, &maps)) {
		add_pin(a, plan, CLONE_NEWUSER, in->user_path);
		set_maps(a, plan, maps);
	}
	if (spec_add_sysctls(a, plan, in->pod, err) < 0)
		return -1;
	*ret = (struct spec){.plan = plan->clone_flags != 0 ? plan : NULL};
	return 0;
}

int
spec_holder(const Runtime__V1__PodSandboxConfig *pod, int user_ns, struct cgroup_fds *cgroup,
    struct arena *a, struct spec *ret, struct err *err)
{
	struct spec out = {.plan = new_plan(a, CORACLE__LAUNCH__PLAN__KIND__HOLDER)};
	struct spec_builder b = {.a = a, .plan = out.plan, .out = &out};

	b.userns = spec_has_userns(pod, &b.maps);
	out.plan->clone_flags = CLONE_NEWPID;
	out.plan->set_oom_score_adj = true;
	out.plan->oom_score_adj = HOLDER_OOM_SCORE_ADJ;
	if (b.userns && join_pods(&b, CLONE_NEWUSER, user_ns, "user", err) < 0)
		return -1;
	spec_cgroup(&b, cgroup);
	*ret = out;
	return 0;
}
