/* SPDX-License-Identifier: Apache-2.0
 *
 * What a pod brings to the plugins of its networks: CNI_ARGS, and the arguments of the capabilities
 * portMappings, bandwidth, dns, ipRanges, aliases, cgroupPath and io.kubernetes.cri.pod-annotations
 * (https://www.cni.dev/docs/conventions/). Which of them a plugin gets is what it declares.
 */
#ifndef NET_CNI_CAPS_H
#define NET_CNI_CAPS_H

#include <jansson.h>

#include "net/net.h"

/* ip_ranges may be NULL. INVALID_ARGUMENT for a bandwidth annotation that is none. */
json_t *cni_caps(const struct net_pod *pod, const json_t *ip_ranges, struct err *err);

/* Array of [key, value]; INVALID_ARGUMENT when a value would break the list apart. */
json_t *cni_args(const struct net_pod *pod, struct err *err);

/* A Kubernetes quantity ("10M", "1.5Gi", "2e6") in whole units, rounded up. false: it is none, or
 * is negative or out of range. */
bool quantity_parse(const char *s, uint64_t *ret);

#endif
