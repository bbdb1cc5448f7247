/* SPDX-License-Identifier: Apache-2.0
 *
 * The workloads: tables of calls, and the lanes that walk them.
 *
 * A lane runs a script's steps one after the other, each call made from the last one's on_done.
 * What it makes is the endpoint's (struct pod) as soon as its id is known, so that endpoint_close()
 * finds it however the run ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "bench/bench.h"
#include "grpc/client.h"
#include "loop/loop.h"
#include "proto/cri.pb-c.h"

#define RUNTIME "/runtime.v1.RuntimeService/"

enum { NAME_LEN = 16 };

const char *const workload_names[N_WORKLOADS] = {"version", "exec", "pod", "list"};
const char *const series_names[N_SERIES] = {"Version", "ExecSync", "RunPodSandbox",
    "CreateContainer", "StartContainer", "pod up", "StopContainer", "RemoveContainer",
    "StopPodSandbox", "RemovePodSandbox", "pod down", "ListPodSandbox", "ListContainers"};

struct lane {
	struct grpc_client_call call;
	struct endpoint *endpoint;
	const struct step *steps;
	size_t at;
	bool record, failed;
	int64_t first_sent_ns;
	size_t pod;        /* in endpoint->pods */
	char uid[ID_SIZE]; /* of the pod this lane makes */
};

struct step {
	const char *path;           /* NULL ends a script */
	enum series_id series, sum; /* sum: N_SERIES, or what ends with this step */
	const ProtobufCMessageDescriptor *response;
	void (*send)(struct lane *, const struct step *);
	void (*take)(struct lane *, const ProtobufCMessage *); /* may be NULL */
};

static size_t in_flight;

static void
send(struct lane *lane, const struct step *s, const ProtobufCMessage *request)
{
	grpc_client_call(lane->endpoint->client, &lane->call, s->path, request, bench.timeout_ms);
}

/* ---- the parts of a pod ---------------------------------------------------------------------- */

struct pod_request {
	Runtime__V1__PodSandboxConfig config;
	Runtime__V1__PodSandboxMetadata name;
	Runtime__V1__LinuxPodSandboxConfig linux_part;
	Runtime__V1__LinuxSandboxSecurityContext security;
	Runtime__V1__NamespaceOption ns;
	Runtime__V1__LinuxContainerConfig linux_ctr;
	Runtime__V1__LinuxContainerSecurityContext ctr_security;
};

static void
describe_pod(struct pod_request *r, char uid[static ID_SIZE])
{
	runtime__v1__pod_sandbox_config__init(&r->config);
	runtime__v1__pod_sandbox_metadata__init(&r->name);
	runtime__v1__linux_pod_sandbox_config__init(&r->linux_part);
	runtime__v1__linux_sandbox_security_context__init(&r->security);
	runtime__v1__namespace_option__init(&r->ns);
	runtime__v1__linux_container_config__init(&r->linux_ctr);
	runtime__v1__linux_container_security_context__init(&r->ctr_security);
	r->name.name = uid + ID_LEN - NAME_LEN;
	r->name.namespace_ = (char *)(uintptr_t) "coracle-bench";
	r->name.uid = uid;
	r->config.metadata = &r->name;
	r->config.log_directory = bench.log_dir;
	r->config.linux = &r->linux_part;
	r->linux_part.security_context = &r->security;
	r->security.namespace_options = &r->ns;
	r->ns.pid = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
	r->ns.network = bench.host_network ? RUNTIME__V1__NAMESPACE_MODE__NODE
	                                   : RUNTIME__V1__NAMESPACE_MODE__POD;
	r->linux_ctr.security_context = &r->ctr_security;
	r->ctr_security.namespace_options = &r->ns;
}

static struct pod *
pod_of(struct lane *lane)
{
	return &lane->endpoint->pods[lane->pod];
}

static void
send_run_pod(struct lane *lane, const struct step *s)
{
	Runtime__V1__RunPodSandboxRequest req = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
	struct pod_request r;

	id_new(lane->uid);
	describe_pod(&r, lane->uid);
	req.config = &r.config;
	send(lane, s, &req.base);
}

