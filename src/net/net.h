/* SPDX-License-Identifier: Apache-2.0
 *
 * Pod networking: struct net. A pod's network namespace comes from its owner, pinned at a path and
 * with loopback up; net attaches it to its network(s) and takes it off again. Two modes:
 *
 *   NET_BUILTIN  a bridge of our own, with addresses from a subnet, masquerading and host ports
 *   NET_CNI      the plugin chains of a CNI configuration directory (CNI specification 1.1)
 *
 * Nothing here blocks the loop: what changes links, rules and files runs in one small process of
 * our own (net/agent.h), plugins are children with deadlines.
 *
 * The calls that may wait are made for an op (loop/op.h), from one of its steps, and return what
 * that step returns:
 *
 *	static enum op_ret
 *	attach_network(struct op *op, struct err *err)
 *	{
 *		struct pod_op *p = container_of(op, struct pod_op, op);
 *		enum op_ret ret = net_attach(&p->net, net, &p->net_pod, op, err);
 *
 *		if (ret == OP_NEXT)
 *			sandbox_set_network(p->sb, &p->net.result);
 *		return ret;
 *	}
 *
 * OP_NEXT: done, at once or after waits. OP_AGAIN: the op is resumed later and the step makes the
 * same call again. OP_FAIL: *err says why. A wait that ends in an error turns the op round by
 *itself.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "loop/op.h"

struct net;
struct net_task;

enum net_mode { NET_CNI, NET_BUILTIN };
enum { NET_IPS_MAX = 8, NET_IP_SIZE = 46, NET_CNI_BIN_DIRS = 8 };

/* A runtime handler with a CNI configuration directory of its own. */
struct net_handler {
	const char *handler;
	const char *cni_conf_dir;
	int cni_max_networks; /* as below */
};

/* Everything is copied. NULL and 0 mean the default. */
struct net_config {
	const char *instance; /* in the names of bridge, links and the nft table; "coracle" */
	enum net_mode mode;
	const char
	    *state_dir; /* an existing directory, absolute; best one that outlives a reboot */

	/* NET_BUILTIN */
	const char *subnet4; /* "10.88.0.0/16"; NULL: one derived from the instance; "": no IPv4 */
	const char *subnet6; /* "fd00:10:88::/64"; NULL or "": no IPv6 */
	const char *bridge;  /* interface name; NULL: "<instance>0", shortened if need be */
	int mtu;             /* of bridge and pods; 0: 1500 */

	/* NET_CNI */
	const char *cni_conf_dir;                   /* NULL: "/etc/cni/net.d" */
	const char *cni_bin_dirs[NET_CNI_BIN_DIRS]; /* none: "/opt/cni/bin" */
	const char *cni_cache_dir;                  /* NULL: "/var/lib/cni" */
	int cni_max_networks; /* networks a pod joins (eth0, eth1…); 0: 1; -1: all */
	const struct net_handler *handlers;
	size_t n_handlers;
	bool cni_native;           /* run the plugin types we have ourselves */
	int64_t plugin_timeout_ms; /* one plugin call; 0: 60000 */
};

enum net_proto { NET_TCP, NET_UDP, NET_SCTP };

struct net_port {
	enum net_proto proto;
	uint16_t container_port, host_port; /* host_port 0: not mapped */
	const char *host_ip;                /* NULL or "": every address of the host */
};

struct net_kv {
	const char *key, *value;
};

/* What net needs to know of a pod; borrowed until the op's walk leaves the step. */
struct net_pod {
	const char *id; /* of the sandbox */
	const char *name, *ns, *uid;
	const char *netns_path; /* NULL, or a missing file: the namespace is gone (detach only) */
	const char *cgroup_parent; /* for the capability cgroupPath; may be NULL */
	const char *handler;       /* runtime handler; NULL or "": the default */
	const struct net_port *ports;
	size_t n_ports;
	const struct net_kv *annotations; /* kubernetes.io/{in,e}gress-bandwidth among them */
	size_t n_annotations;
	const char *const *dns_servers, *const *dns_searches, *const *dns_options;
	size_t n_dns_servers, n_dns_searches, n_dns_options;
};

