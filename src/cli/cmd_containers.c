/* SPDX-License-Identifier: Apache-2.0
 *
 * create, start, ps, inspect, stats, exec, stop, rm.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "proto/cri.pb-c.h"

int
cmd_create(int argc, char **argv)
{
	Runtime__V1__CreateContainerRequest req = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
	Runtime__V1__CreateContainerResponse *m = NULL;
	struct err err;

	if (argc != 4)
		return cli_usage("create POD CONTAINER.json POD.json");
	req.pod_sandbox_id = argv[1];
	req.config = (void *)json_read_message(argv[2],
	    &runtime__v1__container_config__descriptor, &err);
	if (req.config != NULL)
		req.sandbox_config = (void *)json_read_message(argv[3],
		    &runtime__v1__pod_sandbox_config__descriptor, &err);
	if (req.sandbox_config != NULL)
		m = (void *)cli_runtime("CreateContainer", &req,
		    &runtime__v1__create_container_response__descriptor, cli_timeout_ms, &err);
	cli_free(req.config);
	cli_free(req.sandbox_config);
	if (m == NULL)
		return cli_fail(&err);
	printf("%s\n", m->container_id);
	cli_free(m);
	return 0;
}

int
cmd_start(int argc, char **argv)
{
	int ret = 0;

	if (argc < 2)
		return cli_usage("start CONTAINER…");
	for (int i = 1; i < argc; i++) {
		Runtime__V1__StartContainerRequest req = RUNTIME__V1__START_CONTAINER_REQUEST__INIT;
		ProtobufCMessage *m;
		struct err err;

		req.container_id = argv[i];
		m = cli_runtime("StartContainer", &req,
		    &runtime__v1__start_container_response__descriptor, cli_timeout_ms, &err);
		if (m == NULL)
			ret = cli_fail(&err);
		else
			printf("%s\n", argv[i]);
		cli_free(m);
	}
	return ret;
}

int
cmd_stop(int argc, char **argv)
{
	static const struct option options[] = {
	    {"timeout", required_argument, NULL, 't'}, {NULL, 0, NULL, 0}};
	uint32_t grace = 10;
	int c, ret = 0;

	while ((c = getopt_long(argc, argv, "+t:", options, NULL)) != -1)
		if (c != 't' || str_u32(optarg, INT32_MAX, &grace) < 0)
			return cli_usage("stop [--timeout SECONDS] CONTAINER…");
	if (optind == argc)
		return cli_usage("stop [--timeout SECONDS] CONTAINER…");
	for (int i = optind; i < argc; i++) {
		Runtime__V1__StopContainerRequest req = RUNTIME__V1__STOP_CONTAINER_REQUEST__INIT;
		ProtobufCMessage *m;
		struct err err;

		req.container_id = argv[i];
		req.timeout = grace;
		m = cli_runtime("StopContainer", &req,
		    &runtime__v1__stop_container_response__descriptor,
		    cli_timeout_ms + (int64_t)grace * 1000, &err);
		if (m == NULL)
			ret = cli_fail(&err);
		else
			printf("%s\n", argv[i]);
		cli_free(m);
	}
	return ret;
}

int
cmd_rm(int argc, char **argv)
{
	int ret = 0;

	if (argc < 2)
		return cli_usage("rm CONTAINER…");
	for (int i = 1; i < argc; i++) {
		Runtime__V1__RemoveContainerRequest req = RUNTIME__V1__REMOVE_CONTAINER_REQUEST__INIT;
		ProtobufCMessage *m;
		struct err err;

		req.container_id = argv[i];
		m = cli_runtime("RemoveContainer", &req,
		    &runtime__v1__remove_container_response__descriptor, cli_timeout_ms, &err);
		if (m == NULL)
			ret = cli_fail(&err);
		else
			printf("%s\n", argv[i]);
		cli_free(m);
	}
	return ret;
}

static const char *
state_name(Runtime__V1__ContainerState s)
{
	static const char *const names[] = {"Created", "Running", "Exited", "Unknown"};

	return (unsigned)s < ARRAY_SIZE(names) ? names[s] : "?";
}

int
cmd_ps(int argc, char **argv)
{
	static const char *const header[] = {
	    "CONTAINER", "IMAGE", "CREATED", "STATE", "NAME", "ATTEMPT", "POD ID"};
	static const struct option options[] = {{"all", no_argument, NULL, 'a'}, {NULL, 0, NULL, 0}};
	Runtime__V1__ListContainersRequest req = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
	Runtime__V1__ContainerFilter filter = RUNTIME__V1__CONTAINER_FILTER__INIT;
	Runtime__V1__ContainerStateValue running = RUNTIME__V1__CONTAINER_STATE_VALUE__INIT;
	Runtime__V1__ListContainersResponse *m;
	bool all = false;
	struct err err;
	int c;

	while ((c = getopt_long(argc, argv, "+a", options, NULL)) != -1) {
		if (c != 'a')
			return cli_usage("ps [--all]");
		all = true;
	}
	running.state = RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
	filter.state = all ? NULL : &running;
	req.filter = &filter;
	m = (void *)cli_runtime("ListContainers", &req,
	    &runtime__v1__list_containers_response__descriptor, cli_timeout_ms, &err);
	if (m == NULL)
		return cli_fail(&err);
	if (cli_json) {
		cli_print_json(&m->base);
		cli_free(m);
		return 0;
	}
	cli_table(header, ARRAY_SIZE(header));
	for (size_t i = 0; i < m->n_containers; i++) {
		const Runtime__V1__Container *k = m->containers[i];
		char attempt[16];

		snprintf(attempt, sizeof(attempt), "%u", k->metadata->attempt);
		cli_row((const char *[]){cli_short(k->id),
		    str_starts(k->image->image, "sha256:") ? cli_short(k->image->image)
		                                            : k->image->image,
		    cli_ago(k->created_at), state_name(k->state), k->metadata->name, attempt,
		    cli_short(k->pod_sandbox_id)});
	}
	cli_table_end();
	cli_free(m);
	return 0;
}

int
cmd_inspect(int argc, char **argv)
{
	Runtime__V1__ContainerStatusRequest req = RUNTIME__V1__CONTAINER_STATUS_REQUEST__INIT;
	ProtobufCMessage *m;
	struct err err;

	if (argc != 2)
		return cli_usage("inspect CONTAINER");
	req.container_id = argv[1];
	req.verbose = true;
	m = cli_runtime("ContainerStatus", &req, &runtime__v1__container_status_response__descriptor,
	    cli_timeout_ms, &err);
	if (m == NULL)
		return cli_fail(&err);
	cli_print_json(m);
	cli_free(m);
	return 0;
}

static uint64_t
number(const Runtime__V1__UInt64Value *v)
{
	return v != NULL ? v->value : 0;
}

int
cmd_stats(int argc, char **argv)
{
	static const char *const header[] = {"CONTAINER", "NAME", "CPU %", "CPU TIME", "MEMORY", "DISK"};
	Runtime__V1__ListContainerStatsRequest req = RUNTIME__V1__LIST_CONTAINER_STATS_REQUEST__INIT;
	Runtime__V1__ListContainerStatsResponse *m;
	struct err err;

	(void)argv;
	if (argc != 1)
		return cli_usage("stats takes no arguments");
	m = (void *)cli_runtime("ListContainerStats", &req,
	    &runtime__v1__list_container_stats_response__descriptor, cli_timeout_ms, &err);
	if (m == NULL)
		return cli_fail(&err);
	if (cli_json) {
		cli_print_json(&m->base);
		cli_free(m);
		return 0;
	}
	cli_table(header, ARRAY_SIZE(header));
	for (size_t i = 0; i < m->n_stats; i++) {
		const Runtime__V1__ContainerStats *s = m->stats[i];
		char cpu[32], used[32];

		if (s->cpu == NULL || s->memory == NULL)
			continue;
		snprintf(cpu, sizeof(cpu), "%.2f", (double)number(s->cpu->usage_nano_cores) / 1e7);
		snprintf(used, sizeof(used), "%.3fs",
		    (double)number(s->cpu->usage_core_nano_seconds) / 1e9);
		cli_row((const char *[]){cli_short(s->attributes->id),
		    s->attributes->metadata->name, cpu, used,
		    cli_size(number(s->memory->working_set_bytes)),
		    s->writable_layer != NULL ? cli_size(number(s->writable_layer->used_bytes))
		                              : "-"});
	}
	cli_table_end();
	cli_free(m);
	return 0;
}

int
cmd_exec(int argc, char **argv)
{
	static const struct option options[] = {
	    {"timeout", required_argument, NULL, 't'}, {NULL, 0, NULL, 0}};
	Runtime__V1__ExecSyncRequest req = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
	Runtime__V1__ExecSyncResponse *m;
	uint32_t seconds = 0;
	struct err err;
	int c, ret;

	while ((c = getopt_long(argc, argv, "+t:", options, NULL)) != -1)
		if (c != 't' || str_u32(optarg, INT32_MAX, &seconds) < 0)
			return cli_usage("exec [--timeout SECONDS] CONTAINER COMMAND…");
	if (argc - optind < 2)
		return cli_usage("exec [--timeout SECONDS] CONTAINER COMMAND…");
	req.container_id = argv[optind];
	req.cmd = argv + optind + 1;
	req.n_cmd = (size_t)(argc - optind - 1);
	req.timeout = seconds;
	m = (void *)cli_runtime("ExecSync", &req, &runtime__v1__exec_sync_response__descriptor,
	    seconds > 0 ? cli_timeout_ms + (int64_t)seconds * 1000 : 0, &err);
	if (m == NULL)
		return cli_fail(&err);
	ret = m->exit_code;
	if (fd_write_all(STDOUT_FILENO, m->stdout.data, m->stdout.len) < 0 ||
	    fd_write_all(STDERR_FILENO, m->stderr.data, m->stderr.len) < 0)
		ret = 1;
	cli_free(m);
	return ret;
}
