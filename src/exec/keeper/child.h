/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the launch of a process: what its child side shares. Everything here runs between
 * clone3 and execve, in a copy of the keeper: no allocation, no stdio, no return to the keeper's
 * code. A failure is reported through the status socket and ends the process, so nothing is undone
 * and no function returns an error that its caller could not use.
 *
 * Order of a container: cgroup, sources of mounts (still in the host's namespaces), namespaces,
 * root, mounts, devices, terminal, masks, pivot, process attributes, execve.
 */
#ifndef EXEC_KEEPER_CHILD_H
#define EXEC_KEEPER_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/macros.h"
#include "proto/launch.pb-c.h"

enum launch_msg_type {
	LAUNCH_MSG_FAIL = 1,
	LAUNCH_MSG_NOTE,
	LAUNCH_MSG_TTY,   /* with the terminal's master side */
	LAUNCH_MSG_MOVED, /* with the pidfd of the process that goes on, and its pid */
	LAUNCH_MSG_LAST   /* all that is left is execve: the end of the socket means success */
};

/* One packet of the status socket. */
struct launch_msg {
	uint32_t type;
	int32_t errnum; /* appended to the text as words when it is not 0 and `plain` is not set */
	int32_t pid;
	uint32_t plain;
	char step[48];
	char text[192];
};

enum { LAUNCH_HOLDER_STATUS_FD = 3 };
#define LAUNCH_HOLDER_NAME "coracle-holder"

struct launch_ctx {
	const Coracle__Launch__Plan *plan;
	const int *fds;
	int stdio[3];
	char **argv, **envp; /* NULL-terminated, made before the clone */
	int *mount_fds;      /* one per mount: the detached source, or -1 */
	int *device_fds;     /* one per device: the detached node to bind, or -1 */
	int status_fd;
	int proc_fd;   /* a procfs of the keeper's PID namespace that is mounted nowhere */
	int root_fd;   /* the new root, once attached */
	int devpts_fd; /* the container's own devpts, or -1 */
	int tty_fd;    /* the terminal's slave side, or -1 */
	const char *step;
};

/* child_report.c */
_Noreturn void child_fail(struct launch_ctx *c, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* As child_fail, but the text is complete: the errno's words are not appended. */
_Noreturn void child_fail_plain(struct launch_ctx *c, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void child_note(struct launch_ctx *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void child_send_fd(struct launch_ctx *c, enum launch_msg_type type, pid_t pid, int fd);
void child_send_last(struct launch_ctx *c);

/* The descriptor behind a *_fd field of the plan (checked by launch_clone); -1: none. */
static inline int
child_fd(const struct launch_ctx *c, uint32_t index)
{
	return index == 0 ? -1 : c->fds[index - 1];
}

static inline bool
child_has(const char *s)
{
	return s != NULL && *s != '\0';
}

/* child_run.c: the whole child; does not return. */
_Noreturn void child_run(struct launch_ctx *c);

/* child_path.c: paths inside the new root. Symbolic links resolve inside it, magic ones never. */
int child_openat2(int dirfd, const char *path, uint64_t flags, uint64_t resolve); /* -1, errno */
int child_open_in_root(struct launch_ctx *c, const char *path, int flags);        /* -1, errno */
/* An O_PATH descriptor of it; what is missing is made: directories 0755, at the end a directory or
 * an empty file. */
int child_make_path(struct launch_ctx *c, const char *path, bool directory);
/* The directory that holds it (made when missing); *ret_base points into path. */
int child_make_parent(struct launch_ctx *c, const char *path, const char **ret_base);
/* Where a descriptor is, below the new root when it is there: readlink of the fd's magic link. */
bool child_path_of(struct launch_ctx *c, int fd, char *buf, size_t size);

/* child_ns.c */
pid_t child_clone(uint64_t flags, int cgroup_fd, int *ret_pidfd); /* clone3; -1 with errno */
void child_cgroup(struct launch_ctx *c);
void child_oom_score_adj(struct launch_ctx *c);
void child_join(struct launch_ctx *c); /* may continue in another process, see LAUNCH_MSG_MOVED */
void child_configure_namespaces(struct launch_ctx *c); /* sysctls, hostname, loopback */
_Noreturn void child_namespaces(struct launch_ctx *c); /* the NAMESPACES kind */
bool child_joins(const struct launch_ctx *c, uint32_t type);

/* child_mount.c */
void child_open_sources(struct launch_ctx *c);
void child_attach_root(struct launch_ctx *c);
void child_mounts(struct launch_ctx *c);
void child_move_onto(struct launch_ctx *c, int mount_fd, int target_fd, const char *target);
void child_pivot(struct launch_ctx *c);

/* child_dev.c */
void child_devices(struct launch_ctx *c);
void child_terminal(struct launch_ctx *c); /* CONTAINER and EXEC */
void child_masks(struct launch_ctx *c);

/* child_process.c */
void child_own_stdio(struct launch_ctx *c);
_Noreturn void child_exec(struct launch_ctx *c);

/* child_holder.c */
_Noreturn void child_holder(struct launch_ctx *c);

#endif
