/* SPDX-License-Identifier: Apache-2.0
 *
 * coracle-bench: how fast a container runtime answers the CRI, and what it costs. Any runtime with
 * a CRI socket will do; several are measured turn by turn. See coracle-bench(1).
 *
 * An interrupt ends the rounds, removes our pods and reports what was measured until then.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "bench/bench.h"
#include "loop/loop.h"

enum { MAX_ITERATIONS = 1000000, MAX_CONCURRENCY = 256, MAX_PODS = 10000 };

struct bench bench = {.iterations = 100,
    .concurrency = 1,
    .list_pods = 10,
    .image = "docker.io/library/busybox:latest",
    .timeout_ms = 120 * 1000};

static const struct option options[] = {
    {"iterations",   required_argument, NULL, 'n'},
    {"concurrency",  required_argument, NULL, 'c'},
    {"workload",     required_argument, NULL, 'w'},
    {"image",        required_argument, NULL, 'i'},
    {"host-network", no_argument,       NULL, 'H'},
    {"list-pods",    required_argument, NULL, 'l'},
    {"pid",          required_argument, NULL, 'p'},
    {"timeout",      required_argument, NULL, 't'},
    {"output",       required_argument, NULL, 'o'},
    {"help",         no_argument,       NULL, 'h'},
    {NULL,           0,                 NULL, 0  },
};

static const char usage_text[] =
    "usage: coracle-bench [options] unix://SOCKET…\n"
    "  -n, --iterations N    of each workload on each endpoint (100)\n"
    "  -c, --concurrency N   calls side by side (1)\n"
    "  -w, --workload LIST   version, exec, pod, list (all four)\n"
    "  -i, --image IMAGE     has sleep and true (docker.io/library/busybox:latest)\n"
    "  --host-network        pods in the host's network\n"
    "  -l, --list-pods N     pods present while listing (10)\n"
    "  -p, --pid LIST        processes of the runtime, pids (their trees) and @names; once per\n"
    "                        endpoint, in their order\n"
    "  -t, --timeout S       of a call, in seconds (120)\n"
    "  -o, --output json     JSON instead of tables\n"
    "  -h, --help\n";

static ev_signal on_int, on_term;
static char **pid_lists;
static size_t n_pid_lists;

static void __attribute__((noreturn, format(printf, 1, 2))) usage_error(const char *fmt, ...)
{
	va_list ap;

	fputs("coracle-bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

static unsigned
number(const char *option, const char *arg, unsigned max)
{
	uint32_t n;

	if (str_u32(arg, max, &n) < 0 || n == 0)
		usage_error("--%s: \"%s\" is not 1 to %u", option, arg, max);
	return n;
}

static void
choose_workloads(const char *list)
{
	memset(bench.workloads, 0, sizeof(bench.workloads));
	while (*list != '\0') {
		size_t n = strcspn(list, ","), w = 0;

		while (w < N_WORKLOADS &&
		       (strlen(workload_names[w]) != n || strncmp(workload_names[w], list, n) != 0))
			w++;
		if (w == N_WORKLOADS)
			usage_error("--workload: \"%.*s\" is none of version, exec, pod, list",
			    (int)n, list);
		bench.workloads[w] = true;
		list += n + (list[n] == ',');
	}
}

static void
read_option(int c)
{
	switch (c) {
	case 'n':
		bench.iterations = number("iterations", optarg, MAX_ITERATIONS);
		break;
	case 'c':
		bench.concurrency = number("concurrency", optarg, MAX_CONCURRENCY);
		break;
	case 'w':
		choose_workloads(optarg);
		break;
	case 'i':
		bench.image = optarg;
		break;
	case 'H':
		bench.host_network = true;
		break;
	case 'l':
		bench.list_pods = number("list-pods", optarg, MAX_PODS);
		break;
	case 'p':
		pid_lists = xrealloc(pid_lists, (n_pid_lists + 1) * sizeof(*pid_lists));
		pid_lists[n_pid_lists++] = optarg;
		break;
	case 't':
		bench.timeout_ms = (int64_t)number("timeout", optarg, 86400) * 1000;
		break;
	case 'o':
		if (strcmp(optarg, "json") != 0 && strcmp(optarg, "table") != 0)
			usage_error("--output is json or table, not \"%s\"", optarg);
		bench.json = strcmp(optarg, "json") == 0;
		break;
	case 'h':
		fputs(usage_text, stdout);
		exit(0);
	default:
		fputs(usage_text, stderr);
		exit(2);
	}
}

static void
read_arguments(int argc, char **argv)
{
	struct err err;
	int c;

	memset(bench.workloads, true, sizeof(bench.workloads));
	while ((c = getopt_long(argc, argv, "n:c:w:i:l:p:t:o:h", options, NULL)) != -1)
		read_option(c);
	if (optind == argc)
		usage_error("which endpoint? See coracle-bench --help");
	bench.n_endpoints = (size_t)(argc - optind);
	if (n_pid_lists > bench.n_endpoints)
		usage_error("%zu times --pid, but %zu endpoints", n_pid_lists, bench.n_endpoints);
	bench.endpoints = xcalloc(bench.n_endpoints, sizeof(*bench.endpoints));
	for (size_t i = 0; i < bench.n_endpoints; i++) {
		bench.endpoints[i].address = argv[optind + (int)i];
		if (i < n_pid_lists &&
		    procs_parse(&bench.endpoints[i].procs, pid_lists[i], &err) < 0)
			usage_error("--pid: %s", err.msg);
	}
	free(pid_lists);
}

static void
on_signal(struct ev_loop *l, ev_signal *w, int events)
{
	(void)l;
	(void)w;
	(void)events;
	bench.interrupted = true;
}

static int
run(struct err *err)
{
	for (size_t i = 0; i < bench.n_endpoints; i++)
		if (endpoint_open(&bench.endpoints[i], err) < 0)
			return -1;
	for (size_t w = 0; w < N_WORKLOADS; w++)
		if (bench.workloads[w] && !bench.interrupted && workload_run(w, err) < 0)
			return -1;
	return 0;
}

static int
report(void)
{
	int ret = 0;

	for (size_t i = 0; i < bench.n_endpoints; i++)
		for (size_t id = 0; id < N_SERIES; id++)
			series_sort(&bench.endpoints[i].series[id]);
	if (bench.json)
		report_json();
	else
		report_table();
	for (size_t i = 0; i < bench.n_endpoints; i++) {
		const struct endpoint *e = &bench.endpoints[i];

		if (e->failures == 0)
			continue;
		fprintf(stderr, "coracle-bench: %s: %zu calls failed, the first: %s (%s)\n",
		    e->address, e->failures, e->first_failure.msg, err_name(e->first_failure.code));
		ret = 1;
	}
	return ret;
}

int
main(int argc, char **argv)
{
	char logs[] = "/tmp/coracle-bench-XXXXXX";
	struct err err;
	int ret = 1;

	log_threshold = LOG_LEVEL_ERROR;
	read_arguments(argc, argv);
	loop_init();
	ev_signal_init(&on_int, on_signal, SIGINT);
	ev_signal_start(loop, &on_int);
	ev_signal_init(&on_term, on_signal, SIGTERM);
	ev_signal_start(loop, &on_term);
	if (mkdtemp(logs) == NULL)
		usage_error("%s: %s", logs, strerror(errno));
	bench.log_dir = logs;
	if (run(&err) < 0)
		fprintf(stderr, "coracle-bench: %s (%s)\n", err.msg, err_name(err.code));
	else
		ret = report();
	for (size_t i = 0; i < bench.n_endpoints; i++)
		endpoint_close(&bench.endpoints[i]);
	free(bench.endpoints);
	if (fd_remove_tree(AT_FDCWD, logs, &err) < 0)
		fprintf(stderr, "coracle-bench: %s\n", err.msg);
	return ret;
}