static void
take_pod(struct lane *lane, const ProtobufCMessage *m)
{
	struct endpoint *e = lane->endpoint;

	e->pods = xrealloc(e->pods, (e->n_pods + 1) * sizeof(*e->pods));
	e->pods[e->n_pods] = (struct pod){
	    .id = xstrdup(((const Runtime__V1__RunPodSandboxResponse *)m)->pod_sandbox_id)};
	lane->pod = e->n_pods++;
}

static void
send_create(struct lane *lane, const struct step *s)
{
	Runtime__V1__CreateContainerRequest req = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
	Runtime__V1__ContainerConfig ctr = RUNTIME__V1__CONTAINER_CONFIG__INIT;
	Runtime__V1__ContainerMetadata name = RUNTIME__V1__CONTAINER_METADATA__INIT;
	Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
	char *command[] = {(char *)(uintptr_t) "sleep", (char *)(uintptr_t) "1000000"};
	cleanup_free char *log = NULL;
	struct pod_request r;

	describe_pod(&r, lane->uid);
	log = xasprintf("%s.log", r.name.name);
	name.name = (char *)(uintptr_t) "bench";
	image.image = (char *)(uintptr_t)bench.image;
	ctr.metadata = &name;
	ctr.image = &image;
	ctr.command = command;
	ctr.n_command = ARRAY_SIZE(command);
	ctr.log_path = log;
	ctr.linux = &r.linux_ctr;
	req.pod_sandbox_id = pod_of(lane)->id;
	req.config = &ctr;
	req.sandbox_config = &r.config;
	send(lane, s, &req.base);
}

static void
take_container(struct lane *lane, const ProtobufCMessage *m)
{
	pod_of(lane)->container =
	    xstrdup(((const Runtime__V1__CreateContainerResponse *)m)->container_id);
}

static void
send_start(struct lane *lane, const struct step *s)
{
	Runtime__V1__StartContainerRequest req = RUNTIME__V1__START_CONTAINER_REQUEST__INIT;

	req.container_id = pod_of(lane)->container;
	send(lane, s, &req.base);
}

/* Without grace: what is measured is the runtime, not how long the program takes to end. */
static void
send_stop(struct lane *lane, const struct step *s)
{
	Runtime__V1__StopContainerRequest req = RUNTIME__V1__STOP_CONTAINER_REQUEST__INIT;

	req.container_id = pod_of(lane)->container;
	send(lane, s, &req.base);
}

static void
send_remove(struct lane *lane, const struct step *s)
{
	Runtime__V1__RemoveContainerRequest req = RUNTIME__V1__REMOVE_CONTAINER_REQUEST__INIT;

	req.container_id = pod_of(lane)->container;
	send(lane, s, &req.base);
}

static void
send_stop_pod(struct lane *lane, const struct step *s)
{
	Runtime__V1__StopPodSandboxRequest req = RUNTIME__V1__STOP_POD_SANDBOX_REQUEST__INIT;

	req.pod_sandbox_id = pod_of(lane)->id;
	send(lane, s, &req.base);
}

static void
send_remove_pod(struct lane *lane, const struct step *s)
{
	Runtime__V1__RemovePodSandboxRequest req = RUNTIME__V1__REMOVE_POD_SANDBOX_REQUEST__INIT;

	req.pod_sandbox_id = pod_of(lane)->id;
	send(lane, s, &req.base);
}

static void
pod_release(struct pod *p)
{
	free(p->id);
	free(p->container);
	*p = (struct pod){0};
}

static void
take_pod_removed(struct lane *lane, const ProtobufCMessage *m)
{
	(void)m;
	pod_release(pod_of(lane));
}

/* ---- the other calls ------------------------------------------------------------------------- */

static void
send_version(struct lane *lane, const struct step *s)
{
	Runtime__V1__VersionRequest req = RUNTIME__V1__VERSION_REQUEST__INIT;

	send(lane, s, &req.base);
}

static void
send_exec(struct lane *lane, const struct step *s)
{
	Runtime__V1__ExecSyncRequest req = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
	char *command[] = {(char *)(uintptr_t) "true"};

	req.container_id = pod_of(lane)->container;
	req.cmd = command;
	req.n_cmd = ARRAY_SIZE(command);
	send(lane, s, &req.base);
}

