/* SPDX-License-Identifier: Apache-2.0
 *
 * The process of a container: command, environment, directory, user, capabilities, limits, signal.
 */
#include <linux/capability.h>
#include <signal.h>
#include <strings.h>

#include "base/macros.h"
#include "base/str.h"
#include "exec/caps.h"
#include "image/config.h"
#include "pod/spec_impl.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { UMASK = 022, ARGS_MAX = 2 << 20 };

/* ---- environment --------------------------------------------------------------------------- */

static void
set_env(struct spec_builder *b, const char *key, size_t key_len, const void *value, size_t len)
{
	Coracle__Launch__Plan *plan = b->plan;
	ProtobufCBinaryData e = {.len = key_len + 1 + len};

	e.data = arena_alloc(b->a, e.len + 1);
	memcpy(e.data, key, key_len);
	e.data[key_len] = '=';
	if (len > 0)
		memcpy(e.data + key_len + 1, value, len);
	e.data[e.len] = '\0';
	for (size_t i = 0; i < plan->n_env; i++)
		if (plan->env[i].len > key_len &&
		    memcmp(plan->env[i].data, e.data, key_len + 1) == 0) {
			plan->env[i] = e;
			return;
		}
	SPEC_PUSH(b->a, plan->env, plan->n_env, e);
}

static void
set_env_text(struct spec_builder *b, const char *key, const char *value)
{
	set_env(b, key, strlen(key), value, strlen(value));
}

static int
add_env(struct spec_builder *b, bool tty, struct err *err)
{
	const struct spec_input *in = b->in;
	const Runtime__V1__ContainerConfig *config = in->config;

	set_env_text(b, "PATH", DEFAULT_PATH);
	set_env_text(b, "HOSTNAME", in->hostname);
	if (tty)
		set_env_text(b, "TERM", "xterm");
	set_env_text(b, "HOME", str_empty(in->user->home) ? "/" : in->user->home);
	for (size_t i = 0; in->image != NULL && i < in->image->n_env; i++) {
		const char *eq = strchr(in->image->env[i], '=');

		if (eq == NULL || eq == in->image->env[i]) /* Docker ignores it as well */
			continue;
		set_env(
		    b, in->image->env[i], (size_t)(eq - in->image->env[i]), eq + 1, strlen(eq + 1));
	}
	for (size_t i = 0; i < config->n_envs; i++) {
		const Runtime__V1__KeyValue *kv = config->envs[i];

		if (str_empty(kv->key) || strchr(kv->key, '=') != NULL)
			return err_set(err, ERR_INVALID_ARGUMENT, "envs[%zu].key: \"%.64s\"", i,
			    STR_OR_EMPTY(kv->key));
		if (kv->value.len > 0 && memchr(kv->value.data, '\0', kv->value.len) != NULL)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "envs[%zu].value: a zero byte in %.64s", i, kv->key);
		set_env(b, kv->key, strlen(kv->key), kv->value.data, kv->value.len);
	}
	return 0;
}

/* ---- command ------------------------------------------------------------------------------- */

static void
add_args(struct spec_builder *b, char *const *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		SPEC_PUSH(b->a, b->plan->argv, b->plan->n_argv, arena_strdup(b->a, from[i]));
}

/* As Kubernetes has it ("define a command and arguments"): a command of the request drops the
 * image's entrypoint and its arguments both. */
int
spec_add_argv(struct spec_builder *b, struct err *err)
{
	const Runtime__V1__ContainerConfig *config = b->in->config;
	const struct image_config *image = b->in->image;

	if (config->n_command > 0) {
		add_args(b, config->command, config->n_command);
	} else if (image != NULL &&
	           !(image->n_entrypoint == 1 && image->entrypoint[0][0] == '\0')) {
		add_args(b, image->entrypoint, image->n_entrypoint);
	}
	if (config->n_args > 0)
		add_args(b, config->args, config->n_args);
	else if (config->n_command == 0 && image != NULL)
		add_args(b, image->cmd, image->n_cmd);
	if (b->plan->n_argv == 0 || b->plan->argv[0][0] == '\0')
		return err_set(err, ERR_INVALID_ARGUMENT, "no command specified");
	return 0;
}

