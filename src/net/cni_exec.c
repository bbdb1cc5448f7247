/* SPDX-License-Identifier: Apache-2.0
 *
 * CNI plugins as children: see cni_exec.h.
 */
#include "net/cni_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "net/cni_conf.h"

enum { OUTPUT_MAX = 1 << 20, WORDS_MAX = 400, BUSY_TRIES = 50, BUSY_MS = 100, ENV_EXTRA = 8 };

extern char **environ;

/* ---- the program ---------------------------------------------------------------------------- */

char *
cni_find_plugin(const char *type, const char *const *dirs, size_t n_dirs, struct err *err)
{
	cleanup_buf struct buf list = BUF_INIT;

	if (!cni_type_valid(type)) {
		err_set(err, ERR_INVALID_ARGUMENT, "plugin type '%.64s' is no plain name", type);
		return NULL;
	}
	for (size_t i = 0; i < n_dirs; i++) {
		char *path = xasprintf("%s/%s", dirs[i], type);
		struct stat st;

		if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
			return path;
		free(path);
		buf_addf(&list, "%s%s", i > 0 ? ", " : "", dirs[i]);
	}
	err_set(err, ERR_NOT_FOUND, "plugin %s is not in %s", type,
	    list.data != NULL ? list.data : "any directory");
	return NULL;
}

/* Ours, as libcni hands it on (plugins look for iptables by PATH), and the parameters. */
static char **
make_env(const struct cni_params *p, const char *path_list)
{
	size_t n = 0, room = ENV_EXTRA;
	char **env;

	for (char **e = environ; e != NULL && *e != NULL; e++)
		room++;
	env = xcalloc(room, sizeof(*env));
	for (char **e = environ; e != NULL && *e != NULL; e++)
		if (!str_starts(*e, "CNI_") && !str_starts(*e, "NOTIFY_SOCKET=") &&
		    !str_starts(*e, "LISTEN_"))
			env[n++] = xstrdup(*e);
	env[n++] = xasprintf("CNI_COMMAND=%s", p->command);
	env[n++] = xasprintf("CNI_PATH=%s", path_list);
	env[n++] = xasprintf("CNI_CONTAINERID=%s", STR_OR_EMPTY(p->container_id));
	env[n++] = xasprintf("CNI_NETNS=%s", STR_OR_EMPTY(p->netns));
	env[n++] = xasprintf("CNI_IFNAME=%s", STR_OR_EMPTY(p->ifname));
	env[n++] = xasprintf("CNI_ARGS=%s", STR_OR_EMPTY(p->args));
	return env;
}

void
cni_exec_release(struct cni_exec *e)
{
	child_release(&e->child);
	buf_release(&e->out);
	for (char **s = e->env; s != NULL && *s != NULL; s++)
		free(*s);
	free(e->env);
	free(e->what);
	free(e->path);
	free(e->input);
	e->env = NULL;
	e->what = e->path = e->input = NULL;
}

/* ---- the outcome ---------------------------------------------------------------------------- */

/* One line, without what would spoil a terminal or a log. */
static void
add_words(struct buf *out, const char *text, size_t len)
{
	while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
		len--;
	for (size_t i = 0; i < MIN(len, WORDS_MAX); i++) {
		unsigned char c = (unsigned char)text[i];

		buf_addch(out, c == '\n' || c == '\t' ? ' ' : c < ' ' || c == 127 ? '?' : (char)c);
	}
}

bool
cni_error_parse(const char *text, size_t len, int *ret_code, struct buf *ret_words)
{
	json_t *o = json_loadb(text != NULL ? text : "", len, 0, NULL);
	const json_t *code = json_object_get(o, "code");
	const char *msg = cni_str(o, "msg"), *details = cni_str(o, "details");
	bool is_error = json_is_integer(code) || *msg != '\0';

	if (is_error) {
		*ret_code = (int)MIN(json_integer_value(code), INT32_MAX);
		add_words(ret_words, msg, strlen(msg));
		if (*details != '\0') {
			buf_addstr(ret_words, "; ");
			add_words(ret_words, details, strlen(details));
		}
		if (ret_words->len == 0)
			buf_addf(ret_words, "error code %d", *ret_code);
	}
	json_decref(o);
	return is_error;
}

