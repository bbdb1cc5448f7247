/* SPDX-License-Identifier: Apache-2.0
 *
 * pull, images, rmi, import, export.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "cli/cli.h"
#include "grpc/client.h"
#include "loop/loop.h"
#include "proto/control.pb-c.h"
#include "proto/cri.pb-c.h"

enum { BAR = 30, PROGRESS_AFTER_MS = 200 };

struct pulling {
	struct grpc_client_call call, progress;
	struct loop_timer later;
	char *image;
	char *image_ref;
	bool bars, watching, done;
	size_t lines; /* on the terminal, to be drawn over */
};

static void
on_pulled(struct grpc_client_call *call, ProtobufCMessage **message)
{
	struct pulling *p = container_of(call, struct pulling, call);

	p->image_ref = xstrdup(((Runtime__V1__PullImageResponse *)*message)->image_ref);
}

static void
on_pull_done(struct grpc_client_call *call)
{
	container_of(call, struct pulling, call)->done = true;
}

static void
draw_layer(const Coracle__V1__Layer *l)
{
	int full = l->size > 0 ? (int)(BAR * MIN(l->received, l->size) / l->size) : 0;
	char bar[BAR + 1];

	for (int i = 0; i < BAR; i++)
		bar[i] = i < full ? '#' : '.';
	bar[BAR] = '\0';
	fprintf(stderr, "\x1b[K%s [%s] %s of %s %s\n", cli_short(l->digest), bar,
	    cli_size(l->received), cli_size(l->size), l->state);
}

static void
on_progress(struct grpc_client_call *call, ProtobufCMessage **message)
{
	struct pulling *p = container_of(call, struct pulling, progress);
	const Coracle__V1__PullProgressResponse *m = (void *)*message;

	if (p->done)
		return;
	if (p->lines > 0)
		fprintf(stderr, "\x1b[%zuA", p->lines);
	p->lines = 0;
	for (size_t i = 0; i < m->n_pulls; i++)
		for (size_t k = 0; k < m->pulls[i]->n_layers; k++, p->lines++)
			draw_layer(m->pulls[i]->layers[k]);
}

static void
on_progress_done(struct grpc_client_call *call)
{
	container_of(call, struct pulling, progress)->watching = false; /* or not ours to ask */
}

static void
watch_progress(struct loop_timer *t)
{
	struct pulling *p = container_of(t, struct pulling, later);
	Coracle__V1__PullProgressRequest req = CORACLE__V1__PULL_PROGRESS_REQUEST__INIT;

	if (p->done || !p->bars)
		return;
	p->watching = true;
	p->progress.on_message = on_progress;
	p->progress.on_done = on_progress_done;
	p->progress.response = &coracle__v1__pull_progress_response__descriptor;
	grpc_client_call(cli_client(), &p->progress, "/coracle.v1.Control/PullProgress", &req.base,
	    0);
}

