/* SPDX-License-Identifier: Apache-2.0
 *
 * A laboratory for network tests: the test process moves into a network (and mount) namespace of
 * its own and calls that the host; pods and other hosts are further namespaces, bind-mounted at
 * paths; little servers and clients run in any of them. Everything is gone with the test's
 * processes.
 */
#ifndef NETLAB_H
#define NETLAB_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop/loop.h"
#include "loop/op.h"

static char lab_dir[64];
static pid_t lab_servers[64];
static size_t lab_n_servers;

static inline void
lab_die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

static inline void
lab_loopback_up(void)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r) < 0)
		lab_die("loopback up");
	close(fd);
}

static inline void
lab_cleanup(void)
{
	for (size_t i = 0; i < lab_n_servers; i++) {
		kill(lab_servers[i], SIGKILL);
		waitpid(lab_servers[i], NULL, 0);
	}
	lab_n_servers = 0;
	if (lab_dir[0] != '\0') {
		umount2(lab_dir, MNT_DETACH);
		rmdir(lab_dir);
	}
	lab_dir[0] = '\0';
}

/* Become the host. Skips the whole test without the privilege. Scratch space: lab_dir, a tmpfs that
 * only this process sees. */
static inline void
lab_host(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) < 0) {
		printf("1..0 # SKIP needs root: network namespaces\n");
		exit(0);
	}
	snprintf(lab_dir, sizeof(lab_dir), "/tmp/netlab.XXXXXX");
	if (mkdtemp(lab_dir) == NULL || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", lab_dir, "tmpfs", 0, NULL) < 0)
		lab_die("scratch space");
	lab_loopback_up();
}

static inline void
lab_enter(const char *netns)
{
	int fd;

	if (netns == NULL)
		return;
	fd = open(netns, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		lab_die(netns);
	close(fd);
}

/* A new namespace with loopback up, at lab_dir/name. */
static inline const char *
lab_netns(const char *name, char out[static 128])
{
	int fd, status;
	pid_t pid;

	snprintf(out, 128, "%s/%s", lab_dir, name);
	fd = open(out, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		lab_die(out);
	close(fd);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNET) < 0)
			_exit(1);
		lab_loopback_up();
		_exit(mount("/proc/self/ns/net", out, NULL, MS_BIND, NULL) < 0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		lab_die("new network namespace");
	return out;
}

static inline void
lab_netns_remove(const char *path)
{
	umount2(path, MNT_DETACH);
	unlink(path);
}

static inline socklen_t
lab_address(const char *ip, int port, struct sockaddr_storage *s)
{
	struct sockaddr_in6 *s6 = (struct sockaddr_in6 *)s;
	struct sockaddr_in *s4 = (struct sockaddr_in *)s;

	memset(s, 0, sizeof(*s));
	if (inet_pton(AF_INET, ip, &s4->sin_addr) == 1) {
		s4->sin_family = AF_INET;
		s4->sin_port = htons((uint16_t)port);
		return sizeof(*s4);
	}
	if (inet_pton(AF_INET6, ip, &s6->sin6_addr) != 1)
		lab_die(ip);
	s6->sin6_family = AF_INET6;
	s6->sin6_port = htons((uint16_t)port);
	return sizeof(*s6);
}

static inline void
lab_peer_name(const struct sockaddr_storage *s, char *out, size_t n)
{
	if (s->ss_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)s)->sin_addr, out, (socklen_t)n);
	else
		inet_ntop(
		    AF_INET6, &((const struct sockaddr_in6 *)s)->sin6_addr, out, (socklen_t)n);
}

static inline void __attribute__((noreturn)) lab_serve_forever(int fd, int type, const char *word)
{
	for (;;) {
		struct sockaddr_storage peer;
		socklen_t len = sizeof(peer);
		char name[64], text[160], in[64];
		int n, c = fd;

		if (type == SOCK_STREAM)
			c = accept(fd, (struct sockaddr *)&peer, &len);
		else if (recvfrom(fd, in, sizeof(in), 0, (struct sockaddr *)&peer, &len) < 0)
			c = -1;
		if (c < 0)
			continue;
		lab_peer_name(&peer, name, sizeof(name));
		n = snprintf(text, sizeof(text), "%s from %s", word, name);
		if (sendto(c, text, (size_t)n, MSG_NOSIGNAL,
		        type == SOCK_STREAM ? NULL : (struct sockaddr *)&peer,
		        type == SOCK_STREAM ? 0 : len) < 0)
			perror("# server");
		if (c != fd)
			close(c);
	}
}

