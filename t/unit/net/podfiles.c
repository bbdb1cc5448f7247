/* SPDX-License-Identifier: Apache-2.0
 *
 * The pods' resolv.conf, hosts and hostname.
 */
#include "tap.h"

#include "net/podfiles.h"

static const char *
resolv(const struct podfiles_dns *dns, const char *host)
{
	static char out[512];
	struct buf b = BUF_INIT;
	struct err err = {0};

	if (podfiles_resolv_conf(dns, host, strlen(host), &b, &err) < 0)
		snprintf(out, sizeof(out), "error %d", err.code);
	else
		snprintf(out, sizeof(out), "%s", b.data != NULL ? b.data : "");
	buf_release(&b);
	return out;
}

static const char *
hostname(const char *name)
{
	static char out[600];
	struct buf b = BUF_INIT;
	struct err err = {0};

	snprintf(out, sizeof(out), "%s", podfiles_hostname(name, &b, &err) < 0 ? err.msg : b.data);
	buf_release(&b);
	return out;
}

int
main(void)
{
	static const char *const servers[] = {"10.0.0.10", "fd00::10"};
	static const char *const searches[] = {"a.svc", "svc"};
	static const char *const options[] = {"ndots:5", "edns0"};
	static const char *const evil[] = {"x\nnameserver 6.6.6.6"};
	static const char *const empty[] = {""};
	static const char *const ips[] = {"10.0.0.2", "fd00::2"};
	struct podfiles_dns dns = {0};
	struct buf b = BUF_INIT;

	is_str(resolv(NULL, "nameserver 1.1.1.1\n# x\n"), "nameserver 1.1.1.1\n# x\n",
	    "without a DNS configuration the host's file");
	is_str(resolv(&dns, "nameserver 1.1.1.1\n"), "", "with an empty one an empty file");
	dns = (struct podfiles_dns){servers, searches, options, 2, 2, 2};
	is_str(resolv(&dns, "x"),
	    "search a.svc svc\nnameserver 10.0.0.10\nnameserver fd00::10\noptions ndots:5 edns0\n",
	    "else its lines");
	dns = (struct podfiles_dns){.servers = servers, .n_servers = 1};
	is_str(resolv(&dns, "x"), "nameserver 10.0.0.10\n", "only those it has");
	dns = (struct podfiles_dns){.searches = evil, .n_searches = 1};
	is_str(resolv(&dns, "x"), "error 3", "a search domain that adds a line is refused");
	dns = (struct podfiles_dns){.servers = evil, .n_servers = 1};
	is_str(resolv(&dns, "x"), "error 3", "a server that adds a line");
	dns = (struct podfiles_dns){.options = evil, .n_options = 1};
	is_str(resolv(&dns, "x"), "error 3", "an option that adds a line");
	dns = (struct podfiles_dns){.options = empty, .n_options = 1};
	is_str(resolv(&dns, "x"), "error 3", "an empty entry");

	podfiles_hosts("1.2.3.4 me\n", 11, "web", ips, 2, &b);
	is_str(b.data, "1.2.3.4 me\n", "hosts is the host's");
	buf_truncate(&b, 0);
	podfiles_hosts(NULL, 0, "web", ips, 2, &b);
	ok(strstr(b.data, "127.0.0.1\tlocalhost\n") != NULL &&
	        strstr(b.data, "10.0.0.2\tweb\nfd00::2\tweb\n") != NULL,
	    "or has loopback and the pod");
	buf_truncate(&b, 0);
	podfiles_hosts("", 0, "web", ips, 2, &b);
	is_str(b.data, "", "an empty one stays empty");
	buf_release(&b);

	is_str(hostname("web-0"), "web-0\n", "hostname is one line");
	is_str(hostname(""), "'' is no host name", "not none");
	is_str(hostname("a\nb"), "'a\nb' is no host name", "nor two");
	is_str(hostname("0123456789012345678901234567890123456789012345678901234567890123"),
	    "0123456789012345678901234567890123456789012345678901234567890123\n", "64 characters");
	ok(strstr(hostname("01234567890123456789012345678901234567890123456789012345678901234"),
	       "is no host name") != NULL,
	    "not 65");
	return tap_done();
}
