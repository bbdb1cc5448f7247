/* SPDX-License-Identifier: Apache-2.0
 *
 * coracle: options, the table of commands, calls, tables.
 */
#include "cli/cli.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "cli/json.h"
#include "grpc/client.h"
#include "loop/loop.h"

enum { MAX_COLUMNS = 12, SHORT_ID = 13 };

bool cli_json;
int64_t cli_timeout_ms = 120 * 1000;
const char *cli_endpoint = "unix:///run/coracle/coracle.sock";

static struct grpc_client *client;

const struct command cli_commands[] = {
    {"version",   "",                              "versions of client and runtime",        cmd_version  },
    {"info",      "",                              "state of the runtime",                  cmd_info     },
    {"ops",       "",                              "operations in flight",                  cmd_ops      },
    {"log-level", "[LEVEL] [TRACE]",               "change what coracled logs",             cmd_log_level},
    {"reload",    "",                              "read the configuration again",          cmd_reload   },
    {"events",    "",                              "follow events of pods and containers",  cmd_events   },
    {"pull",      "[--creds USER:PASSWORD] IMAGE", "pull an image",                         cmd_pull     },
    {"images",    "",                              "list images",                           cmd_images   },
    {"rmi",       "IMAGE…",                        "remove images",                         cmd_rmi      },
    {"import",    "FILE [NAME]",                   "load images from an archive",           cmd_import   },
    {"export",    "[--format oci|docker] FILE IMAGE…", "write images to an archive",            cmd_export   },
    {"run",       "[--name NAME] [--host-network] IMAGE [COMMAND…]", "a pod with one container, removed when it ends", cmd_run},
    {"runp",      "POD.json",                      "run a pod sandbox",                     cmd_runp     },
    {"pods",      "",                              "list pod sandboxes",                    cmd_pods     },
    {"inspectp",  "POD",                           "status of a pod sandbox",               cmd_inspectp },
    {"stopp",     "POD…",                          "stop pod sandboxes",                    cmd_stopp    },
    {"rmp",       "POD…",                          "stop and remove pod sandboxes",         cmd_rmp      },
    {"create",    "POD CONTAINER.json POD.json",   "create a container",                    cmd_create   },
    {"start",     "CONTAINER…",                    "start containers",                      cmd_start    },
    {"ps",        "[--all]",                       "list containers",                       cmd_ps       },
    {"inspect",   "CONTAINER",                     "status of a container",                 cmd_inspect  },
    {"logs",      "[--follow] [--tail N] [--timestamps] CONTAINER", "show its log",         cmd_logs     },
    {"exec",      "[--timeout S] CONTAINER COMMAND…", "run a command in a container",       cmd_exec     },
    {"stats",     "",                              "usage of running containers",           cmd_stats    },
    {"stop",      "[--timeout S] CONTAINER…",      "stop containers",                       cmd_stop     },
    {"rm",        "CONTAINER…",                    "remove containers",                     cmd_rm       },
    {NULL,        NULL,                            NULL,                                    NULL         },
};

static const struct option options[] = {
    {"runtime", required_argument, NULL, 'r'},
    {"output",  required_argument, NULL, 'o'},
    {"timeout", required_argument, NULL, 't'},
    {"help",    no_argument,       NULL, 'h'},
    {NULL,      0,                 NULL, 0  },
};

static void
print_usage(FILE *f)
{
	fputs("usage: coracle [options] COMMAND …\n"
	      "  -r, --runtime unix://P  the runtime's socket (/run/coracle/coracle.sock, or\n"
	      "                          CONTAINER_RUNTIME_ENDPOINT)\n"
	      "  -o, --output json       JSON instead of tables\n"
	      "  -t, --timeout S         of a call, in seconds (120)\n"
	      "  -h, --help\n"
	      "commands:\n",
	    f);
	for (const struct command *c = cli_commands; c->name != NULL; c++)
		fprintf(f, "  %s%s%s\n              %s\n", c->name, c->args[0] != '\0' ? " " : "",
		    c->args, c->help);
}

