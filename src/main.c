/* SPDX-License-Identifier: Apache-2.0
 *
 * coracled: options, wiring, signals, order of shutdown.
 *
 * The socket listens from early on, so that clients wait instead of failing, and answers
 * UNAVAILABLE until rows and world agree. At the end nothing is taken down but ourselves: containers
 * and the keeper run on.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "cri/archives.h"
#include "cri/images.h"
#include "cri/methods.h"
#include "cri/control.h"
#include "exec/cgroup.h"
#include "exec/cgroup_systemd.h"
#include "grpc/server.h"
#include "image/pull.h"
#include "image/store.h"
#include "loop/loop.h"
#include "loop/op.h"
#include "net/net.h"
#include "pod/config.h"
#include "pod/events.h"
#include "pod/keeping.h"
#include "pod/node.h"
#include "pod/recover.h"
#include "pod/stats.h"
#include "store/db.h"
#include "stream/server.h"

enum { DRAIN_MS = 10 * 1000 };

static struct config config;
static struct grpc_server *server;
static ev_signal on_term, on_int, on_usr1, on_hup;
static struct loop_timer drain_deadline;
static bool stopping;

static const struct option options[] = {
    {"config",        required_argument, NULL, 'c'},
    {"root",          required_argument, NULL, 'r'},
    {"state",         required_argument, NULL, 's'},
    {"listen",        required_argument, NULL, 'l'},
    {"instance",      required_argument, NULL, 'i'},
    {"keeper",        required_argument, NULL, 'k'},
    {"network",       required_argument, NULL, 'n'},
    {"log-level",     required_argument, NULL, 'L'},
    {"trace",         required_argument, NULL, 't'},
    {"check-config",  no_argument,       NULL, 'C'},
    {"print-config",  no_argument,       NULL, 'P'},
    {"remove-network", no_argument,      NULL, 'R'},
    {"version",       no_argument,       NULL, 'V'},
    {"help",          no_argument,       NULL, 'h'},
    {NULL,            0,                 NULL, 0  },
};

static const char usage[] =
    "usage: coracled [options]\n"
    "  --config FILE       configuration (default " SYSCONFDIR "/coracle/coracle.yaml)\n"
    "  --root DIR          persistent data (/var/lib/coracle)\n"
    "  --state DIR         volatile state (/run/coracle)\n"
    "  --listen unix://P   CRI socket (/run/coracle/coracle.sock)\n"
    "  --instance NAME     names cgroups, bridges and tables (coracle)\n"
    "  --keeper FILE       the coracle-keeper program\n"
    "  --network MODE      cni or builtin (cni)\n"
    "  --log-level LEVEL   error, warn, info or debug\n"
    "  --trace LIST        op, h2, grpc, child, keeper, image, net, store, stream, pod, all\n"
    "  --check-config      check the configuration and exit\n"
    "  --print-config      print the configuration in force and exit\n"
    "  --remove-network    remove bridge and rules of the built-in network and exit\n"
    "  --version, --help\n";

static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *fmt, ...)
{
	va_list ap;

	fputs("coracled: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static void
set(char **to, const char *value)
{
	free(*to);
	*to = xstrdup(value);
}

/* What the command line says wins over the file, so the file is read first. */
static const char *
config_path(int argc, char **argv, bool *ret_named)
{
	const char *path = SYSCONFDIR "/coracle/coracle.yaml";
	int c;

	*ret_named = false;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?')
			exit(2);
		if (c == 'c') {
			path = optarg;
			*ret_named = true;
		} else if (c == 'h') {
			fputs(usage, stdout);
			exit(0);
		} else if (c == 'V') {
			printf("coracled %s\n", PACKAGE_VERSION);
			exit(0);
		}
	}
	if (optind < argc)
		die("unexpected argument \"%s\"", argv[optind]);
	optind = 1;
	return path;
}

static void
set_network(const char *mode)
{
	if (strcmp(mode, "builtin") == 0)
		config.net.mode = NET_BUILTIN;
	else if (strcmp(mode, "cni") == 0)
		config.net.mode = NET_CNI;
	else
		die("--network: \"%s\" is neither cni nor builtin", mode);
}

