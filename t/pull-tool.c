/* SPDX-License-Identifier: Apache-2.0
 *
 * Pulls images into a store in a directory, and says what became of it: the driver of t/4*-*.t. All
 * images are pulled at once, each as many times as --times says.
 *
 *	pull-tool --root DIR [options] IMAGE…
 *
 * Prints, for each pull, "ok <image> <id>" or "<CODE> <image> <message>", then what the store
 *holds: "image <id> tags … digests … layers …", and last "rss <kB at most> in-flight <pulls>".
 */
#include <getopt.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/pull.h"
#include "image/store.h"
#include "loop/fetch.h"
#include "loop/loop.h"
#include "loop/op.h"
#include "store/db.h"

struct job {
	struct op op;
	struct pull pull;
	struct pull_spec spec;
	struct loop_timer limit;
	bool started, done;
};

static struct puller *puller;
static unsigned n_running;
static int64_t cancel_ms, deadline_ms;
static bool show_progress;
static struct loop_timer progress, drain;

static enum op_ret
pull(struct op *op, struct err *err)
{
	struct job *j = container_of(op, struct job, op);

	return pull_start(&j->pull, puller, &j->spec, op, err) < 0 ? OP_FAIL : OP_WAIT;
}

static const struct op_step steps[] = {
    {"pull", pull, NULL},
    {NULL, NULL, NULL},
};

static void
print_progress(const struct pull_progress *p, void *arg)
{
	(void)arg;
	printf("progress %s: %s:", p->image, p->step);
	for (size_t i = 0; i < p->n_layers; i++)
		printf(" %s %llu/%llu", p->layers[i].state,
		    (unsigned long long)p->layers[i].received,
		    (unsigned long long)p->layers[i].size);
	printf("\n");
}

static void
on_progress(struct loop_timer *t)
{
	pull_foreach(puller, print_progress, NULL);
	timer_start(t, 50, on_progress);
}

/* What nobody waits for any more still cleans up. */
static void
on_drain(struct loop_timer *t)
{
	if (puller_busy(puller) == 0)
		loop_stop();
	else
		timer_start(t, 5, on_drain);
}

static void
on_done(struct op *op)
{
	struct job *j = container_of(op, struct job, op);

	timer_stop(&j->limit);
	if (op->err.code == ERR_NONE)
		printf("ok %s %s\n", j->spec.image, j->pull.image_id);
	else
		printf("%s %s %s\n", err_name(op->err.code), j->spec.image, op->err.msg);
	fflush(stdout);
	if (--n_running == 0)
		timer_start(&drain, 0, on_drain);
}

static void
on_limit(struct loop_timer *t)
{
	struct job *j = container_of(t, struct job, limit);

	if (deadline_ms > 0)
		op_cancel(&j->op, ERR_DEADLINE_EXCEEDED, "the deadline has passed");
	else
		op_cancel(&j->op, ERR_CANCELLED, "the client is gone");
}

static void
print_store(struct image_store *st)
{
	for (struct image *img = image_store_next(st, NULL); img != NULL;
	     img = image_store_next(st, img)) {
		printf("image %s tags", img->id);
		for (size_t i = 0; i < img->n_tags; i++)
			printf(" %s", img->tags[i]);
		printf(" digests");
		for (size_t i = 0; i < img->n_digests; i++)
			printf(" %s", img->digests[i]);
		printf(" layers");
		for (size_t i = 0; i < img->n_layers; i++)
			printf(" %lld", (long long)img->layers[i]);
		printf("\n");
	}
}

/* getrusage() would count what our parent was before the exec. */
static long
peak_rss_kb(void)
{
	char line[200];
	long kb = -1;
	FILE *f = fopen("/proc/self/status", "re");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "VmHWM: %ld", &kb) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return kb;
}

enum {
	OPT_ROOT = 256,
	OPT_CERTS,
	OPT_USER,
	OPT_PASSWORD,
	OPT_AUTH,
	OPT_IDENTITY,
	OPT_TOKEN,
	OPT_SERVER,
	OPT_PLATFORM,
	OPT_CANCEL,
	OPT_DEADLINE,
	OPT_STALL,
	OPT_RETRY,
	OPT_TIMES,
	OPT_FAIL,
	OPT_PROGRESS,
	OPT_TRACE,
	OPT_PER_IMAGE,
	OPT_PER_NODE
};

