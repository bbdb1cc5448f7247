/* SPDX-License-Identifier: Apache-2.0
 *
 * Archives of images: see archives.h. The paths are opened by the daemon: only root reaches its socket.
 */
#include "cri/archives.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/str.h"
#include "base/xalloc.h"
#include "image/archive.h"
#include "loop/op.h"
#include "pod/node.h"
#include "proto/control.pb-c.h"

struct import_op {
	struct op op;
	struct image_import import;
	struct image_import_options options;
	struct grpc_call *call; /* NULL: loaded at start */
};

struct export_op {
	struct op op;
	struct image_export export;
	struct image_export_options options;
	struct grpc_call *call;
	char *path;
};

static enum op_ret
import_archive(struct op *op, struct err *err)
{
	struct import_op *o = container_of(op, struct import_op, op);

	return image_import_start(&o->import, node.images, &o->options, op, err) < 0 ? OP_FAIL
	                                                                             : OP_WAIT;
}

static const struct op_step import_steps[] = {
    {"import", import_archive, NULL},
    {NULL,     NULL,           NULL},
};

static void
send_images(struct import_op *o)
{
	for (size_t i = 0; i < o->import.n_images; i++) {
		const struct image_imported *img = &o->import.images[i];
		Coracle__V1__ImportImagesResponse m = CORACLE__V1__IMPORT_IMAGES_RESPONSE__INIT;

		if (o->call == NULL) {
			log_info("loaded image %s (%s)", img->id, img->n_tags > 0 ? img->tags[0] : "");
			continue;
		}
		m.image_ref = img->id;
		m.tags = img->tags;
		m.n_tags = img->n_tags;
		grpc_send(o->call, &m.base);
	}
}

static void
on_imported(struct op *op)
{
	struct import_op *o = container_of(op, struct import_op, op);

	if (op->err.code == ERR_NONE)
		send_images(o);
	if (o->call != NULL && op->err.code != ERR_NONE)
		grpc_fail(o->call, &op->err);
	else if (o->call != NULL)
		grpc_finish(o->call);
	image_import_release(&o->import);
	fd_closep(&o->options.fd);
	free(o);
}

static int
open_archive(const char *path, struct err *err)
{
	int fd;

	if (path[0] != '/')
		return err_set(err, ERR_INVALID_ARGUMENT, "path: \"%.128s\" is not absolute", path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return err_set(err, ERR_NOT_FOUND, "no archive %s", path);
	if (fd < 0)
		return err_errno(err, "open %s", path);
	fd_set_nonblock(fd, false);
	return fd;
}

static void
import_images(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Coracle__V1__ImportImagesRequest *r = (const void *)request;
	struct err err;
	int fd = open_archive(r->path, &err);
	struct import_op *o;

	if (fd < 0) {
		grpc_fail(call, &err);
		return;
	}
	o = xcalloc(1, sizeof(*o));
	o->call = call;
	o->options = (struct image_import_options){.fd = fd,
	    .base_name = str_empty(r->base_name) ? NULL : r->base_name,
	    .all_platforms = r->all_platforms};
	op_start(&o->op, "ImportImages", r->path, import_steps, on_imported);
	call->op = &o->op;
}

static enum op_ret
export_archive(struct op *op, struct err *err)
{
	struct export_op *o = container_of(op, struct export_op, op);

	return image_export_start(&o->export, node.images, &o->options, op, err) < 0 ? OP_FAIL
	                                                                             : OP_WAIT;
}

static enum op_ret
remove_archive(struct op *op, struct err *err)
{
	const struct export_op *o = container_of(op, struct export_op, op);

	(void)err;
	unlink(o->path);
	return OP_NEXT;
}

static const struct op_step export_steps[] = {
    {"export", export_archive, remove_archive},
    {NULL,     NULL,           NULL          },
};

static void
on_exported(struct op *op)
{
	struct export_op *o = container_of(op, struct export_op, op);
	Coracle__V1__ExportImagesResponse m = CORACLE__V1__EXPORT_IMAGES_RESPONSE__INIT;

	if (op->err.code != ERR_NONE) {
		grpc_fail(o->call, &op->err);
	} else {
		m.bytes_written = o->export.bytes;
		grpc_send(o->call, &m.base);
		grpc_finish(o->call);
	}
	image_export_release(&o->export);
	fd_closep(&o->options.fd);
	free(o->path);
	free(o);
}

static int
check_export(const Coracle__V1__ExportImagesRequest *r, enum image_format *ret, struct err *err)
{
	if (r->path[0] != '/')
		return err_set(err, ERR_INVALID_ARGUMENT, "path: \"%.128s\" is not absolute",
		    r->path);
	if (r->n_images == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "images is empty");
	if (str_empty(r->format) || strcmp(r->format, "oci") == 0)
		*ret = IMAGE_FORMAT_OCI;
	else if (strcmp(r->format, "docker") == 0)
		*ret = IMAGE_FORMAT_DOCKER;
	else
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "format: \"%.32s\" is neither oci nor docker", r->format);
	return 0;
}

static void
export_images(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Coracle__V1__ExportImagesRequest *r = (const void *)request;
	enum image_format format = IMAGE_FORMAT_OCI;
	struct export_op *o;
	struct err err;
	int fd = -1;

	if (check_export(r, &format, &err) == 0) {
		fd = open(r->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0 && errno == EEXIST)
			err_set(&err, ERR_ALREADY_EXISTS, "%s is there already", r->path);
		else if (fd < 0)
			err_errno(&err, "create %s", r->path);
	}
	if (fd < 0) {
		grpc_fail(call, &err);
		return;
	}
	o = xcalloc(1, sizeof(*o));
	o->call = call;
	o->path = xstrdup(r->path);
	o->options = (struct image_export_options){.fd = fd,
	    .refs = (const char *const *)r->images,
	    .n_refs = r->n_images,
	    .format = format};
	op_start(&o->op, "ExportImages", r->path, export_steps, on_exported);
	call->op = &o->op;
}

static void
preload_file(const char *path)
{
	struct import_op *o;
	struct err err;
	int fd = open_archive(path, &err);

	if (fd < 0) {
		log_warn("preload: %s", err.msg);
		return;
	}
	o = xcalloc(1, sizeof(*o));
	o->options.fd = fd;
	op_start(&o->op, "preload", path, import_steps, on_imported);
}

void
archives_preload(const char *dir)
{
	struct dirent **names;
	int n = dir != NULL ? scandir(dir, &names, NULL, alphasort) : 0;

	if (n < 0) {
		log_warn("preload_dir %s: %s", dir, strerror(errno));
		return;
	}
	if (dir == NULL)
		return;
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			cleanup_free char *path = xasprintf("%s/%s", dir, names[i]->d_name);

			preload_file(path);
		}
		free(names[i]);
	}
	free(names);
}

const struct grpc_method control_import_images = {"ImportImages",
    &coracle__v1__import_images_request__descriptor, import_images, GRPC_STREAM};
const struct grpc_method control_export_images = {"ExportImages",
    &coracle__v1__export_images_request__descriptor, export_images, GRPC_STREAM};
