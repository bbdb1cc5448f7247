/* SPDX-License-Identifier: Apache-2.0
 *
 * Exec and attach (channel.k8s.io, versions 1 to 5): which stream is which, terminal sizes, and how
 * it ends, on the error stream.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "stream/conn.h"

enum {
	LINGER_MS = 50,   /* what a terminal still has on its way when its process has ended */
	RESIZE_MAX = 1024 /* of one message */
};

static const char *const types[REMOTE_CHANNELS] = {"stdin", "stdout", "stderr", "error", "resize"};

static bool
wanted(const struct conn *c, int i)
{
	const struct stream_ticket *t = c->ticket;

	switch (i) {
	case REMOTE_STDIN:
		return t->in;
	case REMOTE_STDOUT:
		return t->out;
	case REMOTE_STDERR:
		return t->err;
	case REMOTE_RESIZE:
		return t->tty && c->remote.version >= 3;
	}
	return true;
}

/* ---- the end ---- */

static void
send_error(struct conn *c, const char *text)
{
	struct channel *ch = c->remote.ch[REMOTE_ERROR];

	if (ch == NULL || ch->out_ended)
		return;
	if (text[0] != '\0')
		ch->ops->send(ch, text, strlen(text));
	ch->ops->end(ch);
}

/* The session is over: a Status of the Kubernetes API for those who know it, else a text. */
static void
finish(struct conn *c, const char *reason, const char *message, json_t *causes, int code)
{
	struct remote *r = &c->remote;
	json_t *status;
	char *text;

	r->ended = true;
	timer_stop(&r->linger);
	if (r->version < 4) {
		send_error(c, reason != NULL ? message : "");
	} else {
		status = reason == NULL ? json_pack("{s{}ss}", "metadata", "status", "Success")
		                        : json_pack("{s{}ssssss*s{so}}", "metadata", "status",
		                              "Failure", "reason", reason, "message", message,
		                              "details", "causes", json_incref(causes));
		if (status != NULL && code != 0)
			json_object_set_new(status, "code", json_integer(code));
		text = status != NULL ? json_dumps(status, JSON_COMPACT) : NULL;
		send_error(c, text != NULL ? text : "{\"metadata\":{},\"status\":\"Failure\"}");
		free(text);
		json_decref(status);
	}
	pump_stop(&r->in);
	pump_stop(&r->out);
	pump_stop(&r->err_out);
	for (int i = 0; i < REMOTE_CHANNELS; i++)
		if (i != REMOTE_ERROR && i != REMOTE_STDIN && r->ch[i] != NULL &&
		    !r->ch[i]->out_ended)
			r->ch[i]->ops->end(r->ch[i]);
	conn_finish(c);
}

static void
finish_by_code(struct conn *c)
{
	char message[80], number[16];
	json_t *causes;

	if (!c->remote.exited || c->remote.exit_code == 0) {
		finish(c, NULL, "", NULL, 0);
		return;
	}
	snprintf(number, sizeof(number), "%d", c->remote.exit_code);
	snprintf(message, sizeof(message),
	    "command terminated with non-zero exit code: exit status %s", number);
	causes = json_pack("[{ssss}]", "reason", "ExitCode", "message", number);
	finish(c, "NonZeroExitCode", message, causes, 0);
	json_decref(causes);
}

static void
check_end(struct conn *c)
{
	struct remote *r = &c->remote;

	if (r->running && !r->ended && r->outputs == 0 && (r->exited || c->kind == STREAM_ATTACH))
		finish_by_code(c);
}

static void
on_output_done(struct conn *c, struct pump *p)
{
	if (p->ch != NULL && !p->ch->out_ended)
		p->ch->ops->end(p->ch);
	c->remote.outputs--;
	check_end(c);
}

static void
on_out_done(struct pump *p)
{
	on_output_done(container_of(p, struct conn, remote.out), p);
}

static void
on_err_done(struct pump *p)
{
	on_output_done(container_of(p, struct conn, remote.err_out), p);
}

static void
on_linger(struct loop_timer *t)
{
	struct conn *c = container_of(t, struct conn, remote.linger);

	pump_drain(&c->remote.out);
	pump_drain(&c->remote.err_out);
}

void
session_exited(struct stream_ticket *t, int exit_code)
{
	struct conn *c = t->conn;

	if (c == NULL)
		return;
	c->remote.exited = true;
	c->remote.exit_code = exit_code;
	if (c->remote.outputs > 0)
		timer_start(&c->remote.linger, LINGER_MS, on_linger);
	check_end(c);
}

void
session_fail(struct stream_ticket *t, const struct err *err)
{
	char message[sizeof(err->msg) + 64];
	struct conn *c = t->conn;
	json_t *causes;

	if (c == NULL || c->remote.ended)
		return;
	snprintf(message, sizeof(message), "Internal error occurred: %s", err->msg);
	causes = json_pack("[{ss}]", "message", err->msg);
	finish(c, "InternalError", message, causes, 500);
	json_decref(causes);
}

/* ---- terminal sizes ---- */

static bool
parse_size(const char *p, size_t n, unsigned *ret_width, unsigned *ret_height)
{
	json_t *o = json_loadb(p, n, 0, NULL);
	json_int_t w = json_integer_value(json_object_get(o, "Width"));
	json_int_t h = json_integer_value(json_object_get(o, "Height"));

	json_decref(o);
	if (w <= 0 || h <= 0 || w > UINT16_MAX || h > UINT16_MAX)
		return false;
	*ret_width = (unsigned)w;
	*ret_height = (unsigned)h;
	return true;
}

