/* SPDX-License-Identifier: Apache-2.0
 *
 * Capability arguments: see cni_caps.h.
 */
#include "net/cni_caps.h"

#include <string.h>

#include "base/macros.h"
#include "base/str.h"
#include "net/lease.h"

#define RATE_MIN UINT64_C(1000) /* bits per second, as kubelets check it */
#define RATE_MAX UINT64_C(1000000000000000)

/* ---- quantities ----------------------------------------------------------------------------- */

struct suffix {
	const char *name;
	uint64_t times, divided_by;
};

static bool
find_suffix(const char *s, struct suffix *ret)
{
	static const struct suffix suffixes[] = {
	    {"n",  1,                   1000000000},
	    {"u",  1,                   1000000   },
	    {"m",  1,                   1000      },
	    {"",   1,                   1         },
	    {"k",  1000,                1         },
	    {"M",  1000000,             1         },
	    {"G",  1000000000,          1         },
	    {"T",  1000000000000,       1         },
	    {"P",  1000000000000000,    1         },
	    {"E",  1000000000000000000, 1         },
	    {"Ki", UINT64_C(1) << 10,   1         },
	    {"Mi", UINT64_C(1) << 20,   1         },
	    {"Gi", UINT64_C(1) << 30,   1         },
	    {"Ti", UINT64_C(1) << 40,   1         },
	    {"Pi", UINT64_C(1) << 50,   1         },
	    {"Ei", UINT64_C(1) << 60,   1         },
	};
	uint32_t exponent;
	bool negative;

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		if (strcmp(s, suffixes[i].name) != 0)
			continue;
		*ret = suffixes[i];
		return true;
	}
	if (*s != 'e' && *s != 'E')
		return false;
	s++;
	negative = *s == '-';
	s += negative || *s == '+';
	if (str_u32(s, 18, &exponent) < 0)
		return false;
	*ret = (struct suffix){.times = 1, .divided_by = 1};
	while (exponent-- > 0) {
		if (negative)
			ret->divided_by *= 10;
		else
			ret->times *= 10;
	}
	return true;
}

bool
quantity_parse(const char *s, uint64_t *ret)
{
	unsigned __int128 v = 0;
	uint64_t scale = 1;
	struct suffix suffix;
	bool digits = false, point = false;

	s += *s == '+';
	for (; (*s >= '0' && *s <= '9') || (*s == '.' && !point); s++) {
		if (*s == '.') {
			point = true;
			continue;
		}
		digits = true;
		if (scale > UINT64_C(100000000) || v > UINT64_MAX)
			return false;
		v = v * 10 + (unsigned)(*s - '0');
		scale *= point ? 10 : 1;
	}
	if (!digits || !find_suffix(s, &suffix) || v > UINT64_MAX)
		return false;
	v = v * suffix.times;
	v = (v + (unsigned __int128)scale * suffix.divided_by - 1) /
	    ((unsigned __int128)scale * suffix.divided_by);
	if (v > INT64_MAX)
		return false;
	*ret = (uint64_t)v;
	return true;
}

/* ---- capabilities --------------------------------------------------------------------------- */

static json_t *
port_mappings(const struct net_pod *pod)
{
	json_t *list = json_array();

	for (size_t i = 0; i < pod->n_ports; i++) {
		const struct net_port *p = &pod->ports[i];

		if (p->host_port == 0)
			continue;
		json_array_append_new(
		    list, json_pack("{s:i,s:i,s:s,s:s}", "hostPort", p->host_port, "containerPort",
		              p->container_port, "protocol", net_proto_name(p->proto), "hostIP",
		              STR_OR_EMPTY(p->host_ip)));
	}
	return list;
}

static const char *
annotation(const struct net_pod *pod, const char *key)
{
	for (size_t i = 0; i < pod->n_annotations; i++)
		if (strcmp(pod->annotations[i].key, key) == 0)
			return pod->annotations[i].value;
	return NULL;
}

