/* SPDX-License-Identifier: Apache-2.0
 *
 * ImageStatus: an absent image is no error.
 */
#include "cri/methods.h"

#include <jansson.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"
#include "cri/images.h"
#include "image/config.h"
#include "image/store.h"
#include "pod/node.h"

static const char *
verbose_info(const struct image *img, struct arena *a)
{
	cleanup_buf struct buf config = BUF_INIT;
	json_t *spec = NULL, *o;
	struct err err;
	const char *text;
	char *dump;

	if (image_store_blobs(node.images, img, NULL, &config, &err) == 0)
		spec = json_loadb(config.data, config.len, 0, NULL);
	o = json_pack("{s:s, s:o}", "chainID",
	    img->config->n_diff_ids > 0 ? img->config->diff_ids[img->config->n_diff_ids - 1] : "",
	    "imageSpec", spec != NULL ? spec : json_null());
	dump = json_dumps(o, JSON_INDENT(2));
	if (dump == NULL)
		abort();
	text = arena_strdup(a, dump);
	free(dump);
	json_decref(o);
	return text;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__ImageStatusRequest *r = (const void *)request;
	Runtime__V1__ImageStatusResponse m = RUNTIME__V1__IMAGE_STATUS_RESPONSE__INIT;
	Runtime__V1__ImageStatusResponse__InfoEntry info =
	    RUNTIME__V1__IMAGE_STATUS_RESPONSE__INFO_ENTRY__INIT;
	Runtime__V1__ImageStatusResponse__InfoEntry *infos[] = {&info};
	const struct image *img = NULL;
	struct err err;

	if (r->image == NULL || str_empty(r->image->image)) {
		err_set(&err, ERR_INVALID_ARGUMENT, "image.image is missing");
		grpc_fail(call, &err);
		return;
	}
	img = image_store_find(node.images, r->image->image);
	if (img != NULL)
		m.image = image_message(img, &call->arena);
	if (img != NULL && r->verbose) {
		info.key = LEND("info");
		info.value = LEND(verbose_info(img, &call->arena));
		m.n_info = 1;
		m.info = infos;
	}
	grpc_reply(call, &m.base);
}

const struct grpc_method cri_image_status = {
    "ImageStatus", &runtime__v1__image_status_request__descriptor, handle, 0};
