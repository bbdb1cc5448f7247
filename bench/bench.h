/* SPDX-License-Identifier: Apache-2.0
 *
 * coracle-bench: what its parts share. An endpoint is one runtime under test; a series is the
 * latencies of one operation of it; a lane is one line of calls in flight, `-c` of them at a time.
 *
 * The workloads run in rounds: a round gives each endpoint in turn its lanes, one iteration each,
 * and waits for all of them, so that two runtimes see the same machine and never each other.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct grpc_client;

enum series_id {
	SERIES_VERSION,
	SERIES_EXEC,
	SERIES_RUN_POD,
	SERIES_CREATE,
	SERIES_START,
	SERIES_UP, /* the three above, from the first request to the last answer */
	SERIES_STOP,
	SERIES_REMOVE,
	SERIES_STOP_POD,
	SERIES_REMOVE_POD,
	SERIES_DOWN, /* the four above */
	SERIES_LIST_PODS,
	SERIES_LIST_CONTAINERS,
	N_SERIES
};

enum workload_id { WORK_VERSION, WORK_EXEC, WORK_POD, WORK_LIST, N_WORKLOADS };

struct series {
	int64_t *ns;
	size_t n, cap;
};

/* The processes of one runtime: whole trees by their root's pid, and all of a name. */
struct procs {
	long *pids;
	size_t n_pids;
	char **names;
	size_t n_names;
};

struct usage {
	int64_t cpu_us; /* user and system, with the children that were waited for */
	int64_t pss;    /* bytes */
	size_t n;       /* processes */
};

/* One workload on one endpoint. */
struct phase {
	bool measured;
	size_t iterations;
	int64_t cpu_us;     /* over all iterations */
	struct usage after; /* with the workload's pods still there */
};

struct pod {
	char *id, *container;
};

struct endpoint {
	const char *address;
	struct grpc_client *client;
	char *runtime; /* "coracle 0.1.0" */
	struct procs procs;
	struct usage idle;
	struct series series[N_SERIES];
	struct phase phases[N_WORKLOADS];
	struct pod *pods; /* those that are there now */
	size_t n_pods;
	size_t failures;
	struct err first_failure;
};

struct bench {
	struct endpoint *endpoints;
	size_t n_endpoints;
	unsigned iterations, concurrency, list_pods;
	bool host_network, json;
	bool workloads[N_WORKLOADS];
	const char *image;
	int64_t timeout_ms;
	char *log_dir;
	bool interrupted;
};

extern struct bench bench;
extern const char *const workload_names[N_WORKLOADS];
extern const char *const series_names[N_SERIES];

/* Connect, ask for the version, pull the image where it is missing. */
int endpoint_open(struct endpoint *e, struct err *err);
/* Remove what is left of our pods and disconnect. */
void endpoint_close(struct endpoint *e);

/* All iterations of one workload on all endpoints, pods and all. -1 only when its pods cannot be
 * made; a failed call is counted in the endpoint. */
int workload_run(enum workload_id w, struct err *err);

void series_add(struct series *s, int64_t ns);
/* Sorted once all is measured; percent of 0 to 100, nearest rank. 0 of an empty series. */
void series_sort(struct series *s);
int64_t series_percentile(const struct series *s, double percent);

/* "1234,@name,…": a pid is a whole tree, a name (as in /proc/<pid>/comm, at most 15 characters)
 * every process that has it. */
int procs_parse(struct procs *p, const char *list, struct err *err);
void procs_release(struct procs *p);
bool procs_given(const struct procs *p);
/* Members of other PID namespaces than their root's are what runs in containers and do not count.
 */
struct usage procs_usage(const struct procs *p);

void report_table(void);
void report_json(void);

#endif
