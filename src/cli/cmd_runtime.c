/* SPDX-License-Identifier: Apache-2.0
 *
 * version, info, ops, log-level, reload, events.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/macros.h"
#include "cli/cli.h"
#include "grpc/client.h"
#include "proto/control.pb-c.h"
#include "proto/cri.pb-c.h"

int
cmd_version(int argc, char **argv)
{
	Runtime__V1__VersionRequest req = RUNTIME__V1__VERSION_REQUEST__INIT;
	Runtime__V1__VersionResponse *m;
	struct err err;

	(void)argv;
	if (argc != 1)
		return cli_usage("version takes no arguments");
	m = (void *)cli_runtime("Version", &req, &runtime__v1__version_response__descriptor,
	    cli_timeout_ms, &err);
	if (m == NULL)
		return cli_fail(&err);
	if (cli_json)
		cli_print_json(&m->base);
	else
		printf("coracle %s\n%s %s (API %s)\n", PACKAGE_VERSION, m->runtime_name,
		    m->runtime_version, m->runtime_api_version);
	cli_free(m);
	return 0;
}

static void
print_status(const Runtime__V1__StatusResponse *m)
{
	for (size_t i = 0; m->status != NULL && i < m->status->n_conditions; i++) {
		const Runtime__V1__RuntimeCondition *c = m->status->conditions[i];

		printf("%s: %s%s%s\n", c->type, c->status ? "yes" : "no, ",
		    c->status ? "" : c->message, "");
	}
	for (size_t i = 0; i < m->n_info; i++)
		printf("%s: %s\n", m->info[i]->key, m->info[i]->value);
}

int
cmd_info(int argc, char **argv)
{
	Runtime__V1__StatusRequest req = RUNTIME__V1__STATUS_REQUEST__INIT;
	Runtime__V1__StatusResponse *m;
	struct err err;

	(void)argv;
	if (argc != 1)
		return cli_usage("info takes no arguments");
	req.verbose = true;
	m = (void *)cli_runtime("Status", &req, &runtime__v1__status_response__descriptor,
	    cli_timeout_ms, &err);
	if (m == NULL)
		return cli_fail(&err);
	if (cli_json)
		cli_print_json(&m->base);
	else
		print_status(m);
	cli_free(m);
	return 0;
}

int
cmd_ops(int argc, char **argv)
{
	static const char *const header[] = {"OPERATION", "OBJECT", "STEP", "IN STEP", "AGE"};
	Coracle__V1__ListOperationsRequest req = CORACLE__V1__LIST_OPERATIONS_REQUEST__INIT;
	Coracle__V1__ListOperationsResponse *m;
	struct err err;

	(void)argv;
	if (argc != 1)
		return cli_usage("ops takes no arguments");
	m = (void *)cli_control("ListOperations", &req,
	    &coracle__v1__list_operations_response__descriptor, cli_timeout_ms, &err);
	if (m == NULL)
		return cli_fail(&err);
	if (cli_json) {
		cli_print_json(&m->base);
		cli_free(m);
		return 0;
	}
	cli_table(header, ARRAY_SIZE(header));
	for (size_t i = 0; i < m->n_operations; i++) {
		const Coracle__V1__Operation *o = m->operations[i];
		char in_step[32], age[32], step[128];

		snprintf(in_step, sizeof(in_step), "%lld ms", (long long)o->step_age_ms);
		snprintf(age, sizeof(age), "%lld ms", (long long)o->age_ms);
		snprintf(step, sizeof(step), "%s%s", o->undoing ? "undoing " : "", o->step);
		cli_row((const char *[]){o->name, cli_short(o->object), step, in_step, age});
	}
	cli_table_end();
	cli_free(m);
	return 0;
}

int
cmd_log_level(int argc, char **argv)
{
	Coracle__V1__SetLogLevelRequest req = CORACLE__V1__SET_LOG_LEVEL_REQUEST__INIT;
	Coracle__V1__SetLogLevelResponse *m;
	struct err err;

	if (argc > 3)
		return cli_usage("log-level [LEVEL] [TRACE]");
	if (argc > 1)
		req.level = argv[1];
	if (argc > 2)
		req.trace = argv[2];
	m = (void *)cli_control("SetLogLevel", &req,
	    &coracle__v1__set_log_level_response__descriptor, cli_timeout_ms, &err);
	if (m == NULL)
		return cli_fail(&err);
	printf("%s\n", m->level);
	cli_free(m);
	return 0;
}

int
cmd_reload(int argc, char **argv)
{
	Coracle__V1__ReloadRequest req = CORACLE__V1__RELOAD_REQUEST__INIT;
	ProtobufCMessage *m;
	struct err err;

	(void)argv;
	if (argc != 1)
		return cli_usage("reload takes no arguments");
	m = cli_control("Reload", &req, &coracle__v1__reload_response__descriptor, cli_timeout_ms,
	    &err);
	if (m == NULL)
		return cli_fail(&err);
	cli_free(m);
	return 0;
}

static void
on_event(struct grpc_client_call *call, ProtobufCMessage **message)
{
	static const char *const names[] = {"created", "started", "stopped", "deleted"};
	const Runtime__V1__ContainerEventResponse *e = (void *)*message;
	char at[CLOCK_RFC3339_MAX];

	(void)call;
	if (cli_json) {
		cli_print_json(*message);
	} else {
		clock_rfc3339(e->created_at, at);
		printf("%s %-8s %s %s\n", at,
		    (unsigned)e->container_event_type < ARRAY_SIZE(names)
		        ? names[e->container_event_type]
		        : "?",
		    cli_short(e->container_id),
		    e->pod_sandbox_status != NULL && e->pod_sandbox_status->metadata != NULL
		        ? e->pod_sandbox_status->metadata->name
		        : "");
	}
	fflush(stdout);
}

static void
on_end(struct grpc_client_call *call)
{
	(void)call;
	loop_stop();
}

int
cmd_events(int argc, char **argv)
{
	Runtime__V1__GetEventsRequest req = RUNTIME__V1__GET_EVENTS_REQUEST__INIT;
	struct grpc_client_call call = {.on_message = on_event,
	    .on_done = on_end,
	    .response = &runtime__v1__container_event_response__descriptor};

	(void)argv;
	if (argc != 1)
		return cli_usage("events takes no arguments");
	grpc_client_call(cli_client(), &call, "/runtime.v1.RuntimeService/GetContainerEvents",
	    &req.base, 0);
	loop_run();
	return call.err.code == ERR_NONE ? 0 : cli_fail(&call.err);
}
