/* SPDX-License-Identifier: Apache-2.0
 *
 * A directory of the test's own, removed at the end, and small questions about what is in it.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/xalloc.h"

static char scratch_dir[PATH_MAX - 256];

static inline void
scratch_remove(void)
{
	pid_t pid;

	if (scratch_dir[0] == '\0')
		return;
	pid = fork();
	if (pid == 0) {
		execlp("rm", "rm", "-rf", scratch_dir, NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
	scratch_dir[0] = '\0';
}

static inline void
scratch_make_in(const char *dir)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(scratch_dir, sizeof(scratch_dir), "%s/coracle-test-XXXXXX",
	    tmp != NULL ? tmp : dir);
	if (mkdtemp(scratch_dir) == NULL) {
		perror("mkdtemp");
		exit(1);
	}
}

/* In memory, where extended attributes of all kinds can be had there (Linux 6.6): tests that sync
 * file systems do not wait for the disk of a busy machine. */
static inline void
scratch_make(void)
{
	scratch_make_in("/dev/shm");
	if (setxattr(scratch_dir, "user.test", "1", 1, 0) == 0) {
		removexattr(scratch_dir, "user.test");
		return;
	}
	rmdir(scratch_dir);
	scratch_make_in("/tmp");
}

/* A path below it, in one of several buffers. */
static inline const char *
in_scratch(const char *name)
{
	static char paths[8][PATH_MAX];
	static unsigned at;
	char *p = paths[at++ % 8];

	snprintf(p, PATH_MAX, "%s/%s", scratch_dir, name);
	return p;
}

/* A command's output's first line, as `cd scratch && sh -c cmd` prints it. */
static inline const char *
scratch_sh(const char *cmd)
{
	static char line[4][1024];
	static unsigned at;
	char *p = line[at++ % 4];
	char *full = xasprintf("cd %s && { %s; }", scratch_dir, cmd);
	FILE *f = popen(full, "re");

	p[0] = '\0';
	if (f != NULL) {
		if (fgets(p, 1024, f) != NULL)
			p[strcspn(p, "\n")] = '\0';
		pclose(f);
	}
	free(full);
	return p;
}

#endif