/* A server that answers "<word> from <the client's address>". netns NULL: on the host. */
static inline pid_t
lab_serve(const char *netns, int type, const char *ip, int port, const char *word)
{
	struct sockaddr_storage s;
	socklen_t len = lab_address(ip, port, &s);
	int ready[2], one = 1;
	char c;
	pid_t pid;

	if (pipe(ready) < 0)
		lab_die("pipe");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int fd;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		lab_enter(netns);
		dup2(ready[1], 3);
		ready[1] = 3;
		close_range(4, ~0U, 0);
		fd = socket(s.ss_family, type | SOCK_CLOEXEC, 0);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(fd, (struct sockaddr *)&s, len) < 0 ||
		    (type == SOCK_STREAM && listen(fd, 64) < 0))
			lab_die("bind");
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		close(ready[1]);
		lab_serve_forever(fd, type, word);
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		lab_die("server");
	close(ready[0]);
	lab_servers[lab_n_servers++] = pid;
	return pid;
}

/* What a client in netns hears from ip:port within a second, or "" (refused, lost). */
static inline const char *
lab_ask(const char *netns, int type, const char *ip, int port)
{
	static char out[160];
	struct sockaddr_storage s;
	socklen_t len = lab_address(ip, port, &s);
	int p[2];
	ssize_t n;
	pid_t pid;

	if (pipe(p) < 0)
		lab_die("pipe");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct timeval second = {.tv_sec = 1};
		char in[160];
		int fd;

		lab_enter(netns);
		fd = socket(s.ss_family, type | SOCK_CLOEXEC, 0);
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof(second));
		if (connect(fd, (struct sockaddr *)&s, len) < 0 ||
		    (type == SOCK_DGRAM && send(fd, "?", 1, 0) < 0))
			_exit(1);
		n = recv(fd, in, sizeof(in), 0);
		_exit(n <= 0 || write(p[1], in, (size_t)n) != n);
	}
	close(p[1]);
	n = read(p[0], out, sizeof(out) - 1);
	out[n > 0 ? n : 0] = '\0';
	close(p[0]);
	waitpid(pid, NULL, 0);
	return out;
}

/* Output of a command run on the host (or in netns). */
static inline const char *
lab_output(const char *netns, const char *command)
{
	static char out[65536];
	size_t n = 0;
	ssize_t got;
	int p[2];
	pid_t pid;

	if (pipe(p) < 0)
		lab_die("pipe");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		lab_enter(netns);
		dup2(p[1], 1);
		dup2(p[1], 2);
		close(p[0]);
		close(p[1]);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(p[1]);
	while (n < sizeof(out) - 1 && (got = read(p[0], out + n, sizeof(out) - 1 - n)) > 0)
		n += (size_t)got;
	out[n] = '\0';
	close(p[0]);
	waitpid(pid, NULL, 0);
	return out;
}

struct lab_alarm {
	struct loop_timer timer;
	bool rang;
};

static inline void
lab_on_alarm(struct loop_timer *t)
{
	((struct lab_alarm *)t)->rang = true;
}

/* Turn the loop until *flag, at most ms. */
static inline bool
lab_wait(const bool *flag, int64_t ms)
{
	struct lab_alarm alarm_ = {.rang = false};

	timer_start(&alarm_.timer, ms, lab_on_alarm);
	for (;;) {
		op_run_ready(); /* here and not in the loop's hook, which would sleep after it */
		if (*flag || alarm_.rang)
			break;
		ev_run(loop, EVRUN_ONCE);
	}
	timer_stop(&alarm_.timer);
	return *flag;
}

#endif
