/* SPDX-License-Identifier: Apache-2.0
 *
 * runp, pods, inspectp, stopp, rmp.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "proto/cri.pb-c.h"

int
cmd_runp(int argc, char **argv)
{
	Runtime__V1__RunPodSandboxRequest req = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
	Runtime__V1__RunPodSandboxResponse *m;
	struct err err;

	if (argc != 2)
		return cli_usage("runp POD.json: a PodSandboxConfig, \"-\" for stdin");
	req.config = (void *)json_read_message(argv[1],
	    &runtime__v1__pod_sandbox_config__descriptor, &err);
	if (req.config == NULL)
		return cli_fail(&err);
	m = (void *)cli_runtime("RunPodSandbox", &req,
	    &runtime__v1__run_pod_sandbox_response__descriptor, 2 * cli_timeout_ms, &err);
	cli_free(req.config);
	if (m == NULL)
		return cli_fail(&err);
	printf("%s\n", m->pod_sandbox_id);
	cli_free(m);
	return 0;
}

int
cmd_pods(int argc, char **argv)
{
	static const char *const header[] = {
	    "POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT"};
	Runtime__V1__ListPodSandboxRequest req = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
	Runtime__V1__ListPodSandboxResponse *m;
	struct err err;

	(void)argv;
	if (argc != 1)
		return cli_usage("pods takes no arguments");
	m = (void *)cli_runtime("ListPodSandbox", &req,
	    &runtime__v1__list_pod_sandbox_response__descriptor, cli_timeout_ms, &err);
	if (m == NULL)
		return cli_fail(&err);
	if (cli_json) {
		cli_print_json(&m->base);
		cli_free(m);
		return 0;
	}
	cli_table(header, ARRAY_SIZE(header));
	for (size_t i = 0; i < m->n_items; i++) {
		const Runtime__V1__PodSandbox *p = m->items[i];
		char attempt[16];

		snprintf(attempt, sizeof(attempt), "%u", p->metadata->attempt);
		cli_row((const char *[]){cli_short(p->id), cli_ago(p->created_at),
		    p->state == RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY ? "Ready" : "NotReady",
		    p->metadata->name, p->metadata->namespace_, attempt});
	}
	cli_table_end();
	cli_free(m);
	return 0;
}

int
cmd_inspectp(int argc, char **argv)
{
	Runtime__V1__PodSandboxStatusRequest req = RUNTIME__V1__POD_SANDBOX_STATUS_REQUEST__INIT;
	ProtobufCMessage *m;
	struct err err;

	if (argc != 2)
		return cli_usage("inspectp POD");
	req.pod_sandbox_id = argv[1];
	req.verbose = true;
	m = cli_runtime("PodSandboxStatus", &req,
	    &runtime__v1__pod_sandbox_status_response__descriptor, cli_timeout_ms, &err);
	if (m == NULL)
		return cli_fail(&err);
	cli_print_json(m);
	cli_free(m);
	return 0;
}

static int
stop(const char *id, struct err *err)
{
	Runtime__V1__StopPodSandboxRequest req = RUNTIME__V1__STOP_POD_SANDBOX_REQUEST__INIT;
	ProtobufCMessage *m;

	req.pod_sandbox_id = (char *)(uintptr_t)id;
	m = cli_runtime("StopPodSandbox", &req, &runtime__v1__stop_pod_sandbox_response__descriptor,
	    cli_timeout_ms, err);
	cli_free(m);
	return m != NULL ? 0 : -1;
}

static int
remove_pod(const char *id, struct err *err)
{
	Runtime__V1__RemovePodSandboxRequest req = RUNTIME__V1__REMOVE_POD_SANDBOX_REQUEST__INIT;
	ProtobufCMessage *m;

	req.pod_sandbox_id = (char *)(uintptr_t)id;
	if (stop(id, err) < 0)
		return -1;
	m = cli_runtime("RemovePodSandbox", &req,
	    &runtime__v1__remove_pod_sandbox_response__descriptor, cli_timeout_ms, err);
	cli_free(m);
	return m != NULL ? 0 : -1;
}

static int
each(int argc, char **argv, int (*act)(const char *, struct err *))
{
	int ret = 0;

	if (argc < 2)
		return cli_usage("%s POD…", argv[0]);
	for (int i = 1; i < argc; i++) {
		struct err err;

		if (act(argv[i], &err) < 0)
			ret = cli_fail(&err);
		else
			printf("%s\n", argv[i]);
	}
	return ret;
}

int
cmd_stopp(int argc, char **argv)
{
	return each(argc, argv, stop);
}

int
cmd_rmp(int argc, char **argv)
{
	return each(argc, argv, remove_pod);
}