static enum err_code
err_code_of(int plugin_code)
{
	return plugin_code == CNI_ERR_TRY_AGAIN || plugin_code == CNI_ERR_NOT_AVAILABLE
	           ? ERR_UNAVAILABLE
	           : ERR_INTERNAL;
}

static void
take_failure(struct cni_exec *e)
{
	struct child *c = &e->child;
	cleanup_buf struct buf words = BUF_INIT;
	const char *out = c->out.data;

	if (c->timed_out || !WIFEXITED(c->status) || WEXITSTATUS(c->status) == 0) {
		child_error(c, e->what, &e->err);
		return;
	}
	if (!cni_error_parse(out, c->out.len, &e->plugin_code, &words)) {
		buf_addf(&words, "exit status %d", WEXITSTATUS(c->status));
		if (c->out.len > 0) {
			buf_addstr(&words, ", and printed: ");
			add_words(&words, out, c->out.len);
		}
	}
	if (c->err_out.len > 0) {
		buf_addstr(&words, "; on stderr: ");
		add_words(&words, c->err_out.data, c->err_out.len);
	}
	err_set(&e->err, err_code_of(e->plugin_code), "%s: %s", e->what, words.data);
}

static void
on_child_done(struct child *c)
{
	struct cni_exec *e = container_of(c, struct cni_exec, child);

	if (c->status != 0 || c->timed_out) {
		take_failure(e);
	} else if (c->out.len >= OUTPUT_MAX) {
		err_set(
		    &e->err, ERR_INTERNAL, "%s: prints more than %d bytes", e->what, OUTPUT_MAX);
	} else {
		e->out = c->out;
		buf_init(&c->out);
		if (c->err_out.len > 0)
			trace(TRACE_NET, "%s: %.200s", e->what, c->err_out.data);
	}
	e->done(e);
}

/* ---- start ---------------------------------------------------------------------------------- */

static int spawn(struct cni_exec *e, struct err *err);

/* An installer writes the program right now: libcni waits for it as well. */
static void
on_retry(struct loop_timer *t)
{
	struct cni_exec *e = container_of(t, struct cni_exec, retry);

	if (spawn(e, &e->err) < 0)
		e->done(e);
}

static int
spawn(struct cni_exec *e, struct err *err)
{
	const char *const argv[] = {e->path, NULL};
	struct child_spec spec = {.path = e->path,
	    .argv = argv,
	    .envp = (const char *const *)e->env,
	    .input = e->input,
	    .input_len = strlen(e->input),
	    .max_output = OUTPUT_MAX,
	    .timeout_ms = e->timeout_ms,
	    .die_with_parent = true};

	if (child_spawn(&e->child, &spec, on_child_done, err) == 0)
		return 0;
	if (errno != ETXTBSY || ++e->tries > BUSY_TRIES)
		return err_wrap(err, "%s", e->what);
	*err = (struct err){0};
	timer_start(&e->retry, BUSY_MS, on_retry);
	return 0;
}

int
cni_exec_start(struct cni_exec *e, const char *type, const json_t *conf, const struct cni_params *p,
    void (*done)(struct cni_exec *), struct err *err)
{
	cleanup_buf struct buf path_list = BUF_INIT;

	cni_exec_release(e);
	*e = (struct cni_exec){.done = done, .timeout_ms = p->timeout_ms};
	e->what = xasprintf("plugin %s %s", type, p->command);
	e->path = cni_find_plugin(type, p->bin_dirs, p->n_bin_dirs, err);
	if (e->path == NULL)
		return err_wrap(err, "%s", p->command);
	for (size_t i = 0; i < p->n_bin_dirs; i++)
		buf_addf(&path_list, "%s%s", i > 0 ? ":" : "", p->bin_dirs[i]);
	e->env = make_env(p, path_list.data);
	e->input = json_dumps(conf, JSON_COMPACT);
	return spawn(e, err);
}

void
cni_exec_kill(struct cni_exec *e)
{
	if (e->retry.armed) {
		e->tries = BUSY_TRIES; /* the next attempt is the last */
		return;
	}
	child_kill(&e->child, SIGKILL);
}
