/* SPDX-License-Identifier: Apache-2.0
 *
 * Functions that have a safer twin. Included into every file by the compiler's command line.
 */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC poison strcpy strcat sprintf vsprintf strtok gets atoi atol atoll

#endif
