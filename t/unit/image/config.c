/* SPDX-License-Identifier: Apache-2.0
 *
 * Configurations of images: a full one, an empty one, hostile ones, and the user they name.
 */
#include "image/config.h"

#include "base/buf.h"
#include "tap.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ROOTFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:" HEX64 "\"]}"

static const char full[] =
    "{\"architecture\":\"aarch64\",\"os\":\"Linux\",\"variant\":\"v8\",\"created\":\"2020-01-01T00:"
    "00:00Z\","
    "\"author\":\"x\",\"container_config\":{\"Cmd\":[\"y\"]},\"config\":{\"User\":\"1000:50\","
    "\"Env\":[\"PATH=/bin\",\"EMPTY=\",\"NOVALUE\"],\"Entrypoint\":[\"/bin/sh\",\"-c\"],"
    "\"Cmd\":[\"echo \\u00e9\"],\"WorkingDir\":\"/work\",\"StopSignal\":\"SIGINT\","
    "\"Volumes\":{\"/data\":{},\"/b\":{}},\"Labels\":{\"k\":\"v\",\"io.x\":\"\"},"
    "\"ExposedPorts\":{\"80/tcp\":{}},\"OnBuild\":null}," ROOTFS
    ",\"history\":[{\"empty_layer\":true}]}";

static const struct bad {
	const char *what, *doc;
	enum err_code code;
} bads[] = {
    {"empty", "", ERR_INVALID_ARGUMENT},
    {"no object", "[]", ERR_INVALID_ARGUMENT},
    {"no rootfs", "{}", ERR_INVALID_ARGUMENT},
    {"rootfs null", "{\"rootfs\":null}", ERR_INVALID_ARGUMENT},
    {"rootfs of another type", "{\"rootfs\":{\"type\":\"x\",\"diff_ids\":[]}}",
        ERR_INVALID_ARGUMENT},
    {"diff id a number", "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[1]}}",
        ERR_INVALID_ARGUMENT},
    {"diff id a path", "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:../../x\"]}}",
        ERR_INVALID_ARGUMENT},
    {"diff_ids twice", "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[],\"diff_ids\":[]}}",
        ERR_INVALID_ARGUMENT},
    {"Diff_Ids beside it", "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[],\"Diff_Ids\":[]}}",
        ERR_INVALID_ARGUMENT},
    {"config a list", "{\"config\":[]," ROOTFS "}", ERR_INVALID_ARGUMENT},
    {"Env an object", "{\"config\":{\"Env\":{}}," ROOTFS "}", ERR_INVALID_ARGUMENT},
    {"Env of numbers", "{\"config\":{\"Env\":[1]}," ROOTFS "}", ERR_INVALID_ARGUMENT},
    {"Env without a name", "{\"config\":{\"Env\":[\"=x\"]}," ROOTFS "}", ERR_INVALID_ARGUMENT},
    {"Cmd with a null", "{\"config\":{\"Cmd\":[null]}," ROOTFS "}", ERR_INVALID_ARGUMENT},
    {"Cmd with a NUL", "{\"config\":{\"Cmd\":[\"a\\u0000b\"]}," ROOTFS "}", ERR_INVALID_ARGUMENT},
    {"User a number", "{\"config\":{\"User\":0}," ROOTFS "}", ERR_INVALID_ARGUMENT},
    {"Volumes a list", "{\"config\":{\"Volumes\":[]}," ROOTFS "}", ERR_INVALID_ARGUMENT},
    {"a label that is a number", "{\"config\":{\"Labels\":{\"a\":1}}," ROOTFS "}",
        ERR_INVALID_ARGUMENT},
    {"os too long", "{\"os\":\"0123456789012345678901234567890123456789\"," ROOTFS "}",
        ERR_INVALID_ARGUMENT},
};

