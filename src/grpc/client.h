/* SPDX-License-Identifier: Apache-2.0
 *
 * The client side of gRPC on a unix socket, for the command line and the benchmark.
 *
 * One connection; calls over the server's limit of streams wait in line. A call is embedded in its
 * owner, which fills in response and the callbacks, and belongs to the client from
 * grpc_client_call() until on_done, which fires exactly once.
 */
#ifndef GRPC_CLIENT_H
#define GRPC_CLIENT_H

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

#include "base/err.h"
#include "loop/loop.h"

struct grpc_client;

struct grpc_client_call {
	/* NULL, or: one response message, unpacked with the default allocator; freed after the
	 * callback unless it is taken by storing NULL in *message. */
	void (*on_message)(struct grpc_client_call *, ProtobufCMessage **message);
	void (*on_done)(struct grpc_client_call *); /* look at err */
	struct err err;                             /* ERR_NONE: status OK */
	const ProtobufCMessageDescriptor *response;
	int64_t sent_ns, done_ns; /* clock_mono_ns(): request handed to the socket, trailers in */
	/* private */
	struct grpc_client *client;
	void *stream;
	struct loop_timer deadline;
};

/* unix:///path or a bare path. Connects at once; an error names the path. */
struct grpc_client *grpc_client_open(const char *endpoint, struct err *err);
/* Calls in flight end with CANCELLED first. Not from inside on_message or on_done. */
void grpc_client_close(struct grpc_client *c);

/* path: "/runtime.v1.RuntimeService/Version". timeout_ms 0: none; also sent as grpc-timeout. */
void grpc_client_call(struct grpc_client *c, struct grpc_client_call *call, const char *path,
    const ProtobufCMessage *request, int64_t timeout_ms);
/* on_done follows from the loop. */
void grpc_client_cancel(struct grpc_client_call *call);

/* Run the loop until the call's answer: the response (the caller frees it with
 * protobuf_c_message_free_unpacked(m, NULL)), or NULL with *err. Not for streams. */
ProtobufCMessage *grpc_client_unary(struct grpc_client *c, const char *path,
    const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response, int64_t timeout_ms,
    struct err *err);

#endif
