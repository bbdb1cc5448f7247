/* SPDX-License-Identifier: Apache-2.0
 *
 * What was measured, as a table or as JSON. Times are milliseconds in the table, microseconds in
 * the JSON.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "bench/bench.h"

static double
ms(int64_t ns)
{
	return (double)ns / 1e6;
}

static void
print_series(enum series_id id)
{
	const struct series *first = &bench.endpoints[0].series[id];
	int64_t base = series_percentile(first, 50);

	for (size_t i = 0; i < bench.n_endpoints; i++) {
		const struct series *s = &bench.endpoints[i].series[id];

		if (s->n == 0)
			continue;
		printf("%-18s %3zu %6zu %10.3f %10.3f %10.3f %10.3f", series_names[id], i + 1, s->n,
		    ms(series_percentile(s, 50)), ms(series_percentile(s, 90)),
		    ms(series_percentile(s, 99)), ms(series_percentile(s, 100)));
		if (bench.n_endpoints > 1 && base > 0)
			printf(" %7.2f", (double)series_percentile(s, 50) / (double)base);
		putchar('\n');
	}
}

static void
print_phase(enum workload_id w)
{
	for (size_t i = 0; i < bench.n_endpoints; i++) {
		const struct endpoint *e = &bench.endpoints[i];
		const struct phase *p = &e->phases[w];

		if (p->measured && p->iterations > 0)
			printf("%-18s %3zu %6zu %13.3f %10zu %10.1f %13.1f\n", workload_names[w],
			    i + 1, p->iterations, (double)p->cpu_us / 1e3 / (double)p->iterations,
			    p->after.n, (double)p->after.pss / 1e6,
			    (double)(p->after.pss - e->idle.pss) / 1e6);
	}
}

static bool
any_measured(void)
{
	for (size_t i = 0; i < bench.n_endpoints; i++)
		if (procs_given(&bench.endpoints[i].procs))
			return true;
	return false;
}

void
report_table(void)
{
	for (size_t i = 0; i < bench.n_endpoints; i++)
		printf("endpoint %zu: %s (%s)\n", i + 1, bench.endpoints[i].address,
		    bench.endpoints[i].runtime);
	printf("%u iterations, concurrency %u, %s network\n\n", bench.iterations, bench.concurrency,
	    bench.host_network ? "host" : "pod");
	printf("%-18s %3s %6s %10s %10s %10s %10s%s\n", "OPERATION, MS", "END", "N", "P50", "P90",
	    "P99", "MAX", bench.n_endpoints > 1 ? "   RATIO" : "");
	for (size_t id = 0; id < N_SERIES; id++)
		print_series(id);
	if (any_measured()) {
		printf("\n%-18s %3s %6s %13s %10s %10s %13s\n", "WORKLOAD", "END", "N",
		    "CPU MS EACH", "PROCESSES", "PSS MB", "OVER IDLE MB");
		for (size_t w = 0; w < N_WORKLOADS; w++)
			print_phase(w);
	}
}

static json_t *
series_json(const struct series *s, const char *name)
{
	return json_pack("{s:s, s:I, s:f, s:f, s:f, s:f}", "operation", name, "n", (json_int_t)s->n,
	    "p50_us", (double)series_percentile(s, 50) / 1e3, "p90_us",
	    (double)series_percentile(s, 90) / 1e3, "p99_us",
	    (double)series_percentile(s, 99) / 1e3, "max_us",
	    (double)series_percentile(s, 100) / 1e3);
}

static json_t *
phase_json(const struct endpoint *e, enum workload_id w)
{
	const struct phase *p = &e->phases[w];

	return json_pack("{s:s, s:I, s:f, s:I, s:I, s:I}", "workload", workload_names[w],
	    "iterations", (json_int_t)p->iterations, "cpu_us_each",
	    p->iterations > 0 ? (double)p->cpu_us / (double)p->iterations : 0.0, "processes",
	    (json_int_t)p->after.n, "pss_bytes", (json_int_t)p->after.pss, "idle_pss_bytes",
	    (json_int_t)e->idle.pss);
}

static json_t *
endpoint_json(const struct endpoint *e)
{
	json_t *series = json_array(), *phases = json_array();

	for (size_t id = 0; id < N_SERIES; id++)
		if (e->series[id].n > 0)
			json_array_append_new(
			    series, series_json(&e->series[id], series_names[id]));
	for (size_t w = 0; w < N_WORKLOADS; w++)
		if (e->phases[w].measured)
			json_array_append_new(phases, phase_json(e, w));
	return json_pack("{s:s, s:s, s:I, s:o, s:o}", "endpoint", e->address, "runtime", e->runtime,
	    "failures", (json_int_t)e->failures, "operations", series, "workloads", phases);
}

void
report_json(void)
{
	json_t *endpoints = json_array(), *o;

	for (size_t i = 0; i < bench.n_endpoints; i++)
		json_array_append_new(endpoints, endpoint_json(&bench.endpoints[i]));
	o = json_pack("{s:i, s:i, s:i, s:b, s:o}", "iterations", (int)bench.iterations,
	    "concurrency", (int)bench.concurrency, "pods", (int)bench.list_pods, "host_network",
	    (int)bench.host_network, "endpoints", endpoints);
	json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(o);
}