struct net_result {
	char ips[NET_IPS_MAX][NET_IP_SIZE]; /* the primary first, IPv4 before IPv6; no duplicates */
	size_t n_ips;
	char *json; /* the durable record: what detach and reserve need */
};

/* One attach, detach, check or gc in flight. Zero-initialise; embed in the op's owner; reusable
 * after OP_NEXT; after an attach that failed or was cancelled net_detach() comes first. */
struct net_call {
	struct net_result result; /* valid after net_attach() returned OP_NEXT */
	struct net_task *task;    /* private: what goes on now */
};

void net_call_release(struct net_call *c); /* the result too; only when nothing goes on */

/* Start; nothing is waited for: whether the network works is net_ready()'s to tell. Fails on a
 * configuration that cannot work (INVALID_ARGUMENT) and when the agent cannot be started. Call
 * after loop_init(). net_close() leaves every pod attached. */
struct net *net_open(const struct net_config *config, struct err *err);
void net_close(struct net *net);

/* Attach a pod to its network(s). Fails with FAILED_PRECONDITION when the network is not ready,
 * with ALREADY_EXISTS when a host port is taken (the message names the pod that holds it), with
 * RESOURCE_EXHAUSTED when the subnet has no address left, with the plugin's name and words when a
 * plugin fails. What a failed attach leaves is for net_detach(), with json NULL. */
enum op_ret net_attach(struct net_call *c, struct net *net, const struct net_pod *pod,
    struct op *op, struct err *err) __attribute__((warn_unused_result));

/* Take a pod off its network(s) and give its addresses and ports back. json: the record of the
 * attach, or NULL when there is none (the attach failed or never ended). Idempotent; works without
 * the namespace. An error means: try again later. */
enum op_ret net_detach(struct net_call *c, struct net *net, const struct net_pod *pod,
    const char *json, struct op *op, struct err *err) __attribute__((warn_unused_result));

/* Is what an attach made still there? CNI's CHECK, where the networks' versions have it. */
enum op_ret net_check(struct net_call *c, struct net *net, const struct net_pod *pod,
    const char *json, struct op *op, struct err *err) __attribute__((warn_unused_result));

/* At recovery, before any attach: what the record says is in use by this pod. INVALID_ARGUMENT when
 * the record is not one of ours, ALREADY_EXISTS when another pod has the address. The result (may
 * be NULL) is filled as by net_attach(), except for json. */
int net_reserve(struct net *net, const char *pod_id, const char *json,
    struct net_result *ret_result, struct err *err) __attribute__((warn_unused_result));

/* At recovery, after the reserves: release what no pod of the list owns (links, addresses, rules,
 * CNI attachments by GC). The ids are borrowed until the op's walk leaves the step. */
enum op_ret net_gc(struct net_call *c, struct net *net, const char *const *live_pod_ids, size_t n,
    struct op *op, struct err *err) __attribute__((warn_unused_result));

/* The condition NetworkReady. When false, *ret_reason is "NetworkPluginNotReady" and msg names the
 * file and the fault. */
bool net_ready(struct net *net, const char **ret_reason, char *msg, size_t n);

/* UpdateRuntimeConfig: one CIDR, or two separated by a comma. The built-in network moves to it: new
 * pods get addresses of it, running ones keep theirs. Under CNI it is checked and that is all. */
int net_set_pod_cidr(struct net *net, const char *cidr, struct err *err)
    __attribute__((warn_unused_result));

/* For `coracle info` and verbose Status: one JSON object (mode, subnets, the configuration files
 * with their faults, the networks in use), appended. */
void net_info(struct net *net, struct buf *ret_json);

/* Remove bridge and rules of the built-in network of this configuration, for uninstalling.
 * Blocking; FAILED_PRECONDITION naming a link when a pod is still attached. */
int net_remove_all(const struct net_config *config, struct err *err)
    __attribute__((warn_unused_result));

/* What a pod's new network namespace gets besides the pod's own sysctls, as {"net.x.y", "value"};
 * ends with a NULL key. The range for ping needs the group ids mapped: with a user namespace the
 * caller leaves net.ipv4.ping_group_range out. */
extern const struct net_kv net_default_sysctls[];

#endif
