/* SPDX-License-Identifier: Apache-2.0
 *
 * RemoveImage: by any reference, with all its references; a missing one is fine.
 */
#include "cri/methods.h"

#include "base/str.h"
#include "image/store.h"
#include "pod/node.h"

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__RemoveImageRequest *r = (const void *)request;
	Runtime__V1__RemoveImageResponse m = RUNTIME__V1__REMOVE_IMAGE_RESPONSE__INIT;
	struct err err;
	int ret;

	if (r->image == NULL || str_empty(r->image->image))
		ret = err_set(&err, ERR_INVALID_ARGUMENT, "image.image is missing");
	else
		ret = image_store_remove(node.images, r->image->image, &err);
	if (ret < 0)
		grpc_fail(call, &err);
	else
		grpc_reply(call, &m.base);
}

const struct grpc_method cri_remove_image = {
    "RemoveImage", &runtime__v1__remove_image_request__descriptor, handle, 0};
