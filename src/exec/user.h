/* SPDX-License-Identifier: Apache-2.0
 *
 * Who a container's process is: user and groups from the request, the image's configuration, and
 * /etc/passwd and /etc/group inside the image, which are hostile files.
 */
#ifndef EXEC_USER_H
#define EXEC_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { USER_MAX_ID = 0x7fffffff, USER_MAX_GROUPS = 65536 };

struct user_request {
	const char
	    *run_as_username; /* NULL or "": not given. Wins over uid, and it over image_user */
	bool has_uid, has_gid;
	int64_t uid, gid;       /* run_as_user, run_as_group; gid without a user is an error */
	const char *image_user; /* the image's User: "name|uid[:group|gid]", may be NULL */
	const int64_t *supplemental;
	size_t n_supplemental;
	bool strict; /* SupplementalGroupsPolicy Strict: no memberships from the image's /etc/group
	              */
};

struct user {
	uint32_t uid, gid;
	uint32_t
	    *groups; /* for setgroups(2); as `id -G` prints: primary first, the others by number */
	size_t n_groups;
	char *home; /* from /etc/passwd; "/" when the user is not there, or it is no clean path */
	char *name; /* from /etc/passwd, else NULL */
};

/* root_fd: the root of the image, in which every link is resolved. Errors are INVALID_ARGUMENT and
 * name what is wrong. *ret is the caller's to release. */
int user_resolve(int root_fd, const struct user_request *req, struct user *ret, struct err *err)
    __attribute__((warn_unused_result));

/* The same with the contents of the two files; len 0 for one that is not there. */
struct user_file {
	const char *text; /* any bytes */
	size_t len;
};
int user_resolve_in(const struct user_file *passwd, const struct user_file *group,
    const struct user_request *req, struct user *ret, struct err *err)
    __attribute__((warn_unused_result));
void user_release(struct user *u); /* fine on a zeroed one, and twice */

/* The image's User for the CRI's Image message: a number gives uid, anything else username. */
struct user_of_image {
	bool has_uid;
	int64_t uid;
	char *username; /* NULL when has_uid, or when there is no user; the caller frees */
};
/* A number out of range is an INVALID_ARGUMENT. */
int user_of_image(const char *image_user, struct user_of_image *ret, struct err *err)
    __attribute__((warn_unused_result));

/* Only digits, 0 … USER_MAX_ID: 0, else -1. */
int user_parse_id(const char *s, uint32_t *ret);

#endif
