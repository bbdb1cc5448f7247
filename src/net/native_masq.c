/* SPDX-License-Identifier: Apache-2.0
 *
 * Masquerading as the reference plugins do it: see native_masq.h. A rule's comment begins with
 * hashes of the network and of interface and container, by which it is found again.
 */
#include "net/native_masq.h"

#include <openssl/sha.h>
#include <string.h>

#include "base/id.h"
#include "net/nft.h"

#define TABLE "cni_plugins_masquerade"
#define CHAIN "masq_checks"

enum { HASH_LEN = 16, COMMENT_MAX = 128 };

/* The first digits of SHA-512, as the reference plugins hash. */
static void
hash(const char *text, char out[static HASH_LEN + 1])
{
	unsigned char digest[SHA512_DIGEST_LENGTH];

	SHA512((const unsigned char *)text, strlen(text), digest);
	hex_encode(digest, HASH_LEN / 2, out);
}

static void
instance(const char *network, const char *ifname, const char *container_id,
    char out[static 2 * HASH_LEN + 2])
{
	char of_network[HASH_LEN + 1], of_instance[HASH_LEN + 1], text[512];

	snprintf(text, sizeof(text), "%s:%s", ifname, container_id);
	hash(network, of_network);
	hash(text, of_instance);
	snprintf(out, 2 * HASH_LEN + 2, "%s-%s", of_network, of_instance);
}

static void
add_chains(struct buf *out)
{
	buf_addstr(out,
	    "add table inet " TABLE " { comment \"Masquerading for plugins from "
	    "github.com/containernetworking/plugins\"; }\n"
	    "add chain inet " TABLE " " CHAIN
	    " { comment \"Masquerade traffic from certain IPs to any (non-multicast) IP outside "
	    "their subnet\"; }\n"
	    "add chain inet " TABLE " postrouting { type nat hook postrouting priority 100; }\n"
	    "flush chain inet " TABLE " postrouting\n"
	    "add rule inet " TABLE " postrouting ip daddr == 224.0.0.0/4 return\n"
	    "add rule inet " TABLE " postrouting ip6 daddr == ff00::/8 return\n"
	    "add rule inet " TABLE " postrouting goto " CHAIN "\n");
}

int
native_masq_add(const char *network, const char *ifname, const char *container_id,
    const struct ipnet *addrs, size_t n, struct err *err)
{
	char key[2 * HASH_LEN + 2], comment[COMMENT_MAX + 1], ip[IPADDR_SIZE], net[IPNET_SIZE];
	cleanup_buf struct buf text = BUF_INIT;

	instance(network, ifname, container_id, key);
	snprintf(comment, sizeof(comment), "%s, net: %s, if: %s, id: %s", key, network, ifname,
	    container_id);
	add_chains(&text);
	if (nft_delete_rules("inet", TABLE, CHAIN, key, &text, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct ipnet subnet = {.addr = ipnet_base(&addrs[i]), .prefix = addrs[i].prefix};
		const char *family = addrs[i].addr.family == AF_INET ? "ip" : "ip6";

		buf_addf(&text,
		    "add rule inet " TABLE " " CHAIN
		    " %s saddr == %s %s daddr != %s masquerade comment \"%s\"\n",
		    family, ipaddr_format(&addrs[i].addr, ip), family, ipnet_format(&subnet, net),
		    comment);
	}
	return nft_run(text.data, NULL, err);
}

int
native_masq_del(const char *network, const char *ifname, const char *container_id, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT;
	char key[2 * HASH_LEN + 2];

	instance(network, ifname, container_id, key);
	if (nft_delete_rules("inet", TABLE, CHAIN, key, &text, err) < 0)
		return -1;
	return text.len > 0 ? nft_run(text.data, NULL, err) : 0;
}
