/* SPDX-License-Identifier: Apache-2.0
 *
 * ListImages and StreamImages: from memory.
 */
#include "cri/methods.h"

#include "base/arena.h"
#include "base/str.h"
#include "cri/images.h"
#include "cri/stream_items.h"
#include "image/store.h"
#include "pod/node.h"

enum { ITEMS_PER_MESSAGE = 500 };

static size_t
collect(const Runtime__V1__ImageFilter *filter, struct arena *a, Runtime__V1__Image ***ret)
{
	const char *only = filter != NULL && filter->image != NULL ? filter->image->image : NULL;
	const struct image *img;
	size_t n = 0;

	if (!str_empty(only)) {
		*ret = arena_array(a, Runtime__V1__Image *, 1);
		img = image_store_find(node.images, only);
		if (img != NULL)
			(*ret)[n++] = image_message(img, a);
		return n;
	}
	for (img = NULL; (img = image_store_next(node.images, img)) != NULL;)
		n++;
	*ret = arena_array(a, Runtime__V1__Image *, n);
	n = 0;
	for (img = NULL; (img = image_store_next(node.images, img)) != NULL;)
		(*ret)[n++] = image_message(img, a);
	return n;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__ListImagesRequest *r = (const void *)request;
	Runtime__V1__ListImagesResponse m = RUNTIME__V1__LIST_IMAGES_RESPONSE__INIT;

	m.n_images = collect(r->filter, &call->arena, &m.images);
	grpc_reply(call, &m.base);
}

static void
handle_stream(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__StreamImagesRequest *r = (const void *)request;
	Runtime__V1__Image **items;
	size_t n = collect(r->filter, &call->arena, &items);

	stream_items(
	    call, &runtime__v1__stream_images_response__descriptor, items, n, ITEMS_PER_MESSAGE);
}

const struct grpc_method cri_list_images = {
    "ListImages", &runtime__v1__list_images_request__descriptor, handle, 0};

const struct grpc_method cri_stream_images = {
    "StreamImages", &runtime__v1__stream_images_request__descriptor, handle_stream, GRPC_STREAM};
