/* SPDX-License-Identifier: Apache-2.0
 *
 * What protobuf-c does not check of bytes from outside before it unpacks them: that strings are
 * UTF-8 (and hold no NUL, at which a C string would silently end), how deep messages nest, and how
 * much memory they take, which may be many times their size on the wire.
 */
#ifndef GRPC_PROTO_CHECK_H
#define GRPC_PROTO_CHECK_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#include "base/err.h"

/* 0 and an upper bound of what protobuf_c_message_unpack() will allocate, or -1: INTERNAL when the
 * bytes are no such message (as grpc-go says it), INVALID_ARGUMENT when a string is no UTF-8; the
 * error names the field by its path. */
int proto_check(const ProtobufCMessageDescriptor *d, const void *p, size_t n, size_t *ret_cost,
    struct err *err);

#endif
