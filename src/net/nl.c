/* SPDX-License-Identifier: Apache-2.0
 *
 * Netlink dialogue: see nl.h.
 */
#include "net/nl.h"

#include <assert.h>
#include <errno.h>
#include <linux/netlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "net/netns.h"

static int
open_socket(struct nl *nl, int bus)
{
	int one = 1;

	nl->sock = mnl_socket_open2(bus, SOCK_CLOEXEC);
	if (nl->sock == NULL)
		return -1;
	if (mnl_socket_bind(nl->sock, 0, MNL_SOCKET_AUTOPID) < 0) {
		nl_close(nl);
		return -1;
	}
	/* Better words in errors; and dumps that check what they are asked to filter by. */
	mnl_socket_setsockopt(nl->sock, NETLINK_EXT_ACK, &one, sizeof(one));
	mnl_socket_setsockopt(nl->sock, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	return 0;
}

struct opening {
	struct nl *nl;
	int bus;
};

static int
open_here(void *arg, struct err *err)
{
	struct opening *o = arg;

	return open_socket(o->nl, o->bus) < 0 ? err_errno(err, "open a netlink socket") : 0;
}

int
nl_open(struct nl *nl, int bus, int netns_fd, struct err *err)
{
	struct opening o = {nl, bus};

	*nl = (struct nl){.seq = 1};
	return netns_fd < 0 ? open_here(&o, err) : netns_run(netns_fd, open_here, &o, err);
}

void
nl_close(struct nl *nl)
{
	if (nl->sock != NULL)
		mnl_socket_close(nl->sock);
	nl->sock = NULL;
}

struct nlmsghdr *
nl_message(struct nl *nl, uint16_t type, uint16_t flags, size_t extra_size, void *ret_extra)
{
	struct nlmsghdr *h;

	/* The message before this one is complete now: count it in. */
	if (nl->n_messages > 0)
		nl->used += MNL_ALIGN(((struct nlmsghdr *)(nl->batch + nl->used))->nlmsg_len);
	assert(nl->used + 2048 <= sizeof(nl->batch));
	h = mnl_nlmsg_put_header(nl->batch + nl->used);
	h->nlmsg_type = type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	if ((flags & NLM_F_DUMP) != NLM_F_DUMP)
		h->nlmsg_flags |= NLM_F_ACK;
	h->nlmsg_seq = nl->seq + nl->n_messages;
	*(void **)ret_extra = mnl_nlmsg_put_extra_header(h, extra_size);
	nl->n_messages++;
	return h;
}

static void
take_text(struct nl *nl, const struct nlmsghdr *h, const struct nlmsgerr *e)
{
	const struct nlattr *attr;
	size_t skip = sizeof(*e);

	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!(h->nlmsg_flags & NLM_F_CAPPED))
		skip += mnl_nlmsg_get_payload_len(&e->msg);
	mnl_attr_for_each (attr, h, skip)
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
			snprintf(nl->text, sizeof(nl->text), "%s", mnl_attr_get_str(attr));
}

struct answers {
	unsigned left;
	int failed; /* errno of the first failure */
};

static void
on_answer(struct nl *nl, const struct nlmsghdr *h, struct answers *a, mnl_cb_t each, void *arg)
{
	if (h->nlmsg_type == NLMSG_DONE) {
		a->left--;
	} else if (h->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

		a->left--;
		if (mnl_nlmsg_get_payload_len(h) < sizeof(*e) || e->error == 0 || a->failed != 0)
			return;
		a->failed = -e->error;
		take_text(nl, h, e);
	} else if (each != NULL && a->failed == 0 && each(h, arg) < MNL_CB_STOP) {
		a->failed = errno;
	}
}

int
nl_talk(struct nl *nl, mnl_cb_t each, void *arg)
{
	/* As large as the kernel makes a dump's chunk. */
	static char in[32768] __attribute__((aligned(8)));
	struct answers a = {.left = nl->n_messages};
	uint32_t first = nl->seq;
	size_t len;

	nl->text[0] = '\0';
	if (nl->n_messages == 0)
		return 0;
	len = nl->used + MNL_ALIGN(((struct nlmsghdr *)(nl->batch + nl->used))->nlmsg_len);
	nl->seq += nl->n_messages;
	nl->used = 0;
	nl->n_messages = 0;
	if (mnl_socket_sendto(nl->sock, nl->batch, len) < 0)
		return -1;
	while (a.left > 0) {
		ssize_t got = mnl_socket_recvfrom(nl->sock, in, sizeof(in));
		const struct nlmsghdr *h = (const struct nlmsghdr *)in;
		int n = (int)got;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		for (; mnl_nlmsg_ok(h, n); h = mnl_nlmsg_next(h, &n))
			if (h->nlmsg_seq - first < nl->seq - first && a.left > 0)
				on_answer(nl, h, &a, each, arg);
	}
	errno = a.failed;
	return a.failed != 0 ? -1 : 0;
}

int
nl_error(const struct nl *nl, struct err *err, const char *fmt, ...)
{
	int saved = errno;
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	errno = saved;
	if (nl->text[0] == '\0')
		return err_errno(err, "%s", what);
	return err_errno(err, "%s: %s", what, nl->text);
}
