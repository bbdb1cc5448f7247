/* SPDX-License-Identifier: Apache-2.0
 *
 * nftables commands: see nft.h.
 */
#include "net/nft.h"

#include <nftables/libnftables.h>
#include <string.h>

#include "base/buf.h"

/* The library's words start with "Error: " and go on with the command and a mark under it. */
static int
fail(struct nft_ctx *nft, struct err *err)
{
	const char *text = nft_ctx_get_error_buffer(nft);
	const char *at = text != NULL ? strstr(text, "rror: ") : NULL;
	int n;

	if (at == NULL)
		return err_set(err, ERR_INTERNAL, "nftables: no reason given");
	at += 6;
	n = (int)strcspn(at, "\n");
	return err_set(err, ERR_INTERNAL, "nftables: %.*s", n, at);
}

int
nft_run(const char *text, struct buf *out, struct err *err)
{
	static struct nft_ctx *nft; /* making one reads files; it lives as long as the process */
	int ret;

	if (nft == NULL) {
		nft = nft_ctx_new(NFT_CTX_DEFAULT);
		if (nft == NULL)
			return err_set(err, ERR_INTERNAL, "nftables: no context");
		nft_ctx_buffer_output(nft);
		nft_ctx_buffer_error(nft);
	}
	nft_ctx_output_set_flags(nft, out != NULL ? NFT_CTX_OUTPUT_JSON : 0);
	ret = nft_run_cmd_from_buffer(nft, text);
	if (out != NULL && nft_ctx_get_output_buffer(nft) != NULL)
		buf_addstr(out, nft_ctx_get_output_buffer(nft));
	return ret < 0 ? fail(nft, err) : 0;
}
