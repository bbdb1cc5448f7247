/* SPDX-License-Identifier: Apache-2.0
 *
 * CNI results: from and to every version, and what is refused.
 */
#include "tap.h"

#include "base/macros.h"
#include "net/cni_conf.h"
#include "net/cni_result.h"

static const char *
convert(const char *text, const char *version)
{
	static char out[2048];
	struct err err = {0};
	json_t *in = cni_result_parse(text, strlen(text), &err), *o = NULL;
	char *dump;

	if (in != NULL)
		o = cni_result_export(in, version, &err);
	dump = o != NULL ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	snprintf(out, sizeof(out), "%s", dump != NULL ? dump : err.msg);
	free(dump);
	json_decref(in);
	json_decref(o);
	return out;
}

#define R020                                                                                       \
	"{\"cniVersion\":\"0.2.0\",\"dns\":{\"nameservers\":[\"1.1.1.1\"]},\"ip4\":{\"gateway\":"  \
	"\"10.0.0.1\",\"ip\":\"10.0.0.2/24\",\"routes\":[{\"dst\":\"0.0.0.0/0\"},{\"dst\":"        \
	"\"10.1.0.0/16\",\"gw\":\"10.0.0.9\"}]},\"ip6\":{\"ip\":\"fd00::2/64\",\"routes\":[{"      \
	"\"dst\":\"::/0\"}]}}"
#define LISTS(v4, v6)                                                                              \
	"\"dns\":{\"nameservers\":[\"1.1.1.1\"]},\"ips\":[{\"address\":\"10.0.0.2/24\","           \
	"\"gateway\":\"10.0.0.1\"" v4 "},{\"address\":\"fd00::2/64\"" v6 "}],\"routes\":[{"        \
	"\"dst\":\"0.0.0.0/0\"},{\"dst\":\"10.1.0.0/16\",\"gw\":\"10.0.0.9\"},{\"dst\":\"::/"      \
	"0\"}]}"
#define R040 "{\"cniVersion\":\"0.4.0\"," LISTS(",\"version\":\"4\"", ",\"version\":\"6\"")
#define R110 "{\"cniVersion\":\"1.1.0\"," LISTS("", "")

static void
test_conversions(void)
{
	static const char *const forms[] = {R020, R040, R110};
	static const char *const versions[] = {"0.2.0", "0.4.0", "1.1.0"};
	struct err err = {0};
	json_t *o;

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
		for (size_t k = 0; k < ARRAY_SIZE(forms); k++)
			is_str(convert(forms[i], versions[k]), forms[k],
			    "there and back between versions");
	is_str(convert("{\"ip4\":{\"ip\":\"10.0.0.2/24\"}}", "0.1.0"),
	    "{\"cniVersion\":\"0.1.0\",\"ip4\":{\"ip\":\"10.0.0.2/24\"}}", "without a version");
	is_str(convert("{\"cniVersion\":\"1.1.0\",\"interfaces\":[{\"name\":\"e\",\"mtu\":1500,"
	               "\"mac\":\"m\"}],\"x\":1}",
	           "0.3.1"),
	    "{\"cniVersion\":\"0.3.1\",\"interfaces\":[{\"mac\":\"m\",\"name\":\"e\"}],\"x\":1}",
	    "interfaces lose what is newer; what nobody knows stays");
	is_str(convert("{\"cniVersion\":\"1.0.0\"}", "0.2.0"),
	    "result: without an IP address it has no form in this CNI version",
	    "0.2.0 needs an address");
	is_str(
	    convert("{\"cniVersion\":\"1.0.0\",\"ips\":null,\"dns\":{},\"routes\":null}", "1.0.0"),
	    "{\"cniVersion\":\"1.0.0\"}", "nulls are nothing");
	is_str(
	    convert("{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":"
	            "-1}]}",
	        "1.0.0"),
	    "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.1/8\"}]}", "nor is -1");
	is_str(
	    convert("{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.1/8\"},{\"address\":"
	            "\"10.0.0.2/8\"}]}",
	        "0.2.0"),
	    "{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.0.0.1/8\"}}",
	    "0.2.0 has one address of a family");
	o = cni_result_import(NULL, &err);
	ok(o == NULL, "nothing is no result");
}

