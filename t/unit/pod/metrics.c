/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics: the table against the names that clients expect, values and labels of each source.
 */
#include "pod/metrics.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fd.h"
#include "base/macros.h"
#include "pod/metrics_impl.h"
#include "pod/stats.h"
#include "tap.h"

static const struct {
	const char *name, *labels; /* after the base ones */
} expected[] = {
    {"blkio_device_usage_total",               "device,major,minor,operation,"},
    {"cpu_cfs_periods_total",                  ""                             },
    {"cpu_cfs_throttled_periods_total",        ""                             },
    {"cpu_cfs_throttled_seconds_total",        ""                             },
    {"cpu_system_seconds_total",               ""                             },
    {"cpu_usage_seconds_total",                "cpu,"                         },
    {"cpu_user_seconds_total",                 ""                             },
    {"file_descriptors",                       ""                             },
    {"fs_inodes_free",                         "device,"                      },
    {"fs_inodes_total",                        "device,"                      },
    {"fs_limit_bytes",                         "device,"                      },
    {"fs_reads_bytes_total",                   "device,"                      },
    {"fs_reads_total",                         "device,"                      },
    {"fs_usage_bytes",                         "device,"                      },
    {"fs_writes_bytes_total",                  "device,"                      },
    {"fs_writes_total",                        "device,"                      },
    {"hugetlb_max_usage_bytes",                "pagesize,"                    },
    {"hugetlb_usage_bytes",                    "pagesize,"                    },
    {"last_seen",                              ""                             },
    {"memory_cache",                           ""                             },
    {"memory_failcnt",                         ""                             },
    {"memory_failures_total",                  "failure_type,scope,"          },
    {"memory_kernel_usage",                    ""                             },
    {"memory_mapped_file",                     ""                             },
    {"memory_max_usage_bytes",                 ""                             },
    {"memory_rss",                             ""                             },
    {"memory_swap",                            ""                             },
    {"memory_usage_bytes",                     ""                             },
    {"memory_working_set_bytes",               ""                             },
    {"network_receive_bytes_total",            "interface,"                   },
    {"network_receive_errors_total",           "interface,"                   },
    {"network_receive_packets_dropped_total",  "interface,"                   },
    {"network_receive_packets_total",          "interface,"                   },
    {"network_transmit_bytes_total",           "interface,"                   },
    {"network_transmit_errors_total",          "interface,"                   },
    {"network_transmit_packets_dropped_total", "interface,"                   },
    {"network_transmit_packets_total",         "interface,"                   },
    {"oom_events_total",                       ""                             },
    {"pressure_cpu_stalled_seconds_total",     ""                             },
    {"pressure_cpu_waiting_seconds_total",     ""                             },
    {"pressure_io_stalled_seconds_total",      ""                             },
    {"pressure_io_waiting_seconds_total",      ""                             },
    {"pressure_memory_stalled_seconds_total",  ""                             },
    {"pressure_memory_waiting_seconds_total",  ""                             },
    {"processes",                              ""                             },
    {"sockets",                                ""                             },
    {"spec_cpu_period",                        ""                             },
    {"spec_cpu_quota",                         ""                             },
    {"spec_cpu_shares",                        ""                             },
    {"spec_memory_limit_bytes",                ""                             },
    {"spec_memory_reservation_limit_bytes",    ""                             },
    {"spec_memory_swap_limit_bytes",           ""                             },
    {"start_time_seconds",                     ""                             },
    {"threads",                                ""                             },
    {"threads_max",                            ""                             },
    {"ulimits_soft",                           "ulimit,"                      },
};

static void
test_table(struct arena *a)
{
	static const char base[] = "container,id,image,name,namespace,pod,";
	Runtime__V1__MetricDescriptor **d;
	size_t n = metrics_descriptors(a, &d);

	is_int(n, 56, "56 metrics");
	is_int(ARRAY_SIZE(expected), 56, "are expected");
	for (size_t i = 0; i < n && i < ARRAY_SIZE(expected); i++) {
		char labels[256] = "";
		bool total = strstr(d[i]->name, "_total") != NULL &&
		             strcmp(d[i]->name, "container_fs_inodes_total") != 0;

		for (size_t j = 0; j < d[i]->n_label_keys; j++) {
			strncat(labels, d[i]->label_keys[j], 60);
			strncat(labels, ",", 2);
		}
		ok(strncmp(d[i]->name, "container_", 10) == 0 &&
		        strcmp(d[i]->name + 10, expected[i].name) == 0 &&
		        strncmp(labels, base, strlen(base)) == 0 &&
		        strcmp(labels + strlen(base), expected[i].labels) == 0,
		    "%s: %s", d[i]->name, labels);
		ok(strlen(d[i]->help) > 8 && d[i]->help[strlen(d[i]->help) - 1] == '.' &&
		        (!total || metric_kinds[i].type == RUNTIME__V1__METRIC_TYPE__COUNTER),
		    "  %s", d[i]->help);
	}
}

