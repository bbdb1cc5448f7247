/* SPDX-License-Identifier: Apache-2.0
 *
 * Port-forward: connections into a pod. Each is a link between a data and an error stream of the
 * client and a socket: by SPDY a pair of streams with the same request id (portforward.k8s.io), by
 * WebSocket channels 2n and 2n+1 for the n'th port (v4.channel.k8s.io), which carry the port's
 * number first, in two bytes, little-endian.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "stream/conn.h"

enum { LINKS_MAX = 256, REQUEST_ID_MAX = 40 };

struct link {
	struct stream_dial dial;
	struct conn *c;
	char request[REQUEST_ID_MAX + 1];
	struct channel *data, *error;
	struct pump pump;
	bool dialing, open, out_done;
	struct loop_timer pairing;
	TAILQ_ENTRY(link) entry;
};

static void
drop_channel(struct conn *c, struct channel *ch)
{
	if (ch == NULL)
		return;
	if (c->mode == CONN_CHANNELS)
		channel_leave(ch);
	else
		spdy_forget(container_of(ch, struct spdy_stream, ch));
}

static void
free_link(struct link *l)
{
	struct conn *c = l->c;

	timer_stop(&l->pairing);
	pump_stop(&l->pump);
	if (l->dialing && c->ticket != NULL)
		c->ticket->backend->undial(c->ticket, &l->dial);
	drop_channel(c, l->data);
	/* What it says is complete: a reset could overtake it in the client. */
	if (l->error != NULL && c->mode != CONN_CHANNELS && l->error->out_ended)
		container_of(l->error, struct spdy_stream, ch)->reset = true;
	drop_channel(c, l->error);
	TAILQ_REMOVE(&c->forward.links, l, entry);
	c->forward.n_links--;
	free(l);
}

/* This link has nothing more to do. */
static void
end_link(struct link *l)
{
	struct conn *c = l->c;

	free_link(l);
	if (c->forward.by_channels && c->forward.n_links == 0)
		conn_finish(c);
}

static void
say(struct link *l, const char *text)
{
	struct channel *ch = l->error;

	if (ch == NULL || ch->out_ended)
		return;
	if (text[0] != '\0')
		ch->ops->send(ch, text, strlen(text));
	ch->ops->end(ch);
}

static void
on_out_done(struct pump *p)
{
	struct link *l = container_of(p, struct link, pump);
	char text[160] = "";

	l->out_done = true;
	if (p->out_failed)
		snprintf(text, sizeof(text), "error forwarding port %u: connection to the pod: %s",
		    l->dial.port, strerror(p->out_errno));
	if (!l->data->out_ended)
		l->data->ops->end(l->data);
	say(l, text);
	if (l->pump.in_fd < 0 || l->c->forward.by_channels)
		end_link(l);
}

static void
on_in_done(struct pump *p)
{
	struct link *l = container_of(p, struct link, pump);

	if (l->out_done)
		end_link(l);
}

static void
on_gone(struct pump *p)
{
	end_link(container_of(p, struct link, pump));
}

void
dial_fail(struct stream_dial *d, const struct err *err)
{
	struct link *l = container_of(d, struct link, dial);
	char text[sizeof(err->msg) + 64];

	l->dialing = false;
	snprintf(text, sizeof(text), "error forwarding port %u: %s", d->port, err->msg);
	say(l, text);
	if (!l->data->out_ended)
		l->data->ops->end(l->data);
	end_link(l);
}

void
dial_done_take(struct stream_dial *d, int fd)
{
	struct link *l = container_of(d, struct link, dial);
	int in = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	struct err err;

	if (in < 0) {
		err_errno(&err, "dup");
		fd_closep(&fd);
		dial_fail(d, &err);
		return;
	}
	l->dialing = false;
	if (l->data->in_ended && l->data->out_ended) { /* reset meanwhile */
		fd_closep(&in);
		fd_closep(&fd);
		end_link(l);
		return;
	}
	l->open = true;
	l->pump.half_close = true;
	l->pump.out_done = on_out_done;
	l->pump.in_done = on_in_done;
	l->pump.gone = on_gone;
	pump_start_take(&l->pump, l->data, in, fd);
}

static struct link *
new_link(struct conn *c, uint16_t port)
{
	struct link *l = xcalloc(1, sizeof(*l));

	l->c = c;
	l->dial.port = port;
	l->pump.in_fd = l->pump.out_fd = -1;
	TAILQ_INSERT_TAIL(&c->forward.links, l, entry);
	c->forward.n_links++;
	return l;
}

static void
dial(struct link *l)
{
	timer_stop(&l->pairing);
	channel_leave(l->error);
	l->dialing = true;
	l->c->ticket->backend->dial(l->c->ticket, &l->dial);
}

/* ---- SPDY ---- */