int
cmd_pull(int argc, char **argv)
{
	static const struct option options[] = {
	    {"creds", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
	Runtime__V1__PullImageRequest req = RUNTIME__V1__PULL_IMAGE_REQUEST__INIT;
	Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
	Runtime__V1__AuthConfig auth = RUNTIME__V1__AUTH_CONFIG__INIT;
	struct pulling p = {.bars = isatty(STDERR_FILENO)};
	char *colon;
	int c;

	while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (c != 'c' || (colon = strchr(optarg, ':')) == NULL)
			return cli_usage("pull [--creds USER:PASSWORD] IMAGE");
		*colon = '\0';
		auth.username = optarg;
		auth.password = colon + 1;
		req.auth = &auth;
	}
	if (optind + 1 != argc)
		return cli_usage("pull [--creds USER:PASSWORD] IMAGE");
	spec.image = argv[optind];
	req.image = &spec;
	p.call.on_message = on_pulled;
	p.call.on_done = on_pull_done;
	p.call.response = &runtime__v1__pull_image_response__descriptor;
	grpc_client_call(cli_client(), &p.call, "/runtime.v1.ImageService/PullImage", &req.base, 0);
	timer_start(&p.later, PROGRESS_AFTER_MS, watch_progress);
	while (!p.done)
		ev_run(loop, EVRUN_ONCE);
	timer_stop(&p.later);
	if (p.watching)
		grpc_client_cancel(&p.progress);
	if (p.call.err.code != ERR_NONE) {
		err_wrap(&p.call.err, "pull %s", argv[optind]);
		return cli_fail(&p.call.err);
	}
	printf("%s\n", STR_OR_EMPTY(p.image_ref));
	free(p.image_ref);
	return 0;
}

static void
image_rows(const Runtime__V1__Image *img)
{
	const char *id = cli_short(img->id), *size = cli_size(img->size);

	if (img->n_repo_tags == 0)
		cli_row((const char *[]){
		    img->n_repo_digests > 0 ? img->repo_digests[0] : "<none>", id, size,
		    img->pinned ? "pinned" : ""});
	for (size_t i = 0; i < img->n_repo_tags; i++)
		cli_row((const char *[]){img->repo_tags[i], id, size, img->pinned ? "pinned" : ""});
}

int
cmd_images(int argc, char **argv)
{
	static const char *const header[] = {"IMAGE", "ID", "SIZE", ""};
	Runtime__V1__ListImagesRequest req = RUNTIME__V1__LIST_IMAGES_REQUEST__INIT;
	Runtime__V1__ListImagesResponse *m;
	struct err err;

	(void)argv;
	if (argc != 1)
		return cli_usage("images takes no arguments");
	m = (void *)cli_image("ListImages", &req, &runtime__v1__list_images_response__descriptor,
	    cli_timeout_ms, &err);
	if (m == NULL)
		return cli_fail(&err);
	if (cli_json) {
		cli_print_json(&m->base);
	} else {
		cli_table(header, 3);
		for (size_t i = 0; i < m->n_images; i++)
			image_rows(m->images[i]);
		cli_table_end();
	}
	cli_free(m);
	return 0;
}

int
cmd_rmi(int argc, char **argv)
{
	int ret = 0;

	if (argc < 2)
		return cli_usage("rmi IMAGE…");
	for (int i = 1; i < argc; i++) {
		Runtime__V1__RemoveImageRequest req = RUNTIME__V1__REMOVE_IMAGE_REQUEST__INIT;
		Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
		ProtobufCMessage *m;
		struct err err;

		spec.image = argv[i];
		req.image = &spec;
		m = cli_image("RemoveImage", &req, &runtime__v1__remove_image_response__descriptor,
		    cli_timeout_ms, &err);
		if (m == NULL)
			ret = cli_fail(&err);
		else
			printf("%s\n", argv[i]);
		cli_free(m);
	}
	return ret;
}

/* The daemon opens the file, so it gets an absolute path. */
static char *
absolute(const char *path)
{
	cleanup_free char *cwd = getcwd(NULL, 0);

	return path[0] == '/' ? xstrdup(path) : xasprintf("%s/%s", STR_OR_EMPTY(cwd), path);
}

static void
on_stream_message(struct grpc_client_call *call, ProtobufCMessage **message)
{
	const Coracle__V1__ImportImagesResponse *m = (void *)*message;

	if (call->response != &coracle__v1__import_images_response__descriptor)
		return;
	printf("%s", m->image_ref);
	for (size_t i = 0; i < m->n_tags; i++)
		printf(" %s", m->tags[i]);
	putchar('\n');
}

static void
on_stream_done(struct grpc_client_call *call)
{
	(void)call;
	loop_stop();
}

static int
run_stream(const char *path, const ProtobufCMessage *req, const ProtobufCMessageDescriptor *response)
{
	struct grpc_client_call call = {
	    .on_message = on_stream_message, .on_done = on_stream_done, .response = response};

	grpc_client_call(cli_client(), &call, path, req, 0);
	loop_run();
	return call.err.code == ERR_NONE ? 0 : cli_fail(&call.err);
}

int
cmd_import(int argc, char **argv)
{
	Coracle__V1__ImportImagesRequest req = CORACLE__V1__IMPORT_IMAGES_REQUEST__INIT;
	cleanup_free char *path = NULL;

	if (argc < 2 || argc > 3)
		return cli_usage("import FILE [NAME]: an OCI layout (directory or tar) or a docker "
		                 "archive");
	req.path = path = absolute(argv[1]);
	if (argc == 3)
		req.base_name = argv[2];
	return run_stream("/coracle.v1.Control/ImportImages", &req.base,
	    &coracle__v1__import_images_response__descriptor);
}

int
cmd_export(int argc, char **argv)
{
	static const struct option options[] = {
	    {"format", required_argument, NULL, 'f'}, {NULL, 0, NULL, 0}};
	Coracle__V1__ExportImagesRequest req = CORACLE__V1__EXPORT_IMAGES_REQUEST__INIT;
	cleanup_free char *path = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (c != 'f')
			return cli_usage("export [--format oci|docker] FILE IMAGE…");
		req.format = optarg;
	}
	if (argc - optind < 2)
		return cli_usage("export [--format oci|docker] FILE IMAGE…");
	req.path = path = absolute(argv[optind]);
	req.images = argv + optind + 1;
	req.n_images = (size_t)(argc - optind - 1);
	return run_stream("/coracle.v1.Control/ExportImages", &req.base,
	    &coracle__v1__export_images_response__descriptor);
}
