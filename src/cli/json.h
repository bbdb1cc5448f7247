/* SPDX-License-Identifier: Apache-2.0
 *
 * Protobuf messages from and to JSON, by their descriptors. Names are taken in the proto's spelling
 * or in camel case; maps are objects; enums are numbers or names.
 */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

#include "base/err.h"

/* NULL with *err naming the key ("linux.security_context: …"); freed with
 * protobuf_c_message_free_unpacked(m, NULL). */
ProtobufCMessage *json_to_message(const json_t *o, const ProtobufCMessageDescriptor *d,
    struct err *err);

/* The file's, "-" for stdin; errors name file and line. */
ProtobufCMessage *json_read_message(const char *path, const ProtobufCMessageDescriptor *d,
    struct err *err);

json_t *json_of_message(const ProtobufCMessage *m); /* the caller's reference */

#endif