static void
on_size(struct channel *ch, const char *p, size_t n)
{
	struct conn *c = ch->owner;
	struct buf *b = &c->remote.size;
	const char *end;
	unsigned w, h;
	bool any = false;

	for (; n > 0; p++, n--) {
		if (b->len < RESIZE_MAX)
			buf_addch(b, *p);
		end = *p == '}' ? p : NULL;
		if (end == NULL)
			continue;
		any |= parse_size(b->data, b->len, &w, &h);
		buf_release(b);
	}
	channel_taken(ch, ch->pending);
	/* Of several the last one counts. */
	if (any && c->ticket != NULL)
		c->ticket->backend->resize(c->ticket, w, h);
}

static void
on_nothing(struct channel *ch)
{
	(void)ch;
}

static const struct channel_user size_user = {on_size, on_nothing, on_nothing, on_nothing};

/* ---- the beginning ---- */

static void
start(struct conn *c)
{
	struct remote *r = &c->remote;

	r->started = true;
	conn_watch_idle(c);
	channel_leave(r->ch[REMOTE_ERROR]);
	if (r->ch[REMOTE_STDOUT] != NULL)
		channel_leave(r->ch[REMOTE_STDOUT]);
	if (r->ch[REMOTE_STDERR] != NULL)
		channel_leave(r->ch[REMOTE_STDERR]);
	c->ticket->backend->start(c->ticket);
	/* What came early is for a process that the backend knows of now. */
	if (r->ch[REMOTE_RESIZE] != NULL && c->ticket != NULL)
		channel_use(r->ch[REMOTE_RESIZE], &size_user, c);
}

static void
maybe_start(struct conn *c)
{
	for (int i = 0; i < REMOTE_CHANNELS; i++)
		if (wanted(c, i) && c->remote.ch[i] == NULL)
			return;
	start(c);
}

static bool
on_stream(struct spdy *s, struct spdy_stream *st, const struct spdy_headers *h)
{
	struct conn *c = container_of(s, struct conn, spdy);
	const char *type = spdy_header(h, "streamtype");
	int i;

	if (c->remote.started || type == NULL)
		return false;
	for (i = 0; i < REMOTE_CHANNELS; i++)
		if (strcmp(types[i], type) == 0)
			break;
	if (i == REMOTE_CHANNELS || c->remote.ch[i] != NULL || !wanted(c, i))
		return false;
	c->remote.ch[i] = &st->ch;
	maybe_start(c);
	return true;
}

const struct spdy_user remote_spdy_user = {on_stream};

static void
on_no_streams(struct loop_timer *t)
{
	struct conn *c = container_of(t, struct conn, deadline);

	c->wire.carrier.fail(&c->wire.carrier, "the client's streams did not come");
}

static void
open_channels(struct conn *c)
{
	struct remote *r = &c->remote;
	struct channel *hello;

	for (int i = 0; i < REMOTE_CHANNELS; i++) {
		if (wanted(c, i) || i == REMOTE_RESIZE)
			r->ch[i] = &c->channels.at[i].ch;
		else
			channel_leave(&c->channels.at[i].ch);
	}
	/* An empty message tells the client that its session is open. */
	hello = r->ch[REMOTE_STDOUT] != NULL   ? r->ch[REMOTE_STDOUT]
	        : r->ch[REMOTE_STDERR] != NULL ? r->ch[REMOTE_STDERR]
	                                       : r->ch[REMOTE_ERROR];
	hello->ops->send(hello, "", 0);
	start(c);
}

void
remote_open(struct conn *c, unsigned version)
{
	c->remote.version = version;
	c->remote.in.in_fd = c->remote.out.in_fd = c->remote.err_out.in_fd = -1;
	c->remote.in.out_fd = c->remote.out.out_fd = c->remote.err_out.out_fd = -1;
	if (c->mode == CONN_CHANNELS)
		open_channels(c);
	else
		conn_deadline(c, CREATION_MS, on_no_streams);
}

void
session_run(struct stream_ticket *t, int in_fd, int out_fd, int err_fd)
{
	struct conn *c = t->conn;
	struct remote *r = &c->remote;

	r->running = true;
	r->outputs = (out_fd >= 0) + (err_fd >= 0);
	r->out.out_done = on_out_done;
	r->err_out.out_done = on_err_done;
	r->in.hold_open = t->kind == STREAM_EXEC && t->tty;
	r->in.half_close = t->kind == STREAM_ATTACH;
	if (out_fd >= 0)
		pump_start_take(&r->out, r->ch[REMOTE_STDOUT], -1, out_fd);
	if (err_fd >= 0)
		pump_start_take(&r->err_out, r->ch[REMOTE_STDERR], -1, err_fd);
	if (in_fd >= 0)
		pump_start_take(&r->in, r->ch[REMOTE_STDIN], in_fd, -1);
	check_end(c);
}

void
remote_lost(struct conn *c)
{
	struct remote *r = &c->remote;

	r->ended = true;
	timer_stop(&r->linger);
	pump_stop(&r->in);
	pump_stop(&r->out);
	pump_stop(&r->err_out);
	buf_release(&r->size);
	memset(r->ch, 0, sizeof(r->ch));
}
