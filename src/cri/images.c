/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the image methods: see images.h.
 */
#include "cri/images.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "exec/user.h"
#include "image/config.h"
#include "image/pull.h"
#include "image/store.h"
#include "pod/config.h"
#include "pod/node.h"

struct puller *images_puller;

int
cri_images_init(const struct config *config, struct err *err)
{
	cleanup_buf struct buf dirs = BUF_INIT;
	struct puller_options o = {.per_image = config->pull_per_image,
	    .per_node = config->pull_per_node,
	    .stall_timeout_ms = config->pull_progress_timeout_ms};

	for (size_t i = 0; i < config->n_certs_dirs; i++)
		buf_addf(&dirs, "%s%s", i > 0 ? ":" : "", config->certs_dirs[i]);
	o.certs_dirs = dirs.data;
	images_puller = puller_new(node.images, &o, err);
	return images_puller != NULL ? 0 : -1;
}

void
cri_images_fini(void)
{
	/* Pulls that are cut off leave nothing but a directory that the next start removes. */
	if (images_puller == NULL || puller_busy(images_puller) > 0)
		return;
	puller_free(images_puller);
	images_puller = NULL;
	image_store_close(node.images);
	node.images = NULL;
}

/* A user the image should not have (out of range) is told as a name, so that it is never root. */
static void
set_user(Runtime__V1__Image *m, const struct image *img, struct arena *a)
{
	struct user_of_image u = {0};
	struct err err;

	if (user_of_image(img->config->user, &u, &err) < 0) {
		m->username = img->config->user;
	} else if (u.has_uid) {
		m->uid = arena_alloc(a, sizeof(*m->uid));
		runtime__v1__int64_value__init(m->uid);
		m->uid->value = u.uid;
	} else if (u.username != NULL) {
		m->username = arena_strdup(a, u.username);
	}
	free(u.username);
}

Runtime__V1__Image *
image_message(const struct image *img, struct arena *a)
{
	Runtime__V1__Image *m = arena_alloc(a, sizeof(*m));

	runtime__v1__image__init(m);
	m->id = img->id;
	m->repo_tags = img->tags;
	m->n_repo_tags = img->n_tags;
	m->repo_digests = img->digests;
	m->n_repo_digests = img->n_digests;
	m->size = img->size;
	m->pinned = img->pinned;
	set_user(m, img, a);
	if (img->spec != NULL)
		m->spec = runtime__v1__image_spec__unpack(&a->alloc, img->spec_len, img->spec);
	if (m->spec == NULL) {
		m->spec = arena_alloc(a, sizeof(*m->spec));
		runtime__v1__image_spec__init(m->spec);
	}
	m->spec->image = img->id;
	return m;
}