/* The value of the metric with that last label value (NULL: any); -1: there is none. */
static long long
value_of(const struct metric_list *l, enum metric kind, const char *last)
{
	for (size_t i = 0; i < l->n; i++) {
		const Runtime__V1__Metric *m = l->metrics[i];

		if (strcmp(m->name, metric_kinds[kind].name) == 0 &&
		    (last == NULL || strcmp(m->label_values[m->n_label_values - 1], last) == 0))
			return (long long)m->value->value;
	}
	return -1;
}

static void
test_labels(const struct metric_list *l)
{
	size_t wrong = 0, twice = 0;

	for (size_t i = 0; i < l->n; i++) {
		const Runtime__V1__Metric *m = l->metrics[i];
		enum metric k = 0;

		while (k < N_METRICS && strcmp(metric_kinds[k].name, m->name) != 0)
			k++;
		wrong += k == N_METRICS || m->metric_type != metric_kinds[k].type ||
		         m->n_label_values != METRIC_BASE_LABELS + metric_n_extra(k);
		for (size_t j = 0; j < m->n_label_values; j++)
			wrong += m->label_values[j] == NULL;
		for (size_t o = 0; o < i; o++) {
			const Runtime__V1__Metric *p = l->metrics[o];
			bool same = p->name == m->name;

			for (size_t j = 0; same && j < m->n_label_values; j++)
				same = strcmp(p->label_values[j], m->label_values[j]) == 0;
			twice += same;
		}
	}
	is_int(wrong, 0, "as many label values as the descriptor has keys");
	is_int(twice, 0, "no two with the same labels");
}

static void
init_list(struct metric_list *l, struct arena *a)
{
	*l = (struct metric_list){
	    .arena = a, .base = {"web", "/kubepods/x", "busybox", "0123", "default", "pod"}
        };
}

static void
test_cgroup(struct arena *a)
{
	struct cgroup_stats s = {
	    .have = CGROUP_HAVE_CPU | CGROUP_HAVE_MEMORY | CGROUP_HAVE_SWAP | CGROUP_HAVE_PIDS |
	            CGROUP_HAVE_IO | CGROUP_HAVE_CPU_PSI,
	    .wall_ns = 42,
	    .cpu_ns = UINT64_C(7900000000),
	    .cfs_throttled = 3,
	    .memory_usage = 1000,
	    .memory_peak = 2000,
	    .page_faults = 11,
	    .major_page_faults = 5,
	    .pids = 4,
	    .pids_limit = UINT64_MAX,
	    .io = {{.major = 8, .minor = 9999, .read_bytes = 77, .writes = 6},
	           {.major = 8, .minor = 9998}	                                                      },
	    .n_io = 2,
	    .hugetlb = {{"2MB", 1, 2},	                                      {"1GB", 3, 4}                },
	    .n_hugetlb = 2,
	    .cpu_psi = {.some = {.total_us = 5999999},                              .full = {.total_us = 1000000}}
        };
	Runtime__V1__LinuxContainerResources res = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
	const struct stats_link links[] = {
	    {.name = "eth0", .rx_bytes = 1, .tx_dropped = 2},
            {.name = "net1",              .tx_packets = 9             }
        };
	struct metric_list l;

	init_list(&l, a);
	metrics_add_cgroup(&l, &s);
	is_int(value_of(&l, METRIC_CPU_USAGE_SECONDS, "total"), 7, "full seconds of CPU time");
	is_int(value_of(&l, METRIC_CPU_CFS_THROTTLED_PERIODS, NULL), 3, "throttled");
	is_int(value_of(&l, METRIC_MEMORY_MAX_USAGE, NULL), 2000, "peak");
	is_int(value_of(&l, METRIC_MEMORY_FAILURES, "hierarchy"), 11, "faults");
	is_int(value_of(&l, METRIC_MEMORY_SWAP, NULL), 0, "swap");
	is_int(value_of(&l, METRIC_THREADS, NULL), 4, "threads");
	is_int(value_of(&l, METRIC_THREADS_MAX, NULL), 0, "no limit of threads is 0");
	is_int(value_of(&l, METRIC_FS_READS_BYTES, "8:9999"), 77, "reads of an unknown device");
	is_int(value_of(&l, METRIC_FS_WRITES, "8:9999"), 6, "writes");
	is_int(value_of(&l, METRIC_BLKIO_DEVICE_USAGE, "Read"), 77, "bytes by operation");
	is_int(value_of(&l, METRIC_HUGETLB_MAX_USAGE, "1GB"), 4, "huge pages");
	is_int(value_of(&l, METRIC_PRESSURE_CPU_WAITING, NULL), 5, "waiting is what some do");
	is_int(value_of(&l, METRIC_PRESSURE_CPU_STALLED, NULL), 1, "stalled is what all do");
	is_int(value_of(&l, METRIC_PRESSURE_IO_STALLED, NULL), -1, "what is not counted is absent");
	is_int(l.metrics[0]->timestamp, 42, "the time of the reading");
	is_str(l.metrics[0]->label_values[5], "pod", "a base label");

	metrics_add_links(&l, links, 2);
	is_int(value_of(&l, METRIC_NETWORK_RX_BYTES, "eth0"), 1, "received");
	is_int(value_of(&l, METRIC_NETWORK_TX_DROPPED, "eth0"), 2, "dropped");
	is_int(value_of(&l, METRIC_NETWORK_TX_PACKETS, "net1"), 9, "of the other link");

	res.cpu_quota = 20000;
	res.cpu_period = 100000;
	res.cpu_shares = 1024;
	res.memory_limit_in_bytes = 64 << 20;
	s.memory_low = 5;
	metrics_add_spec(&l, &res, &s);
	is_int(value_of(&l, METRIC_SPEC_CPU_QUOTA, NULL), 20000, "quota");
	is_int(value_of(&l, METRIC_SPEC_CPU_PERIOD, NULL), 100000, "period");
	is_int(value_of(&l, METRIC_SPEC_CPU_SHARES, NULL), 1024, "shares");
	is_int(value_of(&l, METRIC_SPEC_MEMORY_LIMIT, NULL), 64 << 20, "memory limit");
	is_int(value_of(&l, METRIC_SPEC_MEMORY_RESERVATION, NULL), 5, "reservation");
	is_int(value_of(&l, METRIC_SPEC_MEMORY_SWAP_LIMIT, NULL), 0, "no swap limit is 0");
	test_labels(&l);

	init_list(&l, a);
	s.have = CGROUP_HAVE_PIDS;
	s.n_hugetlb = 0;
	s.pids_limit = 100;
	metrics_add_cgroup(&l, &s);
	res.cpu_quota = -1;
	metrics_add_spec(&l, &res, &s);
	is_int(l.n, 2, "without controllers little is left");
	is_int(value_of(&l, METRIC_THREADS_MAX, NULL), 100, "the limit of threads");
	s.have = CGROUP_HAVE_CPU;
	metrics_add_spec(&l, &res, &s);
	is_int(value_of(&l, METRIC_SPEC_CPU_QUOTA, NULL), -1, "no quota is not told");
}

