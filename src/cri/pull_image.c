/* SPDX-License-Identifier: Apache-2.0
 *
 * PullImage.
 */
#include "cri/methods.h"

#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "cri/images.h"
#include "image/pull.h"
#include "loop/op.h"

struct pull_op {
	struct op op;
	struct pull pull;
	struct grpc_call *call;
	const Runtime__V1__PullImageRequest *request; /* in the call's arena */
};

static enum op_ret
pull(struct op *op, struct err *err)
{
	struct pull_op *p = container_of(op, struct pull_op, op);
	const Runtime__V1__PullImageRequest *r = p->request;
	size_t n = runtime__v1__image_spec__get_packed_size(r->image);
	uint8_t *packed = arena_alloc(&p->call->arena, n);
	struct pull_spec spec = {.image = r->image->image, .spec = packed, .spec_len = n};

	runtime__v1__image_spec__pack(r->image, packed);
	if (r->auth != NULL)
		spec.auth = (struct pull_auth){.username = r->auth->username,
		    .password = r->auth->password,
		    .auth = r->auth->auth,
		    .server_address = r->auth->server_address,
		    .identity_token = r->auth->identity_token,
		    .registry_token = r->auth->registry_token};
	return pull_start(&p->pull, images_puller, &spec, op, err) < 0 ? OP_FAIL : OP_WAIT;
}

static const struct op_step pull_steps[] = {
    {"pull", pull, NULL},
    {NULL,   NULL, NULL},
};

static void
on_done(struct op *op)
{
	struct pull_op *p = container_of(op, struct pull_op, op);
	Runtime__V1__PullImageResponse m = RUNTIME__V1__PULL_IMAGE_RESPONSE__INIT;

	if (op->err.code != ERR_NONE) {
		grpc_fail(p->call, &op->err);
	} else {
		m.image_ref = p->pull.image_id;
		grpc_reply(p->call, &m.base);
	}
	free(p);
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__PullImageRequest *r = (const void *)request;
	struct pull_op *p;
	struct err err;

	if (r->image == NULL || str_empty(r->image->image)) {
		err_set(&err, ERR_INVALID_ARGUMENT, "image.image is missing");
		grpc_fail(call, &err);
		return;
	}
	p = xcalloc(1, sizeof(*p));
	p->call = call;
	p->request = r;
	op_start(&p->op, "PullImage", r->image->image, pull_steps, on_done);
	p->op.keep_message = true; /* the kubelet looks at how it begins */
	call->op = &p->op;
}

const struct grpc_method cri_pull_image = {
    "PullImage", &runtime__v1__pull_image_request__descriptor, handle, 0};