int
cli_usage(const char *fmt, ...)
{
	va_list ap;

	fputs("coracle: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return 2;
}

int
cli_fail(const struct err *err)
{
	fprintf(stderr, "coracle: %s (%s)\n", err->msg, err_name(err->code));
	return 1;
}

struct grpc_client *
cli_client(void)
{
	struct err err;

	if (client != NULL)
		return client;
	client = grpc_client_open(cli_endpoint, &err);
	if (client == NULL) {
		fprintf(stderr, "coracle: %s: is the runtime running? (-r names its socket)\n",
		    err.msg);
		exit(1);
	}
	return client;
}

static ProtobufCMessage *
call(const char *service, const char *method, const void *request,
    const ProtobufCMessageDescriptor *response, int64_t timeout_ms, struct err *err)
{
	cleanup_free char *path = xasprintf("/%s/%s", service, method);

	return grpc_client_unary(cli_client(), path, request, response, timeout_ms, err);
}

ProtobufCMessage *
cli_runtime(const char *method, const void *request, const ProtobufCMessageDescriptor *response,
    int64_t timeout_ms, struct err *err)
{
	return call("runtime.v1.RuntimeService", method, request, response, timeout_ms, err);
}

ProtobufCMessage *
cli_image(const char *method, const void *request, const ProtobufCMessageDescriptor *response,
    int64_t timeout_ms, struct err *err)
{
	return call("runtime.v1.ImageService", method, request, response, timeout_ms, err);
}

ProtobufCMessage *
cli_control(const char *method, const void *request, const ProtobufCMessageDescriptor *response,
    int64_t timeout_ms, struct err *err)
{
	return call("coracle.v1.Control", method, request, response, timeout_ms, err);
}

void
cli_free(void *message)
{
	if (message != NULL)
		protobuf_c_message_free_unpacked(message, NULL);
}

void
cli_print_json(const ProtobufCMessage *m)
{
	json_t *o = json_of_message(m);

	json_dumpf(o, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(o);
}

static char *
scratch(void)
{
	static char ring[16][40];
	static unsigned at;

	return ring[at++ % ARRAY_SIZE(ring)];
}

const char *
cli_ago(int64_t wall_ns)
{
	int64_t s = (clock_wall_ns() - wall_ns) / NS_PER_SEC;
	char *out = scratch();

	if (wall_ns == 0)
		return "-";
	if (s < 120)
		snprintf(out, 40, "%lld seconds ago", (long long)MAX(s, 0));
	else if (s < 120 * 60)
		snprintf(out, 40, "%lld minutes ago", (long long)s / 60);
	else if (s < 48 * 3600)
		snprintf(out, 40, "%lld hours ago", (long long)s / 3600);
	else
		snprintf(out, 40, "%lld days ago", (long long)s / 86400);
	return out;
}

const char *
cli_size(uint64_t bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	double v = (double)bytes;
	size_t u = 0;
	char *out = scratch();

	for (; v >= 1000 && u + 1 < ARRAY_SIZE(units); u++)
		v /= 1000;
	snprintf(out, 40, v < 10 && u > 0 ? "%.2f%s" : v < 100 && u > 0 ? "%.1f%s" : "%.0f%s", v,
	    units[u]);
	return out;
}

const char *
cli_short(const char *id)
{
	char *out = scratch();

	if (str_starts(id, "sha256:"))
		id += 7;
	snprintf(out, 40, "%.*s", SHORT_ID, id);
	return out;
}

static struct {
	size_t columns, rows, width[MAX_COLUMNS];
	char **cells;
} table;

void
cli_row(const char *const *cells)
{
	table.cells = xrealloc(table.cells,
	    (table.rows + 1) * table.columns * sizeof(*table.cells));
	for (size_t i = 0; i < table.columns; i++) {
		const char *cell = cells[i] != NULL && *cells[i] != '\0' ? cells[i] : "-";

		table.cells[table.rows * table.columns + i] = xstrdup(cell);
		table.width[i] = MAX(table.width[i], strlen(cell));
	}
	table.rows++;
}

void
cli_table(const char *const *header, size_t columns)
{
	memset(&table, 0, sizeof(table));
	table.columns = columns;
	cli_row(header);
}

/* What came from a pod's author may hold anything: a terminal is shown only what prints. */
static void
print_cell(const char *cell, int width)
{
	int n = 0;

	for (; *cell != '\0'; cell++, n++)
		putchar((unsigned char)*cell < ' ' || *cell == 127 ? '?' : *cell);
	for (; n < width; n++)
		putchar(' ');
}

void
cli_table_end(void)
{
	for (size_t r = 0; r < table.rows; r++)
		for (size_t i = 0; i < table.columns; i++) {
			char *cell = table.cells[r * table.columns + i];
			bool last = i + 1 == table.columns;

			print_cell(cell, last ? 0 : (int)table.width[i] + 2);
			if (last)
				putchar('\n');
			free(cell);
		}
	free(table.cells);
	table.cells = NULL;
}

int
main(int argc, char **argv)
{
	const char *env = getenv("CONTAINER_RUNTIME_ENDPOINT");
	uint32_t seconds;
	int c, ret;

	log_threshold = LOG_LEVEL_ERROR;
	if (!str_empty(env))
		cli_endpoint = env;
	while ((c = getopt_long(argc, argv, "+r:o:t:h", options, NULL)) != -1) {
		if (c == 'r') {
			cli_endpoint = optarg;
		} else if (c == 'o') {
			if (strcmp(optarg, "json") != 0 && strcmp(optarg, "table") != 0)
				return cli_usage("--output is json or table, not \"%s\"", optarg);
			cli_json = strcmp(optarg, "json") == 0;
		} else if (c == 't') {
			if (str_u32(optarg, 86400, &seconds) < 0)
				return cli_usage("--timeout \"%s\" is no number of seconds", optarg);
			cli_timeout_ms = (int64_t)seconds * 1000;
		} else {
			print_usage(c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 2;
		}
	}
	if (optind == argc) {
		print_usage(stderr);
		return 2;
	}
	loop_init();
	argc -= optind;
	argv += optind;
	for (const struct command *cmd = cli_commands; cmd->name != NULL; cmd++)
		if (strcmp(cmd->name, argv[0]) == 0) {
			optind = 1;
			ret = cmd->run(argc, argv);
			grpc_client_close(client);
			return ret;
		}
	return cli_usage("no command \"%s\": see coracle --help", argv[0]);
}
