/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a manifest or an index, announced as each type by turns, and as an image's
 * configuration.
 */
#include "image/manifest.h"

#include <string.h>

#include "base/macros.h"
#include "fuzz.h"
#include "image/config.h"
#include "image/digest.h"

static void
check(const struct descriptor *d)
{
	must(digest_valid(d->digest) && d->media_type != NULL && d->size <= UINT64_C(1) << 44);
}

static void
try_manifest(const uint8_t *data, size_t size, const char *media_type)
{
	static const struct platform wants[] = {
	    {"linux", "amd64", ""  },
            {"linux", "arm",   "v6"},
            {"linux", "arm64", ""  }
        };
	struct err err = {0};
	struct manifest *m = manifest_parse(data, size, media_type, &err);

	if (m == NULL) {
		must(err.code != ERR_NONE && err.msg[0] != '\0');
		return;
	}
	must(media_is_manifest(m->media_type) && m->is_index == media_is_index(m->media_type));
	if (!m->is_index)
		check(&m->config);
	for (size_t i = 0; i < m->n_layers; i++)
		check(&m->layers[i]);
	for (size_t i = 0; i < m->n_entries; i++)
		check(&m->entries[i].desc);
	for (size_t i = 0; m->is_index && i < ARRAY_SIZE(wants); i++) {
		const struct manifest_entry *e = manifest_choose(m, &wants[i], &err);

		must(e == NULL || (e >= m->entries && e < m->entries + m->n_entries));
	}
	if (manifest_check_image(m, &err) == 0)
		must(!m->is_index);
	manifest_free(m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const types[] = {NULL, MEDIA_OCI_MANIFEST, MEDIA_OCI_INDEX "; x=y",
	    MEDIA_DOCKER_MANIFEST, MEDIA_DOCKER_LIST, "application/json"};
	struct image_config *c;
	struct err err = {0};
	char *name = NULL;
	int64_t uid;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		try_manifest(data, size, types[i]);
	c = image_config_parse(data, size, &err);
	if (c == NULL)
		return 0;
	must(c->env[c->n_env] == NULL && c->cmd[c->n_cmd] == NULL &&
	     c->n_diff_ids <= MANIFEST_LAYERS_MAX);
	for (size_t i = 0; i < c->n_diff_ids; i++)
		must(digest_valid(c->diff_ids[i]));
	if (image_config_uid(c, &uid, &name, &err) == 1)
		must(uid >= 0 && uid <= INT32_MAX);
	free(name);
	image_config_free(c);
	return 0;
}