static int
add_cwd(struct spec_builder *b, struct err *err)
{
	const char *cwd = STR_OR_EMPTY(b->in->config->working_dir);

	if (*cwd == '\0' && b->in->image != NULL && b->in->image->working_dir[0] != '\0') {
		cwd = b->in->image->working_dir;
		if (*cwd != '/') /* of an image that Docker takes, too */
			cwd = arena_printf(b->a, "/%s", cwd);
	}
	if (*cwd == '\0')
		cwd = "/";
	b->plan->cwd = spec_clean_path(b->a, cwd);
	if (b->plan->cwd == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "working_dir: \"%.200s\" is not an absolute path", cwd);
	return 0;
}

/* ---- user and capabilities ----------------------------------------------------------------- */

static int
add_user(struct spec_builder *b, struct err *err)
{
	const struct user *u = b->in->user;
	Coracle__Launch__Plan *plan = b->plan;

	if (b->userns) {
		if (!spec_id_mapped(b->maps->uids, b->maps->n_uids, u->uid))
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "run_as_user: %u is not mapped in the user namespace", u->uid);
		for (size_t i = 0; i <= u->n_groups; i++) {
			uint32_t gid = i == 0 ? u->gid : u->groups[i - 1];

			if (!spec_id_mapped(b->maps->gids, b->maps->n_gids, gid))
				return err_set(err, ERR_INVALID_ARGUMENT,
				    "group %u is not mapped in the user namespace", gid);
		}
	}
	plan->uid = u->uid;
	plan->gid = u->gid;
	plan->n_groups = u->n_groups;
	if (u->n_groups > 0)
		plan->groups = arena_memdup(b->a, u->groups, u->n_groups * sizeof(u->groups[0]));
	return 0;
}

int
spec_capabilities(const Runtime__V1__ContainerConfig *config, const struct spec_defaults *defaults,
    uint64_t *ret, struct err *err)
{
	const Runtime__V1__Capability *c = spec_security(config)->capabilities;
	uint64_t start = defaults->caps_default != 0 ? defaults->caps_default : caps_default;

	if (spec_privileged(config)) {
		*ret = defaults->caps_available;
		return 0;
	}
	if (c == NULL) {
		*ret = start & defaults->caps_available;
		return 0;
	}
	if (caps_resolve((const char *const *)c->add_capabilities, c->n_add_capabilities,
	        (const char *const *)c->drop_capabilities, c->n_drop_capabilities, start,
	        defaults->caps_available, ret, err) < 0)
		return err_wrap(err, "security_context.capabilities");
	return 0;
}

/* The inheritable set is empty (CVE-2022-24769) unless ambient capabilities are asked for, which
 * cannot be without it. */
static int
add_capabilities(struct spec_builder *b, struct err *err)
{
	const Runtime__V1__Capability *c = spec_security(b->in->config)->capabilities;
	Coracle__Launch__Capabilities *out = arena_new(b->a, Coracle__Launch__Capabilities);
	uint64_t mask, ambient = 0;

	coracle__launch__capabilities__init(out);
	if (spec_capabilities(b->in->config, b->in->defaults, &mask, err) < 0)
		return -1;
	if (c != NULL &&
	    caps_of_names((const char *const *)c->add_ambient_capabilities,
	        c->n_add_ambient_capabilities,
	        "security_context.capabilities.add_ambient_capabilities", &ambient, err) < 0)
		return -1;
	if (ambient & ~mask & b->in->defaults->caps_available)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "security_context.capabilities.add_ambient_capabilities: one that the "
		    "container "
		    "does not have");
	out->bounding = out->permitted = out->effective = mask;
	out->inheritable = out->ambient = ambient & mask;
	b->plan->caps = out;
	return 0;
}

int
spec_add_process(struct spec_builder *b, bool tty, struct err *err)
{
	const struct spec_input *in = b->in;
	const Runtime__V1__LinuxContainerConfig *l = in->config->linux;
	Coracle__Launch__Plan *plan = b->plan;
	int64_t oom = l != NULL && l->resources != NULL ? l->resources->oom_score_adj : 0;

	if (oom < -1000 || oom > 1000)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "resources.oom_score_adj: %lld", (long long)oom);
	/* the keeper's own is not for its children */
	plan->set_oom_score_adj = true;
	plan->oom_score_adj = (int32_t)oom;
	plan->umask = UMASK;
	plan->no_new_privs = spec_security(in->config)->no_new_privs;
	plan->apparmor_exec = arena_strdup(b->a, STR_OR_EMPTY(in->apparmor));
	plan->selinux_exec = arena_strdup(b->a, STR_OR_EMPTY(in->selinux));
	if (in->seccomp != NULL && in->seccomp->bpf != NULL) {
		plan->seccomp.len = in->seccomp->len;
		plan->seccomp.data = arena_memdup(b->a, in->seccomp->bpf, in->seccomp->len);
		plan->seccomp_flags = in->seccomp->flags;
	}
	for (size_t i = 0; i < in->defaults->n_rlimits; i++) {
		Coracle__Launch__Rlimit *r = arena_new(b->a, Coracle__Launch__Rlimit);

		*r = in->defaults->rlimits[i];
		SPEC_PUSH(b->a, plan->rlimits, plan->n_rlimits, r);
	}
	if (add_env(b, tty, err) < 0 || add_cwd(b, err) < 0 || add_capabilities(b, err) < 0 ||
	    (!b->check_only && add_user(b, err) < 0))
		return -1;
	return 0;
}

