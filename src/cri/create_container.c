/* SPDX-License-Identifier: Apache-2.0
 *
 * CreateContainer. A repeated request with the same metadata joins the one in flight, or gets the
 * id of the container as long as that has not ended.
 */
#include "cri/methods.h"

#include "base/str.h"
#include "base/xalloc.h"
#include "cri/join.h"
#include "image/store.h"
#include "pod/ctr_steps.h"
#include "pod/node.h"
#include "pod/spec.h"

static void
on_done(struct ctr_op *o)
{
	Runtime__V1__CreateContainerResponse m = RUNTIME__V1__CREATE_CONTAINER_RESPONSE__INIT;
	bool failed = o->op.err.code != ERR_NONE;

	if (!failed)
		m.container_id = o->c->id;
	join_end(o->owner, &m.base, failed ? &o->op.err : NULL);
	ctr_op_free(o);
}

static int
check(const Runtime__V1__CreateContainerRequest *r, struct err *err)
{
	const Runtime__V1__ContainerConfig *c = r->config;

	if (c == NULL || c->metadata == NULL || str_empty(c->metadata->name))
		return err_set(err, ERR_INVALID_ARGUMENT, "config.metadata.name is missing");
	if (c->image == NULL || str_empty(c->image->image))
		return err_set(err, ERR_INVALID_ARGUMENT, "config.image.image is missing");
	if (c->n_cdi_devices > 0)
		return err_set(err, ERR_UNIMPLEMENTED,
		    "config.CDI_devices: \"%.128s\": CDI devices are not supported",
		    c->cdi_devices[0]->name);
	/* The kubelet's log paths are relative and lead nowhere else (CVE-2025-0750). */
	if (!str_empty(c->log_path) && (c->log_path[0] == '/' || strstr(c->log_path, "..") != NULL))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "config.log_path \"%.128s\" must be relative, without \"..\"", c->log_path);
	return 0;
}

/* What the container keeps of its image, so that it has it when the image is gone. */
static int
set_image(struct container *c, const struct image *img, struct err *err)
{
	free(c->image_id);
	free(c->image_ref);
	c->image_id = xstrdup(img->id);
	c->image_ref = xstrdup(img->n_digests > 0 ? img->digests[0] : img->id);
	return spec_stop_signal(c->config, img->config, &c->stop_signal, err);
}

static void
begin(struct grpc_call *call, const Runtime__V1__CreateContainerRequest *r, struct sandbox *sb)
{
	const struct image *img = image_store_find(node.images, r->config->image->image);
	struct container *c = NULL;
	struct ctr_op *o;
	struct join *j;
	struct err err;

	if (img == NULL)
		err_set(&err, ERR_NOT_FOUND, "no image \"%.256s\" on this node",
		    r->config->image->image);
	else
		c = container_new(sb, r);
	if (c == NULL || set_image(c, img, &err) < 0) {
		container_free(c);
		grpc_fail(call, &err);
		return;
	}
	o = ctr_create_start(c, on_done, NULL);
	o->owner = j = join_new(&o->op);
	join_add(j, call);
}

static struct sandbox *
find_ready(const char *id, struct err *err)
{
	struct sandbox *sb = sandbox_find(id, err);

	if (sb != NULL && sb->state != SANDBOX_READY) {
		err_set(err, ERR_FAILED_PRECONDITION, "sandbox %.12s is not ready", sb->id);
		sb = NULL;
	}
	return sb;
}

static void
handle(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Runtime__V1__CreateContainerRequest *r = (const void *)request;
	Runtime__V1__CreateContainerResponse m = RUNTIME__V1__CREATE_CONTAINER_RESPONSE__INIT;
	struct sandbox *sb;
	struct container *c;
	struct join *j;
	struct err err;
	char *name;

	if (check(r, &err) < 0 || (sb = find_ready(r->pod_sandbox_id, &err)) == NULL ||
	    spec_check_container(r->config, sb->config, &err) < 0) {
		grpc_fail(call, &err);
		return;
	}
	name = container_name(r->config->metadata, sb->id);
	c = container_named(name);
	free(name);
	if (c != NULL && c->create_op != NULL && (j = join_find(c->create_op)) != NULL) {
		join_add(j, call);
	} else if (c != NULL && c->create_op == NULL && !c->removing) {
		m.container_id = c->id;
		grpc_reply(call, &m.base);
	} else {
		begin(call, r, sb);
	}
}

const struct grpc_method cri_create_container = {
    "CreateContainer", &runtime__v1__create_container_request__descriptor, handle, 0};
