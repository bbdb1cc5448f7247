/* SPDX-License-Identifier: Apache-2.0
 *
 * Mounts, devices and masks of a launch, and images and configurations that try to get out.
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
