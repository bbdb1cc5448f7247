/* SPDX-License-Identifier: Apache-2.0
 *
 * The node: everything coracled has one of. One process is one node, so this is the one object that
 * is global, beside the loop, the log and the trace ring; main() fills it in, in this order.
 */
#ifndef POD_NODE_H
#define POD_NODE_H

#include <stdbool.h>

#include "pod/container.h"
#include "pod/index.h"
#include "pod/sandbox.h"

struct config;
struct db;
struct image_store;
struct keeper;
struct net;

struct node {
	const struct config *config;
	struct db *db;
	struct image_store *images;
	struct keeper *keeper;
	struct net *net;

	struct sandbox_list sandboxes; /* oldest first */
	struct index sandbox_by_id, sandbox_by_name;
	struct container_list containers;
	struct index container_by_id, container_by_name;

	char boot_id[40]; /* of the running kernel: a row from another boot has no resources left */
	char hostname[65];
	int root_fd, state_fd; /* directories of config->root and config->state */
};

extern struct node node;

void node_init(const struct config *config);

#endif