static int
read_options(int argc, char **argv)
{
	int c, action = 0;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'r':
			set(&config.root, optarg);
			break;
		case 's':
			set(&config.state, optarg);
			break;
		case 'l':
			set(&config.listen, str_starts(optarg, "unix://") ? optarg + 7 : optarg);
			break;
		case 'i':
			set(&config.instance, optarg);
			break;
		case 'k':
			set(&config.keeper, optarg);
			break;
		case 'n':
			set_network(optarg);
			break;
		case 'L':
			set(&config.log_level, optarg);
			break;
		case 't':
			set(&config.trace, optarg);
			break;
		case 'C':
		case 'P':
		case 'R':
			action = c;
			break;
		}
	}
	return action;
}

static void
check_options(void)
{
	if (config.root[0] != '/' || config.state[0] != '/' || config.listen[0] != '/')
		die("root, state and listen must be absolute paths");
	if (!str_only(config.instance, "abcdefghijklmnopqrstuvwxyz0123456789-") ||
	    strlen(config.instance) > 32)
		die("instance: \"%s\" is not 1 to 32 of a-z, 0-9 and -", config.instance);
	if (!log_level_parse(config.log_level, &log_threshold))
		die("log level \"%s\" is none of error, warn, info, debug", config.log_level);
	if (!trace_parse(config.trace, &trace_mask))
		die("trace: \"%s\" has an unknown name", config.trace);
}