static void
test_refused(void)
{
	static const char *const bad[] = {"", "7", "[]", "{", "{\"cniVersion\":\"9.0.0\"}",
	    "{\"cniVersion\":\"x\"}", "{\"cniVersion\":\"1.0.0\",\"ips\":{}}",
	    "{\"cniVersion\":\"1.0.0\",\"ips\":[7]}",
	    "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":7}]}",
	    "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.1\"}]}",
	    "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.1/8\",\"gateway\":\"x\"}]}",
	    "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":0}]}",
	    "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":\"0\"}]}",
	    "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{}]}",
	    "{\"cniVersion\":\"1.0.0\",\"interfaces\":7}",
	    "{\"cniVersion\":\"1.0.0\",\"routes\":[{\"dst\":\"x\"}]}",
	    "{\"cniVersion\":\"1.0.0\",\"routes\":[{\"dst\":\"::/0\",\"gw\":\"x\"}]}",
	    "{\"cniVersion\":\"1.0.0\",\"dns\":7}", "{\"ip4\":7}", "{\"ip4\":{}}",
	    "{\"ip4\":{\"ip\":7}}", "{\"ip4\":{\"ip\":\"1.1.1.1/8\",\"routes\":7}}",
	    "{\"ip4\":{\"ip\":\"1.1.1.1/8\",\"routes\":[7]}}"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = {0};
		json_t *o = cni_result_parse(bad[i], strlen(bad[i]), &err);

		ok(o == NULL && err.code == ERR_INVALID_ARGUMENT, "%s: %s", bad[i], err.msg);
		json_decref(o);
	}
}

static size_t
ips(const char *text, struct ipaddr *out)
{
	struct err err = {0};
	json_t *o = cni_result_parse(text, strlen(text), &err);
	size_t n = cni_result_ips(o, "eth0", out, 4);

	json_decref(o);
	return n;
}

#define IFS                                                                                        \
	"{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"eth0\"},{\"name\":\"eth0\","        \
	"\"sandbox\":\"s\"},{\"name\":\"eth1\",\"sandbox\":\"s\"}],\"ips\":["

static void
test_ips(void)
{
	struct ipaddr out[4];
	char text[IPADDR_SIZE];

	is_int(ips(IFS
	           "{\"address\":\"10.0.0.1/8\",\"interface\":0},{\"address\":\"fd00::2/64\","
	           "\"interface\":1},{\"address\":\"10.0.0.2/8\",\"interface\":1},{\"address\":"
	           "\"10.0.0.2/8\",\"interface\":1},{\"address\":\"10.0.0.3/8\",\"interface\":2}]}",
	           out),
	    2, "the pod's interface alone, each address once");
	is_str(ipaddr_format(&out[0], text), "10.0.0.2", "IPv4 first");
	is_str(ipaddr_format(&out[1], text), "fd00::2", "then IPv6");
	is_int(ips(IFS "{\"address\":\"10.0.0.1/8\",\"interface\":0},{\"address\":\"10.0.0.3/8\","
	               "\"interface\":2}]}",
	           out),
	    2, "when there are none, all");
	is_int(
	    ips(IFS "{\"address\":\"10.0.0.1/8\"},{\"address\":\"10.0.0.2/8\"},{\"address\":"
	            "\"10.0.0.3/8\"},{\"address\":\"10.0.0.4/8\"},{\"address\":\"10.0.0.5/8\"}]}",
	        out),
	    4, "no more than there is room for");
	is_int(ips("{\"cniVersion\":\"1.0.0\"}", out), 0, "none");
}

int
main(void)
{
	test_conversions();
	test_refused();
	test_ips();
	return tap_done();
}
