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

#endif