static void
on_unpaired(struct loop_timer *t)
{
	struct link *l = container_of(t, struct link, pairing);

	say(l, "the other stream of this request did not come");
	end_link(l);
}

static struct link *
find_link(struct conn *c, const char *request)
{
	struct link *l;

	TAILQ_FOREACH (l, &c->forward.links, entry)
		if (strcmp(l->request, request) == 0)
			return l;
	return NULL;
}

static bool
on_stream(struct spdy *s, struct spdy_stream *st, const struct spdy_headers *h)
{
	struct conn *c = container_of(s, struct conn, spdy);
	const char *type = spdy_header(h, "streamtype"), *port_text = spdy_header(h, "port");
	const char *request = spdy_header(h, "requestid");
	char number[REQUEST_ID_MAX + 1];
	struct channel **slot;
	struct link *l;
	uint32_t port;
	bool data;

	if (type == NULL || port_text == NULL || str_u32(port_text, UINT16_MAX, &port) < 0 ||
	    port == 0)
		return false;
	data = strcmp(type, "data") == 0;
	if ((!data && strcmp(type, "error") != 0) || c->ticket == NULL)
		return false;
	if (request == NULL) { /* old clients: the data stream comes right after the error stream */
		snprintf(number, sizeof(number), "%u", data ? st->id - 2 : st->id);
		request = number;
	}
	if (strlen(request) > REQUEST_ID_MAX)
		return false;
	l = find_link(c, request);
	if (l == NULL) {
		if (c->forward.n_links >= LINKS_MAX)
			return false;
		l = new_link(c, (uint16_t)port);
		snprintf(l->request, sizeof(l->request), "%s", request);
		timer_start(&l->pairing, CREATION_MS, on_unpaired);
	}
	slot = data ? &l->data : &l->error;
	if (*slot != NULL || l->dial.port != port)
		return false;
	*slot = &st->ch;
	if (l->data != NULL && l->error != NULL)
		dial(l);
	return true;
}

const struct spdy_user forward_spdy_user = {on_stream};

/* ---- WebSocket channels ---- */

static int
add_port(struct forward *f, uint32_t port, struct err *err)
{
	if (f->n_ports == FORWARD_PORTS_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "more than %d ports", FORWARD_PORTS_MAX);
	f->ports[f->n_ports++] = (uint16_t)port;
	return 0;
}

/* "port=80&port=81,82" */
static int
add_ports(struct forward *f, const char *query, struct err *err)
{
	while (*query != '\0') {
		size_t n = strcspn(query, "&");
		const char *end = query + n, *p = query + 5;

		if (n > 5 && strncmp(query, "port=", 5) == 0) {
			while (p <= end) {
				size_t len = MIN(strcspn(p, ","), (size_t)(end - p));
				char text[8] = "";
				uint32_t port;

				snprintf(
				    text, sizeof(text), "%.*s", (int)MIN(len, sizeof(text) - 1), p);
				if (str_u32(text, UINT16_MAX, &port) < 0 || port == 0)
					return err_set(err, ERR_INVALID_ARGUMENT,
					    "\"%s\" is not a port", text);
				if (add_port(f, port, err) < 0)
					return -1;
				p += len + 1;
			}
		}
		query = *end == '&' ? end + 1 : end;
	}
	return 0;
}

int
forward_read_ports(struct conn *c, const char *query, struct err *err)
{
	struct forward *f = &c->forward;

	f->n_ports = 0;
	for (size_t i = 0; i < c->ticket->n_ports; i++)
		if (add_port(f, (uint32_t)c->ticket->ports[i], err) < 0)
			return -1;
	if (f->n_ports == 0 && add_ports(f, query, err) < 0)
		return -1;
	if (f->n_ports == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "query parameter \"port\" is required");
	return 0;
}

static void
open_links(struct conn *c)
{
	struct forward *f = &c->forward;
	struct link *l, *next;

	f->by_channels = true;
	for (size_t i = 0; i < f->n_ports; i++) {
		const unsigned char number[2] = {
		    (unsigned char)f->ports[i], (unsigned char)(f->ports[i] >> 8)};

		l = new_link(c, f->ports[i]);
		l->data = &c->channels.at[2 * i].ch;
		l->error = &c->channels.at[2 * i + 1].ch;
		l->data->ops->send(l->data, number, sizeof(number));
		l->error->ops->send(l->error, number, sizeof(number));
	}
	TAILQ_FOREACH_SAFE (l, &f->links, entry, next)
		dial(l);
}

void
forward_open(struct conn *c)
{
	TAILQ_INIT(&c->forward.links);
	conn_watch_idle(c);
	if (c->mode == CONN_CHANNELS)
		open_links(c);
}

void
forward_lost(struct conn *c)
{
	while (!TAILQ_EMPTY(&c->forward.links))
		free_link(TAILQ_FIRST(&c->forward.links));
}
