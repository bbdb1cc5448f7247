/* SPDX-License-Identifier: Apache-2.0
 *
 * One CNI configuration directory: struct cni_set keeps what it says, reloads it when it changes,
 * and asks the plugins in use whether they can work (VERSION, and STATUS since 1.1.0).
 */
#ifndef NET_CNI_SET_H
#define NET_CNI_SET_H

#include <jansson.h>
#include <stdbool.h>

#include "loop/op.h"
#include "net/cni_walk.h"
#include "net/cni_watch.h"

struct cni_set {
	char *handler; /* "" for the default */
	char *dir;
	int max_networks;          /* -1: all */
	bool native;               /* run the plugins that we have ourselves */
	struct cni_walk_spec base; /* directories, timeout, agent: for walks */
	json_t *networks;          /* those in use, the first max_networks */
	json_t *faults;            /* array of {file, fault} */
	struct err load_err;
	struct cni_watch watch;
	/* the plugins' own words */
	struct op probe;
	bool probing, probe_again, probed, closing;
	struct cni_walk *walk;
	struct err probe_err;
	struct loop_timer again;
};

void cni_set_open(struct cni_set *s, const char *handler, const char *dir, int max_networks,
    bool native, const struct cni_walk_spec *base);

/* The set is freed, now or when its plugins' call has ended. s came from xcalloc. */
void cni_set_close_take(struct cni_set *s);

/* Take in a change that was seen but not yet acted upon. */
void cni_set_refresh(struct cni_set *s);

/* FAILED_PRECONDITION with what is missing: no usable file, naming those that are broken. */
int cni_set_usable(const struct cni_set *s, struct err *err);
/* That, and what the plugins say. */
int cni_set_ready(const struct cni_set *s, struct err *err);

json_t *cni_set_info(const struct cni_set *s);

#endif