static void
lane_fail(struct lane *lane, const struct err *err)
{
	struct endpoint *e = lane->endpoint;

	lane->failed = true;
	if (e->failures++ == 0)
		e->first_failure = *err;
}

/* An exec that fails is no measurement. */
static void
take_exec(struct lane *lane, const ProtobufCMessage *m)
{
	const Runtime__V1__ExecSyncResponse *r = (const void *)m;
	struct err err;

	if (r->exit_code == 0)
		return;
	err_set(&err, ERR_INTERNAL, "ExecSync: \"true\" ended with %d", r->exit_code);
	lane_fail(lane, &err);
}

static void
send_list_pods(struct lane *lane, const struct step *s)
{
	Runtime__V1__ListPodSandboxRequest req = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;

	send(lane, s, &req.base);
}

static void
send_list_containers(struct lane *lane, const struct step *s)
{
	Runtime__V1__ListContainersRequest req = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;

	send(lane, s, &req.base);
}

#define STEP(method, type, series, sum, send, take)                                                \
	{                                                                                          \
		RUNTIME method, series, sum, &runtime__v1__##type##_response__descriptor, send,    \
		    take                                                                           \
	}
#define STEPS_UP                                                                                   \
	STEP("RunPodSandbox", run_pod_sandbox, SERIES_RUN_POD, N_SERIES, send_run_pod, take_pod),  \
	    STEP("CreateContainer", create_container, SERIES_CREATE, N_SERIES, send_create,        \
	        take_container),                                                                   \
	    STEP("StartContainer", start_container, SERIES_START, SERIES_UP, send_start, NULL)
#define STEPS_DOWN                                                                                 \
	STEP("StopContainer", stop_container, SERIES_STOP, N_SERIES, send_stop, NULL),             \
	    STEP("RemoveContainer", remove_container, SERIES_REMOVE, N_SERIES, send_remove, NULL), \
	    STEP("StopPodSandbox", stop_pod_sandbox, SERIES_STOP_POD, N_SERIES, send_stop_pod,     \
	        NULL),                                                                             \
	    STEP("RemovePodSandbox", remove_pod_sandbox, SERIES_REMOVE_POD, SERIES_DOWN,           \
	        send_remove_pod, take_pod_removed)

static const struct step steps_version[] = {
    STEP("Version", version, SERIES_VERSION, N_SERIES, send_version, NULL), {0}};
static const struct step steps_exec[] = {
    STEP("ExecSync", exec_sync, SERIES_EXEC, N_SERIES, send_exec, take_exec), {0}};
static const struct step steps_pod[] = {STEPS_UP, STEPS_DOWN, {0}};
static const struct step steps_up[] = {STEPS_UP, {0}};
static const struct step steps_list[] = {
    STEP("ListPodSandbox", list_pod_sandbox, SERIES_LIST_PODS, N_SERIES, send_list_pods, NULL),
    STEP("ListContainers", list_containers, SERIES_LIST_CONTAINERS, N_SERIES, send_list_containers,
        NULL),
    {0}};
static const struct step *const workloads[N_WORKLOADS] = {
    steps_version, steps_exec, steps_pod, steps_list};

/* ---- lanes ----------------------------------------------------------------------------------- */

static void lane_step(struct lane *lane);

static void
on_message(struct grpc_client_call *call, ProtobufCMessage **message)
{
	struct lane *lane = container_of(call, struct lane, call);
	const struct step *s = &lane->steps[lane->at];

	if (s->take != NULL)
		s->take(lane, *message);
}

