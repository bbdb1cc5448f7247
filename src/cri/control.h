/* SPDX-License-Identifier: Apache-2.0
 *
 * coracle.v1.Control, our own small service beside the CRI: see proto/control.proto.
 */
#ifndef CRI_CONTROL_H
#define CRI_CONTROL_H

struct config;
struct grpc_server;

/* config: the one in force, whose live values a reload replaces; path: its file. */
void control_init(struct config *config, const char *path);
void control_register(struct grpc_server *server);
void control_reload(void); /* SIGHUP: log level, trace, pinned images, download limits */

#endif
