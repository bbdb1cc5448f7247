/* SPDX-License-Identifier: Apache-2.0
 *
 * coracled: options, wiring, signals, order of shutdown.
 */
int
main(void)
{
	return 0;
}
