/* SPDX-License-Identifier: Apache-2.0
 *
 * host-local's store and allocation: see hostlocal.h. The directory has
 *
 *	lock                   flock'ed by whoever works here
 *	10.1.0.5               "<container>\r\n<interface>"
 *	last_reserved_ip.<n>   where the search in range set n goes on
 */
#include "net/hostlocal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"

enum { LOCK_TRIES = 1000, LOCK_PAUSE_US = 10000, ENTRY_MAX = 512 };

struct store {
	int dir, lock;
};

static void
store_close(struct store *s)
{
	fd_closep(&s->lock);
	fd_closep(&s->dir);
}

static int
take_lock(struct store *s, const char *path, struct err *err)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(s->lock, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			break;
		usleep(LOCK_PAUSE_US);
	}
	return err_errno(err, "lock %s/lock", path);
}

static int
store_open(struct store *s, const char *path, struct err *err)
{
	*s = (struct store){-1, -1};
	if (fd_mkdir_p(AT_FDCWD, path, 0755, err) < 0)
		return -1;
	s->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir >= 0)
		s->lock = openat(s->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (s->lock < 0)
		err_errno(err, "open %s/lock", path);
	else if (take_lock(s, path, err) == 0)
		return 0;
	store_close(s);
	return -1;
}

/* The content of an entry without white space at its ends, as the real plugin compares it. */
static bool
read_entry(int dir, const char *name, char out[static ENTRY_MAX])
{
	cleanup_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	ssize_t n = fd >= 0 ? read(fd, out, ENTRY_MAX - 1) : -1;
	size_t skip;

	if (n < 0)
		return false;
	while (n > 0 && strchr(" \t\r\n", out[n - 1]) != NULL)
		n--;
	out[n] = '\0';
	skip = strspn(out, " \t\r\n");
	memmove(out, out + skip, (size_t)n - skip + 1);
	return true;
}

static bool
is_owner(const char *entry, const char *id, const char *ifname)
{
	size_t n = strlen(id);

	if (strncmp(entry, id, n) != 0)
		return false;
	/* Before 0.8 the interface was not noted. */
	return entry[n] == '\0' || (entry[n] == '\r' && strcmp(entry + n + 2, ifname) == 0);
}

/* Calls each() with the name of every address that the container has. */
static int
find_owned(const struct store *s, const char *id, const char *ifname,
    bool (*each)(const struct store *, const char *name, void *), void *arg, struct err *err)
{
	int fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	char entry[ENTRY_MAX];
	struct dirent *e;

	if (d == NULL) {
		fd_closep(&fd);
		return err_errno(err, "read the directory of addresses");
	}
	while ((e = readdir(d)) != NULL) {
		struct ipaddr a;

		if (ipaddr_parse(e->d_name, &a) && read_entry(s->dir, e->d_name, entry) &&
		    is_owner(entry, id, ifname) && !each(s, e->d_name, arg))
			break;
	}
	closedir(d);
	return 0;
}

/* ---- allocation ----------------------------------------------------------------------------- */

static bool
range_has(const struct hostlocal_range *r, const struct ipaddr *a)
{
	return ipnet_contains(&r->subnet, a) && ipaddr_cmp(a, &r->start) >= 0 &&
	       ipaddr_cmp(a, &r->end) <= 0;
}

static const struct hostlocal_range *
range_of(const struct hostlocal_set *set, const struct ipaddr *a)
{
	for (size_t i = 0; i < set->n; i++)
		if (range_has(&set->ranges[i], a))
			return &set->ranges[i];
	return NULL;
}

struct cursor {
	size_t range;
	struct ipaddr at, first; /* family 0: not begun */
};

/* One step round the ranges; NULL when the round is complete. Gateways are stepped over. */
static const struct hostlocal_range *
advance(const struct hostlocal_set *set, struct cursor *c)
{
	for (;;) {
		const struct hostlocal_range *r = &set->ranges[c->range];

		if (c->at.family == 0) {
			c->at = r->start;
		} else if (ipaddr_cmp(&c->at, &r->end) == 0) {
			c->range = (c->range + 1) % set->n;
			r = &set->ranges[c->range];
			c->at = r->start;
		} else {
			c->at = ipaddr_add(&c->at, 1);
		}
		if (c->first.family == 0)
			c->first = c->at;
		else if (ipaddr_cmp(&c->at, &c->first) == 0)
			return NULL;
		if (ipaddr_cmp(&c->at, &r->gateway) != 0)
			return r;
	}
}

