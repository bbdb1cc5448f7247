/* SPDX-License-Identifier: Apache-2.0
 *
 * The server side of gRPC over HTTP/2
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md): methods by path, one struct
 * grpc_call per request in flight.
 *
 * Life cycle of a call: the whole request arrives, is unpacked into call->arena, and the method's
 * handle() runs. It, or something it started, must end the call exactly once by grpc_reply(),
 * grpc_fail() or, for a streaming method, any number of grpc_send() and then grpc_finish() or
 * grpc_fail(). The call is freed by that; nothing of it or of its arena may be touched afterwards.
 *
 * When the client goes away, resets the stream, or its deadline passes first, call->gone becomes
 * true, and the op in call->op is cancelled (or call->on_gone is called once). The call still has
 * to be ended by its owner; what it replies is then dropped.
 */
#ifndef GRPC_SERVER_H
#define GRPC_SERVER_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/err.h"

struct grpc_server;
struct grpc_call;
struct op;

enum { GRPC_MAX_MESSAGE = 16 * 1024 * 1024 };

enum grpc_method_flags {
	GRPC_STREAM = 1 << 0, /* the response is a stream */
	GRPC_EARLY = 1 << 1   /* served before grpc_server_set_ready() */
};

struct grpc_method {
	const char *name; /* "RunPodSandbox" */
	const ProtobufCMessageDescriptor *request;
	/* request is unpacked into call->arena */
	void (*handle)(struct grpc_call *call, const ProtobufCMessage *request);
	unsigned flags;
};

struct grpc_call {
	struct arena arena;
	const struct grpc_method *method;
	const char *path;    /* "/runtime.v1.RuntimeService/RunPodSandbox" */
	const char *service; /* "runtime.v1.RuntimeService", as it was registered */
	int64_t deadline_ms; /* loop_now_ms() scale; 0: none */
	int64_t received_ns; /* clock_mono_ns() when the headers came */
	pid_t peer_pid;      /* SO_PEERCRED */
	uid_t peer_uid;
	const char *traceparent; /* header value or NULL */
	bool gone;
	struct op *op; /* set by the handler: cancelled when the client goes */
	void (*on_gone)(struct grpc_call *); /* for handlers without an op */
	void (*on_writable)(
	    struct grpc_call *); /* streams: grpc_backlog() fell below its low mark */
	void *owner;             /* the handler's object, for on_gone and on_writable */
};

/* A service: its full name ("runtime.v1.RuntimeService") and its methods. The table is not copied.
 * Unknown methods and services are answered UNIMPLEMENTED. */
void grpc_server_add(
    struct grpc_server *s, const char *service, const struct grpc_method *const *methods, size_t n);

struct grpc_server *grpc_server_new(void);

/* Listen on a unix socket, made with mode 0660; a stale socket file is replaced, a live one is an
 * error (ALREADY_EXISTS). May be called for several paths. */
int grpc_server_listen(struct grpc_server *s, const char *path, struct err *err);
/* The same for a listening socket that was inherited (systemd socket activation). The fd is taken.
 */
int grpc_server_listen_fd(struct grpc_server *s, int fd, struct err *err);

/* Until then every method without GRPC_EARLY answers UNAVAILABLE "server is not initialized yet".
 */
void grpc_server_set_ready(struct grpc_server *s);

/* Stop accepting, send GOAWAY, let calls in flight end; drained() when none is left. */
void grpc_server_drain(struct grpc_server *s, void (*drained)(struct grpc_server *));
/* Closes what is left at once. Calls still held by handlers are theirs to end, as ever. Not from
 * inside a handler. */
void grpc_server_free(struct grpc_server *s);

/* Called at the end of every call, for metrics: status and the time since its headers came. */
extern void (*grpc_observe)(const struct grpc_call *call, enum err_code status, int64_t took_ns);

void grpc_reply(struct grpc_call *call, const ProtobufCMessage *response);
/* As grpc_reply with the message already packed (n bytes, copied). */
void grpc_reply_packed(struct grpc_call *call, const void *p, size_t n);
void grpc_fail(struct grpc_call *call, const struct err *err);

/* Streaming: queue one message. Bytes queued and not yet taken by the socket: grpc_backlog(). */
void grpc_send(struct grpc_call *call, const ProtobufCMessage *message);
size_t grpc_backlog(const struct grpc_call *call);
void grpc_finish(struct grpc_call *call);

/* Shorthand: the arena as protobuf-c allocator, and a new message of the call. */
#define grpc_new(call, type, init)                                                                 \
	({                                                                                         \
		type *m_ = arena_alloc(&(call)->arena, sizeof(type));                              \
		init(m_);                                                                          \
		m_;                                                                                \
	})

#endif
