/* SPDX-License-Identifier: Apache-2.0
 *
 * CNI configurations: versions, names, hostile files and directories.
 */
#include "tap.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "net/cni_caps.h"
#include "net/cni_conf.h"

#define LIST(rest) "{\"name\":\"n\",\"cniVersion\":\"1.0.0\"," rest "}"

static void
refuse(const char *text, bool is_list, const char *words)
{
	struct err err = {0};
	json_t *o = cni_conf_parse(text, strlen(text), is_list, "f", NULL, &err);

	ok(o == NULL && strstr(err.msg, words) != NULL, "refused for '%s': %s", words, err.msg);
	json_decref(o);
}

static const char *
version_of(const char *text)
{
	static char out[600];
	struct err err = {0};
	json_t *o = cni_conf_parse(text, strlen(text), true, "f", NULL, &err);

	snprintf(out, sizeof(out), "%s", o != NULL ? cni_str(o, "cniVersion") : err.msg);
	json_decref(o);
	return out;
}

static void
test_refused(void)
{
	char deep[8000];

	refuse("", true, "line ");
	refuse("[]", true, "is no JSON object");
	refuse("{\"name\":\"n\"", true, "line 1");
	refuse("{\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"a\"}]}", true, "has no 'name'");
	refuse("{\"name\":7,\"plugins\":[{\"type\":\"a\"}]}", true, "has no 'name'");
	refuse("{\"name\":\"../x\",\"plugins\":[{\"type\":\"a\"}]}", true, "is not of letters");
	refuse("{\"name\":\"-x\",\"plugins\":[{\"type\":\"a\"}]}", true, "is not of letters");
	refuse("{\"name\":\"a/b\",\"plugins\":[{\"type\":\"a\"}]}", true, "is not of letters");
	refuse("{\"name\":\"a\\u0000b\",\"plugins\":[{\"type\":\"a\"}]}", true, "line 1");
	refuse(LIST("\"plugins\":[]"), true, "an empty one");
	refuse(LIST("\"plugins\":{}"), true, "is no list");
	refuse(LIST("\"x\":1"), true, "there are no plugins");
	refuse(LIST("\"loadOnlyInlinedPlugins\":true"), true, "there are no 'plugins'");
	refuse(LIST("\"plugins\":[7]"), true, "plugin 0: is no object");
	refuse(LIST("\"plugins\":[{\"type\":\"a\"},{}]"), true, "plugin 1: has no 'type'");
	refuse(LIST("\"plugins\":[{\"type\":\"..\"}]"), true, "is no plain name");
	refuse(LIST("\"plugins\":[{\"type\":\"a/b\"}]"), true, "is no plain name");
	refuse(LIST("\"plugins\":[{\"type\":\"a b\"}]"), true, "is no plain name");
	refuse(LIST("\"plugins\":[{\"type\":\"a\",\"capabilities\":[]}]"), true,
	    "'capabilities' is no object");
	refuse(LIST("\"plugins\":[{\"type\":\"a\",\"capabilities\":{\"dns\":1}}]"), true,
	    "capability 'dns' is neither");
	refuse(LIST("\"plugins\":[{\"type\":\"a\",\"ipam\":{\"type\":\"../b\"}}]"), true,
	    "ipam type '../b' is no plain name");
	refuse(LIST("\"plugins\":[{\"type\":\"a\",\"ipam\":7}]"), true, "'ipam' is no object");
	refuse(
	    LIST("\"disableCheck\":1,\"plugins\":[{\"type\":\"a\"}]"), true, "'disableCheck' is");
	refuse("{\"name\":\"n\",\"cniVersion\":1,\"plugins\":[{\"type\":\"a\"}]}", true,
	    "'cniVersion' is no version");
	refuse("{\"name\":\"n\",\"cniVersion\":\"1.x\",\"plugins\":[{\"type\":\"a\"}]}", true,
	    "'cniVersion' is no version");
	refuse("{\"name\":\"n\",\"cniVersions\":[\"1.0\"],\"plugins\":[{\"type\":\"a\"}]}", true,
	    "entry 0 of 'cniVersions'");
	refuse(LIST("\"plugins\":[{\"type\":\"a\"}]"), false, "not named *.conflist");
	refuse(LIST("\"x\":1"), false, "plugin 0: has no 'type'");
	memset(deep, '[', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	refuse(deep, true, "line 1");
}

static void
test_versions(void)
{
	static const char plugins[] = "\"name\":\"n\",\"plugins\":[{\"type\":\"a\"}]}";
	char text[200];
	static const char *const cases[][2] = {
	    {"{",	                                                        "0.1.0"},
	    {"{\"cniVersion\":\"\",",	                                    "0.1.0"},
	    {"{\"cniVersion\":\"0.3.1\",",                                       "0.3.1"},
	    {"{\"cniVersion\":\"0.4.0\",\"cniVersions\":[\"1.0.0\",\"0.3.1\"],", "1.0.0"},
	    {"{\"cniVersion\":\"1.0.0\",\"cniVersions\":[\"1.1.0\",\"1.2.0\"],", "1.1.0"},
	    {"{\"cniVersion\":\"2.0.0\",\"cniVersions\":[\"0.4.0\"],",           "0.4.0"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(text, sizeof(text), "%s%s", cases[i][0], plugins);
		is_str(version_of(text), cases[i][1], text);
	}
	ok(cni_version_cmp("0.3.1", "0.3.0") > 0 && cni_version_cmp("1.0.0", "0.9.9") > 0 &&
	        cni_version_cmp("1.0.0", "1.0.0") == 0 && cni_version_cmp("x", "0.1.0") < 0,
	    "versions compare as numbers");
}

static void
put(const char *dir, const char *name, const char *text)
{
	struct err err = {0};
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (fd_write_file(AT_FDCWD, path, text, strlen(text), 0644, false, &err) < 0)
		ok(false, "%s", err.msg);
}

static void
test_directory(void)
{
	char dir[] = "/tmp/cniconf.XXXXXX", path[300];
	json_t *networks = NULL, *faults = NULL;
	struct err err = {0};
	int fd;

	ok(mkdtemp(dir) != NULL, "a directory");
	put(dir, "30.json", "{\"name\":\"c\",\"type\":\"x\"}");
	put(dir, "10.conflist", "{\"name\":\"a\",\"plugins\":[{\"type\":\"x\"}]}");
	put(dir, "20.conf", "{\"name\":\"b\",\"type\":\"x\"}");
	put(dir, "15.conf", "{\"name\":\"a\",\"type\":\"x\"}");
	put(dir, "readme.txt", "no");
	put(dir, "00.conf.bak", "no");
	put(dir, "05.conf", "");
	snprintf(path, sizeof(path), "%s/01-pipe.conf", dir);
	ok(mkfifo(path, 0644) == 0, "a pipe");
	snprintf(path, sizeof(path), "%s/02-dir.conf", dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/03-dangling.conf", dir);
	ok(symlink("nowhere", path) == 0, "a dangling link");
	snprintf(path, sizeof(path), "%s/04-link.conf", dir);
	ok(symlink("20.conf", path) == 0, "a link");
	snprintf(path, sizeof(path), "%s/06-large.conf", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	ok(fd >= 0 && ftruncate(fd, 1 << 30) == 0, "a file of 1 GiB");
	close(fd);
	snprintf(path, sizeof(path), "%s/c", dir);
	mkdir(path, 0755);
	put(path, "2.conf", "{\"type\":\"y\"}");
	put(path, "1.conf", "{\"type\":\"z\"}");
	snprintf(path, sizeof(path), "%s/d", dir);
	mkdir(path, 0755);
	put(path, "1.conf", "{\"type\":\"only\"}");
	put(dir, "40.conflist", "{\"name\":\"d\"}");
	put(dir, "50.conflist",
	    "{\"name\":\"e\",\"loadOnlyInlinedPlugins\":\"true\",\"plugins\":[{\"type\":\"x\"}]}");
	is_int(cni_conf_load(dir, &networks, &faults, &err), 0, "is read");
	is_int(json_array_size(networks), 5, "the networks that are valid");
	is_str(cni_str(json_array_get(networks, 0), "name"), "b", "by the order of names: 04");
	is_str(cni_str(json_array_get(networks, 1), "name"), "a", "10");
	is_str(cni_str(json_array_get(networks, 2), "name"), "c", "30");
	is_str(cni_str(json_array_get(networks, 3), "name"), "d", "40");
	is_int(json_array_size(json_object_get(json_array_get(networks, 2), "plugins")), 1,
	    "a single plugin stays single");
	is_str(cni_str(json_array_get(json_object_get(json_array_get(networks, 3), "plugins"), 0),
	           "type"),
	    "only", "a list's directory adds plugins");
	for (size_t i = 0; i < json_array_size(faults); i++)
		diag("%s: %s", cni_str(json_array_get(faults, i), "file"),
		    cni_str(json_array_get(faults, i), "fault"));
	is_int(json_array_size(faults), 6, "and the faults: pipe, dangling, empty, large, doubles");
	json_decref(networks);
	json_decref(faults);
	is_int(cni_conf_load("/nonexistent/x", &networks, &faults, &err), 0, "no directory");
	is_int(json_array_size(networks), 0, "is an empty one");
	json_decref(networks);
	json_decref(faults);
	ok(cni_conf_load("/etc/passwd", &networks, &faults, &err) < 0, "a file is none: %s",
	    err.msg);
	ok(fd_remove_tree(AT_FDCWD, dir, &err) == 0, "removed");
}

static void
test_names(void)
{
	ok(cni_name_valid("a") && cni_name_valid("0a.b_c-d"), "names");
	ok(!cni_name_valid("") && !cni_name_valid(".a") && !cni_name_valid("a b") &&
	        !cni_name_valid("a\n"),
	    "no names");
	ok(cni_type_valid("bridge") && cni_type_valid(".x") && !cni_type_valid(".") &&
	        !cni_type_valid("..") && !cni_type_valid("a/b") && !cni_type_valid(""),
	    "types");
	ok(cni_ifname_valid("eth0") && !cni_ifname_valid("0123456789012345") &&
	        !cni_ifname_valid("a/b") && !cni_ifname_valid("a:b") && !cni_ifname_valid("..") &&
	        !cni_ifname_valid("a b") && !cni_ifname_valid(""),
	    "interfaces");
}

static void
test_quantities(void)
{
	static const struct {
		const char *text;
		int64_t want; /* -1: none */
	} cases[] = {
	    {"0",	                    0                  },
	    {"1",	                    1                  },
	    {"10M",	                  10000000           },
	    {"1.5M",	                 1500000            },
	    {"1Ki",	                  1024               },
	    {"1.5Gi",	                1610612736         },
	    {"2e6",	                  2000000            },
	    {"2E6",	                  2000000            },
	    {"5e-1",	                 1                  },
	    {"100m",	                 1                  },
	    {"1500m",	                2                  },
	    {"1n",	                   1                  },
	    {"+5",	                   5                  },
	    {".5k",	                  500                },
	    {"5.",	                   5                  },
	    {"1E",	                   1000000000000000000},
	    {"9223372036854775807",          INT64_MAX          },
	    {"9223372036854775808",          -1                 },
	    {"10E",	                  -1                 },
	    {"8Ei",	                  -1                 },
	    {"",	                     -1                 },
	    {".",	                    -1                 },
	    {"-1",	                   -1                 },
	    {"1.2.3",	                -1                 },
	    {"1 M",	                  -1                 },
	    {"M",	                    -1                 },
	    {"1MM",	                  -1                 },
	    {"1e",	                   -1                 },
	    {"1e99",	                 -1                 },
	    {"99999999999999999999999999",   -1                 },
	    {"0.00000000000000000000000001", -1                 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t v = 0;
		bool is = quantity_parse(cases[i].text, &v);

		ok(is == (cases[i].want >= 0) && (!is || v == (uint64_t)cases[i].want),
		    "'%s' is %" PRId64, cases[i].text, cases[i].want);
	}
}

int
main(void)
{
	test_refused();
	test_versions();
	test_directory();
	test_names();
	test_quantities();
	return tap_done();
}
