/* SPDX-License-Identifier: Apache-2.0
 *
 * The pipes of running processes, kept open here too: a named pipe that nobody has open loses what
 * is in it, and that would be the last words of a container that dies while there is no keeper.
 */
#include <string.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "exec/keeper/parcel.h"
#include "exec/keeper_impl.h"

static struct keeper_pipes *
find(struct keeper *k, const char *id)
{
	struct keeper_pipes *p;

	TAILQ_FOREACH (p, &k->pipes, entry)
		if (strcmp(p->id, id) == 0)
			return p;
	return NULL;
}

void
keeper_pipes_keep(struct keeper *k, struct keeper_call *call)
{
	const uint32_t index[KEEPER_PIPES] = {
	    call->reply->stdin_fd, call->reply->stdout_fd, call->reply->stderr_fd};
	struct keeper_pipes *p;
	int i;

	if (call->process == NULL || (index[0] == 0 && index[1] == 0 && index[2] == 0))
		return;
	keeper_pipes_drop(k, call->process);
	p = xcalloc(1, sizeof(*p));
	p->id = take_ptr(call->process);
	for (i = 0; i < KEEPER_PIPES; i++)
		p->fds[i] = keeper_call_take_fd(call, index[i]);
	TAILQ_INSERT_HEAD(&k->pipes, p, entry);
}

void
keeper_pipes_drop(struct keeper *k, const char *id)
{
	struct keeper_pipes *p = find(k, id);

	if (p == NULL)
		return;
	TAILQ_REMOVE(&k->pipes, p, entry);
	parcel_close_fds(p->fds, KEEPER_PIPES);
	free(p->id);
	free(p);
}

void
keeper_pipes_drop_stdin(struct keeper *k, const char *id)
{
	struct keeper_pipes *p = find(k, id);

	if (p != NULL)
		fd_closep(&p->fds[0]);
}

void
keeper_pipes_drop_all(struct keeper *k)
{
	while (!TAILQ_EMPTY(&k->pipes))
		keeper_pipes_drop(k, TAILQ_FIRST(&k->pipes)->id);
}

size_t
keeper_pipes_add(struct keeper *k, Coracle__Launch__Adopt *adopt, int *fds, size_t n_fds)
{
	const struct keeper_pipes *p = find(k, adopt->id);
	uint32_t *const index[KEEPER_PIPES] = {
	    &adopt->stdin_fd, &adopt->stdout_fd, &adopt->stderr_fd};
	int i;

	for (i = 0; p != NULL && i < KEEPER_PIPES; i++) {
		if (p->fds[i] < 0 || *index[i] != 0)
			continue;
		fds[n_fds++] = p->fds[i];
		*index[i] = (uint32_t)n_fds;
	}
	return n_fds;
}
