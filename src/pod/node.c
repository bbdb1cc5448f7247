/* SPDX-License-Identifier: Apache-2.0
 *
 * The node: see node.h.
 */
#include "pod/node.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "pod/config.h"

struct node node = {.root_fd = -1, .state_fd = -1};

void
node_init(const struct config *config)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct err ignored;

	node = (struct node){.config = config, .root_fd = -1, .state_fd = -1};
	TAILQ_INIT(&node.sandboxes);
	TAILQ_INIT(&node.containers);
	if (fd_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &b, &ignored) == 0)
		snprintf(node.boot_id, sizeof(node.boot_id), "%.*s",
		    (int)strcspn(b.data, "\n"), b.data);
	if (gethostname(node.hostname, sizeof(node.hostname)) < 0)
		snprintf(node.hostname, sizeof(node.hostname), "localhost");
	node.hostname[sizeof(node.hostname) - 1] = '\0';
}