/* ---- stop signal --------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int number;
} signals[] = {
  /* in the order of the CRI's enum, from 1 on */
    {"ABRT",   SIGABRT  },
    {"ALRM",   SIGALRM  },
    {"BUS",    SIGBUS   },
    {"CHLD",   SIGCHLD  },
    {"CLD",    SIGCHLD  },
    {"CONT",   SIGCONT  },
    {"FPE",    SIGFPE   },
    {"HUP",    SIGHUP   },
    {"ILL",    SIGILL   },
    {"INT",    SIGINT   },
    {"IO",     SIGIO    },
    {"IOT",    SIGABRT  },
    {"KILL",   SIGKILL  },
    {"PIPE",   SIGPIPE  },
    {"POLL",   SIGIO    },
    {"PROF",   SIGPROF  },
    {"PWR",    SIGPWR   },
    {"QUIT",   SIGQUIT  },
    {"SEGV",   SIGSEGV  },
    {"STKFLT", SIGSTKFLT},
    {"STOP",   SIGSTOP  },
    {"SYS",    SIGSYS   },
    {"TERM",   SIGTERM  },
    {"TRAP",   SIGTRAP  },
    {"TSTP",   SIGTSTP  },
    {"TTIN",   SIGTTIN  },
    {"TTOU",   SIGTTOU  },
    {"URG",    SIGURG   },
    {"USR1",   SIGUSR1  },
    {"USR2",   SIGUSR2  },
    {"VTALRM", SIGVTALRM},
    {"WINCH",  SIGWINCH },
    {"XCPU",   SIGXCPU  },
    {"XFSZ",   SIGXFSZ  },
};

/* The C library keeps 32 and 33 to itself. */
enum { RTMIN = 34, RTMAX = 64 };

_Static_assert(ARRAY_SIZE(signals) + 1 == RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMIN,
    "a row for each signal of the CRI before the real-time ones");

/* "15", "TERM", "SIGTERM", "SIGRTMIN+3", "RTMAX-1"; 0 when it is none. */
static int
signal_by_name(const char *s)
{
	uint32_t n = 0;

	if (str_u32(s, RTMAX, &n) == 0)
		return (int)n;
	if (strncasecmp(s, "SIG", 3) == 0)
		s += 3;
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (strcasecmp(signals[i].name, s) == 0)
			return signals[i].number;
	if (strncasecmp(s, "RTMIN", 5) == 0 &&
	    (s[5] == '\0' || (s[5] == '+' && str_u32(s + 6, RTMAX - RTMIN, &n) == 0)))
		return RTMIN + (int)n;
	if (strncasecmp(s, "RTMAX", 5) == 0 &&
	    (s[5] == '\0' || (s[5] == '-' && str_u32(s + 6, RTMAX - RTMIN, &n) == 0)))
		return RTMAX - (int)n;
	return 0;
}

int
spec_stop_signal(const Runtime__V1__ContainerConfig *config, const struct image_config *image,
    int *ret, struct err *err)
{
	unsigned asked = (unsigned)config->stop_signal;
	int sig;

	if (asked != RUNTIME__V1__SIGNAL__SIGNAL_RUNTIME_DEFAULT) {
		if (asked <= ARRAY_SIZE(signals))
			*ret = signals[asked - 1].number;
		else if (asked <= RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMAX)
			*ret = RTMIN + (int)(asked - RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMIN);
		else
			return err_set(err, ERR_INVALID_ARGUMENT, "stop_signal: %u", asked);
		return 0;
	}
	if (image == NULL || image->stop_signal[0] == '\0') {
		*ret = SIGTERM;
		return 0;
	}
	sig = signal_by_name(image->stop_signal);
	if (sig == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "the image's StopSignal is no signal: \"%.64s\"", image->stop_signal);
	*ret = sig;
	return 0;
}