static struct cursor
begin_round(const struct store *s, const struct hostlocal_set *set, size_t index)
{
	char name[64], text[ENTRY_MAX];
	struct cursor c = {0};
	struct ipaddr last;

	snprintf(name, sizeof(name), "last_reserved_ip.%zu", index);
	if (!read_entry(s->dir, name, text) || !ipaddr_parse(text, &last))
		return c;
	for (size_t i = 0; i < set->n && c.at.family == 0; i++)
		if (range_has(&set->ranges[i], &last))
			c = (struct cursor){.range = i, .at = last};
	return c;
}

static int
write_small(int dir, const char *name, int flags, const char *text, struct err *err)
{
	cleanup_close int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);

	if (fd < 0)
		return errno == EEXIST && (flags & O_EXCL) ? 1 : err_errno(err, "write %s", name);
	if (fd_write_all(fd, text, strlen(text)) == 0)
		return 0;
	err_errno(err, "write %s", name);
	unlinkat(dir, name, 0);
	return -1;
}

/* 0: it is ours now; 1: somebody's. */
static int
reserve(const struct store *s, const struct ipaddr *a, size_t index, const char *id,
    const char *ifname, struct err *err)
{
	char name[IPADDR_SIZE], last[64], text[ENTRY_MAX];
	int ret;

	ipaddr_format(a, name);
	snprintf(text, sizeof(text), "%s\r\n%s", id, ifname);
	ret = write_small(s->dir, name, O_EXCL, text, err);
	if (ret != 0)
		return ret;
	snprintf(last, sizeof(last), "last_reserved_ip.%zu", index);
	return write_small(s->dir, last, O_TRUNC, name, err);
}

static void
format_set(const struct hostlocal_set *set, struct buf *out)
{
	char a[IPADDR_SIZE], b[IPADDR_SIZE];

	for (size_t i = 0; i < set->n; i++)
		buf_addf(out, "%s%s-%s", i > 0 ? "," : "", ipaddr_format(&set->ranges[i].start, a),
		    ipaddr_format(&set->ranges[i].end, b));
}

static int
get_one(const struct store *s, const struct hostlocal_set *set, size_t index, const char *id,
    const char *ifname, struct ipnet *ret_addr, struct ipaddr *ret_gateway, struct err *err)
{
	struct cursor c = begin_round(s, set, index);
	const struct hostlocal_range *r;
	cleanup_buf struct buf text = BUF_INIT;

	while ((r = advance(set, &c)) != NULL) {
		int taken = reserve(s, &c.at, index, id, ifname, err);

		if (taken < 0)
			return -1;
		if (taken > 0)
			continue;
		*ret_addr = (struct ipnet){.addr = c.at, .prefix = r->subnet.prefix};
		*ret_gateway = r->gateway;
		return 0;
	}
	format_set(set, &text);
	return err_set(
	    err, ERR_RESOURCE_EXHAUSTED, "no IP addresses available in range set: %s", text.data);
}

struct duplicate {
	const struct hostlocal_conf *conf;
	char name[IPADDR_SIZE];
};

static bool
on_duplicate(const struct store *s, const char *name, void *arg)
{
	struct duplicate *d = arg;
	struct ipaddr a;

	(void)s;
	for (size_t i = 0; i < d->conf->n; i++)
		if (ipaddr_parse(name, &a) && range_of(&d->conf->sets[i], &a) != NULL)
			snprintf(d->name, sizeof(d->name), "%s", name);
	return d->name[0] == '\0';
}

static bool
on_release(const struct store *s, const char *name, void *arg)
{
	(void)arg;
	unlinkat(s->dir, name, 0);
	return true;
}

int
hostlocal_get(const struct hostlocal_conf *conf, const char *id, const char *ifname,
    struct ipnet *ret_addrs, struct ipaddr *ret_gateways, struct err *err)
{
	struct duplicate d = {.conf = conf};
	struct store s;
	int ret = 0;

