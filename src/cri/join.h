/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that wait for the same op: a repeated RunPodSandbox or CreateContainer joins the first. The
 * op is cancelled when the last of them has lost its client.
 */
#ifndef CRI_JOIN_H
#define CRI_JOIN_H

#include <protobuf-c/protobuf-c.h>

#include "base/err.h"

struct grpc_call;
struct join; /* one op's callers */
struct op;

struct join *join_new(struct op *op);
void join_add(struct join *j, struct grpc_call *call);
/* The callers of the op, for a repeated request to join them. NULL: none, or the op fails already
 * (since they all went away), which is not the answer to one who asks now. */
struct join *join_find(const struct op *op);

/* The op ended: all get the answer (or the error, when err is not NULL); j is freed. */
void join_end(struct join *j, const ProtobufCMessage *response, const struct err *err);

#endif
