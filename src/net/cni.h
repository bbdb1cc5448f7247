/* SPDX-License-Identifier: Apache-2.0
 *
 * NET_CNI: the networks of one or several configuration directories, whether they are ready, and
 * the pods on them.
 */
#ifndef NET_CNI_H
#define NET_CNI_H

#include <jansson.h>
#include <stdbool.h>

#include "net/net.h"

struct cni;

int cni_open(struct net *net, const struct net_config *config, struct err *err);
void cni_close(struct cni *cni); /* NULL is fine */

enum op_ret cni_attach(
    struct net_call *c, struct net *net, const struct net_pod *pod, struct op *op, struct err *err);
enum op_ret cni_detach(struct net_call *c, struct net *net, const struct net_pod *pod,
    const char *json, struct op *op, struct err *err);
enum op_ret cni_check(struct net_call *c, struct net *net, const struct net_pod *pod,
    const char *json, struct op *op, struct err *err);
enum op_ret cni_gc(struct net_call *c, struct net *net, const char *const *live, size_t n,
    struct op *op, struct err *err);
bool cni_maps_ports(const json_t *record); /* does a plugin map host ports? */
bool cni_ready(struct cni *cni, char *msg, size_t n);
void cni_set_ip_ranges(struct cni *cni, json_t *ranges_take); /* the capability ipRanges */
void cni_info(struct cni *cni, json_t *out);

#endif
