/* SPDX-License-Identifier: Apache-2.0
 *
 * CNI plugins of our own, executed in the agent's process over netlink and nftables with the
 * configuration, results and on-disk formats of the reference plugins. What a plugin here does not
 * know in a configuration it leaves to the real one: cni_native_has() is false, or the job ends
 * with UNIMPLEMENTED before anything was done.
 */
#ifndef NET_CNI_NATIVE_H
#define NET_CNI_NATIVE_H

#include <jansson.h>
#include <stdbool.h>

#include "net/agent.h"
#include "net/cni_exec.h"

/* Is there one of this type, that knows every member of this configuration? */
bool cni_native_has(const char *type, const json_t *conf);

/* The job for the agent. */
json_t *cni_native_request(const char *type, json_t *conf, const struct cni_params *params);

agent_fn job_cni_native;

#endif
