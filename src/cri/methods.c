/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables of the two services. The older API has the same methods but for those that came with v1
 * later: these it answers with UNIMPLEMENTED, as its clients expect.
 */
#include "cri/methods.h"

#include "base/macros.h"

static const struct grpc_method *const runtime_v1[] = {
    &cri_version,
    &cri_run_pod_sandbox,
    &cri_stop_pod_sandbox,
    &cri_remove_pod_sandbox,
    &cri_pod_sandbox_status,
    &cri_list_pod_sandbox,
    &cri_create_container,
    &cri_start_container,
    &cri_stop_container,
    &cri_remove_container,
    &cri_list_containers,
    &cri_container_status,
    &cri_update_container_resources,
    &cri_reopen_container_log,
    &cri_exec_sync,
    &cri_exec,
    &cri_attach,
    &cri_port_forward,
    &cri_container_stats,
    &cri_list_container_stats,
    &cri_pod_sandbox_stats,
    &cri_list_pod_sandbox_stats,
    &cri_update_runtime_config,
    &cri_status,
    /* Only in v1. */
    &cri_stream_pod_sandboxes,
    &cri_stream_containers,
    &cri_stream_container_stats,
    &cri_stream_pod_sandbox_stats,
    &cri_get_container_events,
    &cri_list_metric_descriptors,
    &cri_list_pod_sandbox_metrics,
    &cri_stream_pod_sandbox_metrics,
    &cri_runtime_config,
    &cri_update_pod_sandbox_resources,
};

static const struct grpc_method *const image_v1[] = {
    &cri_list_images,
    &cri_image_status,
    &cri_pull_image,
    &cri_remove_image,
    &cri_image_fs_info,
    /* Only in v1. */
    &cri_stream_images,
};

enum { N_RUNTIME_V1ALPHA2 = 24, N_IMAGE_V1ALPHA2 = 5 };

void
cri_register(struct grpc_server *server)
{
	grpc_server_add(server, "runtime.v1.RuntimeService", runtime_v1, ARRAY_SIZE(runtime_v1));
	grpc_server_add(server, "runtime.v1.ImageService", image_v1, ARRAY_SIZE(image_v1));
	grpc_server_add(server, "runtime.v1alpha2.RuntimeService", runtime_v1, N_RUNTIME_V1ALPHA2);
	grpc_server_add(server, "runtime.v1alpha2.ImageService", image_v1, N_IMAGE_V1ALPHA2);
}
