/* SPDX-License-Identifier: Apache-2.0
 *
 * Running nftables commands through libnftables. Blocks: for the agent's process.
 */
#ifndef NET_NFT_H
#define NET_NFT_H

#include "base/err.h"

struct buf;

/* Carry out the text as one transaction. out (may be NULL): what it prints, as JSON. The error has
 * the library's words. */
int nft_run(const char *text, struct buf *out, struct err *err);

/* Calls each() with the handle of every rule of a chain whose comment begins with prefix. A missing
 * table or chain has none. family: "ip", "ip6", "inet". */
int nft_find_rules(const char *family, const char *table, const char *chain, const char *prefix,
    void (*each)(long long handle, void *arg), void *arg, struct err *err);

/* Append to out (a struct buf) the deletion of every such rule. */
int nft_delete_rules(const char *family, const char *table, const char *chain, const char *prefix,
    struct buf *out, struct err *err);

#endif
