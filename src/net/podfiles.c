/* SPDX-License-Identifier: Apache-2.0
 *
 * resolv.conf, hosts, hostname: see podfiles.h.
 */
#include "net/podfiles.h"

#include <ctype.h>
#include <string.h>

#include "base/str.h"

enum { HOSTNAME_MAX = 64 };

/* An entry is one word: a line break would make lines of its own. */
static int
check_words(const char *what, const char *const *list, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		const char *p = list[i];

		while (isgraph((unsigned char)*p) || (unsigned char)*p >= 0x80)
			p++;
		if (*p != '\0' || p == list[i])
			return err_set(err, ERR_INVALID_ARGUMENT, "DNS %s '%.64s' is not one word",
			    what, list[i]);
	}
	return 0;
}

static void
add_line(struct buf *out, const char *word, const char *const *list, size_t n)
{
	if (n == 0)
		return;
	buf_addstr(out, word);
	for (size_t i = 0; i < n; i++)
		buf_addf(out, " %s", list[i]);
	buf_addch(out, '\n');
}

int
podfiles_resolv_conf(const struct podfiles_dns *dns, const char *host, size_t host_len,
    struct buf *out, struct err *err)
{
	if (dns == NULL) {
		buf_add(out, host, host_len);
		return 0;
	}
	if (check_words("server", dns->servers, dns->n_servers, err) < 0 ||
	    check_words("search domain", dns->searches, dns->n_searches, err) < 0 ||
	    check_words("option", dns->options, dns->n_options, err) < 0)
		return -1;
	add_line(out, "search", dns->searches, dns->n_searches);
	for (size_t i = 0; i < dns->n_servers; i++)
		buf_addf(out, "nameserver %s\n", dns->servers[i]);
	add_line(out, "options", dns->options, dns->n_options);
	return 0;
}

void
podfiles_hosts(const char *host, size_t host_len, const char *hostname, const char *const *ips,
    size_t n_ips, struct buf *out)
{
	if (host != NULL) {
		buf_add(out, host, host_len);
		return;
	}
	buf_addstr(out, "127.0.0.1\tlocalhost\n"
	                "::1\tlocalhost ip6-localhost ip6-loopback\n"
	                "fe00::0\tip6-localnet\n"
	                "ff02::1\tip6-allnodes\n"
	                "ff02::2\tip6-allrouters\n");
	for (size_t i = 0; i < n_ips && !str_empty(hostname); i++)
		buf_addf(out, "%s\t%s\n", ips[i], hostname);
}

int
podfiles_hostname(const char *hostname, struct buf *out, struct err *err)
{
	size_t n = strlen(hostname);

	for (const char *p = hostname; *p != '\0'; p++)
		if (!isalnum((unsigned char)*p) && strchr("-._", *p) == NULL)
			n = 0;
	if (n == 0 || n > HOSTNAME_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "'%.80s' is no host name", hostname);
	buf_addf(out, "%s\n", hostname);
	return 0;
}