static void
on_done(struct grpc_client_call *call)
{
	struct lane *lane = container_of(call, struct lane, call);
	const struct step *s = &lane->steps[lane->at];
	struct series *all = lane->endpoint->series;

	if (call->err.code != ERR_NONE) {
		err_wrap(&call->err, "%s", series_names[s->series]);
		lane_fail(lane, &call->err);
	}
	if (lane->failed) {
		in_flight--;
		return;
	}
	if (lane->first_sent_ns == 0)
		lane->first_sent_ns = call->sent_ns;
	if (lane->record)
		series_add(&all[s->series], call->done_ns - call->sent_ns);
	if (s->sum != N_SERIES) {
		if (lane->record)
			series_add(&all[s->sum], call->done_ns - lane->first_sent_ns);
		lane->first_sent_ns = 0;
	}
	lane->at++;
	lane_step(lane);
}

static void
lane_step(struct lane *lane)
{
	const struct step *s = &lane->steps[lane->at];

	if (s->path == NULL) {
		in_flight--;
		return;
	}
	memset(&lane->call, 0, sizeof(lane->call));
	lane->call.response = s->response;
	lane->call.on_message = on_message;
	lane->call.on_done = on_done;
	s->send(lane, s);
}

/* n lanes, one iteration each, spread over the pods that are there. */
static void
run_lanes(struct endpoint *e, const struct step *steps, size_t n, bool record)
{
	struct lane *lanes = xcalloc(n, sizeof(*lanes));

	in_flight = n;
	for (size_t i = 0; i < n; i++) {
		lanes[i].endpoint = e;
		lanes[i].steps = steps;
		lanes[i].record = record;
		lanes[i].pod = e->n_pods > 0 ? i % e->n_pods : 0;
		lane_step(&lanes[i]);
	}
	while (in_flight > 0)
		ev_run(loop, EVRUN_ONCE);
	free(lanes);
}

static void
drop_removed_pods(struct endpoint *e)
{
	size_t kept = 0;

	for (size_t i = 0; i < e->n_pods; i++)
		if (e->pods[i].id != NULL)
			e->pods[kept++] = e->pods[i];
	e->n_pods = kept;
}

static void
round_of(struct endpoint *e, enum workload_id w, size_t n, bool record)
{
	run_lanes(e, workloads[w], n, record);
	if (record)
		e->phases[w].iterations += n;
	if (w == WORK_POD)
		drop_removed_pods(e);
}

/* ---- pods that are there before and after -----------------------------------------------------
 */

static void
unary(struct endpoint *e, const char *path, const void *request,
    const ProtobufCMessageDescriptor *response)
{
	struct err err;
	ProtobufCMessage *m =
	    grpc_client_unary(e->client, path, request, response, bench.timeout_ms, &err);

	if (m != NULL)
		protobuf_c_message_free_unpacked(m, NULL);
	else if (e->failures++ == 0)
		e->first_failure = err;
}

static void
remove_pods(struct endpoint *e)
{
	for (size_t i = 0; i < e->n_pods; i++) {
		Runtime__V1__StopPodSandboxRequest stop =
		    RUNTIME__V1__STOP_POD_SANDBOX_REQUEST__INIT;
		Runtime__V1__RemovePodSandboxRequest rm =
		    RUNTIME__V1__REMOVE_POD_SANDBOX_REQUEST__INIT;

		stop.pod_sandbox_id = rm.pod_sandbox_id = e->pods[i].id;
		unary(e, RUNTIME "StopPodSandbox", &stop,
		    &runtime__v1__stop_pod_sandbox_response__descriptor);
		unary(e, RUNTIME "RemovePodSandbox", &rm,
		    &runtime__v1__remove_pod_sandbox_response__descriptor);
		pod_release(&e->pods[i]);
	}
	e->n_pods = 0;
}

static int
make_pods(struct endpoint *e, size_t n, struct err *err)
{
	while (e->n_pods < n && !bench.interrupted) {
		run_lanes(e, steps_up, 1, false);
		if (e->failures == 0)
			continue;
		*err = e->first_failure;
		return err_wrap(err, "%s", e->address);
	}
	return 0;
}

/* Usage is read before and after all rounds: /proc costs more than the fastest calls. */
static int
phase_begin(struct endpoint *e, enum workload_id w, struct err *err)
{
	struct phase *p = &e->phases[w];
	size_t n_pods = w == WORK_EXEC ? 1 : w == WORK_LIST ? bench.list_pods : 0;

	if (make_pods(e, n_pods, err) < 0)
		return -1;
	if (!bench.interrupted)
		round_of(e, w, 1, false); /* the first time is another thing */
	p->measured = procs_given(&e->procs);
	if (p->measured)
		p->cpu_us = -procs_usage(&e->procs).cpu_us;
	return 0;
}

