/* SPDX-License-Identifier: Apache-2.0
 *
 * run: a pod with one container, its output shown, removed when it ends.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/id.h"
#include "base/macros.h"
#include "base/xalloc.h"
#include "cli/cli.h"
#include "proto/cri.pb-c.h"

struct one_shot {
	Runtime__V1__PodSandboxConfig pod;
	Runtime__V1__PodSandboxMetadata pod_name;
	Runtime__V1__LinuxPodSandboxConfig linux_pod;
	Runtime__V1__LinuxSandboxSecurityContext context;
	Runtime__V1__NamespaceOption ns;
	Runtime__V1__ContainerConfig ctr;
	Runtime__V1__ContainerMetadata ctr_name;
	Runtime__V1__ImageSpec image;
	char *logs;
	char uid[ID_SIZE];
	char *pod_id, *ctr_id;
};

static void
describe(struct one_shot *o, const char *name, bool host_network, char **argv, int argc)
{
	runtime__v1__pod_sandbox_config__init(&o->pod);
	runtime__v1__pod_sandbox_metadata__init(&o->pod_name);
	runtime__v1__linux_pod_sandbox_config__init(&o->linux_pod);
	runtime__v1__linux_sandbox_security_context__init(&o->context);
	runtime__v1__namespace_option__init(&o->ns);
	runtime__v1__container_config__init(&o->ctr);
	runtime__v1__container_metadata__init(&o->ctr_name);
	runtime__v1__image_spec__init(&o->image);
	id_new(o->uid);
	o->pod_name.name = (char *)(uintptr_t)name;
	o->pod_name.namespace_ = (char *)(uintptr_t)"coracle-run";
	o->pod_name.uid = o->uid;
	o->pod.metadata = &o->pod_name;
	o->pod.log_directory = o->logs;
	o->pod.linux = &o->linux_pod;
	o->linux_pod.security_context = &o->context;
	o->context.namespace_options = &o->ns;
	o->ns.pid = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
	o->ns.network = host_network ? RUNTIME__V1__NAMESPACE_MODE__NODE
	                             : RUNTIME__V1__NAMESPACE_MODE__POD;
	o->ctr_name.name = (char *)(uintptr_t)name;
	o->ctr.metadata = &o->ctr_name;
	o->image.image = argv[0];
	o->ctr.image = &o->image;
	o->ctr.args = argv + 1;
	o->ctr.n_args = (size_t)(argc - 1);
	o->ctr.log_path = (char *)(uintptr_t)"log";
}

static int
pull_if_absent(struct one_shot *o, struct err *err)
{
	Runtime__V1__ImageStatusRequest look = RUNTIME__V1__IMAGE_STATUS_REQUEST__INIT;
	Runtime__V1__PullImageRequest pull = RUNTIME__V1__PULL_IMAGE_REQUEST__INIT;
	Runtime__V1__ImageStatusResponse *m;
	ProtobufCMessage *pulled;
	bool there;

	look.image = pull.image = &o->image;
	m = (void *)cli_image("ImageStatus", &look,
	    &runtime__v1__image_status_response__descriptor, cli_timeout_ms, err);
	if (m == NULL)
		return -1;
	there = m->image != NULL;
	cli_free(m);
	if (there)
		return 0;
	pulled = cli_image("PullImage", &pull, &runtime__v1__pull_image_response__descriptor, 0, err);
	cli_free(pulled);
	return pulled != NULL ? 0 : err_wrap(err, "pull %s", o->image.image);
}

static int
begin(struct one_shot *o, struct err *err)
{
	Runtime__V1__RunPodSandboxRequest run = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
	Runtime__V1__CreateContainerRequest create = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
	Runtime__V1__StartContainerRequest start = RUNTIME__V1__START_CONTAINER_REQUEST__INIT;
	Runtime__V1__RunPodSandboxResponse *pod;
	Runtime__V1__CreateContainerResponse *ctr;
	ProtobufCMessage *started;

	if (pull_if_absent(o, err) < 0)
		return -1;
	run.config = &o->pod;
	pod = (void *)cli_runtime("RunPodSandbox", &run,
	    &runtime__v1__run_pod_sandbox_response__descriptor, 2 * cli_timeout_ms, err);
	if (pod == NULL)
		return -1;
	o->pod_id = xstrdup(pod->pod_sandbox_id);
	cli_free(pod);
	create.pod_sandbox_id = o->pod_id;
	create.config = &o->ctr;
	create.sandbox_config = &o->pod;
	ctr = (void *)cli_runtime("CreateContainer", &create,
	    &runtime__v1__create_container_response__descriptor, cli_timeout_ms, err);
	if (ctr == NULL)
		return -1;
	o->ctr_id = xstrdup(ctr->container_id);
	cli_free(ctr);
	start.container_id = o->ctr_id;
	started = cli_runtime("StartContainer", &start,
	    &runtime__v1__start_container_response__descriptor, cli_timeout_ms, err);
	cli_free(started);
	return started != NULL ? 0 : -1;
}

static int
exit_code(const struct one_shot *o)
{
	Runtime__V1__ContainerStatusRequest req = RUNTIME__V1__CONTAINER_STATUS_REQUEST__INIT;
	Runtime__V1__ContainerStatusResponse *m;
	struct err err;
	int ret;

	req.container_id = o->ctr_id;
	m = (void *)cli_runtime("ContainerStatus", &req,
	    &runtime__v1__container_status_response__descriptor, cli_timeout_ms, &err);
	if (m == NULL)
		return cli_fail(&err);
	ret = m->status->exit_code;
	cli_free(m);
	return ret;
}

int
cmd_run(int argc, char **argv)
{
	static const struct option options[] = {{"name", required_argument, NULL, 'n'},
	    {"host-network", no_argument, NULL, 'H'}, {NULL, 0, NULL, 0}};
	char logs[] = "/tmp/coracle-run-XXXXXX";
	const char *name = "run";
	bool host_network = false;
	struct one_shot o = {0};
	struct err err;
	int c, ret;

	while ((c = getopt_long(argc, argv, "+n:", options, NULL)) != -1) {
		if (c == 'n')
			name = optarg;
		else if (c == 'H')
			host_network = true;
		else
			return cli_usage("run [--name NAME] [--host-network] IMAGE [COMMAND…]");
	}
	if (optind == argc)
		return cli_usage("run [--name NAME] [--host-network] IMAGE [COMMAND…]");
	if (mkdtemp(logs) == NULL)
		return cli_usage("cannot make a directory for the log in /tmp");
	o.logs = logs;
	describe(&o, name, host_network, argv + optind, argc - optind);
	if (begin(&o, &err) < 0) {
		ret = cli_fail(&err);
	} else {
		optind = 1;
		cmd_logs(3, (char *[]){(char *)(uintptr_t)"logs", (char *)(uintptr_t)"-f", o.ctr_id,
		                NULL});
		ret = exit_code(&o);
	}
	if (o.pod_id != NULL) {
		FILE *quiet = freopen("/dev/null", "w", stdout);

		(void)quiet;
		cmd_rmp(2, (char *[]){(char *)(uintptr_t)"rmp", o.pod_id, NULL});
	}
	if (fd_remove_tree(AT_FDCWD, logs, &err) < 0)
		cli_fail(&err);
	free(o.pod_id);
	free(o.ctr_id);
	return ret;
}