static void
test_full(void)
{
	struct err err;
	struct image_config *c = image_config_parse(full, strlen(full), &err);

	if (!ok(c != NULL, "a full config"))
		return;
	is_str(c->platform.os, "linux", "os");
	is_str(c->platform.arch, "arm64", "architecture");
	is_str(c->platform.variant, "", "variant");
	is_str(c->user, "1000:50", "user");
	is_str(c->working_dir, "/work", "working directory");
	is_str(c->stop_signal, "SIGINT", "stop signal");
	is_str(c->created, "2020-01-01T00:00:00Z", "created");
	ok(c->n_env == 3 && c->env[3] == NULL, "three of the environment");
	is_str(c->env[2], "NOVALUE", "the third");
	ok(c->n_entrypoint == 2 && c->n_cmd == 1, "entrypoint and command");
	is_str(c->cmd[0], "echo \xc3\xa9", "command");
	ok(c->n_volumes == 2, "two volumes");
	is_str(c->volumes[0], "/data", "in the order of the document");
	ok(c->n_labels == 2, "two labels");
	is_str(c->labels[1].key, "io.x", "label");
	ok(c->n_diff_ids == 1, "one layer");
	image_config_free(c);
}

static void
test_empty(void)
{
	static const char doc[] =
	    "{\"config\":{\"Env\":null,\"Cmd\":null,\"Volumes\":null,\"Labels\":null},"
	    "\"rootfs\":{\"type\":\"layers\"}}";
	struct err err;
	struct image_config *c = image_config_parse(doc, strlen(doc), &err);

	if (!ok(c != NULL, "an empty config"))
		return;
	ok(c->n_env + c->n_cmd + c->n_entrypoint + c->n_volumes + c->n_labels + c->n_diff_ids == 0,
	    "all lists are empty");
	ok(c->env[0] == NULL && c->cmd[0] == NULL && c->diff_ids[0] == NULL, "and terminated");
	ok(c->user[0] == '\0' && c->platform.os[0] == '\0', "texts are empty");
	image_config_free(c);
}

static void
test_bad(void)
{
	struct buf b = BUF_INIT;
	struct err err;

	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		struct image_config *c = image_config_parse(bads[i].doc, strlen(bads[i].doc), &err);

		ok(c == NULL && err.code == bads[i].code, "%s: refused", bads[i].what);
		if (c == NULL)
			diag("%s", err.msg);
		image_config_free(c);
	}
	buf_addstr(&b, "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:" HEX64 "\"");
	for (int i = 0; i < MANIFEST_LAYERS_MAX; i++)
		buf_addstr(&b, ",\"sha256:" HEX64 "\"");
	buf_addstr(&b, "]}}");
	ok(image_config_parse(b.data, b.len, &err) == NULL && err.code == ERR_RESOURCE_EXHAUSTED,
	    "501 layers: refused");
	buf_release(&b);
}

static void
test_uid(void)
{
	static const struct {
		const char *user;
		int ret;
		int64_t uid;
		const char *name;
	} users[] = {
	    {"", 0, 0, ""},
	    {":", 0, 0, ""},
	    {"0", 1, 0, NULL},
	    {"1002", 1, 1002, NULL},
	    {"1003:100", 1, 1003, NULL},
	    {"www-data", 0, 0, "www-data"},
	    {"www-data:100", 0, 0, "www-data"},
	    {"2147483647", 1, 2147483647, NULL},
	    {"2147483648", -1, 0, NULL},
	    {"4294967296:0", -1, 0, NULL},
	    {"18446744073709551616", -1, 0, NULL},
	    {"-1", 0, 0, "-1"},
	    {"1x", 0, 0, "1x"},
	};

	for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
		struct image_config c = {.user = (char *)users[i].user};
		char *name = NULL;
		int64_t uid = 0;
		struct err err;

		is_int(image_config_uid(&c, &uid, &name, &err), users[i].ret, users[i].user);
		is_int(uid, users[i].uid, "uid");
		is_str(name, users[i].name, "name");
		free(name);
	}
}

int
main(void)
{
	test_full();
	test_empty();
	test_bad();
	test_uid();
	return tap_done();
}
