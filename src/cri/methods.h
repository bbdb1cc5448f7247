/* SPDX-License-Identifier: Apache-2.0
 *
 * The methods of the CRI, one struct each, at the end of the file named after it.
 */
#ifndef CRI_METHODS_H
#define CRI_METHODS_H

#include <stdlib.h>
#include <string.h>

#include "grpc/server.h"
#include "proto/cri.pb-c.h"

extern const struct grpc_method cri_version, cri_run_pod_sandbox, cri_stop_pod_sandbox,
    cri_remove_pod_sandbox, cri_pod_sandbox_status, cri_list_pod_sandbox, cri_stream_pod_sandboxes,
    cri_create_container, cri_start_container, cri_stop_container, cri_remove_container,
    cri_list_containers, cri_stream_containers, cri_container_status,
    cri_update_container_resources, cri_reopen_container_log, cri_exec_sync, cri_exec, cri_attach,
    cri_port_forward, cri_container_stats,
    cri_list_container_stats, cri_stream_container_stats, cri_pod_sandbox_stats,
    cri_list_pod_sandbox_stats, cri_stream_pod_sandbox_stats, cri_update_runtime_config, cri_status,
    cri_get_container_events, cri_list_metric_descriptors, cri_list_pod_sandbox_metrics,
    cri_stream_pod_sandbox_metrics, cri_runtime_config, cri_update_pod_sandbox_resources, cri_list_images, cri_stream_images,
    cri_image_status, cri_pull_image, cri_remove_image, cri_image_fs_info;

/* Registers runtime.v1 and runtime.v1alpha2, RuntimeService and ImageService. */
void cri_register(struct grpc_server *server);

/* The generated structs are not const-correct; nothing is written through what is lent to them. */
/* What verbose Status and `coracle info` tell: one JSON object, in the arena. */
struct arena;
const char *status_info(struct arena *a);

#define LEND(s) ((char *)(uintptr_t)(s))

#endif
