/* SPDX-License-Identifier: Apache-2.0
 *
 * Preloaded into coracled: once the operation CORACLE_KILL_OP appears in the trace, counts the calls
 * below that change something outside of the process, and dies by SIGKILL right before the
 * CORACLE_KILL_N'th. Its name goes to the file CORACLE_KILL_LOG first.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static pid_t self;
static int armed, calls, at;
static char pattern[64];

static void __attribute__((constructor))
begin(void)
{
	const char *op = getenv("CORACLE_KILL_OP"), *n = getenv("CORACLE_KILL_N");

	self = getpid();
	snprintf(pattern, sizeof(pattern), " op %s ", op != NULL ? op : "(none)");
	at = n != NULL ? (int)strtol(n, NULL, 10) : 0;
}

static void
point(const char *name)
{
	const char *log = getenv("CORACLE_KILL_LOG");
	int fd;

	if (!armed || getpid() != self || ++calls != at)
		return;
	armed = 0;
	fd = log != NULL ? open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	if (fd >= 0)
		dprintf(fd, "%s", name);
	kill(self, SIGKILL);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t
write(int fd, const void *p, size_t n)
{
	if (fd != 2)
		point("write");
	else if (!armed && memmem(p, n, pattern, strlen(pattern)) != NULL)
		armed = 1;
	return REAL(write)(fd, p, n);
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off64_t off)
{
	point("pwrite");
	return REAL(pwrite64)(fd, p, n, off);
}

ssize_t
sendmsg(int fd, const struct msghdr *m, int flags)
{
	point("sendmsg");
	return REAL(sendmsg)(fd, m, flags);
}

int
mkdirat(int dir, const char *path, mode_t mode)
{
	point("mkdirat");
	return REAL(mkdirat)(dir, path, mode);
}

int
unlinkat(int dir, const char *path, int flags)
{
	point("unlinkat");
	return REAL(unlinkat)(dir, path, flags);
}

int
renameat(int from, const char *a, int to, const char *b)
{
	point("renameat");
	return REAL(renameat)(from, a, to, b);
}

int
mount(const char *s, const char *t, const char *f, unsigned long flags, const void *d)
{
	point("mount");
	return ((int (*)(const char *, const char *, const char *, unsigned long, const void *))dlsym(
	    RTLD_NEXT, "mount"))(s, t, f, flags, d);
}

int
umount2(const char *t, int flags)
{
	point("umount2");
	return ((int (*)(const char *, int))dlsym(RTLD_NEXT, "umount2"))(t, flags);
}

pid_t
fork(void)
{
	point("fork");
	return REAL(fork)();
}
