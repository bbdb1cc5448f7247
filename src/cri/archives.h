/* SPDX-License-Identifier: Apache-2.0
 *
 * ImportImages and ExportImages of the Control service, and the archives that are loaded at start.
 */
#ifndef CRI_ARCHIVES_H
#define CRI_ARCHIVES_H

#include "grpc/server.h"

extern const struct grpc_method control_import_images, control_export_images;

/* Import every file of a directory, in the order of their names; what fails is logged. NULL: none. */
void archives_preload(const char *dir);

#endif
