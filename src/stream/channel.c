/* SPDX-License-Identifier: Apache-2.0
 *
 * What all channels have in common: see channel.h.
 */
#include "stream/channel.h"

static void
weigh(struct channel *ch)
{
	bool over = ch->pending >= CHANNEL_PENDING_MAX;
	struct channel_group *g = ch->group;

	if (over == ch->over)
		return;
	ch->over = over;
	if (over && g->over++ == 0)
		g->below->hold(g->below, true);
	else if (!over && --g->over == 0)
		g->below->hold(g->below, false);
}

void
channel_input(struct channel *ch, const char *p, size_t n)
{
	if (n == 0 || ch->in_ended)
		return;
	ch->pending += n;
	if (ch->discard)
		channel_taken(ch, n);
	else if (ch->user == NULL)
		buf_add(&ch->early, p, n);
	else
		ch->user->data(ch, p, n);
	weigh(ch);
}

void
channel_input_end(struct channel *ch)
{
	if (ch->in_ended)
		return;
	ch->in_ended = true;
	if (ch->user != NULL)
		ch->user->ended(ch);
}

void
channel_lost(struct channel *ch)
{
	const struct channel_user *user = ch->user;

	ch->in_ended = ch->out_ended = true;
	ch->user = NULL;
	ch->discard = true;
	buf_release(&ch->early);
	ch->pending = 0;
	weigh(ch);
	if (user != NULL)
		user->gone(ch);
}

void
channel_release(struct channel *ch)
{
	ch->pending = 0;
	weigh(ch);
	buf_release(&ch->early);
}

void
channel_use(struct channel *ch, const struct channel_user *user, void *owner)
{
	struct buf early = ch->early;

	ch->early = (struct buf)BUF_INIT;
	ch->user = user;
	ch->owner = owner;
	if (early.len > 0)
		user->data(ch, early.data, early.len);
	buf_release(&early);
	weigh(ch);
	if (ch->in_ended && ch->user == user)
		user->ended(ch);
}

void
channel_leave(struct channel *ch)
{
	ch->user = NULL;
	ch->owner = NULL;
	ch->discard = true;
	if (ch->pending > 0)
		channel_taken(ch, ch->pending);
}

void
channel_taken(struct channel *ch, size_t n)
{
	ch->pending -= n < ch->pending ? n : ch->pending;
	weigh(ch);
	if (ch->ops->credit != NULL)
		ch->ops->credit(ch, n);
}