static const struct option options[] = {
    {"root", required_argument, NULL, OPT_ROOT},
    {"certs", required_argument, NULL, OPT_CERTS},
    {"user", required_argument, NULL, OPT_USER},
    {"password", required_argument, NULL, OPT_PASSWORD},
    {"auth", required_argument, NULL, OPT_AUTH},
    {"identity-token", required_argument, NULL, OPT_IDENTITY},
    {"registry-token", required_argument, NULL, OPT_TOKEN},
    {"server", required_argument, NULL, OPT_SERVER},
    {"platform", required_argument, NULL, OPT_PLATFORM},
    {"cancel-ms", required_argument, NULL, OPT_CANCEL},
    {"deadline-ms", required_argument, NULL, OPT_DEADLINE},
    {"stall-ms", required_argument, NULL, OPT_STALL},
    {"retry-ms", required_argument, NULL, OPT_RETRY},
    {"times", required_argument, NULL, OPT_TIMES},
    {"fail-at", required_argument, NULL, OPT_FAIL},
    {"per-image", required_argument, NULL, OPT_PER_IMAGE},
    {"per-node", required_argument, NULL, OPT_PER_NODE},
    {"progress", no_argument, NULL, OPT_PROGRESS},
    {"trace", no_argument, NULL, OPT_TRACE},
    {NULL, 0, NULL, 0},
};

static int64_t
number(const char *s)
{
	uint64_t n;

	if (str_u64(s, 10, 1000000000, &n) < 0) {
		fprintf(stderr, "not a number: %s\n", s);
		exit(2);
	}
	return (int64_t)n;
}

static struct {
	const char *root;
	struct pull_auth auth;
	struct puller_options puller;
	int64_t times;
} args = {.times = 1};

static void
parse(int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case OPT_ROOT:
			args.root = optarg;
			break;
		case OPT_CERTS:
			args.puller.certs_dirs = optarg;
			break;
		case OPT_USER:
			args.auth.username = optarg;
			break;
		case OPT_PASSWORD:
			args.auth.password = optarg;
			break;
		case OPT_AUTH:
			args.auth.auth = optarg;
			break;
		case OPT_IDENTITY:
			args.auth.identity_token = optarg;
			break;
		case OPT_TOKEN:
			args.auth.registry_token = optarg;
			break;
		case OPT_SERVER:
			args.auth.server_address = optarg;
			break;
		case OPT_PLATFORM:
			args.puller.platform = optarg;
			break;
		case OPT_CANCEL:
			cancel_ms = number(optarg);
			break;
		case OPT_DEADLINE:
			deadline_ms = number(optarg);
			break;
		case OPT_STALL:
			args.puller.stall_timeout_ms = number(optarg);
			break;
		case OPT_RETRY:
			args.puller.retry_ms = number(optarg);
			break;
		case OPT_TIMES:
			args.times = number(optarg);
			break;
		case OPT_FAIL:
			op_fail_at = (int)number(optarg);
			break;
		case OPT_PER_IMAGE:
			args.puller.per_image = (unsigned)number(optarg);
			break;
		case OPT_PER_NODE:
			args.puller.per_node = (unsigned)number(optarg);
			break;
		case OPT_PROGRESS:
			show_progress = true;
			break;
		case OPT_TRACE:
			trace_mask = TRACE_IMAGE | TRACE_OP;
			break;
		default:
			exit(2);
		}
	if (args.root == NULL || optind == argc) {
		fprintf(stderr, "usage: pull-tool --root DIR [options] IMAGE...\n");
		exit(2);
	}
}

static void
start(struct job *j, const char *image)
{
	j->spec = (struct pull_spec){.image = image, .auth = args.auth};
	op_start(&j->op, "PullImage", image, steps, on_done);
	n_running++;
	if (cancel_ms + deadline_ms > 0)
		timer_start(&j->limit, cancel_ms + deadline_ms, on_limit);
}

int
main(int argc, char **argv)
{
	cleanup_free char *path = NULL;
	struct image_store *st;
	struct job *jobs;
	struct err err;
	struct db *db;
	size_t n = 0;

	parse(argc, argv);
	loop_init();
	if (mkdir(args.root, 0700) < 0 && access(args.root, F_OK) < 0) {
		perror(args.root);
		return 2;
	}
	path = xasprintf("%s/images.db", args.root);
	db = db_open(path, &err);
	st = db != NULL ? image_store_open(db, args.root, &err) : NULL;
	puller = st != NULL ? puller_new(st, &args.puller, &err) : NULL;
	if (puller == NULL) {
		fprintf(stderr, "pull-tool: %s\n", err.msg);
		return 2;
	}
	image_store_settle(st);
	jobs = xcalloc((size_t)(argc - optind) * (size_t)args.times, sizeof(*jobs));
	for (int i = optind; i < argc; i++)
		for (int64_t k = 0; k < args.times; k++)
			start(&jobs[n++], argv[i]);
	if (show_progress)
		timer_start(&progress, 50, on_progress);
	do
		loop_run(); /* it returns when there is nothing to watch, too */
	while (n_running > 0 || puller_busy(puller) > 0);
	timer_stop(&progress);
	timer_stop(&drain);
	print_store(st);
	printf("rss %ld in-flight %u\n", peak_rss_kb(), puller_busy(puller));
	if (trace_mask != 0)
		trace_dump(2);
	puller_free(puller);
	fetch_shutdown();
	image_store_close(st);
	db_close(db);
	free(jobs);
	return 0;
}