static int
open_private(const char *path)
{
	struct err err;
	int fd;

	if (fd_mkdir_p(AT_FDCWD, path, 0711, &err) < 0)
		die("%s", err.msg);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Processes of user-namespaced pods pass through, and nobody lists it. */
	if (fd < 0 || fchmod(fd, 0711) < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

static char *
below(const char *dir, const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

static void
make_directories(void)
{
	static const char *const in_state[] = {"sandboxes", "containers"};
	struct err err;

	umask(0022);
	node.root_fd = open_private(config.root);
	node.state_fd = open_private(config.state);
	for (size_t i = 0; i < ARRAY_SIZE(in_state); i++)
		if (fd_mkdir_p(node.state_fd, in_state[i], 0711, &err) < 0)
			die("%s: %s", config.state, err.msg);
	if (fd_mkdir_p(node.root_fd, "containers", 0711, &err) < 0 ||
	    fd_mkdir_p(node.root_fd, "net", 0700, &err) < 0)
		die("%s: %s", config.root, err.msg);
}

/* A persistent directory: what the network has given out outlives a reboot. */
static void
set_net_config(void)
{
	config.net.instance = config.instance;
	config.net.state_dir = below(config.root, "net");
}

static void
open_node(void)
{
	cleanup_free char *db_path = below(config.root, "coracle.db");
	struct stats_conf stats = {.sample_ms = config.stats_period_ms};
	struct err err;

	node.db = db_open(db_path, &err);
	if (node.db == NULL)
		die("%s", err.msg);
	if (chmod(db_path, 0600) < 0)
		die("%s: %s", db_path, strerror(errno));
	if (cgroup_init(config.instance, config.cgroup_driver, &err) < 0)
		die("cgroups: %s", err.msg);
	if (config.cgroup_driver == CGROUP_DRIVER_SYSTEMD && cgroup_systemd_open(-1, &err) < 0)
		die("cgroups: %s", err.msg);
	if (cgroup_info()->devices == CGROUP_DEVICES_NONE)
		log_warn("this host cannot enforce device policies");
	node.images = image_store_open(node.db, config.root, &err);
	if (node.images == NULL)
		die("images: %s", err.msg);
	image_store_set_pinned(node.images, (const char *const *)config.pinned_images,
	    config.n_pinned_images);
	if (cri_images_init(&config, &err) < 0)
		die("images: %s", err.msg);
	set_net_config();
	node.net = net_open(&config.net, &err);
	if (node.net == NULL)
		die("network: %s", err.msg);
	stats_init(&stats);
	if (keeping_open(&err) < 0 ||
	    stream_server_open(config.stream_address, config.stream_port, config.stream_tls_cert,
		config.stream_tls_key, &err) < 0)
		die("%s", err.msg);
}

static void
listen_on_socket(void)
{
	struct err err;
	int n = sd_listen_fds(1);

	server = grpc_server_new();
	cri_register(server);
	control_register(server);
	for (int i = 0; i < n; i++)
		if (grpc_server_listen_fd(server, SD_LISTEN_FDS_START + i, &err) < 0)
			die("%s", err.msg);
	if (n <= 0 && grpc_server_listen(server, config.listen, &err) < 0)
		die("%s", err.msg);
}

static void
dump_op(const struct op *op, void *arg)
{
	int64_t now = loop_now_ms();

	(void)arg;
	log_info("op %s %s: %s%s for %lld ms, %lld ms old", op->name, op->object,
	    op->phase == OP_RUNNING ? "" : "undoing ", op_step_name(op),
	    (long long)(now - op->step_ms), (long long)(now - op->started_ms));
}

static void
on_dump(struct ev_loop *l, ev_signal *w, int events)
{
	(void)l;
	(void)w;
	(void)events;
	log_info("%u operations in flight, %zu sandboxes, %zu containers", op_count(),
	    node.sandbox_by_id.n, node.container_by_id.n);
	op_foreach(dump_op, NULL);
}

static void
on_drained(struct grpc_server *s)
{
	(void)s;
	loop_stop();
}

static void
on_drain_deadline(struct loop_timer *t)
{
	(void)t;
	log_warn("calls still in flight after %d ms are cut off", DRAIN_MS);
	loop_stop();
}

static void
on_stop(struct ev_loop *l, ev_signal *w, int events)
{
	(void)l;
	(void)w;
	(void)events;
	if (stopping) {
		loop_stop();
		return;
	}
	stopping = true;
	log_info("stopping; containers run on");
	sd_notify(0, "STOPPING=1");
	events_close_all();
	timer_start(&drain_deadline, DRAIN_MS, on_drain_deadline);
	grpc_server_drain(server, on_drained);
}

static void
watch_signal(ev_signal *w, int sig, void (*cb)(struct ev_loop *, ev_signal *, int))
{
	ev_signal_init(w, cb, sig);
	ev_signal_start(loop, w);
}

static void
on_reload(struct ev_loop *l, ev_signal *w, int events)
{
	(void)l;
	(void)w;
	(void)events;
	control_reload();
}

static void
close_node(void)
{
	struct container *c;
	struct sandbox *sb;

	grpc_server_free(server);
	stream_server_close();
	keeping_close();
	stats_fini();
	net_close(node.net);
	TAILQ_FOREACH(c, &node.containers, all)
		stats_unwatch(&c->stats);
	TAILQ_FOREACH(sb, &node.sandboxes, all)
		stats_unwatch(&sb->stats);
	cri_images_fini();
	db_close(node.db);
	cgroup_systemd_close();
	cgroup_fini();
}

int
main(int argc, char **argv)
{
	bool named;
	const char *path = config_path(argc, argv, &named);
	struct err err;
	int action;

	log_init();
	if (config_load(&config, path, named, &err) < 0)
		die("%s", err.msg);
	action = read_options(argc, argv);
	check_options();
	control_init(&config, path);
	if (action == 'C') {
		printf("%s: fine\n", path);
		return 0;
	}
	if (action == 'P') {
		cleanup_buf struct buf b = BUF_INIT;

		config_print(&config, &b);
		fputs(b.data, stdout);
		return 0;
	}
	if (action == 'R') {
		set_net_config();
		if (net_remove_all(&config.net, &err) < 0)
			die("%s", err.msg);
		return 0;
	}
	if (geteuid() != 0)
		die("must run as root");
	loop_init();
	node_init(&config);
	make_directories();
	listen_on_socket();
	open_node();
	if (recover(&err) < 0)
		die("%s", err.msg);
	watch_signal(&on_term, SIGTERM, on_stop);
	watch_signal(&on_int, SIGINT, on_stop);
	watch_signal(&on_usr1, SIGUSR1, on_dump);
	watch_signal(&on_hup, SIGHUP, on_reload);
	archives_preload(config.preload_dir);
	grpc_server_set_ready(server);
	sd_notify(0, "READY=1");
	log_info("coracled %s serves unix://%s", PACKAGE_VERSION, config.listen);
	loop_run();
	close_node();
	return 0;
}
