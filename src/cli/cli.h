/* SPDX-License-Identifier: Apache-2.0
 *
 * coracle, the command line: what its commands share. A command is a function of (argc, argv) with
 * its name as argv[0]; it returns the exit status: 0, 1 when the runtime or the network says no, 2
 * when it was called wrongly.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct grpc_client;

struct command {
	const char *name;
	const char *args; /* "POD CONTAINER.json POD.json" */
	const char *help;
	int (*run)(int argc, char **argv);
};

extern const struct command cli_commands[]; /* ends with a NULL name */
extern bool cli_json;                       /* -o json */
extern int64_t cli_timeout_ms;
extern const char *cli_endpoint;

/* Connected on first use; a runtime that is not there ends the program with a line that says so. */
struct grpc_client *cli_client(void);

/* A unary call of RuntimeService, ImageService or Control by its method's name. NULL with *err. The
 * caller frees the answer with cli_free(). */
ProtobufCMessage *cli_runtime(const char *method, const void *request,
    const ProtobufCMessageDescriptor *response, int64_t timeout_ms, struct err *err);
ProtobufCMessage *cli_image(const char *method, const void *request,
    const ProtobufCMessageDescriptor *response, int64_t timeout_ms, struct err *err);
ProtobufCMessage *cli_control(const char *method, const void *request,
    const ProtobufCMessageDescriptor *response, int64_t timeout_ms, struct err *err);
void cli_free(void *message); /* NULL is fine */

/* "coracle: …" on stderr. */
int cli_fail(const struct err *err);                                            /* returns 1 */
int cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));      /* returns 2 */

/* A message as JSON on stdout. */
void cli_print_json(const ProtobufCMessage *m);

/* "3 minutes ago", "12.5MB", the first 13 digits of an id. Static buffers, one per call of a few. */
const char *cli_ago(int64_t wall_ns);
const char *cli_size(uint64_t bytes);
const char *cli_short(const char *id);

/* Rows of cells under a header, columns as wide as they need; cells are copied. */
void cli_table(const char *const *header, size_t columns);
void cli_row(const char *const *cells);
void cli_table_end(void);

int cmd_version(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_ops(int argc, char **argv);
int cmd_log_level(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_pull(int argc, char **argv);
int cmd_images(int argc, char **argv);
int cmd_rmi(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_runp(int argc, char **argv);
int cmd_stopp(int argc, char **argv);
int cmd_rmp(int argc, char **argv);
int cmd_pods(int argc, char **argv);
int cmd_inspectp(int argc, char **argv);
int cmd_create(int argc, char **argv);
int cmd_start(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_exec(int argc, char **argv);
int cmd_logs(int argc, char **argv);
int cmd_events(int argc, char **argv);

#endif