static void
phase_end(struct endpoint *e, enum workload_id w)
{
	struct phase *p = &e->phases[w];

	if (p->measured) {
		p->after = procs_usage(&e->procs);
		p->cpu_us += p->after.cpu_us;
	}
	remove_pods(e);
}

int
workload_run(enum workload_id w, struct err *err)
{
	for (size_t i = 0; i < bench.n_endpoints; i++)
		if (phase_begin(&bench.endpoints[i], w, err) < 0)
			return -1;
	for (size_t left = bench.iterations; left > 0 && !bench.interrupted;) {
		size_t n = MIN(left, bench.concurrency);

		for (size_t i = 0; i < bench.n_endpoints; i++)
			round_of(&bench.endpoints[i], w, n, true);
		left -= n;
	}
	for (size_t i = 0; i < bench.n_endpoints; i++)
		phase_end(&bench.endpoints[i], w);
	return 0;
}

/* ---- endpoints ------------------------------------------------------------------------------- */

static int
pull_if_absent(struct endpoint *e, struct err *err)
{
	Runtime__V1__ImageStatusRequest look = RUNTIME__V1__IMAGE_STATUS_REQUEST__INIT;
	Runtime__V1__PullImageRequest pull = RUNTIME__V1__PULL_IMAGE_REQUEST__INIT;
	Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
	Runtime__V1__ImageStatusResponse *m;
	ProtobufCMessage *pulled;
	bool there;

	spec.image = (char *)(uintptr_t)bench.image;
	look.image = pull.image = &spec;
	m = (void *)grpc_client_unary(e->client, "/runtime.v1.ImageService/ImageStatus", &look.base,
	    &runtime__v1__image_status_response__descriptor, bench.timeout_ms, err);
	if (m == NULL)
		return -1;
	there = m->image != NULL;
	protobuf_c_message_free_unpacked(&m->base, NULL);
	if (there)
		return 0;
	pulled = grpc_client_unary(e->client, "/runtime.v1.ImageService/PullImage", &pull.base,
	    &runtime__v1__pull_image_response__descriptor, 0, err);
	if (pulled == NULL)
		return -1;
	protobuf_c_message_free_unpacked(pulled, NULL);
	return 0;
}

int
endpoint_open(struct endpoint *e, struct err *err)
{
	Runtime__V1__VersionRequest req = RUNTIME__V1__VERSION_REQUEST__INIT;
	Runtime__V1__VersionResponse *m;

	e->client = grpc_client_open(e->address, err);
	if (e->client == NULL)
		return -1;
	m = (void *)grpc_client_unary(e->client, RUNTIME "Version", &req.base,
	    &runtime__v1__version_response__descriptor, bench.timeout_ms, err);
	if (m == NULL)
		return err_wrap(err, "%s: Version", e->address);
	e->runtime = xasprintf("%s %s", m->runtime_name, m->runtime_version);
	protobuf_c_message_free_unpacked(&m->base, NULL);
	if ((bench.workloads[WORK_EXEC] || bench.workloads[WORK_POD] ||
	        bench.workloads[WORK_LIST]) &&
	    pull_if_absent(e, err) < 0)
		return err_wrap(err, "%s: image %s", e->address, bench.image);
	if (procs_given(&e->procs)) {
		e->idle = procs_usage(&e->procs);
		if (e->idle.n == 0)
			return err_set(err, ERR_NOT_FOUND,
			    "%s: none of the processes of --pid is there", e->address);
	}
	return 0;
}

void
endpoint_close(struct endpoint *e)
{
	if (e->client != NULL) {
		remove_pods(e);
		grpc_client_close(e->client);
	}
	for (size_t i = 0; i < N_SERIES; i++)
		free(e->series[i].ns);
	procs_release(&e->procs);
	free(e->pods);
	free(e->runtime);
	*e = (struct endpoint){0};
}
