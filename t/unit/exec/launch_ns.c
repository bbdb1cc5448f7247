/* SPDX-License-Identifier: Apache-2.0
 *
 * Namespaces of pods: made, pinned, joined, and held.
 */
#include "box.h"

int
main(int argc, char **argv)
{
	struct box b;

	launch_holder_main(argc, argv);
	box_setup();
	box_init(&b, "cat /etc/motd");
	box_says(&b, "hello\n", "runs");
	return tap_done();
}
