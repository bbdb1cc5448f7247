/* SPDX-License-Identifier: Apache-2.0
 *
 * A sandbox's files: see pod_files.h.
 */
#include "pod/pod_files.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "net/podfiles.h"
#include "pod/node.h"
#include "pod/sandbox.h"

enum { HOST_FILE_MAX = 1024 * 1024 };

static int
write_text(int dir, const char *name, const struct buf *b, struct err *err)
{
	return fd_write_file(dir, name, b->data != NULL ? b->data : "", b->len, 0644, false, err);
}

static int
write_resolv_conf(const struct sandbox *sb, int dir, struct err *err)
{
	cleanup_buf struct buf host = BUF_INIT, out = BUF_INIT;
	const Runtime__V1__DNSConfig *c = sb->config->dns_config;
	struct podfiles_dns dns;
	struct err ignored;

	if (c != NULL)
		dns = (struct podfiles_dns){.servers = (const char *const *)c->servers,
		    .searches = (const char *const *)c->searches,
		    .options = (const char *const *)c->options,
		    .n_servers = c->n_servers,
		    .n_searches = c->n_searches,
		    .n_options = c->n_options};
	else /* a host without the file gives an empty one */
		fd_read_file(AT_FDCWD, "/etc/resolv.conf", HOST_FILE_MAX, &host, &ignored);
	if (podfiles_resolv_conf(c != NULL ? &dns : NULL, host.data, host.len, &out, err) < 0)
		return -1;
	return write_text(dir, "resolv.conf", &out, err);
}

static int
write_names(const struct sandbox *sb, int dir, struct err *err)
{
	cleanup_buf struct buf host = BUF_INIT, hosts = BUF_INIT, hostname = BUF_INIT;
	const char *name = sandbox_hostname(sb);
	struct err ignored;

	fd_read_file(AT_FDCWD, "/etc/hosts", HOST_FILE_MAX, &host, &ignored);
	podfiles_hosts(host.data, host.len, name, NULL, 0, &hosts);
	if (podfiles_hostname(name, &hostname, err) < 0 ||
	    write_text(dir, "hosts", &hosts, err) < 0)
		return -1;
	return write_text(dir, "hostname", &hostname, err);
}

int
pod_files_make(const struct sandbox *sb, struct err *err)
{
	static const char *const pins[] = {"ns/net", "ns/ipc", "ns/uts", "ns/user"};
	cleanup_free char *path = sandbox_path(sb, "");
	cleanup_close int dir = -1;

	if (fd_mkdir_p(AT_FDCWD, path, 0711, err) < 0)
		return -1;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return err_errno(err, "open %s", path);
	if (fd_mkdir_p(dir, "ns", 0700, err) < 0 || fd_mkdir_p(dir, "shm", 0711, err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(pins); i++) {
		cleanup_close int fd = openat(dir, pins[i], O_RDONLY | O_CREAT | O_CLOEXEC, 0600);

		if (fd < 0)
			return err_errno(err, "create %s/%s", path, pins[i]);
	}
	return write_resolv_conf(sb, dir, err) < 0 ? -1 : write_names(sb, dir, err);
}

int
pod_files_remove(const struct sandbox *sb, struct err *err)
{
	cleanup_free char *path = sandbox_path(sb, "");

	return fd_remove_tree(AT_FDCWD, path, err);
}