/* rate and burst of one direction; the burst is the largest the plugin takes, as kubelets had it.
 */
static int
add_rate(const struct net_pod *pod, const char *key, const char *rate, const char *burst,
    json_t *out, struct err *err)
{
	const char *text = annotation(pod, key);
	uint64_t bits;

	if (text == NULL)
		return 0;
	if (!quantity_parse(text, &bits) || bits < RATE_MIN || bits > RATE_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "annotation %s: '%.64s' is no rate between 1k and 1P", key, text);
	json_object_set_new(out, rate, json_integer((json_int_t)bits));
	json_object_set_new(out, burst, json_integer(INT32_MAX));
	return 0;
}

static json_t *
strings(const char *const *list, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(list[i]));
	return a;
}

static json_t *
dns(const struct net_pod *pod)
{
	return json_pack("{s:o,s:o,s:o}", "servers", strings(pod->dns_servers, pod->n_dns_servers),
	    "searches", strings(pod->dns_searches, pod->n_dns_searches), "options",
	    strings(pod->dns_options, pod->n_dns_options));
}

static json_t *
annotations(const struct net_pod *pod)
{
	json_t *o = json_object();

	for (size_t i = 0; i < pod->n_annotations; i++)
		json_object_set_new(
		    o, pod->annotations[i].key, json_string(pod->annotations[i].value));
	return o;
}

json_t *
cni_caps(const struct net_pod *pod, const json_t *ip_ranges, struct err *err)
{
	json_t *caps = json_object(), *ports = port_mappings(pod), *bandwidth = json_object();

	if (json_array_size(ports) > 0)
		json_object_set(caps, "portMappings", ports);
	json_decref(ports);
	if (add_rate(pod, "kubernetes.io/ingress-bandwidth", "ingressRate", "ingressBurst",
	        bandwidth, err) < 0 ||
	    add_rate(pod, "kubernetes.io/egress-bandwidth", "egressRate", "egressBurst", bandwidth,
	        err) < 0) {
		json_decref(bandwidth);
		json_decref(caps);
		return NULL;
	}
	if (json_object_size(bandwidth) > 0)
		json_object_set(caps, "bandwidth", bandwidth);
	json_decref(bandwidth);
	if (pod->n_dns_servers + pod->n_dns_searches + pod->n_dns_options > 0)
		json_object_set_new(caps, "dns", dns(pod));
	if (pod->n_annotations > 0)
		json_object_set_new(caps, "io.kubernetes.cri.pod-annotations", annotations(pod));
	if (!str_empty(pod->cgroup_parent))
		json_object_set_new(caps, "cgroupPath", json_string(pod->cgroup_parent));
	if (!str_empty(pod->name))
		json_object_set_new(caps, "aliases", json_pack("[s]", pod->name));
	if (json_array_size(ip_ranges) > 0)
		json_object_set(caps, "ipRanges", (json_t *)ip_ranges);
	return caps;
}

/* ---- CNI_ARGS ------------------------------------------------------------------------------- */

json_t *
cni_args(const struct net_pod *pod, struct err *err)
{
	const char *const pairs[][2] = {
	    {"IgnoreUnknown",              "1"                    },
	    {"K8S_POD_NAMESPACE",          STR_OR_EMPTY(pod->ns)  },
	    {"K8S_POD_NAME",               STR_OR_EMPTY(pod->name)},
	    {"K8S_POD_INFRA_CONTAINER_ID", pod->id                },
	    {"K8S_POD_UID",                STR_OR_EMPTY(pod->uid) },
	};
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		const char *v = pairs[i][1];

		if (v[strcspn(v, ";=\r\n")] != '\0' || !str_utf8(v, strlen(v))) {
			err_set(err, ERR_INVALID_ARGUMENT, "%s '%.64s' cannot be passed to plugins",
			    pairs[i][0], v);
			json_decref(list);
			return NULL;
		}
		json_array_append_new(list, json_pack("[s,s]", pairs[i][0], v));
	}
	return list;
}
