/* SPDX-License-Identifier: Apache-2.0
 *
 * The answer of a Stream twin of a List (KEP-5825): one snapshot, in as many messages as it takes.
 */
#ifndef CRI_STREAM_ITEMS_H
#define CRI_STREAM_ITEMS_H

#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

struct grpc_call;

/* Sends n messages, per at a time, each time as the list that is the only field of the response, and
 * finishes the call: it must not be touched afterwards. */
void stream_items(struct grpc_call *call, const ProtobufCMessageDescriptor *response, void *items,
    size_t n, size_t per);

#endif
