/* SPDX-License-Identifier: Apache-2.0
 *
 * Results of CNI plugins: read, checked, converted between the versions of the specification. The
 * form in between is that of 1.1.0: {cniVersion, interfaces, ips: [{address, gateway, interface}],
 * routes, dns}.
 */
#ifndef NET_CNI_RESULT_H
#define NET_CNI_RESULT_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"
#include "net/ipaddr.h"

/* What a plugin printed, as a result of 1.1.0. Members we do not know are kept. INVALID_ARGUMENT
 * says what is wrong with it. */
json_t *cni_result_parse(const char *text, size_t len, struct err *err);
json_t *cni_result_import(const json_t *result, struct err *err); /* the same from JSON */

/* A copy in the form of another version: FAILED_PRECONDITION when that cannot hold it (0.2.0 and
 * before need an address). */
json_t *cni_result_export(const json_t *result, const char *version, struct err *err);

/* The pod's addresses, IPv4 first: those on the interface of this name in a sandbox, or on none;
 * when there are no such, all. Returns how many, at most max, without duplicates. */
size_t cni_result_ips(const json_t *result, const char *ifname, struct ipaddr *out, size_t max);

#endif
