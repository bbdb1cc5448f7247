/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists as streams: every item once, in order, in messages of the size that was asked for.
 */
#include "cri/stream_items.h"

#include "base/arena.h"
#include "grpc/server.h"
#include "proto/cri.pb-c.h"
#include "tap.h"

enum { MAX_ITEMS = 20 };

static Runtime__V1__Container items[MAX_ITEMS], *list[MAX_ITEMS];
static size_t messages, largest, seen, finished;
static bool in_order;

/* In the place of the server's. */
void
grpc_send(struct grpc_call *call, const ProtobufCMessage *message)
{
	const Runtime__V1__StreamContainersResponse *m = (const void *)message;

	(void)call;
	messages++;
	largest = m->n_containers > largest ? m->n_containers : largest;
	for (size_t i = 0; i < m->n_containers; i++, seen++)
		in_order = in_order && seen < MAX_ITEMS && m->containers[i] == &items[seen];
}

void
grpc_finish(struct grpc_call *call)
{
	finished++;
	arena_release(&call->arena);
}

static void
stream(size_t n, size_t per)
{
	struct grpc_call call = {.gone = false};

	messages = largest = seen = finished = 0;
	in_order = true;
	arena_init(&call.arena);
	stream_items(&call, &runtime__v1__stream_containers_response__descriptor, list, n, per);
	ok(in_order && seen == n && finished == 1, "%zu items, %zu at a time: all, in order", n, per);
	is_int(messages, (n + per - 1) / per, "in as many messages as it takes");
	ok(largest <= per, "none is too large");
}

int
main(void)
{
	for (size_t i = 0; i < MAX_ITEMS; i++) {
		runtime__v1__container__init(&items[i]);
		list[i] = &items[i];
	}
	stream(0, 5);
	stream(1, 5);
	stream(5, 5);
	stream(6, 5);
	stream(20, 7);
	stream(20, 1);
	return tap_done();
}
