/* SPDX-License-Identifier: Apache-2.0
 *
 * nftables commands: see nft.h.
 */
#include "net/nft.h"

#include <jansson.h>
#include <nftables/libnftables.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"

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
	/* Making one reads files, so it lives as long as the process; a forked one's descriptors
	 * are closed. */
	static struct nft_ctx *nft;
	static pid_t owner;
	int ret;

	if (nft == NULL || owner != getpid()) {
		owner = getpid();
		nft = nft_ctx_new(NFT_CTX_DEFAULT);
		if (nft == NULL)
			return err_set(err, ERR_INTERNAL, "nftables: no context");
		nft_ctx_buffer_output(nft);
		nft_ctx_buffer_error(nft);
	}
	nft_ctx_output_set_flags(nft, out != NULL ? NFT_CTX_OUTPUT_JSON : 0);
	ret = nft_run_cmd_from_buffer(nft, text);
	if (out != NULL) {
		const char *printed = nft_ctx_get_output_buffer(nft); /* empties the buffer */

		buf_addstr(out, printed != NULL ? printed : "");
	}
	return ret < 0 ? fail(nft, err) : 0;
}

int
nft_find_rules(const char *family, const char *table, const char *chain, const char *prefix,
    void (*each)(long long handle, void *arg), void *arg, struct err *err)
{
	cleanup_buf struct buf command = BUF_INIT, out = BUF_INIT;
	json_t *o, *v;
	size_t i;

	buf_addf(&command, "list chain %s %s %s\n", family, table, chain);
	if (nft_run(command.data, &out, err) < 0) {
		if (strstr(err->msg, "No such file or directory") == NULL)
			return -1;
		*err = (struct err){0};
		return 0;
	}
	o = json_loadb(out.data != NULL ? out.data : "", out.len, 0, NULL);
	json_array_foreach (json_object_get(o, "nftables"), i, v) {
		const json_t *rule = json_object_get(v, "rule");
		const char *comment = json_string_value(json_object_get(rule, "comment"));

		if (comment != NULL && str_starts(comment, prefix))
			each(json_integer_value(json_object_get(rule, "handle")), arg);
	}
	json_decref(o);
	return 0;
}

struct deletion {
	const char *family, *table, *chain;
	struct buf *out;
};

static void
on_rule(long long handle, void *arg)
{
	struct deletion *d = arg;

	buf_addf(
	    d->out, "delete rule %s %s %s handle %lld\n", d->family, d->table, d->chain, handle);
}

int
nft_delete_rules(const char *family, const char *table, const char *chain, const char *prefix,
    struct buf *out, struct err *err)
{
	struct deletion d = {family, table, chain, out};

	return nft_find_rules(family, table, chain, prefix, on_rule, &d, err);
}
