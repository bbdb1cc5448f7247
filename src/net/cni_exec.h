/* SPDX-License-Identifier: Apache-2.0
 *
 * One call of a CNI plugin as a child process: struct cni_exec, embedded in what waits for it. The
 * configuration goes in by stdin, the parameters by the environment, the result comes back by
 * stdout, an error as {code, msg, details} there or as text on stderr.
 */
#ifndef NET_CNI_EXEC_H
#define NET_CNI_EXEC_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"
#include "loop/child.h"

/* Reserved error codes of the specification, section 5. */
enum {
	CNI_ERR_UNKNOWN_CONTAINER = 3,
	CNI_ERR_TRY_AGAIN = 11,
	CNI_ERR_NOT_AVAILABLE = 50,
	CNI_ERR_LIMITED = 51
};

struct cni_params {
	const char *command;      /* "ADD" */
	const char *container_id; /* NULL for STATUS, GC, VERSION */
	const char *netns;        /* "" when it is gone; NULL: not set */
	const char *ifname;
	const char *args; /* CNI_ARGS; may be NULL */
	const char *const *bin_dirs;
	size_t n_bin_dirs;
	int64_t timeout_ms;
};

struct cni_exec {
	void (*done)(struct cni_exec *);
	struct err err;  /* in done(); with the plugin's words, its name and the command */
	int plugin_code; /* of the error; 0: none given */
	struct buf out;  /* in done(): what it printed on success */
	/* private */
	struct child child;
	struct loop_timer retry;
	char *what, *path, *input;
	char **env;
	int64_t timeout_ms;
	int tries;
};

/* Where the plugin is. NOT_FOUND names the type and the directories. The caller frees. */
char *cni_find_plugin(const char *type, const char *const *dirs, size_t n_dirs, struct err *err);

/* Start a plugin with this configuration (a complete one, dumped to text here). done() comes once,
 * from the loop. */
int cni_exec_start(struct cni_exec *e, const char *type, const json_t *conf,
    const struct cni_params *params, void (*done)(struct cni_exec *), struct err *err);

void cni_exec_release(struct cni_exec *e); /* only when it is not running; e may be used again */

/* End it early: done() comes with an error, soon. */
void cni_exec_kill(struct cni_exec *e);

/* The words of an error object {code, msg, details}; false when it is none. */
bool cni_error_parse(const char *text, size_t len, int *ret_code, struct buf *ret_words);

#endif