	if (strlen(id) + strlen(ifname) > ENTRY_MAX / 2)
		return err_set(err, ERR_INVALID_ARGUMENT, "container id is too long");
	if (store_open(&s, conf->dir, err) < 0)
		return -1;
	if (find_owned(&s, id, ifname, on_duplicate, &d, err) < 0) {
		ret = -1;
	} else if (d.name[0] != '\0') {
		ret = err_set(err, ERR_ALREADY_EXISTS,
		    "%s has been allocated to %s, duplicate allocation is not allowed", d.name, id);
	} else {
		for (size_t i = 0; ret == 0 && i < conf->n; i++) {
			ret = get_one(&s, &conf->sets[i], i, id, ifname, &ret_addrs[i],
			    &ret_gateways[i], err);
			if (ret < 0)
				err_wrap(err, "failed to allocate for range %zu", i);
		}
		if (ret < 0) {
			struct err ignored = {0};

			(void)find_owned(&s, id, ifname, on_release, NULL, &ignored);
		}
	}
	store_close(&s);
	return ret;
}

int
hostlocal_put(
    const struct hostlocal_conf *conf, const char *id, const char *ifname, struct err *err)
{
	struct store s;
	int ret;

	if (store_open(&s, conf->dir, err) < 0)
		return -1;
	ret = find_owned(&s, id, ifname, on_release, NULL, err);
	store_close(&s);
	return ret;
}

static bool
on_found(const struct store *s, const char *name, void *arg)
{
	(void)s;
	(void)name;
	*(bool *)arg = true;
	return false;
}

int
hostlocal_check(
    const struct hostlocal_conf *conf, const char *id, const char *ifname, struct err *err)
{
	bool found = false;
	struct store s;
	int ret;

	if (store_open(&s, conf->dir, err) < 0)
		return -1;
	ret = find_owned(&s, id, ifname, on_found, &found, err);
	store_close(&s);
	if (ret == 0 && !found)
		return err_set(err, ERR_NOT_FOUND,
		    "host-local: Failed to find address added by container %s", id);
	return ret;
}

/* ---- the plugin ----------------------------------------------------------------------------- */

static void
append_words(json_t *dns, const char *key, char *words, bool all)
{
	char *word;

	while ((word = strsep(&words, " \t\r\f\v")) != NULL) {
		json_t *list;

		if (*word == '\0')
			continue;
		if (strcmp(key, "domain") == 0) {
			json_object_set_new(dns, key, json_string(word));
			return;
		}
		list = json_object_get(dns, key);
		if (list == NULL) {
			list = json_array();
			json_object_set_new(dns, key, list);
		}
		json_array_append_new(list, json_string(word));
		if (!all)
			return;
	}
}

/* A resolv.conf as the result's dns. */
static int
read_dns(const char *path, json_t *dns, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT;
	char *rest, *line;

	if (fd_read_file(AT_FDCWD, path, 1 << 16, &text, err) < 0)
		return err_wrap(err, "resolvConf");
	rest = text.data;
	while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
		char *word;

		line += strspn(line, " \t\r");
		if (*line == '#' || *line == ';')
			continue;
		word = strsep(&line, " \t");
		if (strcmp(word, "nameserver") == 0)
			append_words(dns, "nameservers", line, false);
		else if (strcmp(word, "domain") == 0)
			append_words(dns, "domain", line, false);
		else if (strcmp(word, "search") == 0)
			append_words(dns, "search", line, true);
		else if (strcmp(word, "options") == 0)
			append_words(dns, "options", line, true);
	}
	return 0;
}

json_t *
hostlocal_add(const struct native_call *c, struct err *err)
{
	cleanup_free struct hostlocal_conf *conf = xmalloc(sizeof(*conf));
	struct ipaddr gateways[HOSTLOCAL_SETS];
	struct ipnet addrs[HOSTLOCAL_SETS];
	json_t *result, *ips, *dns = json_object();
	char text[IPNET_SIZE], text2[IPADDR_SIZE];

	if (hostlocal_load(c->conf, conf, err) < 0 ||
	    (*conf->resolv_conf != '\0' && read_dns(conf->resolv_conf, dns, err) < 0) ||
	    hostlocal_get(conf, c->container_id, c->ifname, addrs, gateways, err) < 0) {
		json_decref(dns);
		return NULL;
	}
	ips = json_array();
	for (size_t i = 0; i < conf->n; i++)
		json_array_append_new(
		    ips, json_pack("{s:s,s:s}", "address", ipnet_format(&addrs[i], text), "gateway",
		             ipaddr_format(&gateways[i], text2)));
	result = json_pack("{s:o}", "ips", ips);
	if (json_array_size(conf->routes) > 0)
		json_object_set_new(result, "routes", json_deep_copy(conf->routes));
	if (json_object_size(dns) > 0)
		json_object_set(result, "dns", dns);
	json_decref(dns);
	return result;
}
