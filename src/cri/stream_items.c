/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists as streams: see stream_items.h.
 */
#include "cri/stream_items.h"

#include <assert.h>

#include "base/arena.h"
#include "base/macros.h"
#include "grpc/server.h"

void
stream_items(struct grpc_call *call, const ProtobufCMessageDescriptor *response, void *items, size_t n,
    size_t per)
{
	const ProtobufCFieldDescriptor *list = &response->fields[0];
	ProtobufCMessage **all = items;
	ProtobufCMessage *m = arena_alloc(&call->arena, response->sizeof_message);

	assert(response->n_fields == 1 && list->label == PROTOBUF_C_LABEL_REPEATED &&
	       list->type == PROTOBUF_C_TYPE_MESSAGE);
	for (size_t i = 0; i < n; i += per) {
		protobuf_c_message_init(response, m);
		*(size_t *)(void *)((char *)m + list->quantifier_offset) = MIN(n - i, per);
		*(ProtobufCMessage ***)(void *)((char *)m + list->offset) = all + i;
		grpc_send(call, m);
	}
	grpc_finish(call);
}