static void
test_processes(void)
{
	size_t processes = 10, left = 1000;
	const pid_t pids[] = {getpid(), 0x3fffffff};
	struct process_counts before, after;
	int pair[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct rlimit rl;
	uint64_t limit = 0;

	metrics_count(pids, 2, &processes, &left, &before);
	ok(before.has_fds && before.has_sockets,
	    "we are counted, and one that is not there is not");
	is_int(before.threads, 1, "one thread");
	is_int(processes, 8, "two looked at");
	ok(left < 1000, "and some descriptors");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	metrics_count(pids, 1, &processes, &left, &after);
	is_int(after.fds - before.fds, 2, "two more descriptors");
	is_int(after.sockets - before.sockets, 2, "which are sockets");
	left = 2;
	metrics_count(pids, 1, &processes, &left, &after);
	ok(!after.has_sockets && left == 0, "more than may be looked at is not counted by half");
	processes = 1;
	left = 1000;
	metrics_count(pids, 2, &processes, &left, &after);
	ok(!after.has_fds && !after.has_sockets && left == 1000 && processes == 1,
	    "neither are more processes");
	close(pair[0]);
	close(pair[1]);
	close(null);
	getrlimit(RLIMIT_NOFILE, &rl);
	ok(metrics_open_files_limit(getpid(), &limit) && limit == rl.rlim_cur, "limit of files");
	ok(!metrics_open_files_limit(0x3fffffff, &limit), "of nobody");
	ok(!metrics_open_files_limit(0, &limit), "of no process");
}

int
main(void)
{
	struct metrics_scrape scrape;
	struct arena a;

	arena_init(&a);
	test_table(&a);
	test_cgroup(&a);
	test_processes();
	metrics_scrape_init(&scrape, "/tmp", &a);
	ok(scrape.has_fs && scrape.fs_bytes > 0 && scrape.fs_device[0] != '\0', "/tmp is on %s",
	    scrape.fs_device);
	metrics_scrape_init(&scrape, "/nonexistent", &a);
	ok(!scrape.has_fs, "no directory, no file system");
	arena_release(&a);
	return tap_done();
}
